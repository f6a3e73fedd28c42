"A notebook as a page of the documentation site, and the landing page as README.md."
import base64, json, posixpath, re
from pathlib import Path
import yaml
from execnb.nbio import read_nb, mk_cell
from nbdev.config import get_config
from nbdev.process import NBProcessor
from api_entries import PageProcessors, api_entry, find_symbol, inherited, shown_names

cfg = get_config()
SITE = (cfg.doc_host + cfg.doc_baseurl).rstrip('/')
PAGES = cfg.config_path/'_md'
GITHUB = 'https://github.com/'
INSTANCES = {'rec': 'ImageRecommender'}  # names that stand for an object of a class all over the notebooks
WIDGET, WIDGETS = 'application/vnd.jupyter.widget-view+json', 'application/vnd.jupyter.widget-state+json'


class DocsError(Exception):
    "What is wrong, in which notebook and cell"


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


def plain_words(markdown):
    "A line of Markdown without links and code marks, for search engines and lists"
    return re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', markdown).replace('`', '')


def has_math(text):
    "Whether a Markdown text has formulas: `$...$` without blanks inside the signs, or `$$...$$`"
    prose = re.sub(r'```.*?```|`[^`\n]*`', '', text, flags=re.S)
    return bool(re.search(r'\$\$.+?\$\$|(?<![\\\w$])\$[^\s$](?:[^$\n]*[^\s$\\])?\$(?![\d$])', prose, re.S))


def outside_links(change, text):
    "Apply `change` to what is not the text of a link already, and not a heading"
    parts = re.split(r'(\[[^\[\]]*\]\([^)\s]*\)|^#.*$)', text, flags=re.M)
    return ''.join(part if i % 2 else change(part) for i, part in enumerate(parts))


def split_title(nb):
    "Move prose that shares the title's cell to a cell of its own: nbdev keeps only title, subtitle and `- key: value` lines"
    for i, cell in enumerate(nb.cells):
        if cell.cell_type != 'markdown' or not re.search(r'^# ', cell.source, re.M): continue
        is_head = lambda line: re.match(r'#\s|>\s|-\s+[\w-]+:\s', line)
        prose = '\n'.join(line for line in cell.source.splitlines() if not is_head(line)).strip()
        if prose: nb.cells.insert(i + 1, mk_cell(prose, 'markdown'))
        return


class Symbols:
    "Where each symbol is documented, also under the names of classes that inherit it and of objects"
    def __init__(self, pages):
        self.pages = {f'{nbdev_name(page.notebook)}#{name.lower()}': page.name for page in pages for name in page.symbols}
        self.places = {name: (page.name, f'#{name.lower()}') for page in pages for name in page.symbols}
        self.inherited = {}
        for page in pages:
            for name in page.symbols:
                held = find_symbol(name, page.modules)[1] if '.' not in name else None
                if isinstance(held, type): self.inherited[name] = inherited(held, self.places)
        for name, members in self.inherited.items():
            for member, owner in members: self.places[f'{name}.{member}'] = self.places[f'{owner}.{member}']
        for short, name in INSTANCES.items():
            self.places.update({short + key.removeprefix(name): place for key, place in [*self.places.items()] if key.startswith(f'{name}.')})


class Page:
    "A notebook as a page of the site"
    mimes = ['text/html', 'text/markdown', 'text/latex', 'image/svg+xml', 'image/png', 'image/jpeg', WIDGET, 'text/plain']
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
        self.widgets = nb.metadata.get('widgets', {}).get(WIDGETS, {})
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

    def render(self, symbols):
        "The whole page, with links to where `symbols` are documented"
        self.where_is = symbols
        blocks = []
        for cell in self.cells:
            try: blocks.append(self.cell(cell))
            except Exception as e: raise DocsError(f'{self.where(cell)}: {e}') from e
        if self.widgets: blocks.append(self.script(WIDGETS, self.widgets))
        body = '\n\n'.join(block for block in blocks if block)
        return f'{self.head(body)}\n\n{body}\n'

    def head(self, body):
        "Front matter, title and subtitle, and where the notebook is; docs/theme/main.html loads what `math` and `widgets` need"
        asked_first = set(INSTANCES.values()) & set(self.symbols)
        matter = {'description': plain_words(self.subtitle), 'math': has_math(body), 'widgets': bool(self.widgets),
                  'hide': ['navigation'] if self.notebook == cfg.readme_nb else None, 'search': {'boost': 1.6} if asked_first else {'boost': 1.3} if not self.is_module else None}
        file = f'{cfg.branch}/{cfg.nbs_path.name}/{self.notebook}'
        origin = f'[notebook]({cfg.git_url}/blob/{file})'
        if cfg.git_url.startswith(GITHUB): origin += f' · [edit]({cfg.git_url.replace(GITHUB, "https://github.dev/")}/blob/{file})'
        lead = self.prose(self.subtitle) + '\n{ .lead }' if self.subtitle else ''
        matter = yaml.safe_dump({k: v for k, v in matter.items() if v}, allow_unicode=True, width=1000)
        return f'---\n{matter}---\n\n# {self.title}\n\n<p class="nb-origin" markdown>{origin}</p>\n\n{lead}'.rstrip()

    def cell(self, cell):
        "The Markdown of one cell"
        if cell.cell_type == 'markdown': return self.markdown(cell.source)
        if cell.cell_type != 'code': return ''
        if shown_names(cell): return '\n\n'.join(self.links(api_entry(name, self.modules) + self.also(name)) for name in cell.symbols_)
        options = dict(re.findall(r'^#\|\s*([\w-]+):\s*(.*?)\s*$', cell.source, re.M))
        source = re.sub(r'^\s*#\|.*\n?', '', cell.source, flags=re.M).strip()
        if options.get('include') == 'false': return ''
        blocks = [self.code(source, cell.metadata.get('language', 'python'), options)] if source and options.get('echo') != 'false' else []
        if options.get('output') != 'false': blocks += [self.output(out, cell, options) for out in cell.get('outputs') or []]
        return '\n\n'.join(block for block in blocks if block)

    def also(self, name):
        "What a class takes from those above it"
        members = self.where_is.inherited.get(name, [])
        link = lambda label, symbol: f'[`{label}`]({self.href(*self.where_is.places[symbol])})'
        owners = {owner: [link(m, f'{owner}.{m}') for m, o in members if o == owner] for _, owner in members}
        return ''.join(f'\n\nFrom {link(owner, owner)}: {", ".join(links)}' for owner, links in owners.items())

    def code(self, source, language, options):
        "The input of a cell, folded if it asks for that; `!command` as what is typed in a shell"
        if all(line.startswith('!') for line in source.splitlines()): source, language = re.sub('^!', '', source, flags=re.M), 'sh'
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
        mime = next((m for m in self.mimes if m in data and (m != WIDGET or data[m].get('model_id') in self.widgets.get('state', {}))), None)
        if mime is None: return self.no_output(data)
        if mime == WIDGET: return self.script(WIDGET, data[mime])
        content = data[mime] if isinstance(data[mime], str) else ''.join(data[mime])
        if mime == 'text/html': return '<div class="nb-html">\n' + re.sub(r'\n\s*\n', '\n', content.strip()) + '\n</div>'
        if mime in ('text/markdown', 'text/latex') or options.get('output') == 'asis': return self.markdown(content)
        if mime != 'text/plain': return self.figure(content, mime, (out.get('metadata') or {}).get(mime, {}), options)
        text = plain_text(content)
        return fenced(text, self.output_info) if text else ''

    def script(self, mime, data):
        "Data of widgets, as the HTML manager looks for it"
        return f'<script type="{mime}">\n{json.dumps(data).replace("</", "<" + chr(92) + "/")}\n</script>'

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
        "A Markdown cell or output: callouts, links, and lists that Python-Markdown recognises"
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
        text = outside_links(self.link_members, text)
        return re.sub(r'\]\((?!\w+:|/)([^)\s#?]+\.ipynb)(#[^)\s]*)?', lambda m: '](' + self.href(
            page_name(posixpath.normpath(posixpath.join(self.folder, m[1]))), (m[2] or '').lower()), text)

    def symbol_link(self, code, page, anchor):
        "Symbols that no page documents, private ones for example, stay plain code"
        page = self.where_is.pages.get(page + anchor)
        return f'[{code}]({self.href(page, anchor)})' if page else code

    def link_members(self, text):
        "Links for what nbdev does not know: inherited members, and those of objects with a well-known name"
        def link(m):
            place = self.where_is.places.get(m[1])
            return f'[{m[0]}]({self.href(*place)})' if place else m[0]
        return re.sub(r'`([A-Za-z_]\w*\.[a-z]\w*)(?:\(\))?`', link, text)

    def href(self, page, anchor): return posixpath.relpath(f'{page}.md', self.folder or '.') + anchor


class Readme(Page):
    "The landing page's notebook as plain GitHub Markdown"
    mimes = ['text/markdown', 'text/plain']
    output_info = 'text'

    def head(self, body):
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
