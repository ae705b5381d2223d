"""The calls of a CNN, one after another, as layers and the values between them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cnn2snn_brian.cnn.arithmetic import product, total
from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.gates import gated
from cnn2snn_brian.cnn.modules import (
    as_module,
    average_window,
    batch_norm,
    check_normalize,
    in_two_dimensions,
    kernel_of,
    upsampling_window,
)
from cnn2snn_brian.cnn.pairs import (
    COMPOSE,
    PIXELS,
    Negative,
    leaky,
    magnitude,
    on_cells,
    on_off_pixels,
    signed,
    through,
)
from cnn2snn_brian.cnn.rearranged import (
    Read,
    Rearranged,
    connection_of,
    is_whole,
    numbered,
    parts_of,
    placed,
    rearranged,
)
from cnn2snn_brian.cnn.trace import SUPPORTED, Step, name_of
from cnn2snn_brian.errors import UnsupportedModuleError
from cnn2snn_brian.projections import (
    INPUT,
    Ceiling,
    Connection,
    Convolution,
    GateRule,
    OnOffPixels,
    Population,
    Projection,
    Term,
    Value,
    Window,
    is_pointwise,
    neurons_of,
    then,
    unused,
)

#: Calls with weights, and the first part of the name of what they make.
ROLES = {
    "Conv2d": "conv",
    "Conv1d": "conv",
    "ConvTranspose2d": "deconv",
    "Linear": "ip",
}


#: Calls that treat each value alike, so that it does not matter where they are.
ELEMENTWISE = ("ReLU", "ReLU6", "LeakyReLU", "abs", "clamp", "Identity", "Dropout")


class Reader:
    """
    The layers that were read so far, and the values between them.

    Parameters
    ----------
    image, image_shape : str, tuple of int
        Name and shape of what goes in.
    shape : tuple of int
        Shape of an image.
    names : {"role", "module"}
        How layers are named.
    normalize : tuple, optional
        (mean, std) of the pixels that the CNN takes.
    max_pooling : {"gate", "largest-count"}, optional
        What maximum pooling becomes; None refuses it.
    negative : {"on-off", "refuse"}
        What becomes of values that may be negative and have to be spikes.
    compose : float
        Two maps become one with at most so many times the synapses of ON and OFF cells.
    pixels : OnOffPixels, optional
        What input neurons say of normalized images.
    """

    def __init__(
        self,
        image: str,
        image_shape: tuple[int, ...],
        shape: tuple[int, int, int],
        names: Literal["role", "module"],
        normalize: tuple[Any, Any] | None,
        max_pooling: GateRule | None,
        negative: Negative = "on-off",
        compose: float = COMPOSE,
        pixels: OnOffPixels | None = None,
    ) -> None:
        self.names, self.max_pooling = names, max_pooling
        self.negative, self.compose = negative, compose
        #: What ON and OFF cells say, by the terms of their value and of this itself.
        self.pairs: dict[tuple[Term, ...], Value] = {}
        #: The value, by the terms of what its ON and OFF cells say.
        self.before: dict[tuple[Term, ...], Value] = {}
        #: Names of averages, by the call and by what is averaged.
        self.averages: dict[tuple[str, str], str] = {}
        self.notes: list[str] = []
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        first = Value.of(INPUT, shape, "the image")
        if pixels is not None:
            first = on_off_pixels(shape, pixels.largest)
        elif normalize is not None:
            mean, std = check_normalize(normalize, shape[0])
            first = replace(first.scaled(1 / std, -mean / std, ""), n_biases=0)
        # What a CNN of one dimension gets has no height.
        given = numbered(shape).reshape(image_shape)
        self.values: dict[str, Read] = {image: placed(first, given, None)}
        self.settled: dict[str, Value] = {}
        #: Shapes of all results, without the batch.
        self.shapes = {image: image_shape}
        self.n_of_role: dict[str, int] = {}
        #: What layers were made of, and their ceilings.
        self.made: dict[str, tuple[Value, Ceiling | None]] = {}
        #: For layers, by name: the place and the name of what their sums are.
        self.sums: dict[str, tuple[str, str]] = {}

    def take(self, step: Step) -> None:
        """Take the next call."""
        given = self.values[step.reads[0]]
        self.shapes[step.name] = step.shape
        if step.kind == "part":
            self.values[step.name] = given[step.args[1]]  # type: ignore[index]
        elif step.kind == "rearranged":
            self.values[step.name] = self._rearranged(step, given)
        elif step.kind in ELEMENTWISE and isinstance(given, Rearranged):
            self.values[step.name] = self._elementwise(step, given)
        else:
            self.values[step.name] = READERS[step.kind](self, step)

    def result(self, step: Step | None, name: str) -> bool:
        """Make the last population; say whether it is rectified."""
        found = self.values[name]
        is_whole = isinstance(found, Rearranged) and found.is_whole
        value = found.value if is_whole else self.value(name)  # type: ignore[union-attr]
        value = self.before.get(value.terms, value)  # as exact as can be
        is_rectified = value.is_bare and len(value.terms) == 1
        is_rectified = is_rectified and value.terms[0].connection.is_identity
        if not is_rectified:
            self._population(value, step, None, name)
        return is_rectified

    def value(self, name: str) -> Value:
        """Give a result as channels of maps, or as a vector."""
        found = self.settled.get(name, self.values[name])
        if isinstance(found, Rearranged):
            connection = connection_of(found.numbers, found.value.shape)
            if connection is None:
                raise found.refusal()
            taken = found.value.taken(connection)
            if isinstance(taken, Term) and found.step is not None:
                value = signed(self, found.step, found.value)
                taken = value.taken(connection)
            assert isinstance(taken, Value)
            found = self.settled[name] = taken
        assert isinstance(found, Value)
        return found

    def _rearranged(self, step: Step, given: Any) -> Any:
        """Move values to other places, by their numbers."""
        value, numbers = parts_of(given)
        found = rearranged(step, numbers, self.shapes)
        if found is None:
            name = name_of(step.call) if step.module is None else str(step.module)
            what, hint = "moves values from one image to another", "Leave images apart."
            if "pad" in name.lower():
                what, hint = (
                    "pads with other values",
                    "Padding with zeros is supported.",
                )
            raise UnsupportedModuleError(step.where, f"{name} {what}", hint)
        if isinstance(found, list):
            return [placed(value, part, step) for part in found]
        return placed(value, found, step)

    def _elementwise(self, step: Step, given: Rearranged) -> Read:
        if step.kind in ("Identity", "Dropout"):
            return given
        if given.numbers.ndim == 3 and connection_of(given.numbers, given.value.shape):
            return READERS[step.kind](self, step)
        self.values[inside := f"{step.reads[0]} inside"] = given.value
        read = READERS[step.kind](self, replace(step, reads=(inside,)))
        for name, (where, call) in [*self.sums.items()]:
            if call == inside and given.is_whole:
                self.sums[name] = where, step.reads[0]
            elif call == inside:
                del self.sums[name]
        assert isinstance(read, Value)
        return replace(given, value=read)

    def _rectified(self, step: Step, ceiling: Ceiling | None = None) -> Value:
        value = self.value(step.reads[0])
        if isinstance(step.module, ClipFloorShift):
            largest = float(step.module.ceiling.detach())
            if not largest > 0:
                raise UnsupportedModuleError(
                    step.where, f"found {step.module}", "Its ceiling has to be above 0."
                )
            ceiling = Ceiling(largest, step.module.steps)
        if value.is_bare and ceiling is None:
            return value
        found = on_cells(self, value) if ceiling is None else None
        return found or self._population(value, step, ceiling)

    def _population(
        self, value: Value, step: Step | None, ceiling: Ceiling | None, of: str = ""
    ) -> Value:
        """Give neurons to a value, once: what a call reads, or that of a name."""
        made = {key: name for name, key in self.made.items()}
        name = made.get((value, ceiling))
        if name is None:
            name = self._unused(value.name or self._name(step, "join"))
            self._add(value, name, step, ceiling)
            self.made[name] = value, ceiling
            if step is not None:
                self.sums[name] = step.where, of or step.reads[0]
        return Value.of(name, value.shape)

    def _add(
        self, value: Value, name: str, step: Step | None, ceiling: Ceiling | None = None
    ) -> None:
        unit = "" if step is None else step.where
        population, projections = neurons_of(value, name, ceiling, unit)
        self.populations.append(population)
        self.projections += projections

    def _clamped(self, step: Step) -> Value:
        """Read ``x.clamp(min=0)`` as ReLU, and with a maximum as ReLU6."""
        low, high = step.argument(1, "min", None), step.argument(2, "max", None)
        if low != 0 or not (high is None or isinstance(high, int | float) and high > 0):
            raise UnsupportedModuleError(
                step.where,
                f"clamps to {low} and {high}",
                f"A minimum of 0 and a maximum above 0 or none are known. {SUPPORTED}",
            )
        return self._rectified(step, None if high is None else Ceiling(float(high)))

    def _normalized(self, step: Step) -> Read:
        step = step if step.module is not None else as_module(step)
        value, wrap = self.by_channel(step.reads[0])
        is_flat = len(step.input_shape) == 1 and len(value.shape) == 3
        factors = batch_norm(step, value.shape[0], is_flat=is_flat)
        return wrap(self.affine(step, value, *factors))

    def by_channel(self, name: str) -> tuple[Value, Callable[[Value], Read]]:
        """Give a value with the channels of a result, and how to make that of it."""
        found = self.values[name]
        if isinstance(found, Rearranged):
            value, numbers = parts_of(found)
            if is_whole(numbers, value.shape):
                if len(numbers) != value.shape[0] and numbers.ndim > 1:
                    raise found.refusal()
                return value, lambda changed: replace(found, value=changed)
        return self.value(name), lambda changed: changed

    def affine(self, step: Step, value: Value, gain: Any, shift: Any) -> Value:
        """Multiply and shift each channel."""
        if len(gain) != value.shape[0]:
            raise UnsupportedModuleError(
                step.where,
                f"a constant of each of {len(gain)} flattened values",
                "A kernel can't be scaled by position: put it before Flatten.",
            )
        # After a convolution or a linear layer it is a part of that.
        folds = value.name and len(value.terms) == 1
        name = value.name if folds else self._name(step, "bn")
        return value.scaled(gain, shift, name)

    def _side_by_side(self, step: Step) -> Read:
        axis = step.argument(1, "dim", 0)
        found = [self.values[name] for name in step.reads]
        parts = [parts_of(one) for one in found]
        shapes = [value.shape for value, _ in parts]
        is_channels = axis % (len(step.shape) + 1) == 1
        fits = is_channels and len({one[1:] for one in shapes}) == 1
        if fits and all(is_whole(numbers, value.shape) for value, numbers in parts):
            whole = Value.side_by_side([value for value, _ in parts])
            return placed(whole, numbered(whole.shape).reshape(step.shape), step)
        if not is_channels or len(step.shape) != 3:
            raise UnsupportedModuleError(
                step.where,
                f"concatenates along dimension {axis} {', '.join(map(str, shapes))}",
                "Channels can be concatenated (dim=1), before Flatten.",
            )
        return Value.side_by_side([self.value(name) for name in step.reads])

    def _mapped(self, step: Step) -> Read:
        step = step if step.module is not None else as_module(step)
        name = self._name(step, ROLES[step.kind])
        found = self.values[step.reads[0]]
        shape = step.shape
        if step.kind == "Linear":
            value, numbers = parts_of(found)
            if numbers.ndim == 1:
                read = kernel_of(step, value.shape, numbers)
            else:
                value = self.value(step.reads[0])
                read = kernel_of(step, value.shape)
        else:
            value = self.value(step.reads[0])
            step = in_two_dimensions(step)
            read = kernel_of(step, value.shape)
        kernel, bias, n_biases = read
        connection = Connection(kernel.input_shape, kernel=kernel)
        made = through(self, step, value, connection, name, bias, n_biases)
        return placed(made, numbered(made.shape).reshape(shape), step)

    def _upsampled(self, step: Step) -> Value:
        value = self.value(step.reads[0])
        return through(
            self, step, value, Connection(value.shape, upsampling_window(step))
        )

    def _mean(self, step: Step) -> Read:
        """Average, or sum, over dimensions: of positions, or of channels."""
        value, numbers = parts_of(self.values[step.reads[0]])
        dims = step.argument(1, "dim", None)
        dims = (dims,) if isinstance(dims, int) else tuple(dims or ())
        axes = {dim % (numbers.ndim + 1) - 1 for dim in dims}
        of_all = axes == {*range(1, numbers.ndim)} and len(numbers) == value.shape[0]
        if of_all and is_whole(numbers, value.shape) and len(value.shape) == 3:
            axes = {1, 2}
        elif numbers.ndim == 3 and axes and min(axes) >= 0:
            value = self.value(step.reads[0])
        else:
            raise UnsupportedModuleError(
                step.where,
                f"a {step.kind} over {dims or 'all images'}",
                "A mean or sum over (2, 3), one of them, or channels is supported.",
            )
        shape = tuple(1 if axis in axes else n for axis, n in enumerate(value.shape))
        n_values = math.prod(value.shape) // math.prod(shape)
        if axes & {1, 2}:
            pool = replace(
                step,
                kind="AdaptiveAvgPool2d",
                input_shape=value.shape,
                shape=(value.shape[0], *shape[1:]),
            )
            value = self._pooled(pool, value)
            if step.kind == "sum" or 0 in axes:  # the CNN has no such averages
                for name, (_, call) in [*self.sums.items()]:
                    if call == step.name:
                        del self.sums[name]
        if 0 in axes:
            weight = np.full((1, value.shape[0], 1, 1), 1 / value.shape[0])
            kernel = Convolution(value.shape, weight)
            value = through(self, step, value, Connection(value.shape, None, kernel))
        if step.kind == "sum":
            value = value.times(float(n_values))
        return placed(value, numbered(shape).reshape(step.shape), step)

    def _averaged(self, step: Step) -> Read:
        value, step = self.value(step.reads[0]), in_two_dimensions(step)
        pooled = self._pooled(step, value)
        return placed(
            pooled, numbered(pooled.shape).reshape(self.shapes[step.name]), step
        )

    def _pooled(self, step: Step, value: Value) -> Value:
        """
        Average a value: a population of its own.

        What follows a pointwise map can be averaged before it.
        """
        window = average_window(step)
        if not all(is_pointwise(term.connection.kernel) for term in value.terms):
            value = signed(self, step, value)
        name = self._unused(self._name(step, "pool"))
        if value.is_rectified:
            pooled = through(self, step, value, Connection(value.shape, window))
            self._add(pooled, name, step)
            if step.kind != "mean":
                self.sums[name] = step.where, step.name
            return Value.of(name, pooled.shape)
        terms = [self._average(step, window, name, term) for term in value.terms]
        bias = None if value.bias is None else window.drive(value.bias)
        shape = (value.shape[0], *step.shape[1:])
        return replace(value, shape=shape, terms=tuple(terms), bias=bias)

    def _average(self, step: Step, window: Window, name: str, term: Term) -> Term:
        """Average what a map reads instead of what it gives."""
        own = term.connection
        if own.window is not None:  # upsampled: not what a population gives
            pooled = then(own, Connection(own.shape, window))
            assert pooled is not None
            return replace(term, connection=pooled)
        off_of = {one.name: one.off_of for one in self.populations}
        off_of |= {PIXELS[1]: PIXELS[0]}
        on = off_of.get(term.source, "")
        end = "_on" if term.source in off_of.values() else ""
        name = self._unused(name + ("_off" if on else end))
        pool = Connection(own.input_shape, window)
        self._add(Value(pool.shape, (Term(term.source, pool),)), name, step)
        self.averages[step.name, term.source] = name
        if on:  # averages of ON and of OFF cells are a pair, too
            mine = self.averages.get((step.name, on), "")
            self.populations[-1] = replace(self.populations[-1], off_of=mine)
        kernel = own.kernel and own.kernel.resized(pool.shape)
        changed = Connection(pool.shape, None, kernel, own.start, own.channels)
        return Term(name, changed, term.where)

    def _name(self, step: Step | None, role: str) -> str:
        self.n_of_role[role] = self.n_of_role.get(role, 0) + 1
        name = f"{role}{self.n_of_role[role]}"
        if self.names == "module" and step is not None and step.module is not None:
            path, _, call = step.where.partition(" ")
            if call and path == "forward":
                return name
            name = path.replace(".", "_")
            # A number alone ("0" in a Sequential) is no name in Brian2's language.
            name = name if name.isidentifier() else f"layer_{name}"
        return name

    def _unused(self, name: str) -> str:
        return unused(name, (made.name for made in self.populations))


#: What reads each kind of call.
READERS: dict[str, Callable[[Reader, Step], Read]] = {
    "Identity": lambda reader, step: reader.values[step.reads[0]],
    "Dropout": lambda reader, step: reader.values[step.reads[0]],
    # The start of what repeats.
    "zeros": lambda reader, step: Value(step.shape, (), np.zeros(step.shape)),
    "ReLU": Reader._rectified,
    "LeakyReLU": leaky,
    "PReLU": leaky,
    "abs": magnitude,
    "ReLU6": lambda reader, step: reader._rectified(step, Ceiling(6.0)),
    "clamp": Reader._clamped,
    "BatchNorm": Reader._normalized,
    "mul": product,
    "div": product,
    "add": total,
    "sub": total,
    "cat": Reader._side_by_side,
    "MaxPool2d": gated,
    "AvgPool2d": Reader._averaged,
    "AdaptiveAvgPool2d": Reader._averaged,
    "mean": Reader._mean,
    "sum": Reader._mean,
    "Upsample": Reader._upsampled,
    **dict.fromkeys(ROLES, Reader._mapped),
}
