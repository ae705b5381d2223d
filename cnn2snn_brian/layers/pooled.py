"""
Average pooling composed with the layer behind it: pooling without neurons.

Pooling is linear. A layer that reads an average can read what was averaged instead,
with the weight of each cell times the share that an input has in the cell.
"""

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
from cnn2snn_brian.layers.placed import Placed

__all__ = ["Pooled"]


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
            message = f"{self.layer.name}: the poolings in front of it don't fit"
            raise InputError(message)

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
