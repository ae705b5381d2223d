"""Weights and biases as they act at run time, in the unit of the potentials."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.gains import input_gains, weight_factors
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.joined import AnyLayer, Joined, Part
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.order import by_channel
from cnn2snn_brian.layers.placed import Placed
from cnn2snn_brian.layers.pooled import Pooled
from cnn2snn_brian.layers.stack import Layers

__all__ = ["constants", "described_scale", "times"]

Array = npt.NDArray[np.float64]


def times(part: Part, factor: Any) -> Part:
    """
    Multiply the weights of connections by a number for each channel of their source.

    Parameters
    ----------
    part : Conv2d, Linear, Placed or Pooled
        The connections. Average pooling has no weights and stays as it is.
    factor : ndarray of float, shape (channels,)
        The factors.

    Returns
    -------
    Conv2d, Linear, Placed or Pooled
        The connections with other weights.
    """
    weight: Any
    if isinstance(part, Placed | Pooled):
        return replace(part, layer=times(part.layer, factor))  # type: ignore[arg-type]
    if isinstance(part, Linear):
        n_positions = part.weight.shape[1] // len(factor)
        return replace(part, weight=part.weight * np.repeat(factor, n_positions))
    if isinstance(part, AvgPool2d):
        return part
    assert isinstance(part, Conv2d)
    out_channels, per_group = part.weight.shape[:2]
    group = np.arange(out_channels) // (out_channels // part.groups)
    read = group[:, None] * per_group + np.arange(per_group)
    weight = part.weight * factor[read][:, :, None, None]
    return replace(part, weight=weight)


def constants(layers: Layers, parameters: Parameters) -> dict[str, Array]:
    """
    Give what is added to each neuron's potential in each step: bias and leak.

    Parameters
    ----------
    layers : Layers
        The layers.
    parameters : Parameters
        What the neurons run with.

    Returns
    -------
    dict of str to ndarray of float, shape ``layer.shape``
        By layer; layers without any are left out.
    """
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)
    found = {}
    for layer in layers:
        total = np.zeros(layer.shape)
        total += by_channel(parameters.leak[layer.name], layer.shape)
        if layer.bias is not None:
            total += layer.bias * gains[layer.name]
        if total.any():
            found[layer.name] = total
    return found


def described_scale(layers: Layers, parameters: Parameters) -> Layers:
    """
    Turn weights and biases that act at run time into those of a description.

    Parameters
    ----------
    layers : Layers
        Layers whose weights and biases are in the unit of the potentials.
    parameters : Parameters
        What the neurons run with.

    Returns
    -------
    Layers
        Layers that have these weights and biases at run time.
    """
    factors = weight_factors(layers, parameters)
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)

    def divided(part: Part) -> Part:
        factor = factors.get(part.name)
        return part if factor is None else times(part, 1 / factor)

    made: list[AnyLayer] = []
    for layer in layers:
        changed: Any = layer
        if isinstance(layer, Joined):
            changed = replace(layer, parts=tuple(map(divided, layer.parts)))
        else:
            changed = divided(layer)
        if layer.bias is not None:
            changed = _with_bias(changed, layer.bias / gains[layer.name])
        made.append(changed)
    return Layers(layers.input_shape, tuple(made))


def _with_bias(layer: Any, bias: Any) -> Any:
    if isinstance(layer, Placed | Pooled):
        return replace(layer, layer=_with_bias(layer.layer, bias))
    return replace(layer, bias=bias)
