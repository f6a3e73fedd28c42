"What is in the repository, and what is not: secrets, large files, paths of a machine, photographs, undeclared requirements"
import ast, configparser, json, os, re, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).parent.parent
# Requirements that no module imports by name: voila and ipykernel are started as processes, torch imports onnx to export a model.
NOT_IMPORTED = {'voila', 'ipykernel', 'onnx'}
# Modules whose name is not that of their distribution; the others are the same but for case and `-`.
DISTRIBUTION = dict(PIL='pillow', yaml='pyyaml', skimage='scikit-image', open_clip='open-clip-torch', faiss='faiss-cpu', jscatter='jupyter-scatter', umap='umap-learn')
PHOTOGRAPH = '.jpg', '.jpeg', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff', '.heic', '.avif'


@pytest.fixture(scope='module')
def tracked():
    "The files that git knows, as they are now"
    try: names = subprocess.run(['git', 'ls-files', '-z'], cwd=root, capture_output=True, check=True).stdout.decode().split('\0')
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get('CI'): raise
        pytest.skip('this is not a git checkout')
    return [root/n for n in names if n and (root/n).is_file()]

def name_of(path): return path.relative_to(root).as_posix()

def text_of(path):
    "The text of a file without the pictures inside it, which would take the scanner long"
    return re.sub(r'[A-Za-z0-9+/]{200,}=*', '', path.read_text(encoding='utf-8', errors='replace'))

def secrets_in(paths):
    "'file:line: kind' of whatever looks like a secret of a known service, or a private key"
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    # These guess by entropy or by words such as `password`, and pictures in notebooks are full of both.
    vague = {'Base64HighEntropyString', 'HexHighEntropyString', 'KeywordDetector', 'IPPublicDetector'}
    detectors = [c() for c in get_mapping_from_secret_type_to_class().values() if c.__name__ not in vague]
    return [f'{p.name}:{text[:text.index(secret)].count(chr(10))+1}: {d.secret_type}'
            for p in paths for text in [text_of(p)] for d in detectors for secret in sorted(set(d.analyze_string(text)))]

def machine_paths(text): return re.findall(r'(?<![\w.])(?:/root/|/home/\w+|/Users/\w+|[A-Z]:\\+Users\\+\w+)[^\s"\'\\]*', text)

def outputs(notebook):
    "The text that the cells of a notebook have printed or shown"
    return json.dumps([c.get('outputs', []) for c in json.loads(text_of(notebook))['cells']], ensure_ascii=False)

def imported(paths):
    "Every third-party module that these files import at the top or inside a function"
    nodes = [n for p in paths for n in ast.walk(ast.parse(Path(p).read_text(encoding='utf-8')))]
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
    return {n.split('.')[0] for n in names} - set(sys.stdlib_module_names) - {'image_recommender'}

def declared():
    "Names of all requirements of settings.ini except those of development"
    config = configparser.ConfigParser(delimiters=['='])
    config.read(root/'settings.ini', encoding='utf-8')
    return {re.match(r'[\w.-]+', r)[0].lower().replace('_', '-') for key, value in config['DEFAULT'].items()
            if key.endswith('requirements') and key != 'dev_requirements' for r in value.split()}

def test_no_secrets(tracked, tmp_path):
    assert secrets_in(tracked) == []
    secrets = tmp_path/'secrets.py'
    secrets.write_text(f"a = 1\ntoken = 'ghp_{'a1B2'*9}'\n-----BEGIN RSA {'PRIVATE'} KEY-----\nid = 'AKIA{'A1B2'*4}'\n")
    assert sorted(secrets_in([secrets])) == ['secrets.py:2: GitHub Token', 'secrets.py:3: Private Key', 'secrets.py:4: AWS Access Key']

def test_no_large_files(tracked):
    limit = lambda p: 2_000_000 if name_of(p).startswith('docs/vendor/') else 1_000_000 # scripts of others that the site needs without internet
    assert {name_of(p): p.stat().st_size for p in tracked if p.stat().st_size > limit(p)} == {}

def test_photographs_only_among_the_images(tracked):
    assert [name_of(p) for p in tracked if p.suffix.lower() in PHOTOGRAPH and not name_of(p).startswith('nbs/images/')] == []

def test_notebooks_show_no_path_of_a_machine(tracked):
    assert machine_paths('"text": "in /home/anna/photos"') and machine_paths(r'C:\\Users\\anna') and not machine_paths('data/home/x /rooted/')
    notebooks = [p for p in tracked if p.suffix == '.ipynb']
    assert notebooks
    assert {name_of(p): found for p in notebooks if (found := machine_paths(outputs(p)))} == {}

def test_imports_are_declared_and_declared_ones_imported():
    modules = imported((root/'image_recommender').glob('*.py'))
    distributions = {DISTRIBUTION.get(m, m).lower().replace('_', '-') for m in modules}
    assert distributions - declared() == set(), 'imported, but not in settings.ini'
    assert declared() - distributions - NOT_IMPORTED == set(), 'in settings.ini, but nothing imports it'
