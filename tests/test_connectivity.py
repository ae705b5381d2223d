import warnings

import numpy as np
import pytest
import torch
from by_hand import Conv2d, Linear, as_matrix, connection_of, only, pattern
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnn2snn_brian.cnn.from_torch import from_torch
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.models import cifar10_quick
from cnn2snn_brian.projections import INPUT, from_neurons, to_neurons
from cnn2snn_brian.projections import connection as connections

many = settings(max_examples=70, deadline=None, derandomize=True)


def drive_by_synapses(connection, image):
    """Add up what a spike of every input, weighted by `image`, brings."""
    found_pre, found_post, weight = connection.expanded()
    pre = to_neurons(image, connection.input_shape)
    drive = np.zeros(int(np.prod(connection.shape)))
    np.add.at(drive, found_post, weight * pre[found_pre])
    return from_neurons(drive, connection.shape)


def check_synapses(connection):
    """Compare the synapses with the sums and with the fan-out."""
    pre, post, _ = connection.expanded()
    n_pre, n_post = (
        int(np.prod(s)) for s in (connection.input_shape, connection.shape)
    )
    fan_out = to_neurons(connection.fan_out(), connection.input_shape)
    assert len(pre) == connection.n_synapses
    np.testing.assert_array_equal(np.bincount(pre, minlength=n_pre), fan_out)
    # By source, then by target, and each pair once.
    assert (np.diff(pre.astype(np.int64) * n_post + post) > 0).all()
    expected = pattern(connection)
    found = np.zeros_like(expected)
    found[pre, post] = True
    np.testing.assert_array_equal(found, expected)


def check_layer(module, input_shape):
    """Compare the one layer of a module with torch: drive, synapses and fan-out."""
    with warnings.catch_warnings():
        # torch says that an even kernel with padding="same" costs a copy.
        warnings.simplefilter("ignore", UserWarning)
        connection = only(from_torch(module, input_shape)).connection
        image = np.random.default_rng(0).normal(size=input_shape)
        with torch.no_grad():
            expected = module.double()(torch.tensor(image)[None])[0].numpy()
    assert connection.shape == expected.shape
    close = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(connection.drive(image[None])[0], expected, **close)
    np.testing.assert_allclose(drive_by_synapses(connection, image), expected, **close)
    check_synapses(connection)


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(
        st.one_of(
            st.just("same"),
            st.just("valid"),
            st.tuples(st.integers(0, 2), st.integers(0, 2)),
        )
    )
    if padding == "same":
        stride = (1, 1)
    around = padding if isinstance(padding, tuple) else (0, 0)
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 4))
        for d, k, p in zip(dilation, kernel, around, strict=True)
    ]
    torch.manual_seed(draw(st.integers(0, 1000)))
    module = nn.Conv2d(
        channels,
        groups * draw(st.integers(1, 3)),
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias=False,
    )
    return module, (channels, *size)


@st.composite
def poolings(draw):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = [
        max(1, k - 2 * p) + draw(st.integers(0, 6))
        for k, p in zip(kernel, padding, strict=True)
    ]
    module = nn.AvgPool2d(
        kernel,
        stride,
        padding,
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
        divisor_override=draw(st.one_of(st.none(), st.integers(1, 7))),
    )
    return module, (draw(st.integers(1, 3)), *size)


@pytest.mark.slow
@many
@given(convolutions())
def test_convolutions_equal_torch(case):
    check_layer(*case)


@pytest.mark.parametrize(
    ("kernel", "dilation"),
    [((2, 2), 1), ((4, 3), 1), ((3, 4), (2, 3)), ((2, 4), (3, 1)), ((5, 1), 1)],
)
def test_padding_same_equals_torch(kernel, dilation):
    torch.manual_seed(0)
    module = nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation, bias=False)
    check_layer(module, (2, 7, 6))


def test_depthwise_convolution_equals_torch():
    torch.manual_seed(0)
    check_layer(nn.Conv2d(3, 6, (3, 2), groups=3, bias=False), (3, 7, 6))


@many
@given(poolings())
def test_average_pooling_equals_torch(case):
    check_layer(*case)


@many
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    output=st.tuples(
        st.one_of(st.none(), st.integers(1, 7)), st.one_of(st.none(), st.integers(1, 7))
    ),
)
def test_adaptive_pooling_equals_torch(size, output):
    check_layer(nn.AdaptiveAvgPool2d(output), (2, *size))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    n_out=st.integers(1, 5),
)
def test_linear_after_flatten_equals_torch(shape, n_out):
    torch.manual_seed(0)
    n_in = int(np.prod(shape))
    check_layer(nn.Sequential(nn.Flatten(), nn.Linear(n_in, n_out, bias=False)), shape)


def test_linear_after_linear():
    weight = np.arange(6.0).reshape(2, 3)
    connection = connection_of(Linear("ip2", ("ip1",), (3,), weight))
    pre, post, weight = connection.expanded()
    np.testing.assert_array_equal(pre, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(post, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(weight, [0, 3, 1, 4, 2, 5])


def test_synapses_of_a_kernel_by_hand():
    kernel = np.array([[[[1.0, 2.0]]]])
    layer = Conv2d("conv1", (INPUT,), (1, 1, 3), kernel, padding=((0, 0), (1, 0)))
    pre, post, weight = connection_of(layer).expanded()
    # Outputs 0, 1, 2 see the inputs (-, 0), (0, 1), (1, 2).
    triples = [*zip(pre, post, weight, strict=True)]
    assert triples == [(0, 0, 2), (0, 1, 1), (1, 1, 2), (1, 2, 1), (2, 2, 2)]
    assert pre.dtype == np.int32
    assert post.dtype == np.int32


def test_other_weights_and_shares_of_channels():
    rng = np.random.default_rng(0)
    layer = Conv2d("conv1", (INPUT,), (2, 3, 4), rng.normal(size=(3, 2, 2, 2)))
    connection = connection_of(layer)
    other, share = rng.normal(size=(3, 2, 2, 2)), np.array([0.5, 4.0])
    expected = connection.reweighted(other).times(share)
    np.testing.assert_allclose(
        as_matrix(connection, weight=other, share=share), as_matrix(expected)
    )
    np.testing.assert_allclose(
        connection.stored(other, share), expected.stored(), rtol=1e-15
    )


def test_weights_of_zero_are_synapses():
    layer = Conv2d("conv1", (INPUT,), (1, 3, 3), np.zeros((1, 1, 2, 2)))
    assert len(connection_of(layer).expanded()[2]) == 16


def test_chain_of_synapses_equals_the_cnn():
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(3 * 4 * 4, 5, bias=False),
    )
    image = np.random.default_rng(0).random((2, 7, 6))
    values = image
    network = from_torch(cnn, image.shape)
    assert network.names == ("conv1", "pool1", "ip1")
    for name in network.names:
        values = drive_by_synapses(only(network, name).connection, values)
        if name != "ip1":
            values = np.maximum(values, 0)
    with torch.no_grad():
        expected = cnn.double()(torch.tensor(image)[None])[0].numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-12)


def test_synapses_of_the_papers_cnn():
    network = from_torch(cifar10_quick(adjusted=True), (3, 32, 32))
    assert network.n_synapses == 10_555_392
    pool = only(network, "pool1").connection
    assert len(pool.expanded()[0]) == pool.fan_out().sum() == 32 * 32 * 32


def test_too_many_synapses_are_refused(monkeypatch):
    connection = connection_of(Linear("ip1", (INPUT,), (10,), np.zeros((2, 10))))
    monkeypatch.setattr(connections, "MAX_SYNAPSES", 20)
    assert len(connection.expanded()[0]) == 20
    monkeypatch.setattr(connections, "MAX_SYNAPSES", 19)
    with pytest.raises(InputError, match="20 explicit synapses"):
        connection.expanded()
