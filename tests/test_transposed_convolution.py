"""Transposed convolutions against torch, number by number and spike by spike."""

import brian2
import numpy as np
import pytest
import torch
from brian2 import NeuronGroup, TimedArray, ms
from by_hand import as_matrix, only, responses, transposed
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import layer_spikes, randomize, raster
from test_connectivity import check_synapses
from test_runs import check_tables
from torch import nn

from cnn2snn_brian import SpikingNetwork, convert, from_torch
from cnn2snn_brian.brian.shared_synapses import SharedSynapses
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Connection, TransposedConvolution

N_STEPS = 20

#: Channels, kernel, arguments of torch, size.
ZOO = {
    "1x1": ((2, 3), 1, {}, (4, 3)),
    "3x2": ((2, 3), (3, 2), {}, (4, 5)),
    "padded": ((3, 2), (3, 4), {"padding": (1, 2)}, (5, 4)),
    "whole": ((2, 3), (4, 3), {"padding": (3, 2)}, (6, 5)),
    "doubled": ((2, 4), 2, {"stride": 2}, (3, 4)),
    "doubled-4": ((2, 3), 4, {"stride": 2, "padding": 1}, (3, 5)),
    "output": ((2, 3), 3, {"stride": 2, "padding": 1, "output_padding": 1}, (3, 4)),
    "output-y": (
        (1, 2),
        (2, 3),
        {"stride": (3, 2), "padding": (1, 0), "output_padding": (2, 0)},
        (4, 3),
    ),
    "gaps": ((2, 3), (1, 2), {"stride": 3}, (3, 3)),
    "rows": ((2, 3), 3, {"stride": (2, 1), "padding": 1}, (4, 5)),
    "dilated": ((2, 3), (2, 3), {"dilation": (2, 1), "padding": (1, 0)}, (4, 5)),
    "dilated-x": ((2, 3), 2, {"dilation": (1, 3), "stride": (1, 2)}, (3, 4)),
    "groups": ((4, 6), (3, 2), {"groups": 2, "padding": 1}, (4, 5)),
    "depthwise": ((3, 6), 3, {"groups": 3, "stride": 2, "padding": (0, 1)}, (3, 4)),
    "all": (
        (4, 2),
        (2, 3),
        {
            "groups": 2,
            "stride": (2, 3),
            "dilation": (2, 1),
            "padding": 1,
            "output_padding": (1, 0),
        },
        (4, 3),
    ),
}


def module_of(case):
    channels, kernel, arguments, size = case
    module = nn.ConvTranspose2d(*channels, kernel, bias=False, **arguments)
    return randomize(module, seed=3).double(), (channels[0], *size)


def check(module, shape):
    kernel = transposed(shape, module)
    connection = Connection(shape, kernel=kernel)

    def computed(values):
        with torch.no_grad():
            return module(torch.tensor(values)).numpy()

    x = np.random.default_rng(0).normal(size=(3, *shape))
    expected = computed(x)
    assert kernel.shape == expected.shape[1:]
    np.testing.assert_allclose(kernel.drive(x), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(as_matrix(connection), responses(computed, shape))
    check_synapses(connection)
    check_tables(connection)
    moved = connection.moved(2, kernel.shape[0] + 3)
    check_synapses(moved)
    check_tables(moved)
    np.testing.assert_allclose(
        only(from_torch(module, shape)).connection.drive(x),
        expected,
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", ZOO)
def test_a_table_of_kernels_equals_torch(name):
    check(*module_of(ZOO[name]))


@st.composite
def modules(draw):
    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    groups = draw(st.integers(1, 3))
    channels = [groups * draw(st.integers(1, 2)) for _ in range(2)]
    kernel, stride, dilation = pair(1, 4), pair(1, 3), pair(1, 2)
    padding = pair(0, 3)
    output = tuple(
        draw(st.integers(0, max(s, d) - 1))
        for s, d in zip(stride, dilation, strict=True)
    )
    size = [
        max(1, -(-(1 + 2 * p - d * (k - 1) - 1 - o) // s) + 1) + draw(st.integers(0, 3))
        for p, d, k, o, s in zip(padding, dilation, kernel, output, stride, strict=True)
    ]
    module = nn.ConvTranspose2d(
        *channels,
        kernel,
        stride,
        padding,
        output,
        groups,
        bias=False,
        dilation=dilation,
    )
    return randomize(module, draw(st.integers(0, 99))).double(), (channels[0], *size)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(modules())
def test_kernels_equal_torch(case):
    check(*case)


@pytest.mark.parametrize(
    ("weight", "arguments", "message"),
    [
        ((3, 2, 2, 2), {}, "a kernel of shape"),
        ((2, 2, 2), {}, "a kernel of shape"),
        ((2, 2, 2, 2), {"groups": 3}, "a kernel of shape"),
        ((2, 2, 1, 1), {"padding": ((3, 1), (0, 0))}, "is larger than|nothing is left"),
    ],
)
def test_what_does_not_fit_is_refused(weight, arguments, message):
    with pytest.raises(InputError, match=message):
        TransposedConvolution((2, 4, 5), np.ones(weight), **arguments)


def test_a_row_is_one_run_where_targets_are_neighbours():
    weight = np.ones((2, 3, 2, 3))
    for stride, n_runs in (((2, 1), 2), ((1, 2), 2), ((1, 3), 2)):
        kernel = TransposedConvolution((2, 3, 4), weight, stride=stride)
        table = kernel.runs()
        # What an input reaches in a row is always a row of neighbours.
        assert set(np.diff(table.first)) == {n_runs}
        assert set(table.length) == {9}


# Spike by spike.


def played(spikes):
    """Neurons that spike as told, (n_steps, n)."""
    told = TimedArray(spikes * 1.0, dt=1 * ms)
    return NeuronGroup(
        spikes.shape[1], "", threshold="told(t, i) > 0", namespace={"told": told}
    )


def side_by_side(connections, explicit):
    """Connect what spikes at random with shared and with explicit synapses."""
    rng = np.random.default_rng(5)
    sizes = [int(np.prod(connection.input_shape)) for connection in connections]
    spikes = rng.random((N_STEPS, sum(sizes))) < 0.3
    # One group: each takes its time to compile.
    whole = played(np.pad(spikes, ((0, 5), (0, 0))))
    parts, found, first = [whole], [], 0
    for index, (n, connection) in enumerate(zip(sizes, connections, strict=True)):
        n_post = int(np.prod(connection.shape))
        source = whole[first : first + n]
        expected = as_matrix(connection).T @ spikes[:, first : first + n].sum(0)
        first += n
        for is_explicit in (False, True)[: 1 + explicit]:
            target = NeuronGroup(n_post, "v : 1")
            late = index % 3 * ms
            synapses = SharedSynapses(source, target, connection, delay=late)
            if is_explicit:
                synapses = synapses.to_explicit()
            parts += [target, synapses]
            found.append((target, expected))
    return brian2.Network(*parts), found


def check_potentials(connections, explicit):
    network, found = side_by_side(connections, explicit)
    network.run((N_STEPS + 3) * ms)
    for target, expected in found:
        assert expected.any()
        np.testing.assert_allclose(target.v[:], expected, rtol=1e-12, atol=1e-12)


def connections(names=ZOO):
    made = []
    for name in names:
        module, shape = module_of(ZOO[name])
        made.append(Connection(shape, kernel=transposed(shape, module)))
    made.append(made[0].moved(1, made[0].channels + 2))
    return made


@pytest.fixture(autouse=True)
def one_millisecond_steps():
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = 1 * ms


def test_shared_and_explicit_synapses_in_numpy():
    check_potentials(connections(), explicit=True)


@pytest.mark.slow
def test_shared_synapses_in_cython():
    made = connections(("output", "groups"))
    network, found = side_by_side(made, explicit=False)
    numpy_class = brian2.get_device().code_object_class(None)
    for part in network.objects:
        for own in part.contained_objects:
            own.codeobj_class = numpy_class
    brian2.prefs.codegen.target = "cython"
    network.run((N_STEPS + 3) * ms)
    for target, expected in found:
        np.testing.assert_allclose(target.v[:], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.standalone
def test_shared_synapses_in_standalone(tmp_path):
    brian2.set_device("cpp_standalone", directory=str(tmp_path / "cpp"))
    brian2.defaultclock.dt = 1 * ms
    # More and wider ones, for the loops over registers.
    wide = [
        (4, 48, 3, {"stride": 2, "padding": 1, "output_padding": 1}),
        (33, 40, (2, 3), {}),
        (6, 64, (3, 2), {"stride": (1, 2), "groups": 2}),
    ]
    made = connections(("padded", "output-y", "rows", "dilated-x", "groups", "all"))
    for n_in, n_out, kernel, arguments in wide:
        module = nn.ConvTranspose2d(n_in, n_out, kernel, bias=False, **arguments)
        module = randomize(module, 4).double()
        shape = (n_in, 4, 5)
        made.append(Connection(shape, kernel=transposed(shape, module)))
    check_potentials(made, explicit=False)


# As part of a CNN.

SHAPE = (2, 6, 5)
IMAGES = np.random.default_rng(0).integers(0, 65, (2, *SHAPE)) / 64
NAMES = ("conv1", "deconv1", "ip1")


def cnn(bias):
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=bias),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=(1, 0), bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 6 * 5, 4, bias=bias),
    )
    return randomize(module.eval(), seed=2)


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("synapses", "propagation", "encoding"),
    [("shared", "step", "current"), ("explicit", "instant", "poisson")],
)
def test_every_spike_of_a_network(tmp_path, synapses, propagation, encoding):
    has_bias = encoding == "current"
    thresholds = dict(zip(NAMES, (1.0, 2.0, 1.0), strict=True))
    snn = convert(
        cnn(has_bias),
        SHAPE,
        thresholds=thresholds,
        encoding=encoding,
        propagation=propagation,
        synapses=synapses,
        reset="subtract",
    )
    assert snn.layer_names == NAMES
    assert only(snn.layers, "deconv1").label == "ConvTranspose2d"
    snn.save(tmp_path / "a.snn")
    assert SpikingNetwork.load(tmp_path / "a.snn") == snn
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(IMAGES, v_min=-4, record=simulator.populations, seed=3)
    for image, pixels in enumerate(IMAGES):
        given = (
            {"image": pixels}
            if has_bias
            else {"input_spikes": raster(result, "input", image)}
        )
        expected = layer_spikes(
            cnn(has_bias),
            N_STEPS,
            thresholds=[*thresholds.values()],
            propagation=propagation,
            v_min=-4,
            reset="subtract",
            **given,
        )
        for name, spikes in zip(NAMES, expected, strict=True):
            assert spikes.any()
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)


def test_what_torch_computes_with_biases_and_normalization():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.ConvTranspose2d(2, 3, (2, 3), 2, (0, 1), (1, 0), bias=True),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.ConvTranspose2d(3, 4, 2, groups=1, dilation=2),
    )
    module[1].running_mean.normal_()
    module[1].running_var.uniform_(0.5, 2)
    module = module.double().eval()
    pixels = np.random.default_rng(1).random((2, *SHAPE))
    expected = module(torch.tensor(pixels)).detach().numpy()
    layers = from_torch(module, SHAPE)
    for form in (layers, layers.without_pooling_neurons()):
        found = form.activations(pixels)[form.names[-1]]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
