"Duplicates end to end: found, shown, and dealt with on real files"
import json, os, shutil
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender
from image_recommender.edits import EDITS

OFFLINE = '--model', 'efficientnet-lite0'


@pytest.fixture
def rec(photos):
    cat = Image.open(photos/'chelsea.png')
    shutil.copy(photos/'chelsea.png', photos/'again.png')
    for name in ('mirrored', 'grey', 'half size', 'border'): EDITS[name](cat).save(photos/f'cat {name}.png')
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    return rec

def names(found): return [{c.path.name for c in g.images} for g in found]


def test_all_forms_of_one_picture_are_one_group(rec):
    found = rec.duplicates()
    cats = {'chelsea.png', 'again.png', 'kitten.jpg', 'cat mirrored.png', 'cat grey.png', 'cat half size.png', 'cat border.png'}
    assert names(found) == [cats, {'coffee.png', 'mirrored.webp'}] and found[0].keeper.path.name in ('chelsea.png', 'again.png')
    kinds = {c.path.name: c.kind for c in found[0].copies}
    assert kinds['cat mirrored.png'] == kinds['cat grey.png'] == 'edit'
    assert {c.path.name for c in rec.duplicates('exact')[0].images} == {'chelsea.png', 'again.png'}
    assert len(found.df) == 9 and found.df.keep.sum() == 2
    assert found._repr_html_().count('<figure') == 9

def test_no_chain_swallows_a_collection(tmp_path):
    "A row of images, each near the next: a group holds only what is near its keeper"
    rng = np.random.default_rng(0)
    a, b = (v/np.linalg.norm(v) for v in rng.normal(size=(2, 64)))
    b = (b - a*(a@b)) / np.linalg.norm(b - a*(a@b))
    angles = np.linspace(0, np.pi/2, 200)
    chain = np.cos(angles)[:, None]*a + np.sin(angles)[:, None]*b
    others = rng.normal(size=(800, 64))
    phash = rng.integers(2**63, size=1000).astype(np.uint64)
    rec = ImageRecommender.from_features(tmp_path, [f'{i}.jpg' for i in range(1000)], clip=np.concatenate([chain, others]), phash=phash)
    scale = rec.calibration.scales['clip']['scale']
    for kinds in ('similar', ('edit', 'similar')):
        found = rec.duplicates(kinds)
        assert found
        for g in found:
            rows = [rec.features(c.id)['clip'] for c in g.images]
            assert max(1 - r@rows[0] for r in rows) <= 1.3*scale and len(g) < 100

def test_actions_are_planned_first_and_the_library_follows(rec, photos, tmp_path):
    before = sorted(p.name for p in photos.rglob('*'))
    found = rec.duplicates()
    for plan in (found.move_to(tmp_path/'away'), found.hard_link(), found.delete()): assert not any(s.done for s in plan)
    assert sorted(p.name for p in photos.rglob('*')) == before and not (tmp_path/'away').exists()
    n, keeper = len(rec), found[0].keeper.path
    plan = found.move_to(tmp_path/'away', dry_run=False)
    assert all(s.done for s in plan) and len(plan) == 7 and keeper.exists()
    assert len(rec) == n-7 and len(rec.duplicates()) == 0
    assert (tmp_path/'away'/'sub folder'/'kitten.jpg').exists() and len((tmp_path/'away'/'moved.csv').read_text().splitlines()) == 8
    with pytest.raises(ValueError, match='lies in the library'): found.move_to(photos/'away')

def test_links_only_for_equal_bytes(rec, photos):
    plan = rec.duplicates().hard_link(dry_run=False)
    assert [s.source.name for s in plan if s.done] in (['again.png'], ['chelsea.png'])
    assert os.path.samefile(photos/'again.png', photos/'chelsea.png')
    assert all('no exact copy' in s.problem for s in plan if not s.done)

def test_burst(photos):
    for i, second in enumerate((1, 3, 58)):
        exif = Image.Exif()
        exif[0x0132] = f'2024:05:01 10:00:{second:02}'
        im = Image.open(photos/'rocket.jpg')
        im.crop((8*i, 6*i, im.width-40+8*i, im.height-30+6*i)).save(photos/f'launch {i}.jpg', exif=exif)
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    found = [g for g in rec.duplicates('burst')]
    assert names(found) == [{'launch 0.jpg', 'launch 1.jpg'}] and '2 s apart' in found[0].copies[0].why

def test_on_the_command_line(rec, photos, sh, tmp_path):
    code, out, err = sh('cli', 'duplicates', '--library', photos, '--json')
    assert code == 0 and len(json.loads(out)) == 9, err
    code, out, err = sh('cli', 'duplicates', '--library', photos, '--html', tmp_path/'d.html', '--csv', tmp_path/'d.csv')
    assert code == 0 and 'data:image' in (tmp_path/'d.html').read_text() and len((tmp_path/'d.csv').read_text().splitlines()) == 10
    code, out, err = sh('cli', 'duplicates', '--library', photos, '--move-to', tmp_path/'away')
    assert code == 0 and '--yes' in out and not (tmp_path/'away').exists()
    code, out, err = sh('cli', 'duplicates', '--library', photos, '--move-to', tmp_path/'away', '--yes')
    assert code == 0 and (tmp_path/'away'/'moved.csv').exists()
    old = tmp_path/'old'
    old.mkdir()
    shutil.copy(photos/'coffee.png', old/'cup.png')
    assert sh('cli', 'index', old, *OFFLINE)[0] == 0
    code, out, err = sh('cli', 'compare', photos, '--library', old)
    assert code == 0 and 'cup.png' in out and 'coffee.png' in out, err
    assert sh('cli', 'duplicates', '--library', photos)[0] == 1
