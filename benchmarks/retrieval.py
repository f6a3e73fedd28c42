"""How well are the right images found? Classes (mAP@10) and near-duplicates (R@1), for every metric and many ways to combine them.

    python benchmarks/retrieval.py --clothing DATA/clothing --photos DATA/photos [--cache features.npz] [--worst worst.png]

`--clothing` is a folder with {train,validation,test}/CLASS/*.jpg: images of test and of validation ask among those of train,
and one of the same class is right. `--photos` is a folder of different photographs, named after classes of ImageNet
(n01440764_tench.JPEG): every fifth is edited in 23 ways, and each edit has to find its original first.

The shapes and constants of the fusion were chosen with clothing test and validation and the edited photos in view. Two
columns were not looked at for that. `edited clothes`: every third image of validation and test is edited, and looked for among
all clothes. `kinds`: each photo of an animal, a plant, a dish or a landscape asks among all photos, and one of the same kind (a
bird, a snake, a dog, ...) is right, although no two are of the same class of ImageNet.

`tuned` has the weights that are best for the clothes of validation, among all shares in steps of a twentieth; test takes no part.
The offline embedder is used unless --model names another. With --cache, features are kept in a file for the next run, and the
numbers are computed anew; delete it after a change of a feature. With --worst the ten clothes of test whose answers are worst are
drawn with what they found."""
import argparse, itertools, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from image_recommender import ColorHistogram, PHash
from image_recommender.edits import EDITS
from image_recommender.embedding import make_embedder
from image_recommender.extract import Extractor
from image_recommender.fusion import Calibration, contributions
from image_recommender.loader import as_image, find_images, load_image
from tables import markdown

WEIGHTS = dict(clip=.5, color=.3, phash=.2)

# ranges of WordNet numbers, which follow one another by relationship
KINDS = {
    'fish': ((1440764, 1498041), (2514041, 2655020)), 'birds': ((1514668, 1622779), (1795545, 1860187), (2002556, 2058221)),
    'amphibians': ((1629819, 1644900),), 'turtles': ((1664065, 1669191),), 'lizards': ((1675722, 1695060),),
    'snakes': ((1728572, 1756291),), 'spiders': ((1773157, 1775062),), 'molluscs': ((1943899, 1968897),),
    'crustaceans': ((1978287, 1986214),), 'sea mammals': ((2066245, 2077923),), 'dogs': ((2085620, 2113978),),
    'wolves and foxes': ((2114367, 2116738), (2119022, 2120505)), 'cats': ((2123045, 2130308),), 'bears': ((2132136, 2134418),),
    'beetles': ((2165105, 2177972),), 'other insects': ((2190166, 2268853),), 'butterflies': ((2276258, 2281787),),
    'rabbits and rodents': ((2325366, 2364673),), 'hoofed animals': ((2389026, 2437616),), 'martens': ((2441942, 2447366),),
    'primates': ((2480495, 2500267),), 'dishes': ((7583066, 7711569), (7831146, 7880968)),
    'fruit and vegetables': ((7714571, 7720875), (7742313, 7768694)), 'landscapes': ((9193705, 9472597),),
    'mushrooms': ((12985857, 13054560),),
}


# ---- features

class Cache:
    "Features in a file, or in memory only"
    def __init__(self, path):
        self.path, self.arrays = path, dict(np.load(path)) if path and path.exists() else {}

    def get(self, key, make):
        "{name: array} of `make`, from the file if it is there"
        if not any(name.startswith(f'{key}/') for name in self.arrays):
            self.arrays |= {f'{key}/{name}': array for name, array in make().items()}
            if self.path: np.savez(self.path, **self.arrays)
        return {name.removeprefix(f'{key}/'): array for name, array in self.arrays.items() if name.startswith(f'{key}/')}

def extract(features, folder):
    "{'paths': relative to `folder`, metric: (n, dim)} of all its images"
    paths = [str(Path(e.path).relative_to(folder)) for e in find_images(folder)]
    batches = [b for b in Extractor(features, folder).run(paths) if b.records]
    return {'paths': np.array([r.path for b in batches for r in b.records]), **{f.name: np.concatenate([b.rows[f.name] for b in batches]) for f in features}}

def extract_edited(features, files):
    "{metric: (edits*files, dim)}, edit by edit"
    def prepare(job):
        image = as_image(job[0](load_image(job[1], size=None).image)).image
        return [f.prepare(image) for f in features]
    rows = []
    with ThreadPoolExecutor() as pool:
        for edit in EDITS.values():
            prepared = list(pool.map(prepare, [(edit, file) for file in files]))
            rows.append([f.finish([p[i] for p in prepared]) for i, f in enumerate(features)])
    return {f.name: np.concatenate(r) for f, r in zip(features, zip(*rows))}

def distances(features, queries, rows):
    "{metric: (queries, n) float32}; nan where a row holds no information"
    out = {}
    for f in features:
        d = np.array(f.distances(queries[f.name], rows[f.name]), np.float32)
        d[~f.informative(queries[f.name])] = np.nan
        d[:, ~f.informative(rows[f.name])] = np.nan
        out[f.name] = d
    return out


# ---- rankings

def rankings(features, rows, tuned):
    "Name -> function from distances to scores (queries, n), larger is better"
    calibration = Calibration.fit(features, rows)
    far = lambda d: np.nan_to_num(d, nan=np.nanmax(d)+1)
    single = {f.name: (lambda d, n=f.name: -far(d[n])) for f in features}
    summed = lambda term: lambda d: sum(np.float32(w)*term(n, d[n]) for n, w in WEIGHTS.items())
    def reference(d): # the formula that this project started from, on density histograms
        return .5*(1-far(d['clip'])) + .3/(1+far(d['color'])/32) + .2/(1+far(d['phash']))
    def z_score(n, d): return -(far(d)-np.nanmean(d, 1, keepdims=True))/np.nanstd(d, 1, keepdims=True)
    def chance(n, d): return np.nan_to_num(calibration.chance(n, d), nan=1.).astype(np.float32)
    def rank(n, d): return far(d).argsort(1, kind='stable').argsort(1)
    def fused(weights): return lambda d: np.stack([sum(contributions({n: v[i] for n, v in d.items()}, weights, calibration.scales).values())
                                                   for i in range(len(d['clip']))])
    return {**single, 'reference formula': reference, 'z-scores': summed(z_score), 'quantiles': summed(lambda n, d: 1-chance(n, d)),
            '-log p': summed(lambda n, d: -np.log(chance(n, d))), 'reciprocal rank fusion': summed(lambda n, d: 1/(60+rank(n, d))),
            'image_recommender': fused(WEIGHTS), 'image_recommender, tuned': fused(tuned)}

def first(scores, right, k=10):
    "(queries, k) positions, best first, and whether they are right; equal scores in the order of the rows"
    order = np.argsort(-scores, 1, kind='stable')[:, :k]
    return order, np.take_along_axis(right, order, 1)

def average_precision(hit, relevant=None):
    """Precision averaged over the ranks of the right ones: over those that were found (the column mAP@10), or, as most others
    define it, over all that could have been, min(k, relevant)"""
    precision = hit.cumsum(1)/np.arange(1, hit.shape[1]+1)
    return (precision*hit).sum(1)/np.maximum(hit.sum(1) if relevant is None else np.minimum(relevant, hit.shape[1]), 1)

def tune(features, queries, rows, right, step=20):
    "Shares with the highest mAP@10"
    scales, d = Calibration.fit(features, rows).scales, distances(features, queries, rows)
    evidence = {n: e.astype(np.float32) for n, e in contributions(d, dict.fromkeys(d, 1), scales).items()}
    shares = [(i/step, j/step, (step-i-j)/step) for i, j in itertools.product(range(step+1), repeat=2) if i+j <= step]
    def quality(share):
        scores = sum(np.float32(w)*e for w, e in zip(share, evidence.values()))
        top = np.sort(np.argpartition(-scores, 30, 1)[:, :30], 1)
        return average_precision(first(np.take_along_axis(scores, top, 1), np.take_along_axis(right, top, 1))[1]).mean()
    return dict(zip(evidence, max(shares, key=quality)))


# ---- collections

def classes(features, queries, rows, right, tuned):
    "{ranking: [mAP@10, the same over min(10, relevant)]}, and the answers of our own ranking"
    d, out = distances(features, queries, rows), {}
    for name, rank in rankings(features, rows, tuned).items():
        order, hit = first(rank(d), right)
        out[name] = [average_precision(hit).mean(), average_precision(hit, right.sum(1)).mean()]
        if name == 'image_recommender': answers = order, hit
    return out, answers

def duplicates(features, edited, rows, originals, tuned):
    "{ranking: (edits, originals) whether the original was found first}"
    ranks = rankings(features, rows, tuned)
    found = {name: [] for name in ranks}
    for some in np.split(np.arange(len(edited['clip'])), len(EDITS)):
        d = distances(features, {n: r[some] for n, r in edited.items()}, rows)
        for name, rank in ranks.items(): found[name].append(rank(d).argmax(1) == originals)
    return {name: np.array(f) for name, f in found.items()}

def kind_of(file):
    "'birds' for n01514668_cock.JPEG; '' for what is of no kind"
    number = int(Path(file).name[1:9])
    return next((kind for kind, ranges in KINDS.items() if any(a <= number <= b for a, b in ranges)), '')

def kinds(features, rows, tuned):
    label = np.array([kind_of(p) for p in rows['paths']])
    asked = np.flatnonzero(label != '')
    right = (label[asked][:, None] == label[None]) & (asked[:, None] != np.arange(len(label)))
    queries = {f.name: rows[f.name][asked] for f in features}
    d, out = distances(features, queries, rows), {}
    for name, rank in rankings(features, rows, tuned).items():
        scores = rank(d)
        scores[np.arange(len(asked)), asked] = -np.inf # the query itself
        hit = first(scores, right)[1]
        out[name] = [average_precision(hit).mean(), average_precision(hit, right.sum(1)).mean()]
    return out, right.shape

def sheet(cases, path, size=110):
    "A row a case: the query and what it found, framed green where right; `cases`: [(file, label), [(file, label, right)]]"
    from PIL import Image, ImageDraw, ImageOps
    out = Image.new('RGB', (11*size+20, len(cases)*(size+18)), 'white')
    draw = ImageDraw.Draw(out)
    for row, (query, found) in enumerate(cases):
        for column, (file, label, *right) in enumerate([query, *found]):
            x, y = column*size + 20*(column > 0), row*(size+18)
            frame = 'black' if not right else 'green' if right[0] else 'red'
            out.paste(ImageOps.expand(ImageOps.pad(load_image(file).image, (size-10, size-10), color='white'), 3, frame), (x+2, y+1))
            draw.text((x+4, y+size-3), label, 'black', font_size=12)
    out.save(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--clothing', type=Path, required=True)
    p.add_argument('--photos', type=Path, required=True)
    p.add_argument('--model', default='efficientnet-lite0')
    p.add_argument('--cache', type=Path)
    p.add_argument('--worst', type=Path)
    args = p.parse_args()
    features, cache, start = [make_embedder(args.model), ColorHistogram(), PHash()], Cache(args.cache), time.time()
    clothes = cache.get('clothing', lambda: extract(features, args.clothing))
    photos = cache.get('photos', lambda: extract(features, args.photos))
    part, label = np.array([Path(q).parts[:2] for q in clothes['paths']]).T
    some = np.arange(0, len(photos['paths']), 5)
    third = np.flatnonzero(part != 'train')[::3]
    edited = cache.get('edited photos', lambda: extract_edited(features, [args.photos/photos['paths'][i] for i in some]))
    edited_clothes = cache.get('edited clothes', lambda: extract_edited(features, [args.clothing/clothes['paths'][i] for i in third]))
    print(f'features: {time.time()-start:.0f} s', flush=True)

    of = lambda name: {f.name: clothes[f.name][part == name] for f in features}
    train, right = of('train'), {n: label[part == n][:, None] == label[part == 'train'][None] for n in ('test', 'validation')}
    tuned = tune(features, of('validation'), train, right['validation'])
    print('tuned on validation:', {n: round(w, 2) for n, w in tuned.items()}, flush=True)
    test, (order, hit) = classes(features, of('test'), train, right['test'], tuned)
    validation, _ = classes(features, of('validation'), train, right['validation'], tuned)
    by_kind, (asked, among) = kinds(features, photos, tuned)
    found = duplicates(features, edited, photos, some, tuned)
    found_clothes = duplicates(features, edited_clothes, {f.name: clothes[f.name] for f in features}, third, tuned)

    print(f'\nclothing: {len(right["test"])} images of test and {len(right["validation"])} of validation ask among {right["test"].shape[1]}. '
          f'kinds: {asked} photos, {len(KINDS)} kinds, among {among}. edits: {found["clip"].size} among {among}; of clothes {found_clothes["clip"].size} among {len(part)}.\n')
    number = '{:.4f}'.format
    print(markdown(['ranking', 'clothing test', 'validation', 'edits R@1', 'held out: kinds', 'held out: edited clothes R@1'],
                   [[n, number(test[n][0]), number(validation[n][0]), number(found[n].mean()), number(by_kind[n][0]), number(found_clothes[n].mean())] for n in test]))
    print('\nThe same classes, average precision over min(10, relevant):\n')
    print(markdown(['ranking', 'clothing test', 'validation', 'held out: kinds'],
                   [[n, number(test[n][1]), number(validation[n][1]), number(by_kind[n][1])] for n in test]))
    shown = [n for n in found if n in WEIGHTS or n.startswith('image')]
    print('\n'+markdown(['edit', *shown, 'of clothes: image_recommender'],
                        [[e, *(f'{found[n][i].mean():.3f}' for n in shown), f'{found_clothes["image_recommender"][i].mean():.3f}'] for i, e in enumerate(EDITS)]))
    if args.worst:
        files = {n: [(args.clothing/q, l) for q, l in zip(clothes['paths'][part == n], label[part == n])] for n in ('test', 'train')}
        worst = np.argsort(average_precision(hit, right['test'].sum(1)), kind='stable')[:10]
        sheet([(files['test'][q], [(*files['train'][i], h) for i, h in zip(order[q], hit[q])]) for q in worst], args.worst)
        print(f'\n{args.worst}')
    print(f'\n{time.time()-start:.0f} s')


if __name__ == '__main__': main()
