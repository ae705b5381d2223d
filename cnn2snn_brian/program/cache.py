"""
The cache of compiled programs: a directory of the user's, with a limit to its size.

An entry is a program and its checksum, under the hash of its sources. Workers of a
cluster also keep the projects that were sent to them.
"""

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from cnn2snn_brian.errors import BuildError

__all__ = [
    "CACHE_VARIABLE",
    "CHECKSUM",
    "LOCK",
    "MAX_CACHE_BYTES",
    "PROJECT",
    "UNFINISHED",
    "Entry",
    "cache_directory",
    "check_cache",
    "clear",
    "entries",
    "trim",
]

#: Environment variable that names another cache directory.
CACHE_VARIABLE = "CNN2SNN_BRIAN_CACHE"
#: Free space that a build needs.
MIN_FREE_BYTES = 50_000_000
#: The cache is kept below this size: what was not used for longest goes first.
MAX_CACHE_BYTES = 500_000_000

CHECKSUM, LOCK, PROJECT, UNFINISHED = ".sha256", ".lock", ".project", ".unfinished"


def cache_directory(directory: str | Path | None = None) -> Path:
    """
    Say where compiled programs are kept.

    Parameters
    ----------
    directory : path-like, optional
        The place that a user asks for. By default ``$CNN2SNN_BRIAN_CACHE``, or the
        user's cache directory.

    Returns
    -------
    Path
        The directory. It need not exist yet.
    """
    if directory is None:
        directory = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir(
            "cnn2snn-brian", appauthor=False
        )
    return Path(directory).expanduser().absolute()


def check_cache(directory: str | Path | None = None) -> Path:
    """
    Make sure that the cache directory can be used.

    Parameters
    ----------
    directory : path-like, optional
        Where compiled programs are kept, see `cache_directory`.

    Returns
    -------
    Path
        The directory. It exists and can be written to.

    Raises
    ------
    BuildError
        If it can't be made or written to, is full, or belongs to or can be written by
        someone else (who could put a program of their own there).
    """
    cache = cache_directory(directory)
    advice = (
        f"Give another one as cache_directory=..., or as ${CACHE_VARIABLE} in the "
        "environment"
    )
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache) as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        message = (
            f"{cache}: compiled programs can't be kept here: {error.strerror}. {advice}"
        )
        raise BuildError(message) from error
    status = cache.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        message = f"{cache}: the cache directory belongs to another user. {advice}"
        raise BuildError(message)
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = (
            f"{cache}: other users can write to the cache directory. Run "
            f"chmod go-w on it. {advice}"
        )
        raise BuildError(message)
    free = shutil.disk_usage(cache).free
    if free < MIN_FREE_BYTES:
        message = (
            f"{cache}: {free / 1e6:.0f} MB are free, a build needs "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB. {advice}"
        )
        raise BuildError(message)
    return cache


@dataclass(frozen=True)
class Entry:
    """A program or project in the cache: name, bytes, and when it was last used."""

    name: str
    size: int
    used: float


def entries(cache: Path) -> list[Entry]:
    """
    List what is in a cache.

    Parameters
    ----------
    cache : Path
        The cache directory.

    Returns
    -------
    list of Entry
        Programs and projects, those used last first.
    """
    found = []
    for path in cache.iterdir() if cache.is_dir() else ():
        try:
            if path.is_dir() and path.suffix == PROJECT:
                files = [file.stat().st_size for file in path.rglob("*")]
                found.append(Entry(path.name, sum(files), path.stat().st_mtime))
            elif path.is_file() and path.suffix == "":
                found.append(
                    Entry(path.name, path.stat().st_size, path.stat().st_mtime)
                )
        except FileNotFoundError:
            continue  # another process removed it in between
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def _remove(cache: Path, name: str) -> None:
    shutil.rmtree(cache / name, ignore_errors=True)
    for suffix in ("", CHECKSUM, UNFINISHED):
        path = cache / f"{name}{suffix}"
        if not path.is_dir():
            path.unlink(missing_ok=True)


def trim(cache: Path, limit: int = MAX_CACHE_BYTES, keep: str = "") -> None:
    """
    Remove what was not used for longest, until the rest is below the limit.

    A program that runs goes on: simulators run a copy of their own.

    Parameters
    ----------
    cache : Path
        The cache directory.
    limit : int
        Largest size of all entries together, in bytes.
    keep : str
        Name of an entry that stays.
    """
    total = 0
    for entry in entries(cache):
        total += entry.size
        if total > limit and entry.name != keep:
            _remove(cache, entry.name)
            total -= entry.size


def clear(cache: Path) -> None:
    """
    Remove all entries of a cache.

    Parameters
    ----------
    cache : Path
        The cache directory. It stays, with files that are not of this package.
    """
    names = [entry.name for entry in entries(cache)]
    for name in names:
        _remove(cache, name)
        (cache / f"{Path(name).stem}{LOCK}").unlink(missing_ok=True)
