"""A result knows what was run, says so, and can be repeated spike for spike."""

import numpy as np
import pytest
from brian2 import ms, prefs
from reference import randomize
from torch import nn

from cnn2snn_brian import IF, LIF, Lesion, SimulationResult, convert
from cnn2snn_brian.results import read_settings

pytestmark = pytest.mark.standalone

SHAPE = (2, 7, 6)
N_STEPS = 20
IMAGES = np.random.default_rng(5).random((6, *SHAPE))

#: What each program is compiled for.
NETWORKS = {
    "paper": {},
    "leaky": {
        "neurons": {"conv1": LIF(tau=20 * ms), "ip1": IF()},
        "delay": {"ip1": 3 * ms},
        "release_probability": {"ip1": 0.9},
        "reset": "subtract",
        "classes": ["left", "right", "up", "down"],
    },
    "current": {"encoding": "current", "reset": "subtract", "synapses": "explicit"},
}

#: Runs: a network, settings that are not its own, and what is printed of them.
RUNS = {
    "lesions and noise": (
        "paper",
        {
            # No seed of its own: it is chosen by the run's.
            "lesion": [Lesion("conv1", fraction=0.4), Lesion("input", channels=[1])],
            "input_jitter": 2 * ms,
            "input_deletion": 0.25,
            "thresholds": {"conv1": 0.75},
            "v_init": 0.5,
        },
        [
            "encoding poisson, reset zero, synapses shared, dtype float32",
            "neurons: IF()",
            "lesion: conv1 30 of 75 neurons, input 42 of 84 neurons",
            "input_deletion: 0.25",
            "input_jitter: 2. ms",
            "thresholds: conv1 0.75, ip1 1",
            "v_init: 0.5",
            "rate_scale: 1",
        ],
    ),
    "another time constant": (
        "leaky",
        {"neurons": {"conv1": LIF(tau=7 * ms)}},
        [
            "reset subtract",
            "neurons: conv1 LIF(tau=7. ms); ip1 IF()",
            "delays: ip1 3 ms",
            "release_probability: ip1 0.9",
        ],
    ),
    "failing synapses": (
        "leaky",
        {"release_probability": 0.4},
        ["release_probability: ip1 0.4", "neurons: conv1 LIF(tau=20. ms); ip1 IF()"],
    ),
    "current": (
        "current",
        {"rate_scale": 0.5, "v_min": {"ip1": -np.inf}},
        ["encoding current, reset subtract, synapses explicit", "rate_scale: 0.5"],
    ),
}


@pytest.fixture(scope="module")
def simulators():
    module = randomize(
        nn.Sequential(
            nn.Conv2d(2, 3, (3, 2), bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(75, 4, bias=False),
        ).eval(),
        seed=2,
    )
    made = {
        name: convert(module, SHAPE, thresholds=1.0, **options).compile(N_STEPS * ms)
        for name, options in NETWORKS.items()
    }
    yield made
    for simulator in made.values():
        simulator.close()


@pytest.fixture(scope="module")
def results(simulators):
    return {
        name: simulators[network].run(
            IMAGES, seed=17, record=["conv1"], progress=False, **settings
        )
        for name, (network, settings, _) in RUNS.items()
    }


def assert_same_spikes(found, expected):
    assert {*found.spike_counts} == {*expected.spike_counts}
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(found.spike_counts[name], counts)
    np.testing.assert_array_equal(found.output_potentials, expected.output_potentials)
    for image in range(len(IMAGES)):
        for name in ("conv1", "ip1"):
            for ours, theirs in zip(
                found.spikes(name, image), expected.spikes(name, image), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kept", ["result", "file", "export"])
@pytest.mark.parametrize("name", RUNS)
def test_a_repeat_is_equal_spike_for_spike(simulators, results, tmp_path, name, kept):
    result = results[name]
    if kept == "file":
        result.save(tmp_path / "result.h5")
        result = SimulationResult.load(tmp_path / "result.h5")
    settings = result.settings
    if kept == "export":
        settings = read_settings(result.to_xarray().attrs["settings"])
    simulator = simulators[RUNS[name][0]]
    # Another run in between, and another number of workers.
    plain = simulator.run(IMAGES, progress=False)
    again = simulator.run(
        IMAGES, record=["conv1"], executor=2, progress=False, **settings
    )
    assert_same_spikes(again, results[name])
    counts = results[name].spike_counts["conv1"]
    assert counts.any()
    assert (plain.spike_counts["conv1"] != counts).any() or name == "failing synapses"
    assert str(again).replace(again_seconds(again), "") == str(results[name]).replace(
        again_seconds(results[name]), ""
    )


def again_seconds(result):
    return f"{result.timings['run']:.2f} s"


@pytest.mark.parametrize("name", RUNS)
def test_print_says_what_was_run(results, tmp_path, name):
    text = str(results[name])
    for part in RUNS[name][2]:
        assert part in text
    assert "seed 17" in text
    for library in ("cnn2snn-brian", "brian2", "numpy"):
        assert f"{library} {results[name].versions[library]}" in text
    flags = prefs.codegen.cpp.extra_compile_args_gcc
    assert text.splitlines()[-1].split()[-len(flags) :] == flags
    assert text.splitlines()[-1].startswith("compiled: ")
    results[name].save(tmp_path / "result.h5")
    assert str(SimulationResult.load(tmp_path / "result.h5")) == text


def test_nothing_is_said_of_what_was_not_perturbed(simulators):
    text = str(simulators["paper"].run(IMAGES, progress=False))
    for name in ("lesion", "input_deletion", "input_jitter", "release", "delays"):
        assert name not in text


def test_the_network_is_told_apart_by_its_weights(simulators, results):
    # Of the same CNN, converted in three ways.
    assert len({result.network["layers"] for result in results.values()}) == 1
    assert results["failing synapses"].network["classes"] == [
        "left",
        "right",
        "up",
        "down",
    ]
    snn = simulators["paper"].snn
    assert results["current"].network["layers"] == snn.layers.digest[:32]
