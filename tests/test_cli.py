"The command line in real processes: steps, options, configuration, exit codes"
import json, os, re
from pathlib import Path
import pytest
from PIL import Image

OFFLINE = '--model', 'efficientnet-lite0'


def test_index_search_json(photos, sh, tmp_path):
    code, out, err = sh('cli', 'index', photos, *OFFLINE)
    assert code == 0, err
    assert '10 images can be searched: 10 added' in out and 'limited by' in out
    code, out, err = sh('cli', 'search', photos/'chelsea.png', '--library', photos, '--topk', 3, '--json')
    assert code == 0, err
    found = json.loads(out)
    assert [m['rank'] for m in found] == [1, 2, 3]
    assert Path(found[0]['path']).name == 'kitten.jpg'
    assert set(found[0]) >= {'rank', 'id', 'path', 'score', 'distances', 'contributions'}
    assert sum(found[0]['contributions'].values()) == pytest.approx(found[0]['score'], abs=1e-5)

def test_classic_three_steps(photos, sh, tmp_path):
    code, out, err = sh('loader', photos)
    assert code == 0 and '10 images are known: 10 added' in out and 'RuntimeWarning' not in err, err
    code, out, err = sh('main', photos/'coffee.png', '--library', photos)
    assert code == 1 and 'index()' in err
    code, out, err = sh('index', photos, *OFFLINE)
    assert code == 0 and '10 images can be searched: 10 added' in out, err
    code, out, err = sh('main', photos/'coffee.png', '--library', photos, '--topk', 5, '--clipk', 20, '--visualize')
    assert code == 0, err
    assert len(out.strip().splitlines()) == 5
    assert out.splitlines()[0].endswith(os.path.join('sub folder', 'mirrored.webp'))
    assert Image.open(tmp_path/'similar.png').width > 300

def test_config_environment_and_options(photos, sh, tmp_path):
    assert sh('cli', 'index', photos, *OFFLINE)[0] == 0
    (tmp_path/'image_recommender.yaml').write_text(f'library: {json.dumps(str(photos))}\ntopk: 2\nweights: {{color: 1}}\n')
    code, out, err = sh('cli', 'search', photos/'coffee.png')
    assert code == 0 and len(out.splitlines()) == 2 and 'clip' not in out, err
    assert len(sh('cli', 'search', photos/'coffee.png', '--topk', 4)[1].splitlines()) == 4
    code, out, err = sh('main', photos/'coffee.png', IMAGE_RECOMMENDER_LIBRARY=str(tmp_path))
    assert code == 1 and 'not indexed yet' in err
    (tmp_path/'image_recommender.yaml').write_text('topkk: 2')
    code, out, err = sh('cli', 'search', photos/'coffee.png')
    assert code == 2 and "did you mean 'topk'" in err

@pytest.mark.parametrize('args, code, words', [
    (['index', 'nowhere'], 2, 'does not exist'),
    (['index', 'photos', '--model', 'resnet'], 2, 'unknown model'),
    (['index', 'photos', '--limit', '0'], 2, 'limit'),
    (['search', 'photos/coffee.png', '--library', 'photos'], 1, 'not indexed yet'),
    (['serach'], 2, 'serach'),
    (['index', 'empty'], 1, 'no image file'),
])
def test_wrong_usage_is_a_sentence(photos, sh, tmp_path, args, code, words):
    (tmp_path/'empty').mkdir()
    got, out, err = sh('cli', *args)
    assert got == code and words in err and 'Traceback' not in err

def test_bad_files_give_code_3(photos, sh):
    (photos/'letter.jpg').write_text('Dear Sir or Madam')
    code, out, err = sh('cli', 'index', photos, *OFFLINE)
    assert code == 3 and re.search(r'bad: .*letter.jpg: not an image', out)
    code, out, err = sh('cli', 'search', photos/'letter.jpg', '--library', photos)
    assert code == 1 and 'not an image' in err and 'Traceback' not in err
    code, out, err = sh('cli', 'search', photos/'letter.jpg', photos/'coffee.png', '--library', photos)
    assert code == 3 and 'mirrored.webp' in out.splitlines()[0] and 'letter.jpg' in err

def test_auto_without_internet_warns_once(photos, sh, tmp_path):
    code, out, err = sh('cli', 'index', photos, HF_HUB_CACHE=str(tmp_path))
    assert code == 0 and err.count('EfficientNet-Lite0 is used') == 1 and 'ViT-B-32' in err
    code, out, err = sh('cli', 'search', photos/'coffee.png', '--library', photos, HF_HUB_CACHE=str(tmp_path))
    assert code == 0 and 'EfficientNet' not in err
