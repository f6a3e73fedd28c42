"""Embedders and what runs them: images a second, agreement with PyTorch, quality of retrieval.

    python benchmarks/embedders.py --photos DATA/photos [--clothing DATA/clothing] [--model efficientnet-lite0 --model ViT-B-32]

Each --model is a name that `make_embedder` knows, or an architecture of open_clip alone, which gets random weights: good for
its speed and the agreement of runtimes, not for its quality. Rates are those of the network only, on photos that are prepared
already: medians of --repeats rounds in which the runtimes take turns. `eager` is PyTorch on the network as it comes, and the
cosines are between its rows and the others'. With --clothing (train/CLASS/*.jpg and test/CLASS/*.jpg) test images ask among the
train images as in retrieval.py."""
import argparse, time
from pathlib import Path
import numpy as np
from image_recommender.embedding import Embedder, OpenClip, make_embedder, onnx_installed, preprocess_of
from image_recommender.loader import find_images, load_image
from retrieval import map_at


class RandomClip(OpenClip):
    "The image tower of an architecture with seeded random weights"
    def __init__(self, arch, device, runtime):
        import open_clip
        Embedder.__init__(self, device, runtime)
        self.arch, self.model_name, self.dim = arch, arch, open_clip.get_model_config(arch)['embed_dim']

    def _load(self):
        import open_clip, torch
        torch.manual_seed(0)
        visual = open_clip.create_model(self.arch).visual.eval()
        return visual, preprocess_of(visual)

def runtimes(model, device):
    "{name: embedder}, the first is the one that the others are compared with"
    make = make_embedder if '/' in model or model == 'efficientnet-lite0' else RandomClip
    out = dict(eager=make(model, device, 'torch'), torch=make(model, device, 'torch'))
    out['eager']._fused = lambda net: net
    if out['torch'].device == 'cpu' and onnx_installed(): out['onnx'] = make(model, device, 'onnx')
    for embedder in out.values(): embedder.load()
    return out

def rates(embedders, pixels, sizes, repeats, seconds=1.):
    "{name: {batch size: median images a second}}"
    rounds = {name: {n: [] for n in sizes} for name in embedders}
    for r in range(repeats+1): # the first warms up
        for n in sizes:
            for name, e in embedders.items():
                start, done = time.perf_counter(), 0
                while time.perf_counter()-start < seconds:
                    e._embed([pixels[(done+i) % len(pixels)] for i in range(n)])
                    done += n
                if r: rounds[name][n].append(done/(time.perf_counter()-start))
    return {name: {n: np.median(v) for n, v in by_size.items()} for name, by_size in rounds.items()}

def preparation(embedder, images, repeats):
    "Milliseconds an image: ours, and the transform of open_clip and torchvision that gives the same"
    from open_clip.transform import image_transform
    p = embedder.preprocess
    theirs = image_transform(p.size, False, p.mean, p.std, p.mode, p.interpolation, p.fill)
    times = {p: [], theirs: []}
    for _ in range(repeats):
        for f, t in times.items():
            start = time.perf_counter()
            for im in images: f(im)
            t.append(1000*(time.perf_counter()-start)/len(images))
    return [np.median(t) for t in times.values()]

def folder_pixels(embedder, folder, limit=None):
    paths = [Path(e.path) for e in find_images(folder)][:limit]
    return paths, [embedder.prepare(load_image(p).image) for p in paths]

def clothing_map(embedder, train, test):
    rows, queries = (embedder.finish(pixels).astype(np.float32) for _, pixels in (train, test))
    kinds = [np.array([p.parent.name for p in paths]) for paths, _ in (train, test)]
    return map_at(queries@rows.T, kinds[1][:, None] == kinds[0][None])

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--photos', type=Path, required=True)
    p.add_argument('--clothing', type=Path)
    p.add_argument('--model', action='append')
    p.add_argument('--device')
    p.add_argument('--limit', type=int, default=512, help='photos to compare rows on')
    p.add_argument('--repeats', type=int, default=5)
    args = p.parse_args()
    table, prepared = [], []
    for model in args.model or ['efficientnet-lite0', 'ViT-B-32']:
        embedders = runtimes(model, args.device)
        first = embedders['eager']
        sizes = (1, 8, 32) if first.device == 'cpu' else (1, 32, 256)
        paths, pixels = folder_pixels(first, args.photos, args.limit)
        images = [load_image(path).image for path in paths[:100]]
        prepared.append(f'{model}: {{:.1f}} ms, transform of open_clip {{:.1f}} ms'.format(*preparation(first, images, args.repeats)))
        speed = rates(embedders, pixels, sizes, args.repeats)
        sets = [folder_pixels(first, args.clothing/part) for part in ('train', 'test')] if args.clothing and type(first) is not RandomClip else None
        unit = lambda rows: (rows := rows.astype(np.float32))/np.linalg.norm(rows, axis=1, keepdims=True)
        wanted = unit(first.finish(pixels))
        for name, e in embedders.items():
            cosine = (unit(e.finish(pixels))*wanted).sum(1)
            quality = f'{clothing_map(e, *sets):.4f}' if sets else ''
            cells = [f'{speed[name][n]:.1f} ({speed[name][n]/speed["eager"][n]:.2f}x)' for n in sizes]
            table.append(f'| {model} | {name} | ' + ' | '.join(cells) + f' | {cosine.min():.5f} | {cosine.mean():.5f} | {quality} |')
    print(f'device {first.device}, {len(paths)} photos, {args.repeats} rounds\n')
    print('| embedder | runtime | ' + ' | '.join(f'images/s, batch of {n}' for n in sizes) + ' | cosine, least | mean | clothing mAP@10 |')
    print('|---|---|' + '---:|'*(len(sizes)+3))
    print('\n'.join(table))
    print('\nPreparing an image:', '; '.join(prepared))


if __name__ == '__main__': main()
