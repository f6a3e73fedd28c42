"Build the wheel, install it alone into a clean environment with fastcore 2, and use it there"
import os, shutil, subprocess, sys, tempfile, venv
from pathlib import Path

root = Path(__file__).parent.parent

def run(*command, cwd):
    print('+', *(Path(c).name if os.sep in str(c) else c for c in command), flush=True)
    subprocess.run([str(c) for c in command], cwd=cwd, check=True, env={**os.environ, 'HF_HUB_OFFLINE': '1', 'PYTHONPATH': ''})

with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    run(sys.executable, '-m', 'build', '--wheel', '--outdir', tmp/'dist', root, cwd=tmp)
    venv.create(tmp/'env', with_pip=True)
    scripts = tmp/'env'/('Scripts' if os.name == 'nt' else 'bin')
    wheel, = (tmp/'dist').glob('*.whl')
    run(scripts/'python', '-m', 'pip', 'install', '-q', wheel, 'fastcore>=2', cwd=tmp)
    run(scripts/'python', '-c', 'import fastcore, image_recommender, sys; assert fastcore.__version__ >= "2"; '
        'assert "env" in image_recommender.__file__; assert "torch" not in sys.modules', cwd=tmp)
    run(scripts/'image_recommender', 'demo', cwd=tmp)
    run(scripts/'python', '-m', 'image_recommender.main', 'demo/coffee/coffee_original.png', '--library', 'demo', '--topk', '3', cwd=tmp)
    run(scripts/'python', '-c', 'from pathlib import Path; from image_recommender import ImageRecommender; from image_recommender.app import write_server; '
        'ui = ImageRecommender("demo").explore("demo/coffee/coffee_original.png", k=3); print(ui); '
        'assert "export default" in str(ui.gallery._esm); Path("server").mkdir(); write_server(Path("server"), {}, "demo", "token", "127.0.0.1", 1, "auto"); '
        'assert ImageRecommender("demo").duplicates(["exact", "re-encoding"]).review()', cwd=tmp)
    shutil.rmtree(root/'build', ignore_errors=True)
print('the wheel works')
