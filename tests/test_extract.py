"The extraction pipeline: its slow parts, crashes, interruptions, and the same results whoever does the work"
import hashlib, os, signal, subprocess, sys, threading, time
import numpy as np
import pytest
from PIL import Image
from image_recommender import ColorHistogram, PHash, extract
from image_recommender.extract import Extractor

posix = pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX')
modes = pytest.mark.parametrize('processes', [False, True], ids=['threads', 'processes'])


@pytest.fixture
def pictures(tmp_path):
    "Forty different pictures, and the folder they are in; the 7th is 77 pixels wide"
    for i in range(40):
        Image.effect_noise((77 if i == 7 else 100+i, 80), 90).convert('RGB').save(tmp_path/f'{i:02}.png')
    return tmp_path, [f'{i:02}.png' for i in range(40)]

class Fragile(ColorHistogram):
    "Something happens to whoever prepares a picture that is 77 pixels wide"
    def __init__(self, happens):
        super().__init__()
        self.happens = happens
    def prepare(self, image):
        if image.width == 77: self.happens()
        return super().prepare(image)

class Slow(ColorHistogram):
    def __init__(self, prepare=0., finish=0.):
        super().__init__()
        self.sleep = prepare, finish
    def prepare(self, image):
        time.sleep(self.sleep[0])
        return super().prepare(image)
    def finish(self, prepared):
        time.sleep(self.sleep[1]*len(prepared))
        return super().finish(prepared)

def workers(parent=None):
    "Ids of the worker processes that run: of one parent, or all"
    if os.name == 'nt': return []
    lines = subprocess.run(['ps', '-A', '-ww', '-o', 'pid=,ppid=,stat=,command='], capture_output=True, text=True).stdout.splitlines()
    found = [line.split(None, 3) for line in lines if 'from image_recommender.extract import serve' in line]
    return [int(pid) for pid, ppid, stat, _ in found if parent in (None, int(ppid)) and 'Z' not in stat]

def left():
    "Threads and processes of the pipeline that still run"
    return [t.name for t in threading.enumerate() if t.name.startswith(('decode', 'networks'))] + workers(os.getpid())

def run_all(extractor, paths, **kw):
    batches = list(extractor.run(paths, **kw))
    return [r.path for b in batches for r in b.records], [x for b in batches for x in b.bad], batches


def test_processes_give_what_threads_give(pictures):
    root, paths = pictures
    (root/'letter.jpg').write_text('Dear Sir or Madam')
    got = {}
    for processes in (False, True):
        names, bad, batches = run_all(Extractor([ColorHistogram(), PHash()], root, 3, 8, processes=processes), [*paths, 'letter.jpg', 'missing.png'])
        got[processes] = names, [(b.path, b.reason) for b in bad], [b.records for b in batches], {n: np.concatenate([b.rows[n] for b in batches if b.records]) for n in ('color', 'phash')}
    for a, b in zip(got[False][:3], got[True][:3]): assert a == b
    for name in ('color', 'phash'): assert (got[False][3][name] == got[True][3][name]).all()
    assert got[True][0] == paths and len(got[True][1]) == 2 and not left()

@posix
@pytest.mark.parametrize('happens, reason', [(lambda: os.kill(os.getpid(), signal.SIGSEGV), 'SIGSEGV'), (lambda: os._exit(5), 'exit code 5'),
                                             (lambda: os.kill(os.getpid(), signal.SIGKILL), 'SIGKILL')], ids=['segfault', 'exit', 'kill'])
def test_a_picture_that_kills_its_worker(pictures, happens, reason):
    root, paths = pictures
    names, bad, _ = run_all(Extractor([Fragile(happens)], root, 2, 8, processes=True), paths)
    assert names == [p for p in paths if p != '07.png']
    assert [b.path for b in bad] == ['07.png'] and reason in bad[0].reason and 'worker process' in bad[0].reason
    assert not left()

@posix
def test_many_pictures_that_kill_their_workers(pictures):
    class Deadly(ColorHistogram):
        def prepare(self, image):
            if image.width % 3 == 0: os._exit(1)
            return super().prepare(image)
    root, paths = pictures
    names, bad, _ = run_all(Extractor([Deadly()], root, 3, 16, processes=True), paths)
    fatal = [p for p in paths if Image.open(root/p).width % 3 == 0]
    assert [b.path for b in bad] == fatal and names == [p for p in paths if p not in fatal]

@modes
def test_a_metric_that_raises(pictures, processes):
    root, paths = pictures
    def no_luck(): raise ValueError('no luck')
    names, bad, _ = run_all(Extractor([Fragile(no_luck)], root, processes=processes), paths)
    assert len(names) == 39 and 'no luck' in bad[0].reason

def test_metrics_that_processes_cannot_have(pictures):
    root, paths = pictures
    locked = ColorHistogram()
    locked.lock = threading.Lock()
    with pytest.raises(TypeError, match='processes=False'): run_all(Extractor([locked], root, processes=True), paths)
    assert len(run_all(Extractor([locked], root, workers=8, batch_size=8), paths)[0]) == 40
    class Returns(ColorHistogram):
        def prepare(self, image): return threading.Lock()
    with pytest.raises(TypeError, match='processes=False'): run_all(Extractor([Returns()], root, processes=True), paths)
    assert not left()

def test_processes_where_they_are_worth_it(pictures, monkeypatch):
    root, paths = pictures
    started = []
    monkeypatch.setattr(extract, 'Processes', lambda work: started.append(1) or work)
    monkeypatch.setattr(extract, 'isinstance', lambda a, b: False if b is extract.Processes else isinstance(a, b), raising=False)
    on_cpu = ColorHistogram()
    on_cpu.device = 'cpu'
    for features, workers, n, want in [([ColorHistogram()], 8, 40, 1), ([ColorHistogram()], 2, 40, 0), ([on_cpu], 8, 40, 0), ([ColorHistogram()], 8, 20, 0)]:
        started.clear()
        run_all(Extractor(features, root, workers, batch_size=8), paths[:n])
        assert len(started) == want


@pytest.mark.parametrize('slow', ['disk', 'decode', 'model', 'database'])
def test_limited_by(pictures, monkeypatch, slow):
    root, paths = pictures
    real = extract.read_file
    def read(*args):
        if slow == 'disk': time.sleep(.03)
        return real(*args)
    monkeypatch.setattr(extract, 'read_file', read)
    for processes in (False, True):
        extractor = Extractor([Slow(.03*(slow == 'decode'), .02*(slow == 'model'))], root, 2, 8, processes=processes)
        for batch in extractor.run(paths):
            start = time.perf_counter()
            if slow == 'database': time.sleep(.02*len(batch))
            extractor.timing.store += time.perf_counter()-start
        assert extractor.timing.limited_by == slow

def test_paths_are_taken_as_needed(pictures):
    root, paths = pictures
    taken = []
    stream = Extractor([ColorHistogram()], root, batch_size=5).run(p for p in paths*10 if not taken.append(p))
    next(stream)
    assert len(taken) <= 25
    for _ in range(20): next(stream)
    assert len(taken) <= 120
    stream.close()


@modes
def test_leaving_early_leaves_nothing_behind(pictures, processes):
    root, paths = pictures
    for how in (KeyboardInterrupt, RuntimeError, GeneratorExit):
        stream = Extractor([Slow(finish=.01)], root, batch_size=4, processes=processes).run(paths*100)
        next(stream)
        if how is GeneratorExit: stream.close()
        else:
            with pytest.raises(how): stream.throw(how)
        assert not left()

@modes
def test_faults_reach_the_caller(pictures, processes):
    root, paths = pictures
    class Faulty(ColorHistogram):
        def finish(self, prepared):
            if len(self.done) == 2: raise MemoryError('no room for a batch')
            self.done.append(1)
            return super().finish(prepared)
    faulty, got = Faulty(), []
    faulty.done = []
    with pytest.raises(MemoryError, match='no room'):
        for batch in Extractor([faulty], root, batch_size=5, processes=processes).run(paths): got.append(batch)
    assert [len(b.records) for b in got] == [5, 5] and not left()
    def known(sha256): raise KeyError('the database is gone')
    with pytest.raises(KeyError, match='gone'): run_all(Extractor([ColorHistogram()], root, processes=processes), paths, known=known)
    assert not left()

@modes
def test_known_content_is_not_decoded(pictures, processes):
    root, paths = pictures
    (root/'letter.jpg').write_text('Dear Sir or Madam')
    prepared = []
    class Counting(ColorHistogram):
        def finish(self, rows):
            prepared.extend(rows)
            return super().finish(rows)
    digests = {hashlib.sha256((root/p).read_bytes()).digest(): i for i, p in enumerate(paths) if i % 2}
    digests[hashlib.sha256(b'Dear Sir or Madam').digest()] = 'a letter'
    counting = Counting()
    counting.__class__.__reduce__ = lambda self: (ColorHistogram, ())
    batch, = Extractor([counting], root, processes=processes).run([*paths, 'letter.jpg'], known=digests.get)
    assert [k.path for k in batch.known] == [*paths[1::2], 'letter.jpg'] and [k.match for k in batch.known] == [*range(1, 40, 2), 'a letter']
    assert all(k.sha256 == hashlib.sha256((root/k.path).read_bytes()).digest() and k.size == (root/k.path).stat().st_size and
               k.mtime_ns == (root/k.path).stat().st_mtime_ns for k in batch.known)
    assert [r.path for r in batch.records] == paths[::2] and len(prepared) == 20 and len(batch) == 41


SCRIPT = '''
import os, sys, time
import signal
signal.signal(signal.SIGINT, signal.default_int_handler) # a test runner in the background has Ctrl-C ignored
from image_recommender import ColorHistogram
from image_recommender.extract import Extractor
class Talkative(ColorHistogram):
    def prepare(self, image):
        assert 'torch' not in sys.modules
        print('a metric may print')
        time.sleep(float(os.environ['SLEEP']))
        return super().prepare(image)
folder = os.environ['FOLDER']
for batch in Extractor([Talkative()], folder, workers=2, batch_size=20, processes=True).run(sorted(os.listdir(folder))*20):
    assert not batch.bad, batch.bad
    print('batch', len(batch), flush=True)
'''

@pytest.fixture
def script(pictures, tmp_path_factory):
    "A script without a `__main__` guard that defines a metric, as a process"
    path = tmp_path_factory.mktemp('script')/'script.py'
    path.write_text(SCRIPT)
    started = []
    def start(sleep):
        env = {**os.environ, 'FOLDER': str(pictures[0]), 'SLEEP': str(sleep)}
        p = subprocess.Popen([sys.executable, path], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        started.append(p)
        return p
    yield start
    for p in started:
        p.kill()
        p.wait()

def test_a_script_without_a_guard(script):
    out, err = script(0).communicate(timeout=120)
    assert out.splitlines() == ['batch 20']*40 and not err.replace('a metric may print', '').strip()

@posix
@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGKILL], ids=['Ctrl-C', 'kill'])
def test_worker_processes_end_with_their_parent(script, sig):
    p = script(.01)
    assert p.stdout.readline() == 'batch 20\n'
    started, until = workers(p.pid), time.time()+20
    assert len(started) == 2
    os.killpg(p.pid, sig)
    err = p.communicate(timeout=60)[1]
    assert p.returncode != 0
    while set(started) & set(workers()) and time.time() < until: time.sleep(.1)
    assert not set(started) & set(workers())
    assert err.count('Traceback') == (sig == signal.SIGINT), 'the workers complain'
