"""Nodes between populations: convolutions, linear layers and average pooling."""

from dataclasses import dataclass, replace
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


@dataclass(frozen=True, eq=False)
class Symmetric:
    """
    A convolution with the same padding on both sides.

    Attributes
    ----------
    weight : ndarray of float, shape (out_channels, in_channels, ky, kx)
        The kernel, without groups.
    stride, padding, dilation : tuple of int
        (y, x).
    """

    weight: npt.NDArray[Any]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    @property
    def is_square(self) -> bool:
        """Whether NIR's own check of types computes its sizes."""
        return self.weight.shape[2] == self.weight.shape[3]


@dataclass(frozen=True)
class Pool:
    """
    Pooling windows of one size.

    Attributes
    ----------
    size, stride, padding : tuple of int
        (y, x).
    share : float
        What an input counts in a window.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    share: float


def symmetric(layer: Convolution) -> Symmetric:
    """
    Write a convolution with equal padding and, where that can be, a square kernel.
    """
    weight = layer.ungrouped().weight
    before, after = zip(*layer.padding, strict=True)
    if before == after and weight.shape[2] == weight.shape[3]:
        return Symmetric(weight, layer.stride, before, layer.dilation)
    weight = _undilated(weight, layer.dilation)
    own = weight.shape[2:]
    largest = max(own) + 2 * max(*before, *after) + max(layer.stride) + 1
    for size in range(max(own), largest + 1):
        fronts = [_front(layer, axis, own[axis], size) for axis in (0, 1)]
        if None not in fronts:
            return _within(layer, weight, (size, size), fronts)
    sizes, fronts = [], []
    for axis in (0, 1):
        for size in range(own[axis], largest + 1):
            front = _front(layer, axis, own[axis], size)
            if front is not None:
                sizes.append(size)
                fronts.append(front)
                break
    return _within(layer, weight, tuple(sizes), fronts)


def _undilated(weight: npt.NDArray[Any], dilation: tuple[int, int]) -> Any:
    """Write the gaps of a dilated kernel as zeros."""
    spread = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    whole = np.zeros((*weight.shape[:2], *spread), weight.dtype)
    whole[:, :, :: dilation[0], :: dilation[1]] = weight
    return whole


def _front(layer: Convolution, axis: int, own: int, size: int) -> int | None:
    """How many zeros go before a kernel of one axis, if it is to have this size."""
    n_in, n_out = layer.input_shape[1 + axis], layer.shape[1 + axis]
    for front in range(size - own + 1):
        padding = layer.padding[axis][0] + front
        left = n_in + 2 * padding - size
        if left >= 0 and left // layer.stride[axis] + 1 == n_out:
            return front
    return None


def _within(
    layer: Convolution, weight: Any, sizes: Any, fronts: list[Any]
) -> Symmetric:
    whole = np.zeros((*weight.shape[:2], *sizes), weight.dtype)
    y, x = fronts
    whole[:, :, y : y + weight.shape[2], x : x + weight.shape[3]] = weight
    padding = layer.padding[0][0] + y, layer.padding[1][0] + x
    return Symmetric(whole, layer.stride, padding)


def bias_kernel(bias: npt.NDArray[Any]) -> Symmetric:
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
    return Symmetric(weight, (stride, stride), (padding[0], padding[1]))


def pool_of(name: str, window: Window) -> Pool:
    """Write average pooling with one size of windows."""
    shares = [matrix.max(1) for matrix in window.axes]
    axes = [
        _axis(window.spans(axis), matrix.shape[1])
        for axis, matrix in enumerate(window.axes)
    ]
    if None in axes or any(len({*share.tolist()}) > 1 for share in shares):
        raise InputError(
            f"{name}: average pooling with windows of different sizes or weights; "
            "a NIR graph can only say one size, one stride and one padding"
        )
    (ky, sy, py), (kx, sx, px) = axes  # type: ignore[misc]
    return Pool((ky, kx), (sy, sx), (py, px), float(shares[0][0] * shares[1][0]))


def _axis(spans: list[tuple[int, int]], n: int) -> tuple[int, int, int] | None:
    """Size, stride and padding of the windows of an axis."""
    first, end = spans[0]
    if len(spans) == 1:
        size = end - first
        return (size, max(size, n - size + 1), 0) if first == 0 else None
    for stride in {spans[-1][0] - spans[-2][0], spans[1][1] - end}:
        padding = (len(spans) - 1) * stride - spans[-1][0]
        size = end + padding
        if stride > 0 and padding >= 0 and spans == _spans(n, size, stride, padding):
            return size, stride, padding
    return None


def _spans(n: int, size: int, stride: int, padding: int) -> list[Any]:
    starts = range(-padding, n + padding - size + 1, stride)
    return [(max(start, 0), min(start + size, n)) for start in starts]


def _moving(matrix: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int, int, int] | None:
    """Write a matrix as taps that move: taps, stride, and zeros on both sides."""
    n_out, n_in = matrix.shape
    out, position = np.nonzero(matrix)
    for stride in range(1, n_in + 1):
        before = max(0, int((out * stride - position).max()))
        size = int((position - out * stride).max()) + before + 1
        after = max(0, (n_out - 1) * stride + size - n_in - before)
        if (n_in + before + after - size) // stride + 1 != n_out:
            continue
        tap = np.arange(n_in) - np.arange(n_out)[:, None] * stride + before
        inside = (tap >= 0) & (tap < size)
        taps = np.zeros(size)
        taps[tap[inside]] = matrix[inside]
        if (np.where(inside, taps[np.clip(tap, 0, size - 1)], 0) == matrix).all():
            return taps, stride, before, after
    return None


def pool_kernel(name: str, shape: tuple[int, ...], window: Window) -> Convolution:
    """Write a window as a convolution of each channel with itself."""
    along_y, along_x = (_moving(matrix) for matrix in window.axes)
    if along_y is None or along_x is None:
        raise InputError(
            f"{name}: average pooling with windows of different sizes or weights; "
            "a NIR graph can only say one size, one stride and one padding"
        )
    rows, step_y, *pad_y = along_y
    columns, step_x, *pad_x = along_x
    n = shape[0] ** 2 * len(rows) * len(columns)
    if n > MAX_KERNEL:
        raise InputError(
            f"{name}: average pooling of {shape[0]} channels as a convolution has "
            f"{n:,} weights; use pooling='avg' or pooling='sum'"
        )
    weight = np.zeros((shape[0], shape[0], len(rows), len(columns)))
    weight[np.arange(shape[0]), np.arange(shape[0])] = np.outer(rows, columns)
    padding = (pad_y[0], pad_y[1]), (pad_x[0], pad_x[1])
    return Convolution(shape, weight, (step_y, step_x), padding)


def pool_window(shape: tuple[int, ...], pool: Pool) -> Window:
    """Make the window of average pooling."""
    axes = []
    shares = pool.share, 1.0
    sizes = zip(shape[1:], pool.size, pool.stride, pool.padding, shares, strict=True)
    for n, size, stride, padding, share in sizes:
        spans = pool_spans(
            n, (n + 2 * padding - size) // stride + 1, size, stride, padding
        )
        axes.append(span_matrix(n, spans, [share] * len(spans)))
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
    sizes = weight.shape[2], weight.shape[3]
    pool = Pool(sizes, kernel.stride, padding, float(weight.flat[0]))
    window = pool_window(kernel.input_shape, pool)
    fits = (len(window.rows), len(window.columns)) == kernel.shape[1:]
    return window if fits else None


def averaged(name: str, window: Window, value: Value) -> Value:
    """Average a value, without neurons for that."""
    found = value.through(Connection(value.shape, window), name)
    if isinstance(found, Term):
        raise InputError(f"{found.where}: no neurons between it and the pooling {name}")
    return found
