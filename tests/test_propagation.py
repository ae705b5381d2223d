"""Spikes that cross all layers within a step, pooling in synapses, and channels."""

import brian2
import numpy as np
import pytest
from brian2 import SpikeMonitor, ms
from reference import layer_spikes, randomize, raster
from torch import nn

from cnn2snn_brian import InputError, SpikingNetwork, convert
from cnn2snn_brian.projections import from_neurons, to_neurons

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


def rare(*cases):
    """Cases before a release: each has a program of its own."""
    return [pytest.param(*case, marks=pytest.mark.many) for case in cases]


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("synapses", "encoding", "bias"),
    [
        ("shared", "poisson", False),
        ("explicit", "current", True),
        *rare(("explicit", "poisson", False), ("shared", "current", True)),
    ],
)
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


NAMES = ("conv1", "pool1", "pool2", "conv2", "conv3", "pool3", "ip1")
THRESHOLDS = {"conv1": 2.0, "conv2": 1.0, "conv3": 1.0, "ip1": 0.5}


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("synapses", "propagation", "encoding"),
    [
        # Each pair of choices is in one of these.
        ("shared", "step", "poisson"),
        ("shared", "instant", "current"),
        ("explicit", "step", "current"),
        ("explicit", "instant", "poisson"),
        *rare(
            ("shared", "step", "current"),
            ("shared", "instant", "poisson"),
            ("explicit", "step", "poisson"),
            ("explicit", "instant", "current"),
        ),
    ],
)
def test_pooling_in_synapses(synapses, propagation, encoding):
    snn = convert(
        zoo(True),
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
            zoo(True),
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
@pytest.mark.parametrize(
    ("synapses", "pooling", "propagation"),
    [
        ("shared", "neurons", "step"),
        ("shared", "synapses", "instant"),
        ("explicit", "synapses", "step"),
        ("explicit", "neurons", "instant"),
        *rare(
            ("shared", "synapses", "step"),
            ("shared", "neurons", "instant"),
            ("explicit", "neurons", "step"),
            ("explicit", "synapses", "instant"),
        ),
    ],
)
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


@pytest.mark.parametrize("synapses", ["shared", "explicit"])
@pytest.mark.parametrize("pooling", ["neurons", "synapses"])
def test_the_same_in_brian(synapses, pooling):
    # Plain Brian2 objects in NumPy: everything at once.
    brian2.prefs.codegen.target = "numpy"
    n_steps = 24
    layers = convert(zoo(True), SHAPE, thresholds=1.0, pooling=pooling).layers
    thresholds = {layer.name: channels(layer, [0.5, 1.0, 0.25]) for layer in layers}
    snn = convert(
        zoo(True),
        SHAPE,
        thresholds=thresholds,
        v_min=-2.5,
        v_init=0.5,
        leak=dict.fromkeys(layers.names, 0.0)
        | {layers.names[1]: channels(layers[1], [1 / 32, 0])},
        propagation="instant",
        pooling=pooling,
        synapses=synapses,
        delay=1 * ms,
    )
    network = snn.network(IMAGES[0])
    monitors = {
        name: SpikeMonitor(network[name]) for name in ("input", *snn.layer_names)
    }
    network.add(*monitors.values())
    brian2.seed(1)
    network.run(n_steps * ms)

    def seen(name, shape):
        spikes = np.zeros((n_steps, *shape), bool)
        step = np.rint(np.asarray(monitors[name].t / ms)).astype(int)
        neuron = np.asarray(monitors[name].i)
        places = from_neurons(np.arange(np.prod(shape))[None], shape)[0]
        for t, index in zip(step, neuron, strict=True):
            spikes[t] |= places == index
        return spikes

    expected = layer_spikes(
        zoo(True),
        n_steps,
        thresholds=list(thresholds.values()),
        input_spikes=seen("input", SHAPE),
        propagation="instant",
        pooling=pooling,
        v_min=-2.5,
        v_init=[0.5] * len(layers),
        leak=[snn.parameters.leak[name] for name in layers.names],
        delay=1,
    )
    for layer, spikes in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(seen(layer.name, layer.shape), spikes, layer.name)
    assert expected[-1].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thresholds": {"conv1": np.ones(3)}}, r"conv1: .*\(3,\).*\(4\)"),
        ({"thresholds": {"conv1": np.ones((2, 2))}}, r"conv1: .*\(2, 2\)"),
        ({"thresholds": {"conv1": [1.0, 0.0, 1.0, 1.0]}}, "threshold of conv1"),
        (
            {"v_min": dict.fromkeys(NAMES, 0.0) | {"conv1": [-1.0] * 4}},
            "v_min of conv1: an",
        ),
        ({"pooling": "synapses", "thresholds": {"pool1": 2.0}}, "pool1 has no neurons"),
        ({"pooling": "none"}, "pooling='none'"),
        ({"propagation": "slow"}, "propagation='slow'"),
        ({"delay": 0.5 * ms}, "multiple of dt"),
    ],
)
def test_bad_input(arguments, message):
    whole = dict.fromkeys(convert(zoo(), SHAPE, thresholds=1.0).layer_names, 1.0)
    if arguments.get("pooling") == "synapses":
        arguments = {"calibration": IMAGES, **arguments}
    else:
        arguments = {
            **arguments,
            "thresholds": {**whole, **arguments.get("thresholds", {})},
        }
    with pytest.raises(InputError, match=message):
        convert(zoo(), SHAPE, **arguments)


def test_saved_and_loaded(tmp_path):
    snn = convert(
        zoo(True),
        SHAPE,
        calibration=IMAGES,
        per_channel=True,
        pooling="synapses",
        propagation="instant",
    )
    assert snn.thresholds["conv1"].shape == (4,)
    snn.save(tmp_path / "network.snn")
    loaded = SpikingNetwork.load(tmp_path / "network.snn")
    assert loaded == snn
    assert loaded.layers == snn.layers
    assert loaded.propagation == "instant"
    np.testing.assert_array_equal(loaded.thresholds["conv2"], snn.thresholds["conv2"])
    snn.thresholds = {"conv1": np.full(4, 0.5)}
    assert loaded != snn


def test_explicit_synapses_of_a_pooled_layer_are_those_of_torch():
    layers = convert(zoo(), SHAPE, thresholds=1.0, pooling="synapses").layers
    rng = np.random.default_rng(5)
    assert any(p.connection.window is not None for p in layers.projections)
    for layer in (p.connection for p in layers.projections):
        pre, post, weight = layer.expanded()
        activations = rng.normal(size=(1, *layer.input_shape))
        drive = np.zeros(int(np.prod(layer.shape)))
        values = to_neurons(activations, layer.input_shape)[0]
        np.add.at(drive, post, weight * values[pre])
        expected = to_neurons(layer.drive(activations), layer.shape)[0]
        np.testing.assert_allclose(drive, expected, atol=1e-12)
        counts = np.bincount(pre, minlength=len(values))
        fan_out = to_neurons(layer.fan_out()[None], layer.input_shape)[0]
        np.testing.assert_array_equal(counts, fan_out)
