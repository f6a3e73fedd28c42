"The documentation build, on a small project of its own: what the pages and README.md say, and what makes the build fail."
import base64, json, re, shutil, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
PNG = base64.b64encode(b'\x89PNG\r\n\x1a\n a picture').decode()
SITE = 'https://example.org/tiny'
SETTINGS = '''[DEFAULT]
repo = tiny
lib_name = tiny
version = 0.0.1
min_python = 3.10
license = mit
doc_path = _site
lib_path = tiny
nbs_path = nbs
recursive = True
update_pyproject = False
branch = main
user = someone
doc_host = https://example.org
doc_baseurl = /tiny
git_url = https://github.com/someone/tiny
title = Tiny
author = Someone
author_email = someone@example.org
copyright = Someone
description = A small project
keywords = small
language = English
status = 3
audience = Developers
'''


def md(source, **kw): return dict(cell_type='markdown', source=source, metadata={}, **kw)
def code(source, *outputs, **metadata): return dict(cell_type='code', source=source, metadata=metadata, outputs=list(outputs), execution_count=None)
def shown(**data): return dict(output_type='display_data', metadata={}, data={k.replace('_', '/', 1): v for k, v in data.items()})
def printed(text): return dict(output_type='stream', name='stdout', text=text)
def failed(message): return dict(output_type='error', ename='ValueError', evalue=message, traceback=[])


INDEX = [
    md('# Tiny\n\n> A project of `Box`es\n\nProse in the cell of the title.'),
    md('![a chart](images/chart.png){ width="300" }\n\nRead [the first page](00_things.ipynb#box), then [the tour](tutorials/01_grand_tour.ipynb).\nIn short:\n- one\n- two'),
    code('print(6*7)', printed('42\n')),
    code('table', shown(text_html='<table><tr><td>only here</td></tr></table>', text_plain='<Table object>')),
    code('answer', shown(text_html='<b>forty-two</b>', text_plain='Answer(42)')),
    md(':::{.callout-tip}\n## Small is good\nKeep it *small*.\n:::'),
]
THINGS = [
    code('#| default_exp things'),
    md('# Things\n> Boxes and how to weigh them'),
    code('#| export\nfrom __future__ import annotations\nfrom dataclasses import dataclass\nfrom fastcore.basics import patch'),
    md('## Weighing'),
    code('#| export\ndef weigh(thing:str|None, # what to weigh, or `None`\n          *, scale:float=1.5, # grams | a unit, `{x}` or {y}\n         ) -> float: # its weight\n'
         '    "Weigh a `Box` or another thing"\n    return scale\n\ndef _secret(): "Not for the public"'),
    code('#| hide\nassert weigh("hidden test") == 1.5'),
    code('#| exporti\ndef internal(): "Not shown either"'),
    md('`weigh` and `Box.fill` are linked; `_secret` and `internal` are not; [see `weigh` here](https://example.org/elsewhere).'),
    code('#| export\n@dataclass\nclass Lid:\n    "A lid"\n    size: int = 3 # in centimetres\n\nclass Box(Lid):\n    "A box"\n'
         '    def __init__(self, lid:Lid=None # what closes it\n                ): self.lid = lid\n'
         '    def fill(self, thing, # goes in\n            ): "Put something in"\n'
         '    @property\n    def full(self) -> bool: "Whether more goes in"\n    def _hidden(self): "private method"'),
    code('#| export\n@patch\ndef empty(self:Box, where=None, # goes there\n         ): "Take everything out"'),
    code('show_doc(Box.empty)'),
    code('#| export\nclass Crate(Box):\n    "A large box"\n    def fill(self, thing): return thing'),
    md('`Crate.full` is a property of boxes.'),
    md('A box holds $w^2 h$ at most:\n\n$$v = \\sum_i w_i^2 h_i$$\n\nIt costs `$5`, or $HOME.'),
    code('#| fig-alt: "a curve"\nplot()', dict(shown(image_png=PNG, text_plain='<Figure size 640x480>'), metadata={'image/png': {'width': 320}})),
    code('frame', shown(text_html='<table>\n\n<tr><td>cell</td></tr>\n\n\n</table>', text_plain='cell')),
    code('#| echo: false\nprint("the source is not shown")', printed('```\nfences\n```\n')),
    code('#| output: false\nprint("only the source")', printed('this output is not shown')),
    code('slider', shown(**{'application_vnd.jupyter.widget-view+json': {'model_id': 'x'}, 'text_plain': 'IntSlider(value=3)'})),
    code('#| error: true\nfail()', failed('on purpose')),
    code('!tiny --help\n!tiny now', printed('Usage: tiny\n')),
    code('bar()', printed('\x1b[32m 10%\r 50%\r100%\x1b[0m\n')),
    md(':::{.callout-warning title="Mind the gap" collapse="true"}\nIt is *wide*:\n\n```python\nx = ":::"\n```\n:::'),
]
TOUR = [
    md('# The grand tour'),
    md('Costs $5 or $6. Back to [things](../00_things.ipynb#Weighing), to `Box`, and [home](../index.ipynb). ![c](../images/chart.png)'),
    md('```\n[kept](../00_things.ipynb)\n```'),
]
MODULE_INDEX = [code('#| default_exp index'), md('# An index\n> A module with the name of the landing page'),
                code('#| export\ndef look_up(key, # what to find\n           ): "Find it"'), md('`look_up` it.')]


WIDGETS = {'application/vnd.jupyter.widget-state+json': dict(version_major=2, version_minor=0, state={
    'a': dict(model_name='IntSliderModel', model_module='@jupyter-widgets/controls', model_module_version='2.0.0',
              state=dict(value=3, description='</script>', layout='IPY_MODEL_b')),
    'b': dict(model_name='LayoutModel', model_module='@jupyter-widgets/base', model_module_version='2.0.0', state={})})}
ALIVE = [md('# Alive\n> A slider that was saved'), code('slider', shown(**{'application_vnd.jupyter.widget-view+json': dict(model_id='a', version_major=2, version_minor=0),
                                                                            'text_plain': 'IntSlider(value=3)'}))]


def write_nb(path, cells, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [dict(c, id=f'c{i}') for i, c in enumerate(cells)]
    kernel = dict(display_name='python3', language='python', name='python3')
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=kernel, **metadata), nbformat=4, nbformat_minor=5)))


def run(project, *args): return subprocess.run([sys.executable, *map(str, args)], cwd=project, capture_output=True, text=True)
def build(project, *args): return run(project, ROOT/'tools'/'build_docs.py', *args)
def mkdocs(project): return run(project, '-m', 'mkdocs', 'build', '--strict', '-f', '_mkdocs.yml')


def make_project(root):
    "A project with two modules, a tutorial and a landing page, exported but without documentation"
    (root/'settings.ini').write_text(SETTINGS)
    for name, cells in {'index': INDEX, '00_things': THINGS, '01_index': MODULE_INDEX, 'tutorials/01_grand_tour': TOUR,
                        '.ipynb_checkpoints/00_things-checkpoint': THINGS}.items():
        write_nb(root/'nbs'/f'{name}.ipynb', cells)
    write_nb(root/'nbs'/'tutorials'/'02_alive.ipynb', ALIVE, widgets=WIDGETS)
    (root/'nbs'/'images').mkdir()
    (root/'nbs'/'images'/'chart.png').write_bytes(base64.b64decode(PNG))
    info = root/'tiny-0.0.1.dist-info'  # as if installed: nbdev finds the names to link by their entry point
    info.mkdir()
    (info/'METADATA').write_text('Metadata-Version: 2.1\nName: tiny\nVersion: 0.0.1\n')
    (info/'entry_points.txt').write_text('[nbdev]\ntiny = tiny._modidx:d\n')
    shutil.copy(ROOT/'mkdocs.yml', root)
    shutil.copytree(ROOT/'docs', root/'docs')
    exported = run(root, '-c', 'from nbdev.doclinks import nbdev_export; nbdev_export()')
    assert (root/'tiny'/'things.py').exists(), exported.stderr
    return root


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    "The project with its documentation built; for tests that only read"
    root = make_project(tmp_path_factory.mktemp('docs'))
    built = build(root)
    assert built.returncode == 0, built.stderr
    return root


@pytest.fixture
def copy(project, tmp_path): return shutil.copytree(project, tmp_path/'copy')


@pytest.fixture(scope='module')
def things(project): return (project/'_md'/'things.md').read_text()


def test_pages_are_named_without_numbers(project):
    pages = {p.relative_to(project/'_md').as_posix() for p in (project/'_md').rglob('*.md')}
    assert pages == {'index.md', 'things.md', 'index_module.md', 'tutorials/grand_tour.md', 'tutorials/alive.md'}


def test_function_is_documented_once(things):
    assert things.count('### weigh { #weigh .api }') == things.count('def weigh(') == 1
    assert 'def weigh(thing: str | None, *, scale: float = 1.5) -> float\n' in things
    assert '| <code>thing</code> | <code>str &#124;<wbr> None</code> |  | what to weigh, or `None` |' in things
    assert r'| <code>scale</code> | `float` | <code>1.5</code> | grams \| a unit, `{x}` or &#123;y} |' in things
    assert '| **Returns** | `float` |  | its weight |' in things
    assert re.search(r'\[source\]\(https://github.com/someone/tiny/blob/main/tiny/things.py#L\d+\)', things)
    assert 'Weigh a [`Box`](things.md#box) or another thing' in things


def test_classes_are_documented_with_their_methods(things):
    for heading in ('### Lid { #lid .api }', '### Box { #box .api }', '#### Box.fill { #box.fill .api data-toc-label="fill" }',
                    '#### Box.full { #box.full .api data-toc-label="full" }', '#### Box.empty { #box.empty .api data-toc-label="empty" }'): assert things.count(heading) == 1, heading
    assert 'class Box(lid: Lid = None)' in things and 'def fill(thing)' in things and 'property full -> bool' in things
    assert things.index('### Lid') < things.index('### Box')
    assert '| <code>lid</code> | [`Lid`](things.md#lid) | <code>None</code> | what closes it |' in things
    assert '| <code>size</code> | `int` | <code>3</code> | in centimetres |' in things
    assert '| <code>where</code> | <code>None</code> | goes there |' in things


def test_source_link_points_at_the_definition(project, things):
    line = int(re.search(r'### Box \{.*?things\.py#L(\d+)', things, re.S)[1])
    assert (project/'tiny'/'things.py').read_text().splitlines()[line - 1].startswith('class Box')


def test_hidden_cells_and_private_names_stay_hidden(things):
    for hidden in ('hidden test', 'Not for the public', 'Not shown either', 'private method', 'default_exp', 'from dataclasses',
                   'the source is not shown', 'this output is not shown'): assert hidden not in things, hidden
    assert 'print("only the source")' in things


def test_links_to_symbols(things):
    assert '[`weigh`](things.md#weigh) and [`Box.fill`](things.md#box.fill) are linked; `_secret` and `internal` are not' in things
    assert '[see `weigh` here](https://example.org/elsewhere)' in things


def test_outputs(project, things):
    figure = re.search(r'!\[a curve\]\((things_files/\w+\.png)\)\{ width="320" \}', things)
    assert (project/'_md'/figure[1]).read_bytes() == base64.b64decode(PNG)
    assert '<div class="nb-html">\n<table>\n<tr><td>cell</td></tr>\n</table>\n</div>' in things
    assert '````{ .text .nb-output .no-copy }\n```\nfences\n```\n````' in things
    assert '\nIntSlider(value=3)\n' in things and 'widget-view' not in things
    assert '\nValueError: on purpose\n' in things
    assert '\n100%\n' in things and '50%' not in things
    assert '```sh\ntiny --help\ntiny now\n```' in things


def test_an_override_says_what_it_overrides_says(things):
    crate = things[things.index('#### Crate.fill'):things.index('is a property of boxes')]
    assert 'Put something in' in crate and '| <code>thing</code> | goes in |' in crate


def test_inherited_members_are_listed_and_linked(things):
    assert 'From [`Box`](things.md#box): [`empty`](things.md#box.empty), [`full`](things.md#box.full)' in things
    assert '[`Crate.full`](things.md#box.full) is a property of boxes' in things


def test_only_pages_with_formulas_ask_for_them(project, things):
    assert '\nmath: true\n' in things
    for page in ('index', 'tutorials/grand_tour'): assert 'math:' not in (project/'_md'/f'{page}.md').read_text()


def test_stored_widgets(project, things):
    alive = (project/'_md'/'tutorials'/'alive.md').read_text()
    assert '\nwidgets: true\n' in alive and 'IntSlider' not in alive.replace('IntSliderModel', '')
    view, state = re.findall(r'<script type="application/vnd.jupyter.widget-(\w+)\+json">\n(.*?)\n</script>', alive, re.S)
    assert (view[0], json.loads(view[1])['model_id']) == ('view', 'a')
    assert json.loads(state[1])['state']['a']['state']['description'] == '</script>'
    assert (project/'_md'/'vendor'/'widgets'/'embed.js').exists() and 'widgets' not in things


def test_text_for_language_models(project):
    short, full = ((project/'_md'/name).read_text() for name in ('llms.txt', 'llms-full.txt'))
    assert short.startswith('# Tiny\n\n> A small project\n') and '## Tutorials\n\n- [The grand tour](https://example.org/tiny/tutorials/grand_tour/)' in short
    assert f'- [Things]({SITE}/things/): Boxes and how to weigh them' in short
    assert 'def weigh(' in full and 'Prose in the cell of the title' in full and '<table>' not in full


def test_order_of_the_site(copy):
    (copy/'nbs'/'navigation.yml').write_text('- Learn: tutorials\n- Look up:\n  - Boxes: [things]\n  - Other: [index_module]\n')
    assert build(copy).returncode == 0
    nav = (copy/'_mkdocs.yml').read_text()
    assert nav.index('Learn:') < nav.index('tutorials/grand_tour.md') < nav.index('Boxes:') < nav.index('things: things.md')


@pytest.mark.parametrize('text, words', [('- Learn: tutorials\n- Look up: [things]', '01_index.ipynb: nothing leads there'),
                                         ('- Learn: tutorials\n- Look up: [things, thongs]', "there is no page or folder 'thongs'"),
                                         ('- Learn: tutorials\n- Look up: [things, things]', 'or it stands there twice')])
def test_notebooks_that_are_left_out_end_the_build(copy, text, words):
    (copy/'nbs'/'navigation.yml').write_text(text)
    built = build(copy)
    assert built.returncode == 1 and words in built.stderr and 'Traceback' not in built.stderr


def test_callouts(project, things):
    assert '??? warning "Mind the gap"\n\n    It is *wide*:\n\n    ```python\n    x = ":::"\n    ```\n' in things
    assert '!!! tip "Small is good"\n\n    Keep it *small*.\n' in (project/'_md'/'index.md').read_text()


def test_links_between_notebooks(project):
    tour = (project/'_md'/'tutorials'/'grand_tour.md').read_text()
    assert '[things](../things.md#weighing)' in tour and '[`Box`](../things.md#box)' in tour and '[home](../index.md)' in tour
    assert '[kept](../00_things.ipynb)' in tour
    assert '[the tour](tutorials/grand_tour.md)' in (project/'_md'/'index.md').read_text()
    assert '[`look_up`](index_module.md#look_up)' in (project/'_md'/'index_module.md').read_text()


def test_prose_of_the_title_cell_is_kept(project):
    for file in ('_md/index.md', 'README.md'): assert 'Prose in the cell of the title.' in (project/file).read_text()


def test_readme_is_plain_markdown(project):
    readme = (project/'README.md').read_text()
    assert readme.startswith('# Tiny\n') and '> A project of `Box`es' in readme
    assert '![a chart](nbs/images/chart.png)\n' in readme and (project/'nbs'/'images'/'chart.png').exists()
    assert f'[the first page]({SITE}/things/#box)' in readme and f'[the tour]({SITE}/tutorials/grand_tour/)' in readme
    assert 'In short:\n\n- one' in readme
    assert '```text\n42\n```' in readme and 'Answer(42)' in readme
    for absent in ('only here', '<Table object>', 'forty-two', ':::', '.nb-output', 'width='): assert absent not in readme, absent
    assert '> [!TIP]\n> **Small is good**\n>\n> Keep it *small*.' in readme


def test_readme_in_step(copy):
    assert build(copy, '--check-readme').returncode == 0
    write_nb(copy/'nbs'/'index.ipynb', INDEX + [md('One more paragraph.')])
    before = (copy/'README.md').read_text()
    checked = build(copy, '--check-readme')
    assert checked.returncode == 1 and 'README.md differs' in checked.stderr and 'Traceback' not in checked.stderr
    assert (copy/'README.md').read_text() == before
    shutil.rmtree(copy/'_md')
    assert build(copy, '--readme').returncode == 0
    assert (copy/'README.md').read_text() == before + '\nOne more paragraph.\n' and not (copy/'_md').exists()
    assert build(copy, '--check-readme').returncode == 0


@pytest.mark.parametrize('cell, words', [
    (code('fail()', failed('by accident')), 'its stored output is an error, ValueError: by accident'),
    (code('odd', dict(output_type='display_data', metadata={})), 'no `data`'),
    (code('odd', dict(output_type='stream', name='stdout')), 'no `text`'),
    (code('odd', shown(image_png='not base64')), 'odd'),
    (code('odd', shown(application_json='{}')), 'application/json'),
])
def test_broken_outputs_name_notebook_and_cell(copy, cell, words):
    write_nb(copy/'nbs'/'tutorials'/'02_broken.ipynb', [md('# Broken'), cell])
    built = build(copy)
    assert built.returncode == 1 and 'Traceback' not in built.stderr
    assert 'tutorials/02_broken.ipynb, cell c1' in built.stderr and words in built.stderr


def test_symbols_that_are_not_exported_yet_are_named(copy):
    write_nb(copy/'nbs'/'00_things.ipynb', THINGS + [code('#| export\ndef forgotten(): "Not in the module"')])
    built = build(copy)
    assert built.returncode == 1 and '`forgotten` is not in tiny.things' in built.stderr


def test_site_is_built(copy):
    built = mkdocs(copy)
    assert built.returncode == 0, built.stderr
    html = (copy/'_site'/'things'/'index.html').read_text()
    assert 'id="box.fill"' in html and '<code>str &#124;<wbr> None</code>' in html and '<td>cell</td>' in html and re.search(r'or (\{|&#123;)y\}</td>', html)
    assert re.search(r'<a [^>]*href="\.\./tutorials/grand_tour/"', html), 'the navigation lists new notebooks by itself'
    loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]*)|<link(?![^>]*rel="canonical")[^>]*\shref="([^"]*)', html)
    assert loaded and not [a or b for a, b in loaded if '//' in (a or b)], 'pages load nothing from other hosts'
    assert 'data-md-component="source"' not in html, 'the theme would ask the repository host for its stars'


@pytest.mark.parametrize('link', ['[x](00_nowhere.ipynb)', '[x](../00_things.ipynb#nowhere)', '![x](nowhere.png)', '[x](#nowhere)'])
def test_broken_links_end_the_build(copy, link):
    write_nb(copy/'nbs'/'tutorials'/'02_broken.ipynb', [md('# Broken'), md(link)])
    assert build(copy).returncode == 0
    built = mkdocs(copy)
    assert built.returncode != 0 and 'nowhere' in built.stderr and 'tutorials/broken.md' in built.stderr
