"""Checks that every stage needs."""

import importlib
import math
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError, MissingLibraryError


def check_whole(what: str, number: Any, smallest: int) -> int:
    """Check a whole number; True and False are none."""
    is_whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not is_whole or number < smallest:
        raise InputError(
            f"{what} is {number!r}, expected a whole number of at least {smallest}"
        )
    return int(number)


def check_number(
    what: str, number: Any, low: float = -math.inf, high: float = math.inf
) -> None:
    """Check a finite number in a range, which its ends belong to."""
    try:
        fits = math.isfinite(number) and low <= number <= high
    except TypeError:
        fits = False
    if not fits:
        rule = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise InputError(f"{what} is {number!r}, expected a number {rule}")


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
