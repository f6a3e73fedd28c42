"""The world around a library: disks that are full, read-only or away, files that cannot be read or change meanwhile, links and pipes.

Every command line runs with a small network of our own (`Small`), under a time limit, and must end with a sentence, never with a traceback."""
import contextlib, ctypes, errno, io, json, os, resource, shutil, signal, sqlite3, stat, subprocess, sys, threading, time
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender, StoreError, cli, library, loader
from image_recommender.embedding import Embedder
from image_recommender.index import current_generation
from image_recommender.loader import BadImage, find_images, load_image, read_file

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='uses mounts, capabilities and file names of Linux')
OK, NOTHING, USAGE, SOME_BAD = 0, 1, 2, 3
HERE = Path(__file__).parent
CHILD = f'import sys; sys.path.insert(0, {str(HERE)!r}); import test_environment as t; '


class Small(Embedder):
    "A network that is there at once: the mean colours of four quarters"
    dim, signature, model_name, runtime, batch_size, device = 12, 'four mean colours', 'small', 'torch', 16, 'cpu'
    def load(self): pass
    def prepare(self, image): return np.asarray(image.convert('RGB').resize((2, 2)), np.float32).ravel()
    def finish(self, prepared):
        rows = np.stack(prepared) + 1
        return rows/np.linalg.norm(rows, axis=1, keepdims=True)

def picture(i): return Image.fromarray(np.random.default_rng(i).integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((48, 36))

def pictures(folder, n, first=0):
    "`n` different pictures, written a while ago"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first+n):
        picture(i).save(folder/f'{i:04}.jpg')
        os.utime(folder/f'{i:04}.jpg', (1e9, 1e9))
    return folder

def run_cli(*args):
    "The command line in this process: exit code; a traceback is an exception"
    library.make_embedder = lambda *_: Small()
    argv, shown = sys.argv, cli.warnings.showwarning
    sys.argv = ['image_recommender', *map(str, args)]
    try: cli.main()
    except SystemExit as e: return e.code or 0
    finally: sys.argv, cli.warnings.showwarning = argv, shown
    return 0

@pytest.fixture(autouse=True)
def limits(monkeypatch):
    "A hang fails, and the network is ours"
    monkeypatch.setattr(library, 'make_embedder', lambda *_: Small())
    def ring(*_): raise TimeoutError('this hangs')
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)

@pytest.fixture
def sh(capfd):
    "The command line: exit code, stdout, stderr"
    def run(*args):
        capfd.readouterr()
        code = run_cli(*args)
        return code, *capfd.readouterr()
    return run

def child(code, *args, bound=False, timeout=100, **env):
    "Python code in another process; `bound`: root there has to obey permissions, too"
    def drop():
        for capability in (1, 2, 3): ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
    p = subprocess.run([sys.executable, '-c', CHILD+code, *map(os.fspath, map(str, args))], capture_output=True, text=True, errors='surrogateescape', timeout=timeout,
                       preexec_fn=drop if bound and os.geteuid() == 0 else None, env={**os.environ, **env})
    assert 'Traceback' not in p.stderr, p.stderr
    return p.returncode, p.stdout, p.stderr

def said(*args):
    "A command line in this process: exit code, all that it prints"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): code = run_cli(*args)
    return code, out.getvalue() + err.getvalue()

def commands(*lines):
    "Several command lines, in a child"
    for line in lines: print(json.dumps(said(*json.loads(line))), flush=True)

def bound(*lines):
    "Command lines in a process that has to obey permissions: for each the exit code, and what it printed"
    code, out, err = child('t.commands(*sys.argv[1:])', *(json.dumps([os.fspath(a) for a in line]) for line in lines), bound=True)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]

@contextlib.contextmanager
def small_disk(folder, kb):
    "A file system with room for `kb` KiB"
    folder.mkdir(exist_ok=True)
    made = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={kb}k', 'tmpfs', folder], capture_output=True)
    if made.returncode: pytest.skip(f'cannot mount a small disk: {made.stderr.decode().strip()}')
    try: yield folder
    finally: subprocess.run(['umount', '-l', folder], check=True)

@contextlib.contextmanager
def read_only_view(folder, at):
    "The same folder, at a place where nothing can be written"
    at.mkdir()
    if subprocess.run(['mount', '--bind', folder, at], capture_output=True).returncode: pytest.skip('cannot mount')
    try:
        subprocess.run(['mount', '-o', 'remount,bind,ro', at], check=True)
        yield at
    finally: subprocess.run(['umount', '-l', at], check=True)

def remount(folder, how): subprocess.run(['mount', '-o', f'remount,{how}', folder], check=True)

def intact(db):
    "What the database holds is whole; how many images"
    with sqlite3.connect(f'{Path(db).absolute().as_uri()}?mode=ro', uri=True) as c:
        assert c.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
        tables = {n for n, in c.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        n = c.execute('SELECT count(*) FROM images').fetchone()[0]
        for t in tables & {'feature_clip', 'feature_color', 'feature_phash'}: assert c.execute(f'SELECT count(*) FROM {t}').fetchone()[0] == n
    return n


# Full disks

def full_runs(root, *stores):
    "In a process of its own, which a fault of the disk may end: index, then search; prints what happened as JSON. A store may be followed by :BYTES, the limit of a file"
    for store in stores:
        store, _, limit = store.partition(':')
        if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), -1))
        first = said('index', root, '--store', store)
        files = sorted(os.path.relpath(p, store) for p in Path(store).rglob('*') if p.is_file())
        print(json.dumps(dict(index=first, files=files, search=said('search', '--color', 'red', '--library', root, '--store', store))), flush=True)

def check_full(root, store, found, limited=False):
    "What must be true of a library whose disk became full, then and after room was made; which kind of end it was"
    code, said = found['index']
    assert code in (OK, NOTHING), found
    if code != OK: assert ('is full' in said and 'MB free' in said or 'MB for the index and has' in said or limited and 'disk reports an error' in said) and str(store) in said, found
    left = [f for f in found['files'] if 'building' in f or f.endswith('.new') or code != OK and ('generations' in f or f == 'current')]
    assert not left, found
    code, said = found['search']
    assert code == OK or 'not indexed yet' in said or 'no indexed image' in said, found
    before = intact(store/'image_metadata.db') if code == OK else 0
    rec = ImageRecommender(root, store=store)
    report = rec.index(progress=False)
    assert report.total == 150 and report.added == 150-before or not before, (found, report)
    assert intact(store/'image_metadata.db') == 150 and len(rec.similar(1, k=9)) == 9
    return 'whole' if found['index'][0] == OK else 'searchable' if code == OK else 'empty'

def test_disk_full(tmp_path, many):
    root, sizes = pictures(tmp_path/'photos', 150), many([12, 80, 120, 260, 900, 1150, 1350, 1600, 1800, 4000], range(8, 2400, 24))
    with contextlib.ExitStack() as mounts:
        disks = [mounts.enter_context(small_disk(tmp_path/str(kb), kb)) for kb in sizes]
        code, out, err = child('t.full_runs(*sys.argv[1:])', root, *(d/'store' for d in disks), timeout=900)
        assert code == 0, (code, out, err) # a signal would be negative
        seen = []
        for disk, line in zip(disks, out.splitlines()):
            remount(disk, 'size=30m')
            seen.append(check_full(root, disk/'store', json.loads(line)))
    assert {'empty', 'searchable', 'whole'} == set(seen), seen

def test_limit_of_file_size(tmp_path, many):
    "As on a full disk, wherever the test runs: no file may grow beyond a limit"
    root, limits = pictures(tmp_path/'photos', 150), many([0, 6, 60, 300, 1100, 4000], [*range(0, 64, 2), *range(64, 1500, 16)])
    stores = [tmp_path/f'store {kb}' for kb in limits]
    code, out, err = child('t.full_runs(*sys.argv[1:])', root, *(f'{s}:{kb*1024}' for s, kb in zip(stores, limits)), timeout=900)
    assert code == 0, (code, out, err)
    assert len({check_full(root, s, json.loads(line), True) for s, line in zip(stores, out.splitlines())}) > 1

def test_disk_full_while_saving(tmp_path, sh):
    "What is saved for a person: the message names the file, and no half of it is left"
    root = pictures(tmp_path/'photos', 30)
    pictures(root/'again', 20)
    assert sh('index', root)[0] == OK
    with small_disk(tmp_path/'disk', 8) as disk:
        (disk/'ballast').write_bytes(bytes(4096))
        for args in (('search', root/'0001.jpg', '--report', disk/'r.html'), ('search', root/'0001.jpg', '--visualize', '--output', disk/'r.png'),
                     ('duplicates', '--csv', disk/'r.csv'), ('duplicates', '--html', disk/'r.html')):
            code, out, err = sh(*args, '--library', root)
            assert code == NOTHING and str(disk/'r.') in err and 'No space left' in err or args[0] == 'duplicates' and code == OK, (args, code, err)
            assert [p.name for p in disk.iterdir()] == ['ballast'] or code == OK, args
            (disk/'r.csv').unlink(missing_ok=True)

def test_disk_full_while_a_picture_is_added(tmp_path):
    "A picture that is given to the library is saved whole or not at all"
    with small_disk(tmp_path/'disk', 200) as disk:
        rec = ImageRecommender(pictures(disk/'photos', 3), store=tmp_path/'store')
        rec.index(progress=False)
        with pytest.raises(OSError, match='No space left'): rec.add(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8))
        assert [p for p in rec.root.rglob('*') if p.is_file() and p.parent.name == 'added'] == []
        remount(disk, 'size=30m')
        assert rec.add(np.zeros((300, 400, 3), np.uint8)).total == 4

def test_killed_build_does_not_eat_the_disk(tmp_path):
    "What a killed run left of a generation is removed before the next asks how much room there is"
    root = pictures(tmp_path/'photos', 30)
    with small_disk(tmp_path/'disk', 9000) as disk:
        half = disk/'store'/'generations'/'building-000001-4711'
        half.mkdir(parents=True)
        (half/'clip.npy').write_bytes(bytes(shutil.disk_usage(disk).free - 300_000))
        assert ImageRecommender(root, store=disk/'store').index(progress=False).total == 30
        assert os.listdir(disk/'store'/'generations') == ['000001']

def test_current_that_cannot_be_written(tmp_path, monkeypatch):
    "The switch to a new generation fails: the old one stays, the new one does not eat the disk"
    from image_recommender import index
    rec = ImageRecommender(pictures(tmp_path/'photos', 30))
    rec.index(progress=False)
    pictures(rec.root, 30, first=100)
    real = os.replace
    def full(source, target):
        if Path(target).name == 'current': raise OSError(errno.ENOSPC, 'No space left on device', os.fspath(target))
        real(source, target)
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(StoreError, match='disk is full'): rec.index(progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(library, 'make_embedder', lambda *_: Small())
    assert os.listdir(rec.store/'generations') == ['000001'] and current_generation(rec.store) == '000001' and not list(rec.store.glob('*.new'))
    assert len(ImageRecommender(rec.root)) == 60 and rec.index(progress=False).total == 60


# Read-only

KILLED = """
import os
from image_recommender.database import Database
Database.checkpoint = lambda self: os._exit(9)
t.run_cli(*sys.argv[1:])
"""

def leave_log(root, index=True):
    "Six more pictures, by a run that is killed before its write-ahead log is in the database"
    pictures(root, 6, first=500)
    assert child(KILLED, 'index', root)[0] == 9
    assert (root/'.image_recommender'/'image_metadata.db-wal').stat().st_size

def content(folder): return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob('*') if not p.name.endswith('-shm')}

READ_ONLY = [('permissions', 'log without its index'), ('file system', 'log'), ('permissions', 'nothing'), # in CI
             ('permissions', 'log'), ('file system', 'nothing'), ('file system', 'log without its index')]

@pytest.mark.parametrize('how, left', READ_ONLY if os.environ.get('TORTURE') else READ_ONLY[:3])
def test_read_only(tmp_path, how, left):
    disk = tmp_path/'disk'
    root = pictures(disk/'photos', 30)
    pictures(root/'again', 3)
    store, n = root/'.image_recommender', 33
    assert said('index', root)[0] == OK
    if left != 'nothing':
        leave_log(root)
        n += 6
    if left == 'log without its index': (store/'image_metadata.db-shm').unlink()
    if how == 'permissions':
        for p in [*disk.rglob('*'), disk]: p.chmod(0o555 if p.is_dir() else 0o444)
    with read_only_view(disk, tmp_path/'view') if how == 'file system' else contextlib.nullcontext(disk) as disk:
        root, store = disk/'photos', disk/'photos'/'.image_recommender'
        before, elsewhere = content(disk), tmp_path/'elsewhere'
        try:
            one = '0500.jpg' if left != 'nothing' else '0001.jpg'
            (c1, found), (c2, why), (c3, groups), (c4, page), (c5, paths), (c6, no), (c7, yes), (c8, again) = bound(
                ('search', root/one, '--library', root, '--topk', '40', '--json'), ('search', root/one, '--library', root, '--explain'),
                ('duplicates', '--library', root), ('search', root/one, '--library', root, '--report', tmp_path/'page.html'), ('select', '--library', root),
                ('index', root), ('index', root, '--store', elsewhere), ('search', root/one, '--library', root, '--store', elsewhere))
            assert [c1, c2, c3, c4, c5, c6, c7, c8] == [OK]*5 + [NOTHING, OK, OK], (found[-300:], why, groups, page, paths, no, yes, again)
            assert len(json.loads(found)) == n-1 and len(paths.splitlines()) == n and '3 groups' in groups or '3 ' in groups
            assert 'read-only' in no and 'store=' in no and '--store' in no and str(store) in no
            assert f'{n} images can be searched: {n} added' in yes
            assert content(disk) == before
        finally:
            for p in [disk, root, store, *disk.rglob('*')] if how == 'permissions' else (): p.chmod(0o755)


# Permissions, and disks that are away

def test_permissions(tmp_path):
    "What cannot be read is named, and nothing stored of it is forgotten"
    root = pictures(tmp_path/'photos', 12)
    closed = pictures(root/'closed', 3, first=20), pictures(root/'listed only', 3, first=30)
    store = root/'.image_recommender'
    assert said('index', root)[0] == OK
    generation = store/'generations'/'000001'
    pictures(root, 1, first=40)
    index, search = ('index', root), ('search', '--color', 'red', '--library', root, '--topk', '30')
    os.utime(root/'0003.jpg', (5, 5))
    (root/'0003.jpg').chmod(0)
    closed[0].chmod(0)
    closed[1].chmod(0o444)
    first, found, update = bound(index, search, ('add', closed[1], closed[0], root/'0004.jpg', '--library', root))
    assert first[0] == SOME_BAD and '19 images can be searched: 1 added, 0 removed, 5 of ' in first[1] and 'no permission to read' in first[1] and 'cannot be listed' in first[1], first
    assert found[0] == OK and len(found[1].splitlines()) == 19
    assert update[0] == SOME_BAD and '19 images can be searched: 0 added, 0 removed' in update[1], update
    for p in closed: p.chmod(0o755)
    (root/'0003.jpg').chmod(0o644)
    code, said_now = said(*index)
    assert code == OK and '19 images can be searched: 0 added, 0 removed, 0 of 19' in said_now, said_now
    for path, mode, during in ((store/'image_metadata.db', 0, NOTHING), (store, 0, NOTHING), (store, 0o600, NOTHING), (generation/'manifest.json', 0, NOTHING), (generation, 0, NOTHING), (generation/'clip.npy', 0, NOTHING),
                       (store/'current', 0, NOTHING), (generation/'verified.json', 0, OK), (root, 0, NOTHING)):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        try: (code, words), = bound(search)
        finally: path.chmod(before)
        assert code == during and (code == OK or 'ermission' in words and (path.name in words or path.parent.name in words)), (path, code, words)
    assert said(*search)[0] == OK

@pytest.mark.parametrize('path, mode', [('', 0o555), ('image_metadata.db', 0o444), ('generations', 0o555), ('writer.lock', 0o444), ('image_metadata.db', 0), ('generations/000001', 0), ('current', 0)])
def test_store_that_cannot_be_written(tmp_path, path, mode):
    "Indexing says what is wrong, or mends it; afterwards all is there"
    rec = ImageRecommender(pictures(tmp_path/'photos', 6))
    rec.index(progress=False)
    path = rec.store/path
    pictures(rec.root, 6, first=50)
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try: (code, words), = bound(('index', rec.root))
    finally:
        if path.exists(): path.chmod(before)
    assert code == OK and '12 images can be searched' in words or code == NOTHING and ('read-only' in words and '--store' in words or 'ermission' in words) and str(rec.store) in words, (code, words)
    assert ImageRecommender(rec.root).index(progress=False).total == 12

def test_nobody_is_away(tmp_path, sh):
    "A disk that is not there: its folder is empty or gone, or links lead nowhere. Nothing is forgotten"
    root, disk = pictures(tmp_path/'photos', 4), pictures(tmp_path/'disk', 3, first=10)
    pictures(root/'mounted'/'2019', 3, first=20)
    for p in disk.iterdir(): (root/p.name).symlink_to(p)
    rec = ImageRecommender(root, store=tmp_path/'store')
    assert rec.index(progress=False).total == 10
    disk.rename(tmp_path/'away')
    (root/'mounted'/'2019').rename(tmp_path/'2019')
    report = rec.index(progress=False)
    assert (report.total, report.removed, report.missing) == (10, 0, 6) and 'connected' in str(report)
    assert rec.update([root/'mounted', root/'0010.jpg']).removed == 0
    root.rename(tmp_path/'all')
    code, out, err = sh('index', root, '--store', rec.store)
    assert code == USAGE and 'does not exist' in err
    assert rec.update([root/'0001.jpg', root/'mounted']).removed == 0 and len(ImageRecommender(tmp_path/'all', store=rec.store)) == 10
    root.mkdir()
    code, out, err = sh('index', root, '--store', rec.store)
    assert code == NOTHING and 'Is its disk connected' in err
    assert rec.update([root/'0001.jpg', root/'mounted']).removed == 0
    root.rmdir()
    (tmp_path/'all').rename(root)
    (tmp_path/'2019').rename(root/'mounted'/'2019')
    (tmp_path/'away').rename(disk)
    report = rec.index(progress=False)
    assert (report.total, report.added, report.removed, report.missing) == (10, 0, 0, 0)
    (root/'0010.jpg').unlink()
    shutil.rmtree(root/'mounted')
    assert rec.index(progress=False).removed == 4 # those are gone
