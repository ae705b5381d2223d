"""
What all layers have in common.

A layer knows the shape of what goes in and comes out, the names of the layers that it
reads, and its weights. It needs neither torch nor Brian2.
"""

import hashlib
from dataclasses import fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections.order import FloatArray, Shape


class Layer(Protocol):
    """What all layers have in common."""

    @property
    def name(self) -> str:
        """Name of the layer, of its neurons and of its threshold."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the layers that this one reads."""

    @property
    def input_shape(self) -> Shape:
        """Shape of what goes in."""

    @property
    def shape(self) -> Shape:
        """Shape of what comes out."""

    @property
    def bias(self) -> FloatArray | None:
        """Constant input of each neuron, of shape `shape`."""

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""

    def drive(self, activations: FloatArray) -> FloatArray:
        """Input of the neurons without bias, for activations ``(n, *input_shape)``."""

    def fan_out(self) -> npt.NDArray[np.int64]:
        """Count the synapses that leave each input, in an array of its shape."""


class ByContent(Printed):
    """Equality and hash of frozen dataclasses with arrays: by all that is in them."""

    @cached_property
    def digest(self) -> str:
        """Hash of all fields, 64 hexadecimal digits, the same in each process."""
        found = hashlib.sha256(type(self).__name__.encode())
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, tuple) and not value:
                continue  # a field that came later: digests in older files stay right
            found.update(f"\0{item.name}\0".encode())
            if isinstance(value, np.ndarray):
                found.update(f"{value.dtype} {value.shape}".encode())
                found.update(np.ascontiguousarray(value).data)
            elif isinstance(value, tuple) and value and hasattr(value[0], "digest"):
                found.update("".join(part.digest for part in value).encode())
            elif hasattr(value, "digest"):
                found.update(value.digest.encode())
            else:
                found.update(repr(value).encode())
        return found.hexdigest()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, ByContent)
        return self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def freeze(layer: object, name: str, value: npt.NDArray[Any]) -> None:
    """Give a frozen layer a read-only copy of an array."""
    n_bad = int((~np.isfinite(value)).sum())
    if n_bad:
        raise InputError(
            f"{getattr(layer, 'name', layer)}: {n_bad} of {np.size(value)} values of "
            f"its {name} are NaN or infinite"
        )
    value = np.array(value, order="C")  # a copy: the caller's stays writable
    value.setflags(write=False)
    object.__setattr__(layer, name, value)


def check_bias(layer: Layer) -> None:
    """Check the bias of a layer that is being made, and freeze it."""
    if layer.bias is not None:
        if layer.bias.shape != layer.shape:
            raise InputError(
                f"{layer.name}: the bias has the shape {layer.bias.shape}, "
                f"the layer {layer.shape}"
            )
        freeze(layer, "bias", layer.bias)


def check_windows(
    layer: Layer, size: int, windows: tuple[tuple[int, int], ...], n: int
) -> None:
    """Check the windows of a pooling along one axis."""
    fits = all(0 <= first < end <= size for first, end in windows)
    if not windows or not fits or len(windows) != n:
        raise InputError(
            f"{layer.name}: pooling windows {windows} don't fit an input of shape "
            f"{layer.input_shape}"
        )
