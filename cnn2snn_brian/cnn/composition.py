"""
Linear maps one after another, and side by side, as one.

Between two populations of neurons there is one linear map. Where a CNN has two maps
without a ReLU between them, they are composed if that is cheap.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.order import Shape
from cnn2snn_brian.layers.placed import ungrouped

__all__ = ["Map", "composed", "identity", "is_pointwise", "scaled", "summed"]

#: What may be between two populations, besides pooling.
Map = Conv2d | Linear


def identity(shape: Shape, gain: npt.NDArray[np.float64] | None = None) -> Map:
    """
    Connect each neuron with its like.

    Parameters
    ----------
    shape : tuple of int
        Shape of both populations.
    gain : ndarray of float, shape (channels,), optional
        Weight of each channel; 1 by default.

    Returns
    -------
    Conv2d or Linear
        A depthwise convolution of size 1, or a diagonal matrix.
    """
    each = np.ones(shape[0]) if gain is None else gain
    if len(shape) == 1:
        return Linear("", ("",), shape, np.diag(each))
    channels, height, width = shape
    weight = each.reshape(-1, 1, 1, 1)
    return Conv2d("", ("",), (channels, height, width), weight, groups=channels)


def scaled(layer: Map, gain: npt.NDArray[np.float64]) -> Map:
    """
    Multiply what each channel of a map gives.

    Parameters
    ----------
    layer : Conv2d or Linear
        The map.
    gain : ndarray of float, shape (channels,)
        A factor for each of its outputs' channels.

    Returns
    -------
    Conv2d or Linear
        The map with other weights.
    """
    by_output = gain.reshape((-1,) + (1,) * (layer.weight.ndim - 1))
    return replace(layer, weight=layer.weight * by_output)


def is_pointwise(layer: Map) -> bool:
    """
    Say whether a map treats all positions alike and apart.

    Parameters
    ----------
    layer : Conv2d or Linear
        The map.

    Returns
    -------
    bool
        Whether it is a convolution of size 1 without a stride and padding; it can
        change places with average pooling.
    """
    return (
        isinstance(layer, Conv2d)
        and layer.weight.shape[2:] == (1, 1)
        and layer.stride == (1, 1)
        and not np.any(layer.padding)
    )


def _is_depthwise(layer: Map) -> bool:
    return isinstance(layer, Conv2d) and layer.weight.shape[1] == 1


def _is_scaling(layer: Map) -> bool:
    """Whether a map is no more than a factor for each channel."""
    same = layer.shape == layer.input_shape
    return same and is_pointwise(layer) and _is_depthwise(layer)


def composed(first: Map, second: Map) -> Map | None:
    """
    Put two maps together, one after the other.

    Parameters
    ----------
    first, second : Conv2d or Linear
        The maps; the second one reads the first. Their biases are left out.

    Returns
    -------
    Conv2d or Linear or None
        One map that does the same; None where that has many more weights than both.
    """
    if isinstance(first, Linear):
        assert isinstance(second, Linear)
        weight = second.weight @ first.weight
        return replace(first, weight=weight, bias=None, n_bias_parameters=0)
    if isinstance(second, Linear):
        if not _is_scaling(first):
            return None
        n_positions = second.weight.shape[1] // first.shape[0]
        return replace(
            second,
            weight=second.weight * np.repeat(first.weight.ravel(), n_positions),
            bias=None,
        )
    if _is_scaling(first):
        return _after_scaling(first, second)
    kernel: Any
    if is_pointwise(first) and first.groups == 1 and _is_depthwise(second):
        of_output = np.repeat(
            first.weight[:, :, 0, 0], len(second.weight) // len(first.weight), axis=0
        )
        kernel = second.weight * of_output[:, :, None, None]
        shape = first.input_shape
        return replace(second, input_shape=shape, weight=kernel, groups=1, bias=None)
    if _is_depthwise(first) and is_pointwise(second) and second.groups == 1:
        each = second.weight[:, :, 0, 0, None, None] * first.weight[None, :, 0]
        # An input channel may have several outputs, one after another.
        kernel = each.reshape(len(each), first.groups, -1, *each.shape[2:]).sum(2)
        return replace(first, weight=kernel, groups=1, bias=None)
    return None


def _after_scaling(first: Conv2d, second: Conv2d) -> Conv2d:
    gain = first.weight.ravel()
    out_channels, per_group = second.weight.shape[:2]
    group = np.arange(out_channels) // (out_channels // second.groups)
    read = group[:, None] * per_group + np.arange(per_group)
    weight = second.weight * gain[read][:, :, None, None]
    return replace(second, weight=weight, bias=None)


def summed(one: Map, other: Map) -> Map | None:
    """
    Put two maps of one population together, side by side.

    Parameters
    ----------
    one, other : Conv2d or Linear
        The maps, of the same shapes.

    Returns
    -------
    Conv2d or Linear or None
        One map whose result is the sum of both; None if there is none of this kind.
    """
    if isinstance(one, Linear) and isinstance(other, Linear):
        return replace(one, weight=one.weight + other.weight)
    if not (isinstance(one, Conv2d) and isinstance(other, Conv2d)):
        return None
    if one.weight.shape[2:] < other.weight.shape[2:]:
        one, other = other, one
    if one.groups != other.groups:
        one, other = (
            replace(part, weight=ungrouped(part), groups=1) for part in (one, other)
        )
    geometry = "stride", "padding", "dilation"
    if one.weight.shape == other.weight.shape and all(
        getattr(one, what) == getattr(other, what) for what in geometry
    ):
        return replace(one, weight=one.weight + other.weight)
    taps = [
        divmod(before, dilation)
        for (before, _), dilation in zip(one.padding, one.dilation, strict=True)
    ]
    fits = (
        other.weight.shape[2:] == (1, 1)
        and other.stride == one.stride
        and not np.any(other.padding)
        and all(
            not rest and tap < size
            for (tap, rest), size in zip(taps, one.weight.shape[2:], strict=True)
        )
    )
    if not fits:
        return None
    weight = one.weight.copy()
    weight[:, :, taps[0][0], taps[1][0]] += other.weight[:, :, 0, 0]
    return replace(one, weight=weight)
