"""Sums and compositions of connections, against one run after the other and torch."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import as_matrix, pattern, pooling

from cnn2snn_brian.projections import (
    ByChannel,
    Connection,
    Convolution,
    Dense,
    Term,
    TransposedConvolution,
    Value,
    Window,
    nearest,
    then,
)
from cnn2snn_brian.projections.algebra import composed, summed

SHAPE = (4, 6, 5)
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def kernels(shape):
    """A kernel of each kind that reads a shape."""
    n, size = shape[0], int(np.prod(shape))
    made = {
        "by-channel": ByChannel(shape, draw(n)),
        "dense": Dense(shape, draw(3, size)),
    }
    if len(shape) == 1:
        return made
    around = ((1, 1), (1, 0))
    return made | {
        "identity": ByChannel.identity(shape),
        "1x1": Convolution(shape, draw(4, n, 1, 1)),
        "1x1-groups": Convolution(shape, draw(4, n // 2, 1, 1), groups=2),
        "gain": Convolution(shape, draw(n, 1, 1, 1), groups=n),
        "1x1-strided": Convolution(shape, draw(4, n, 1, 1), stride=(2, 1)),
        "1x1-padded": Convolution(shape, draw(4, n, 1, 1), padding=around),
        "3x2": Convolution(shape, draw(4, n, 3, 2), padding=around),
        "groups": Convolution(shape, draw(6, n // 2, 2, 2), groups=2, stride=(2, 1)),
        "depthwise": Convolution(shape, draw(n, 1, 3, 2), groups=n, padding=around),
        "depthwise-2": Convolution(shape, draw(2 * n, 1, 2, 2), groups=n),
        "transposed": TransposedConvolution(shape, draw(n, 4, 2, 3), stride=(2, 1)),
        "transposed-groups": TransposedConvolution(
            shape, draw(n, 2, 3, 2), stride=(2, 2), groups=2
        ),
    }


#: Kernels that do the same at each position, and alone, or nearly so.
GAINS = ("by-channel", "identity", "gain")
POINTWISE = (*GAINS, "1x1", "1x1-groups")
BY_WINDOW = ("1x1-strided", "1x1-padded")


def are_one(first, second):
    """Say which two kernels are one: a pointwise one before or after others."""
    if first in GAINS or second in GAINS[:2] or (first, second) == ("dense", "dense"):
        return True
    if "dense" in (first, second):
        return False
    strided = second == "1x1-strided" and "transposed" not in first
    return first in POINTWISE or second in POINTWISE or strided


@pytest.mark.parametrize(
    ("first", "second"),
    [(a, b) for a, kernel in kernels(SHAPE).items() for b in kernels(kernel.shape)],
)
def test_kernels_one_after_the_other(first, second):
    one = kernels(SHAPE)[first]
    other = kernels(one.shape)[second]
    x = draw(3, *SHAPE)
    expected = other.drive(one.drive(x))
    found = composed(one, other)
    assert (found is not None) == are_one(first, second)
    whole = then(Connection(SHAPE, kernel=one), Connection(one.shape, kernel=other))
    by_window = first in BY_WINDOW and second != "dense"
    assert (whole is not None) == (are_one(first, second) or by_window)
    if found is not None:
        np.testing.assert_allclose(found.drive(x), expected, **CLOSE)
    if whole is not None:
        np.testing.assert_allclose(whole.drive(x), expected, **CLOSE)
        assert whole.shape == expected.shape[1:]
        # What is composed is as sparse as the parts one after the other.
        reached = pattern(Connection(SHAPE, kernel=one)).astype(int) @ pattern(
            Connection(one.shape, kernel=other)
        )
        np.testing.assert_array_equal(pattern(whole), reached > 0)


def windows(shape):
    """Windows of each kind that read a shape: pooled, with zeros, cropped, larger."""
    _, height, width = shape
    halves = [tuple((k, k + 2) for k in range(0, n - 1, 2)) for n in (height, width)]
    weights = [(0.5,) * len(axis) for axis in halves]
    return {
        "pool": pooling(shape, *halves, *weights).window,
        "zeros": Window(np.eye(height + 2, height, -1), np.eye(width + 1, width)),
        "crop": Window(np.eye(height)[1:-1], np.eye(width)[:-1]),
        "nearest": Window(nearest(height, 2 * height - 1), nearest(width, width + 2)),
        "uneven": Window(np.abs(draw(height + 1, height)), draw(width, width)),
    }


@pytest.mark.parametrize(
    ("first", "second"), [*product(windows(SHAPE), windows(SHAPE))]
)
def test_windows_one_after_the_other(first, second):
    one = Connection(SHAPE, windows(SHAPE)[first])
    other = Connection(one.shape, windows(one.shape)[second])
    whole, x = then(one, other), draw(2, *SHAPE)
    np.testing.assert_allclose(whole.drive(x), other.drive(one.drive(x)), **CLOSE)
    np.testing.assert_allclose(
        as_matrix(whole), as_matrix(one) @ as_matrix(other), **CLOSE
    )
    assert whole.n_synapses == len(whole.expanded()[0])


@pytest.mark.parametrize("window", [*windows(SHAPE)])
@pytest.mark.parametrize("kernel", [*kernels(SHAPE)])
def test_windows_before_and_behind_kernels(kernel, window):
    x = draw(2, *SHAPE)
    one = Connection(SHAPE, windows(SHAPE)[window])
    other = Connection(one.shape, kernel=kernels(one.shape)[kernel])
    whole = then(one, other)
    np.testing.assert_allclose(whole.drive(x), other.drive(one.drive(x)), **CLOSE)
    np.testing.assert_allclose(
        as_matrix(whole), as_matrix(one) @ as_matrix(other), **CLOSE
    )

    one = Connection(SHAPE, kernel=kernels(SHAPE)[kernel])
    if len(one.shape) == 1:
        return
    other = Connection(one.shape, windows(one.shape)[window])
    whole = then(one, other)
    # A window can come first, if positions are treated alike and apart.
    assert (whole is not None) == (kernel in (*POINTWISE, *BY_WINDOW))
    if whole is not None:
        np.testing.assert_allclose(whole.drive(x), other.drive(one.drive(x)), **CLOSE)
        np.testing.assert_allclose(
            as_matrix(whole), as_matrix(one) @ as_matrix(other), **CLOSE
        )


@pytest.mark.parametrize("kernel", [*kernels((8, 4, 3))])
def test_a_kernel_that_reads_channels_side_by_side(kernel):
    # Of 8 channels in a row, those of one source are some.
    shape = (8, 4, 3)
    other = Connection(shape, kernel=kernels(shape)[kernel])
    x = {n: draw(2, n, 4, 3) for n in (1, 2, 4)}
    for start, n in ((0, 4), (4, 4), (1, 2), (2, 1), (7, 1), (3, 4)):
        one = Connection((n, 4, 3)).moved(start, 8)
        whole = then(one, other)
        np.testing.assert_allclose(
            whole.drive(x[n]), other.drive(one.drive(x[n])), **CLOSE
        )
        assert whole.shape == other.shape
        matrix = as_matrix(one) @ as_matrix(other)
        np.testing.assert_allclose(as_matrix(whole), matrix, **CLOSE)


@pytest.mark.parametrize("kernel", [*kernels(SHAPE)])
def test_gains_of_source_and_target(kernel):
    for connection in (
        Connection(SHAPE, kernel=kernels(SHAPE)[kernel]),
        Connection(SHAPE, kernel=kernels(SHAPE)[kernel]).moved(2, 30),
    ):
        x, own = draw(2, *SHAPE), connection.own_shape
        expected = connection.drive(x)
        gain = draw(own[0])
        wide = np.ones(connection.channels)
        wide[connection.start : connection.start + own[0]] = gain
        wide = wide.reshape(-1, *[1] * (len(own) - 1))
        np.testing.assert_allclose(
            connection.scaled(gain).drive(x), expected * wide, **CLOSE
        )
        gain = draw(SHAPE[0])
        np.testing.assert_allclose(
            connection.times(gain).drive(x),
            connection.drive(x * gain[:, None, None]),
            **CLOSE,
        )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (a, b)
        for (a, one), (b, other) in product(kernels(SHAPE).items(), repeat=2)
        if one.shape == other.shape
    ],
)
def test_kernels_side_by_side(one, other):
    first, second = kernels(SHAPE)[one], kernels(SHAPE)[other]
    found, x = summed(first, second), draw(2, *SHAPE)
    if one == other or {one, other} <= {*GAINS, "1x1", "1x1-groups"}:
        assert found is not None
    if found is None:
        # Of one size, they differ in their strides, paddings or kinds.
        return
    np.testing.assert_allclose(
        found.drive(x), first.drive(x) + second.drive(x), **CLOSE
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1x1", "3x3"),
        ("by-channel", "3x3"),
        ("gain", "3x3-depthwise"),
        ("by-channel", "3x3-depthwise"),
        ("3x3", "3x3-depthwise"),
        ("1x1", "5x3-dilated"),
        ("identity", "5x3-dilated"),
    ],
)
def test_a_point_goes_into_the_middle_of_a_kernel(one, other):
    n, made = SHAPE[0], kernels(SHAPE)
    made |= {
        "3x3": Convolution(SHAPE, draw(n, n, 3, 3), padding=((1, 1), (1, 1))),
        "3x3-depthwise": Convolution(
            SHAPE, draw(n, 1, 3, 3), padding=((1, 1), (1, 1)), groups=n
        ),
        "5x3-dilated": Convolution(
            SHAPE, draw(n, n, 5, 3), dilation=(1, 2), padding=((2, 2), (2, 2))
        ),
    }
    x = draw(2, *SHAPE)
    for first, second in ((one, other), (other, one)):
        found = summed(made[first], made[second])
        assert found.weight.shape[2:] == made[other].weight.shape[2:]
        np.testing.assert_allclose(
            found.drive(x), made[one].drive(x) + made[other].drive(x), **CLOSE
        )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Between two taps, strided otherwise, and beside the kernel.
        ({"size": (2, 3), "dilation": (2, 1), "padding": ((1, 1), (1, 1))}, {}),
        ({"size": (3, 3), "padding": ((1, 1), (1, 1))}, {"stride": (2, 2)}),
        ({"size": (1, 2), "padding": ((0, 0), (2, -1))}, {}),
    ],
)
def test_points_that_fit_no_tap_stay_apart(one, other):
    first = Convolution(SHAPE, draw(4, 4, *one.pop("size")), **one)
    second = Convolution(SHAPE, draw(4, 4, 1, 1), **other)
    assert summed(first, second) is None
    assert summed(second, first) is None


def test_a_value_is_a_sum_of_all_that_a_population_sends():
    """x + conv(x) + norm(conv(x)), and a bias, as one connection."""
    wide, narrow = draw(4, 4, 3, 3), draw(4, 4, 1, 1)
    around = ((1, 1), (1, 1))
    gain, shift, bias = draw(4), draw(4) + 1, draw(*SHAPE)
    value = Value.of("a", SHAPE)
    first = value.through(
        Connection(SHAPE, kernel=Convolution(SHAPE, wide, padding=around)),
        "wide",
        "conv1",
        bias,
        4,
    )
    second = value.through(
        Connection(SHAPE, kernel=Convolution(SHAPE, narrow)), "narrow"
    )
    second = second.scaled(gain, shift, "bn1")
    both = value.plus(first, "add1").plus(second, "add2")
    ((source, connection),) = both.connections()
    assert source == "a"
    assert both.name == "add2"
    assert both.n_biases == 8
    x = draw(2, *SHAPE)
    found = connection.drive(x) + both.bias
    there = torch.tensor(x)
    expected = there + F.conv2d(there, torch.tensor(wide), padding=1)
    expected = expected + torch.tensor(bias)
    normed = F.conv2d(there, torch.tensor(narrow)) * torch.tensor(gain[:, None, None])
    expected = expected + normed + torch.tensor(shift[:, None, None])
    np.testing.assert_allclose(found, expected.numpy(), **CLOSE)


def test_a_bias_goes_through_what_reads_it():
    bias = draw(*SHAPE)
    made = Value.of("a", SHAPE).plus(Value(SHAPE, (), bias, 4), "sum")
    kernel = Convolution(SHAPE, draw(3, 4, 3, 2), padding=((1, 1), (1, 0)))
    own = draw(*kernel.shape)
    through = made.through(Connection(SHAPE, kernel=kernel), "", "conv", own, 3)
    np.testing.assert_allclose(through.bias, own + kernel.drive(bias[None])[0], **CLOSE)
    assert through.n_biases == 7


def test_values_side_by_side():
    parts = [
        Value.of("a", (2, 3, 3)),
        Value.of("b", (1, 3, 3)),
        Value.of("a", (2, 3, 3)),
    ]
    whole = Value.side_by_side(parts)
    assert whole.shape == (5, 3, 3)
    assert whole.is_bare
    assert whole.is_rectified
    assert [c.start for _, c in whole.connections()] == [0, 2, 3]
    x = {"a": draw(2, 2, 3, 3), "b": draw(2, 1, 3, 3)}
    found = sum(c.drive(x[source]) for source, c in whole.connections())
    np.testing.assert_array_equal(found, np.concatenate([x["a"], x["b"], x["a"]], 1))
    assert not whole.plus(whole, "").is_bare
    assert whole.plus(whole, "").is_rectified
    kernel = Dense((5, 3, 3), draw(4, 45))
    line = whole.through(Connection((5, 3, 3), kernel=kernel), "line", "ip1")
    assert not line.is_rectified
    # What a sends by two ways is one projection behind the linear layer.
    assert [source for source, _ in line.connections()] == ["a", "b"]
    found = sum(c.drive(x[source]) for source, c in line.connections())
    whole = np.concatenate([x["a"], x["b"], x["a"]], 1)
    np.testing.assert_allclose(found, kernel.drive(whole), **CLOSE)


def test_a_value_says_which_term_is_in_the_way():
    value = Value.of("a", SHAPE)
    kernel = Convolution(SHAPE, draw(4, 4, 3, 3))
    first = value.through(Connection(SHAPE, kernel=kernel), "body.0")
    second = Convolution(first.shape, draw(4, 4, 2, 2))
    found = first.through(Connection(first.shape, kernel=second), "body.1")
    assert isinstance(found, Term)
    assert (found.source, found.where) == ("a", "body.0")
