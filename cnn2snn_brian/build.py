"""
Compile generated C++ once, and keep the program.

A program is kept in the user's cache directory under a hash of its sources, the
compiler and its flags. It appears there whole or not at all.
"""

import hashlib
import logging
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import platformdirs
from brian2.codegen.cpp_prefs import get_compiler_and_args
from filelock import FileLock

from cnn2snn_brian.errors import BuildError, CompilerNotFoundError

__all__ = ["CACHE_VARIABLE", "UNIT", "build_program", "check_cache", "find_compiler"]

logger = logging.getLogger(__name__)

#: Environment variable that names another cache directory.
CACHE_VARIABLE = "CNN2SNN_BRIAN_CACHE"
#: The source file of a project that includes all others.
UNIT = "program.cpp"
#: Free space that a build needs.
MIN_FREE_BYTES = 50_000_000


def find_compiler() -> str:
    """
    Find the C++ compiler.

    Returns
    -------
    str
        Path of ``$CXX`` if that is set, else of g++ or clang++.

    Raises
    ------
    CompilerNotFoundError
        If there is none on PATH.
    """
    wanted = os.environ.get("CXX")
    candidates = [wanted] if wanted else ["g++", "clang++"]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path is not None:
            return path
    message = (
        f"no C++ compiler found on PATH (looked for {', '.join(candidates)}). On "
        "Debian and Ubuntu: sudo apt-get install g++"
    )
    raise CompilerNotFoundError(message)


def check_cache(directory: str | Path | None = None) -> Path:
    """
    Make sure that the cache directory can be used.

    Parameters
    ----------
    directory : path-like, optional
        Where compiled programs are kept. By default ``$CNN2SNN_BRIAN_CACHE``, or the
        user's cache directory.

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
    if directory is None:
        directory = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir(
            "cnn2snn-brian", appauthor=False
        )
    cache = Path(directory).expanduser().absolute()
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


def _run(command: list[str], directory: Path) -> str:
    result = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False
    )
    if result.returncode:
        message = (
            f"the C++ compiler failed: {' '.join(command)}\n{result.stderr[-4000:]}"
        )
        raise BuildError(message)
    return result.stdout


def _fingerprint(directory: Path, compiler: str, flags: list[str]) -> str:
    """Hash what decides about the program: sources, compiler, flags, processor."""
    digest = hashlib.sha256()
    # What -march=native means differs between machines that share a home directory.
    target = subprocess.run(
        [compiler, *flags, "-Q", "--help=target"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    version = _run([compiler, "--version"], directory)
    for text in (version, target, *flags):
        digest.update(text.encode() + b"\0")
    sources = sorted(
        path for path in directory.rglob("*") if path.suffix in (".cpp", ".h")
    )
    for path in sources:
        digest.update(str(path.relative_to(directory)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _compile(directory: Path, compiler: str, flags: list[str], program: Path) -> None:
    _run([compiler, *flags, "-I.", UNIT, "-o", str(program)], directory)


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_program(directory: Path, cache: Path) -> tuple[Path, bool]:
    """
    Compile a project, or find its program in the cache.

    Parameters
    ----------
    directory : Path
        The project with its C++ sources; ``program.cpp`` includes all others.
    cache : Path
        Where programs are kept, see `check_cache`.

    Returns
    -------
    program : Path
        The program.
    compiled : bool
        False if it was in the cache.

    Raises
    ------
    BuildError
        If the compiler is missing or fails, or the disk is full.
    """
    compiler = find_compiler()
    _, flags = get_compiler_and_args()
    name = _fingerprint(directory, compiler, flags)
    program, checksum = cache / name, cache / f"{name}.sha256"
    # Of two processes that need the same program, one compiles and one waits.
    with FileLock(cache / f"{name}.lock"):
        if program.is_file() and checksum.is_file():
            if checksum.read_text() == _checksum(program):
                logger.info("found the compiled program %s", program)
                return program, False
            logger.warning("%s is damaged, it is compiled again", program)
        unfinished = directory / "program"
        try:
            _compile(directory, compiler, flags, unfinished)
            # Checksum last: a program without its checksum is not trusted.
            checksum.unlink(missing_ok=True)
            shutil.copy2(unfinished, cache / f"{name}.unfinished")
            (cache / f"{name}.unfinished").replace(program)
            checksum.write_text(_checksum(program))
        except OSError as error:
            (cache / f"{name}.unfinished").unlink(missing_ok=True)
            message = f"{cache}: the program could not be kept: {error.strerror}"
            raise BuildError(message) from error
        return program, True
