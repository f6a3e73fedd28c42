"When photos were taken, and filters"
import json, os, shutil, sqlite3
from datetime import datetime, timezone
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from image_recommender import ImageRecommender, Library
from image_recommender.connection import SCHEMA_VERSION
from image_recommender.database import Database, ImageRecord
from image_recommender.filters import allowed_ids


def at(*args): return datetime(*args, tzinfo=timezone.utc).timestamp()


def save_dated(path, when, color='red'):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = when
    Image.linear_gradient('L').convert('RGB').resize((90, 60)).save(path, exif=exif)


def make_version_1(path):
    "A database as version 1 wrote it: one image, with one feature"
    db = sqlite3.connect(path)
    db.executescript('''
        CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
        CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
          sha256 BLOB NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, format TEXT NOT NULL);
        CREATE INDEX images_sha256 ON images(sha256);
        CREATE TABLE bad (path BLOB PRIMARY KEY, reason TEXT NOT NULL);
        CREATE TABLE ignored (path BLOB PRIMARY KEY);
        CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, image_id INTEGER NOT NULL);
        CREATE TABLE feature_color (image_id INTEGER PRIMARY KEY, data BLOB NOT NULL);
        INSERT INTO settings VALUES ('schema_version', '1'), ('library_id', '"old"'),
          ('feature:color', '{"dtype": "float32", "dim": 1, "signature": "s"}');
        INSERT INTO images VALUES (7, CAST('a.jpg' AS BLOB), 10, 20, x'01', 30, 40, 'JPEG');
        INSERT INTO feature_color VALUES (7, x'0000803f');''')
    db.commit()
    db.close()


def test_version_1_gets_the_column_when_it_is_opened(tmp_path):
    make_version_1(tmp_path/'a.db')
    db = Database(tmp_path/'a.db')
    assert (db.get(7).taken, db.get(7).width, db.setting('schema_version')) == (None, 30, SCHEMA_VERSION)
    new = ImageRecord('b.jpg', 1, 1, b'\2', 1, 1, 'JPEG', taken=1.5)
    assert db.get(db.add([new])[0]).taken == 1.5
    assert db.add([ImageRecord('a.jpg', 10, 21, b'\1', 30, 40, 'JPEG', taken=2.5)]) == [7] and db.get(7).taken == 2.5
    db.close()
    assert len(Database(tmp_path/'a.db')) == 2 # opened again, nothing is left to do


def test_version_1_is_read_where_it_cannot_be_written(tmp_path):
    make_version_1(tmp_path/'a.db')
    before = (tmp_path/'a.db').read_bytes()
    db = Database(tmp_path/'a.db', readonly=True)
    assert db.get(7).taken is None and db.find('a.jpg').id == 7 and [r.id for r in db.images()] == [7]
    assert list(db.complete_ids(['color'])) == [7] and len(list(db.stream(['color']))) == 1
    db.close()
    assert (tmp_path/'a.db').read_bytes() == before


@pytest.mark.parametrize('processes', [False, True])
def test_the_date_arrives_and_stays_when_files_move(tmp_path, processes):
    save_dated(tmp_path/'a.jpg', '2021:06:05 18:30:00')
    rec = ImageRecommender(tmp_path, model='efficientnet-lite0', processes=processes)
    rec.index(progress=False)
    assert rec.record('a.jpg').taken == at(2021, 6, 5, 18, 30)
    (tmp_path/'a.jpg').rename(tmp_path/'b.jpg')
    shutil.copy(tmp_path/'b.jpg', tmp_path/'c.jpg')
    rec.index(progress=False)
    assert rec.record('b.jpg').taken == rec.record('c.jpg').taken == at(2021, 6, 5, 18, 30)


def test_dates_missing_from_an_older_store_come_with_reset(tmp_path):
    save_dated(tmp_path/'a.jpg', '2021:06:05 18:30:00')
    rec = ImageRecommender(tmp_path, model='efficientnet-lite0')
    rec.index(progress=False)
    with rec.db.transaction() as db: db.execute('UPDATE images SET taken=NULL')
    os.utime(tmp_path/'a.jpg')
    rec.index(progress=False)
    assert rec.record('a.jpg').taken is None # known content is not decoded again
    rec.index(progress=False, reset=True)
    assert rec.record('a.jpg').taken == at(2021, 6, 5, 18, 30)


# Filters

def fill(tmp_path, n=300, seed=0):
    "A library without files: records of many kinds, among them some of which little is known"
    rng = np.random.default_rng(seed)
    names = ['a', 'B', 'é', 'É', os.fsdecode(b'\xff'), '[1]', 'x y', '100%', 'under_score', 'back\\slash', 'new\nline', '*']
    rec = Library(tmp_path)
    records = {}
    for i in range(n):
        folders = [str(f) for f in rng.choice(names, rng.integers(3))]
        path = '/'.join([*folders, f'{rng.choice(names)}{i}{rng.choice([".jpg", ".JPG", ".png"])}'])
        records[path] = ImageRecord(path, int(rng.integers(0, 5000)), int(rng.integers(0, 2*10**18)), bytes([i % 256]), int(rng.integers(0, 40)), int(rng.integers(0, 40)),
                                    str(rng.choice(['JPEG', 'PNG', ''])), None if rng.random() < .3 else float(rng.uniform(1.6e9, 1.7e9)))
    rec._open(create=True).add(records.values())
    return rec, list(rec.db.images()), rng


def plain_match(pattern, path):
    "A pattern with wildcards, by plain recursion over its characters"
    pattern, path = pattern.lower(), path.lower()
    if not pattern: return not path
    if pattern.startswith('**/'): return plain_match(pattern[3:], path) or any(plain_match(pattern[3:], path[i+1:]) for i, c in enumerate(path) if c == '/')
    if pattern.startswith('**'): return any(plain_match(pattern[2:], path[i:]) for i in range(len(path)+1))
    if pattern[0] == '*': return any(plain_match(pattern[1:], path[i:]) for i in range(len(path)+1) if '/' not in path[:i])
    if not path: return False
    return (path[0] != '/' if pattern[0] == '?' else path[0] == pattern[0]) and plain_match(pattern[1:], path[1:])


@pytest.mark.parametrize('seed', range(3))
def test_numbers_agree_with_plain_python(tmp_path, seed):
    rec, records, rng = fill(tmp_path, seed=seed)
    compare = {'<': lambda a, b: a < b, '<=': lambda a, b: a <= b, '>': lambda a, b: a > b, '>=': lambda a, b: a >= b, '=': lambda a, b: a == b, '!=': lambda a, b: a != b}
    for _ in range(60):
        key, op = rng.choice(['width', 'height', 'size']), str(rng.choice(list(compare)))
        values = [getattr(r, key) for r in records]
        low, high = sorted(int(v) for v in rng.choice(values, 2))
        wanted = {f'{op}{low}': lambda v: compare[op](v, low), (low, high): lambda v: low <= v <= high, f'{low}..{high}': lambda v: low <= v <= high,
                  f'>{low} <={high}': lambda v: low < v <= high, (None, high): lambda v: v <= high}
        for where, holds in wanted.items():
            assert list(allowed_ids(rec, {key: where})) == [r.id for r, v in zip(records, values) if v and holds(v)], where
        assert list(allowed_ids(rec, {key: [low, high], 'format': 'png'})) == [r.id for r, v in zip(records, values) if v and v in (low, high) and r.format == 'PNG']


@pytest.mark.parametrize('seed', range(3))
def test_patterns_agree_with_plain_python(tmp_path, seed):
    rec, records, rng = fill(tmp_path, seed=seed)
    for _ in range(150):
        pieces = rng.choice(['*', '**/', '?', 'a', 'É', '/', '.jpg', '%', '_', '1', os.fsdecode(b'\xff'), '\\', '\n', '!'], rng.integers(1, 6))
        pattern = ''.join(pieces).lstrip('/')
        if not pattern or '***' in pattern or pattern[-1] == '/' or pattern.startswith('./') : continue
        full = pattern if '/' in pattern else '**/'+pattern
        assert list(allowed_ids(rec, {'path': pattern})) == [r.id for r in records if plain_match(full, r.path)], pattern


def test_dates_are_those_of_the_wall_clock(tmp_path):
    rec, records, _ = fill(tmp_path)
    months = lambda r: datetime.fromtimestamp(r.taken, timezone.utc).strftime('%Y-%m') if r.taken else ''
    for month in ('2021-01', '2022-12', '2023-07'):
        assert list(allowed_ids(rec, {'taken': month})) == [r.id for r in records if months(r) == month]
        assert list(allowed_ids(rec, {'taken': f'>{month}'})) == [r.id for r in records if months(r) > month]
        assert list(allowed_ids(rec, {'taken': f'!={month}'})) == [r.id for r in records if r.taken and months(r) != month]
        assert list(allowed_ids(rec, {'taken': (None, month)})) == [r.id for r in records if r.taken and months(r) <= month]


def test_tables_by_any_form_of_path(tmp_path, monkeypatch):
    rec, records, rng = fill(tmp_path)
    prices = rng.integers(0, 100, len(records)).astype(float)
    prices[::7] = np.nan
    forms = [(lambda p: p), (lambda p: tmp_path/p), (lambda p: f'./{p}'), (lambda p: str(tmp_path/p))]
    frame = pd.DataFrame({'file': [forms[i % 4](r.path) for i, r in enumerate(records)], 'price': prices})
    assert rec.join(frame, on='file') == len(records)
    assert list(allowed_ids(rec, {'price': '<50', 'width': '>10'})) == [r.id for r, p in zip(records, prices) if p < 50 and r.width > 10]
    monkeypatch.chdir(tmp_path.parent)
    relative = Library(tmp_path.name)
    assert relative.join(pd.DataFrame({'path': [f'{tmp_path.name}/{records[0].path}'], 'x': [1]})) == 1
    assert list(allowed_ids(relative, [f'{tmp_path.name}/{r.path}' for r in records[:3]])) == [r.id for r in records[:3]]


def test_a_joined_table_follows_the_library(tmp_path):
    save_dated(tmp_path/'a.jpg', '2021:06:05 18:30:00')
    save_dated(tmp_path/'b.jpg', '2022:06:05 18:30:00')
    rec = ImageRecommender(tmp_path, model='efficientnet-lite0')
    rec.index(progress=False)
    (tmp_path/'t.csv').write_text('path,price\na.jpg,5\nb.jpg,6\nlater.jpg,7\n')
    with pytest.warns(UserWarning, match=r'1 of 3 rows belong to no image of the library, for example .later.jpg'): rec.join(tmp_path/'t.csv')
    assert [p.name for p in rec.select({'price': '>0'})] == ['a.jpg', 'b.jpg']
    save_dated(tmp_path/'later.jpg', '2023:06:05 18:30:00')
    rec.add(tmp_path/'later.jpg')
    rec.remove('a.jpg')
    assert [p.name for p in rec.select({'t.price': '>0'})] == ['b.jpg', 'later.jpg']
    with pytest.raises(ValueError, match='several rows'): rec.join(pd.DataFrame({'path': ['b.jpg', tmp_path/'b.jpg'], 'x': [1, 2]}))


@pytest.mark.parametrize('where, words', [
    ({'widht': 1}, "did you mean 'width'"), ({'width': 'wide'}, "where width='wide': 'wide' is no number"), ({'taken': '2021-13'}, 'is no date'),
    ({'size': '5 apples'}, 'is no number'), ({'format': '>PNG'}, 'no order'), ({'path': ''}, 'cannot be empty'), ({'path': 5}, 'expected a text'), ({'width': None}, 'is no number'),
    ({'width': (1, 2, 3)}, 'pair'), ('width>5', "{'width': '>5'}"), (7, 'is no filter'), ([1.5], 'paths, or ids'), (['nowhere.jpg'], 'belong to no image'), ([10**6], 'belong to no image'),
    ({'aspect': '3:0'}, 'aspect'), ({5: 1}, 'there is no 5')])
def test_what_is_wrong_is_said(tmp_path, where, words):
    rec, *_ = fill(tmp_path, 5)
    with pytest.raises(ValueError) as e: rec.select(where)
    assert words in str(e.value)
    assert len(rec.select({'id': 10**30})) == len(rec.select({'width': '>1e999'})) == 0


def test_select_on_the_command_line(photos, sh):
    ImageRecommender(photos, model='efficientnet-lite0').index(progress=False)
    (photos/'shop.csv').write_text('path,price,kind\nchelsea.png,20,cat\nsub folder/kitten.jpg,5,cat\nrocket.jpg,,machine\n')
    select = lambda *args: sh('cli', 'select', '--library', photos, *args)
    assert select('--table', photos/'shop.csv', '--where', 'price>=0', '--where', 'price<10') == (0, f'{photos}/sub folder/kitten.jpg\n', '')
    assert select('--table', photos/'shop.csv', '--where', 'kind=C*')[1].split('\n') == [f'{photos}/chelsea.png', f'{photos}/sub folder/kitten.jpg', '']
    assert select('--where', 'sub folder/', '--where', 'format=WEBP,PNG')[1] == f'{photos}/sub folder/mirrored.webp\n'
    assert select('--where', 'sub folder/', '--where', 'width>99999')[0] == 1
    code, out, err = select('--where', 'price<10')
    assert (code, out) == (2, '') and "there is no 'price'" in err


def test_search_under_a_filter(photos, sh):
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    assert [p.name for p in rec.similar('chelsea.png', where='sub folder/').paths][0] == 'kitten.jpg'
    assert [p.name for p in rec.similar('chelsea.png', k=9, where={'format': 'WEBP'}).paths] == ['mirrored.webp']
    (photos/'shop.csv').write_text('path,price\ncoffee.png,20\nsub folder/kitten.jpg,50\n')
    code, out, err = sh('cli', 'search', photos/'chelsea.png', '--library', photos, '--table', photos/'shop.csv', '--where', 'price<30', '--json')
    assert code == 0 and [m['path'] for m in json.loads(out)] == [str(photos/'coffee.png')], err
    assert sh('cli', 'search', photos/'chelsea.png', '--library', photos, '--where', 'widht<30')[0] == 2
