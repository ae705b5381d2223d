"""The calls of a CNN, one after another, as layers and the values between them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.modules import (
    as_module,
    average_window,
    batch_norm,
    check_normalize,
    constant_of,
    kernel_of,
    largest_window,
    upsampling_window,
)
from cnn2snn_brian.cnn.pairs import (
    COMPOSE,
    Negative,
    leaky,
    magnitude,
    on_cells,
    signed,
    through,
    without_maximum,
)
from cnn2snn_brian.cnn.trace import SUPPORTED, Step
from cnn2snn_brian.errors import UnsupportedModuleError
from cnn2snn_brian.projections import (
    INPUT,
    Ceiling,
    Connection,
    GateRule,
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
ROLES = {"Conv2d": "conv", "ConvTranspose2d": "deconv", "Linear": "ip"}


def _global_mean(step: Step) -> Step:
    """Read ``x.mean((2, 3))`` as global average pooling."""
    axes = step.argument(1, "dim", ())
    axes = (axes,) if isinstance(axes, int) else tuple(axes or ())
    if len(step.input_shape) != 3 or {axis % 4 for axis in axes} != {2, 3}:
        raise UnsupportedModuleError(
            step.where, f"a mean over {axes}", "A mean over (2, 3) is supported."
        )
    return replace(step, shape=(step.input_shape[0], 1, 1))


def _is_flatten(step: Step) -> bool:
    """Whether a reshape flattens; False if it changes nothing; refuse all others."""
    if step.shape == step.input_shape:
        return False
    if step.shape == (math.prod(step.input_shape),):
        return True
    raise UnsupportedModuleError(
        step.where,
        f"reshapes {step.input_shape} to {step.shape}",
        "Only flattening all of an image's values is supported.",
    )


class Reader:
    """
    The layers that were read so far, and the values between them.

    Parameters
    ----------
    image : str
        Name of what goes in.
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
    """

    def __init__(
        self,
        image: str,
        shape: tuple[int, int, int],
        names: Literal["role", "module"],
        normalize: tuple[Any, Any] | None,
        max_pooling: GateRule | None,
        negative: Negative = "on-off",
        compose: float = COMPOSE,
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
        pixels = Value.of(INPUT, shape, "the image")
        if normalize is not None:
            mean, std = check_normalize(normalize, shape[0])
            pixels = replace(pixels.scaled(1 / std, -mean / std, ""), n_biases=0)
        self.values = {image: pixels}
        self.n_of_role: dict[str, int] = {}
        #: What layers were made of, and their ceilings.
        self.made: dict[str, tuple[Value, Ceiling | None]] = {}
        #: For layers, by name: the place and the name of what their sums are.
        self.sums: dict[str, tuple[str, str]] = {}

    def take(self, step: Step) -> None:
        """Take the next call."""
        kind = step.kind
        if kind == "mean":
            step = _global_mean(step)
        elif kind == "reshape" or kind == "Flatten":
            kind = "Flatten" if _is_flatten(step) else "Identity"
        elif step.module is None and kind in (*ROLES, "BatchNorm"):
            step = as_module(step)
        read = READERS.get(kind, Reader._pooled)
        self.values[step.name] = read(self, step, self.values[step.reads[0]])

    def result(self, step: Step | None, name: str) -> bool:
        """Make the last population; say whether it is rectified."""
        value = self.values[name]
        value = self.before.get(value.terms, value)  # as exact as can be
        is_rectified = value.is_bare and len(value.terms) == 1
        if not is_rectified:
            self._population(value, step, None, name)
        return is_rectified

    def _rectified(
        self, step: Step, value: Value, ceiling: Ceiling | None = None
    ) -> Value:
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
        return replace(Value.of(name, value.shape), is_flat=value.is_flat)

    def _add(
        self, value: Value, name: str, step: Step | None, ceiling: Ceiling | None = None
    ) -> None:
        unit = "" if step is None else step.where
        population, projections = neurons_of(value, name, ceiling, unit)
        self.populations.append(population)
        self.projections += projections

    def _clamped(self, step: Step, value: Value) -> Value:
        """Read ``x.clamp(min=0)`` as ReLU, and with a maximum as ReLU6."""
        low, high = step.argument(1, "min", None), step.argument(2, "max", None)
        if low != 0 or not (high is None or isinstance(high, int | float) and high > 0):
            raise UnsupportedModuleError(
                step.where,
                f"clamps to {low} and {high}",
                f"A minimum of 0 and a maximum above 0 or none are known. {SUPPORTED}",
            )
        return self._rectified(
            step, value, None if high is None else Ceiling(float(high))
        )

    def _normalized(self, step: Step, value: Value) -> Value:
        factors = batch_norm(step, value.shape[0], is_flat=value.is_flat)
        return self._affine(step, value, *factors)

    def _affine(self, step: Step, value: Value, gain: Any, shift: Any) -> Value:
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

    def _product(self, step: Step, value: Value) -> Value:
        gain = constant_of(step, "multiplies with")
        if gain is None:
            raise UnsupportedModuleError(
                step.where,
                "found the function mul",
                f"A product with a constant of each channel is supported. {SUPPORTED}",
            )
        return self._affine(step, value, gain, np.zeros_like(gain))

    def _sum(self, step: Step, value: Value) -> Value:
        alpha = step.kwargs.get("alpha", 1)
        if len(step.reads) == 1 and alpha == 1:
            shift = constant_of(step, "adds")
            if shift is not None:
                return self._affine(step, value, np.ones_like(shift), shift)
            if 0 in [*step.args, *step.kwargs.values()]:  # ``sum`` starts with it
                return value
        if len(step.reads) != 2 or alpha != 1:
            raise UnsupportedModuleError(
                step.where, "adds a number", "Sums of two results are supported."
            )
        other = self.values[step.reads[1]]
        if (value.shape, value.is_flat) != (other.shape, other.is_flat):
            raise UnsupportedModuleError(
                step.where,
                f"adds values of the shapes {value.shape} and {other.shape}",
                "Sums of two results of the same shape are supported.",
            )
        return value.plus(other, self._name(step, "add"))

    def _side_by_side(self, step: Step, value: Value) -> Value:
        axis = step.argument(1, "dim", 0)
        found = [self.values[name] for name in step.reads]
        is_flat = any(one.is_flat and len(one.shape) > 1 for one in found)
        if axis % (len(step.shape) + 1) != 1 or is_flat:
            raise UnsupportedModuleError(
                step.where,
                f"concatenates along dimension {axis} "
                f"{', '.join(str(one.shape) for one in found)}",
                "Channels can be concatenated (dim=1), before Flatten.",
            )
        return Value.side_by_side(found)

    def _mapped(self, step: Step, value: Value) -> Value:
        name = self._name(step, ROLES[step.kind])
        kernel, bias, n_biases = kernel_of(step, value.shape)
        connection = Connection(kernel.input_shape, kernel=kernel)
        return through(self, step, value, connection, name, bias, n_biases)

    def _upsampled(self, step: Step, value: Value) -> Value:
        return through(
            self, step, value, Connection(value.shape, upsampling_window(step))
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

    def _gated(self, step: Step, value: Value) -> Value:
        """Let the spikes of the busiest input pass: a population for each source."""
        if self.max_pooling is None:
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
        if not value.is_rectified:
            raise without_maximum(value, step)
        if not value.is_bare:
            value = self._population(value, step, None)
        name, window, terms = self._name(step, "pool"), largest_window(step), []
        for term in value.terms:
            own = self._unused(name)
            gate = Connection(term.connection.input_shape, window)
            self.populations.append(Population(own, gate.shape, unit=step.where))
            self.projections.append(
                Projection(own, term.source, own, gate, gate=self.max_pooling)
            )
            placed = Connection(gate.shape).moved(term.connection.start, value.shape[0])
            terms.append(Term(own, placed, term.where))
        return Value((value.shape[0], *step.shape[1:]), tuple(terms))

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


def _as_before(reader: Reader, step: Step, value: Value) -> Value:
    return value


#: What reads each kind of call; all others are average pooling.
READERS: dict[str, Callable[[Reader, Step, Value], Value]] = {
    "Flatten": lambda reader, step, value: replace(value, is_flat=True),
    "Identity": _as_before,
    "Dropout": _as_before,
    "ReLU": Reader._rectified,
    "LeakyReLU": leaky,
    "PReLU": leaky,
    "abs": magnitude,
    "ReLU6": lambda reader, *read: reader._rectified(*read, Ceiling(6.0)),
    "clamp": Reader._clamped,
    "BatchNorm": Reader._normalized,
    "mul": Reader._product,
    "add": Reader._sum,
    "cat": Reader._side_by_side,
    "MaxPool2d": Reader._gated,
    "Upsample": Reader._upsampled,
    **dict.fromkeys(ROLES, Reader._mapped),
}
