"""
The cache of compiled programs: a directory of the user's, with a limit to its size.

All is in its subfolder ``programs``, under names of 32 hexadecimal digits: the hash of
what it was made of. An entry is a program with its checksum, or a project that was sent
to a worker of a cluster. Nothing of another name is ever touched.
"""

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from cnn2snn_brian.errors import BuildError

__all__ = [
    "CACHE_VARIABLE",
    "CHECKSUM",
    "MAX_CACHE_BYTES",
    "PROJECT",
    "UNFINISHED",
    "Entry",
    "cache_directory",
    "check_cache",
    "clear",
    "entries",
    "locked",
    "programs",
    "trim",
    "working_folder",
]

#: Environment variable that names another cache directory.
CACHE_VARIABLE = "CNN2SNN_BRIAN_CACHE"
#: Free space that a build needs.
MIN_FREE_BYTES = 50_000_000
#: The cache is kept below this size: what was not used for longest goes first.
MAX_CACHE_BYTES = 500_000_000

CHECKSUM, LOCK, PROJECT, UNFINISHED = ".sha256", ".lock", ".project", ".unfinished"
#: Folders that workers run from, each for one shard.
RUNNING = ".running-"
#: A folder that was made so long ago is of a worker that was killed, in seconds.
LEFT_BEHIND = 24 * 3600

#: Names of entries.
PROGRAM_NAME = re.compile(r"[0-9a-f]{32}")
PROJECT_NAME = re.compile(rf"[0-9a-f]{{32}}{re.escape(PROJECT)}")


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


def programs(cache: Path) -> Path:
    """
    Give the subfolder of a cache directory that is ours.

    Parameters
    ----------
    cache : Path
        The cache directory.

    Returns
    -------
    Path
        The folder of all entries.
    """
    return cache / "programs"


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
        The directory. Its subfolder `programs` exists and can be written to.

    Raises
    ------
    BuildError
        If it can't be made or written to, is full, or it or its subfolder belongs to
        or can be written by someone else (who could put a program of their own there).
    """
    cache = cache_directory(directory)
    advice = (
        f"Give another one as cache_directory=..., or as ${CACHE_VARIABLE} in the "
        "environment"
    )
    try:
        for folder in (cache, programs(cache)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(folder, advice)
        with tempfile.NamedTemporaryFile(dir=programs(cache)) as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        message = (
            f"{cache}: compiled programs can't be kept here: {error.strerror}. {advice}"
        )
        raise BuildError(message) from error
    free = shutil.disk_usage(cache).free
    if free < MIN_FREE_BYTES:
        message = (
            f"{cache}: {free / 1e6:.0f} MB are free, a build needs "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB. {advice}"
        )
        raise BuildError(message)
    return cache


def _check_owner(folder: Path, advice: str) -> None:
    status = folder.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        message = f"{folder}: the cache directory belongs to another user. {advice}"
        raise BuildError(message)
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = (
            f"{folder}: other users can write to the cache directory. Run "
            f"chmod go-w on it. {advice}"
        )
        raise BuildError(message)


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
        Programs and projects, those used last first. Of an earlier version, which kept
        them in `cache` itself, nothing is listed.
    """
    found = []
    folder = programs(cache)
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            if PROJECT_NAME.fullmatch(path.name) and path.is_dir():
                size = sum(file.stat().st_size for file in path.rglob("*"))
            elif PROGRAM_NAME.fullmatch(path.name) and path.is_file():
                size = path.stat().st_size
            else:
                continue
            found.append(Entry(path.name, size, path.stat().st_mtime))
        except FileNotFoundError:
            continue  # another process removed it in between
    return sorted(found, key=lambda entry: entry.used, reverse=True)


@contextmanager
def locked(cache: Path, name: str) -> Iterator[None]:
    """
    Hold an entry: no other process makes, copies or removes it meanwhile.

    Parameters
    ----------
    cache : Path
        The cache directory.
    name : str
        Hash of the entry.

    Yields
    ------
    None
        Once no other process holds it.
    """
    with FileLock(programs(cache) / f"{name}{LOCK}"):
        yield


@contextmanager
def working_folder(cache: Path, name: str) -> Iterator[Path]:
    """
    Make a folder to run a program in, which trimming leaves alone.

    It is in the cache, so that links to an entry's files need no space.

    Parameters
    ----------
    cache : Path
        The cache directory.
    name : str
        Hash of the entry that is worked on.

    Yields
    ------
    Path
        An empty folder, removed in the end.
    """
    with tempfile.TemporaryDirectory(
        prefix=f"{name}{RUNNING}", dir=programs(cache), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _remove(cache: Path, name: str) -> None:
    """Remove an entry, unless it is being made or copied at the moment."""
    folder, digest = programs(cache), name.removesuffix(PROJECT)
    try:
        with FileLock(folder / f"{digest}{LOCK}", timeout=0):
            if name.endswith(PROJECT):
                shutil.rmtree(folder / name, ignore_errors=True)
                return
            for suffix in ("", CHECKSUM, UNFINISHED):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
    except Timeout:
        return


def trim(cache: Path, limit: int = MAX_CACHE_BYTES, keep: str = "") -> None:
    """
    Remove what was not used for longest, until the rest is below the limit.

    A program that runs goes on: simulators and workers run copies of their own.

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
    for folder in programs(cache).glob(f"*{RUNNING}*"):
        try:
            age = time.time() - folder.stat().st_mtime
        except FileNotFoundError:
            continue  # its worker is done
        if age > LEFT_BEHIND and PROGRAM_NAME.match(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def clear(cache: Path) -> None:
    """
    Remove all entries of a cache, also those of version 0.1.0.

    That version kept them in the cache directory itself. Of these, programs with a
    checksum beside them and projects are removed, both under names of 32 hexadecimal
    digits; `trim` does not count them.

    Parameters
    ----------
    cache : Path
        The cache directory. It stays, with all files that are not of this package.
    """
    for entry in entries(cache):
        _remove(cache, entry.name)
    for lock in programs(cache).glob(f"*{LOCK}"):
        if PROGRAM_NAME.fullmatch(lock.stem):
            lock.unlink(missing_ok=True)
    for path in cache.iterdir() if cache.is_dir() else ():
        if PROJECT_NAME.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif PROGRAM_NAME.fullmatch(path.name) and path.with_suffix(CHECKSUM).is_file():
            for suffix in ("", CHECKSUM, LOCK, UNFINISHED):
                path.with_suffix(suffix).unlink(missing_ok=True)
