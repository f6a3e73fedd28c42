"What is in the repository, and what is not: secrets, large files, paths of a machine, photographs, undeclared requirements"
import ast, configparser, json, os, re, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).parent.parent
# Requirements that no module imports by name: voila and ipykernel are started as processes, torch imports onnx to export a model,
# datasets has to be there only where its data sets are given.
NOT_IMPORTED = {'voila', 'ipykernel', 'onnx', 'datasets'}
# Modules whose name is not that of their distribution; the others are the same but for case and `-`.
DISTRIBUTION = dict(PIL='pillow', yaml='pyyaml', skimage='scikit-image', open_clip='open-clip-torch', faiss='faiss-cpu', jscatter='jupyter-scatter', umap='umap-learn',
                    sklearn='scikit-learn', IPython='ipython')
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

def imported(paths): return imported_by(Path(p).read_text(encoding='utf-8') for p in paths)

def imported_by(sources):
    "Every third-party module that these texts import at the top or inside a function"
    nodes = [n for s in sources for n in ast.walk(ast.parse(s))]
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
    return {n.split('.')[0] for n in names} - set(sys.stdlib_module_names) - {'image_recommender'}

def settings():
    config = configparser.ConfigParser(delimiters=['='])
    config.read(root/'settings.ini', encoding='utf-8')
    return config['DEFAULT']

def declared(*keys):
    "Names of the requirements of settings.ini under these keys; without keys: all except those of development"
    return {re.match(r'[\w.-]+', r)[0].lower().replace('_', '-') for key, value in settings().items()
            if (key in keys if keys else key.endswith('requirements') and key != 'dev_requirements') for r in value.split()}

def distributions(modules): return {DISTRIBUTION.get(m, m).lower().replace('_', '-') for m in modules}

def cells_of(notebook):
    "Code cells that tests run and that are not exported, as Python"
    for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and not re.search(r'^#\|\s*(export|eval:\s*false)', source, re.M): yield re.sub(r'^\s*[!%].*$', '', source, flags=re.M)

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
    found = distributions(imported((root/'image_recommender').glob('*.py')))
    assert found - declared() == set(), 'imported, but not in settings.ini'
    assert declared() - found - NOT_IMPORTED == set(), 'in settings.ini, but nothing imports it'

def test_what_tests_import_is_installed_for_development():
    notebooks, tests = [*root.glob('nbs/**/[!.]*.ipynb')], [*root.glob('tests/**/*.py')]
    modules = imported_by(s for p in notebooks for s in cells_of(p)) | imported(tests) - {p.stem for p in tests}
    assert 'numpy' in modules
    assert distributions(modules) - declared('requirements', 'dev_requirements') == set()

def test_extras_that_are_named_exist(tracked):
    extras = {key.removesuffix('_requirements') for key in settings() if key.endswith('_requirements')}
    named = {p: set(re.split(r'\s*,\s*', ','.join(re.findall(r"image_recommender\[([\w, ]+)\]", text_of(p))))) - {''} for p in tracked if p.suffix in ('.ipynb', '.py', '.md', '.yml')}
    assert 'faiss' in set().union(*named.values())
    assert {name_of(p): names - extras for p, names in named.items() if names - extras} == {}
    for module in (root/'image_recommender').glob('*.py'): # the extra that a message asks for
        assert set(re.findall(r"_need\('\w+', '(\w+)'", module.read_text(encoding='utf-8'))) <= extras, module.name

def test_lower_bounds_can_be_listed():
    extras = [key.removesuffix('_requirements') for key in settings() if key.endswith('_requirements') and key != 'dev_requirements']
    assert sorted(re.search('EXTRAS: ([a-z ]+)', (root/'.github/workflows/security.yml').read_text())[1].split()) == sorted(extras)
    listed = subprocess.run([sys.executable, root/'tools/lowest.py', '--list', *extras], capture_output=True, text=True, check=True).stdout
    assert 'ray[data]==' in listed and 'numpy==' in listed
