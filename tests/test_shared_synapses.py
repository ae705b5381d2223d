"""Weight-shared synapses against explicit ones, torch, and Brian2's own objects."""

import subprocess
import sys
import warnings

import brian2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import (
    Clock,
    DimensionMismatchError,
    Network,
    NeuronGroup,
    PoissonGroup,
    SpikeGeneratorGroup,
    SpikeMonitor,
    TimedArray,
    ms,
    mV,
    nS,
    pA,
    siemens,
)
from brian2.core.base import BrianObjectException

from cnn2snn_brian.brian.internals import check_version
from cnn2snn_brian.brian.neurons import OnePassUpdate, if_neurons
from cnn2snn_brian.brian.synapse_kinds import (
    Conv2dSynapses,
    DenseSynapses,
    PoolSynapses,
)
from cnn2snn_brian.errors import InputError

N_STEPS = 20


@pytest.fixture(autouse=True)
def one_millisecond_steps():
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = 1 * ms


@pytest.fixture
def standalone(tmp_path):
    def start(**options):
        brian2.set_device("cpp_standalone", directory=str(tmp_path / "cpp"), **options)
        brian2.prefs.devices.cpp_standalone.extra_make_args_unix = ["-j2"]
        brian2.defaultclock.dt = 1 * ms

    make_args = brian2.prefs.devices.cpp_standalone.extra_make_args_unix
    yield start
    brian2.prefs.devices.cpp_standalone.extra_make_args_unix = make_args


def dyadic(*shape, seed=0):
    """Draw multiples of 1/64, whose sums are exact."""
    return np.random.default_rng(seed).integers(-24, 41, shape) / 64


def channels_last(array):
    """Order the values (n_steps, *shape) like neurons."""
    if array.ndim == 4:
        array = np.moveaxis(array, 1, -1)
    return array.reshape(len(array), -1)


class Convolution:
    def __init__(self, source_shape, kernel_shape, **arguments):
        self.source_shape, self.arguments = source_shape, arguments
        self.kernel = dyadic(*kernel_shape)

    def make(self, source, target, **options):
        return Conv2dSynapses(
            source, target, self.kernel, self.source_shape, **self.arguments, **options
        )

    def drive(self, spikes):
        return F.conv2d(spikes, torch.tensor(self.kernel), **self.arguments)


class Pooling:
    def __init__(self, source_shape, size, stride, weight):
        self.source_shape, self.size, self.stride = source_shape, size, stride
        self.weight = weight

    def make(self, source, target, **options):
        return PoolSynapses(
            source,
            target,
            self.size,
            self.source_shape,
            self.stride,
            self.weight,
            **options,
        )

    def drive(self, spikes):
        return F.avg_pool2d(
            spikes * self.weight,
            self.size,
            self.stride,
            divisor_override=int(np.prod(np.broadcast_to(self.size, 2))),
        )


class Dense:
    def __init__(self, source_shape, n_target):
        self.source_shape = source_shape
        self.weights = dyadic(n_target, int(np.prod(source_shape)))

    def make(self, source, target, **options):
        shape = self.source_shape if len(self.source_shape) == 3 else None
        return DenseSynapses(source, target, self.weights, shape, **options)

    def drive(self, spikes):
        return F.linear(spikes.flatten(1), torch.tensor(self.weights))


ZOO = {
    "3x3": Convolution((2, 7, 6), (3, 2, 3, 3)),
    "3x2-padded": Convolution((2, 7, 6), (3, 2, 3, 2), padding=(1, 0)),
    "2x4-padded": Convolution((3, 5, 6), (2, 3, 2, 4), padding=(1, 3)),
    "1x1": Convolution((3, 4, 5), (4, 3, 1, 1)),
    "whole-image": Convolution((2, 5, 4), (6, 2, 5, 4)),
    "strided-y": Convolution((2, 7, 6), (3, 2, 3, 2), stride=(2, 1), padding=1),
    "strided-x": Convolution((2, 7, 6), (3, 2, 2, 3), stride=(1, 2), padding=(0, 2)),
    "with-gaps": Convolution((1, 8, 7), (2, 1, 2, 2), stride=3),
    "dilated": Convolution((2, 7, 6), (3, 2, 2, 3), dilation=(3, 2), padding=(1, 1)),
    "grouped": Convolution((4, 5, 6), (6, 2, 3, 2), groups=2, padding=1),
    "depthwise": Convolution((3, 6, 5), (6, 1, 2, 3), groups=3, stride=(1, 2)),
    "pool": Pooling((3, 6, 8), (2, 4), None, 3.0),
    "pool-overlapping": Pooling((2, 7, 6), (3, 2), (2, 1), 4.5),
    "pool-with-gaps": Pooling((2, 8, 7), 2, (3, 4), 2.5),
    "dense": Dense((17,), 9),
    "dense-flattened": Dense((2, 3, 4), 7),
}


def input_spikes(case, seed=1, rate=0.15):
    rng = np.random.default_rng(seed)
    return rng.random((N_STEPS, *case.source_shape)) < rate


def target_shape(case):
    empty = torch.zeros((1, *case.source_shape), dtype=torch.float64)
    return tuple(case.drive(empty).shape[1:])


def reference_spikes(case, spikes, delay_steps):
    """Spikes of targets with threshold 1 and subtractive reset, in neuron order."""
    drive = channels_last(case.drive(torch.tensor(spikes * 1.0)).numpy())
    v = np.zeros(drive.shape[1])
    fired = np.zeros(drive.shape, bool)
    for t in range(len(spikes)):
        fired[t] = v >= 1
        if t >= delay_steps:
            v += drive[t - delay_steps]
        v -= fired[t]
    return fired


def generator(spikes):
    """Make a group that emits spikes given as (n_steps, n)."""
    steps, neurons = np.nonzero(spikes)
    return SpikeGeneratorGroup(spikes.shape[1], neurons, steps * ms)


def replay(spikes):
    """Make neurons that spike like `spikes`, (n_steps, n); they have subgroups."""
    played = TimedArray(spikes.astype(float), dt=1 * ms)
    return NeuronGroup(
        spikes.shape[1],
        "v : 1",
        threshold="played(t, i) > 0",
        namespace={"played": played},
    )


def cells(n, **options):
    return NeuronGroup(n, "v : 1", threshold="v >= 1", reset="v -= 1", **options)


def raster(monitor, n):
    spikes = np.zeros((N_STEPS, n), bool)
    spikes[np.rint(monitor.t / ms).astype(int), monitor.i] = True
    return spikes


def side_by_side(names, *, explicit=True):
    """
    Connect subgroups of one source to subgroups of two targets, case by case.

    The first target gets shared synapses, the second the same as explicit ones. Delays
    are 0 to 3 steps.
    """
    cases = [ZOO[name] for name in names]
    delays = [k % 4 for k in range(len(cases))]
    spikes = [input_spikes(case, seed) for seed, case in enumerate(cases)]
    expected = [
        reference_spikes(case, found, delay)
        for case, found, delay in zip(cases, spikes, delays, strict=True)
    ]
    inputs = np.concatenate([channels_last(found) for found in spikes], axis=1)
    expected = np.concatenate(expected, axis=1)
    source = replay(inputs)
    targets = [cells(expected.shape[1]) for _ in range(1 + explicit)]
    shared, listed, pre, post = [], [], 0, 0
    for case, delay in zip(cases, delays, strict=True):
        n_pre, n_post = np.prod(case.source_shape), np.prod(target_shape(case))
        part = source[pre : pre + n_pre]
        ends = [target[post : post + n_post] for target in targets]
        shared.append(case.make(part, ends[0], delay=delay * ms))
        if explicit:
            other = case.make(part, ends[1], delay=delay * ms)
            listed.append(other.to_explicit())
        pre, post = pre + n_pre, post + n_post
    return source, targets, shared, listed, expected


# Spike by spike.


@pytest.mark.parametrize(
    "delay_steps", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))]
)
@pytest.mark.parametrize("name", ZOO)
def test_spikes_equal_explicit_synapses_and_torch(name, delay_steps):
    case = ZOO[name]
    spikes = input_spikes(case)
    expected = reference_spikes(case, spikes, delay_steps)
    source, n = generator(channels_last(spikes)), expected.shape[1]
    targets = cells(n), cells(n)
    shared = case.make(source, targets[0], delay=delay_steps * ms)
    explicit = case.make(source, targets[1], delay=delay_steps * ms).to_explicit()
    monitors = [SpikeMonitor(target) for target in targets]
    Network(source, targets, shared, explicit, monitors).run(N_STEPS * ms)
    assert expected.any()
    np.testing.assert_array_equal(raster(monitors[0], n), expected)
    np.testing.assert_array_equal(raster(monitors[1], n), expected)
    np.testing.assert_array_equal(targets[0].v, targets[1].v)
    assert len(explicit) == shared.N


def test_subgroups():
    source, targets, shared, explicit, expected = side_by_side(ZOO)
    monitors = [SpikeMonitor(target) for target in targets]
    Network(source, targets, shared, explicit, monitors).run(N_STEPS * ms)
    for monitor in monitors:
        np.testing.assert_array_equal(raster(monitor, expected.shape[1]), expected)


@pytest.mark.slow
def test_cython():
    names = ("2x4-padded", "pool-overlapping", "dense-flattened")
    source, targets, shared, _, expected = side_by_side(names)
    monitor = SpikeMonitor(targets[0])
    # Only the shared synapses: each object of Brian2 would be compiled too.
    numpy_class = brian2.get_device().code_object_class(None)
    spiking = [group.thresholder["spike"] for group in (source, targets[0])]
    for part in (*spiking, targets[0].resetter["spike"], monitor):
        part.codeobj_class = numpy_class
    brian2.prefs.codegen.target = "cython"
    Network(source, targets[0], shared, monitor).run(N_STEPS * ms)
    assert {type(s.codeobj).__name__ for s in shared} == {"SharedCythonCodeObject"}
    np.testing.assert_array_equal(raster(monitor, expected.shape[1]), expected)


@pytest.mark.standalone
def test_standalone(standalone):
    standalone(build_on_run=True)
    # The sums of many more are in test_sums.py.
    names = ("3x3", "2x4-padded", "strided-x", "dilated", "depthwise", "pool-with-gaps")
    source, targets, shared, _, expected = side_by_side(names, explicit=False)
    monitor = SpikeMonitor(targets[0])
    net = Network(source, targets[0], shared, monitor)
    net.run(N_STEPS * ms, profile=True)
    np.testing.assert_array_equal(raster(monitor, expected.shape[1]), expected)
    assert shared[0].kernel.shape == (3, 2, 3, 3)
    np.testing.assert_array_equal(shared[0].kernel, ZOO["3x3"].kernel)
    profiled = {name for name, _ in net.profiling_info}
    assert any(name.startswith(shared[0].name) for name in profiled)


@pytest.mark.standalone
def test_explicit_synapses_in_standalone(standalone):
    standalone(build_on_run=True)
    names = ("pool-overlapping", "grouped", "dense-flattened")
    source, targets, _, explicit, expected = side_by_side(names)
    monitor = SpikeMonitor(targets[1])
    Network(source, targets[1], explicit, monitor).run(N_STEPS * ms)
    np.testing.assert_array_equal(raster(monitor, expected.shape[1]), expected)


def test_poisson_source_of_rate_one_per_step():
    weights = dyadic(5, 8)
    rates = np.arange(8) % 2 / ms
    source = PoissonGroup(8, rates)
    target = NeuronGroup(5, "v : 1")
    shared = DenseSynapses(source, target, weights)
    Network(source, target, shared).run(4 * ms)
    np.testing.assert_array_equal(target.v, 4 * weights[:, 1::2].sum(1))


def test_store_and_restore_with_spikes_under_way():
    case = ZOO["3x2-padded"]
    spikes = input_spikes(case)
    expected = reference_spikes(case, spikes, 3)
    target = cells(expected.shape[1])
    source = generator(channels_last(spikes))
    shared = case.make(source, target, delay=3 * ms)
    monitor = SpikeMonitor(target)
    net = Network(source, target, shared, monitor)
    net.run(9 * ms)
    net.store()
    net.run(2 * ms)
    net.restore()
    net.run((N_STEPS - 9) * ms)
    np.testing.assert_array_equal(raster(monitor, expected.shape[1]), expected)


def test_a_run_in_pieces_keeps_spikes_under_way():
    case = ZOO["strided-y"]
    spikes = input_spikes(case)
    expected = reference_spikes(case, spikes, 2)
    target = cells(expected.shape[1])
    source = generator(channels_last(spikes))
    monitor = SpikeMonitor(target)
    shared = case.make(source, target, delay=2 * ms)
    net = Network(source, target, monitor, shared)
    for n_steps in (1, 4, 1, N_STEPS - 6):
        net.run(n_steps * ms)
    np.testing.assert_array_equal(raster(monitor, expected.shape[1]), expected)


# What a spike does.

N_PRE, N_POST = 12, 7
#: Of the sources of `statements`: neuron i spikes in step t.
FIRES = (3 * np.arange(N_STEPS)[:, None] + 5 * np.arange(N_PRE)) % 4 == 0


def statements():
    """Make synapses with all kinds of `on_pre`, each on variables of its own."""
    source = NeuronGroup(
        N_PRE, "x : 1", threshold="(3*t_in_timesteps + 5*i) % 4 == 0", reset="x += 1"
    )
    source.x = "i / 8"
    target = NeuronGroup(
        N_POST,
        """
        g : siemens
        traced : 1
        gained : 1
        total : 1
        bounded : 1
        failing : 1
        odd : 1
        gain : 1 (shared)
        """,
    )
    target.gain = 0.5
    weights = dyadic(N_POST, N_PRE)
    both = source, target
    made = [
        DenseSynapses(*both, weights * nS, on_pre="g_post += w"),
        DenseSynapses(*both, weights, on_pre="traced_post += w*x_pre"),
        DenseSynapses(*both, weights, on_pre="gained += w*gain"),
        DenseSynapses(
            *both,
            weights,
            on_pre="""
            twice = 2*w
            total_post += twice
            bounded_post = clip(bounded_post + total_post, -3, 3)
            """,
        ),
        DenseSynapses(
            *both, np.ones((N_POST, N_PRE)), on_pre="failing_post += w*(rand() < 0.5)"
        ),
        DenseSynapses(*both, weights, on_pre="odd_post += w*(i_post % 2)"),
    ]
    return source, target, made


def check_statements(target):
    weights = dyadic(N_POST, N_PRE)
    x = np.arange(N_PRE) / 8
    traced, total, bounded = np.zeros((3, N_POST))
    for t in range(N_STEPS):
        for i in np.flatnonzero(FIRES[t]):
            traced += weights[:, i] * x[i]
            total += 2 * weights[:, i]
            bounded = np.clip(bounded + total, -3, 3)
        x += FIRES[t]
    sums = weights @ FIRES.sum(0)
    np.testing.assert_allclose(target.g / nS, sums, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(target.traced, traced)
    np.testing.assert_array_equal(target.gained, sums / 2)
    np.testing.assert_array_equal(target.total, total)
    np.testing.assert_array_equal(target.bounded, bounded)
    np.testing.assert_array_equal(target.odd, sums * (np.arange(N_POST) % 2))
    # Each synapse fails by itself: binomial, and not the same for all targets.
    n = FIRES.sum()
    assert (np.abs(target.failing - n / 2) <= 5 * np.sqrt(n / 4)).all()
    assert len(set(target.failing)) > 1
    np.testing.assert_array_equal(target.failing, np.rint(target.failing))


def test_statements_numpy():
    brian2.seed(4)
    source, target, made = statements()
    Network(source, target, made).run(N_STEPS * ms)
    check_statements(target)


def test_statements_are_those_of_brians_synapses():
    source, target, made = statements()
    deterministic = [s.to_explicit() for s in made if "rand" not in s.on_pre]
    Network(source, target, deterministic).run(N_STEPS * ms)
    explicit = {name: np.array(target.state(name)) for name in ("g", "bounded", "odd")}
    source, target, made = statements()
    Network(source, target, made).run(N_STEPS * ms)
    for name, values in explicit.items():
        assert values.any()
        found = np.array(target.state(name))
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "on_pre", ["x_pre += 1", "x_pre += w", "v_post += w*x_pre\nx_pre += 1"]
)
def test_each_synapse_writes_to_its_source(on_pre):
    found = []
    for explicit in (False, True):
        source, target, synapses = dense(((1.0, 2.0), (0.5, 4.0)), on_pre=on_pre)
        if explicit:
            synapses = synapses.to_explicit()
        Network(source, target, synapses).run(2 * ms)
        found.append((source.x[:].tolist(), target.v[:].tolist()))
    assert found[0] == found[1]
    assert min(found[0][0]) > 0


@pytest.mark.standalone
def test_statements_and_schedule_standalone(standalone):
    standalone(build_on_run=True)
    brian2.seed(4)
    source, target, made = statements()
    chained, monitors = chain()
    Network(source, target, made, chained, monitors).run(N_STEPS * ms)
    check_statements(target)
    assert first_spikes(monitors) == [1, 4, 5]


@pytest.mark.standalone
def test_failing_synapses_are_binomial_in_standalone(standalone):
    standalone(build_on_run=True)
    check_failing()


def test_failing_synapses_are_binomial():
    check_failing()


def check_failing():
    brian2.seed(2)
    source = PoissonGroup(20, 1 / ms)
    target = NeuronGroup(6 * 5 * 4, "v : 1")
    # 1x1: a spike reaches all 6 channels of its place.
    kernel = np.ones((6, 1, 1, 1))
    shared = Conv2dSynapses(
        source, target, kernel, (1, 5, 4), on_pre="v_post += w*(rand() < 0.3)"
    )
    Network(source, target, shared).run(200 * ms)
    z = (target.v[:] - 200 * 0.3) / np.sqrt(200 * 0.3 * 0.7)
    assert (np.abs(z) <= 5).all()
    # The sum of 120 independent squares; one number for a whole spike fails this.
    assert abs((z**2).sum() - 120) <= 5 * np.sqrt(2 * 120)
    by_place = z.reshape(20, 6).mean(1) * np.sqrt(6)
    assert abs((by_place**2).sum() - 20) <= 5 * np.sqrt(2 * 20)


def dense(weights=((1.0, 2.0),), model="v : 1", **options):
    weights = np.asarray(weights) if isinstance(weights, tuple) else weights
    source = NeuronGroup(weights.shape[1], "x : 1", threshold="t_in_timesteps >= 0")
    target = NeuronGroup(weights.shape[0], model)
    return source, target, DenseSynapses(source, target, weights, **options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "v : volt"}, DimensionMismatchError),
        ({"weights": np.ones((1, 2)) * nS}, DimensionMismatchError),
        ({"on_pre": "v_post += w*nothing"}, KeyError),
        ({"on_pre": "nothing_post += w"}, KeyError),
    ],
)
def test_errors_of_statements_are_those_of_brians_synapses(options, error):
    for explicit in (False, True):
        source, target, synapses = dense(**options)
        if explicit:
            synapses = synapses.to_explicit()
        net = Network(source, target, synapses)
        with pytest.raises(BrianObjectException) as raised:
            net.run(1 * ms)
        assert isinstance(raised.value.__cause__, error)


@pytest.mark.parametrize("on_pre", [None, 3, {"pre": "v_post += w"}])
def test_on_pre_has_to_be_a_string(on_pre):
    with pytest.raises(TypeError, match="on_pre has to be a string"):
        dense(on_pre=on_pre)


def test_delay_is_a_time():
    with pytest.raises(DimensionMismatchError):
        dense(delay=2 * mV)


@pytest.mark.parametrize("delay", [-1 * ms, np.inf * ms, [1, 2] * ms])
def test_a_delay_is_one_time_of_at_least_0(delay):
    with pytest.raises(InputError, match="the delay is .* expected one time"):
        dense(delay=delay)
    with pytest.raises(InputError, match="the delay is .* expected one time"):
        conv(delay=delay)


def conv(source=84, target=60, kernel=(3, 2, 3, 3), shape=(2, 7, 6), **options):
    pixels, neurons = PoissonGroup(source, 0 / ms), cells(target)
    return Conv2dSynapses(pixels, neurons, np.ones(kernel), shape, **options)


def pool(source=84, target=18, size=2, shape=(2, 7, 6), **options):
    pixels, neurons = PoissonGroup(source, 0 / ms), cells(target)
    return PoolSynapses(pixels, neurons, size, shape, **options)


def linear(source=84, target=5, weights=(5, 84), shape=(2, 7, 6)):
    pixels, neurons = PoissonGroup(source, 0 / ms), cells(target)
    return DenseSynapses(pixels, neurons, np.ones(weights), shape)


def test_the_arguments_below_are_wrong_one_at_a_time():
    assert conv().N == 60 * 2 * 9
    assert pool().N == 18 * 4
    assert linear().N == 5 * 84


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (conv, {"source": 83}, "source .* has 83 neurons; .* 2x7x6 needs 84"),
        (conv, {"target": 61}, "target .* has 61 neurons; .* 3x5x4 needs 60"),
        (conv, {"kernel": (3, 1, 3, 3)}, "does not fit"),
        (conv, {"kernel": (3, 3, 3)}, "does not fit"),
        (conv, {"kernel": (3, 2, 8, 3)}, "larger than"),
        (conv, {"shape": (84,)}, "source_shape"),
        (conv, {"shape": (2, 0, 6)}, "source_shape"),
        (conv, {"stride": 0}, "stride=0"),
        (conv, {"stride": (1, 2, 3)}, "stride="),
        (conv, {"stride": 1.5}, "stride=1.5"),
        (conv, {"dilation": (0, 1)}, "dilation="),
        (conv, {"padding": -1}, "padding=-1"),
        (conv, {"padding": 1}, "target"),
        (conv, {"groups": 2}, "does not fit"),
        (conv, {"groups": 0}, "groups"),
        (pool, {"source": 85}, "source .* has 85"),
        (pool, {"target": 17}, "target .* has 17"),
        (pool, {"size": 0}, "size=0"),
        (pool, {"size": (8, 2)}, "pooling windows"),
        (pool, {"stride": (0, 2)}, "stride="),
        (linear, {"source": 83}, "source .* has 83"),
        (linear, {"target": 4}, "target .* has 4"),
        (linear, {"weights": (84, 5)}, "don't fit"),
        (linear, {"weights": (420,)}, "don't fit"),
    ],
)
def test_wrong_sizes_are_refused(make, arguments, message):
    with pytest.raises(InputError, match=message):
        make(**arguments)


# Weights.


def test_weights_can_be_read_and_set_in_torchs_order():
    case = ZOO["grouped"]
    spikes = input_spikes(case)
    target = cells(np.prod(target_shape(case)))
    source = generator(channels_last(spikes))
    shared = case.make(source, target)
    np.testing.assert_array_equal(shared.kernel, case.kernel)
    assert shared.w.shape == (case.kernel.size,)
    other = Convolution(case.source_shape, case.kernel.shape, **case.arguments)
    other.kernel = dyadic(*case.kernel.shape, seed=5)
    shared.kernel = other.kernel
    np.testing.assert_array_equal(shared.kernel, other.kernel)
    monitor = SpikeMonitor(target)
    Network(source, target, shared, monitor).run(N_STEPS * ms)
    expected = reference_spikes(other, spikes, 0)
    assert (expected != reference_spikes(case, spikes, 0)).any()
    np.testing.assert_array_equal(raster(monitor, len(target)), expected)
    shared.w = 0.25
    assert (shared.kernel == 0.25).all()
    shared.w[3] = 2
    assert (shared.kernel == 2).sum() == 1
    shared.w = np.arange(case.kernel.size)
    np.testing.assert_array_equal(shared.w[:], np.arange(case.kernel.size))


def test_an_expression_sets_all_weights():
    _, _, shared = dense(((1.0, 2.0), (3.0, 4.0)))
    shared.w = "w / 2"
    np.testing.assert_array_equal(shared.kernel, [[0.5, 1], [1.5, 2]])


def test_dense_weights_are_in_torchs_order():
    case = ZOO["dense-flattened"]
    source = generator(channels_last(input_spikes(case)))
    shared = case.make(source, cells(7))
    np.testing.assert_array_equal(shared.kernel, case.weights)
    by_place = case.weights.reshape(7, *case.source_shape).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(shared.w[:], by_place.ravel())


def test_pooling_has_a_weight_for_each_window():
    shared = pool(weight=3)
    assert shared.kernel.shape == (3, 3)
    assert (shared.kernel == 0.75).all()
    shared.kernel = np.arange(9.0).reshape(3, 3)
    explicit = shared.to_explicit()
    np.testing.assert_array_equal(explicit.w[:], np.asarray(explicit.j) // 2)


def test_weights_have_units():
    weights = dyadic(3, 4) * nS
    _, _, shared = dense(weights, "g : siemens", on_pre="g_post += w")
    assert shared.kernel.dim == siemens.dim
    np.testing.assert_allclose(shared.kernel / nS, dyadic(3, 4), rtol=1e-12)
    np.testing.assert_allclose(shared.w[:] / nS, dyadic(3, 4).T.ravel(), rtol=1e-12)
    shared.kernel = 2 * weights
    np.testing.assert_allclose(shared.kernel / nS, 2 * dyadic(3, 4), rtol=1e-12)
    shared.w = 3 * nS
    np.testing.assert_allclose(shared.kernel / nS, np.full((3, 4), 3), rtol=1e-12)
    with pytest.raises(DimensionMismatchError):
        shared.w = 1
    with pytest.raises(DimensionMismatchError):
        shared.kernel = dyadic(3, 4) * mV
    explicit = shared.to_explicit()
    np.testing.assert_allclose(explicit.w[:] / nS, np.full(12, 3), rtol=1e-12)


def test_composed_units():
    weights = dyadic(2, 3) * pA * ms
    source, target, shared = dense(weights, "q : coulomb", on_pre="q_post += w")
    explicit = shared.to_explicit()
    Network(source, target, explicit, shared).run(1 * ms)
    expected = 2 * dyadic(2, 3).sum(1)
    np.testing.assert_allclose(target.q / (pA * ms), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (conv, (2, 3, 3, 3)),
        (conv, (3, 2, 9)),
        (conv, (3, 2, 3, 2)),
        (linear, (84, 5)),
        (pool, (9,)),
        (pool, (2, 3)),
    ],
)
def test_weights_of_another_shape_are_refused(make, shape):
    shared = make()
    before = np.array(shared.w)
    with pytest.raises(ValueError, match="shape"):
        shared.kernel = np.full(shape, 7.0)
    np.testing.assert_array_equal(shared.w, before)


def test_type_of_the_weights():
    case = ZOO["3x3"]
    source = generator(channels_last(input_spikes(case)))
    target = cells(60, dtype=np.float32)
    shared = case.make(source, target, dtype=np.float32)
    assert shared.w[:].dtype == np.float32
    assert case.make(source, target).w[:].dtype == np.float64
    assert shared.to_explicit().w[:].dtype == np.float32


@pytest.mark.standalone
def test_weights_are_run_time_inputs(standalone, tmp_path):
    standalone(build_on_run=False)
    case = ZOO["2x4-padded"]
    spikes = input_spikes(case)
    other = Convolution(case.source_shape, case.kernel.shape, **case.arguments)
    other.kernel = dyadic(*case.kernel.shape, seed=5)
    expected = reference_spikes(case, spikes, 2)
    n = expected.shape[1]
    source, target = generator(channels_last(spikes)), cells(n)
    shared = case.make(source, target, delay=2 * ms)
    # (in, y, x, out), flipped in x
    stored = other.kernel[..., ::-1].transpose(1, 2, 3, 0).ravel()
    monitor = SpikeMonitor(target)
    net = Network(source, target, shared, monitor)
    net.run(N_STEPS * ms)
    brian2.device.build(directory=str(tmp_path / "cpp"), run=False)
    brian2.device.run()
    np.testing.assert_array_equal(raster(monitor, n), expected)
    brian2.device.run(run_args={shared.w: stored})
    changed = reference_spikes(other, spikes, 2)
    assert (changed != expected).any()
    np.testing.assert_array_equal(raster(monitor, n), changed)
    np.testing.assert_array_equal(shared.kernel, other.kernel)


# Brian2's ways.


def test_place_in_brians_world():
    source, target, shared = dense(
        name="mine", when="end", order=3, delay=2 * ms, clock=Clock(0.5 * ms)
    )
    net = Network(source, target, shared)
    assert net["mine"] is shared
    assert (shared.name, shared.when, shared.order) == ("mine", "end", 3)
    assert shared.source is source
    assert shared.target is target
    assert shared.N == 2
    assert shared.clock.dt == 0.5 * ms
    assert shared.delay == 2 * ms
    assert "mine" in repr(shared)


def test_names_by_default():
    source = PoissonGroup(84, 0 / ms)
    assert conv().name.startswith("conv2dsynapses")
    assert pool().name.startswith("poolsynapses")
    assert linear().name.startswith("densesynapses")
    assert DenseSynapses(source, cells(1), np.ones((1, 84))).when == "synapses"


@pytest.mark.slow
def test_when_and_order():
    # The floor of the target comes before or after the synapses.
    for when, order, expected in (
        ("groups", 0, [0]),
        ("synapses", -1, [1]),
        ("synapses", 1, [1 - 3]),
        ("end", 0, [1 - 3]),
    ):
        source, target, shared = dense(((-3.0,),), when=when, order=order)
        target.run_regularly("v = clip(v, 0, inf) + 1", when="synapses", order=0)
        Network(source, target, shared).run(1 * ms)
        # In "groups", before the thresholds, there is no spike yet.
        assert target.v[:].tolist() == ([1] if when == "groups" else expected)


def test_profiling():
    source, target, shared = dense(name="mine")
    net = Network(source, target, shared)
    net.run(3 * ms, profile=True)
    assert any(name.startswith("mine") for name, _ in net.profiling_info)


def test_magic_network_collects_the_synapses():
    source = SpikeGeneratorGroup(2, [0, 1], [1, 2] * ms)
    target = NeuronGroup(3, "v : 1")
    shared = DenseSynapses(source, target, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    brian2.run(5 * ms)
    np.testing.assert_array_equal(target.v, [3, 7, 11])
    assert shared.N == 6


def test_inactive_synapses_do_nothing():
    source, target, shared = dense()
    shared.active = False
    Network(source, target, shared).run(3 * ms)
    np.testing.assert_array_equal(target.v, [0])


@pytest.mark.parametrize("delay", [0, 2])
def test_dt_must_not_change_under_a_delay(delay):
    source, target, shared = dense(delay=delay * ms)
    brian2.defaultclock.dt = 0.5 * ms
    net = Network(source, target, shared)
    if delay:
        with pytest.raises((InputError, BrianObjectException)) as raised:
            net.run(1 * ms)
        assert "dt was changed" in f"{raised.value} {raised.value.__cause__}"
    else:
        net.run(1 * ms)
        np.testing.assert_array_equal(target.v, [2 * 3])


# Neurons of this package.


def chain():
    """Make a spike in step 0, and three neurons after one another."""
    clock = brian2.defaultclock
    source = generator(np.array([[True]]))
    layers = [if_neurons(f"chained{k}", 1, clock=clock) for k in range(3)]
    for layer in layers:
        layer.v_th = 1
    synapses = [
        DenseSynapses(before, after, [[1.0]], delay=delay * ms)
        for before, after, delay in zip(
            [source, *layers], layers, (0, 2, 0), strict=False
        )
    ]
    return [source, *layers, *synapses], [SpikeMonitor(layer) for layer in layers]


def first_spikes(monitors):
    assert [len(monitor.t) for monitor in monitors] == [1, 1, 1]
    return [round(float(monitor.t[0] / ms)) for monitor in monitors]


def test_a_spike_acts_one_step_later():
    objects, monitors = chain()
    Network(objects, monitors).run(N_STEPS * ms)
    assert first_spikes(monitors) == [1, 4, 5]


N_IF = 131
#: Reset, type and v_min: any two of them in all combinations.
ONE_PASS = (
    ("zero", np.float32, (0.0, -np.inf)),
    ("zero", np.float64, (-1.0,)),
    ("subtract", np.float32, (-1.0,)),
    ("subtract", np.float64, (0.0, -np.inf)),
)


def plain_neurons(reset, dtype, v_mins):
    """Write the neurons of all `v_mins` with Brian2's objects, one after another."""
    group = NeuronGroup(
        N_IF * len(v_mins),
        "v : 1\nv_min : 1\nbias : 1",
        threshold="v >= 1.25",
        reset={"zero": "v = 0", "subtract": "v -= 1.25"}[reset],
        dtype=dtype,
    )
    group.resetter["spike"].when = "after_thresholds"
    group.run_regularly("v += 1/64 + 0.5*bias", when="groups")
    group.run_regularly("v = clip(v, v_min, inf)", when="after_thresholds", order=1)
    group.v_min = np.repeat(v_mins, N_IF)
    return group


@pytest.mark.standalone
def test_one_pass_update_equals_brians_objects(standalone):
    rng = np.random.default_rng(6)
    # Multiples of 1/64: exact, and v often equals the threshold or the floor.
    values = rng.integers(-100, 120, (60, N_IF)) / 64
    bias = rng.integers(-8, 9, N_IF) / 64
    expected = []
    # Brian2's objects are the same without a compiler, and there are many of them.
    for reset, dtype, v_mins in ONE_PASS:
        plain = plain_neurons(reset, dtype, v_mins)
        plain.bias = np.tile(bias, len(v_mins))
        plain.namespace["drive"] = TimedArray(values, dt=1 * ms)
        plain.run_regularly(f"v += drive(t, i % {N_IF})", when="synapses")
        monitor = SpikeMonitor(plain)
        Network(plain, monitor).run(60 * ms)
        fired = np.zeros((60, len(v_mins), N_IF), bool)
        steps = np.rint(monitor.t / ms).astype(int)
        fired.reshape(60, -1)[steps, np.asarray(monitor.i)] = True
        potentials = plain.v[:].reshape(-1, N_IF)
        expected += [(fired[:, k], potentials[k]) for k in range(len(v_mins))]
    standalone(build_on_run=True)
    drive, found = TimedArray(values, dt=1 * ms), []
    for reset, dtype, v_mins in ONE_PASS:
        for k, v_min in enumerate(v_mins):
            group = if_neurons(
                f"{reset}_{np.dtype(dtype).name}_{k}",
                N_IF,
                clock=brian2.defaultclock,
                reset=reset,
                constant_input="first",
                dtype=dtype,
                for_program=True,
            )
            group.v_th, group.v_min, group.leak = 1.25, v_min, 1 / 64
            group.input_scale, group.bias = 0.5, bias
            group.namespace["drive"] = drive
            group.run_regularly("v += drive(t, i)", when="synapses")
            # One object of our own in place of all of Brian2's but the drive.
            assert len(group.contained_objects) == 2
            assert isinstance(group.contained_objects[0], OnePassUpdate)
            found.append((group, SpikeMonitor(group)))
    Network(found).run(60 * ms)
    for (group, monitor), (fired, v) in zip(found, expected, strict=True):
        spikes = np.zeros((60, N_IF), bool)
        spikes[np.rint(monitor.t / ms).astype(int), monitor.i] = True
        assert fired.any(axis=0).mean() > 0.9
        np.testing.assert_array_equal(spikes, fired, group.name)
        np.testing.assert_array_equal(group.v[:], v, group.name)
        # In the order of the neurons, step by step.
        assert (np.diff(np.rint(monitor.t / ms) * N_IF + monitor.i) > 0).all()


# Versions of Brian2.


def test_an_untested_version_of_brian_is_named_once(monkeypatch):
    monkeypatch.setattr(brian2, "__version__", "99.0")
    check_version.cache_clear()
    try:
        with pytest.warns(UserWarning, match="Brian2 99.0 was not tested") as said:
            dense()
        assert sum("99.0" in str(found.message) for found in said) == 1
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*99.0")
            dense()
    finally:
        check_version.cache_clear()


def test_the_installed_version_of_brian_was_tested(recwarn):
    check_version.cache_clear()
    dense()
    assert not [found for found in recwarn if "was not tested" in str(found.message)]


def test_importing_the_package_does_not_warn():
    code = "import brian2; brian2.__version__ = '99.0'; import cnn2snn_brian.network"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "99.0" not in found.stderr
