"Questions, weights and filters of any form: a right answer, or a refusal that the library wrote itself"
import dis, io, math, os, warnings
from datetime import date, datetime, timezone
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, event, given, settings, strategies as st
from PIL import Image
import image_recommender
from image_recommender import ImageRecommender
from image_recommender.connection import StoreError
from image_recommender.filters import parse_where
from image_recommender.loader import BadImage
from image_recommender.query import Ask

PACKAGE = os.path.dirname(image_recommender.__file__)
REFUSALS = ValueError, KeyError, TypeError, BadImage, StoreError
METRICS = 'clip', 'color', 'phash'
N, DIM = 300, 16
more_often = settings(max_examples=2*settings.default.max_examples)
FORMATS = 'JPEG', 'PNG', 'HEIF'
NAMES = ['beach.jpg', "o'neil.png", 'a;b--c.jpg', 'x%_y.JPG', '*?.gif', '[1].tif', 'naïve ümläut.jpg', '(select).png', '"q".jpg', 'new\nline.jpg', '\udcff.jpg', 'a\\b.jpg']


def on_purpose(error):
    "Whether an exception was raised by a `raise` of this package, not by an accident inside it or below"
    trace = error.__traceback__
    while trace.tb_next: trace = trace.tb_next
    code = trace.tb_frame.f_code
    return code.co_filename.startswith(PACKAGE) and dis.opname[code.co_code[trace.tb_lasti]] == 'RAISE_VARARGS'


def answer(ask, *args, **kwargs):
    "What comes back, or None for a refusal that says something"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning) # of filters that name some images that are not there
            return ask(*args, **kwargs)
    except REFUSALS as e:
        if not on_purpose(e): raise
        assert len(str(e)) > 10 and '\n  File' not in str(e)
        event(f'{type(e).__name__}: {str(e)[:30]!r}')


def make_rows():
    "Features with near copies, blank images and ties among them"
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(N, DIM)).astype(np.float32)
    clip[::7] = clip[0] + .05*rng.normal(size=clip[::7].shape)
    clip[40:44] = clip[40]
    color = rng.dirichlet(np.full(8, .5), (N, 3)).astype(np.float32).reshape(N, 24)
    color[5] = np.tile(np.eye(8)[0], 3) # of one flat colour
    phash = rng.integers(0, 2**64, N, dtype=np.uint64)
    phash[:3] = 0, 2**63, phash[9] ^ np.uint64(5)
    return dict(clip=clip, color=color, phash=phash)


@pytest.fixture(scope='module')
def rec(tmp_path_factory):
    "300 images that have no files, with facts and a table"
    rng = np.random.default_rng(1)
    paths = [f'{"abc"[i % 3]}/{i:03} {NAMES[i % len(NAMES)]}' for i in range(N)]
    rec = ImageRecommender.from_features(tmp_path_factory.mktemp('store')/'s', paths, **make_rows())
    with rec.db.transaction() as db:
        for i in range(1, N+1):
            known = i % 10 > 0
            db.execute('UPDATE images SET width=?, height=?, size=?, mtime_ns=?, taken=?, format=? WHERE id=?',
                       (int(rng.integers(1, 6000))*known, int(rng.integers(1, 4000))*known, int(rng.integers(1, 10**8)), int(rng.integers(1, 2*10**18)),
                        float(rng.integers(-10**9, 2*10**9)) if known else None, FORMATS[i % 3], i))
    table = pd.DataFrame({'path': pd.Series(paths, dtype=object), 'rating': rng.integers(0, 6, N), 'price': np.where(rng.random(N) < .2, np.nan, rng.random(N)*100),
                          "it's; DROP TABLE images--": rng.integers(0, 3, N), 'who': rng.choice(["O'Neil", 'x"; --', 'Zoë', '%_'], N),
                          'when': pd.Timestamp('2020-01-01') + pd.to_timedelta(rng.integers(0, 2000, N), 'D'), 'ok': rng.random(N) < .5})
    rec.join(table)
    rec.facts = {r.id: r for r in rec.db.images()}
    rec.table = table.assign(id=range(1, N+1)).set_index('id')
    rec.rows = {i: rec.features(i) for i in range(1, N+1)}
    return rec


def content(rec):
    "All that the database holds"
    db = rec.db._db
    return {t: db.execute(f'SELECT * FROM {t}').fetchall() for t, in db.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()}


def check(results, k=None):
    "What holds for any answer"
    scores = [m.score for m in results]
    assert all(map(math.isfinite, scores)) and scores == sorted(scores, reverse=True)
    assert len({m.id for m in results}) == len({m.path for m in results}) == len(results)
    assert [m.rank for m in results] == list(range(1, len(results)+1))
    if k is not None: assert len(results) <= k
    for m in results:
        assert abs(sum(m.contributions.values()) - m.score) < 1e-6 and -1.01 <= m.score <= 1+1e-6
        if m.parts: assert abs(sum(v for p in m.parts for v in p.values()) - m.score) < 1e-6
    results.to_dicts(), repr(results)


# Anything at all

huge = st.sampled_from([2**31, 2**63-1, 2**63, 2**64, -2**63-1, 10**400, -1, 0])
numbers = st.one_of(st.integers(-3, 310), huge, st.floats(), st.booleans(), st.sampled_from([np.int64(3), np.uint64(2**64-1), np.float32('nan'), np.bool_(True), np.int8(-5)]))
words = st.one_of(st.text(max_size=12), st.sampled_from(["'", '"', "'; DROP TABLE images; --", '1 OR 1=1', "x' UNION SELECT value FROM settings --", '(SELECT sha256 FROM images)', '/*', '\0', 'a\0b',
                  '\ud800', '\udcff', '%', '_', '*', '?', '[', '[]', '[!', '[!]', '[z-a]', '[a-', '**/', '**', '\\', '..', '/', '.', '', ' ', '~', '-1', 'nan', 'inf', '-inf', '1e999',
                  '>=', '<', '!=', '==', '>1 <', '1..', '..', '..2', '1..2..3', '>=1 <=0', '0:0', '1:0', ':', '3:2', '١٢', '1_0', '_', '.', '5kb', '5 zb', '1e5MB', '2021-13', '2021-02-30', '9999-12-31', '0001', '9999',
                  '0000-01-01', '2021-06-05 25:00', '2021', '-2021', 'red', '#12345', '#fff', 'rgb(1,2,3)', 'rgb(999,0,0)', 'hsl(0,200%,50%)', 'clip', 'clip=1', 'file:///etc/passwd', 'data:image/png;base64,AAAA']), st.sampled_from('9x*[').map(lambda c: 5000*c))
dates = st.one_of(st.dates(), st.datetimes(), st.datetimes(timezones=st.just(timezone.utc)), st.sampled_from([np.datetime64('NaT'), np.datetime64('2021-06'), pd.NaT, pd.Timestamp('2021-06-05'), date.min, date.max, datetime.max, datetime.min]))
arrays = st.builds(lambda shape, kind, fill: np.full(shape, fill).astype(kind) if kind != 'O' else np.full(shape, None, object),
                   st.lists(st.integers(0, 30), max_size=4).map(tuple).filter(lambda s: math.prod(s) < 2000), st.sampled_from(['f4', 'f8', 'i8', 'u1', 'u2', '?', 'O', 'c8', 'M8[s]', 'U3']),
                   st.sampled_from([0, 1, 200, 3]))
odd_arrays = st.one_of(arrays, st.sampled_from([np.full((9, 9), np.nan), np.full((9, 9, 3), np.inf), np.zeros((5, 5, 3), np.uint8), np.random.default_rng(0).random((20, 30, 3)), np.zeros(DIM), np.array(5), np.array([1, 2])]))
pictures = st.builds(lambda mode, size, flat: (Image.new('L', size) if flat else Image.effect_noise(size, 60)).convert(mode),
                     st.sampled_from(['L', 'RGB', 'RGBA', '1', 'P', 'CMYK', 'F', 'I', 'LA', 'YCbCr']), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.booleans())


def png(im):
    out = io.BytesIO()
    im.save(out, 'PNG')
    return out.getvalue()


PNG = png(Image.effect_noise((20, 30), 60).convert('RGB'))
data = st.one_of(st.binary(max_size=50), st.just(PNG), st.integers(1, len(PNG)).map(lambda n: PNG[:n]), st.just(PNG).map(bytearray), st.just(PNG).map(memoryview), st.just(PNG).map(io.BytesIO))
scalars = st.one_of(st.none(), numbers, words, words.map(lambda w: Path(w.replace('\0', ''))), dates, st.just(object()), st.just(1j), st.just(Ellipsis))
anything = st.recursive(st.one_of(scalars, odd_arrays, data), lambda some: st.one_of(st.lists(some, max_size=3), st.tuples(some, some), st.dictionaries(st.one_of(words, numbers), some, max_size=3),
                        st.sets(scalars, max_size=3), st.frozensets(scalars, max_size=2), st.lists(some, max_size=2).map(iter)), max_leaves=4)

known_paths = st.sampled_from([f'{"abc"[i % 3]}/{i:03} {NAMES[i % len(NAMES)]}' for i in range(0, N, 5)])
rows = st.fixed_dictionaries({}, optional=dict(clip=st.one_of(st.just(np.arange(DIM, dtype=np.float32)), st.just([np.nan]*DIM), st.just(np.zeros(DIM)), st.just([np.inf]*DIM), st.just([1e38]*DIM), anything),
                             color=st.one_of(st.just(np.full(24, .125, np.float32)), st.just([np.nan]*24), st.just([1e30]*24), anything), phash=st.one_of(st.integers(0, 2**64-1), numbers, anything)))
one_query = st.one_of(st.integers(1, N), known_paths, known_paths.map(Path), rows, pictures, data, odd_arrays,
                      st.builds(lambda **a: answer(Ask, **a), image=anything, text=anything, color=anything, weight=numbers, box=anything, mask=anything), anything)
queries = st.one_of(one_query, st.lists(one_query, max_size=4), st.lists(one_query, max_size=3).map(tuple))
good_weights = st.dictionaries(st.sampled_from(METRICS), st.floats(0, 1), min_size=1)
weights = st.one_of(st.none(), good_weights, st.dictionaries(st.one_of(st.sampled_from([*METRICS, 'colour', 'Clip', 'phsh']), words), numbers, max_size=4), anything)
KEYS = 'path', 'name', 'folder', 'suffix', 'format', 'width', 'height', 'megapixels', 'aspect', 'size', 'taken', 'modified', 'id', 'rating', 'price', 'who', 'when', 'ok', "it's; DROP TABLE images--", 'table.rating'
filters = st.one_of(words, st.dictionaries(st.one_of(st.sampled_from(KEYS), words), st.one_of(words, numbers, dates, st.lists(st.one_of(words, numbers, dates), max_size=3), st.tuples(scalars, scalars), anything), max_size=3), anything)


def offline(value):
    "Web addresses are not for a test"
    return 'http' not in repr(value).lower()


usual = dict(k=st.integers(1, 400), weights=good_weights, candidates=st.integers(1, 400), exact=st.booleans(), include_self=st.booleans(), collapse=st.booleans(),
             where=st.dictionaries(st.sampled_from(['width', 'height', 'rating', 'id']), st.tuples(st.integers(0, 500), st.integers(500, 5000)), max_size=2),
             within=st.floats(1e-6, 1), color=st.sampled_from(['red', ['#fff', 'navy'], {'green': .3, 'red': .2}]), unlike=st.lists(st.integers(1, N), max_size=2))
broken = dict(query=queries, k=st.one_of(numbers, anything), weights=weights, candidates=st.one_of(numbers, anything), where=filters, within=st.one_of(numbers, anything),
              text=anything, color=anything, unlike=queries, box=st.one_of(st.tuples(*[numbers]*4), anything), mask=anything)


@more_often
@given(st.fixed_dictionaries(dict(query=st.one_of(st.integers(1, N), known_paths, st.lists(st.integers(1, N), min_size=1, max_size=3), pictures)), optional=usual), st.data())
def test_a_question_with_one_odd_part_is_answered_or_refused(rec, asked, more):
    odd = more.draw(st.sampled_from(list(broken)))
    asked[odd] = more.draw(broken[odd])
    if not isinstance(asked['query'], (int, str, list)): asked['weights'] = asked.get('weights', {}) if odd == 'weights' else dict(color=.5, phash=.5) # without a network
    assume(offline(asked))
    found = answer(rec.similar, **asked, on_bad=more.draw(st.sampled_from([None, lambda bad: None])))
    if found is not None: check(found, asked.get('k', 5 if asked.get('within') is None else None))


@more_often
@given(st.lists(queries, max_size=4), weights, st.one_of(st.none(), st.integers(1, 20)))
def test_many_questions_are_answered_or_refused(rec, asked, weights, k):
    assume(offline(asked))
    found = answer(rec.similar_many, asked, k, weights)
    if found is not None:
        assert len(found) == len(asked)
        for results in found: check(results, k or 5)


@more_often
@given(filters)
def test_any_filter_is_obeyed_or_refused_and_nothing_is_written(rec, where):
    before = content(rec)
    paths = answer(rec.select, where)
    assert content(rec) == before
    if paths is not None:
        assert len(set(paths)) == len(paths) <= N
        found = answer(rec.similar, 1, 20, where=where)
        if found is not None:
            check(found, 20)
            assert set(found.paths) <= set(paths)


@more_often
@given(st.lists(st.one_of(words, st.builds('{}{}{}'.format, st.sampled_from(KEYS), st.sampled_from(['=', '>=', '<', '!=', '==', '>', '<=']), words)), max_size=3))
def test_any_condition_of_the_command_line_is_understood_or_refused(rec, conditions):
    where = answer(parse_where, conditions)
    if where is not None: answer(rec.select, where)


likes = st.one_of(st.lists(st.one_of(st.integers(1, N), known_paths, rows, st.tuples(st.integers(1, N), st.floats(0, 400)), anything), max_size=4), st.dictionaries(st.integers(1, N), st.floats(0, 400), max_size=3), anything)


@more_often
@given(st.fixed_dictionaries(dict(likes=likes), optional=dict(dislikes=likes, k=st.one_of(st.integers(1, 30), anything), diversity=st.one_of(st.floats(0, 1), anything), seen=st.one_of(st.lists(st.integers(1, N)), anything),
       weights=weights, half_life=st.one_of(st.floats(1, 100), anything), pool=st.one_of(st.none(), st.integers(30, 400), anything), collapse=st.booleans())))
def test_any_taste_is_recommended_for_or_refused(rec, asked):
    assume(offline(asked))
    found = answer(rec.recommend, **asked)
    if found is not None:
        assert len({m.id for m in found}) == len(found) <= asked.get('k', 20)
        if isinstance(asked['likes'], list): assert not {m.id for m in found} & {x for x in asked['likes'] if isinstance(x, int)}


# Filters against a plain reading of them

columns = {'width': lambda r, t: r.width or None, 'height': lambda r, t: r.height or None, 'size': lambda r, t: r.size, 'id': lambda r, t: r.id, 'megapixels': lambda r, t: r.width*r.height/1e6 or None,
           'aspect': lambda r, t: r.width/r.height if r.height else None, 'taken': lambda r, t: r.taken, 'rating': lambda r, t: t.rating, 'price': lambda r, t: None if math.isnan(t.price) else t.price,
           "it's; DROP TABLE images--": lambda r, t: t["it's; DROP TABLE images--"]}
holds = {'<': lambda v, x: v < x, '<=': lambda v, x: v <= x, '>': lambda v, x: v > x, '>=': lambda v, x: v >= x, '=': lambda v, x: v == x, '!=': lambda v, x: v != x}


@st.composite
def conditions(draw, rec):
    "A filter, and the function of a record and its row of the table that says the same"
    key = draw(st.sampled_from([*columns, 'path', 'format', 'who', 'ok']))
    if key == 'path':
        part = draw(st.sampled_from(['a/*', 'b/', "*o'neil*", '*;b--*', '*%_y*', '*.jpg', 'c/**', '*[[]1]*', '*(SELECT)*', '*"*', '*naïve*', '*NAÏVE*', '\udcff*', '*\\*', '*\n*']))
        plain = {'a/*': lambda p: p[:2] == 'a/', 'b/': lambda p: p[:2] == 'b/', 'c/**': lambda p: p[:2] == 'c/', '*.jpg': lambda p: p.lower().endswith('.jpg'), '*[[]1]*': lambda p: '[1]' in p, '\udcff*': lambda p: False}
        inside = part.strip('*').lower()
        return {key: part}, lambda r, t: plain.get(part, lambda p: inside in p.lower())(r.path)
    if key == 'format':
        some = draw(st.lists(st.sampled_from(['jpg', 'PNG', 'heic', "x' OR 1=1", 'JPEG']), max_size=3))
        return {key: some}, lambda r, t: r.format in {dict(jpg='JPEG', heic='HEIF').get(s, s) for s in some}
    if key == 'who':
        name = draw(st.sampled_from(["O'Neil", 'x"; --', 'Zoë', '%_', "' OR ''='"]))
        return {key: name}, lambda r, t: t.who.lower() == name.lower()
    if key == 'ok':
        yes = draw(st.booleans())
        return {key: yes}, lambda r, t: bool(t.ok) == yes
    value = columns[key]
    given = draw(st.one_of(st.integers(-10, 10**8), st.floats(-1e3, 1e8), st.sampled_from([value(r, None) for r in rec.facts.values()] if key in ('width', 'height', 'size', 'id') else [0, 1, 2, 3])).filter(lambda v: v is not None)) if key != 'taken' else draw(st.dates(date(1945, 1, 1), date(2030, 1, 1)))
    kind = draw(st.sampled_from(['compare', 'range', 'choice', 'plain']))
    if key == 'taken':
        start = datetime(given.year, given.month, given.day, tzinfo=timezone.utc).timestamp()
        if kind == 'range': return {key: (str(given), None)}, lambda r, t: r.taken is not None and r.taken >= start
        return {key: f'<{given}'}, lambda r, t: r.taken is not None and r.taken < start
    known = lambda test: lambda r, t: (v := value(r, t)) is not None and bool(test(v))
    if kind == 'compare':
        op = draw(st.sampled_from(list(holds)))
        return {key: f'{op} {given!r}'}, known(lambda v: holds[op](v, given))
    if kind == 'range':
        low, high = draw(st.sampled_from([(given, given+1000), (None, given), (given, None), (given, given)]))
        return {key: (low, high)}, known(lambda v: (low is None or v >= low) and (high is None or v <= high))
    if kind == 'choice': return {key: [given, 5]}, known(lambda v: v in (given, 5))
    return {key: given}, known(lambda v: v == given)


@given(st.data())
def test_filters_mean_what_they_say(rec, data):
    some = data.draw(st.lists(conditions(rec), min_size=1, max_size=3))
    where = {k: v for c, _ in some for k, v in c.items()}
    used = {next(iter(c)): test for c, test in some} # of a key that comes twice the last counts, as in a dictionary
    expected = [rec.root/r.path for r in rec.facts.values() if all(test(r, rec.table.loc[r.id]) for test in used.values())]
    assert rec.select(where) == expected
    found = rec.similar(7, k=N, where=where, exact=data.draw(st.booleans()))
    check(found)
    assert set(found.paths) == set(expected) - {rec.root/rec.facts[7].path}


# Answers against a scan written out here

def distance_of(metric, a, b):
    if metric == 'clip': return max(1 - float(a@b), 0.) # of rows that were of unit length before they were rounded to 16 bits
    if metric == 'color': return float(np.sqrt(((a-b)**2).sum()))
    bits = lambda h: np.where(np.array(list(f'{h:064b}')) == '1', 1, -1).reshape(8, 8)
    odd = np.where(np.arange(8) % 2, -1, 1)
    a, b = bits(a), bits(b)
    a = [m for t in (a, a.T) for across in (1, odd[None, :]) for down in (1, odd[:, None]) for m in [t*across*down]] # mirroring negates odd frequencies, a quarter turn transposes
    return float(min((m != b).sum() + 2*(i > 0) for i, m in enumerate(a)))


def says_something(metric, row):
    if metric == 'color': return row.reshape(3, 8).max(1).min() < .995
    return metric == 'clip' or bin(row).count('1') > 3


def score_of(rec, wanted, i, shares):
    "Score of image `i`: the mean over the images that are asked for; None when nothing is known"
    parts, known = [], False
    for q in wanted:
        for n, share in shares.items():
            if not (share and says_something(n, rec.rows[q][n]) and says_something(n, rec.rows[i][n])): continue
            known, curve = True, rec.calibration.scales[n]
            x = distance_of(n, rec.rows[q][n], rec.rows[i][n])/curve['scale']
            parts.append(share/len(wanted)*(math.exp(-x) if curve['shape'] == 'sharp' else max(1-x, .1*math.exp((.9-x)/.1)) if x > .9 else 1-x))
    return sum(parts) if known else None


@settings(max_examples=settings.default.max_examples//3)
@given(st.lists(st.integers(1, N), min_size=1, max_size=3, unique=True), good_weights, st.integers(1, 30))
def test_exact_answers_are_those_of_a_scan(rec, wanted, weights, k):
    assume(sum(weights.values()) > 1e-3)
    shares = {n: w/sum(weights.values()) for n, w in weights.items()}
    results = rec.similar(wanted, k, weights, exact=True)
    check(results, k)
    scores = {i: s for i in rec.rows if i not in wanted and (s := score_of(rec, wanted, i, shares)) is not None}
    assert len(results) == min(k, len(scores))
    np.testing.assert_allclose([m.score for m in results], sorted(scores.values(), reverse=True)[:k], atol=2e-5)
    np.testing.assert_allclose([m.score for m in results], [scores[m.id] for m in results], atol=2e-5)


@given(st.dictionaries(st.sampled_from(METRICS), st.floats(1e-3, 1e3), min_size=1), st.floats(1e-3, 1e300))
def test_only_the_ratios_of_weights_count(rec, weights, factor):
    assume(all(map(math.isfinite, larger := [w*factor for w in weights.values()])))
    a, b = rec.similar(3, 10, weights), rec.similar(3, 10, dict(zip(weights, larger)))
    np.testing.assert_allclose([m.score for m in a], [m.score for m in b], atol=1e-9)


@pytest.mark.parametrize('wrong, says', [({'colour': 1}, "did you mean 'color'"), ({'clip': -1}, 'the weight of clip'), ({'clip': math.nan}, 'the weight of clip'), ({'clip': math.inf}, 'the weight of clip'),
                                         ({'clip': 10**400}, 'the weight of clip'), ({'clip': 0}, 'all weights are 0'), ({}, 'all weights are 0'), ([.5, .5], 'by name'), (.5, 'by name'), ('clips', 'no taste')])
def test_wrong_weights_are_named(rec, wrong, says):
    with pytest.raises(ValueError, match=says): rec.similar(1, weights=wrong)


@pytest.mark.parametrize('wrong, says', [({'widht': 5}, "did you mean 'width'"), ({'width': 'x'}, 'is no number'), ({'taken': '2021-13'}, 'is no date'), ({'width OR 1=1 --': 5}, 'there is no'), ("width>=2000", 'a condition is written'),
                                         ({'name': '[z-a]'}, 'is no pattern'), ({"id) OR (1": 1}, 'there is no'), ({'format': '>JPEG'}, 'no order')])
def test_wrong_filters_are_named(rec, wrong, says):
    with pytest.raises(ValueError, match=says): rec.select(wrong)


def test_a_pattern_that_takes_ages_elsewhere_is_quick(rec):
    for pattern in ('*a'*30 + '!', 3000*'*' + '!', 'a/' + 3000*'*' + '!', 9*'**/' + '!'): assert rec.select(pattern) == [] == rec.select({'who': pattern})


# With a network: pictures in any form, regions, texts

@pytest.fixture(scope='module')
def seen(tmp_path_factory):
    "A library of photographs, embedded"
    from importlib.resources import files
    folder = tmp_path_factory.mktemp('photos')
    for name in ('astronaut.png', 'camera.png', 'chelsea.png', 'coffee.png', 'coins.png', 'rocket.jpg'): Image.open(files('skimage')/'data'/name).convert('RGB').resize((90, 60)).save(folder/name)
    rec = ImageRecommender(folder, model='efficientnet-lite0')
    rec.index(progress=False)
    return rec


boxes = st.one_of(st.none(), st.tuples(*[st.floats(0, 1)]*4), st.tuples(*[st.integers(-5, 100)]*4), st.tuples(*[numbers]*4))
masks = st.one_of(st.none(), st.sampled_from([np.ones((60, 90)), np.zeros((60, 90)), np.eye(60, 90) > 0, np.full((60, 90), np.nan), np.ones((3, 3)), np.ones((60, 90, 1), np.uint8), PNG]), odd_arrays)


@given(st.one_of(st.integers(1, 6), st.sampled_from(['coffee.png', 'rocket.jpg', PNG]), pictures, odd_arrays, data), boxes, masks, st.sampled_from([None, None, {'clip': 1}, {'color': 1, 'phash': 1}]), st.sampled_from([None, 'red', 'a cat']))
def test_pictures_and_regions_are_looked_at_or_refused(seen, query, box, mask, weights, color):
    found = answer(seen.similar, query, 6, weights, box=box, mask=mask, color=color)
    if found is None: return
    check(found, 6)
    if hasattr(query, 'seek'): query.seek(0)
    looked = seen.look(query, box=box, mask=mask) # the same question, looked at once
    again = seen.similar(looked, 6, weights, color=color)
    assert [m.id for m in again] == [m.id for m in found] and np.allclose([m.score for m in again], [m.score for m in found], atol=1e-5)
