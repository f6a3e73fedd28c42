"Time of filters over a million images: python benchmarks/filters.py [IMAGES]"
import os, sys, tempfile
from time import perf_counter
import numpy as np
import pandas as pd
from image_recommender import Library
from image_recommender.filters import allowed_ids

N = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
KINDS = [('.jpg', 'JPEG'), ('.JPG', 'JPEG'), ('.png', 'PNG'), ('.heic', 'HEIF')]


def images():
    "Rows of the table of images: paths of 30 bytes in 24 years of 997 trips, a tenth of them without a date"
    rng = np.random.default_rng(0)
    kinds, years, dates = rng.integers(4, size=N), rng.integers(2000, 2024, N), rng.uniform(9.5e8, 1.65e9, N)
    for i in range(N):
        suffix, format = KINDS[kinds[i]]
        yield (f'{years[i]}/trip {i%997}/IMG_{i:07}{suffix}'.encode(), 100_000+i*7919%9_900_000, 10**18+i*10**9, i.to_bytes(32, 'big'),
               1000+i%3000, 800+i%2200, format, dates[i] if i%10 else None)


def fill(db):
    with db.transaction() as sql:
        sql.executemany('INSERT INTO images (path, size, mtime_ns, sha256, width, height, format, taken) VALUES (?,?,?,?,?,?,?,?)', images())


def best(do, repeats=3):
    times = []
    for _ in range(repeats):
        start = perf_counter()
        result = do()
        times.append(perf_counter()-start)
    return min(times), result


with tempfile.TemporaryDirectory() as tmp:
    rec = Library(tmp)
    fill(rec._open(create=True))
    every = [os.fsdecode(p) for p, in rec.db._rows('SELECT path FROM images')]
    start = perf_counter()
    rec.join(pd.DataFrame({'path': every, 'price': np.arange(N) % 1000}))
    print(f'{N:,} images; join of a table with a row for each: {perf_counter()-start:.1f} s')
    print("| filter | images | seconds, best of 3 |\n|---|---|---|")
    for where in ('2003/trip 5/*', '*.jpg', '**/IMG_00001*', {'width': '>=3900'}, {'megapixels': '>2'}, {'taken': '2011-06'}, {'taken': ('2011', '2019')},
                  {'format': ['JPEG', 'PNG']}, {'size': '<5MB', 'taken': '>=2015', 'folder': '2003'}, {'price': '<10'}, {'price': '<10', 'path': '*.jpg'}):
        seconds, ids = best(lambda: allowed_ids(rec, where))
        print(f'| `{where}` | {len(ids):,} | {seconds:.2f} |')
    for name, where in (('a list of 10,000 paths', every[::N//10_000 or 1]), ('an array of 100,000 ids', np.arange(1, N+1, N//100_000 or 1)), ('a function', lambda r: r.width > 3900)):
        seconds, ids = best(lambda: allowed_ids(rec, where), 1)
        print(f'| {name} | {len(ids):,} | {seconds:.2f} |')
    rec.db.close()
