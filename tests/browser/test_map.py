"The map in a real browser: a picture under the mouse, a lasso, a search with what it caught."
import json, os, shutil, time
import pytest

WEBGL = ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist', '--disable-dev-shm-usage',
         '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost']


@pytest.fixture(scope='session')
def browser(browser):
    "Chromium that draws WebGL in software"
    pytest.importorskip('jscatter')
    chromium = browser.browser_type.launch(executable_path=os.environ.get('CHROMIUM') or shutil.which('chromium'), args=WEBGL)
    yield chromium
    chromium.close()


@pytest.fixture
def shown(demo_library, run_notebook):
    "A notebook that shows the map, the output with it, and where its points are"
    nb = run_notebook(f"from image_recommender import ImageRecommender\nrec = ImageRecommender({str(demo_library)!r})\nm = rec.map(method='pca')", 'm')
    out = nb.output(1)
    out.locator('.ir-map-status', has_text='images of demo').wait_for()
    out.locator('canvas').first.scroll_into_view_if_needed()
    time.sleep(1) # until the points are drawn
    return nb, out, out.locator('canvas').first.bounding_box()


def test_hovering_shows_the_picture(shown, page):
    nb, out, box = shown
    x, y = json.loads(nb.python('half = max(abs(m.xy[:, 1]).max(), .75); print((m.xy[5]/half).tolist())'))
    page.mouse.move(box['x']+box['width']/2 + x*box['height']/2 - 3, box['y']+box['height']/2 - y*box['height']/2)
    page.mouse.move(box['x']+box['width']/2 + x*box['height']/2, box['y']+box['height']/2 - y*box['height']/2, steps=3)
    page.wait_for_function("() => [...document.querySelectorAll('.jp-OutputArea div')].some(d => d.style.backgroundImage.startsWith('url(\"data:image/jpeg'))")
    folder = nb.python('print(m.groups[5])')
    assert folder in out.inner_text()


def test_lasso_then_search(shown, page):
    nb, out, box = shown
    out.locator('button').nth(1).click() # the lasso
    corners = [(.5, .01), (.99, .01), (.99, .99), (.5, .99), (.5, .02)]
    at = lambda x, y: (box['x']+box['width']*x, box['y']+box['height']*y)
    page.mouse.move(*at(*corners[0]))
    page.mouse.down()
    for c in corners[1:]: page.mouse.move(*at(*c), steps=15)
    page.mouse.up()
    nb.wait_for('len(m.selection)')
    assert nb.python('print(m.selection.x.min() > -.05, len(m.selection) > .5*(m.df.x > 0).sum())') == 'True True'
    out.locator('.ir-map-pictures img').nth(23).wait_for()
    page.wait_for_function("[...document.querySelectorAll('.ir-map-pictures img')].every(i => i.naturalWidth > 0 && i.alt.length > 0)")
    out.get_by_role('button', name='Search like these').press('Enter')
    out.locator('.ir-map-answer figure').nth(21).wait_for()
    assert not out.get_by_role('alert').inner_text()
    assert 'data:image/jpeg' not in json.dumps(nb.save()) # pictures of the live map stay out of the file


def test_a_group_by_keyboard(shown):
    nb, out, _ = shown
    out.get_by_role('combobox').select_option('coffee')
    nb.wait_for("set(m.selection.folder) == {'coffee'}")
    out.get_by_role('button', name='Clear selection').press('Enter')
    nb.wait_for('not len(m.selection)')
    nb.python("_ = m.select('cell/*')")
    out.locator('.ir-map-status', has_text='images selected').wait_for()


def test_dark_and_narrow(shown, page):
    nb, out, _ = shown
    page.set_viewport_size(dict(width=800, height=900))
    nb.theme('dark')
    nb.wait_for('m._live.scatter.widget.background_color[0] < .2')
    assert out.evaluate('e => e.scrollWidth <= e.clientWidth + 1')
