"""Predictions, ties, and output spikes over time, on results made by hand."""

import dataclasses

import numpy as np
import pytest
from brian2 import ms

from cnn2snn_brian import InputError, SimulationResult, results
from cnn2snn_brian.results import SpikeCounts
from cnn2snn_brian.settings.parameters import Parameters


def result(counts, potentials, recorded=None, threshold=2.0, shape=None, n_steps=4):
    """A result of a network with one layer, ip1."""
    counts = np.asarray(counts, np.uint8)
    shapes = {"input": (2, 1, 3), "ip1": shape or (counts.shape[1],)}
    inputs = np.arange(6 * len(counts), dtype=np.uint8).reshape(len(counts), 6)
    return SimulationResult(
        spike_counts=SpikeCounts({"input": inputs, "ip1": counts}, shapes),
        output_potentials=np.asarray(potentials, float),
        events={"ip1": np.arange(len(counts))},
        duration_s=n_steps * 1e-3,
        dt_s=1e-3,
        seed=0,
        parameters=Parameters.of(
            ("ip1",), thresholds=threshold, v_min=0, leak=0, v_init=0
        ),
        perturbations=None,
        network={},
        program={},
        timings={"run": 1.0},
        versions={},
        shapes=shapes,
        recorded=recorded or {},
    )


COUNTS = [[3, 1, 2], [2, 2, 1], [0, 0, 0], [4, 4, 4]]
POTENTIALS = [[0, 1.9, 0], [0.5, 0.7, 1.9], [0.1, 0.3, 0.2], [1, 1, 1]]


def test_predictions_are_most_spikes_then_most_potential():
    found = result(COUNTS, POTENTIALS)
    np.testing.assert_array_equal(found.predictions, [0, 1, 1, 0])
    np.testing.assert_array_equal(found.ties, [False, True, True, True])
    np.testing.assert_array_equal(found.silent, [False, False, True, False])


def test_spikes_plus_potential():
    # Potentials are in units of the threshold: 1 + 1.9 / 2 < 2 + 0.7 / 2.
    found = result(COUNTS, POTENTIALS)
    np.testing.assert_array_equal(found.predict("spikes+potential"), [0, 1, 1, 0])
    close = result([[2, 1]], [[0.0, 1.5]], threshold=1.0)
    assert close.predict("spikes+potential")[0] == 1
    assert close.predictions[0] == 0


def test_negative_potentials_decide_ties_too():
    found = result([[1, 1, 0]], [[-3.0, -2.0, 5.0]])
    assert found.predictions[0] == 1


def test_an_unknown_readout():
    with pytest.raises(InputError, match="readout='rate'"):
        result(COUNTS, POTENTIALS).predict("rate")


def test_accuracy():
    found = result(COUNTS, POTENTIALS)
    assert found.accuracy([0, 1, 0, 0]) == 0.75
    with pytest.raises(InputError, match="4 images"):
        found.accuracy([0, 1])


def test_counts_are_in_torchs_order():
    # Neurons are (y, x, channel): two channels, one row, three columns.
    counts = result(COUNTS, POTENTIALS).spike_counts["input"]
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts[0], [[[0, 2, 4]], [[1, 3, 5]]])


def test_output_counts_over_time():
    neuron, step = np.array([0, 2, 2, 1]), np.array([0, 1, 3, 3])
    found = result([[1, 1, 2]], [[0, 0, 0]], {("ip1", 0): (neuron, step)})
    np.testing.assert_array_equal(found.output_counts(0 * ms), [[0, 0, 0]])
    np.testing.assert_array_equal(found.output_counts(2 * ms), [[1, 0, 1]])
    np.testing.assert_array_equal(found.output_counts(3e-3), [[1, 0, 1]])
    np.testing.assert_array_equal(found.output_counts(), [[1, 1, 2]])
    np.testing.assert_array_equal(found.output_counts(4 * ms), found.output_counts())
    np.testing.assert_array_equal(found.accuracy_over_time([2]), [0, 0, 0, 1])
    with pytest.raises(InputError, match="expected 0 to the duration"):
        found.output_counts(5 * ms)


@pytest.mark.parametrize("shape", [(6,), (3, 1, 2)])
def test_accuracy_over_time_counts_spikes_step_by_step(shape):
    rng = np.random.default_rng(0)
    n_steps, n_images = 30, 12
    # Indexed as the neurons of a group; the last image has no spikes at all.
    spikes = rng.random((n_images, n_steps, 6)) < 0.15
    spikes[-1] = False
    recorded = {}
    for image in range(n_images):
        step, neuron = np.nonzero(spikes[image])
        recorded["ip1", image] = neuron, step
    found = result(
        spikes.sum(1), np.zeros((n_images, 6)), recorded, shape=shape, n_steps=n_steps
    )
    labels = rng.integers(0, 6, n_images)
    expected = np.zeros(n_steps)
    n_ties = 0
    for image, label in enumerate(labels):
        for last in range(n_steps):
            total = spikes[image, : last + 1].sum(0)
            if len(shape) == 3:  # a group is (y, x, channel), a class (channel, y, x)
                total = total.reshape(1, 2, 3).transpose(2, 0, 1).ravel()
            n_ties += (total == total.max()).sum() > 1
            first_best = list(total).index(total.max())
            expected[last] += (total.max() > 0 and first_best == label) / n_images
    assert n_ties > n_steps
    np.testing.assert_allclose(found.accuracy_over_time(labels), expected, atol=1e-12)
    at_end = found.output_counts(n_steps * ms)
    np.testing.assert_array_equal(at_end, found.output_counts())


def test_one_label_is_not_the_label_of_all_images():
    none = np.zeros(0, int)
    two = result(
        [[1, 0], [0, 1]], np.zeros((2, 2)), {("ip1", i): (none, none) for i in (0, 1)}
    )
    for wrong in ([1], 1, [[1], [0]]):
        with pytest.raises(InputError, match="2 images, labels of shape"):
            two.accuracy_over_time(wrong)
        with pytest.raises(InputError, match="2 images, labels of shape"):
            two.accuracy(wrong)


def test_spike_trains_are_times_and_neurons():
    neuron, step = np.array([4, 1]), np.array([0, 2])
    found = result(COUNTS, POTENTIALS, {("input", 1): (neuron, step)})
    t, i = found.spikes("input", 1)
    np.testing.assert_allclose(t, [0, 0.002])
    np.testing.assert_array_equal(i, neuron)


def test_counts_of_some_images_are_read_alone():
    found = result(COUNTS, POTENTIALS).spike_counts
    np.testing.assert_array_equal(found.part("input", 2), found["input"][2])
    some = found.part("input", slice(1, 3))
    np.testing.assert_array_equal(some, found["input"][1:3])
    assert some.dtype == np.int32


def test_spike_trains_have_positions():
    neuron, step = np.array([4, 1]), np.array([0, 2])
    found = result(COUNTS, POTENTIALS, {("input", 1): (neuron, step)})
    trains = found.spikes("input", 1)
    np.testing.assert_allclose(trains.t, [0, 0.002])
    channel, y, x = trains.position
    np.testing.assert_array_equal(channel, [0, 1])
    np.testing.assert_array_equal(y, [0, 0])
    np.testing.assert_array_equal(x, [2, 0])
    with pytest.raises(InputError, match="record=\\['input'\\]"):
        found.spikes("input", 0)


def test_ties_and_silence_are_printed():
    text = str(result(COUNTS, POTENTIALS))
    assert "3 ties" in text
    assert "1 without any output spike" in text


def test_a_bin_is_complete_if_all_its_steps_were_recorded():
    none = np.zeros(0, int)
    recorded = {(name, 0): (none, none) for name in ("input", "ip1")}
    found = result([[0, 0, 0]], [[0, 0, 0]], recorded, n_steps=5)
    windowed = dataclasses.replace(found, windows=((0, 1), (2, 5)))
    np.testing.assert_array_equal(windowed.recorded_steps(0), [0, 2, 3, 4])
    # The last layer is recorded all the time; the last bin has one step.
    np.testing.assert_array_equal(windowed.recorded_steps(0, "ip1"), np.arange(5))
    for layer, expected in (("input", [[False, True, True]]), ("ip1", [[True] * 3])):
        bins = windowed.complete_bins(layer, 2 * ms)
        np.testing.assert_array_equal(bins, expected)
    for wrong in (2, 0 * ms, 1.5 * ms, 6 * ms):
        with pytest.raises(InputError, match="bin is"):
            windowed.complete_bins("input", wrong)


def test_the_former_name_of_recorded_spikes():
    with pytest.deprecated_call(match="RecordedSpikes"):
        assert results.SpikeTrains is results.RecordedSpikes
    with pytest.raises(AttributeError, match="no attribute 'Spikes'"):
        _ = results.Spikes
