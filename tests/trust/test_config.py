"The configuration file: used, or refused with a sentence; and nothing that is read from disk can run code"
import ast, json, os, pickle, sys, time
from pathlib import Path
import numpy as np
import pytest
import yaml
from hypothesis import given, settings, strategies as st
import image_recommender
from image_recommender import Library, cli
from image_recommender.cli import CONFIG_KEYS, load_config
from image_recommender.connection import StoreError

more_often = settings(max_examples=2*settings.default.max_examples)


# Any document

words = st.one_of(st.text(max_size=10), st.sampled_from(['no', 'yes', '~', 'null', '.5', '1e-3', '010', '0x1F', '1_000', '2021-06-05', '2021-13-45', '.inf', '.nan', '-1', '0', '5', '!!int x', '!!int ""', '!!bool x', '!!float x', '!!timestamp x', '!!binary x', '!!set {a}', '!!omap [a: 1]',
                  '!!python/object/apply:os.system ["false"]', '!!python/name:os.system', '!!python/tuple [1]', '!!python/module:os', '!x y', '&a [1]', '*a', '<<', '"\\e[31m"', '"\\0"', '"\\ud800"', '|\n  x', '"', "'", '{', '[', '%YAML 9.9', '---', '...', '- a', '? a', '#', '\t', '@', '`',
                  'clip=.5,color=.5', '{clip: .5}', '{clip: no}', '{"a,b": 1}', 'efficientnet-lite0', 'annoy', '99999999999999999999', '\ufeff', '\x1b[2J', 'a'*3000]))
keys = st.one_of(st.sampled_from(CONFIG_KEYS), st.sampled_from(['libary', 'top_k', 'Weights', 'true', '1', '<<', '{a: b}', '[a]', '!!python/name:os.system', '2021-13-45']), words)
values = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.binary(max_size=9), st.dates(), st.just(Path('x')), st.just(os.system), st.just(len), st.just(1j), st.just((1, 2))),
                      lambda some: st.one_of(st.lists(some, max_size=3), st.dictionaries(st.one_of(st.sampled_from(CONFIG_KEYS), st.text(max_size=5), st.integers()), some, max_size=3)), max_leaves=5)
documents = st.one_of(st.text(), st.binary().map(lambda b: b), st.lists(st.tuples(keys, words), max_size=4).map(lambda some: '\n'.join(f'{k}: {v}' for k, v in some)), values.map(yaml.dump),
                      st.dictionaries(st.sampled_from(CONFIG_KEYS), values, max_size=3).map(yaml.dump), words)


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    "A library, and the command line in it: exit code, stdout and stderr for a configuration"
    folder = tmp_path_factory.mktemp('library')
    Library.from_features(folder/'.image_recommender', [f'{i}.jpg' for i in range(9)], color=np.random.default_rng(0).dirichlet(np.ones(8), (9, 3)).reshape(9, 24), root=folder)
    return folder


@pytest.fixture
def run(library, monkeypatch, capfd):
    monkeypatch.chdir(library)
    def run(document, *args):
        (library/'my.yaml').write_bytes(document if isinstance(document, bytes) else document.encode('utf-8', 'surrogatepass'))
        monkeypatch.setenv('IMAGE_RECOMMENDER_CONFIG', 'my.yaml')
        monkeypatch.setattr(sys, 'argv', ['image_recommender', *args])
        with pytest.raises(SystemExit) as end: cli.main()
        out, err = capfd.readouterr()
        return end.value.code, out, err
    return run


@more_often
@given(documents)
def test_any_document_is_used_or_refused_with_a_sentence(run, document):
    code, out, err = run(document, 'search', '1.jpg', '--topk', '3')
    assert code in (0, 1, 2), err
    assert 'Traceback' not in err and '\x1b' not in err + out
    if code == 2: assert err.startswith('image_recommender: ') and 'my.yaml' in err and err.count('\n') == 1 or 'weight' in err or 'metric' in err or 'taste' in err


@given(st.fixed_dictionaries({}, optional=dict(topk=st.integers(1, 5), clipk=st.integers(1, 9), weights=st.one_of(st.just({'color': 1}), st.just('color=1')), device=st.just('cpu'), library=st.just('.'), store=st.just('.image_recommender'), limit=st.none())))
def test_a_good_document_is_used(run, config):
    code, out, err = run(yaml.safe_dump(config), 'search', '1.jpg', *([] if 'weights' in config else ['--weights', 'color=1']))
    assert (code, err, len(out.splitlines())) == (0, '', config.get('topk', 5))


@pytest.mark.parametrize('document, says', [
    ('libary: x', "my.yaml: unknown key 'libary', did you mean 'library'?"), ('zzz: 1', "my.yaml: unknown key 'zzz'; known are library, store"), ('topk: five', "my.yaml: topk must be a whole number from 1, not 'five'"),
    ('topk: [1]', "my.yaml: topk must be a whole number from 1, not 'list'"), ('library: no', 'my.yaml: library must be a text; a number or a word such as no becomes one in quotes, not False'),
    ('recall: high', 'my.yaml: recall must be a number above 0, up to 1'), ('weights: {clip: high}', 'my.yaml: weights must be of the form'), ('weights: [1]', 'my.yaml: weights must be a text'),
    ('[a, b]', 'my.yaml must hold lines of the form "key: value"'), ('a: [', 'my.yaml cannot be read as YAML'), ('store: "\\0"', 'my.yaml: store must be a text')])
def test_a_wrong_document_names_file_and_key(run, document, says):
    code, out, err = run(document, 'select')
    assert (code, out) == (2, '') and says in err


@pytest.mark.parametrize('tag', ['!!python/object/apply:os.system ["touch ran"]', '!!python/object/new:os.system ["touch ran"]', '!!python/object/apply:subprocess.check_output [[touch, ran]]',
                                 '!!python/object/apply:builtins.eval ["open(\'ran\', \'w\')"]', '!!python/name:os.system', '!!python/module:antigravity'])
def test_a_document_runs_no_code(run, library, tag):
    for document in (tag, f'library: {tag}', f'{tag}: x', f'weights: {{clip: {tag}}}'):
        code, out, err = run(document, 'select')
        assert code == 2 and 'my.yaml' in err and not (library/'ran').exists()


lol = '\n'.join(['a: &a [x, x, x, x, x, x, x, x, x, x]'] + [f'{b}: &{b} [{", ".join(["*"+a]*10)}]' for a, b in zip('abcdefghi', 'bcdefghij')])
merges = '\n'.join(['a: &a {x: 1}'] + [f'{b}: &{b} {{<<: [{", ".join(["*"+a]*10)}]}}' for a, b in zip('abcdefghi', 'bcdefghij')])


@pytest.mark.parametrize('document', [lol, merges, 'a: &a [*a]', '['*30_000, '{a: '*15_000, '- '*30_000, 'topk: ' + '9'*60_000, 'topk: 0x' + 'f'*60_000, 'x'*10**6, '"' + '\\u0041'*20_000, '!'*60_000, '&'*60_000, 'a: b\n'*10_000 + ': ', '? '*20_000],
                         ids=['laughs', 'merges', 'itself', 'brackets', 'braces', 'dashes', 'digits', 'hexadecimal', 'long', 'string', 'tags', 'anchors', 'lines', 'questions'])
def test_a_bomb_is_refused_at_once(run, document):
    start = time.perf_counter()
    code, out, err = run(document, 'select')
    assert code == 2 and 'my.yaml' in err and len(err) < 2000 and time.perf_counter()-start < 20


@pytest.mark.skipif(os.name == 'nt', reason='needs POSIX')
def test_a_document_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path/'fifo')
    for path in (tmp_path/'fifo', '/dev/zero', tmp_path, tmp_path/'missing', tmp_path/'\x1b[2J'):
        with pytest.raises(ValueError, match='cannot be read as YAML: there is no such file') as e: load_config(path)
        assert '\x1b' not in str(e.value)


# Nothing is unpickled, evaluated or run

PACKAGE = Path(image_recommender.__file__).parent
PIPES = {('extract.py', 'pickle.load'), ('extract.py', 'pickle.loads')} # between this process and those that it started itself


def calls(path):
    "(dotted name, arguments by name) of every call in a file"
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call): yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def unsafe(name, kwargs):
    "Whether a call may run what it reads"
    last = name.split('.')[-1]
    if name in ('eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen') or name.split('.')[0] in ('marshal', 'shelve', 'dill', 'joblib'): return True
    if last in ('load', 'loads', 'Unpickler', 'read_pickle') and name.split('.')[0] in ('pickle', 'cloudpickle', '_pickle') or last == 'read_pickle': return True
    if name.split('.')[0] == 'yaml' and last.endswith(('load', 'load_all')) and not last.startswith('safe_load'): return True
    if name in ('np.load', 'numpy.load'): return kwargs.get('allow_pickle', 'False') != 'False'
    if name in ('torch.load', 'open_clip.create_model_and_transforms', 'open_clip.create_model', 'open_clip.load_checkpoint'): return kwargs.get('weights_only') != 'True'
    return kwargs.get('shell', 'False') != 'False'


def test_no_call_of_the_package_runs_what_it_reads():
    found = {(p.name, name) for p in PACKAGE.glob('*.py') for name, kwargs in calls(p) if unsafe(name, kwargs)}
    assert found <= PIPES, found - PIPES
    assert sum(name in ('np.load', 'torch.load', 'yaml.safe_load', 'open_clip.create_model_and_transforms') for p in PACKAGE.glob('*.py') for name, _ in calls(p)) >= 8 # they are seen


def test_what_would_be_unsafe_is_seen(tmp_path):
    for line in ('pickle.load(f)', 'np.load(f, allow_pickle=True)', 'torch.load(f)', 'torch.load(f, weights_only=False)', 'yaml.load(f)', 'yaml.unsafe_load(f)', 'eval(x)', 'pd.read_pickle(f)', 'subprocess.run(x, shell=True)', 'cloudpickle.loads(b)'):
        (tmp_path/'x.py').write_text(line)
        assert any(unsafe(*c) for c in calls(tmp_path/'x.py')), line


class Payload:
    "Makes a file when it is unpickled"
    def __init__(self, path): self.path = str(path)
    def __reduce__(self): return Path.touch, (Path(self.path),)


def test_the_payload_works(tmp_path):
    np.save(tmp_path/'a.npy', np.array([Payload(tmp_path/'ran')], object), allow_pickle=True)
    np.load(tmp_path/'a.npy', allow_pickle=True)
    assert (tmp_path/'ran').exists()


def resign(folder):
    "Make a generation's manifest say what its files are, as somebody would who sends one"
    from image_recommender.index import _checksum, file_sha256
    manifest = json.loads((folder/'manifest.json').read_text())
    for name, about in manifest['files'].items(): about.update(size=(folder/name).stat().st_size, sha256=file_sha256(folder/name))
    (folder/'manifest.json').write_text(json.dumps(dict(manifest, checksum=_checksum(manifest))))
    (folder/'verified.json').unlink(missing_ok=True)


@pytest.mark.parametrize('raw', [False, True], ids=['array', 'bare pickle'])
def test_a_store_runs_no_code(tmp_path, raw):
    rows = dict(clip=np.eye(9, 4), color=np.full((9, 24), .125), phash=np.arange(9, dtype=np.uint64))
    Library.from_features(tmp_path/'s', [f'{i}.jpg' for i in range(9)], **rows, ann='binary')
    folder, = (tmp_path/'s'/'generations').iterdir()
    whole = {p: p.read_bytes() for p in folder.iterdir()}
    arrays = [p for p in whole if p.suffix == '.npy']
    assert len(arrays) >= 5
    for path in arrays:
        if raw: path.write_bytes(pickle.dumps(Payload(tmp_path/'ran')))
        else: np.save(path, np.array([Payload(tmp_path/'ran')], object), allow_pickle=True)
        resign(folder)
        with pytest.raises(StoreError, match=f'cannot be read|{path.name}: cannot be used'): Library(tmp_path/'s').view
        assert not (tmp_path/'ran').exists(), path.name
        for p, content in whole.items(): p.write_bytes(content)
    assert len(Library(tmp_path/'s')) == 9


def test_a_checkpoint_runs_no_code(tmp_path, tiny_clip):
    import torch
    from image_recommender.embedding import OpenClip
    arch, _, good = tiny_clip.partition('/')
    torch.save({'state_dict': Payload(tmp_path/'ran')}, tmp_path/'bad.pt')
    (tmp_path/'bare.pt').write_bytes(pickle.dumps(Payload(tmp_path/'ran')))
    for name in ('bad.pt', 'bare.pt'):
        with pytest.raises(ValueError, match=f'{name} cannot be read as weights of {arch}.*objects in it could run code'): OpenClip(f'{arch}/{tmp_path/name}').load()
        assert not (tmp_path/'ran').exists()
    OpenClip(f'{arch}/{good}').load()
