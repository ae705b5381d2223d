"""
Maximum pooling: spikes of the busiest input pass a gate.

The largest of values that may be negative is that of the values and a constant, which
makes them positive, less the constant. It has to be so large for any image: where only
few layers come before, the largest activations that pixels from 0 to 1 can make say it.
"""

from typing import TYPE_CHECKING

import numpy as np

from cnn2snn_brian.cnn.modules import in_two_dimensions, largest_window
from cnn2snn_brian.cnn.pairs import without_maximum
from cnn2snn_brian.cnn.rearranged import (
    Read,
    Rearranged,
    connection_of,
    numbered,
    placed,
)
from cnn2snn_brian.cnn.trace import SUPPORTED, Step
from cnn2snn_brian.errors import UnsupportedModuleError
from cnn2snn_brian.projections import (
    INPUT,
    Connection,
    FloatArray,
    Population,
    Projection,
    Term,
    Value,
)

if TYPE_CHECKING:
    from cnn2snn_brian.cnn.reader import Reader

#: Layers before a maximum of values that may be negative, at most: bounds grow from
#: layer to layer, and the constant with them.
MAX_DEPTH = 2


def gated(reader: "Reader", step: Step) -> Read:
    """Let the spikes of the busiest input pass: a population for each source."""
    if reader.max_pooling is None:
        found, other = "the function max_pool2d", "nn.AvgPool2d"
        if step.module is not None:
            found, other = str(step.module), "cnn2snn_brian.adjust replaces it"
        raise UnsupportedModuleError(
            step.where,
            f"found {found}",
            f"Use average pooling ({other}) and train again, or give "
            "max_pooling='gate' or 'largest-count', which pass spikes of the "
            f"busiest input. {SUPPORTED}",
        )
    given, shape = reader.values[step.reads[0]], step.shape
    step = in_two_dimensions(step)
    window, padded = largest_window(step), None
    if isinstance(given, Rearranged) and given.value.is_rectified:
        padded = connection_of(given.numbers, given.value.shape)
    if padded is not None and padded.window is not None and padded.is_one_to_one:
        # Zeros around activations, or minus infinity, are never the largest.
        value, window = given.value, window.after(padded.window)  # type: ignore[union-attr]
    else:
        value = reader.value(step.reads[0])
    constant = None
    if not value.is_rectified:
        constant = -np.minimum(_lowest(reader, step, value), 0)
        if constant.any():
            ones = np.ones_like(constant)
            value = value.scaled(ones, constant, value.name)
    if not value.is_bare:
        value = reader._population(value, step, None)
    if constant is not None and constant.any():
        reader.sums.pop(value.terms[0].source)  # which the CNN does not compute
    name, terms = reader._name(step, "pool"), []
    for term in value.terms:
        own, read = reader._unused(name), term.connection
        gate = Connection(read.input_shape, window)
        reader.populations.append(Population(own, gate.shape, unit=step.where))
        reader.projections.append(
            Projection(own, term.source, own, gate, gate=reader.max_pooling)
        )
        kernel = read.kernel and read.kernel.resized(gate.shape)
        part = Connection(gate.shape, None, kernel, read.start, read.channels)
        terms.append(Term(own, part, term.where))
    made = Value((value.shape[0], *step.shape[1:]), tuple(terms))
    if constant is not None and constant.any():
        made = made.scaled(np.ones_like(constant), -constant, "")
    return placed(made, numbered(made.shape).reshape(shape), step)


def _lowest(reader: "Reader", step: Step, value: Value) -> FloatArray:
    """Give the lowest sum of each channel that an image can make."""
    found = _bounds(reader, value.bias, value.connections(), value.shape, MAX_DEPTH)
    if found is None:
        raise without_maximum(value, step)
    lowest: FloatArray = found[0].min((1, 2))
    return lowest


def _bounds(
    reader: "Reader",
    bias: FloatArray | None,
    connections: list[tuple[str, Connection]],
    shape: tuple[int, ...],
    depth: int,
) -> tuple[FloatArray, FloatArray] | None:
    """Give the lowest and the highest sums, by the highest activations before them."""
    low = high = np.zeros(shape) if bias is None else bias
    for source, connection in connections:
        highest = _highest(reader, source, connection.input_shape, depth)
        weight = connection.weight
        if highest is None or (connection.window and connection.window.is_signed):
            return None
        up, down = (
            connection.reweighted(np.maximum(sign * weight, 0)) for sign in (1, -1)
        )
        high = high + up.drive(highest[None])[0]
        if connection.kernel is not None:
            low = low - down.drive(highest[None])[0]
    return low, high


def _highest(
    reader: "Reader", name: str, shape: tuple[int, ...], depth: int
) -> FloatArray | None:
    """Give the highest activations of a population, of pixels from 0 to 1."""
    if name == INPUT:
        return np.ones(shape)
    into = [one for one in reader.projections if one.target == name]
    if not depth or any(one.gate for one in into):
        return None
    (population,) = (one for one in reader.populations if one.name == name)
    connections = [(one.source, one.connection) for one in into]
    found = _bounds(reader, population.bias, connections, shape, depth - 1)
    if found is None:
        return None
    ceiling = np.inf if population.ceiling is None else population.ceiling.activation
    return np.clip(found[1], 0, ceiling)
