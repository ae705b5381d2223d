"""Noisy kernels, failing synapses, input spikes that are lost or displaced."""

import brian2
import numpy as np
import pytest
from brian2 import SpikeMonitor, ms, mV
from by_hand import weight_of
from reference import raster, two_layers
from torch import nn

from cnn2snn_brian import InputError, convert, kernel_noise
from cnn2snn_brian.projections import from_neurons

SHAPE = (2, 7, 6)
N_STEPS = 40
IMAGES = np.random.default_rng(0).random((4, *SHAPE))


def one_to_one(**options):
    """Each pixel has a neuron that spikes one step after it."""
    cnn = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False)).eval()
    nn.init.ones_(cnn[0].weight)
    return convert(cnn, (1, 6, 7), thresholds=1.0, **options)


@pytest.fixture(scope="module")
def failing():
    with one_to_one(release_probability=0.5).compile(N_STEPS * ms) as simulator:
        yield simulator


def test_kernel_noise_is_relative_and_seeded():
    cnn = nn.Sequential(
        nn.Conv2d(2, 30, 5, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
    )
    cnn.append(nn.Linear(30, 20, bias=False))
    snn = convert(cnn, (2, 7, 6), thresholds=1.0)
    noisy = kernel_noise(snn, 0.1, seed=2)
    for name, n in (("conv1", 1500), ("ip1", 600)):
        before, after = (weight_of(made.layers, name) for made in (snn, noisy))
        assert after.dtype == before.dtype
        z = (after / before - 1) / 0.1
        # Mean and variance of n normal numbers, 5 standard errors.
        assert abs(z.mean()) < 5 / np.sqrt(n)
        assert abs(z.var() - 1) < 5 * np.sqrt(2 / n)
    assert noisy.layers.into("pool1") == snn.layers.into("pool1")
    assert noisy.layers.populations == snn.layers.populations
    assert noisy.thresholds == snn.thresholds
    again = kernel_noise(snn.layers, 0.1, seed=2)
    other = kernel_noise(snn.layers, 0.1, seed=3)
    some = kernel_noise(snn, 0.1, seed=2, layers=["ip1"])
    weight = weight_of(noisy.layers, "ip1")
    np.testing.assert_array_equal(weight_of(again, "ip1"), weight)
    np.testing.assert_array_equal(weight_of(some.layers, "ip1"), weight)
    assert some.layers.into("conv1") == snn.layers.into("conv1")
    assert (weight_of(other, "ip1") != weight).any()
    none = weight_of(kernel_noise(snn, 0.0).layers, "ip1")
    np.testing.assert_array_equal(none, weight_of(snn.layers, "ip1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"relative_sd": -0.1}, "relative_sd is -0.1"),
        ({"relative_sd": 0.1, "seed": -1}, "seed is -1"),
        ({"relative_sd": 0.1, "layers": ["conv9"]}, "conv9"),
    ],
)
def test_kernel_noise_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        kernel_noise(one_to_one(), **arguments)


@pytest.mark.standalone
def test_kernel_noise_compiles_nothing():
    snn = convert(two_layers(), SHAPE, thresholds={"conv1": 1.0, "ip1": 2.0})
    with snn.compile(30 * ms) as one, kernel_noise(snn, 0.5).compile(30 * ms) as two:
        assert not two.compiled
        first, second = (s.run(IMAGES, executor=1) for s in (one, two))
        with pytest.raises(InputError, match="compiled as ones that never fail"):
            one.run(IMAGES, release_probability=0.5)
    np.testing.assert_array_equal(
        first.spike_counts["input"], second.spike_counts["input"]
    )
    assert (first.spike_counts["conv1"] != second.spike_counts["conv1"]).any()


@pytest.mark.standalone
def test_synapses_fail_with_their_probability(failing):
    images = np.full((50, 1, 6, 7), 0.6)
    for p in (0.0, 0.3, 1.0):
        result = failing.run(
            images, release_probability=p, record=["input", "conv1"], progress=False
        )
        # A spike of the last step has no step left to arrive in.
        sent = sum(raster(result, "input", k)[:-1].sum() for k in range(50))
        arrived = result.spike_counts["conv1"].sum()
        assert abs(arrived - sent * p) <= 5 * np.sqrt(sent * p * (1 - p))
    # Which of them fail follows from the seed of the image.
    one = failing.run(images[:4], seed=3, executor=1)
    two = failing.run(images[:4], seed=3, executor=2, shard_size=1)
    np.testing.assert_array_equal(one.spike_counts["conv1"], two.spike_counts["conv1"])
    default = failing.run(images, seed=3, progress=False).spike_counts
    share = default["conv1"].sum() / default["input"].sum()
    assert abs(share - 0.5) < 0.05


@pytest.mark.parametrize("synapses", ["shared", "explicit"])
def test_synapses_fail_in_brian(synapses):
    brian2.prefs.codegen.target = "numpy"
    brian2.seed(0)
    snn = one_to_one(release_probability=0.3, synapses=synapses)
    net = snn.network(np.full((1, 6, 7), 0.6))
    monitors = [SpikeMonitor(net[name], record=False) for name in ("input", "conv1")]
    net.add(*monitors)
    net.run(300 * ms, namespace={})
    sent, arrived = (monitor.num_spikes for monitor in monitors)
    # The spikes of the last step, at most 42, have not arrived.
    assert abs(arrived - 0.3 * sent) <= 5 * np.sqrt(sent * 0.3 * 0.7) + 42 * 0.3


@pytest.mark.standalone
def test_input_spikes_are_lost(failing):
    images = np.full((50, 1, 6, 7), 0.6)
    options = {"seed": 1, "release_probability": 1.0, "progress": False}
    options["record"] = ["input"]
    whole = failing.run(images, **options)
    thinned = failing.run(images, input_deletion=0.3, **options)
    before = np.stack([raster(whole, "input", k) for k in range(50)])
    after = np.stack([raster(thinned, "input", k) for k in range(50)])
    assert (after <= before).all()
    n = before.sum()
    assert abs(after.sum() - 0.7 * n) <= 5 * np.sqrt(n * 0.3 * 0.7)
    silent = failing.run(images[:2], input_deletion=1.0, **options)
    assert not silent.spike_counts["input"].any()
    assert not silent.spike_counts["conv1"].any()


@pytest.mark.standalone
def test_input_spikes_are_displaced(failing):
    # Few spikes, so that it is known which of them went where.
    images = np.full((60, 1, 6, 7), 0.02)
    options = {"seed": 1, "record": ["input"], "progress": False}
    whole = failing.run(images, **options)
    moved = failing.run(images, input_jitter=2 * ms, **options)
    again = failing.run(images[:3], input_jitter=2 * ms, executor=2, **options)
    shifts, lost = [], 0
    for k in range(len(images)):
        before, after = (
            raster(result, "input", k).reshape(N_STEPS, -1) for result in (whole, moved)
        )
        for neuron in np.flatnonzero(before.sum(0) == 1):
            arrived = np.flatnonzero(after[:, neuron])
            lost += len(arrived) == 0
            shifts += list(arrived - np.flatnonzero(before[:, neuron]))
        assert not after[:, before.sum(0) == 0].any()
    n = len(shifts)
    assert n > 500
    # Rounding to whole steps adds 1/12 to the variance; few leave the image.
    assert abs(np.mean(shifts)) < 5 * 2 / np.sqrt(n) + 0.1
    assert abs(np.var(shifts) - 4 - 1 / 12) < 5 * 4 * np.sqrt(2 / n) + 0.3
    assert 0 < lost < 0.15 * n
    np.testing.assert_array_equal(
        again.spike_counts["input"], moved.spike_counts["input"][:3]
    )


@pytest.mark.slow
def test_input_noise_in_brian():
    brian2.prefs.codegen.target = "numpy"
    snn, image = one_to_one(), np.full((1, 6, 7), 0.05)
    image[0, 0] = 0
    totals = {}
    for name, options in (
        ("none", {}),
        ("lost", {"input_deletion": 0.4}),
        ("displaced", {"input_jitter": 3 * ms, "seed": 1}),
    ):
        brian2.seed(2)
        net = snn.network(image, **options)
        monitor = SpikeMonitor(net["input"])
        net.add(monitor)
        net.run(1000 * ms, namespace={})
        counts = from_neurons(np.asarray(monitor.count), (1, 6, 7))
        assert not counts[0, 0].any()
        totals[name] = monitor.num_spikes
    n = totals["none"]
    assert abs(totals["lost"] - 0.6 * n) <= 5 * np.sqrt(0.24 * n)
    # Displaced Poisson spikes are Poisson spikes; the few that meet are one.
    p = 1 - np.exp(-0.05)
    expected = 35 * 1000 * p
    assert abs(totals["displaced"] - expected) <= 5 * np.sqrt(expected) + 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_deletion": 1.5}, "input_deletion is 1.5"),
        ({"input_jitter": 2.0}, "expected a time"),
        ({"input_jitter": 2 * mV}, "expected a time"),
        ({"input_jitter": -2 * ms}, "at least 0"),
    ],
)
def test_input_noise_out_of_range_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        one_to_one().network(**options)


def test_a_current_has_no_input_spikes_to_lose():
    with pytest.raises(InputError, match="no input spikes"):
        one_to_one(encoding="current").network(input_deletion=0.1)
