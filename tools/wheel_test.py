"""Build the wheel, install it into a clean environment with fastcore 2, and use it there.

    python tools/wheel_test.py           what it requires is borrowed from the environment that runs this: seconds
    python tools/wheel_test.py --full    all of it is installed anew, as a user would: gigabytes

Borrowed or not, nothing may be imported that is only there for development.
"""
import os, shutil, subprocess, sys, sysconfig, tempfile, venv
from pathlib import Path

root, full = Path(__file__).parent.parent, '--full' in sys.argv[1:]

# What is only there for development, or as an extra: nothing may import it unasked
NOT_REQUIRED = {'nbdev', 'execnb', 'pytest', 'hypothesis', 'mkdocs', 'jupyterlab', 'voila', 'playwright', 'sklearn', 'faiss', 'umap', 'jscatter', 'watchdog'}
UNASKED = f'''
import sys
from image_recommender import ImageRecommender
rec = ImageRecommender("demo")
rec.similar("demo/coffee/coffee_original.png", k=3).plot()
rec.duplicates(), rec.recommend([1], k=3), rec.explore(1, k=3), rec.check(read_data=True)
assert not {NOT_REQUIRED} & set(sys.modules), {NOT_REQUIRED} & set(sys.modules)
'''

def run(*command, cwd):
    print('+', *(Path(c).name if os.sep in str(c) else c for c in command if '\n' not in str(c)), flush=True)
    subprocess.run([str(c) for c in command], cwd=cwd, check=True, env={**os.environ, 'HF_HUB_OFFLINE': '1', 'PYTHONPATH': ''})

with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    run(sys.executable, '-m', 'build', '--wheel', '--outdir', tmp/'dist', root, cwd=tmp)
    venv.create(tmp/'env', with_pip=full)
    scripts = tmp/'env'/('Scripts' if os.name == 'nt' else 'bin')
    wheel, = (tmp/'dist').glob('*.whl')
    if full: run(scripts/'python', '-m', 'pip', 'install', '-q', wheel, 'fastcore>=2', cwd=tmp)
    else:
        packages = subprocess.run([scripts/'python', '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'], capture_output=True, text=True, check=True).stdout.strip()
        Path(packages, 'borrowed.pth').write_text(sysconfig.get_path('purelib')+'\n') # after its own packages; .pth files there do not count
        run(sys.executable, '-m', 'pip', '--python', scripts/'python', 'install', '-q', '--no-deps', '--ignore-installed', wheel, 'fastcore>=2', cwd=tmp)
    run(scripts/'python', '-c', 'import fastcore, image_recommender, sys; assert fastcore.__version__ >= "2"; '
        'assert "env" in image_recommender.__file__; assert "torch" not in sys.modules', cwd=tmp)
    run(scripts/'image_recommender', 'demo', cwd=tmp)
    run(scripts/'python', '-m', 'image_recommender.main', 'demo/coffee/coffee_original.png', '--library', 'demo', '--topk', '3', cwd=tmp)
    run(scripts/'python', '-c', 'from pathlib import Path; from image_recommender import ImageRecommender; from image_recommender.app import write_server; '
        'ui = ImageRecommender("demo").explore("demo/coffee/coffee_original.png", k=3); print(ui); '
        'assert "export default" in str(ui.gallery._esm); Path("server").mkdir(); write_server(Path("server"), {}, "demo", "token", "127.0.0.1", 1, "auto"); '
        'assert ImageRecommender("demo").duplicates(["exact", "re-encoding"]).review()', cwd=tmp)
    run(scripts/'python', '-c', UNASKED, cwd=tmp)
    shutil.rmtree(root/'build', ignore_errors=True)
print('the wheel works')
