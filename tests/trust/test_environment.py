"""The world around a library: disks that are full, read-only or away, files that cannot be read or change meanwhile, links and pipes.

Every command line runs with a small network of our own (`Small`), under a time limit, and must end with a sentence, never with a traceback."""
import contextlib, ctypes, io, json, os, resource, shutil, signal, sqlite3, stat, subprocess, sys, threading, time
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender, cli, library, loader
from image_recommender.embedding import Embedder
from image_recommender.index import current_generation
from image_recommender.loader import BadImage, find_images, read_file

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='uses mounts, capabilities and file names of Linux')
OK, NOTHING, USAGE, SOME_BAD = 0, 1, 2, 3
TORTURE = bool(os.environ.get('TORTURE'))
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
    assert not [f for f in found['files'] if 'building' in f or f.endswith('.new')], found
    left = {Path(f).parts[1] for f in found['files'] if f.startswith('generations')} # whole and in use, or none: the disk may be full after it was built
    assert left == ({current_generation(store)} if 'current' in found['files'] else set()), found
    code, said = found['search']
    assert code == OK or 'not indexed yet' in said or 'no indexed image' in said, found
    before = intact(store/'image_metadata.db') if code == OK else 0
    rec = ImageRecommender(root, store=store)
    report = rec.index(progress=False)
    assert report.total == 150 and report.added == 150-before or not before, (found, report)
    assert intact(store/'image_metadata.db') == 150 and len(rec.similar(1, k=9)) == 9
    return 'whole' if found['index'][0] == OK else 'searchable' if code == OK else 'empty'

def test_disk_full(tmp_path, many):
    root, sizes = pictures(tmp_path/'photos', 150), many([12, 80, 260, 1350, 1700, 4000], range(8, 2400, 24))
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
    root, limits = pictures(tmp_path/'photos', 150), many([0, 60, 4000], [*range(0, 64, 2), *range(64, 1500, 16)])
    stores = [tmp_path/f'store {kb}' for kb in limits]
    code, out, err = child('t.full_runs(*sys.argv[1:])', root, *(f'{s}:{kb*1024}' for s, kb in zip(stores, limits)), timeout=900)
    assert code == 0, (code, out, err)
    assert len({check_full(root, s, json.loads(line), True) for s, line in zip(stores, out.splitlines())}) > 1

def test_disk_full_while_saving(tmp_path, sh, many):
    "What is saved for a person: the message names the file, and no half of it is left"
    root = pictures(tmp_path/'photos', 30)
    pictures(root/'again', 20)
    assert sh('index', root)[0] == OK
    with small_disk(tmp_path/'disk', 8) as disk:
        (disk/'ballast').write_bytes(bytes(4096))
        for args in (('search', root/'0001.jpg', '--report', disk/'r.html'), *many([], [('search', root/'0001.jpg', '--visualize', '--output', disk/'r.png')]),
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
        ImageRecommender(root, store=disk/'store').index(progress=False)
        shutil.rmtree(disk/'store'/'generations')
        half = disk/'store'/'generations'/'building-000001-4711'
        half.mkdir(parents=True)
        (half/'clip.npy').write_bytes(bytes(shutil.disk_usage(disk).free - 60_000))
        assert ImageRecommender(root, store=disk/'store').index(progress=False).total == 30
        assert os.listdir(disk/'store'/'generations') == ['000001']

def test_disk_that_is_full_to_the_last_byte(tmp_path, sh):
    "A library on it can be searched, and says why it cannot grow"
    root = pictures(tmp_path/'photos', 30)
    with small_disk(tmp_path/'disk', 9000) as disk:
        assert said('index', root, '--store', disk/'store')[0] == OK
        pictures(root, 10, first=50)
        (disk/'ballast').write_bytes(bytes(shutil.disk_usage(disk).free))
        args = '--library', root, '--store', disk/'store'
        code, out, err = sh('index', root, '--store', disk/'store')
        assert code == NOTHING and 'disk is full' in err and '(0.0 MB free)' in err and str(disk/'store') in err, err
        for command in (('search', root/'0055.jpg', *args), ('search', root/'0001.jpg', '--explain', *args), ('select', *args), ('search', '--color', 'red', '--report', tmp_path/'r.html', *args)):
            code, out, err = sh(*command)
            assert code == OK, (command, err)
        code, out, err = sh('remove', root/'0001.jpg', *args)
        assert code == NOTHING and 'disk is full' in err, err
        code, out, err = sh('fit-weights', '--like', root/'0001.jpg', '--like', root/'0002.jpg', '--dislike', root/'0004.jpg', '--name', 'x'*2000, *args)
        assert code in (OK, NOTHING) and (code == OK or 'full' in err), err
        (disk/'ballast').unlink()
        assert '40 images can be searched: 10 added' in sh('index', root, '--store', disk/'store')[1]

def test_disk_full_while_copies_are_moved(tmp_path, sh):
    "A move that cannot be noted is not made"
    with small_disk(tmp_path/'disk', 400) as disk:
        root, target = pictures(disk/'photos', 5), disk/'away'
        pictures(root/'again', 5)
        args = '--library', root, '--store', tmp_path/'store'
        assert sh('index', root, '--store', tmp_path/'store')[0] == OK
        (target/'again').mkdir(parents=True)
        log = b'from,to\r\n' + b'a,b\r\n'*800
        (target/'moved.csv').write_bytes(log[:4090]) # near the end of its page
        (disk/'ballast').write_bytes(bytes(shutil.disk_usage(disk).free))
        code, out, err = sh('duplicates', *args, '--move-to', target, '--yes')
        assert code == OK and out.count('NOT: No space left') == 5, (code, out, err)
        assert len(list(root.rglob('*.jpg'))) == 10 and (target/'moved.csv').read_bytes() == log[:4090]
        (disk/'ballast').unlink()
        assert '5 files were moved' in sh('duplicates', *args, '--move-to', target, '--yes')[1]
        assert (target/'moved.csv').read_bytes().count(b'.jpg') == 10


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

@pytest.mark.parametrize('how, left', READ_ONLY if TORTURE else READ_ONLY[:2])
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
    generation, cases = store/'generations'/current_generation(store), []
    for path, mode, during in ((store/'image_metadata.db', 0, NOTHING), (store, 0, NOTHING), (store, 0o600, NOTHING), (generation/'manifest.json', 0, NOTHING), (generation, 0, NOTHING), (generation/'clip.npy', 0, NOTHING),
                       (store/'current', 0, NOTHING), (generation/'verified.json', 0, OK), (root, 0, NOTHING)):
        twin = tmp_path/f'twin {len(cases)}'
        shutil.copytree(root, twin)
        (twin/path.relative_to(root)).chmod(mode)
        cases.append((twin, path, during))
    try: answers = bound(*(('search', '--color', 'red', '--library', twin) for twin, *_ in cases))
    finally:
        for twin, path, _ in cases: (twin/path.relative_to(root)).chmod(0o755)
    for (twin, path, during), (code, words) in zip(cases, answers):
        assert code == during and (code == OK or 'ermission' in words and (path.name in words or path.parent.name in words or twin.name in words)), (path, code, words)

def test_store_that_cannot_be_written(tmp_path):
    "Indexing says what is wrong, or mends it; afterwards all is there"
    rec, cases = ImageRecommender(pictures(tmp_path/'photos', 6)), []
    rec.index(progress=False)
    pictures(rec.root, 6, first=50)
    for path, mode in (('', 0o555), ('image_metadata.db', 0o444), ('generations', 0o555), ('writer.lock', 0o444), ('image_metadata.db', 0), ('generations/000001', 0), ('current', 0)):
        twin = tmp_path/f'twin {len(cases)}'
        shutil.copytree(rec.root, twin)
        cases.append(twin/'.image_recommender'/path)
        cases[-1].chmod(mode)
    twins = [tmp_path/f'twin {i}' for i in range(len(cases))]
    try: answers = bound(*(('index', twin) for twin in twins))
    finally:
        for path in cases:
            if path.exists(): path.chmod(0o755 if path.is_dir() else 0o644)
    for twin, path, (code, words) in zip(twins, cases, answers):
        assert code == OK and '12 images can be searched' in words or code == NOTHING and ('read-only' in words and '--store' in words or 'ermission' in words) and str(twin) in words, (path, code, words)
        assert ImageRecommender(twin).index(progress=False).total == 12

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


# Files that vanish or change while they are read

def bmp(value, n=64): # of one size, whatever it shows
    out = io.BytesIO()
    Image.new('RGB', (n, n), (value,)*3).save(out, 'BMP')
    return out.getvalue()

def test_a_file_that_changes_while_it_is_read(tmp_path, many):
    "What is read is one state of the file, whatever is written meanwhile; the next run takes the last one"
    path, stop = tmp_path/'x.bmp', threading.Event()
    path.write_bytes(bmp(0, 700))
    def write():
        i = 0
        while not stop.is_set():
            i = (i+1) % 256
            data = bmp(i, 700)
            with open(path, 'r+b') as f: # in place, in pieces: who reads meanwhile gets a mixture
                for at in range(0, len(data), 1 << 16):
                    f.seek(at)
                    f.write(data[at:at+(1 << 16)])
                    f.flush()
            if i % 3 == 0: time.sleep(.03)
    def mixed(data): return len({data[60], data[-9], data[len(data)//2], data[len(data)//3]}) > 1
    writer = threading.Thread(target=write)
    writer.start()
    good = refused = 0
    try:
        for _ in range(many(40, 2000)):
            try: data, info = read_file(path)
            except BadImage as bad:
                assert bad.unread and 'changing' in bad.reason
                refused += 1
                continue
            good += 1
            assert not mixed(data) and info.st_size == len(data)
    finally:
        stop.set()
        writer.join()
    assert good + refused == many(40, 2000) and good, (good, refused)
    assert read_file(path)[0] == path.read_bytes()

def between(monkeypatch, path, act):
    "Do something to a file after the first look at it, before its content is read"
    real, acted = os.fstat, []
    def fstat(fd):
        info = real(fd)
        if not acted and os.path.samestat(info, os.stat(path)):
            acted.append(1)
            act()
        return info
    monkeypatch.setattr(loader.os, 'fstat', fstat)

def rewrite(path, data):
    "In place, with another time"
    with open(path, 'r+b') as f:
        f.write(data)
        f.truncate()
    os.utime(path, (2e9, 2e9))

@pytest.mark.parametrize('what', ['grows', 'shrinks', 'changes', 'is replaced', 'vanishes'])
def test_facts_and_content_belong_together(tmp_path, monkeypatch, what):
    import hashlib
    rec = ImageRecommender(pictures(tmp_path/'photos', 5), workers=1)
    path, old = rec.root/'0002.jpg', (rec.root/'0002.jpg').read_bytes()
    act = {'grows': lambda: rewrite(path, old + b'tail'), 'shrinks': lambda: rewrite(path, old[:-40]), 'changes': lambda: rewrite(path, old[:-2] + b'xx'),
           'is replaced': lambda: (picture(99).save(tmp_path/'new.jpg'), os.replace(tmp_path/'new.jpg', path)), 'vanishes': path.unlink}[what]
    between(monkeypatch, path, act)
    rec.index(progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(library, 'make_embedder', lambda *_: Small())
    if (record := rec.db.find('0002.jpg')) and what in ('grows', 'shrinks', 'changes'): # the state that was stored is the one on the disk
        assert (record.size, record.mtime_ns, record.sha256) == (path.stat().st_size, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest())
    report = rec.index(progress=False)
    record = rec.db.find('0002.jpg')
    if what in ('vanishes', 'shrinks'): assert record is None and report.total == 4 and report.bad == (what == 'shrinks')
    else: assert (record.size, record.mtime_ns, record.sha256) == (path.stat().st_size, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest()) and report.total == 5
    monkeypatch.undo()

def test_changes_within_one_tick_of_the_clock(tmp_path, monkeypatch, many):
    "The clock of most file systems stands still for up to 10 milliseconds: a second change within them is not missed"
    from types import SimpleNamespace
    real = os.fstat
    def coarse(info): return SimpleNamespace(st_mode=info.st_mode, st_size=info.st_size, st_mtime_ns=info.st_mtime_ns//10**7*10**7)
    monkeypatch.setattr(loader.os, 'fstat', lambda fd: coarse(real(fd)))
    for i in range(many(15, 500)):
        path = tmp_path/'x.bmp'
        path.write_bytes(bmp(i % 250))
        data, info = read_file(path)
        path.write_bytes(bmp(i % 250 + 1)) # same size
        after = coarse(path.stat())
        assert (info.st_size, info.st_mtime_ns) != (after.st_size, after.st_mtime_ns) and data == bmp(i % 250)

def test_files_vanish_between_listing_and_reading(tmp_path, monkeypatch):
    rec = ImageRecommender(pictures(tmp_path/'photos', 8), workers=1)
    real = library.scan_folder
    def then_vanish(db, root):
        scanned = real(db, root)
        for i in (1, 2): (root/f'000{i}.jpg').unlink()
        pictures(root, 1, first=7) # and one is written anew
        (root/'0006.jpg').rename(root/'moved.jpg')
        return scanned
    monkeypatch.setattr(library, 'scan_folder', then_vanish)
    assert rec.index(progress=False).total == 5
    monkeypatch.setattr(library, 'scan_folder', real)
    report = rec.index(progress=False)
    assert (report.total, report.bad, report.added) == (6, 0, 1)


# What is no regular file

@pytest.fixture
def oddities(tmp_path):
    "Three pictures, among all that can lie in a folder besides"
    import socket
    root = pictures(tmp_path/'photos', 3)
    (root/'sub').mkdir()
    for name, target in {'loop': '.', 'sub/up': '..', 'circle.jpg': 'circle.jpg', 'a.jpg': 'b.jpg', 'b.jpg': 'a.jpg', 'dangling.jpg': 'nowhere', 'zero.jpg': '/dev/zero',
                         'null.jpg': '/dev/null', 'random.png': '/dev/urandom', 'folder.jpg': 'sub', 'proc.jpg': '/proc/self/mem', 'long.jpg': 'x'*300}.items(): (root/name).symlink_to(target)
    os.mkfifo(root/'pipe.jpg')
    (root/'to pipe.jpg').symlink_to('pipe.jpg')
    (root/'empty.jpg').touch()
    (root/'really a folder.jpg').mkdir()
    if os.geteuid() == 0:
        with contextlib.suppress(OSError): os.mknod(root/'device.jpg', stat.S_IFCHR | 0o666, os.makedev(1, 5))
    here = os.getcwd()
    os.chdir(root) # a socket's path is short
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.bind('socket.jpg')
        os.chdir(here)
        yield root

def test_links_pipes_devices_sockets(oddities, sh):
    code, out, err = sh('index', oddities)
    assert code == SOME_BAD and '3 images can be searched' in out and 'empty.jpg' in out, (out, err)
    bad = {b.path.name: b.reason for b in ImageRecommender(oddities).bad}
    assert set(bad) <= {'empty.jpg', 'proc.jpg'} and 'empty' in bad['empty.jpg'], bad
    for p in sorted(oddities.iterdir()):
        if p.suffix != '.jpg' or p.name[:3] == '000': continue
        signal.alarm(20) # a query that is a pipe must not be waited for
        code, out, err = sh('search', p, '--library', oddities)
        assert code == NOTHING and p.name in err and len(err) < 600, (p, code, err)
        code, out, err = sh('add', p, '--library', oddities)
        assert code in (NOTHING, SOME_BAD, OK) and '3 images' in out or code == NOTHING, (p, code, out, err)
    assert len(ImageRecommender(oddities)) == 3
    code, out, err = sh('search', oddities/'0001.jpg', oddities/'pipe.jpg', '--library', oddities)
    assert code == SOME_BAD and 'not a regular file' in err and len(out.splitlines()) == 2
    assert [p.name for p in find_images(oddities, on_error=lambda bad: pytest.fail(str(bad)))][:3] == ['0000.jpg', '0001.jpg', '0002.jpg']

@pytest.mark.skipif(not TORTURE, reason='the same as above, in another process')
def test_a_pipe_as_query_in_another_process(oddities):
    rec = ImageRecommender(oddities)
    rec.index(progress=False)
    code, words, err = child('sys.exit(t.run_cli(*sys.argv[1:]))', 'search', oddities/'pipe.jpg', '--library', oddities, timeout=30)
    assert code == NOTHING and 'not a regular file' in err

def test_sparse_file_is_not_read_into_memory(tmp_path):
    root = pictures(tmp_path/'photos', 2)
    with open(root/'huge.jpg', 'wb') as f: f.truncate(5 << 30)
    code = 'import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30,)*2); from image_recommender.loader import *\ntry: load_image(sys.argv[1])\nexcept BadImage as e: print(e)'
    code, out, err = child(code, root/'huge.jpg', timeout=60)
    assert code == 0 and 'huge.jpg: 5,369 MB, more than' in out


# Clocks and sizes

CLOCKS = [-1, 2**63, 253_402_300_799*10**9, -62_135_596_800*10**9, 2**62, 2**63-1, 2**63+10**18, 9*10**18+10**9]

@pytest.mark.parametrize('ns', CLOCKS if TORTURE else CLOCKS[:2])
def test_clocks_that_are_wrong(tmp_path, ns):
    "Before 1970, the year 1, after 2262: whatever the file system keeps is stored, compared, filtered and shown"
    root = pictures(tmp_path/'photos', 3)
    pictures(root/'again', 1)
    os.utime(root/'0001.jpg', ns=(0, ns))
    os.utime(root/'0000.jpg', ns=(0, ns))
    rec = ImageRecommender(root)
    assert rec.index(progress=False).total == 4
    assert rec.index(progress=False).added == 0 # it is not taken for changed each time
    assert len(rec.select({'modified': '>=2001-09-10'})) == 2*(ns > 10**18+10**14)
    assert [m.path.name for m in rec.similar(root/'0001.jpg', k=5)] and len(rec.duplicates(keep='oldest')) == 1
    rec.duplicates(keep='oldest')._repr_html_()
    rec.similar(1).plot()
    os.utime(root/'0001.jpg', (1e9, 1e9)) # set right
    assert rec.index(progress=False).added == 0 and rec.db.find('0001.jpg').mtime_ns == 10**18
