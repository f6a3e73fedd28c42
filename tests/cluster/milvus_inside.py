"Against a real Milvus server; run by test_milvus.py in a network namespace of its own"
import os, signal, subprocess, sys, threading, time
from dataclasses import replace
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender, StoreError
from image_recommender.database import Database, ImageRecord, Store
from image_recommender.loader import BadImage
from image_recommender.milvus import MilvusStore, path_id
from image_recommender.remote import MilvusRecommender
from image_recommender.search import Asked, View
from image_recommender.shards import Shards

class Server:
    "The server of the package milvus; it can be killed and started again"
    def __init__(self, folder):
        from milvus import MilvusServer
        self.make, self.folder, self.port = MilvusServer, str(folder), 19530
        self.start()

    def start(self):
        "A second start takes a minute: the server waits until what the killed one has promised runs out"
        self.server = self.make()
        self.server.set_base_dir(self.folder)
        self.server.config.set('proxy_port', self.port)
        self.server.start()
        self.port = self.server.listen_port # another one, if the system still keeps the old

    def kill(self):
        os.kill(self.server.server_proc.pid, signal.SIGKILL)
        self.server.server_proc.wait()

    def url(self, collection, more=''): return f'milvus://127.0.0.1:{self.port}/{collection}?timeout=20{more}'

@pytest.fixture(scope='session')
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp('milvus'))
    yield server
    server.kill()

@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for i in range(60):
        (folder/f'Album {i%3}').mkdir(exist_ok=True)
        picture = np.array(Image.effect_mandelbrot((160+i, 120), (-2+i/40, -1, 1, 1), 10+i).convert('RGB'))
        picture[..., 1] += np.uint8(4*i) # wraps
        Image.fromarray(picture).save(folder/f'Album {i%3}'/f'{i:03}.{"jpg" if i%2 else "png"}')
    (folder/'letter.jpg').write_text('Dear Aunt')
    return folder

@pytest.fixture(scope='session')
def local(photos, tmp_path_factory):
    rec = ImageRecommender(photos, store=tmp_path_factory.mktemp('local')/'store', model='efficientnet-lite0')
    rec.index(progress=False)
    return rec

@pytest.fixture(scope='session')
def features(local, tmp_path_factory):
    where = tmp_path_factory.mktemp('features')/'f'
    local.export_features(where)
    return where

@pytest.fixture(scope='session')
def remote(server, photos, features):
    rec = ImageRecommender(photos, store=server.url('photos'), model='efficientnet-lite0')
    assert isinstance(rec, MilvusRecommender) and rec.import_features(features) == 60
    return rec

def answer(results): return [(m.path.name, m.score, m.contributions, m.distances) for m in results]

QUESTIONS = [dict(), dict(weights={'clip': 1}), dict(weights={'color': 1}), dict(weights={'phash': 1}), dict(weights={'clip': .2, 'phash': .8}),
             dict(where={'width': '>=180'}), dict(where='Album 1/*'), dict(where={'format': 'PNG', 'size': '>100'}), dict(where={'name': '00*'}), dict(where=lambda r: r.width % 2 == 0)]

# The same answers

@pytest.mark.parametrize('exact', [True, False])
@pytest.mark.parametrize('n', range(10))
def test_ten_questions(local, remote, photos, n, exact):
    query = sorted(photos.rglob('*.*g'))[n*6]
    question = QUESTIONS[n]
    here, there = (rec.similar(query, k=5, exact=exact, **question) for rec in (local, remote))
    assert answer(here) == answer(there) and len(here) == 5
    assert [m.chance for m in here] == [m.chance for m in there]

def test_new_pictures_several_and_recommendations(local, remote, photos, tmp_path):
    new = tmp_path/'new.png'
    Image.effect_mandelbrot((200, 130), (-1, -1, 1, 1), 30).convert('RGB').save(new)
    some = sorted(photos.rglob('*.png'))[:3]
    for ask in (lambda r: r.similar(new), lambda r: r.similar(some, k=3), lambda r: r.similar(new, unlike=some[0]), lambda r: r.similar(color='#3060c0', weights={'color': 1}),
                lambda r: r.similar_many([new, some[1]])[1], lambda r: r.similar(r.look(new)), lambda r: r.similar(new, box=(.1, .1, .8, .8))):
        assert answer(ask(local)) == answer(ask(remote))
    liked = remote.recommend(some, k=5)
    assert len(liked) == 5 and not {m.path for m in liked} & set(some)

def test_what_is_there(local, remote, photos):
    one = sorted(photos.rglob('*.png'))[5]
    assert len(remote) == len(local) == 60
    assert sorted(remote.paths) == sorted(local.paths)
    for name, row in local.features(one).items(): np.testing.assert_array_equal(row, remote.features(one)[name])
    there = remote.record(one)
    assert there.id == path_id(there.path) and there.sha256 == local.record(one).sha256
    assert [m.path for m in remote.similar(there.id, k=3)] == [m.path for m in local.similar(one, k=3)]
    for where in (dict(width='>=200'), 'Album 2/*', {'name': '*1.jpg'}, [one], lambda r: r.height > 1000, {'taken': '2021'}, {'modified': '>2000'}, {'aspect': '>1.5', 'megapixels': '<.03'}):
        assert sorted(remote.select(where)) == sorted(local.select(where)), where
    with pytest.raises(KeyError): remote.similar(12345)
    with pytest.raises(ValueError, match='widht'): remote.select({'widht': 3})
    assert remote.similar(one, where={'width': '>5000'}).message.startswith('No image of the library satisfies')
    with pytest.raises(StoreError, match='needs a local store'): remote.duplicates()

def test_three_thousand(server, tmp_path):
    "More than the calibration looks at, so that it has to travel"
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((100, 32))
    clip = groups[rng.integers(0, 100, 3000)] + .5*rng.standard_normal((3000, 32))
    color = rng.random((3000, 24), 'float32')
    here = ImageRecommender.from_features(tmp_path/'store', [f'{i%7}/{i}.jpg' for i in range(3000)], clip=clip, color=color, phash=rng.integers(0, 2**63, 3000).astype('uint64'))
    here.export_features(tmp_path/'features')
    there = ImageRecommender('.', store=server.url('many'))
    assert there.import_features(tmp_path/'features') == 3000 == len(there)
    found = 0
    for i in range(1, 2000, 200):
        query = {n: here.db.features([i], n)[0] for n in ('clip', 'color', 'phash')}
        exact = here.similar(query, exact=True)
        assert answer(there.similar(query, exact=True)) == answer(exact)
        found += len({m.path.name for m in there.similar(query)} & {m.path.name for m in exact})
        assert [m.path.parent.name for m in there.similar(query, where='3/*')] == ['3']*5
    for where in '3/*', {'name': '*[02468].jpg'}: # a cut that leaves more than a first look finds
        assert {m.path.name for m in there.similar(query, within=1., where=where)} == {m.path.name for m in here.similar(query, within=1., where=where)}
    assert found >= 47 # of 50
    seen = there.similar(query, k=2000).paths
    assert len(seen) == 2000
    for few in (100, 2000): # most of what is like it
        first, second = (rec.recommend([rec.record('5/5.jpg').id, rec.record('0/7.jpg').id], k=20, seen=seen[:few]).paths for rec in (here, there))
        assert len(second) == 20 and not set(second) & set(seen[:few])
        assert len({p.name for p in first} & {p.name for p in second}) >= 16

def test_and_home_again(remote, local, photos, tmp_path):
    assert remote.export_features(tmp_path/'features') == 60
    home = ImageRecommender.from_features(tmp_path/'store', tmp_path/'features', root=photos, model='efficientnet-lite0')
    query = sorted(photos.rglob('*.png'))[3]
    assert answer(home.similar(query)) == answer(local.similar(query)) and home.index(progress=False).added == 0

# One contract, two stores

@pytest.fixture(params=['local', 'milvus'])
def store(request, server, tmp_path):
    db = Database(tmp_path/'image_metadata.db') if request.param == 'local' else MilvusStore(server.url(f'contract_{time.time_ns()}'))
    assert isinstance(db, Store)
    yield db
    db.close()

@pytest.fixture(params=['local', 'milvus'])
def recommender(request, local, remote): return local if request.param == 'local' else remote

def test_contract_view(recommender):
    view, ids = recommender.view, np.array(sorted(r.id for r in recommender.db.images()))
    assert isinstance(view, View) and len(view) == 60
    positions = view.positions(ids)
    assert len(positions) == 60 and (np.diff(positions) > 0).all() and sorted(view.ids_at(positions)) == ids.tolist()
    assert view.positions(np.array([987654321])).tolist() == [] and view.position(987654321) is None
    for id in ids[:3].tolist(): assert view.id_at(view.position(id)) == id
    assert set(view.sample(10)) <= set(positions) and len(view.sample(10)) == 10 and len(view.sample(1000)) == 60
    some = positions[[5, 3, 40]]
    for name, f in view.features.items():
        assert view.rows(name, some).dtype == f.dtype and view.rows(name, some).shape == (3, f.dim)
        np.testing.assert_array_equal(view.rows(name, some[::-1]), view.rows(name, some)[::-1])
        assert view.distances(name, view.rows(name, some[:1])[0], some)[0] < 1e-3
    question = [Asked({n: view.rows(n, some[:1])[0] for n in view.features}, dict(recommender.weights))]
    of = lambda **kwargs: view.candidates([question], view.calibration, 10, **kwargs)[0]
    album = view.choose(recommender, 'Album 1/*')
    assert 20 <= len(album) <= 60 and len(view.choose(recommender, {'width': '>9999'})) == 0
    paths = lambda found: [r.path for r in recommender.db.get_many(view.ids_at(found))]
    for exact in (False, True):
        nearest, inside = of(exact=exact), of(exact=exact, among=album)
        assert len(nearest) >= 10 and some[0] in nearest and (np.diff(nearest) > 0).all()
        assert len(inside) >= 10 and all(p.startswith('Album 1/') for p in paths(inside))
        left = of(exact=exact, without=nearest)
        assert len(left) >= 10 and not set(left) & set(nearest)
        assert len(of(exact=exact, without=positions)) == 0
        rest = of(exact=exact, among=album, without=inside[:3])
        assert set(inside[3:]) <= set(rest) and not set(inside[:3]) & set(rest) and all(p.startswith('Album 1/') for p in paths(rest))

def some(n, start=0, sha=1): return [ImageRecord(f'a/{i}.png', 10+i, 20+i, bytes([sha])*32, 30+i, 40, 'PNG', None if i%2 else 5.5) for i in range(start, start+n)]
def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    clip = rng.standard_normal((n, 8)).astype('float32')
    return dict(clip=(clip/np.linalg.norm(clip, axis=1, keepdims=True)).astype('float16'), color=rng.random((n, 24), 'float32'), phash=rng.integers(0, 2**63, (n, 1)).astype('uint64'))
def declare(db):
    for n, dtype, dim, signature in (('clip', 'float16', 8, 'given'), ('color', 'float32', 24, 'rgb-histogram-8'), ('phash', 'uint64', 1, 'imagehash-phash-64')): db.declare_feature(n, dtype, dim, signature)

def test_contract_settings(store):
    assert store.setting('model') is None and store.setting('model', 'x') == 'x'
    for value in ('ünïcode "quoted" \\ and \n', {'a': [1, .5, None]}, 'x'*200_000, 'short'):
        store.set_setting('anything', value)
        assert store.setting('anything') == value

def test_contract_features(store):
    assert store.declared('clip') is None and store.count_complete(['clip']) == 0 and len(store) == 0
    declare(store)
    declare(store)
    assert store.declared('color') == dict(dtype='float32', dim=24, signature='rgb-histogram-8')
    with pytest.raises(StoreError, match='clip'): store.declare_feature('clip', 'float16', 9, 'given')
    with pytest.raises(StoreError, match='clip 2'): store.declare_feature('clip', 'float16', 8, 'clip 2')

def test_contract_images(store):
    declare(store)
    records, features = some(5), rows(5)
    ids = store.add(records, features)
    assert len(set(ids)) == 5 and len(store) == 5 == store.count_complete(['clip', 'color', 'phash'])
    for name in features:
        np.testing.assert_array_equal(store.features(ids[::-1], name), features[name][::-1])
    assert [replace(r, id=None) for r in store.get_many(ids)] == records
    assert store.get(ids[2]).path == 'a/2.png' == store.find('a/2.png').path and store.get(77) is None and store.find('b') is None
    assert store.ids_at(['a/3.png', 'nothing', 'a/0.png']).tolist() == [ids[3], 0, ids[0]]
    assert store.known([ids[1], 99]).tolist() == [ids[1]]
    assert [r.id for r in store.images()] == sorted(ids) and [r.id for r in store.images(batch=2)] == sorted(ids)
    streamed = {i: row for some_ids, arrays in store.stream(['clip', 'color', 'phash'], batch=2) for i, row in zip(some_ids.tolist(), arrays['color'])}
    assert list(streamed) == sorted(ids)
    for i, row in zip(ids, features['color']): np.testing.assert_array_equal(streamed[i], row)
    with pytest.raises(KeyError): store.get_many([ids[0], 98765])
    with pytest.raises(KeyError): store.features([98765], 'clip')
    both = store.rows(ids, ['color', 'phash'])
    assert list(both) == ['color', 'phash'] and both['phash'].dtype == np.uint64
    np.testing.assert_array_equal(both['phash'], features['phash'])

def test_contract_again_and_away(store):
    declare(store)
    ids = store.add(some(4), rows(4))
    assert store.add(some(4), rows(4, seed=1)) == ids # the same content, computed anew
    np.testing.assert_array_equal(store.features(ids, 'color'), rows(4, seed=1)['color'])
    assert len(store) == 4
    new = store.add(some(1, sha=9), rows(1, seed=2)) # another content
    assert len(store) == 4 and store.find('a/0.png').sha256 == bytes([9])*32
    np.testing.assert_array_equal(store.features(new, 'clip'), rows(1, seed=2)['clip'])
    store.remove([new[0], 4242])
    assert len(store) == 3 and store.find('a/0.png') is None and store.get(new[0]) is None
    with pytest.raises(KeyError): store.features(new, 'clip')
    with pytest.raises((StoreError, ValueError, KeyError)): store.add([ImageRecord('../x.png', 1, 1, b'', 1, 1, '')], rows(1))

def test_contract_bad_files(store):
    for path in ('b.jpg', 'a.jpg', 'ü "x".png'): store.add_bad(BadImage(path, 'is no image'))
    assert [(b.path, b.reason) for b in store.bad] == [(p, 'is no image') for p in ('a.jpg', 'b.jpg', 'ü "x".png')]
    declare(store)
    store.add([ImageRecord('b.jpg', 1, 1, b'1'*32, 1, 1, 'JPEG')], rows(1))
    assert [b.path for b in store.bad] == ['a.jpg', 'ü "x".png']

# What only Milvus has to fear

def fill(server, name, n=6):
    store = MilvusStore(server.url(name))
    declare(store)
    return store, store.add(some(n), rows(n))

def test_half_an_image_is_never_shown(server):
    store, ids = fill(server, 'half')
    store._write('delete', 'color', filter=f'id in [{ids[0]}]') # its colours are gone
    row = dict(store._query('phash', f'id == {ids[1]}', ['*'])[0], sha256='ff'*32) # its hash is that of another content
    store._write('upsert', 'phash', data=[dict(row, vector=rows(1)['phash'][0].tobytes())])
    store._write('delete', 'clip', filter=f'id in [{ids[2]}]') # deleted first
    assert set(store.complete(ids)) == set(ids[3:])
    rec = ImageRecommender('.', store=server.url('half'), model='efficientnet-lite0')
    found = rec.similar(dict(zip(['clip', 'color', 'phash'], (rows(6)[n][0] for n in ('clip', 'color', 'phash')))), k=6)
    assert sorted(m.id for m in found) == sorted(ids[3:])
    assert sorted(m.id for m in rec.similar({'color': rows(6)['color'][0]}, weights={'color': 1}, k=6, exact=True)) == sorted(ids[3:])
    assert len(store) == 5 and store.find('a/2.png') is None

def test_half_an_import_is_never_shown(server, monkeypatch):
    "Features whose files are not at hand have no SHA-256 that could mark them"
    store, records, write = MilvusStore(server.url('unmarked')), some(3, sha=0), MilvusStore._write
    records = [replace(r, sha256=b'') for r in records]
    declare(store)
    ids = store.add(records, rows(3))
    assert set(store.complete(ids)) == set(ids) and store.get(ids[0]).sha256 == b''
    def no_embeddings(self, method, what, **kwargs):
        if what == 'clip': raise StoreError('gone')
        write(self, method, what, **kwargs)
    monkeypatch.setattr(MilvusStore, '_write', no_embeddings)
    with pytest.raises(StoreError, match='gone'): store.add(records[:1], rows(1, seed=9))
    monkeypatch.undo()
    assert set(store.complete(ids)) == set(ids[1:])
    store.add(records[:1], rows(1, seed=9))
    np.testing.assert_array_equal(store.features(ids[:1], 'color'), rows(1, seed=9)['color'])

def test_other_collections(server, photos, features):
    store, _ = fill(server, 'other')
    with pytest.raises(StoreError, match='features of given'): ImageRecommender(photos, store=server.url('other'), model='efficientnet-lite0').import_features(features)
    with pytest.raises(StoreError, match='given to it|another|not with|holds embeddings|built with'): ImageRecommender(photos, store=server.url('other'), model='efficientnet-lite0').similar(sorted(photos.rglob('*.png'))[0])
    store._client.create_collection('foreign_clip', dimension=8)
    with pytest.raises(StoreError, match='foreign_clip was not made by this library'): declare(MilvusStore(server.url('foreign')))
    with pytest.raises(StoreError, match='holds no images yet'): ImageRecommender('.', store=server.url('empty'), model='efficientnet-lite0').similar(1)
    with pytest.raises(StoreError, match='UTF-8'): store.add([ImageRecord(os.fsdecode(b'\xff.png'), 1, 1, b'', 1, 1, '')], rows(1))
    with pytest.raises(StoreError, match='cannot lie in Milvus'): store.declare_feature('edges', 'float32', 3, 'x')
    store._call('release_collection', 'other_clip')
    assert len(MilvusStore(server.url('other'))) == 6 # loaded again

def test_two_importers_at_once(server, photos, features, local):
    def run(): ImageRecommender(photos, store=server.url('twice'), model='efficientnet-lite0').import_features(features)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    rec = ImageRecommender(photos, store=server.url('twice'), model='efficientnet-lite0')
    assert len(rec) == 60
    query = sorted(photos.rglob('*.png'))[0]
    assert answer(rec.similar(query)) == answer(local.similar(query))

def test_index_update_remove(server, photos, tmp_path, local):
    import shutil
    folder = tmp_path/'photos'
    shutil.copytree(photos, folder)
    rec = ImageRecommender(folder, store=server.url('indexed'), model='efficientnet-lite0')
    report = rec.index(progress=False)
    assert (report.added, report.bad, report.total) == (60, 1, 60) and [b.path.name for b in rec.bad] == ['letter.jpg']
    assert rec.index(progress=False).added == 0
    gone, changed = sorted(folder.rglob('*.png'))[:2]
    gone.unlink()
    Image.new('RGB', (50, 40), 'red').save(changed)
    Image.new('RGB', (50, 40), 'blue').save(folder/'new.png')
    report = rec.index(progress=False)
    assert (report.added, report.removed, report.total) == (2, 1, 60)
    assert rec.record(changed).width == 50 and rec.record(gone) is None
    assert rec.remove(folder/'new.png') == 1 and len(rec) == 59
    assert rec.add(folder/'new.png').added == 1 and len(rec) == 60
    assert rec.remove(folder/'new.png') == 1 and rec.update([folder/'new.png']).added == 1 and len(rec) == 60
    from image_recommender.runners import LocalRunner
    again = ImageRecommender(folder, store=server.url('sharded'), model='efficientnet-lite0')
    assert again.index(progress=False, runner=LocalRunner(shard_size=7)).added == 60

# The server dies

def test_killed_while_importing_and_asking(server, photos, features, local):
    url = server.url('killed')
    code = ('import sys; from image_recommender import ImageRecommender; from image_recommender.milvus import MilvusStore; import numpy as np\n'
            'sys.path.insert(0, sys.argv[2]); from milvus_inside import some, rows, declare\n'
            's = MilvusStore(sys.argv[1]); declare(s)\n'
            'for i in range(200): s.add(some(20, 20*i), rows(20, i)); print(20*(i+1), flush=True)')
    writer = subprocess.Popen([sys.executable, '-c', code, url, os.path.dirname(__file__)], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(writer.stdout.readline()) for _ in range(8)][-1]
    server.kill()
    acknowledged = [acknowledged, *[int(line) for line in _lines(writer, 1)]][-1]
    rec = ImageRecommender(photos, store='milvus://127.0.0.1:19530/killed?timeout=2', model='efficientnet-lite0')
    start = time.monotonic()
    with pytest.raises(StoreError, match='127.0.0.1:19530 does not answer'): rec.similar({'clip': np.ones(8)}, weights={'clip': 1})
    assert time.monotonic()-start < 15
    server.start()
    writer.terminate()
    writer.wait()
    store = MilvusStore(server.url('killed', '')) # of its images, all that were acknowledged are whole
    assert len(store.complete([path_id(f'a/{i}.png') for i in range(acknowledged)])) == acknowledged
    assert len(ImageRecommender('.', store=server.url('killed'), model='efficientnet-lite0').similar({'clip': np.ones(8)}, weights={'clip': 1})) == 5

def _lines(process, seconds):
    "What a process still says"
    got = []
    reader = threading.Thread(target=lambda: got.extend(process.stdout), daemon=True)
    reader.start()
    reader.join(seconds)
    return list(got)

def test_shards_come_from_anywhere(features):
    assert Shards(features).missing == []
