"""
What a kernel is, and its synapses as runs.

Neurons are ordered (y, x, channel). With that order the targets of a spike are a few
runs of neighbours, and so are their weights once they are ordered the same way. So a
spike is a few loops over neighbours in memory, and only the beginning and the length of
each run are stored, once for all channels of a position.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent, in_float64, is_large
from cnn2snn_brian.projections.order import FloatArray, Shape

if TYPE_CHECKING:
    from typing_extensions import Self

IntArray = npt.NDArray[np.int32]


def _listed(counts: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """List so many items of each: whose they are, and their number in there."""
    whose = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    ends = np.cumsum(counts, dtype=np.int64)
    return whose, np.arange(len(whose)) - np.repeat(ends - counts, counts)


@dataclass(frozen=True)
class Runs:
    """
    Runs of targets, ordered by source neuron.

    A place is a number of neighbours among the sources, such as the channels of a
    position. Its first source has the runs that are listed, the next ones have the
    same, a step further on.

    Attributes
    ----------
    first : ndarray of int32, shape (n_places + 1,)
        Where the runs of each place begin, and the number of all runs.
    post, weight, length : ndarray of int32, shape (n_runs,)
        First target, first weight in memory, and number of targets of each run.
    channels : int
        Sources of a place.
    post_step, weight_step : int
        How far the targets and weights of a source are from those of the one before.
    """

    first: IntArray
    post: IntArray
    weight: IntArray
    length: IntArray
    channels: int = 1
    post_step: int = 0
    weight_step: int = 0

    @classmethod
    def ordered(
        cls, n_places: int, place: Any, post: Any, weight: Any, length: Any, *sizes: int
    ) -> "Runs":
        """Order runs by place, then by target: that is how memory is read."""
        place, post, weight, length = (
            np.ascontiguousarray(a).ravel().astype(np.int32)
            for a in np.broadcast_arrays(place, post, weight, length)
        )
        order = np.lexsort((post, place))
        first = np.zeros(n_places + 1, np.int32)
        np.cumsum(np.bincount(place, minlength=n_places), out=first[1:])
        return cls(first, post[order], weight[order], length[order], *sizes)

    @property
    def n_sharing(self) -> int:
        """Number of neighbouring sources that reach the same targets."""
        return 1 if self.post_step else self.channels

    def of(self, source: int) -> "Runs":
        """Take the runs of one source."""
        place, channel = divmod(source, self.channels)
        mine = slice(self.first[place], self.first[place + 1])
        return Runs(
            np.array([0, mine.stop - mine.start], np.int32),
            self.post[mine] + np.int32(channel * self.post_step),
            self.weight[mine] + np.int32(channel * self.weight_step),
            self.length[mine],
        )

    def by_source(self) -> "Runs":
        """List the runs of every source: places of one."""
        counts = np.repeat(np.diff(self.first), self.channels)
        source, within = _listed(counts)
        place, channel = np.divmod(source, np.int32(self.channels))
        run = self.first[place] + within
        return Runs(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            self.post[run] + channel * np.int32(self.post_step),
            self.weight[run] + channel * np.int32(self.weight_step),
            self.length[run],
        )

    def expanded(self) -> tuple[IntArray, IntArray, IntArray]:
        """List source, target and weight of all synapses, by source, then by target."""
        each = self.by_source()
        run, within = _listed(each.length)
        source = np.repeat(
            np.arange(len(each.first) - 1, dtype=np.int32), np.diff(each.first)
        )
        post, weight = (
            (begin[run] + within).astype(np.int32) for begin in (each.post, each.weight)
        )
        return source[run], post, weight

    def placed(self, mine: int, start: int, channels: int) -> "Runs":
        """Cut runs over `mine` channels into those of one position in `channels`."""
        # A run starts at any channel of a position, and ends with one or in it.
        n_positions = -(-(self.post % mine + self.length) // mine)
        run, within = _listed(n_positions)
        begin = self.post[run] // mine * mine + within * mine
        first = np.maximum(begin, self.post[run])
        end = np.minimum(begin + mine, (self.post + self.length)[run])
        position, channel = np.divmod(first, mine)
        return replace(
            self,
            first=np.concatenate([[0], np.cumsum(n_positions)])[self.first].astype(
                np.int32
            ),
            post=(position * channels + start + channel).astype(np.int32),
            weight=(self.weight[run] + first - self.post[run]).astype(np.int32),
            length=(end - first).astype(np.int32),
        )


@dataclass(frozen=True, eq=False)
class Kernel(ByContent, ABC):
    """
    Weights that neurons share: what a new kind of kernel has to say.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of what it reads, (channels, height, width) or (n,).
    weight : ndarray of float
        The weights, in torch's order.
    """

    input_shape: Shape
    weight: FloatArray

    #: Kinds by name, for files.
    kinds: ClassVar[dict[str, type["Kernel"]]] = {}
    #: What tables call it.
    label: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        Kernel.kinds[cls.__name__] = cls

    def __post_init__(self) -> None:
        self.freeze("", "weight")

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape of what it gives."""

    @property
    def n_groups(self) -> int:
        """Number of groups of channels."""
        return 1

    @property
    def n_targets(self) -> int:
        """Output channels that an input channel reaches at a position it reaches."""
        return self.shape[0] // self.n_groups

    @property
    def weights_of_channel(self) -> int:
        """Number of weights of an input channel, which are neighbours in memory."""
        return self.n_targets

    @abstractmethod
    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the sums of ``(n, *input_shape)`` values."""

    @abstractmethod
    def table(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights as (group, input, y, x, output)."""

    @abstractmethod
    def from_table(self, table: Any) -> npt.NDArray[Any]:
        """Order weights as torch does; undoes `table`."""

    def in_memory(self, table: Any) -> Any:
        """Order a table as synapses store it; twice changes nothing."""
        return table

    @abstractmethod
    def runs(self) -> Runs:
        """List the synapses as runs."""

    @abstractmethod
    def reach(self, axis: int) -> npt.NDArray[np.bool_]:
        """Say which positions reach which, (n_out, n_in)."""

    def with_table(self, table: Any, **more: Any) -> "Self":
        """Take other weights, ordered as `table` does, and read as many channels."""
        if is_large(self.weight):  # part of it may be small
            table = table.astype(np.float64)
        shape = (table.shape[0] * table.shape[1], *self.input_shape[1:])
        return replace(self, input_shape=shape, weight=self.from_table(table), **more)

    def as_stored(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights as shared synapses store them, in several dimensions."""
        return self.in_memory(self.table(weight))  # type: ignore[no-any-return]

    def from_stored(self, stored: Any) -> npt.NDArray[Any]:
        """Order stored weights as torch does."""
        shape = self.as_stored(self.weight).shape
        return self.from_table(self.in_memory(np.reshape(stored, shape)))

    @property
    def exact(self) -> "Self":
        """The same with weights in float64, to compute others from them."""
        if not is_large(self.weight):
            return self
        return replace(self, weight=in_float64(self.weight))

    def scaled(self, gain: FloatArray) -> "Self":
        """Multiply what each output channel gets."""
        if np.all(gain == 1):
            return self
        gains = np.reshape(gain, (self.n_groups, 1, 1, 1, -1))
        return self.with_table(self.table(self.weight) * gains)

    def after_scaling(self, gain: FloatArray) -> "Self":
        """Multiply what each input channel gives."""
        if np.all(gain == 1):
            return self
        gains = np.reshape(gain, (self.n_groups, -1, 1, 1, 1))
        return self.with_table(self.table(self.weight) * gains)

    def ungrouped(self) -> "Self":
        """Write a grouped kernel as an ordinary one, with zeros between groups."""
        if self.n_groups == 1:
            return self
        groups, n_in, ky, kx, n_out = (table := self.table(self.weight)).shape
        whole = np.zeros((groups, n_in, ky, kx, groups, n_out), table.dtype)
        each = np.arange(groups)
        whole[each, :, :, :, each] = table
        return self.with_table(whole.reshape(1, groups * n_in, ky, kx, groups * n_out))

    def on_channels(self, start: int, n: int) -> "tuple[Self, int]":
        """Read some of the channels only; give the first output channel, too."""
        per_in = self.input_shape[0] // self.n_groups
        if self.n_groups > 1 and start % per_in == 0 and n % per_in == 0:
            # Whole groups have outputs of their own.
            mine = slice(start // per_in, (start + n) // per_in)
            narrow = self.with_table(self.table(self.weight)[mine])
            return narrow, mine.start * self.n_targets
        whole = self.ungrouped()
        return whole.with_table(whole.table(whole.weight)[:, start : start + n]), 0

    def channels_seen(self, values: Any, join: Any) -> Any:
        """Join what the input channels see into what each output channel sees."""
        grouped = values.reshape(self.n_groups, -1, *values.shape[1:])
        return np.repeat(join(grouped, 1), self.n_targets, axis=0)

    def resized(self, shape: Shape) -> "Kernel":
        """Read another height and width."""
        return replace(self, input_shape=(self.input_shape[0], *shape[1:]))


@dataclass(frozen=True, eq=False)
class SpatialKernel(Kernel):
    """
    A kernel that moves over positions: what convolutions of both kinds share.

    Attributes
    ----------
    stride, dilation : tuple of int
        (y, x).
    padding : tuple of tuple of int
        Zeros around the larger side, ((top, bottom), (left, right)).
    groups : int
        Number of groups of channels.

    Raises
    ------
    InputError
        If the shapes don't fit one another.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    #: Whether it goes from what a convolution gives to what that reads.
    is_transposed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        found = (
            f"a kernel of shape {self.weight.shape} in {self.groups} groups does not "
            f"fit an input of shape {self.input_shape}"
        )
        if self.weight.ndim != 4 or len(self.input_shape) != 3:
            raise InputError(found)
        first, second = self.weight.shape[:2]
        n_in, n_out = second * self.groups, first
        if self.is_transposed:
            n_in, n_out = first, second * self.groups
        if n_in != self.input_shape[0] or n_in % self.groups or n_out % self.groups:
            raise InputError(found)
        if min(self.shape) < 1:
            raise InputError(
                f"the kernel {self.weight.shape[2:]} is larger than the padded input "
                f"of shape {self.input_shape}"
            )
        super().__post_init__()

    @property
    def n_groups(self) -> int:
        """Number of groups of channels."""
        return self.groups

    @property
    def axes(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Size, zeros, dilation, taps and stride along y and x."""
        zeros = map(sum, self.padding)
        taps, sizes = self.weight.shape[2:], self.input_shape[1:]
        return zip(sizes, zeros, self.dilation, taps, self.stride, strict=True)

    def taps(self, axis: int) -> tuple[npt.NDArray[np.intp], ...]:
        """Pair the input, output and tap of an axis, without those in the padding."""
        n_read, n_given = self.input_shape[1 + axis], self.shape[1 + axis]
        if self.is_transposed:
            n_read, n_given = n_given, n_read
        size = self.weight.shape[2 + axis]
        given, tap = np.divmod(np.arange(n_given * size), size)
        read = given * self.stride[axis] - self.padding[axis][0]
        read += tap * self.dilation[axis]
        inside = (read >= 0) & (read < n_read)
        ends = read[inside], given[inside]
        return (*(ends[::-1] if self.is_transposed else ends), tap[inside])

    @property
    def weights_of_channel(self) -> int:
        """Taps of all output channels of a group."""
        return int(math.prod(self.weight.shape[2:]) * self.n_targets)

    def table(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights as (group, input, y, x, output)."""
        array = np.asarray(weight)
        grouped = array.reshape(self.groups, -1, *array.shape[1:])
        order = (0, 1, 3, 4, 2) if self.is_transposed else (0, 2, 3, 4, 1)
        return grouped.transpose(order)

    def from_table(self, table: Any) -> npt.NDArray[Any]:
        """Order weights as torch does; undoes `table`."""
        order = (0, 1, 4, 2, 3) if self.is_transposed else (0, 4, 1, 2, 3)
        grouped = table.transpose(order)
        return np.ascontiguousarray(grouped).reshape(-1, *grouped.shape[2:])

    def with_table(self, table: Any, **more: Any) -> "Self":
        """Take other weights, in as many groups and of as many channels."""
        return super().with_table(table, groups=len(table), **more)

    def in_memory(self, table: Any) -> Any:
        """Reverse the taps of rows where a row of targets has them in reverse."""
        return table if self.is_transposed else table[:, :, :, ::-1]

    def reach(self, axis: int) -> npt.NDArray[np.bool_]:
        """Say which positions reach which."""
        position, out, _ = self.taps(axis)
        found = np.zeros((self.shape[1 + axis], self.input_shape[1 + axis]), bool)
        found[out, position] = True
        return found

    @property
    def _rows_are_runs(self) -> bool:
        """Whether the targets of a kernel row are neighbours in memory."""
        stride = 1 if self.is_transposed else self.stride[1]
        return stride == 1 and self.dilation[1] == 1 and self.groups == 1

    def runs(self) -> Runs:
        """List the synapses of a kernel row as one run where that can be."""
        channels, _, width = self.input_shape
        out_channels, _, out_width = self.shape
        per_in, per_out = channels // self.groups, self.n_targets
        ky, kx = self.weight.shape[2:]
        y_in, y_out, tap_y = (a[:, None, None] for a in self.taps(0))
        x_in, x_out, tap_x = self.taps(1)
        if not self.is_transposed:
            tap_x = kx - 1 - tap_x
        n_positions: Any = np.ones_like(x_in)
        if self._rows_are_runs:
            # Of each input position, the first output position; the others follow it.
            by_input = np.lexsort((x_out, x_in))
            _, begin, n_positions = np.unique(
                x_in[by_input], return_index=True, return_counts=True
            )
            x_in, x_out, tap_x = (a[by_input[begin]] for a in (x_in, x_out, tap_x))
        x_in, x_out, tap_x, n_positions = (
            a[None, :, None] for a in (x_in, x_out, tap_x, n_positions)
        )
        # The channels of a group reach the same, and single ones their own.
        per_place = channels if per_in == 1 else per_in
        channel = np.arange(0, channels, per_place)[None, None, :]
        return Runs.ordered(
            math.prod(self.input_shape) // per_place,
            ((y_in * width + x_in) * channels + channel) // per_place,
            (y_out * out_width + x_out) * out_channels + channel // per_in * per_out,
            ((channel * ky + tap_y) * kx + tap_x) * per_out,
            n_positions * per_out,
            per_place,
            per_out if per_in < per_place else 0,
            self.weights_of_channel,
        )
