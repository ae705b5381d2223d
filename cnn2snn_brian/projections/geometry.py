"""Weights of explicit synapses, one for each, in the order that a user sees."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.kernels import (
    PASSED,
    AvgPool2d,
    Conv2d,
    Linear,
    MaxPool2d,
)
from cnn2snn_brian.projections.order import from_neurons, to_neurons
from cnn2snn_brian.projections.pooling import Placed, Pooled

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Runs:
    """
    Runs of targets of all source neurons, ordered by source neuron.

    Run ``r`` connects its source to the targets ``post[r] + i`` with the weights
    ``w[weight[r] + i]``, for ``i`` below ``length[r]``.

    Attributes
    ----------
    first : ndarray of int32, shape (n_sources + 1,)
        The runs of source neuron ``s`` are ``first[s]`` to ``first[s + 1] - 1``.
    post, weight, length : ndarray of int32, shape (n_runs,)
        First target, first weight, and number of both.
    channels : int
        So many neurons, one after another, have the same targets, run by run.
    """

    first: IntArray
    post: IntArray
    weight: IntArray
    length: IntArray
    channels: int

    @property
    def n_synapses(self) -> int:
        """Number of connections."""
        return int(self.length.sum(dtype=np.int64))

    def expanded(self) -> tuple[IntArray, IntArray, IntArray]:
        """List every connection."""
        n_runs = np.diff(self.first)
        source = np.repeat(np.arange(len(n_runs), dtype=np.int32), n_runs)
        within = np.arange(self.n_synapses) - np.repeat(
            np.cumsum(self.length, dtype=np.int64) - self.length, self.length
        )
        within = within.astype(np.int32)
        return (
            np.repeat(source, self.length),
            np.repeat(self.post, self.length) + within,
            np.repeat(self.weight, self.length) + within,
        )


def _ordered(
    n_sources: int, pre: Any, post: Any, weight: Any, length: Any, channels: int
) -> Runs:
    pre, post, weight, length = (
        np.ascontiguousarray(a).ravel().astype(np.int32)
        for a in np.broadcast_arrays(pre, post, weight, length)
    )
    # By source; of one source by target, which is how memory is read.
    order = np.lexsort((post, pre))
    first = np.zeros(n_sources + 1, np.int32)
    np.cumsum(np.bincount(pre, minlength=n_sources), out=first[1:])
    return Runs(first, post[order], weight[order], length[order], channels)


def _is_one_run_a_row(layer: Conv2d) -> bool:
    """Whether the targets of a kernel row are neighbours in memory."""
    return layer.stride[1] == 1 and layer.dilation[1] == 1 and layer.groups == 1


def kernel_to_memory(
    layer: Conv2d | AvgPool2d | MaxPool2d | Linear | Placed,
    weight: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Order the weights of a layer like its shared synapses store them."""
    if isinstance(layer, Placed):
        layer = layer.layer
    if isinstance(layer, AvgPool2d | MaxPool2d):
        if weight is not None:
            by_place = np.asarray(weight)
        elif isinstance(layer, MaxPool2d):
            by_place = np.full(layer.shape[1:], PASSED)
        else:
            by_place = np.outer(layer.row_weights, layer.column_weights)
        return np.repeat(by_place.ravel(), layer.shape[0])
    array = layer.weight if weight is None else np.asarray(weight)
    if isinstance(layer, Linear):
        by_place = array.reshape(len(array), *layer.input_shape)
        return np.ascontiguousarray(to_neurons(by_place, layer.input_shape).T).ravel()
    out_channels, per_group, ky, kx = array.shape
    grouped = array.reshape(layer.groups, -1, per_group, ky, kx)
    # (group, out, in, y, x) -> (group, in, y, x, out)
    return np.ascontiguousarray(grouped.transpose(0, 2, 3, 4, 1)[:, :, :, ::-1]).ravel()


def weights_of_channel(
    layer: Conv2d | AvgPool2d | MaxPool2d | Linear | Placed | Pooled,
) -> int:
    """Count the weights of a channel of the source that lie next to each other."""
    inner = layer.inner if isinstance(layer, Pooled) else layer
    if isinstance(inner, Placed):
        inner = inner.layer
    if isinstance(inner, AvgPool2d | MaxPool2d):
        return 1
    if isinstance(inner, Linear):
        return len(inner.weight)
    out_channels, _, ky, kx = inner.weight.shape
    return ky * kx * out_channels // inner.groups


def kernel_from_memory(
    layer: Conv2d | AvgPool2d | MaxPool2d | Linear | Placed, stored: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Order stored weights like torch does; the inverse of `kernel_to_memory`."""
    stored = np.asarray(stored)
    if isinstance(layer, Placed):
        layer = layer.layer
    if isinstance(layer, AvgPool2d | MaxPool2d):
        return stored.reshape(*layer.shape[1:], -1)[..., 0]
    if isinstance(layer, Linear):
        n_out = layer.weight.shape[0]
        by_place = stored.reshape(-1, n_out).T
        if len(layer.input_shape) == 3:
            channels, height, width = layer.input_shape
            by_place = np.moveaxis(
                by_place.reshape(n_out, height, width, channels), -1, 1
            )
        return np.ascontiguousarray(by_place).reshape(layer.weight.shape)
    out_channels, per_group, ky, kx = layer.weight.shape
    grouped = stored.reshape(layer.groups, per_group, ky, kx, -1)[:, :, :, ::-1]
    return np.ascontiguousarray(grouped.transpose(0, 4, 1, 2, 3)).reshape(
        layer.weight.shape
    )


def _conv2d(layer: Conv2d) -> Runs:
    out_channels, per_group, _, kx = layer.weight.shape
    per_group_out = out_channels // layer.groups
    _, _, width = layer.input_shape
    _, _, out_width = layer.shape
    y_in, y_out, tap_y = (a[:, None, None] for a in layer.axis_taps(0))
    x_in, x_out, tap_x = (a[None, :, None] for a in layer.axis_taps(1))
    n_positions: Any = 1
    if _is_one_run_a_row(layer):
        # Of each input position, the first output position; the others follow it.
        by_input = np.lexsort((x_out.ravel(), x_in.ravel()))
        _, begin, counts = np.unique(
            x_in.ravel()[by_input], return_index=True, return_counts=True
        )
        x_in, x_out, tap_x = (
            a.ravel()[by_input[begin]][None, :, None] for a in (x_in, x_out, tap_x)
        )
        n_positions = counts[None, :, None]
    channel = np.arange(layer.input_shape[0])[None, None, :]
    pre = (y_in * width + x_in) * layer.input_shape[0] + channel
    group_start = channel // per_group * per_group_out
    post = (y_out * out_width + x_out) * out_channels + group_start
    ky = layer.weight.shape[2]
    weight = ((channel * ky + tap_y) * kx + (kx - 1 - tap_x)) * per_group_out
    length = n_positions * per_group_out
    n_sources = int(np.prod(layer.input_shape))
    # Of one position, the channels of a group.
    return _ordered(n_sources, pre, post, weight, length, per_group)


def _pool2d(layer: AvgPool2d | MaxPool2d) -> Runs:
    channels, out_height, out_width = layer.shape
    _, _, width = layer.input_shape
    y_out, y_in = (a[:, None, None] for a in np.nonzero(layer.axis_matrix(0)))
    x_out, x_in = (a[None, :, None] for a in np.nonzero(layer.axis_matrix(1)))
    channel = np.arange(channels)[None, None, :]
    pre = (y_in * width + x_in) * channels + channel
    position = y_out * out_width + x_out
    n_sources = int(np.prod(layer.input_shape))
    targets = position * channels + channel
    return _ordered(n_sources, pre, targets, targets, 1, 1)


def _linear(layer: Linear) -> Runs:
    n_out, n_in = layer.weight.shape
    source = np.arange(n_in)
    return _ordered(n_in, source, 0, source * n_out, n_out, n_in)


@dataclass(frozen=True)
class Cells:
    """
    The cells of a pooling that each input position is averaged in.

    Attributes
    ----------
    first : ndarray of int32, shape (n_positions + 1,)
        The cells of position ``p`` are ``first[p]`` to ``first[p + 1] - 1``.
    cell : ndarray of int32, shape (n,)
        Position of the cell.
    share : ndarray of float, shape (n,)
        Weight of the position in the cell.
    """

    first: IntArray
    cell: IntArray
    share: npt.NDArray[np.float64]


def pool_cells(layer: Pooled) -> Cells:
    """List the cells of each input position."""
    rows, columns = layer.axis_matrix(0), layer.axis_matrix(1)
    # (cell, position), stored by position.
    shares = sparse.kron(
        sparse.csc_array(rows), sparse.csc_array(columns), format="csc"
    )
    shares.sort_indices()
    return Cells(
        shares.indptr.astype(np.int32), shares.indices.astype(np.int32), shares.data
    )


def _placed(layer: Placed) -> Runs:
    """Cut the runs of the channels into those of one position each."""
    own, mine = runs(layer.layer), layer.layer.shape[0]
    # A run starts at any channel of a position, and ends with one or in it.
    n_places = -(-(own.post % mine + own.length) // mine)
    run = np.repeat(np.arange(len(own.post)), n_places)
    within = np.arange(len(run)) - np.repeat(np.cumsum(n_places) - n_places, n_places)
    begin = own.post[run] // mine * mine + within * mine
    first = np.maximum(begin, own.post[run])
    end = np.minimum(begin + mine, (own.post + own.length)[run])
    place, channel = np.divmod(first, mine)
    starts = np.concatenate([[0], np.cumsum(n_places)])
    return Runs(
        starts[own.first].astype(np.int32),
        (place * layer.channels + layer.start + channel).astype(np.int32),
        (own.weight[run] + first - own.post[run]).astype(np.int32),
        (end - first).astype(np.int32),
        own.channels,
    )


def runs(layer: Conv2d | AvgPool2d | MaxPool2d | Linear | Placed) -> Runs:
    """Compute the runs of a layer."""
    if isinstance(layer, Placed):
        return _placed(layer)
    if isinstance(layer, Conv2d):
        return _conv2d(layer)
    if isinstance(layer, AvgPool2d | MaxPool2d):
        return _pool2d(layer)
    return _linear(layer)


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


def _conv2d_connectivity(layer: Conv2d) -> Connections:
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


def _pool2d_connectivity(layer: AvgPool2d | MaxPool2d) -> Connections:
    rows, columns = layer.axis_matrix(0), layer.axis_matrix(1)
    y_out, y_in = (a[:, None, None] for a in np.nonzero(rows))
    x_out, x_in = (a[None, :, None] for a in np.nonzero(columns))
    channel = np.arange(layer.shape[0])[None, None, :]
    pre = _neuron(y_in, x_in, channel, layer.input_shape)
    post = _neuron(y_out, x_out, channel, layer.shape)
    weight = rows[y_out, y_in] * columns[x_out, x_in]
    pre, post, weight = np.broadcast_arrays(pre, post, weight)
    return _sorted(pre, post, weight)


def _linear_connectivity(layer: Linear) -> Connections:
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


def _placed_connectivity(layer: Placed) -> Connections:
    """Count the targets in the whole layer, channels last."""
    own = connections(layer.layer)
    place, channel = np.divmod(own.post, layer.layer.shape[0])
    post = place * layer.channels + layer.start + channel
    return replace(own, post=post.astype(np.int32))


def connections(
    layer: Conv2d | AvgPool2d | MaxPool2d | Linear | Placed | Pooled,
) -> Connections:
    """List all synapses of a layer."""
    n_synapses = int(layer.fan_out().sum())
    if n_synapses > MAX_SYNAPSES:
        raise InputError(
            f"{layer.name}: {n_synapses:,} explicit synapses, but Brian2 numbers at "
            f"most {MAX_SYNAPSES:,}"
        )
    if isinstance(layer, Conv2d):
        return _conv2d_connectivity(layer)
    if isinstance(layer, AvgPool2d | MaxPool2d):
        return _pool2d_connectivity(layer)
    if isinstance(layer, Placed):
        return _placed_connectivity(layer)
    return _pooled(layer) if isinstance(layer, Pooled) else _linear_connectivity(layer)


def synapse_shape(layer: Any) -> tuple[int, ...]:
    """Say of which shape the weights of a layer's synapses are."""
    if isinstance(layer, Linear):
        n_out, n_in = layer.weight.shape
        return n_out, n_in
    return (int(layer.fan_out().sum()),)


def from_synapses(layer: Any, weights: Any) -> npt.NDArray[np.float64]:
    """Put weights of synapses into the order that a user sees."""
    values = np.asarray(weights, np.float64)
    if not isinstance(layer, Linear):
        return values
    by_output = values.reshape(math.prod(layer.input_shape), -1).T
    return from_neurons(by_output, layer.input_shape).reshape(synapse_shape(layer))


def to_synapses(layer: Any, weights: Any) -> npt.NDArray[np.float64]:
    """Put weights into the order of the synapses; undoes `from_synapses`."""
    values = np.asarray(weights, np.float64)
    if not isinstance(layer, Linear):
        return values
    ordered = to_neurons(values.reshape(-1, *layer.input_shape), layer.input_shape)
    return np.ascontiguousarray(ordered.T).ravel()
