"The embedder in places that a notebook cell cannot reach: other processes, missing packages, damaged caches, full GPUs"
import pickle, subprocess, sys, threading, warnings
from importlib.resources import files
import numpy as np
import pytest
from PIL import Image
import image_recommender.embedding as embedding
from image_recommender.embedding import EfficientNetLite0, Embedder, make_embedder, onnx_installed

needs_onnx = pytest.mark.skipif(not onnx_installed(), reason='the extra onnx is not installed')
photo = Image.open(files('skimage')/'data'/'chelsea.png').convert('RGB')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "A cache of our own for exported networks"
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    return tmp_path/'cache'/'image_recommender'

def cosine(a, b):
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return (a*b).sum(-1)/np.linalg.norm(a, axis=-1)/np.linalg.norm(b, axis=-1)

def python(code, *args):
    p = subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, timeout=120)
    assert p.returncode == 0, p.stderr
    return p.stdout


def test_importing_loads_no_network_library():
    python("import sys, image_recommender.embedding\nassert not {'torch', 'open_clip', 'onnxruntime', 'onnx'} & set(sys.modules)")

@pytest.mark.parametrize('model', ['efficientnet-lite0', 'tiny'])
def test_another_process_prepares_without_torch(model, tiny_clip, tmp_path):
    e = make_embedder(tiny_clip if model == 'tiny' else model, device='cpu', runtime='torch').load()
    (tmp_path/'e.pickle').write_bytes(pickle.dumps(e))
    assert (tmp_path/'e.pickle').stat().st_size < 2000
    python('''
import pickle, sys, numpy as np
from PIL import Image
with open(sys.argv[1], 'rb') as f: e = pickle.load(f)
np.save(sys.argv[3], e.prepare(Image.open(sys.argv[2]).convert('RGB')))
assert e.signature == sys.argv[4] and e.runtime == 'torch' and e.device == 'cpu'
assert not {'torch', 'open_clip'} & set(sys.modules)
''', tmp_path/'e.pickle', files('skimage')/'data'/'chelsea.png', tmp_path/'pixels.npy', e.signature)
    pixels = np.load(tmp_path/'pixels.npy')
    assert pixels.dtype == np.uint8 and (pixels == e.prepare(photo)).all()

def test_unpickled_embedder_loads_again():
    e = make_embedder('efficientnet-lite0', runtime='torch')
    rows = e.extract(photo)
    assert (pickle.loads(pickle.dumps(e)).extract(photo) == rows).all()

def test_threads_load_once(monkeypatch):
    loads, load = [], EfficientNetLite0._load
    monkeypatch.setattr(EfficientNetLite0, '_load', lambda self: loads.append(1) or load(self))
    e = make_embedder('efficientnet-lite0', runtime='torch')
    threads = [threading.Thread(target=e.extract, args=(photo,)) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert loads == [1]

def test_fused_network_computes_the_same():
    e, plain = (make_embedder('efficientnet-lite0', device='cpu', runtime='torch') for _ in range(2))
    plain._fused = lambda net: net
    assert cosine(e.extract(photo), plain.extract(photo)) > .99999 and e.signature == plain.signature

@needs_onnx
@pytest.mark.parametrize('model', ['efficientnet-lite0', 'tiny'])
def test_runtimes_agree(model, tiny_clip, capfd):
    model = tiny_clip if model == 'tiny' else model
    rng = np.random.default_rng(0)
    images = [photo] + [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for h, w in ((300, 200), (64, 300))]
    torch, onnx = (make_embedder(model, 'cpu', runtime) for runtime in ('torch', 'onnx'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert cosine(torch.extract_all(images), onnx.extract_all(images)).min() > .99999
    assert torch.signature == onnx.signature and onnx.runtime == 'onnx' and make_embedder(model, 'cpu').runtime == 'onnx'
    assert capfd.readouterr() == ('', '')

@needs_onnx
def test_exported_network_is_kept_and_mended(cache, monkeypatch):
    make_embedder('efficientnet-lite0', runtime='onnx').load()
    file, = cache.iterdir()
    data = file.read_bytes()
    with monkeypatch.context() as m:
        m.setattr(embedding, '_export', None) # not called
        rows = make_embedder('efficientnet-lite0', runtime='onnx').extract(photo)
    for damaged in (data[:len(data)//2], b'', data[:1000]+b'\0'+data[1001:]):
        file.write_bytes(damaged)
        assert cosine(make_embedder('efficientnet-lite0', runtime='onnx').extract(photo), rows) > .99999
        assert [f.read_bytes() for f in cache.iterdir()] == [data]

@needs_onnx
def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path/'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'file'))
    make_embedder('efficientnet-lite0', runtime='onnx').extract(photo)

@needs_onnx
def test_network_that_cannot_be_exported(monkeypatch):
    def fails(*args): raise ValueError('no such operator')
    monkeypatch.setattr(embedding, '_export', fails)
    with pytest.raises(ValueError, match='no such operator'): make_embedder('efficientnet-lite0', 'cpu', 'onnx').load()
    e = make_embedder('efficientnet-lite0', 'cpu')
    with pytest.warns(UserWarning, match='PyTorch runs it'): e.extract(photo)
    assert e.runtime == 'torch'

@needs_onnx
def test_export_that_computes_something_else_is_refused():
    import torch
    class Noisy(torch.nn.Module):
        def forward(self, pixels):
            x = pixels.float().mean((1, 2))
            return torch.nn.functional.normalize(x*torch.tensor([1., 1., -1.]) if not torch.jit.is_tracing() else x, dim=-1)
    with pytest.raises(ValueError, match='something else'): embedding._export(Noisy(), (8, 8))

def test_without_the_packages_of_onnx(monkeypatch):
    monkeypatch.setattr(embedding, 'onnx_installed', lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'image_recommender\[onnx\]'"): make_embedder('efficientnet-lite0', runtime='onnx')
    assert make_embedder('efficientnet-lite0', 'cpu').runtime == 'torch'

@pytest.mark.parametrize('error', ['torch', 'mps'])
def test_batch_that_does_not_fit_is_halved(error):
    import torch
    calls = []
    def rows(pixels):
        calls.append(len(pixels))
        if len(pixels) > 3: raise torch.cuda.OutOfMemoryError('CUDA out of memory.') if error == 'torch' else RuntimeError('MPS backend out of memory')
        return np.stack([p.mean((0, 1)) for p in pixels]).astype(np.float32)
    e = Embedder('cpu')
    e.dim, e.batch_size, e._rows = 3, 10, rows
    pixels = [np.full((2, 2, 3), i, np.uint8) for i in range(12)]
    assert (e.finish(pixels)[:, 0] == np.arange(12)).all()
    assert calls == [10, 5, 2, 3, 5, 2, 3, 2]

def test_other_errors_and_one_image_too_large_are_raised():
    import torch
    for error, n in (RuntimeError('bad kernel'), 4), (torch.cuda.OutOfMemoryError('CUDA out of memory.'), 1):
        def rows(pixels): raise error
        e = Embedder('cpu')
        e.batch_size, e._rows = 4, rows
        with pytest.raises(type(error), match=str(error)): e.finish([np.zeros((2, 2, 3), np.uint8)]*n)

def test_gpu_settings_without_a_gpu():
    e = EfficientNetLite0('cuda:0')
    assert e.runtime == 'torch' and e.batch_size == 256
    assert EfficientNetLite0(runtime='torch', device='cpu').batch_size == 8
    with pytest.raises(ValueError, match='for the CPU'): EfficientNetLite0('cuda', 'onnx')
