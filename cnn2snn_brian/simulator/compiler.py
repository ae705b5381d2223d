"""
Compile generated C++ once, and keep the program.

A program is kept in the user's cache directory under a hash of its sources, the
compiler and its flags. It appears there whole or not at all.
"""

import hashlib
import logging
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
from brian2 import prefs
from filelock import FileLock, Timeout

from cnn2snn_brian.checks import n_cores
from cnn2snn_brian.errors import BuildError, CompilerNotFoundError

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
    """Say where compiled programs are kept."""
    if directory is None:
        directory = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir(
            "cnn2snn-brian", appauthor=False
        )
    return Path(directory).expanduser().absolute()


def programs(cache: Path) -> Path:
    """Give the subfolder of a cache directory that is ours."""
    return cache / "programs"


def check_cache(directory: str | Path | None = None) -> Path:
    """Make sure that the cache directory can be used."""
    cache = cache_directory(directory)
    advice = (
        f"Give another one as cache_directory=..., or as ${CACHE_VARIABLE} in the "
        "environment"
    )
    try:
        for folder in (cache, programs(cache)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
            if hasattr(os, "getuid") and status.st_uid != os.getuid():
                raise BuildError(
                    f"{folder}: the cache directory belongs to another user. {advice}"
                )
            if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise BuildError(
                    f"{folder}: other users can write to the cache directory. Run "
                    f"chmod go-w on it. {advice}"
                )
        with tempfile.NamedTemporaryFile(dir=programs(cache)) as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        raise BuildError(
            f"{cache}: compiled programs can't be kept here: {error.strerror}. {advice}"
        ) from error
    free = shutil.disk_usage(cache).free
    if free < MIN_FREE_BYTES:
        raise BuildError(
            f"{cache}: {free / 1e6:.0f} MB are free, a build needs "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB. {advice}"
        )
    return cache


class Entry(NamedTuple):
    """A program or project in the cache: name, bytes, and when it was last used."""

    name: str
    size: int
    used: float


def entries(cache: Path) -> list[Entry]:
    """List what is in a cache."""
    found = []
    for path in programs(cache).glob("*"):
        try:
            used = path.stat().st_mtime
            if PROJECT_NAME.fullmatch(path.name) and path.is_dir():
                size = sum(file.stat().st_size for file in path.rglob("*"))
                found.append(Entry(path.name, size, used))
            elif PROGRAM_NAME.fullmatch(path.name) and path.is_file():
                found.append(Entry(path.name, path.stat().st_size, used))
        except FileNotFoundError:
            continue  # another process removed it in between
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def locked(cache: Path, name: str, timeout: float = -1) -> FileLock:
    """Hold an entry: no other process makes, copies or removes it meanwhile."""
    return FileLock(programs(cache) / f"{name}{LOCK}", timeout=timeout)


@contextmanager
def working_folder(cache: Path, name: str) -> Iterator[Path]:
    """Make a folder to run a program in, which trimming leaves alone."""
    with tempfile.TemporaryDirectory(
        prefix=f"{name}{RUNNING}", dir=programs(cache), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _remove(cache: Path, name: str) -> None:
    """Remove an entry, unless it is being made or copied at the moment."""
    path = programs(cache) / name
    with suppress(Timeout), locked(cache, name.removesuffix(PROJECT), timeout=0):
        if name.endswith(PROJECT):
            shutil.rmtree(path, ignore_errors=True)
        else:
            _unlink(path, CHECKSUM, UNFINISHED)


def _unlink(program: Path, *suffixes: str) -> None:
    for suffix in ("", *suffixes):
        program.with_name(f"{program.name}{suffix}").unlink(missing_ok=True)


def trim(cache: Path, limit: int = MAX_CACHE_BYTES, keep: str = "") -> None:
    """Remove what was not used for longest, until the rest is below the limit."""
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
    """Remove all entries of a cache, also those of version 0.1.0."""
    for entry in entries(cache):
        _remove(cache, entry.name)
    for lock in programs(cache).glob(f"*{LOCK}"):
        if PROGRAM_NAME.fullmatch(lock.stem):
            lock.unlink(missing_ok=True)
    for path in cache.glob("*"):
        if PROJECT_NAME.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif PROGRAM_NAME.fullmatch(path.name) and path.with_suffix(CHECKSUM).is_file():
            _unlink(path, CHECKSUM, LOCK, UNFINISHED)


logger = logging.getLogger(__name__)

#: The source files of a project that include all others.
UNITS = "program*.cpp"
#: The compiled program in a project's folder.
PROGRAM = "program"


def find_compiler() -> tuple[str, ...]:
    """Find the C++ compiler."""
    wanted = os.environ.get("CXX", "").strip()
    candidates = [wanted] if wanted else ["g++", "clang++"]
    for candidate in candidates:
        try:
            words = shlex.split(candidate)
        except ValueError:  # a quotation mark without its partner
            words = []
        # A path may have spaces in it.
        for name, *arguments in filter(None, ([candidate], words)):
            if path := shutil.which(name):
                return path, *arguments
    raise CompilerNotFoundError(
        f"no C++ compiler found on PATH (looked for {', '.join(candidates)}). On "
        "Debian and Ubuntu: sudo apt-get install g++"
    )


def _asked(command: list[str], cwd: Path | None = None) -> Any:
    """Run a compiler; its words may be in any language and encoding."""
    try:
        return subprocess.run(
            command, cwd=cwd, capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise BuildError(
            f"the C++ compiler {command[0]} can't be run: {error.strerror}"
        ) from error


def _said(command: list[str], directory: Path, failure: str = "") -> str:
    """Say what a compiler writes."""
    result = _asked(command, directory)
    if result.returncode:
        failure = failure or f"the C++ compiler failed: {shlex.join(command)}\n"
        raise BuildError(f"{failure}{result.stderr[-4000:]}")
    return str(result.stdout)


def accepted_flags(compiler: tuple[str, ...]) -> list[str]:
    """Choose those of the flags in Brian2's preferences that a compiler takes."""
    cpp = prefs.codegen.cpp
    wanted = cpp.extra_compile_args
    flags = list(cpp.extra_compile_args_gcc if wanted is None else wanted)
    if _takes(compiler, *flags):
        return flags
    unknown = [flag for flag in flags if not _takes(compiler, flag)]
    logger.warning(
        "%s does not take the flags %s of Brian2's preferences; they are left out",
        shlex.join(compiler),
        ", ".join(unknown),
    )
    return [flag for flag in flags if flag not in unknown]


@cache
def _takes(compiler: tuple[str, ...], *flags: str) -> bool:
    command = [*compiler, *flags, "-fsyntax-only", "-x", "c++", os.devnull]
    return not _asked(command).returncode


def _fingerprint(
    directory: Path, compiler: tuple[str, ...], flags: list[str], version: str
) -> str:
    """Hash what decides about the program: sources, compiler, flags, processor."""
    macros = _said(
        [*compiler, *flags, "-dM", "-E", "-x", "c++", os.devnull],
        directory,
        f"the C++ compiler {shlex.join(compiler)} does not list its macros "
        "(-dM -E), which tell processors apart. GCC and Clang do: ",
    )
    digest = hashlib.sha256()
    for text in (version, macros, *compiler[1:], *flags):
        digest.update(text.encode() + b"\0")
    for path in sorted(directory.rglob("*")):
        if path.suffix in (".cpp", ".h"):
            digest.update(str(path.relative_to(directory)).encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Build(NamedTuple):
    """A compiled program, in the cache."""

    program: Path
    #: False if it was there before.
    compiled: bool
    #: First line of what the compiler says of its version.
    compiler: str
    flags: str


def linked(source: str | Path, target: str | Path) -> None:
    """Make a hard link, or a copy on a file system that has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _compile(command: list[str], directory: Path) -> None:
    """Compile the units of a project, at the same time, and link them."""
    units = sorted(directory.glob(UNITS))
    objects = [unit.with_suffix(".o") for unit in units]
    lines = [
        [*command, "-I.", "-c", unit.name, "-o", compiled.name]
        for unit, compiled in zip(units, objects, strict=True)
    ]
    with ThreadPoolExecutor(n_cores()) as threads:
        list(threads.map(lambda line: _said(line, directory), lines))
    names = [compiled.name for compiled in objects]
    _said([*command, *names, "-o", PROGRAM], directory)
    for compiled in objects:
        compiled.unlink()


def build_program(directory: Path, cache: Path) -> Build:
    """Compile a project, or find its program in the cache."""
    compiler = find_compiler()
    flags = accepted_flags(compiler)
    version = _said([*compiler, "--version"], directory)
    name = _fingerprint(directory, compiler, flags, version)
    said = version.splitlines()[0], shlex.join(flags)
    folder, own = programs(cache), directory / PROGRAM
    program, checksum = folder / name, folder / f"{name}{CHECKSUM}"
    unfinished = folder / f"{name}{UNFINISHED}"
    # Of two processes that need the same program, one compiles and one waits.
    with locked(cache, name):
        try:
            if program.is_file() and checksum.is_file():
                if checksum.read_text() == _checksum(program):
                    logger.info("found the compiled program %s", program)
                    os.utime(program)  # it was of use: others are removed before it
                    # A copy, which stays when the cache is emptied; a link where it can
                    # be one: a file that was just written can't be executed while a
                    # process that another thread has started still holds it open.
                    own.unlink(missing_ok=True)
                    linked(program, own)
                    return Build(program, False, *said)
                logger.warning("%s is damaged, it is compiled again", program)
            _compile([*compiler, *flags], directory)
            # Checksum last: a program without its checksum is not trusted.
            checksum.unlink(missing_ok=True)
            shutil.copy2(own, unfinished)
            unfinished.replace(program)
            checksum.write_text(_checksum(program))
            os.utime(program)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise BuildError(
                f"{cache}: the program could not be kept: {error.strerror}"
            ) from error
    trim(cache, keep=name)
    return Build(program, True, *said)
