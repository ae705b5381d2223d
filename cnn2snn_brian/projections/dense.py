"""Kernels without positions: dense, and one weight a channel."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import PART, is_large
from cnn2snn_brian.projections.kernel import Kernel, Runs
from cnn2snn_brian.projections.order import FloatArray, Shape, by_channel, side


@dataclass(frozen=True, eq=False)
class Dense(Kernel):
    """
    A weight from each neuron to each other; of shape (n_out, n_in), as in torch.

    What is read is flattened in torch's order.

    Raises
    ------
    InputError
        If the shapes don't fit one another.
    """

    label = "Linear"

    def __post_init__(self) -> None:
        n_in = math.prod(self.input_shape)
        if self.weight.ndim != 2 or self.weight.shape[1] != n_in:
            raise InputError(
                f"weights of shape {self.weight.shape} don't fit an input of shape "
                f"{self.input_shape} ({n_in} values)"
            )
        super().__post_init__()

    @property
    def shape(self) -> Shape:
        """Shape of what it gives."""
        return self.weight.shape[:1]

    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the sums."""
        flat, (n_out, n_in) = values.reshape(len(values), -1), self.weight.shape
        if not is_large(self.weight):
            return flat @ self.weight.T
        sums, n = np.empty((len(flat), n_out)), -(-PART // n_in)
        for part in (slice(k, k + n) for k in range(0, n_out, n)):
            sums[:, part] = flat @ self.weight[part].astype(np.float64).T
        return sums

    def table(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights as (1, input, position, 1, output)."""
        array: Any = np.reshape(weight, (len(self.weight), self.input_shape[0], -1))
        return array.transpose(1, 2, 0)[None, :, :, None]

    def from_table(self, table: Any) -> npt.NDArray[Any]:
        """Order weights as torch does; undoes `table`."""
        by_output = np.moveaxis(table, -1, 0)
        return np.ascontiguousarray(by_output).reshape(len(by_output), -1)

    def in_memory(self, table: Any) -> Any:
        """Order weights by input neuron, channels last."""
        return table.swapaxes(1, 2)

    def runs(self) -> Runs:
        """List the synapses: all sources are one place, with one run."""
        n_out, n_in = self.weight.shape
        return Runs.ordered(1, 0, 0, 0, n_out, n_in, 0, n_out)

    def reach(self, axis: int) -> npt.NDArray[np.bool_]:
        """All positions reach all."""
        return np.ones((1, side(self.input_shape, axis)), bool)


@dataclass(frozen=True, eq=False)
class ByChannel(Kernel):
    """
    One weight a channel, of shape (channels,): an identity, BatchNorm, a 1 x 1 gain.

    Raises
    ------
    InputError
        If there is not one weight for each channel.
    """

    label = "ByChannel"

    def __post_init__(self) -> None:
        if self.weight.shape != self.input_shape[:1]:
            raise InputError(
                f"weights of shape {self.weight.shape}, expected one for each channel "
                f"of {self.input_shape}"
            )
        super().__post_init__()

    @classmethod
    def identity(cls, shape: Shape) -> "ByChannel":
        """Connect each neuron with its like."""
        return cls(shape, np.ones(shape[0]))

    @property
    def shape(self) -> Shape:
        """Shape of what it gives."""
        return self.input_shape

    @property
    def n_groups(self) -> int:
        """Each channel is one."""
        return len(self.weight)

    def drive(self, values: FloatArray) -> FloatArray:
        """Multiply each channel."""
        return values * by_channel(self.weight, self.input_shape)

    def table(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights as (channel, 1, 1, 1, 1)."""
        return np.reshape(weight, (-1, 1, 1, 1, 1))

    def from_table(self, table: Any) -> npt.NDArray[Any]:
        """Order weights by channel."""
        return np.ravel(table)

    def runs(self) -> Runs:
        """List the synapses: each neuron has one."""
        channels, n = self.input_shape[0], math.prod(self.input_shape[1:])
        place = np.arange(n)
        return Runs.ordered(n, place, place * channels, 0, 1, channels, 1, 1)

    def reach(self, axis: int) -> npt.NDArray[np.bool_]:
        """Each position reaches its like."""
        return np.eye(side(self.input_shape, axis), dtype=bool)
