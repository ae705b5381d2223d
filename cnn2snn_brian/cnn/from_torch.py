"""
Read a PyTorch CNN: ``nn.Module`` to `Layers`.

`trace` lists the calls of a copy; here they become values, and with each ReLU a layer.
What can't be converted is refused by its place in the module, and `check` compares the
layers with the CNN.
"""

import inspect
import itertools
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnn2snn_brian.cnn.check import Trial
from cnn2snn_brian.cnn.copied import readable_copy
from cnn2snn_brian.cnn.folding import check_normalize
from cnn2snn_brian.cnn.kinds import SUPPORTED
from cnn2snn_brian.cnn.reader import Reader
from cnn2snn_brian.cnn.trace import Tracer, steps, trace
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.layers.max_pool2d import GateRule, check_rule
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
        if is_lazy(values):
            message = (
                f"{path}: a lazy module that never ran has no values; run the CNN once "
                "and load its trained weights"
            )
            raise InputError(message)
    inputs = inspect.signature(module.forward).parameters.values()
    needed = [
        item.name
        for item in inputs
        if item.default is item.empty and "VAR" not in item.kind.name
    ]
    if len(needed) > 1:
        raise UnsupportedModuleError(
            needed[1], "a second input of forward", "Give one image tensor."
        )
    for path, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            raise UnsupportedModuleError(
                path or type(module).__name__,
                "found a ScriptModule, whose code is not Python any more",
                "Give the nn.Module that it was made of.",
            )
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.training:
            raise UnsupportedModuleError(
                path or type(child).__name__,
                f"found {child} in training mode",
                "Call eval() on the CNN first, so that the trained statistics count.",
            )


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
        A directed acyclic graph of Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU,
        ReLU6, BatchNorm, Flatten, Dropout and Identity, as modules or as functions, of
        sums and of concatenations over channels. A ReLU makes neurons; what is between
        two of them becomes the synapses. Two convolutions or linear layers without a
        ReLU between them are composed where that is cheap (pointwise and depthwise,
        Linear and Linear), and refused elsewhere: a firing rate is never negative.
        Other modules, subclasses too, are read by their forward, with the defaults of
        further arguments. The CNN is not changed.
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
        For anything that can't be converted, named by its path in the module; if a hook
        changes a value, or the layers compute something else than the CNN.
    InputError
        If `module` is no CNN or can't be copied, its weights have no values (on torch's
        meta device, or lazy), `input_shape` does not fit the CNN, or `normalize` the
        image.

    Notes
    -----
    At the end, the layers are compared with the CNN on an image of noise, in float64:
    what the CNN does without saying so in a call (a hook, an operation in place, an
    attribute that changes) would make them another function. For that, a copy of the
    CNN runs once with its hooks; they get copies of the variables that they fill. Only
    hooks that torch calls for all modules, hooks that can't be copied (with a lock),
    and what a hook does outside of Python variables (files, prints), see this run.

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
    try:
        shape = tuple(int(size) for size in input_shape)
    except (TypeError, ValueError):  # an image, or one number
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        given = " ".join(repr(input_shape).split())
        message = f"input_shape {given:.80}: expected (channels, height, width)"
        raise InputError(message)
    _check_module(module)
    mean_and_std = check_normalize(normalize or (0.0, 1.0), shape[0])
    cnn = readable_copy(module)
    if Tracer().is_leaf_module(cnn, ""):
        cnn = nn.Sequential(cnn)  # a bare layer has no forward that calls it
    # First of all, since hooks before modules may compute their weights.
    trial = Trial(cnn, shape, *mean_and_std)  # type: ignore[arg-type]
    traced = trace(cnn)
    trial.run(traced)
    image, calls, result = steps(traced)
    reader = Reader(image, shape, names, normalize, max_pooling)  # type: ignore[arg-type]
    for step in calls:
        reader.take(step)
    found, is_rectified = reader.result(calls[-1] if calls else None, result)
    if not found:
        raise UnsupportedModuleError(
            type(module).__name__, "it has no layers with neurons", SUPPORTED
        )
    layers = Layers(shape, found, tuple(reader.ceilings))  # type: ignore[arg-type]
    trial.check(layers, reader.sums, is_rectified=is_rectified)
    return layers
