"Files are added, changed, moved, swapped, broken and mended at random; after each run the library must hold what a plain reading of the folder says"
import hashlib, io, os, shutil, tempfile
from contextlib import contextmanager
from pathlib import Path
import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from PIL import Image
import image_recommender.extract, image_recommender.index, image_recommender.library
from image_recommender import ImageRecommender
from image_recommender.database import Database
from image_recommender.features import ColorHistogram, Feature, PHash
from image_recommender.loader import BadImage, decode_or_bad, read_file


class Mean(Feature):
    "In the place of the network: a unit vector of 8 values"
    name, dim, dtype, weight, falloff, signature = 'clip', 8, 'float16', .5, 'even', 'mean-8'
    model_name, runtime, device, batch_size, _digest = 'mean', 'torch', 'cpu', 8, 'x'
    former = ()
    def load(self): return self
    def extract(self, image):
        row = np.array(image.resize((4, 2)).convert('L'), np.float32).ravel() - 127.6 # so that two pictures point in unlike directions
        return (row/np.linalg.norm(row)).astype(np.float16)
    def distance(self, query, rows): return np.maximum(1 - np.asarray(rows, np.float32)@np.asarray(query, np.float32), 0)


FEATURES = Mean(), ColorHistogram(), PHash()


def picture(seed):
    "The content of a small file"
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(out, 'PNG' if seed % 3 else 'BMP')
    return out.getvalue()


GOOD = [picture(i) for i in range(7)]
BROKEN = [b'', b'Dear Sir or Madam', GOOD[1][:60], GOOD[0][:300]]
NAMES = ['a.png', 'b.jpg', "it's.PNG", 'sub/d.png', 'sub/é\n.png', 'sub/deep/\udcff.bmp', 'other/x.png']
sha = lambda data: hashlib.sha256(data).digest()
ROWS = {sha(c): {f.name: f.extract(decode_or_bad(c, 'x').image) for f in FEATURES} for c in GOOD}
names, contents = st.sampled_from(NAMES), st.sampled_from(GOOD)


class Killed(BaseException):
    "What ends a process, as far as the library can see"


class Folder(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.tmp = tempfile.TemporaryDirectory()
        self.root, self.clock, self.unreadable, self.contents, self.ignored, self.rec = Path(self.tmp.name)/'photos', 10**9, set(), {}, set(), None
        self.root.mkdir()
        self.patch = pytest.MonkeyPatch()
        def read(path, *args):
            if os.path.relpath(path, self.root) in self.unreadable: raise BadImage(path, 'no permission to read the file', True)
            return read_file(path, *args)
        self.patch.setattr(image_recommender.extract, 'read_file', read)
        self.patch.setattr(image_recommender.index, 'delta_limit', lambda n: 2)
        self.patch.setattr(image_recommender.library, 'make_embedder', lambda *args: Mean())
        try:
            self.put('keep.png', GOOD[6])
            self.reopen()
            self.index()
        except BaseException:  # hypothesis tears down only what was made: without this, later tests would read through `read`
            self.teardown()
            raise

    def teardown(self):
        self.patch.undo()
        if self.rec is not None: self.rec._database.close()
        self.rec = None
        self.tmp.cleanup()

    # The folder

    def put(self, name, data):
        path = self.root/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.touch(name)

    def touch(self, name):
        self.clock += 1
        os.utime(self.root/name, ns=(self.clock*10**9, self.clock*10**9))

    def there(self): return sorted(os.fsdecode(os.path.relpath(os.path.join(os.fsencode(d), f), os.fsencode(self.root))) for d, _, fs in os.walk(os.fsencode(self.root)) for f in fs if b'.image_recommender' not in d)
    def existing(self, draw): return draw(st.sampled_from([n for n in self.there() if n != 'keep.png'] or ['keep.png']))

    def write(self, draw): self.put(draw(names), draw(contents))
    def break_(self, draw): self.put(draw(names), draw(st.sampled_from(BROKEN)))
    def mend(self, draw): self.put(draw(st.sampled_from([n for n in self.there() if (self.root/n).read_bytes() in BROKEN] or NAMES)), draw(contents))
    def touch_one(self, draw): self.touch(self.existing(draw))
    def allow(self, draw): self.unreadable.clear()
    def delete_folder(self, draw): shutil.rmtree(self.root/draw(st.sampled_from(['sub', 'other', 'sub/deep'])), ignore_errors=True)

    def rename(self, draw):
        old, new = self.existing(draw), self.root/draw(names)
        new.parent.mkdir(parents=True, exist_ok=True)
        if old != 'keep.png': os.replace(self.root/old, new)

    def copy(self, draw):
        old, new = self.existing(draw), draw(names)
        if old != new: self.put(new, (self.root/old).read_bytes())

    def swap(self, draw):
        a, b = self.root/self.existing(draw), self.root/self.existing(draw)
        if a != b and self.root/'keep.png' not in (a, b): os.replace(a, self.root/'swap'), os.replace(b, a), os.replace(self.root/'swap', b)

    def delete(self, draw):
        if (name := self.existing(draw)) != 'keep.png': (self.root/name).unlink()

    def move_folder(self, draw):
        if not (self.root/'sub').exists(): return
        shutil.rmtree(self.root/'other', ignore_errors=True)
        os.replace(self.root/'sub', self.root/'other')

    def forbid(self, draw):
        if (name := self.existing(draw)) == 'keep.png': return
        self.put(name, draw(contents))
        self.unreadable.add(name)

    @rule(acts=st.lists(st.sampled_from([write, write, break_, mend, touch_one, rename, copy, swap, delete, delete_folder, move_folder, forbid, allow]), min_size=1, max_size=4), data=st.data())
    def change(self, acts, data):
        for act in acts: act(self, data.draw)

    # What a run must come to

    def state(self):
        "path -> (id, sha256, size, mtime_ns)"
        return {r.path: (r.id, r.sha256, r.size, r.mtime_ns) for r in self.rec.db.images()}

    def empty(self, name):
        "Whether the nearest folder that is left above a file is empty, and not the root"
        folder = os.path.dirname(name)
        while folder and not (self.root/folder).is_dir(): folder = os.path.dirname(folder)
        return bool(folder) and not os.listdir(self.root/folder)

    def expect(self, before, bad, only=None, again=False):
        "Of each path what it must hold after a run: its old id or a new one, and its content; and the bad files"
        seen = {n for n in self.there() if only is None or n in only}
        inside = lambda p: only is None or p in only
        gone = {p: before[p] for p in before if inside(p) and p not in seen}
        want = {p: v[:2] for p, v in before.items() if not (p in gone and not self.empty(p))}
        bad = {b for b in bad if not inside(b) or b in seen}
        for n in seen - self.ignored:
            info, data = os.stat(self.root/n), (self.root/n).read_bytes()
            changed = n not in before or before[n][2:] != (info.st_size, info.st_mtime_ns)
            if not (changed or again or n in bad): continue
            bad.discard(n)
            if n in self.unreadable or data not in GOOD:
                bad.add(n)
                if n not in self.unreadable and changed: want.pop(n, None)
                continue
            if n in before and before[n][1] == sha(data): want[n] = before[n][:2]
            else: want[n] = None, sha(data)
        return want, bad, gone

    def compare(self, before, want, bad, gone):
        after = self.state()
        assert {p: v[1] for p, v in after.items() if p not in gone or p in want} == {p: h for p, (_, h) in want.items() if p in after}
        moved = {i for i, *_ in gone.values()} & {after[p][0] for p in after if p not in before or before[p][0] != after[p][0]}
        missing = {p for p in want if p not in after}
        assert all(p in gone and gone[p][0] in moved for p in missing), missing # kept in an empty folder, and found elsewhere
        assert not set(after) - set(want)
        highest = max((v[0] for v in before.values()), default=0)
        for p, (id, h) in want.items():
            if p in missing: continue
            new = after[p][0]
            if id is not None: assert new == id, f'{p!r} has its content and lost its id'
            else: assert new > highest or (new in moved and next(v for v in gone.values() if v[0] == new)[1] == h), f'{p!r} has another content and the id of before'
        for h in {v[1] for v in gone.values()}: # as many moved files as can be
            fresh = [p for p, (id, x) in want.items() if id is None and x == h]
            ids = {v[0] for v in gone.values() if v[1] == h}
            assert len(ids & {after[p][0] for p in fresh}) == min(len(ids), len(fresh)), 'a moved file lost its id'
        assert {os.path.relpath(b.path, self.root) for b in self.rec.bad} == bad

    def run(self, act, **how):
        before, bad = self.state() if self.rec._database or (self.root/'.image_recommender').exists() else {}, {b.path for b in self.rec.db.bad} if self.rec._database else set()
        want = self.expect(before, bad, **how)
        report = act()
        self.compare(before, *want)
        return report

    # The library

    @rule()
    def reopen(self):
        if self.rec is not None:
            self.rec.db._db.execute('VACUUM')
            self.rec._database.close()
        self.rec = ImageRecommender(self.root, workers=2, processes=False, ann='exact')
        self.rec.__dict__['embedder'] = Mean()

    @rule()
    def index(self):
        report = self.run(lambda: self.rec.index(progress=False))
        again = self.rec.index(progress=False)
        assert (again.added, again.copied, again.moved, again.removed) == (0, 0, 0, 0) and again.total == report.total == len(self.rec)

    @rule()
    def reset(self):
        self.run(lambda: self.rec.index(progress=False, reset=True), again=True)

    @rule(some=st.lists(names, min_size=1, max_size=3, unique=True))
    def update(self, some): self.run(lambda: self.rec.update(self.root/n for n in some), only=set(some))

    @rule(n=st.integers(1, 3))
    def index_some(self, n):
        before = self.state()
        report = self.rec.index(progress=False, limit=n)
        assert report.removed == 0 and {v[0] for v in before.values()} - {v[0] for v in self.state().values()} <= {v[0] for v in before.values()} and report.added + report.moved <= n

    @rule(n=st.integers(1, 5), batch=st.integers(1, 4), within=st.sampled_from(['transaction', '_add_feature', 'move', 'remove', 'add_bad']))
    def kill(self, n, batch, within):
        "The process ends before the n-th commit, or in the middle of a transaction; another goes on"
        real, left = getattr(Database, within), [n]
        @contextmanager
        def transaction(db):
            outermost = not db._db.in_transaction
            with real(db) as it:
                yield it
                left[0] -= outermost
                if outermost and left[0] == 0: raise Killed
        def method(*args):
            left[0] -= 1
            if left[0] == 0: raise Killed
            return real(*args)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, within, transaction if within == 'transaction' else method)
            patch.setattr(image_recommender.extract.Extractor, 'batch_size', batch)
            try: self.rec.index(progress=False)
            except Killed: pass
        self.reopen()

    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from(sorted(set(self.state()) - {'keep.png'}) or ['keep.png']))
        if name == 'keep.png': return
        assert self.rec.remove(self.state()[name][0]) == 1
        self.ignored.add(name)
        assert name not in self.state()

    @rule(data=st.data())
    def add(self, data):
        name = self.existing(data.draw)
        self.ignored.discard(name)
        self.run(lambda: self.rec.add(self.root/name), only={name})

    # What always holds

    @invariant()
    def ids_keep_their_content(self):
        state = self.state()
        for path, (id, h, *_) in state.items():
            assert self.contents.setdefault(id, h) == h, f'image {id} has become another picture'
            assert path not in self.ignored or path in state
        assert len({v[0] for v in state.values()}) == len(state)

    @invariant()
    def features_are_those_of_the_content(self):
        db = self.rec.db
        hashes = {r.id: r.sha256 for r in db.images()}
        for f in FEATURES:
            ids = db.complete_ids([f.name])
            assert set(ids.tolist()) <= set(hashes)
            for id, row in zip(ids.tolist(), db.features(ids, f.name)): np.testing.assert_array_equal(row, ROWS[hashes[id]][f.name])
        assert len({frozenset(db.complete_ids([f.name]).tolist()) for f in FEATURES}) == 1 # all of an image's, or none
        for t in ('clip', 'color', 'phash'): assert not db._rows(f'SELECT 1 FROM feature_{t} WHERE image_id NOT IN (SELECT id FROM images)')
        assert db._rows('PRAGMA integrity_check') == [('ok',)]

    @invariant()
    def search_finds_all_that_is_complete_and_nothing_else(self):
        db, rec = self.rec.db, self.rec
        ids = db.complete_ids([f.name for f in FEATURES]).tolist()
        if not ids: return
        paths = {r.id: rec.root/r.path for r in db.images()}
        assert rec.paths == [paths[i] for i in ids] and len(rec) == len(ids)
        query = ids[len(ids)//2]
        rows = ROWS[self.contents[query]]
        found = rec.similar({n: r if n != 'phash' else int(r[0]) for n, r in rows.items()}, k=50)
        assert {m.id: m.path for m in found} == {i: paths[i] for i in ids}
        alike = [i for i in ids if self.contents[i] == self.contents[query]]
        assert {m.id for m in found[:len(alike)]} == set(alike) and all(m.score > .999 for m in found[:len(alike)])


Folder.TestCase.settings = settings(max_examples=max(settings.default.max_examples//10, 6), stateful_step_count=25)
TestFolder = Folder.TestCase
