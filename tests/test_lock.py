"One writer at a time, in real processes; readers never wait"
import sqlite3, subprocess, sys
import pytest
from image_recommender import ImageRecommender

BUSY = 4
HOLD = """
import sys
from pathlib import Path
from image_recommender.lock import writing
with writing(Path(sys.argv[1]), 'index()'):
    print('has it', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def library(photos):
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    return rec


@pytest.fixture
def held(library):
    "Another process holds the lock until the test ends"
    p = subprocess.Popen([sys.executable, '-c', HOLD, str(library.store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == 'has it\n'
    yield p
    p.kill()
    p.wait()


def test_the_second_is_told_and_readers_do_not_wait(library, held, sh):
    code, out, err = sh('cli', 'index', library.root)
    assert code == BUSY and f'index() of process {held.pid}' in err and 'Traceback' not in err
    for args in (('add', library.root/'coffee.png'), ('remove', library.root/'coffee.png')):
        assert sh('cli', *args, '--library', library.root)[0] == BUSY
    assert sh('cli', 'search', library.root/'coffee.png', '--library', library.root)[0] == 0
    assert len(library.similar('coffee.png', k=3)) == 3
    assert len(ImageRecommender(library.root)) == 10


def test_a_dead_holder_holds_nothing(library, held):
    held.kill()
    held.wait()
    assert library.index(progress=False).total == 10


def test_two_at_once(photos, sh):
    "Of two that start together one does the work; nothing is stored twice"
    command = [sys.executable, '-W', 'ignore', '-m', 'image_recommender.cli', 'index', str(photos), '--model', 'efficientnet-lite0']
    two = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [p.communicate(timeout=120) for p in two]
    codes = sorted(p.returncode for p in two)
    assert codes in ([0, BUSY], [0, 0]), said # both, if the first was done before the second began
    rec = ImageRecommender(photos)
    assert len(rec) == 10 and rec.db.count_complete(['clip', 'color', 'phash']) == 10
    assert sqlite3.connect(rec.store/'image_metadata.db').execute('PRAGMA integrity_check').fetchone() == ('ok',)


def test_a_script_that_is_interrupted_ends_as_scripts_do(photos):
    "By the signal, as Python ends for exactly KeyboardInterrupt"
    code = f"""
import image_recommender.indexing as indexing
from image_recommender import ImageRecommender
indexing.store_batch = lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
ImageRecommender({str(photos)!r}, model='efficientnet-lite0').index(progress=False)
"""
    p = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert p.returncode in (-2, 130) and 'KeyboardInterrupt' in p.stderr
