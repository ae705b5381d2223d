"""
Order of neurons: channels last in Brian2, channels first for people.

Arrays of a layer are in torch's order, (channel, y, x); the neurons of a Brian2 group
are in the order (y, x, channel). `to_neurons` and `from_neurons` convert.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

#: Name of the population that stands for the image.
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


def side(shape: Shape, axis: int) -> int:
    """Give the height or width; a list of numbers is one position."""
    return (*shape[1:], 1, 1)[axis]


def by_channel(value: Any, shape: Shape) -> Any:
    """Shape the numbers of a layer's channels so that they fit its arrays."""
    if np.ndim(value) == 0:
        return value
    return np.reshape(value, (-1, *[1] * (len(shape) - 1)))


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
