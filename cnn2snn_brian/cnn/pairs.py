"""
Values that may be negative: a population for what is above 0, one for what is below.

ON cells integrate a value z, OFF cells -z, so their rates are relu(z) and relu(-z), and
who reads z reads W from ON and -W from OFF. Where two maps can be one, no neurons are
needed between them; the number of synapses decides.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cnn2snn_brian.cnn.modules import numbers
from cnn2snn_brian.cnn.rearranged import Rearranged, parts_of
from cnn2snn_brian.cnn.trace import Step
from cnn2snn_brian.errors import UnsupportedModuleError
from cnn2snn_brian.projections import (
    INPUT,
    ByChannel,
    Connection,
    Kernel,
    Population,
    Projection,
    Term,
    Value,
    as_convolution,
    is_gain,
    is_pointwise,
    neurons_of,
)

if TYPE_CHECKING:
    from cnn2snn_brian.cnn.reader import Read, Reader

#: What becomes of a value that may be negative and has to be spikes.
Negative = Literal["on-off", "refuse"]

#: One map in place of two is exact, and its answers were better wherever both were
#: tried; up to so many times the synapses it is worth that.
COMPOSE = 2.0


def _times(term: Term, gain: Any) -> Term:
    gains = np.broadcast_to(gain, term.connection.own_shape[:1])
    return replace(term, connection=term.connection.scaled(gains))


#: What says pixels above and below their mean, until both are channels of the input.
PIXELS = ("pixels above the mean", "pixels below the mean")


def on_off_pixels(shape: tuple[int, int, int], gain: float) -> Value:
    """Give normalized images as the difference of two inputs."""
    on, off = (Value.of(name, shape, "the image").times(gain) for name in PIXELS)
    return on.plus(off.times(-1.0), "")


def with_one_input(
    populations: list[Population], projections: list[Projection]
) -> list[Projection]:
    """Let all that reads ON or OFF pixels read channels of the input."""
    shapes, found = {one.name: one.shape for one in populations}, []
    for name, shape in shapes.items():
        into = [p for p in projections if p.target == name]
        if any(p.source in PIXELS for p in into):
            terms = (Term(*_from_channels(p)) for p in into)
            _, into = neurons_of(Value(shape, tuple(terms)), name)
        found += into
    return found


def _from_channels(projection: Projection) -> tuple[str, Connection]:
    source, own = projection.source, projection.connection
    if source not in PIXELS:
        return source, own
    kernel = own.kernel or ByChannel.identity(own.read_shape)
    kernel = (as_convolution(kernel) or kernel).ungrouped()
    table = kernel.table(kernel.weight)
    halves = [table if source == half else 0 * table for half in PIXELS]
    kernel = kernel.with_table(np.concatenate(halves, axis=1))
    shape = (2 * own.input_shape[0], *own.input_shape[1:])
    return INPUT, Connection(shape, own.window, kernel, own.start, own.channels)


def signed(reader: "Reader", step: Step, value: Value) -> Value:
    """Give ON and OFF cells to a value, once; whoever reads it later reads them."""
    if value.is_nonnegative:
        alone = reader._population(value, step, None)
        if parts_of(reader.values[step.reads[0]])[0].terms is not value.terms:
            reader.sums.pop(alone.terms[0].source, None)
        return alone
    found = reader.pairs.get(value.terms)
    if found is None:
        if reader.negative == "refuse":
            raise _without_relu(value, step)
        found = _pair(reader, step, value)
        reader.pairs[value.terms] = reader.pairs[found.terms] = found
        reader.before[found.terms] = value
        for name, other in reader.values.items():
            if isinstance(other, Value) and other.terms is value.terms:
                reader.values[name] = found
            elif isinstance(other, Rearranged) and other.value.terms is value.terms:
                reader.values[name] = replace(other, value=found)
    return found


def _pair(reader: "Reader", step: Step, value: Value) -> Value:
    name = value.name or reader._name(step, "join")
    # A ReLU that came before has made the ON cells.
    made = (own for own, key in reader.made.items() if key == (value, None))
    on = next(made, None) or reader._unused(f"{name}_on")
    if on not in reader.made:
        reader._add(value, on, step)
        reader.made[on] = value, None
        read = reader.values.get(step.reads[0])
        if isinstance(read, Value) and read.terms is value.terms:
            reader.sums[on] = step.where, step.reads[0]
    off = reader._unused(f"{name}_off")
    population, projections = neurons_of(value.times(-1.0), off, None, step.where)
    reader.populations.append(replace(population, n_bias_parameters=0, off_of=on))
    reader.projections += projections
    plus = Value.of(on, value.shape, step.where).terms
    minus = Value.of(off, value.shape, step.where).times(-1.0).terms
    return Value(value.shape, plus + minus)


def on_cells(reader: "Reader", value: Value) -> Value | None:
    """Give the ReLU of a value that has ON cells."""
    on = value.terms[0]
    is_pair = value.terms in reader.before
    return Value.of(on.source, value.shape, on.where) if is_pair else None


def leaky(reader: "Reader", step: Step) -> "Read":
    """Read LeakyReLU and PReLU: less of what OFF cells say."""
    slope = _slope(step)
    if np.size(slope) > 1:
        value, wrap = reader.by_channel(step.reads[0])
        if len(slope) != value.shape[0]:
            raise UnsupportedModuleError(
                step.where,
                f"slopes of {len(slope)} flattened values",
                "One slope, or one for each channel, is supported: put it before "
                "Flatten.",
            )
        return wrap(_less(reader, step, value, slope))
    return _less(reader, step, reader.value(step.reads[0]), slope)


def _less(reader: "Reader", step: Step, value: Value, slope: Any) -> Value:
    if value.is_nonnegative:
        return value
    on, off = (pair := signed(reader, step, value)).terms
    terms = (on, _times(off, slope)) if np.any(slope) else (on,)
    return replace(pair, terms=terms)


def _slope(step: Step) -> Any:
    module: Any = step.module
    if step.kind == "PReLU":
        weight = step.argument(1, "weight", None) if module is None else module.weight
        return numbers(weight, step.where, "slopes").ravel()
    if module is not None:
        return float(module.negative_slope)
    return float(step.argument(1, "negative_slope", 0.01))


def magnitude(reader: "Reader", step: Step) -> Value:
    """Read an absolute value: what ON and OFF cells say, together."""
    value = reader.value(step.reads[0])
    if value.is_nonnegative:
        return value
    on, off = (pair := signed(reader, step, value)).terms
    return replace(pair, terms=(on, _times(off, -1.0)))


def through(
    reader: "Reader",
    step: Step,
    value: Value,
    connection: Connection,
    name: str = "",
    *more: Any,
) -> Value:
    """Let a connection read a value: as one map, or with ON and OFF cells between."""
    found = value.through(connection, step.where, name, *more)
    if isinstance(found, Term):
        if reader.negative == "refuse" and not value.is_nonnegative:
            raise _not_composed(found, step)
    elif reader.negative == "refuse" or not _are_two_maps(value, connection):
        return found
    else:
        whole = sum(one.n_synapses for _, one in found.connections())
        each = sum(one.n_synapses for _, one in value.connections())
        apart = 2 * (each + connection.n_synapses)
        is_one = whole <= reader.compose * apart
        reader.notes.append(
            f"{value.name or value.terms[0].where} and {name}: "
            + (
                f"one map of {whole:,} synapses, not ON and OFF cells ({apart:,})"
                if is_one
                else f"ON and OFF cells ({apart:,} synapses), not one map ({whole:,})"
            )
        )
        if is_one:
            return found
    found = signed(reader, step, value).through(connection, step.where, name, *more)
    assert isinstance(found, Value)  # what neurons give can be read by anything
    return found


def _are_two_maps(value: Value, connection: Connection) -> bool:
    """Whether more than gains come one after the other."""
    if is_gain(connection.kernel):
        return False
    return not all(_scales(term.connection.kernel) for term in value.terms)


def _scales(kernel: Kernel | None) -> bool:
    """Whether each channel is one of what is read, times a number."""
    if is_gain(kernel) or kernel is None or not is_pointwise(kernel):
        return is_gain(kernel)
    weight = kernel.weight.reshape(len(kernel.weight), -1)
    return bool((np.count_nonzero(weight, axis=1) <= 1).all())


def _not_composed(term: Term, step: Step) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        term.where,
        f"its output goes on without a ReLU, to {step.where}",
        "A firing rate is never negative, and one map in place of the two would have "
        "many more weights. Convert with negative='on-off', or put a ReLU right after "
        "it (before any pooling) and train again.",
    )


def _without_relu(value: Value, step: Step) -> UnsupportedModuleError:
    """Say that what a call reads may be negative."""
    terms = (term for term in value.terms if not term.connection.is_identity)
    where = next(terms, value.terms[0]).where
    return UnsupportedModuleError(
        where,
        f"its output goes on without a ReLU, to {step.where}",
        "A firing rate is never negative: convert with negative='on-off', or put a "
        "ReLU right after it (before any pooling) and train again.",
    )


def without_maximum(value: Value, step: Step) -> UnsupportedModuleError:
    """Say that a gate can't compare values that may be negative."""
    return UnsupportedModuleError(
        step.where,
        f"the maximum of what may be negative, of {value.terms[0].where}",
        "Gates compare spike counts, and the largest of some negative values is the "
        "one with the fewest OFF spikes. Put a ReLU before it, or use average pooling, "
        "and train again.",
    )
