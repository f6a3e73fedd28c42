"Evaluation from end to end: labels in a CSV file, edits, pictures, errors"
import json
import pytest
from PIL import Image
from image_recommender import ImageRecommender

OFFLINE = '--model', 'efficientnet-lite0'


@pytest.fixture
def indexed(photos, sh):
    assert sh('cli', 'index', photos, *OFFLINE)[0] == 0
    (photos/'labels.csv').write_text('path,label\nchelsea.png,cat\nsub folder/kitten.jpg,cat\ncoffee.png,cup\nsub folder/mirrored.webp,cup\n'
                                     'grass.png,ground\ngravel.png,ground\nnowhere.png,ground\n')
    return photos

def test_labels_from_a_file(indexed, sh, tmp_path):
    args = 'cli', 'evaluate', '--library', indexed, '--labels', indexed/'labels.csv', '-k', 2
    code, out, err = sh(*args, '--json', '--plot', tmp_path/'plot.png', '--worst', tmp_path/'worst.png')
    assert code == 0, err
    assert '1 of 7 labelled images are not in the library, the first is nowhere.png' in err
    got = json.loads(out)
    assert got['queries'] == 6 and set(got['groups']) == {'cat', 'cup', 'ground'}
    assert set(got['measures']) == {'clip', 'color', 'phash', 'fused'}
    fused = got['measures']['fused']
    assert set(fused) == {'mAP@2', 'P@2', 'R@2', 'nDCG@2', '1-NN'} and fused['1-NN']['mean'] == 1
    assert fused['1-NN']['low'] <= fused['1-NN']['mean'] <= fused['1-NN']['high']
    assert all(Image.open(tmp_path/f).width > 300 for f in ('plot.png', 'worst.png'))
    code, out, err = sh(*args)
    assert code == 0 and out.startswith('6 images ask among 6 with 3 labels.') and '1.000 (1.000–1.000)' in out

def test_edits_find_their_originals(indexed):
    rec = ImageRecommender(indexed)
    found = rec.evaluate(sample=3, progress=False)
    assert len(found.groups) == 3*23 and found.df.loc['fused', 'R@1'] > .85
    assert set(found.engine) == {'recall_at_10', 'top_5_as_exact'} and min(found.engine.values()) > .9
    assert rec.evaluate(sample=3, progress=False).to_dict() == found.to_dict()
    assert found.worst(2)._repr_html_().count('<img') == 2*(1+10)

def test_labels_that_cannot_be_used(indexed, sh):
    rec = ImageRecommender(indexed)
    with pytest.raises(ValueError, match='at least two labels'): rec.evaluate('folder')
    with pytest.raises(ValueError, match='no two different images'): rec.evaluate({'chelsea.png': 'cat', 'coffee.png': 'cup'})
    code, out, err = sh('cli', 'evaluate', '--library', indexed, '--labels', 'nowhere.csv')
    assert code == 1 and 'nowhere.csv' in err and 'Traceback' not in err
