"""Every file of an index, damaged in every way: a clear error that names it, never a dead interpreter, and `index()` makes it anew"""
import hashlib, json, multiprocessing, os, shutil, sys, traceback
from pathlib import Path
import numpy as np
import pytest
from image_recommender import ann as ann_module
from image_recommender import index as index_module
from image_recommender.connection import StoreError
from image_recommender.features import ColorHistogram, PHash
from image_recommender.index import Generation, current_generation, refresh_generation
from image_recommender.library import Library
from .victim import Tiny

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='forks')
ENGINES = [e for e in ('annoy', 'binary', 'exact', 'faiss') if not ann_module.ENGINES[e].missing()]


class Random(Tiny): dim, signature = 48, 'given'

FEATURES = [Random(), ColorHistogram(), PHash()]

def make(folder, engine, seed=0, n=400):
    "A library of random rows; another seed is another library"
    rng = np.random.default_rng(seed)
    arrays = dict(clip=rng.normal(size=(n, 48)).astype(np.float32), color=rng.random((n, 24)).astype(np.float32), phash=rng.integers(2**63, size=n).astype(np.uint64))
    return Library.from_features(folder, [f'{i}.jpg' for i in range(n)], ann=engine, **arrays)


def apart(function, *args):
    "The outcome of a function in a process of its own, which it may kill: a value, or the exception"
    here, there = multiprocessing.Pipe(False)
    def work():
        try: there.send(function(*args))
        except Exception as e: there.send((type(e).__name__, str(e)) if isinstance(e, StoreError) else ('UNEXPECTED', traceback.format_exc()))
    p = multiprocessing.get_context('fork').Process(target=work)
    p.start()
    answer = here.recv() if here.poll(60) else None
    p.join(5)
    assert p.exitcode == 0 and answer is not None, f'the interpreter died ({p.exitcode})'
    return answer


def search(folder):
    "Open it and look at all that is mapped"
    generation = Generation.open(folder, FEATURES)
    for i in range(20):
        query = np.asarray(generation.arrays['clip'][i], np.float32)
        found = generation.engine.candidates(query, 10)
        assert ((found >= 0) & (found < len(generation))).all()
    return 'searched', [float(np.abs(a.astype(np.float64)).sum()) for a in generation.arrays.values()]


def swapped(data, other): return other

def flipped(at): return lambda data, other: data[:int(at*(len(data)-1))] + bytes([data[int(at*(len(data)-1))] ^ 16]) + data[int(at*(len(data)-1))+1:]

def page(at):
    def flip(data, other):
        start = int(at*max(len(data)-4096, 0))
        return data[:start] + bytes(b ^ 255 for b in data[start:start+4096]) + data[start+4096:]
    return flip

WAYS = {'cut to nothing': lambda d, o: b'', 'cut by half': lambda d, o: d[:len(d)//2], 'cut by a byte': lambda d, o: d[:-1], 'a byte longer': lambda d, o: d+b'x', 'zeros': lambda d, o: bytes(len(d)),
        **{f'a bit flipped at {at}': flipped(at) for at in (0, .01, .5, .99, 1)}, **{f'a page flipped at {at}': page(at) for at in (0, .5, 1)},
        'the file of another library': swapped}


@pytest.mark.parametrize('engine', ENGINES)
def test_each_file_damaged_in_each_way(tmp_path, engine, many):
    make(tmp_path/'other', engine, seed=1)
    rec = make(tmp_path/'store', engine)
    store, db = tmp_path/'store', rec.db
    folder, other = store/'generations'/current_generation(store), tmp_path/'other'/'generations'/'000001'
    sound = apart(search, store)
    assert sound[0] == 'searched'
    files, cases = [p for p in sorted(folder.iterdir()) if p.name != 'verified.json'], 0
    assert len(files) >= 6
    for path in files:
        good, info = path.read_bytes(), path.stat()
        for way, change in WAYS.items():
            if not (engine == 'annoy' or many(False, True)) and way not in ('cut by half', 'zeros', 'a bit flipped at 0.5', 'the file of another library'): continue
            bad = change(good, (other/path.name).read_bytes())
            if bad == good: continue
            for keep_times in (False, True)[:many(1 + (engine == 'annoy'), 2)]:
                path.write_bytes(bad)
                if keep_times: os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
                if path.name == 'manifest.json' and change is swapped: # whole, but of files that are not there
                    assert apart(search, store)[0] == 'IndexDamaged'
                    continue
                kind, said = apart(search, store)
                assert kind == 'IndexDamaged' and path.name in said and 'index() rebuilds it' in said, f'{path.name}, {way}, times {"kept" if keep_times else "new"}: {kind} {said}'
                cases += 1
        path.write_bytes(good)
        assert apart(search, store) == sound
    for name in [p.name for p in files]:
        path = store/'generations'/current_generation(store)/name
        path.write_bytes(path.read_bytes()[:-1])
        assert refresh_generation(db, FEATURES, store, ann=engine) is not None
        assert apart(search, store) == sound, 'rebuilt from the database'
    print(f'{engine}: {cases} damaged files')
    assert cases > 20


@pytest.mark.parametrize('gone', ['manifest.json', 'clip.npy', 'index_to_id.json', 'informative.npy', 'the folder', 'current'])
def test_each_file_missing(tmp_path, gone):
    rec = make(tmp_path/'store', 'annoy')
    store = tmp_path/'store'
    if gone == 'the folder': shutil.rmtree(store/'generations')
    elif gone == 'current': (store/'current').write_text('../../other')
    else: (store/'generations'/'000001'/gone).unlink()
    kind, said = apart(search, store)
    assert kind == 'IndexDamaged' and (gone if gone != 'the folder' else 'manifest.json') in said
    assert refresh_generation(rec.db, FEATURES, store) is not None
    assert apart(search, store)[0] == 'searched'


def forge(folder, **changes):
    "A manifest that says something else, with checksums that are right"
    manifest = json.loads((folder/'manifest.json').read_text())
    manifest.update(changes)
    for name in manifest['files']: manifest['files'][name] = dict(size=(folder/name).stat().st_size, sha256=hashlib.sha256((folder/name).read_bytes()).hexdigest())
    manifest['checksum'] = index_module._checksum(manifest)
    (folder/'manifest.json').write_text(json.dumps(manifest))


def test_another_kind_of_features_or_engine(tmp_path):
    make(tmp_path/'store', 'annoy')
    store, folder = tmp_path/'store', tmp_path/'store'/'generations'/'000001'
    manifest = json.loads((folder/'manifest.json').read_text())
    good = (folder/'clip.npy').read_bytes()
    np.save(folder/'clip.npy', np.zeros((400, 32), np.float16))
    forge(folder)
    assert 'another kind than 48 values' in apart(search, store)[1]
    (folder/'clip.npy').write_bytes(good)
    for ann in ('binary', 'faiss', 'nonsense', None):
        forge(folder, ann=dict(manifest['ann'], engine=ann))
        assert apart(search, store)[0] in ('IndexDamaged', 'StoreError'), ann
    forge(folder, count=10**12)
    assert apart(search, store)[0] in ('IndexDamaged', 'StoreError')
    forge(folder, count=400, ann=manifest['ann'])
    assert apart(search, store)[0] == 'searched'


@pytest.mark.parametrize('engine', [e for e in ('annoy', 'faiss') if e in ENGINES])
def test_an_index_that_was_forged_with_its_checksums(tmp_path, engine, many):
    "Numbers that lead out of the file are found before the file is mapped for search: it is refused, or it is harmless"
    make(tmp_path/'store', engine)
    store, folder = tmp_path/'store', tmp_path/'store'/'generations'/'000001'
    path, rng, refused = folder/ann_module.ENGINES[engine].files[0], np.random.default_rng(0), 0
    good = path.read_bytes()
    for i in range(many(60, 3000)):
        words = np.frombuffer(good[:len(good)//4*4], np.int32).copy()
        at = rng.integers(len(words)-4) if i % 2 else int(rng.integers(len(words)//51))*51 % (len(words)-4)
        words[at:at+rng.integers(1, 4)] = rng.choice([-1, 2**31-1, 2**20, 10**6, -2**31, 0, 399, 400, 401])
        path.write_bytes(words.tobytes() + good[len(good)//4*4:])
        forge(folder)
        kind, said = apart(search, store)
        assert kind in ('IndexDamaged', 'StoreError', 'searched'), said
        refused += kind != 'searched'
    print(f'{engine}: {refused} of {i+1} forged indexes refused')
    assert refused > i//10


def test_a_pickle_is_never_read(tmp_path):
    make(tmp_path/'store', 'annoy')
    folder = tmp_path/'store'/'generations'/'000001'
    class Payload:
        def __reduce__(self): return Path.write_text, (tmp_path/'ran', 'x')
    for name in ('clip.npy', 'informative.npy'):
        good = (folder/name).read_bytes()
        np.save(folder/name, np.array([Payload()]*400, object), allow_pickle=True)
        forge(folder)
        assert apart(search, tmp_path/'store')[0] in ('IndexDamaged', 'StoreError')
        (folder/name).write_bytes(good)
    assert not (tmp_path/'ran').exists()
