"Actions on duplicates: what is moved, linked and deleted, and above all what is not"
import csv, errno, json, os
from pathlib import Path
from types import SimpleNamespace
import pytest
from PIL import Image
from image_recommender import ImageRecommender, tidy
from image_recommender.tidy import Copy, Duplicates, Group

symlinks = pytest.mark.skipif(os.name == 'nt', reason='links need rights there')

@pytest.fixture
def photos(tmp_path):
    "A picture and three files with its content"
    folder = tmp_path/'photos'
    (folder/'old').mkdir(parents=True)
    Image.effect_noise((64, 48), 50).save(folder/'a.png')
    for name in ('b.png', 'c.png', 'old/b.png'): (folder/name).write_bytes((folder/'a.png').read_bytes())
    return folder

def group(folder, *names, kind='exact'):
    return Group(kind, tuple(Copy.of(folder/n, i, kind if i else 'keeper') for i, n in enumerate(names)))

def files(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.png') if p.exists())
def problems(plan): return [s.problem for s in plan]

@pytest.fixture
def told():
    "A library that remembers what it was told"
    seen = []
    return SimpleNamespace(root=None, update=seen.extend, seen=seen, record=lambda path: None, db=SimpleNamespace(remove=list))

@pytest.mark.parametrize('action', ['delete', 'hard_link', 'move_to'])
def test_a_dry_run_changes_nothing(photos, tmp_path, action):
    before = {p: os.stat(p) for p in photos.rglob('*')}
    plan = getattr(Duplicates([group(photos, 'a.png', 'b.png', 'c.png')]), action)(*[tmp_path/'out']*(action == 'move_to'))
    assert len(plan) == 2 and not any(s.done for s in plan) and problems(plan) == ['', '']
    assert {p: os.stat(p) for p in photos.rglob('*')} == before and not (tmp_path/'out').exists()

def test_moves_can_be_undone(photos, tmp_path, told):
    told.root, out = photos, tmp_path/'out'
    content = (photos/'a.png').read_bytes()
    plan = Duplicates([group(photos, 'a.png', 'b.png', 'old/b.png')], told).move_to(out, dry_run=False)
    assert all(s.done for s in plan) and files(photos) == ['a.png', 'c.png'] and files(out) == ['b.png', 'old/b.png']
    assert told.seen == [photos/'b.png', photos/'old'/'b.png']
    Duplicates([group(photos, 'a.png', 'c.png')], told).move_to(out, dry_run=False)
    with open(out/'moved.csv', newline='') as f: rows = list(csv.DictReader(f))
    assert len(rows) == 3
    for r in rows: os.rename(r['to'], r['from'])
    assert files(photos) == ['a.png', 'b.png', 'c.png', 'old/b.png'] and (photos/'b.png').read_bytes() == content

def test_a_move_never_overwrites(photos, tmp_path):
    out = tmp_path/'out'
    out.mkdir()
    (out/'b.png').write_bytes(b'mine')
    plan = Duplicates([group(photos, 'a.png', 'b.png', 'old/b.png')]).move_to(out, dry_run=False)
    assert [s.target.name for s in plan] == ['b (2).png', 'b (3).png'] and (out/'b.png').read_bytes() == b'mine'

def test_a_folder_in_the_library_is_refused(photos, told):
    told.root = photos
    with pytest.raises(ValueError, match='outside'): Duplicates([group(photos, 'a.png', 'b.png')], told).move_to(photos/'copies')

def other_disk(monkeypatch):
    def rename(a, b): raise OSError(errno.EXDEV, 'Invalid cross-device link')
    monkeypatch.setattr(tidy.os, 'rename', rename)

def test_move_to_another_disk(photos, tmp_path, monkeypatch):
    other_disk(monkeypatch)
    content, info = (photos/'b.png').read_bytes(), os.stat(photos/'b.png')
    assert Duplicates([group(photos, 'a.png', 'b.png')]).move_to(tmp_path/'out', dry_run=False)[0].done
    moved = tmp_path/'out'/'b.png'
    assert not (photos/'b.png').exists() and moved.read_bytes() == content and abs(os.stat(moved).st_mtime-info.st_mtime) < 1e-3

@pytest.mark.parametrize('damage', ['full', 'differs'])
def test_a_failed_copy_leaves_the_source_and_nothing_else(photos, tmp_path, monkeypatch, damage):
    def copy2(a, b):
        Path(b).write_bytes(b'half')
        if damage == 'full': raise OSError(errno.ENOSPC, 'No space left on device')
    other_disk(monkeypatch)
    monkeypatch.setattr(tidy.shutil, 'copy2', copy2)
    step, = Duplicates([group(photos, 'a.png', 'b.png')]).move_to(tmp_path/'out', dry_run=False)
    assert not step.done and step.problem and (photos/'b.png').exists() and not files(tmp_path/'out')

def test_an_interrupted_move_is_noted(photos, tmp_path, monkeypatch):
    real, calls = tidy._move, []
    def move(source, target):
        calls.append(source)
        if len(calls) == 2: raise KeyboardInterrupt
        real(source, target)
    monkeypatch.setattr(tidy, '_move', move)
    with pytest.raises(KeyboardInterrupt): Duplicates([group(photos, 'a.png', 'b.png', 'c.png')]).move_to(tmp_path/'out', dry_run=False)
    with open(tmp_path/'out'/'moved.csv', newline='') as f: assert [Path(r['from']).name for r in csv.DictReader(f)] == ['b.png']

def test_hard_links(photos):
    found = Duplicates([group(photos, 'a.png', 'b.png')])
    assert found.hard_link(dry_run=False)[0].done and os.path.samefile(photos/'a.png', photos/'b.png')
    assert problems(Duplicates([group(photos, 'a.png', 'b.png')]).hard_link(dry_run=False)) == ['both are one file already']
    assert files(photos) == ['a.png', 'b.png', 'c.png', 'old/b.png']

def test_only_equal_contents_become_links(photos):
    info = os.stat(photos/'b.png')
    (photos/'b.png').write_bytes(b'x'*info.st_size)
    os.utime(photos/'b.png', ns=(info.st_atime_ns, info.st_mtime_ns)) # as if nothing had happened
    keeper, c = Copy.of(photos/'a.png'), Copy.of(photos/'c.png', 2, 're-encoding')
    b = Copy(photos/'b.png', 1, 'exact', size=info.st_size, mtime_ns=info.st_mtime_ns)
    assert problems(Duplicates([Group('re-encoding', (keeper, b, c))]).hard_link(dry_run=False)) == ['the contents differ', 'it is no exact copy but: re-encoding']
    assert (photos/'b.png').read_bytes() == b'x'*info.st_size

def test_a_refused_link_leaves_nothing_behind(photos, monkeypatch):
    def replace(a, b): raise PermissionError(errno.EACCES, 'Permission denied')
    monkeypatch.setattr(tidy.os, 'replace', replace)
    assert problems(Duplicates([group(photos, 'a.png', 'b.png')]).hard_link(dry_run=False)) == ['Permission denied']
    assert sorted(os.listdir(photos)) == ['a.png', 'b.png', 'c.png', 'old']

@pytest.mark.parametrize('action', ['delete', 'hard_link', 'move_to'])
@pytest.mark.parametrize('changed', ['a.png', 'b.png'])
@pytest.mark.parametrize('how', ['gone', 'edited'])
def test_files_that_changed_are_left_alone(photos, tmp_path, action, changed, how):
    found = Duplicates([group(photos, 'a.png', 'b.png')])
    (photos/changed).unlink()
    if how == 'edited': (photos/changed).write_bytes(b'edited')
    before = files(photos)
    step, = getattr(found, action)(*[tmp_path/'out']*(action == 'move_to'), dry_run=False)
    assert not step.done and ('gone' if how == 'gone' else 'changed') in step.problem and files(photos) == before

def test_a_file_edited_during_the_run_is_left_alone(photos, monkeypatch):
    found, real = Duplicates([group(photos, 'a.png', 'b.png', 'c.png')]), os.replace
    def replace(a, b):
        real(a, b)
        (photos/'c.png').write_bytes(b'edited meanwhile')
    monkeypatch.setattr(tidy.os, 'replace', replace)
    assert [s.done for s in found.hard_link(dry_run=False)] == [True, False] and (photos/'c.png').read_bytes() == b'edited meanwhile'

def test_a_keeper_of_another_group_stays(photos):
    Duplicates([group(photos, 'a.png', 'b.png'), group(photos, 'b.png', 'a.png')]).delete(dry_run=False)
    assert files(photos)[:2] == ['a.png', 'b.png']

def test_a_copy_in_two_groups_is_planned_once(photos):
    plan = Duplicates([group(photos, 'a.png', 'b.png'), group(photos, 'c.png', 'b.png')]).delete()
    assert problems(plan) == ['', 'it is in the plan already']

@symlinks
@pytest.mark.parametrize('action', ['delete', 'hard_link', 'move_to'])
def test_the_file_behind_a_linked_keeper_stays(photos, tmp_path, action):
    os.symlink('b.png', photos/'0.png')
    found = Duplicates([group(photos, '0.png', 'b.png')])
    step, = getattr(found, action)(*[tmp_path/'out']*(action == 'move_to'), dry_run=False)
    assert not step.done and (photos/'0.png').exists() and not (photos/'b.png').is_symlink()

@symlinks
def test_a_link_is_no_copy(photos, tmp_path):
    os.symlink('../c.png', photos/'old'/'z.png')
    step, = Duplicates([group(photos, 'a.png', 'old/z.png')]).move_to(tmp_path/'out', dry_run=False)
    assert 'symbolic link' in step.problem and (photos/'old'/'z.png').exists()

@symlinks
def test_a_hard_link_to_a_linked_keeper_holds_the_content(photos):
    os.symlink('b.png', photos/'0.png')
    assert Duplicates([group(photos, '0.png', 'old/b.png')]).hard_link(dry_run=False)[0].done
    assert not (photos/'old'/'b.png').is_symlink() and os.path.samefile(photos/'old'/'b.png', photos/'b.png')

@symlinks
def test_exports_of_names_that_are_no_text(photos, tmp_path):
    name = os.fsdecode(b'caf\xe9.png')
    try: os.rename(photos/'b.png', photos/name)
    except OSError: pytest.skip('the file system takes only text')
    found = Duplicates([group(photos, 'a.png', name)])
    for kind in ('csv', 'json', 'html'): getattr(found, f'to_{kind}')(tmp_path/f'out.{kind}')
    assert json.loads((tmp_path/'out.json').read_text())[1]['path'].endswith(name)
    assert b'caf\xe9.png' in (tmp_path/'out.csv').read_bytes()
    assert found.move_to(tmp_path/'out', dry_run=False)[0].done and b'caf\xe9.png' in (tmp_path/'out'/'moved.csv').read_bytes()

def test_page_escapes_what_it_shows(photos, tmp_path):
    found = Duplicates([Group('exact', (Copy.of(photos/'a.png'), Copy.of(photos/'b.png', 1, 'exact', '<script>{x}</script>')))])
    found.to_html(tmp_path/'page.html')
    page = (tmp_path/'page.html').read_text(encoding='utf-8')
    assert '<script' not in page and '&lt;script&gt;{x}' in page and page.count(found.summary) == 1 and 'src="http' not in page

@symlinks
def test_a_library_with_links_loses_no_picture(photos):
    for name in ('b.png', 'old/b.png'): (photos/name).unlink()
    os.symlink('c.png', photos/'0.png') # sorts first, so it may become the keeper
    (photos/'a.png').unlink()
    rec = ImageRecommender(photos)
    rec.index(progress=False)
    rec.duplicates().delete(dry_run=False)
    assert files(photos) == ['0.png', 'c.png'] and len(rec) == 2

def test_the_library_knows_what_was_done(photos, tmp_path): # also where a folder is left empty, as `old` is here
    rec = ImageRecommender(photos)
    rec.index(progress=False)
    plan = rec.duplicates().move_to(tmp_path/'out', dry_run=False)
    assert sum(s.done for s in plan) == 3 and len(rec) == 1 and not len(rec.duplicates())
    assert rec.index(progress=False).missing == 0
    for p in (tmp_path/'out').rglob('*.png'): os.rename(p, photos/p.relative_to(tmp_path/'out'))
    assert rec.index(progress=False).total == 4 # undone, they are welcome again

# Decisions other than the one proposed

def test_only_what_equals_the_chosen_keeper_becomes_a_link(photos):
    Image.effect_noise((64, 48), 90).save(photos/'d.png')
    (photos/'old'/'d.png').write_bytes((photos/'d.png').read_bytes())
    names = ('a.png', 'b.png', 'd.png', 'old/d.png')
    found = Duplicates([Group('re-encoding', tuple(Copy.of(photos/n, i, k, k) for i, (n, k) in enumerate(zip(names, ('keeper', 'exact', 're-encoding', 're-encoding')))))])
    decided = found.decide(keep=[photos/'d.png'])
    assert [(c.path.name, c.kind) for c in decided[0].images] == [('d.png', 'keeper'), ('a.png', 're-encoding'), ('b.png', 're-encoding'), ('d.png', 'exact')]
    assert [s.done for s in decided.hard_link(dry_run=False)] == [False, False, True]
    assert os.path.samefile(photos/'d.png', photos/'old'/'d.png') and not os.path.samefile(photos/'a.png', photos/'b.png')

@pytest.mark.parametrize('action', ['delete', 'hard_link', 'move_to'])
def test_what_is_to_stay_is_out_of_reach(photos, tmp_path, action):
    found = Duplicates([group(photos, 'a.png', 'b.png'), group(photos, 'c.png', 'b.png')]) # b stays in the one group and would go in the other
    decided = found.decide(also=[photos/'b.png'])
    plan = getattr(decided, action)(*[tmp_path/'out']*(action == 'move_to'), dry_run=False)
    assert not any(s.done for s in plan) and len(files(photos)) == 4

@symlinks
def test_the_file_behind_a_link_that_stays_stays(photos):
    os.symlink('b.png', photos/'z.png')
    plan = Duplicates([group(photos, 'a.png', 'b.png', 'z.png')]).decide(also=[photos/'z.png']).delete(dry_run=False)
    assert problems(plan) == ['it is to stay'] and (photos/'z.png').exists()

def test_decisions_by_path_in_a_library(photos):
    rec = ImageRecommender(photos, model='efficientnet-lite0')
    rec.index(progress=False)
    decided = rec.duplicates().decide(keep=['old/b.png'], also=['a.png'])
    assert decided[0].keeper.path == photos/'old'/'b.png' and {c.path.name for c in decided[0].copies} == {'b.png', 'c.png'}
    decided.delete(dry_run=False)
    assert files(photos) == ['a.png', 'old/b.png'] and len(rec) == 2
