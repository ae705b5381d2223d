"""Frozen descriptions with arrays: compared by content, and short when printed."""

import hashlib
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed

#: Of fields that were added later: their default leaves a digest what it was.
ADDED = {"added": True}


#: So many weights of float32 stay that, and are computed with as float64, in parts.
LARGE, PART = 2**20, 2**22


def is_large(values: Any) -> bool:
    """Whether weights would take too much memory as float64."""
    return values.dtype == np.float32 and values.size >= LARGE


def in_float64(values: Any) -> Any:
    """Give large weights as float64, which is exact."""
    return values.astype(np.float64) if is_large(values) else values


class ByContent(Printed):
    """Equality and hash of frozen dataclasses with arrays: by all that is in them."""

    @cached_property
    def digest(self) -> str:
        """Hash of all fields, 64 hexadecimal digits, the same in each process."""
        found = hashlib.sha256(type(self).__name__.encode())
        for item in fields(self):  # type: ignore[arg-type]
            if not item.compare:
                continue
            value = getattr(self, item.name)
            if is_left_out(item, value):
                continue
            found.update(f"\0{item.name}\0".encode())
            if isinstance(value, np.ndarray):
                dtype = np.dtype(np.float64) if is_large(value) else value.dtype
                found.update(f"{dtype} {value.shape}".encode())
                for part in np.array_split(value.ravel(), value.size // PART + 1):
                    found.update(part.astype(dtype, copy=False).data)
            elif isinstance(value, tuple) and value and hasattr(value[0], "digest"):
                found.update("".join(part.digest for part in value).encode())
            else:
                found.update(str(getattr(value, "digest", repr(value))).encode())
        return found.hexdigest()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.digest == other.digest  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.digest)

    def freeze(self, where: str, name: str) -> None:
        """Keep a read-only copy of an array of finite numbers."""
        value = getattr(self, name)
        if n_bad := int((~np.isfinite(value)).sum()):
            raise InputError(
                f"{where}{n_bad} of {np.size(value)} values of its {name} are NaN or "
                "infinite"
            )
        if value.flags.writeable or not value.flags.c_contiguous:
            value = np.array(value, order="C")  # a copy: the caller's stays writable
        value.setflags(write=False)
        object.__setattr__(self, name, value)


def is_left_out(item: Any, value: Any) -> bool:
    """Whether a field was added later and says nothing: files and digests have none."""
    return item.metadata == ADDED and value == item.default


def shown(shape: Any) -> str:
    """Write a shape as in ``3x32x32``."""
    return "x".join(map(str, shape))
