"Whole runs on awkward folders: strange names, broken files, interruptions, moved and half-indexed libraries"
import json, os, shutil, sqlite3, subprocess, sys, threading, time
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from importlib.resources import files
from image_recommender import Feature, ImageRecommender, StoreError, loader

posix = pytest.mark.skipif(os.name == 'nt', reason='Windows allows no such file names')


def library(folder, **kw): return ImageRecommender(folder, model='efficientnet-lite0', **kw)


@posix
def test_names_of_every_kind(photos):
    names = ['two words.png', 'a "quoted" \'name\'.png', 'new\nline.png', '<script>alert(1)<\\script>.png', 'ünï — 日本.png',
             '\u202eright to left.png', os.fsdecode(b'not utf-8 \xff\xfe.png'), '-rf.png', 'n'*251 + '.png', '$x_$%s{}.png']
    for i, name in enumerate(names): Image.open(photos/'coffee.png').rotate(i+1).save(os.path.join(photos, name))
    rec = library(photos)
    assert rec.index(progress=False).added == 20 and rec.bad == []
    assert {os.fspath(p.name) for p in rec.paths} >= set(names)
    for name in names:
        res = rec.similar(photos/name, k=19)
        assert len(res) == 19 and os.path.join(photos, name) not in map(str, res.paths)
        page = res._repr_html_()
        assert '<script>' not in page
        json.dumps(res.to_dicts())
        page.encode()
    rec.similar(photos/names[0]).plot().savefig(photos.parent/'names.png')


def test_bad_files_of_every_kind(photos, tmp_path):
    good = (photos/'chelsea.png').read_bytes()
    jpeg = (photos/'rocket.jpg').read_bytes()
    (photos/'truncated.jpg').write_bytes(jpeg[:len(jpeg)//2])
    (photos/'truncated.png').write_bytes(good[:len(good)//2])
    (photos/'letter.jpg').write_text('Dear Sir or Madam')
    (photos/'empty.jpg').touch()
    (photos/'noise.gif').write_bytes(b'GIF89a' + bytes(range(256)))
    (photos/'lies.jpg').write_bytes(good)
    if os.name == 'posix': os.symlink(photos/'nowhere', photos/'dangling.jpg')
    rec = library(photos)
    report = rec.index(progress=False)
    assert (report.added, report.bad) == (11, 5)
    reasons = {b.path.name: b.reason for b in rec.bad}
    assert 'truncated' in reasons['truncated.jpg'] and 'truncated' in reasons['truncated.png']
    assert 'empty' in reasons['empty.jpg'] and 'not an image' in reasons['letter.jpg'] and 'noise.gif' in reasons
    assert rec.similar(photos/'lies.jpg').paths[0].name == 'chelsea.png'
    (photos/'letter.jpg').write_bytes(jpeg)
    (photos/'empty.jpg').unlink()
    report = rec.index(progress=False)
    assert (report.added, report.bad, report.total) == (1, 3, 12)

def test_an_image_that_turns_bad_is_not_found_any_more(photos):
    rec = library(photos)
    rec.index(progress=False)
    (photos/'coins.png').write_text('ruined')
    report = rec.index(progress=False)
    assert (report.bad, report.total) == (1, 9)
    assert photos/'coins.png' not in rec.similar(photos/'coffee.png', k=20).paths

def test_unreadable_file_keeps_what_is_stored(photos, monkeypatch):
    rec = library(photos)
    rec.index(progress=False)
    def denied(path, *args, **kwargs):
        if Path(path).name == 'coins.png': raise PermissionError(13, 'Permission denied', path)
        return open(path, *args, **kwargs)
    monkeypatch.setattr(loader, 'open', denied, raising=False) # chmod would not bind root
    os.utime(photos/'coins.png', (1, 1))
    report = rec.index(progress=False)
    assert (report.bad, report.total) == (1, 10)
    assert 'no permission' in rec.bad[0].reason
    assert 'coins.png' in [p.name for p in rec.similar(photos/'coffee.png', k=20).paths]
    monkeypatch.undo()
    assert rec.index(progress=False).bad == 0

def test_changed_image_gets_new_features(photos):
    rec = library(photos)
    rec.index(progress=False)
    shutil.copy(photos/'grass.png', photos/'coins.png')
    assert rec.index(progress=False).added == 1
    assert rec.similar(photos/'coins.png').paths[0].name == 'grass.png'
    assert rec.similar(photos/'coins.png')[0].score == pytest.approx(1, abs=1e-3)

def test_folder_can_be_moved(photos, tmp_path):
    library(photos).index(progress=False)
    moved = tmp_path/'elsewhere'/'pictures'
    moved.parent.mkdir()
    photos.rename(moved)
    rec = ImageRecommender(moved)
    assert rec.similar(moved/'chelsea.png').paths[0] == moved/'sub folder'/'kitten.jpg'
    assert rec.index(progress=False).added == 0

def test_store_elsewhere_leaves_the_folder_alone(photos, tmp_path):
    before = sorted(photos.rglob('*'))
    rec = library(photos, store=tmp_path/'my store')
    rec.index(progress=False)
    assert len(rec.similar(photos/'coffee.png')) == 5
    assert sorted(photos.rglob('*')) == before

def test_read_only_store_can_be_searched(photos, monkeypatch):
    library(photos).index(progress=False)
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.W_OK) # permissions would not bind root
    rec = ImageRecommender(photos)
    assert rec.similar(photos/'chelsea.png').paths[0].name == 'kitten.jpg'
    with pytest.raises(StoreError, match='read-only.*store='): rec.index(progress=False)

def test_moved_checkpoint_is_the_same_model(photos, tiny_clip, tmp_path):
    ImageRecommender(photos, model=tiny_clip).index(progress=False)
    shutil.copy(tmp_path/'tiny.pt', tmp_path/'moved.pt')
    rec = ImageRecommender(photos, model=f'tiny-clip/{tmp_path}/moved.pt')
    assert rec.similar(Image.open(photos/'chelsea.png'), weights={'phash': 1})[0].score == 1
    assert rec.similar(Image.open(photos/'chelsea.png')).paths[0].name == 'chelsea.png'

def test_query_in_every_form_gives_the_same_answer(photos):
    rec = library(photos)
    rec.index(progress=False)
    image = Image.open(photos/'coffee.png')
    forms = [image, np.asarray(image), (photos/'coffee.png').read_bytes(), open(photos/'coffee.png', 'rb')]
    expected = [(m.id, round(m.score, 4)) for m in rec.similar(photos/'coffee.png', include_self=True)]
    for form in forms: assert [(m.id, round(m.score, 4)) for m in rec.similar(form)] == expected, type(form)

def test_a_path_means_the_file_that_it_names(photos, tmp_path, monkeypatch):
    rec = library(photos)
    rec.index(progress=False)
    shutil.copy(photos/'grass.png', tmp_path/'coffee.png')
    monkeypatch.chdir(tmp_path)
    assert rec.similar('coffee.png').paths[0].name == 'grass.png', 'a file in the current folder comes before one of the library'
    (tmp_path/'coffee.png').unlink()
    assert rec.similar('coffee.png').paths[0].name == 'mirrored.webp'
    monkeypatch.chdir(photos/'sub folder')
    assert rec.similar('kitten.jpg').paths[0].name == 'chelsea.png'
    if os.name == 'posix':
        os.symlink(photos, tmp_path/'link')
        assert photos/'coffee.png' not in rec.similar(tmp_path/'link'/'coffee.png', k=9).paths

def test_default_search_agrees_with_exact(photos):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(50, 64))
    vectors = centres[rng.integers(50, size=5000)] + .7*rng.normal(size=(5000, 64))
    rec = ImageRecommender.from_features(photos/'store', [f'{i}.jpg' for i in range(5000)], clip=vectors,
                                         color=rng.dirichlet(np.ones(8), (5000, 3)).reshape(5000, 24), phash=rng.integers(2**63, size=5000))
    same = [[m.id for m in rec.similar(i)] == [m.id for m in rec.similar(i, exact=True)] for i in range(1, 51)]
    assert np.mean(same) >= .9
    alone = rec.similar(7, k=20, weights={'clip': 1}, exact=True)
    assert [m.distances['clip'] for m in alone] == sorted(m.distances['clip'] for m in alone)

def test_blank_images_are_no_evidence(tmp_path):
    folder = tmp_path/'scans'
    folder.mkdir()
    for i, grey in enumerate((255, 254, 250, 0, 128)): Image.new('RGB', (300, 400), (grey,)*3).save(folder/f'blank {i}.png')
    for name in ('coffee.png', 'chelsea.png', 'grass.png'): shutil.copy(files('skimage')/'data'/name, folder)
    rec = library(folder)
    rec.index(progress=False)
    for m in rec.similar(folder/'blank 0.png', k=7):
        assert m.contributions['phash'] == 0 and np.isnan(m.distances['phash'])
    assert all(m.contributions['phash'] == 0 for m in rec.similar(folder/'coffee.png', k=7) if 'blank' in m.path.name)

def test_own_metric_joins_an_old_library(photos):
    class Brightness(Feature):
        "Mean grey value"
        name, dim, weight = 'brightness', 1, .1
        def extract(self, image): return np.array([np.asarray(image.convert('L')).mean()/255], np.float32)
        def distance(self, query, rows): return np.abs(rows[:, 0]-query[0])
    library(photos).index(progress=False)
    rec = library(photos, features=[Brightness()])
    with pytest.raises(StoreError, match='brightness.*index'): rec.similar(1)
    rec.index(progress=False)
    match = rec.similar(1, weights={'brightness': 1})[0]
    means = {p: np.asarray(Image.open(p).convert('L')).mean()/255 for p in rec.paths}
    own = rec.paths[0]
    nearest = min((p for p in means if p != own), key=lambda p: abs(means[p]-means[own]))
    assert match.path == nearest
    assert 'brightness' in rec.similar(1)[0].contributions

def test_a_faulty_metric_costs_nothing_that_is_stored(photos):
    class Faulty(Feature):
        name, dim, weight = 'faulty', 1, .1
        def extract(self, image): raise RuntimeError('no luck')
        def distance(self, query, rows): return np.abs(rows[:, 0]-query[0])
    library(photos).index(progress=False)
    report = library(photos, features=[Faulty()]).index(progress=False)
    assert report.bad == 10 and report.total == 0
    assert len(library(photos)) == 10 and library(photos).similar(photos/'chelsea.png').paths[0].name == 'kitten.jpg'
    mended = library(photos).index(progress=False)
    assert (mended.total, mended.bad) == (10, 0)

def test_reset_changes_the_model(photos, tiny_clip):
    rec = library(photos)
    rec.index(progress=False)
    old = rec.features(1)['clip'].shape
    other = ImageRecommender(photos, model=tiny_clip)
    with pytest.raises(StoreError, match='reset=True'): other.index(progress=False)
    assert len(ImageRecommender(photos).similar(1)) == 5
    other.index(reset=True, progress=False)
    assert (old, other.features(1)['clip'].shape) == ((1280,), (32,))
    assert len(ImageRecommender(photos).similar(photos/'coffee.png')) == 5

def test_newer_store_is_refused(photos):
    library(photos).index(progress=False)
    db = sqlite3.connect(photos/'.image_recommender'/'image_metadata.db')
    db.execute("UPDATE settings SET value='99' WHERE key='schema_version'")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match='pip install -U'): ImageRecommender(photos).similar(1)

def test_killed_run_goes_on(photos):
    for i in range(300): Image.open(photos/'coffee.png').resize((150, 100)).rotate(i).save(photos/f'{i:03}.jpg')
    code = f"from image_recommender import ImageRecommender as R; R({str(photos)!r}, model='efficientnet-lite0').index(progress=False)"
    process = subprocess.Popen([sys.executable, '-c', code])
    db, stored = photos/'.image_recommender'/'image_metadata.db', 0
    while stored == 0 and process.poll() is None:
        time.sleep(.05)
        if db.exists():
            try: stored = sqlite3.connect(f'{db.as_uri()}?mode=ro', uri=True).execute('SELECT count(*) FROM feature_clip').fetchone()[0]
            except sqlite3.OperationalError: pass
    process.kill()
    assert process.wait() != 0, 'the run was over before it could be killed'
    rec = library(photos)
    kept = len(rec)
    assert stored <= kept < 310 and len(rec.similar(1)) == 5
    assert sqlite3.connect(db).execute('PRAGMA integrity_check').fetchone() == ('ok',)
    report = rec.index(progress=False)
    assert (report.added, report.total) == (310-kept, 310)

def test_threads_may_search_at_once(photos):
    rec = library(photos)
    rec.index(progress=False)
    expected, wrong = [m.id for m in rec.similar(3)], []
    def ask():
        for _ in range(20):
            if [m.id for m in rec.similar(3)] != expected: wrong.append(1)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert not wrong

def test_import_is_light():
    code = "import image_recommender, sys; print([m for m in ('torch', 'open_clip', 'matplotlib', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
