"""Runs of targets are the same synapses as those that are listed, and as torch."""

import warnings

import numpy as np
import pytest
import torch
from by_hand import (
    Conv2d,
    Linear,
    as_matrix,
    channels_last,
    connection_of,
    only,
    pattern,
    responses,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_connectivity import convolutions, poolings
from torch import nn

from cnn2snn_brian.cnn.from_torch import from_torch
from cnn2snn_brian.projections import INPUT

many = settings(max_examples=60, deadline=None, derandomize=True)


def impulse_responses(module, input_shape):
    """What torch makes of a 1 at each input: (n_sources, n_targets), channels last."""

    def computed(values):
        with torch.no_grad():
            return module.double()(torch.tensor(values)).numpy()

    return responses(computed, input_shape)


def check_tables(connection):
    """Compare runs with the sums, and both orders of the weights."""
    runs, stored = connection.runs(), connection.stored()
    table = runs.by_source()
    pre, post, index = table.expanded()
    expected = responses(connection.drive, connection.input_shape)
    found, reached = np.zeros_like(expected), np.zeros(expected.shape, bool)
    found[pre, post], reached[pre, post] = stored[index], True
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(reached, pattern(connection))
    listed = connection.expanded()
    for ours, theirs in zip((pre, post, stored[index]), listed, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    fan_out = connection.fan_out()
    n_sources, n_targets = fan_out.size, int(np.prod(connection.shape))
    assert table.length.sum() == len(pre) == fan_out.sum() == connection.n_synapses
    np.testing.assert_array_equal(
        np.bincount(pre, minlength=n_sources), channels_last(fan_out, fan_out.ndim)
    )
    pairs = pre.astype(np.int64) * n_targets + post
    assert len(np.unique(pairs)) == len(pairs)

    assert len(table.first) == n_sources + 1
    assert (table.first[0], table.first[-1]) == (0, len(table.length))
    assert (np.diff(table.first) >= 0).all()
    assert (table.length >= 1).all()
    assert (table.weight >= 0).all()
    assert (table.weight + table.length <= len(stored)).all()
    for name in ("first", "post", "weight", "length"):
        assert getattr(table, name).dtype == np.int32, name
    for source in range(n_sources):
        for ours, theirs in zip(
            table.of(source).expanded(), runs.of(source).expanded(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    check_neighbours(connection, table, runs.n_sharing)

    in_order = connection.from_stored(stored)
    np.testing.assert_array_equal(in_order, connection.weight)
    numbers = np.arange(len(stored))
    if connection.kernel is None:
        # The channels of a position have the same weight.
        numbers = numbers // connection.own_shape[0]
    np.testing.assert_array_equal(
        connection.stored(connection.from_stored(numbers)), numbers
    )
    np.testing.assert_array_equal(connection.stored(in_order), stored)


def check_neighbours(connection, table, n):
    """Sources whose runs reach the same are neighbours, and so are their weights."""
    size = connection.weights_of_channel
    for source in range(0, len(table.first) - 1, n):
        runs = [slice(*table.first[k : k + 2]) for k in range(source, source + n)]
        for k, own in enumerate(runs):
            np.testing.assert_array_equal(table.post[own], table.post[runs[0]])
            np.testing.assert_array_equal(table.length[own], table.length[runs[0]])
            if connection.kernel is not None:
                weights = table.weight[runs[0]] + k * size
                np.testing.assert_array_equal(table.weight[own], weights)


def check(module, input_shape):
    with warnings.catch_warnings():
        # torch says that an even kernel with padding="same" costs a copy.
        warnings.simplefilter("ignore", UserWarning)
        connection = only(from_torch(module, input_shape)).connection
        expected = impulse_responses(module, input_shape)
    check_tables(connection)
    np.testing.assert_allclose(as_matrix(connection), expected, rtol=1e-12, atol=0)


@pytest.mark.slow
@many
@given(convolutions())
def test_convolutions(case):
    check(*case)


@many
@given(poolings())
def test_average_pooling(case):
    check(*case)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    output=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_adaptive_pooling(size, output):
    check(nn.AdaptiveAvgPool2d(output), (2, *size))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    n_out=st.integers(1, 5),
)
def test_linear_after_flatten(shape, n_out):
    torch.manual_seed(0)
    n_in = int(np.prod(shape))
    check(nn.Sequential(nn.Flatten(), nn.Linear(n_in, n_out, bias=False)), shape)


@pytest.mark.parametrize(
    ("channels", "kernel", "arguments"),
    [
        ((2, 3), (3, 3), {}),
        ((2, 3), (3, 2), {"padding": (1, 0)}),
        ((2, 3), (2, 4), {"padding": (2, 3)}),
        ((3, 1), (1, 1), {}),
        ((1, 4), (7, 6), {}),
        ((1, 4), (7, 6), {"padding": (6, 5)}),
        ((2, 3), (5, 5), {"padding": 2}),
        ((2, 3), (3, 2), {"stride": (1, 2)}),
        ((2, 3), (3, 2), {"stride": (2, 1), "padding": 1}),
        ((2, 3), (2, 2), {"stride": 3, "padding": (0, 1)}),
        ((2, 3), (3, 3), {"dilation": (2, 1), "padding": 2}),
        ((2, 3), (2, 3), {"dilation": (1, 2), "stride": (2, 1)}),
        ((4, 6), (3, 2), {"groups": 2, "padding": 1}),
        ((3, 3), (2, 3), {"groups": 3}),
        ((2, 4), (2, 3), {"groups": 2, "stride": 2, "dilation": 2, "padding": 1}),
        ((2, 3), (2, 4), {"padding": "same"}),
        ((2, 3), (4, 3), {"padding": "same", "dilation": (1, 2)}),
    ],
)
def test_zoo_of_convolutions(channels, kernel, arguments):
    torch.manual_seed(1)
    check(nn.Conv2d(*channels, kernel, bias=False, **arguments), (channels[0], 7, 6))


@pytest.mark.parametrize(
    "module",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d((3, 2), stride=(2, 1)),
        nn.AvgPool2d((2, 3), stride=(3, 4)),
        nn.AvgPool2d((3, 2), stride=1, padding=(1, 1), count_include_pad=False),
        nn.AvgPool2d(3, stride=2, ceil_mode=True, padding=1),
        nn.AdaptiveAvgPool2d((3, 4)),
        nn.AdaptiveAvgPool2d((1, None)),
        nn.AdaptiveAvgPool2d((9, 4)),
    ],
)
def test_zoo_of_poolings(module):
    check(module, (3, 7, 6))


def test_linear_after_linear():
    weight = np.random.default_rng(0).normal(size=(3, 5))
    connection = connection_of(Linear("ip2", ("ip1",), (5,), weight))
    check_tables(connection)
    np.testing.assert_array_equal(connection.stored(), weight.T.ravel())


@pytest.mark.parametrize(
    ("kernel", "stride_y", "padding"),
    [((3, 2), 1, (0, 0)), ((2, 4), 1, (1, 2)), ((5, 3), 1, (2, 1)), ((3, 3), 2, 1)],
)
def test_a_kernel_row_is_one_run(kernel, stride_y, padding):
    module = nn.Conv2d(2, 3, kernel, (stride_y, 1), padding, bias=False)
    nn.init.ones_(module.weight)
    connection = only(from_torch(module, (2, 7, 6))).connection
    out_channels, height, width = connection.shape
    reached = impulse_responses(module, (2, 7, 6)) != 0
    places = reached.reshape(-1, height, width, out_channels)
    rows_reached = places.any(axis=(2, 3)).sum(axis=1)
    table = connection.runs().by_source()
    np.testing.assert_array_equal(np.diff(table.first), rows_reached)
    if stride_y == 1:
        middle = (3 * 6 + 3) * 2 + 1  # (y, x) = (3, 3), channel 1: no border is near
        lengths = table.length[table.first[middle] : table.first[middle + 1]]
        assert lengths.tolist() == [kernel[1] * 3] * kernel[0]


def test_pooling_and_groups_have_a_run_for_each_target_position():
    pool = only(from_torch(nn.AvgPool2d(2), (3, 6, 4))).connection
    assert pool.runs().by_source().length.tolist() == [1] * 72
    module = nn.Conv2d(4, 6, (1, 2), groups=2, bias=False)
    grouped = only(from_torch(module, (4, 1, 3))).connection.runs().by_source()
    # Of 3 positions, those at the borders reach one output position, the other two.
    np.testing.assert_array_equal(
        np.diff(grouped.first).reshape(3, 4)[:, 0], 1 + (np.arange(3) == 1)
    )
    assert set(grouped.length) == {3}


def test_channels_of_a_position_share_a_list():
    """Tables grow with positions, not with neurons."""
    torch.manual_seed(0)
    # Of 5 rows 13 pairs are connected, of 4 columns 10.
    for module, n_places, n_runs, steps in (
        (nn.Conv2d(6, 4, 3, padding=1), 20, 13 * 4, (0, 36)),
        (nn.Conv2d(6, 12, 3, padding=1, groups=6), 20, 13 * 10, (2, 18)),
        (nn.Conv2d(6, 4, 3, padding=1, groups=2), 40, 2 * 13 * 10, (0, 18)),
        (nn.AvgPool2d(2), 20, 16, (1, 1)),
        (nn.Sequential(nn.Flatten(), nn.Linear(120, 7)), 1, 1, (0, 7)),
    ):
        table = only(from_torch(module, (6, 5, 4))).connection.runs()
        assert (len(table.first) - 1, len(table.post)) == (n_places, n_runs)
        assert (table.post_step, table.weight_step) == steps


def test_runs_by_hand():
    # Input of 1 channel and 3 positions, kernel (a, b), 2 output channels.
    kernel = np.array([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
    connection = connection_of(Conv2d("conv1", (INPUT,), (1, 1, 3), kernel))
    table = connection.runs().by_source()
    # Stored flipped in x, output channels inside: tap 1 first, then tap 0.
    np.testing.assert_array_equal(connection.stored(), [2, 4, 1, 3])
    np.testing.assert_array_equal(table.first, [0, 1, 2, 3])
    np.testing.assert_array_equal(table.post, [0, 0, 2])
    np.testing.assert_array_equal(table.weight, [2, 0, 0])
    np.testing.assert_array_equal(table.length, [2, 4, 2])


def test_a_source_without_targets_has_no_run():
    # A stride of 3 with a kernel of 2: the third column reaches nothing.
    kernel = np.ones((1, 1, 1, 2))
    layer = Conv2d("conv1", (INPUT,), (1, 1, 5), kernel, stride=(1, 3))
    table = connection_of(layer).runs()
    np.testing.assert_array_equal(np.diff(table.first), [1, 1, 0, 1, 1])
    assert table.length.sum() == 4
