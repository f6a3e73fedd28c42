"""A real browser on a real JupyterLab: Debian's Chromium, driven by Playwright, one server for all tests.

    def test_it(page, lab, run_notebook):
        nb = run_notebook("import ipywidgets\\nw = ipywidgets.IntSlider(); w")
        nb.output(0).get_by_role('slider').press('ArrowRight')
        nb.wait_for('w.value == 1')

A test fails at its end when the page logged an error, raised one, or asked any other host for anything.
"""
import json, os, re, shutil, socket, subprocess, sys, time, urllib.error, urllib.request
from pathlib import Path
import pytest

HERE = Path(__file__).parent
LOCAL = re.compile(r'(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|(data|blob|about):')
SIZE = dict(width=1400, height=900)
CHROMIUM = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
            '--disable-sync', '--disable-dev-shm-usage', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost']


def pytest_collection_modifyitems(items):
    "Browser tests come last: they take longest, and Playwright's event loop is then in nobody's way"
    items.sort(key=lambda item: HERE in item.path.parents)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_until(condition, timeout=30, what='it'):
    "Poll until `condition()` is true, which is then returned"
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition(): return value
        time.sleep(.05)
    raise AssertionError(f'{what} did not happen within {timeout} s')


def stop(process, timeout=15):
    "End a server that a test started"
    process.terminate()
    try: process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# The browser

@pytest.fixture(scope='session')
def browser():
    "Chromium"
    names = [os.environ['CHROMIUM']] if 'CHROMIUM' in os.environ else ['chromium', 'chromium-browser', 'google-chrome']
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        required = os.environ.get('CI') and sys.platform == 'linux'
        (pytest.fail if required else pytest.skip)('no Chromium: apt-get install chromium, or name its program in the environment variable CHROMIUM')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=found, args=CHROMIUM)
        yield chromium
        chromium.close()


class Problems:
    "What a page must not do: errors in the console, uncaught errors, requests to other hosts"
    HARMLESS = []

    def __init__(self): self.seen, self.allowed = [], list(map(re.compile, self.HARMLESS))

    def allow(self, pattern):
        "This test expects problems that match the regular expression"
        self.allowed.append(re.compile(pattern))

    def watch(self, page):
        "Note what this page does"
        page.on('console', lambda m: m.type == 'error' and self.seen.append(f"console error: {m.text} ({m.location.get('url')})"))
        page.on('pageerror', lambda e: self.seen.append(f'uncaught error: {e}'))
        page.on('request', lambda r: self._request(r.url))
        page.on('websocket', lambda w: self._request(w.url))

    def _request(self, url):
        if not LOCAL.match(url): self.seen.append(f'request to another host: {url}')

    @property
    def unexpected(self): return [p for p in self.seen if not any(a.search(p) for a in self.allowed)]


@pytest.fixture
def problems():
    "The `Problems` of this test's pages; `problems.allow(regex)` for those that it provokes"
    found = Problems()
    yield found
    assert not found.unexpected, '\n'.join(['the page had problems:', *found.unexpected])


@pytest.fixture
def new_page(browser, problems):
    "Makes a page in a context of its own (cookies, storage): `new_page(color_scheme='dark', viewport=...)`"
    contexts = []
    def make(**options):
        contexts.append(browser.new_context(**dict(dict(viewport=SIZE), **options)))
        contexts[-1].set_default_timeout(20_000)
        page = contexts[-1].new_page()
        problems.watch(page)
        return page
    yield make
    for c in contexts: c.close()


@pytest.fixture
def page(new_page):
    "An empty page, 1400x900"
    return new_page()


# JupyterLab

class Lab:
    "A running JupyterLab: where it is, and its REST interface"
    def __init__(self, folder, port, token): self.folder, self.token, self.url = folder, token, f'http://127.0.0.1:{port}'

    def rest(self, path, method='GET'):
        "Ask its REST interface: `lab.rest('api/sessions')`"
        request = urllib.request.Request(f'{self.url}/{path}', method=method, headers={'Authorization': f'token {self.token}'})
        with urllib.request.urlopen(request, timeout=20) as r: return json.loads(r.read() or 'null')

    def answers(self):
        try: return self.rest('api/status')
        except (urllib.error.URLError, OSError): return None

    def shutdown_kernels(self):
        for s in self.rest('api/sessions'): self.rest(f"api/sessions/{s['id']}", 'DELETE')


SETTINGS = { # nothing from outside; all cells are in the page, also those that are scrolled away
    'apputils-extension/notification': dict(fetchNews='false', checkForUpdates=False),
    'notebook-extension/tracker': dict(windowingMode='none'),
}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture(scope='session')
def lab(browser, tmp_path_factory):
    "JupyterLab on an empty folder, with nothing of the user's configuration"
    home, folder = tmp_path_factory.mktemp('jupyter'), tmp_path_factory.mktemp('notebooks')
    places = {name: str(home/name.lower()) for name in ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR',
                                                       'JUPYTERLAB_SETTINGS_DIR', 'JUPYTERLAB_WORKSPACES_DIR')}
    write_json(Path(places['JUPYTER_DATA_DIR'])/'kernels'/'tests'/'kernel.json',
               dict(argv=[sys.executable, '-m', 'ipykernel_launcher', '-f', '{connection_file}'], display_name='tests', language='python'))
    for plugin, values in SETTINGS.items(): write_json(Path(places['JUPYTERLAB_SETTINGS_DIR'])/'@jupyterlab'/f'{plugin}.jupyterlab-settings', values)
    lab, log = Lab(folder, free_port(), 'a-token-for-tests'), home/'log'
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={lab.url.rpartition(":")[2]}',
               '--ServerApp.port_retries=0', f'--IdentityProvider.token={lab.token}', f'--ServerApp.root_dir={folder}', '--expose-app-in-browser',
               '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', '--LabApp.extension_manager=readonly', '--LabApp.news_url=']
    with open(log, 'w') as out: server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env={**os.environ, **places})
    try:
        wait_until(lambda: lab.answers() or server.poll() is not None, 60, 'the start of JupyterLab')
        assert server.poll() is None, log.read_text()
        yield lab
    finally: stop(server)


class Notebook:
    "A notebook that is open in Lab"
    def __init__(self, page, lab, name): self.page, self.lab, self.name = page, lab, name

    def open(self):
        "Show it, alone, in a fresh workspace, and wait for its kernel"
        self.page.goto(f'{self.lab.url}/lab/workspaces/{self.name}/tree/{self.name}.ipynb?token={self.lab.token}')
        self.page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'")
        self.page.evaluate('() => jupyterapp.shell.collapseLeft()')

    def run_all(self):
        "Run all cells; raises AssertionError with the traceback of one that fails"
        ok = self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        outputs = self.page.evaluate("() => jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(c => c.outputs).flat()")
        assert ok, '\n'.join(line for o in outputs if o['output_type'] == 'error' for line in o['traceback'])

    def cell(self, i):
        "Locator of cell `i`"
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{i}"]')

    def output(self, i):
        "Locator of the output of cell `i`"
        return self.cell(i).locator('.jp-Cell-outputArea')

    cell_output = output

    def python(self, code):
        "Run code in the kernel, without a cell: what it prints, and the repr of its last expression"
        return self.page.evaluate('''async code => {
            const future = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code, store_history: false});
            const texts = [];
            future.onIOPub = ({content, header}) => {
                if (header.msg_type == 'stream') texts.push(content.text);
                if (header.msg_type == 'execute_result') texts.push(content.data['text/plain']);
                if (header.msg_type == 'error') texts.push(content.traceback.join('\\n'));
            };
            const reply = await future.done;
            if (reply.content.status != 'ok') throw new Error(texts.join(''));
            return texts.join('').trimEnd();
        }''', code)

    def wait_for(self, expression, timeout=10):
        "Wait until a Python expression is true in the kernel"
        wait_until(lambda: self.python(f'bool({expression})') == 'True', timeout, expression)

    def theme(self, name):
        "Switch Lab to 'light' or 'dark'"
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", f'JupyterLab {name.title()}')
        self.page.wait_for_selector(f'body[data-jp-theme-light="{str(name == "light").lower()}"]', state='attached')
        self.page.locator('#jupyterlab-splash').wait_for(state='detached') # it covers the page for a moment

    def save(self):
        "Write it, and read what was written: the notebook as a dict"
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        return json.loads((self.lab.folder/f'{self.name}.ipynb').read_text(encoding='utf-8'))


@pytest.fixture
def run_notebook(page, lab, request):
    "Makes a notebook of the given code cells, opens it in Lab and runs it: `run_notebook('a = 1', 'a', theme='dark')`"
    def run(*cells, name=None, theme='light'):
        name = name or re.sub(r'\W+', '-', request.node.name)
        nb = dict(nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=dict(name='tests', display_name='tests', language='python')),
                  cells=[dict(cell_type='code', id=f'cell{i}', metadata={}, execution_count=None, outputs=[], source=c) for i, c in enumerate(cells)])
        write_json(lab.folder/f'{name}.ipynb', nb)
        nb = Notebook(page, lab, name)
        nb.open()
        nb.theme(theme)
        nb.run_all()
        return nb
    yield run
    page.goto('about:blank')
    lab.shutdown_kernels()


# Something to look at

@pytest.fixture(scope='session')
def demo_library(tmp_path_factory):
    "Folder of the demo collection, indexed. Not to be changed: see `demo_copy`"
    from image_recommender import ImageRecommender
    from image_recommender.demo import make_demo
    folder = tmp_path_factory.mktemp('demo')/'demo'
    make_demo(folder)
    ImageRecommender(folder, model='efficientnet-lite0').index(progress=False)
    return folder


@pytest.fixture
def demo_copy(demo_library, tmp_path):
    "A copy of it that the test may change"
    return shutil.copytree(demo_library, tmp_path/'demo')
