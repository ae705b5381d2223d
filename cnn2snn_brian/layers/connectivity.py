"""
Which input reaches which neuron, with which weight.

Indices are those of Brian2 groups: channels last, see `cnn2snn_brian.layers`.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.max_pool2d import MaxPool2d
from cnn2snn_brian.layers.order import to_neurons
from cnn2snn_brian.layers.placed import Placed
from cnn2snn_brian.layers.pooled import Pooled

__all__ = ["MAX_SYNAPSES", "Connections", "connections"]

#: Brian2 numbers synapses with 32 bits.
MAX_SYNAPSES = 2**31 - 1


@dataclass(frozen=True)
class Connections:
    """
    All synapses of a layer, ordered by source neuron.

    Attributes
    ----------
    pre, post : ndarray of int32, shape (n_synapses,)
        Source and target neuron.
    weight : ndarray of float, shape (n_synapses,)
        What a spike adds to the target's potential.
    """

    pre: npt.NDArray[np.int32]
    post: npt.NDArray[np.int32]
    weight: npt.NDArray[np.floating[Any]]


def _neuron(
    y: npt.NDArray[np.integer[Any]],
    x: npt.NDArray[np.integer[Any]],
    channel: npt.NDArray[np.integer[Any]],
    shape: tuple[int, int, int],
) -> npt.NDArray[np.integer[Any]]:
    channels, _, width = shape
    return (y * width + x) * channels + channel


def _conv2d(layer: Conv2d) -> Connections:
    out_channels, in_per_group = layer.weight.shape[:2]
    y_in, y_out, tap_y = (a[:, None, None, None] for a in layer.axis_taps(0))
    x_in, x_out, tap_x = (a[None, :, None, None] for a in layer.axis_taps(1))
    out_channel = np.arange(out_channels)[None, None, :, None]
    tap_channel = np.arange(in_per_group)[None, None, None, :]
    group = out_channel // (out_channels // layer.groups)
    pre = _neuron(y_in, x_in, group * in_per_group + tap_channel, layer.input_shape)
    post = _neuron(y_out, x_out, out_channel, layer.shape)
    weight = layer.weight[out_channel, tap_channel, tap_y, tap_x]
    pre, post, weight = np.broadcast_arrays(pre, post, weight)
    return _sorted(pre, post, weight)


def _pool2d(layer: AvgPool2d | MaxPool2d) -> Connections:
    rows, columns = layer.axis_matrix(0), layer.axis_matrix(1)
    y_out, y_in = (a[:, None, None] for a in np.nonzero(rows))
    x_out, x_in = (a[None, :, None] for a in np.nonzero(columns))
    channel = np.arange(layer.shape[0])[None, None, :]
    pre = _neuron(y_in, x_in, channel, layer.input_shape)
    post = _neuron(y_out, x_out, channel, layer.shape)
    weight = rows[y_out, y_in] * columns[x_out, x_in]
    pre, post, weight = np.broadcast_arrays(pre, post, weight)
    return _sorted(pre, post, weight)


def _linear(layer: Linear) -> Connections:
    n_out, n_in = layer.weight.shape
    ordered = to_neurons(
        layer.weight.reshape(n_out, *layer.input_shape), layer.input_shape
    )
    return Connections(
        np.repeat(np.arange(n_in, dtype=np.int32), n_out),
        np.tile(np.arange(n_out, dtype=np.int32), n_in),
        np.ascontiguousarray(ordered.T).ravel(),
    )


def _sorted(
    pre: npt.NDArray[np.integer[Any]],
    post: npt.NDArray[np.integer[Any]],
    weight: npt.NDArray[np.floating[Any]],
) -> Connections:
    # Synapses of one neuron next to each other: a spike then reads them in one run.
    order = np.argsort(pre, axis=None, kind="stable")
    return Connections(
        pre.ravel()[order].astype(np.int32),
        post.ravel()[order].astype(np.int32),
        weight.ravel()[order],
    )


def _pooled(layer: Pooled) -> Connections:
    """Multiply the matrices of the poolings and of the layer behind them."""
    values, structure = None, None
    for part in (*layer.pools, layer.layer):
        listed = connections(part)
        size = (math.prod(part.shape), math.prod(part.input_shape))
        at = (listed.post, listed.pre)
        own = sparse.csr_array((listed.weight.astype(np.float64), at), shape=size)
        ones = sparse.csr_array((np.ones(len(listed.pre)), at), shape=size)
        values = own if values is None else own @ values
        structure = ones if structure is None else ones @ structure
    assert values is not None
    assert structure is not None
    # By source neuron, then by target. Products leave out what is exactly 0; weights of
    # 0 are synapses too.
    every, some = (sparse.csc_array(matrix) for matrix in (structure, values))
    keys = []
    for matrix in (every, some):
        matrix.sort_indices()
        source = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
        keys.append(source * matrix.shape[0] + matrix.indices)
    weight = np.zeros(len(keys[0]))
    weight[np.searchsorted(*keys)] = some.data
    pre, post = np.divmod(keys[0], every.shape[0])
    return Connections(pre.astype(np.int32), post.astype(np.int32), weight)


def _placed(layer: Placed) -> Connections:
    """Count the targets in the whole layer, channels last."""
    own = connections(layer.layer)
    place, channel = np.divmod(own.post, layer.layer.shape[0])
    post = place * layer.channels + layer.start + channel
    return replace(own, post=post.astype(np.int32))


def connections(
    layer: Conv2d | AvgPool2d | MaxPool2d | Linear | Placed | Pooled,
) -> Connections:
    """
    List all synapses of a layer.

    Connections to the zero padding don't exist; weights of exactly 0 do. Those of a
    maximum pooling weigh 1: that is what its gate lets pass.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, MaxPool2d, Linear, Placed or Pooled
        The layer.

    Returns
    -------
    Connections
        Source, target and weight of every synapse.

    Raises
    ------
    InputError
        If there are more synapses than Brian2 can number.
    """
    n_synapses = int(layer.fan_out().sum())
    if n_synapses > MAX_SYNAPSES:
        message = (
            f"{layer.name}: {n_synapses:,} explicit synapses, but Brian2 numbers at "
            f"most {MAX_SYNAPSES:,}"
        )
        raise InputError(message)
    if isinstance(layer, Conv2d):
        return _conv2d(layer)
    if isinstance(layer, AvgPool2d | MaxPool2d):
        return _pool2d(layer)
    if isinstance(layer, Placed):
        return _placed(layer)
    return _pooled(layer) if isinstance(layer, Pooled) else _linear(layer)
