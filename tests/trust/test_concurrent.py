"""Two and more at once: readers are never blocked, never fail and never see half a batch; threads and forked processes may search"""
import multiprocessing, sys, threading, traceback
from contextlib import contextmanager
import numpy as np
import pytest
from image_recommender import ImageRecommender
from . import victim
from .test_kill import paint

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='forks')


@pytest.fixture
def library(tmp_path):
    for i in range(200): paint(tmp_path/'pictures'/f'{i:03}.png', i)
    library = victim.tiny_library(tmp_path/'pictures', ImageRecommender)
    library.index(progress=False)
    return library


def look(library, rng, seen):
    "One question; what must hold of its answer"
    n = len(library)
    found = library.similar('000.png', k=5, exact=bool(rng.integers(2)))
    assert len(found) == 5 and found[0].score >= found[-1].score
    view = library.view
    for name in ('clip', 'color', 'phash'): view.rows(name, [view.position(int(i)) for i in rng.choice(view.ids, 3)])
    seen.append(n)


def keep_looking(folder, stop, answers, seed):
    rng, seen, library = np.random.default_rng(seed), [], None
    try:
        while not stop.is_set():
            if seed % 2 or library is None: library = victim.tiny_library(folder, ImageRecommender)
            look(library, rng, seen)
        answers.put(seen)
    except BaseException: answers.put(traceback.format_exc())


def change(library, rounds):
    "What a writer does: files come, change and go, generations are built"
    rng = np.random.default_rng(0)
    for i in range(rounds):
        for j in range(20): paint(library.root/f'new {i} {j}.png', (i, j))
        if i > 2:
            for j in range(20): (library.root/f'new {i-2} {j}.png').unlink(missing_ok=True)
        paint(library.root/f'{rng.integers(1, 200):03}.png', (i, 99))
        library.index(progress=False)
        library.remove([library.record(f'new {i} 0.png').id])


def test_readers_in_other_processes_while_one_writes(library, many):
    context = multiprocessing.get_context('fork')
    stop, answers = context.Event(), context.Queue()
    readers = [context.Process(target=keep_looking, args=(library.root, stop, answers, seed)) for seed in range(3)]
    for r in readers: r.start()
    change(library, many(6, 200))
    stop.set()
    said = [answers.get(timeout=60) for _ in readers]
    for r in readers: r.join(10)
    for s in said: assert isinstance(s, list), s
    print([len(s) for s in said], 'questions while', many(6, 200), 'indexes were built')
    assert all(len(s) > 3 for s in said) and len({n for s in said for n in s}) > 3, 'they saw it grow'


def test_no_half_batches(library, many):
    "A batch that is being stored is seen as a whole or not at all"
    context = multiprocessing.get_context('fork')
    stop, answers = context.Event(), context.Queue()
    def count():
        try:
            db, seen = victim.tiny_library(library.root).db, set()
            while not stop.is_set():
                with db.snapshot() as frozen: seen.add(tuple(frozen._rows(f'SELECT count(*) FROM {t}')[0][0] for t in ('images', 'feature_clip', 'feature_color', 'feature_phash')))
            answers.put(seen)
        except BaseException: answers.put(traceback.format_exc())
    reader = context.Process(target=count)
    reader.start()
    for i in range(many(6, 60)):
        for j in range(70): paint(library.root/f'more {i} {j}.png', (i, j, 3))
        library.index(progress=False)
    stop.set()
    seen = answers.get(timeout=60)
    reader.join(10)
    assert isinstance(seen, set), seen
    assert len(seen) > 2 and all(len(set(s)) == 1 for s in seen), seen


@contextmanager
def meanwhile(*functions):
    "Threads that do something again and again until the block ends; what they raise is raised here"
    stop, wrong = threading.Event(), []
    def work(f):
        try:
            while not stop.is_set(): f()
        except BaseException: wrong.append(traceback.format_exc())
    threads = [threading.Thread(target=work, args=(f,), daemon=True) for f in functions]
    for t in threads: t.start()
    try: yield
    finally:
        stop.set()
        for t in threads: t.join(60)
    assert not wrong, wrong[0]
    if hanging := [t for t in threads if t.is_alive()]:
        frames = sys._current_frames()
        assert False, 'one hangs:\n' + ''.join(traceback.format_stack(frames[hanging[0].ident]))


def test_threads(library, many):
    "Many threads ask one object, while another thread writes with it"
    seen = []
    with meanwhile(*(lambda rng=np.random.default_rng(i): look(library, rng, seen) for i in range(6))): change(library, many(5, 100))
    assert len(seen) > 20


def test_forked_processes_search_with_what_their_parent_opened(library, many):
    "As the workers of PyTorch's data loaders do, all of them and their parent at once. (Not forked in the middle of another thread's search: BLAS does not survive that.)"
    expected = [m.id for m in library.similar('007.png', k=5)]
    context = multiprocessing.get_context('fork')
    def ask(answers):
        try: answers.put([m.id for m in library.similar('007.png', k=5)] + [len(library), library.record('008.png').path])
        except BaseException: answers.put(traceback.format_exc())
    for _ in range(many(5, 100)):
        answers = context.SimpleQueue()
        children = [context.Process(target=ask, args=(answers,), daemon=True) for _ in range(4)]
        for c in children: c.start()
        with meanwhile(lambda: library.similar('008.png'), lambda: library.similar('009.png')):
            for c in children:
                c.join(30)
                assert c.exitcode == 0, 'it hangs' if c.exitcode is None else c.exitcode
                assert answers.get() == expected + [200, '008.png']
    assert [m.id for m in library.similar('007.png', k=5)] == expected, 'the parent goes on'
    assert library.index(progress=False).total == 200


def test_an_index_is_kept_as_long_as_a_reader_has_it(library):
    reader = victim.tiny_library(library.root, ImageRecommender)
    view = reader.view
    folder = view.generation.folder
    change(library, 3)
    assert folder.exists() and [m.id for m in reader.similar('000.png', k=3)]
    del view
    reader.close()
    library.index(progress=False)
    assert not folder.exists()
