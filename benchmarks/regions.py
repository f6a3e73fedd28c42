"""What a region is worth as a query: an object, cut out of one photo, is looked for in a collection where it lies on another background.

    python benchmarks/regions.py FOLDER

Of every fourth photo of FOLDER an ellipse in the middle, .6 of its width and height, is the object. It is pasted into the photo that
follows, at three quarters of its size, left of the middle; these collages and all other photos are the collection. Asked is with the whole photo, with the
box around the object, and with the mask of it, what lies outside filled in several ways. The table says how often the right collage
comes first, and its mean reciprocal rank, by each metric. The offline embedder is used unless --model names another.
"""
import argparse
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from image_recommender import ColorHistogram, PHash
from image_recommender.embedding import make_embedder
from image_recommender.loader import find_images, load_image
from image_recommender.regions import Region, cut_out
from tables import markdown

def ellipse(size):
    mask = Image.new('L', size)
    ImageDraw.Draw(mask).ellipse((.2*size[0], .2*size[1], .8*size[0], .8*size[1]), fill=255)
    return mask

def collage(photo, ground):
    "The object of `photo` at three quarters of its size, left of the middle of `ground`"
    mask, ground = ellipse(photo.size), ground.copy()
    part = lambda im: ImageOps.scale(im.crop(mask.getbbox()), .75)
    ground.paste(part(photo), (20, ground.height//4), part(mask))
    return ground

def filled(region, fill):
    "The region with another filling"
    if fill == 'mean colour': return region
    inside = np.array(region.image)
    if fill == 'black': inside[~region.mask] = 0
    if fill == 'white': inside[~region.mask] = 255
    if fill == 'grey': inside[~region.mask] = 128
    if fill == 'blurred':
        soft = Image.fromarray(inside).filter(ImageFilter.GaussianBlur(40))
        inside[~region.mask] = np.asarray(soft)[~region.mask]
    return Region(Image.fromarray(inside), region.box, region.mask)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--model', default='efficientnet-lite0')
    args = p.parse_args()
    photos = [load_image(e.path).image for e in find_images(args.folder)]
    asked = range(0, len(photos)-1, 4)
    collection = [im for i, im in enumerate(photos) if i not in asked and i-1 not in asked]
    collection = [collage(photos[i], photos[i+1]) for i in asked] + collection
    queries = {'the whole photo': [Region(photos[i], None) for i in asked],
               'the box': [cut_out(photos[i], (.2, .2, .8, .8)) for i in asked]}
    masked = [cut_out(photos[i], mask=ellipse(photos[i].size)) for i in asked]
    for fill in ('mean colour', 'black', 'white', 'grey', 'blurred'): queries[f'the mask, filled with {fill}'] = [filled(r, fill) for r in masked]
    table = {name: [] for name in queries}
    for f in (make_embedder(args.model), ColorHistogram(), PHash()):
        rows = np.concatenate([f.finish([f.prepare(im) for im in collection[i:i+64]]) for i in range(0, len(collection), 64)])
        for name, regions in queries.items():
            d = f.distances(f.finish([r.prepare(f) for r in regions]), rows)
            rank = 1 + (d < d.diagonal()[:, None]).sum(1)
            table[name] += [f'{(rank == 1).mean():.3f}', f'{(1/rank).mean():.3f}']
    print(f'{len(asked)} objects, {len(collection)} images\n')
    print(markdown(['asked with', *(f'{m} {w}' for m in ('embedding', 'histogram', 'pHash') for w in ('first', 'MRR'))], [[n, *v] for n, v in table.items()]))

if __name__ == '__main__': main()
