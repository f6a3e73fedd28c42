"""Which measure of "has this colour" puts pictures into the right order, when all that is known of them are three histograms of 8 bins?

    python benchmarks/color_query.py FOLDER [FOLDER...]

The truth is counted in the pixels of a small copy of each picture: the share of those within a distance of 25 of the colour in CIELAB.
Asked for are 24 colours one at a time, and 20 palettes of two or three of them in seeded random shares. nDCG@20 compares the first 20
of each measure with the best 20 there are. Needs scikit-image.
"""
import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from skimage.color import rgb2lab
from image_recommender.features import ColorHistogram
from image_recommender.loader import find_images, load_image
from image_recommender.palette import FAR, NEAR, ColorQuery, parse_colors
from tables import markdown

COLORS = ('red crimson #c03020 orange gold yellow olive green #2e8b57 teal cyan skyblue #1e88e5 navy purple magenta pink brown beige '
          'black #404040 gray silver white').split()
LEVELS = np.arange(256) + .5

def palettes(n=20, seed=0):
    "Pairs and triples of `COLORS`: {colour: share}"
    rng = np.random.default_rng(seed)
    return [dict(zip(rng.choice(COLORS, k, replace=False), rng.dirichlet(np.full(k, 3)))) for k in np.arange(n)%2 + 2]

def look_at(path):
    "Histogram of a picture, and the share of each of `COLORS` in its pixels"
    image = load_image(path).image
    small = image.copy()
    small.thumbnail((96, 96))
    lab, wanted = rgb2lab(np.asarray(small)).reshape(-1, 1, 3), rgb2lab(parse_colors(COLORS)[0])
    return ColorHistogram().extract(image), (np.linalg.norm(lab-wanted, axis=2) <= 25).mean(0)

def window(level, shape):
    "Share of each of 8 bins that counts as near `level`"
    near, far = shape
    return np.clip((far - np.abs(LEVELS-level))/(far-near), 0, 1).reshape(8, 32).mean(1)

def near(rows, color, shape):
    "(n, 3): share of pixels near the colour in each channel"
    return np.stack([rows[:, 8*i:8*i+8]@window(level, shape) for i, level in enumerate(color.astype(float))], 1)

def estimate(how, shape=(NEAR, FAR)):
    "Score by the estimated share of each colour: `how` makes it of the three channels'"
    def score(rows, colors, shares): return sum(np.minimum(how(near(rows, c, shape)), s) for c, s in zip(colors, shares))
    return score

def spike(colors, shares, shape=(0, 64)):
    "(24,) the histogram of a picture that has just these colours, smoothed"
    windows = np.array([[window(level, shape) for level in c] for c in colors.astype(float)])
    return np.tensordot(shares, windows/windows.sum(2, keepdims=True), 1).ravel()

MEASURES = {
    'L2 to a smoothed spike': lambda rows, *asked: -np.linalg.norm(rows-spike(*asked), axis=1),
    'intersection with a smoothed spike': lambda rows, *asked: np.minimum(rows, spike(*asked)).sum(1),
    'least of the channels': estimate(lambda m: m.min(1)),
    'most that is certain: sum of the channels - 2': estimate(lambda m: np.maximum(m.sum(1)-2, 0)),
    'geometric mean of the channels': estimate(lambda m: np.cbrt(m.prod(1))),
    'product, fading from 0 to 64 levels': estimate(lambda m: m.prod(1), (0, 64)),
    'product, fading from 32 to 96 levels': estimate(lambda m: m.prod(1), (32, 96)),
    'product, fading from 48 to 80 levels': estimate(lambda m: m.prod(1), (48, 80)),
    f'`ColorQuery`: product, fading from {NEAR} to {FAR} levels': None}

def ndcg(score, gain, k=20):
    "Discounted gain of the first `k` by score, as a share of the best possible; nan where there is nothing to find"
    discount, best = 1/np.log2(np.arange(2, k+2)), np.sort(gain)[::-1][:k]
    return gain[np.argsort(-score, kind='stable')[:k]]@discount/(best@discount) if best[0] > 0 else np.nan

def evaluate(folder):
    "{measure: (mean nDCG@20 of the colours, of the palettes)} and how many pictures there are"
    with ThreadPoolExecutor() as pool: seen = list(pool.map(look_at, [e.path for e in find_images(folder)]))
    rows, truth = (np.stack(x) for x in zip(*seen))
    out = {}
    for name, measure in MEASURES.items():
        def one(question):
            colors, shares = parse_colors(question)
            gain = np.minimum(truth[:, [COLORS.index(c) for c in (question if isinstance(question, dict) else [question])]], shares).sum(1)
            return ndcg(measure(rows, colors, shares) if measure else -ColorQuery(question).distances(rows), gain)
        out[name] = [np.nanmean([one(q) for q in questions]) for questions in (COLORS, palettes())]
    return out, len(rows)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folders', type=Path, nargs='+')
    folders = p.parse_args().folders
    results = {f'{f.name} ({n:,})': r for f in folders for r, n in [evaluate(f)]}
    print(markdown(["nDCG@20", *(f"{name}, {what}" for name in results for what in ("colours", "palettes"))],
                   [[m, *(f'{x:.3f}' for r in results.values() for x in r[m])] for m in MEASURES]))

if __name__ == '__main__': main()
