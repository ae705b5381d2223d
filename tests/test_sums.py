"""Many spikes at once in compiled programs: sums of weights, against numpy loops."""

import brian2
import numpy as np
import pytest
from brian2 import NeuronGroup, TimedArray, ms
from by_hand import pooling

from cnn2snn_brian.brian.shared_synapses import SharedSynapses
from cnn2snn_brian.projections import Connection, Convolution, Dense, then

#: Share of neurons that spike in each step: few and many.
RATES = (0.1, 0.6, 0.0, 1.0, 0.4)


def dyadic(*shape):
    """Draw multiples of 1/64, whose sums are exact."""
    return np.random.default_rng(len(shape)).integers(-24, 41, shape) / 64


def convolution(shape, kernel, stride=(1, 1), pad=((0, 0), (0, 0)), **options):
    options = {"stride": stride, "padding": pad, **options}
    kernel = Convolution(shape, dyadic(*kernel), **options)
    return Connection(shape, kernel=kernel)


def pooled(shape, make):
    """Pool with 2x2 windows that overlap, two of three columns."""
    rows = tuple((k, k + 2) for k in range(shape[1] - 1))
    columns = tuple((k, k + 2) for k in range(0, shape[2] - 1, 2))
    halves = [(0.5,) * len(windows) for windows in (rows, columns)]
    pool = pooling(shape, rows, columns, *halves)
    return then(pool, make(pool.shape))


def dense(shape, n_out):
    return Connection(shape, kernel=Dense(shape, dyadic(n_out, int(np.prod(shape)))))


WIDE = ((1, 2), (0, 3))
LAYERS = {
    "3 channels": convolution((3, 7, 6), (12, 3, 3, 3)),
    "5 channels": convolution((5, 6, 7), (5, 5, 3, 7), pad=((1, 1), (3, 3))),
    "33 channels": convolution((33, 5, 4), (33, 33, 3, 5), pad=((1, 1), (2, 2))),
    "7 registers": convolution((6, 4, 7), (11, 6, 2, 5), pad=WIDE),
    "strided": convolution((6, 7, 6), (33, 6, 3, 2), stride=(2, 3), pad=WIDE),
    "dilated": convolution((8, 9, 8), (40, 8, 2, 3), dilation=(3, 2)),
    "groups": convolution((10, 6, 5), (66, 5, 3, 3), groups=2, pad=((1, 1), (1, 1))),
    "1x1": convolution((9, 3, 4), (35, 9, 1, 1)),
    "long": convolution((4, 5, 9), (43, 4, 1, 7), pad=((0, 0), (3, 3))),
    "rows": convolution((9, 6, 7), (48, 9, 3, 5), pad=((2, 0), (1, 3))),
    "rows of 1x1": convolution((17, 3, 4), (16, 17, 1, 1)),
    "long rows": convolution((6, 5, 9), (32, 6, 4, 7), pad=((0, 3), (6, 2))),
    "blocks of rows": convolution((90, 5, 6), (80, 90, 3, 3), pad=((1, 1), (1, 1))),
    "strided rows": convolution((20, 7, 9), (32, 20, 3, 3), (2, 2), ((1, 1), (1, 1))),
    "far rows": convolution((18, 8, 7), (48, 18, 1, 1), (2, 3)),
    "rows apart": convolution((9, 8, 11), (16, 9, 2, 2), (3, 3), ((1, 0), (1, 2))),
    "long strides": convolution((5, 9, 8), (144, 5, 4, 7), (2, 3), ((2, 1), (4, 5))),
    "strided subsets": convolution((2, 7, 8), (16, 2, 3, 5), (1, 2), ((1, 1), (2, 2))),
    "pooled strides": pooled(
        (34, 8, 11), lambda shape: convolution(shape, (64, 34, 3, 2), (3, 2))
    ),
    "subsets": convolution((3, 7, 6), (32, 3, 4, 5), pad=((1, 2), (4, 0))),
    "subsets of 1": convolution((1, 6, 8), (16, 1, 3, 2)),
    "linear": dense((5, 3, 4), 37),
    "flat": dense((45,), 101),
    "pooled": pooled(
        (5, 6, 7),
        lambda shape: convolution(shape, (33, 5, 3, 3), pad=((1, 1), (1, 1))),
    ),
    "pooled groups": pooled(
        (8, 6, 9), lambda shape: convolution(shape, (70, 4, 3, 2), groups=2)
    ),
    "pooled rows": pooled(
        (21, 6, 7),
        lambda shape: convolution(shape, (48, 21, 3, 3), pad=((1, 2), (0, 1))),
    ),
    "pooled blocks": pooled(
        (70, 6, 8), lambda shape: convolution(shape, (64, 70, 4, 3))
    ),
    "pooled linear": pooled((4, 4, 7), lambda shape: dense(shape, 37)),
}


def reached(connection, image):
    """Add what each input reaches, one position of the output after another."""
    layer = connection.kernel
    if connection.window is not None:
        _, height, width = image.shape
        cells = [
            [
                image[:, y : y + 2, x : x + 2].sum((1, 2)) / 4
                for x in range(0, width - 1, 2)
            ]
            for y in range(height - 1)
        ]
        image = np.moveaxis(np.array(cells), -1, 0)
    if isinstance(layer, Dense):
        return layer.weight @ image.ravel()
    out_channels, per_group, ky, kx = layer.weight.shape
    padded = np.pad(image, ((0, 0), *layer.padding))
    result = np.zeros(layer.shape)
    for channel, y, x in np.ndindex(result.shape):
        first = channel // (out_channels // layer.groups) * per_group
        y0, x0 = y * layer.stride[0], x * layer.stride[1]
        window = padded[
            first : first + per_group,
            y0 : y0 + ky * layer.dilation[0] : layer.dilation[0],
            x0 : x0 + kx * layer.dilation[1] : layer.dilation[1],
        ]
        result[channel, y, x] = (window * layer.weight[channel]).sum()
    return result


def neurons(array):
    """Order (..., channel, y, x) like neurons."""
    if array.ndim == 3:
        array = np.moveaxis(array, 0, -1)
    return array.ravel()


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("dtype", "processor", "every"),
    [
        (np.float32, "-march=native", 1),
        pytest.param(np.float64, "-msse2", 2, marks=pytest.mark.slow),
    ],
)
def test_sums_are_exact(tmp_path, dtype, processor, every):
    rng = np.random.default_rng(1)
    layers = {name: LAYERS[name] for name in list(LAYERS)[::every]}
    spikes = {
        name: np.array([rng.random(layer.input_shape) < rate for rate in RATES])
        for name, layer in layers.items()
    }
    by_neuron = [
        np.array([neurons(step) for step in found]) for found in spikes.values()
    ]
    brian2.set_device("cpp_standalone", directory=str(tmp_path / "cpp"))
    brian2.prefs.codegen.cpp.extra_compile_args_gcc = [
        *("-O3", "-ffast-math", "-fno-finite-math-only", processor, "-std=c++11")
    ]
    brian2.defaultclock.dt = 1 * ms
    played = TimedArray(np.concatenate(by_neuron, axis=1) * 1.0, dt=1 * ms)
    source = NeuronGroup(
        sum(found.shape[1] for found in by_neuron),
        "v : 1",
        threshold="t < 4.5*ms and played(t, i) > 0",
        namespace={"played": played},
    )
    net, first, targets = brian2.Network(source), 0, {}
    for k, (name, layer) in enumerate(layers.items()):
        part = source[first : first + by_neuron[k].shape[1]]
        first += by_neuron[k].shape[1]
        target = NeuronGroup(
            int(np.prod(layer.shape)), "v : 1", dtype=dtype, name=f"target{k}"
        )
        synapses = SharedSynapses(part, target, layer, delay=k % 3 * ms, dtype=dtype)
        net.add(target, synapses)
        targets[name] = target
    net.run((len(RATES) + 3) * ms)
    source_code = (tmp_path / "cpp").rglob("*synapses*codeobject*.cpp")
    written = [path.read_text() for path in source_code]
    for kind in ("sums", "columns"):
        assert sum(f"cnn2snn_{kind}::deliver<" in text for text in written) > 7 // every
    for name, layer in layers.items():
        expected = sum(reached(layer, step * 1.0) for step in spikes[name])
        np.testing.assert_array_equal(targets[name].v[:], neurons(expected), name)
