import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import (
    AvgPool2d,
    Conv2d,
    Layers,
    Linear,
    connection_of,
    joined,
    pooling,
    weight_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    INPUT,
    ByChannel,
    Connection,
    Convolution,
    Dense,
    Network,
    Population,
    Projection,
    dense,
    from_neurons,
    to_neurons,
)
from cnn2snn_brian.projections import network as network_module
from cnn2snn_brian.projections.algebra import composed, summed


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
    second = halving_pool("pool1", "conv1", first[0].shape)
    n_in = int(np.prod(second[0].shape))
    third = Linear(
        "ip1",
        ("pool1",),
        second[0].shape,
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
def test_convolution_drive_equals_torch(stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(6, 4 // groups, 3, 2))
    images = rng.normal(size=(2, 4, 7, 6))
    layer = Convolution(
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
def test_convolution_drive_is_the_sum_over_its_taps(
    stride, padding, dilation, groups, dtype, weight_dtype
):
    # Multiples of 1/64, whose sums are exact in both types.
    rng = np.random.default_rng(0)
    kernel = (rng.integers(-64, 65, (8, 4 // groups, 3, 2)) / 64).astype(weight_dtype)
    images = (rng.integers(0, 65, (3, 4, 9, 8)) / 64).astype(dtype)
    layer = Convolution((4, 9, 8), kernel, stride, padding, dilation, groups)
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


def test_convolution_drive_lays_out_one_image_at_a_time():
    rng = np.random.default_rng(0)
    layer = Convolution((8, 40, 40), rng.random((8, 8, 3, 3)), padding=((1, 1), (1, 1)))
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
        monkeypatch.setattr(network_module, "MAX_IMAGES", most)
        monkeypatch.setattr(network_module, "MAX_VALUES", values)
        batches = list(layers.activation_batches(images))
        assert [len(images[part]) for part, _ in batches] == sizes
        seen = np.concatenate([images[part] for part, _ in batches])
        np.testing.assert_array_equal(seen, images)
        for name in layers.names:
            joined = np.concatenate([values[name] for _, values in batches])
            np.testing.assert_allclose(joined, expected[name], rtol=1e-12, atol=1e-14)


def test_taps_leave_out_the_padding():
    kernel = np.ones((1, 1, 3, 1))
    layer = Convolution((1, 4, 1), kernel, padding=((1, 1), (0, 0)))
    position, out, tap = layer.taps(0)
    np.testing.assert_array_equal(out, [0, 0, 1, 1, 1, 2, 2, 2, 3, 3])
    np.testing.assert_array_equal(tap, [1, 2, 0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(position, [0, 1, 0, 1, 2, 1, 2, 3, 2, 3])


def test_fan_out_of_a_convolution_by_hand():
    kernel = np.ones((2, 1, 2, 2))
    layer = Connection((1, 3, 4), kernel=Convolution((1, 3, 4), kernel))
    # Corners are in one window, edges in two, the middle in four; two channels each.
    expected = [[2, 4, 4, 2], [4, 8, 8, 4], [2, 4, 4, 2]]
    np.testing.assert_array_equal(layer.fan_out()[0], expected)


def test_fan_out_is_zero_where_a_stride_skips_inputs():
    kernel = np.ones((1, 1, 1, 1))
    kernel = Convolution((1, 3, 3), kernel, stride=(2, 2))
    layer = Connection((1, 3, 3), kernel=kernel)
    expected = [[1, 0, 1], [0, 0, 0], [1, 0, 1]]
    np.testing.assert_array_equal(layer.fan_out()[0], expected)


def test_pooling_drive_by_hand():
    layer = connection_of(halving_pool("pool1", INPUT, (1, 2, 4)))
    image = np.array([[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 12.0]]]])
    np.testing.assert_array_equal(layer.drive(image), [[[[3.5, 6.5]]]])
    np.testing.assert_array_equal(layer.fan_out(), np.ones((1, 2, 4)))


def test_linear_reads_a_picture_in_torchs_order():
    weight = np.random.default_rng(0).normal(size=(3, 2 * 3 * 5))
    images = np.random.default_rng(1).normal(size=(4, 2, 3, 5))
    layer = Connection((2, 3, 5), kernel=Dense((2, 3, 5), weight))
    expected = F.linear(torch.tensor(images).flatten(1), torch.tensor(weight))
    np.testing.assert_allclose(layer.drive(images), expected.numpy(), rtol=1e-10)
    np.testing.assert_array_equal(layer.fan_out(), np.full((2, 3, 5), 3))


def test_weights_are_read_only():
    connection = connection_of(conv())
    for weight in (connection.weight, connection.kernel.weight):
        with pytest.raises(ValueError, match="read-only"):
            weight[0] = 1
    window = connection_of(halving_pool("pool1", INPUT, (1, 2, 4))).window
    for matrix in window.axes:
        with pytest.raises(ValueError, match="read-only"):
            matrix[0] = 1
    population, (projection,) = conv()
    for part, what in (
        (population, "name"),
        (projection, "name"),
        (connection, "start"),
        (connection.kernel, "groups"),
        (window, "rows"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, what, "other")


def test_weights_and_biases_are_copies():
    weight, bias = np.ones((2, 6)), np.ones(2)
    kernel, population = Dense((6,), weight), Population("ip1", (2,), bias)
    weight[:] = 7
    bias[:] = 7
    np.testing.assert_array_equal(kernel.weight, np.ones((2, 6)))
    np.testing.assert_array_equal(population.bias, np.ones(2))


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 3), (3, 2, 3, 3, 3)])
def test_kernels_of_the_wrong_dimension_are_refused(shape):
    with pytest.raises(InputError, match="a kernel of shape .* does not fit an input"):
        Convolution((2, 7, 6), np.zeros(shape))


@pytest.mark.parametrize(
    ("kernel_shape", "groups"),
    [((3, 3, 2, 2), 1), ((3, 1, 2, 2), 2), ((4, 2, 2, 2), 2)],
)
def test_kernels_that_do_not_fit_the_channels_are_refused(kernel_shape, groups):
    with pytest.raises(InputError, match="a kernel of shape .* does not fit an input"):
        Convolution((2, 7, 6), np.zeros(kernel_shape), groups=groups)


def test_a_kernel_larger_than_the_input_is_refused():
    weight = np.zeros((3, 2, 8, 1))
    with pytest.raises(InputError, match="the kernel .* is larger than the padded"):
        Convolution((2, 7, 6), weight)
    padded = Convolution((2, 7, 6), weight, padding=((1, 0), (0, 0)))
    assert padded.shape == (3, 1, 6)


def test_biases_of_the_wrong_shape_are_refused():
    with pytest.raises(InputError, match="conv1: the bias has the shape"):
        Population("conv1", (3, 6, 5), np.zeros(3))
    with pytest.raises(InputError, match="ip1: the bias has the shape"):
        Population("ip1", (2,), np.zeros(6))


@pytest.mark.parametrize("shape", [(2, 5), (2, 7), (6,), (2, 3, 2)])
def test_dense_weights_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(InputError, match="weights of shape .* don't fit an input"):
        Dense((1, 2, 3), np.zeros(shape))


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
    with pytest.raises(InputError, match="pooling windows .* don't fit 3 positions"):
        pooling((1, 3, 2), rows, ((0, 2),), weights, (0.5,))


def test_activations_rectify_all_but_the_last_population():
    layers = small_cnn()
    images = np.random.default_rng(2).normal(size=(5, 2, 7, 6))
    found = layers.activations(images)
    kernel = torch.tensor(weight_of(layers, "conv1"))
    expected = F.relu(F.conv2d(torch.tensor(images), kernel))
    np.testing.assert_allclose(found["conv1"], expected.numpy(), rtol=1e-10, atol=1e-12)
    pooled = F.avg_pool2d(expected, 2)
    np.testing.assert_allclose(found["pool1"], pooled.numpy(), rtol=1e-10, atol=1e-12)
    last = F.linear(
        pooled.flatten(1),
        torch.tensor(weight_of(layers, "ip1")),
        torch.tensor(layers["ip1"].bias),
    )
    np.testing.assert_allclose(found["ip1"], last.numpy(), rtol=1e-10, atol=1e-12)
    assert list(found) == ["conv1", "pool1", "ip1"]
    assert found["ip1"].min() < 0


def test_a_population_that_reads_two_adds_them():
    first = Linear("a", (INPUT,), (1, 1, 2), np.array([[1.0, 0.0], [0.0, 1.0]]))
    second = Linear("b", ("a",), (2,), np.array([[0.0, 2.0], [2.0, 0.0]]))
    weight = np.array([[1.0, 10.0]])
    third = joined(
        "c", *(Linear(f"c_from_{name}", (name,), (2,), weight) for name in "ab")
    )
    layers = Layers((1, 1, 2), (first, second, third))
    found = layers.activations(np.array([[[[3.0, 5.0]]]]))
    # a = (3, 5), b = (10, 6), their sum (13, 11).
    np.testing.assert_array_equal(found["c"], [[123.0]])


def test_populations_are_found_by_name_and_index():
    network = small_cnn()
    assert len(network) == 3
    assert network["pool1"] is network[1] is network.populations[1]
    assert [population.name for population in network] == list(network.names)
    assert network.shapes == {
        "input": (2, 7, 6),
        "conv1": (3, 5, 5),
        "pool1": (3, 2, 2),
        "ip1": (4,),
    }
    message = "no population 'conv2'; there are conv1, pool1"
    with pytest.raises(KeyError, match=message):
        network["conv2"]


def test_projections_are_found_by_their_ends():
    network = small_cnn()
    assert [p.name for p in network.projections] == ["conv1", "pool1", "ip1"]
    (pool,) = network.into("pool1")
    assert (pool.source, pool.target) == ("conv1", "pool1")
    assert network.out_of("conv1") == (pool,)
    assert network.out_of("ip1") == ()
    assert [p.target for p in network.out_of(INPUT)] == ["conv1"]
    assert network.sources("ip1") == ("pool1",)
    assert network.depths == {INPUT: 0, "conv1": 1, "pool1": 2, "ip1": 3}
    assert [p.is_average for p in network.projections] == [False, True, False]
    assert not any(network.is_gate(name) for name in network.names)


def test_table_of_populations():
    text = str(small_cnn())
    rows = [line.split() for line in text.splitlines()]
    # 75 neurons with 12 taps each; 12 neurons with 4 inputs each; 12 inputs to 4.
    assert ["input", "image", "2x7x6", "84"] in rows
    assert ["conv1", "Conv2d", "input", "3x5x5", "75", "900", "36"] in rows
    assert ["pool1", "AvgPool2d", "conv1", "3x2x2", "12", "48", "0"] in rows
    assert ["ip1", "Linear", "pool1", "4", "4", "48", "52"] in rows
    assert ["total", "175", "996", "88"] in rows
    assert small_cnn().n_synapses == 996


def test_populations_need_unique_names():
    with pytest.raises(InputError, match="two populations are named 'conv1'"):
        Layers((2, 7, 6), (conv(), conv("conv1", "conv1", shape=(3, 5, 5))))
    with pytest.raises(InputError, match="two populations are named 'input'"):
        Layers((2, 7, 6), (conv(INPUT),))


def test_projections_need_unique_names():
    population, (projection,) = conv()
    with pytest.raises(InputError, match="two projections have one name: conv1, conv1"):
        Network((2, 7, 6), (population,), (projection, projection))


def test_populations_read_what_comes_before_them():
    with pytest.raises(InputError, match="conv1: reads 'later'"):
        Layers((2, 7, 6), (conv(source="later"),))
    with pytest.raises(InputError, match="conv1: reads 'input' of shape"):
        Layers((2, 6, 7), (conv(),))
    with pytest.raises(InputError, match="at least one population"):
        Layers((2, 7, 6), ())


def test_projections_reach_what_is_there():
    population, (projection,) = conv()
    for changed in (
        {"target": "conv2"},
        {"target": INPUT},
        {"connection": projection.connection.moved(0, 4)},
    ):
        other = dataclasses.replace(projection, **changed)
        second = dataclasses.replace(other, name="second")
        with pytest.raises(InputError, match="second: reads 'input' of shape"):
            Network((2, 7, 6), (population,), (projection, second))
        with pytest.raises(InputError, match="conv1"):
            Network((2, 7, 6), (population,), (other,))
    with pytest.raises(InputError, match="conv1: nothing before it reaches it"):
        Network((2, 7, 6), (population,), ())


@pytest.mark.parametrize("delay_s", [-1e-3, np.nan, np.inf, -np.inf])
def test_delays_out_of_range_are_refused(delay_s):
    _, (projection,) = conv()
    with pytest.raises(InputError, match="conv1: delay_s=.*expected 0 or more"):
        dataclasses.replace(projection, delay_s=delay_s)


def test_gates_have_a_rule_and_no_kernel():
    _, (projection,) = conv()
    with pytest.raises(InputError, match="conv1: a gate reads a window, without a k"):
        dataclasses.replace(projection, gate="gate")
    _, (pool,) = halving_pool("pool1", INPUT, (1, 2, 4))
    with pytest.raises(InputError, match="gate='max': expected 'gate' or 'largest-c"):
        dataclasses.replace(pool, gate="max")
    no_window = Connection((1, 2, 4))
    with pytest.raises(InputError, match="p: a gate reads a window"):
        Projection("p", INPUT, "q", no_window, gate="gate")


def test_parts_of_a_connection_have_to_fit():
    kernel = Dense((6,), np.zeros((2, 6)))
    window = connection_of(halving_pool("pool1", INPUT, (1, 2, 4))).window
    for arguments, message in (
        (((1, 2, 3), None, kernel), r"an input of shape \(6,\) reads \(1, 2, 3\)"),
        (((1, 2, 3), window), r"a window does not fit an input of shape \(1, 2, 3\)"),
        (((6,), window), r"a window does not fit an input of shape \(6,\)"),
        (((6,), None, kernel, 1, 2), "2 channels from channel 1 on don't fit into 2"),
        (((6,), None, kernel, 0, 1), "2 channels from channel 0 on don't fit into 1"),
        (((6,), None, kernel, -1, 3), "2 channels from channel -1 on don't fit into"),
    ):
        with pytest.raises(InputError, match=message):
            Connection(*arguments)


LARGE_KERNELS = {
    "dense": lambda w: Dense((24, 8, 8), w.reshape(-1, 1536)),
    "convolution": lambda w: Convolution((1536, 1, 2), w.reshape(-1, 1536, 1, 1)),
    "groups": lambda w: Convolution((3072, 1, 2), w.reshape(-1, 1536, 1, 1), groups=2),
}


@pytest.mark.parametrize("make", LARGE_KERNELS.values(), ids=LARGE_KERNELS)
def test_large_weights_of_float32_count_as_float64(make, monkeypatch):
    monkeypatch.setattr(dense, "PART", 2**18)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=720 * 1536).astype(np.float32)
    small, whole = make(weight), make(weight.astype(np.float64))
    assert small.weight.dtype == np.float32
    assert small.digest == whole.digest
    values = rng.random((2, *small.input_shape)).astype(np.float32)
    found, expected = small.drive(values), whole.drive(values)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)
    gain = rng.random(small.input_shape[0])
    changed = [
        [
            composed(ByChannel(kernel.input_shape, gain), kernel),
            composed(kernel, ByChannel(kernel.shape, np.full(kernel.shape[0], 3.0))),
            summed(kernel, kernel),
            kernel.on_channels(1, 2)[0],
        ]
        for kernel in (small, whole)
    ]
    for one, other in zip(*changed, strict=True):
        assert one.digest == other.digest
        assert one.weight.dtype == np.float64


def test_what_nobody_can_change_is_not_copied():
    weight = np.ones((3, 2, 1, 1))
    assert Convolution((2, 4, 4), weight).weight is not weight
    weight.setflags(write=False)
    assert Convolution((2, 4, 4), weight).weight is weight
