"""Windows in front of a kernel: what each position reads, the same for all channels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent
from cnn2snn_brian.projections.order import FloatArray

#: First position and the one after the last.
Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Window(ByContent):
    """
    A linear map of positions, the same for all channels: one matrix for each axis.

    Average pooling of all kinds (padded, ceil, adaptive, global), zero padding,
    cropping, strided reading, nearest and bilinear upsampling are of this form, and so
    are several of them in a row (`after`).

    Attributes
    ----------
    rows, columns : ndarray of float, shape (n_out, n_in)
        What each output position takes of each input position.

    Raises
    ------
    InputError
        If an axis has no output position or values are not finite.
    """

    rows: FloatArray
    columns: FloatArray

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            shape = getattr(self, name).shape
            if len(shape) != 2 or 0 in shape:
                raise InputError(f"{name} of a window: a matrix of shape {shape}")
            self.freeze("a window: ", name)

    @property
    def axes(self) -> tuple[FloatArray, FloatArray]:
        """The matrices of y and x."""
        return self.rows, self.columns

    @property
    def is_even(self) -> bool:
        """Whether all inputs of an output count alike, as in pooling."""
        return all(
            ((matrix == 0) | (matrix == matrix.max(1, keepdims=True))).all()
            for matrix in self.axes
        )

    @property
    def is_signed(self) -> bool:
        """Whether something is taken off."""
        return any(bool((matrix < 0).any()) for matrix in self.axes)

    def spans(self, axis: int) -> list[Span]:
        """List the first input position and the one after the last, by output."""
        used = self.axes[axis] != 0
        last = used.shape[1] - used[:, ::-1].argmax(1)
        return [*zip(used.argmax(1).tolist(), last.tolist(), strict=True)]

    def drive(self, values: FloatArray) -> FloatArray:
        """Read arrays of shape (..., height, width)."""
        return np.asarray(self.rows @ values @ self.columns.T, dtype=values.dtype)

    def largest(self, values: FloatArray) -> FloatArray:
        """Give the maximum of each window, of arrays (..., height, width)."""
        by_row = np.stack([values[..., a:b, :].max(-2) for a, b in self.spans(0)], -2)
        return np.stack([by_row[..., a:b].max(-1) for a, b in self.spans(1)], -1)

    def after(self, first: "Window | None") -> "Window":
        """Read what another window gives, in one window."""
        if first is None:
            return self
        return Window(self.rows @ first.rows, self.columns @ first.columns)

    def without_zeros(self) -> "tuple[Window | None, tuple[Span, ...]]":
        """Take off zeros around what is read, if there are some: what is left."""
        padding, inner = [], []
        for matrix in self.axes:
            read = np.flatnonzero(matrix.any(1))
            if not len(read):
                return self, ()
            first, end = int(read[0]), int(read[-1]) + 1
            padding.append((first, len(matrix) - end))
            inner.append(matrix[first:end])
        if not np.any(padding):
            return self, ()
        is_all = all(np.array_equal(matrix, np.eye(len(matrix))) for matrix in inner)
        return None if is_all else Window(*inner), tuple(padding)

    def squared(self) -> "Window":
        """Square what is taken: variances add up with that."""
        return Window(np.square(self.rows), np.square(self.columns))


def span_matrix(
    size: int, spans: Iterable[Span], shares: Sequence[float]
) -> FloatArray:
    """Make the matrix of one axis of spans of positions that count alike."""
    spans = tuple(spans)
    fits = all(0 <= first < end <= size for first, end in spans)
    if not spans or not fits or len(spans) != len(shares):
        raise InputError(f"pooling windows {spans} don't fit {size} positions")
    matrix = np.zeros((len(spans), size))
    for out, ((first, end), share) in enumerate(zip(spans, shares, strict=True)):
        matrix[out, first:end] = share
    return matrix


def pool_spans(
    size: int, n_out: int, kernel: int, stride: int, padding: int
) -> list[Span]:
    """List the windows of a pooling along one axis, without what is padded."""
    starts = (out * stride - padding for out in range(n_out))
    return [(max(start, 0), min(start + kernel, size)) for start in starts]


def nearest(size: int, n_out: int) -> FloatArray:
    """Make the matrix of nearest upsampling along one axis, as torch computes it."""
    return np.eye(size)[np.arange(n_out) * size // n_out]
