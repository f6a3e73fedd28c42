"""Memory of indexing, of opening a large library, and of `import image_recommender`. Linux only: it reads /proc.

    python benchmarks/memory.py [--sizes 20000 200000] [--engines binary annoy] [--rows 1000000] [--figure memory.svg]

Indexing: a process streams synthetic features (512-d embedding, histogram, hash) into the database, 4,096 images at a time, and
then builds the index from it, as `ImageRecommender.index` does. The memory of this process and of its children (Annoy is built
in one) is read every 20 ms. Private memory is what the system has to hold for the program (RssAnon); resident memory counts
mapped files as well, which the system can drop whenever it needs the room. Growth is the largest private peak divided by that of
the smallest library, which has to be larger than the engine's working buffers (two stretches of 8,192 rows) for a fair comparison.

Opening: a library of --rows images is built once, and opened in a process of its own. --rows 0 leaves this out."""
import argparse, json, subprocess, sys, tempfile, threading, time
from pathlib import Path
import numpy as np

BATCH = 4096


def memory(pid): # a process
    "Private and resident MB of a process"
    try: lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except OSError: return 0., 0.
    kb = {name: int(value.split()[0]) for name, _, value in (l.partition(':') for l in lines) if name in ('RssAnon', 'VmRSS')}
    return kb.get('RssAnon', 0)/1024, kb.get('VmRSS', 0)/1024

def family(pid):
    "A process and its descendants"
    found = [pid]
    for p in found:
        try: found += [int(c) for t in Path(f'/proc/{p}/task').iterdir() for c in (t/'children').read_text().split()]
        except OSError: pass
    return found

class Watch(threading.Thread):
    "Peaks of memory and the seconds of each phase of a process"
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.phase, self.peaks, self.seconds, self.stop = pid, 'start', {}, {}, threading.Event()

    def run(self):
        last = time.perf_counter()
        while not self.stop.wait(.02):
            phase, now = self.phase, time.perf_counter()
            used = [sum(m) for m in zip(*map(memory, family(self.pid)))]
            self.peaks[phase] = [max(p) for p in zip(used, self.peaks.get(phase, (0, 0)))]
            self.seconds[phase] = self.seconds.get(phase, 0) + now-last
            last = now

def run(*args):
    "This file in a process of its own, watched; a line of its output is a phase, the last one its result in JSON"
    with subprocess.Popen([sys.executable, __file__, *map(str, args)], stdout=subprocess.PIPE, text=True) as p:
        watch = Watch(p.pid)
        watch.start()
        for line in p.stdout: watch.phase = line.strip()
        watch.stop.set()
    if p.returncode: sys.exit(p.returncode)
    return watch, json.loads(watch.phase) if watch.phase.startswith('{') else None

def add_rows(rec, n, seed=0):
    "Stream `n` synthetic images into the database of a library, as indexing does"
    from image_recommender.database import ImageRecord
    from synthetic import repeated, synthetic
    db, few, own = rec._open(create=True), synthetic(2000), {f.name: f for f in rec.own_features}
    db.declare_feature('clip', 'float16', 512, 'given')
    for name in ('color', 'phash'): db.declare_feature(name, own[name].dtype, own[name].dim, own[name].signature)
    for start in range(0, n, BATCH):
        rows = dict(zip(('clip', 'color', 'phash'), repeated(*few, min(BATCH, n-start), seed+start)))
        db.add([ImageRecord(f'{seed}/{i:08}.jpg', 0, 0, b'', 0, 0, '') for i in range(start, min(start+BATCH, n))], rows)

def build(store, n, engine):
    from image_recommender import ImageRecommender
    rec = ImageRecommender(store, store=store, ann=engine)
    print('adding', flush=True)
    add_rows(rec, n)
    print('building', flush=True)
    rec._refresh(rec.db, rec._features(rec.db))

def open_library(store):
    from image_recommender import ImageRecommender
    timed = {}
    def step(name, do):
        before, start = memory('self'), time.perf_counter()
        do()
        timed[name] = time.perf_counter()-start, *np.subtract(memory('self'), before)
    rec = ImageRecommender(store)
    step('open', lambda: len(rec))
    step('first query', lambda: rec.similar(1))
    step('next query', lambda: rec.similar(2))
    print(json.dumps(timed))

def import_figures(statement, repeats=7):
    "Median of seconds, and which large packages came with it"
    code = (f"import time; s = time.perf_counter(); {statement}; s = time.perf_counter()-s; import sys; "
            "print(s, *[m for m in ('torch', 'open_clip', 'onnxruntime') if m in sys.modules])")
    found = [subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split() for _ in range(repeats)]
    return np.median([float(f[0]) for f in found]), sorted({m for f in found for m in f[1:]})

def indexing(sizes, engines):
    "Rows of the table, and {engine: private peaks}"
    table, peaks = [], {}
    for engine in engines:
        for n in sizes:
            with tempfile.TemporaryDirectory() as store: watch, _ = run('--build', store, n, engine)
            private, resident = (max(watch.peaks[p][i] for p in ('adding', 'building')) for i in (0, 1))
            peaks.setdefault(engine, []).append(private)
            table.append([engine, f'{n:,}', *(f'{watch.peaks[p][0]:.0f}' for p in ('adding', 'building')), f'{private/peaks[engine][0]:.2f}',
                          f'{resident:.0f}', f'{watch.seconds["adding"]:.0f}', f'{watch.seconds["building"]:.0f}'])
            print(f'{engine} {n:,}: done', file=sys.stderr)
    return table, peaks

def draw(sizes, peaks, path):
    from tables import new_figure, save_figure
    figure, (ax,) = new_figure(1)
    for engine, values in peaks.items(): ax.plot(sizes, values, marker='o', label=engine)
    ax.set_ylim(0, 1.1*max(map(max, peaks.values())))
    ax.set(xlabel='images', title='peak of private memory while indexing, MB')
    ax.xaxis.set_major_formatter('{x:,.0f}')
    ax.legend(frameon=False)
    save_figure(figure, path)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sizes', type=int, nargs='+', default=[20_000, 200_000])
    p.add_argument('--engines', nargs='+', default=['binary', 'annoy'])
    p.add_argument('--rows', type=int, default=1_000_000)
    p.add_argument('--figure', type=Path)
    p.add_argument('--build', nargs=3, help=argparse.SUPPRESS)
    p.add_argument('--open', help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.build: return build(args.build[0], int(args.build[1]), args.build[2])
    if args.open: return open_library(args.open)
    from tables import markdown
    for statement in ('import image_recommender', 'from image_recommender import ImageRecommender'):
        seconds, loaded = import_figures(statement)
        print(f'{statement}: {seconds:.2f} s (median of 7), loads {" and ".join(loaded) or "neither torch nor open_clip"}')
    print()
    table, peaks = indexing(args.sizes, args.engines)
    print(markdown(['engine', 'images', 'private peak, adding, MB', 'building, MB', 'growth', 'resident peak, MB', 'adding, s', 'building, s'], table))
    if args.rows:
        with tempfile.TemporaryDirectory() as store:
            run('--build', store, args.rows, 'binary')
            _, timed = run('--open', store)
        print(f'\n{args.rows:,} rows, binary:\n')
        print(markdown(['', 'seconds', 'private memory, MB', 'resident memory, MB'],
                       [[name, f'{s:.3f}', f'{private:+.0f}', f'{resident:+.0f}'] for name, (s, private, resident) in timed.items()]))
    if args.figure: draw(args.sizes, peaks, args.figure)


if __name__ == '__main__': main()
