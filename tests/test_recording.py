"""Sizes of recordings, known before the simulation."""

import numpy as np
import pytest
import torch
from reference import numpy_spikes, randomize
from torch import nn

from cnn2snn_brian import InputError, Recording, from_torch
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.simulator import recording as recording
from cnn2snn_brian.simulator.recording import (
    check_recording,
    expected_rates,
    free_memory,
)

SHAPE = (2, 7, 6)
N_STEPS = 400


@pytest.fixture
def cnn():
    return randomize(
        nn.Sequential(
            nn.Conv2d(2, 3, (3, 2)), nn.ReLU(), nn.Flatten(), nn.Linear(75, 4)
        ).eval(),
        seed=3,
    )


def parameters(layers, **changes):
    given = {"thresholds": 4.0, "v_min": -np.inf, "leak": 0, "v_init": 0}
    return Parameters.of(layers.names, **(given | changes))


def test_rates_are_those_of_a_long_simulation(cnn):
    # Reset by subtraction and no floor: the formula is exact for many steps.
    layers = from_torch(cnn, SHAPE)
    pixels = np.random.default_rng(0).random((2, *SHAPE))
    found = expected_rates(
        layers, pixels, parameters(layers, rate_scale=0.5, leak=0.01)
    )
    for index, image in enumerate(pixels):
        spikes = numpy_spikes(
            cnn,
            None,
            N_STEPS,
            image=image,
            thresholds=[4.0, 4.0],
            v_min=-np.inf,
            leak=0.01,
            reset="subtract",
            c=0.5,
        )
        for name, raster in zip(layers.names, spikes, strict=True):
            np.testing.assert_allclose(found[name][index], raster.mean(0), atol=0.02)
    np.testing.assert_allclose(found["input"], 0.5 * pixels)


def test_the_bound_is_every_neuron_in_every_step(cnn, monkeypatch):
    layers = from_torch(cnn, SHAPE)
    pixels = np.ones((5, *SHAPE))
    monkeypatch.setattr(recording, "SMALL", 0)
    recorded = {"input": 10 * (np.arange(5) < 3), "conv1": 10 * (np.arange(5) < 1)}
    bound, expected = check_recording(
        layers, pixels.__getitem__, [parameters(layers)], recorded
    )
    assert bound == 8 * 10 * (3 * 84 + 75)
    # Pixels of 1 spike in each step.
    assert 8 * 10 * 3 * 84 <= expected <= bound


def test_a_recording_that_does_not_fit_is_refused(cnn, monkeypatch):
    layers = from_torch(cnn, SHAPE)
    pixels = np.ones((5, *SHAPE))
    recorded = {"input": np.full(5, 10**6), "conv1": np.zeros(5, int)}
    arguments = layers, pixels.__getitem__, [parameters(layers)]
    size = 8 * 84 * 5 * 10**6
    monkeypatch.setattr(recording, "free_memory", lambda: 2 * size - 1)
    with pytest.raises(InputError, match=r"3\.4 GB .* of it input; 6\.7 GB"):
        check_recording(*arguments, recorded)
    monkeypatch.setattr(recording, "free_memory", lambda: 2 * size)
    with pytest.warns(UserWarning, match=r"Record fewer images or trials: record={"):
        _, expected = check_recording(*arguments, recorded)
    assert expected == size
    # Nothing is said of small ones.
    assert check_recording(*arguments, {"input": np.full(5, 100)}) is None


def test_potentials_and_settings_add_up(cnn, monkeypatch):
    layers = from_torch(cnn, SHAPE)
    pixels = np.ones((5, *SHAPE))
    monkeypatch.setattr(recording, "SMALL", 0)
    settings = [parameters(layers, rate_scale=c) for c in (1.0, 0.5, 0.25)]
    arguments = layers, pixels.__getitem__, settings
    recorded = {"input": np.full(5, 10)}
    bound, expected = check_recording(*arguments, recorded, n_potentials=7 * 10)
    assert bound == 3 * 10 * (8 * 84 * 5 + 4 * 7)
    assert expected == 10 * (8 * 84 * 5 * 1.75 + 3 * 4 * 7)
    # Potentials alone are known exactly.
    nothing = {"input": np.zeros(5, int)}
    bound, expected = check_recording(*arguments, nothing, n_potentials=7 * 10)
    assert bound == expected == 3 * 10 * 4 * 7
    monkeypatch.setattr(recording, "free_memory", lambda: 2 * bound - 1)
    with pytest.raises(InputError, match=r"each of 3 settings.*images=range"):
        check_recording(*arguments, nothing, n_potentials=7 * 10)


def test_free_memory_is_known():
    free = free_memory()
    assert free is None or 1e6 < free < 1e15


@pytest.mark.standalone
def test_run_checks_before_it_simulates(cnn, monkeypatch):
    from brian2 import ms

    from cnn2snn_brian import convert
    from cnn2snn_brian.simulator import simulator

    def fail(*arguments, **options):
        pytest.fail("the program was run")

    with convert(cnn, SHAPE, thresholds=4.0).compile(15 * ms) as compiled:
        monkeypatch.setattr(recording, "SMALL", 0)
        monkeypatch.setattr(recording, "free_memory", lambda: 1400)
        monkeypatch.setattr(simulator, "run_shards", fail)
        with pytest.raises(InputError, match="Record fewer images"):
            compiled.run(torch.ones(2, *SHAPE), record=["conv1"])
        traced = {"conv1": [(0, 0, x) for x in range(5)]}
        # 15 steps of 2 images: 600 bytes and few spikes, and a copy.
        with pytest.raises(InputError, match="each of 2 settings"):
            compiled.run_many(
                torch.zeros(2, *SHAPE), [{}, {}], record=Recording(potentials=traced)
            )


def test_a_recording_can_be_used_again():
    populations, known = ("conv1", "ip1"), {"conv1.v": (3, 2, 2), "ip1.v": (4,)}
    recording = Recording(
        spikes=(name for name in ["conv1"]),
        potentials={"conv1": ((0, y, 1) for y in range(2))},
        images=iter([1]),
    )
    for _ in range(2):
        assert recording.spike_mask(populations, 3).tolist() == [[True, True]] * 3
        neurons, images = recording.traced(known, 3)
        assert {k: own.tolist() for k, own in neurons.items()} == {"conv1.v": [3, 9]}
        assert images.tolist() == [False, True, False]


def test_a_name_is_one_layer():
    for record in ("conv1", Recording("conv1"), ["conv1"]):
        mask = Recording.of(record).spike_mask(("input", "conv1", "ip1"), 1)
        assert mask.tolist() == [[False, True, True]]
