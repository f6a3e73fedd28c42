"""A process to be killed: it indexes a folder with a tiny embedder, and says what it computes.

    python victim.py FOLDER LOG [kill at this step [only steps of writing the index]]

What it computed is appended to LOG, one name a line, before it is stored. With a number it kills itself just before the
step of that number: opening, renaming, removing, making or syncing a file or folder. With SLOW_STORE=SECONDS in the
environment each batch takes so long to store.
"""
import os, signal, sys, time
import numpy as np
from image_recommender import indexing
from image_recommender import library as library_module
from image_recommender.embedding import Embedder
from image_recommender.library import Library


class Tiny(Embedder):
    "Mean colours of a 4 x 4 grid, without a network"
    dim, signature, model_name, image_size, batch_size, runtime, device = 48, 'tiny', 'tiny', None, 8, 'torch', 'cpu'
    log = None

    def __init__(self): pass
    def load(self): return self
    def prepare(self, image): return np.asarray(image.resize((4, 4)), np.float32).reshape(-1)

    def finish(self, prepared):
        if self.log is not None: os.write(self.log, b'x'*len(prepared)) # a byte an image
        rows = np.stack(prepared)-128
        return (rows/np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)).astype(self.dtype)


def tiny_library(folder, kind=Library, **kwargs):
    library_module.make_embedder = lambda *args, **kwargs: Tiny()
    return kind(folder, model='tiny', ann=kwargs.pop('ann', 'binary'), workers=2, **kwargs)


STEPS = ('open', 'os.rename', 'os.remove', 'os.rmdir', 'os.mkdir', 'os.fsync')

def die_at(n):
    "Kill this process before step number `n`; returns how to count on"
    counted = 0
    def step(event, args):
        nonlocal counted
        if event not in STEPS or event == 'open' and not (isinstance(args[0], (str, bytes)) and os.fsdecode(args[0]).startswith(os.fspath(folder))): return
        if counted == n: os.kill(os.getpid(), signal.SIGKILL)
        counted += 1
    fsync = os.fsync
    os.fsync = lambda fd: (sys.audit('os.fsync', fd), fsync(fd))[1]
    sys.addaudithook(step)
    return lambda: counted


if __name__ == '__main__':
    folder, Tiny.log = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    library = tiny_library(folder)
    if slow := float(os.environ.get('SLOW_STORE', 0)):
        store_batch = indexing.store_batch
        indexing.store_batch = lambda *args: (time.sleep(slow), store_batch(*args))[1]
    print('ready', flush=True)
    counted = die_at(int(sys.argv[3])) if len(sys.argv) > 3 else None
    if len(sys.argv) > 4: # nothing but writing the index
        from image_recommender.index import build_generation
        build_generation(library._open(create=True), library._features(library.db), library.store, .95, 'binary')
    else: library.index(progress=False)
    print('done', counted() if counted else '', flush=True)
