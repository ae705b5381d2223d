"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn2snn_brian.errors import InputError

__all__ = ["check_folder", "written_whole"]


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
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        # mkstemp makes files for the owner only; a result is an ordinary file.
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
