"""Neurons chosen by place: a column through the layers, some at random."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_known, check_number, check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections.connection import Connection
from cnn2snn_brian.projections.order import INPUT, Shape

Pixels = npt.NDArray[np.int64]

#: A range without pixels: joined with others, it changes nothing.
NOTHING = np.array([np.iinfo(np.int32).max, 0])


@dataclass(frozen=True, eq=False)
class ReceptiveFields(Printed):
    """
    The smallest rectangles of the image that the neurons of a layer see.

    Pixels outside of its rectangle never change the input of a neuron; of those inside,
    dilated kernels leave some out. Channels may differ, as those of a concatenation do.

    Attributes
    ----------
    rows : ndarray of int64, shape (channels, height, 2)
        First pixel row and the one after the last, by channel and row of the layer. A
        linear layer has one row for each unit. A neuron that sees nothing but padding
        has no pixels: its first one comes after its last.
    columns : ndarray of int64, shape (channels, width, 2)
        The same for columns.
    """

    rows: Pixels
    columns: Pixels

    def centres(self, axis: int) -> npt.NDArray[np.float64]:
        """
        Give the centres of the rectangles along an axis.

        Parameters
        ----------
        axis : int
            0 for y, 1 for x.

        Returns
        -------
        ndarray of float64, shape (channels, height) or (channels, width)
            In pixels from the centre of the first one; NaN where nothing is seen.
        """
        first, end = self._ends(axis)
        return np.where(end > first, (first + end - 1) / 2, np.nan)

    def sizes(self, axis: int) -> Pixels:
        """
        Give the sizes of the rectangles along an axis.

        Parameters
        ----------
        axis : int
            0 for y, 1 for x.

        Returns
        -------
        ndarray of int64, shape (channels, height) or (channels, width)
            In pixels.
        """
        first, end = self._ends(axis)
        return np.maximum(end - first, 0)

    def _ends(self, axis: int) -> Pixels:
        return np.moveaxis((self.rows, self.columns)[axis], -1, 0)

    def record(self) -> list[Any]:
        """
        Write them as JSON can hold them, equal channels once.

        Returns
        -------
        list
            Of each run of channels their number, the rows and the columns.
        """
        return self._record

    @cached_property
    def _record(self) -> list[Any]:
        channels = zip(self.rows.tolist(), self.columns.tolist(), strict=True)
        return [[len([*run]), *own] for own, run in groupby(channels)]

    @classmethod
    def of(cls, record: Sequence[Any]) -> "ReceptiveFields":
        """
        Read what `record` wrote.

        Parameters
        ----------
        record : list
            Of each run of channels their number, the rows and the columns.

        Returns
        -------
        ReceptiveFields
            The same.
        """
        runs, *axes = zip(*record, strict=True)
        return cls(*(np.repeat(np.array(axis), runs, axis=0) for axis in axes))


def receptive_fields(
    input_shape: tuple[int, int, int],
    into: Mapping[str, Iterable[tuple[str, Connection]]],
) -> dict[str, ReceptiveFields]:
    """Find what the neurons of all populations see, by what reaches them, in order."""
    n, *sizes = input_shape
    own = [np.stack([np.arange(size), np.arange(size) + 1], 1) for size in sizes]
    found = {INPUT: ReceptiveFields(*(np.stack([axis] * n) for axis in own))}
    for name, connections in into.items():
        reads = [(found[source], connection) for source, connection in connections]
        seen = (
            [_through(connection, fields.rows, 0) for fields, connection in reads],
            [_through(connection, fields.columns, 1) for fields, connection in reads],
        )
        found[name] = ReceptiveFields(*(_hull(np.stack(axis), 0) for axis in seen))
    return found


def _hull(pixels: Pixels, axis: int | tuple[int, ...]) -> Pixels:
    """Join ranges."""
    return np.stack([pixels[..., 0].min(axis), pixels[..., 1].max(axis)], axis=-1)


def _spread(reach: npt.NDArray[np.bool_], source: Pixels) -> Pixels:
    """Join the ranges of all positions that reach a position."""
    found = np.tile(NOTHING, (len(source), len(reach), 1))
    out, position = np.nonzero(reach)
    for mine, own in zip(found, source, strict=True):
        np.minimum.at(mine[:, 0], out, own[position, 0])
        np.maximum.at(mine[:, 1], out, own[position, 1])
    return found


def _through(connection: Connection, source: Pixels, axis: int) -> Pixels:
    """Go through a connection along one axis."""
    if connection.window is not None:
        source = _spread(connection.covered(axis), source)
    if (kernel := connection.kernel) is not None:
        source = _spread(kernel.reach(axis), kernel.channels_seen(source, _hull))
    whole = np.tile(NOTHING, (connection.channels, source.shape[1], 1))
    whole[connection.start : connection.start + len(source)] = source
    return whole


#: Neurons by layer: (channel, y, x), or (unit,) in a linear layer.
Places = dict[str, list[tuple[int, ...]]]


def _chosen(
    shapes: Mapping[str, Shape], layers: Iterable[str] | None, default: list[str]
) -> list[str]:
    if layers is None:
        return default
    names = [layers] if isinstance(layers, str) else list(layers)
    check_known("layer", names, shapes)
    return names


def column(
    fields: Mapping[str, ReceptiveFields],
    shapes: Mapping[str, Shape],
    y: float | None = None,
    x: float | None = None,
    layers: Iterable[str] | None = None,
) -> Places:
    """Choose the neurons of all channels that see one point of the image."""
    maps = [name for name in shapes if name != INPUT and len(shapes[name]) == 3]
    found: Places = {}
    sizes = shapes[INPUT][1:]
    point = [
        (size - 1) / 2
        if given is None
        else check_number(f"{what} of the point in the image", given, 0, size - 1)
        for what, size, given in zip("yx", sizes, (y, x), strict=True)
    ]
    for name in _chosen(shapes, layers, maps):
        if len(shapes[name]) != 3:
            raise InputError(
                f"{name!r} is linear: its neurons have no place in the image"
            )
        rows, columns = (
            _nearest(fields[name].centres(axis), point[axis], sizes[axis])
            for axis in (0, 1)
        )
        found[name] = [*zip(range(len(rows)), rows, columns, strict=True)]
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
    """Choose some neurons of each layer at random."""
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
    """Find neurons in the array of their layer."""
    found = []
    for position in positions:
        at = tuple(position) if isinstance(position, Iterable) else (position,)
        if len(at) != len(shape) or not all(
            isinstance(part, int | np.integer) and 0 <= part < size
            for part, size in zip(at, shape, strict=True)
        ):
            raise InputError(
                f"{what}: {position!r} is not a neuron of a layer of shape {shape}"
            )
        found.append(at)
    each = np.array(found, np.int64).reshape(-1, len(shape))
    return np.asarray(np.ravel_multi_index(tuple(each.T), shape))
