"The harness itself: a widget in JupyterLab, and what Python sees of it"
import pytest

SLIDER = "import ipywidgets\nw = ipywidgets.IntSlider(value=40, description='Share')\nw"


def test_slider(run_notebook):
    nb = run_notebook(SLIDER)
    slider = nb.output(0).get_by_role('slider')
    slider.focus()
    slider.press('ArrowRight')
    slider.press('ArrowRight')
    nb.wait_for('w.value == 42')
    assert nb.python('print(w.description)\nw.value') == 'Share\n42'


def test_a_cell_that_fails_is_told(run_notebook):
    with pytest.raises(AssertionError, match='ZeroDivisionError'): run_notebook('1/0')


def test_themes(run_notebook):
    nb = run_notebook('1', theme='dark')
    background = "() => getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()"
    dark = nb.page.evaluate(background)
    nb.theme('light')
    assert nb.page.evaluate(background) != dark


@pytest.mark.parametrize('script', ["console.error('oh')", "setTimeout(() => { throw new Error('oh') })", "fetch('http://example.org').catch(() => 0)"])
def test_problems_are_noted(page, problems, script):
    page.goto('about:blank')
    page.evaluate(f'() => {{ {script} }}')
    page.wait_for_timeout(100)
    assert problems.unexpected
    problems.allow('oh|example.org|ERR_NAME_NOT_RESOLVED')


def test_demo_library(demo_library):
    from image_recommender import ImageRecommender
    assert len(ImageRecommender(demo_library)) > 300
