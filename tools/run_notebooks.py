"""Execute notebooks in place, so that the committed outputs are those of the committed code.

    python tools/run_notebooks.py [NOTEBOOK...]            all of them when none is named
    python tools/run_notebooks.py --check [NOTEBOOK...]    change nothing; exit 1 and name the cells whose outputs differ from the stored ones
"""
import argparse, base64, io, os, subprocess, sys
from pathlib import Path
from execnb.nbio import read_nb, write_nb
from execnb.shell import CaptureShell
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor
from fastcore.xtras import working_directory
from PIL import Image

os.environ.setdefault('IN_TEST', '1')


def skipped(cell):
    "Whether execution leaves the cell alone: `#| eval: false` and the exporting last cell"
    if cell.cell_type != 'code' or 'nbdev_export'+'(' in cell.source: return True
    flags = getattr(cell, 'directives_', {}) or {}
    return flags.get('eval:', [''])[0].lower() == 'false' or bool(set(get_config().tst_flags.split()) & set(flags))


def smallest_picture(output, limit=50_000):
    "Keep one picture of an output, and store a large PNG (photographs in a figure) as JPEG"
    data = output.get('data', {})
    if 'image/png' in data and 'image/jpeg' in data: del data[max('image/png', 'image/jpeg', key=lambda k: len(data[k]))]
    if len(data.get('image/png', '')) > limit:
        out = io.BytesIO()
        Image.open(io.BytesIO(base64.b64decode(data['image/png']))).convert('RGB').save(out, 'JPEG', quality=85)
        jpeg = base64.b64encode(out.getvalue()).decode()
        if len(jpeg) < len(data['image/png']):
            data['image/jpeg'] = jpeg
            del data['image/png']


def executed(path):
    "The notebook at `path`, executed and clean; raises at the first failing cell"
    nb = read_nb(path)
    done = NBProcessor(path, process=True).nb # takes the directives out of the cells: only its outputs are kept
    shell = CaptureShell(path)
    with working_directory(path.parent): shell.run_all(done, exc_stop=True, preproc=skipped)
    for cell, ran in zip(nb.cells, done.cells, strict=True):
        if cell.cell_type != 'code': continue
        cell.outputs = ran.get('outputs', [])
        for output in cell.outputs:
            smallest_picture(output)
            if output.output_type == 'stream': output['text'] = [line.replace('\r\n', '\n') for line in output['text']] # of commands, which write to a terminal
    clean_nb(nb)
    return nb


def differences(stored, nb):
    "The cells of two runs whose outputs differ: id and first line. Everything counts, pictures to the bit"
    for a, b in zip(stored.cells, nb.cells, strict=True):
        if a.get('outputs') != b.get('outputs'):
            yield f'cell {a.get("id")} ({next((line for line in a.source.splitlines() if line and line[0] != "#"), "")[:80]})'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('notebooks', nargs='*', type=Path)
    parser.add_argument('--check', action='store_true', help='write nothing; exit 1 when outputs differ from the stored ones')
    args = parser.parse_args()
    paths = [p.absolute() for p in args.notebooks] or sorted(Path(p).absolute() for p in nbglob(as_path=True))
    if len(paths) > 1: # each in a process of its own: settings of Matplotlib, random states and caches would pass from one to the next
        sys.exit(any([subprocess.run([sys.executable, __file__, *['--check']*args.check, path]).returncode for path in paths]))
    sys.path.insert(0, str(get_config().config_path))
    for path in paths:
        print('run', path.name, flush=True)
        nb = executed(path)
        if not args.check: write_nb(nb, path)
        elif changed := list(differences(read_nb(path), nb)): sys.exit('\n'.join(f'  another output: {cell}' for cell in changed))


if __name__ == '__main__': main()
