"""Maximum pooling by a gate, against a loop over windows and torch."""

from functools import partial

import brian2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import Network, NeuronGroup, SpikeMonitor, TimedArray, ms, mV
from brian2.codegen.runtime.numpy_rt import NumpyCodeObject
from by_hand import only
from reference import layer_spikes, randomize, raster
from torch import nn

from cnn2snn_brian import (
    STDP,
    InputError,
    MaxPoolGate,
    SpikingNetwork,
    UnsupportedModuleError,
    calibrate,
    convert,
    from_torch,
    kernel_noise,
)
from cnn2snn_brian.projections import PASSED, to_neurons
from cnn2snn_brian.tuning import Bisection

N_STEPS = 20

#: Source shape, size, stride, padding, ceil_mode: apart, overlapping, padded, gaps.
WINDOWS = [
    ((2, 7, 6), 2, None, 0, False),
    ((3, 7, 6), (3, 2), (2, 1), (1, 0), False),
    ((1, 6, 5), 3, 1, 1, False),
    ((2, 7, 8), (2, 3), (3, 2), 1, True),
    ((2, 5, 6), 2, 3, 0, True),
    ((4, 3, 4), (3, 4), None, 0, False),
]


class Gate(nn.Module):
    """The rules, with a loop: the first of those with most spikes so far may pass."""

    def __init__(self, size, stride=None, padding=0, ceil_mode=False, rule="gate"):
        super().__init__()
        self.rule = rule
        self.pool = nn.MaxPool2d(size, stride, padding, ceil_mode=ceil_mode)
        self.count = 0

    def forward(self, x):
        spikes = x[0].numpy()
        _, height, width = spikes.shape
        self.before = np.broadcast_to(self.count, spikes.shape)
        self.count = self.count + (spikes > 0)
        found = np.zeros(self.pool(x).shape[1:], spikes.dtype)
        size, stride, padding = (
            np.broadcast_to(n, 2)
            for n in (self.pool.kernel_size, self.pool.stride, self.pool.padding)
        )
        for c, oy, ox in np.ndindex(*found.shape):
            best = None
            top, left = np.array([oy, ox]) * stride - padding
            for y, x in np.ndindex(*size):
                place = c, top + y, left + x
                if min(place) < 0 or top + y >= height or left + x >= width:
                    continue
                if best is None or self.count[place] > self.count[best]:
                    best = place
            had = self.count[best] - (spikes[best] > 0)
            others = self.before[c][max(top, 0) : top + size[0]]
            record = others[:, max(left, 0) : left + size[1]].max()
            if self.rule == "gate" or had == record:
                found[c, oy, ox] = spikes[best]
        return torch.tensor(found[None])


def spikes_of(shape, seed=0):
    """Spikes at a rate of their own for each neuron, so that leaders change."""
    rng = np.random.default_rng(seed)
    spikes = rng.random((N_STEPS, *shape)) < rng.random(shape)
    # Programs deliver few spikes in another way than many.
    spikes[::3] &= rng.random(spikes[::3].shape) < 1 / 64
    return spikes


def expected_spikes(windows, spikes, delay=0, rule="gate"):
    gate = Gate(*windows[1:], rule=rule)
    late = np.concatenate([np.zeros_like(spikes[:delay]), spikes])[:N_STEPS]
    return np.stack(
        [gate(torch.tensor(s[None].astype(float))).numpy()[0] for s in late]
    )


def channels_last(array):
    return np.moveaxis(array, 1, -1).reshape(len(array), -1)


def replay(spikes, n_more=0):
    """Neurons that spike as they are told, and some that never do."""
    told = np.pad(channels_last(spikes).astype(float), ((0, 2), (0, n_more)))
    given = TimedArray(told, dt=1 * ms)
    return NeuronGroup(
        told.shape[1], "", threshold="given(t, i) > 0", namespace={"given": given}
    )


def gates(windows, index, delay=0, rule="gate"):
    """Make a gate with what it needs, and what it has to do."""
    shape, *options = windows
    spikes = spikes_of(shape, index)
    expected = channels_last(expected_spikes(windows, spikes, delay, rule))
    source = replay(spikes, n_more=2)
    target = NeuronGroup(
        expected[0].size + 3, "v : 1", threshold="v >= 1", reset="v -= 1"
    )
    size, stride, padding, ceil_mode = options
    gate = MaxPoolGate(
        source[: spikes[0].size],
        target[3:],
        size,
        shape,
        stride,
        padding,
        ceil_mode=ceil_mode,
        delay=delay * ms,
        rule=rule,
    )
    monitor = SpikeMonitor(target)
    return (source, target, gate, monitor), monitor, expected


def check(monitor, expected):
    found = np.zeros((N_STEPS + 2, monitor.source.N), bool)
    found[np.rint(monitor.t / ms).astype(int), monitor.i] = True
    # A spike acts one step later.
    np.testing.assert_array_equal(found[1 : N_STEPS + 1, 3:], expected > 0)
    assert not found[:, :3].any()
    assert expected.any()


@pytest.fixture(autouse=True)
def one_millisecond_steps():
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = 1 * ms


def check_all(cases):
    made = [gates(WINDOWS[index], index, *options) for index, *options in cases]
    network = Network(*(part for parts, *_ in made for part in parts))
    network.run((N_STEPS + 1) * ms)
    for _, monitor, expected in made:
        check(monitor, expected)


def test_every_spike_in_numpy():
    for rule in ("gate", "largest-count"):
        check_all([(index, 0, rule) for index in range(len(WINDOWS))])
    check_all([(2, 3)])


#: The other targets take seconds to compile each: overlap and padding, with a delay.
FEW = [(3, 0, "largest-count"), (2, 3)]


@pytest.mark.parametrize("windows", WINDOWS)
def test_as_many_spikes_pass_as_the_largest_count(windows):
    shape, size, stride, padding, ceil_mode = windows
    spikes = spikes_of(shape)
    passed = expected_spikes(windows, spikes, rule="largest-count") > 0
    for step in (5, N_STEPS):
        expected = F.max_pool2d(
            torch.tensor(spikes[:step].sum(0)[None].astype(float)),
            size,
            stride,
            padding,
            ceil_mode=ceil_mode,
        )
        np.testing.assert_array_equal(passed[:step].sum(0), expected[0].numpy())


@pytest.mark.slow
def test_every_spike_in_cython():
    made = [gates(WINDOWS[index], index, *options) for index, *options in FEW]
    others = [part for parts, *_ in made for part in parts[:2] + parts[3:]]
    for part in (*others, *(p for o in others for p in o.contained_objects)):
        part.codeobj_class = NumpyCodeObject  # what is not tested takes no time
    brian2.prefs.codegen.target = "cython"
    Network(*(part for parts, *_ in made for part in parts)).run((N_STEPS + 1) * ms)
    for parts, monitor, expected in made:
        assert "cython" in str(type(parts[2].codeobj)).lower()
        check(monitor, expected)


@pytest.mark.standalone
def test_every_spike_in_standalone(tmp_path):
    make_args = brian2.prefs.devices.cpp_standalone.extra_make_args_unix
    brian2.set_device("cpp_standalone", directory=str(tmp_path / "cpp"))
    brian2.prefs.devices.cpp_standalone.extra_make_args_unix = ["-j2"]
    brian2.defaultclock.dt = 1 * ms
    try:
        check_all(FEW)
    finally:
        brian2.prefs.devices.cpp_standalone.extra_make_args_unix = make_args


def test_statements_weights_and_counts():
    spikes = np.zeros((4, 1, 2, 2), bool)
    spikes[0, 0, 1, 1] = spikes[1, 0, 0, 1] = True  # the second one ties: it is first
    spikes[2, 0, 1, 1] = spikes[3, 0, 0, 1] = True
    source = replay(spikes)
    target = NeuronGroup(1, "v : volt\nn : 1")
    gate = MaxPoolGate(
        source, target, 2, (1, 2, 2), weight=3 * mV, on_pre="v += w; n += i_pre"
    )
    network = Network(source, target, gate)
    network.store()
    for v, n in ((3, 3), (6, 4), (9, 7), (12, 8)):
        network.run(1 * ms)
        assert target.v[0] / mV == pytest.approx(v)
        assert target.n[0] == n
    np.testing.assert_array_equal(gate.spikes_so_far, [0, 2, 0, 2])
    network.restore()  # the counts too
    network.run(2 * ms)
    assert target.n[0] == 4
    assert gate.N == 4
    assert gate.w[0] == 3 * mV
    with pytest.raises(InputError, match="no explicit form"):
        gate.to_explicit()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, (2, 6, 4)), "size=0"),
        ((2, (2, 6, 4), 0), "stride=0"),
        ((2, (2, 6, 4), 2, 2), "padding=2: at most half"),
        ((2, (6, 4)), "source_shape"),
        ((2, (2, 6, 5)), "has 48 neurons"),
        ((7, (2, 6, 4)), "windows .* don't fit"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    source = NeuronGroup(48, "", threshold="False")
    target = NeuronGroup(12, "v : 1")
    MaxPoolGate(source, target, 2, (2, 6, 4))
    with pytest.raises(InputError, match=message):
        MaxPoolGate(source, target, *arguments)


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("is_function", [False, True])
def test_layers_compute_torchs_maximum(windows, is_function):
    shape, *options = windows

    class Functional(nn.Module):
        def forward(self, x):
            return F.max_pool2d(x, *options[:3], 1, options[3])

    pool = nn.MaxPool2d(*options[:3], ceil_mode=options[3])
    module = nn.Sequential(Functional() if is_function else pool)
    network = from_torch(module, shape, max_pooling="gate")
    layer = only(network)
    assert layer.gate == "gate"
    assert layer.name == layer.target == "pool1"
    assert network.is_gate("pool1")
    x = np.random.default_rng(0).random((2, *shape))
    expected = pool(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(layer.drive(x), expected)
    connection = layer.connection
    assert network["pool1"].shape == connection.shape == expected.shape[1:]
    pre, post, weight = connection.expanded()
    assert connection.fan_out().sum() == len(pre) == connection.n_synapses
    reached = np.zeros((int(np.prod(shape)), int(np.prod(connection.shape))), bool)
    reached[pre, post] = True
    # A spike of an input alone passes to the windows that it is in.
    alone = layer.drive(np.eye(len(reached)).reshape(-1, *shape)[by_neuron(shape)])
    np.testing.assert_array_equal(reached, channels_last(alone) > 0)
    np.testing.assert_array_equal(weight, PASSED)


def by_neuron(shape):
    """Index in torch's order of each neuron."""
    return to_neurons(np.arange(int(np.prod(shape))).reshape(shape), shape)


SHAPE = (2, 9, 8)
IMAGES = np.random.default_rng(0).integers(0, 65, (3, *SHAPE)) / 64
NAMES = ("conv1", "pool1", "conv2", "pool2", "ip1")


def cnn(pools=nn.MaxPool2d, bias=False):
    """
    Make a CNN with odd sizes and windows that overlap or are padded.

    (2, 9, 8) -> conv1 (4, 8, 9) -> (4, 4, 4) -> conv2 (6, 4, 3) -> (6, 2, 3) -> 3
    """
    module = nn.Sequential(
        nn.Conv2d(2, 4, (4, 2), padding=1, bias=bias),
        nn.ReLU(),
        pools((3, 2), 2, (1, 0)),
        nn.Conv2d(4, 6, (1, 2), bias=bias),
        nn.ReLU(),
        pools((2, 1), (2, 1)),
        nn.Flatten(),
        nn.Linear(36, 3, bias=bias),
    )
    return randomize(module.eval(), seed=7)


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("synapses", "propagation", "encoding", "channels", "rule"),
    [
        ("shared", "step", "poisson", False, "gate"),
        ("explicit", "instant", "current", True, "largest-count"),
    ],
)
def test_every_spike_of_a_network(synapses, propagation, encoding, channels, rule):
    has_bias = encoding == "current"
    thresholds = {"conv1": 2.0, "conv2": 1.0, "ip1": 0.5}
    if channels:
        thresholds["conv1"] = np.array([2.0, 1.0, 0.75, 1.5])
        thresholds["conv2"] = np.arange(3, 9) / 8
    snn = convert(
        cnn(bias=has_bias),
        SHAPE,
        thresholds=thresholds,
        max_pooling=rule,
        encoding=encoding,
        propagation=propagation,
        synapses=synapses,
        reset="subtract" if channels else "zero",
    )
    assert snn.layer_names == NAMES
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(
            IMAGES, v_min=-4, v_init=0.5, record=simulator.populations, seed=3
        )
        if channels:
            fit = calibrate(
                simulator, IMAGES, scales=(0.5, 1), rounds=1, progress=False
            )
            largest = fit.found.thresholds["conv1"] / max(fit.found.thresholds["conv1"])
            np.testing.assert_allclose(fit.found.thresholds["pool1"], largest)
            assert not np.any(fit.found.leak["pool1"])
            assert [*fit.errors] == ["conv1", "conv2"]
    assert len(np.unique(result.spike_counts["pool1"])) > 3
    for image, pixels in enumerate(IMAGES):
        given = (
            {"image": pixels}
            if has_bias
            else {"input_spikes": raster(result, "input", image)}
        )
        expected = layer_spikes(
            cnn(partial(Gate, rule=rule), bias=has_bias),
            N_STEPS,
            thresholds=[snn.thresholds[name] for name in NAMES],
            propagation=propagation,
            v_min=-4,
            v_init=[0.5] * len(NAMES),
            reset="subtract" if channels else "zero",
            **given,
        )
        for name, spikes in zip(NAMES, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)


def test_in_brians_runtime_mode():
    snn = convert(
        cnn(bias=True),
        SHAPE,
        thresholds=0.5,
        max_pooling="gate",
        preset="few-steps",
    )
    assert snn.thresholds["pool1"] == 1
    network = snn.network(IMAGES[0])
    monitors = {name: SpikeMonitor(network[name]) for name in NAMES}
    network.add(*monitors.values())
    network.run(N_STEPS * ms)
    expected = layer_spikes(
        cnn(Gate, bias=True),
        N_STEPS,
        image=IMAGES[0],
        thresholds=[snn.thresholds[name] for name in NAMES],
        propagation="instant",
        v_min=-np.inf,
        v_init=[0.5] * len(NAMES),
        reset="subtract",
    )
    for name, spikes in zip(NAMES, expected, strict=True):
        found = np.asarray(monitors[name].count)
        np.testing.assert_array_equal(found, channels_last(spikes.sum(0)[None])[0])
    assert monitors["ip1"].num_spikes


def test_a_gate_has_the_scale_of_what_it_reads():
    pictures = np.random.default_rng(1).random((9, *SHAPE))
    options = {"calibration": pictures, "max_pooling": "gate"}
    snn = convert(cnn(), SHAPE, **options, percentile=100)
    layers = from_torch(cnn(), SHAPE, max_pooling="gate")
    largest = {k: v.max() for k, v in layers.activations(pictures).items()}
    assert snn.thresholds["pool1"] == 1
    assert snn.thresholds["conv2"] == pytest.approx(
        largest["conv2"] / largest["conv1"], rel=1e-5
    )
    by_channel = convert(cnn(), SHAPE, **options, per_channel=True).thresholds
    share = by_channel["conv1"] / by_channel["conv1"].max()
    np.testing.assert_allclose(by_channel["pool1"], share)
    given = convert(cnn(), SHAPE, **options, thresholds={"conv1": 2.0, "pool2": 3.0})
    assert given.thresholds["pool1"] == 1
    assert given.thresholds["pool2"] == 3
    activations = layers.collected_activations(pictures.astype(np.float32))
    scope = Bisection().scope(snn, activations, 0)
    assert scope.layers == ("conv1", "conv2", "ip1")
    with pytest.raises(InputError, match=r"thresholds: give numbers"):
        convert(cnn(), SHAPE, thresholds={"conv1": 2.0}, max_pooling="gate")


def test_average_pooling_in_front_of_a_gate_keeps_its_neurons():
    module = nn.Sequential(
        nn.AvgPool2d(2, 1), nn.MaxPool2d(2), nn.AvgPool2d(2, 1), nn.Conv2d(2, 1, 2)
    )
    layers = from_torch(module, SHAPE, max_pooling="gate").without_pooling_neurons()
    assert layers.names == ("pool1", "pool2", "conv1")
    first, gate, last = layers.projections
    assert [p.label for p in layers.projections] == [
        "AvgPool2d",
        "MaxPool2d",
        "Conv2d of averages",
    ]
    assert [p.gate for p in layers.projections] == [None, "gate", None]
    assert first.is_average
    assert not gate.is_average
    assert last.connection.window is not None


def test_files_and_noise(tmp_path):
    snn = convert(cnn(), SHAPE, thresholds=1.0, max_pooling="gate")
    snn.save(tmp_path / "a.snn")
    assert SpikingNetwork.load(tmp_path / "a.snn") == snn
    noisy = kernel_noise(snn, 0.1)
    assert noisy.layers.into("pool1") == snn.layers.into("pool1")
    assert noisy.layers.into("conv1") != snn.layers.into("conv1")


@pytest.mark.parametrize(
    ("pool", "option", "message"),
    [
        (nn.MaxPool2d(2), None, r"^2: found MaxPool2d.*adjust.*max_pooling='gate'"),
        (nn.MaxPool2d(2, dilation=2), "gate", r"^2: found MaxPool2d.*dilation of 1"),
        (nn.MaxPool2d(2, return_indices=True), "gate", r"^2: .*more than one tensor"),
    ],
)
def test_refusals(pool, option, message):
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), pool)
    with pytest.raises(UnsupportedModuleError, match=message):
        convert(module, SHAPE, thresholds=1.0, max_pooling=option)


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match="max_pooling='average'"):
        from_torch(cnn(), SHAPE, max_pooling="average")
    layers = from_torch(cnn(), SHAPE, max_pooling="gate")
    with pytest.raises(InputError, match="max_pooling: these layers were read before"):
        convert(layers, thresholds=1.0, max_pooling="gate")
    module = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 3, 2))
    snn = convert(module, SHAPE, thresholds=1.0, max_pooling="gate")
    learning = convert(layers, thresholds=1.0, synapses="explicit")
    with pytest.raises(InputError, match="pool1: a gate of maximum pooling"):
        learning.rules = {"pool1": STDP()}
    with pytest.raises(InputError, match="counts spikes: encoding='poisson'"):
        snn.encoding = "current"
