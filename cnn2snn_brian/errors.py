"""
Errors of the package, all of them kinds of `ConversionError`.

A message says where the fault is (a module path such as ``features.3``, a layer, a
file), what was found there and what is supported.
"""

__all__ = [
    "BuildError",
    "CompilerNotFoundError",
    "ConversionError",
    "InputError",
    "MissingLibraryError",
    "SimulationError",
    "UnsupportedDeviceError",
    "UnsupportedModuleError",
    "WriteError",
]


class ConversionError(Exception):
    """Base of all errors that the package raises on purpose."""


class InputError(ConversionError, ValueError):
    """A value that a user gave (images, thresholds, a file) can't be used."""


class UnsupportedModuleError(ConversionError):
    """
    A part of a CNN that has no spiking counterpart.

    Parameters
    ----------
    where : str
        Module path (``features.3``), or the name of a function call in ``forward``.
    found : str
        What is there.
    advice : str
        What is supported, or what to do.
    """

    def __init__(self, where: str, found: str, advice: str) -> None:
        super().__init__(f"{where}: {found}. {advice}")
        self.where = where


class UnsupportedDeviceError(ConversionError, NotImplementedError):
    """Something that Brian2's active device or target of code generation can't do."""


class BuildError(ConversionError, RuntimeError):
    """The C++ program of a network could not be built or kept."""


class CompilerNotFoundError(BuildError):
    """There is no C++ compiler on this machine."""


class SimulationError(ConversionError, RuntimeError):
    """A compiled program ended before it had delivered its results."""


class MissingLibraryError(ConversionError, ImportError):
    """An optional library that a function needs is not installed."""


class WriteError(InputError, OSError):
    """A file could not be written; what was there before is still there."""
