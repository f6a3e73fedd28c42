"""Make the pages of the documentation site, and README.md, from the notebooks.

    python tools/build_docs.py                   pages in _md/, their configuration in _mkdocs.yml, README.md
    python tools/build_docs.py --readme          only README.md
    python tools/build_docs.py --check-readme    write nothing; exit 1 when README.md is not what the notebook gives
    mkdocs build --strict -f _mkdocs.yml         then turns the pages into _site/ (with -q it would not count warnings)

No notebook is executed: the outputs are the stored ones, and the API entries describe the exported modules.
"""
import argparse, base64, posixpath, re, shutil, sys
from pathlib import Path
import yaml
from execnb.nbio import read_nb, mk_cell
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor
from api_entries import PageProcessors, api_entry, shown_names

cfg = get_config()
SITE = (cfg.doc_host + cfg.doc_baseurl).rstrip('/')
PAGES, CONFIG, README = (cfg.config_path/name for name in ('_md', '_mkdocs.yml', 'README.md'))


class DocsError(Exception):
    "What is wrong, in which notebook and cell"


# The pages

def nbdev_name(notebook):
    "`tutorials/01_first.ipynb` -> `tutorials/first`, as in the links that nbdev makes"
    folder, name = posixpath.split(notebook.removesuffix('.ipynb'))
    return posixpath.join(folder, re.sub(r'^\d+[a-zA-Z0-9]*_', '', name.lower()))


def page_name(notebook):
    "The same, but `04_index.ipynb` -> `index_module`: a web server takes `index` for the landing page"
    folder, name = posixpath.split(nbdev_name(notebook))
    if name == 'index' and posixpath.basename(notebook).lower() != 'index.ipynb': name = 'index_module'
    return posixpath.join(folder, name)


def indented(text): return re.sub(r'^(?=.)', '    ', text, flags=re.M)


def fenced(text, info):
    "A fenced block, whatever backticks are in the text"
    fence = '`' * max([3] + [len(run) + 1 for run in re.findall('`{3,}', text)])
    return f'{fence}{info}\n{text}\n{fence}'


def plain_text(text):
    "Terminal output as it looked in the end: no colours, no overwritten progress bars, no blank lines around"
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', text).replace('\r\n', '\n')
    return re.sub(r'^[^\n]*\r(?!$)', '', text, flags=re.M).replace('\r', '').rstrip().lstrip('\n')


def outside_fences(change, text):
    "Apply `change` to the prose of a Markdown text, not to its fenced code"
    parts = re.split(r'(^[ >]*```.*?^[ >]*```[^\S\n]*$)', text, flags=re.M | re.S)
    return ''.join(part if i % 2 else change(part) for i, part in enumerate(parts))


def split_title(nb):
    "Move prose that shares the title's cell to a cell of its own: nbdev keeps only title, subtitle and `- key: value` lines"
    for i, cell in enumerate(nb.cells):
        if cell.cell_type != 'markdown' or not re.search(r'^# ', cell.source, re.M): continue
        is_head = lambda line: re.match(r'#\s|>\s|-\s+[\w-]+:\s', line)
        prose = '\n'.join(line for line in cell.source.splitlines() if not is_head(line)).strip()
        if prose: nb.cells.insert(i + 1, mk_cell(prose, 'markdown'))
        return


class Page:
    "A notebook as a page of the site"
    mimes = ['text/html', 'text/markdown', 'image/svg+xml', 'image/png', 'image/jpeg', 'text/plain']
    output_info = '{ .text .nb-output .no-copy }'
    callout_kinds = {'important': 'info', 'caution': 'danger'}

    def __init__(self, path):
        self.path, self.figures = Path(path), 0
        self.notebook = self.path.relative_to(cfg.nbs_path).as_posix()
        self.name, self.folder = page_name(self.notebook), posixpath.dirname(self.notebook)
        nb = read_nb(path)
        for cell in nb.cells: self.check_outputs(cell)
        split_title(nb)
        processor = NBProcessor(nb=nb, procs=PageProcessors().procs())
        flags = [c.directives_ for c in nb.cells]
        exports = [args for key in ('default_exp', 'export', 'exports') for f in flags for args in [f.get(key)] if args]
        self.modules = list(dict.fromkeys(f'{cfg.lib_path.name}.{args[0]}' for args in exports))
        self.is_module = any('default_exp' in f for f in flags)
        try: processor.process()
        except Exception as e: raise DocsError(f'{self.notebook}: {e}') from e
        self.cells, matter = nb.cells, nb.frontmatter_
        self.title, self.subtitle = str(matter.get('title', posixpath.basename(self.name))), str(matter.get('description', ''))
        self.symbols = [name for cell in self.cells for name in cell.get('symbols_', [])]

    def check_outputs(self, cell):
        "nbdev's processors trip over incomplete outputs without saying where"
        for out in cell.get('outputs') or []:
            needed = {'stream': 'text', 'error': 'ename'}.get(out.get('output_type'), 'data')
            if not isinstance(out.get(needed), (dict, list, str)):
                raise DocsError(f'{self.where(cell)}: a stored output has no `{needed}`; run the notebook again')

    def where(self, cell):
        first_line = next((line for line in (cell.source or '').splitlines() if line.strip()), '')
        return f'{self.notebook}, cell {cell.get("id", cell.idx_)} ({first_line.strip()[:60]})'

    def render(self, documented):
        "The whole page; `documented` says on which page each symbol is, by the `page#anchor` of nbdev's links"
        self.documented = documented
        blocks = [self.head()]
        for cell in self.cells:
            try: blocks.append(self.cell(cell))
            except Exception as e: raise DocsError(f'{self.where(cell)}: {e}') from e
        return '\n\n'.join(block for block in blocks if block) + '\n'

    def head(self):
        "Front matter, title and subtitle, and where the notebook is"
        matter = yaml.safe_dump({'title': self.title, **({'description': self.subtitle} if self.subtitle else {})}, allow_unicode=True)
        origin = f'{cfg.git_url}/blob/{cfg.branch}/{cfg.nbs_path.name}/{self.notebook}'
        lead = self.prose(self.subtitle) + '\n{ .lead }' if self.subtitle else ''
        return f'---\n{matter}---\n\n# {self.title}\n\n[notebook]({origin}){{ .nb-origin }}\n\n{lead}'.rstrip()

    def cell(self, cell):
        "The Markdown of one cell"
        if cell.cell_type == 'markdown': return self.markdown(cell.source)
        if cell.cell_type != 'code': return ''
        if shown_names(cell): return '\n\n'.join(self.links(api_entry(name, self.modules)) for name in cell.symbols_)
        options = dict(re.findall(r'^#\|\s*([\w-]+):\s*(.*?)\s*$', cell.source, re.M))
        source = re.sub(r'^\s*#\|.*\n?', '', cell.source, flags=re.M).strip()
        if options.get('include') == 'false': return ''
        blocks = [self.code(source, cell.metadata.get('language', 'python'), options)] if source and options.get('echo') != 'false' else []
        if options.get('output') != 'false': blocks += [self.output(out, cell, options) for out in cell.get('outputs') or []]
        return '\n\n'.join(block for block in blocks if block)

    def code(self, source, language, options):
        "The input of a cell, folded if it asks for that"
        block = fenced(source, language)
        if options.get('code-fold', 'false') == 'false': return block
        title = options.get('code-summary', 'Code').strip('"')
        return f'{"???+" if options["code-fold"] == "show" else "???"} quote "{title}"\n\n{indented(block)}'

    def output(self, out, cell, options):
        "One output of a cell in the richest form that the page can show"
        if out.output_type == 'error':
            wanted = options.get('error') == 'true' or 'raises-exception' in cell.metadata.get('tags', [])
            message = plain_text(f'{out.ename}: {out.get("evalue", "")}')
            if not wanted: raise ValueError(f'its stored output is an error, {message}; mend it, or say `#| error: true`')
            return fenced(message, self.output_info)
        data = {'text/plain': out.text} if out.output_type == 'stream' else out.data
        mime = next((m for m in self.mimes if m in data), None)
        if mime is None: return self.no_output(data)
        content = data[mime] if isinstance(data[mime], str) else ''.join(data[mime])
        if mime == 'text/html': return '<div class="nb-html">\n' + re.sub(r'\n\s*\n', '\n', content.strip()) + '\n</div>'
        if mime == 'text/markdown' or options.get('output') == 'asis': return self.markdown(content)
        if mime != 'text/plain': return self.figure(content, mime, (out.get('metadata') or {}).get(mime, {}), options)
        text = plain_text(content)
        return fenced(text, self.output_info) if text else ''

    def no_output(self, data): raise ValueError(f'no form of its output can be shown on a page: {", ".join(data) or "it is empty"}')

    def figure(self, content, mime, size, options):
        "Write a picture beside the page, and show it"
        self.figures += 1
        suffix = {'image/svg+xml': 'svg', 'image/png': 'png', 'image/jpeg': 'jpg'}[mime]
        file = PAGES/f'{self.name}_files'/f'{self.figures}.{suffix}'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if suffix == 'svg' else base64.b64decode(content, validate=False))
        alt = (options.get('fig-alt') or options.get('fig-cap') or 'Figure').strip('"\'')
        width = f'{{ width="{size["width"]}" }}' if size.get('width') else ''
        return f'![{alt}]({file.parent.name}/{file.name}){width}'

    def markdown(self, text):
        "A Markdown cell: callouts, links, and lists that Python-Markdown recognises"
        return outside_fences(self.prose, re.sub(r'^(:{3,})\s*\{\.callout-(\w+)([^}]*)\}[^\S\n]*\n(.*?)^\1[^\S\n]*$',
                                                 lambda m: self.callout(*m.groups()[1:]), text, flags=re.M | re.S))

    def prose(self, text):
        text = re.sub(r'^((?![-*+] |\d+\. |#|\s).+\n)(?=(?:[-*+]|\d+\.) )', r'\1\n', text, flags=re.M)
        return self.links(text)

    def callout(self, kind, attributes, body):
        "A Quarto callout as an admonition; its title is an attribute or a heading at its start"
        title, collapse = (re.search(rf'{key}="([^"]*)"', attributes) for key in ('title', 'collapse'))
        heading = re.match(r'\s*#+\s+(.*)\n', body)
        if heading: body = body[heading.end():]
        title = title[1] if title else heading[1] if heading else kind.capitalize()
        return self.admonition(kind, title.replace('"', "'"), collapse and collapse[1], body.strip())

    def admonition(self, kind, title, collapse, body):
        mark = {'true': '???', 'false': '???+'}.get(collapse, '!!!')
        return f'{mark} {self.callout_kinds.get(kind, kind)} "{title}"\n\n{indented(body)}\n'

    def links(self, text):
        "Lead links to notebooks, and those that nbdev made of `symbols`, to the pages"
        symbol = rf'\[(`[^`]+`)\]\({re.escape(SITE)}/([\w./-]+)\.html(#[^)\s]+)\)'
        inside_link = rf'\[([^\[\]]*){symbol}([^\[\]]*)\]\('
        text = re.sub(inside_link, r'[\1\2\5](', text)
        text = re.sub(symbol, lambda m: self.symbol_link(*m.groups()), text)
        return re.sub(r'\]\((?!\w+:|/)([^)\s#?]+\.ipynb)(#[^)\s]*)?', lambda m: '](' + self.href(
            page_name(posixpath.normpath(posixpath.join(self.folder, m[1]))), (m[2] or '').lower()), text)

    def symbol_link(self, code, page, anchor):
        "Symbols that no page documents, private ones for example, stay plain code"
        page = self.documented.get(page + anchor)
        return f'[{code}]({self.href(page, anchor)})' if page else code

    def href(self, page, anchor): return posixpath.relpath(f'{page}.md', self.folder or '.') + anchor


class Readme(Page):
    "The landing page's notebook as plain GitHub Markdown"
    mimes = ['text/markdown', 'text/plain']
    output_info = 'text'

    def head(self):
        origin = f'<!-- Made from {cfg.nbs_path.name}/{self.notebook} by tools/build_docs.py: edit the notebook. -->'
        return '\n\n'.join([f'# {self.title}', origin] + ([f'> {self.prose(self.subtitle)}'] if self.subtitle else []))

    def code(self, source, language, options): return fenced(source, language)

    def no_output(self, data): return ''

    def output(self, out, cell, options):
        "A picture or table is worth nothing as `<Figure size 640x480>`"
        shown = super().output(out, cell, options)
        return '' if re.fullmatch(r'`+text\n<.*>\n`+', shown, re.S) else shown

    def admonition(self, kind, title, collapse, body):
        title = [] if title.lower() == kind else [f'**{title}**', '']
        return '\n'.join(f'> {line}'.rstrip() for line in [f'[!{kind.upper()}]', *title, *body.splitlines()]) + '\n'

    def prose(self, text):
        text = re.sub(r'(?<=\))\{[^{}\n]*\}', '', super().prose(text))
        relative = r'(\]\(|(?:src|href)=")(?!\w+:|[/#])([^)"\s]+)'
        return re.sub(relative, lambda m: m[1] + posixpath.normpath(posixpath.join(cfg.nbs_path.name, m[2])), text)

    def href(self, page, anchor): return f'{SITE}/{anchor}' if page == 'index' else f'{SITE}/{page}/{anchor}'


# The site

def load_pages():
    "All notebooks, in the order of their numbers"
    number = lambda p: (int(m[0]) if (m := re.match(r'\d+', p.name)) else -1, p.name)
    pages = [Page(p) for p in sorted(nbglob(as_path=True), key=number)]
    names = {}
    for page in pages:
        other = names.setdefault(page.name, page)
        if other is not page: raise DocsError(f'{other.notebook} and {page.notebook} would both become the page {page.name}')
    return pages


def navigation(pages):
    "Home and other pages of the top folder, a section for each folder, then the modules"
    index = Path(cfg.readme_nb).stem
    sections = {}
    for page in pages:
        section = 'Reference' if page.is_module else page.folder.replace('_', ' ').capitalize()
        entry = {page.modules[0].split('.', 1)[1]: f'{page.name}.md'} if page.is_module else f'{page.name}.md'
        if page.name != index: sections.setdefault(section, []).append(entry)
    reference = sections.pop('Reference', [])
    nav = [{'Home': f'{index}.md'}, *sections.pop('', []), *({title: sections[title]} for title in sorted(sections))]
    return nav + ([{'Reference': reference}] if reference else [])


def write_site(pages, documented):
    "The pages with their pictures and styles, and MkDocs' configuration: mkdocs.yml with the names in settings.ini"
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir()
    for page in pages:
        file = PAGES/f'{page.name}.md'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page.render(documented), encoding='utf-8')
    for images in cfg.nbs_path.rglob('images'): shutil.copytree(images, PAGES/images.relative_to(cfg.nbs_path), dirs_exist_ok=True)
    assets = cfg.config_path/'docs'
    if assets.exists(): shutil.copytree(assets, PAGES, dirs_exist_ok=True, ignore=shutil.ignore_patterns('theme'))
    config = dict(INHERIT='mkdocs.yml', site_name=cfg.title, site_description=cfg.description, site_url=f'{SITE}/',
                  repo_url=cfg.git_url, repo_name=cfg.repo, copyright=cfg.copyright, nav=navigation(pages))
    CONFIG.write_text('# Made by tools/build_docs.py\n' + yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding='utf-8')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    only = parser.add_mutually_exclusive_group()
    only.add_argument('--readme', action='store_true', help='write only README.md')
    only.add_argument('--check-readme', action='store_true', help='exit 1 when README.md differs from what the notebook gives')
    args = parser.parse_args()
    sys.path.insert(0, str(cfg.config_path))
    pages = load_pages()
    documented = {f'{nbdev_name(page.notebook)}#{name.lower()}': page.name for page in pages for name in page.symbols}
    readme = Readme(cfg.nbs_path/cfg.readme_nb).render(documented)
    if args.check_readme:
        if not README.exists() or README.read_text(encoding='utf-8') != readme:
            raise DocsError(f'README.md differs from {cfg.readme_nb}: edit the notebook, then run `python tools/build_docs.py --readme`')
        return
    README.write_text(readme, encoding='utf-8')
    if not args.readme: write_site(pages, documented)


if __name__ == '__main__':
    try: main()
    except DocsError as e: sys.exit(f'build_docs: {e}')
