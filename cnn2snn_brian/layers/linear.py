"""A linear (fully connected) layer."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.base import ByContent, check_bias, freeze
from cnn2snn_brian.layers.order import FloatArray, Shape

__all__ = ["Linear"]


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
            message = (
                f"{self.name}: weights of shape {self.weight.shape} don't fit an "
                f"input of shape {self.input_shape} ({n_in} values)"
            )
            raise InputError(message)
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
