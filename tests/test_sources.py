"Pictures from everywhere: nothing is lost without a word, nothing leads out, and no secret is shown"
import functools, http.server, io, json, os, pickle, sys, tarfile, threading, time
import pytest
from PIL import Image
from image_recommender import sources
from image_recommender.loader import BadImage, fetch
from image_recommender.sources import FolderSource, FsspecSource, HuggingFaceSource, ParquetSource, WebDatasetSource, open_source

fsspec = pytest.importorskip('fsspec')
pa = pytest.importorskip('pyarrow')
pq = pytest.importorskip('pyarrow.parquet')
not_root = pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0, reason='nothing is forbidden here')

def png(i=0):
    out = io.BytesIO()
    Image.new('RGB', (8, 8), (i % 256, i//256, 120)).save(out, 'PNG')
    return out.getvalue()

def read(source, size=5000):
    "{name: content, or the reason why there is none} of all pictures; every part and the source itself go through what a worker gets"
    found = {}
    for part in source.parts(size):
        for item in pickle.loads(pickle.dumps(source)).items(json.loads(json.dumps(part))):
            assert item.path not in found and not item.path.startswith('/') and '..' not in item.path.split('/') and item.path.isprintable()
            try:
                found[item.path], mtime = item.read()
                assert isinstance(mtime, int)
            except BadImage as bad:
                assert bad.path == item.path
                found[item.path] = bad.reason
    return found

def tar(path, members, mode='w'):
    with tarfile.open(path, mode) as t:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if data in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE): member.type, member.linkname = data, 'x.png'
            else: member.size = len(data)
            t.addfile(member, io.BytesIO(data))
    return path

def table(path, row_group_size=None, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path

@pytest.fixture
def memory():
    "A bucket in memory"
    fs = fsspec.filesystem('memory')
    fs.store.clear()
    fs.pseudo_dirs[:] = ['']
    yield fs
    fs.store.clear()

@pytest.fixture
def server(tmp_path):
    "Address of a web server for a folder, which answers /slow.png slowly and /gone.png not at all"
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
        def do_GET(self):
            if 'slow' in self.path: time.sleep(3)
            super().do_GET()
    (tmp_path/'web').mkdir()
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=tmp_path/'web')) as s:
        s.handle_error = lambda *args: None
        threading.Thread(target=s.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{s.server_port}', tmp_path/'web'
        s.shutdown()


# Folders

def test_folder_names_of_all_kinds(tmp_path):
    names = ['é/ü.png', 'a b/c#d?.png', '日本.png'] if os.name == 'nt' else ['é/ü.png', 'a b/c#d?.png', '日本.png', 'a*b/[x].png']
    for n in names:
        (tmp_path/n.replace('?', '')).parent.mkdir(exist_ok=True)
        (tmp_path/n.replace('?', '')).write_bytes(png())
    (tmp_path/'notes.txt').write_bytes(b'')
    (tmp_path/'empty.png').write_bytes(b'')
    found = read(open_source(tmp_path), 2)
    assert set(found) == {n.replace('?', '') for n in names} | {'empty.png'} and found['empty.png'] == b''

@pytest.mark.skipif(sys.platform != 'linux', reason='names are bytes there')
def test_undecodable_names_survive_json(tmp_path):
    (tmp_path/os.fsdecode(b'\xff.png')).write_bytes(png())
    source = FolderSource(tmp_path)
    [part] = json.loads(json.dumps(list(source.parts())))
    [item] = source.items(part)
    assert item.read()[0] == png()

@not_root
def test_a_folder_that_cannot_be_listed_is_reported(tmp_path):
    (tmp_path/'closed').mkdir(mode=0)
    try: assert 'cannot be listed' in read(open_source(tmp_path))['closed']
    finally: (tmp_path/'closed').chmod(0o700)

def test_limit_of_size(tmp_path, memory):
    (tmp_path/'a.png').write_bytes(bytes(100))
    memory.pipe('/b/a.png', bytes(100))
    table(tmp_path/'t.parquet', image=[bytes(100)])
    tar(tmp_path/'t.tar', [('a.png', bytes(100)), ('b.png', png()[:50])])
    for where in tmp_path, 'memory://b', tmp_path/'t.parquet', tmp_path/'t.tar':
        found = list(read(open_source(where, max_pixels=10)).values())
        assert 'raise the limit with max_pixels=' in found[0] and found[1:] in ([], [png()[:50]])


# fsspec

def test_memory(memory):
    memory.pipe({f'/b/x/{n}.png': png(n) for n in range(5)} | {'/b/é ü/日.jpg': png(), '/b/.hidden/a.png': png(), '/b/x/a.txt': b'', '/b/zero.png': b''})
    source = FsspecSource('memory://b')
    assert [len(p['files']) for p in source.parts(3)] == [3, 3, 1]
    found = read(source, 3)
    assert found == {**{f'x/{n}.png': png(n) for n in range(5)}, 'é ü/日.jpg': png(), 'zero.png': b''}
    [_, size, mtime] = next(source.parts(1))['files'][0]
    assert size == 0 and abs(mtime-time.time_ns()) < 3600e9

def test_keys_that_lead_out_are_escaped_and_read(memory):
    memory.store['/b/x/../a.png'] = memory.store['/b/a\n.png'] = None
    class Keys(type(memory)):
        def ls(self, path, detail=True): return [dict(name=f'/b/{n}', size=1, type='file') for n in ('../a.png', 'a\n.png', '/a.png', '.png', 'a.png')]
    assert [e['name'] for e in sources._walk(Keys(), '/b', ('.png',))] == ['/b/../a.png', '/b//a.png', '/b/a\n.png', '/b/a.png']
    part = dict(files=[['../a.png', 1, 0], ['/a.png', 1, 0], ['a\n.png', 1, 0], ['a.png', 1, 0]])
    assert [i.path for i in FsspecSource('memory://b').items(part)] == ['%2E%2E/a.png', '%2F/a.png', 'a%0A.png', 'a.png']

def test_a_picture_that_went_away_is_bad(memory):
    memory.pipe('/b/a.png', png())
    source = FsspecSource('memory://b')
    [part] = source.parts()
    memory.rm('/b/a.png')
    [item] = source.items(part)
    with pytest.raises(BadImage, match='a.png: the file does not exist'): item.read()

@pytest.mark.parametrize('url, error, words', [
    ('memory://no/bucket', FileNotFoundError, 'memory://no/bucket does not exist'), ('nowhere://x', ValueError, 'no kind of address that fsspec knows')])
def test_addresses_that_lead_nowhere(memory, url, error, words):
    with pytest.raises(error, match=words): list(open_source(url).parts())

@pytest.mark.parametrize('kind, package', [('gs', 'gcsfs'), ('s3', 's3fs'), ('az', 'adlfs'), ('https', 'aiohttp')])
def test_missing_package_is_named(monkeypatch, kind, package):
    monkeypatch.setattr(fsspec.core, 'url_to_fs', lambda *a, **k: exec('raise ImportError("x")'))
    with pytest.raises(ImportError, match=f'pip install {package}'): list(FsspecSource(f'{kind}://bucket').parts())

@pytest.mark.parametrize('module, source, extra', [
    ('fsspec', FsspecSource('memory://b'), 'data'), ('pyarrow.parquet', ParquetSource('x.parquet'), 'data'), ('datasets', HuggingFaceSource('x'), 'datasets')])
def test_missing_extra_is_named(monkeypatch, module, source, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'image_recommender\[{extra}\]'"): list(source.parts())

def test_errors_say_what_to_do_and_show_no_secret():
    class NoCredentialsError(Exception): pass
    who, other = 'key:pass', 'u:p'
    url, options = f's3://{who}@bucket/x?sig=SIGNED', {'secret': 'verysecret', 'client_kwargs': {'token': 'othersecret'}}
    for e in NoCredentialsError('no'), PermissionError('verysecret'), FileNotFoundError('verysecret'), RuntimeError(f'x verysecret othersecret http://{other}@h/?sig=SIGNED\nline'), ImportError('x'):
        text = str(sources._explained(e, url, options))
        assert '\n' not in text and not any(s in text for s in ('verysecret', 'othersecret', 'SIGNED', 'pass@', 'u:p@'))
    assert 'AWS_ACCESS_KEY_ID' in str(sources._explained(NoCredentialsError('no'), url, options))
    source = FsspecSource(url, options)
    assert not any(s in f'{source} {source!r} {source.describe()}' for s in ('verysecret', 'SIGNED', 'pass@', 'othersecret'))

def test_every_listing_is_forgotten(memory, monkeypatch):
    memory.pipe({f'/b/{n}/a.png': png() for n in range(3)})
    calls = []
    monkeypatch.setattr(type(memory), 'invalidate_cache', lambda self, path=None: calls.append(path))
    read(FsspecSource('memory://b'))
    assert len(calls) >= 4

def test_web_listing(server):
    pytest.importorskip('aiohttp')
    url, folder = server
    (folder/'trip é').mkdir()
    for n in 'a.png', 'trip é/b.png', 'c.txt': (folder/n).write_bytes(png())
    assert read(open_source(f'{url}/')) == {'a.png': png(), 'trip%20%C3%A9/b.png': png()}

def test_web_tables_and_archives(server):
    pytest.importorskip('aiohttp')
    url, folder = server
    table(folder/'t.parquet', image=[png(1)])
    tar(folder/'t.tar', [('a.png', png(2))])
    assert read(open_source(f'{url}/t.parquet?sig=SIGNED')) == {'t.parquet/0': png(1)}
    assert read(open_source(f'{url}/t.tar')) == {'t.tar/a.png': png(2)}


# A real S3 protocol, spoken by moto

@pytest.fixture(scope='module')
def s3():
    pytest.importorskip('s3fs')
    server = pytest.importorskip('moto.server').ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    server.start()
    endpoint = 'http://{}:{}'.format(*server.get_host_and_port())
    yield dict(key='testing', secret='verysecret', client_kwargs={'endpoint_url': endpoint, 'region_name': 'eu-west-1'})
    server.stop()

@pytest.fixture
def bucket(s3):
    fs = fsspec.filesystem('s3', **s3)
    fs.invalidate_cache()
    if not fs.exists('photos'): fs.mkdir('photos')
    if fs.ls('photos'): fs.rm('photos/', recursive=True)
    fs.mkdir('photos') if not fs.exists('photos') else None
    return fs

def test_s3(s3, bucket):
    bucket.pipe({f'photos/x/{n:02}.png': png(n) for n in range(12)} | {'photos/é ü/日.jpg': png(), 'photos/zero.png': b'', 'photos/a.txt': b'x', 'photos/q?x#.png': png(7)})
    source = open_source('s3://photos', storage_options=s3)
    assert read(source, 5) == {**{f'x/{n:02}.png': png(n) for n in range(12)}, 'é ü/日.jpg': png(), 'zero.png': b'', 'q?x#.png': png(7)}
    [_, size, mtime] = next(source.parts(1))['files'][0]
    assert size == len(png(7)) and abs(mtime-time.time_ns()) < 3600e9

def test_s3_parquet_and_tar(s3, bucket, tmp_path):
    bucket.put(str(table(tmp_path/'a.parquet', image=[png(1)])), 'photos/tables/a.parquet')
    bucket.put(str(table(tmp_path/'b.parquet', url=['s3://photos/one.png', 'one.png', '/etc/passwd', 'file:///etc/passwd'])), 'photos/urls.parquet')
    bucket.put(str(tar(tmp_path/'d-0.tar', [('k.png', png(3))])), 'photos/d-0.tar')
    bucket.pipe('photos/one.png', png(2))
    assert read(open_source('s3://photos/tables/*.parquet', storage_options=s3)) == {'a.parquet/0': png(1)}
    assert read(open_source('s3://photos/tables', kind='parquet', storage_options=s3)) == {'a.parquet/0': png(1)}
    found = list(read(open_source('s3://photos/urls.parquet', storage_options=s3)).values())
    assert found[:2] == [png(2), png(2)] and found[2] == 'the file does not exist' and 'may not name files of file://' in found[3]
    assert read(open_source('s3://photos/d-{0..0}.tar', storage_options=s3)) == {'d-0.tar/k.png': png(3)}

def test_s3_without_what_it_needs(s3, bucket, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match='s3://nobucket/x does not exist'): list(FsspecSource('s3://nobucket/x', s3).parts())
    for name in [n for n in os.environ if n.startswith('AWS_')]: monkeypatch.delenv(name)
    for name in 'AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE': monkeypatch.setenv(name, str(tmp_path/'none'))
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    with pytest.raises(PermissionError, match='set AWS_ACCESS_KEY_ID'): list(FsspecSource('s3://photos', dict(client_kwargs=s3['client_kwargs'])).parts())
    away = dict(s3, client_kwargs={'endpoint_url': 'http://127.0.0.1:9'}, config_kwargs={'retries': {'max_attempts': 1}, 'connect_timeout': 1})
    with pytest.raises(ConnectionError, match='s3://photos cannot be read') as e: list(FsspecSource('s3://photos', away).parts())
    assert 'verysecret' not in str(e.value)


# Parquet

def test_columns_of_every_kind(tmp_path, monkeypatch):
    (tmp_path/'a b.png').write_bytes(png(9))
    large = pa.array([png(1)], pa.large_binary())
    for column in [png(1)], large, [{'bytes': png(1), 'path': 'x.jpg'}]:
        assert read(open_source(table(tmp_path/'t.parquet', image=column, id=[5]))) == {'t.parquet/0': png(1)}
    for column in [{'bytes': None, 'path': 'a b.png'}], ['a b.png'], [str(tmp_path/'a b.png')]:
        assert read(open_source(table(tmp_path/'t.parquet', image=column, id=[5]))) == {'t.parquet/0': png(9)}
    assert read(open_source(table(tmp_path/'t.parquet', image=pa.array([None], pa.binary())))) == {'t.parquet/0': 'the table has no picture here'}
    assert read(open_source(table(tmp_path/'t.parquet', image=pa.array([7])))) ['t.parquet/0'].startswith('cannot be read')

@pytest.mark.parametrize('size', [1, 3, 7, 100])
@pytest.mark.parametrize('group', [1, 4, 100])
def test_every_row_once_whatever_the_sizes(tmp_path, size, group):
    for f in 'ab': table(tmp_path/f'{f}.parquet', group, image=[png(i) for i in range(23)])
    source = open_source(tmp_path)
    assert read(source, size) == {f'{f}.parquet/{i}': png(i) for f in 'ab' for i in range(23)}
    assert all(0 < p['stop']-p['start'] <= size for p in source.parts(size))

def test_many_rows_in_several_row_groups(tmp_path):
    table(tmp_path/'t.parquet', 200, image=[f'{i}'.encode() for i in range(1000)])
    assert list(read(open_source(tmp_path/'t.parquet'), 150).values()) == [f'{i}'.encode() for i in range(1000)]

def test_names_of_rows(tmp_path):
    names = ['a', '../a', '/a', 'a', None, 'é日', 'x\ny', '', 'a']
    found = read(ParquetSource(table(tmp_path/'t.parquet', 2, image=[png(i) for i in range(9)], name=names), name='name'), 2)
    bad = {k: v for k, v in found.items() if isinstance(v, str)}
    assert bad == {f't.parquet/a (row {i})': 'an earlier row has the same name' for i in (3, 8)} | {'t.parquet/None (row 4)': 'it has no name'}
    assert list(found.values())[:3] == [png(0), png(1), png(2)] and {'t.parquet/é日', 't.parquet/x%0Ay', 't.parquet/%2F'} < set(found)

def test_wrong_columns(tmp_path):
    where = table(tmp_path/'t.parquet', front=[b'1'], back=[b'2'], title=['x'])
    with pytest.raises(ValueError, match="which column has the pictures.*'front', 'back', 'title'"): list(open_source(where).parts())
    with pytest.raises(ValueError, match="no column 'frnt'; its columns are 'front', 'back', 'title'"): list(open_source(where, image='frnt').parts())
    with pytest.raises(ValueError, match="no column 'sku'"): list(open_source(where, image='back', name='sku').parts())
    assert read(open_source(where, image='back')) == {'t.parquet/0': b'2'}

def test_broken_tables_are_reported_and_the_others_read(tmp_path):
    table(tmp_path/'a.parquet', image=[png()])
    whole = (tmp_path/'a.parquet').read_bytes()
    for name, data in dict(b=whole[:50], c=b'', d=b'PAR1 nothing PAR1').items(): (tmp_path/f'{name}.parquet').write_bytes(data)
    found = read(open_source(tmp_path))
    assert found.pop('a.parquet/0') == png() and set(found) == {'b.parquet', 'c.parquet', 'd.parquet'}
    assert all(v.startswith('not a Parquet file, or damaged') for v in found.values())

def test_a_table_that_changed_is_not_mixed_up(tmp_path):
    source = ParquetSource(table(tmp_path/'a.parquet', image=[png()]))
    [part] = source.parts()
    table(tmp_path/'a.parquet', image=[png(), png()])
    with pytest.raises(ValueError, match='has changed since'): list(source.items(part))

def test_web_addresses_in_a_table(tmp_path, server, monkeypatch):
    monkeypatch.setattr(sources, 'fetch', functools.partial(fetch, timeout=1))
    url, folder = server
    for n in 'a.png', 'slow.png', 'big.png': (folder/n).write_bytes(png() if n != 'big.png' else bytes(5000))
    (folder/'page.html').write_text('<p>')
    column = [f'{url}/a.png', f'{url}/gone.png?sig=SIGNED', f'{url}/slow.png', f'{url}/big.png', f'{url}/page.html', 'ftp://x/a.png', 'reference::file://a.png', 'nowhere']
    found = list(read(ParquetSource(table(tmp_path/'t.parquet', url=column), max_pixels=500)).values())
    assert found[0] == png() and '404' in found[1] and 'SIGNED' not in found[1] and 'within 1 seconds' in found[2] and 'MB' in found[3] and 'web page' in found[4]
    assert 'may not name files of ftp' in found[5] and 'may not name' in found[6] and found[7] == 'the file does not exist'

def test_a_table_elsewhere_names_no_file_of_this_machine(memory, tmp_path):
    (tmp_path/'private.png').write_bytes(png())
    memory.pipe('/b/in.png', png(5))
    paths = [str(tmp_path/'private.png'), (tmp_path/'private.png').as_uri(), f'local://{tmp_path}/private.png', '../../private.png', 'in.png', 'memory://b/in.png', f'simplecache::file://{tmp_path}/private.png']
    with memory.open('/b/t.parquet', 'wb') as f: pq.write_table(pa.table(dict(path=paths)), f)
    found = list(read(open_source('memory://b/t.parquet')).values())
    assert found[4:6] == [png(5), png(5)] and all(isinstance(v, str) for v in found[:4]+found[6:])

def test_folders_patterns_and_lists(tmp_path, memory):
    (tmp_path/'out.parquet'/'x=1').mkdir(parents=True)
    for n in 'out.parquet/x=1/p.parquet', 'out.parquet/_SUCCESS', 'out.parquet/q.parquet': table(tmp_path/n, image=[png()])
    assert set(read(open_source(tmp_path/'out.parquet'))) == {'x=1/p.parquet/0', 'q.parquet/0'}
    assert set(read(open_source(f'{tmp_path}/*/*.parquet'))) == {'out.parquet/q.parquet/0'}
    assert set(read(open_source(f'{tmp_path}/*.parquet'))) == {'out.parquet/x=1/p.parquet/0', 'out.parquet/q.parquet/0'}
    assert set(read(open_source([tmp_path/'out.parquet/q.parquet', tmp_path/'out.parquet/x=1/p.parquet']))) == {'q.parquet/0', 'x=1/p.parquet/0'}
    memory.put(str(tmp_path/'out.parquet'), '/b/', recursive=True)
    assert set(read(open_source('memory://b/**/*.parquet'))) == {'out.parquet/x=1/p.parquet/0', 'out.parquet/q.parquet/0'}
    with pytest.raises(FileNotFoundError): list(open_source(tmp_path/'nothing.parquet').parts())


# WebDataset

def test_samples(tmp_path):
    members = [('a/1.json', b'{}'), ('a/1.jpg', png(1)), ('a/1.mask.png', png(2)), ('b/1.jpg', png(3)), ('./c.png', png(4)), ('._c.png', b'x'), ('d', tarfile.DIRTYPE),
               ('l.png', tarfile.SYMTYPE), ('h.png', tarfile.LNKTYPE), ('a/1.jpg', png(5)), ('zero.png', b''), ('é日.webp', png(6)), ('UP.JPG', png(7)), ('x\ny.png', png(8)), ('/abs.png', png(9))]
    found = read(WebDatasetSource(tar(tmp_path/'t.tar', members)))
    bad = {k.split('/', 1)[1]: v for k, v in found.items() if isinstance(v, str)}
    assert bad == {'l.png': 'a link or device, not a file', 'h.png': 'a link or device, not a file', next(k for k in bad if 'byte' in k): 'an earlier member has the same name'}
    assert {k.split('/', 1)[1]: v for k, v in found.items() if isinstance(v, bytes)} == {
        'a/1.jpg': png(1), 'b/1.jpg': png(3), 'c.png': png(4), 'zero.png': b'', 'é日.webp': png(6), 'UP.JPG': png(7), 'x%0Ay.png': png(8), '%2F/abs.png': png(9)}
    assert list(read(WebDatasetSource(tmp_path/'t.tar', image='mask.png')).values()) == [png(2)]

@pytest.mark.parametrize('mode, name', [('w', 't.tar'), ('w:gz', 't.tar.gz'), ('w:gz', 't.tgz')])
def test_truncated_archives_wherever_they_break_off(tmp_path, mode, name):
    whole = tar(tmp_path/name, [(f'{i}.png', png(i)+bytes(700*i)) for i in range(4)], mode).read_bytes()
    all_read = read(WebDatasetSource(tmp_path/name))
    assert len(all_read) == 4
    end = 512*(4+1+2+3+5+1) if mode == 'w' else len(whole)-1024 # headers, contents and the mark of the end; zeros after it are compressed away
    for n in range(0, len(whole), 128 if mode == 'w' else 7):
        (tmp_path/name).write_bytes(whole[:n])
        found = read(WebDatasetSource(tmp_path/name))
        if len(found) == 4 and name not in found:
            assert n >= end and found == all_read
            continue
        assert 'damaged or truncated' in found.pop(name)
        assert found.items() <= all_read.items()

def test_rubbish_in_the_middle_is_noticed(tmp_path):
    where = tar(tmp_path/'t.tar', [(f'{i}.png', png(i)) for i in range(4)])
    data = bytearray(where.read_bytes())
    data[1024:1024+200] = b'\xff'*200 # the header of the second member
    where.write_bytes(data)
    found = read(WebDatasetSource(where))
    assert list(found) == ['t.tar/0.png', 't.tar'] and 'damaged' in found['t.tar']

@pytest.mark.parametrize('data', [b'', b'no tar at all', bytes(10240), b'\x1f\x8b broken'])
def test_what_is_no_archive(tmp_path, data):
    (tmp_path/'t.tar').write_bytes(data)
    found = read(WebDatasetSource(tmp_path/'t.tar'))
    assert found == {} if data == bytes(10240) else 'damaged' in found['t.tar']

def test_archives_that_are_not_there(tmp_path):
    tar(tmp_path/'d-0.tar', [('a.png', png())])
    source = open_source(tmp_path/'d-{0..1}.tar')
    first, second = source.parts()
    assert [i.path for i in source.items(first)] == ['d-0.tar/a.png']
    with pytest.raises(FileNotFoundError, match='d-1.tar'): list(source.items(second))

def test_the_same_file_name_in_two_folders(tmp_path):
    for d in 'xy':
        (tmp_path/d).mkdir()
        tar(tmp_path/d/'0.tar', [('a.png', png())])
    assert set(read(open_source(tmp_path/'{x,y}'/'0.tar'))) == {'x/0.tar/a.png', 'y/0.tar/a.png'}
    assert set(read(open_source([tmp_path/'x', tmp_path/'y'], kind='webdataset'))) == {'x/0.tar/a.png', 'y/0.tar/a.png'}
    assert set(read(open_source(tmp_path/'x'))) == {'0.tar/a.png'}


# Hugging Face

@pytest.fixture
def data():
    datasets = pytest.importorskip('datasets')
    datasets.disable_progress_bars()
    return datasets.Dataset.from_dict(dict(label=list(range(5)), name=['a', 'b', '../a', 'a', None], photo=[{'bytes': png(i), 'path': None} for i in range(5)])).cast_column('photo', datasets.Image())

def test_dataset_in_memory_and_saved(tmp_path, data):
    assert read(open_source(data), 2) == {str(i): png(i) for i in range(5)}
    data.save_to_disk(tmp_path/'saved')
    source = open_source(tmp_path/'saved', name='name')
    assert isinstance(source, HuggingFaceSource) and len(pickle.dumps(source)) < 1000
    assert read(source, 2) == {'a': png(0), 'b': png(1), '%2E%2E/a': png(2), 'a (row 3)': 'an earlier row has the same name', 'None (row 4)': 'it has no name'}
    assert read(open_source(data.shuffle(seed=0).select(range(2)))) == {str(i): png(r['label']) for i, r in enumerate(data.shuffle(seed=0).select(range(2)))}

def test_dataset_from_parquet_of_the_hub(tmp_path, data):
    data.to_parquet(tmp_path/'train-00000-of-00001.parquet')
    assert read(open_source(tmp_path/'train-00000-of-00001.parquet')) == {f'train-00000-of-00001.parquet/{i}': png(i) for i in range(5)}

def test_what_is_no_dataset(tmp_path, data):
    import datasets
    with pytest.raises(ValueError, match="has the splits 'train'"): list(open_source(datasets.DatasetDict(train=data)).parts())
    with pytest.raises(ValueError, match='cannot be cut into parts'): list(open_source(data.to_iterable_dataset()).parts())
    with pytest.raises(ValueError, match='is no data set that save_to_disk wrote'): list(HuggingFaceSource(tmp_path).parts())
    with pytest.raises(ValueError, match="its columns are 'label', 'name', 'photo'"): list(open_source(data, image='x').parts())


# All of them

def test_descriptions_are_the_same_again(tmp_path, memory, data):
    table(tmp_path/'t.parquet', image=[png()])
    for where in tmp_path, 'memory://b', tmp_path/'t.parquet', f'{tmp_path}/d-{{0..1}}.tar', data:
        source = open_source(where)
        assert json.loads(json.dumps(source.describe())) == open_source(where).describe() == pickle.loads(pickle.dumps(source)).describe()

@pytest.mark.parametrize('where', [3, None, '', [], b'x', {'a': 1}, 'https://example.org/a.jpg', 'nowhere/at/all', __file__])
def test_what_is_no_source(where):
    with pytest.raises(ValueError): open_source(where)

def test_several_threads_read_one_part(tmp_path, memory):
    from concurrent.futures import ThreadPoolExecutor
    memory.pipe({f'/b/{n:03}.png': png(n) for n in range(200)})
    source = open_source('memory://b')
    [part] = source.parts()
    with ThreadPoolExecutor(8) as pool: assert [d for d, _ in pool.map(lambda i: i.read(), source.items(part))] == [png(n) for n in range(200)]

def test_nothing_heavy_is_imported():
    import subprocess
    code = "import image_recommender.sources, sys; print({'pyarrow', 'fsspec', 'datasets', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == 'set()'
