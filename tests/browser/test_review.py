"The review of duplicates in JupyterLab: choosing, comparing, and what happens to the files"
import csv, os, shutil
import pytest
from PIL import Image
from playwright.sync_api import expect

BEGIN = """
from image_recommender import ImageRecommender
rec = ImageRecommender({folder!r})
rec.index(progress=False)
found = rec.duplicates(kinds=('exact', 're-encoding'))
ui = found.review()
"""


@pytest.fixture
def folder(tmp_path):
    "Three pictures: three files of the cat, two of the cup, two of the rocket"
    from importlib.resources import files
    folder, photos = tmp_path/'photos', files('skimage')/'data'
    (folder/'old').mkdir(parents=True)
    for name in ('chelsea.png', 'coffee.png', 'rocket.jpg'): shutil.copy(photos/name, folder)
    shutil.copy(folder/'chelsea.png', folder/'old'/'cat.png')
    Image.open(folder/'chelsea.png').resize((225, 150)).save(folder/'cat_small.jpg')
    Image.open(folder/'coffee.png').save(folder/'old'/'coffee (2).jpg', quality=60)
    shutil.copy(folder/'rocket.jpg', folder/'old'/'<b>rocket & co.jpg')
    os.utime(folder/'chelsea.png', (1.6e9, 1.6e9))
    return folder

def there(folder): return {p.relative_to(folder).as_posix() for p in folder.rglob('*.*g')}

def card(output, name): return output.locator('.rv-list .rv-card', has=output.page.get_by_text(name, exact=True))

@pytest.fixture
def review(run_notebook, folder):
    "The notebook, and the interface in it"
    nb = run_notebook(BEGIN.format(folder=str(folder)), 'ui')
    output = nb.output(1)
    expect(output.locator('.rv-list .rv-group[role=listitem]')).to_have_count(3)
    return nb, output

def loaded(output):
    "Wait until all pictures that are in sight have come"
    output.page.wait_for_function("e => [...e.querySelectorAll('.rv-list .rv-card img')].every(i => i.complete && i.naturalWidth)", arg=output.element_handle())

def test_choosing(review, folder):
    nb, output = review
    loaded(output)
    before = there(folder)
    expect(output.locator('.rv-sum')).to_contain_text('4 copies go')
    card(output, 'cat.png').get_by_role('radio').check()
    expect(card(output, 'cat.png').locator('.rv-badge')).to_have_text('keep')
    expect(card(output, 'chelsea.png').locator('.rv-badge')).to_have_text('goes')
    expect(card(output, 'chelsea.png')).to_contain_text('same content as cat.png')
    expect(card(output, 'cat_small.jpg')).to_contain_text('with chelsea.png as keeper')
    card(output, 'cat_small.jpg').get_by_role('checkbox').check()
    expect(output.locator('.rv-sum')).to_contain_text('3 copies go')
    nb.wait_for("[[c.path.name for c in g.images] for g in ui.decision if len(g) and g.keeper.path.name == 'cat.png'] == [['cat.png', 'chelsea.png']]")
    output.get_by_text('The same in Python').first.click()
    code = output.locator('.rv-python pre')
    expect(code).to_contain_text("keep=['old/cat.png'], also=['cat_small.jpg']")
    nb.wait_for(f"{code.inner_text()}.to_dicts() == ui.decision.to_dicts()")
    output.get_by_role('button', name='Undo').click()
    output.get_by_role('button', name='Undo').click()
    expect(output.locator('.rv-sum')).to_contain_text('4 copies go')
    expect(output.get_by_role('button', name='Undo')).to_be_disabled()
    expect(output.get_by_text('<b>rocket & co.jpg', exact=True)).to_be_visible() # a name is no markup
    assert there(folder) == before

def test_keys(review):
    nb, output = review
    first, cells = output.locator('.rv-group[role=listitem]').nth(0), nb.page.locator('.jp-Notebook .jp-Cell').count()
    first.focus()
    press = nb.page.keyboard.press
    nb.page.keyboard.type('dd') # would delete the cell
    press('2')
    nb.wait_for('ui.review.choice(0).keeper == 1')
    press('Shift+Digit1')
    nb.wait_for('ui.review.choice(0).also == {0}')
    press('ArrowDown')
    press('s')
    nb.wait_for('ui.review.choice(1).skip')
    expect(output.locator('.rv-sum')).to_contain_text('1 skipped')
    press('u')
    nb.wait_for('not ui.review.choice(1).skip')
    press('c')
    dialog = output.locator('dialog.rv-compare')
    expect(dialog).to_be_visible()
    press('2')
    nb.wait_for('ui.review.choice(1).keeper == 1')
    press('Escape')
    expect(dialog).to_be_hidden()
    press('Control+z')
    nb.wait_for('ui.review.choice(1).keeper == 0')
    assert nb.page.locator('.jp-Notebook .jp-Cell').count() == cells

def test_comparing(review):
    nb, output = review
    card(output, 'cat_small.jpg').locator('.rv-picture').click()
    dialog = output.locator('dialog.rv-compare')
    pictures = dialog.locator('img')
    expect(pictures).to_have_count(2)
    nb.page.wait_for_function("d => [...d.querySelectorAll('img')].map(i => i.naturalWidth).join() == '451,225'", arg=dialog.element_handle())
    expect(dialog.get_by_role('table')).to_contain_text('451 × 300')
    dialog.get_by_role('button', name='Image ›').click()
    expect(pictures.nth(1)).to_have_attribute('alt', 'cat.png')
    dialog.get_by_role('button', name='Keep too').nth(1).click()
    expect(dialog.locator('figure').nth(1)).to_have_attribute('data-state', 'stays')
    dialog.get_by_role('button', name='Group ›').click()
    expect(dialog.get_by_role('heading')).to_contain_text('Group 2 of 3')
    dialog.get_by_role('button', name='Close').click()
    nb.wait_for('len(ui.review.choice(0).also) == 1')

def test_moving(review, folder, tmp_path):
    nb, output = review
    card(output, 'cat.png').get_by_role('radio').check()
    card(output, 'cat_small.jpg').get_by_role('checkbox').check()
    output.get_by_role('button', name='Move copies to…').click()
    dialog = output.locator('dialog.rv-plan')
    expect(dialog.get_by_role('textbox')).to_have_value(str(tmp_path/'photos copies'))
    dialog.get_by_role('textbox').fill(str(folder/'in it'))
    dialog.get_by_role('button', name='Show the plan').click()
    expect(dialog.get_by_role('alert')).to_contain_text('outside of it')
    dialog.get_by_role('textbox').fill(str(tmp_path/'away'))
    dialog.get_by_role('button', name='Show the plan').click()
    expect(dialog).to_contain_text('3 files')
    before = there(folder)
    dialog.get_by_role('button', name='Cancel').click()
    assert there(folder) == before and not (tmp_path/'away').exists()
    output.get_by_role('button', name='Move copies to…').click()
    dialog.get_by_role('button', name='Move 3 files').click()
    expect(output.locator('.rv-said')).to_contain_text('3 files')
    expect(output.locator('.rv-sum')).to_contain_text('All groups are done')
    assert there(folder) == {'old/cat.png', 'cat_small.jpg', 'coffee.png', 'old/<b>rocket & co.jpg'}
    with open(tmp_path/'away'/'moved.csv', newline='') as f: assert len(list(csv.DictReader(f))) == 3

def test_deleting_wants_the_number(review, folder):
    nb, output = review
    (folder/'old'/'cat.png').unlink()
    output.get_by_role('button', name='Delete…').click()
    dialog, before = output.locator('dialog.rv-plan'), there(folder)
    expect(dialog).to_contain_text('cat.png: the file is gone')
    yes = dialog.get_by_role('button', name='Delete 3 files')
    expect(yes).to_be_disabled()
    dialog.get_by_role('textbox').fill('2')
    expect(yes).to_be_disabled()
    nb.python("ui._receive(ui, dict(do='confirm', token=ui.review._offer.token, typed='2'), [])") # as a browser that does not care
    expect(dialog.get_by_role('alert')).to_contain_text('Nothing was deleted')
    assert there(folder) == before
    dialog.get_by_role('textbox').fill('3')
    yes.click()
    expect(output.locator('.rv-said')).to_contain_text('3 files, ')
    expect(output.locator('.rv-sum')).to_contain_text('All groups are done')
    assert there(folder) == {'chelsea.png', 'coffee.png', 'old/<b>rocket & co.jpg'}

def test_saving(review, lab):
    nb, output = review
    output.get_by_role('button', name='Save as CSV').click()
    expect(output.locator('.rv-said')).to_contain_text('Saved 3 groups with 4 copies')
    with open(lab.folder/'duplicates.csv', newline='') as f: assert len(list(csv.DictReader(f))) == 7
    (lab.folder/'duplicates.csv').unlink()

def test_ten_thousand_groups(run_notebook, folder):
    nb = run_notebook(BEGIN.format(folder=str(folder)) + '''
from image_recommender.tidy import Duplicates
ui = Duplicates([found[i % 3] for i in range(10_000)], rec).review()
''', 'ui')
    output = nb.output(1)
    groups = output.locator('.rv-list .rv-group[role=listitem]')
    expect(groups.first).to_be_visible()
    nb.page.evaluate("e => e.scrollTop = e.scrollHeight", output.locator('.rv-list').element_handle())
    expect(output.get_by_text('Group 10,000', exact=True)).to_be_visible()
    loaded(output)
    assert groups.count() < 12
    stored = nb.save()
    assert len(str(stored)) < 100_000 + sum(len(str(c['outputs'])) for c in stored['cells'])

def test_two_views_and_missing_files(run_notebook, folder):
    nb = run_notebook(BEGIN.format(folder=str(folder)) + "(rec.root/'cat_small.jpg').unlink(missing_ok=True)", 'ui', 'ui', "found[:0].review()")
    one, two = nb.output(1), nb.output(2)
    expect(nb.output(3).locator('.rv-sum')).to_have_text('No duplicates were found.')
    for output in (one, two): loaded(output) # a grey tile says that the file does not exist
    card(one, 'cat.png').get_by_role('radio').check()
    expect(card(two, 'cat.png').get_by_role('radio')).to_be_checked()
    card(two, 'cat_small.jpg').locator('.rv-picture').click()
    expect(two.locator('dialog.rv-compare')).to_be_visible()
    expect(one.locator('dialog.rv-compare')).to_be_hidden()
    nb.page.keyboard.press('Escape')
    one.get_by_role('button', name='Delete…').click()
    dialog = one.locator('dialog.rv-plan')
    expect(dialog).to_contain_text('cat_small.jpg: the file is gone')
    expect(two.locator('dialog.rv-plan')).to_be_hidden()
    dialog.get_by_role('textbox').fill('delete')
    dialog.get_by_role('textbox').press('Enter')
    for output in (one, two): expect(output.locator('.rv-sum')).to_contain_text('All groups are done')
    assert there(folder) == {'old/cat.png', 'coffee.png', 'old/<b>rocket & co.jpg'}
    nb.run_all() # the old interfaces go without a word
