"""Average pooling without neurons: composed with the layers that read it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent, check_bias
from cnn2snn_brian.projections.kernels import AvgPool2d, Conv2d, Linear, MaxPool2d
from cnn2snn_brian.projections.order import FloatArray, Shape


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
            raise InputError(
                f"{self.name}: {self.layer.shape[0]} channels from channel "
                f"{self.start} on don't fit into {self.channels}"
            )

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
        """Input of the neurons; 0 in all other channels."""
        own = self.layer.drive(activations)
        whole = np.zeros((len(own), *self.shape), own.dtype)
        whole[:, self.start : self.start + self.layer.shape[0]] = own
        return whole

    def fan_out(self) -> npt.NDArray[np.int64]:
        """Count the synapses that leave each input."""
        return self.layer.fan_out()


def ungrouped(layer: Conv2d) -> FloatArray:
    """Write the kernel of a grouped convolution as that of an ordinary one."""
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


@dataclass(frozen=True, eq=False)
class Pooled(ByContent):
    """
    A layer that reads averages, without neurons for these.

    Attributes
    ----------
    pools : tuple of AvgPool2d
        The poolings, in the order of the data. The first one reads the layer before.
    layer : Conv2d, Linear, AvgPool2d or Placed
        What reads the last pooling.

    Raises
    ------
    InputError
        If there is no pooling, or one does not fit what follows.
    """

    pools: tuple[AvgPool2d, ...]
    layer: Conv2d | Linear | AvgPool2d | Placed

    def __post_init__(self) -> None:
        shapes = [pool.input_shape for pool in self.pools[1:]]
        shapes.append(self.layer.input_shape)  # type: ignore[arg-type]
        if not self.pools or shapes != [pool.shape for pool in self.pools]:
            raise InputError(
                f"{self.layer.name}: the poolings in front of it don't fit"
            )

    @property
    def name(self) -> str:
        """Name of the layer that reads the averages."""
        return self.layer.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name of the layer that the first pooling reads."""
        return self.pools[0].inputs

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of that layer."""
        return self.pools[0].input_shape

    @property
    def shape(self) -> Shape:
        """Shape of the output."""
        return self.layer.shape

    @property
    def inner(self) -> Conv2d | Linear | AvgPool2d:
        """The layer behind the poolings, wherever its outputs are placed."""
        return self.layer.layer if isinstance(self.layer, Placed) else self.layer

    @property
    def weight(self) -> FloatArray:
        """Weights of the layer behind the poolings."""
        return self.inner.weight  # type: ignore[union-attr]

    def with_weight(self, weight: FloatArray) -> "Pooled":
        """
        Give the layer behind the poolings other weights.

        Parameters
        ----------
        weight : ndarray of float
            In the shape of `weight`. An average pooling has none of its own.

        Returns
        -------
        Pooled
            The same layer with these weights.
        """
        inner = self.inner
        if isinstance(inner, AvgPool2d):
            return self
        inner = replace(inner, weight=weight)
        if isinstance(self.layer, Placed):
            return replace(self, layer=replace(self.layer, layer=inner))
        return replace(self, layer=inner)

    @property
    def bias(self) -> FloatArray | None:
        """Constant input of each neuron."""
        return self.layer.bias

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return self.layer.n_parameters

    def axis_matrix(self, axis: int) -> FloatArray:
        """
        Weights of all poolings along one axis as a matrix.

        Parameters
        ----------
        axis : int
            0 for y, 1 for x.

        Returns
        -------
        ndarray of float, shape (n_cells, n_in)
            The share of an input in each cell.
        """
        matrix = self.pools[0].axis_matrix(axis)
        for pool in self.pools[1:]:
            matrix = pool.axis_matrix(axis) @ matrix
        return matrix

    def drive(self, activations: FloatArray) -> FloatArray:
        """
        Input of the neurons, without bias.

        Parameters
        ----------
        activations : ndarray of float, shape (n, channels, height, width)
            What the first pooling reads.

        Returns
        -------
        ndarray of float, shape ``(n, *shape)``
            What the layer makes of the averages.
        """
        return self.layer.drive(self.averages(activations))

    def averages(self, activations: FloatArray) -> FloatArray:
        """
        Pool activations.

        Parameters
        ----------
        activations : ndarray of float, shape (n, channels, height, width)
            What the first pooling reads.

        Returns
        -------
        ndarray of float, shape ``(n, *layer.input_shape)``
            What the layer reads.
        """
        for pool in self.pools:
            activations = pool.drive(activations)
        return activations

    def fan_out(self) -> npt.NDArray[np.int64]:
        """
        Count the synapses that leave each input.

        Returns
        -------
        ndarray of int64, shape (channels, height, width)
            Number of neurons that an input reaches, each counted once.
        """
        covered = [self.axis_matrix(axis) != 0 for axis in (0, 1)]
        channels = self.input_shape[0]
        inner = self.inner
        if isinstance(inner, Linear):
            any_cell = np.outer(*(cells.any(0) for cells in covered))
            one = any_cell * len(inner.weight)
        else:
            reached = [
                (_reached(inner, axis) @ covered[axis].astype(np.int64)) > 0
                for axis in (0, 1)
            ]
            per_group = (
                len(inner.weight) // inner.groups if isinstance(inner, Conv2d) else 1
            )
            one = np.outer(*(cells.sum(0) for cells in reached)) * per_group
        return np.broadcast_to(one, (channels, *one.shape)).astype(np.int64)


def _reached(layer: Conv2d | AvgPool2d, axis: int) -> npt.NDArray[np.int64]:
    """Which cells of an axis reach which outputs, (n_out, n_cells)."""
    if isinstance(layer, AvgPool2d):
        return (layer.axis_matrix(axis) != 0).astype(np.int64)
    cell, out, _ = layer.axis_taps(axis)
    matrix: Any = np.zeros((layer.shape[1 + axis], layer.input_shape[1 + axis]), int)
    matrix[out, cell] = 1
    return matrix


#: What connects one layer with another.
Part = Conv2d | AvgPool2d | MaxPool2d | Linear | Placed | Pooled


@dataclass(frozen=True, eq=False)
class Joined(ByContent):
    """
    A layer that reads several layers, each through connections of its own.

    Attributes
    ----------
    name : str
        Name of the layer.
    parts : tuple of Conv2d, AvgPool2d, Linear, Placed or Pooled
        The connections. Each reads one layer, and has the shape of this one and no
        bias.
    bias : ndarray of float, of shape `shape`, or None
        Constant input of each neuron.
    n_bias_parameters : int
        Number of trained values behind the bias.

    Raises
    ------
    InputError
        If there is no part, parts have different shapes, one name or biases, or the
        bias does not fit.
    """

    name: str
    parts: tuple[Part, ...]
    bias: FloatArray | None = None
    n_bias_parameters: int = 0

    def __post_init__(self) -> None:
        shapes = {part.shape for part in self.parts}
        names = {part.name for part in self.parts}
        if len(shapes) != 1 or len(names) != len(self.parts):
            raise InputError(
                f"{self.name}: its parts have the shapes {sorted(shapes)} and the "
                f"names {', '.join(part.name for part in self.parts)}, expected one "
                "shape and different names"
            )
        if any(part.bias is not None for part in self.parts):
            raise InputError(f"{self.name}: a part has a bias; the joined layer has it")
        check_bias(self)  # type: ignore[arg-type]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the layers that this one reads, each once."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.inputs))

    @property
    def shape(self) -> Shape:
        """Shape of the output."""
        return self.parts[0].shape

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return sum(part.n_parameters for part in self.parts) + self.n_bias_parameters


#: What may be a layer of a network.
AnyLayer = Conv2d | AvgPool2d | MaxPool2d | Linear | Placed | Pooled | Joined


def parts(layer: AnyLayer) -> tuple[Part, ...]:
    """List the connections into a layer."""
    return layer.parts if isinstance(layer, Joined) else (layer,)


def drive(layer: AnyLayer, values: Mapping[str, npt.NDArray[Any]]) -> FloatArray:
    """Sum the input of a layer's neurons, without bias."""
    arriving = [
        part.drive(values[part.inputs[0]])
        for part in parts(layer)
        if part.inputs[0] in values
    ]
    if not arriving:
        return np.zeros((1, *layer.shape))
    total = arriving[0]
    for more in arriving[1:]:
        total = total + more
    return total


def n_synapses(layer: AnyLayer) -> int:
    """Count the synapses into a layer, the zero padding left out."""
    return sum(int(part.fan_out().sum()) for part in parts(layer))


def renamed(part: Part, name: str, source: str) -> Part:
    """Give connections another name and another source."""
    if isinstance(part, Placed):
        inner = renamed(part.layer, name, source)
        return replace(part, layer=inner)  # type: ignore[arg-type]
    if isinstance(part, Pooled):
        first, *others = part.pools
        pools = (replace(first, inputs=(source,)), *others)
        inner = renamed(part.layer, name, pools[-1].name)
        return replace(part, pools=pools, layer=inner)  # type: ignore[arg-type]
    return replace(part, name=name, inputs=(source,))


def reweighted(layer: AnyLayer, change: Callable[[FloatArray], FloatArray]) -> AnyLayer:
    """Give a layer other weights."""
    if isinstance(layer, Joined):
        made = tuple(reweighted(part, change) for part in layer.parts)
        return replace(layer, parts=made)  # type: ignore[arg-type]
    if isinstance(layer, Placed | Pooled):
        inner = reweighted(layer.layer, change)
        return replace(layer, layer=inner)  # type: ignore[arg-type]
    if isinstance(layer, AvgPool2d | MaxPool2d):
        return layer
    return replace(layer, weight=change(layer.weight))


def squared(layer: AnyLayer) -> AnyLayer:
    """Square the weights of a layer: what the variances of its inputs add up with."""
    made: Any
    if isinstance(layer, Joined):
        made = tuple(map(squared, layer.parts))
        return replace(layer, parts=made)
    if isinstance(layer, Pooled):
        made = tuple(map(squared, layer.pools))
        layer = replace(layer, pools=made)
    if isinstance(layer, Placed | Pooled):
        made = squared(layer.layer)
        return replace(layer, layer=made)
    if isinstance(layer, AvgPool2d):
        rows, columns = np.square(layer.row_weights), np.square(layer.column_weights)
        return replace(
            layer, row_weights=(*rows.tolist(),), column_weights=(*columns.tolist(),)
        )
    return reweighted(layer, np.square)


def is_pooling(layer: AnyLayer) -> bool:
    """Say whether a layer does nothing but average."""
    return layer.bias is None and all(
        isinstance(part.layer if isinstance(part, Placed) else part, AvgPool2d)
        for part in parts(layer)
    )


@dataclass(frozen=True)
class _Way:
    """A layer, the poolings behind it, and the channels that it ends in."""

    source: str
    pools: tuple[AvgPool2d, ...]
    start: int
    channels: int


def _ways(name: str, pools: Mapping[str, AnyLayer]) -> Iterator[_Way]:
    """List the ways into a pooling layer."""
    for part in parts(pools[name]):
        start = part.start if isinstance(part, Placed) else 0
        pool = part.layer if isinstance(part, Placed) else part
        assert isinstance(pool, AvgPool2d)
        (source,) = pool.inputs
        if source not in pools:
            yield _Way(source, (pool,), start, pool.shape[0])
            continue
        for way in _ways(source, pools):
            shape = (way.channels, *pool.input_shape[1:])
            last = replace(pool, input_shape=shape)
            yield _Way(way.source, (*way.pools, last), start + way.start, way.channels)


def composed(layer: AnyLayer, pools: Mapping[str, AnyLayer]) -> AnyLayer:
    """Let a layer read what was averaged, instead of averages."""
    if not any(name in pools for name in layer.inputs):
        return layer
    found: list[Part] = []
    for part in parts(layer):
        (source,) = part.inputs
        if source not in pools:
            found.append(part)
            continue
        assert not isinstance(part, Pooled | MaxPool2d)
        for way in _ways(source, pools):
            narrow = on_channels(part, way.start, way.channels)
            found.append(Pooled(way.pools, narrow))
    if len(found) == 1 and not isinstance(layer, Joined):
        (only,) = found
        assert isinstance(only, Pooled)
        return Pooled(only.pools, layer)  # type: ignore[arg-type]
    return Joined(
        layer.name,
        tuple(named(layer.name, found)),
        layer.bias,
        getattr(layer, "n_bias_parameters", 0),
    )


def named(name: str, found: Sequence[Part]) -> Iterator[Part]:
    """Name the parts of a joined layer after what they connect."""
    n_of_source: dict[str, int] = {}
    for part in found:
        (source,) = part.inputs
        n = n_of_source[source] = n_of_source.get(source, 0) + 1
        yield renamed(
            part, f"{name}_from_{source}" + (f"_{n}" if n > 1 else ""), source
        )
