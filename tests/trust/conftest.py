"""What the page of promises says, tested. `make torture` runs the same tests with many more cases (TORTURE=1)."""
import os
import pytest
from hypothesis import HealthCheck, settings

TORTURE = bool(os.environ.get('TORTURE'))
common = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
settings.register_profile('short', max_examples=60, derandomize=True, database=None, **common)
settings.register_profile('torture', max_examples=3000, print_blob=True, **common)
settings.load_profile('torture' if TORTURE else 'short')


@pytest.fixture(scope='session')
def many():
    "`many(short, long)`: how often to do something in CI, and in `make torture`"
    return lambda short, long: long if TORTURE else short


@pytest.fixture(autouse=True)
def the_usual_embedder(monkeypatch):
    "Whatever a test puts in its place ends with it"
    from image_recommender import library
    monkeypatch.setattr(library, 'make_embedder', library.make_embedder)
