"""Names of every kind that Linux allows, of files, folders, stores and roots: indexed, found, listed, filtered, moved, removed and shown"""
import csv, glob, json, os, shutil, subprocess, sys
from pathlib import Path
import pytest
from image_recommender import ImageRecommender
sys.path.insert(0, os.path.dirname(__file__))
from .test_environment import CHILD, NOTHING, OK, SOME_BAD, TORTURE, Small, child, limits, picture, pictures, sh  # noqa: F401 (fixtures)

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='other systems do not allow these names')
NAMES = ['two words', ' leading and trailing ', '-rf', '--help', '-', "it's", 'say "hi"', 'new\nline', 'tab\there', '\r', '<script>alert(1)<', '&amp;', '\u202eright to left', '\u200b', '\ufeffbom',
         'caf\u00e9', 'cafe\u0301', 'CASE', 'case', '%20', '%', '%zz', 'a?b', 'a*b', '[a-c]', '{a,b}', '~', '$HOME', '`id`', 'a#b', 'a;b', 'a|b', 'a\\b', 'a:b', 'a,b', 'a=b', 'dot.', 'two..dots',
         '\U0001f408\u200d\u2b1b', '\u65e5\u672c', 'n'*251, '\u00e9'*125, os.fsdecode(b'\xff\xfe'), os.fsdecode(b'caf\xe9'), '\x01\x7f', "'; DROP TABLE images; --", 'http:', 'data:,x', '\u2028', 'CON', 'file']

def named(folder, names=NAMES, suffix='.png'):
    "A picture under each name, each another one"
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        path = os.path.join(folder, name+suffix)
        picture(i).save(path, format='PNG')
        os.utime(path, (1e9, 1e9))
    return folder

def path_of(root, name): return Path(root, name+'.png')

@pytest.fixture
def rec(tmp_path):
    rec = ImageRecommender(named(tmp_path/'photos'))
    report = rec.index(progress=False)
    assert (report.added, report.bad) == (len(NAMES), 0), rec.bad
    return rec

def test_indexed_found_and_shown(rec):
    assert {p.name for p in rec.paths} == {name+'.png' for name in NAMES} == set(os.listdir(rec.root)) - {'.image_recommender'}
    for name in NAMES:
        path = path_of(rec.root, name)
        found = rec.similar(path, k=len(NAMES))
        assert len(found) == len(NAMES)-1 and path not in found.paths, name # it was recognised, and left out
        page = rec.similar(path, k=3)._repr_html_()
        page.encode()
        assert '<script>' not in page
    assert rec.index(progress=False).added == 0

def test_json_can_be_read_back(rec, sh):
    for name in ('caf\u00e9', os.fsdecode(b'\xff\xfe'), '-rf', 'new\nline', '--help', 'http:'):
        code, out, err = sh('search', '--library', rec.root, '--topk', '99', '--json', '--', path_of(rec.root, name))
        assert code == OK, (name, err)
        assert {Path(m['path']) for m in json.loads(out)} == set(rec.paths) - {path_of(rec.root, name)}
    code, out, err = sh('select', '--library', rec.root, '--json')
    assert code == OK and set(map(Path, json.loads(out))) == set(rec.paths)
    code, out, err = sh('select', '--library', rec.root)
    assert code == OK and len(out.splitlines()) == len(NAMES) and '\x01' not in out

def test_names_on_a_real_command_line(rec):
    "Bytes as the shell gives them; from within the folder, where a name may begin with a dash"
    code = f'import os; os.chdir({str(rec.root)!r}); sys.exit(t.run_cli(*sys.argv[1:]))'
    names = ['-rf.png', os.fsdecode(b'\xff\xfe') + '.png', 'new\nline.png', 'file.png']
    status, out, err = child(code, 'search', '--topk', '3', '--json', '--', *names, os.fsdecode(b'no such \xff\n.png'))
    assert status == SOME_BAD and len(json.loads(out)) == 3 and not {os.path.basename(m['path']) for m in json.loads(out)} & set(names), err
    assert 'no such \ufffd\\n.png: the file does not exist' in err

def test_a_terminal_that_does_not_know_the_letters(tmp_path):
    "Whatever its encoding, names are printed as far as it can"
    rec = ImageRecommender(named(tmp_path/'photos', ['\u65e5\u672c', 'caf\u00e9']))
    rec.index(progress=False)
    status, out, err = child('sys.exit(t.run_cli(*sys.argv[1:]))', 'select', '--library', rec.root, PYTHONIOENCODING='latin-1', PYTHONUTF8='0')
    assert status == OK and '\\u65e5\\u672c.png' in out and len(out.splitlines()) == 2, (out, err)

def test_a_reader_who_has_enough(rec):
    "As `| head` does: no word about it"
    p = subprocess.Popen([sys.executable, '-c', CHILD + 'sys.exit(t.run_cli(*sys.argv[1:]))', 'select', '--library', str(rec.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.close()
    assert p.stderr.read() == b'' and p.wait(60) == NOTHING
    p.stderr.close()

def test_filters(rec):
    for name in NAMES:
        wanted = [path_of(rec.root, name)]
        if name.lower() == 'case': wanted = rec.select('case.png') # capitals do not matter to a pattern
        assert rec.select(glob.escape(name+'.png')) == wanted, name
        assert rec.select({'name': glob.escape(name+'.png')}) == wanted, name
        assert rec.similar(picture(0), k=5, where={'name': glob.escape(name+'.png')}).df.path.pipe(set) == set(map(str, wanted)), name
    assert len(rec.select('*.png')) == len(NAMES)

def test_tables(rec, tmp_path):
    table = tmp_path/'table.csv'
    with open(table, 'w', newline='', encoding='utf-8', errors='surrogateescape') as f: csv.writer(f).writerows([('path', 'n'), *((name+'.png', i) for i, name in enumerate(NAMES))])
    import pandas as pd
    assert rec.join(pd.DataFrame(dict(path=pd.Series([name+'.png' for name in NAMES], dtype=object), n=range(len(NAMES))))) == len(NAMES)
    for i in (0, 7, 17, 42): assert rec.select({'n': i}) == [path_of(rec.root, NAMES[i])]

def test_removed_added_and_renamed(rec):
    some = NAMES[::3]
    assert rec.remove([path_of(rec.root, n) for n in some]) == len(some)
    assert len(rec) == len(NAMES)-len(some) and rec.index(progress=False).added == 0
    assert rec.add([path_of(rec.root, n) for n in some]).total == len(NAMES)
    for i, name in enumerate(NAMES): # each takes the name of the next, reversed
        path_of(rec.root, name).rename(rec.root/f'.{i}')
    for i, name in enumerate(reversed(NAMES)): (rec.root/f'.{i}').rename(path_of(rec.root, name))
    report = rec.index(progress=False)
    assert (report.total, report.bad, report.removed) == (len(NAMES), 0, 0)
    for i, name in enumerate(reversed(NAMES)): assert rec.similar(picture(i), k=1).paths == [path_of(rec.root, name)]

def test_tidied(rec, tmp_path, sh):
    for name in NAMES:
        (rec.root/'copies').mkdir(exist_ok=True)
        shutil.copy2(path_of(rec.root, name), rec.root/'copies')
    assert rec.index(progress=False).copied == len(NAMES)
    found = rec.duplicates()
    assert len(found) == len(NAMES)
    assert '<script>' not in found._repr_html_()
    code, out, err = sh('duplicates', '--library', rec.root, '--csv', tmp_path/'copies.csv')
    assert code == OK
    with open(tmp_path/'copies.csv', newline='', encoding='utf-8', errors='surrogateescape') as f: rows = list(csv.DictReader(f))
    assert {Path(r['path']) for r in rows} == {p for g in found for p in (c.path for c in g.images)}
    code, out, err = sh('duplicates', '--library', rec.root, '--move-to', tmp_path/'away', '--yes')
    assert code == OK, err
    gone = {p.name for p in (tmp_path/'away').rglob('*.png')}
    assert gone == {name+'.png' for name in NAMES} and len(ImageRecommender(rec.root)) == len(NAMES)
    with open(tmp_path/'away'/'moved.csv', newline='', encoding='utf-8', errors='surrogateescape') as f: moved = list(csv.DictReader(f))
    assert all(os.path.exists(m['to']) and not os.path.exists(m['from']) for m in moved) and len(moved) == len(NAMES)

FOLDERS = ['a#b', 'a?b&mode=ro', '%41', 'file:x', 'new\nline', os.fsdecode(b'caf\xe9'), "quo'te", ' ', '-rf', '\u202eevil', 'caf\u00e9', ':memory:', '[a]', 'n'*200]

@pytest.mark.parametrize('name', FOLDERS if TORTURE else FOLDERS[:6])
def test_folders_and_stores(tmp_path, monkeypatch, sh, name):
    "The folder of the collection and of the store, absolute and relative"
    root, store = pictures(tmp_path/name, 4), tmp_path/'stores'/name
    pictures(root/name, 2, first=10)
    store.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    for place in (None, store, Path('stores', name)):
        args = ['--store', place] if place else []
        code, out, err = sh('index', *args, '--', name)
        assert code == OK and '6 images' in out, (code, out, err)
        code, out, err = sh('search', '--library='+name, *args, '--json', '--topk', '9', '--', os.path.join(name, '0001.jpg'))
        assert code == OK and len(json.loads(out)) == 5 and all(os.path.exists(m['path']) for m in json.loads(out)), err
    for made in (store, root/'.image_recommender'): assert {'image_metadata.db', 'current', 'generations'} <= set(os.listdir(made)) <= {'image_metadata.db', 'image_metadata.db-shm', 'image_metadata.db-wal', 'current', 'generations', 'writer.lock'}
    assert sorted(os.listdir(tmp_path)) == sorted([name, 'stores']) # nothing was made elsewhere
    for p in store.iterdir(): p.is_file() and p.chmod(0o444)
    monkeypatch.setattr(os, 'access', lambda path, mode, real=os.access: mode != os.W_OK and real(path, mode))
    assert len(ImageRecommender(root, store=store).similar(1, k=9)) == 5 # read-only

def test_deeper_than_a_path_may_be(tmp_path, sh):
    "Beyond 4,096 bytes a folder cannot be listed by its path: it is reported, and the rest is indexed"
    root = pictures(tmp_path/'photos', 3)
    here, depth = os.open(root, os.O_RDONLY), 0
    try:
        while depth < 30: # each 200 bytes
            os.mkdir('d'*200, dir_fd=here)
            there = os.open('d'*200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here, depth = there, depth+1
            with open('x.png', 'wb', opener=lambda p, f: os.open(p, f, dir_fd=here)) as f: picture(100+depth).save(f, 'PNG')
    finally: os.close(here)
    try:
        code, out, err = sh('index', root)
        assert code == SOME_BAD and 'name too long' in out and 'Traceback' not in err, (code, out, err)
        total = len(ImageRecommender(root))
        assert total >= 3 + (4096-200-len(str(root)))//201
        code, out, err = sh('index', root)
        assert code == SOME_BAD and f'{total} images can be searched: 0 added, 0 removed' in out
    finally: subprocess.run(['rm', '-rf', root], check=True)
