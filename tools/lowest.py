"""Install the lowest version of every requirement that settings.ini allows into a new environment, and run the demo and the tests there

    python3.10 tools/lowest.py [EXTRA ...]
    python3.10 tools/lowest.py --list [EXTRA ...]    only print the versions

What the requirements need themselves is resolved freely. `uv` is used where it is installed, as it is faster than pip."""
import configparser, os, re, shutil, subprocess, sys, tempfile, venv
from pathlib import Path

root = Path(__file__).resolve().parent.parent
LEFT_OUT = 'tests/browser', 'tests/trust', 'tests/test_docs.py', 'tests/test_repository.py' # they need more than the requirements, or longer

def lowest(requirement):
    "`name==bound` of `name>=bound` or `name>=bound,<other`"
    found = re.fullmatch(r'([\w.-]+(?:\[[\w,-]+\])?)>=([\w.]+)([,<>=!\w.]*)', requirement)
    if not found: raise SystemExit(f'{requirement!r} in settings.ini has no lower bound: write name>=version')
    return f'{found[1]}=={found[2]}'

def constraints(extras=()):
    "One line for each requirement of settings.ini and of these extras"
    config = configparser.ConfigParser(delimiters=['='])
    config.read(root/'settings.ini', encoding='utf-8')
    cfg = config['DEFAULT']
    return list(dict.fromkeys(lowest(r) for key in ('requirements', *(f'{e}_requirements' for e in extras)) for r in cfg[key].split()))

def run(*command, cwd=root):
    print('+', *(Path(c).name if os.path.isabs(c) else c for c in map(str, command)), flush=True)
    return subprocess.run([str(c) for c in command], cwd=cwd, env={**os.environ, 'HF_HUB_OFFLINE': '1', 'PYTHONPATH': str(root)}).returncode

def main(extras):
    wanted = constraints(extras)
    print(f'Python {sys.version.split()[0]} with', *wanted, flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        venv.create(tmp/'env', with_pip=True)
        python = tmp/'env'/('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
        uv = shutil.which('uv')
        installer = [uv, 'pip', 'install', '-q', '--python', python] if uv else [python, '-m', 'pip', 'install', '-q']
        # 8 and 6.100 are the lower bounds of the development requirements: any newer version will do.
        if run(*installer, *wanted, 'pytest>=8', 'hypothesis>=6.100'): return 'these versions cannot be installed together'
        if run(python, '-m', 'image_recommender.cli', 'demo', cwd=tmp): return 'the demo fails with these versions'
        if run(python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *(f'--ignore={p}' for p in LEFT_OUT)): return 'tests fail with these versions'
    print('the lower bounds of settings.ini work')

if __name__ == '__main__':
    if sys.argv[1:2] == ['--list']: print(*constraints(sys.argv[2:]), sep='\n')
    else: sys.exit(main(sys.argv[1:]))
