"""Files that appear whole or not at all."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from safetensors import SafetensorError

from cnn2snn_brian.errors import InputError, WriteError

__all__ = ["check_folder", "write_errors", "written_from_memory", "written_whole"]


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
def write_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """
    Say in a sentence why a file can't be written.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    WriteError
        If the block raises what a full disk, a read-only folder or the like raise.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{path}: it can't be written: {reason}"
        raise WriteError(message) from error


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
    WriteError
        If the disk is full, the folder is read-only, or the like.
    """
    target = Path(path)
    if not target.parent.is_dir():
        message = f"{target}: the folder {target.parent} does not exist"
        raise FileNotFoundError(message)
    # The suffix stays: numpy and others append one of their own where it is missing.
    name = f".{target.name}.{secrets.token_hex(8)}{target.suffix}"
    unfinished = target.parent / name
    try:
        with write_errors(path):
            # Unlike those of mkstemp, it gets the permissions of an ordinary file.
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            mode = stat.S_IMODE(unfinished.stat().st_mode)
            yield unfinished
            # safetensors and others put a file of their own in its place.
            unfinished.chmod(mode)
            unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def written_from_memory(path: str | os.PathLike[str]) -> Iterator[BytesIO]:
    """
    Give a file in memory, and write it to `path` once the block has succeeded.

    For libraries that write at their own pace: when the disk is full, h5py ends Python
    with SIGSEGV, and PyTorch hides the cause.

    Parameters
    ----------
    path : path-like
        The file to make or to replace. Its folder must exist.

    Yields
    ------
    image : BytesIO
        What the file will be.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    WriteError
        If the disk is full, the folder is read-only, or the like.
    """
    image = BytesIO()
    with written_whole(path) as unfinished:
        yield image
        unfinished.write_bytes(image.getbuffer())
