"Libraries that change: moved, copied and deleted files, disks that are not connected, other processes, full disks"
import os, shutil, subprocess, sys
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender, StoreError
from image_recommender import ann as ann_module, index as index_module
from image_recommender.database import Database


def library(folder, **kw): return ImageRecommender(folder, model='efficientnet-lite0', **kw)

def counting(rec):
    "Count what goes through the network"
    embedder, seen = rec.embedder, []
    finish = embedder.finish
    embedder.finish = lambda prepared: seen.extend(prepared) or finish(prepared)
    return seen

def random_library(store, n, dim=32, seed=0, **kw):
    rng = np.random.default_rng(seed)
    clip = rng.normal(size=(40, dim))[rng.integers(40, size=n)] + .6*rng.normal(size=(n, dim))
    return ImageRecommender.from_features(store, [f'{i}.jpg' for i in range(n)], clip=clip, phash=rng.integers(2**63, size=n),
                                          color=rng.dirichlet(np.ones(8), (n, 3)).reshape(n, 24), **kw)


def test_moved_and_copied_files_are_not_computed_again(photos):
    rec = library(photos)
    rec.index(progress=False)
    ids = {r.path: r.id for r in rec.db.images()}
    seen = counting(rec)
    (photos/'sub folder').rename(photos/'renamed')
    (photos/'grass.png').rename(photos/'renamed'/'lawn.png')
    shutil.copy(photos/'coins.png', photos/'money.png')
    os.utime(photos/'camera.png')
    report = rec.index(progress=False)
    assert (report.moved, report.added, report.copied, report.removed, report.total, seen) == (3, 1, 1, 0, 11, [])
    now = {r.path: r.id for r in rec.db.images()}
    assert now['renamed/lawn.png'] == ids['grass.png'] and now['renamed/kitten.jpg'] == ids['sub folder/kitten.jpg']
    assert rec.similar(photos/'coins.png').paths[0] == photos/'money.png'
    assert rec.similar(photos/'chelsea.png').paths[0] == photos/'renamed'/'kitten.jpg'
    assert rec.index(progress=False).added == 0

def test_interrupted_move_is_finished_by_the_next_run(photos):
    rec = library(photos)
    rec.index(progress=False)
    (photos/'sub folder').rename(photos/'renamed')
    assert rec.index(limit=1, progress=False).moved == 1
    report = rec.index(progress=False)
    assert (report.moved, report.removed, report.total) == (1, 0, 10)

def test_an_empty_folder_is_a_disk_that_is_not_connected(photos, tmp_path):
    rec = library(photos)
    rec.index(progress=False)
    shutil.move(photos/'sub folder', tmp_path/'disk')
    (photos/'sub folder').mkdir()
    report = rec.index(progress=False)
    assert (report.missing, report.removed, report.total) == (2, 0, 10) and 'Is its disk connected' in str(report)
    assert rec.similar(photos/'chelsea.png').paths[0].name == 'kitten.jpg'
    (photos/'sub folder').rmdir()
    shutil.move(tmp_path/'disk', photos/'sub folder')
    seen = counting(rec)
    report = rec.index(progress=False)
    assert (report.missing, report.added, report.total, seen) == (0, 0, 10, [])
    shutil.rmtree(photos/'sub folder')
    assert rec.index(progress=False).removed == 2

def test_removed_stays_removed_until_added(photos):
    rec = library(photos)
    rec.index(progress=False)
    assert rec.remove(['coins.png', photos/'grass.png']) == 2
    assert len(rec) == 8 and rec.index(progress=False).total == 8 and (photos/'coins.png').exists()
    assert photos/'coins.png' not in rec.similar(photos/'camera.png', k=20).paths
    report = rec.add([photos/'coins.png', Image.open(photos/'coffee.png').rotate(90, expand=True)])
    assert (report.added, len(rec)) == (2, 10)
    assert rec.similar(Image.open(photos/'coffee.png').rotate(90, expand=True)).paths[0].parent == photos/'added'
    with pytest.raises(KeyError, match='not indexed'): rec.remove(99)
    with pytest.raises(ValueError, match='copy it there'): rec.add(photos.parent/'elsewhere.jpg')

def test_a_library_sees_what_another_process_wrote(photos):
    rec = library(photos)
    rec.index(progress=False)
    assert len(rec) == 10
    Image.open(photos/'coins.png').rotate(180).save(photos/'turned.png')
    code = f"from image_recommender import ImageRecommender; ImageRecommender({str(photos)!r}, ann='binary').index(progress=False)"
    subprocess.run([sys.executable, '-c', code], check=True)
    assert len(rec) == 11 and rec.view.generation.engine.name == 'binary'

def test_few_new_images_wait_beside_the_index(tmp_path):
    rec = random_library(tmp_path/'store', 1000)
    generation = rec.view.generation.folder.name
    rng, db = np.random.default_rng(1), rec.db
    def add(n, start):
        rows = dict(clip=rng.normal(size=(n, 32)), phash=rng.integers(2**63, size=(n, 1)), color=rng.dirichlet(np.ones(8), (n, 3)).reshape(n, 24))
        rows['clip'] /= np.linalg.norm(rows['clip'], axis=1, keepdims=True)
        from image_recommender.database import ImageRecord
        return db.add([ImageRecord(f'new {start+i}.jpg', 0, 0, b'', 1, 1, '') for i in range(n)], rows), rows
    ids, rows = add(50, 0)
    rec._refresh(db, rec._features(db))
    assert rec.view.generation.folder.name == generation and len(rec) == 1050
    found = rec.similar({n: r[7] for n, r in rows.items()}, k=1)[0]
    assert found.id == ids[7] and found.score == pytest.approx(1, abs=1e-3)
    db.remove([3, ids[7]])
    assert len(rec) == 1048 and 3 not in {m.id for m in rec.similar(4, k=1047)}
    add(1, 50)
    rec._refresh(db, rec._features(db))
    assert rec.view.generation.folder.name != generation and len(rec.view.generation) == len(rec) == 1049
    assert len(db.changed_since(0)) == 0

@pytest.mark.parametrize('ann', ['annoy', 'binary', 'exact', 'auto'])
def test_fused_search_finds_what_a_full_scan_finds(tmp_path, ann):
    rec = random_library(tmp_path/'store', 12_000, ann=ann)
    asked = range(1, 12_000, 200)
    for weights in (None, {'clip': 1}, {'color': .5, 'phash': .5}):
        full = rec.similar_many(asked, weights=weights, exact=True)
        quick = rec.similar_many(asked, weights=weights)
        same = [len({m.id for m in a} & {m.id for m in b})/5 for a, b in zip(full, quick)]
        assert np.mean(same) >= .97, (ann, weights)

def test_recall_that_cannot_be_reached_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(ann_module.AnnoyEngine, 'candidates', lambda self, q, n: np.arange(min(n, len(self))))
    rec = random_library(tmp_path/'store', 2000, recall=.9)
    about = rec.view.generation.manifest['ann']
    assert about['recall_at_10'] < .1 and about['recall_target'] == .9
    assert rec.similar(1)[0].score > 0

def test_interrupted_build_leaves_the_old_generation(tmp_path, monkeypatch):
    rec = random_library(tmp_path/'store', 500)
    before = [m.id for m in rec.similar(5)]
    def interrupt(*args): raise KeyboardInterrupt
    monkeypatch.setattr(index_module, 'build_engine', interrupt)
    with pytest.raises(KeyboardInterrupt): ImageRecommender(tmp_path/'store', ann='binary')._refresh(Database(tmp_path/'store'/'image_metadata.db'), rec._features(rec.db))
    assert [p.name for p in (tmp_path/'store'/'generations').iterdir()] == ['000001']
    assert [m.id for m in ImageRecommender(tmp_path/'store').similar(5)] == before

def test_no_room_for_an_index_is_said_before_it_is_built(photos, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(StoreError, match='needs about .* MB for the index and has 0 MB free'): library(photos).index(progress=False)
    monkeypatch.undo()
    assert library(photos).index(progress=False).total == 10

@pytest.mark.skipif(sys.platform != 'linux' or not hasattr(os, 'geteuid') or os.geteuid() != 0, reason='mounts a small file system')
def test_full_disk_is_an_error_message(tmp_path, monkeypatch):
    disk = tmp_path/'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=9m', 'tmpfs', disk], capture_output=True).returncode: pytest.skip('cannot mount')
    try:
        rows = np.random.default_rng(0).normal(size=(40_000, 64)).astype(np.float16)
        np.save(disk/'clip.npy', rows)
        with pytest.raises(StoreError, match='could not be built.*disk is full'): ann_module.AnnoyEngine._build_apart(disk, 50)
        for f in disk.iterdir(): f.unlink()
        rec = random_library(disk/'store', 2500)
        before = [m.id for m in rec.similar(5)]
        (disk/'ballast').write_bytes(bytes(shutil.disk_usage(disk).free - 300_000))
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10**9, 0, 10**9)) # as if the rest was used up meanwhile
        with pytest.raises(OSError): ann_module._grow_annoy(rows[:3000], disk/'new.ann', 50, on_disk=False)
        (disk/'new.ann').unlink()
        for ann in ('exact', 'binary'):
            with pytest.raises((OSError, StoreError), match='No space left|is full'): ImageRecommender(disk/'store', ann=ann)._refresh(Database(disk/'store'/'image_metadata.db'), rec._features(rec.db))
        assert [m.id for m in ImageRecommender(disk/'store').similar(5)] == before
    finally: subprocess.run(['umount', '-l', disk], check=True)

def test_without_annoy_sign_bits_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(ann_module, '_annoy', lambda: None)
    with pytest.warns(UserWarning, match="'binary' is used instead"): rec = random_library(tmp_path/'store', 300)
    assert rec.view.generation.engine.name == 'binary'
    with pytest.raises(StoreError, match='pip install annoy'): ImageRecommender(tmp_path/'store', ann='annoy')

def test_a_change_of_runtime_is_said(photos, monkeypatch):
    from image_recommender import embedding, library as library_module
    rec = library(photos, runtime='torch')
    rec.index(progress=False)
    assert rec.db.setting('runtimes') == ['torch'] and rec.view.generation.manifest['runtimes'] == ['torch']
    assert library(photos).embedder.runtime == 'torch', 'whatever is installed by now'
    rec.db.set_setting('runtimes', ['torch', 'onnx'])
    for module in (embedding, library_module): monkeypatch.setattr(module, 'onnx_installed', lambda: False)
    with pytest.warns(UserWarning, match="'onnx'; here the network is run by 'torch' on cpu.*pip install"): library(photos).embedder
    with pytest.raises(ImportError, match='pip install'): library(photos, runtime='onnx').embedder

def test_an_older_or_foreign_generation_is_built_anew(photos):
    rec = library(photos)
    rec.index(progress=False)
    manifest = photos/'.image_recommender'/'generations'/'000001'/'manifest.json'
    manifest.write_text(manifest.read_text().replace('"format": 3', '"format": 1'))
    assert len(library(photos)) == 10 # searched without an index until there is a new one
    assert library(photos).index(progress=False).total == 10 and len(library(photos)) == 10
    for f in ('image_metadata.db', 'image_metadata.db-wal', 'image_metadata.db-shm'): (photos/'.image_recommender'/f).unlink(missing_ok=True)
    (photos/'coins.png').unlink()
    new = library(photos)
    assert new.index(progress=False).total == len(new) == 9

def test_a_run_with_nothing_to_do_is_light(photos):
    library(photos).index(progress=False)
    code = f"import sys; from image_recommender import ImageRecommender as R; R({str(photos)!r}).index(progress=False); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == 'False'

def test_import_is_light():
    code = "import sys, image_recommender; image_recommender.ImageRecommender; print([m for m in ('torch', 'open_clip', 'onnxruntime', 'faiss') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'
