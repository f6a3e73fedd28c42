"Every public name says what it takes, gives and raises: docstring, docments with types, shapes of arrays, errors."
import ast, importlib, inspect, pkgutil, textwrap
from functools import cached_property
import pytest
from fastcore.docments import docments
import image_recommender

MODULES = sorted(m.name for m in pkgutil.iter_modules(image_recommender.__path__) if m.name[0] != '_')


def bare(member):
    "The function behind a method, property or decorated function"
    for attr in ('__func__', 'fget', 'func'): member = getattr(member, attr, None) or member
    return inspect.unwrap(member)


def members(cls):
    "Public methods and properties in the body of `cls`, and `__init__`; a dataclass writes its own, a protocol has none"
    return {k: v for k, v in vars(cls).items() if inspect.isfunction(bare(v)) and
            (k[0] != '_' or k == '__init__' and not hasattr(cls, '__dataclass_fields__') and not getattr(cls, '_is_protocol', False))}


def inherited(cls, name):
    "Whether a class above says what the method does"
    return any(vars(c)[name].__doc__ for c in cls.__mro__[1:] if name in vars(c) and c.__module__.startswith('image_recommender'))


def parsed(function): return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def raised(function):
    "Names of the errors that the body of a function raises itself"
    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.Lambda)): continue
            if isinstance(child, ast.Raise) and child.exc is not None:
                name = ast.unparse(child.exc.func if isinstance(child.exc, ast.Call) else child.exc).split('.')[-1]
                if name[0].isupper(): yield name
            yield from walk(child)
    return set(walk(parsed(function)))


def missing(name, member, method, about=''):
    "What `member` does not say, nor the docstring `about` of its class"
    function = bare(member)
    sig = inspect.signature(function)
    params = list(sig.parameters.values())[method and not isinstance(member, staticmethod):]
    comments = docments(function, args_kwargs=True)
    doc = inspect.getdoc(function) or ''
    if not doc and not name.endswith('__init__'): yield 'docstring'
    for p in params:
        if p.annotation is p.empty: yield f'type of {p.name}'
        if not comments.get(p.name): yield f'docment of {p.name}'
        elif 'ndarray' in str(p.annotation) and '(' not in comments[p.name]: yield f'shape of {p.name}'
    returns = sig.return_annotation
    gives = any(isinstance(n, (ast.Return, ast.Yield)) and n.value is not None for n in ast.walk(parsed(function)))
    if gives and returns is sig.empty and not name.endswith('__init__'): yield 'type of what it returns'
    is_property = isinstance(member, (property, cached_property))
    if returns not in (sig.empty, None, 'None') and not comments.get('return') and not is_property: yield 'docment of what it returns'
    if 'ndarray' in str(returns) and '(' not in (comments.get('return') or doc): yield 'shape of what it returns'
    said = doc + about + ' '.join(filter(None, comments.values()))
    yield from (f'that it raises {error}' for error in sorted(raised(function)) if error not in said)


def unsaid(module):
    "`name: what is missing` for every public name of a module"
    for name in module.__all__:
        obj = getattr(module, name)
        if getattr(obj, '__module__', None) != module.__name__: continue
        if inspect.isclass(obj):
            if not obj.__doc__ or obj.__doc__.startswith(f'{name}('): yield f'{name}: docstring'
            if hasattr(obj, '__dataclass_fields__'):
                comments = {k: c for cls in reversed(obj.__mro__) if hasattr(cls, '__dataclass_fields__') for k, c in docments(cls).items() if c}
                yield from (f'{name}: docment of {f}' for f in obj.__dataclass_fields__ if f[0] != '_' and not comments.get(f))
            for k, v in members(obj).items():
                if not inherited(obj, k): yield from (f'{name}.{k}: {m}' for m in missing(f'{name}.{k}', v, True, obj.__doc__ if k == '__init__' else ''))
        elif inspect.isfunction(bare(obj)): yield from (f'{name}: {m}' for m in missing(name, obj, False))


@pytest.mark.parametrize('name', MODULES)
def test_every_public_name_is_documented(name):
    assert not list(unsaid(importlib.import_module(f'image_recommender.{name}')))


def test_faults_are_found():
    "The test above can fail"
    import numpy as np
    class Poor:
        def __init__(self, a): pass
        def go(self, x: np.ndarray, # an array
              ):
            "Doc"
            if x is None: raise KeyError(x)
            return x
    found = [m for k, v in members(Poor).items() for m in missing(k, v, True)]
    assert found == ['type of a', 'docment of a', 'shape of x', 'type of what it returns', 'that it raises KeyError']


USERS_NEED = {'ImageRecommender', 'Library', 'Ask', 'Results', 'Match', 'IndexReport', 'Feature', 'ColorHistogram', 'PHash',
              'BadImage', 'StoreError', 'StoreBusy', 'IndexDamaged', 'RayRunner', 'extract_features'}

def test_top_level_names():
    "What is imported from the package itself: these, known to editors and type checkers too, and nothing besides"
    assert set(image_recommender.__all__) == USERS_NEED and set(dir(image_recommender)) >= USERS_NEED
    assert all(getattr(image_recommender, name).__doc__ for name in USERS_NEED)
    tree = ast.parse(inspect.getsource(image_recommender))
    for_editors = {a.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level for a in node.names}
    assert for_editors == USERS_NEED


def test_import_is_light():
    "`import image_recommender` loads none of the large packages"
    import subprocess, sys
    code = "import sys, image_recommender; print([m for m in ('torch', 'open_clip', 'matplotlib', 'pandas', 'ipywidgets') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'
