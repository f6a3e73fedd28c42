"""Fused search against a full scan: how often the top five agree, and what a query takes.

    python benchmarks/search.py [--rows 500000] [--engines annoy binary] [--library FOLDER] [--figure search.svg]

On synthetic features, and if --library names an indexed folder (or several) also on its real features, each repeated
with noise until there are enough. "numpy scan" is the straightforward way: float32 arrays in memory, three distances of
all rows, the same fusion formula, the best five."""
import argparse, tempfile, time
from pathlib import Path
import numpy as np
from image_recommender import ImageRecommender
from image_recommender.fusion import evidence
from synthetic import repeated, synthetic


def scan_by_numpy(clip, color, phash, scales, weights, i):
    "What one writes without a library; `clip` is float32"
    distances = dict(clip=1 - clip@clip[i], color=np.linalg.norm(color-color[i], axis=1), phash=np.bitwise_count(phash[:, 0]^phash[i, 0]).astype(np.float32))
    score = sum(weights[m]*evidence(d, **scales[m]) for m, d in distances.items())
    score[i] = -1
    best = np.argpartition(-score, 5)[:5]
    return best[np.argsort(-score[best])]

def timed(ask, queries):
    times = []
    for q in queries:
        start = time.perf_counter()
        ask(q)
        times.append(1000*(time.perf_counter()-start))
    return times

def compare(kind, arrays, engines, queries=100):
    rows, n = [], len(arrays[0])
    asked = np.random.default_rng(1).choice(n, queries, replace=False)
    wide = arrays[0].astype(np.float32)
    for name in engines:
        with tempfile.TemporaryDirectory() as store:
            start = time.perf_counter()
            ImageRecommender.from_features(store, [f'{i}.jpg' for i in range(n)], *arrays, ann=name)
            built = time.perf_counter()-start
            start = time.perf_counter()
            rec = ImageRecommender(store)
            len(rec)
            opened = time.perf_counter()-start
            ids = [int(i)+1 for i in asked]
            for i in ids[:5]: rec.similar(i)
            # side by side: ours, numpy's, ours, numpy's
            ours, numpy = [], []
            for some in np.array_split(ids, 5):
                ours += timed(lambda i: rec.similar(int(i)), some)
                numpy += timed(lambda i: scan_by_numpy(wide, *arrays[1:], rec.calibration.scales, rec.weights, i-1), some[:4])
            start = time.perf_counter()
            quick = rec.similar_many(ids)
            many = 1000*(time.perf_counter()-start)/len(ids)
            full = [rec.similar(i, exact=True) for i in ids[:40]]
            same = np.mean([len({m.id for m in a} & {m.id for m in b})/5 for a, b in zip(quick, full)])
            about = rec.view.generation.manifest['ann']
            rows.append((kind, name, n, arrays[0].shape[1], built, opened, about['recall_at_10'], same, np.median(ours), np.quantile(ours, .95), np.median(numpy), many))
            r = rows[-1]
            print(f'| {kind} | {name} | {n:,} x {r[3]} | {built:.0f} | {opened:.2f} | {r[6]:.3f} | {same:.3f} | {r[8]:.1f} | {r[9]:.1f} | {r[10]:.0f} ({r[10]/r[8]:.1f}x) | {many:.1f} ({r[8]/many:.1f}x) |', flush=True)
    return rows

def real_features(folders):
    "All features of indexed libraries, one after the other"
    parts = []
    for folder in folders:
        rec = ImageRecommender(folder)
        view = rec.view
        parts.append([view.rows(m, np.arange(len(view.ids))) for m in ('clip', 'color', 'phash')])
    return [np.concatenate(p) for p in zip(*parts)]

def figure(rows, path):
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(6, 2.6))
    names = [f'{r[0]}, {r[1]}' for r in rows]
    for shift, column, label in ((-.25, 10, 'numpy scan'), (0, 8, 'similar'), (.25, 11, 'similar_many')):
        ax.barh(np.arange(len(rows))+shift, [r[column] for r in rows], .23, label=label)
    ax.set(yticks=range(len(rows)), yticklabels=names, xscale='log', xlabel=f'milliseconds a query, {rows[0][2]:,} images')
    ax.invert_yaxis()
    ax.legend(frameon=False, fontsize=8)
    fig.tight_layout()
    fig.savefig(path, dpi=110)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rows', type=int, default=500_000)
    p.add_argument('--engines', nargs='+', default=['annoy', 'binary'])
    p.add_argument('--library', type=Path, nargs='+', default=[])
    p.add_argument('--figure')
    args = p.parse_args()
    print('| features | engine | images | import and build, s | open, s | recall@10 of the engine | top 5 as exact | p50, ms | p95, ms | numpy scan, ms | similar_many, ms each |')
    print('|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|')
    rows = compare('synthetic', synthetic(args.rows), args.engines)
    if args.library: rows += compare('real, repeated', repeated(*real_features(args.library), args.rows), args.engines)
    if args.figure: figure(rows, args.figure)


if __name__ == '__main__': main()
