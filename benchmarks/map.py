"""How long a map takes, and how much of the neighbourhoods of the embedding it keeps.

    python benchmarks/map.py FOLDER STORE     an indexed folder
    python benchmarks/map.py 200000           so many synthetic embeddings (512 values, CLIP-like)
"""
import sys, tempfile
from pathlib import Path
from time import perf_counter
import numpy as np
from image_recommender import ImageRecommender
from image_recommender.collection_map import FEWEST, as_points, lay_out, neighbours_kept, unfold
from synthetic import synthetic as made_up


def synthetic(n, folder):
    "A library of synthetic embeddings"
    return ImageRecommender.from_features(folder, [f'{i}.jpg' for i in range(n)], clip=made_up(n)[0], ann='binary')


def measure(rec):
    "Print seconds and kept neighbours of each method"
    view = rec.view
    rows = view.positions(view.ids)
    points = as_points(view.rows('clip', rows))
    unfold(np.random.default_rng(0).normal(size=(FEWEST, 5))) # compiles, which takes as long whatever the collection
    for method in ('pca', 'umap'):
        start = perf_counter()
        xy = lay_out(view, rows, 'clip', method)
        seconds = perf_counter()-start
        kept = ', '.join(f'10 of {of}: {neighbours_kept(points, xy, of=of, sample=1000 if len(rows) < 50_000 else 200):.3f}' for of in (10, 50))
        print(f'{len(rows):,} images, {method}: {seconds:.1f} s, {kept}', flush=True)


if len(sys.argv) == 3: measure(ImageRecommender(sys.argv[1], store=sys.argv[2]))
else:
    with tempfile.TemporaryDirectory() as tmp: measure(synthetic(int(sys.argv[1]), Path(tmp)/'store'))
