"""Files that appear whole or not at all, and are read whole or not at all."""

import hashlib
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

from safetensors import SafetensorError

from cnn2snn_brian.errors import ConversionError, InputError, WriteError

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


def checksum(text: str, arrays: Mapping[str, Any]) -> str:
    """Hash what a file has, to find out whether it was damaged since."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"\0{name}\0{array.dtype}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


@contextmanager
def damage(where: str) -> Iterator[None]:
    """Make an `InputError` of `DAMAGE`; `where` says of what, and what is wrong."""
    try:
        yield
    except ConversionError:
        raise
    except DAMAGE as error:
        raise InputError(f"{where}: {type(error).__name__}: {error}") from error


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check, before the work, that its result can be written."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: the folder {folder} does not exist")


@contextmanager
def write_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in a sentence why a file can't be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{path}: it can't be written: {reason}") from error


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to, and rename it to `path` once that has succeeded."""
    target = Path(path)
    try:
        os.fsencode(target)
    except UnicodeEncodeError as error:
        raise WriteError(
            f"{ascii(str(target))} has letters that the encoding of file names, "
            f"{error.encoding}, has not: set PYTHONUTF8=1 or a UTF-8 locale"
        ) from error
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder {target.parent} does not exist")
    # The suffix stays: numpy and others append one where it is missing.
    name = f".{target.name}.{secrets.token_hex(8)}{target.suffix}"
    unfinished = target.parent / name
    try:
        with write_errors(path):
            # Unlike those of mkstemp, it gets the permissions of an ordinary file.
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            mode = stat.S_IMODE(unfinished.stat().st_mode)
            yield unfinished
            # safetensors and others put another file in its place.
            unfinished.chmod(mode)
            unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def written_from_memory(path: str | os.PathLike[str]) -> Iterator[BytesIO]:
    """Give a file in memory, and write it to `path` once the block has succeeded."""
    image = BytesIO()
    with written_whole(path) as unfinished:
        yield image
        unfinished.write_bytes(image.getbuffer())
