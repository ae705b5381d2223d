"""
A connection between two populations: window, kernel, place.

Each part is linear and optional, and knows neither torch nor Brian2.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent, in_float64
from cnn2snn_brian.projections.dense import ByChannel, Dense
from cnn2snn_brian.projections.kernel import IntArray, Kernel, Runs
from cnn2snn_brian.projections.order import FloatArray, Shape, side
from cnn2snn_brian.projections.window import Window

#: Brian2 numbers synapses with 32 bits.
MAX_SYNAPSES = 2**31 - 1


@dataclass(frozen=True)
class Cells:
    """
    The cells of a window that each input position is read in.

    Attributes
    ----------
    first : ndarray of int32, shape (n_positions + 1,)
        Where the cells of each position begin.
    cell : ndarray of int32, shape (n_shares,)
        The cells, counted along y, then x.
    share : ndarray of float64, shape (n_shares,)
        What a spike is worth in the cell.
    """

    first: IntArray
    cell: IntArray
    share: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Connection(ByContent):
    """
    All synapses between two populations: ``place(kernel(window(source)))``.

    Without window and kernel each neuron is connected with its like.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of the source, (channels, height, width) or (n,).
    window : Window, optional
        What positions the kernel reads.
    kernel : Kernel, optional
        The weights. A window alone connects channels with their like.
    start : int
        First channel of the target that is reached.
    channels : int
        Channels of the target; by default those that the kernel or window gives.

    Raises
    ------
    InputError
        If the parts don't fit one another.
    """

    input_shape: Shape
    window: Window | None = None
    kernel: Kernel | None = None
    start: int = 0
    channels: int = 0
    #: Shape of what the kernel reads, and of the target's channels that are reached.
    read_shape: Shape = field(init=False)
    own_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        read, window, kernel = self.input_shape, self.window, self.kernel
        if window is not None:
            if tuple(matrix.shape[1] for matrix in window.axes) != read[1:]:
                raise InputError(f"a window does not fit an input of shape {read}")
            read = (read[0], *(len(matrix) for matrix in window.axes))
        if kernel is None and (window is None or not window.is_even):
            # Only even windows have one weight for each target.
            kernel = ByChannel.identity(read)
        if kernel is not None and kernel.input_shape != read:
            raise InputError(
                f"a kernel for an input of shape {kernel.input_shape} reads {read}"
            )
        own = read if kernel is None else kernel.shape
        channels = self.channels or own[0]
        if self.start < 0 or self.start + own[0] > channels:
            found = f"{own[0]} channels from channel {self.start} on"
            raise InputError(f"{found} don't fit into {channels}")
        made = {"kernel": kernel, "channels": channels}
        for name, value in (made | {"read_shape": read, "own_shape": own}).items():
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> Shape:
        """Shape of the target."""
        return (self.channels, *self.own_shape[1:])

    @property
    def is_whole(self) -> bool:
        """Whether all channels of the target are reached."""
        return self.own_shape[0] == self.channels

    @property
    def is_identity(self) -> bool:
        """Whether neurons are connected with their like, and with weight 1."""
        is_one = isinstance(self.kernel, ByChannel) and (self.kernel.weight == 1).all()
        return self.window is None and bool(is_one)

    @property
    def is_one_to_one(self) -> bool:
        """Whether each channel gives to its like, without a factor."""
        kernel = self.kernel
        is_one = isinstance(kernel, ByChannel) and bool((kernel.weight == 1).all())
        return self.is_whole and (kernel is None or is_one)

    @property
    def weight(self) -> FloatArray:
        """The kernel's weights in torch's order, or a window's by target position."""
        if self.kernel is not None:
            return self.kernel.weight
        assert self.window is not None
        rows, columns = (matrix.max(1) for matrix in self.window.axes)
        return np.asarray(np.outer(rows, columns))

    def on_channels(self, start: int, n: int) -> "Connection":
        """Read some of the source's channels only."""
        if (start, n) == (0, self.input_shape[0]):
            return self
        shape, kernel, first = (n, *self.input_shape[1:]), self.kernel, start
        if kernel is not None:
            kernel, first = kernel.on_channels(start, n)
        return Connection(shape, self.window, kernel, self.start + first, self.channels)

    def scaled(self, gain: FloatArray) -> "Connection":
        """Multiply what each channel of the target gets, of those that are reached."""
        kernel = self.kernel or ByChannel.identity(self.read_shape)
        return replace(self, kernel=kernel.scaled(gain))

    def times(self, gain: FloatArray) -> "Connection":
        """Multiply what each channel of the source gives."""
        kernel = self.kernel or ByChannel.identity(self.read_shape)
        return replace(self, kernel=kernel.after_scaling(gain))

    def moved(self, start: int, channels: int) -> "Connection":
        """Reach channels from `start` on, of a target with more of them."""
        return replace(self, start=self.start + start, channels=channels)

    @property
    def n_parameters(self) -> int:
        """Number of the kernel's weights."""
        return 0 if self.kernel is None else self.kernel.weight.size

    @property
    def label(self) -> str:
        """What tables call it."""
        if self.kernel is None:
            return "AvgPool2d"
        return self.kernel.label + (" of averages" if self.window is not None else "")

    def reweighted(self, weight: FloatArray) -> "Connection":
        """Give the kernel other weights, if there is one."""
        if self.kernel is None:
            return self
        return replace(self, kernel=replace(self.kernel, weight=weight))

    def squared(self) -> "Connection":
        """Square all weights: variances of what is sent add up with that."""
        window = None if self.window is None else self.window.squared()
        return replace(
            self.reweighted(np.square(in_float64(self.weight))), window=window
        )

    def after_window(self) -> "Connection":
        """Give what reads the window's output, if a kernel does."""
        if self.window is None or self.kernel is None:
            return self
        return Connection(self.read_shape, None, self.kernel, self.start, self.channels)

    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the input of the target, for ``(n, *input_shape)`` values."""
        if self.window is not None:
            values = self.window.drive(values)
        own = values if self.kernel is None else self.kernel.drive(values)
        if self.is_whole:
            return own
        whole = np.zeros((len(own), *self.shape), own.dtype)
        whole[:, self.start : self.start + own.shape[1]] = own
        return whole

    def covered(self, axis: int) -> npt.NDArray[np.bool_]:
        """Say which positions the kernel reads where, (n_read, n_in)."""
        if self.window is None:
            return np.eye(side(self.input_shape, axis), dtype=bool)
        return self.window.axes[axis] != 0

    def fan_out(self) -> npt.NDArray[np.int64]:
        """Count the synapses that leave each neuron of the source."""
        n_targets = 1 if self.kernel is None else self.kernel.n_targets
        counts = []
        for axis in (0, 1):
            covered = self.covered(axis)
            if self.kernel is not None:
                covered = self.kernel.reach(axis).astype(np.int64) @ covered > 0
            counts.append(covered.sum(0))
        one = np.outer(*counts) * n_targets
        whole = np.broadcast_to(one, (self.input_shape[0], *one.shape))
        return whole.astype(np.int64).reshape(self.input_shape)

    @property
    def n_synapses(self) -> int:
        """Number of synapses, the zero padding left out."""
        return int(self.fan_out().sum())

    def runs(self) -> Runs:
        """List the synapses as runs; after a window, those of its cells."""
        if self.kernel is not None:
            own = self.kernel.runs()
        else:
            assert self.window is not None
            own = self._window_runs(self.window)
        if self.is_whole:
            return own
        return own.placed(self.own_shape[0], self.start, self.channels)

    def _window_runs(self, window: Window) -> Runs:
        (channels, height, width), out_width = self.input_shape, self.own_shape[2]
        y_out, y_in = (a[:, None] for a in np.nonzero(window.rows))
        x_out, x_in = np.nonzero(window.columns)
        place, post = y_in * width + x_in, (y_out * out_width + x_out) * channels
        return Runs.ordered(height * width, place, post, post, 1, channels, 1, 1)

    def cells(self) -> Cells | None:
        """List the cells of each input position, if a kernel reads a window."""
        if self.window is None or self.kernel is None:
            return None
        axes = (sparse.csc_array(matrix) for matrix in self.window.axes)
        shares = sparse.kron(*axes, format="csc")  # (cell, position), by position
        shares.sort_indices()
        first, cell = (a.astype(np.int32) for a in (shares.indptr, shares.indices))
        return Cells(first, cell, shares.data)

    @property
    def weights_of_channel(self) -> int:
        """Number of weights of an input channel, which are neighbours in memory."""
        return 1 if self.kernel is None else self.kernel.weights_of_channel

    def as_stored(self, weight: Any = None) -> npt.NDArray[Any]:
        """Order weights as synapses store them: a view, of several dimensions."""
        weight = self.weight if weight is None else np.asarray(weight)
        if self.kernel is not None:
            return self.kernel.as_stored(weight)
        return np.broadcast_to(weight[..., None], (*weight.shape, self.own_shape[0]))

    def stored(
        self, weight: Any = None, share: FloatArray | None = None
    ) -> npt.NDArray[Any]:
        """Order weights as synapses store them, times a share by input channel."""
        stored = self.as_stored(weight).ravel()
        if share is None:
            return stored
        channel = np.arange(len(stored)) // self.weights_of_channel % len(share)
        return stored * share[channel]

    def from_stored(self, stored: Any) -> npt.NDArray[Any]:
        """Order stored weights as in `weight`."""
        if self.kernel is not None:
            return self.kernel.from_stored(stored)
        return np.reshape(stored, (*self.own_shape[1:], -1))[..., 0]

    def expanded(
        self, weight: Any = None, share: FloatArray | None = None
    ) -> tuple[IntArray, IntArray, npt.NDArray[Any]]:
        """
        List source, target and weight of every synapse, by source, then by target.

        Weights are those given, in torch's order, or else its own.
        """
        if (n := self.n_synapses) > MAX_SYNAPSES:
            raise InputError(
                f"{n:,} explicit synapses, but Brian2 numbers at most {MAX_SYNAPSES:,}"
            )
        pre, post, index = self.runs().expanded()
        values = self.stored(weight)[index]
        if (cells := self.cells()) is not None:
            pre, post, values = self._through_cells(cells, pre, post, values)
        if share is not None:
            values = values * share[pre % len(share)]
        return pre, post, values

    def _through_cells(
        self, cells: Cells, pre: Any, post: Any, weight: Any
    ) -> tuple[IntArray, IntArray, npt.NDArray[Any]]:
        """Multiply the matrices of the window and of the kernel."""
        channels, n_cells = self.input_shape[0], math.prod(self.read_shape[1:])
        n_positions = len(cells.first) - 1
        n_targets = math.prod(self.shape)
        shares = sparse.csc_array(
            (cells.share, cells.cell, cells.first), shape=(n_cells, n_positions)
        )
        found = []
        for kernel, window in (
            (np.ones(len(pre)), shares != 0),
            (weight.astype(np.float64), shares),
        ):
            first = sparse.kron(window, sparse.eye_array(channels), format="csr")
            second = sparse.csr_array(
                (kernel, (post, pre)), shape=(n_targets, n_cells * channels)
            )
            matrix = sparse.csc_array(second @ first)
            matrix.sort_indices()
            source = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
            found.append((source * n_targets + matrix.indices, matrix.data))
        # Products leave out what is exactly 0; weights of 0 are synapses, too.
        (keys, _), (some, values) = found
        whole = np.zeros(len(keys))
        whole[np.searchsorted(keys, some)] = values
        source, target = np.divmod(keys, n_targets)
        return source.astype(np.int32), target.astype(np.int32), whole

    @property
    def _ordered(self) -> Dense | None:
        """The kernel, if each of its weights is one synapse."""
        is_dense = isinstance(self.kernel, Dense) and self.window is None
        return self.kernel if is_dense else None  # type: ignore[return-value]

    @property
    def synapse_shape(self) -> tuple[int, ...]:
        """Shape in which a user sees one weight for each synapse."""
        own = self._ordered
        return (self.n_synapses,) if own is None else own.weight.shape

    def from_synapses(self, weights: Any) -> npt.NDArray[np.float64]:
        """Order one weight for each synapse as a user sees them."""
        values = np.asarray(weights, np.float64)
        return values if (own := self._ordered) is None else own.from_stored(values)

    def to_synapses(self, weights: Any) -> npt.NDArray[np.float64]:
        """Order weights as the synapses are; undoes `from_synapses`."""
        values = np.asarray(weights, np.float64)
        return (
            values if (own := self._ordered) is None else own.as_stored(values).ravel()
        )
