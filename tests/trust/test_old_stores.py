"Stores of earlier versions open with all that they hold; what has to change changes after a backup, once, whole or not at all"
import json, multiprocessing, os, shutil, signal, sqlite3, sys, tempfile, zipfile
from contextlib import closing
from pathlib import Path
import pytest
from image_recommender import ImageRecommender
from image_recommender import database as database_module
from image_recommender.connection import SCHEMA_VERSION, StoreError
from image_recommender.database import Database
from image_recommender.index import FORMAT, current_generation

STORES = sorted((Path(__file__).parent/'stores').glob('*.zip'))
OLD = [p for p in STORES if p.name.startswith('schema-1')]
WHEN = 1_700_000_000 # when the pictures were changed last, see tools/make_old_store.py
posix = pytest.mark.skipif(sys.platform == 'win32', reason='forks')


def unpack(archive, folder):
    "The collection, and what was answered then"
    with zipfile.ZipFile(archive) as z: z.extractall(folder)
    for p in (folder/'photos').glob('**/*.*'):
        if '.image_recommender' not in p.parts: os.utime(p, (WHEN, WHEN))
    return folder/'photos', json.loads((folder/'answers.json').read_text())

def rows(path):
    "All that a database holds of images, features, bad files and settings, but for the version and the column that version 2 added"
    with closing(sqlite3.connect(path)) as db:
        tables = [t for t, in db.execute("SELECT name FROM sqlite_master WHERE type='table' AND name LIKE 'feature%' OR name='bad' ORDER BY 1")]
        held = {t: db.execute(f'SELECT * FROM {t} ORDER BY 1').fetchall() for t in tables}
        held['images'] = db.execute('SELECT id, path, size, mtime_ns, sha256, width, height, format FROM images ORDER BY id').fetchall()
        held['settings'] = db.execute("SELECT key, value FROM settings WHERE key<>'schema_version' ORDER BY key").fetchall()
    assert {'feature_clip', 'feature_color', 'feature_phash'} < set(held) and len(held['images']) == 10 and len(held['bad']) == 1
    return held

def version(path):
    with closing(sqlite3.connect(path)) as db: return json.loads(db.execute("SELECT value FROM settings WHERE key='schema_version'").fetchone()[0])

def same_answers(rec, told):
    "The five nearest by each metric, and how near, as they were found when the store was written"
    for question, then in told['answers'].items():
        i, metric = question.split()
        now = rec.similar(int(i), k=5, weights={metric: 1}, exact=True)
        near = [m.distances[metric] for m in now]
        if metric == 'phash' and told['format'] < 3: # turned and mirrored copies are recognised since, so that some come nearer
            assert all(a <= distances[metric] for a, (_, distances) in zip(near, then, strict=True))
            continue
        assert near == pytest.approx([distances[metric] for _, distances in then], abs=2e-3), question
        found, known = ({str(m.path.relative_to(rec.root)) for m in now}, {path for path, _ in then})
        edge = max(near)-2e-3 # pictures that are as near as the fifth may change places with it
        assert {str(m.path.relative_to(rec.root)) for m in now if m.distances[metric] < edge} <= known, question
        assert {path for path, distances in then if distances[metric] < edge} <= found, question


def test_a_store_of_each_version_is_kept():
    kept = {tuple(json.loads(zipfile.ZipFile(p).read('answers.json'))[n] for n in ('schema', 'format')) for p in STORES}
    assert {s for s, _ in kept} == set(range(1, SCHEMA_VERSION+1)) and {f for _, f in kept} == set(range(1, FORMAT+1))
    assert all(p.stat().st_size < 100_000 for p in STORES)

@pytest.mark.parametrize('archive', STORES, ids=lambda p: p.stem)
def test_opened_searched_and_brought_up_to_date(archive, tmp_path):
    root, told = unpack(archive, tmp_path)
    store, path = root/'.image_recommender', root/'.image_recommender'/'image_metadata.db'
    before, backup = rows(path), store/f"image_metadata.db.schema-{told['schema']}.backup"
    rec = ImageRecommender(root)
    same_answers(rec, told) # before anything is built anew
    assert rows(path) == before and version(path) == SCHEMA_VERSION
    assert backup.exists() == (told['schema'] < SCHEMA_VERSION)
    if backup.exists(): assert rows(backup) == before and version(backup) == told['schema']
    generation = current_generation(store)
    report = rec.index(progress=False)
    assert (report.added, report.moved, report.removed, report.total) == (0, 0, 0, 10) and report.bad == 1
    assert (current_generation(store) == generation) == (told['format'] == FORMAT) # an older index is built anew, a present one is kept
    after = rows(path)
    assert all(after[t] == before[t] for t in before if t != 'settings')
    kept = [s for s in before['settings'] if s[0] != 'feature:clip' or told['format'] > 1] # whose signature was computed differently then
    assert set(kept) <= set(after['settings'])
    same_answers(ImageRecommender(root), told)
    assert rec.record(1).taken is None if told['schema'] == 1 else any(rec.record(i).taken for i in range(1, 11))

@pytest.mark.parametrize('archive', OLD[:1] + OLD[-1:], ids=lambda p: p.stem)
def test_searched_where_nothing_can_be_written(archive, tmp_path, monkeypatch):
    root, told = unpack(archive, tmp_path)
    files = {p: p.read_bytes() for p in root.glob('.image_recommender/**/*') if p.is_file()}
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.W_OK)
    rec = ImageRecommender(root)
    same_answers(rec, told)
    assert rec.db.readonly and rec.bad[0].path.name == 'broken.jpg'
    with pytest.raises(StoreError, match='read-only'): rec.index(progress=False)
    assert version(root/'.image_recommender'/'image_metadata.db') == 1
    assert {p for p in root.glob('.image_recommender/*') if 'backup' in p.name} == set()
    assert all(p.read_bytes() == content for p, content in files.items() if p.name in ('image_metadata.db', 'current', 'manifest.json'))


# The migration, on its own

@pytest.fixture
def old(tmp_path):
    "A database of version 1"
    return unpack(OLD[0], tmp_path)[0]/'.image_recommender'/'image_metadata.db'

def left(path): return sorted(p.name for p in path.parent.iterdir() if 'backup' in p.name)

def test_a_backup_is_made_once(old):
    Database(old).close()
    backup = old.with_name('image_metadata.db.schema-1.backup')
    kept = backup.read_bytes()
    db = Database(old)
    db.remove([1])
    db.close()
    assert left(old) == [backup.name] and backup.read_bytes() == kept
    shutil.copy(backup, old) # going back, and forward again
    before = rows(old)
    Database(old).close()
    assert version(old) == SCHEMA_VERSION and rows(old) == before and backup.read_bytes() == kept

@pytest.mark.parametrize('step', ['connect', 'fsync', 'replace'])
def test_no_backup_no_migration(old, step, monkeypatch):
    before, content = rows(old), old.read_bytes()
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    if step == 'connect':
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, 'connect', lambda where, *a, **k: connect(where, *a, **k) if not str(where).endswith('.backup.new') else connect('/nowhere/x'))
    else: monkeypatch.setattr(os, step, full)
    with pytest.raises(StoreError, match='Nothing was changed: make room'): Database(old)
    monkeypatch.undo()
    assert version(old) == 1 and rows(old) == before and old.read_bytes() == content and left(old) == []
    Database(old).close()
    assert version(old) == SCHEMA_VERSION and left(old) == ['image_metadata.db.schema-1.backup']

def test_a_migration_that_fails_is_undone(old, monkeypatch):
    before = rows(old)
    with monkeypatch.context() as m:
        m.setattr(Database, 'set_setting', lambda self, key, value: 1/0)
        with pytest.raises(ZeroDivisionError): Database(old)
    assert version(old) == 1 and rows(old) == before
    Database(old).close()
    assert version(old) == SCHEMA_VERSION and rows(old) == before

def _migrate_and_say(path, answers):
    try:
        Database(path).close()
        answers.put('opened')
    except Exception as e: answers.put(repr(e))

@posix
def test_killed_at_any_moment(old, many):
    "A real process, killed between any two calls that touch the disk, and between any two (in CI, four) pages of the backup"
    before, fork, spare, step = rows(old), multiprocessing.get_context('fork'), old.with_name('spare'), many(4, 1)
    shutil.copy(old, spare)
    def victim(at):
        count = iter(range(10**9))
        def counted(function):
            def call(*args, **kwargs):
                if next(count) == at: os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)
            return call
        os.replace, os.fsync = counted(os.replace), counted(os.fsync)
        class Watched(sqlite3.Connection):
            def execute(self, *args): return counted(super().execute)(*args)
            def backup(self, target): return super().backup(target, pages=step, progress=counted(lambda *progress: None))
        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: counted(connect)(*a, factory=Watched, **k)
        Database(old).close()
    at = killed = 0
    while True:
        for p in list(old.parent.iterdir()):
            if p.name.startswith('image_metadata.db'): p.unlink()
        shutil.copy(spare, old)
        process = fork.Process(target=victim, args=(at,))
        process.start()
        process.join(60)
        with closing(sqlite3.connect(old)) as db: assert db.execute('PRAGMA integrity_check').fetchone() == ('ok',)
        found, backup = version(old), old.with_name('image_metadata.db.schema-1.backup')
        assert found in (1, SCHEMA_VERSION) and rows(old) == before
        assert found == 1 or rows(backup) == before
        if backup.exists(): assert rows(backup) == before and version(backup) == 1 # never half of one
        Database(old).close()
        assert version(old) == SCHEMA_VERSION and rows(old) == before and rows(backup) == before
        assert left(old) == [backup.name]
        if process.exitcode == 0: break
        assert process.exitcode == -signal.SIGKILL
        at, killed = at+1, killed+1
    assert killed > many(20, 35)

@posix
def test_two_at_once(old, many):
    before, fork = rows(old), multiprocessing.get_context('fork')
    spare = old.with_name('spare')
    shutil.copy(old, spare)
    for _ in range(many(3, 100)):
        for p in list(old.parent.iterdir()):
            if p.name.startswith('image_metadata.db'): p.unlink()
        shutil.copy(spare, old)
        answers = fork.Queue()
        workers = [fork.Process(target=_migrate_and_say, args=(old, answers)) for _ in range(4)]
        for w in workers: w.start()
        assert [answers.get(timeout=60) for _ in workers] == ['opened']*4
        for w in workers: w.join()
        assert version(old) == SCHEMA_VERSION and rows(old) == before
        assert rows(old.with_name('image_metadata.db.schema-1.backup')) == before and left(old) == ['image_metadata.db.schema-1.backup']


# Newer ones

def test_a_newer_schema_is_refused_and_left_alone(tmp_path, sh):
    root, _ = unpack(STORES[-1], tmp_path)
    path = root/'.image_recommender'/'image_metadata.db'
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE settings SET value='3' WHERE key='schema_version'")
        db.execute('CREATE TABLE future (x)')
        db.commit()
    content = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r'newer version of image_recommender \(schema 3'): Database(path, readonly)
    code, out, err = sh('cli', 'search', root/'wave 0.png', '--library', root)
    assert code == 1 and 'newer version' in err and 'Traceback' not in err
    assert path.read_bytes() == content

def test_a_newer_index_is_refused(tmp_path, sh):
    root, _ = unpack(STORES[-1], tmp_path)
    path = root/'.image_recommender'/'generations'/'000001'/'manifest.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'format': FORMAT+1}))
    with pytest.raises(StoreError, match='newer version'): ImageRecommender(root).similar(1)
    code, out, err = sh('cli', 'search', root/'wave 0.png', '--library', root)
    assert code == 1 and 'newer version' in err and 'Traceback' not in err


# A log that was left

def crash(folder):
    "A library whose writer was killed: two images in the file, one more in the log"
    def write():
        db = Database(folder/'image_metadata.db')
        record = lambda i: database_module.ImageRecord(f'{i}.jpg', 1, 1, bytes(32), 1, 1, 'JPEG')
        db.add([record(1), record(2)])
        db.checkpoint()
        db.add([record(3)])
        os.kill(os.getpid(), signal.SIGKILL)
    process = multiprocessing.get_context('fork').Process(target=write)
    process.start()
    process.join()
    assert (folder/'image_metadata.db-wal').stat().st_size > 0

@posix
def test_what_lies_in_the_log_is_read(tmp_path):
    crash(tmp_path)
    db = Database(tmp_path/'image_metadata.db', readonly=True)
    assert len(db) == 3
    db.close()
    assert (tmp_path/'image_metadata.db-wal').stat().st_size > 0

@posix
@pytest.mark.parametrize('shared', [True, False], ids=['with -shm', 'without -shm'])
def test_a_log_in_a_folder_that_cannot_be_written(shared):
    "As somebody without rights: all is seen, or nothing with a sentence; never the state before the log"
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)/'store'
        folder.mkdir()
        crash(folder)
        if not shared: (folder/'image_metadata.db-shm').unlink()
        for p in folder.iterdir(): p.chmod(0o444)
        folder.chmod(0o555)
        os.chmod(tmp, 0o755)
        def look(answers):
            if os.getuid() == 0: os.setuid(65534)
            try: answers.put(len(Database(folder/'image_metadata.db', readonly=True)))
            except StoreError as e: answers.put(str(e))
        fork = multiprocessing.get_context('fork')
        answers = fork.Queue()
        process = fork.Process(target=look, args=(answers,))
        process.start()
        found = answers.get(timeout=60)
        process.join()
        folder.chmod(0o755)
        assert found == 3 or not shared and 'open it once where it can be written' in found, found
