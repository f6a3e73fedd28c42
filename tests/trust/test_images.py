"""Pictures that lie: the right pixels or a clear refusal, within bounds of memory and time"""
import io, select, struct, subprocess, sys, time, zlib
import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data
from image_recommender.loader import BadImage, decode_or_bad, load_image

linux = pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
FACE = Image.fromarray(data.astronaut()[40:200, 140:300]).resize((96, 64))


def encoded(im, format, **kw):
    out = io.BytesIO()
    im.save(out, format, **kw)
    return out.getvalue()

def pixels(data, **kw): return np.asarray(decode_or_bad(data, 'x', **kw).image).astype(int)

def refused(data, **kw):
    with pytest.raises(BadImage) as e: decode_or_bad(data, 'x', **kw)
    assert e.value.reason and '\n' not in e.value.reason and ' at 0x' not in e.value.reason
    return e.value.reason

def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind+data))

def png(size, rows=b'', before=b'', depth=8, color=2):
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', *size, depth, color, 0, 0, 0)) + before + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


# Which way is up

TURNED = {1: (), 2: (Image.Transpose.FLIP_LEFT_RIGHT,), 3: (Image.Transpose.ROTATE_180,), 4: (Image.Transpose.FLIP_TOP_BOTTOM,), 5: (Image.Transpose.TRANSPOSE,),
          6: (Image.Transpose.ROTATE_90,), 7: (Image.Transpose.TRANSVERSE,), 8: (Image.Transpose.ROTATE_270,)} # how a file of that orientation stores the face

def stored(turn):
    im = FACE
    for t in TURNED[turn]: im = im.transpose(t)
    return im

def looks_right(data, within=14):
    d = decode_or_bad(data, 'x')
    assert d.image.size == FACE.size == (d.width, d.height)
    assert np.abs(np.asarray(d.image).astype(int)-np.asarray(FACE)).mean() < within

@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF', 'MPO'])
@pytest.mark.parametrize('turn', TURNED)
def test_orientation(format, turn):
    if format not in Image.SAVE and not Image.init() and format not in Image.SAVE: pytest.skip(f'this Pillow writes no {format}')
    exif = Image.Exif()
    exif[0x0112] = turn
    looks_right(encoded(stored(turn), format, exif=exif))

@pytest.mark.parametrize('turn', TURNED)
def test_orientation_that_only_xmp_tells(turn):
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="{turn}"/></rdf:RDF></x:xmpmeta>'.encode()
    looks_right(encoded(stored(turn), 'WEBP', xmp=xmp))
    looks_right(encoded(stored(turn), 'JPEG', xmp=xmp))
    from PIL.PngImagePlugin import PngInfo
    info = PngInfo()
    info.add_itxt('XML:com.adobe.xmp', xmp.decode())
    looks_right(encoded(stored(turn), 'PNG', pnginfo=info))

@pytest.mark.parametrize('exif', [b'Exif\0\0', b'Exif\0\0MM\0*\xff\xff\xff\xff', b'Exif\0\0II*\0\x08\0\0\0\xff\xff', b'garbage', b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\x7f\x08\0\0\0\x08\0\0\0',
                                  b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\x08'])
def test_broken_exif_does_not_cost_the_image(exif):
    for format in ('JPEG', 'WEBP', 'PNG'): looks_right(encoded(FACE, format, exif=exif))


# Colours

def test_modes():
    grey = FACE.convert('L')
    assert np.array_equal(pixels(encoded(grey, 'PNG'))[..., 0], np.asarray(grey))
    sixteen = np.asarray(grey).astype(np.uint16)*257
    for format in ('PNG', 'TIFF'): assert np.abs(pixels(encoded(Image.fromarray(sixteen), format))[..., 0]-np.asarray(grey)).max() <= 1
    assert np.abs(pixels(encoded(Image.fromarray(np.asarray(grey).astype(np.float32)/255), 'TIFF'))[..., 0]-np.asarray(grey)).max() <= 1
    assert np.abs(pixels(encoded(Image.fromarray(np.asarray(grey).astype(np.int32)), 'TIFF'))[..., 0]-np.asarray(grey)).max() <= 1
    wild = np.asarray(grey).astype(np.float32)/255
    wild[0, :3] = np.nan, np.inf, -np.inf
    assert np.abs(pixels(encoded(Image.fromarray(wild), 'TIFF'))[1:, :, 0]-np.asarray(grey)[1:]).max() <= 1
    one = FACE.convert('1')
    for format, kw in (('PNG', {}), ('TIFF', dict(compression='group4'))): assert np.array_equal(pixels(encoded(one, format, **kw))[..., 1] > 0, np.asarray(one))

def test_transparency_is_white():
    alpha = FACE.copy()
    alpha.putalpha(Image.new('L', FACE.size, 0))
    for format, kw in (('PNG', {}), ('WEBP', dict(lossless=True)), ('TIFF', {})): assert pixels(encoded(alpha, format, **kw)).min() > 250
    few = FACE.quantize(8)
    clear = int(np.asarray(few)[5, 5])
    for format in ('PNG', 'GIF'): assert tuple(pixels(encoded(few, format, transparency=clear))[5, 5]) == (255, 255, 255)
    assert tuple(pixels(encoded(Image.new('LA', (4, 4), (0, 0)), 'PNG'))[0, 0]) == (255, 255, 255)
    assert tuple(pixels(encoded(Image.new('RGB', (4, 4), (10, 20, 30)), 'PNG', transparency=(10, 20, 30)))[0, 0]) == (255, 255, 255)

def test_print_colours():
    cmyk = FACE.convert('CMYK')
    for format, kw in (('JPEG', dict(quality=95)), ('TIFF', {})): assert np.abs(pixels(encoded(cmyk, format, **kw))-np.asarray(cmyk.convert('RGB'))).mean() < 4
    lab = ImageCms.applyTransform(FACE, ImageCms.buildTransform(ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB'))
    assert np.abs(pixels(encoded(lab, 'TIFF'))-np.asarray(FACE)).mean() < 3

def test_profiles():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    for icc in (srgb, b'', b'nonsense'*99, srgb[:200], srgb[:-50]+bytes(50)):
        for format, kw in (('PNG', {}), ('TIFF', {})): assert np.abs(pixels(encoded(FACE, format, icc_profile=icc, **kw))-np.asarray(FACE)).mean() < 2
    grey = FACE.convert('L')
    assert np.abs(pixels(encoded(grey, 'PNG', icc_profile=srgb))[..., 0]-np.asarray(grey)).mean() < 2, 'a profile for another kind of image is left aside'


# First frames, lying names

@pytest.mark.parametrize('format', ['GIF', 'WEBP', 'PNG', 'TIFF', 'MPO', 'AVIF'])
def test_the_first_frame(format):
    if format not in Image.SAVE_ALL: pytest.skip(f'this Pillow writes no {format}')
    frames = [Image.new('RGB', (32, 32), c) for c in ('red', 'blue', 'green')]
    got = pixels(encoded(frames[0], format, save_all=True, append_images=frames[1:]))
    assert got.shape == (32, 32, 3) and np.abs(got-(255, 0, 0)).max() < 12

def test_extensions_that_lie(tmp_path):
    (tmp_path/'a.jpg').write_bytes(encoded(FACE, 'GIF'))
    assert load_image(tmp_path/'a.jpg').format == 'GIF'
    for content in (b'Dear reader', b'<html><body>', b'%PDF-1.7\n', b'PK\x03\x04', b'<svg xmlns="http://www.w3.org/2000/svg"/>', bytes(1000), b'\xff\xd8\xff', b'\xff\xd8\xff\xe0\0\x10JFIF', b'GIF89a', b'\x89PNG\r\n\x1a\n', b'II*\0', b'RIFF\0\0\0\0WEBP'):
        (tmp_path/'b.png').write_bytes(content)
        with pytest.raises(BadImage): load_image(tmp_path/'b.png')

@pytest.mark.parametrize('format', ['EPS', 'PDF', 'DDS', 'XBM', 'BLP', 'MSP', 'IM', 'SPIDER'])
def test_formats_that_are_not_opened(format):
    "Above all EPS, which Pillow hands to Ghostscript"
    im = FACE.convert({'XBM': '1', 'MSP': '1', 'BLP': 'P', 'SPIDER': 'F'}.get(format, 'RGB'))
    assert 'not an image' in refused(encoded(im, format))


# Truncated, damaged

SEEDS = dict(jpeg=lambda: encoded(FACE, 'JPEG'), progressive=lambda: encoded(FACE, 'JPEG', progressive=True), restarts=lambda: encoded(FACE, 'JPEG', restart_marker_blocks=2), png=lambda: encoded(FACE, 'PNG'),
             gif=lambda: encoded(FACE, 'GIF'), animation=lambda: encoded(FACE, 'GIF', save_all=True, append_images=[FACE.rotate(90)]), webp=lambda: encoded(FACE, 'WEBP'), lossless=lambda: encoded(FACE, 'WEBP', lossless=True),
             bmp=lambda: encoded(FACE, 'BMP'), tiff=lambda: encoded(FACE, 'TIFF'), lzw=lambda: encoded(FACE, 'TIFF', compression='tiff_lzw'), deflate=lambda: encoded(FACE, 'TIFF', compression='tiff_deflate'),
             jpeg_in_tiff=lambda: encoded(FACE, 'TIFF', compression='jpeg'), fax=lambda: encoded(FACE.convert('1'), 'TIFF', compression='group4'), cmyk=lambda: encoded(FACE.convert('CMYK'), 'JPEG'),
             avif=lambda: encoded(FACE, 'AVIF'), jp2=lambda: encoded(FACE, 'JPEG2000'), ppm=lambda: encoded(FACE, 'PPM'), tga=lambda: encoded(FACE, 'TGA', compression='tga_rle'), pcx=lambda: encoded(FACE, 'PCX'),
             sgi=lambda: encoded(FACE, 'SGI'), ico=lambda: encoded(FACE, 'ICO'), float=lambda: encoded(FACE.convert('F'), 'TIFF'), palette=lambda: encoded(FACE.quantize(16), 'PNG', transparency=3),
             sixteen=lambda: encoded(Image.fromarray(np.asarray(FACE.convert('L')).astype(np.uint16)*200), 'PNG'), icns=lambda: encoded(FACE.resize((64, 64)), 'ICNS'))

def seed(name):
    try: return SEEDS[name]()
    except (KeyError, OSError): pytest.skip(f'this Pillow does not write {name}')

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', SEEDS)
def test_truncated(name, many):
    "Cut anywhere: refused, or, where only what follows the picture is missing, the whole picture"
    whole = seed(name)
    right, accepted = pixels(whole), 0
    for cut in {*np.linspace(1, len(whole)-1, many(25, 2000), dtype=int).tolist(), *range(len(whole)-6, len(whole))}:
        try: got = pixels(whole[:cut])
        except BadImage: continue
        assert np.array_equal(got, right), f'{name} cut after {cut} of {len(whole)} bytes is taken for whole'
        accepted += 1
    assert accepted < many(25, 2000)

def test_checksums_of_png():
    whole = encoded(FACE, 'PNG')
    at = whole.index(b'IDAT')+1000
    assert 'checksum of IDAT' in refused(whole[:at] + bytes([whole[at] ^ 1]) + whole[at+1:])
    assert np.array_equal(pixels(png((1, 1), b'\0\1\2\3', chunk(b'tEXt', b'a\0b'))), [[[1, 2, 3]]])


# Bombs

def test_sizes_that_are_claimed():
    gif = b'GIF89a' + struct.pack('<HHBBB', 8250, 8250, 0x80, 0, 0) + bytes(6) + b',' + struct.pack('<HHHHB', 0, 0, 8250, 8250, 0) + b'\x02' + b'\xff'*1 + bytes(255) + b'\0;'
    assert len(gif) < 400
    start = time.perf_counter()
    refused(gif)
    assert time.perf_counter()-start < 10
    for bomb in (png((2**31-1, 2**31-1)), png((50_000, 50_000)), png((0, 5)), png((10**6, 101)), encoded(Image.new('1', (20_000, 20_000)), 'TIFF', compression='group4'),
                 b'BM' + struct.pack('<IHHIIiiHHIIIIII', 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)): refused(bomb)
    assert 'megapixels' in refused(png((11_000, 11_000))) and 'max_pixels=' in refused(png((11_000, 11_000)))

def test_what_decoding_takes_is_counted_beforehand():
    assert 'decoding takes about' in refused(encoded(FACE, 'WEBP'), max_pixels=96*64)
    big = encoded(FACE.resize((3840, 2560)), 'JPEG', progressive=True, subsampling=0)
    assert 'decoding takes about' in refused(big, max_pixels=1_000_000), 'all coefficients, though the picture is made small'
    assert decode_or_bad(encoded(FACE.resize((3840, 2560)), 'JPEG'), 'x', max_pixels=1_000_000).width == 3840

@linux
def test_text_that_unpacks_to_much(tmp_path):
    for kind, head in ((b'zTXt', b'a\0\0'), (b'iTXt', b'a\0\1\0\0\0'), (b'iCCP', b'a\0\0')):
        (tmp_path/'x').write_bytes(png((1, 1), b'\0\1\2\3', chunk(kind, head + zlib.compress(bytes(300_000_000), 1))))
        said = subprocess.run([sys.executable, '-c', MEMORY, '', '', '0', '{}', str(tmp_path/'x')], capture_output=True, text=True, check=True).stdout.split('\n')
        assert int(said[-2]) < 150, said

def test_many_chunks_and_scans():
    start = time.perf_counter()
    pixels(png((1, 1), b'\0\1\2\3', chunk(b'tEXt', b'a\0b')*50_000))
    jpeg = encoded(Image.new('RGB', (8000, 8000)), 'JPEG', progressive=True)
    last = jpeg.rindex(b'\xff\xda')
    assert 'scans' in refused(jpeg[:-2] + jpeg[last:-2]*200 + jpeg[-2:])
    assert time.perf_counter()-start < 30

PEAK = '''
def peak():
    "Most memory of this program in MB; what getrusage says includes the process that started it"
    return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])//1024
'''

MEMORY = PEAK + '''
import io, sys
import numpy as np
from PIL import Image
from image_recommender.loader import BadImage, decode_or_bad
mode, format, side, kw = sys.argv[1], sys.argv[2], int(sys.argv[3]), eval(sys.argv[4])
if len(sys.argv) > 5:
    data = open(sys.argv[5], 'rb').read()
    try: print(decode_or_bad(data, 'x').image.size)
    except BadImage as e: print(e.reason)
    print(peak())
else: Image.new(mode, (side, side)).save(sys.stdout.buffer, format, **kw)
'''

@linux
@pytest.mark.parametrize('mode, format, kw', [('RGBA', 'PNG', {}), ('LA', 'PNG', {}), ('I;16', 'PNG', {}), ('F', 'TIFF', dict(compression='tiff_deflate')), ('I', 'TIFF', dict(compression='tiff_deflate')),
                                              ('CMYK', 'TIFF', dict(compression='tiff_deflate')), ('LAB', 'TIFF', dict(compression='tiff_deflate')), ('P', 'PNG', dict(transparency=0)), ('RGB', 'JPEG', dict(progressive=True)),
                                              ('RGB', 'WEBP', dict(method=0)), ('CMYK', 'JPEG', dict(progressive=True)), ('RGB', 'BMP', {})])
def test_memory(tmp_path, many, mode, format, kw):
    "The largest pictures that are decoded, of any mode: less than 1 GiB for the whole process"
    side = many(3000, 10_000 if format != 'WEBP' else 7000)
    with open(tmp_path/'x', 'wb') as f: subprocess.run([sys.executable, '-c', MEMORY, mode, format, str(side), repr(kw)], stdout=f, check=True)
    said = subprocess.run([sys.executable, '-c', MEMORY, mode, format, str(side), repr(kw), str(tmp_path/'x')], capture_output=True, text=True, check=True).stdout.split('\n')
    print(mode, format, side, said)
    assert int(said[-2]) < many(400, 1024), said


# At random

WORKER = PEAK + '''
import os, pickle, sys, time, warnings
warnings.simplefilter('ignore')
from image_recommender.loader import BadImage, decode_or_bad
answers = os.fdopen(os.dup(1), 'wb')
os.dup2(2, 1)
while True:
    try: data = pickle.load(sys.stdin.buffer)
    except EOFError: break
    start = time.perf_counter()
    try:
        d = decode_or_bad(data, 'x')
        said = ('decoded', d.image.mode, d.image.size, d.width, d.height)
    except BadImage as e: said = ('refused', e.reason)
    pickle.dump((*said, time.perf_counter()-start, peak()), answers)
    answers.flush()
'''

def mutated(data, rng, other):
    "A file with something wrong"
    data, n = bytearray(data), len(data)
    for _ in range(rng.integers(1, 5)):
        at, kind = int(rng.integers(n)), rng.integers(7)
        if rng.random() < .4: at = int(rng.integers(min(n, 200))) # headers, where it hurts
        if kind == 0: data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1: data[at] = int(rng.integers(256))
        elif kind == 2: data[at:at+4] = rng.choice([b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\0\0\0\0', b'\0\0\0\x80', b'\0\x10\0\0', b'\xff\xff\0\0'])
        elif kind == 3: del data[at:at+int(rng.integers(1, 50))]
        elif kind == 4: data[at:at] = rng.bytes(int(rng.integers(1, 50)))
        elif kind == 5: data[at:] = other[min(at, len(other)):]
        else: data[at:at] = data[max(at-60, 0):at]*int(rng.integers(1, 20))
        n = max(len(data), 1)
        if not data: break
    return bytes(data)

@linux
def test_mutated(many):
    "No crash, no hang, no more than 1 GiB, and a reason for every refusal"
    import pickle
    seeds, rng, outcomes = [], np.random.default_rng(many(7, time.time_ns() % 2**32)), {'decoded': 0, 'refused': 0}
    for make in SEEDS.values():
        try: seeds.append(make())
        except (KeyError, OSError): pass
    worker = subprocess.Popen([sys.executable, '-c', WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    slowest = peak = 0
    try:
        for i in range(many(400, 100_000)):
            data = mutated(seeds[i % len(seeds)], rng, seeds[rng.integers(len(seeds))])
            pickle.dump(data, worker.stdin)
            worker.stdin.flush()
            assert select.select([worker.stdout], [], [], 20)[0], f'the decoder hangs: case {i}, {data!r}'
            try: kind, *rest, took, memory = pickle.load(worker.stdout)
            except EOFError: raise AssertionError(f'the decoder died ({worker.wait()}) of case {i}: {data!r}') from None
            outcomes[kind] += 1
            slowest, peak = max(slowest, took), max(peak, memory)
            assert took < 10 and memory < 1024, (took, memory, i, data)
            if kind == 'decoded': assert rest[0] == 'RGB' and min(rest[1]) > 0 and min(rest[2:]) > 0
            else: assert rest[0].strip() and '\n' not in rest[0] and ' at 0x' not in rest[0], rest
    finally: worker.kill()
    print(outcomes, f'slowest {slowest:.2f} s, peak {peak} MB')
    assert min(outcomes.values()) > 20
