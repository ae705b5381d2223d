"""Nodes between populations: convolutions, linear layers and average pooling."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import real_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    Connection,
    Convolution,
    Dense,
    Term,
    Value,
    Window,
    by_channel,
    pair,
    pool_spans,
    span_matrix,
    zeros_around,
)

#: Values of a kernel; above that, depthwise pooling is refused.
MAX_KERNEL = 2**27


def symmetric(grouped: Convolution) -> Convolution:
    """Write a kernel with equal padding and, where that can be, as a square."""
    kernel: Any = grouped.ungrouped()
    before, after = zip(*kernel.padding, strict=True)
    own = kernel.weight.shape[2:]
    if before == after and own[0] == own[1]:
        return kernel  # type: ignore[no-any-return]
    # The gaps of a dilated kernel as zeros.
    spread = [d * (k - 1) + 1 for d, k in zip(kernel.dilation, own, strict=True)]
    largest = max(spread) + 2 * max(*before, *after) + max(kernel.stride) + 1
    #: Of each axis, by size, how many zeros go before the kernel, at least.
    fronts = [
        {
            size: front
            for size in range(spread[axis], largest + 1)
            for front in reversed(range(size - spread[axis] + 1))
            for left in [n_in + 2 * (before[axis] + front) - size]
            if left >= 0 and left // kernel.stride[axis] + 1 == kernel.shape[1 + axis]
        }
        for axis, n_in in enumerate(kernel.input_shape[1:])
    ]
    square = sorted(fronts[0].keys() & fronts[1].keys())
    sizes = square[:1] * 2 if square else [min(found) for found in fronts]
    y, x = (found[size] for found, size in zip(fronts, sizes, strict=True))
    weight = np.zeros((*kernel.weight.shape[:2], *sizes), kernel.weight.dtype)
    rows = slice(y, y + spread[0], kernel.dilation[0])
    columns = slice(x, x + spread[1], kernel.dilation[1])
    weight[:, :, rows, columns] = kernel.weight
    padding = (before[0] + y,) * 2, (before[1] + x,) * 2
    return Convolution(kernel.input_shape, weight, kernel.stride, padding)


def bias_kernel(bias: npt.NDArray[Any]) -> Convolution:
    """Make a convolution that turns one constant into a bias for each position."""
    # Position y reads the pixel with tap padding - stride * y.
    channels, *sizes = bias.shape
    stride = 1 if (sizes[0] - sizes[1]) % 2 == 0 else 2
    size = stride * max(sizes)
    padding = [(size + n - 2) // 2 if stride == 1 else n - 1 + size // 2 for n in sizes]
    weight = np.zeros((channels, 1, size, size), bias.dtype)
    y, x = (p - stride * np.arange(n) for p, n in zip(padding, sizes, strict=True))
    weight[:, 0, y[:, None], x] = bias
    sides = (padding[0],) * 2, (padding[1],) * 2
    return Convolution((1, 1, 1), weight, (stride, stride), sides)


def _moving(matrix: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int, int, int] | None:
    """Write a matrix as taps that move: taps, stride, and zeros on both sides."""
    n_out, n_in = matrix.shape
    out, position = np.nonzero(matrix)
    longest = int((matrix != 0).sum(1).max())
    for stride in range(1, n_in + 1):
        before = max(0, int((out * stride - position).max()))
        size = int((position - out * stride).max()) + before + 1
        after = max(0, (n_out - 1) * stride + size - n_in - before)
        zeros = max(before, after)
        is_long = size > longest + zeros or zeros >= longest
        if is_long or (n_in + before + after - size) // stride + 1 != n_out:
            continue
        tap = np.arange(n_in) - np.arange(n_out)[:, None] * stride + before
        inside = (tap >= 0) & (tap < size)
        taps = np.zeros(size)
        taps[tap[inside]] = matrix[inside]
        if (np.where(inside, taps[np.clip(tap, 0, size - 1)], 0) == matrix).all():
            return taps, stride, before, after
    return None


def moving(name: str, window: Window, where: str = "graph") -> tuple[Any, ...]:
    """Write average pooling as taps that move, of y and of x."""
    axes = tuple(_moving(matrix) for matrix in window.axes)
    # A node has as many zeros on both sides; those that no window reaches are no harm.
    is_node = all(
        axis is None
        or len({*axis[0]}) == 1
        and (matrix.shape[1] + 2 * axis[2] - len(axis[0])) // axis[1] + 1 == len(matrix)
        for axis, matrix in zip(axes, window.axes, strict=True)
    )
    if None in axes or (where == "node" and not is_node):
        raise InputError(
            f"{name}: average pooling with windows of different sizes or weights; "
            f"a NIR {where} can only say one size, one stride and one padding"
        )
    return axes


def pool_of(name: str, window: Window) -> tuple[Any, float]:
    """Write average pooling as size, stride and padding, and what an input counts."""
    taps, *geometry = zip(*moving(name, window, "node"), strict=True)
    sizes = [np.array([len(axis) for axis in taps]), *map(np.array, geometry[:2])]
    return sizes, float(taps[0][0] * taps[1][0])


def pool_kernel(name: str, shape: tuple[int, ...], window: Window) -> Convolution:
    """Write a window as a convolution of each channel with itself."""
    (rows, step_y, *pad_y), (columns, step_x, *pad_x) = moving(name, window)
    n = shape[0] ** 2 * len(rows) * len(columns)
    if n > MAX_KERNEL:
        raise InputError(
            f"{name}: average pooling of {shape[0]} channels as a convolution has "
            f"{n:,} weights; use pooling='avg' or pooling='sum'"
        )
    each = np.arange(shape[0])
    weight = np.zeros((shape[0], shape[0], len(rows), len(columns)))
    weight[each, each] = np.outer(rows, columns)
    return Convolution(shape, weight, (step_y, step_x), (tuple(pad_y), tuple(pad_x)))


def pool_window(
    shape: tuple[int, ...], size: Any, stride: Any, padding: Any, share: float
) -> Window:
    """Make the window of average pooling."""
    axes = []
    geometry = shape[1:], pair(size), pair(stride), pair(padding), (share, 1.0)
    for n, kernel, step, before, each in zip(*geometry, strict=True):
        n_out = (n + 2 * before - kernel) // step + 1
        spans = pool_spans(n, n_out, kernel, step, before)
        axes.append(span_matrix(n, spans, [each] * n_out))
    return Window(*axes)


def _convolution(name: str, node: Any, value: Value) -> Convolution:
    """Read the kernel of a node that reads the whole value."""
    weight = real_numbers(f"{name}: weight", node.weight)
    groups, shape = int(node.groups), value.shape
    is_map = len(shape) == 3 and not value.is_flat
    if not is_map or weight.ndim != 4 or weight.shape[1] * groups != shape[0]:
        raise InputError(
            f"{name}: a kernel of shape {weight.shape} in {groups} groups on values of "
            f"shape {shape}"
        )
    dilation, padding = pair(node.dilation), node.padding
    padding = padding.decode() if isinstance(padding, bytes) else padding
    sides = zeros_around(padding, dilation, weight.shape[2:])
    return Convolution(shape, weight, pair(node.stride), sides, dilation, groups)


def _own_channels(layer: Convolution) -> Convolution:
    """Write a convolution of each channel with itself as one in groups."""
    weight = layer.weight
    n_out, n_in = weight.shape[:2]
    if layer.groups > 1 or n_out != n_in or n_in == 1:
        return layer
    each = np.arange(n_in)
    diagonal = weight[each, each]
    if np.count_nonzero(weight) > np.count_nonzero(diagonal):
        return layer
    return replace(layer, weight=diagonal[:, None], groups=n_in)


def _cropped(layer: Convolution) -> Convolution:
    """Leave out rows and columns of zeros around a kernel."""
    used: Any = layer.weight.any(axis=(0, 1))
    if not used.any():
        return layer
    spans, padding = [], []
    for axis in (0, 1):
        taps = np.flatnonzero(used.any(axis=1 - axis))
        first, end = int(taps[0]), int(taps[-1]) + 1
        stride, dilation = layer.stride[axis], layer.dilation[axis]
        n_in, n_out = layer.input_shape[1 + axis], layer.shape[1 + axis]
        before = layer.padding[axis][0] - dilation * first
        reach = (n_out - 1) * stride + dilation * (end - first - 1) + 1
        after = max(0, reach - n_in - before)
        if before < 0 or (n_in + before + after - reach) // stride:
            return layer
        spans.append(slice(first, end))
        padding.append((before, after))
    weight = layer.weight[:, :, spans[0], spans[1]]
    return replace(layer, weight=weight, padding=(padding[0], padding[1]))


def convolved(name: str, node: Any, value: Value) -> Value:
    """Let a Conv2d node read a value."""
    kernel = _convolution(name, node, value)
    bias, n_biases = _bias(name, node, kernel.shape)
    if not kernel.weight.any():
        # No more than a constant.
        constant = np.zeros(kernel.shape) if bias is None else bias
        return Value(kernel.shape, (), constant, n_biases)
    channels = len(kernel.weight)
    kernel, start = _cropped(_own_channels(kernel)), 0
    if kernel.groups == 1:
        # Channels that nothing reaches get no synapses.
        reached = np.flatnonzero(kernel.weight.any(axis=(1, 2, 3)))
        start, end = int(reached[0]), int(reached[-1]) + 1
        kernel = replace(kernel, weight=kernel.weight[start:end])
    connection = Connection(kernel.input_shape, None, kernel, start, channels)
    return through(name, value, connection, name, bias, n_biases)


def multiplied(name: str, node: Any, value: Value) -> Value:
    """Let a Linear or Affine node read a value."""
    weight = real_numbers(f"{name}: weight", node.weight)
    n_in = int(np.prod(value.shape))
    is_flat = value.is_flat or len(value.shape) == 1
    if weight.ndim != 2 or weight.shape[1] != n_in or not is_flat:
        raise InputError(
            f"{name}: weights of shape {weight.shape} on values of shape {value.shape}"
            + ("" if is_flat else "; a Flatten node has to come before it")
        )
    connection = Connection(value.shape, kernel=Dense(value.shape, weight))
    bias = _bias(name, node, connection.shape)
    return through(name, value, connection, name, *bias)


def _bias(name: str, node: Any, shape: tuple[int, ...]) -> tuple[Any, int]:
    """Read a bias, if there is any, and its number of values."""
    held = getattr(node, "bias", None)
    given = real_numbers(f"{name}: bias", 0.0 if held is None else held)
    if not given.any():
        return None, 0
    return np.broadcast_to(by_channel(given.ravel(), shape), shape), given.size


def through(name: str, value: Value, connection: Connection, *more: Any) -> Value:
    """Let a connection read a value, without neurons for that."""
    found = value.through(connection, name, *more)
    if isinstance(found, Term):
        raise InputError(
            f"{found.where}: no neurons between it and {name}, and one map in place of "
            "the two would have many more weights"
        )
    return found


def pool_in(name: str, node: Any, value: Value) -> Window | None:
    """Read a Conv2d node as average pooling, if it does nothing else."""
    kernel = _cropped(_own_channels(_convolution(name, node, value)))
    weight = kernel.weight
    is_pool = (
        not np.any(node.bias)
        and kernel.groups == len(weight) == kernel.input_shape[0]
        and weight.shape[2:] != (1, 1)
        and kernel.dilation == (1, 1)
        and bool((weight == weight.flat[0]).all())
        and weight.flat[0] > 0
    )
    if not is_pool or any(after > before for before, after in kernel.padding):
        return None
    padding, share = [before for before, _ in kernel.padding], float(weight.flat[0])
    geometry = weight.shape[2:], kernel.stride, padding
    window = pool_window(kernel.input_shape, *geometry, share)
    fits = (len(window.rows), len(window.columns)) == kernel.shape[1:]
    return window if fits else None
