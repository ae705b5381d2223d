"""Kernels without positions: dense, and one weight a channel."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.kernel import Kernel, Runs
from cnn2snn_brian.projections.order import FloatArray, Shape, by_channel, to_neurons


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

    @property
    def n_targets(self) -> int:
        """All outputs."""
        return len(self.weight)

    @property
    def weights_of_channel(self) -> int:
        """All outputs, for each position."""
        return len(self.weight)

    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the sums."""
        return values.reshape(len(values), -1) @ self.weight.T

    def stored(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights by input neuron."""
        by_place: Any = np.asarray(weight).reshape(-1, *self.input_shape)
        return np.ascontiguousarray(to_neurons(by_place, self.input_shape).T).ravel()

    def from_stored(self, stored: Any) -> npt.NDArray[Any]:
        """Order stored weights as torch does."""
        by_place: Any = np.reshape(stored, (-1, len(self.weight))).T
        if len(self.input_shape) == 3:
            channels, height, width = self.input_shape
            by_place = by_place.reshape(-1, height, width, channels)
            by_place = np.moveaxis(by_place, -1, 1)
        return np.ascontiguousarray(by_place).reshape(self.weight.shape)

    def runs(self) -> Runs:
        """List the synapses: one run for each source."""
        n_out, n_in = self.weight.shape
        source = np.arange(n_in)
        return Runs.ordered(n_in, source, 0, source * n_out, n_out, n_in)

    def reach(self, axis: int) -> None:
        """All positions reach all."""

    def channels_seen(self, values: Any, join: Any) -> Any:
        """All outputs see all."""
        return np.tile(join(values, (0, 1)), (len(self.weight), 1, 1))

    def scaled(self, gain: FloatArray) -> "Dense":
        """Multiply what each output gets."""
        return replace(self, weight=self.weight * gain[:, None])

    def after_scaling(self, gain: FloatArray) -> "Dense":
        """Multiply what each input channel gives."""
        n_positions = self.weight.shape[1] // len(gain)
        return replace(self, weight=self.weight * np.repeat(gain, n_positions))

    def on_channels(self, start: int, n: int) -> "tuple[Dense, int]":
        """Read some of the channels only."""
        shape = (n, *self.input_shape[1:])
        by_channel = self.weight.reshape(len(self.weight), self.input_shape[0], -1)
        weight = by_channel[:, start : start + n].reshape(len(self.weight), -1)
        return replace(self, input_shape=shape, weight=weight), 0


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
    def n_targets(self) -> int:
        """One."""
        return 1

    @property
    def weights_of_channel(self) -> int:
        """One."""
        return 1

    def drive(self, values: FloatArray) -> FloatArray:
        """Multiply each channel."""
        return values * by_channel(self.weight, self.input_shape)

    def stored(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights by channel."""
        return np.array(weight)

    def from_stored(self, stored: Any) -> npt.NDArray[Any]:
        """Order weights by channel."""
        return np.array(stored)

    def runs(self) -> Runs:
        """List the synapses: each neuron has one."""
        n, channels = math.prod(self.input_shape), self.input_shape[0]
        each = np.arange(n)
        return Runs.ordered(n, each, each, each % channels, 1, 1)

    def reach(self, axis: int) -> npt.NDArray[np.bool_]:
        """Each position reaches its like."""
        return np.eye(self.input_shape[1 + axis], dtype=bool)

    def channels_seen(self, values: Any, join: Any) -> Any:
        """Each channel sees its like."""
        return values

    def scaled(self, gain: FloatArray) -> "ByChannel":
        """Multiply each channel."""
        return replace(self, weight=self.weight * gain)

    after_scaling = scaled

    def on_channels(self, start: int, n: int) -> "tuple[ByChannel, int]":
        """Read some of the channels only."""
        shape = (n, *self.input_shape[1:])
        return replace(
            self, input_shape=shape, weight=self.weight[start : start + n]
        ), start
