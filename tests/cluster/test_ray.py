"Extraction on a real Ray cluster: the same features as on one machine, each image exactly once, whatever dies"
import os, signal, subprocess, sys, threading, time
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender
from image_recommender.runners import RayRunner, extract_features

N, SIZE = 60, 4 # images, in shards of so many

@pytest.fixture
def photos(tmp_path):
    folder = tmp_path/'photos'
    folder.mkdir()
    for i in range(N): Image.effect_mandelbrot((160, 120), (-2+i/40, -1, 1, 1), 10+i).convert('RGB').save(folder/f'{i:03}.png')
    (folder/'letter.jpg').write_text('Dear Aunt')
    (folder/'cut.png').write_bytes((folder/'000.png').read_bytes()[:200])
    return folder

def everything(rec):
    "Records without ids, features and bad files of a library"
    names = ['clip', 'color', 'phash']
    return {r.path: (r.size, r.mtime_ns, r.sha256, [rec.db.features([r.id], n)[0].tolist() for n in names]) for r in rec.db.images()}, [str(b) for b in rec.bad]

def same(a, b):
    (images, bad), (others, other_bad) = everything(a), everything(b)
    assert bad == other_bad and list(images) == list(others)
    for path in images:
        *facts, rows = images[path]
        *other_facts, other_rows = others[path]
        assert facts == other_facts
        np.testing.assert_allclose(rows[0], other_rows[0], atol=2e-3) # as a batch of another size is rounded
        assert rows[1:] == other_rows[1:]

def test_two_nodes_and_one_laptop(ray_cluster, second_node, photos, tmp_path):
    here = ImageRecommender(photos, store=tmp_path/'here', model='efficientnet-lite0')
    here.index(progress=False)
    there = ImageRecommender(photos, store=tmp_path/'there', model='efficientnet-lite0')
    report = there.index(progress=False, runner=RayRunner(ray_cluster.address, cpus=1, shard_size=SIZE))
    assert (report.added, report.bad, report.limited_by != '') == (N, 2, True)
    same(here, there)
    assert not (there.store/'shards').exists() or not os.listdir(there.store/'shards')
    again = there.index(progress=False, runner=RayRunner(ray_cluster.address))
    assert again.added == 0

def test_a_node_is_killed(ray_cluster, second_node, photos, tmp_path):
    rec = ImageRecommender(photos, store=tmp_path/'store', model='efficientnet-lite0')
    def kill():
        while not list((tmp_path/'store').glob('shards/*/done/*.json')): time.sleep(.05)
        ray_cluster.remove_node(second_node, allow_graceful=False)
    killer = threading.Thread(target=kill)
    killer.start()
    report = rec.index(progress=False, runner=RayRunner(ray_cluster.address, cpus=1, shard_size=2))
    killer.join()
    assert (report.added, report.total, len(rec)) == (N, N, N)
    here = ImageRecommender(photos, store=tmp_path/'here', model='efficientnet-lite0')
    here.index(progress=False)
    same(here, rec)

def test_the_one_that_directs_is_killed(ray_cluster, photos, tmp_path):
    "Shards that are done are not computed again"
    code = (f'from image_recommender import ImageRecommender; from image_recommender.runners import RayRunner\n'
            f'ImageRecommender({str(photos)!r}, store={str(tmp_path/"store")!r}, model="efficientnet-lite0").index(progress=False, runner=RayRunner({ray_cluster.address!r}, cpus=1, shard_size=3))')
    driver = subprocess.Popen([sys.executable, '-c', code])
    while len(list((tmp_path/'store').glob('shards/*/done/*.json'))) < 4:
        assert driver.poll() is None
        time.sleep(.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(3) # Ray notices that nobody waits for the rest any more
    rec = ImageRecommender(photos, store=tmp_path/'store', model='efficientnet-lite0')
    known = len(rec.db)
    made = {p.name for p in (tmp_path/'store').glob('shards/*/done/*.json')}
    report = rec.index(progress=False, runner=RayRunner(ray_cluster.address, cpus=1, shard_size=3))
    assert known + report.added == N == len(rec)
    assert made # there was something to take over

def test_object_storage_and_a_shard_that_cannot_be_written(ray_cluster, photos, tmp_path):
    where = tmp_path/'features'
    report = extract_features(photos, where, model='efficientnet-lite0', runner=RayRunner(ray_cluster.address, cpus=1, shard_size=10), progress=False)
    assert (report.images, report.bad, report.failed) == (N, 2, {})
    (where/'done/00001.json').unlink()
    (where/'shards/00001.parquet').unlink()
    (where/'shards/00001.parquet').mkdir()
    report = extract_features(photos, where, model='efficientnet-lite0', runner=RayRunner(ray_cluster.address, cpus=1, shard_size=10), progress=False)
    assert list(report.failed) == ['00001'] and 'directory' in str(report).lower()
    (where/'shards/00001.parquet').rmdir()
    report = extract_features(photos, where, model='efficientnet-lite0', runner=RayRunner(ray_cluster.address, cpus=1, shard_size=10), progress=False)
    assert (report.shards, report.computed, report.failed) == (7, 1, {})
    rec = ImageRecommender.from_features(tmp_path/'store', where, root=photos)
    assert len(rec) == N and rec.index(progress=False).added == 0

def test_no_room_no_cluster_no_folder(ray_cluster, photos, tmp_path):
    rec = ImageRecommender(photos, store=tmp_path/'store', model='efficientnet-lite0')
    with pytest.raises(ValueError, match='too few for a worker of 2 and 0'): rec.index(progress=False, runner=RayRunner(ray_cluster.address, cpus=2))
    with pytest.raises(ValueError, match='0 GPUs'): rec.index(progress=False, runner=RayRunner(ray_cluster.address, cpus=1, gpus=1))
    with pytest.raises(ConnectionError, match='127.0.0.1:1'): rec.index(progress=False, runner=RayRunner('127.0.0.1:1'))
    with pytest.raises(ValueError, match='spark'): rec.index(progress=False, runner='spark')
    assert rec.index(progress=False).added == N # here
