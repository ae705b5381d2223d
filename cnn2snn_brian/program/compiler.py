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
from pathlib import Path

from brian2.codegen.cpp_prefs import get_compiler_and_args

from cnn2snn_brian.errors import BuildError, CompilerNotFoundError
from cnn2snn_brian.program.cache import (
    CHECKSUM,
    UNFINISHED,
    locked,
    programs,
    trim,
)

__all__ = ["PROGRAM", "UNIT", "Build", "build_program", "find_compiler"]

logger = logging.getLogger(__name__)

#: The source file of a project that includes all others.
UNIT = "program.cpp"
#: The compiled program in a project's folder.
PROGRAM = "program"


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


def _target(compiler: str, flags: list[str]) -> str:
    """
    Say which processor a compiler makes code for.

    What ``-march=native`` means differs between machines that share a home directory.
    The macros that are set before any source (``__AVX2__`` and so on) tell them apart,
    for GCC as for Clang.
    """
    said = subprocess.run(
        [compiler, *flags, "-dM", "-E", "-x", "c++", os.devnull],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode:
        message = (
            f"the C++ compiler {compiler} does not list its macros (-dM -E), which "
            f"tell processors apart. GCC and Clang do: {said.stderr[-400:]}"
        )
        raise BuildError(message)
    return said.stdout


def _fingerprint(directory: Path, compiler: str, flags: list[str], version: str) -> str:
    """Hash what decides about the program: sources, compiler, flags, processor."""
    digest = hashlib.sha256()
    for text in (version, _target(compiler, flags), *flags):
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
    _, flags = get_compiler_and_args()
    version = _run([compiler, "--version"], directory)
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
            _compile(directory, compiler, flags, own)
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
