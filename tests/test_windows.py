"""Windows: upsampling, zeros and crops against torch, alone and before a kernel."""

import brian2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import ms
from by_hand import as_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import layer_spikes, randomize, raster
from test_connectivity import check_synapses
from test_transposed_convolution import check_potentials
from torch import nn

from cnn2snn_brian import InputError, convert, from_torch
from cnn2snn_brian.projections import Connection, Convolution, Dense, Window, nearest

SHAPE = (2, 5, 4)
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def draw(*shape):
    return np.random.default_rng(sum(shape)).integers(-24, 41, shape) / 64


class Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    output=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_nearest_upsampling_equals_torch(size, output):
    x = torch.arange(size[0] * size[1], dtype=torch.float64).reshape(1, 1, *size)
    window = Window(*(nearest(*axis) for axis in zip(size, output, strict=True)))
    expected = F.interpolate(x, output, mode="nearest").numpy()
    np.testing.assert_array_equal(window.drive(x.numpy()), expected)
    assert window.is_even


@pytest.mark.parametrize(
    "module",
    [
        nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=(1, 3)),
        nn.Upsample(scale_factor=1.5),
        nn.Upsample((7, 9)),
        nn.Upsample(7),
        nn.UpsamplingNearest2d(scale_factor=2),
        Called(lambda x: F.interpolate(x, (6, 5))),
        Called(lambda x: F.interpolate(x, scale_factor=3)),
        Called(lambda x: F.interpolate(x, scale_factor=2.5, mode="nearest")),
        Called(lambda x: F.interpolate(x, (3, 9), mode="nearest")),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(3, 2)),
        nn.Sequential(nn.Upsample((9, 5)), nn.AdaptiveAvgPool2d((4, 2))),
    ],
)
def test_modules_that_are_windows(module):
    before = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), module)
    torch.manual_seed(0)
    network = from_torch(before.eval(), SHAPE)
    pixels = np.random.default_rng(0).random((2, *SHAPE))
    with torch.no_grad():
        expected = before.double()(torch.tensor(pixels)).numpy()
    found = network.activations(pixels)[network.names[-1]]
    np.testing.assert_allclose(found, expected, **CLOSE)
    connection = network.projections[-1].connection
    assert connection.window is not None
    check_synapses(connection)


@pytest.mark.parametrize(
    "window",
    [
        nn.Upsample(scale_factor=2),
        nn.Upsample((7, 9)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(3, 1, 1)),
        nn.Sequential(nn.AvgPool2d(2, 1), nn.Upsample(scale_factor=3)),
        nn.Sequential(nn.Upsample((9, 7)), nn.Upsample((5, 11))),
    ],
)
@pytest.mark.parametrize(
    "kernel", [nn.Conv2d(2, 3, 3, padding=1), nn.ConvTranspose2d(2, 3, 2, 2), "linear"]
)
def test_windows_before_a_kernel_equal_torch(window, kernel):
    torch.manual_seed(0)
    if kernel == "linear":
        shape = window(torch.zeros(1, *SHAPE)).shape
        kernel = nn.Sequential(nn.Flatten(), nn.Linear(int(shape.numel()), 4))
    module = nn.Sequential(window, kernel, nn.ReLU())
    network = from_torch(module.eval(), SHAPE)
    merged = network.without_pooling_neurons()
    pixels = np.random.default_rng(0).random((2, *SHAPE))
    with torch.no_grad():
        expected = module.double()(torch.tensor(pixels)).numpy()
    for form in (network, merged):
        found = np.maximum(form.activations(pixels)[form.names[-1]], 0)
        np.testing.assert_allclose(found, expected, **CLOSE)
    ((projection),) = merged.projections
    assert projection.connection.window is not None
    check_synapses(projection.connection)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest-exact"])
def test_other_upsampling_is_a_window_too(mode):
    up, last = nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(2, 3, 2)
    module = nn.Sequential(up, last).double()
    network = from_torch(module, SHAPE)
    pixels = np.random.default_rng(0).random((2, *SHAPE))
    with torch.no_grad():
        expected = module(torch.tensor(pixels)).relu().numpy()
    (name,) = network.names
    found = np.maximum(network.activations(pixels)[name], 0)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert network.projections[0].connection.window is not None


@pytest.mark.parametrize("sides", [(1, 2, 0, 3), (-1, 0, 0, -2), (2, -1, -1, 1)])
def test_zeros_and_crops_equal_torch(sides):
    left, right, top, bottom = sides
    window = Window(
        np.eye(5 + top + bottom, 5, -top), np.eye(4 + left + right, 4, -left)
    )
    pixels = np.random.default_rng(0).random((2, *SHAPE))
    expected = F.pad(torch.tensor(pixels), sides).numpy()
    np.testing.assert_array_equal(window.drive(pixels), expected)
    read = expected.shape[1:]
    kernel = Convolution(read, draw(3, 2, 2, 2))
    connection = Connection(SHAPE, window, kernel)
    made = F.conv2d(torch.tensor(expected), torch.tensor(kernel.weight)).numpy()
    np.testing.assert_allclose(connection.drive(pixels), made, **CLOSE)
    check_synapses(connection)


def bilinear(size, n_out):
    """Make torch's matrix of one axis, by what it makes of a 1 at each position."""
    ones = torch.eye(size, dtype=torch.float64)[:, None, None]
    found = F.interpolate(ones, (1, n_out), mode="bilinear", align_corners=False)
    return found[:, 0, 0].T.numpy()


def uneven_connections():
    """Windows whose shares differ: bilinear, and with a share of 0 in a product."""
    window = Window(bilinear(5, 9), bilinear(4, 7))
    assert not window.is_even
    read = (2, 9, 7)
    kernel = Convolution(
        read, draw(3, 2, 3, 2), stride=(2, 1), padding=((1, 0), (0, 1))
    )
    signed = Window(np.array([[1.0, -1, 0, 0, 0], [0, 0, 0, 0.5, 2]]), np.eye(4)[1:])
    return {
        "alone": Connection(SHAPE, window),
        "kernel": Connection(SHAPE, window, kernel),
        "wide": Connection(SHAPE, window, Convolution(read, draw(48, 2, 3, 3))),
        "dense": Connection(SHAPE, window, Dense(read, draw(6, 126))),
        "placed": Connection(SHAPE, window, kernel, 2, 6),
        "signed": Connection(SHAPE, signed),
        "cancels": Connection(
            SHAPE,
            Window(np.array([[1.0, 0, 0, 0, 0], [-1, 0, 0, 0, 0]]), np.eye(4)),
            Convolution((2, 2, 4), np.ones((1, 2, 2, 1))),
        ),
        "nearest": Connection(SHAPE, Window(nearest(5, 8), nearest(4, 9)), None),
        "zeros": Connection(SHAPE, Window(np.eye(7, 5, -1), np.eye(6, 4, -2))),
        "crop": Connection(SHAPE, Window(np.eye(5)[1:4], np.eye(4)[2:]), None, 1, 4),
    }


@pytest.fixture(autouse=True)
def one_millisecond_steps():
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = 1 * ms


@pytest.mark.parametrize("name", uneven_connections())
def test_synapses_of_uneven_windows(name):
    connection = uneven_connections()[name]
    pixels = np.random.default_rng(1).normal(size=(2, *SHAPE))
    window, kernel = connection.window, connection.kernel
    expected = np.einsum("oy,px,ncyx->ncop", *window.axes, pixels)
    if kernel is not None:
        expected = kernel.drive(expected)
    whole = np.zeros((2, *connection.shape))
    whole[:, connection.start : connection.start + expected.shape[1]] = expected
    np.testing.assert_allclose(connection.drive(pixels), whole, **CLOSE)
    # Synapses whose weights cancel out are there, with a weight of 0.
    check_synapses(connection)
    matrix = as_matrix(connection)
    flat = np.moveaxis(pixels, 1, -1).reshape(2, -1)
    found = np.moveaxis(whole, 1, -1) if whole.ndim == 4 else whole
    np.testing.assert_allclose(flat @ matrix, found.reshape(2, -1), **CLOSE)


def test_variances_of_uneven_windows():
    rng = np.random.default_rng(0)
    for name, connection in uneven_connections().items():
        one = rng.random((1, *SHAPE))
        matrix = as_matrix(connection)
        found = connection.squared().drive(one)
        if connection.kernel is None:
            expected = np.moveaxis(one, 1, -1).reshape(1, -1) @ matrix**2
            found = np.moveaxis(found, 1, -1).reshape(1, -1)
            np.testing.assert_allclose(found, expected, **CLOSE, err_msg=name)


def test_shared_and_explicit_synapses_in_numpy():
    made = {k: c for k, c in uneven_connections().items() if k != "cancels"}
    check_potentials([*made.values()], explicit=True)


@pytest.mark.standalone
def test_shared_synapses_in_standalone(tmp_path):
    brian2.set_device("cpp_standalone", directory=str(tmp_path / "cpp"))
    brian2.defaultclock.dt = 1 * ms
    made = {k: c for k, c in uneven_connections().items() if k != "cancels"}
    check_potentials([*made.values()], explicit=False)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (np.zeros((0, 3)), np.eye(2), "rows of a window: a matrix of shape"),
        (np.eye(2), np.zeros(3), "columns of a window: a matrix of shape"),
        (np.eye(2) * np.inf, np.eye(2), "values of its rows are NaN or infinite"),
        (np.eye(2), np.full((2, 2), np.nan), "values of its columns are NaN or inf"),
    ],
)
def test_windows_that_are_none_are_refused(rows, columns, message):
    with pytest.raises(InputError, match=message):
        Window(rows, columns)


# As part of a CNN.

IMAGES = np.random.default_rng(0).integers(0, 65, (2, *SHAPE)) / 64
N_STEPS = 20


def cnn():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(3, 4, (3, 2), padding=(1, 0), bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 10 * 7, 3, bias=False),
    )
    return randomize(module.eval(), seed=2)


def reference():
    """The same with the upsampling as part of the convolution behind it."""
    parts = [*cnn()]
    parts[2:4] = [nn.Sequential(*parts[2:4])]
    return nn.Sequential(*parts)


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("synapses", "propagation"), [("shared", "step"), ("explicit", "instant")]
)
def test_every_spike_of_a_network(synapses, propagation):
    snn = convert(
        cnn(),
        SHAPE,
        thresholds=1.0,
        pooling="synapses",
        propagation=propagation,
        synapses=synapses,
        reset="subtract",
    )
    assert snn.layer_names == ("conv1", "conv2", "ip1")
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(IMAGES, v_min=-4, record=simulator.populations, seed=3)
    for image in range(len(IMAGES)):
        expected = layer_spikes(
            reference(),
            N_STEPS,
            thresholds=[1.0] * 3,
            propagation=propagation,
            v_min=-4,
            reset="subtract",
            input_spikes=raster(result, "input", image),
        )
        for name, spikes in zip(snn.layer_names, expected, strict=True):
            assert spikes.any()
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
