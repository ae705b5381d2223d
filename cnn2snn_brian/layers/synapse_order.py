"""Weights of explicit synapses, one for each, in the order that a user sees."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.order import from_neurons, to_neurons

__all__ = ["from_synapses", "synapse_shape", "to_synapses"]


def synapse_shape(layer: Any) -> tuple[int, ...]:
    """
    Say of which shape the weights of a layer's synapses are.

    Parameters
    ----------
    layer : Linear, Conv2d, AvgPool2d or Pooled
        The layer.

    Returns
    -------
    tuple of int
        (n_out, n_in) of a `Linear`, as in torch; else (n_synapses,), in the order of
        `connections`.
    """
    if isinstance(layer, Linear):
        n_out, n_in = layer.weight.shape
        return n_out, n_in
    return (int(layer.fan_out().sum()),)


def from_synapses(layer: Any, weights: Any) -> npt.NDArray[np.float64]:
    """
    Put weights of synapses into the order that a user sees.

    Parameters
    ----------
    layer : Linear, Conv2d, AvgPool2d or Pooled
        The layer.
    weights : ndarray of float, shape (n_synapses,)
        In the order of the synapses.

    Returns
    -------
    ndarray of float64
        Of the shape that `synapse_shape` says; inputs of a `Linear` in torch's order.
    """
    values = np.asarray(weights, np.float64)
    if not isinstance(layer, Linear):
        return values
    by_output = values.reshape(math.prod(layer.input_shape), -1).T
    return from_neurons(by_output, layer.input_shape).reshape(synapse_shape(layer))


def to_synapses(layer: Any, weights: Any) -> npt.NDArray[np.float64]:
    """
    Put weights into the order of the synapses; undoes `from_synapses`.

    Parameters
    ----------
    layer : Linear, Conv2d, AvgPool2d or Pooled
        The layer.
    weights : ndarray of float
        Of the shape that `synapse_shape` says.

    Returns
    -------
    ndarray of float64, shape (n_synapses,)
        In the order of the synapses.
    """
    values = np.asarray(weights, np.float64)
    if not isinstance(layer, Linear):
        return values
    ordered = to_neurons(values.reshape(-1, *layer.input_shape), layer.input_shape)
    return np.ascontiguousarray(ordered.T).ravel()
