"""Neurons chosen by place: a column through the layers, some at random."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import INPUT, Shape
from cnn2snn_brian.layers.receptive_fields import ReceptiveFields

__all__ = ["Places", "column", "index_of", "sample"]

#: Neurons by layer: (channel, y, x), or (unit,) in a linear layer.
Places = dict[str, list[tuple[int, ...]]]


def _chosen(
    shapes: Mapping[str, Shape], layers: Iterable[str] | None, default: list[str]
) -> list[str]:
    if layers is None:
        return default
    names = [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        if name not in shapes:
            message = f"there is no layer {name!r}; there are {', '.join(shapes)}"
            raise InputError(message)
    return names


def column(
    fields: Mapping[str, ReceptiveFields],
    shapes: Mapping[str, Shape],
    y: float | None = None,
    x: float | None = None,
    layers: Iterable[str] | None = None,
) -> Places:
    """
    Choose the neurons of all channels that see one point of the image.

    Parameters
    ----------
    fields : dict of str to ReceptiveFields
        Receptive fields of the layers.
    shapes : dict of str to tuple of int
        Shapes of the input and of the layers.
    y, x : float, optional
        The point in pixels, from the centre of the first one; the centre of the image
        by default.
    layers : iterable of str, optional
        Layers of channels (or ``input``); all but the input by default. A linear layer
        has no places.

    Returns
    -------
    dict of str to list of tuple of int
        Of each layer the neurons (channel, y, x) whose receptive fields have their
        centres nearest to the point; of equal ones, those nearest to it on the map of
        the layer.

    Raises
    ------
    InputError
        If the point is outside of the image, or a layer is unknown or linear.
    """
    maps = [name for name in shapes if name != INPUT and len(shapes[name]) == 3]
    found: Places = {}
    sizes = shapes[INPUT][1:]
    try:
        point = [
            (size - 1) / 2 if given is None else float(given)
            for size, given in zip(sizes, (y, x), strict=True)
        ]
    except (TypeError, ValueError) as error:
        message = f"y = {y!r}, x = {x!r}: expected a point of the image, in pixels"
        raise InputError(message) from error
    if not all(0 <= at <= size - 1 for at, size in zip(point, sizes, strict=True)):
        message = (
            f"y = {point[0]:g}, x = {point[1]:g} is not in an image of "
            f"{sizes[0]} x {sizes[1]} pixels"
        )
        raise InputError(message)
    for name in _chosen(shapes, layers, maps):
        if len(shapes[name]) != 3:
            message = f"{name!r} is linear: its neurons have no place in the image"
            raise InputError(message)
        nearest = [
            _nearest(fields[name].centres(axis), point[axis], sizes[axis])
            for axis in (0, 1)
        ]
        found[name] = [
            (channel, row, col)
            for channel, (row, col) in enumerate(zip(*nearest, strict=True))
        ]
    return found


def _nearest(centres: npt.NDArray[np.float64], at: float, size: int) -> list[int]:
    """Of each channel, the position whose centre is nearest to a point."""
    n = centres.shape[1]
    on_map = np.abs((np.arange(n) + 0.5) / n * size - 0.5 - at)
    away = np.nan_to_num(np.abs(centres - at), nan=np.inf)
    return [int(np.lexsort((on_map, own))[0]) for own in away]


def sample(
    shapes: Mapping[str, Shape],
    n: int,
    seed: int = 0,
    layers: Iterable[str] | None = None,
) -> Places:
    """
    Choose some neurons of each layer at random.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Shapes of the input and of the layers.
    n : int
        Neurons of each layer; of a smaller layer all.
    seed : int
        Seed. What is chosen of a layer does not depend on the other layers asked for.
    layers : iterable of str, optional
        Layers (or ``input``); all but the input by default.

    Returns
    -------
    dict of str to list of tuple of int
        (channel, y, x), or (unit,) in a linear layer, each neuron once, in order.

    Raises
    ------
    InputError
        If `n` or `seed` is no whole number, or a layer is unknown.
    """
    n, seed = check_whole("n", n, 1), check_whole("seed", seed, 0)
    found: Places = {}
    names = list(shapes)
    for name in _chosen(shapes, layers, [name for name in names if name != INPUT]):
        size = int(np.prod(shapes[name]))
        rng = np.random.default_rng([seed, names.index(name)])
        index = np.sort(rng.choice(size, min(n, size), replace=False))
        at = np.unravel_index(index, shapes[name])
        found[name] = [*zip(*(axis.tolist() for axis in at), strict=True)]
    return found


def index_of(
    what: str, positions: Iterable[tuple[int, ...]], shape: Shape
) -> npt.NDArray[np.int64]:
    """
    Find neurons in the array of their layer.

    Parameters
    ----------
    what : str
        What they are asked for, as the first words of an error.
    positions : iterable of tuple of int
        (channel, y, x), or (unit,) in a linear layer.
    shape : tuple of int
        Shape of the layer.

    Returns
    -------
    ndarray of int64, shape (n,)
        Indices into the flat array of the layer, in torch's order.

    Raises
    ------
    InputError
        If one is no neuron of the layer.
    """
    found = []
    for position in positions:
        at = tuple(position) if isinstance(position, Iterable) else (position,)
        fits = len(at) == len(shape) and all(
            isinstance(part, int | np.integer) and 0 <= part < size
            for part, size in zip(at, shape, strict=False)
        )
        if not fits:
            message = f"{what}: {position!r} is no neuron of a layer of shape {shape}"
            raise InputError(message)
        found.append(at)
    if not found:
        return np.zeros(0, np.int64)
    return np.ravel_multi_index(tuple(np.array(found).T), shape)
