"""Images per second of indexing, milliseconds per query, bytes on disk.

    python benchmarks/speed.py FOLDER [--model efficientnet-lite0]

Indexes FOLDER into a temporary store and asks with 200 of its images: as indexed images (stored features), as exact
search, and as new pictures from memory (decoded, hashed and embedded first)."""
import argparse, tempfile, time
from pathlib import Path
import numpy as np
from image_recommender import ImageRecommender


def milliseconds(ask, queries):
    "Median and 95th percentile"
    times = []
    for q in queries:
        start = time.perf_counter()
        ask(q)
        times.append(1000*(time.perf_counter()-start))
    return f'{np.median(times):.1f} | {np.quantile(times, .95):.1f}'

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--model', default='efficientnet-lite0')
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as store:
        rec = ImageRecommender(args.folder, store=store, model=args.model)
        rec.embedder.signature # load the network first: its seconds do not depend on the number of images
        report = rec.index()
        again = time.perf_counter()
        rec.index()
        again = time.perf_counter()-again
        ids = np.random.default_rng(0).choice(len(rec), min(200, len(rec)), replace=False)
        paths = [rec.paths[i] for i in ids]
        new = [p.read_bytes() for p in paths]
        rec.similar(new[0])
        sizes = {p.name: p.stat().st_size for p in Path(store).rglob('*') if p.is_file()}
        print(report)
        print(f'\n| indexing {report.added:,} images |  |\n|---|---:|\n| images/s, end to end | {report.added/report.seconds:.1f} |')
        print(f'| again, nothing new, s | {again:.2f} |\n| bytes an image in the store | {sum(sizes.values())/len(rec):,.0f} |')
        print('\n| query, ms | median | 95% |\n|---|---:|---:|')
        print(f'| indexed image | {milliseconds(lambda i: rec.similar(int(i)+1), ids)} |')
        print(f'| indexed image, exact | {milliseconds(lambda i: rec.similar(int(i)+1, exact=True), ids)} |')
        print(f'| new picture | {milliseconds(rec.similar, new)} |')
        for name, size in sorted(sizes.items(), key=lambda s: -s[1])[:5]: print(f'{name:20}{size/1e6:8.1f} MB')


if __name__ == '__main__': main()
