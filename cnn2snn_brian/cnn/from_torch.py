"""
Read a PyTorch CNN: ``nn.Module`` to `Layers`.

`trace` lists the calls of the CNN; here they become layers. What can't be converted is
refused by its place in the module.
"""

import itertools
import math
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.folding import fold_batch_norm, fold_normalization
from cnn2snn_brian.cnn.step_layers import BUILDERS
from cnn2snn_brian.cnn.trace import SUPPORTED, Step, steps
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.ceiling import Ceiling
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.max_pool2d import GateRule, MaxPool2d, check_rule
from cnn2snn_brian.layers.order import INPUT
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


class _Chain:
    """
    The layers that were read so far, and what may follow them.

    Parameters
    ----------
    shape : tuple of int
        Shape of an image.
    names : {"role", "module"}
        How layers are named.
    normalized : bool
        Whether pixels are normalized, so that some are negative.
    max_pooling : {"gate", "largest-count"}, optional
        What maximum pooling becomes; None refuses it.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        names: Literal["role", "module"],
        *,
        normalized: bool,
        max_pooling: GateRule | None,
    ) -> None:
        self.shape, self.names, self.normalized = shape, names, normalized
        self.max_pooling = max_pooling
        self.layers: list[Conv2d | AvgPool2d | MaxPool2d | Linear] = []
        self.places: list[str] = []
        self.ceilings: list[Ceiling] = []
        self.rectified = True  # whether what the next step reads can't be negative
        self.foldable = False  # whether a BatchNorm may follow
        self.n_of_role: dict[str, int] = {}

    def take(self, step: Step) -> None:
        """Take the next call."""
        kind = step.kind
        if kind == "mean":
            step = _global_mean(step)
        elif kind == "reshape":
            kind = "Flatten" if _is_flatten(step) else "Identity"
        elif kind == "Flatten":
            _is_flatten(step)
        if kind in ("Flatten", "Identity", "Dropout"):
            return
        if kind == "ReLU":
            self._rectify(step)
        elif kind == "BatchNorm":
            self._fold(step)
        else:
            self._append(step, kind)

    def _rectify(self, step: Step) -> None:
        if not self.layers and self.normalized:
            raise UnsupportedModuleError(
                step.where,
                "found a ReLU on normalized pixels",
                "normalize needs a Conv2d or Linear as the first layer.",
            )
        if isinstance(step.module, ClipFloorShift):
            self._note_ceiling(step.module, step.where)
        self.rectified, self.foldable = True, False

    def _note_ceiling(self, activation: ClipFloorShift, where: str) -> None:
        """Note where the last layer saturates."""
        ceiling = float(activation.ceiling.detach())
        if self.rectified or not ceiling > 0:
            raise UnsupportedModuleError(
                where,
                f"found {activation}"
                + (" that does not follow a Conv2d or Linear" * self.rectified),
                "A layer saturates at a ceiling above 0, right after its Conv2d or "
                "Linear (and BatchNorm).",
            )
        self.ceilings.append(Ceiling(self.layers[-1].name, ceiling, activation.steps))

    def _fold(self, step: Step) -> None:
        if not self.foldable:
            raise UnsupportedModuleError(
                step.where,
                f"found {step.module} that does not follow a Conv2d or Linear",
                "Only a BatchNorm right after one of them can be folded.",
            )
        layer = self.layers[-1]
        assert isinstance(layer, Conv2d | Linear)
        self.layers[-1] = fold_batch_norm(step, layer)

    def _append(self, step: Step, kind: str) -> None:
        if not self.rectified:
            raise UnsupportedModuleError(
                self.places[-1],
                "its output goes on without a ReLU",
                "A firing rate is never negative: put a ReLU right after it (before "
                "any pooling) and train again.",
            )
        if kind == "MaxPool2d" and self.max_pooling is None:
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
        role, build = BUILDERS[kind]
        source = self.layers[-1].name if self.layers else INPUT
        arguments: tuple[Any, ...] = (step, self._name(step, role), source)
        if kind == "Linear":
            # Its input was flattened; its weights are in the order of what was.
            arguments += (self.layers[-1].shape if self.layers else self.shape,)
        layer = build(*arguments)
        if isinstance(layer, MaxPool2d) and self.max_pooling is not None:
            layer = replace(layer, rule=self.max_pooling)
        self.layers.append(layer)
        self.places.append(step.where)
        self.foldable = kind in ("Conv2d", "Linear")
        self.rectified = not self.foldable

    def _name(self, step: Step, role: str) -> str:
        self.n_of_role[role] = self.n_of_role.get(role, 0) + 1
        name = f"{role}{self.n_of_role[role]}"
        if self.names == "module" and step.module is not None:
            name = step.where.replace(".", "_")
            # A number alone ("0" in a Sequential) is no name in Brian2's language.
            name = name if name.isidentifier() else f"layer_{name}"
        base, n = name, 1
        while name in {INPUT, *(layer.name for layer in self.layers)}:  # used again
            n += 1
            name = f"{base}_{n}"
        return name


def from_torch(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    normalize: tuple[Any, Any] | None = None,
    *,
    names: Literal["role", "module"] = "role",
    max_pooling: GateRule | None = None,
) -> Layers:
    """
    Read a trained CNN.

    Parameters
    ----------
    module : nn.Module
        A chain of Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU, Flatten, Dropout
        and Identity, as modules or as functions; BatchNorm right after a Conv2d or
        Linear is folded into it. Every Conv2d and Linear but the last layer has to be
        followed by a ReLU: a firing rate is never negative. It is not changed.
    input_shape : tuple of int
        Shape of an image, (channels, height, width).
    normalize : tuple of float or of sequences of float, optional
        (mean, std) that the CNN's images were normalized with, of all channels or of
        each. It is folded into the first layer, so that the SNN takes pixels in [0, 1].
    names : {"role", "module"}
        Name layers conv1, pool1, ..., ip1, or by their path in the module with ``_``
        for ``.`` (a name in Brian2 has no dots).
    max_pooling : {"gate", "largest-count"}, optional
        What MaxPool2d becomes: a population behind a `MaxPoolGate` of this rule.
        Without it, MaxPool2d is refused.

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
    if max_pooling is not None:
        check_rule("max_pooling", max_pooling)
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3 or min(shape) < 1:
        message = f"input_shape {input_shape}: expected (channels, height, width)"
        raise InputError(message)
    _check_module(module)
    chain = _Chain(
        shape,  # type: ignore[arg-type]
        names,
        normalized=normalize is not None,
        max_pooling=max_pooling,
    )
    for step in steps(module, shape):  # type: ignore[arg-type]
        chain.take(step)
    layers = chain.layers
    if not layers:
        raise UnsupportedModuleError(
            type(module).__name__, "it has no layers with neurons", SUPPORTED
        )
    if normalize is not None:
        layers[0] = fold_normalization(layers[0], normalize, chain.places[0])
    return Layers(shape, tuple(layers), tuple(chain.ceilings))  # type: ignore[arg-type]
