"""Write a small library with whatever version of image_recommender is on the path, and what it answers: how tests/trust/stores/ came to be.

    git worktree add --detach /tmp/then COMMIT
    PYTHONPATH=/tmp/then python tools/make_old_store.py tests/trust/stores/NAME.zip
"""
import json, os, sys, tempfile, zipfile
from pathlib import Path
import numpy as np
from PIL import Image

WHEN = 1_700_000_000 # modification time of every picture, which an archive does not keep well enough


def draw(folder):
    "Ten pictures of 32 pixels, in pairs that resemble each other; one says when it was taken"
    rng, y, x = np.random.default_rng(6), *np.mgrid[0:32, 0:32]
    (folder/'sub folder').mkdir(parents=True)
    for i in range(5):
        colors, waves = rng.integers(0, 256, (2, 3)), rng.uniform(.05, .5, 2)
        share = (np.sin(x*waves[0] + y*waves[1])[..., None] + 1)/2
        picture = Image.fromarray((share*colors[0] + (1-share)*colors[1]).astype(np.uint8))
        exif = Image.Exif()
        if i == 0: exif[306] = '2021:03:04 05:06:07' # DateTime
        picture.save(folder/f'wave {i}.png', exif=exif)
        picture.rotate(8).save(folder/'sub folder'/f'turned {i}.jpg', quality=70)
    for p in folder.rglob('*.*'): os.utime(p, (WHEN, WHEN))


def answers(rec):
    "The five nearest of every picture: paths, and the distances of each metric"
    found = {}
    for i in range(1, 11):
        for weights in ({'clip': 1}, {'color': 1}, {'phash': 1}):
            top = rec.similar(i, k=5, weights=weights, exact=True)
            found[f'{i} {next(iter(weights))}'] = [[str(m.path.relative_to(rec.root)), {n: float(d) for n, d in m.distances.items()}] for m in top]
    return found


if __name__ == '__main__':
    import image_recommender
    from image_recommender import ImageRecommender
    from image_recommender.connection import SCHEMA_VERSION
    from image_recommender.index import FORMAT
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)/'photos'
        draw(root)
        (root/'broken.jpg').write_bytes(b'not a picture')
        os.utime(root/'broken.jpg', (WHEN, WHEN))
        rec = ImageRecommender(root, model='efficientnet-lite0')
        rec.index(progress=False)
        told = dict(schema=SCHEMA_VERSION, format=FORMAT, answers=answers(rec))
        (Path(tmp)/'answers.json').write_text(json.dumps(told, indent=1))
        del rec
        with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_LZMA) as z:
            for p in sorted(Path(tmp).rglob('*')):
                if p.is_file(): z.write(p, p.relative_to(tmp))
    print(image_recommender.__file__, told['schema'], told['format'], os.path.getsize(sys.argv[1]))
