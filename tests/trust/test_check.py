"""Faults that were put there on purpose: `check` finds each, `--repair` mends what can be mended, exit codes tell them apart"""
import json, os, shutil, subprocess, sys
from collections import Counter
import numpy as np
import pytest
from image_recommender.check import check_library
from . import victim
from .test_kill import paint

OK, UNUSABLE, FAULTS, LOCKED = 0, 1, 3, 4


@pytest.fixture
def library(tmp_path):
    for i in range(120): paint(tmp_path/'pictures'/f'{i//40}'/f'{i:03}.png', i)
    library = victim.tiny_library(tmp_path/'pictures')
    library.index(progress=False)
    return library


def kinds(library, **kwargs): return Counter(f.kind for f in check_library(library, **kwargs).faults)

def sql(library, *statements):
    with library.db.transaction() as db:
        for s in statements: db.execute(s)


def row(library, name, id, change):
    "Overwrite a stored feature"
    data = bytearray(library.db.features([id], name).tobytes())
    with library.db.transaction() as db: db.execute(f'UPDATE feature_{name} SET data=? WHERE image_id=?', (bytes(change(data)), id))

def flipped(data):
    data[len(data)//2] ^= 4
    return data

DATABASE = {
    'a byte of an embedding': (True, lambda lib: row(lib, 'clip', 5, flipped)),
    'a byte of a histogram': (True, lambda lib: row(lib, 'color', 120, flipped)),
    'a byte of a hash': (True, lambda lib: row(lib, 'phash', 1, flipped)),
    'an embedding cut short': (False, lambda lib: row(lib, 'clip', 7, lambda d: d[:-1])),
    'an embedding that is text': (False, lambda lib: sql(lib, f"UPDATE feature_clip SET data='{'x'*96}' WHERE image_id=9")),
    'a row without an image': (False, lambda lib: sql(lib, "INSERT INTO feature_color SELECT 999, data FROM feature_color WHERE image_id=1")),
    'a row that is gone': (True, lambda lib: sql(lib, 'DELETE FROM feature_phash WHERE image_id=60')),
}

@pytest.mark.parametrize('fault', DATABASE)
def test_features_in_the_database(library, fault):
    needs_data, damage = DATABASE[fault]
    before = {n: library.db.features(range(1, 121), n) for n in ('clip', 'color', 'phash')}
    damage(library)
    assert kinds(library)['features'] == (not needs_data)
    assert kinds(library, read_data=True) == {'features': 2 if fault in ('an embedding cut short', 'an embedding that is text') else 1}
    found = check_library(library, read_data=True, repair=True)
    assert found.ok and len(found.faults)
    assert check_library(library, read_data=True).faults == []
    for n, rows in before.items(): assert np.array_equal(library.db.features(range(1, 121), n), rows), 'it is as it was, not merely consistent'


def test_what_cannot_be_taken_from_the_index_is_computed_again(library):
    before = library.db.features([7], 'clip')
    row(library, 'clip', 7, lambda d: d[:-1])
    found = check_library(library, repair=True) # without reading the data, nobody knows that the index is right
    assert found.ok and len(library) == 119
    assert library.index(progress=False).added == 1 and len(library) == 120
    assert np.array_equal(library.db.features([library.record('0/006.png').id], 'clip'), before)


@pytest.mark.parametrize('at', [.2, .5, .9])
def test_a_page_of_the_database(library, at):
    library.db.checkpoint()
    library.close()
    path = library.store/'image_metadata.db'
    data = bytearray(path.read_bytes())
    start = int(at*len(data))//4096*4096
    data[start:start+4096] = np.random.default_rng(0).bytes(4096)
    path.write_bytes(data)
    found = check_library(library)
    assert [f.kind for f in found.faults] == ['database'] and not found.ok
    found = check_library(library, repair=True)
    assert [f.kind for f in found.faults][0] == 'database' and found.faults[0].repaired
    assert list(library.store.glob('image_metadata.db.damaged-*')), 'the damaged file is kept'
    library.close()
    library = victim.tiny_library(library.root)
    assert library.index(progress=False).total == 120
    assert check_library(library, read_data=True).faults == []
    for r in list(library.db.images())[::10]: assert np.array_equal(library.db.features([r.id], 'clip')[0], victim.Tiny().finish([victim.Tiny().prepare(__import__('PIL.Image').Image.open(library.root/r.path))])[0])


def test_originals(library, monkeypatch):
    (library.root/'0'/'003.png').unlink()
    paint(library.root/'0'/'004.png', 'another'.__len__())
    os.utime(library.root/'0'/'004.png', (1, 1))
    rotten = library.root/'0'/'005.png'
    info = rotten.stat()
    rotten.write_bytes(bytes(flipped(bytearray(rotten.read_bytes()))))
    os.utime(rotten, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert kinds(library) == {'original missing': 1, 'original changed': 1}
    assert kinds(library, read_data=True) == {'original missing': 1, 'original changed': 2}
    assert not check_library(library, read_data=True, repair=True).ok, 'originals are not repaired'
    shutil.rmtree(library.root/'2')
    (library.root/'2').mkdir()
    away = [f for f in check_library(library).faults if f.kind == 'original missing' and 'disk connected' in f.cure]
    assert len(away) == 40


def check(library, *args):
    p = subprocess.run([sys.executable, '-m', 'image_recommender.cli', 'check', '--library', str(library.root), *args], capture_output=True, text=True, timeout=60)
    assert 'Traceback' not in p.stderr
    return p.returncode, p.stdout+p.stderr


def test_exit_codes(library, tmp_path):
    assert check(library)[0] == OK
    row(library, 'clip', 5, flipped)
    assert check(library)[0] == OK
    code, said = check(library, '--read-data')
    assert code == FAULTS and '0/004.png (clip)' in said
    code, said = check(library, '--read-data', '--json')
    assert code == FAULTS and [f['kind'] for f in json.loads(said)['faults']] == ['features']
    code, said = check(library, '--read-data', '--repair')
    assert code == OK and 'repaired' in said
    from image_recommender.lock import writing
    with writing(library.store, 'index()'):
        code, said = check(library)
        assert code == LOCKED and f'process {os.getpid()}' in said
    library.close()
    (library.store/'image_metadata.db').write_bytes(b'no database '*1000)
    for f in library.store.glob('image_metadata.db-*'): f.unlink()
    code, said = check(library, '--repair')
    assert code == UNUSABLE and 'backup' in said
    (library.store/'image_metadata.db').unlink()
    code, said = check(library)
    assert code == UNUSABLE and 'not indexed' in said


def test_a_newer_store_is_not_touched(library):
    library.db.set_setting('schema_version', 99)
    library.close()
    before = (library.store/'image_metadata.db').read_bytes()
    code, said = check(library, '--repair')
    assert code == UNUSABLE and 'newer version' in said
    assert (library.store/'image_metadata.db').read_bytes() == before
