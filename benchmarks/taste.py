"""Recommendation and learned weights, judged by classes that the library does not know.

    python benchmarks/taste.py FOLDER [--store STORE] [--trials 100]

FOLDER holds images as SPLIT/CLASS/*.jpg with the splits train, validation and test, and is indexed (in STORE).
Recommendation: likes, and three dislikes of one more class, drawn from all splits; 20 recommendations. Weights: fitted to images of the validation split, judged
by mAP@10 within the test split; once with the classes as labels, once by a judge who looks at colours only."""
import argparse
from pathlib import Path
import numpy as np
from image_recommender import ImageRecommender
from image_recommender.taste import pair_evidence
from tables import markdown


def recommendation(rec, label, trials):
    "Rows: likes, diversity -> precision, share of liked classes that appear, share of the rarest of them, share of the disliked class"
    ids, classes, of, rows = np.array(sorted(label)), sorted(set(label.values())), label.get, []
    names = np.array([label[i] for i in ids.tolist()])
    for n_classes, each in ((1, 5), (2, 3), (3, 3), (3, 10)):
        for diversity in (0, .1, .3, .5, 1):
            rng, got = np.random.default_rng(0), []
            for _ in range(trials):
                *wanted, avoided = rng.choice(classes, n_classes+1, replace=False)
                draw = lambda c, n: rng.choice(ids[names == c], n, replace=False).tolist()
                likes, dislikes = [i for c in wanted for i in draw(c, each)], draw(avoided, 3)
                for avoid in ([], dislikes):
                    found = [of(m.id) for m in rec.recommend(likes, avoid, diversity=diversity)]
                    hits = [found.count(c)/len(found) for c in wanted]
                    got.append((sum(hits), np.mean([h > 0 for h in hits]), min(hits)*n_classes, found.count(avoided)/len(found)))
            (p, covered, rarest, bad), (*_, worse) = np.mean(got[::2], axis=0), np.mean(got[1::2], axis=0)
            rows.append((f'{n_classes} x {each}', diversity, *(f'{v:.3f}' for v in (p, covered, rarest, bad, worse))))
    return markdown(['classes x likes', 'diversity', 'precision@20', 'classes found', 'due of the rarest', 'disliked class', 'told of it'], rows)

def mean_ap(evidence, weights, alike, k=10):
    "mAP@k of images asked among themselves"
    score = evidence@weights
    np.fill_diagonal(score, -1)
    hit = np.take_along_axis(alike, np.argsort(-score, axis=1)[:, :k], 1)
    precision = np.cumsum(hit, 1)/np.arange(1, k+1)
    return float(((precision*hit).sum(1)/np.maximum(np.minimum(alike.sum(1), k), 1)).mean())

def learned(rec, label, split, trials):
    "Rows: judge, labelled images -> mAP@10 on the test split with the default, the kept and the fitted weights"
    ids = {s: np.array([i for i in sorted(label) if split[i] == s]) for s in ('validation', 'train', 'test')}
    train, test = np.concatenate([ids['validation'], ids['train']]), ids['test']
    evidence, names = pair_evidence(rec, test, test).astype(float), list(rec.view.features)
    color = {i: int(np.argmax(rec.features(int(i))['color'])) for i in (*train.tolist(), *test.tolist())}
    default, rows = np.array([rec.weights[n] for n in names]), []
    for judge, labels in (('class', label), ('colour', color)):
        own = np.array([labels[i] for i in test.tolist()])
        alike = (own[:, None] == own) & ~np.eye(len(own), dtype=bool)
        usual = mean_ap(evidence, default, alike)
        for n in (5, 20, 100, 1000):
            got = []
            for seed in range(trials if n < 1000 else 3):
                some = np.random.default_rng(seed).choice(train, n, replace=False).tolist()
                taste = rec.fit_weights(labels={i: labels[i] for i in some}, seed=seed)
                got.append((mean_ap(evidence, np.array([taste.weights[m] for m in names]), alike), taste.kept_default, [taste.weights[m] for m in names]))
            ap, kept = [g[0] for g in got], np.mean([g[1] for g in got])
            rows.append((judge, n, f'{usual:.3f}', f'{np.mean(ap):.3f}', f'{min(ap):.3f}', f'{kept:.0%}', ' '.join(f'{m} {w:.2f}' for m, w in zip(names, np.mean([g[2] for g in got], 0)))))
    return markdown(['judge', 'labels', 'default', 'fit_weights', 'worst run', 'default kept', 'mean weights'], rows, text=(0, 6))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--store', type=Path)
    p.add_argument('--trials', type=int, default=100)
    args = p.parse_args()
    rec = ImageRecommender(args.folder, store=args.store)
    paths = dict(zip(rec.view.ids.tolist(), rec.paths))
    label, split = {i: p.parent.name for i, p in paths.items()}, {i: p.parent.parent.name for i, p in paths.items()}
    print(f'{len(rec):,} images\n\n{learned(rec, label, split, min(args.trials, 10))}\n', flush=True)
    print(recommendation(rec, label, args.trials))


if __name__ == '__main__': main()
