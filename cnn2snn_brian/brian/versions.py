"""Which versions of Brian2 this package was tested with."""

import warnings
from functools import cache

import brian2

__all__ = ["TESTED", "check_version"]

#: Of Brian2, parts are replaced that may change in any version (``internals.py``).
TESTED = ("2.9.0", "2.10.1", "2.11.0")


@cache
def check_version() -> None:
    """Warn, once, if Brian2 is of a version that was not tested."""
    if brian2.__version__ not in TESTED:
        message = (
            f"Brian2 {brian2.__version__} was not tested with this package, which "
            f"replaces parts of it; tested are {', '.join(TESTED)}"
        )
        warnings.warn(message, stacklevel=2)
