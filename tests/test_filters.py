"When photos were taken, and filters"
import os, shutil, sqlite3
from datetime import datetime, timezone
import numpy as np
import pytest
from PIL import Image
from image_recommender import ImageRecommender
from image_recommender.database import SCHEMA_VERSION, Database, ImageRecord


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
