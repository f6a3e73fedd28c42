"""How well are the right images found? Class retrieval (mAP@10) and near-duplicates (R@1), per metric and fused.

    python benchmarks/retrieval.py --clothing DATA/clothing --photos DATA/photos

`--clothing` is a folder with train/CLASS/*.jpg and test/CLASS/*.jpg: each test image asks among the train images, and one
of the same class is right. `--photos` is a folder of different photographs: every fifth is edited in 23 ways, and each
edit asks among the originals. The offline embedder is used unless --model names another."""
import argparse, time
from pathlib import Path
import numpy as np
from edits import EDITS
from image_recommender import ColorHistogram, PHash
from image_recommender.embedding import make_embedder
from image_recommender.extract import Extractor
from image_recommender.fusion import Calibration, fuse
from image_recommender.loader import as_image, find_images, load_image

WEIGHTS = dict(clip=.5, color=.3, phash=.2)


def extract(features, folder):
    "Paths relative to `folder` and rows of all its images"
    paths = [str(Path(e.path).relative_to(folder)) for e in find_images(folder)]
    batches = list(Extractor(features, folder).run(paths))
    rows = {f.name: np.concatenate([b.rows[f.name] for b in batches if b.records]) for f in features}
    return [r.path for b in batches for r in b.records], rows

def distances(features, queries, rows):
    "{metric: (queries, n)}; nan where a row holds no information"
    out = {}
    for f in features:
        d = np.stack([f.distance(q, rows[f.name]) for q in queries[f.name]]).astype(np.float32)
        d[~f.informative(queries[f.name])] = np.nan
        d[:, ~f.informative(rows[f.name])] = np.nan
        out[f.name] = d
    return out

def rankers(features, rows):
    "Name -> function from distances to scores (queries, n), larger is better"
    calibration = Calibration.fit(features, rows)
    far = lambda d: np.nan_to_num(d, nan=np.nanmax(d)+1)
    single = {f.name: (lambda d, n=f.name: -far(d[n])) for f in features}
    def reference(d): # the formula that this project started from, on density histograms
        return .5*(1-d['clip']) + .3/(1+far(d['color'])/32) + .2/(1+far(d['phash']))
    def z_scores(d): return -sum(w*(far(d[n])-np.nanmean(d[n], 1, keepdims=True))/np.nanstd(d[n], 1, keepdims=True) for n, w in WEIGHTS.items())
    def reciprocal_rank(d): return sum(w/(60+far(d[n]).argsort(1, kind='stable').argsort(1)) for n, w in WEIGHTS.items())
    def default(d): return np.stack([fuse({n: v[i:i+1] for n, v in d.items()}, WEIGHTS, calibration)[0] for i in range(len(d['clip']))])
    return {**single, 'reference formula': reference, 'z-scores': z_scores, 'reciprocal rank fusion': reciprocal_rank, 'image_recommender': default}

def map_at(scores, right, k=10):
    "Mean average precision of the first `k`: precision averaged at the ranks of the right ones that were found"
    order = np.argsort(-scores, 1, kind='stable')[:, :k]
    hit = np.take_along_axis(right, order, 1)
    precision = hit.cumsum(1)/np.arange(1, k+1)
    return ((precision*hit).sum(1)/np.maximum(hit.sum(1), 1)).mean()

def clothing(features, folder):
    paths, rows = extract(features, folder/'train')
    asked, queries = extract(features, folder/'test')
    label = lambda ps: np.array([Path(p).parts[0] for p in ps])
    right = label(asked)[:, None] == label(paths)[None]
    d = distances(features, queries, rows)
    return {name: map_at(rank(d), right) for name, rank in rankers(features, rows).items()}, right.shape

def photos(features, folder):
    paths, rows = extract(features, folder)
    originals, edited = list(range(0, len(paths), 5)), []
    for name, edit in EDITS.items():
        images = [as_image(edit(load_image(folder/paths[i], size=None).image)).image for i in originals]
        edited.append({f.name: f.finish([f.prepare(im) for im in images]) for f in features})
    d = distances(features, {f.name: np.concatenate([e[f.name] for e in edited]) for f in features}, rows)
    found = {name: (rank(d).argmax(1) == np.tile(originals, len(EDITS))).reshape(len(EDITS), -1) for name, rank in rankers(features, rows).items()}
    return found, (len(EDITS)*len(originals), len(paths))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--clothing', type=Path)
    p.add_argument('--photos', type=Path)
    p.add_argument('--model', default='efficientnet-lite0')
    args = p.parse_args()
    features, start = [make_embedder(args.model), ColorHistogram(), PHash()], time.time()
    scores = {}
    if args.clothing:
        maps, (q, n) = clothing(features, args.clothing)
        print(f'clothing: {q} queries among {n} images')
        for name, v in maps.items(): scores.setdefault(name, {})['clothing mAP@10'] = v
    if args.photos:
        found, (q, n) = photos(features, args.photos)
        print(f'photos: {q} edited queries among {n} images')
        for name, v in found.items(): scores.setdefault(name, {})['edits R@1'] = v.mean()
    columns = list(next(iter(scores.values())))
    print('\n|  |', ' | '.join(columns), '|\n|---|', '---:|'*len(columns))
    for name, row in scores.items(): print(f'| {name} |', ' | '.join(f'{row[c]:.4f}' for c in columns), '|')
    if args.photos:
        print('\n| edit |', ' | '.join(found), '|\n|---|', '---:|'*len(found))
        for i, edit in enumerate(EDITS): print(f'| {edit} |', ' | '.join(f'{v[i].mean():.3f}' for v in found.values()), '|')
    print(f'\n{time.time()-start:.0f} s')


if __name__ == '__main__': main()
