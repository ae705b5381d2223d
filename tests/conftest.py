"""Fixtures: a clean Brian2 for each test, one program cache for all of them."""

import gc
import os
from pathlib import Path

import brian2
import numpy as np
import pytest

from cnn2snn_brian import IF, LIF, SimulationResult
from cnn2snn_brian.results import SpikeCounts
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.perturbations import Perturbations
from cnn2snn_brian.settings.settings import FrozenDict
from cnn2snn_brian.simulator.compiler import CACHE_VARIABLE


@pytest.fixture(scope="session", autouse=True)
def program_cache(tmp_path_factory):
    """Share builds between tests; CI may keep the directory between runs."""
    kept = os.environ.get("CNN2SNN_BRIAN_TEST_CACHE")
    # `pytest -n 2` makes a folder of its own for each worker, beside this one.
    if kept:
        cache = Path(kept)
    elif "PYTEST_XDIST_WORKER" in os.environ:
        cache = tmp_path_factory.getbasetemp().parent / "programs"
    else:
        cache = tmp_path_factory.mktemp("programs")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(cache)
    yield cache
    if before is None:
        del os.environ[CACHE_VARIABLE]
    else:
        os.environ[CACHE_VARIABLE] = before


def pytest_collection_finish():
    """Each build collects garbage, but not of what PyTorch and others import."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def quick_compiler(request):
    """
    Compile in a third of the time, programs that run for milliseconds.

    Files with the marker `default_flags` are compiled as users compile, and so is what
    runs in a process of its own, like the examples.
    """
    cpp = brian2.prefs.codegen.cpp
    before = cpp.extra_compile_args_gcc
    is_exact = os.environ.get("CNN2SNN_BRIAN_NO_BOUNDS") == "1"  # to the last bit
    if not is_exact and not request.node.get_closest_marker("default_flags"):
        cpp.extra_compile_args_gcc = ["-Og" if f == "-O3" else f for f in before]
    yield
    cpp.extra_compile_args_gcc = before


@pytest.fixture(autouse=True)
def clean_brian():
    """Device, dt and preferences are the same for each test."""
    yield
    brian2.device.reinit()
    brian2.set_device("runtime")
    brian2.defaultclock.dt = 0.1 * brian2.ms
    brian2.prefs.codegen.target = "auto"


@pytest.fixture
def random_result():
    """A result with random spikes; conv1 is recorded for two of three images."""
    shapes = {"input": (2, 7, 6), "conv1": (3, 5, 4), "ip1": (3,)}
    n_steps = 20
    rng = np.random.default_rng(0)
    recorded, raw = {}, {}
    for name, shape in shapes.items():
        n = int(np.prod(shape))
        spikes = rng.random((3, n_steps, n)) < 0.3
        raw[name] = spikes.sum(1).astype(np.uint8)
        for image in {"input": [], "conv1": [2, 0], "ip1": [0, 1, 2]}[name]:
            step, neuron = (a.astype(np.int32) for a in np.nonzero(spikes[image]))
            recorded[name, image] = neuron, step
    recorded["ip1", 1] = np.zeros(0, np.int32), np.zeros(0, np.int32)
    traced = {
        (name, image): (
            np.array(neurons, np.int32),
            rng.normal(size=(n_steps, len(neurons))).astype(np.float32),
        )
        for name, neurons in (("conv1", [7, 0]), ("ip1", [2]))
        for image in (2, 1)
    }
    return SimulationResult(
        spike_counts=SpikeCounts(raw, shapes),
        output_potentials=rng.normal(size=(3, 3)),
        events={"conv1": np.array([2**40, 1, 2]), "ip1": np.arange(3)},
        duration_s=0.02,
        dt_s=1e-3,
        seed=2**80,
        parameters=Parameters.of(
            ("conv1", "ip1"),
            thresholds={"conv1": 0.1, "ip1": 1 / 3},
            v_min={"conv1": -np.inf, "ip1": -0.7},
            leak=1e-9,
            v_init=0.5,
        ),
        perturbations=Perturbations(
            FrozenDict({"conv1": LIF(tau=20 * brian2.ms), "ip1": IF()}),
            FrozenDict({"ip1": 0.5}),
            FrozenDict({"conv1": rng.random(shapes["conv1"]) < 0.2}),
            0.25,
            0.002 * brian2.second,
        ),
        network={
            "encoding": "poisson",
            "reset": "zero",
            "synapses": "shared",
            "dtype": "float32",
            "delays_s": {"ip1": 0.002},
            "classes": ["cat", "dog", "owl"],
            "layers": "0" * 32,
        },
        program={"compiler": "g++ 12.2.0", "flags": "-O3"},
        timings={"build": 1.5, "run": 0.25},
        versions={"brian2": "2.9.0"},
        shapes=shapes,
        recorded=recorded,
        recorded_potentials=traced,
    )
