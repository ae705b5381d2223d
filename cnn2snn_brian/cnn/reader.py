"""The calls of a CNN, one after another, as layers and the values between them."""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.modules import (
    BUILDERS,
    as_module,
    batch_norm,
    by_channel,
    check_normalize,
)
from cnn2snn_brian.cnn.trace import SUPPORTED, Step
from cnn2snn_brian.cnn.values import Term, Value, is_pointwise, layer_of
from cnn2snn_brian.errors import UnsupportedModuleError
from cnn2snn_brian.projections import (
    INPUT,
    AnyLayer,
    AvgPool2d,
    Ceiling,
    Conv2d,
    GateRule,
    Joined,
    Linear,
    MaxPool2d,
    Placed,
    named,
)


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


#: Largest activation, and the number of steps that it is rounded to, if it is.
Saturation = tuple[float, int | None] | None


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
    """

    def __init__(
        self,
        image: str,
        shape: tuple[int, int, int],
        names: Literal["role", "module"],
        normalize: tuple[Any, Any] | None,
        max_pooling: GateRule | None,
    ) -> None:
        self.names, self.max_pooling = names, max_pooling
        self.layers: list[AnyLayer] = []
        pixels = Value(shape, (Term(INPUT, shape, where="the image"),))
        if normalize is not None:
            mean, std = check_normalize(normalize, shape[0])
            pixels = replace(pixels.scaled(1 / std, -mean / std, ""), n_biases=0)
        self.values = {image: pixels}
        self.n_of_role: dict[str, int] = {}
        #: What layers were made of, and their ceilings.
        self.made: dict[str, tuple[Value, Saturation]] = {}
        self.ceilings: list[Ceiling] = []
        #: For layers, by name: the place and the name of what their sums are.
        self.sums: dict[str, tuple[str, str]] = {}

    def take(self, step: Step) -> None:
        """Take the next call."""
        kind = step.kind
        if kind == "mean":
            step = _global_mean(step)
        elif kind == "reshape" or kind == "Flatten":
            kind = "Flatten" if _is_flatten(step) else "Identity"
        elif step.module is None and kind in ("Conv2d", "Linear", "BatchNorm"):
            step = as_module(step)
        first = self.values[step.reads[0]]
        self.values[step.name] = {
            "Flatten": lambda: replace(first, is_flat=True),
            "Identity": lambda: first,
            "Dropout": lambda: first,
            "ReLU": lambda: self._rectified(step, None),
            "ReLU6": lambda: self._rectified(step, (6.0, None)),
            "clamp": lambda: self._clamped(step),
            "BatchNorm": lambda: self._affine(
                step, *batch_norm(step, first.shape[0], is_flat=first.is_flat)
            ),
            "mul": lambda: self._product(step),
            "add": lambda: self._sum(step),
            "cat": lambda: self._side_by_side(step),
            "Conv2d": lambda: self._mapped(step),
            "Linear": lambda: self._mapped(step),
            "MaxPool2d": lambda: self._gated(step),
        }.get(kind, lambda: self._pooled(step, kind))()

    def result(self, step: Step | None, name: str) -> tuple[tuple[AnyLayer, ...], bool]:
        """Make the last layer; give all of them, and whether the last was rectified."""
        value = self.values[name]
        is_rectified = value.is_bare and len(value.terms) == 1
        if not is_rectified:
            self._population(value, step, None, name)
        return tuple(self.layers), is_rectified

    def _rectified(self, step: Step, ceiling: Saturation = None) -> Value:
        value = self.values[step.reads[0]]
        if isinstance(step.module, ClipFloorShift):
            largest = float(step.module.ceiling.detach())
            if not largest > 0:
                raise UnsupportedModuleError(
                    step.where, f"found {step.module}", "Its ceiling has to be above 0."
                )
            ceiling = largest, step.module.steps
        if value.is_bare and ceiling is None:
            return value
        return self._population(value, step, ceiling)

    def _population(
        self, value: Value, step: Step | None, ceiling: Saturation, of: str = ""
    ) -> Value:
        """Give neurons to a value, once: what a call reads, or that of a name."""
        name = next(
            (name for name, made in self.made.items() if made == (value, ceiling)), None
        )
        if name is None:
            name = self._unused(value.name or self._name(step, "join"))
            self.layers.append(layer_of(value, name))
            self.made[name] = value, ceiling
            if step is not None:
                self.sums[name] = step.where, of or step.reads[0]
            if ceiling is not None:
                self.ceilings.append(Ceiling(name, *ceiling))
        term = Term(name, value.shape)
        return Value(value.shape, (term,), is_flat=value.is_flat)

    def _clamped(self, step: Step) -> Value:
        """Read ``x.clamp(min=0)`` as ReLU, and with a maximum as ReLU6."""
        low, high = step.argument(1, "min", None), step.argument(2, "max", None)
        if low != 0 or not (high is None or isinstance(high, int | float) and high > 0):
            raise UnsupportedModuleError(
                step.where,
                f"clamps to {low} and {high}",
                f"A minimum of 0 and a maximum above 0 or none are known. {SUPPORTED}",
            )
        return self._rectified(step, None if high is None else (float(high), None))

    def _affine(self, step: Step, gain: Any, shift: Any) -> Value:
        value = self.values[step.reads[0]]
        if len(gain) != value.shape[0]:
            raise UnsupportedModuleError(
                step.where,
                f"a constant of each of {len(gain)} flattened values",
                "A kernel can't be scaled by position: put it before Flatten.",
            )
        # Behind a convolution or a linear layer it is a part of that.
        folds = value.name and len(value.terms) == 1
        return value.scaled(
            gain, shift, value.name if folds else self._name(step, "bn")
        )

    def _product(self, step: Step) -> Value:
        gain = by_channel(step, "multiplies with")
        if gain is None:
            raise UnsupportedModuleError(
                step.where,
                "found the function mul",
                f"A product with a constant of each channel is supported. {SUPPORTED}",
            )
        return self._affine(step, gain, np.zeros_like(gain))

    def _sum(self, step: Step) -> Value:
        alpha = step.kwargs.get("alpha", 1)
        if len(step.reads) == 1 and alpha == 1:
            shift = by_channel(step, "adds")
            if shift is not None:
                return self._affine(step, np.ones_like(shift), shift)
            if 0 in [*step.args, *step.kwargs.values()]:  # ``sum`` starts with it
                return self.values[step.reads[0]]
        if len(step.reads) != 2 or alpha != 1:
            raise UnsupportedModuleError(
                step.where, "adds a number", "Sums of two results are supported."
            )
        one, other = (self.values[name] for name in step.reads)
        if (one.shape, one.is_flat) != (other.shape, other.is_flat):
            raise UnsupportedModuleError(
                step.where,
                f"adds values of the shapes {one.shape} and {other.shape}",
                "Sums of two results of the same shape are supported.",
            )
        return one.plus(other, self._name(step, "add"))

    def _side_by_side(self, step: Step) -> Value:
        axis = step.argument(1, "dim", 0)
        found = [self.values[name] for name in step.reads]
        n_axes = len(step.shape) + 1
        if axis % n_axes != 1 or any(
            value.is_flat and len(value.shape) > 1 for value in found
        ):
            raise UnsupportedModuleError(
                step.where,
                f"concatenates along dimension {axis} "
                f"{', '.join(str(value.shape) for value in found)}",
                "Channels can be concatenated (dim=1), before Flatten.",
            )
        return Value.side_by_side(found)

    def _mapped(self, step: Step) -> Value:
        role, build = BUILDERS[step.kind]
        value = self.values[step.reads[0]]
        name = self._name(step, role)
        arguments: tuple[Any, ...] = (step, name, INPUT)
        if step.kind == "Linear":
            # Its input was flattened; its weights are in the order of what was.
            arguments += (value.shape,)
        layer = build(*arguments)
        assert isinstance(layer, Conv2d | Linear)
        found = value.through(layer, step.where, name)
        if isinstance(found, Term):
            raise UnsupportedModuleError(
                found.where,
                f"its output goes on without a ReLU, to {step.where}",
                "A firing rate is never negative: its negative sums (a linear "
                "bottleneck) can't be sent as spikes, and one map in place of the two "
                "would have many more weights. Put a ReLU right after it (before any "
                "pooling) and train again.",
            )
        return found

    def _pooled(self, step: Step, kind: str) -> Value:
        """Average a value: a population of its own."""
        value = self.values[step.reads[0]]
        role, build = BUILDERS[kind]
        for term in value.terms:
            if term.map is not None and not is_pointwise(term.map):
                raise _without_relu(term, step)
        name = self._unused(self._name(step, role))
        pool = build(step, name, INPUT)
        assert isinstance(pool, AvgPool2d)
        if value.is_rectified:
            parts = [_placed(pool, term, value.shape[0]) for term in value.terms]
            self.layers.append(
                parts[0]
                if len(parts) == 1 and not isinstance(parts[0], Placed)
                else Joined(name, tuple(named(name, parts)))
            )
            self.sums[name] = step.where, step.name
            return Value(pool.shape, (Term(name, pool.shape),))
        terms = [self._average(pool, term) for term in value.terms]
        bias = None if value.bias is None else pool.drive(value.bias[None])[0]
        return replace(value, shape=pool.shape, terms=tuple(terms), bias=bias)

    def _gated(self, step: Step) -> Value:
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
        value = self.values[step.reads[0]]
        if not value.is_rectified:
            raise _without_relu(
                next(term for term in value.terms if term.map is not None), step
            )
        if not value.is_bare:
            value = self._population(value, step, None)
        role, build = BUILDERS["MaxPool2d"]
        name, terms = self._name(step, role), []
        for term in value.terms:
            gate = build(step, self._unused(name), term.source)
            assert isinstance(gate, MaxPool2d)
            shape: Any = (term.n_channels, *gate.input_shape[1:])
            gate = replace(gate, input_shape=shape, rule=self.max_pooling)
            self.layers.append(gate)
            terms.append(replace(term, source=gate.name, source_shape=gate.shape))
        return Value((value.shape[0], *gate.shape[1:]), tuple(terms))

    def _average(self, pool: AvgPool2d, term: Term) -> Term:
        """Average what a map reads instead of what it gives."""
        narrow = replace(
            pool,
            name=self._unused(pool.name),
            inputs=(term.source,),
            input_shape=term.source_shape,  # type: ignore[arg-type]
        )
        self.layers.append(narrow)
        changed = term.map
        if isinstance(changed, Conv2d):
            changed = replace(changed, input_shape=narrow.shape)
        return replace(term, source=narrow.name, source_shape=narrow.shape, map=changed)

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
        base, n = name, 1
        while name in {INPUT, *(layer.name for layer in self.layers)}:  # used again
            n += 1
            name = f"{base}_{n}"
        return name


def _placed(pool: AvgPool2d, term: Term, channels: int) -> AvgPool2d | Placed:
    shape = term.source_shape
    if shape[0] == channels:
        return replace(pool, inputs=(term.source,))
    narrow = replace(pool, inputs=(term.source,), input_shape=shape)  # type: ignore[arg-type]
    return Placed(narrow, term.start, channels)


def _without_relu(term: Term, step: Step) -> UnsupportedModuleError:
    """Say that what a pooling reads may be negative."""
    return UnsupportedModuleError(
        term.where,
        f"its output goes on without a ReLU, to {step.where}",
        "A firing rate is never negative: put a ReLU right after it (before any "
        "pooling) and train again.",
    )
