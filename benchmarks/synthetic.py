"""Features of collections that nobody has to download: synthetic ones, and real ones repeated with noise."""
import numpy as np


def _unit(x): return (x/np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)

def _near_copies(clip, color, phash, share, rng):
    "Make a share of the images near-copies of others"
    n = len(clip)
    copy, of = rng.choice(n, int(share*n), replace=False), rng.integers(n, size=int(share*n))
    clip[copy] = _unit(clip[of].astype(np.float32) + .008*rng.standard_normal((len(of), clip.shape[1]), np.float32))
    color[copy] = .97*color[of] + .03*color[copy]
    phash[copy] = phash[of] ^ (np.uint64(1) << rng.integers(64, size=(len(of), 1)).astype(np.uint64))

def synthetic(n:int, # images
              dim:int=512, # of the embedding
              seed:int=0,
             ): # clip (n, dim) float16, color (n, 24) float32, phash (n, 1) uint64
    """CLIP-like unit vectors: a narrow cone around a mean, 40 directions of falling strength with clusters of every size, full-rank
    noise; colour profiles shared by groups; one image in fifty is a near-copy of another"""
    rng = np.random.default_rng(seed)
    basis = (rng.standard_normal((40, dim))*np.linspace(2, .3, 40)[:, None]).astype(np.float32)
    mean, centres = 1.5*rng.standard_normal(dim, np.float32), rng.standard_normal((3000, 40), np.float32)
    popular = rng.zipf(1.3, n) % len(centres)
    clip = np.empty((n, dim), np.float16)
    for i in range(0, n, 16384):
        own = slice(i, min(i+16384, n))
        m = own.stop-own.start
        inside = .6*centres[popular[own]] + .8*rng.standard_normal((m, 40), np.float32)
        clip[own] = _unit(inside@basis + mean + .6*rng.standard_normal((m, dim), np.float32))
    profiles = rng.dirichlet(np.ones(8)*.6, (500, 3)).reshape(500, 24).astype(np.float32)
    color = .6*profiles[rng.integers(500, size=n)] + .4*rng.dirichlet(np.ones(8), (n, 3)).reshape(n, 24).astype(np.float32)
    phash = rng.integers(2**64, size=(n, 1), dtype=np.uint64)
    _near_copies(clip, color, phash, .02, rng)
    return clip, color, phash

def repeated(clip, color, phash, # features of real photographs
             n:int, # images to make of them
             seed:int=0,
            ): # as `synthetic`
    "Real features, each repeated with noise of its own until there are `n`"
    rng = np.random.default_rng(seed)
    source = rng.integers(len(clip), size=n)
    source[:len(clip)] = np.arange(len(clip))[:n]
    spread = np.linalg.norm(clip-clip.mean(0, dtype=np.float32), axis=1).mean()/np.sqrt(clip.shape[1])
    out = np.empty((n, clip.shape[1]), np.float16)
    for i in range(0, n, 16384):
        rows = clip[source[i:i+16384]].astype(np.float32)
        noise = rng.uniform(.3, 1, (len(rows), 1)).astype(np.float32)*spread
        out[i:i+16384] = _unit(rows + noise*rng.standard_normal(rows.shape, np.float32))
    mix = rng.uniform(0, .5, (n, 1)).astype(np.float32)
    color = (1-mix)*color[source] + mix*rng.dirichlet(np.ones(8), (n, 3)).reshape(n, 24).astype(np.float32)
    phash, flips = phash[source].copy(), rng.integers(14, size=n)
    for i in range(14):
        some = np.flatnonzero(flips > i)
        phash[some, 0] ^= np.uint64(1) << rng.integers(64, size=len(some)).astype(np.uint64)
    return out, color, phash
