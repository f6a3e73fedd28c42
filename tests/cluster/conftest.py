"A real Ray cluster of two nodes on this machine; skipped, with the reason, where there can be none"
import importlib.util, os, platform, secrets, sys
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if 'cluster' in item.path.parts: item.add_marker(pytest.mark.cluster)

@pytest.fixture(scope='session')
def leave_out():
    "Skip with a reason; but where CI is set, what can run on this system must run"
    return pytest.fail if os.environ.get('CI') else pytest.skip

@pytest.fixture(scope='session')
def on_linux():
    if sys.platform != 'linux' or platform.machine() != 'x86_64': pytest.skip(f'runs on Linux x86-64 only, not on {sys.platform} {platform.machine()}')

@pytest.fixture(scope='session')
def ray_cluster(on_linux, leave_out):
    "A head with two processors; `add_node` and `remove_node` as wanted. It answers those only who know the token, which a process reads once"
    os.environ.update(RAY_AUTH_MODE='token', RAY_AUTH_TOKEN=secrets.token_hex(16), RAY_USAGE_STATS_ENABLED='0')
    if not importlib.util.find_spec('ray'): leave_out('the package ray is not installed')
    from ray.cluster_utils import Cluster
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000))
    yield cluster
    cluster.shutdown()

@pytest.fixture
def second_node(ray_cluster):
    "Another machine of the cluster, as far as Ray can tell"
    node = ray_cluster.add_node(num_cpus=2, object_store_memory=80_000_000)
    yield node
    if node in ray_cluster.list_all_nodes(): ray_cluster.remove_node(node)
