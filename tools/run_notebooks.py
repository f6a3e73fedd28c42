"Execute notebooks in place, so that the committed outputs are those of the committed code."
import base64, io, os, sys
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


def run(path):
    "Execute the notebook at `path`, clean it and write it back; raises at the first failing cell"
    nb = read_nb(path)
    executed = NBProcessor(path, process=True).nb # takes the directives out of the cells: only its outputs are kept
    shell = CaptureShell(path)
    with working_directory(path.parent): shell.run_all(executed, exc_stop=True, preproc=skipped)
    for cell, done in zip(nb.cells, executed.cells, strict=True):
        if cell.cell_type != 'code': continue
        cell.outputs = done.get('outputs', [])
        for output in cell.outputs: smallest_picture(output)
    clean_nb(nb)
    write_nb(nb, path)


if __name__ == '__main__':
    sys.path.insert(0, str(get_config().config_path))
    for path in ([Path(a).absolute() for a in sys.argv[1:]] or sorted(Path(p).absolute() for p in nbglob(as_path=True))):
        print('run', path.name, flush=True)
        run(path)
