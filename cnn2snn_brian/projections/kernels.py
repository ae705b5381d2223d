"""Maximum pooling as a layer: a gate that passes the spikes of the busiest input."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent, check_bias, check_windows, freeze
from cnn2snn_brian.projections.order import FloatArray, Shape


@dataclass(frozen=True, eq=False)
class Linear(ByContent):
    """
    A linear (fully connected, "inner product") layer.

    Attributes
    ----------
    name : str
        Name of the layer.
    inputs : tuple of str
        Name of the layer that it reads.
    input_shape : tuple of int
        Shape of that layer, (channels, height, width) or (n,). It is flattened in
        torch's order.
    weight : ndarray of float, shape (n_out, n_in)
        The weights, as in torch.
    bias : ndarray of float, shape (n_out,), or None
        Constant input of each neuron.
    n_bias_parameters : int
        Number of trained values behind the bias.

    Raises
    ------
    InputError
        If the shapes don't fit one another.
    """

    name: str
    inputs: tuple[str, ...]
    input_shape: Shape
    weight: FloatArray
    bias: FloatArray | None = None
    n_bias_parameters: int = 0

    def __post_init__(self) -> None:
        n_in = math.prod(self.input_shape)
        if self.weight.ndim != 2 or self.weight.shape[1] != n_in:
            raise InputError(
                f"{self.name}: weights of shape {self.weight.shape} don't fit an "
                f"input of shape {self.input_shape} ({n_in} values)"
            )
        freeze(self, "weight", self.weight)
        check_bias(self)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the output, (n_out,)."""
        return (self.weight.shape[0],)

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return self.weight.size + self.n_bias_parameters

    def drive(self, activations: FloatArray) -> FloatArray:
        """
        Input of the neurons, without bias.

        Parameters
        ----------
        activations : ndarray of float, shape ``(n, *input_shape)``
            What the layer reads.

        Returns
        -------
        ndarray of float, shape (n, n_out)
            The products with the weights.
        """
        return activations.reshape(len(activations), -1) @ self.weight.T

    def fan_out(self) -> npt.NDArray[np.int64]:
        """
        Count the synapses that leave each input.

        Returns
        -------
        ndarray of int64, shape `input_shape`
            `n_out` everywhere.
        """
        return np.full(self.input_shape, self.weight.shape[0], dtype=np.int64)


def _taps(n_in: int, n_out: int, kernel: int, stride: int, before: int, dilation: int):  # type: ignore[no-untyped-def]
    """Pairs (input, output, tap) of a convolution along one axis, borders left out."""
    out, tap = np.divmod(np.arange(n_out * kernel), kernel)
    position = out * stride - before + tap * dilation
    inside = (position >= 0) & (position < n_in)
    return position[inside], out[inside], tap[inside]


@dataclass(frozen=True, eq=False)
class Conv2d(ByContent):
    """
    A convolution.

    Attributes
    ----------
    name : str
        Name of the layer.
    inputs : tuple of str
        Name of the layer that it reads.
    input_shape : tuple of int
        (channels, height, width) of that layer.
    weight : ndarray of float, shape (out_channels, in_channels / groups, ky, kx)
        The kernel, as in torch.
    bias : ndarray of float, shape (out_channels, out_height, out_width), or None
        Constant input of each neuron.
    stride, dilation : tuple of int
        (y, x).
    padding : tuple of tuple of int
        Zeros around the input, ((top, bottom), (left, right)).
    groups : int
        Number of groups of channels.
    n_bias_parameters : int
        Number of trained values behind the bias.

    Raises
    ------
    InputError
        If the shapes don't fit one another.
    """

    name: str
    inputs: tuple[str, ...]
    input_shape: tuple[int, int, int]
    weight: FloatArray
    bias: FloatArray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    n_bias_parameters: int = 0

    def __post_init__(self) -> None:
        if (
            self.weight.ndim != 4
            or len(self.input_shape) != 3
            or self.weight.shape[1] * self.groups != self.input_shape[0]
            or self.weight.shape[0] % self.groups
        ):
            raise InputError(
                f"{self.name}: a kernel of shape {self.weight.shape} in {self.groups} "
                f"groups does not fit an input of shape {self.input_shape}"
            )
        if min(self.shape) < 1:
            raise InputError(
                f"{self.name}: the kernel {self.weight.shape[2:]} is larger than the "
                f"padded input of shape {self.input_shape}"
            )
        freeze(self, "weight", self.weight)
        check_bias(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the output."""
        sizes = [
            (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1
            for size, padding, dilation, kernel, stride in zip(
                self.input_shape[1:],
                self.padding,
                self.dilation,
                self.weight.shape[2:],
                self.stride,
                strict=True,
            )
        ]
        return self.weight.shape[0], sizes[0], sizes[1]

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return self.weight.size + self.n_bias_parameters

    def axis_taps(self, axis: int) -> tuple[npt.NDArray[np.intp], ...]:
        """
        Pairs of input and output positions along one axis.

        Parameters
        ----------
        axis : int
            0 for y, 1 for x.

        Returns
        -------
        position, out, tap : ndarray of int, shape (n_pairs,)
            Input position, output position and kernel row or column, without those
            in the padding; ordered by output position, then by tap.
        """
        position, out, tap = _taps(
            self.input_shape[1 + axis],
            self.shape[1 + axis],
            self.weight.shape[2 + axis],
            self.stride[axis],
            self.padding[axis][0],
            self.dilation[axis],
        )
        return position, out, tap

    def drive(self, activations: FloatArray) -> FloatArray:
        """
        Input of the neurons, without bias.

        Parameters
        ----------
        activations : ndarray of float, shape (n, channels, height, width)
            What the layer reads.

        Returns
        -------
        ndarray of float, shape (n, out_channels, out_height, out_width)
            The cross-correlation with the kernel, as torch computes it.

        Notes
        -----
        The windows of one image at a time are laid out in memory: those of all need
        ``kernel height * kernel width`` times the memory of the input. torch's own
        convolution of float64 numbers lays out all of them.
        """
        out_channels, height, width = self.shape
        ky, kx = self.weight.shape[2:]
        extent = (self.dilation[0] * (ky - 1) + 1, self.dilation[1] * (kx - 1) + 1)
        kernels = self.weight.reshape(self.groups, out_channels // self.groups, -1)
        out = np.empty(
            (len(activations), *kernels.shape[:2], height * width),
            np.result_type(activations, self.weight),
        )
        for image, drive in zip(activations, out, strict=True):
            padded = np.pad(image, ((0, 0), *self.padding))
            windows = sliding_window_view(padded, extent, axis=(1, 2))[  # type: ignore[call-overload]
                :,
                :: self.stride[0],
                :: self.stride[1],
                :: self.dilation[0],
                :: self.dilation[1],
            ]
            columns = windows.transpose(0, 3, 4, 1, 2)
            np.matmul(
                kernels, columns.reshape(self.groups, -1, height * width), out=drive
            )
        return out.reshape(-1, *self.shape)

    def fan_out(self) -> npt.NDArray[np.int64]:
        """
        Count the synapses that leave each input.

        Returns
        -------
        ndarray of int64, shape (channels, height, width)
            Number of output neurons that an input reaches.
        """
        rows, columns = (
            np.bincount(self.axis_taps(axis)[0], minlength=self.input_shape[1 + axis])
            for axis in (0, 1)
        )
        one_channel = np.outer(rows, columns) * (self.weight.shape[0] // self.groups)
        return np.broadcast_to(one_channel, self.input_shape).astype(np.int64)


@dataclass(frozen=True, eq=False)
class AvgPool2d(ByContent):
    """
    Average pooling, channel by channel.

    The windows of an axis are given one by one, so that padding, rounded-up sizes and
    adaptive pooling are all the same thing. The weight of an input in a window is the
    product of a weight for its row and one for its column.

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
    row_weights, column_weights : tuple of float
        Weight of an input, for each output position.

    Raises
    ------
    InputError
        If a window is empty or outside the input.
    """

    name: str
    inputs: tuple[str, ...]
    input_shape: tuple[int, int, int]
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    row_weights: tuple[float, ...]
    column_weights: tuple[float, ...]
    bias: None = field(default=None, init=False)
    n_parameters: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for size, windows, weights in (
            (self.input_shape[1], self.rows, self.row_weights),
            (self.input_shape[2], self.columns, self.column_weights),
        ):
            check_windows(self, size, windows, len(weights))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the output."""
        return self.input_shape[0], len(self.rows), len(self.columns)

    def axis_matrix(self, axis: int) -> FloatArray:
        """
        Weights of one axis as a matrix.

        Parameters
        ----------
        axis : int
            0 for y, 1 for x.

        Returns
        -------
        ndarray of float, shape (n_out, n_in)
            0 outside the windows.
        """
        windows, weights = (
            (self.rows, self.row_weights)
            if axis == 0
            else (self.columns, self.column_weights)
        )
        matrix = np.zeros((len(windows), self.input_shape[1 + axis]))
        for out, ((first, end), weight) in enumerate(
            zip(windows, weights, strict=True)
        ):
            matrix[out, first:end] = weight
        return matrix

    def drive(self, activations: FloatArray) -> FloatArray:
        """
        Input of the neurons.

        Parameters
        ----------
        activations : ndarray of float, shape (n, channels, height, width)
            What the layer reads.

        Returns
        -------
        ndarray of float, shape (n, channels, out_height, out_width)
            The averages.
        """
        return np.asarray(
            self.axis_matrix(0) @ activations @ self.axis_matrix(1).T,
            dtype=activations.dtype,
        )

    def fan_out(self) -> npt.NDArray[np.int64]:
        """
        Count the synapses that leave each input.

        Returns
        -------
        ndarray of int64, shape (channels, height, width)
            Number of windows that an input is in.
        """
        rows, columns = ((self.axis_matrix(axis) != 0).sum(0) for axis in (0, 1))
        return np.broadcast_to(np.outer(rows, columns), self.input_shape).astype(
            np.int64
        )


#: Which spikes pass: those of the input with most spikes so far, or those that make the
#: largest count of a window larger.
GateRule = Literal["gate", "largest-count"]

#: What a spike that passes the gate adds to a neuron of the pooled population. Its
#: threshold is 1 and its reset to 0, so each such spike makes one of its own. The
#: little above 1 is for thresholds by channel, which are rounded.
PASSED = 1 + 2.0**-10


def check_rule(what: str, rule: object) -> None:
    """Check the rule of a gate."""
    if rule not in get_args(GateRule):
        raise InputError(f"{what}={rule!r}: expected 'gate' or 'largest-count'")


def pool_windows(
    size: int, n_out: int, kernel: int, stride: int, padding: int
) -> tuple[tuple[int, int], ...]:
    """List the windows of a pooling along one axis, without what is padded."""
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
