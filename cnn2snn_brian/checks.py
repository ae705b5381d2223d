"""Checks that every stage needs."""

import ctypes
import importlib
import math
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError, MissingLibraryError

if TYPE_CHECKING:
    from brian2 import Quantity


def check_whole(what: str, number: Any, smallest: int) -> int:
    """Check a whole number; True and False are not."""
    is_whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not is_whole or number < smallest:
        raise InputError(
            f"{what} is {number!r}, expected a whole number of at least {smallest}"
        )
    return int(number)


def check_index(what: str, number: Any, n: int) -> None:
    """Check the number of one of `n` things."""
    if check_whole(what, number, 0) >= n:
        raise InputError(f"{what} is {number}, expected 0 to {n - 1}")


def check_shape(what: str, array: npt.NDArray[Any], *sizes: int | str) -> None:
    """Check a shape; a size with a name is any above 0, the same if it comes again."""
    pairs = zip(sizes, array.shape, strict=False)
    named: dict[int | str, int] = {k: n for k, n in pairs if isinstance(k, str)}
    expected = tuple(named.get(size, size) for size in sizes)
    if array.shape != expected or 0 in named.values():
        rule = f"({', '.join(map(str, sizes))})"
        raise InputError(f"{what}: found the shape {array.shape}, expected {rule}")


def check_number(
    what: str,
    number: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Check a plain finite number in a range, which `low` and `high` belong to."""
    # Of Brian2's quantities only those without unit, without importing Brian2.
    unit = getattr(number, "dim", None)
    is_plain = np.ndim(number) == 0 and getattr(unit, "is_dimensionless", True)
    try:
        wrong = isinstance(number, str | bool | np.bool_)
        value = math.nan if wrong else float(number)
    except (TypeError, ValueError):
        value = math.nan
    if not (
        is_plain
        and math.isfinite(value)
        and low <= value <= high
        and above < value < below
    ):
        bounds = {"of at least": low, "above": above, "below": below, "at most": high}
        if math.isfinite(low) and math.isfinite(high):
            bounds = {f"from {low:g} to": high}
        words = [
            f"{k} {bound:g}" for k, bound in bounds.items() if math.isfinite(bound)
        ]
        rule = f"a number {' and '.join(words)}" if words else "a finite number"
        raise InputError(f"{what} is {number!r}, expected {rule}")
    return value


def check_numbers(what: str, given: Any, **limits: float) -> list[float]:
    """Check some numbers to choose from."""
    numbers = np.ravel(np.array(given, dtype=object))
    if not len(numbers):
        raise InputError(f"{what} is {given!r}, expected at least one number")
    return [check_number(f"{what}: one", number, **limits) for number in numbers]


def real_numbers(
    what: str,
    values: Any,
    *,
    least: float = -math.inf,
    known: bool = True,
    unit: "Quantity | None" = None,
) -> npt.NDArray[np.float64]:
    """Check real numbers, of any shape; of `unit` they come in SI units."""
    # Imported here: it takes a second, and other checks don't need it.
    from brian2 import DimensionMismatchError, Quantity, get_dimensions

    given = values
    if hasattr(values, "detach"):  # a torch tensor, without importing torch
        values = values.detach().cpu().numpy()
    try:
        if isinstance(values, list | tuple):
            # Of units in a list, numpy alone would forget; those of others, Brian2 too.
            foreign = any(hasattr(item, "dimensionality") for item in values)
            values = None if foreign else Quantity(values)
        array = np.asarray(values)
        allowed = (None, get_dimensions(1), None if unit is None else unit.dim)
        plain = getattr(values, "dim", None) in allowed
        plain = plain and not hasattr(values, "dimensionality")
    except (DimensionMismatchError, TypeError, ValueError):
        plain, array = False, np.empty(0)
    if not plain or (array.size and array.dtype.kind not in "biuf"):
        rule = "real numbers" if unit is None else f"plain numbers or Brian2's {unit}"
        raise InputError(f"{what}: found {given!r:.80}, expected {rule}")
    array = array.astype(np.float64)
    wrong = (~np.isfinite(array) if known else np.isinf(array)) | (array < least)
    if wrong.any():
        rule = "finite numbers" if known else "finite numbers or NaN"
        rule += f" of at least {least:g}" if math.isfinite(least) else ""
        raise InputError(f"{what}: found {array[wrong][0]:g}, expected {rule}")
    return array


def whole_numbers(what: str, values: Any, n: int) -> npt.NDArray[np.int64]:
    """Check numbers of things, such as neurons."""
    array = real_numbers(what, values)
    rule = f"expected whole numbers from 0 to {n - 1}"
    broken = array != np.floor(array)
    if broken.any() or np.asarray(values).dtype == bool:
        found = f"{array[broken][0]:g}" if broken.any() else "True and False"
        raise InputError(f"{what}: found {found}, {rule}")
    if array.size and not (array.min() >= 0 and array.max() < n):
        raise InputError(f"{what} goes from {array.min():g} to {array.max():g}, {rule}")
    return array.astype(np.int64)


def seconds(
    what: str,
    time: Any,
    *,
    plain: bool = True,
    least: float = -math.inf,
    above: float = -math.inf,
) -> float:
    """Read a time; plain numbers are seconds, or but for 0 refused."""
    from brian2 import second

    try:
        number = real_numbers(what, time, unit=second)
    except InputError:
        number = np.empty(0)
    is_time = number.ndim == 0 and not isinstance(time, bool)
    is_time = is_time and (plain or hasattr(time, "dim") or number == 0)
    if not is_time or number < least or number <= above:
        rule = "a time above 0" if above == 0 else "a time"
        rule += " of at least 0" if least == 0 else ""
        raise InputError(f"{what} is {time}, expected {rule}, such as 100*ms")
    return float(number)


def check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a value is one of a few."""
    if value not in choices:
        raise InputError(
            f"{what}={value!r}: expected {' or '.join(map(repr, choices))}"
        )


def check_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that only existing things are named."""
    known = tuple(known)
    if unknown := [repr(name) for name in given if name not in known]:
        raise InputError(
            f"unknown {what} {', '.join(unknown)}; there are {', '.join(known)}"
        )


def check_names(what: str, given: Iterable[str], names: Collection[str]) -> None:
    """Check that only existing layers are named."""
    unknown = [str(name) for name in given if name not in names]
    if unknown:
        raise InputError(
            f"{what} names the unknown layer {', '.join(map(repr, unknown))}; "
            f"layers are {', '.join(names)}"
        )


def check_all_layers(what: str, given: Collection[str], names: Collection[str]) -> None:
    """Check that all existing layers are named, and no others."""
    check_names(what, given, names)
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(f"{what} is missing for {', '.join(missing)}")


def by_layer(what: str, given: Any, names: Collection[str]) -> dict[str, Any]:
    """Take one value for all layers, or values of some by name."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    check_names(what, given, names)
    return dict(given)


def optional_library(name: str, extra: str, purpose: str) -> ModuleType:
    """Import a library that not everyone has."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise MissingLibraryError(
            f"{purpose} needs the library {library} ({error}). Install it with: "
            f'pip install "cnn2snn-brian[{extra}]", or pip install {library}'
        ) from error


def n_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_back() -> None:
    """Give freed memory back to the system; glibc keeps that of middle-sized arrays."""
    with suppress(AttributeError, OSError, TypeError):  # of other systems
        ctypes.CDLL(None).malloc_trim(0)


def free_memory() -> int | None:
    """Say how much memory new data can take."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        try:
            # Not what is free, but nothing larger will fit.
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (OSError, ValueError):
            return None
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            free = min(free, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return free
