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

from cnn2snn_brian.cnn.composition import Map, composed, identity, scaled, summed
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.joined import Joined, Part, renamed
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.order import Shape, by_channel
from cnn2snn_brian.layers.placed import Placed, on_channels
from cnn2snn_brian.layers.pooling import named

__all__ = ["Term", "Value", "layer_of"]

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
        """
        Multiply it.

        Parameters
        ----------
        gain : ndarray of float, shape (channels,)
            A factor for each channel of the whole value.

        Returns
        -------
        Term
            The product.
        """
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
        """
        Let a convolution or a linear layer read it.

        Parameters
        ----------
        layer : Conv2d or Linear
            The layer.
        where : str
            Its place in the CNN.
        name : str
            Its name.

        Returns
        -------
        Value or Term
            The result; or the term that can't be composed with the layer.
        """
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
        """
        Multiply and shift each channel.

        Parameters
        ----------
        gain, shift : ndarray of float, shape (channels,)
            The factors, and what is added then.
        name : str
            Name of the result.

        Returns
        -------
        Value
            The result.
        """
        bias = np.zeros(self.shape) if self.bias is None else self.bias
        terms = tuple(term.scaled(gain) for term in self.terms)
        bias = bias * by_channel(gain, self.shape) + by_channel(shift, self.shape)
        return replace(self, terms=terms, bias=bias, n_biases=len(gain), name=name)

    def plus(self, other: "Value", name: str) -> "Value":
        """
        Add another value of the same shape.

        Parameters
        ----------
        other : Value
            The other one.
        name : str
            Name of the sum.

        Returns
        -------
        Value
            The sum.
        """
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
        """
        Concatenate values over channels.

        Parameters
        ----------
        values : list of Value
            The values, of the same height and width.

        Returns
        -------
        Value
            All of them.
        """
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
    """
    Make a layer of neurons of a value.

    Parameters
    ----------
    value : Value
        The value.
    name : str
        Name of the layer.

    Returns
    -------
    Conv2d, Linear or Joined
        The layer.
    """
    parts = list(_maps(value))
    if len(parts) == 1 and not isinstance(parts[0], Placed):
        (source,) = parts[0].inputs
        only: Any = renamed(parts[0], name, source)
        return replace(only, bias=value.bias, n_bias_parameters=value.n_biases)
    return Joined(name, tuple(named(name, parts)), value.bias, value.n_biases)
