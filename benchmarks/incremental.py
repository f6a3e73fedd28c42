"""What it costs to keep a library up to date: runs of `index()` with little to do, and queries beside images that wait.

    python benchmarks/incremental.py [--files 1000 10000 50000] [--new 1000] [--rows 500000] [--ann binary] [--figure incremental.svg]

Files: folders of small generated JPEGs (32 x 32 pixels, 1,000 a folder), indexed with a stand-in for the network (an 8 x 8
thumbnail), so that the figures are those of everything but the network. Then index() again: with nothing new, with --new files
more, and after a folder of 1,000 was renamed. Runs are those of a process that has the library open already, unless it is said;
a new process has to start Python as well. --files without a number leaves this out.

Queries: a library of --rows synthetic images (512-d), and then more of them, which are searched beside the index until the next
one is built. The queries (--queries, for indexed images) take turns between the states, so that they can be compared. `first
question` is the one that notices that something has changed. --rows 0 leaves this out."""
import argparse, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np
from PIL import Image
from image_recommender import ImageRecommender
from image_recommender.embedding import Embedder
from memory import add_rows
from tables import markdown, new_figure, save_figure

_AGAIN = 'import sys; from image_recommender import ImageRecommender; ImageRecommender(sys.argv[1]).index(progress=False)'
DELTAS = 0, 1_000, 5_000, 10_000, 20_000, 50_000


class Thumbnail(Embedder):
    "Stands in for a network: an 8 x 8 thumbnail as a unit vector"
    dim, signature, model_name, device, runtime, preprocess = 192, 'thumbnail', 'thumbnail', 'cpu', 'torch', True

    def __init__(self): self.finished = 0

    def prepare(self, image): return np.asarray(image.resize((8, 8)), np.float32).ravel()+1

    def finish(self, prepared):
        self.finished += len(prepared)
        rows = np.stack(prepared)
        return (rows/np.linalg.norm(rows, axis=1, keepdims=True)).astype(self.dtype)

def seconds(do):
    start = time.perf_counter()
    return do(), time.perf_counter()-start

def write_files(root, first, n):
    "Small JPEGs, all different"
    for i in range(first, first+n):
        path = root/f'{i//1000:04}'/f'{i:07}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        small = np.random.default_rng(i).integers(256, size=(4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((32, 32)).save(path, quality=90)

def files_row(n, new, ann):
    "Seconds of the runs of index() over a folder of `n` files"
    with tempfile.TemporaryDirectory() as folder:
        root, thumbnail = Path(folder), Thumbnail()
        write_files(root, 0, n)
        rec = ImageRecommender(root, ann=ann)
        rec.__dict__['embedder'] = thumbnail # in place of a network
        run = lambda: seconds(lambda: rec.index(progress=False))
        first, fresh = run(), seconds(lambda: subprocess.run([sys.executable, '-c', _AGAIN, folder], check=True))[1]
        run() # what a process does once is not counted
        nothing = run()
        write_files(root, 10_000_000, new)
        more = run()
        computed = thumbnail.finished
        (root/'0000').rename(root/'renamed')
        moved = run()
        assert (first[0].added, more[0].added, nothing[0].added, thumbnail.finished) == (n, new, 0, computed)
        rebuilt = 'beside the index' if more[0].beside else 'in a new index'
        return [f'{n:,}', f'{first[1]:.1f}', f'{fresh:.2f}', f'{nothing[1]:.2f}', f'{more[1]:.2f}', rebuilt, f'{moved[1]:.2f}', f'{moved[0].moved:,}', thumbnail.finished-computed]

def states(rec, rows):
    "The library with more and more images beside its index, and with all of them in the next: {name: (view, first question s, build s)}"
    found, there = {}, 0
    def note(name, build=None):
        first = seconds(lambda: rec.similar(1))[1]
        found[name] = rec._current, first, build
        print(f'{name}: first question {first:.2f} s', file=sys.stderr)
    rec.similar(1)
    for delta in DELTAS:
        if delta > there: add_rows(rec, delta-there, seed=1+delta)
        there = delta
        note(f'{delta:,} beside')
    db = rec.db
    features = rec._features(db)
    note('all in the next index', seconds(lambda: rec._refresh(db, features))[1])
    return found

def query_times(rec, found, queries, rows):
    "{name: milliseconds of each query}; the states take turns"
    ids, times = np.random.default_rng(0).integers(1, rows+1, queries), {name: [] for name in found}
    for turn in range(queries+3): # the first three warm up
        for name, (current, *_) in found.items():
            rec._current = current
            taken = seconds(lambda: rec.similar(int(ids[turn % queries])))[1]
            if turn >= 3: times[name].append(1000*taken)
    return times

def beside_rows(rows, ann, queries):
    "Rows of the table, and p50 for each delta"
    with tempfile.TemporaryDirectory() as store:
        rec = ImageRecommender(store, store=store, ann=ann)
        add_rows(rec, rows)
        db = rec.db
        build = seconds(lambda: rec._refresh(db, rec._features(db)))[1]
        print(f'{rows:,} rows: built in {build:.0f} s', file=sys.stderr)
        found = states(rec, rows)
        times = query_times(rec, found, queries, rows)
        p50 = {name: np.median(t) for name, t in times.items()}
        ratio = {name: np.median(np.array(t)/next(iter(times.values()))) for name, t in times.items()}
        return [[name, f'{p50[name]:.1f}', f'{np.quantile(times[name], .95):.1f}', f'{ratio[name]:.2f}', f'{found[name][1]:.2f}',
                 f'{found[name][2]:.1f}' if found[name][2] else ''] for name in found], list(p50.values())[:len(DELTAS)]

def draw(p50, rows, path):
    figure, (ax,) = new_figure(1)
    ax.plot(DELTAS, p50, marker='o', color='#3b6fb6')
    ax.set_ylim(0, 1.1*max(p50))
    ax.set_title(f'query beside {rows:,} indexed images, ms', fontsize=10, loc='left')
    ax.set_xlabel('images that wait for the next index')
    ax.xaxis.set_major_formatter('{x:,.0f}')
    save_figure(figure, path)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--files', type=int, nargs='*', default=[1000, 10_000, 50_000])
    p.add_argument('--new', type=int, default=1000)
    p.add_argument('--rows', type=int, default=500_000)
    p.add_argument('--ann', default='binary')
    p.add_argument('--queries', type=int, default=100)
    p.add_argument('--figure', type=Path)
    args = p.parse_args()
    if args.files:
        table = [files_row(n, args.new, args.ann) for n in args.files]
        print(markdown(['files', 'first run, s', 'nothing new, a new process, s', 'nothing new, s', f'{args.new:,} new, s', 'which are then', '1,000 renamed, s', 'recognised', 'computed again'],
                       table, text=(5,)), end='\n\n', flush=True)
    if not args.rows: return
    table, p50 = beside_rows(args.rows, args.ann, args.queries)
    print(f'{args.rows:,} rows, {args.ann}\n')
    print(markdown(['new images', 'query, ms', '95%', 'ratio', 'first question, s', 'building, s'], table))
    if args.figure: draw(p50, args.rows, args.figure)


if __name__ == '__main__': main()
