"""Images per second of extraction, against the way this project started from and against the network alone.

    python benchmarks/extraction.py FOLDER [--model efficientnet-lite0] [--device cpu] [--images 256] [--figure FILE]

FOLDER is a folder of photographs. Some of them are also enlarged to 4000 x 3000, as JPEG of quality 90 in a temporary
folder. The first table leaves the network out: everything that is done for an image before it. The second has the
network: alone on images that are prepared already, and end to end from files to the database. What is compared takes
turns, `--repeat` times; rates are medians, and so are ratios, each of one turn.

The reference's way, one image after another: open the file, decode it in full, resize and normalise it for CLIP; open
and decode it again for `np.histogram` of each channel; open and decode it again for `imagehash.phash`."""
import argparse, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import imagehash
import numpy as np
from PIL import Image
from image_recommender import ColorHistogram, PHash
from image_recommender.database import Database
from image_recommender.embedding import make_embedder
from image_recommender.extract import Extractor, Preparation, processors
from image_recommender.features import Feature
from image_recommender.loader import find_images

MEAN, STD = (.481, .458, .408), (.269, .261, .276)


def reference(path):
    "One image as the project that we started from did it, without the network"
    im = Image.open(path).convert('RGB')
    scale = 224/min(im.size)
    im = im.resize([max(224, round(x*scale)) for x in im.size], Image.Resampling.BICUBIC)
    left, top = (im.width-224)//2, (im.height-224)//2
    clip = (np.asarray(im.crop((left, top, left+224, top+224)), np.float32)/255 - MEAN)/STD
    pixels = np.asarray(Image.open(path).convert('RGB'))
    color = np.concatenate([np.histogram(pixels[..., c], 8, (0, 256), density=True)[0] for c in range(3)])
    return clip, color, imagehash.phash(Image.open(path))

class Unused(Feature):
    "An embedder whose network is left out: images are prepared for it, and that is all"
    name, dim = 'clip', 1
    def __init__(self, embedder): self.embedder = embedder
    def prepare(self, image): return self.embedder.prepare(image)
    def finish(self, prepared): return np.zeros((len(prepared), 1), np.float32)

def enlarged(paths, folder):
    "Photographs of 12 megapixels"
    for p in paths: Image.open(p).convert('RGB').resize((4000, 3000), Image.Resampling.LANCZOS).save(folder/f'{p.stem}.jpg', quality=90)
    return sorted(folder.iterdir())

def extract(features, paths, db=None, **kw):
    "All of them, and into a database if there is one; returns the part that limited it"
    extractor = Extractor(features, paths[0].parent, **kw)
    for batch in extractor.run(p.name for p in paths):
        start = time.perf_counter()
        if db:
            with db.transaction(): db.add(batch.records, batch.rows)
        extractor.timing.store += time.perf_counter()-start
    return extractor.timing.limited_by

def stored(features, paths, **kw):
    with tempfile.TemporaryDirectory() as folder:
        db = Database(Path(folder)/'images.db')
        for f in features: db.declare_feature(f.name, f.dtype, f.dim, f.signature)
        try: return extract(features, paths, db, **kw)
        finally: db.close()

def compare(ways, repeat):
    "{name: (function, images)} -> {name: (rates, what the function returned)}, taking turns"
    out = {name: ([], []) for name in ways}
    for _ in range(repeat):
        for name, (work, n) in ways.items():
            start = time.perf_counter()
            out[name][1].append(work())
            out[name][0].append(n/(time.perf_counter()-start))
    return out

def rates(out): return {name: np.median(r) for name, (r, _) in out.items()}

def ratio(out, a, b): return np.median(np.divide(out[a][0], out[b][0]))

def processor_ms(work, things):
    "Processor time of this process, in milliseconds a thing"
    start = time.process_time()
    for t in things: work(t)
    return 1000*(time.process_time()-start)/len(things)

def without_network(embedder, sets, repeat):
    features, table = [Unused(embedder), ColorHistogram(), PHash()], {}
    columns = ['the reference', 'threads', 'processes', 'threads : reference', 'processes : reference', 'reference, processor ms an image', 'ours, processor ms an image']
    print(f'\n| without the network, images/s | {" | ".join(columns)} |\n|---|{"---:|"*len(columns)}')
    for name, paths in sets.items():
        few, many = paths[:max(8, len(paths)//8)], paths*max(1, 128//len(paths))
        out = compare({'reference': (lambda: [reference(p) and None for p in few], len(few)),
                       'threads': (lambda: extract(features, many, processes=False), len(many)),
                       'processes': (lambda: extract(features, many, processes=True), len(many))}, repeat)
        table[name] = r = rates(out)
        prepare = Preparation(features)
        cost = [np.median([processor_ms(way, few) for _ in range(repeat)]) for way in (reference, lambda p: prepare(p.read_bytes(), ''))]
        values = [*r.values(), ratio(out, 'threads', 'reference'), ratio(out, 'processes', 'reference'), *cost]
        print(f'| {name} | {" | ".join(f"{v:.1f}" for v in values)} |')
    return table

def with_network(embedder, paths, repeat):
    features, data = [embedder, ColorHistogram(), PHash()], [p.read_bytes() for p in paths]
    prepare = Preparation(features)
    prepared = [prepare(d, '')[0][1][0] for d in data]
    batches = [prepared[i:i+64] for i in range(0, len(prepared), 64)]
    with ThreadPoolExecutor(1) as thread: # as in the pipeline
        alone = lambda: thread.submit(lambda: [embedder.finish(b) for b in batches] and None).result()
        out = compare({'alone': (alone, len(paths)), 'threads': (lambda: stored(features, paths, processes=False), len(paths)),
                       'processes': (lambda: stored(features, paths, processes=True), len(paths))}, repeat)
        network = np.median([processor_ms(lambda b: thread.submit(embedder.finish, b).result(), batches)*len(batches)/len(paths) for _ in range(repeat)])
    r, image = rates(out), np.median([processor_ms(lambda d: prepare(d, ''), data) for _ in range(repeat)])
    print(f'\n| with {embedder.model_name} on {embedder.device} | images/s | of the network alone | limited by |\n|---|---:|---:|---|\n| the network alone | {r["alone"]:.1f} | | |')
    for way in ('threads', 'processes'): print(f'| end to end, {way} | {r[way]:.1f} | {ratio(out, way, "alone"):.1%} | {out[way][1][-1]} |')
    print(f'\nProcessor time an image: {image:.2f} ms to prepare it, {network:.1f} ms for the network. Where the network keeps all processors '
          f'busy, no pipeline can reach more than {network/(network+image):.1%} of it.')
    return r

def figure(path, without, with_, model):
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, len(without)+1, figsize=(9, 3), layout='constrained')
    for ax, (title, r) in zip(axes, [*without.items(), (f'with {model}', with_)]):
        bars = ax.bar(list(r), list(r.values()), color=['#bbb', '#36c', '#69c'])
        ax.bar_label(bars, fmt='%.0f')
        ax.set(title=title, ylabel='images/s')
        ax.spines[['top', 'right']].set_visible(False)
    fig.savefig(path, dpi=150)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--model', default='efficientnet-lite0')
    p.add_argument('--device')
    p.add_argument('--images', type=int, default=256, help='how many are used with the network')
    p.add_argument('--repeat', type=int, default=5)
    p.add_argument('--figure', type=Path, help='a bar chart of the tables')
    args = p.parse_args()
    embedder = make_embedder(args.model, args.device)
    embedder.signature # load the network
    paths = [Path(e.path) for e in find_images(args.folder)]
    paths = [p for p in paths if p.parent == paths[0].parent]
    print(f'{processors()} processors, {len(paths)} photographs, medians of {args.repeat} turns')
    with tempfile.TemporaryDirectory() as folder:
        sets = {'photographs as they are': paths, 'photographs of 12 megapixels': enlarged(paths[:24], Path(folder))}
        without = without_network(embedder, sets, args.repeat)
    with_ = with_network(embedder, paths[:args.images], args.repeat)
    if args.figure: figure(args.figure, without, with_, args.model)


if __name__ == '__main__': main()
