"""
Read a PyTorch CNN: ``nn.Module`` to `Layers`.

`trace` lists the calls of the CNN; here they become values, and with each ReLU a layer.
What can't be converted is refused by its place in the module.
"""

import itertools
import math
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from cnn2snn_brian.cnn.composition import is_pointwise
from cnn2snn_brian.cnn.folding import batch_norm, check_normalize
from cnn2snn_brian.cnn.step_layers import BUILDERS
from cnn2snn_brian.cnn.trace import SUPPORTED, Step, steps
from cnn2snn_brian.cnn.values import Term, Value, layer_of
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.joined import AnyLayer, Joined
from cnn2snn_brian.layers.order import INPUT
from cnn2snn_brian.layers.placed import Placed
from cnn2snn_brian.layers.pooling import named
from cnn2snn_brian.layers.stack import Layers

__all__ = ["from_torch"]


def _check_module(module: Any) -> None:
    """Refuse what is no CNN, has no values or is in training mode."""
    if not isinstance(module, nn.Module):
        found = type(module).__name__
        if isinstance(module, tuple):
            found += f" ({', '.join(type(part).__name__ for part in module)})"
        message = f"the CNN is of type {found}, expected an nn.Module"
        if isinstance(module, tuple) and any(
            isinstance(part, nn.Module) for part in module
        ):
            message += (
                "; unpack it first, as in: cnn, card = models.pretrained('digits')"
            )
        raise InputError(message)
    for path, values in itertools.chain(
        module.named_parameters(), module.named_buffers()
    ):
        if values.is_meta:
            message = (
                f"{path}: on torch's meta device, where tensors have no values; load "
                "the trained weights first, with load_state_dict(..., assign=True)"
            )
            raise InputError(message)
    for path, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.training:
            raise UnsupportedModuleError(
                path or type(child).__name__,
                f"found {child} in training mode",
                "Call eval() on the CNN first, so that the trained statistics count.",
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


class _Reader:
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
    """

    def __init__(
        self,
        image: str,
        shape: tuple[int, int, int],
        names: Literal["role", "module"],
        normalize: tuple[Any, Any] | None,
    ) -> None:
        self.names = names
        self.layers: list[AnyLayer] = []
        pixels = Value(shape, (Term(INPUT, shape, where="the image"),))
        if normalize is not None:
            mean, std = check_normalize(normalize, shape[0])
            pixels = replace(pixels.scaled(1 / std, -mean / std, ""), n_biases=0)
        self.values = {image: pixels}
        self.n_of_role: dict[str, int] = {}
        #: What layers were made of, and their ceilings.
        self.made: dict[str, tuple[Value, float | None]] = {}

    def take(self, step: Step) -> None:
        """Take the next call."""
        kind = step.kind
        if kind == "mean":
            step = _global_mean(step)
        elif kind == "reshape" or kind == "Flatten":
            kind = "Flatten" if _is_flatten(step) else "Identity"
        first = self.values[step.reads[0]]
        self.values[step.name] = {
            "Flatten": lambda: replace(first, is_flat=True),
            "Identity": lambda: first,
            "Dropout": lambda: first,
            "ReLU": lambda: self._rectified(step, None),
            "ReLU6": lambda: self._rectified(step, 6.0),
            "BatchNorm": lambda: self._normalized(step),
            "add": lambda: self._sum(step),
            "cat": lambda: self._side_by_side(step),
            "Conv2d": lambda: self._mapped(step),
            "Linear": lambda: self._mapped(step),
        }.get(kind, lambda: self._pooled(step, kind))()

    def result(self, step: Step | None, name: str) -> tuple[AnyLayer, ...]:
        """Make the last layer, and give all of them."""
        value = self.values[name]
        if not (value.is_bare and len(value.terms) == 1):
            self._population(value, step, None)
        return tuple(self.layers)

    def _rectified(self, step: Step, ceiling: float | None) -> Value:
        value = self.values[step.reads[0]]
        ceilings = {layer.name: layer.ceiling for layer in self.layers}
        bounded = ceiling is None or all(
            (ceilings.get(term.source) or math.inf) <= ceiling for term in value.terms
        )
        if value.is_bare and bounded:
            return value
        return self._population(value, step, ceiling)

    def _population(
        self, value: Value, step: Step | None, ceiling: float | None
    ) -> Value:
        """Give neurons to a value, once."""
        name = next(
            (name for name, made in self.made.items() if made == (value, ceiling)), None
        )
        if name is None:
            name = self._unused(value.name or self._name(step, "join"))
            self.layers.append(layer_of(value, name, ceiling))
            self.made[name] = value, ceiling
        term = Term(name, value.shape)
        return Value(value.shape, (term,), is_flat=value.is_flat)

    def _normalized(self, step: Step) -> Value:
        value = self.values[step.reads[0]]
        gain, shift = batch_norm(step, value.shape[0], is_flat=value.is_flat)
        # Behind a convolution or a linear layer it is a part of that.
        folds = value.name and len(value.terms) == 1
        return value.scaled(
            gain, shift, value.name if folds else self._name(step, "bn")
        )

    def _sum(self, step: Step) -> Value:
        alpha = step.kwargs.get("alpha", 1)
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
        assert not isinstance(layer, AvgPool2d)
        found = value.through(layer, step.where, name)
        if isinstance(found, Term):
            raise UnsupportedModuleError(
                found.where,
                f"its output goes on without a ReLU, to {step.where}",
                "A firing rate is never negative, and one map in place of the two "
                "would have many more weights: put a ReLU right after it (before any "
                "pooling) and train again.",
            )
        return found

    def _pooled(self, step: Step, kind: str) -> Value:
        """
        Average a value: a population of its own.

        What is not rectified is averaged before the map in front, if that treats all
        positions alike.
        """
        value = self.values[step.reads[0]]
        role, build = BUILDERS[kind]
        for term in value.terms:
            if term.map is not None and not is_pointwise(term.map):
                raise UnsupportedModuleError(
                    term.where,
                    f"its output goes on without a ReLU, to {step.where}",
                    "A firing rate is never negative: put a ReLU right after it "
                    "(before any pooling) and train again.",
                )
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
            return Value(pool.shape, (Term(name, pool.shape),))
        terms = [self._average(pool, term) for term in value.terms]
        bias = None if value.bias is None else pool.drive(value.bias[None])[0]
        return replace(value, shape=pool.shape, terms=tuple(terms), bias=bias)

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
            name = step.where.replace(".", "_")
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


def from_torch(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    normalize: tuple[Any, Any] | None = None,
    *,
    names: Literal["role", "module"] = "role",
) -> Layers:
    """
    Read a trained CNN.

    Parameters
    ----------
    module : nn.Module
        A directed acyclic graph of Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU,
        ReLU6, BatchNorm, Flatten, Dropout and Identity, as modules or as functions, of
        sums and of concatenations over channels. A ReLU makes neurons; what is between
        two of them becomes the synapses. Two convolutions or linear layers without a
        ReLU between them are composed where that is cheap (pointwise and depthwise,
        Linear and Linear), and refused elsewhere: a firing rate is never negative. It
        is not changed.
    input_shape : tuple of int
        Shape of an image, (channels, height, width).
    normalize : tuple of float or of sequences of float, optional
        (mean, std) that the CNN's images were normalized with, of all channels or of
        each. It is folded into the first layer, so that the SNN takes pixels in [0, 1].
    names : {"role", "module"}
        Name layers conv1, pool1, ..., ip1, or by their path in the module with ``_``
        for ``.`` (a name in Brian2 has no dots).

    Returns
    -------
    Layers
        Frozen descriptions with float64 weights.

    Raises
    ------
    UnsupportedModuleError
        For anything that can't be converted, named by its path in the module.
    InputError
        If `module` is no CNN, its weights have no values (on torch's meta device),
        `input_shape` does not fit the CNN, or `normalize` the image.

    Examples
    --------
    >>> cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(),
    ...                     nn.Linear(4 * 4 * 4, 10))
    >>> from_torch(cnn, (1, 6, 6)).names
    ('conv1', 'ip1')
    """
    if names not in ("role", "module"):
        message = f"names={names!r}: expected 'role' or 'module'"
        raise InputError(message)
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3 or min(shape) < 1:
        message = f"input_shape {input_shape}: expected (channels, height, width)"
        raise InputError(message)
    _check_module(module)
    image, calls, result = steps(module, shape)  # type: ignore[arg-type]
    reader = _Reader(image, shape, names, normalize)  # type: ignore[arg-type]
    for step in calls:
        reader.take(step)
    layers = reader.result(calls[-1] if calls else None, result)
    if not layers:
        raise UnsupportedModuleError(
            type(module).__name__, "it has no layers with neurons", SUPPORTED
        )
    return Layers(shape, layers)  # type: ignore[arg-type]
