"""Sums and products of results, numbers and constants of each channel."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch.fx import Node

from cnn2snn_brian.cnn.modules import constant_of
from cnn2snn_brian.cnn.rearranged import Read, Rearranged, parts_of, placed
from cnn2snn_brian.cnn.trace import Step, name_of
from cnn2snn_brian.errors import UnsupportedModuleError

if TYPE_CHECKING:
    from cnn2snn_brian.cnn.reader import Reader


def product(reader: "Reader", step: Step) -> Read:
    """Multiply with, or divide by, a number or a constant of each channel."""
    divides = step.kind == "div"
    if len(step.reads) != 1 or (
        divides
        and (not isinstance(step.args[0], Node) or name_of(step.call) == "__rdiv__")
    ):
        what = "divides by an activation" if divides else "multiplies two activations"
        raise UnsupportedModuleError(
            step.where,
            f"found the function {step.kind}, which {what}",
            "Synapses that add can't do that (squeeze and excitation, attention, "
            "gates): a constant of each channel is supported; use a network without "
            "it, or write gates of your own (docs/gates.md).",
        )
    if step.kwargs.get("rounding_mode"):
        raise UnsupportedModuleError(
            step.where, "found a division that rounds", "Leave rounding_mode out."
        )
    gain = constant_of(step, "multiplies with")
    gain = 1 / gain if divides else gain
    if isinstance(gain, float):
        found = reader.values[step.reads[0]]
        value = parts_of(found)[0].times(gain)
        return replace(found, value=value) if isinstance(found, Rearranged) else value
    value, wrap = reader.by_channel(step.reads[0])
    return wrap(reader.affine(step, value, gain, np.zeros_like(gain)))


def total(reader: "Reader", step: Step) -> Read:
    """Add or take off another result, a number, or a constant of each channel."""
    name = name_of(step.call)
    if name == "neg":
        value, wrap = reader.by_channel(step.reads[0])
        return wrap(value.times(-1.0))
    alpha = float(step.kwargs.get("alpha", 1))
    gains = [1.0, -alpha if step.kind == "sub" else alpha]
    if "rsub" in name:
        gains = [-alpha, 1.0]
    if len(step.reads) == 2:
        return _of_two(reader, step, gains)
    index = 0 if isinstance(step.argument(0, "input", None), Node) else 1
    shift = constant_of(step, "adds")
    value, wrap = reader.by_channel(step.reads[0])
    value = value.times(gains[index])
    if isinstance(shift, float):
        if shift == 0:  # ``sum`` starts with it
            return wrap(value)
        shift = np.full(value.shape[0], shift)
    return wrap(
        reader.affine(step, value, np.ones_like(shift), gains[1 - index] * shift)
    )


def _of_two(reader: "Reader", step: Step, gains: list[float]) -> Read:
    given = [reader.values[name] for name in step.reads]
    name = reader._name(step, "add")
    parts = [parts_of(one) for one in given]
    (one, numbers), (other, others) = parts
    are_alike = one.shape == other.shape and np.array_equal(numbers, others)
    if not are_alike:
        parts = []
        for read in step.reads:
            found = reader.values[read]
            shape = reader.shapes[read]
            if shape != step.shape and len(shape) == len(step.shape):
                value, numbers = parts_of(found)
                numbers = np.broadcast_to(numbers, step.shape)
                read = f"{read} in {step.name}"
                reader.values[read] = placed(value, numbers, step)
            parts.append((reader.value(read), numbers))
    first, second = (
        value.times(gain) for (value, _), gain in zip(parts, gains, strict=True)
    )
    if first.shape != second.shape:
        raise UnsupportedModuleError(
            step.where,
            f"adds values of the shapes {first.shape} and {second.shape}",
            "Sums of two results of the same shape are supported.",
        )
    found = first.plus(second, name)
    if are_alike and isinstance(given[0], Rearranged):
        return replace(given[0], value=found)
    return found
