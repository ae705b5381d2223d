"""Optional libraries, which the extras of the package install."""

import importlib
from types import ModuleType

from cnn2snn_brian.errors import MissingLibraryError

__all__ = ["optional_library"]


def optional_library(name: str, extra: str, purpose: str) -> ModuleType:
    """
    Import a library that not everyone has.

    Parameters
    ----------
    name : str
        The module, such as ``neo``.
    extra : str
        The extra of this package that installs it.
    purpose : str
        What it is needed for, as the first words of a sentence.

    Returns
    -------
    module
        The library.

    Raises
    ------
    MissingLibraryError
        If it is not installed. The message says how to install it.

    Examples
    --------
    >>> optional_library("json", "export", "reading").loads("1")
    1
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        message = (
            f"{purpose} needs the library {library} ({error}). Install it with: "
            f'pip install "cnn2snn-brian[{extra}]", or pip install {library}'
        )
        raise MissingLibraryError(message) from error
