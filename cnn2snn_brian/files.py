"""Files that appear whole or not at all."""

import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from tokenize import TokenError
from zipfile import BadZipFile

from safetensors import SafetensorError

from cnn2snn_brian.errors import ConversionError, InputError

__all__ = ["DAMAGE", "check_folder", "damage", "written_whole"]

#: What the libraries that read files raise if one is damaged.
DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    SyntaxError,
    TokenError,
    TypeError,
    UnpicklingError,
    ValueError,
    struct.error,
    zlib.error,
)


@contextmanager
def damage(where: str) -> Iterator[None]:
    """Make an `InputError` of `DAMAGE`; `where` says of what, and what is wrong."""
    try:
        yield
    except ConversionError:
        raise
    except DAMAGE as error:
        message = f"{where}: {type(error).__name__}: {error}"
        raise InputError(message) from error


def check_folder(path: str | os.PathLike[str]) -> None:
    """
    Check, before the work, that its result can be written.

    Parameters
    ----------
    path : path-like
        The file to be written.

    Raises
    ------
    InputError
        If its folder does not exist.
    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        message = f"{path}: the folder {folder} does not exist"
        raise InputError(message)


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """
    Give a path to write to, and rename it to `path` once that has succeeded.

    Parameters
    ----------
    path : path-like
        The file to make or to replace. Its folder must exist.

    Yields
    ------
    unfinished : Path
        A new file in the same folder, removed again if the block raises.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        message = f"{target}: the folder {target.parent} does not exist"
        raise FileNotFoundError(message)
    # The suffix stays: numpy and others append one of their own where it is missing.
    name = f".{target.name}.{secrets.token_hex(8)}{target.suffix}"
    unfinished = target.parent / name
    # Unlike those of mkstemp, this file gets the permissions of an ordinary one.
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    mode = stat.S_IMODE(unfinished.stat().st_mode)
    try:
        yield unfinished
        # safetensors and others put a file of their own in its place.
        unfinished.chmod(mode)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
