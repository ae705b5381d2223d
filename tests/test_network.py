"""Networks in Brian2's runtime mode."""

import subprocess
import sys
from dataclasses import replace

import brian2
import numpy as np
import pytest
from brian2 import Network, SpikeMonitor, StateMonitor, ms
from brian2.codegen.runtime.numpy_rt import NumpyCodeObject
from reference import chain, numpy_spikes, randomize, stages
from torch import nn

from cnn2snn_brian import InputError, convert
from cnn2snn_brian.projections import from_neurons

N_STEPS = 12


def two_layers(bias):
    module = chain(
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), bias=bias),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 5 * 3, 4, bias=bias)),
    )
    flat = nn.Sequential(module[0], module[1], *module[2])
    return randomize(flat, seed=1)


def recorded(monitor, shape, n_steps):
    """Spikes of a monitor as an array (n_steps, *shape)."""
    spikes = np.zeros((n_steps, int(np.prod(shape))), bool)
    spikes[np.rint(monitor.t / ms).astype(int), monitor.i] = True
    return from_neurons(spikes, shape)


def run_recorded(snn, image, n_steps, seed=3):
    brian2.seed(seed)
    net = snn.network(image)
    shapes = snn.layers.shapes
    monitors = {name: SpikeMonitor(net[name]) for name in shapes if name in net}
    net.add(*monitors.values())
    # Cython takes seconds for each of them, and they are Brian2's own.
    for monitor in monitors.values():
        monitor.codeobj_class = NumpyCodeObject
    if "input" in net:
        net["input"].thresholder["spike"].codeobj_class = NumpyCodeObject
    net.run(n_steps * ms)
    return {n: recorded(m, shapes[n], n_steps) for n, m in monitors.items()}


WAYS = [("zero", 0.0, False), ("zero", -1.5, True), ("subtract", -0.5, True)]


@pytest.mark.parametrize(
    ("target", "synapses", "reset", "v_min", "bias"),
    [
        *[("numpy", "shared", *way) for way in WAYS],
        *[("numpy", "explicit", *way) for way in WAYS],
        # Without biases, both layers have the same code, which is compiled once.
        pytest.param("cython", "shared", *WAYS[0], marks=pytest.mark.slow),
    ],
)
def test_every_spike_equals_the_numpy_loop(target, synapses, reset, v_min, bias):
    brian2.prefs.codegen.target = target
    module = two_layers(bias)
    image = np.random.default_rng(0).random((2, 7, 6))
    snn = convert(
        module,
        (2, 7, 6),
        thresholds={"conv1": 1.0, "ip1": 2.0},
        v_min=v_min,
        leak=1 / 64,
        v_init=0.25,
        reset=reset,
        synapses=synapses,
    )
    found = run_recorded(snn, image, N_STEPS)
    expected = numpy_spikes(
        module,
        found["input"],
        N_STEPS,
        thresholds=[1.0, 2.0],
        v_min=v_min,
        leak=1 / 64,
        v_init=0.25,
        reset=reset,
    )
    assert expected[0].any()
    assert expected[1].any()
    np.testing.assert_array_equal(found["conv1"], expected[0])
    np.testing.assert_array_equal(found["ip1"], expected[1])


def test_a_current_is_the_constant_input_of_the_first_layer():
    brian2.prefs.codegen.target = "numpy"
    module = two_layers(bias=True)
    image = np.random.default_rng(0).integers(0, 65, (2, 7, 6)) / 64
    thresholds = [4.0, 0.5]
    snn = convert(
        module,
        (2, 7, 6),
        thresholds=dict(zip(("conv1", "ip1"), thresholds, strict=True)),
        reset="subtract",
        encoding="current",
        rate_scale=0.5,
        dtype="float64",
    )
    found = run_recorded(snn, image, N_STEPS)
    expected = numpy_spikes(
        module,
        None,
        N_STEPS,
        image=image,
        thresholds=thresholds,
        reset="subtract",
        c=0.5,
    )
    assert "input" not in found
    assert expected[1].any()
    np.testing.assert_array_equal(found["conv1"], expected[0])
    np.testing.assert_array_equal(found["ip1"], expected[1])


def test_input_in_the_step_of_a_spike_is_kept():
    # One neuron, input in every step, threshold at one input: with Brian2's own order
    # the reset would wipe out each input and it would spike every second step.
    brian2.prefs.codegen.target = "numpy"
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False))
    nn.init.ones_(module[1].weight)
    snn = convert(module, (1, 1, 1), thresholds=1.0)
    found = run_recorded(snn, np.ones((1, 1, 1)), 5)
    np.testing.assert_array_equal(found["ip1"].ravel(), [0, 1, 1, 1, 1])


def test_biases_follow_a_threshold_that_is_changed_in_brian():
    brian2.prefs.codegen.target = "numpy"
    module = two_layers(bias=True)
    snn = convert(module, (2, 7, 6), thresholds=1.0, dtype="float64")
    net = snn.network()
    net["conv1"].v_th = 4.0
    np.testing.assert_allclose(net["ip1"].input_scale[:], 0.25)
    assert net["conv1"].input_scale[:] == 1.0


def test_scales_of_a_long_chain_have_short_names():
    # Brian2's names of linked expressions would double from layer to layer.
    brian2.prefs.codegen.target = "numpy"
    modules = [m for _ in range(30) for m in (nn.Conv2d(2, 2, 1), nn.ReLU())]
    module = randomize(nn.Sequential(*modules), seed=1)
    snn = convert(module, (2, 1, 1), thresholds=1.25)
    net = snn.network()
    last = net[snn.layer_names[-1]]
    assert max(map(len, last.variables)) < 40
    np.testing.assert_allclose(last.input_scale[:], 1.25**-29, rtol=1e-5)
    net[snn.layer_names[3]].v_th = 0.5
    np.testing.assert_allclose(last.input_scale[:], 1.25**-28 / 0.5, rtol=1e-5)


def test_objects_are_reachable_by_layer_name_and_the_network_can_be_edited():
    brian2.prefs.codegen.target = "numpy"
    snn = convert(two_layers(bias=False), (2, 7, 6), thresholds={"conv1": 2, "ip1": 3})
    net = snn.network(np.ones((2, 7, 6)))
    assert type(net) is Network
    assert snn.layer_names == ("conv1", "ip1")
    assert list(snn.thresholds) == ["conv1", "ip1"]
    assert net["ip1"].v_th[:] == 3
    assert net["input"].N == 84
    assert net["ip1_synapses"].N == 240
    trace = StateMonitor(net["ip1"], "v", record=True)
    net.add(trace)
    net.remove(net["ip1_synapses"])
    net.run(5 * ms)
    assert trace.v.shape == (4, 5)
    assert not trace.v.any()


def test_show_gives_another_picture():
    brian2.prefs.codegen.target = "numpy"
    snn = convert(two_layers(bias=False), (2, 7, 6), thresholds=1.0)
    image = np.zeros((2, 7, 6))
    image[1, 6, 2] = 1.0
    net = snn.network(image)
    monitor = SpikeMonitor(net["input"])
    net.add(monitor)
    net.run(4 * ms)
    assert set(monitor.i) == {(6 * 6 + 2) * 2 + 1}
    snn.show(net, np.zeros((2, 7, 6)))
    net.run(4 * ms)
    assert monitor.num_spikes == 4


@pytest.mark.parametrize("encoding", ["poisson", "current"])
def test_show_scales_biases_like_the_input_that_they_are_added_to(encoding):
    brian2.prefs.codegen.target = "numpy"
    snn = convert(
        two_layers(bias=True),
        (2, 7, 6),
        thresholds=1.0,
        rate_scale=0.5,
        encoding=encoding,
    )
    image = np.full((2, 7, 6), 0.5)
    net = snn.network(image)

    def scale():
        found = float(net["conv1"].input_scale[:])
        if encoding == "poisson":
            np.testing.assert_allclose(net["input"].rates * ms, found * 0.5)
        return found

    assert scale() == 0.5
    # What the network was made with stays, until another scale is given.
    snn.show(net, image)
    assert scale() == 0.5
    snn.show(net, image, rate_scale=0.25)
    assert scale() == 0.25
    snn.show(net, image)
    assert scale() == 0.25
    # The network itself is not changed by what is done to its Brian2 network.
    assert snn.parameters.rate_scale == 0.5
    other = snn.network(image, replace(snn.parameters, rate_scale=0.75))
    snn.show(other, image)
    assert other["conv1"].input_scale[:] == 0.75


DROPPED = """
import sys
from brian2 import *
from torch import nn
from cnn2snn_brian import DenseSynapses, convert
prefs.codegen.target = "numpy"
cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
snn = convert(cnn, (1, 8, 8), thresholds=1.0, synapses=sys.argv[1])
network = snn.network()
del network
# A group that goes into a network of the user's, and is never run.
group = snn.network()["conv1"]
own = Network(group)
del group, own
# An object of the user's own that was forgotten.
forgotten = NeuronGroup(2, "v : 1", name="forgotten")
del forgotten
"""


@pytest.mark.parametrize("synapses", ["shared", "explicit"])
def test_a_network_can_be_dropped_without_a_warning(synapses):
    found = subprocess.run(
        [sys.executable, "-c", DROPPED, synapses],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stderr.count("is getting deleted") == 1
    assert "The object 'forgotten' is getting deleted" in found.stderr


def test_groups_can_be_taken_into_a_network_of_the_users():
    brian2.prefs.codegen.target = "numpy"
    snn = convert(two_layers(bias=False), (2, 7, 6), thresholds=1.0)
    made = snn.network(np.ones((2, 7, 6)))
    own = Network(made["input"], made["conv1"], made["conv1_synapses"])
    monitor = SpikeMonitor(made["conv1"])
    own.add(monitor)
    own.run(5 * ms)
    assert monitor.num_spikes
    # As Brian2 has it for its own groups: one network for each object.
    with pytest.raises(RuntimeError, match="already been run"):
        made.run(5 * ms)


def test_thresholds_can_be_set():
    snn = convert(two_layers(bias=False), (2, 7, 6), thresholds=1.0)
    snn.thresholds = {"ip1": 5.0}
    assert snn.thresholds == {"conv1": 1.0, "ip1": 5.0}
    with pytest.raises(InputError, match="ip9"):
        snn.thresholds = {"ip9": 5.0}


def test_poisson_spikes_are_binomial():
    # Each neuron: a binomial number of spikes; 5 standard deviations for each of 27.
    brian2.prefs.codegen.target = "numpy"
    image = np.linspace(0, 1, 27).reshape(3, 3, 3)
    module = nn.Sequential(nn.Flatten(), nn.Linear(27, 1, bias=False))
    snn = convert(module, (3, 3, 3), thresholds=1.0, rate_scale=0.7)
    brian2.seed(0)
    net = snn.network(image)
    monitor = SpikeMonitor(net["input"], record=False)
    net.add(monitor)
    n = 2000
    net.run(n * ms)
    p = 0.7 * image
    counts = from_neurons(np.asarray(monitor.count), (3, 3, 3))
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thresholds": 0}, "threshold of conv1 is 0"),
        ({"thresholds": float("nan")}, "threshold of conv1 is nan"),
        ({"thresholds": float("inf")}, "threshold of conv1 is inf"),
        ({"thresholds": {"conv9": 1.0, "conv1": 1, "ip1": 1}}, "conv9"),
        ({"thresholds": {"conv1": 1.0}}, "calibration"),
        ({}, "calibration"),
        ({"thresholds": 1, "v_min": 0.5}, "v_min of conv1"),
        ({"thresholds": 1, "leak": float("nan")}, "leak of conv1"),
        ({"thresholds": 1, "v_init": 1}, "v_init of conv1"),
        ({"thresholds": 1, "reset": "soft"}, "reset='soft'"),
        ({"thresholds": 1, "encoding": "latency"}, "encoding='latency'"),
        ({"thresholds": 1, "synapses": "plastic"}, "synapses='plastic'"),
        ({"thresholds": 1, "rate_scale": -1}, "rate_scale is -1"),
        ({"thresholds": 1, "dt": 0 * ms}, "dt is 0"),
        ({"thresholds": 1, "dtype": "float16"}, "dtype='float16'"),
    ],
)
def test_convert_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        convert(two_layers(bias=False), (2, 7, 6), **arguments)


def test_reference_knows_the_layers():
    # The loop above relies on this division of a chain.
    assert len(stages(two_layers(bias=True))) == 2
