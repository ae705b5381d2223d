"""
What is between the populations of a CNN: sums of connections, as one linear map.

A convolution or a linear layer makes no neurons: only what follows it does, if that is
a ReLU. Until then BatchNorm, sums with other branches and concatenations are part of
the same linear map: a `Value`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.projections.base import in_float64
from cnn2snn_brian.projections.connection import Connection
from cnn2snn_brian.projections.convolution import Convolution
from cnn2snn_brian.projections.dense import ByChannel, Dense
from cnn2snn_brian.projections.kernel import Kernel, SpatialKernel
from cnn2snn_brian.projections.order import INPUT, FloatArray, Shape, by_channel
from cnn2snn_brian.projections.window import Window


def is_pointwise(kernel: Kernel | None) -> bool:
    """Say whether a kernel treats all positions alike and apart."""
    if isinstance(kernel, Convolution):
        ones = kernel.weight.shape[2:] == kernel.stride == (1, 1)
        return ones and not np.any(kernel.padding)
    return kernel is None or isinstance(kernel, ByChannel)


def _is_depthwise(kernel: Kernel) -> bool:
    return isinstance(kernel, Convolution) and kernel.weight.shape[1] == 1


def is_gain(kernel: Kernel | None) -> bool:
    """Say whether a kernel does no more than to scale channels."""
    return kernel is None or _gain(kernel) is not None


def _gain(kernel: Kernel | None) -> FloatArray | None:
    """Give the factors of the channels, if a kernel is no more than that."""
    if kernel is None or isinstance(kernel, ByChannel):
        return None if kernel is None else kernel.weight
    if kernel.shape != kernel.input_shape or not is_pointwise(kernel):
        return None
    if _is_depthwise(kernel):
        return kernel.weight.ravel()
    matrix = kernel.weight[:, :, 0, 0]
    is_diagonal = kernel.n_groups == 1 and (matrix == np.diag(np.diag(matrix))).all()
    return np.diag(in_float64(matrix)) if is_diagonal else None


def simplest(connection: Connection) -> Connection:
    """Write a kernel that only scales channels as such."""
    if (gain := _gain(connection.kernel)) is None:
        return connection
    return replace(connection, kernel=ByChannel(connection.read_shape, gain))


#: Most weights of two kernels that are put together.
MAX_WEIGHTS = 2**27


def composed(first: Kernel, second: Kernel) -> Kernel | None:
    """Put two kernels together, one after the other, if that is one kernel."""
    if (gain := _gain(first)) is not None:
        return second.after_scaling(gain)
    if isinstance(second, ByChannel):
        return first.scaled(second.weight)
    first, second = first.exact, second.exact
    if isinstance(first, Dense) and isinstance(second, Dense):
        return replace(first, weight=second.weight @ first.weight)
    if not (isinstance(first, SpatialKernel) and isinstance(second, SpatialKernel)):
        return None
    n_in, n_out = first.input_shape[0], second.shape[0]
    n_taps = math.prod(first.weight.shape[2:]) * math.prod(second.weight.shape[2:])
    if n_in * n_out * n_taps > MAX_WEIGHTS:
        return None
    if is_pointwise(first):
        return _after_pointwise(first, second)
    if not isinstance(second, Convolution) or second.weight.shape[2:] != (1, 1):
        return None
    return None if np.any(second.padding) else _then_pointwise(first, second)


def _after_pointwise(first: SpatialKernel, second: SpatialKernel) -> Kernel:
    """Let a kernel read what a pointwise one gives."""
    if first.groups == 1 and _is_depthwise(second):
        n_each = len(second.weight) // len(first.weight)
        kernel = second.weight * np.repeat(first.weight, n_each, axis=0)
        return replace(second, input_shape=first.input_shape, weight=kernel, groups=1)
    one, two = _same_groups(first, second)
    groups, _, y, x, n_out = two.shape
    table = one[:, :, 0, 0] @ two.reshape(groups, -1, y * x * n_out)
    return second.with_table(table.reshape(groups, -1, y, x, n_out))


def _then_pointwise(first: SpatialKernel, second: Convolution) -> Kernel | None:
    """Let a pointwise kernel read what another one gives."""
    if _is_depthwise(first) and second.groups == 1 and second.stride == (1, 1):
        each = second.weight[:, :, 0, 0, None, None] * first.weight[None, :, 0]
        if each.shape[1] > first.groups:
            # An input channel has several outputs, one after another.
            each = each.reshape(len(each), first.groups, -1, *each.shape[2:]).sum(2)
        return replace(first, weight=each, groups=1)
    stride = first.stride
    if second.stride != (1, 1):
        if first.is_transposed:
            return None
        (y, x), (more_y, more_x) = stride, second.stride
        stride = y * more_y, x * more_x
    one, two = _same_groups(first, second)
    groups, _, y, x, n_between = one.shape
    table = one.reshape(groups, -1, n_between) @ two[:, :, 0, 0]
    whole = first.with_table(table.reshape(groups, -1, y, x, table.shape[-1]))
    return replace(whole, stride=stride)


def _same_groups(*kernels: Kernel) -> list[npt.NDArray[Any]]:
    """Give the tables of kernels that follow one another, in as many groups."""
    groups = math.gcd(*(kernel.n_groups for kernel in kernels))
    tables = []
    for kernel in kernels:
        table = kernel.table(kernel.weight)
        each = np.arange(n := len(table) // groups)
        _, n_in, y, x, n_out = table.shape
        whole = np.zeros((groups, n, n_in, y, x, n, n_out), table.dtype)
        own = table.reshape(groups, n, *table.shape[1:])
        whole[:, each, :, :, :, each] = own.swapaxes(0, 1)
        tables.append(whole.reshape(groups, n * n_in, y, x, n * n_out))
    return tables


def as_convolution(kernel: Kernel | None) -> SpatialKernel | None:
    """Write a gain of each channel as a convolution; None for what can't be one."""
    if isinstance(kernel, ByChannel) and len(kernel.input_shape) == 3:
        weight = kernel.weight.reshape(-1, 1, 1, 1)
        return Convolution(kernel.input_shape, weight, groups=len(weight))
    return kernel if isinstance(kernel, SpatialKernel) else None


def summed(one: Kernel | None, other: Kernel | None) -> Kernel | None:
    """Put two kernels of one population together, side by side, if they fit."""
    one, other = one and one.exact, other and other.exact
    if isinstance(one, ByChannel | Dense) and type(one) is type(other):
        return replace(one, weight=one.weight + other.weight)
    one, other = as_convolution(one), as_convolution(other)
    if one is None or other is None or type(one) is not type(other):
        return None
    if one.weight.shape[2:] < other.weight.shape[2:]:
        one, other = other, one
    if one.groups != other.groups:
        one, other = one.ungrouped(), other.ungrouped()
    geometry = attrgetter("weight.shape", "stride", "padding", "dilation")
    if geometry(one) == geometry(other):
        return replace(one, weight=one.weight + other.weight)
    (y, rest_y), (x, rest_x) = (
        divmod(before, dilation)
        for (before, _), dilation in zip(one.padding, one.dilation, strict=True)
    )
    ky, kx = one.weight.shape[2:]
    fits = isinstance(one, Convolution) and other.weight.shape[2:] == (1, 1)
    fits = fits and other.stride == one.stride and not np.any(other.padding)
    if not fits or rest_y or rest_x or y >= ky or x >= kx:
        return None
    weight = one.weight.copy()
    weight[:, :, y, x] += other.weight[:, :, 0, 0]
    return replace(one, weight=weight)


def then(first: Connection, second: Connection) -> Connection | None:
    """Put two connections one after the other, if that has the form of one."""
    narrow = second.on_channels(first.start, first.own_shape[0])
    found = _composed(first, narrow)
    if found is None and (read := _by_window(first)) is not None:
        found = _composed(read, narrow)
    return found


def _composed(first: Connection, narrow: Connection) -> Connection | None:
    kernel, window = first.kernel, first.window
    if narrow.window is not None:
        if not is_pointwise(kernel):
            return None
        kernel = kernel and kernel.resized(narrow.read_shape)
        window = narrow.window.after(window)
    second = narrow.kernel
    if window is not None and isinstance(second, Convolution) and is_pointwise(kernel):
        window, zeros = window.without_zeros()
        second = second.padded(zeros)
        kernel = kernel and kernel.resized(second.input_shape)
    if kernel is None or second is None:
        kernel = kernel or second
    elif (kernel := composed(kernel, second)) is None:
        return None
    if window is not None and isinstance(kernel, ByChannel) and window.is_even:
        kernel = None if (kernel.weight == 1).all() else kernel
    return Connection(first.input_shape, window, kernel, narrow.start, narrow.channels)


def _by_window(connection: Connection) -> Connection | None:
    """Write what a kernel does with positions as a window, if all do the same."""
    kernel = connection.kernel
    if not isinstance(kernel, Convolution) or is_pointwise(kernel):
        return None
    taps = kernel.weight.reshape(-1, *kernel.weight.shape[2:])
    if kernel.weight.shape[2:] == (1, 1):
        one, rest = np.ones((1, 1)), kernel.weight
    elif _is_depthwise(kernel) and np.array_equal(taps, taps[:1].repeat(len(taps), 0)):
        one, rest = taps[0], np.ones((len(taps), 1, 1, 1))
    else:
        return None
    # Of rank 1: its largest column times a row.
    y, x = np.unravel_index(np.abs(one).argmax(), one.shape)
    if not one[y, x] or not np.allclose(
        np.outer(one[:, x], one[y] / one[y, x]), one, rtol=1e-15, atol=0
    ):
        return None
    matrices = []
    for axis, values in enumerate((one[:, x], one[y] / one[y, x])):
        matrix = np.zeros((kernel.shape[1 + axis], kernel.input_shape[1 + axis]))
        read, given, tap = kernel.taps(axis)
        matrix[given, read] = values[tap]
        matrices.append(matrix)
    shape = (kernel.input_shape[0], *kernel.shape[1:])
    return replace(
        connection,
        window=Window(*matrices).after(connection.window),
        kernel=Convolution(shape, rest, groups=kernel.groups),
    )


@dataclass(frozen=True, eq=False)
class Term:
    """What a population adds to a value, and where in the CNN that comes from."""

    source: str
    connection: Connection
    where: str = ""


@dataclass(frozen=True, eq=False)
class Value:
    """
    A tensor of the CNN: a sum of terms, and a constant.

    Attributes
    ----------
    shape : tuple of int
        Its shape without the batch; before Flatten, if it was flattened.
    terms : tuple of Term
        What is added up.
    bias : ndarray of float64, of shape `shape`, or None
        What is added to that.
    n_biases : int
        Number of trained values in the bias.
    name : str
        Name for the neurons that a ReLU makes of it.
    is_flat : bool
        Whether it was flattened.
    """

    shape: Shape
    terms: tuple[Term, ...]
    bias: FloatArray | None = None
    n_biases: int = 0
    name: str = ""
    is_flat: bool = False

    @classmethod
    def of(cls, source: str, shape: Shape, where: str = "") -> "Value":
        """Take a population as it is."""
        return cls(shape, (Term(source, Connection(shape), where),))

    @property
    def is_rectified(self) -> bool:
        """Whether it is a sum of activations, which are never negative."""
        return self.bias is None and all(takes(t.connection) for t in self.terms)

    @property
    def is_nonnegative(self) -> bool:
        """Whether nothing is taken off activations, so that a rate can say it."""
        parts = [self.bias] + [term.connection.weight for term in self.terms]
        windows = [term.connection.window for term in self.terms]
        parts += [matrix for window in windows if window for matrix in window.axes]
        return all(part is None or part.min() >= 0 for part in parts)

    @property
    def is_bare(self) -> bool:
        """Whether it is one population, or parts of several side by side."""
        if not self.is_rectified:
            return False
        covered = np.zeros(self.shape[0], int)
        for connection in (term.connection for term in self.terms):
            end = connection.start + connection.own_shape[0]
            weight: Any = connection.weight
            covered[connection.start : end] += weight.reshape(len(weight), -1).any(1)
        return bool((covered <= 1).all())

    def through(
        self,
        connection: Connection,
        where: str,
        name: str = "",
        bias: FloatArray | None = None,
        n_biases: int = 0,
    ) -> "Value | Term":
        """Let a connection read it; give the term that it can't be composed with."""
        terms = []
        for term in self.terms:
            one = then(term.connection, connection)
            if one is None:
                return term
            terms.append(Term(term.source, one, where))
        if self.bias is not None:
            # Padding is of zeros: at the border a neuron gets a share of the bias.
            before = connection.drive(self.bias[None])[0]
            bias = before if bias is None else before + bias
        n_biases += self.n_biases
        return Value(connection.shape, tuple(terms), bias, n_biases, name)

    def taken(self, connection: Connection) -> "Value | Term":
        """Take channels and positions by a connection that does nothing else."""
        found = self.through(connection, "", self.name)
        if isinstance(found, Term):
            return found
        terms = [
            replace(new, connection=part, where=term.where)
            for new, term in zip(found.terms, self.terms, strict=True)
            if (part := _reaching(new.connection)) is not None
        ]
        kept = tuple(terms) or found.terms[:1]
        return replace(found, terms=kept)

    def scaled(self, gain: FloatArray, shift: FloatArray, name: str) -> "Value":
        """Multiply and shift each channel."""
        terms = []
        for term in self.terms:
            start, n = term.connection.start, term.connection.own_shape[0]
            scaled = term.connection.scaled(gain[start : start + n])
            terms.append(replace(term, connection=scaled))
        bias = np.zeros(self.shape) if self.bias is None else self.bias
        bias = bias * by_channel(gain, self.shape) + by_channel(shift, self.shape)
        return replace(
            self, terms=tuple(terms), bias=bias, n_biases=len(gain), name=name
        )

    def times(self, gain: float) -> "Value":
        """Multiply all with a number."""
        if gain == 1:
            return self
        terms = tuple(
            replace(term, connection=own.scaled(np.full(own.own_shape[0], gain)))
            for term in self.terms
            for own in [term.connection]
        )
        return replace(
            self, terms=terms, bias=None if self.bias is None else gain * self.bias
        )

    def plus(self, other: "Value", name: str) -> "Value":
        """Add another value of the same shape."""
        biases = [value.bias for value in (self, other) if value.bias is not None]
        return replace(
            self,
            terms=self.terms + other.terms,
            bias=sum(biases[1:], biases[0]) if biases else None,
            n_biases=self.n_biases + other.n_biases,
            name=name,
        )

    @staticmethod
    def side_by_side(values: "Sequence[Value]") -> "Value":
        """Concatenate values over channels."""
        starts = np.cumsum([0, *(value.shape[0] for value in values)]).tolist()
        terms = [
            replace(term, connection=term.connection.moved(start, starts[-1]))
            for start, value in zip(starts[:-1], values, strict=True)
            for term in value.terms
        ]
        biases = [np.zeros(v.shape) if v.bias is None else v.bias for v in values]
        has_bias = any(value.bias is not None for value in values)
        bias = np.concatenate(biases) if has_bias else None
        shape = (starts[-1], *values[0].shape[1:])
        n_biases = sum(value.n_biases for value in values)
        return Value(shape, tuple(terms), bias, n_biases, is_flat=values[0].is_flat)

    def connections(self) -> list[tuple[str, Connection]]:
        """List what each population adds, in one connection where that can be."""
        found: list[tuple[str, Connection]] = []
        for term in self.terms:
            mine = term.connection
            for index, (source, other) in enumerate(found):
                one = _added(other, mine) if source == term.source else None
                if one is not None:
                    found[index] = (source, one)
                    break
            else:
                found.append((term.source, mine))
        return [(source, simplest(connection)) for source, connection in found]


def takes(connection: Connection) -> bool:
    """Whether each channel of the target is one of the source, or nothing."""
    if connection.is_identity:
        return True
    kernel = connection.kernel
    if connection.window is not None or not isinstance(kernel, Convolution):
        return False
    weight = kernel.weight
    is_mask = bool(((weight == 0) | (weight == 1)).all())
    return is_mask and is_pointwise(kernel) and bool((weight.sum(1) <= 1).all())


def _reaching(connection: Connection) -> Connection | None:
    """Leave out what reaches nothing: a kernel's first and last channels of zeros."""
    kernel = connection.kernel
    if kernel is None or kernel.n_groups > 1 or not isinstance(kernel, Convolution):
        return connection
    reached = np.flatnonzero(kernel.weight.any((1, 2, 3)))
    if not len(reached):
        return None
    first, end = int(reached[0]), int(reached[-1]) + 1
    if end - first < len(kernel.weight):
        kernel = replace(kernel, weight=in_float64(kernel.weight)[first:end])
    start = connection.start + first
    return simplest(replace(connection, kernel=kernel, start=start))


def _added(one: Connection, other: Connection) -> Connection | None:
    """Put two connections of the same populations together, if that is one."""
    places = {(part.start, part.own_shape, part.window) for part in (one, other)}
    kernel = summed(one.kernel, other.kernel) if len(places) == 1 else None
    return None if kernel is None else replace(one, kernel=kernel)


def unused(name: str, taken: Iterable[str]) -> str:
    """Add a number to a name for neurons that is taken."""
    others = (f"{name}_{n}" for n in count(2))
    used = {INPUT, *taken}
    return next(own for own in chain([name], others) if own not in used)


def named(name: str, sources: Iterable[str]) -> Iterator[str]:
    """Name the projections of a population that several reach, after their sources."""
    n_of_source: dict[str, int] = {}
    for source in sources:
        n = n_of_source[source] = n_of_source.get(source, 0) + 1
        yield f"{name}_from_{source}" + (f"_{n}" if n > 1 else "")
