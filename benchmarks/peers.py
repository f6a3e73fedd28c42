"""Image Recommender beside imagededup and beside a straightforward script: speed, memory, and what each of them can do.

    pip install 'image_recommender[onnx]' imagededup matplotlib
    python benchmarks/peers.py FOLDER [--limit 300] [--rounds 2] [--threads N] [--figure peers.svg]

The first LIMIT images of FOLDER are copied into a temporary folder, and each contestant gets it in a process of its own, ROUNDS
times in turns; the table shows medians. Networks are loaded before the clock starts. Everybody runs with default settings:

- `Image Recommender` with EfficientNet-Lite0: all features, the database and the index on disk, run by ONNX Runtime if that is
  installed, and a second time by PyTorch.
- `imagededup PHash`, and `imagededup CNN` with two networks: the same EfficientNet-Lite0, through `CustomModel`, and the
  MobileNetV3-Small that it has by default. The latter has random weights here, so that nothing is downloaded: good for its speed
  only. imagededup keeps its encodings in memory, the time to store them is not counted.
- `plain script`: each image is opened three times (network with PyTorch, one image at a time; np.histogram of each channel;
  imagehash.phash) and its features are pickled, 50 images a file. A query loads the pickles, asks Annoy (10 trees) for the 20
  nearest embeddings, and computes histogram and pHash of these 20 files again.

Queries, 50 of each kind: an image of the collection by its path, and the same as a new picture that has to be decoded and go
through the network first. imagededup has no query for one image; its column is the scan that its own search does for each: of all
encodings with sklearn's cosine_similarity, or with its compiled loop over the hashes. `all pairs` is imagededup's find_duplicates
and similar_many of all images, k=5, divided by the number of images. An idle machine is needed: where other programs take a
processor, PyTorch's threads wait for each other, and a forward pass of one image was seen to take 120 to 1,100 ms instead of 33 with
--threads 1 (OMP_NUM_THREADS for everybody). The load average before the start is printed. Memory is the peak of resident memory,
the largest of a contestant's processes."""
import argparse, json, logging, os, pickle, resource, shutil, subprocess, sys, tempfile, time, warnings
from pathlib import Path
from statistics import median
import numpy as np


def _ms(ask, queries):
    "Median of milliseconds"
    times = []
    for q in queries:
        start = time.perf_counter()
        ask(q)
        times.append(1000*(time.perf_counter()-start))
    return median(times)

def _seconds(do):
    start = time.perf_counter()
    return do(), time.perf_counter()-start

def lite0():
    "EfficientNet-Lite0 as a PyTorch module: (n, 3, 224, 224) -> (n, 1280)"
    import torch
    from image_recommender.embedding import EfficientNetLite0
    embedder = EfficientNetLite0('cpu', 'torch')
    net, _ = embedder._load()
    class Features(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
        def forward(self, x): return embedder._forward(self.net, x)
    return Features().eval()

def ours(runtime):
    def run(folder, files, asked):
        from image_recommender import ImageRecommender
        with tempfile.TemporaryDirectory() as store:
            rec = ImageRecommender(folder, store=store, model='efficientnet-lite0', runtime=runtime, device='cpu')
            rec.embedder.signature
            report, seconds = _seconds(lambda: rec.index(progress=False))
            rec.similar(asked[0])
            everything = _seconds(lambda: rec.similar_many(files))[1]
            return dict(index=report.added/seconds, stored=_ms(rec.similar, asked), new=_ms(rec.similar, [p.read_bytes() for p in asked]),
                        pairs=1000*everything/len(files))
    return run

def dedup_phash(folder, files, asked):
    from imagededup.methods import PHash
    from imagededup.handlers.search.brute_force_cython import BruteForceCython
    method = PHash(verbose=False)
    encodings, seconds = _seconds(lambda: method.encode_images(folder))
    scan = BruteForceCython(encodings, method.hamming_distance)
    pairs = _seconds(lambda: method.find_duplicates(encoding_map=encodings))[1]
    return dict(index=len(encodings)/seconds, stored=_ms(lambda p: scan.search(encodings[p.name]), asked),
                new=_ms(lambda p: scan.search(method.encode_image(p)), asked), pairs=1000*pairs/len(encodings))

def dedup_cnn(network):
    def run(folder, files, asked):
        import torch
        from imagededup.methods import CNN
        from imagededup.utils import CustomModel
        from imagededup.utils.models import MobilenetV3
        from sklearn.metrics.pairwise import cosine_similarity
        from torchvision import models, transforms as t
        if network == 'lite0':
            crop = t.Compose([t.Resize(224), t.CenterCrop(224), t.ToTensor(), t.Normalize([127/255]*3, [128/255]*3)])
            model = CustomModel('efficientnet-lite0', lite0(), crop)
        else:
            net = models.mobilenet_v3_small(weights=None).eval()
            model = CustomModel('mobilenet', torch.nn.Sequential(net.features, net.avgpool, torch.nn.Flatten()), MobilenetV3.transform)
        method = CNN(verbose=False, model_config=model)
        encodings, seconds = _seconds(lambda: method.encode_images(folder))
        rows = np.array([*encodings.values()])
        pairs = _seconds(lambda: method.find_duplicates(encoding_map=encodings))[1]
        return dict(index=len(encodings)/seconds, stored=_ms(lambda p: cosine_similarity(encodings[p.name][None], rows), asked),
                    new=_ms(lambda p: cosine_similarity(method.encode_image(p), rows), asked), pairs=1000*pairs/len(encodings))
    return run

def plain_script(folder, files, asked):
    import imagehash, torch
    from annoy import AnnoyIndex
    from PIL import Image
    net = lite0()

    def embedding(path):
        pixels = np.asarray(Image.open(path).convert('RGB').resize((224, 224)), np.float32)
        with torch.no_grad(): return net(torch.from_numpy((pixels-127)/128).permute(2, 0, 1)[None])[0].numpy()
    def histogram(path):
        pixels = np.asarray(Image.open(path).convert('RGB'))
        return np.concatenate([np.histogram(pixels[..., c], 8, (0, 256), density=True)[0] for c in range(3)])
    def phash(path): return imagehash.phash(Image.open(path))

    with tempfile.TemporaryDirectory() as store:
        def index():
            trees = AnnoyIndex(1280, 'angular')
            for start in range(0, len(files), 50):
                part = {str(p): (embedding(p), histogram(p), phash(p)) for p in files[start:start+50]}
                Path(store, f'{start:06}.pkl').write_bytes(pickle.dumps(part))
                for i, (e, *_) in enumerate(part.values(), start): trees.add_item(i, e)
            trees.build(10)
            trees.save(f'{store}/index.ann')
        def query(path):
            known = {}
            for p in sorted(Path(store).glob('*.pkl')): known.update(pickle.loads(p.read_bytes()))
            trees = AnnoyIndex(1280, 'angular')
            trees.load(f'{store}/index.ann')
            e, h, x = embedding(path), histogram(path), phash(path)
            paths, score = list(known), {}
            for i, distance in zip(*trees.get_nns_by_vector(e, 20, include_distances=True)):
                score[paths[i]] = .5*(1-distance**2/2) + .3/(1+np.linalg.norm(h-histogram(paths[i]))) + .2/(1+(x-phash(paths[i])))
            return sorted(score, key=score.get)[-5:]
        seconds, query_ms = _seconds(index)[1], _ms(query, asked)
        return dict(index=len(files)/seconds, stored=query_ms, new=query_ms, pairs=None)

CONTESTANTS = {
    'Image Recommender, ONNX Runtime': (ours('onnx'), 'ranked list from three metrics; persistent, incremental'),
    'Image Recommender, PyTorch': (ours('torch'), 'the same'),
    'imagededup PHash': (dedup_phash, 'near-copies within a Hamming distance; in memory'),
    'imagededup CNN, EfficientNet-Lite0': (dedup_cnn('lite0'), 'pairs above a cosine; n x n matrix in memory'),
    'imagededup CNN, MobileNetV3-Small': (dedup_cnn('mobilenet'), 'the same; random weights here'),
    'plain script, EfficientNet-Lite0': (plain_script, 'ranked list of 20 candidates; from scratch each time'),
}

def contest(name, folder):
    "In a process of its own: one contestant's figures"
    warnings.simplefilter('ignore')
    logging.disable(logging.INFO)
    files = sorted(folder.iterdir())
    asked = [files[i] for i in np.random.default_rng(0).choice(len(files), min(50, len(files)), replace=False)]
    found = CONTESTANTS[name][0](folder, files, asked)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return dict(found, memory=peak/(1024**2 if sys.platform == 'darwin' else 1024))

def copy_images(folder, limit, to):
    "Flat, with plain names: nobody has to look into subfolders"
    files = sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png') and '.image_recommender' not in p.parts)
    for i, p in enumerate(files[:limit]): shutil.copyfile(p, to/f'{i:06}{p.suffix.lower()}')

def draw(names, figures, path):
    from tables import bars, new_figure, save_figure
    figure, axes = new_figure(3)
    for ax, key, title in zip(axes, ('index', 'new', 'memory'), ('indexing, images/s', 'query with a new picture, ms', 'peak memory, MB')):
        bars(ax, names, [f[key] for f in figures], title, '{:,.0f}')
        if ax is not axes[0]: ax.set_yticklabels([])
    save_figure(figure, path)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--limit', type=int, default=300)
    p.add_argument('--rounds', type=int, default=2)
    p.add_argument('--threads', type=int, help='of the networks; default: as each of them chooses')
    p.add_argument('--figure', type=Path)
    p.add_argument('--contestant', help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.contestant: return print(json.dumps(contest(args.contestant, args.folder)))
    from tables import markdown
    figures, load = {name: [] for name in CONTESTANTS}, os.getloadavg()[0]
    env = dict(os.environ, **({'OMP_NUM_THREADS': str(args.threads)} if args.threads else {}))
    with tempfile.TemporaryDirectory() as images:
        copy_images(args.folder, args.limit, Path(images))
        n = len(os.listdir(images))
        for r in range(args.rounds):
            for name in CONTESTANTS:
                print(f'round {r+1}: {name}', file=sys.stderr)
                done = subprocess.run([sys.executable, __file__, images, '--contestant', name], stdout=subprocess.PIPE, text=True, env=env)
                if done.returncode == 0: figures[name].append(json.loads(done.stdout.splitlines()[-1]))
    figures = {name: {k: None if v[0][k] is None else median(f[k] for f in v) for k in v[0]} for name, v in figures.items() if v}
    cell = lambda value, digits: '' if value is None else f'{value:,.{digits}f}'
    print(f'{n:,} images, {args.rounds} rounds, {os.cpu_count()} processors, load average before {load:.1f}' + (f', {args.threads} threads' if args.threads else '') + '\n')
    print(markdown(['', 'indexing, images/s', 'query, indexed image, ms', 'query, new picture, ms', 'all pairs, ms an image', 'peak memory, MB', 'what it does'],
                   [[name, cell(f['index'], 1), cell(f['stored'], 2), cell(f['new'], 1), cell(f['pairs'], 2), cell(f['memory'], 0), CONTESTANTS[name][1]]
                    for name, f in figures.items()], text=(0, 6)))
    if args.figure: draw(list(figures), list(figures.values()), args.figure)


if __name__ == '__main__': main()
