"""
Compile generated C++ once, and keep the program.

A program is kept in the user's cache directory under a hash of its sources, the
compiler and its flags. It appears there whole or not at all.
"""

import hashlib
import logging
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from brian2 import prefs

from cnn2snn_brian.errors import BuildError, CompilerNotFoundError
from cnn2snn_brian.program.cache import (
    CHECKSUM,
    UNFINISHED,
    locked,
    programs,
    trim,
)

__all__ = [
    "PROGRAM",
    "UNIT",
    "Build",
    "accepted_flags",
    "build_program",
    "find_compiler",
]

logger = logging.getLogger(__name__)

#: The source file of a project that includes all others.
UNIT = "program.cpp"
#: The compiled program in a project's folder.
PROGRAM = "program"


def find_compiler() -> tuple[str, ...]:
    """
    Find the C++ compiler.

    Returns
    -------
    tuple of str
        Its command: ``$CXX`` if that is set, which may have arguments as in ``ccache
        g++``, else g++ or clang++. The first is a path.

    Raises
    ------
    CompilerNotFoundError
        If there is none on PATH.
    """
    wanted = os.environ.get("CXX", "").strip()
    candidates = [wanted] if wanted else ["g++", "clang++"]
    for candidate in candidates:
        # A path may have spaces in it.
        whole = shutil.which(candidate) is not None
        name, *arguments = [candidate] if whole else _words(candidate)
        path = shutil.which(name)
        if path is not None:
            return path, *arguments
    message = (
        f"no C++ compiler found on PATH (looked for {', '.join(candidates)}). On "
        "Debian and Ubuntu: sudo apt-get install g++"
    )
    raise CompilerNotFoundError(message)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command) or [command]
    except ValueError:  # a quotation mark without its partner
        return [command]


def _said(command: list[str], directory: Path | None = None) -> Any:
    """Run a compiler; its words may be in any language and encoding."""
    try:
        return subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        message = f"the C++ compiler {command[0]} can't be run: {error.strerror}"
        raise BuildError(message) from error


def _run(command: list[str], directory: Path) -> str:
    result = _said(command, directory)
    if result.returncode:
        message = f"the C++ compiler failed: {shlex.join(command)}\n"
        raise BuildError(message + result.stderr[-4000:])
    return str(result.stdout)


def accepted_flags(compiler: tuple[str, ...]) -> list[str]:
    """
    Choose those of the flags in Brian2's preferences that a compiler takes.

    Brian2 tries them with the compiler of distutils, which may be missing or another.

    Parameters
    ----------
    compiler : tuple of str
        The command that `find_compiler` found.

    Returns
    -------
    list of str
        The flags, without those that the compiler refuses; these are logged.
    """
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
    return bool(_said(command).returncode == 0)


def _target(compiler: tuple[str, ...], flags: list[str]) -> str:
    """
    Say which processor a compiler makes code for.

    What ``-march=native`` means differs between machines that share a home directory.
    The macros that are set before any source (``__AVX2__`` and so on) tell them apart,
    for GCC as for Clang.
    """
    said = _said([*compiler, *flags, "-dM", "-E", "-x", "c++", os.devnull])
    if said.returncode:
        message = (
            f"the C++ compiler {shlex.join(compiler)} does not list its macros (-dM "
            f"-E), which tell processors apart. GCC and Clang do: {said.stderr[-400:]}"
        )
        raise BuildError(message)
    return str(said.stdout)


def _fingerprint(
    directory: Path, compiler: tuple[str, ...], flags: list[str], version: str
) -> str:
    """Hash what decides about the program: sources, compiler, flags, processor."""
    digest = hashlib.sha256()
    for text in (version, _target(compiler, flags), *compiler[1:], *flags):
        digest.update(text.encode() + b"\0")
    sources = sorted(
        path for path in directory.rglob("*") if path.suffix in (".cpp", ".h")
    )
    for path in sources:
        digest.update(str(path.relative_to(directory)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Build:
    """
    A compiled program.

    Attributes
    ----------
    program : Path
        The program in the cache.
    compiled : bool
        False if it was there before.
    compiler : str
        First line of what the compiler says of its version.
    flags : str
        Its flags.
    """

    program: Path
    compiled: bool
    compiler: str
    flags: str


def _own_copy(program: Path, own: Path) -> None:
    """Give a project its program, which stays when the cache is emptied."""
    # A link where it can be one. A file that was just written can't be executed while a
    # process that another thread has started still holds it open.
    own.unlink(missing_ok=True)
    try:
        os.link(program, own)
    except OSError:
        shutil.copy2(program, own)


def build_program(directory: Path, cache: Path) -> Build:
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
    Build
        The program, and what compiled it. There is a copy of it in `directory`, as
        `PROGRAM`: the cache may be trimmed while it runs.

    Raises
    ------
    BuildError
        If the compiler is missing or fails, or the disk is full.
    """
    compiler = find_compiler()
    flags = accepted_flags(compiler)
    version = _run([*compiler, "--version"], directory)
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
                    _own_copy(program, own)
                    return Build(program, False, *said)
                logger.warning("%s is damaged, it is compiled again", program)
            _run([*compiler, *flags, "-I.", UNIT, "-o", str(own)], directory)
            # Checksum last: a program without its checksum is not trusted.
            checksum.unlink(missing_ok=True)
            shutil.copy2(own, unfinished)
            unfinished.replace(program)
            checksum.write_text(_checksum(program))
            os.utime(program)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            message = f"{cache}: the program could not be kept: {error.strerror}"
            raise BuildError(message) from error
    trim(cache, keep=name)
    return Build(program, True, *said)
