"Questions of several parts and of every kind, from Python and from the command line"
import json
import numpy as np
import pytest
from PIL import Image, ImageOps
from image_recommender import ImageRecommender
from image_recommender.query import Ask

OFFLINE = '--model', 'efficientnet-lite0'


@pytest.fixture
def rec(photos):
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    return rec

def adds_up(results):
    for m in results:
        assert sum(m.contributions.values()) == pytest.approx(m.score)
        assert len(m.parts) == len(m.queries) == len(results.queries)
        assert sum(v for part in m.parts for v in part.values()) == pytest.approx(m.score)


def test_words_find_what_the_network_says_is_near(photos, tiny_clip, tmp_path):
    rec = ImageRecommender(photos, model=tiny_clip, store=tmp_path/'store')
    rec.index(progress=False)
    found = rec.similar(text='a cup of coffee', k=4)
    row = rec.embedder.embed_text(['a cup of coffee'])[0]
    nearest = np.argsort(rec.view.distances('clip', row, np.arange(len(rec))), kind='stable')
    assert [m.id for m in found] == [rec.view.id_at(p) for p in nearest[:4]]
    assert found.queries[0].role == 'text' and found.queries[0].label == 'a cup of coffee'
    assert set(found[0].distances) == {'clip'} and 0 < found[0].chance['clip'] <= 1
    both = rec.similar('coffee.png', text=['a cup', 'a cat'], unlike=Ask(text='a rocket'), k=5)
    adds_up(both)
    assert [q.role for q in both.queries] == ['image', 'text', 'text', 'text'] and both.queries[3].weight < 0
    assert 'a rocket' in str(both[0].explain()) and both[0].explain().plot()
    heavy = rec.similar(['coffee.png', Ask(text='a cat', weight=50)], k=3).paths
    assert heavy[0] in rec.similar(text='a cat', k=3).paths
    with pytest.raises(ValueError, match="'clip'"): rec.similar(text='a cup', weights={'phash': 1})

def test_turned_and_mirrored_copies_are_found_by_structure_alone(rec, photos):
    cat = Image.open(photos/'chelsea.png')
    for turn in range(4):
        for flip in (False, True):
            im = cat.rotate(90*turn, expand=True)
            found = rec.similar(ImageOps.mirror(im) if flip else im, weights={'phash': 1}, k=2)
            assert {p.name for p in found.paths} == {'chelsea.png', 'kitten.jpg'} and found[0].distances['phash'] <= 12
    assert rec.similar(cat, weights={'phash': 1})[0].distances['phash'] == 0

def test_what_is_to_be_avoided_comes_later(rec, photos):
    adds_up(rec.similar('coffee.png', unlike=['chelsea.png', 'rocket.jpg'], k=9))
    away = rec.similar('coffee.png', k=9, unlike='chelsea.png')
    assert away.paths[-1].name == 'kitten.jpg' and away[-1].score < 0 and photos/'chelsea.png' not in away.paths
    assert rec.similar('coffee.png', k=9).paths[-1].name != 'kitten.jpg'

def test_within_is_a_cut_at_a_confidence(rec, photos):
    everything = rec.similar('chelsea.png', k=99)
    for share in (.5, .1, .02):
        kept = rec.similar('chelsea.png', within=share)
        assert kept.paths == [m.path for m in everything if m.chance['score'] <= share]
    nothing = rec.similar('grass.png', within=.001)
    assert len(nothing) == 0 and '1 in 1,000' in repr(nothing) and '1 in 1,000' in nothing._repr_html_()

def test_every_kind_on_the_command_line(photos, sh):
    assert sh('cli', 'index', photos, *OFFLINE)[0] == 0
    find = lambda *args: sh('cli', 'search', '--library', photos, '--json', *args)
    names = lambda out: [m['path'].rsplit('/', 1)[1] for m in json.loads(out)]
    code, out, err = find('coffee.png', '--unlike', 'chelsea.png', '--color', '#903018', '--color', 'black')
    assert code == 0, err
    assert len(json.loads(out)[0]['parts']) == 3
    code, out, err = find('--color', 'white', '--topk', 2)
    assert code == 0 and len(names(out)) == 2, err
    code, out, err = find('coffee.png', '--box', '.25,.1,.75,.85', '--topk', 1)
    assert code == 0 and names(out), err
    code, out, err = find('grass.png', '--within', '.0001')
    assert code == 1 and json.loads(out) == []
    code, out, err = find('--text', 'a cat')
    assert code == 2 and 'knows pictures, not words' in err and 'ViT-B-32' in err
    code, out, err = find('coffee.png', '--color', 'reddish')
    assert code == 2 and 'reddish' in err
