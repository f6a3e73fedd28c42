"""The tests of milvus_inside.py against a real Milvus server. It listens on all interfaces, and cannot be told not to;
so server and tests run in a network namespace of their own, from which nothing leads out or in."""
import importlib.util, os, shutil, subprocess, sys
from pathlib import Path

INSIDE = Path(__file__).with_name('milvus_inside.py')
LOOPBACK = '''
import fcntl, os, socket, struct, sys
with socket.socket() as s: fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x1 | 0x40)) # SIOCSIFFLAGS: up and running
os.execv(sys.executable, [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider', *sys.argv[1:]])
'''

def alone(*args):
    return subprocess.run(['unshare', '--map-root-user', '--net', sys.executable, *args], capture_output=True, text=True, timeout=1200, cwd=INSIDE.parents[2])

def test_milvus(on_linux, leave_out, tmp_path):
    for package in ('milvus', 'pymilvus'):
        if not importlib.util.find_spec(package): leave_out(f'the package {package} is not installed')
    if not shutil.which('unshare') or (tried := alone('-c', 'pass')).returncode:
        leave_out(f'no network namespace of its own: {tried.stderr.strip() if shutil.which("unshare") else "there is no unshare"}')
    run = alone('-c', LOOPBACK, str(INSIDE), '--basetemp', str(tmp_path/'inside'), *(['-k', only] if (only := os.environ.get('MILVUS_ONLY')) else []))
    print(run.stdout[-20_000:], run.stderr[-5000:])
    assert run.returncode == 0, run.stdout[-6000:]
