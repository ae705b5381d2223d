"""Connections whose targets are some of the channels of a layer."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.base import ByContent
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.order import FloatArray, Shape

__all__ = ["Placed", "on_channels", "ungrouped"]


@dataclass(frozen=True, eq=False)
class Placed(ByContent):
    """
    Connections whose targets are some of the channels of a layer.

    Attributes
    ----------
    layer : Conv2d, AvgPool2d or Linear
        The connections to these channels, without a bias.
    start : int
        The first of the channels.
    channels : int
        Number of channels of the whole layer.

    Raises
    ------
    InputError
        If the channels are outside the layer.
    """

    layer: Conv2d | AvgPool2d | Linear
    start: int
    channels: int

    def __post_init__(self) -> None:
        if self.start < 0 or self.start + self.layer.shape[0] > self.channels:
            message = (
                f"{self.name}: {self.layer.shape[0]} channels from channel "
                f"{self.start} on don't fit into {self.channels}"
            )
            raise InputError(message)

    @property
    def name(self) -> str:
        """Name of the connections."""
        return self.layer.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name of the layer that they read."""
        return self.layer.inputs

    @property
    def input_shape(self) -> Shape:
        """Shape of what goes in."""
        return self.layer.input_shape

    @property
    def shape(self) -> Shape:
        """Shape of the whole layer."""
        return (self.channels, *self.layer.shape[1:])

    @property
    def bias(self) -> None:
        """There is none."""
        return

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return self.layer.n_parameters

    def drive(self, activations: FloatArray) -> FloatArray:
        """
        Input of the neurons; 0 in all other channels.

        Parameters
        ----------
        activations : ndarray of float, shape ``(n, *input_shape)``
            What is read.

        Returns
        -------
        ndarray of float, shape ``(n, *shape)``
            What arrives.
        """
        own = self.layer.drive(activations)
        whole = np.zeros((len(own), *self.shape), own.dtype)
        whole[:, self.start : self.start + self.layer.shape[0]] = own
        return whole

    def fan_out(self) -> npt.NDArray[np.int64]:
        """
        Count the synapses that leave each input.

        Returns
        -------
        ndarray of int64, of shape `input_shape`
            Number of neurons that an input reaches.
        """
        return self.layer.fan_out()


def ungrouped(layer: Conv2d) -> FloatArray:
    """
    Write the kernel of a grouped convolution as that of an ordinary one.

    Parameters
    ----------
    layer : Conv2d
        The convolution.

    Returns
    -------
    ndarray of float, shape (out_channels, in_channels, ky, kx)
        Its kernel, 0 between different groups.
    """
    out_channels, per_group, ky, kx = layer.weight.shape
    per_group_out = out_channels // layer.groups
    weight = np.zeros((out_channels, layer.input_shape[0], ky, kx))
    for group in range(layer.groups):
        outs = slice(group * per_group_out, (group + 1) * per_group_out)
        ins = slice(group * per_group, (group + 1) * per_group)
        weight[outs, ins] = layer.weight[outs]
    return weight


def on_channels(
    layer: Conv2d | AvgPool2d | Linear | Placed, start: int, n: int
) -> Conv2d | AvgPool2d | Linear | Placed:
    """
    Give the part of a layer's connections that reads some of its input's channels.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, Linear or Placed
        The layer. Its bias is left out.
    start, n : int
        The first of the channels, and their number.

    Returns
    -------
    Conv2d, AvgPool2d, Linear or Placed
        The same layer for an input of these channels alone, with the same shape.
    """
    if isinstance(layer, Placed):
        inner = on_channels(layer.layer, start, n)
        if isinstance(inner, Placed):
            return replace(
                inner, start=inner.start + layer.start, channels=layer.channels
            )
        return replace(layer, layer=inner)
    channels = layer.input_shape[0]
    if start == 0 and n == channels:
        return layer if layer.bias is None else replace(layer, bias=None)  # type: ignore[arg-type]
    shape: Any = (n, *layer.input_shape[1:])
    if isinstance(layer, AvgPool2d):
        return Placed(replace(layer, input_shape=shape), start, channels)
    weight: FloatArray
    if isinstance(layer, Linear):
        weight = layer.weight.reshape(len(layer.weight), channels, -1)
        weight = weight[:, start : start + n].reshape(len(weight), -1)
        plain = replace(layer, bias=None, n_bias_parameters=0)
        return replace(plain, input_shape=shape, weight=weight)
    layer = replace(layer, bias=None, n_bias_parameters=0)
    per_group = channels // layer.groups
    if layer.groups == 1 or start % per_group or n % per_group:
        weight = ungrouped(layer)[:, start : start + n]
        return replace(layer, input_shape=shape, weight=weight, groups=1)
    # Whole groups have outputs of their own.
    out_channels = len(layer.weight)
    outs = slice(
        start * out_channels // channels, (start + n) * out_channels // channels
    )
    mine = replace(
        layer,
        input_shape=shape,
        weight=layer.weight[outs],
        groups=n // per_group,
    )
    return Placed(mine, outs.start, out_channels)
