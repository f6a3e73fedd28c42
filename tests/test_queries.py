"Queries that are no whole pictures: web addresses, words, colours, regions"
import io, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
import numpy as np
import pytest
from PIL import Image
from image_recommender import ColorHistogram, PHash
from image_recommender.embedding import make_embedder
from image_recommender.loader import BadImage, as_image, fetch
from image_recommender.palette import ColorQuery
from image_recommender.regions import cut_out

CAT = files('skimage')/'data'/'chelsea.png'


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        getattr(self, self.path.strip('/').split('.')[0].split('%')[0])()

    def answer(self, body, kind='image/png', code=200, **headers):
        self.send_response(code)
        self.send_header('Content-Type', kind)
        for name, value in headers.items(): self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def cat(self): self.answer(CAT.read_bytes())
    def agent(self): self.answer(self.headers['User-Agent'].encode())
    def page(self): self.answer(b'<html>cat</html>', 'text/html; charset=utf-8')
    def text(self): self.answer(b'no picture', 'text/plain')
    def cut(self): self.answer(CAT.read_bytes()[:5000])
    def short(self): self.answer(b'12345', **{'Content-Length': '99'})
    def moved(self): self.answer(b'', code=302, Location='/cat.png')
    def local(self): self.answer(b'', code=302, Location=CAT.as_uri())
    def ftp(self): self.answer(b'', code=302, Location='ftp://127.0.0.1/cat.png')
    def circle(self): self.answer(b'', code=302, Location='/circle')
    def endless(self):
        self.answer(b'')
        while True: self.wfile.write(bytes(10_000))
    def drip(self):
        self.answer(b'')
        for _ in range(100):
            self.wfile.write(b'.')
            time.sleep(.05)
    def silent(self): time.sleep(2)
    def __getattr__(self, name):
        if name.startswith('_'): raise AttributeError(name)
        return lambda: self.send_error(404)
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def site():
    class Server(ThreadingHTTPServer):
        def handle_error(self, *args): pass # who asks may hang up
    server = Server(('127.0.0.1', 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()

@pytest.fixture(autouse=True)
def no_proxy(monkeypatch): monkeypatch.setenv('no_proxy', '127.0.0.1')


@pytest.mark.parametrize('page', ['cat.png', 'moved', 'cat%20ä.png?size=large#top'])
def test_picture_from_the_web(site, page):
    got = as_image(f'{site}/{page}')
    assert (got.width, got.height, got.format) == (451, 300, 'PNG')
    assert (np.asarray(got.image) == np.asarray(as_image(CAT).image)).all()

def test_says_who_asks(site): assert fetch(f'{site}/agent').startswith(b'image_recommender/')

@pytest.mark.parametrize('page, reason', [
    ('nowhere.png', 'answered 404'), ('page', 'a web page'), ('text', 'not an image'), ('cut', 'truncated'), ('short', '94 bytes too early'),
    ('local', 'answered 302'), ('ftp', 'unknown url type'), ('circle', 'answered 302')])
def test_no_picture(site, page, reason):
    with pytest.raises(BadImage, match=reason) as e: as_image(f'{site}/{page}')
    assert f'{site}/{page}' in str(e.value)

def test_nobody_there():
    with pytest.raises(BadImage, match='cannot be fetched'): fetch('http://127.0.0.1:9/cat.png')

@pytest.mark.parametrize('page', ['drip', 'silent'])
def test_too_slow(site, page):
    start = time.monotonic()
    with pytest.raises(BadImage, match='within 0.4 seconds'): fetch(f'{site}/{page}', timeout=.4)
    assert time.monotonic()-start < 2

def test_too_large(site):
    with pytest.raises(BadImage, match='more than 1 MB'): fetch(f'{site}/endless', max_bytes=10**6)

@pytest.mark.parametrize('url', ['file:///etc/passwd', '/etc/passwd', 'ftp://127.0.0.1/cat.png', ''])
def test_only_the_web_is_fetched(url):
    with pytest.raises(ValueError, match='starts with http'): fetch(url)


def test_words_and_pictures_meet(tiny_clip):
    "The image tower may run elsewhere, as ONNX: texts and images are those of one model"
    import open_clip, torch
    e, arch = make_embedder(tiny_clip, device='cpu'), tiny_clip.partition('/')
    model = open_clip.create_model(arch[0], pretrained=arch[2]).eval()
    texts = ['a red bicycle', 'Ein Hund', '寿司']
    with torch.inference_mode(): theirs = model.encode_text(open_clip.get_tokenizer(arch[0])(texts), normalize=True).numpy()
    rows = e.embed_text(texts)
    assert rows.dtype == np.float32 and rows.shape == (3, e.dim) and e.reads_text and np.abs(rows-theirs).max() < 1e-5
    assert e._rows is None # the image tower is not loaded for a text
    image = e.extract(as_image(CAT).image)
    assert e.distances(rows, image[None]).shape == (3, 1)

def test_tokenizer_that_cannot_be_had(tiny_clip, monkeypatch):
    import open_clip
    def fail(name): raise OSError('no network')
    monkeypatch.setattr(open_clip, 'get_tokenizer', fail)
    with pytest.raises(ConnectionError, match='tokenizer of tiny-clip.*no network'): make_embedder(tiny_clip).embed_text('a cat')

def test_network_without_words():
    e = make_embedder('efficientnet-lite0')
    assert not e.reads_text
    with pytest.raises(ValueError, match=r"ViT-B-32/laion2b_s34b_b79k.*index\(reset=True\)"): e.embed_text(['a cat'])
    assert e._rows is None


def test_colour_finds_its_pictures(photos):
    names = sorted(p.name for p in photos.glob('*.*'))
    rows = np.stack([ColorHistogram().extract(as_image(photos/n).image) for n in names])
    first = lambda color: names[ColorQuery(color).distances(rows).argmin()]
    assert first('#a06040') in ('chelsea.png', 'coffee.png') and first('gray') in ('camera.png', 'coins.png', 'grass.png', 'gravel.png')

def test_many_rows_at_once():
    rows = np.random.default_rng(0).dirichlet(np.ones(8), (60_000, 3)).reshape(-1, 24).astype(np.float32)
    query = ColorQuery({'red': .5, 'white': .2, 'navy': .1})
    d = query.distances(rows)
    assert d.dtype == np.float32 and d.shape == (60_000,) and 0 <= d.min() and d.max() <= 1
    assert np.abs(d[:50] - [query.distances(r[None])[0] for r in rows[:50]]).max() < 1e-6


def test_region_of_a_picture_on_its_side(tmp_path):
    "Boxes and masks are of the upright picture"
    image, exif = Image.open(CAT).convert('RGB'), Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path/'turned.png', exif=exif)
    mask = np.zeros((300, 451), bool)
    mask[50:150, 100:300] = True
    by_box, by_mask = cut_out(tmp_path/'turned.png', (100, 50, 300, 150)), cut_out(tmp_path/'turned.png', mask=mask)
    for region in (by_box, by_mask): assert (np.asarray(region.image) == np.asarray(image)[50:150, 100:300]).all()

def test_region_from_the_web_is_fetched_once(site, monkeypatch):
    asked, get = [], Site.do_GET
    monkeypatch.setattr(Site, 'do_GET', lambda self: asked.append(self.path) or get(self))
    large = io.BytesIO()
    Image.open(CAT).convert('RGB').resize((4510, 3000)).save(large, 'JPEG')
    monkeypatch.setattr(Site, 'large', lambda self: self.answer(large.getvalue(), 'image/jpeg'), raising=False)
    region = cut_out(f'{site}/large', (1000, 1000, 1600, 1500))
    assert asked == ['/large'] and region.image.size[1] >= 448

def test_surroundings_of_a_mask_do_not_count():
    "Another background changes neither the histogram nor what the others see"
    rng, mask = np.random.default_rng(0), np.zeros((300, 451), np.uint8)
    mask[50:150, 100:300], mask[60:90, 100:120] = 255, 0
    one = np.array(as_image(CAT).image)
    other = np.where(mask[..., None] > 0, one, rng.integers(0, 256, one.shape, np.uint8))
    a, b = (cut_out(x, mask=mask).rows([ColorHistogram(), PHash()]) for x in (one, other))
    assert (a['color'] == b['color']).all() and (a['phash'] == b['phash']).all()
