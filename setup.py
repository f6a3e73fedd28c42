"All metadata lives in settings.ini; this file only hands it to setuptools."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

root = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(root/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

min_minor = int(cfg['min_python'].split('.')[1])
pythons = [f'3.{minor}' for minor in range(min_minor, 14)]
# `heif_requirements = ...` in settings.ini becomes the extra `[heif]`, `dev_requirements` the extra `[dev]`.
extras = {key.removesuffix('_requirements'): cfg[key].split() for key in cfg if key.endswith('_requirements')}
# Pictures and links of the README are relative to the repository; on a package index they must be absolute.
readme = re.sub(r'\]\((?!https?:|#)', f"]({cfg['git_url']}/raw/{cfg['branch']}/",
                (root/'README.md').read_text(encoding='utf-8')) if (root/'README.md').exists() else ''

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=readme,
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    keywords=cfg['keywords'].split(),
    license='MIT',
    classifiers=['Development Status :: 3 - Alpha',
                 'Intended Audience :: Developers',
                 'Intended Audience :: Science/Research',
                 'Topic :: Scientific/Engineering :: Image Recognition',
                 *(f'Programming Language :: Python :: {v}' for v in pythons)],
    packages=find_packages(include=['image_recommender', 'image_recommender.*']),
    package_data={cfg['lib_name']: ['static/**/*']},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    entry_points={'console_scripts': cfg['console_scripts'].split(),
                  'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    zip_safe=False,
)
