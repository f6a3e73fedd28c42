"A run of indexing in a notebook: the panel, the stop button, going on"
import shutil

CELL = """from image_recommender import ImageRecommender
rec = ImageRecommender({!r}, model='efficientnet-lite0')
rec.index()"""


def test_panel_stop_and_go_on(run_notebook, demo_library, tmp_path):
    folder = tmp_path/'photos'
    shutil.copytree(demo_library, folder, ignore=shutil.ignore_patterns('.image_recommender'))
    nb = run_notebook("'ready'", CELL.format(str(folder)).rpartition('\n')[0])
    page = nb.page
    page.evaluate("code => { jupyterapp.shell.currentWidget.content.model.sharedModel.insertCell(2, { cell_type: 'code', source: code }) }", 'rec.index()')
    page.evaluate("() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 2; jupyterapp.commands.execute('notebook:run-cell') }")
    output = nb.output(2)
    output.get_by_text('of 322 images').wait_for()
    output.locator('img').nth(1).wait_for()
    assert output.get_by_role('progressbar').get_attribute('aria-valuemax') == '322'
    page.evaluate("() => jupyterapp.commands.execute('notebook:interrupt-kernel')")
    output.get_by_text('Stopped after').wait_for()
    assert 'Traceback' not in output.inner_text() and output.get_by_role('progressbar').count() == 0
    stored = int(nb.python('len(rec.db)'))
    assert 0 < stored < 322
    page.evaluate("() => jupyterapp.commands.execute('notebook:run-cell')")
    output.get_by_text(f'322 images can be searched: {322-stored} added').wait_for(timeout=60_000)
    assert output.get_by_role('progressbar').count() == 0
