"The API entries of the documentation: signature, docstring and table of parameters of what the notebooks export."
import ast, enum, functools, importlib, inspect, itertools, re
from html import escape
from pathlib import Path
from fastcore.docments import docments
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, add_show_docs, exec_show_docs, insert_warning

cfg = get_config()


def shown_names(cell):
    "The symbols that a cell's calls of `show_doc` name"
    calls = [t.value for t in cell.parsed_() or [] if isinstance(t, ast.Expr) and isinstance(t.value, ast.Call)]
    return [ast.unparse(c.args[0]) for c in calls if ast.unparse(c.func) == 'show_doc' and c.args]


class list_symbols(Processor):
    "Note in each `show_doc` cell what to document: classes with their public methods, nothing twice, by hand before automatic"
    def begin(self):
        classes = {d.name: d for c in self.nb.cells for d in c.parsed_() or [] if isinstance(d, ast.ClassDef)}
        by_hand = {name for c in self.nb.cells if not c.get('has_sd') for name in shown_names(c)}
        seen = set()
        # nbdev documents the definitions of a cell last to first
        runs = [(auto, list(run)) for auto, run in itertools.groupby(self.nb.cells, lambda c: bool(c.get('has_sd')))]
        self.nb.cells = [cell for auto, run in runs for cell in (reversed(run) if auto else run)]
        for cell in self.nb.cells:
            names = [n for n in shown_names(cell) if not (cell.get('has_sd') and n in by_hand)]
            methods = {n: [f'{n}.{m}' for m in public_methods(classes.get(n))] for n in names}
            names = [o for n in names for o in (n, *(m for m in methods[n] if m not in by_hand))]
            cell.symbols_ = [n for n in dict.fromkeys(names) if n not in seen]
            seen.update(cell.symbols_)


def public_methods(classdef):
    "Names of the methods and properties in the body of a class"
    body = classdef.body if classdef else []
    return [o.name for o in body if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef)) and o.name[0] != '_']


class PageProcessors(FilterDefaults):
    "nbdev's processors, less those that execute cells"
    def base_procs(self):
        for proc in super().base_procs():
            if proc not in (exec_show_docs, insert_warning): yield proc
            if proc is add_show_docs: yield list_symbols


def find_symbol(name, modules):
    "The owner of the symbol (a module or class) and the symbol as the owner holds it"
    for module in modules:
        owner, symbol = None, importlib.import_module(module)
        try:
            for part in name.split('.'): owner, symbol = symbol, inspect.getattr_static(symbol, part)
            return owner, symbol
        except AttributeError: pass
    raise ValueError(f'`{name}` is not in {" or ".join(modules) or "any module of this notebook"}; is the export up to date?')


def inherited(cls, documented):
    "Public members that a class takes from documented classes above it: (name, class that documents it)"
    found = {}
    for above in cls.__mro__[1:]:
        for name in vars(above):
            if name[0] != '_' and name not in vars(cls) and f'{above.__name__}.{name}' in documented: found.setdefault(name, above.__name__)
    return sorted(found.items())


def type_name(annotation):
    "An annotation as its author wrote it, more or less"
    if annotation is inspect.Parameter.empty: return ''
    if hasattr(annotation, '__metadata__'): annotation = annotation.__origin__
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def default_name(value):
    "A default value, without addresses in memory"
    if value is inspect.Parameter.empty: return ''
    return getattr(value, '__name__', None) or re.sub(r' at 0x\w+', '', repr(value))


def parameter(p):
    "One parameter as in a `def`"
    anno, default = type_name(p.annotation), default_name(p.default)
    equals = ' = ' if anno else '='
    return str(p.replace(annotation=p.empty, default=p.empty)) + (anno and f': {anno}') + (default and equals + default)


def signature_text(head, params, returns, width=88):
    "`head(params) -> returns`, one parameter a line when it is long; without parentheses for `params=None`"
    tail = f' -> {returns}' if returns else ''
    if params is None: return head + tail
    shown = [parameter(p) for p in params]
    kinds = [p.kind for p in params]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), '*')
    positional = kinds.count(inspect.Parameter.POSITIONAL_ONLY)
    if positional: shown.insert(positional, '/')
    line = f'{head}({", ".join(shown)}){tail}'
    return line if len(line) <= width else f'{head}(\n    ' + ',\n    '.join(shown) + f',\n){tail}'


def overridden(owner, symbol):
    "The same method of the classes above, furthest first: what it says holds for an override that says nothing else"
    above = owner.__mro__[:0:-1] if inspect.isclass(owner) else []
    return [c.__dict__[symbol.__name__] for c in above if inspect.isfunction(c.__dict__.get(symbol.__name__))]


def parameter_comments(symbol, owner=None):
    "The docment of each parameter, also those that a dataclass or a method inherits"
    sources = [*overridden(owner, symbol), symbol]
    if inspect.isclass(symbol):
        sources = [c for c in reversed(symbol.__mro__) if '__dataclass_fields__' in vars(c)]
        if symbol not in sources: sources.append(vars(symbol).get('__init__', symbol))
    return {name: comment for source in sources for name, comment in docments(source, args_kwargs=True).items() if comment}


def parameter_table(params, returns, comments):
    "A Markdown table of the parameters, if any of them has a comment; without its empty columns"
    if not comments.keys() & {'return', *(p.name for p in params)}: return ''
    code = lambda s: f'<code>{escape(s, quote=False)}</code>'.replace('|', '&#124;<wbr>') if s else ''
    kind = lambda s: f'`{s}`' if s.isidentifier() else code(s)  # in backticks a class becomes a link
    rows = [(code(p.name), kind(type_name(p.annotation)), code(default_name(p.default)), comments.get(p.name, '')) for p in params]
    if 'return' in comments: rows.append(('**Returns**', kind(returns), '', comments['return']))
    # Braces at the end of a cell would be taken for attributes of it
    rows = [(*row, re.sub(r'`[^`]*`|\{', lambda m: '&#123;' if m[0] == '{' else m[0], details)) for *row, details in rows]
    columns = [c for c in zip(('Parameter', 'Type', 'Default', 'Details'), *rows) if any(c[1:])]
    lines = [' | '.join(re.sub(r'\s+|(?<!\\)\|', lambda m: r'\|' if m[0] == '|' else ' ', v) for v in row) for row in zip(*columns)]
    return '\n'.join(f'| {line} |' for line in (lines[0], ' | '.join('---' for _ in columns), *lines[1:]))


def source_link(symbol):
    "Where the symbol is in the repository, or nothing for what is defined elsewhere"
    try: file, line = Path(inspect.getsourcefile(symbol)).resolve(), inspect.getsourcelines(symbol)[1]
    except (TypeError, OSError): return ''
    if not file.is_relative_to(cfg.config_path.resolve()): return ''
    file = file.relative_to(cfg.config_path.resolve()).as_posix()
    return f'[source]({cfg.git_url}/blob/{cfg.branch}/{file}#L{line}){{ .api-source }}'


def api_entry(name, modules):
    "The Markdown that documents one symbol, with the anchor that nbdev's links use"
    owner, held = find_symbol(name, modules)
    is_property = isinstance(held, (property, functools.cached_property))
    symbol = getattr(held, 'fget', None) or getattr(held, '__func__', None) or (held.func if is_property else held)
    try: sig = inspect.signature(symbol)
    except (TypeError, ValueError): sig = inspect.Signature()
    params, returns = list(sig.parameters.values()), type_name(sig.return_annotation)
    symbol = inspect.unwrap(symbol)
    if inspect.isclass(symbol): head, returns = f'class {name}', ''
    else: head = ('async def ' if inspect.iscoroutinefunction(symbol) else 'def ') + name.split('.')[-1]
    if inspect.isclass(owner) and not isinstance(held, staticmethod): params = params[1:]
    if is_property: head = head.replace('def ', 'property ')
    callable_as_shown = not (is_property or getattr(symbol, '_is_protocol', False) or isinstance(symbol, enum.EnumMeta))
    doc = inspect.cleandoc(symbol.__doc__ or next((o.__doc__ for o in reversed(overridden(owner, symbol)) if o.__doc__), '') or '')
    if doc.startswith(f'{name}('): doc = ''  # what @dataclass writes by itself
    heading = name.replace('_', r'\_')
    short = f' data-toc-label="{name.split(".")[-1]}"' if '.' in name else ''
    entry = [f'{"####" if "." in name else "###"} {heading} {{ #{name.lower()} .api{short} }}', source_link(symbol),
             f'```python\n{signature_text(head, params if callable_as_shown else None, returns)}\n```', doc,
             parameter_table(params, returns, parameter_comments(symbol, owner))]
    return NbdevLookup().linkify('\n\n'.join(o for o in entry if o))
