"""What a library costs in Milvus, beside the local one: import, latency, memory, and how many of the true best it finds.

    python benchmarks/milvus_server.py [--rows 50000] [--queries 50] [--ef 100 200 600] [--address host:19530]

On synthetic features of 512 values. Without --address the server of the package `milvus` is started for it (Linux x86-64), in a
network namespace of its own, as it listens on all interfaces. Both libraries are asked in turns."""
import argparse, fcntl, os, socket, struct, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np
from image_recommender import ImageRecommender
from synthetic import synthetic


def alone():
    "This script again, in a network namespace without an outside"
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(subprocess.run(['unshare', '--map-root-user', '--net', sys.executable, *sys.argv, '--inside', folder]).returncode)

def server(folder):
    with socket.socket() as s: fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x1 | 0x40)) # loopback up
    from milvus import MilvusServer
    server = MilvusServer()
    server.set_base_dir(f'{folder}/milvus')
    server.start()
    return server

def memory(server):
    "Resident memory of the server, in MB"
    if server is None: return float('nan')
    return int(next(line for line in Path(f'/proc/{server.server_proc.pid}/status').read_text().splitlines() if line.startswith('VmRSS')).split()[1])/1000

def timed(ask, rows):
    start = time.perf_counter()
    answer = ask(rows)
    return 1000*(time.perf_counter()-start), [m.path.name for m in answer]

def compare(title, asks, queries, truth):
    "Several ways to ask, in turns; p50, p95 and the share of the true five"
    times, found = {n: [] for n in asks}, dict.fromkeys(asks, 0)
    for q, true in zip(queries, truth):
        for n, ask in asks.items():
            ms, names = timed(ask, q)
            times[n].append(ms)
            found[n] += len(set(names) & set(true))
    for n, ms in times.items(): print(f'{title:24} {n:24} p50 {np.median(ms):7.1f} ms   p95 {np.quantile(ms, .95):7.1f} ms   recall@5 {found[n]/sum(map(len, truth)):.3f}', flush=True)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, default=50_000)
    parser.add_argument('--queries', type=int, default=50)
    parser.add_argument('--ef', type=int, nargs='*', default=[100, 200, 600])
    parser.add_argument('--address')
    parser.add_argument('--inside', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.address and not args.inside: alone()
    with tempfile.TemporaryDirectory() as folder:
        running = server(args.inside) if args.inside else None
        address = args.address or f'127.0.0.1:{running.listen_port}'
        print(f'server: {memory(running):,.0f} MB when it is empty')
        clip, color, phash = synthetic(args.rows)
        paths = [f'{i%100:02}/{i}.jpg' for i in range(args.rows)]
        start = time.perf_counter()
        local = ImageRecommender.from_features(f'{folder}/store', paths, clip, color, phash)
        print(f'local: {args.rows/(time.perf_counter()-start):,.0f} images/s, with its index')
        start = time.perf_counter()
        local.export_features(f'{folder}/features')
        size = sum(p.stat().st_size for p in Path(f'{folder}/features').rglob('*.parquet'))
        print(f'export: {args.rows/(time.perf_counter()-start):,.0f} images/s, {size/args.rows:,.0f} bytes an image')
        remote = ImageRecommender('.', store=f'milvus://{address}/bench{os.getpid()}?timeout=60')
        start = time.perf_counter()
        remote.import_features(f'{folder}/features')
        print(f'import: {args.rows/(time.perf_counter()-start):,.0f} images/s')
        time.sleep(20) # its index is made behind the scenes
        print(f'server: {memory(running):,.0f} MB with {args.rows:,} images, whose features are {(512*4+24*4+8)*args.rows/1e6:,.0f} MB')
        ids = np.random.default_rng(1).choice(args.rows, args.queries, replace=False)+1
        queries = [{n: local.db.features([int(i)], n)[0] for n in ('clip', 'color', 'phash')} for i in ids]
        tuned = {f'Milvus, ef {ef}': ImageRecommender('.', store=f'{remote.store}?ef={ef}&timeout=60') for ef in args.ef}
        for rec in tuned.values(): len(rec.similar(queries[0]))
        for title, where in (('all images', None), ('1 in 100 (a folder)', '07/*'), ('1 in 10 (by name)', {'name': '*3.jpg'})):
            truth = [[m.path.name for m in local.similar(q, exact=True, where=where)] for q in queries]
            compare(title, {'local': lambda q: local.similar(q, where=where), **{n: lambda q, rec=rec: rec.similar(q, where=where) for n, rec in tuned.items()}}, queries, truth)
        start = time.perf_counter()
        same = remote.similar(queries[0], exact=True)
        exact = local.similar(queries[0], exact=True)
        print(f'exact=True on Milvus: {time.perf_counter()-start:.1f} s; the same scores: {[m.score for m in same] == [m.score for m in exact]}')
        if running: running.stop()

if __name__ == '__main__': main()
