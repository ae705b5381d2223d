"""Average pooling as a layer."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.layers.base import ByContent, check_windows
from cnn2snn_brian.layers.order import FloatArray

__all__ = ["AvgPool2d"]


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
