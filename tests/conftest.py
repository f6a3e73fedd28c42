import os, shutil, subprocess, sys
import pytest
from PIL import Image, ImageOps
from importlib.resources import files

os.environ['HF_HUB_OFFLINE'] = '1'
PHOTOS = ('astronaut.png', 'camera.png', 'chelsea.png', 'coffee.png', 'coins.png', 'grass.png', 'gravel.png', 'rocket.jpg')


@pytest.fixture
def photos(tmp_path):
    "A folder with ten images, two of them copies of others"
    folder = tmp_path/'photos'
    (folder/'sub folder').mkdir(parents=True)
    for name in PHOTOS: shutil.copy(files('skimage')/'data'/name, folder)
    Image.open(folder/'chelsea.png').resize((225, 150)).save(folder/'sub folder'/'kitten.jpg', quality=40)
    ImageOps.mirror(Image.open(folder/'coffee.png')).save(folder/'sub folder'/'mirrored.webp')
    return folder


@pytest.fixture
def sh(tmp_path):
    "Run `python -m image_recommender.MODULE ARGS`: exit code, stdout, stderr"
    def run(module, *args, cwd=tmp_path, **env):
        p = subprocess.run([sys.executable, '-m', f'image_recommender.{module}', *map(str, args)], cwd=cwd, capture_output=True, text=True,
                           errors='surrogateescape', env={**os.environ, 'PYTHONWARNINGS': 'default', **env}, timeout=300)
        return p.returncode, p.stdout, p.stderr
    return run


@pytest.fixture
def tiny_clip(tmp_path):
    "A small CLIP with seeded random weights, as a checkpoint that open_clip loads: 'ARCHITECTURE/path/to/file'"
    import json, open_clip, torch
    config = dict(embed_dim=32, vision_cfg=dict(image_size=64, layers=2, width=64, patch_size=16, head_width=32),
                  text_cfg=dict(context_length=8, vocab_size=49408, width=32, heads=2, layers=1))
    (tmp_path/'tiny-clip.json').write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**config).state_dict(), tmp_path/'tiny.pt')
    return f'tiny-clip/{tmp_path}/tiny.pt'
