"""Real processes, killed by SIGKILL: whatever the moment, nothing stored is lost, doubled or half there, and the next run goes on"""
import os, re, shutil, signal, sqlite3, subprocess, sys, time
from collections import Counter
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from image_recommender.index import current_generation, remains, verify
from . import victim

BATCH = 64
pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='no SIGKILL here')


def paint(path, seed):
    "A picture of 24 x 24 pixels that no other seed gives"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(256, size=(24, 24, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path/'pictures'
    for i in range(300): paint(folder/f'{i//100}'/f'{i:03}.png', i)
    (folder/'letter.jpg').write_text('Dear reader')
    return folder


def start(folder, *args, **env):
    p = subprocess.Popen([sys.executable, '-m', 'tests.trust.victim', str(folder), str(folder.parent/'log'), *map(str, args)], stdout=subprocess.PIPE, text=True,
                         cwd=Path(__file__).parents[2], env={**os.environ, **env, 'PYTHONPATH': os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])})
    assert p.stdout.readline() == 'ready\n'
    return p


def run(folder, *args):
    "To the end; what it said last"
    out, _ = (p := start(folder, *args)).communicate(timeout=120)
    return p.returncode, out


def expected(path):
    "The embedding of a picture, computed here"
    return victim.Tiny().finish([victim.Tiny().prepare(Image.open(path).convert('RGB'))])[0]


def check(folder):
    "All that must hold after a kill; the paths that are stored"
    store = folder/'.image_recommender'
    if not (store/'image_metadata.db').exists(): return set()
    raw = sqlite3.connect(store/'image_metadata.db')
    assert raw.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
    tables = {t for t, in raw.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    raw.close()
    library = victim.tiny_library(folder)
    ids = {r.id: r.path for r in library.db.images()}
    assert max(Counter(ids.values()).values(), default=1) == 1
    for name in ('clip', 'color', 'phash'):
        if f'feature_{name}' in tables: assert [i for i, in library.db._rows(f'SELECT image_id FROM feature_{name} ORDER BY 1')] == sorted(ids), f'{name} has other rows than there are images'
        else: assert not ids
    if not ids: return set()
    assert len(library) == len(ids), 'all that is stored can be searched'
    for i in np.random.default_rng(0).choice(sorted(ids), 3):
        assert np.array_equal(library.db.features([i], 'clip')[0], library.view.rows('clip', [library.view.position(i)])[0])
        if (folder/ids[i]).exists() and library.db.get(i).mtime_ns == (folder/ids[i]).stat().st_mtime_ns: assert np.array_equal(library.db.features([i], 'clip')[0], expected(folder/ids[i]))
    if name := current_generation(store): verify(store/'generations'/name, read_data=True)
    return set(ids.values())


def test_kills_at_random_moments(pictures, many):
    "Some kills fall on the start, most on extraction, some on the index; now and then files come, change, move and go"
    rng, n = np.random.default_rng(6 if many(1, 0) else None), many(8, 100)
    begin = time.perf_counter()
    assert run(shutil.copytree(pictures, pictures.parent/'whole'))[0] == 0
    usual = time.perf_counter()-begin
    log, had, touched, killed = pictures.parent/'log', set(), set(), 0
    log.unlink()
    i = 0
    while killed < n:
        i += 1
        p = start(pictures)
        try: p.wait(usual*rng.random()*.5)
        except subprocess.TimeoutExpired: killed += 1
        p.kill()
        p.wait()
        has = check(pictures)
        assert had <= has, 'what was stored is lost'
        if p.returncode == 0:
            for j in range(150): paint(pictures/f'new{i}'/f'{j}.png', (i, j))
        if i % 4 == 3: # the world goes on
            some = rng.choice(sorted(has), 3, replace=False) if len(has) > 2 else ()
            for what, path in zip(('change', 'move', 'delete'), some):
                if what == 'change': paint(pictures/path, (i, 999))
                elif what == 'move': (pictures/path).rename(pictures/f'moved {i}.png')
                else: (pictures/path).unlink()
            touched.update(some)
        had = has - touched
    code, out = run(pictures)
    assert code == 0 and 'done' in out
    files = {str(p.relative_to(pictures)) for p in pictures.rglob('*.png')}
    assert check(pictures) == files
    library = victim.tiny_library(pictures)
    assert [b.path.name for b in library.bad] == ['letter.jpg']
    assert remains(library.store) == []
    computed, needed = log.stat().st_size, len(files)+len(touched) # what was changed, moved or deleted may have been computed before
    assert computed <= needed + killed*BATCH, f'{computed} computed for {len(files)} files and {killed} kills'
    for r in library.db.images(): assert np.array_equal(library.db.features([r.id], 'clip')[0], expected(pictures/r.path)), r.path
    print(f'{killed} kills, {computed} images computed for {len(files)} files')


def test_at_most_one_batch_is_computed_again(pictures, many):
    "Kills while a batch is being stored, slowly, on one folder that does not change"
    log, kills = pictures.parent/'log', 0
    log.touch()
    for _ in range(many(2, 4)):
        p, before = start(pictures, SLOW_STORE='.4'), log.stat().st_size
        while p.poll() is None and log.stat().st_size < before+BATCH: time.sleep(.005)
        time.sleep(.2)
        p.kill()
        assert p.wait() == -signal.SIGKILL
        kills += 1
        stored = len(check(pictures))
        assert log.stat().st_size <= stored + kills*BATCH
    assert run(pictures)[0] == 0 and len(check(pictures)) == 300
    assert log.stat().st_size <= 300 + kills*BATCH


def steps_of(folder, *args):
    "How many steps a run takes that is not killed"
    whole = shutil.copytree(folder, folder.parent/'count')
    code, out = run(whole, 10**9, *args)
    assert code == 0
    shutil.rmtree(whole)
    return int(re.search(r'done (\d+)', out)[1])


@pytest.mark.parametrize('first', [True, False], ids=['the first index', 'another index'])
def test_a_kill_between_any_two_steps_of_building(pictures, many, first):
    "The old generation or the new one, as a whole"
    shutil.rmtree(pictures/'1'), shutil.rmtree(pictures/'2')
    assert run(pictures)[0] == 0
    store = pictures/'.image_recommender'
    if first:
        shutil.rmtree(store/'generations')
        (store/'current').unlink()
    steps, seen = steps_of(pictures, 'index'), Counter()
    assert steps > 30
    for n in np.unique(np.linspace(0, steps-1, many(6, 10**6), dtype=int)):
        copy = shutil.copytree(pictures, pictures.parent/'copy')
        assert run(copy, n, 'index')[0] == -signal.SIGKILL
        assert len(check(copy)) == 100
        seen[current_generation(copy/'.image_recommender')] += 1
        assert run(copy)[0] == 0
        assert remains(copy/'.image_recommender') == [], 'what was left half done is removed'
        assert len(check(copy)) == 100
        shutil.rmtree(copy)
    print(f'{sum(seen.values())} kills between {steps} steps')
    assert len(seen) == 2, f'kills before and after the switch: {seen}'


def test_a_kill_between_any_two_steps_of_a_run(pictures, many):
    "From the first, with no store at all, to the last"
    shutil.rmtree(pictures/'1'), shutil.rmtree(pictures/'2')
    steps = steps_of(pictures)
    for n in np.unique(np.linspace(0, steps-1, many(6, 10**6), dtype=int)):
        copy = shutil.copytree(pictures, pictures.parent/'copy')
        assert run(copy, n)[0] == -signal.SIGKILL
        check(copy)
        assert run(copy)[0] == 0
        assert len(check(copy)) == 100
        shutil.rmtree(copy)


def test_everything_is_on_the_disk_before_it_is_named(pictures, monkeypatch):
    "Each file of a generation and its folder are synced after they were written, and before the rename that makes them visible"
    library, order = victim.tiny_library(pictures), []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda fd: (order.append(('sync', os.readlink(f'/proc/self/fd/{fd}'))), fsync(fd))[1])
    monkeypatch.setattr(os, 'replace', lambda a, b: (order.append(('rename', os.fspath(b), {os.fspath(p): p.stat().st_mtime_ns for p in Path(a).glob('*')})), replace(a, b))[1])
    library.index(progress=False)
    store = library.store
    visible = next(i for i, (what, path, *_) in enumerate(order) if what == 'rename' and path == str(store/'generations'/'000001'))
    switch = next(i for i, (what, path, *_) in enumerate(order) if what == 'rename' and path == str(store/'current'))
    synced = {path.removesuffix('.new') for what, path, *_ in order[:visible] if what == 'sync'}
    for path in order[visible][2]: assert any(s.startswith(path) for s in synced), f'{path} is not synced before it is visible'
    assert os.path.dirname(next(iter(order[visible][2]))) in synced, 'nor is its folder'
    assert ('sync', str(store/'generations')) in order[visible:switch]
    assert ('sync', str(store)) in order[switch:]
