"""Nodes between populations: convolutions, linear layers and average pooling."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.cnn import Term, Value, is_pointwise
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.nir.nodes import pair
from cnn2snn_brian.projections import AvgPool2d, Conv2d, Linear, ungrouped

#: Values of a kernel; above that, depthwise pooling is refused.
MAX_KERNEL = 2**27


@dataclass(frozen=True, eq=False)
class Kernel:
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


def symmetric(layer: Conv2d) -> Kernel:
    """
    Write a convolution with equal padding and, where that can be, a square kernel.
    """
    weight = ungrouped(layer) if layer.groups > 1 else layer.weight
    before, after = zip(*layer.padding, strict=True)
    if before == after and weight.shape[2] == weight.shape[3]:
        return Kernel(weight, layer.stride, before, layer.dilation)
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


def _front(layer: Conv2d, axis: int, own: int, size: int) -> int | None:
    """How many zeros go before a kernel of one axis, if it is to have this size."""
    n_in, n_out = layer.input_shape[1 + axis], layer.shape[1 + axis]
    for front in range(size - own + 1):
        padding = layer.padding[axis][0] + front
        left = n_in + 2 * padding - size
        if left >= 0 and left // layer.stride[axis] + 1 == n_out:
            return front
    return None


def _within(layer: Conv2d, weight: Any, sizes: Any, fronts: list[Any]) -> Kernel:
    whole = np.zeros((*weight.shape[:2], *sizes), weight.dtype)
    y, x = fronts
    whole[:, :, y : y + weight.shape[2], x : x + weight.shape[3]] = weight
    padding = layer.padding[0][0] + y, layer.padding[1][0] + x
    return Kernel(whole, layer.stride, padding)


def bias_kernel(bias: npt.NDArray[Any]) -> Kernel:
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
    return Kernel(weight, (stride, stride), (padding[0], padding[1]))


def pool_of(pool: AvgPool2d) -> Pool:
    """Write average pooling with one size of windows."""
    shares = {*pool.row_weights}, {*pool.column_weights}
    axes = [
        _axis(pool.rows, pool.input_shape[1]),
        _axis(pool.columns, pool.input_shape[2]),
    ]
    if None in axes or any(len(share) > 1 for share in shares):
        raise InputError(
            f"{pool.name}: average pooling with windows of different sizes or weights; "
            "a NIR graph can only say one size, one stride and one padding"
        )
    (ky, sy, py), (kx, sx, px) = axes  # type: ignore[misc]
    share = float(pool.row_weights[0] * pool.column_weights[0])
    return Pool((ky, kx), (sy, sx), (py, px), share)


def _axis(spans: tuple[tuple[int, int], ...], n: int) -> tuple[int, int, int] | None:
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


def _spans(n: int, size: int, stride: int, padding: int) -> tuple[Any, ...]:
    starts = range(-padding, n + padding - size + 1, stride)
    return tuple((max(start, 0), min(start + size, n)) for start in starts)


def pool_kernel(pool: AvgPool2d) -> Conv2d:
    """Write average pooling as a convolution of each channel with itself."""
    found = pool_of(pool)
    channels = pool.shape[0]
    if channels**2 * found.size[0] * found.size[1] > MAX_KERNEL:
        raise InputError(
            f"{pool.name}: average pooling of {channels} channels as a convolution has "
            f"{channels**2 * found.size[0] * found.size[1]:,} weights; use "
            "pooling='avg' or pooling='sum'"
        )
    weight = np.zeros((channels, channels, *found.size))
    weight[np.arange(channels), np.arange(channels)] = found.share
    y, x = found.padding
    return Conv2d(
        pool.name,
        pool.inputs,
        pool.input_shape,
        weight,
        stride=found.stride,
        padding=((y, y), (x, x)),
    )


def pool_layer(
    name: str, source: str, shape: tuple[int, int, int], pool: Pool
) -> AvgPool2d:
    """Make average pooling of windows of one size."""
    rows, columns = (
        _spans(shape[1 + axis], pool.size[axis], pool.stride[axis], pool.padding[axis])
        for axis in (0, 1)
    )
    return AvgPool2d(
        name,
        (source,),
        shape,
        rows,
        columns,
        (pool.share,) * len(rows),
        (1.0,) * len(columns),
    )


def _finite(name: str, what: str, value: Any) -> Any:
    array = np.asarray(value, np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: {what} has values that are not finite")
    return array


def _conv2d(name: str, node: Any, value: Value) -> Conv2d:
    """Read a node as a layer that reads the whole value."""
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
        sides = tuple((n // 2, n - n // 2) for n in total)
    elif isinstance(padding, str):
        sides = ((0, 0), (0, 0))
    else:
        sides = tuple((n, n) for n in pair(padding))
    layer = Conv2d(
        name,
        ("",),
        shape,  # type: ignore[arg-type]
        weight,
        stride=pair(node.stride),
        padding=sides,  # type: ignore[arg-type]
        dilation=dilation,
        groups=groups,
    )
    bias = _finite(name, "bias", node.bias)
    if not bias.any():
        return layer
    full = np.broadcast_to(bias.reshape(-1, 1, 1), layer.shape)
    return replace(layer, bias=full, n_bias_parameters=bias.size)


def _own_channels(layer: Conv2d) -> Conv2d:
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


def _cropped(layer: Conv2d) -> Conv2d:
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
    layer = _conv2d(name, node, value)
    if not layer.weight.any():
        # No more than a constant.
        constant: Any = np.zeros(layer.shape) if layer.bias is None else layer.bias
        return Value(layer.shape, (), constant, layer.n_bias_parameters)
    layer = _cropped(_own_channels(layer))
    plain = replace(layer, bias=None, n_bias_parameters=0)
    reached = np.flatnonzero(layer.weight.any(axis=(1, 2, 3)))
    start, end = int(reached[0]), int(reached[-1]) + 1
    if layer.groups > 1 or end - start == len(layer.weight):
        return _through(layer, name, value)
    # Channels that nothing reaches get no synapses.
    narrow = replace(plain, weight=layer.weight[start:end])
    found = _through(narrow, name, replace(value, bias=None))
    terms = tuple(replace(term, start=term.start + start) for term in found.terms)
    bias: Any = layer.bias
    if value.bias is not None:
        before = plain.drive(value.bias[None])[0]
        bias = before if bias is None else before + bias
    n_biases = value.n_biases + layer.n_bias_parameters
    return Value(layer.shape, terms, bias, n_biases)


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
    bias = getattr(node, "bias", None)
    bias = None if bias is None else _finite(name, "bias", bias)
    bias = bias if bias is not None and bias.any() else None
    n_bias = 0 if bias is None else bias.size
    layer = Linear(name, ("",), value.shape, weight, bias, n_bias)
    return _through(layer, name, value)


def _through(layer: Conv2d | Linear, name: str, value: Value) -> Value:
    found = value.through(layer, name, name)
    if isinstance(found, Term):
        raise InputError(
            f"{found.where}: no neurons between it and {name}, and one map in place of "
            "the two would have many more weights"
        )
    return found


def pool_in(name: str, node: Any, value: Value) -> Pool | None:
    """Read a Conv2d node as average pooling, if it does nothing else."""
    layer = _cropped(_own_channels(_conv2d(name, node, value)))
    weight = layer.weight
    is_pool = (
        layer.bias is None
        and layer.groups == len(weight) == layer.input_shape[0]
        and weight.shape[2:] != (1, 1)
        and layer.dilation == (1, 1)
        and bool((weight == weight.flat[0]).all())
        and weight.flat[0] > 0
    )
    if not is_pool:
        return None
    for before, after in layer.padding:
        if after > before:
            return None
    pool = Pool(
        weight.shape[2:],
        layer.stride,
        (layer.padding[0][0], layer.padding[1][0]),
        float(weight.flat[0]),
    )
    shape = pool_layer(name, "", layer.input_shape, pool).shape
    return pool if shape == layer.shape else None


def averaged(
    name: str, pool: Pool, value: Value, taken: Any
) -> tuple[Value, list[AvgPool2d]]:
    """Average a value, without neurons for that."""
    if len(value.shape) != 3 or value.is_flat:
        raise InputError(f"{name}: average pooling of values of shape {value.shape}")
    terms: list[Term] = []
    pools: list[AvgPool2d] = []
    for term in value.terms:
        changed = term.map
        if changed is not None and not is_pointwise(changed):
            raise InputError(
                f"{term.where}: no neurons between it and the pooling {name}"
            )
        unused = name
        while unused in {*taken, *(made.name for made in pools)}:
            unused += "_"
        shape: Any = term.source_shape
        made = pool_layer(unused, term.source, shape, pool)
        pools.append(made)
        if isinstance(changed, Conv2d):
            changed = replace(changed, input_shape=made.shape)
        terms.append(
            replace(term, source=made.name, source_shape=made.shape, map=changed)
        )
    whole = pool_layer(name, "", value.shape, pool)  # type: ignore[arg-type]
    bias = None if value.bias is None else whole.drive(value.bias[None])[0]
    return replace(value, shape=whole.shape, terms=tuple(terms), bias=bias), pools
