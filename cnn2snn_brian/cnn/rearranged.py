"""
Values at other places: slices, shuffles, padding, reshapes of all kinds.

What only moves values is computed once, of their numbers: each value of the result then
says which one it is. So it does not matter how a CNN spells it. What the numbers mean
is found when a layer reads them: some channels, some positions, zeros around them,
blocks that become channels, or channels that become blocks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cnn2snn_brian.cnn.trace import Step, name_of
from cnn2snn_brian.errors import UnsupportedModuleError
from cnn2snn_brian.projections import (
    ByChannel,
    Connection,
    Convolution,
    Dense,
    Kernel,
    TransposedConvolution,
    Value,
    Window,
)

#: Number of each value, from 1 on; 0 for a zero.
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rearranged:
    """
    A tensor of the CNN that has values of another at other places.

    Attributes
    ----------
    value : Value
        What has the values.
    numbers : ndarray of int64
        Of each element, which of the values it is, counted from 1 on; 0 is a zero. Its
        shape is that of the tensor without the batch.
    step : Step, optional
        The call that gives it; without it, the image.
    """

    value: Value
    numbers: Numbers
    step: Step | None

    @property
    def is_whole(self) -> bool:
        """Whether it is all values, in order, in another shape."""
        return is_whole(self.numbers, self.value.shape)

    def refusal(self) -> UnsupportedModuleError:
        """Say that no synapses are like that."""
        step, given = self.step, self.value.shape
        found = "the image"
        if step is not None:
            given = step.input_shape
            found = f"found {step.module or name_of(step.call)}, which"
        return UnsupportedModuleError(
            "forward" if step is None else step.where,
            f"{found} reshapes {given} to {self.numbers.shape}",
            "Flattening all, parts of the channels, zeros around and whole blocks of "
            "pixels are supported.",
        )


#: A result of the CNN: a value, one whose values are elsewhere, or several.
Read = Value | Rearranged | list[Any]


def parts_of(found: Any) -> tuple[Value, Numbers]:
    """Give values, and which of them a result has where."""
    if isinstance(found, Rearranged):
        return found.value, found.numbers
    return found, numbered(found.shape)


def placed(value: Value, numbers: Numbers, step: Step | None) -> Read:
    """Give a value itself, if all is in its place."""
    if numbers.shape == value.shape and is_whole(numbers, value.shape):
        return value
    return Rearranged(value, numbers, step)


def numbered(shape: tuple[int, ...]) -> Numbers:
    """Give numbers to the values of a shape."""
    return np.arange(1, math.prod(shape) + 1).reshape(shape)


def is_whole(numbers: Numbers, shape: tuple[int, ...]) -> bool:
    """Whether numbers are those of all values of a shape, in order."""
    return np.array_equal(numbers.ravel(), np.arange(1, math.prod(shape) + 1))


def rearranged(
    step: Step, numbers: Numbers, shapes: Mapping[str, tuple[int, ...]]
) -> list[Numbers] | Numbers | None:
    """Call what moves values with their numbers; None if it does more than that."""
    # Two images, of which the second has negative numbers, as in the trace.
    stacked = np.ascontiguousarray(np.stack([numbers, -numbers]), np.float64)
    both: Any = torch.from_numpy(stacked)

    def given(node: torch.fx.Node) -> Any:
        own = node.name == step.reads[0]
        return both if own else torch.zeros(2, *shapes[node.name])

    args, kwargs = torch.fx.map_arg((step.args, step.kwargs), given)
    found = step.call(*args, **kwargs)
    parts = [_read(part, int(numbers.max(initial=0))) for part in _list(found)]
    if any(part is None for part in parts):
        return None
    return parts if isinstance(found, tuple | list) else parts[0]  # type: ignore[return-value]


def _list(found: Any) -> list[Any]:
    return [*found] if isinstance(found, tuple | list) else [found]


def _read(tensor: torch.Tensor, n: int) -> Numbers | None:
    # Maximum pooling is padded with minus infinity, which never wins.
    values = np.where(np.isinf(tensor.numpy()), 0, tensor.numpy())
    if len(values) != 2 or not np.array_equal(values[0], -values[1]):
        return None
    numbers = values[0].astype(np.int64)
    fits = np.array_equal(numbers, values[0]) and numbers.min() >= 0
    return numbers if fits and numbers.max() <= n else None


def _along(values: Numbers, inside: Any, axis: int) -> Numbers | None:
    """Give what is the same along all other axes; -1 where nothing is inside."""
    values, inside = (
        np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1) for a in (values, inside)
    )
    high = np.where(inside, values, -1).max(1)
    same = (values == high[:, None]) | ~inside
    return high if same.all() else None


def _one_hot(chosen: Numbers, n: int) -> Any:
    return (chosen[:, None] == np.arange(n)).astype(np.float64)


def connection_of(numbers: Numbers, shape: tuple[int, ...]) -> Connection | None:
    """Find the connection that moves values of a shape, if there is one."""
    if numbers.ndim == 1 and math.prod(shape) == shape[0]:
        one = Dense(shape, _one_hot(numbers - 1, shape[0]))
        return Connection(shape, kernel=one)
    if numbers.ndim == 2:
        numbers = numbers[:, None]  # of height 1
    if numbers.ndim != 3 or len(shape) != 3:
        return None
    inside = numbers > 0
    channel, place = np.divmod(np.maximum(numbers - 1, 0), math.prod(shape[1:]))
    places = np.divmod(place, shape[2])
    found = _moved(channel, places, inside, shape)
    if found is None and inside.all():
        kernel = _blocks(channel, places, shape) or _shuffled(channel, places, shape)
        return None if kernel is None else Connection(shape, kernel=kernel)
    return found


def _moved(
    channel: Numbers, places: Any, inside: Any, shape: tuple[int, ...]
) -> Connection | None:
    """Take some channels and some positions."""
    axes = [_along(a, inside, i) for i, a in enumerate((channel, *places))]
    if any(axis is None for axis in axes):
        return None
    c, y, x = axes
    outer = (c >= 0)[:, None, None] & (y >= 0)[:, None] & (x >= 0)  # type: ignore
    if not np.array_equal(outer, inside):
        return None
    window, kernel = None, None
    if not all(np.array_equal(a, np.arange(n)) for a, n in zip((y, x), shape[1:])):  # type: ignore  # noqa: B905
        window = Window(_one_hot(y, shape[1]), _one_hot(x, shape[2]))  # type: ignore
    read = (shape[0], len(y), len(x))  # type: ignore[arg-type]
    if np.array_equal(c, np.arange(shape[0])):  # type: ignore[arg-type]
        kernel = None if window is not None else ByChannel.identity(read)
    else:
        kernel = Convolution(read, _one_hot(c, shape[0])[:, :, None, None])  # type: ignore
    return Connection(shape, window, kernel)


def _blocks(channel: Numbers, places: Any, shape: tuple[int, ...]) -> Kernel | None:
    """Make channels of blocks of pixels."""
    sizes = [n // m for n, m in zip(shape[1:], channel.shape[1:], strict=True)]
    inside = np.ones_like(channel, bool)
    (y, x), own = places, np.indices(channel.shape)[1:]
    found = [_along(channel, inside, 0)] + [
        _along(a - size * at, inside, 0)
        for a, size, at in zip((y, x), sizes, own, strict=True)
    ]
    if 0 in sizes or any(a is None or a.min() < 0 for a in found):
        return None
    c, dy, dx = found
    if dy.max() >= sizes[0] or dx.max() >= sizes[1]:  # type: ignore[union-attr]
        return None
    weight = np.zeros((len(channel), shape[0], *sizes))
    weight[np.arange(len(channel)), c, dy, dx] = 1
    kernel = Convolution(shape, weight, stride=(sizes[0], sizes[1]))
    return kernel if kernel.shape == channel.shape else None


def _shuffled(channel: Numbers, places: Any, shape: tuple[int, ...]) -> Kernel | None:
    """Make blocks of pixels of channels."""
    n, height, width = channel.shape
    by, bx = height // shape[1], width // shape[2]
    if (by * shape[1], bx * shape[2]) != (height, width):
        return None
    at = np.indices(channel.shape)[1:]
    if not all(
        np.array_equal(a, own // size)
        for a, own, size in zip(places, at, (by, bx), strict=True)
    ):
        return None
    first = channel[:, :by, :bx]
    if not np.array_equal(channel, np.tile(first, (1, *shape[1:]))):
        return None
    weight = np.zeros((shape[0], n, by, bx))
    c, dy, dx = np.indices(first.shape)
    weight[first, c, dy, dx] = 1
    return TransposedConvolution(shape, weight, stride=(by, bx))
