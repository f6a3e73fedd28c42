"A store that somebody else made, with the intent to have us read, show, change or delete what lies outside of it, or to make the program fall"
import json, os, shutil, sqlite3, sys
from contextlib import closing, contextmanager
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender
from image_recommender import index as index_module
from image_recommender.connection import StoreError
from image_recommender.database import Database, ImageRecord
from image_recommender.index import IndexDamaged
from image_recommender.taste import named_weights

posix = pytest.mark.skipif(sys.platform == 'win32', reason='symbolic links')


# What is touched: the interpreter tells of every file that is opened, moved, deleted or listed

_watching = None
_EVENTS = {'open', 'os.remove', 'os.rename', 'os.link', 'os.symlink', 'os.rmdir', 'os.mkdir', 'os.listdir', 'os.scandir', 'os.chmod', 'os.utime',
           'os.truncate', 'shutil.rmtree', 'shutil.copyfile', 'shutil.move', 'sqlite3.connect'}

_THROUGH = {'open', 'os.listdir', 'os.scandir', 'os.chmod', 'os.utime', 'os.truncate', 'shutil.copyfile', 'sqlite3.connect'}

def _told(event, args):
    if _watching is None or event not in _EVENTS: return
    folder, seen = _watching
    for a in args:
        if isinstance(a, (str, bytes, os.PathLike)):
            try:
                a = os.fsdecode(a) # what removes and renames a link leaves alone what it leads to
                place = os.path.realpath(a) if event in _THROUGH else os.path.join(os.path.realpath(os.path.dirname(a)), os.path.basename(a))
            except ValueError: continue # a NUL byte, which no file can have
            if place.startswith(folder): seen.append((event, place))

sys.addaudithook(_told)

@contextmanager
def untouched(folder):
    "Nothing below the folder is opened or changed in here"
    global _watching
    state = lambda: {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in sorted(folder.rglob('*'))}
    before, seen = state(), []
    _watching = os.path.realpath(folder), seen
    try: yield
    finally: _watching = None
    assert seen == [] and state() == before

def test_the_watch_sees(tmp_path):
    (tmp_path/'a').write_text('x')
    (tmp_path/'link').symlink_to(tmp_path/'a')
    for touch in (lambda: open(tmp_path/'a').close(), lambda: (tmp_path/'link').read_text(), lambda: os.rename(tmp_path/'a', tmp_path/'a'), lambda: os.listdir(tmp_path)):
        with pytest.raises(AssertionError), untouched(tmp_path): touch()


@pytest.fixture
def world(tmp_path):
    "A shared folder with six pictures and a store, and beside it what is none of its business"
    root, secret = tmp_path/'shared', tmp_path/'secret'
    root.mkdir(); secret.mkdir()
    rng, names = np.random.default_rng(0), [f'{i}.png' for i in range(6)]
    for n in names: Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(root/n)
    for n in ('diary.png', 'other.png'): Image.new('RGB', (24, 24), 'red').save(secret/n)
    rec = ImageRecommender.from_features(root/'.image_recommender', names, root=root, ann='exact', clip=rng.normal(size=(6, 8)), phash=[5]*6,
                                         color=np.full((6, 24), .125))
    for i, n in enumerate(names, 1): # as if they were indexed
        info = os.stat(root/n)
        rec.db.move(i, n, info.st_size, info.st_mtime_ns)
    with rec.db.transaction() as db: db.execute("UPDATE images SET sha256=zeroblob(32), width=24, height=24, format='PNG'")
    rec.db.checkpoint()
    rec.db.close()
    return root, root/'.image_recommender', secret

def change(store, *statements):
    with closing(sqlite3.connect(store/'image_metadata.db')) as db:
        for sql, *args in statements: db.execute(sql, args)
        db.commit()

def whatever(action):
    "Done, or refused with a sentence"
    try: return action()
    except (StoreError, KeyError) as e: return str(e)


# Paths

def surfaces(root, tmp_path):
    "All that shows, moves, deletes or reads pictures of a library"
    open_ = lambda: ImageRecommender(root)
    yield 'page of results', lambda: open_().similar(1, k=6)._repr_html_()
    yield 'picture of results', lambda: open_().similar(1, k=6).plot()
    yield 'the image itself', lambda: open_().similar(2)._repr_html_()
    yield 'its path', lambda: open_().similar(root/'../secret/diary.png', weights={'color': 1})
    yield 'paths', lambda: open_().paths
    yield 'features', lambda: open_().features(2)
    yield 'record', lambda: open_().record(2)
    yield 'select', lambda: open_().select({'format': "= 'PNG'"})
    yield 'bad', lambda: open_().bad
    yield 'scan', lambda: open_().scan(progress=False)
    yield 'index', lambda: open_().index(progress=False)
    yield 'update', lambda: open_().update([root])
    yield 'remove', lambda: open_().remove(2)
    yield 'report of duplicates', lambda: open_().duplicates().to_html(tmp_path/'report.html')
    yield 'table of duplicates', lambda: open_().duplicates().df
    yield 'delete duplicates', lambda: open_().duplicates().delete(dry_run=False)
    yield 'move duplicates', lambda: open_().duplicates().move_to(tmp_path/'moved', dry_run=False)
    yield 'link duplicates', lambda: open_().duplicates().hard_link(dry_run=False)
    yield 'burst keepers', lambda: open_().duplicates(kinds=('exact', 'similar'))
    yield 'recommend', lambda: open_().recommend([1, 3])._repr_html_()
    yield 'interface', lambda: open_().explore()

@posix
@pytest.mark.parametrize('path', ['../secret/diary.png', '{secret}/diary.png', 'a/../../secret/diary.png', './../secret/diary.png'])
def test_a_path_that_leads_out(world, tmp_path, path, many):
    root, store, secret = world
    info = os.stat(secret/'diary.png')
    change(store, ['UPDATE images SET path=?, size=?, mtime_ns=? WHERE id=2', path.format(secret=secret).encode(), info.st_size, info.st_mtime_ns])
    shutil.copytree(store, tmp_path/'kept')
    count = 0
    for name, act in surfaces(root, tmp_path):
        if name == 'its path': continue # there, the person names the file
        shutil.rmtree(store)
        shutil.copytree(tmp_path/'kept', store)
        with untouched(secret): whatever(act)
        count += 1
    assert count == 20 and 'leads out of the collection' in whatever(lambda: ImageRecommender(root).record(2))

@pytest.mark.parametrize('value', ["'text.png'", '17', "x'00'", "x''", "x'612e706e6700'"])
def test_a_path_that_is_none(world, tmp_path, value, many):
    root, store, secret = world
    change(store, [f'UPDATE images SET path={value} WHERE id=2'])
    for _, act in list(surfaces(root, tmp_path))[::many(4, 1)]: whatever(act)
    assert 'leads out of the collection' in whatever(lambda: ImageRecommender(root).record(2))

@pytest.mark.parametrize('table', ['bad', 'ignored'])
def test_other_paths_that_lead_out(world, table):
    root, store, secret = world
    change(store, [f'INSERT INTO {table} VALUES ({"?" if table == "ignored" else "?, 1"})', b'../secret/diary.png'])
    with untouched(secret):
        rec = ImageRecommender(root)
        assert 'leads out' in whatever(lambda: getattr(rec.db, table))
        whatever(lambda: rec.index(progress=False))

@pytest.mark.parametrize('column, value', [('size', "'big'"), ('mtime_ns', '1.5'), ('sha256', "'abc'"), ('width', "x'01'"), ('height', "'<b>'"), ('format', "x'ff'"), ('taken', "'now'")])
def test_what_is_said_of_an_image_has_the_right_kind(world, tmp_path, column, value, many):
    root, store, secret = world
    change(store, [f'UPDATE images SET {column}={value} WHERE id=2'])
    assert 'not described as images are' in whatever(lambda: ImageRecommender(root).record(2))
    for _, act in list(surfaces(root, tmp_path))[::many(4, 1)]: whatever(act)

def test_text_that_is_none(world):
    root, store, secret = world
    change(store, ["UPDATE images SET format=CAST(x'ff' AS TEXT) WHERE id=2"])
    assert 'UTF-8' in whatever(lambda: ImageRecommender(root).record(2))

@posix
def test_behind_a_linked_folder_nothing_is_moved_or_deleted(world, tmp_path):
    "Whoever puts a link into a collection may look through it; what the store says of it moves and deletes nothing"
    root, store, secret = world
    (root/'door').symlink_to(secret)
    for i, name in ((2, 'diary.png'), (3, 'other.png')):
        info = os.stat(secret/name)
        change(store, ['UPDATE images SET path=?, size=?, mtime_ns=? WHERE id=?', f'door/{name}'.encode(), info.st_size, info.st_mtime_ns, i])
    for act in ('delete', 'hard_link', 'move_to'):
        found = ImageRecommender(root).duplicates()
        behind = [c for g in found for c in g.copies if 'door' in c.path.parts]
        act = lambda dry, act=act: getattr(found, act)(*[tmp_path/'moved']*(act == 'move_to'), dry_run=dry)
        plan = act(True)
        whatever(lambda: act(False))
        assert behind and all(s.problem for s in plan if 'door' in s.source.parts)
        assert (secret/'diary.png').exists() and (secret/'other.png').exists() and os.stat(secret/'diary.png').st_nlink == 1

@posix
def test_features_of_ones_own_stay_below_their_root(tmp_path):
    rows = np.eye(3)
    inside = [str(tmp_path/'pictures'/n) for n in 'abc']
    rec = ImageRecommender.from_features(tmp_path/'store', inside, clip=rows, root=tmp_path/'pictures') if (tmp_path/'pictures').mkdir() is None else None
    assert [str(p) for p in rec.paths] == inside and rec.record(1).path == 'a'
    for paths in (inside, ['../a', 'b', 'c'], ['/etc/passwd', 'b', 'c'], ['', 'b', 'c']):
        with pytest.raises(ValueError, match='name the folder that all paths lie in with root='): ImageRecommender.from_features(tmp_path/'none', paths, clip=rows)
    assert not (tmp_path/'none').exists()
    db = Database(tmp_path/'x.db')
    for path in ('/etc/passwd', '../x', ''):
        with pytest.raises(ValueError, match='outside'): db.add([ImageRecord(path, 1, 1, b'', 1, 1, '')])
        with pytest.raises(ValueError, match='outside'): db.move(1, path, 1, 1)


# The schema

SCHEMAS = ['CREATE TRIGGER t AFTER INSERT ON settings BEGIN DELETE FROM images; END', 'CREATE TRIGGER t AFTER UPDATE ON images BEGIN DELETE FROM settings; END',
           'CREATE VIEW v AS SELECT 1', 'CREATE VIEW feature_x AS SELECT id image_id, path data FROM images', 'CREATE TABLE passwords (x)',
           'CREATE TABLE "feature_x""; DROP TABLE images; --" (image_id, data)', 'CREATE TABLE "feature_x y" (image_id)', 'CREATE VIRTUAL TABLE feature_v USING rtree(id, a, b)',
           "CREATE TABLE feature_g (image_id INTEGER PRIMARY KEY, data AS (image_id))"]

@pytest.mark.parametrize('sql', SCHEMAS)
@pytest.mark.parametrize('readonly', [False, True])
def test_what_we_did_not_make_is_refused_before_anything_is_written(world, sql, readonly):
    root, store, secret = world
    try: change(store, [sql])
    except sqlite3.OperationalError as e: pytest.skip(str(e)) # no such module here
    content = (store/'image_metadata.db').read_bytes()
    with pytest.raises(StoreError, match='image_metadata.db holds the .* which image_recommender did not make'): Database(store/'image_metadata.db', readonly)
    assert (store/'image_metadata.db').read_bytes() == content

def test_a_view_in_the_place_of_a_table(world):
    root, store, secret = world
    change(store, ['ALTER TABLE settings RENAME TO feature_s'], ['CREATE VIEW settings AS SELECT * FROM feature_s'])
    assert 'holds the view' in whatever(lambda: ImageRecommender(root).similar(1))

def test_the_database_of_another_program(tmp_path):
    with closing(sqlite3.connect(tmp_path/'image_metadata.db')) as db: db.execute('CREATE TABLE bookmarks (url)')
    content = (tmp_path/'image_metadata.db').read_bytes()
    assert "holds the table 'bookmarks'" in whatever(lambda: Database(tmp_path/'image_metadata.db'))
    assert (tmp_path/'image_metadata.db').read_bytes() == content

@pytest.mark.parametrize('columns', ['(id)', '(id INTEGER PRIMARY KEY, path)', '(x)'])
def test_tables_without_their_columns(world, columns):
    root, store, secret = world
    change(store, ['DROP TABLE images'], [f'CREATE TABLE images {columns}'])
    assert 'image_metadata.db' in whatever(lambda: ImageRecommender(root).record(1))


# Settings and features

ODD = [None, True, 0, -1, 1e308, 10**30, 'x', '../../x', '', [], [1], [[]], {}, {'clip': 'x'}, {'clip': -1}, {'x': {'y': []}}, {'taste': {'weights': 3}}]
KEYS = ['schema_version', 'library_id', 'model', 'runtimes', 'ann', 'recall', 'weights', 'tastes', 'feature:clip', 'feature:color', 'feature:phash', 'mine']

@pytest.mark.parametrize('key', KEYS)
def test_settings_of_any_kind(world, key, many):
    root, store, secret = world
    shutil.copytree(store, root.parent/'kept')
    network = key == 'feature:clip' # without it, index() would compute it anew
    values = [json.dumps(v) for v in ODD if v is not None or not network] + ['', '{', 'NaN', '[' * 100_000]
    for value in values[KEYS.index(key)%3::many(3, 1)]:
        shutil.rmtree(store)
        shutil.copytree(root.parent/'kept', store)
        change(store, ['INSERT OR REPLACE INTO settings VALUES (?, ?)', key, value])
        with untouched(secret):
            for act in (lambda r: r.similar(1), lambda r: r.index(progress=False), lambda r: named_weights(r, 'taste'), repr):
                try: act(ImageRecommender(root))
                except StoreError as e: assert 'image_recommender' in str(e)
                except ValueError as e: assert 'taste' in str(e) or key == 'model', (key, value, e) # no taste of that name; an unknown network

@pytest.mark.parametrize('change_of', [dict(dim=10**9), dict(dim=0), dict(dim=-1), dict(dim=2.5), dict(dim='8'), dict(dtype='O'), dict(dtype='U9'), dict(dtype='nonsense'),
                                       dict(dtype=5), dict(dtype={}), dict(signature=5), dict(more=1)])
def test_features_are_not_what_their_setting_says(world, change_of):
    root, store, secret = world
    spec = dict(dtype='float16', dim=8, signature='given') | change_of
    change(store, ['INSERT OR REPLACE INTO settings VALUES (?, ?)', 'feature:clip', json.dumps(spec)])
    if 'signature' not in change_of: assert 'feature:clip' in whatever(lambda: Database(store/'image_metadata.db').declared('clip'))
    assert isinstance(whatever(lambda: ImageRecommender(root).similar(1).paths), str)

@pytest.mark.parametrize('data', ["x''", "x'00'", 'zeroblob(17)', 'zeroblob(1000000)', "'0123456789abcdef'", '7'])
def test_features_of_another_length(world, data):
    root, store, secret = world
    change(store, [f'UPDATE feature_clip SET data={data} WHERE image_id=2'])
    db = Database(store/'image_metadata.db')
    for act in (lambda: db.features([1, 2], 'clip'), lambda: list(db.stream(['clip', 'color']))): assert "'clip' features that are not 16 bytes long" in whatever(act)
    shutil.rmtree(store/'generations')
    (store/'current').unlink()
    assert 'not 16 bytes long' in whatever(lambda: ImageRecommender(root).similar(1))

def test_rows_that_would_add_up(world):
    "A row twice as long and one that is empty: together they have the right length, and every image between them would get its neighbour's"
    root, store, secret = world
    change(store, ['UPDATE feature_clip SET data=zeroblob(32) WHERE image_id=2'], ['UPDATE feature_clip SET data=zeroblob(0) WHERE image_id=5'])
    assert 'not 16 bytes long' in whatever(lambda: list(Database(store/'image_metadata.db').stream(['clip'])))


# The index

def forge(store, **changes):
    "As somebody would who knows how the checksum is made"
    path = store/'generations'/'000001'/'manifest.json'
    manifest = {n: v for n, v in (json.loads(path.read_text()) | changes).items() if n != 'checksum'}
    path.write_text(json.dumps(dict(manifest, checksum=index_module._checksum(manifest))))

@pytest.mark.parametrize('name', ['../../../../secret/diary.png', '{secret}/diary.png', '..', '.', 'a/b', 'a\\b', 'c:x', 'x\0y'])
def test_names_of_files_in_a_manifest(world, name):
    root, store, secret = world
    files = json.loads((store/'generations'/'000001'/'manifest.json').read_text())['files']
    info = os.stat(secret/'diary.png')
    forge(store, files={**files, name.format(secret=secret): dict(size=info.st_size, sha256=index_module.file_sha256(secret/'diary.png'))})
    with untouched(secret):
        with pytest.raises(IndexDamaged, match='manifest.json: names the file .* which cannot lie beside it'): ImageRecommender(root).similar(1)

def test_features_are_opened_by_our_names(world):
    root, store, secret = world
    features = json.loads((store/'generations'/'000001'/'manifest.json').read_text())['features']
    forge(store, features={n: dict(f, file='../../../../secret/diary.png') for n, f in features.items()})
    with untouched(secret): assert len(ImageRecommender(root).similar(1)) == 5

def test_a_manifest_with_anything_in_it(world, many):
    root, store, secret = world
    path = store/'generations'/'000001'/'manifest.json'
    good, cases = json.loads(path.read_text()), 0
    for key in [k for k in good if k != 'checksum']:
        inner = [{**good[key], k: v} for k in good[key] for v in ODD] if isinstance(good[key], dict) else []
        for value in (ODD + inner)[::many(3, 1)]:
            forge(store, **{key: value})
            with untouched(secret):
                try: ImageRecommender(root).similar(1)._repr_html_()
                except StoreError as e: assert 'generations' in str(e) or 'Upgrade' in str(e), (key, value, e)
                except Exception as e: raise AssertionError(f'{key} = {value!r}: {type(e).__name__}: {e}') from e
            path.write_text(json.dumps(good))
            cases += 1
    assert cases > many(100, 300)

@pytest.mark.parametrize('text', ['../../secret', '/', '', '000001/../../../secret', '²', '9'*400, '-1', '٣', '000002', 'x\0'])
def test_the_name_of_the_generation(world, text):
    root, store, secret = world
    (store/'current').write_text(text, encoding='utf-8')
    with untouched(secret), pytest.raises(IndexDamaged): ImageRecommender(root).similar(1)

def test_what_the_rows_are_called(world):
    root, store, secret = world
    folder = store/'generations'/'000001'
    for name, data in [('index_to_id.json', v) for v in (b'{}', b'[1, 2]', b'["a"]', b'[' * 100_000, b'[1e400]', b'[99999999999999999999]', b'[[1]]', b'null')] + \
                      [('background.npy', v) for v in (b'', b'\x80\x04.', (folder/'informative.npy').read_bytes())] + [('informative.npy', (folder/'clip.npy').read_bytes())]:
        old = (folder/name).read_bytes()
        (folder/name).write_bytes(data)
        files = json.loads((folder/'manifest.json').read_text())['files']
        forge(store, files={**files, name: dict(size=len(data), sha256=index_module.file_sha256(folder/name))})
        with pytest.raises(IndexDamaged, match='generations'): ImageRecommender(root).similar(1)
        (folder/name).write_bytes(old)
        forge(store, files=files)
    assert len(ImageRecommender(root).similar(1)) == 5


# Links in the place of parts

LINKS = ['image_metadata.db', 'image_metadata.db-wal', 'image_metadata.db-shm', 'image_metadata.db-journal', 'current', 'generations', 'generations/000001',
         'generations/000001/manifest.json', 'generations/000001/clip.npy', 'generations/000001/verified.json', 'writer.lock', 'writer.json']

@posix
@pytest.mark.parametrize('part', LINKS)
def test_a_part_that_is_a_link(world, part):
    root, store, secret = world
    path, there = store/part, secret/'there'
    if path.exists() and part != 'writer.lock': shutil.move(path, there)
    else:
        path.unlink(missing_ok=True)
        there.write_bytes(b'what is dear to me')
    path.symlink_to(there)
    build = lambda: index_module.build_generation(rec.db, rec._features(rec.db), store, ann='exact')
    with untouched(secret):
        whatever(lambda: ImageRecommender(root).similar(1))
        try: rec = ImageRecommender(root); rec.db
        except StoreError: pass
        else:
            whatever(build)
            whatever(lambda: rec.remove(1))

@posix
def test_links_under_the_names_of_files_to_come(world):
    "What is written beside a file to replace it is never written through a link"
    root, store, secret = world
    for name in (f'current.{os.getpid()}.new', f'generations/000001/verified.json.{os.getpid()}.new', f'generations/building-000002-{os.getpid()}', 'image_metadata.db.schema-1.backup.new'):
        (store/name).symlink_to(secret/'diary.png')
    change(store, ['ALTER TABLE images DROP COLUMN taken'], ["UPDATE settings SET value='1' WHERE key='schema_version'"])
    (store/'generations'/'000001'/'verified.json').unlink()
    with untouched(secret):
        rec = ImageRecommender(root)
        rec.similar(1)
        whatever(lambda: index_module.build_generation(rec.db, rec._features(rec.db), store, ann='exact'))
    assert (store/'image_metadata.db.schema-1.backup').exists() and not (store/'image_metadata.db.schema-1.backup').is_symlink()

@posix
def test_maps_elsewhere(world):
    from image_recommender.collection_map import make_map
    root, store, secret = world
    for i in range(20): np.save(secret/f'{i}.npy', np.zeros(3))
    (store/'maps').symlink_to(secret)
    with untouched(secret): make_map(ImageRecommender(root), 'color', 'pca')


# On the command line

CASES = {'path': (lambda store, secret: change(store, ["UPDATE images SET path=CAST('../secret/' || id AS BLOB)"]), 'leads out of the collection'),
         'trigger': (lambda store, secret: change(store, [SCHEMAS[0]]), 'holds the trigger'),
         'setting': (lambda store, secret: change(store, ["UPDATE settings SET value='[]' WHERE key='feature:clip'"]), 'feature:clip'),
         'weights': (lambda store, secret: change(store, ["UPDATE settings SET value='[3]' WHERE key='weights'"]), 'weights'),
         'kind': (lambda store, secret: change(store, ["UPDATE images SET width='x'"]), 'not described as images are'),
         'manifest': (lambda store, secret: forge(store, files={'../x': dict(size=1, sha256='')}), 'cannot lie beside it'),
         'count': (lambda store, secret: forge(store, count='x'), 'not what was written'),
         'current': (lambda store, secret: (store/'current').write_text('../x'), 'does not name a generation'),
         'link': (lambda store, secret: (shutil.move(store/'generations', secret/'g'), (store/'generations').symlink_to(secret/'g')), 'is a symbolic link')}

@posix
@pytest.mark.parametrize('case', CASES)
def test_a_sentence_on_the_command_line(world, sh, case):
    root, store, secret = world
    spoil, words = CASES[case]
    spoil(store, secret)
    code, out, err = sh('cli', 'search', root/'0.png', '--library', root, '--weights', 'color=1')
    assert code == 1 and words in err and 'Traceback' not in err and len(err.strip().splitlines()) <= 3, err
