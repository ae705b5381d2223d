"""
Layers of a converted CNN: frozen descriptions with numpy weights.

A layer knows the shape of what goes in and comes out, the names of the layers that it
reads, and its weights. It needs neither torch nor Brian2. Arrays of a layer are in
torch's order, (channel, y, x); the neurons of a Brian2 group are in the order
(y, x, channel), which `to_neurons` and `from_neurons` convert to and from.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from rich.console import Console
from rich.table import Table

from cnn2snn_brian.errors import InputError

__all__ = [
    "INPUT",
    "AvgPool2d",
    "Conv2d",
    "Layer",
    "Layers",
    "Linear",
    "from_neurons",
    "to_neurons",
]

#: Name of the population that stands for the picture.
INPUT = "input"

FloatArray = npt.NDArray[np.floating[Any]]
Shape = tuple[int, ...]


def to_neurons(array: npt.NDArray[Any], shape: Shape) -> npt.NDArray[Any]:
    """
    Order the values of a layer like the neurons of its Brian2 group.

    Parameters
    ----------
    array : ndarray, shape (..., channels, height, width) or (..., n)
        Values in torch's order.
    shape : tuple of int
        Shape of the layer, (channels, height, width) or (n,).

    Returns
    -------
    ndarray, shape (..., n_neurons)
        The same values, channels last.

    Examples
    --------
    >>> to_neurons(np.arange(6).reshape(2, 1, 3), (2, 1, 3))
    array([0, 3, 1, 4, 2, 5])
    """
    lead = array.shape[: array.ndim - len(shape)]
    if len(shape) == 3:
        array = np.moveaxis(array, -3, -1)
    return np.ascontiguousarray(array).reshape(*lead, math.prod(shape))


def from_neurons(array: npt.NDArray[Any], shape: Shape) -> npt.NDArray[Any]:
    """
    Order values of the neurons of a Brian2 group like torch does.

    Parameters
    ----------
    array : ndarray, shape (..., n_neurons)
        Values, channels last.
    shape : tuple of int
        Shape of the layer, (channels, height, width) or (n,).

    Returns
    -------
    ndarray, shape (..., channels, height, width) or (..., n)
        The same values in torch's order.
    """
    lead = array.shape[:-1]
    if len(shape) == 3:
        channels, height, width = shape
        return np.moveaxis(array.reshape(*lead, height, width, channels), -1, -3)
    return array.reshape(*lead, *shape)


class Layer(Protocol):
    """What all layers have in common."""

    @property
    def name(self) -> str:
        """Name of the layer, of its neurons and of its threshold."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the layers that this one reads."""

    @property
    def input_shape(self) -> Shape:
        """Shape of what goes in."""

    @property
    def shape(self) -> Shape:
        """Shape of what comes out."""

    @property
    def bias(self) -> FloatArray | None:
        """Constant input of each neuron, of shape `shape`."""

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""

    def drive(self, activations: FloatArray) -> FloatArray:
        """Input of the neurons without bias, for activations ``(n, *input_shape)``."""

    def fan_out(self) -> npt.NDArray[np.int64]:
        """Count the synapses that leave each input, in an array of its shape."""


def _freeze(layer: object, name: str, value: npt.NDArray[Any]) -> None:
    value = np.array(value, order="C")  # a copy: the caller's stays writable
    value.setflags(write=False)
    object.__setattr__(layer, name, value)


def _check_bias(layer: Layer) -> None:
    if layer.bias is not None:
        if layer.bias.shape != layer.shape:
            message = (
                f"{layer.name}: the bias has the shape {layer.bias.shape}, "
                f"the layer {layer.shape}"
            )
            raise InputError(message)
        _freeze(layer, "bias", layer.bias)


def _taps(n_in: int, n_out: int, kernel: int, stride: int, before: int, dilation: int):  # type: ignore[no-untyped-def]
    """
    Pairs (input, output, tap) of a convolution along one axis, borders left out.

    Ordered by output, then by tap.
    """
    out, tap = np.divmod(np.arange(n_out * kernel), kernel)
    position = out * stride - before + tap * dilation
    inside = (position >= 0) & (position < n_in)
    return position[inside], out[inside], tap[inside]


@dataclass(frozen=True)
class Conv2d:
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
        _freeze(self, "weight", self.weight)
        _check_bias(self)

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
        """
        n = len(activations)
        padded = np.pad(activations, ((0, 0), (0, 0), *self.padding))
        ky, kx = self.weight.shape[2:]
        extent = (self.dilation[0] * (ky - 1) + 1, self.dilation[1] * (kx - 1) + 1)
        windows = sliding_window_view(padded, extent, axis=(2, 3))[  # type: ignore[call-overload]
            :,
            :,
            :: self.stride[0],
            :: self.stride[1],
            :: self.dilation[0],
            :: self.dilation[1],
        ]
        out_channels, height, width = self.shape
        rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(
            n * height * width, self.groups, -1
        )
        kernels = self.weight.reshape(self.groups, out_channels // self.groups, -1)
        out = np.concatenate(
            [rows[:, g] @ kernels[g].T for g in range(self.groups)], axis=1
        )
        return np.moveaxis(out.reshape(n, height, width, out_channels), -1, 1)

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


@dataclass(frozen=True)
class AvgPool2d:
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
            fits = all(0 <= first < end <= size for first, end in windows)
            if not windows or not fits or len(windows) != len(weights):
                message = (
                    f"{self.name}: pooling windows {windows} don't fit an input of "
                    f"shape {self.input_shape}"
                )
                raise InputError(message)

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


@dataclass(frozen=True)
class Linear:
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
            message = (
                f"{self.name}: weights of shape {self.weight.shape} don't fit an "
                f"input of shape {self.input_shape} ({n_in} values)"
            )
            raise InputError(message)
        _freeze(self, "weight", self.weight)
        _check_bias(self)

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


@dataclass(frozen=True)
class Layers:
    """
    All layers of a CNN, in the order in which they are computed.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of a picture, (channels, height, width).
    layers : tuple of Layer
        The layers. ``layers["conv1"]`` and ``layers[0]`` give one of them; ``print``
        shows a table.

    Raises
    ------
    InputError
        If there is no layer, two layers have one name, or a layer reads one that does
        not come before it or has another shape.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[Conv2d | AvgPool2d | Linear, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            message = "a network needs at least one layer"
            raise InputError(message)
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        for layer in self.layers:
            if layer.name in shapes:
                message = f"two layers are named {layer.name!r}"
                raise InputError(message)
            for name in layer.inputs:
                if shapes.get(name) != layer.input_shape:
                    message = (
                        f"{layer.name}: reads {name!r} of shape {shapes.get(name)}, "
                        f"expected {layer.input_shape}"
                    )
                    raise InputError(message)
            shapes[layer.name] = layer.shape

    def __iter__(self) -> Iterator[Conv2d | AvgPool2d | Linear]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, key: str | int) -> Conv2d | AvgPool2d | Linear:
        if isinstance(key, str):
            for layer in self.layers:
                if layer.name == key:
                    return layer
            message = f"there is no layer {key!r}; layers are {', '.join(self.names)}"
            raise KeyError(message)
        return self.layers[key]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return tuple(layer.name for layer in self.layers)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of the input and of every layer, by name."""
        return {INPUT: self.input_shape} | {
            layer.name: layer.shape for layer in self.layers
        }

    @property
    def n_synapses(self) -> int:
        """Number of synapses, the zero padding left out."""
        return sum(int(layer.fan_out().sum()) for layer in self.layers)

    def activations(self, images: FloatArray) -> dict[str, FloatArray]:
        """
        Compute what the CNN computes.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Pictures with pixels in [0, 1].

        Returns
        -------
        dict of str to ndarray of float, shape ``(n, *layer.shape)``
            Activation of every layer. The last layer is not rectified.
        """
        values: dict[str, FloatArray] = {INPUT: images}
        for layer in self.layers:
            drive: FloatArray = sum(  # type: ignore[assignment]
                layer.drive(values[name]) for name in layer.inputs
            )
            if layer.bias is not None:
                drive = drive + layer.bias
            is_last = layer is self.layers[-1]
            values[layer.name] = drive if is_last else np.maximum(drive, 0)
        del values[INPUT]
        return values

    def __str__(self) -> str:
        table = Table(box=None)
        table.add_column("layer")
        table.add_column("kind")
        table.add_column("shape")
        for title in ("neurons", "synapses", "parameters"):
            table.add_column(title, justify="right")
        shape = "x".join(map(str, self.input_shape))
        n_input = math.prod(self.input_shape)
        table.add_row(INPUT, "picture", shape, f"{n_input:,}", "", "")
        totals = np.array([n_input, 0, 0])
        for layer in self.layers:
            counts = (
                math.prod(layer.shape),
                int(layer.fan_out().sum()),
                layer.n_parameters,
            )
            totals += counts
            table.add_row(
                layer.name,
                type(layer).__name__,
                "x".join(map(str, layer.shape)),
                *(f"{count:,}" for count in counts),
            )
        table.add_row("total", "", "", *(f"{total:,}" for total in totals))
        console = Console(width=100, no_color=True)
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip("\n")
