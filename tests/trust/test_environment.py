"""The world around a library: disks that are full, read-only or away, files that cannot be read or change meanwhile, links and pipes.

Every command line runs with a small network of our own (`Small`), under a time limit, and must end with a sentence, never with a traceback."""
import ctypes, errno, json, os, resource, shutil, signal, sqlite3, stat, subprocess, sys, threading, time
from contextlib import contextmanager
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

BOUND = dict(bound=True)
def bound_cli(*args): return child('sys.exit(t.run_cli(*sys.argv[1:]))', *args, **BOUND)

@contextmanager
def small_disk(folder, kb):
    "A file system with room for `kb` KiB"
    folder.mkdir(exist_ok=True)
    made = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={kb}k', 'tmpfs', folder], capture_output=True)
    if made.returncode: pytest.skip(f'cannot mount a small disk: {made.stderr.decode().strip()}')
    try: yield folder
    finally: subprocess.run(['umount', '-l', folder], check=True)

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

def full_run(root, store):
    "In a process of its own, which a fault of the disk may end: index, then search; prints what happened as JSON"
    import contextlib, io
    def said(*args):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): code = run_cli(*args)
        return code, out.getvalue() + err.getvalue()
    def files(): return sorted(os.path.relpath(p, store) for p in Path(store).rglob('*') if p.is_file())
    first = said('index', root, '--store', store)
    print(json.dumps(dict(index=first, files=files(), search=said('search', '--color', 'red', '--library', root, '--store', store))), flush=True)

def check_full(found, sizes):
    "What must be true of a library whose disk became full"
    code, said = found['index']
    assert code in (OK, NOTHING) and 'Traceback' not in said, (sizes, said)
    if code == OK: return 'whole'
    assert ('disk is full' in said and 'MB free' in said or 'MB for the index and has' in said or 'cannot be made' in said) and 'store' in said, (sizes, said)
    assert not [f for f in found['files'] if 'building' in f or f.endswith('.new') or f.startswith('generations') or f == 'current'], (sizes, found['files'])
    code, said = found['search']
    assert code == OK or 'not indexed yet' in said or 'no indexed image' in said, (sizes, said)
    return 'searchable' if code == OK else 'empty'

def test_disk_full(tmp_path, many):
    root, seen = pictures(tmp_path/'photos', 150), []
    sizes = many([12, 24, 80, 120, 200, 260, 400, 900, 1150, 1350, 1600, 1800, 4000], range(8, 2400, 24))
    for kb in sizes:
        with small_disk(tmp_path/'disk', kb) as disk:
            code, out, err = child('t.full_run(*sys.argv[1:])', root, disk/'store')
            assert code == 0, (kb, code, err) # a signal would be negative
            seen.append(check_full(json.loads(out), kb))
            before = intact(disk/'store'/'image_metadata.db') if seen[-1] == 'searchable' else 0
            remount(disk, 'size=30m')
            rec = ImageRecommender(root, store=disk/'store')
            report = rec.index(progress=False)
            assert (report.total, report.added) == (150, 150-before) if seen[-1] == 'searchable' else report.total == 150, (kb, report, before)
            assert intact(disk/'store'/'image_metadata.db') == 150 and len(rec.similar(1, k=9)) == 9
            del rec
    assert {'empty', 'searchable', 'whole'} <= set(seen), seen

def test_limit_of_file_size(tmp_path, many):
    "As on a full disk, wherever the test runs: no file may grow beyond a limit"
    root, seen = pictures(tmp_path/'photos', 150), []
    for kb in many([0, 6, 60, 300, 1100, 4000], [*range(0, 64, 2), *range(64, 1500, 16)]):
        store = tmp_path/f'store {kb}'
        code, out, err = child(f'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({kb*1024},)*2); t.full_run(*sys.argv[1:])', root, store)
        assert code == 0, (kb, code, err)
        found = json.loads(out)
        code, said = found['index']
        assert code in (OK, NOTHING) and (code == OK or 'is full' in said or 'disk reports an error' in said), (kb, said)
        seen.append(code)
        assert not [f for f in found['files'] if 'building' in f or f.endswith('.new')], found['files']
        report = ImageRecommender(root, store=store).index(progress=False)
        assert report.total == 150 and intact(store/'image_metadata.db') == 150
    assert {OK, NOTHING} == set(seen)
