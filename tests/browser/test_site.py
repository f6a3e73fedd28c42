"""The documentation site as a visitor meets it: built once, served on localhost, in a real browser.

Every test fails at its end when the page logged an error or asked another host for anything (see conftest.py).
"""
import functools, http.server, os, re, shutil, subprocess, sys, threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin
from urllib.request import urlopen
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PHONE = dict(width=400, height=800)


@pytest.fixture(scope='session')
def built(tmp_path_factory):
    "The site of this very state of the repository"
    root = tmp_path_factory.mktemp('site')
    for name in ('nbs', 'docs', 'tools', 'image_recommender'): shutil.copytree(ROOT/name, root/name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('settings.ini', 'mkdocs.yml'): shutil.copy(ROOT/name, root)
    env = {**os.environ, 'PYTHONPATH': str(root), 'NO_MKDOCS_2_WARNING': '1'}
    for command in (['tools/build_docs.py'], ['-m', 'mkdocs', 'build', '--strict', '-f', '_mkdocs.yml']):
        done = subprocess.run([sys.executable, *command], cwd=root, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return root/'_site'


@pytest.fixture(scope='session')
def site(built):
    "Address of the served site, without a slash at its end"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=built)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def pictures(page): return page.evaluate("[...document.querySelectorAll('article img')].map(i => [i.currentSrc.slice(-60), i.complete && i.naturalWidth, i.alt])")
def brightness(page, selector): return page.evaluate("s => { const c = getComputedStyle(document.querySelector(s)).backgroundColor.match(/\\d+/g); return (+c[0] + +c[1] + +c[2])/3 }", selector)


def test_landing_page(page, site):
    page.goto(site)
    assert page.title() == 'Image Recommender' and page.locator('h1').inner_text().startswith('Image Recommender')
    assert page.get_by_text('from image_recommender import ImageRecommender').first.is_visible()
    shown = pictures(page)
    assert shown and all(width > 0 and alt for _, width, alt in shown), shown


def test_search_finds_similar(page, site):
    page.goto(site)
    page.get_by_role('textbox', name='Search').click()
    page.locator('.md-search-result__meta', has_text='Type to start searching').wait_for()  # the index is loaded
    page.get_by_role('textbox', name='Search').press_sequentially('similar')
    first = page.locator('.md-search-result__link').first
    first.wait_for()
    first.click()
    page.wait_for_url('**/recommender/**similar')
    page.locator('mark', has_text='similar').first.wait_for()


def test_link_to_a_symbol_lands_on_it(page, site):
    page.goto(f'{site}/tutorials/first_search/')
    link = page.locator('article a[href*="recommender/#imagerecommender"]').first
    name = link.inner_text().strip('()').split('.')[-1]
    link.click()
    page.wait_for_url(re.compile('recommender/#imagerecommender'))
    heading = page.locator(f"[id='{page.evaluate('decodeURIComponent(location.hash.slice(1))')}']")
    assert name in heading.inner_text()
    page.wait_for_function("id => { const y = document.getElementById(id).getBoundingClientRect().top; return y >= 0 && y < innerHeight/2 }", arg=heading.get_attribute('id'))


def test_api_entry(page, site):
    page.goto(f'{site}/recommender/#imagerecommender.similar')
    entry = page.locator("[id='imagerecommender.similar']")
    table = page.locator("[id='imagerecommender.similar'] ~ .md-typeset__scrollwrap table").first
    assert entry.is_visible() and 'def similar(' in page.locator('article').inner_text()
    assert {'Parameter', 'Type', 'Details'} <= set(table.locator('th').all_inner_texts()) and 'weights' in table.inner_text()
    assert page.locator("[id='imagerecommender.similar'] ~ p a.api-source").first.get_attribute('href').startswith('https://github.com/')


def test_pictures_are_shown(page, site):
    for address in ('tutorials/first_search/', 'visualize/', 'demo/'):
        page.goto(f'{site}/{address}')
        page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        page.wait_for_function("[...document.querySelectorAll('article img')].every(i => i.complete)")
        shown = pictures(page)
        assert len(shown) > 3 and all(width > 0 for _, width, _ in shown), [s for s in shown if not s[1]]


def test_formulas_are_drawn(page, site, built):
    drawn = [p for p in built.rglob('index.html') if 'class="arithmatex"' in p.read_text(encoding='utf-8')]
    assert drawn, 'no page has a formula'
    for path in drawn:
        page.goto(f'{site}/{path.parent.relative_to(built).as_posix()}/')
        assert page.locator('.arithmatex').count() == page.locator('.arithmatex:has(.katex)').count() > 0
        assert page.locator('.katex-error').count() == 0


def test_light_and_dark(new_page, site):
    for scheme, dark in (('light', False), ('dark', True)):
        page = new_page(color_scheme=scheme)
        page.goto(f'{site}/fusion/')
        assert (brightness(page, 'body') < 90) == dark, scheme
    page.get_by_title('Switch to light mode').first.click()
    assert brightness(page, 'body') > 160


def test_on_a_phone(new_page, site, tmp_path):
    page = new_page(viewport=PHONE)
    for address in ('', 'tutorials/first_search/', 'recommender/', 'benchmarks/', 'cli/'):
        page.goto(f'{site}/{address}')
        assert page.evaluate('document.documentElement.scrollWidth') <= PHONE['width'], f'{address} is wider than the screen'
    page.goto(site)
    page.locator(".md-header label[for='__drawer']").click()
    page.locator('.md-nav--primary').get_by_text('Tutorials').locator('visible=true').first.wait_for()
    page.screenshot(path=tmp_path/'phone.png')
    assert len(Image.open(tmp_path/'phone.png').getcolors(10**6)) > 50


def test_previous_and_next(page, site):
    page.goto(f'{site}/tutorials/first_search/')
    page.locator('.md-footer__link--next').click()
    assert '/tutorials/' in page.url and 'first_search' not in page.url
    page.locator('.md-footer__link--prev').click()
    page.wait_for_url('**/first_search/')


def test_notebook_and_edit_links(page, site):
    page.goto(f'{site}/fusion/')
    links = page.locator('.nb-origin a')
    assert [a.get_attribute('href').split('/')[2] for a in links.all()] == ['github.com', 'github.dev']
    assert all(a.get_attribute('href').endswith('nbs/05_fusion.ipynb') for a in links.all())


class Links(HTMLParser):
    "What a page links to and loads, and the anchors it has"
    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get('id'): self.ids.add(attrs['id'])
        if tag == 'a' and attrs.get('name'): self.ids.add(attrs['name'])
        link = attrs.get('href') if tag in ('a', 'link') else attrs.get('src')
        if link: self.links.append((tag, link))


def test_every_link_within_the_site_answers(site, built):
    pages = {p: Links(p.read_text(encoding='utf-8')) for p in built.rglob('*.html') if p.name != '404.html'}
    anchors = {f'{site}/{p.parent.relative_to(built).as_posix()}/'.replace('/./', '/'): links.ids for p, links in pages.items()}
    broken, asked, elsewhere = [], {}, set()
    for path, found in pages.items():
        here = f'{site}/{path.parent.relative_to(built).as_posix()}/'.replace('/./', '/')
        for tag, link in found.links:
            if link.startswith(('data:', 'mailto:', 'javascript:')): continue
            address, anchor = urldefrag(urljoin(here, link))
            if not address.startswith(site):
                if tag != 'a' and 'canonical' not in link and 'image-recommender.github.io' not in link: elsewhere.add(link)
                continue
            if address not in asked:
                try: asked[address] = urlopen(address).status
                except OSError as e: asked[address] = str(e)
            if asked[address] != 200: broken.append(f'{here}: {link}: {asked[address]}')
            elif anchor and address in anchors and unquote(anchor) not in anchors[address]: broken.append(f'{here}: {link}: no such anchor')
    assert len(asked) > 60 and not broken, '\n'.join(broken)
    assert not elsewhere, elsewhere


def test_for_machines(site, built):
    sitemap = urlopen(f'{site}/sitemap.xml').read().decode()
    pages = {p.parent.relative_to(built).as_posix() for p in built.rglob('index.html')}
    listed = {re.sub(r'^https://[^/]+/image_recommender/(latest/)?', '', u).strip('/') or '.' for u in re.findall('<loc>(.*?)</loc>', sitemap)}
    assert listed == pages
    short, full = (urlopen(f'{site}/{name}').read().decode() for name in ('llms.txt', 'llms-full.txt'))
    assert short.startswith('# Image Recommender\n\n> ') and '## Tutorials' in short and 'first_search/)' in short
    assert 'class ImageRecommender(' in full and len(full) > 100_000
