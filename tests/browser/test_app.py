"The explorer without a notebook: `image_recommender explore`, on localhost"
import os, re, signal, subprocess, sys, urllib.error, urllib.request
import pytest


class Served:
    "A running `image_recommender explore`"
    def __init__(self, folder, *options, tmp):
        self.process = subprocess.Popen([sys.executable, '-m', 'image_recommender.cli', 'explore', '--library', str(folder), '--no-browser', *options],
                                        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, 'TMPDIR': str(tmp)}, start_new_session=True,
                                        preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)]) # which are ignored where tests run in the background
        self.said = ''
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r'(http://\S+/)\?token=(\S+)', line):
                self.base, self.token = found.groups()
                return
        raise AssertionError(self.said)

    def status(self, path, **headers):
        "HTTP status of a path without the token"
        class NoRedirect(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *args): return None
        try: return urllib.request.build_opener(NoRedirect).open(urllib.request.Request(self.base+path, headers=headers), timeout=20).status
        except urllib.error.HTTPError as e: return e.code

    def end(self, how):
        "Send a signal: the exit code"
        self.process.send_signal(how)
        return self.process.wait(30)


@pytest.fixture(scope='module')
def served(browser, demo_library, tmp_path_factory):
    pytest.importorskip('voila')
    tmp = tmp_path_factory.mktemp('app')
    app = Served(demo_library, tmp=tmp)
    app.tmp = tmp
    yield app
    if app.process.poll() is None: app.end(signal.SIGTERM)


def test_it_works(served, page):
    page.goto(f'{served.base}?token={served.token}')
    page.locator('.ir-tile').first.wait_for(timeout=30_000)
    assert 'demo' in page.title()
    assert not page.get_by_text('import json').count()
    page.locator('.ir-tile[aria-posinset="5"] .ir-picture').click()
    page.get_by_text('most like the question').wait_for()
    page.wait_for_function("() => [...document.querySelectorAll('.ir-tile img')].length > 5 && [...document.querySelectorAll('.ir-tile img')].every(i => i.complete && i.naturalWidth > 20)")
    before = page.locator('.ir-tile[aria-posinset="3"]').get_attribute('data-id')
    for name, key in (('clip', 'Home'), ('color', 'End')):
        handle = page.locator('.widget-slider', has=page.get_by_text(name, exact=True)).locator('.noUi-handle')
        handle.focus()
        handle.press(key)
    page.wait_for_function("id => document.querySelector('.ir-tile[aria-posinset=\"3\"]')?.dataset.id !== id", arg=before)


def test_dark_where_the_system_is(served, new_page):
    page = new_page(color_scheme='dark')
    page.goto(f'{served.base}?token={served.token}')
    page.locator('.ir-tile').first.wait_for(timeout=30_000)
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r'\d+', ground)[:3])) < 60


@pytest.mark.parametrize('path', ['', 'voila/render/explorer.ipynb', 'api/kernels', 'voila/files/explorer.ipynb', '?token=wrong'])
def test_no_token_no_pictures(served, path):
    assert served.status(path) in (302, 401, 403, 404)


def test_a_page_of_another_host_is_refused(served, new_page, problems):
    "A web page that the person happens to visit cannot talk to the kernel"
    problems.allow('WebSocket|ERR_|403|Failed')
    page = new_page()
    page.goto(f'{served.base}?token={served.token}')
    page.locator('.ir-tile').first.wait_for(timeout=30_000)
    kernel = page.evaluate("() => JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    assert served.status(f'api/kernels/{kernel}/channels', Connection='Upgrade', Upgrade='websocket', Origin='http://evil.example',
                         **{'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': '13'}) in (401, 403)


def test_files_of_the_folder_are_not_served(served, page, demo_library):
    page.goto(f'{served.base}?token={served.token}')
    page.locator('.ir-tile').first.wait_for(timeout=30_000)
    for path in ('voila.json', 'explorer.ipynb', '../voila.json', str(demo_library/'coffee'/'coffee_original.png').lstrip('/')):
        answer = page.request.get(f'{served.base}voila/files/{path}')
        assert answer.status in (403, 404), path


@pytest.mark.skipif(os.name != 'posix', reason='signals of POSIX')
@pytest.mark.parametrize('how', ['SIGINT', 'SIGTERM', 'SIGHUP']) # Ctrl-C, kill, a terminal that is closed
def test_it_ends_and_leaves_nothing(browser, demo_library, tmp_path, how):
    pytest.importorskip('voila')
    app = Served(demo_library, tmp=tmp_path)
    assert list(tmp_path.glob('image-recommender-*'))
    assert app.end(getattr(signal, how)) == 0
    assert not list(tmp_path.glob('image-recommender-*'))
    left = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True).stdout
    assert not [line for line in left.splitlines() if str(tmp_path) in line and 'explore' not in line]


def test_what_is_wrong_is_told_first(tmp_path):
    run = lambda *args: subprocess.run([sys.executable, '-m', 'image_recommender.cli', 'explore', '--no-browser', *args], capture_output=True, text=True, timeout=60)
    (tmp_path/'empty').mkdir()
    for args, code, words in ((('--library', str(tmp_path/'empty')), 1, 'is not indexed yet'), (('--library', str(tmp_path/'absent')), 2, 'does not exist')):
        p = run(*args)
        assert (p.returncode, 'Traceback' in p.stderr) == (code, False) and words in p.stderr
