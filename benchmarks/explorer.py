"""The explorer: from a control that is moved to the answer that is sent to the browser.

    python benchmarks/explorer.py [--rows 500000] [--engine binary]

On synthetic features; the question is an indexed image, and another time a picture from elsewhere, whose rows are known
once it was looked at. What the browser adds is measured by tests/browser (see there: test_latency)."""
import argparse, tempfile, time
import numpy as np
from image_recommender import ImageRecommender
from image_recommender.exploration import Part
from image_recommender.explorer import Explorer
from image_recommender.query import Ask
from synthetic import synthetic


def moved(ui, control, values):
    "Milliseconds of each move"
    times = []
    for v in values:
        start = time.perf_counter()
        control.value = v
        times.append(1000*(time.perf_counter()-start))
        assert not ui.gallery.alert, ui.gallery.alert
    return times

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--rows', type=int, default=500_000)
parser.add_argument('--engine', default='binary')
args = parser.parse_args()
rng = np.random.default_rng(0)
with tempfile.TemporaryDirectory() as store:
    arrays = synthetic(args.rows)
    rec = ImageRecommender.from_features(store, [f'{i//1000}/{i}.jpg' for i in range(args.rows)], *arrays, ann=args.engine)
    start = time.perf_counter()
    ui = Explorer(rec)
    print(f'{args.rows:,} images, {args.engine}; opened with all of them to see in {time.perf_counter()-start:.2f} s')
    new = Part('image', 'https://example.org/new.jpg')
    rows = {n: rec.view.rows(n, [7])[0] for n in rec.view.features}
    ui.exploration._seen[new] = Ask('new.jpg', rows=rows)
    print('| question | shown | slider, ms: median | 95% |\n|---|---|---|---|')
    for name, part in (('indexed image', Part('image', '0/7.jpg')), ('new picture', new)):
        for k in (20, 200, 1000, 10_000):
            ui._shown_part = lambda p: dict(kind='image', label='', wanted=True, box=None, thumb='') # its file does not exist
            ui.exploration.change(parts=(part,), k=k)
            ui.show()
            moved(ui, ui.controls.sliders['clip'], [.2, .3])
            t = moved(ui, ui.controls.sliders['clip'], rng.permutation(np.arange(.31, .91, .02)).round(2))
            print(f'| {name} | {k:,} | {np.median(t):.0f} | {np.quantile(t, .95):.0f} |', flush=True)
    for name, control, values in (('where: folder', ui.controls.where, ['12/*', '1*/*', '']), ('rarer than', ui.controls.within, [1e-2, 1e-4, 1.]), ('near-copies in one place', ui.controls.collapse, [True, False])):
        ui.exploration.change(parts=(Part('image', '0/7.jpg'),), k=20)
        ui.show()
        print(f'{name}: ' + ', '.join(f'{v!r} {t:.0f} ms' for v, t in zip(values, moved(ui, control, values))))
