import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    INPUT,
    AvgPool2d,
    Conv2d,
    Layers,
    Linear,
    from_neurons,
    stack,
    to_neurons,
)
from cnn2snn_brian.projections.pooling import Joined


def conv(name="conv1", source=INPUT, *, shape=(2, 7, 6), n_out=3, seed=0):
    kernel = np.random.default_rng(seed).normal(size=(n_out, shape[0], 3, 2))
    return Conv2d(name, (source,), shape, kernel)


def halving_pool(name, source, shape):
    _, height, width = shape
    return AvgPool2d(
        name,
        (source,),
        shape,
        rows=tuple((2 * i, 2 * i + 2) for i in range(height // 2)),
        columns=tuple((2 * i, 2 * i + 2) for i in range(width // 2)),
        row_weights=(0.5,) * (height // 2),
        column_weights=(0.5,) * (width // 2),
    )


def small_cnn():
    rng = np.random.default_rng(1)
    first = conv()
    second = halving_pool("pool1", "conv1", first.shape)
    n_in = int(np.prod(second.shape))
    third = Linear(
        "ip1",
        ("pool1",),
        second.shape,
        rng.normal(size=(4, n_in)),
        rng.normal(size=4),
        n_bias_parameters=4,
    )
    return Layers((2, 7, 6), (first, second, third))


def test_neurons_are_ordered_y_x_channel():
    shape = (3, 5, 4)
    values = np.arange(60).reshape(shape)
    ordered = to_neurons(values, shape)
    expected = [values[c, y, x] for y in range(5) for x in range(4) for c in range(3)]
    np.testing.assert_array_equal(ordered, expected)
    for c, y, x in [(0, 0, 1), (1, 0, 0), (2, 4, 3), (1, 3, 2)]:
        assert ordered[(y * 4 + x) * 3 + c] == values[c, y, x]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    shape=st.one_of(
        st.tuples(st.integers(1, 9)),
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    ),
)
def test_from_neurons_undoes_to_neurons(lead, shape):
    values = np.arange(np.prod([*lead, *shape])).reshape(*lead, *shape)
    ordered = to_neurons(values, shape)
    assert ordered.shape == (*lead, np.prod(shape))
    np.testing.assert_array_equal(from_neurons(ordered, shape), values)
    flat = np.arange(np.prod([*lead, *shape])).reshape(*lead, -1)
    np.testing.assert_array_equal(to_neurons(from_neurons(flat, shape), shape), flat)


def test_one_dimensional_layers_keep_their_order():
    np.testing.assert_array_equal(to_neurons(np.arange(5), (5,)), np.arange(5))


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 3), ((1, 1), (2, 2)), (1, 1), 2),
        ((1, 2), ((0, 1), (1, 2)), (2, 1), 1),
        ((3, 1), ((2, 0), (0, 0)), (1, 2), 2),
    ],
)
def test_conv2d_drive_equals_torch(stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(6, 4 // groups, 3, 2))
    images = rng.normal(size=(2, 4, 7, 6))
    layer = Conv2d(
        "conv1",
        (INPUT,),
        (4, 7, 6),
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    padded = F.pad(torch.tensor(images), (*padding[1], *padding[0]))
    expected = F.conv2d(
        padded,
        torch.tensor(kernel),
        stride=stride,
        dilation=dilation,
        groups=groups,
    ).numpy()
    assert layer.shape == expected.shape[1:]
    np.testing.assert_allclose(layer.drive(images), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weight_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 3), ((0, 2), (3, 1)), (1, 1), 2),
        ((1, 2), ((0, 1), (1, 2)), (2, 3), 4),
        ((3, 1), ((2, 0), (0, 0)), (1, 2), 1),
    ],
)
def test_conv2d_drive_is_the_sum_over_its_taps(
    stride, padding, dilation, groups, dtype, weight_dtype
):
    # Multiples of 1/64, whose sums are exact in both types.
    rng = np.random.default_rng(0)
    kernel = (rng.integers(-64, 65, (8, 4 // groups, 3, 2)) / 64).astype(weight_dtype)
    images = (rng.integers(0, 65, (3, 4, 9, 8)) / 64).astype(dtype)
    layer = Conv2d(
        "conv1", (INPUT,), (4, 9, 8), kernel, None, stride, padding, dilation, groups
    )
    found = layer.drive(images)
    padded = np.pad(images, ((0, 0), (0, 0), *padding))
    expected = np.zeros((3, *layer.shape))
    for n, out, y, x in np.ndindex(expected.shape):
        for c, ky, kx in np.ndindex(kernel.shape[1:]):
            source = out // (8 // groups) * kernel.shape[1] + c
            at = y * stride[0] + ky * dilation[0], x * stride[1] + kx * dilation[1]
            value = float(padded[(n, source, *at)])
            expected[n, out, y, x] += float(kernel[out, c, ky, kx]) * value
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.result_type(dtype, weight_dtype)


def test_conv2d_drive_lays_out_one_image_at_a_time():
    rng = np.random.default_rng(0)
    layer = Conv2d(
        "conv1",
        (INPUT,),
        (8, 40, 40),
        rng.random((8, 8, 3, 3)),
        padding=((1, 1), (1, 1)),
    )
    images = rng.random((12, 8, 40, 40))
    columns_of_one = 9 * images[0].nbytes
    tracemalloc.start()
    found = layer.drive(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < found.nbytes + 2 * columns_of_one


def test_activations_come_in_batches(monkeypatch):
    layers = small_cnn()
    images = np.random.default_rng(2).random((7, 2, 7, 6))
    expected = layers.activations(images)
    n_values = 84 + 75 + 12 + 4
    for most, values, sizes in (
        (50, 10**6, [7]),
        (3, 10**6, [3, 3, 1]),
        (50, 4 * n_values, [4, 3]),
        (50, 1, [1] * 7),
    ):
        monkeypatch.setattr(stack, "MAX_IMAGES", most)
        monkeypatch.setattr(stack, "MAX_VALUES", values)
        batches = list(layers.activation_batches(images))
        assert [len(images[part]) for part, _ in batches] == sizes
        seen = np.concatenate([images[part] for part, _ in batches])
        np.testing.assert_array_equal(seen, images)
        for name in layers.names:
            joined = np.concatenate([values[name] for _, values in batches])
            np.testing.assert_allclose(joined, expected[name], rtol=1e-12, atol=1e-14)


def test_axis_taps_leave_out_the_padding():
    kernel = np.ones((1, 1, 3, 1))
    layer = Conv2d("conv1", (INPUT,), (1, 4, 1), kernel, padding=((1, 1), (0, 0)))
    position, out, tap = layer.axis_taps(0)
    np.testing.assert_array_equal(out, [0, 0, 1, 1, 1, 2, 2, 2, 3, 3])
    np.testing.assert_array_equal(tap, [1, 2, 0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(position, [0, 1, 0, 1, 2, 1, 2, 3, 2, 3])


def test_fan_out_of_a_convolution_by_hand():
    kernel = np.ones((2, 1, 2, 2))
    layer = Conv2d("conv1", (INPUT,), (1, 3, 4), kernel)
    # Corners are in one window, edges in two, the middle in four; two channels each.
    expected = [[2, 4, 4, 2], [4, 8, 8, 4], [2, 4, 4, 2]]
    np.testing.assert_array_equal(layer.fan_out()[0], expected)


def test_fan_out_is_zero_where_a_stride_skips_inputs():
    kernel = np.ones((1, 1, 1, 1))
    layer = Conv2d("conv1", (INPUT,), (1, 3, 3), kernel, stride=(2, 2))
    expected = [[1, 0, 1], [0, 0, 0], [1, 0, 1]]
    np.testing.assert_array_equal(layer.fan_out()[0], expected)


def test_pooling_drive_by_hand():
    layer = halving_pool("pool1", INPUT, (1, 2, 4))
    image = np.array([[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 12.0]]]])
    np.testing.assert_array_equal(layer.drive(image), [[[[3.5, 6.5]]]])
    np.testing.assert_array_equal(layer.fan_out(), np.ones((1, 2, 4)))


def test_linear_reads_a_picture_in_torchs_order():
    weight = np.random.default_rng(0).normal(size=(3, 2 * 3 * 5))
    images = np.random.default_rng(1).normal(size=(4, 2, 3, 5))
    layer = Linear("ip1", (INPUT,), (2, 3, 5), weight)
    expected = F.linear(torch.tensor(images).flatten(1), torch.tensor(weight))
    np.testing.assert_allclose(layer.drive(images), expected.numpy(), rtol=1e-10)
    np.testing.assert_array_equal(layer.fan_out(), np.full((2, 3, 5), 3))


def test_weights_are_read_only():
    layer = conv()
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.name = "other"


def test_a_layer_keeps_weights_of_its_own():
    weight, bias = np.ones((2, 6)), np.ones(2)
    layer = Linear("ip1", (INPUT,), (6,), weight, bias)
    weight[:] = 7
    bias[:] = 7
    np.testing.assert_array_equal(layer.weight, np.ones((2, 6)))
    np.testing.assert_array_equal(layer.bias, np.ones(2))


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 3), (3, 2, 3, 3, 3)])
def test_kernels_of_the_wrong_dimension_are_refused(shape):
    with pytest.raises(InputError, match="conv1"):
        Conv2d("conv1", (INPUT,), (2, 7, 6), np.zeros(shape))


@pytest.mark.parametrize(
    ("kernel_shape", "groups"),
    [((3, 3, 2, 2), 1), ((3, 1, 2, 2), 2), ((4, 2, 2, 2), 2)],
)
def test_kernels_that_do_not_fit_the_channels_are_refused(kernel_shape, groups):
    with pytest.raises(InputError, match="conv1: a kernel of shape"):
        Conv2d("conv1", (INPUT,), (2, 7, 6), np.zeros(kernel_shape), groups=groups)


def test_a_kernel_larger_than_the_input_is_refused():
    with pytest.raises(InputError, match="conv1: the kernel .* is larger"):
        Conv2d("conv1", (INPUT,), (2, 7, 6), np.zeros((3, 2, 8, 1)))
    padded = Conv2d(
        "conv1", (INPUT,), (2, 7, 6), np.zeros((3, 2, 8, 1)), padding=((1, 0), (0, 0))
    )
    assert padded.shape == (3, 1, 6)


def test_biases_of_the_wrong_shape_are_refused():
    with pytest.raises(InputError, match="conv1: the bias has the shape"):
        Conv2d("conv1", (INPUT,), (2, 7, 6), np.zeros((3, 2, 2, 2)), np.zeros(3))
    with pytest.raises(InputError, match="ip1: the bias has the shape"):
        Linear("ip1", (INPUT,), (6,), np.zeros((2, 6)), np.zeros(6))


@pytest.mark.parametrize("shape", [(2, 5), (2, 7), (6,), (2, 3, 2)])
def test_linear_weights_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(InputError, match="ip1: weights of shape"):
        Linear("ip1", (INPUT,), (1, 2, 3), np.zeros(shape))


@pytest.mark.parametrize(
    ("rows", "weights"),
    [
        (((0, 2), (2, 4)), (0.5, 0.5)),
        (((1, 1),), (0.5,)),
        (((-1, 2),), (0.5,)),
        ((), ()),
        (((0, 2),), (0.5, 0.5)),
    ],
)
def test_pooling_windows_outside_the_input_are_refused(rows, weights):
    with pytest.raises(InputError, match="pool1: pooling windows"):
        AvgPool2d("pool1", (INPUT,), (1, 3, 2), rows, ((0, 2),), weights, (0.5,))


def test_activations_rectify_all_but_the_last_layer():
    layers = small_cnn()
    images = np.random.default_rng(2).normal(size=(5, 2, 7, 6))
    found = layers.activations(images)
    kernel = torch.tensor(layers["conv1"].weight)
    expected = F.relu(F.conv2d(torch.tensor(images), kernel))
    np.testing.assert_allclose(found["conv1"], expected.numpy(), rtol=1e-10, atol=1e-12)
    pooled = F.avg_pool2d(expected, 2)
    np.testing.assert_allclose(found["pool1"], pooled.numpy(), rtol=1e-10, atol=1e-12)
    last = F.linear(
        pooled.flatten(1),
        torch.tensor(layers["ip1"].weight),
        torch.tensor(layers["ip1"].bias),
    )
    np.testing.assert_allclose(found["ip1"], last.numpy(), rtol=1e-10, atol=1e-12)
    assert list(found) == ["conv1", "pool1", "ip1"]
    assert found["ip1"].min() < 0


def test_a_layer_that_reads_two_layers_adds_them():
    first = Linear("a", (INPUT,), (1, 1, 2), np.array([[1.0, 0.0], [0.0, 1.0]]))
    second = Linear("b", ("a",), (2,), np.array([[0.0, 2.0], [2.0, 0.0]]))
    weight = np.array([[1.0, 10.0]])
    third = Joined(
        "c", tuple(Linear(f"c_from_{name}", (name,), (2,), weight) for name in "ab")
    )
    layers = Layers((1, 1, 2), (first, second, third))
    found = layers.activations(np.array([[[[3.0, 5.0]]]]))
    # a = (3, 5), b = (10, 6), their sum (13, 11).
    np.testing.assert_array_equal(found["c"], [[123.0]])


def test_layers_are_found_by_name_and_index():
    layers = small_cnn()
    assert len(layers) == 3
    assert layers["pool1"] is layers[1]
    assert [layer.name for layer in layers] == list(layers.names)
    assert layers.shapes == {
        "input": (2, 7, 6),
        "conv1": (3, 5, 5),
        "pool1": (3, 2, 2),
        "ip1": (4,),
    }
    with pytest.raises(KeyError, match="no layer 'conv2'; layers are conv1, pool1"):
        layers["conv2"]


def test_table_of_layers():
    text = str(small_cnn())
    rows = [line.split() for line in text.splitlines()]
    # 75 neurons with 12 taps each; 12 neurons with 4 inputs each; 12 inputs to 4.
    assert ["input", "image", "2x7x6", "84"] in rows
    assert ["conv1", "Conv2d", "input", "3x5x5", "75", "900", "36"] in rows
    assert ["pool1", "AvgPool2d", "conv1", "3x2x2", "12", "48", "0"] in rows
    assert ["ip1", "Linear", "pool1", "4", "4", "48", "52"] in rows
    assert ["total", "175", "996", "88"] in rows
    assert small_cnn().n_synapses == 996


def test_layers_need_unique_names():
    with pytest.raises(InputError, match="two layers are named 'conv1'"):
        Layers((2, 7, 6), (conv(), conv("conv1", "conv1", shape=(3, 5, 5))))
    with pytest.raises(InputError, match="two layers are named 'input'"):
        Layers((2, 7, 6), (conv(INPUT),))


def test_layers_read_what_comes_before_them():
    with pytest.raises(InputError, match="conv1: reads 'later'"):
        Layers((2, 7, 6), (conv(source="later"),))
    with pytest.raises(InputError, match="conv1: reads 'input' of shape"):
        Layers((2, 6, 7), (conv(),))
    with pytest.raises(InputError, match="at least one layer"):
        Layers((2, 7, 6), ())
