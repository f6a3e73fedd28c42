"""Make the pages of the documentation site, and README.md, from the notebooks.

    python tools/build_docs.py                   pages in _md/, their configuration in _mkdocs.yml, README.md
    python tools/build_docs.py --readme          only README.md
    python tools/build_docs.py --check-readme    write nothing; exit 1 when README.md is not what the notebook gives
    mkdocs build --strict -f _mkdocs.yml         then turns the pages into _site/ (with -q it would not count warnings)

No notebook is executed: the outputs are the stored ones, and the API entries describe the exported modules.
"""
import argparse, os, re, shutil, sys
from pathlib import Path
import yaml
from nbdev.doclinks import nbglob
from pages import PAGES, SITE, DocsError, Page, Readme, Symbols, cfg, plain_words

INDEX = Path(cfg.readme_nb).stem
CONFIG, README, STRUCTURE = (cfg.config_path/'_mkdocs.yml', cfg.config_path/'README.md', cfg.nbs_path/'navigation.yml')


def load_pages():
    "All notebooks, in the order of their numbers"
    number = lambda p: (int(m[0]) if (m := re.match(r'\d+', p.name)) else -1, p.name)
    pages = [Page(p) for p in sorted(nbglob(as_path=True), key=number)]
    names = {}
    for page in pages:
        other = names.setdefault(page.name, page)
        if other is not page: raise DocsError(f'{other.notebook} and {page.notebook} would both become the page {page.name}')
    return pages


def structure(pages):
    "Sections of the site as nbs/navigation.yml has them; without that file one for each folder, and one for the modules"
    if STRUCTURE.exists(): return yaml.safe_load(STRUCTURE.read_text(encoding='utf-8'))
    folders = sorted({page.folder for page in pages if page.folder})
    others, modules = ([p.name for p in pages if not p.folder and p.name != INDEX and p.is_module == m] for m in (False, True))
    return others + [{f.replace('_', ' ').capitalize(): f} for f in folders] + ([{'Reference': modules}] if modules else [])


def navigation(pages):
    "MkDocs' navigation: Home, then `structure`, where a folder stands for its notebooks. Every notebook has its one place"
    left = {page.name: page for page in pages}
    def entry(name):
        if (page := left.pop(name, None)) is None: raise DocsError(f'{STRUCTURE.name}: there is no page or folder {name!r}, or it stands there twice')
        return {page.modules[0].split('.', 1)[1]: f'{name}.md'} if page.is_module else f'{name}.md'
    def section(what):
        if isinstance(what, dict): return [{title: section(inside)} for title, inside in what.items()]
        if isinstance(what, list): return [e for inside in what for e in section(inside)]
        return [entry(name) for name in [p.name for p in pages if p.folder == what != ''] or [what]]
    nav = [{'Home': entry(INDEX)}, *section(structure(pages))]
    if left: raise DocsError(f'{", ".join(p.notebook for p in left.values())}: nothing leads there; give it a place in {STRUCTURE.name}')
    return nav


def without_markup(page):
    "The Markdown of a page without front matter, HTML outputs and the link to its notebook"
    page = re.sub(r'\A---\n.*?\n---\n|^<div class="nb-html">\n.*?\n</div>$|^<script.*?</script>$', '', page, flags=re.S | re.M)
    return re.sub(r'^<p class="nb-origin".*\n|\s*\{ ?(?:[.#]|width=)[^{}\n]*\}(?=\n)', '', page, flags=re.M).strip()


def llms(pages, nav):
    "The site for language models: llms.txt as llmstxt.org describes it, and llms-full.txt, the text of all its pages"
    by_file = {f'{page.name}.md': page for page in pages}
    lines = [f'# {cfg.title}', '', f'> {cfg.description}', '', f'The text of all pages in one file: [llms-full.txt]({SITE}/llms-full.txt)']
    texts = []
    def walk(entries, title):
        files = [e if isinstance(e, str) else next(iter(e.values())) for e in entries]
        if any(isinstance(f, str) for f in files): lines.extend(['', f'## {title}', ''])
        for file in files:
            if not isinstance(file, str): continue
            page = by_file[file]
            address = f'{SITE}/' if page.name == INDEX else f'{SITE}/{page.name}/'
            lines.append(f'- [{page.title}]({address}): {plain_words(page.subtitle)}')
            texts.append(without_markup((PAGES/file).read_text(encoding='utf-8')))
        for entry in entries:
            if isinstance(entry, dict):
                name, inside = next(iter(entry.items()))
                if not isinstance(inside, str): walk(inside, f'{title}: {name}' if title else name)
    walk([e for e in nav if not isinstance(e, dict) or isinstance(next(iter(e.values())), str)], 'Start')
    walk([e for e in nav if isinstance(e, dict) and not isinstance(next(iter(e.values())), str)], '')
    (PAGES/'llms.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    (PAGES/'llms-full.txt').write_text('\n\n'.join(texts) + '\n', encoding='utf-8')


def write_site(pages, symbols):
    "The pages with their pictures, styles and scripts, and MkDocs' configuration: mkdocs.yml with the names in settings.ini"
    nav = navigation(pages)
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir()
    for page in pages:
        file = PAGES/f'{page.name}.md'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page.render(symbols), encoding='utf-8')
    llms(pages, nav)
    for images in cfg.nbs_path.rglob('images'): shutil.copytree(images, PAGES/images.relative_to(cfg.nbs_path), dirs_exist_ok=True)
    unneeded = ['theme', '*.sh', '*.md'] + ([] if any(page.widgets for page in pages) else ['widgets'])
    shutil.copytree(cfg.config_path/'docs', PAGES, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*unneeded))
    root = SITE.removesuffix('/latest') if os.environ.get('DOCS_VERSIONS') else SITE  # mike adds the version that it publishes
    config = dict(INHERIT='mkdocs.yml', site_name=cfg.title, site_description=cfg.description, site_url=f'{root}/',
                  repo_url=cfg.git_url, repo_name=cfg.repo, copyright=cfg.copyright, nav=nav)
    CONFIG.write_text('# Made by tools/build_docs.py\n' + yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding='utf-8')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    only = parser.add_mutually_exclusive_group()
    only.add_argument('--readme', action='store_true', help='write only README.md')
    only.add_argument('--check-readme', action='store_true', help='exit 1 when README.md differs from what the notebook gives')
    args = parser.parse_args()
    sys.path.insert(0, str(cfg.config_path))
    pages = load_pages()
    symbols = Symbols(pages)
    readme = Readme(cfg.nbs_path/cfg.readme_nb).render(symbols)
    if args.check_readme:
        if not README.exists() or README.read_text(encoding='utf-8') != readme:
            raise DocsError(f'README.md differs from {cfg.readme_nb}: edit the notebook, then run `python tools/build_docs.py --readme`')
        return
    README.write_text(readme, encoding='utf-8')
    if not args.readme: write_site(pages, symbols)


if __name__ == '__main__':
    try: main()
    except DocsError as e: sys.exit(f'build_docs: {e}')
