"""What it costs to keep embeddings in half precision: recall@10 of the search among float16 rows against float32.

    python benchmarks/half.py FOLDER... [--model efficientnet-lite0]

Embeds all images of the folders once, and lets each ask for its ten nearest, itself left out."""
import argparse
from pathlib import Path
import numpy as np
from image_recommender.ann import exact_top
from image_recommender.embedding import make_embedder
from image_recommender.extract import Extractor
from image_recommender.loader import find_images


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folders', type=Path, nargs='+')
    p.add_argument('--model', default='efficientnet-lite0')
    args = p.parse_args()
    embedder = make_embedder(args.model)
    embedder.dtype = 'float32'
    paths = [e.path for folder in args.folders for e in find_images(folder.absolute())]
    single = np.concatenate([b.rows['clip'] for b in Extractor([embedder], '/').run(paths) if b.records])
    half = single.astype(np.float16).astype(np.float32)
    nearest = [exact_top(rows, rows, 11) for rows in (single, half)]
    own = np.arange(len(single))[:, None]
    recall = np.mean([len(set(a) & set(b) - set(o))/10 for a, b, o in zip(*(n.tolist() for n in nearest), own.tolist())])
    print(f'{len(single):,} images: recall@10 of half precision {min(recall, 1):.4f}, least cosine to single {(half*single).sum(1).min():.7f}')


if __name__ == '__main__': main()
