"""
What is between the populations of a CNN: sums of linear maps of their activations.

A `Value` is a tensor of the CNN, written as terms. Convolutions, sums, concatenations
and BatchNorm change terms; only a ReLU makes neurons of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.projections import (
    Conv2d,
    Joined,
    Linear,
    Part,
    Placed,
    Shape,
    by_channel,
    named,
    on_channels,
    renamed,
    ungrouped,
)

#: What may be between two populations, besides pooling.
Map = Conv2d | Linear


def identity(shape: Shape, gain: npt.NDArray[np.float64] | None = None) -> Map:
    """Connect each neuron with its like."""
    each = np.ones(shape[0]) if gain is None else gain
    if len(shape) == 1:
        return Linear("", ("",), shape, np.diag(each))
    channels, height, width = shape
    weight = each.reshape(-1, 1, 1, 1)
    return Conv2d("", ("",), (channels, height, width), weight, groups=channels)


def scaled(layer: Map, gain: npt.NDArray[np.float64]) -> Map:
    """Multiply what each channel of a map gives."""
    by_output = gain.reshape((-1,) + (1,) * (layer.weight.ndim - 1))
    return replace(layer, weight=layer.weight * by_output)


def is_pointwise(layer: Map) -> bool:
    """Say whether a map treats all positions alike and apart."""
    return (
        isinstance(layer, Conv2d)
        and layer.weight.shape[2:] == (1, 1)
        and layer.stride == (1, 1)
        and not np.any(layer.padding)
    )


def _is_depthwise(layer: Map) -> bool:
    return isinstance(layer, Conv2d) and layer.weight.shape[1] == 1


def _is_scaling(layer: Map) -> bool:
    """Whether a map is no more than a factor for each channel."""
    same = layer.shape == layer.input_shape
    return same and is_pointwise(layer) and _is_depthwise(layer)


def composed(first: Map, second: Map) -> Map | None:
    """Put two maps together, one after the other."""
    if isinstance(first, Linear):
        assert isinstance(second, Linear)
        weight = second.weight @ first.weight
        return replace(first, weight=weight, bias=None, n_bias_parameters=0)
    if isinstance(second, Linear):
        if not _is_scaling(first):
            return None
        n_positions = second.weight.shape[1] // first.shape[0]
        return replace(
            second,
            weight=second.weight * np.repeat(first.weight.ravel(), n_positions),
            bias=None,
        )
    if _is_scaling(first):
        return _after_scaling(first, second)
    kernel: Any
    if is_pointwise(first) and first.groups == 1 and _is_depthwise(second):
        of_output = np.repeat(
            first.weight[:, :, 0, 0], len(second.weight) // len(first.weight), axis=0
        )
        kernel = second.weight * of_output[:, :, None, None]
        shape = first.input_shape
        return replace(second, input_shape=shape, weight=kernel, groups=1, bias=None)
    if _is_depthwise(first) and is_pointwise(second) and second.groups == 1:
        each = second.weight[:, :, 0, 0, None, None] * first.weight[None, :, 0]
        # An input channel may have several outputs, one after another.
        kernel = each.reshape(len(each), first.groups, -1, *each.shape[2:]).sum(2)
        return replace(first, weight=kernel, groups=1, bias=None)
    return None


def _after_scaling(first: Conv2d, second: Conv2d) -> Conv2d:
    gain = first.weight.ravel()
    out_channels, per_group = second.weight.shape[:2]
    group = np.arange(out_channels) // (out_channels // second.groups)
    read = group[:, None] * per_group + np.arange(per_group)
    weight = second.weight * gain[read][:, :, None, None]
    return replace(second, weight=weight, bias=None)


def summed(one: Map, other: Map) -> Map | None:
    """Put two maps of one population together, side by side."""
    if isinstance(one, Linear) and isinstance(other, Linear):
        return replace(one, weight=one.weight + other.weight)
    if not (isinstance(one, Conv2d) and isinstance(other, Conv2d)):
        return None
    if one.weight.shape[2:] < other.weight.shape[2:]:
        one, other = other, one
    if one.groups != other.groups:
        one, other = (
            replace(part, weight=ungrouped(part), groups=1) for part in (one, other)
        )
    geometry = "stride", "padding", "dilation"
    if one.weight.shape == other.weight.shape and all(
        getattr(one, what) == getattr(other, what) for what in geometry
    ):
        return replace(one, weight=one.weight + other.weight)
    taps = [
        divmod(before, dilation)
        for (before, _), dilation in zip(one.padding, one.dilation, strict=True)
    ]
    fits = (
        other.weight.shape[2:] == (1, 1)
        and other.stride == one.stride
        and not np.any(other.padding)
        and all(
            not rest and tap < size
            for (tap, rest), size in zip(taps, one.weight.shape[2:], strict=True)
        )
    )
    if not fits:
        return None
    weight = one.weight.copy()
    weight[:, :, taps[0][0], taps[1][0]] += other.weight[:, :, 0, 0]
    return replace(one, weight=weight)


Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """
    What a population adds to a value.

    Attributes
    ----------
    source : str
        Name of the population.
    source_shape : tuple of int
        Its shape.
    start : int
        First channel of the value that it adds to.
    map : Conv2d or Linear, optional
        How; by default each neuron adds its activation to its like.
    where : str
        Place of the map in the CNN.
    """

    source: str
    source_shape: Shape
    start: int = 0
    map: Map | None = None
    where: str = ""

    @property
    def n_channels(self) -> int:
        """Number of channels of the value that it adds to."""
        return self.source_shape[0] if self.map is None else self.map.shape[0]

    def scaled(self, gain: Array) -> "Term":
        """Multiply it."""
        mine = gain[self.start : self.start + self.n_channels]
        if self.map is None:
            return replace(self, map=identity(self.source_shape, mine))
        return replace(self, map=scaled(self.map, mine))


@dataclass(frozen=True, eq=False)
class Value:
    """
    A tensor of the CNN.

    Attributes
    ----------
    shape : tuple of int
        Its shape without the batch, before it was flattened.
    terms : tuple of Term
        What it is the sum of.
    bias : ndarray of float, of shape `shape`, or None
        What is added to it.
    n_biases : int
        Number of trained values behind the bias.
    name : str
        Name of the population that a ReLU makes of it; empty if it has none yet.
    is_flat : bool
        Whether it was flattened, in torch's order.
    """

    shape: Shape
    terms: tuple[Term, ...]
    bias: Array | None = None
    n_biases: int = 0
    name: str = ""
    is_flat: bool = False

    @property
    def is_rectified(self) -> bool:
        """Whether it is a sum of activations, which are never negative."""
        return self.bias is None and all(term.map is None for term in self.terms)

    @property
    def is_bare(self) -> bool:
        """Whether it is one population, or several side by side."""
        covered = np.zeros(self.shape[0], int)
        for term in self.terms:
            covered[term.start : term.start + term.n_channels] += 1
        return self.is_rectified and bool((covered == 1).all())

    def through(self, layer: Map, where: str, name: str) -> "Value | Term":
        """Let a convolution or a linear layer read it."""
        plain = replace(layer, bias=None, n_bias_parameters=0)
        terms = []
        for term in self.terms:
            narrow = on_channels(plain, term.start, term.n_channels)
            start = narrow.start if isinstance(narrow, Placed) else 0
            second: Any = narrow.layer if isinstance(narrow, Placed) else narrow
            one = second if term.map is None else composed(term.map, second)
            if one is None:
                return term
            terms.append(replace(term, start=start, map=one, where=where))
        bias: Any = layer.bias
        if self.bias is not None:
            # Padding is of zeros: at the border a neuron gets a share of the bias.
            before = plain.drive(self.bias[None])[0]
            bias = before if bias is None else before + bias
        return Value(
            layer.shape,
            tuple(terms),
            bias,
            self.n_biases + layer.n_bias_parameters,
            name,
        )

    def scaled(self, gain: Array, shift: Array, name: str) -> "Value":
        """Multiply and shift each channel."""
        bias = np.zeros(self.shape) if self.bias is None else self.bias
        terms = tuple(term.scaled(gain) for term in self.terms)
        bias = bias * by_channel(gain, self.shape) + by_channel(shift, self.shape)
        return replace(self, terms=terms, bias=bias, n_biases=len(gain), name=name)

    def plus(self, other: "Value", name: str) -> "Value":
        """Add another value of the same shape."""
        biases = [value.bias for value in (self, other) if value.bias is not None]
        return replace(
            self,
            terms=self.terms + other.terms,
            bias=sum(biases) if biases else None,  # type: ignore[arg-type]
            n_biases=self.n_biases + other.n_biases,
            name=name,
        )

    @staticmethod
    def side_by_side(values: "list[Value]") -> "Value":
        """Concatenate values over channels."""
        starts = np.cumsum([0, *(value.shape[0] for value in values)])
        terms = [
            replace(term, start=term.start + int(start))
            for start, value in zip(starts[:-1], values, strict=True)
            for term in value.terms
        ]
        bias = None
        if any(value.bias is not None for value in values):
            bias = np.concatenate(
                [np.zeros(v.shape) if v.bias is None else v.bias for v in values]
            )
        shape = (int(starts[-1]), *values[0].shape[1:])
        n_biases = sum(value.n_biases for value in values)
        return Value(shape, tuple(terms), bias, n_biases, is_flat=values[0].is_flat)


def _maps(value: Value) -> Iterator[Part]:
    """List the connections, once for each pair of layers where that can be."""
    found: list[tuple[str, int, Map]] = []
    for term in value.terms:
        mine = identity(term.source_shape) if term.map is None else term.map
        for index, (source, start, other) in enumerate(found):
            both = None
            if (source, start) == (term.source, term.start):
                both = summed(other, mine) if other.shape == mine.shape else None
            if both is not None:
                found[index] = (source, start, both)
                break
        else:
            found.append((term.source, term.start, mine))
    for source, start, layer in found:
        one = renamed(layer, "", source)
        if layer.shape != value.shape:
            one = Placed(one, start, value.shape[0])  # type: ignore[arg-type]
        yield one


def layer_of(value: Value, name: str) -> Conv2d | Linear | Joined:
    """Make a layer of neurons of a value."""
    parts = list(_maps(value))
    if len(parts) == 1 and not isinstance(parts[0], Placed):
        (source,) = parts[0].inputs
        only: Any = renamed(parts[0], name, source)
        return replace(only, bias=value.bias, n_bias_parameters=value.n_biases)
    return Joined(name, tuple(named(name, parts)), value.bias, value.n_biases)
