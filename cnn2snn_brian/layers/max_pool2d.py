"""Maximum pooling as a layer: a gate that passes the spikes of the busiest input."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.base import ByContent, check_windows
from cnn2snn_brian.layers.order import FloatArray

__all__ = ["PASSED", "GateRule", "MaxPool2d", "check_rule", "pool_windows"]

#: Which spikes pass: those of the input with most spikes so far, or those that make the
#: largest count of a window larger.
GateRule = Literal["gate", "largest-count"]

#: What a spike that passes the gate adds to a neuron of the pooled population. Its
#: threshold is 1 and its reset to 0, so each such spike makes one of its own. The
#: little above 1 is for thresholds by channel, which are rounded.
PASSED = 1 + 2.0**-10


def check_rule(what: str, rule: object) -> None:
    """
    Check the rule of a gate.

    Parameters
    ----------
    what : str
        Name of the argument.
    rule : object
        What was given.

    Raises
    ------
    InputError
        If it is no `GateRule`.
    """
    if rule not in get_args(GateRule):
        message = f"{what}={rule!r}: expected 'gate' or 'largest-count'"
        raise InputError(message)


def pool_windows(
    size: int, n_out: int, kernel: int, stride: int, padding: int
) -> tuple[tuple[int, int], ...]:
    """
    List the windows of a pooling along one axis, without what is padded.

    Parameters
    ----------
    size, n_out : int
        Length of the input and of the output.
    kernel, stride, padding : int
        As in torch.

    Returns
    -------
    tuple of (int, int)
        First input position and the one after the last, for each output position.
    """
    starts = (out * stride - padding for out in range(n_out))
    return tuple((max(start, 0), min(start + kernel, size)) for start in starts)


@dataclass(frozen=True, eq=False)
class MaxPool2d(ByContent):
    """
    Maximum pooling, channel by channel.

    In a spiking network it is a gate [1]_, see `MaxPoolGate`.

    Attributes
    ----------
    name : str
        Name of the layer.
    inputs : tuple of str
        Name of the layer that it reads.
    input_shape : tuple of int
        (channels, height, width) of that layer.
    rows, columns : tuple of tuple of int
        First input position and the one after the last, for each output position.
    rule : {"gate", "largest-count"}
        Which spikes pass.

    Raises
    ------
    InputError
        If a window is empty or outside the input, or the rule is unknown.

    References
    ----------
    .. [1] Rueckauer et al. (2017), Conversion of Continuous-Valued Deep Networks to
       Efficient Event-Driven Networks, doi:10.3389/fnins.2017.00682
    """

    name: str
    inputs: tuple[str, ...]
    input_shape: tuple[int, int, int]
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    rule: GateRule = "gate"
    bias: None = field(default=None, init=False)
    n_parameters: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_rule("rule", self.rule)
        for size, windows in (
            (self.input_shape[1], self.rows),
            (self.input_shape[2], self.columns),
        ):
            check_windows(self, size, windows, len(windows))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the output."""
        return self.input_shape[0], len(self.rows), len(self.columns)

    def axis_matrix(self, axis: int) -> FloatArray:
        """
        Windows of one axis as a matrix.

        Parameters
        ----------
        axis : int
            0 for y, 1 for x.

        Returns
        -------
        ndarray of float, shape (n_out, n_in)
            1 in the windows, 0 outside.
        """
        windows = self.rows if axis == 0 else self.columns
        matrix = np.zeros((len(windows), self.input_shape[1 + axis]))
        for out, (first, end) in enumerate(windows):
            matrix[out, first:end] = 1
        return matrix

    def drive(self, activations: FloatArray) -> FloatArray:
        """
        Compute the largest of each window.

        Parameters
        ----------
        activations : ndarray of float, shape (n, channels, height, width)
            What the layer reads.

        Returns
        -------
        ndarray of float, shape (n, channels, out_height, out_width)
            The maxima.
        """
        by_row = np.stack(
            [activations[:, :, first:end].max(2) for first, end in self.rows], axis=2
        )
        return np.stack(
            [by_row[:, :, :, first:end].max(3) for first, end in self.columns], axis=3
        )

    def fan_out(self) -> npt.NDArray[np.int64]:
        """
        Count the synapses that leave each input.

        Returns
        -------
        ndarray of int64, shape (channels, height, width)
            Number of windows that an input is in.
        """
        rows, columns = (self.axis_matrix(axis).sum(0) for axis in (0, 1))
        return np.broadcast_to(np.outer(rows, columns), self.input_shape).astype(
            np.int64
        )
