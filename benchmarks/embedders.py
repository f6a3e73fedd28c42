"""Embedders and what runs them: images a second, agreement with PyTorch, quality of retrieval.

    python benchmarks/embedders.py --photos DATA/photos [--clothing DATA/clothing] [--model efficientnet-lite0 --model ViT-B-32]

Each --model is a name that `make_embedder` knows, or an architecture of open_clip alone, which gets random weights: good for
its speed and the agreement of runtimes, not for its quality. Rates are those of the network only, on photos that are prepared
already: medians of --repeats rounds in which the runtimes take turns. `eager` is PyTorch on the network as it comes, and the
cosines are between its rows and the others'. With --clothing (train/CLASS/*.jpg and test/CLASS/*.jpg) test images ask among the
train images as in retrieval.py. --candidates adds what the library could use and does not: bfloat16, and 8-bit integers."""
import argparse, copy, logging, tempfile, time
from pathlib import Path
import numpy as np
from image_recommender.embedding import Embedder, OpenClip, _onnx_file, _onnx_rows, _quiet_open_clip, best_device, make_embedder, onnx_installed, preprocess_of
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
        with _quiet_open_clip(): visual = open_clip.create_model(self.arch).visual.eval()
        return visual, preprocess_of(visual)

def runtimes(model, device):
    "{name: embedder}, the first is the one that the others are compared with"
    make = make_embedder if '/' in model or model == 'efficientnet-lite0' else RandomClip
    out = dict(eager=make(model, device, 'torch'), torch=make(model, device, 'torch'))
    out['eager']._fused = lambda net: net
    if out['torch'].device == 'cpu' and onnx_installed(): out['onnx'] = make(model, device, 'onnx')
    for embedder in out.values(): embedder.load()
    return out

def bfloat16(embedder):
    "PyTorch with products in bfloat16"
    import torch
    def rows(pixels):
        with torch.autocast(embedder.device.partition(':')[0], torch.bfloat16): return embedder._rows(pixels)
    return rows

def int8(embedder, pixels):
    "ONNX Runtime, quantised: the matrix products of a transformer on the fly, convolutions by a calibration on 64 photos"
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    class Photos(CalibrationDataReader):
        batches = iter([{'pixels': np.stack(pixels[i:i+4])} for i in range(0, 64, 4)])
        def get_next(self): return next(self.batches, None)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as tmp:
        model, ready, small = (Path(tmp)/f'{n}.onnx' for n in ('model', 'ready', 'small'))
        model.write_bytes(_onnx_file(None, f'{embedder.arch}-{embedder._digest}', embedder.preprocess.size))
        if embedder.arch.startswith('ViT'): quantize_dynamic(model, small, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=['MatMul', 'Gemm'])
        else:
            quant_pre_process(model, ready)
            quantize_static(ready, small, Photos(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                            op_types_to_quantize=['Conv', 'Clip', 'Add'])
        logging.disable(logging.NOTSET)
        return _onnx_rows(small.read_bytes())

def candidates(embedders, pixels):
    rows = {'bfloat16': bfloat16(embedders['torch'])}
    if 'onnx' in embedders: rows['int8'] = int8(embedders['onnx'], pixels)
    out = {name: copy.copy(embedders['torch']) for name in rows}
    for name, e in out.items(): e._rows = rows[name]
    return out

def rates(embedders, pixels, sizes, repeats, seconds=.5):
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
    p.add_argument('--candidates', action='store_true')
    p.add_argument('--limit', type=int, default=512, help='photos to compare rows on')
    p.add_argument('--repeats', type=int, default=5)
    args = p.parse_args()
    sizes = (1, 8, 32) if (args.device or best_device()) == 'cpu' else (1, 32, 256)
    print('| embedder | runtime | ' + ' | '.join(f'images/s, batch of {n}' for n in sizes) + ' | cosine, least | mean | clothing mAP@10 |')
    print('|---|---|' + '---:|'*(len(sizes)+3), flush=True)
    prepared = []
    for model in args.model or ['efficientnet-lite0', 'ViT-B-32']:
        embedders = runtimes(model, args.device)
        first = embedders['eager']
        paths, pixels = folder_pixels(first, args.photos, args.limit)
        if args.candidates: embedders |= candidates(embedders, pixels)
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
            print(f'| {model} | {name} | ' + ' | '.join(cells) + f' | {cosine.min():.5f} | {cosine.mean():.5f} | {quality} |', flush=True)
    print(f'\n{first.device}, {len(paths)} photos, {args.repeats} rounds. Preparing an image:', '; '.join(prepared))


if __name__ == '__main__': main()
