"""Are copies found, and nothing else? How long does it take for many images?

    python benchmarks/duplicates.py quality PHOTOS [PHOTOS...]     # folders of different photographs
    python benchmarks/duplicates.py speed [--rows 500000]

quality: every tenth photo of a folder is edited in 23 ways (see image_recommender.edits) and the edits are put beside all
photos; which are grouped with their original, and which photos are grouped that are no copies. speed: features at random,
among them 20,000 planted copies, without files, so that no pictures are opened."""
import argparse, resource, tempfile, time
from collections import Counter
from pathlib import Path
import numpy as np
from image_recommender import ImageRecommender
from image_recommender.edits import EDITS
from image_recommender.loader import find_images, load_image


def quality(folder, step):
    with tempfile.TemporaryDirectory() as tmp:
        tmp, origin = Path(tmp), {}
        for i, e in enumerate(find_images(folder)):
            original = tmp/f'{i:05}.jpg'
            original.write_bytes(Path(e.path).read_bytes())
            origin[original.name] = (i, 'original')
            if i % step: continue
            im = load_image(original, size=None).image
            for name, edit in EDITS.items():
                edit(im).save(tmp/f'{i:05} {name}.png', compress_level=1)
                origin[f'{i:05} {name}.png'] = (i, name)
        rec = ImageRecommender(tmp, model='efficientnet-lite0')
        rec.index()
        start = time.perf_counter()
        groups = rec.duplicates()
        seconds = time.perf_counter()-start
        kinds, together, wrong, photos = {}, Counter(), Counter(), set()
        for g in groups:
            mine = Counter(origin[c.path.name][0] for c in g.images)
            i = mine.most_common(1)[0][0]
            inside = {origin[c.path.name][1] for c in g.images if origin[c.path.name][0] == i}
            for c in g.images:
                j, name = origin[c.path.name]
                if j != i: wrong[c.kind] += 1
                elif 'original' in inside: together[name] += 1
                kinds.setdefault(name, Counter())[c.kind] += 1
                if j != i: photos.add((g.keeper.path.name, c.path.name))
        n = len({i for i, name in origin.values() if name != 'original'})
        print(f'{folder}: {len(origin):,} files, {len(groups):,} groups in {seconds:.0f} s')
        print('| edit | grouped with its original | called |\n|---|---:|---|')
        for name in EDITS: print(f'| {name} | {together[name]/n:.3f} | {", ".join(k for k, _ in kinds.get(name, Counter()).most_common(2))} |')
        print(f'all edits {sum(together[name] for name in EDITS)/n/len(EDITS):.3f}; wrongly grouped: {sum(wrong.values())} of {len(origin):,} ({dict(wrong)})')
        for pair in sorted(photos)[:12]: print('   ', *pair)

def speed(n, dim=512, copies=20_000):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2000, dim)).astype(np.float32)
    clip = np.empty((n, dim), np.float16)
    for a in range(0, n, 50_000):
        b = min(a+50_000, n)
        x = centres[rng.integers(2000, size=b-a)] + 1.2*rng.normal(size=(b-a, dim)).astype(np.float32)
        clip[a:b] = x/np.linalg.norm(x, axis=1, keepdims=True)
    color = rng.dirichlet(np.ones(8), (n, 3)).reshape(n, 24).astype(np.float32)
    phash = rng.integers(2**63, size=n).astype(np.uint64)
    source, target = np.split(rng.choice(n, 2*copies, replace=False), 2)
    x = clip[source] + .006*rng.normal(size=(copies, dim))
    clip[target], color[target] = x/np.linalg.norm(x, axis=1, keepdims=True), color[source]
    phash[target] = phash[source] ^ (np.uint64(1) << rng.integers(63, size=copies).astype(np.uint64))
    with tempfile.TemporaryDirectory() as store:
        rec = ImageRecommender.from_features(store, [f'{i}.jpg' for i in range(n)], clip=clip, color=color, phash=phash, ann='binary')
        del clip, color, phash
        len(rec)
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        groups = rec.duplicates()
        seconds, peak = time.perf_counter()-start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pairs = {tuple(sorted(c.id for c in g.images)) for g in groups}
        planted = {tuple(sorted((int(a)+1, int(b)+1))) for a, b in zip(source, target)}
        print(f'{n:,} images x {dim}: {seconds:.0f} s, peak memory {peak/1e3:.0f} MB ({before/1e3:.0f} MB before); '
              f'{len(pairs & planted):,} of {copies:,} planted pairs found, {len(pairs-planted):,} other groups')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest='command', required=True)
    q = commands.add_parser('quality')
    q.add_argument('folders', nargs='+')
    q.add_argument('--step', type=int, default=10)
    commands.add_parser('speed').add_argument('--rows', type=int, default=500_000)
    args = p.parse_args()
    if args.command == 'speed': speed(args.rows, copies=min(20_000, args.rows//10))
    for folder in getattr(args, 'folders', ()): quality(folder, args.step)


if __name__ == '__main__': main()
