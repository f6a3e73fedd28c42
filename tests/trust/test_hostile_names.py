"Names that are code, formulas or control sequences: shown as what they are, in every view"
import csv, json, os, sys
from html.parser import HTMLParser
from pathlib import Path
import pandas as pd
import pytest
import image_recommender.library
from image_recommender import ImageRecommender, cli
from image_recommender.explorer import Explorer, still_html
from image_recommender.loader import display_name
from image_recommender.pictures import QueryPart
from image_recommender.progress import panel_html
from image_recommender.query import Ask
from image_recommender.tidy import groups_html
from image_recommender.visualize import Results, report_html
from .test_database_model import Mean, picture

pytestmark = pytest.mark.skipif(os.name == 'nt' or sys.platform == 'darwin', reason='needs a file system that takes any bytes')
NAMES = ['<script>alert(1)</script>.png', '"><img src=x onerror=alert(1)>.png', "' onmouseover='alert(1).png", '`x` | **b** [a](javascript:alert(1)) ![i](x) # h.png', 'new\nline.png', 'carriage\rreturn\ttab.png', 'rtl\u202egnp.png',
         'esc\x1b[2J\x1b[31m.png', 'bell\x07\x08\x7f\x9b31m.png', '\udcff\udcfe.png', 'é'*125 + '.png', '=cmd()|x.png', '$\\frac{$.png', '{title}{0}%s%(x)s.png', '&lt;b&gt;&amp;.png', '{{7*7}}{% raw %}.png', '--><!--.png', '\u2028\u2029\u200b.png', '+1.png', '@sum.png',
         '</title></style></textarea>.png', 'nul\\x00.png']


def make(folder, contents):
    "A library of {name: content}, stored without a network, and a letter that is no picture"
    for name, content in {**contents, f'{next(iter(contents))[:-4]} letter.png': b'Dear Sir'}.items():
        path = folder/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    rec = ImageRecommender(folder, ann='exact')
    rec.__dict__['embedder'] = Mean()
    rec.report = rec.index(progress=False)
    return rec


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    "Two libraries that differ in their names only"
    here = tmp_path_factory.mktemp('names')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(image_recommender.library, 'make_embedder', lambda *args: Mean())
        hostile = make(here/'a<b>"\x1b[31m\n'/'photos', {n: picture(i//2*3+1) for i, n in enumerate(NAMES)})
        inside = [p.relative_to(hostile.root) for p in hostile.paths] # the other gets names of the same depth that sort as these do
        tame = {f'{i:02}/'*(len(p.parts)-1) + f'{i:02}.png': (hostile.root/p).read_bytes() for i, p in enumerate(inside)}
        yield hostile, make(here/'tame'/'photos', tame)


class Structure(HTMLParser):
    "Elements and names of attributes of a page, and its text"
    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.values = [], '', []
        self.feed(page)
        self.close()
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, sorted(n for n, _ in attrs)))
        self.values += [(n, v or '') for n, v in attrs]
    def handle_endtag(self, tag): self.tags.append('/' + tag)
    def handle_comment(self, data): self.tags.append('comment')
    def handle_decl(self, decl): self.tags.append(decl)
    def handle_pi(self, data): self.tags.append('pi')
    def handle_data(self, data): self.text += data


def first(rec): return rec.paths[0]


def exploring(rec, *queries):
    ui = Explorer(rec, list(queries))
    ui.exploration.upload(first(rec).name, picture(99))
    ui.show()
    return ui


def details(rec, sent):
    ui = exploring(rec, first(rec))
    ui.gallery.send = lambda content, buffers=None: sent.append(content)
    ui._details(int(ui._shown.ids[0]))
    return sent[-1]['why']


PAGES = dict(results=lambda r: r.similar(first(r), k=21)._repr_html_(), parts=lambda r: r.similar([first(r), Ask(r.paths[2], label=first(r).name)], unlike=r.paths[4])._repr_html_(), report=lambda r: report_html(r.similar(first(r), k=21)),
             collapsed=lambda r: r.similar(first(r), collapse=True)._repr_html_(), explanation=lambda r: r.similar([first(r), r.paths[3]], unlike=r.paths[6], k=21)[1].explain()._repr_html_(),
             duplicates=lambda r: r.duplicates()._repr_html_(), duplicates_page=lambda r: page_of(r.duplicates()), compare=lambda r: r.compare(r)._repr_html_(), review=lambda r: groups_html(r.duplicates().review().review.found, 50),
             explorer=lambda r: still_html(exploring(r, *r.paths[:20])), explorer_start=lambda r: still_html(Explorer(r)), explorer_details=lambda r: details(r, []), recommend=lambda r: r.recommend(r.paths[:3])._repr_html_(),
             panel=lambda r: panel_html(1, 2, 0, 1., [p for p in r.paths[:8]]), text=lambda r: Results([m for m in r.similar(1)], [QueryPart(None, first(r).name, 'text'), QueryPart(None, first(r).name, 'color')])._repr_html_(),
             message=lambda r: Results([], message=first(r).name)._repr_html_(), worst=lambda r: evaluation(r).worst()._repr_html_(), evaluation=lambda r: evaluation(r)._repr_html_(), by_group=lambda r: evaluation(r).by_group().to_html(),
             table=lambda r: r.similar(first(r)).df.to_html(), selection=lambda r: Explorer(r).selection.to_html())


def page_of(found):
    found.to_html('page.html')
    return Path('page.html').read_text(encoding='utf-8')


def evaluation(rec):
    return rec.evaluate({p: rec.paths[i//2*2].name.encode('utf-8', 'replace').decode() for i, p in enumerate(rec.paths)}, k=3, progress=False)


@pytest.mark.parametrize('view', PAGES)
def test_no_element_and_no_attribute_comes_from_a_name(pair, view):
    hostile, tame = (Structure(PAGES[view](rec)) for rec in pair)
    assert hostile.tags == tame.tags
    assert len(tame.tags) > 1
    assert not [v for n, v in hostile.values if n in ('href', 'src', 'action') and not v.startswith('data:image/') or n.startswith('on')]
    page = PAGES[view](pair[0])
    page.encode('utf-8', 'replace')
    assert '\x1b' not in page and '\x07' not in page or view in ('text', 'message', 'parts', 'worst', 'evaluation', 'by_group', 'table')


def test_the_structure_sees_what_is_not_escaped(pair):
    assert Structure(f'<p title="{NAMES[1]}">').tags != Structure('<p title="a.png">').tags != Structure(f'<p>{NAMES[0]}</p>').tags


def test_names_are_shown_as_they_are(pair):
    rec, _ = pair
    text = Structure(report_html(rec.similar(first(rec), k=21))).text
    for p in rec.paths: assert display_name(p.name) in text


def test_figures_take_any_name(pair):
    rec, _ = pair
    rec.similar(first(rec), k=21).plot().canvas.draw()
    rec.similar(first(rec))[0].explain().plot().canvas.draw()
    e = evaluation(rec)
    e.plot().canvas.draw(), e.worst().plot().canvas.draw()


def test_the_map_takes_any_name(pair):
    for rec in pair: rec.join(pd.DataFrame({'path': pd.Series([str(p) for p in rec.paths], dtype=object), 'who $x_{$ <b>': pd.Series([NAMES[i % 4].replace('.png', '$\\frac{$') for i in range(len(rec))])}))
    hostile, tame = (Structure(rec.map(color='who $x_{$ <b>')._repr_html_()) for rec in pair)
    assert hostile.tags == tame.tags


def test_markdown_has_no_links_and_no_elements(pair):
    rec, _ = pair
    report = rec.index(progress=False)
    report.engine, report.recall, report.why = 'annoy', .9, '<script>x</script> [a](javascript:alert(1)) `b` | **c** ![d](e)' # as a store from somebody else may say
    marked = report._repr_markdown_()
    for c in '<[`|*!': assert all(marked[i-1] == '\\' for i, x in enumerate(marked) if x == c)


def test_text_has_one_line_for_each_image_and_no_control_characters(pair):
    rec, _ = pair
    results, found = rec.similar(first(rec), k=21), rec.duplicates()
    assert len(repr(results).splitlines()) == 21
    assert len(repr(found).splitlines()) == 1 + 2*min(len(found), 10) + (len(found) > 10)
    for text in (repr(results), repr(found), repr(rec), repr(rec.bad), str(rec.bad[0]), str(rec.report), str(results[3].explain()), repr(found.move_to(rec.root.parent/'x')), repr(found.delete()), repr(rec.similar(1)[0])):
        assert all(c.isprintable() or c == '\n' for c in text), text


def test_pages_and_tables_that_are_saved(pair, tmp_path):
    rec, _ = pair
    found = rec.duplicates()
    found.to_csv(tmp_path/'a.csv'), found.to_json(tmp_path/'a.json'), found.to_html(tmp_path/'a.html'), rec.similar(1).save(tmp_path/'b.html')
    paths = [str(c.path) for g in found for c in g.images]
    assert len(paths) >= 20
    with open(tmp_path/'a.csv', newline='', encoding='utf-8', errors='surrogateescape') as f: assert [r['path'] for r in csv.DictReader(f)] == paths # to the byte: what a spreadsheet takes for a formula is a name
    assert [r['path'] for r in json.loads((tmp_path/'a.json').read_text())] == paths == [r['path'] for r in found.to_dicts()]
    assert json.loads(json.dumps(rec.similar(1, k=21).to_dicts()))[0]['path'] == str(rec.similar(1)[0].path)


@pytest.fixture
def terminal(monkeypatch, capfd):
    "The command line as in a terminal, where click leaves escape sequences alone: exit code, stdout, stderr"
    def run(folder, *args):
        monkeypatch.chdir(folder)
        monkeypatch.setattr('click.utils.should_strip_ansi', lambda *args, **kwargs: False)
        monkeypatch.setattr(sys, 'argv', ['image_recommender', *args])
        with pytest.raises(SystemExit) as end: cli.main()
        out, err = capfd.readouterr()
        assert 'Traceback' not in err and all(c.isprintable() or c == '\n' for c in out + err), (out + err)[:500]
        return end.value.code, out, err
    return run


@pytest.mark.parametrize('args', [['search', NAMES[0]], ['search', NAMES[0], '--explain'], ['search', NAMES[0], '--json'], ['search', NAMES[7]], ['search', 'no\x1b[31m.png'], ['select'], ['select', '--where', 'widht=\x1b[31m'], ['duplicates'], ['duplicates', '--move-to', '../x\x1b[31m'],
                                  ['search', NAMES[0], '--weights', 'cl\x1b[31m=1'], ['search', NAMES[0], '--weights', '\x1b[31m'], ['remove', 'x\x1b[31m'], ['add', 'x\x1b[31m.png'], ['search', NAMES[0], '--color', '\x1b[31m'], ['search', NAMES[0], '--report', '\x1b[31m.html'], ['select', '--table', '\x1b[31m.csv'],
                                  ['search', NAMES[0], '--library', 'no\x1b[31m'], ['search', NAMES[0], '--library', '.', '--store', '\x1b[31m'], ['index', '--model', '\x1b[31m/x', '--reset'], ['recommend', '--like', '\x1b[31m'], ['evaluate', '--labels', '\x1b[31m.csv'], ['fit-weights', '--labels', '\x1b[31m.csv'], ['compare', '\x1b[31m']],
                         ids=lambda a: ' '.join(a).encode('unicode_escape').decode()[:60])
def test_a_terminal_gets_no_control_characters(pair, args, terminal):
    code, out, err = terminal(pair[0].root, *args)
    assert code in (0, 1, 2)
    if args == ['select']: assert len(out.splitlines()) == len(NAMES)


@pytest.mark.parametrize('damage', ['image_metadata.db', 'current', 'manifest.json', 'color.npy'])
def test_a_damaged_library_in_a_hostile_folder(tmp_path, damage, terminal):
    rec = make(tmp_path/'a\x1b[31m\nb'/'photos', {n: picture(i) for i, n in enumerate(NAMES[:4])})
    rec._database.close()
    path, = [p for p in rec.store.rglob('*') if p.name == damage]
    path.write_bytes(b'\x1b[31m nonsense')
    code, out, err = terminal(tmp_path, 'search', NAMES[0], '--library', str(rec.root))
    assert code == 1 and 'a\\x1b[31m' in err
