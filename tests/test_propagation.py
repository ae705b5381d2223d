"""Spikes that cross all layers within a step, pooling in synapses, and channels."""

import numpy as np
import pytest
from brian2 import ms
from reference import layer_spikes, randomize, raster
from torch import nn

from cnn2snn_brian import convert

N_STEPS = 12
SHAPE = (2, 9, 8)
IMAGES = np.random.default_rng(0).integers(0, 65, (3, *SHAPE)) / 64


def zoo(bias=False):
    """
    Odd sizes, strides, padding, groups, dilation; poolings in a row, one overlapping.

    (2, 9, 8) -> conv1 (4, 9, 9) -> pool1 (4, 4, 4) -> pool2 (4, 3, 3)
    -> conv2 (6, 3, 1) -> conv3 (5, 3, 1) -> pool3 (5, 2, 1) -> ip1 3
    """
    return randomize(
        nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), padding=1, bias=bias),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.AvgPool2d(2, stride=1),
            nn.Conv2d(4, 6, (1, 2), groups=2, dilation=(1, 2), bias=bias),
            nn.ReLU(),
            nn.Conv2d(6, 5, (2, 2), padding="same", bias=bias),
            nn.ReLU(),
            nn.AvgPool2d((2, 1), stride=1, padding=(0, 0)),
            nn.Flatten(),
            nn.Linear(5 * 2 * 1, 3, bias=bias),
        ).eval(),
        seed=7,
    )


@pytest.mark.standalone
@pytest.mark.parametrize("synapses", ["shared", "explicit"])
@pytest.mark.parametrize(("encoding", "bias"), [("poisson", False), ("current", True)])
def test_instant(synapses, encoding, bias):
    thresholds = dict(
        zip(
            ("conv1", "pool1", "pool2", "conv2", "conv3", "pool3", "ip1"),
            (2.0, 1.0, 0.5, 1.0, 1.0, 0.25, 0.5),
            strict=True,
        )
    )
    snn = convert(
        zoo(bias),
        SHAPE,
        thresholds=thresholds,
        encoding=encoding,
        synapses=synapses,
        propagation="instant",
    )
    names = snn.layer_names
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(
            IMAGES,
            v_min=-2.5,
            v_init=0.5,
            leak={"conv2": 1 / 32},
            record=simulator.populations,
            seed=3,
        )
    for image, pixels in enumerate(IMAGES):
        given = (
            {"image": pixels}
            if encoding == "current"
            else {"input_spikes": raster(result, "input", image)}
        )
        expected = layer_spikes(
            zoo(bias),
            N_STEPS,
            thresholds=list(thresholds.values()),
            propagation="instant",
            v_min=-2.5,
            v_init=[0.5] * len(names),
            leak=[1 / 32 if name == "conv2" else 0 for name in names],
            **given,
        )
        for name, spikes in zip(names, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
    assert result.spike_counts["ip1"].any()


THRESHOLDS = {"conv1": 2.0, "conv2": 1.0, "conv3": 1.0, "ip1": 0.5}


@pytest.mark.standalone
@pytest.mark.parametrize("synapses", ["shared", "explicit"])
@pytest.mark.parametrize("propagation", ["step", "instant"])
@pytest.mark.parametrize(("encoding", "bias"), [("poisson", True), ("current", True)])
def test_pooling_in_synapses(synapses, propagation, encoding, bias):
    snn = convert(
        zoo(bias),
        SHAPE,
        thresholds=THRESHOLDS,
        encoding=encoding,
        synapses=synapses,
        propagation=propagation,
        pooling="synapses",
        reset="subtract",
    )
    assert snn.layer_names == tuple(THRESHOLDS)
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(
            IMAGES, v_min=-np.inf, record=simulator.populations, seed=3
        )
    for image, pixels in enumerate(IMAGES):
        given = (
            {"image": pixels}
            if encoding == "current"
            else {"input_spikes": raster(result, "input", image)}
        )
        expected = layer_spikes(
            zoo(bias),
            N_STEPS,
            thresholds=list(THRESHOLDS.values()),
            propagation=propagation,
            pooling="synapses",
            v_min=-np.inf,
            reset="subtract",
            **given,
        )
        for name, spikes in zip(THRESHOLDS, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
    assert result.spike_counts["ip1"].any()


def channels(layer, values):
    return np.resize(values, layer.shape[0]).astype(float)


@pytest.mark.standalone
@pytest.mark.parametrize("synapses", ["shared", "explicit"])
@pytest.mark.parametrize("pooling", ["neurons", "synapses"])
@pytest.mark.parametrize("propagation", ["step", "instant"])
def test_numbers_by_channel(synapses, pooling, propagation):
    plain = convert(
        zoo(True),
        SHAPE,
        thresholds=1.0,
        synapses=synapses,
        propagation=propagation,
        pooling=pooling,
        reset="subtract",
    )
    # The largest one is a power of two: what spikes are worth is exact.
    thresholds = {
        layer.name: channels(layer, [0.5, 1.0, 0.25]) for layer in plain.layers
    }
    leak = {"conv2": channels(plain.layers["conv2"], [1 / 32, -1 / 16])}
    v_init = {layer.name: channels(layer, [0.5, 0.0, 0.25]) for layer in plain.layers}
    # Compiled with one number a layer: arrays are run-time inputs, too.
    with plain.compile(N_STEPS * ms) as simulator:
        result = simulator.run(
            IMAGES,
            thresholds=thresholds,
            leak=leak,
            v_init=v_init,
            v_min=-2.5,
            record=simulator.populations,
            seed=3,
        )
    assert result.settings["thresholds"]["conv1"].shape == (4,)
    for image in range(len(IMAGES)):
        expected = layer_spikes(
            zoo(True),
            N_STEPS,
            thresholds=list(thresholds.values()),
            input_spikes=raster(result, "input", image),
            propagation=propagation,
            pooling=pooling,
            v_min=-2.5,
            v_init=list(v_init.values()),
            leak=[leak.get(name, 0) for name in plain.layer_names],
            reset="subtract",
        )
        for name, spikes in zip(plain.layer_names, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
    assert result.spike_counts["ip1"].any()
