"""
Layers that read several others: sums of branches, and concatenations.

A neuron sums what arrives through all its synapses, so a sum of branches needs nothing
but synapses from each of them. A concatenation needs synapses whose targets are some of
the channels only: `Placed`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.base import ByContent, check_bias
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.max_pool2d import MaxPool2d
from cnn2snn_brian.layers.order import FloatArray, Shape
from cnn2snn_brian.layers.placed import Placed
from cnn2snn_brian.layers.pooled import Pooled

__all__ = [
    "AnyLayer",
    "Joined",
    "Part",
    "drive",
    "n_synapses",
    "parts",
    "renamed",
    "reweighted",
    "squared",
]

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
            message = (
                f"{self.name}: its parts have the shapes {sorted(shapes)} and the "
                f"names {', '.join(part.name for part in self.parts)}, expected one "
                "shape and different names"
            )
            raise InputError(message)
        if any(part.bias is not None for part in self.parts):
            message = f"{self.name}: a part has a bias; the joined layer has it"
            raise InputError(message)
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
    """
    List the connections into a layer.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, Linear, Placed, Pooled or Joined
        The layer.

    Returns
    -------
    tuple of Conv2d, AvgPool2d, Linear, Placed or Pooled
        The parts of a joined layer; any other layer is its only part.
    """
    return layer.parts if isinstance(layer, Joined) else (layer,)


def drive(layer: AnyLayer, values: Mapping[str, npt.NDArray[Any]]) -> FloatArray:
    """
    Sum the input of a layer's neurons, without bias.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, Linear, Placed, Pooled or Joined
        The layer.
    values : dict of str to ndarray of float, shape ``(n, *shape)``
        Activations of the layers that it reads; a layer that is missing sends nothing.

    Returns
    -------
    ndarray of float, shape ``(n, *layer.shape)``
        The sum over all parts; of shape (1, ...) and 0 if nothing is sent.
    """
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
    """
    Count the synapses into a layer, the zero padding left out.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, MaxPool2d, Linear, Placed, Pooled or Joined
        The layer.

    Returns
    -------
    int
        Number of synapses of all its parts.
    """
    return sum(int(part.fan_out().sum()) for part in parts(layer))


def renamed(part: Part, name: str, source: str) -> Part:
    """
    Give connections another name and another source.

    Parameters
    ----------
    part : Conv2d, AvgPool2d, Linear, Placed or Pooled
        The connections.
    name : str
        Their name.
    source : str
        Name of the layer that they read.

    Returns
    -------
    Conv2d, AvgPool2d, Linear, Placed or Pooled
        The same connections.
    """
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
    """
    Give a layer other weights.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, Linear, Placed, Pooled or Joined
        The layer.
    change : callable
        Takes the weights of a convolution or linear layer and gives others, of the same
        shape; for each part of the layer in turn. Averages stay as they are.

    Returns
    -------
    Conv2d, AvgPool2d, Linear, Placed, Pooled or Joined
        The same layer with these weights.
    """
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
    """
    Square the weights of a layer: what the variances of its inputs add up with.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, MaxPool2d, Linear, Placed, Pooled or Joined
        The layer.

    Returns
    -------
    Conv2d, AvgPool2d, MaxPool2d, Linear, Placed, Pooled or Joined
        The same layer with these weights; with those of averages squared too.
    """
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
