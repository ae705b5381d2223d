"""A convolution as a layer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.base import ByContent, check_bias, freeze
from cnn2snn_brian.layers.order import FloatArray

__all__ = ["Conv2d"]


def _taps(n_in: int, n_out: int, kernel: int, stride: int, before: int, dilation: int):  # type: ignore[no-untyped-def]
    """
    Pairs (input, output, tap) of a convolution along one axis, borders left out.

    Ordered by output, then by tap.
    """
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
            message = (
                f"{self.name}: a kernel of shape {self.weight.shape} in {self.groups} "
                f"groups does not fit an input of shape {self.input_shape}"
            )
            raise InputError(message)
        if min(self.shape) < 1:
            message = (
                f"{self.name}: the kernel {self.weight.shape[2:]} is larger than the "
                f"padded input of shape {self.input_shape}"
            )
            raise InputError(message)
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
