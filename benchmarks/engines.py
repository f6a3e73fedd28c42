"""What each engine needs to be built, and what it finds how fast, on synthetic embeddings of 512 values.

    python benchmarks/engines.py [--rows 200000 1000000] [--engines exact binary annoy faiss] [--keep results.json] [--figure engines.svg]

Every engine is built in a process of its own. "Memory" is the peak of private memory while building and opening, child
processes included, beyond what the process held before; mapped files are the system's to reclaim and do not count. Recall@10 and
the time of a query (one at a time, one thread of Python) are measured on 200 rows, each left out of its own answer.
A million rows take about fifteen minutes, nearly all of it for Annoy and Faiss; with --keep, results are kept in a file, and a
run with some --engines replaces only theirs."""
import argparse, json, os, subprocess, sys, tempfile, threading, time
from pathlib import Path
import numpy as np
from image_recommender.ann import ENGINES, exact_top, one_blas_thread
from memory import family, memory
from synthetic import synthetic

EFFORTS = {'exact': [1], 'binary': [50, 100, 200, 500, 1000, 2000], 'annoy': [500, 2000, 5000, 10000, 20000, 40000], 'faiss': [16, 32, 64, 128, 256]}


class PeakMemory:
    "Peak of private memory in MB, of this process and its children, sampled every 20 ms (Linux)"
    def __enter__(self):
        self.start, self._stop = self._now(), threading.Event()
        self.peak = self.start
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *args):
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, self._now())
        self.mb = self.peak-self.start

    def _watch(self):
        while not self._stop.wait(.02): self.peak = max(self.peak, self._now())

    def _now(self): return sum(memory(pid)[0] for pid in family(os.getpid()))


def measure(name, folder, recall):
    "In a process of its own: build, open, ask"
    rows = np.load(folder/'clip.npy', mmap_mode='r')
    kind, start = ENGINES[name], time.perf_counter()
    with PeakMemory() as peak:
        about = kind.build(rows, folder, recall)
        built, start = time.perf_counter()-start, time.perf_counter()
        engine = kind(rows, folder, about)
        opened = time.perf_counter()-start
    who = np.sort(np.random.default_rng(1).choice(len(rows), 200, replace=False))
    truth = np.load(folder/'truth.npy')
    points = []
    for engine.effort in EFFORTS[name]:
        times, hits = [], []
        with one_blas_thread():
            for w, true in zip(who, truth):
                q = np.asarray(rows[w], np.float32)
                start = time.perf_counter()
                found = engine.candidates(q, 11)
                times.append(time.perf_counter()-start)
                hits.append(len(set(found.tolist()) & (set(true.tolist())-{int(w)}))/10)
        points.append((engine.effort, float(np.mean(hits)), 1000*float(np.median(times))))
    return dict(name=name, rows=len(rows), built=built, memory=peak.mb, opened=opened, size=sum((folder/f).stat().st_size for f in kind.files)/1e6, points=points)

def compare(n, engines, recall):
    results = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder/'clip.npy', synthetic(n)[0])
        rows = np.load(folder/'clip.npy', mmap_mode='r')
        who = np.sort(np.random.default_rng(1).choice(n, 200, replace=False))
        np.save(folder/'truth.npy', exact_top(rows, np.asarray(rows[who], np.float32), 11))
        for name in engines:
            if missing := ENGINES[name].missing():
                print(f'{name}: {missing}', file=sys.stderr)
                continue
            out = subprocess.run([sys.executable, __file__, '--one', name, str(folder), str(recall)], check=True, capture_output=True, text=True).stdout
            results.append(json.loads(out))
            for f in ENGINES[name].files: (folder/f).unlink()
    return results

def table(results, recall):
    print(f'\n| {results[0]["rows"]:,} rows | build, s | memory, MB | files, MB | open, s | recall@10 : ms a query |\n|---|---:|---:|---:|---:|---|')
    for r in results:
        points = ', '.join(f'{"**" if p == next((q for q in r["points"] if q[1] >= recall), None) else ""}{found:.3f} : {ms:.2f}'
                           f'{"**" if p == next((q for q in r["points"] if q[1] >= recall), None) else ""}' for p in r['points'] for _, found, ms in [p])
        print(f"| {r['name']} | {r['built']:.1f} | {r['memory']:,.0f} | {r['size']:,.0f} | {r['opened']:.2f} | {points} |")

def figure(everything, path):
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, len(everything), figsize=(4.5*len(everything), 3.2), squeeze=False, sharey=True)
    for ax, results in zip(axes[0], everything):
        for r in results: ax.plot([p[2] for p in r['points']], [p[1] for p in r['points']], 'o-', ms=4, label=f"{r['name']}, built in {r['built']:,.0f} s")
        ax.set(xscale='log', xlabel='milliseconds a query', title=f"{results[0]['rows']:,} x 512")
        ax.grid(alpha=.3)
        ax.legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel('recall@10')
    fig.tight_layout()
    fig.savefig(path, dpi=110)

def main():
    if sys.argv[1:2] == ['--one']: return print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rows', type=int, nargs='+', default=[200_000, 1_000_000])
    p.add_argument('--engines', nargs='+', default=list(EFFORTS))
    p.add_argument('--recall', type=float, default=.95)
    p.add_argument('--keep', type=Path)
    p.add_argument('--figure')
    args = p.parse_args()
    everything = []
    for n in args.rows:
        kept = json.loads(args.keep.read_text()) if args.keep and args.keep.exists() else {}
        of_n = kept.get(str(n), {}) | {r['name']: r for r in compare(n, args.engines, args.recall)}
        if args.keep: args.keep.write_text(json.dumps(kept | {str(n): of_n}))
        everything.append([of_n[name] for name in EFFORTS if name in of_n])
        table(everything[-1], args.recall)
    if args.figure: figure(everything, args.figure)


if __name__ == '__main__': main()
