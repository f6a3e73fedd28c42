"What people do to their pictures: 23 edits that a search for near-duplicates should see through"
import io
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps


def encoded(im, format, **options):
    "Through a file format and back"
    out = io.BytesIO()
    im.save(out, format, **options)
    return Image.open(out).convert('RGB')

def scaled(im, factor): return im.resize((max(1, round(im.width*factor)), max(1, round(im.height*factor))), Image.Resampling.LANCZOS)

def cropped(im, keep):
    "The middle of the image, `keep` of each side"
    w, h = im.width*(1-keep)/2, im.height*(1-keep)/2
    return im.crop((round(w), round(h), round(im.width-w), round(im.height-h)))

def watermarked(im):
    layer = Image.new('RGBA', im.size)
    ImageDraw.Draw(layer).text((im.width*.2, im.height*.45), 'SAMPLE', fill=(255, 255, 255, 150), font_size=im.width//8)
    return Image.alpha_composite(im.convert('RGBA'), layer).convert('RGB')

def captioned(im):
    out = ImageOps.expand(im, (0, 0, 0, im.height//6), 'white')
    ImageDraw.Draw(out).text((10, im.height+5), 'what a day', fill='black', font_size=im.height//10)
    return out


EDITS = {
    'jpeg 50': lambda im: encoded(im, 'JPEG', quality=50),
    'jpeg 10': lambda im: encoded(im, 'JPEG', quality=10),
    'webp 30': lambda im: encoded(im, 'WEBP', quality=30),
    'png, 64 colours': lambda im: im.quantize(64).convert('RGB'),
    'half size': lambda im: scaled(im, .5),
    'thumbnail': lambda im: ImageOps.contain(im, (100, 100)),
    'double size': lambda im: scaled(im, 2),
    'crop 90%': lambda im: cropped(im, .9),
    'crop 75%': lambda im: cropped(im, .75),
    'crop 50%': lambda im: cropped(im, .5),
    'rotated 5 degrees': lambda im: im.rotate(5, Image.Resampling.BICUBIC, fillcolor='black'),
    'rotated 90 degrees': lambda im: im.transpose(Image.Transpose.ROTATE_90),
    'rotated 180 degrees': lambda im: im.transpose(Image.Transpose.ROTATE_180),
    'mirrored': ImageOps.mirror,
    'watermark': watermarked,
    'border': lambda im: ImageOps.expand(im, im.width//20, 'black'),
    'caption': captioned,
    'brighter': lambda im: ImageEnhance.Brightness(im).enhance(1.4),
    'darker': lambda im: ImageEnhance.Brightness(im).enhance(.6),
    'saturated': lambda im: ImageEnhance.Color(im).enhance(1.8),
    'grey': lambda im: im.convert('L').convert('RGB'),
    'blurred': lambda im: im.filter(ImageFilter.GaussianBlur(3)),
    'stretched': lambda im: im.resize((round(im.width*1.25), im.height)),
}
