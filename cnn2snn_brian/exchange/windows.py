"""
Kernels and pooling windows as NIR can say them.

NIR pads both sides alike, and computes sizes as if kernels were square. Other kernels
are written as larger ones with zeros. Windows of average pooling are one by one here;
there they have one size and one stride.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.placed import ungrouped

__all__ = [
    "Kernel",
    "Pool",
    "bias_kernel",
    "pool_kernel",
    "pool_layer",
    "pool_of",
    "symmetric",
]

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

    Parameters
    ----------
    layer : Conv2d
        The convolution.

    Returns
    -------
    Kernel
        A kernel that does the same, with zeros around it if need be.
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
    """
    Make a convolution that turns one constant into a bias for each position.

    Parameters
    ----------
    bias : ndarray of float, shape (channels, height, width)
        The biases.

    Returns
    -------
    Kernel
        Of a map of one pixel of 1 it makes the biases.
    """
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
    """
    Write average pooling with one size of windows.

    Parameters
    ----------
    pool : AvgPool2d
        The pooling.

    Returns
    -------
    Pool
        Its windows.

    Raises
    ------
    InputError
        If windows have different sizes, strides or weights, as at the border with
        ``ceil_mode`` or without ``count_include_pad``.
    """
    shares = {*pool.row_weights}, {*pool.column_weights}
    axes = [
        _axis(pool.rows, pool.input_shape[1]),
        _axis(pool.columns, pool.input_shape[2]),
    ]
    if None in axes or any(len(share) > 1 for share in shares):
        message = (
            f"{pool.name}: average pooling with windows of different sizes or weights; "
            "a NIR graph can only say one size, one stride and one padding"
        )
        raise InputError(message)
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
    """
    Write average pooling as a convolution of each channel with itself.

    Parameters
    ----------
    pool : AvgPool2d
        The pooling.

    Returns
    -------
    Conv2d
        The convolution, without groups.

    Raises
    ------
    InputError
        If windows differ, or the kernel would be huge.
    """
    found = pool_of(pool)
    channels = pool.shape[0]
    if channels**2 * found.size[0] * found.size[1] > MAX_KERNEL:
        message = (
            f"{pool.name}: average pooling of {channels} channels as a convolution has "
            f"{channels**2 * found.size[0] * found.size[1]:,} weights; use "
            "pooling='avg' or pooling='sum'"
        )
        raise InputError(message)
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
    """
    Make average pooling of windows of one size.

    Parameters
    ----------
    name, source : str
        Its name, and that of what it reads.
    shape : tuple of int
        (channels, height, width) of that.
    pool : Pool
        The windows.

    Returns
    -------
    AvgPool2d
        The pooling.

    Raises
    ------
    InputError
        If there is no window.
    """
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
