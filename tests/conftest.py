"""Fixtures: a clean Brian2 for each test, one program cache for all of them."""

import os
from pathlib import Path

import brian2
import pytest

from cnn2snn_brian.cache import CACHE_VARIABLE


@pytest.fixture(scope="session", autouse=True)
def program_cache(tmp_path_factory):
    """Share builds between tests; CI may keep the directory between runs."""
    kept = os.environ.get("CNN2SNN_BRIAN_TEST_CACHE")
    cache = Path(kept) if kept else tmp_path_factory.mktemp("programs")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(cache)
    yield cache
    if before is None:
        del os.environ[CACHE_VARIABLE]
    else:
        os.environ[CACHE_VARIABLE] = before


@pytest.fixture(autouse=True)
def clean_brian():
    """Device, dt and preferences are the same for each test."""
    yield
    brian2.device.reinit()
    brian2.set_device("runtime")
    brian2.defaultclock.dt = 0.1 * brian2.ms
    brian2.prefs.codegen.target = "auto"
