"Explanations of real matches: from the library, on the command line, in a figure"
import json
import pytest
from PIL import Image, ImageOps
from image_recommender import Feature, ImageRecommender, PHash, Results
import numpy as np

OFFLINE = '--model', 'efficientnet-lite0'


class Shape(Feature):
    "Logarithm of width / height"
    name, dim, weight = 'shape', 1, .1
    def extract(self, image): return np.log([image.width/image.height]).astype(np.float32)
    def distance(self, query, rows): return np.abs(rows[:, 0] - query[0])


@pytest.fixture
def rec(photos):
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    return rec


def test_a_match_says_why(rec, photos):
    match = rec.similar(photos/'chelsea.png')[0]
    e = match.explain()
    assert sum(line.contribution for line in e.lines) == pytest.approx(match.score)
    text = str(e)
    assert text.startswith('1. kitten.jpg: score 0.') and 'cosine distance' in text and 'of 64 bits differ' in text
    page = e._repr_html_()
    assert 'alt="chelsea.png"' in page and 'alt="kitten.jpg"' in page and len(page) < 100_000
    data = json.loads(json.dumps(e.to_dict(), allow_nan=False))
    assert set(data['palettes']) == {'chelsea.png', 'kitten.jpg'} and data['structure']['position'] == 'upright'

def test_what_it_says_of_structure_is_what_was_measured(rec, photos):
    for match in rec.similar(ImageOps.mirror(Image.open(photos/'chelsea.png')), k=9):
        found = match.explain().structure
        assert abs(found.differing + (PHash.turn_cost if found.position else 0) - match.distances['phash']) <= 2, match

def test_several_queries_of_any_kind(rec, photos):
    cup = Image.open(photos/'coffee.png')
    e = rec.similar([cup, 'chelsea.png', np.asarray(cup), (photos/'rocket.jpg').read_bytes(), *(photos/'grass.png',)*3])[0].explain()
    assert len(e.shown) == 4 and 'not shown: 3' in e._repr_html_()
    assert len(e.plot().axes) > 5

def test_what_is_to_be_avoided_takes_away(rec, photos):
    results = rec.similar('chelsea.png', unlike='coffee.png', k=9)
    cup = next(m for m in results if m.path.name == 'mirrored.webp')
    assert sum(cup.parts[1].values()) < -.1 and 'taken away' in results._repr_html_()
    assert cup.explain().to_dict()['parts'][1]['contributions']['clip'] < 0
    assert sum(line.contribution for line in cup.explain().lines) == pytest.approx(cup.score)

def test_rows_as_a_query_and_files_that_are_gone(rec, photos):
    row = {n: rec.view.rows(n, [0])[0] for n in ('clip', 'color', 'phash')}
    results = rec.similar(row, k=2)
    for path in results.paths: path.unlink()
    for match in results:
        e = match.explain()
        assert str(e) and e.plot() and e.structure is None and e.found.label in e._repr_html_()

def test_a_metric_of_ones_own(photos, tmp_path):
    rec = ImageRecommender(photos, model='efficientnet-lite0', features=[Shape()], store=tmp_path/'store')
    rec.index(progress=False)
    e = rec.similar(photos/'chelsea.png', weights={'shape': 1})[0].explain()
    assert [line.metric for line in e.lines] == ['shape'] and e.structure is None and 'shape' in e._repr_html_()

def test_figure_of_results(rec, photos, tmp_path):
    results = rec.similar([photos/'coffee.png'], k=3)
    results.plot().savefig(tmp_path/'grid.png')
    results[0].explain().plot().savefig(tmp_path/'why.png')
    assert Image.open(tmp_path/'why.png').width > 500
    assert isinstance(results[:2], Results) and results[:2][0].queries == results[0].queries

def test_command_line(photos, sh):
    assert sh('cli', 'index', photos, *OFFLINE)[0] == 0
    code, out, err = sh('cli', 'search', photos/'coffee.png', '--library', photos, '--topk', 2, '--explain')
    assert code == 0 and out.startswith('1. mirrored.webp: score ') and 'cosine distance' in out and str(photos/'sub folder'/'mirrored.webp') in out, err
    code, out, err = sh('cli', 'search', photos/'coffee.png', '--library', photos, '--topk', 1, '--explain', '--json')
    assert code == 0 and json.loads(out)[0]['lines'][0]['metric'] == 'clip', err
