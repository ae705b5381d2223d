"""Nodes between populations: convolutions, linear layers and average pooling."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.nir.nodes import pair
from cnn2snn_brian.projections import (
    Connection,
    Convolution,
    Dense,
    Term,
    Value,
    Window,
    by_channel,
    pool_spans,
    span_matrix,
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
    #: Of each axis, by size, how many zeros go before the kernel.
    fronts: list[dict[int, int]] = [{}, {}]
    for axis, found in enumerate(fronts):
        n_in, n_out = kernel.input_shape[1 + axis], kernel.shape[1 + axis]
        for size in range(spread[axis], largest + 1):
            for front in range(size - spread[axis] + 1):
                left = n_in + 2 * (before[axis] + front) - size
                if left >= 0 and left // kernel.stride[axis] + 1 == n_out:
                    found.setdefault(size, front)
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
    size = max(sizes) if stride == 1 else 2 * max(sizes)
    if stride == 1:
        padding = [(size + n - 2) // 2 for n in sizes]
    else:
        padding = [n - 1 + size // 2 for n in sizes]
    weight = np.zeros((channels, 1, size, size), bias.dtype)
    y, x = (
        np.asarray(p - stride * np.arange(n))
        for p, n in zip(padding, sizes, strict=True)
    )
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
        is_long = size > longest + max(before, after) or before >= size
        if is_long or (n_in + before + after - size) // stride + 1 != n_out:
            continue
        tap = np.arange(n_in) - np.arange(n_out)[:, None] * stride + before
        inside = (tap >= 0) & (tap < size)
        taps = np.zeros(size)
        taps[tap[inside]] = matrix[inside]
        if (np.where(inside, taps[np.clip(tap, 0, size - 1)], 0) == matrix).all():
            return taps, stride, before, after
    return None


def moving(name: str, window: Window) -> tuple[Any, ...]:
    """Write average pooling as taps that move, of y and of x."""
    axes = tuple(_moving(matrix) for matrix in window.axes)
    if None in axes:
        raise InputError(
            f"{name}: average pooling with windows of different sizes or weights; "
            "a NIR graph can only say one size, one stride and one padding"
        )
    return axes


def pool_of(name: str, window: Window) -> tuple[Any, float]:
    """Write average pooling as size, stride and padding, and what an input counts."""
    axes = moving(name, window)
    if any(len({*taps}) > 1 for taps, *_ in axes) or any(
        # With the same padding on both sides there have to be as many windows.
        (matrix.shape[1] + 2 * before - len(taps)) // stride + 1 != len(matrix)
        for (taps, stride, before, _), matrix in zip(axes, window.axes, strict=True)
    ):
        raise InputError(
            f"{name}: average pooling with windows of different sizes or weights; "
            "a NIR node can only say one size, one stride and one padding"
        )
    sizes = [np.array([len(axis[0]) for axis in axes])]
    sizes += [np.array([axis[k] for axis in axes]) for k in (1, 2)]
    return sizes, float(axes[0][0][0] * axes[1][0][0])


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
    padding = (pad_y[0], pad_y[1]), (pad_x[0], pad_x[1])
    return Convolution(shape, weight, (step_y, step_x), padding)


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


def _finite(name: str, what: str, value: Any) -> Any:
    array = np.asarray(value, np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: {what} has values that are not finite")
    return array


def _convolution(name: str, node: Any, value: Value) -> Convolution:
    """Read the kernel of a node that reads the whole value."""
    weight = _finite(name, "weight", node.weight)
    groups = int(node.groups)
    shape = value.shape
    is_map = len(shape) == 3 and not value.is_flat
    if not is_map or weight.ndim != 4 or weight.shape[1] * groups != shape[0]:
        raise InputError(
            f"{name}: a kernel of shape {weight.shape} in {groups} groups on values of "
            f"shape {shape}"
        )
    dilation = pair(node.dilation)
    padding: Any = node.padding
    if isinstance(padding, bytes):
        padding = padding.decode()
    if isinstance(padding, str) and padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        sides: Any = tuple((n // 2, n - n // 2) for n in total)
    elif isinstance(padding, str):
        sides = ((0, 0), (0, 0))
    else:
        sides = tuple((n, n) for n in pair(padding))
    return Convolution(shape, weight, pair(node.stride), sides, dilation, groups)


def _own_channels(layer: Convolution) -> Convolution:
    """Write a convolution of each channel with itself as one in groups."""
    weight = layer.weight
    n_out, n_in = weight.shape[:2]
    if layer.groups > 1 or n_out != n_in or n_in == 1:
        return layer
    others = np.abs(weight).max(axis=(2, 3))
    np.fill_diagonal(others, 0)
    if others.any():
        return layer
    diagonal = weight[np.arange(n_in), np.arange(n_in)]
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
    return replace(
        layer,
        weight=layer.weight[:, :, spans[0], spans[1]],
        padding=(padding[0], padding[1]),
    )


def convolved(name: str, node: Any, value: Value) -> Value:
    """Let a Conv2d node read a value."""
    kernel = _convolution(name, node, value)
    given = _finite(name, "bias", node.bias)
    bias, n_biases = None, given.size if given.any() else 0
    if n_biases:
        bias = np.broadcast_to(by_channel(given.ravel(), kernel.shape), kernel.shape)
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
    return _through(connection, name, value, bias, n_biases)


def multiplied(name: str, node: Any, value: Value) -> Value:
    """Let a Linear or Affine node read a value."""
    weight = _finite(name, "weight", node.weight)
    n_in = int(np.prod(value.shape))
    is_flat = value.is_flat or len(value.shape) == 1
    if weight.ndim != 2 or weight.shape[1] != n_in or not is_flat:
        raise InputError(
            f"{name}: weights of shape {weight.shape} on values of shape {value.shape}"
            + ("" if is_flat else "; a Flatten node has to come before it")
        )
    given = getattr(node, "bias", None)
    bias = None if given is None else _finite(name, "bias", given)
    bias = bias if bias is not None and bias.any() else None
    connection = Connection(value.shape, kernel=Dense(value.shape, weight))
    n_biases = 0 if bias is None else bias.size
    return _through(connection, name, value, bias, n_biases)


def _through(connection: Connection, name: str, value: Value, *bias: Any) -> Value:
    found = value.through(connection, name, name, *bias)
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
    padding = kernel.padding[0][0], kernel.padding[1][0]
    window = pool_window(
        kernel.input_shape,
        weight.shape[2:],
        kernel.stride,
        padding,
        float(weight.flat[0]),
    )
    fits = (len(window.rows), len(window.columns)) == kernel.shape[1:]
    return window if fits else None


def averaged(name: str, window: Window, value: Value) -> Value:
    """Average a value, without neurons for that."""
    found = value.through(Connection(value.shape, window), name)
    if isinstance(found, Term):
        raise InputError(f"{found.where}: no neurons between it and the pooling {name}")
    return found
