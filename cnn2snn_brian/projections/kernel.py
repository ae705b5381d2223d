"""
What a kernel is, and its synapses as runs.

Neurons are ordered (y, x, channel). With that order the targets of a spike are a few
runs of neighbours, and so are their weights once they are ordered the same way. So a
spike is a few loops over neighbours in memory, and only the beginning and the length of
each run are stored.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent
from cnn2snn_brian.projections.order import FloatArray, Shape

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Runs:
    """
    Runs of targets of all source neurons, ordered by source neuron.

    Attributes
    ----------
    first : ndarray of int32, shape (n_sources + 1,)
        Where the runs of each source begin, and the number of all runs.
    post, weight, length : ndarray of int32, shape (n_runs,)
        First target, first weight in memory, and number of targets of each run.
    channels : int
        Neighbouring sources whose runs reach the same targets.
    """

    first: IntArray
    post: IntArray
    weight: IntArray
    length: IntArray
    channels: int

    @classmethod
    def ordered(
        cls,
        n_sources: int,
        pre: Any,
        post: Any,
        weight: Any,
        length: Any,
        channels: int,
    ) -> "Runs":
        """Order runs by source, then by target: that is how memory is read."""
        pre, post, weight, length = (
            np.ascontiguousarray(a).ravel().astype(np.int32)
            for a in np.broadcast_arrays(pre, post, weight, length)
        )
        order = np.lexsort((post, pre))
        first = np.zeros(n_sources + 1, np.int32)
        np.cumsum(np.bincount(pre, minlength=n_sources), out=first[1:])
        return cls(first, post[order], weight[order], length[order], channels)

    def expanded(self) -> tuple[IntArray, IntArray, IntArray]:
        """List source, target and weight of all synapses, by source, then by target."""
        source = np.repeat(
            np.arange(len(self.first) - 1, dtype=np.int32), np.diff(self.first)
        )
        ends = np.cumsum(self.length, dtype=np.int64)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(
            ends - self.length, self.length
        )
        post, weight = (
            (np.repeat(begin, self.length) + within).astype(np.int32)
            for begin in (self.post, self.weight)
        )
        return np.repeat(source, self.length), post, weight

    def placed(self, mine: int, start: int, channels: int) -> "Runs":
        """Cut runs over `mine` channels into those of one position in `channels`."""
        # A run starts at any channel of a position, and ends with one or in it.
        n_places = -(-(self.post % mine + self.length) // mine)
        run = np.repeat(np.arange(len(self.post)), n_places)
        ends = np.cumsum(n_places)
        within = np.arange(len(run)) - np.repeat(ends - n_places, n_places)
        begin = self.post[run] // mine * mine + within * mine
        first = np.maximum(begin, self.post[run])
        end = np.minimum(begin + mine, (self.post + self.length)[run])
        place, channel = np.divmod(first, mine)
        return Runs(
            np.concatenate([[0], ends])[self.first].astype(np.int32),
            (place * channels + start + channel).astype(np.int32),
            (self.weight[run] + first - self.post[run]).astype(np.int32),
            (end - first).astype(np.int32),
            self.channels,
        )


@dataclass(frozen=True, eq=False)
class Kernel(ByContent):
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
    def shape(self) -> Shape:
        """Shape of what it gives."""
        raise NotImplementedError

    @property
    def n_targets(self) -> int:
        """Output channels that an input channel reaches at a position it reaches."""
        raise NotImplementedError

    @property
    def weights_of_channel(self) -> int:
        """Number of weights of an input channel, which are neighbours in memory."""
        raise NotImplementedError

    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the sums of (n, *input_shape) values."""
        raise NotImplementedError

    def stored(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights as shared synapses store them."""
        raise NotImplementedError

    def from_stored(self, stored: Any) -> npt.NDArray[Any]:
        """Order stored weights as torch does."""
        raise NotImplementedError

    def runs(self) -> Runs:
        """List the synapses as runs."""
        raise NotImplementedError

    def reach(self, axis: int) -> npt.NDArray[np.bool_] | None:
        """Say which positions reach which, (n_out, n_in); None if all reach all."""
        raise NotImplementedError

    def channels_seen(self, values: Any, join: Any) -> Any:
        """Join what the input channels see into what each output channel sees."""
        raise NotImplementedError

    def scaled(self, gain: FloatArray) -> "Kernel":
        """Multiply what each output channel gets."""
        raise NotImplementedError

    def after_scaling(self, gain: FloatArray) -> "Kernel":
        """Multiply what each input channel gives."""
        raise NotImplementedError

    def on_channels(self, start: int, n: int) -> "tuple[Kernel, int]":
        """Read some of the channels only; give the first output channel, too."""
        raise NotImplementedError

    def resized(self, shape: Shape) -> "Kernel":
        """Read another height and width."""
        return replace(self, input_shape=(self.input_shape[0], *shape[1:]))


def taps(
    n_in: int, n_out: int, size: int, stride: int, before: int, dilation: int
) -> tuple[npt.NDArray[np.intp], ...]:
    """Pair the input, output and tap of a convolution along an axis, by output."""
    out, tap = np.divmod(np.arange(n_out * size), size)
    position = out * stride - before + tap * dilation
    inside = (position >= 0) & (position < n_in)
    return position[inside], out[inside], tap[inside]


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

    #: Where the weights of (group, input, output) are in torch's array of weights.
    in_first: ClassVar[bool]
    #: Whether a row of targets has the taps of a row in reverse.
    reverses: ClassVar[bool]

    def __post_init__(self) -> None:
        found = (
            f"a kernel of shape {self.weight.shape} in {self.groups} groups does not "
            f"fit an input of shape {self.input_shape}"
        )
        if self.weight.ndim != 4 or len(self.input_shape) != 3:
            raise InputError(found)
        n_in, n_out = self._n_channels
        if n_in != self.input_shape[0] or n_in % self.groups or n_out % self.groups:
            raise InputError(found)
        if min(self.shape) < 1:
            raise InputError(
                f"the kernel {self.weight.shape[2:]} is larger than the padded input "
                f"of shape {self.input_shape}"
            )
        super().__post_init__()

    @property
    def _n_channels(self) -> tuple[int, int]:
        first, second = self.weight.shape[:2]
        if self.in_first:
            return first, second * self.groups
        return second * self.groups, first

    def taps(self, axis: int) -> tuple[npt.NDArray[np.intp], ...]:
        """Pair the input, output and tap of an axis, without those in the padding."""
        raise NotImplementedError

    @property
    def n_targets(self) -> int:
        """Output channels of a group."""
        return self._n_channels[1] // self.groups

    @property
    def weights_of_channel(self) -> int:
        """Taps of all output channels of a group."""
        ky, kx = self.weight.shape[2:]
        return int(ky * kx * self.n_targets)

    def table(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights as (group, input, y, x, output)."""
        array = np.asarray(weight)
        first, second, ky, kx = array.shape
        grouped = array.reshape(self.groups, first // self.groups, second, ky, kx)
        return grouped.transpose((0, 1, 3, 4, 2) if self.in_first else (0, 2, 3, 4, 1))

    def from_table(self, table: Any) -> npt.NDArray[Any]:
        """Order weights as torch does; undoes `table`."""
        grouped = table.transpose((0, 1, 4, 2, 3) if self.in_first else (0, 4, 1, 2, 3))
        return np.ascontiguousarray(grouped).reshape(-1, *grouped.shape[2:])

    def _turned(self, table: Any) -> Any:
        """Reverse the taps of rows where a row of targets has them in reverse."""
        return table[:, :, :, ::-1] if self.reverses else table

    def stored(self, weight: Any) -> npt.NDArray[Any]:
        """Order weights by input channel, tap and output channel."""
        return np.ascontiguousarray(self._turned(self.table(weight))).ravel()

    def from_stored(self, stored: Any) -> npt.NDArray[Any]:
        """Order stored weights as torch does."""
        table = np.reshape(stored, self.table(self.weight).shape)
        return self.from_table(self._turned(table))

    def reach(self, axis: int) -> npt.NDArray[np.bool_]:
        """Say which positions reach which."""
        position, out, _ = self.taps(axis)
        found = np.zeros((self.shape[1 + axis], self.input_shape[1 + axis]), bool)
        found[out, position] = True
        return found

    def channels_seen(self, values: Any, join: Any) -> Any:
        """Join the channels of each group."""
        grouped = values.reshape(self.groups, -1, *values.shape[1:])
        return np.repeat(join(grouped, 1), self.n_targets, axis=0)

    @property
    def _rows_are_runs(self) -> bool:
        """Whether the targets of a kernel row are neighbours in memory."""
        stride = self.stride[1] if self.reverses else 1
        return stride == 1 and self.dilation[1] == 1 and self.groups == 1

    def runs(self) -> Runs:
        """List the synapses of a kernel row as one run where that can be."""
        channels, _, width = self.input_shape
        out_channels, _, out_width = self.shape
        per_in, per_out = channels // self.groups, self.n_targets
        ky, kx = self.weight.shape[2:]
        y_in, y_out, tap_y = (a[:, None, None] for a in self.taps(0))
        x_in, x_out, tap_x = self.taps(1)
        if self.reverses:
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
        channel = np.arange(channels)[None, None, :]
        return Runs.ordered(
            int(np.prod(self.input_shape)),
            (y_in * width + x_in) * channels + channel,
            (y_out * out_width + x_out) * out_channels + channel // per_in * per_out,
            ((channel * ky + tap_y) * kx + tap_x) * per_out,
            n_positions * per_out,
            per_in,
        )

    def scaled(self, gain: FloatArray) -> "SpatialKernel":
        """Multiply what each output channel gets."""
        table = self.table(self.weight) * gain.reshape(self.groups, 1, 1, 1, -1)
        return replace(self, weight=self.from_table(table))

    def after_scaling(self, gain: FloatArray) -> "SpatialKernel":
        """Multiply what each input channel gives."""
        table = self.table(self.weight) * gain.reshape(self.groups, -1, 1, 1, 1)
        return replace(self, weight=self.from_table(table))

    def ungrouped(self) -> "SpatialKernel":
        """Write a grouped kernel as an ordinary one, with zeros between groups."""
        if self.groups == 1:
            return self
        groups, n_in, ky, kx, n_out = (table := self.table(self.weight)).shape
        whole = np.zeros((groups, n_in, ky, kx, groups, n_out), table.dtype)
        each = np.arange(groups)
        whole[each, :, :, :, each] = table
        whole = whole.reshape(1, groups * n_in, ky, kx, groups * n_out)
        return replace(self, groups=1, weight=self.from_table(whole))

    def on_channels(self, start: int, n: int) -> "tuple[SpatialKernel, int]":
        """Read some of the channels only; whole groups have outputs of their own."""
        shape = (n, *self.input_shape[1:])
        per_in = self.input_shape[0] // self.groups
        if self.groups > 1 and start % per_in == 0 and n % per_in == 0:
            mine = slice(start // per_in, (start + n) // per_in)
            weight = self.from_table(self.table(self.weight)[mine])
            groups = n // per_in
            narrow = replace(self, input_shape=shape, weight=weight, groups=groups)
            return narrow, mine.start * self.n_targets
        whole = self.ungrouped()
        weight = self.from_table(whole.table(whole.weight)[:, start : start + n])
        return replace(whole, input_shape=shape, weight=weight), 0
