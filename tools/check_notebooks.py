"Fail when a notebook is not clean, too large, without prose, holds an error, or differs from the module that was exported from it"
import difflib, re, shutil, subprocess, sys, tempfile
from pathlib import Path
from execnb.nbio import read_nb
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.doclinks import nbglob

cfg = get_config()
root, lib = cfg.config_path, cfg.lib_path.name
problems, LARGEST = [], 300_000 # bytes of a notebook: what opens at once, on GitHub too

for path in sorted(nbglob(as_path=True)):
    before, nb = read_nb(path), read_nb(path)
    clean_nb(nb)
    if nb != before: problems.append(f'{path.name} is not clean: run nbdev_clean')
    if path.stat().st_size > LARGEST: problems.append(f'{path.name} has {path.stat().st_size:,} bytes, more than {LARGEST:,}: show fewer or smaller pictures')
    title = next((c.source for c in nb.cells if c.cell_type == 'markdown'), '')
    if not re.match(r'# .+\n+> .+', title): problems.append(f'{path.name} does not begin with a title (`# `) and a line that says what it is for (`> `)')
    if sum(len(c.source.split()) for c in nb.cells[2:] if c.cell_type == 'markdown') < 30: problems.append(f'{path.name} has no prose')
    if any(o.output_type == 'error' for c in nb.cells for o in c.get('outputs', [])): problems.append(f'{path.name} holds an error output')

with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    shutil.copy(root/'settings.ini', tmp)
    shutil.copytree(cfg.nbs_path, tmp/cfg.nbs_path.name)
    (tmp/lib).mkdir()
    shutil.copy(root/lib/'__init__.py', tmp/lib) # the one module that is written by hand
    subprocess.run([Path(sys.executable).with_name('nbdev_export')], cwd=tmp, check=True)
    exported, stored = ({p.name: p.read_text(encoding='utf-8').splitlines() for p in (d/lib).glob('*.py')} for d in (tmp, root))
    for name in sorted({*exported, *stored}):
        if name not in exported: problems.append(f'no notebook exports {name}')
        elif diff := list(difflib.unified_diff(stored.get(name, []), exported[name], name, 'its notebook', lineterm='')):
            problems.append(f'{name} is not what its notebook exports: run nbdev_export\n' + '\n'.join(diff[:20]))

print('\n'.join(problems) or 'notebooks are clean and exported')
sys.exit(bool(problems))
