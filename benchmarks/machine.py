"""What the benchmarks ran on."""

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brian2 import prefs
from brian2.codegen.cpp_prefs import get_compiler_and_args

from benchmarks.measure import cores

__all__ = ["compiled_for", "compiler", "compiler_flags", "load", "machine"]

PACKAGES = (
    "cnn2snn-brian",
    "brian2",
    "numpy",
    "torch",
    "spikingjelly",
    "sinabs",
    "snntorch",
)


def load() -> float:
    """
    Tell how busy the machine is.

    Returns
    -------
    float
        Load average of the last minute.
    """
    return round(os.getloadavg()[0], 2)


def compiler() -> str:
    """
    Find the compiler that networks are compiled with.

    Returns
    -------
    str
        ``$CXX``, or g++, or clang++.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++")):
        path = shutil.which(name)
        if path is not None:
            return path
    message = "no C++ compiler found"
    raise FileNotFoundError(message)


def compiler_flags() -> list[str]:
    """
    Give the flags that networks are compiled with.

    Returns
    -------
    list of str
        Brian2's.
    """
    return list(get_compiler_and_args()[1])


@contextmanager
def compiled_for(*flags: str) -> Iterator[None]:
    """
    Compile networks for another processor.

    Parameters
    ----------
    *flags : str
        What comes in place of ``-march=native``.

    Yields
    ------
    None
        Afterwards, Brian2's preference is as before.
    """
    preferences = prefs.codegen.cpp
    before = preferences.extra_compile_args_gcc
    preferences.extra_compile_args_gcc = [
        new for flag in before for new in (flags if flag == "-march=native" else [flag])
    ]
    try:
        yield
    finally:
        preferences.extra_compile_args_gcc = before


def _said(*command: str) -> str:
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
    except OSError:
        return "unknown"
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _memory_gb() -> float | None:
    try:
        import psutil
    except ImportError:
        return None
    return round(psutil.virtual_memory().total / 1e9, 1)


def machine() -> dict[str, Any]:
    """
    Describe machine, compiler and versions.

    Returns
    -------
    dict
        For `json`.
    """
    commit = _said("git", "rev-parse", "HEAD")
    if _said("git", "status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
        "commit": commit,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": len(cores()) or os.cpu_count(),
        "memory_gb": _memory_gb(),
        "compiler": _said(compiler(), "--version").splitlines()[0],
        "flags": " ".join(compiler_flags()),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
    }
