"""Which versions of Brian2 this package was tested with."""

import warnings
from functools import cache

import brian2

__all__ = ["TESTED", "check_version"]

#: Our templates and code objects replace parts of Brian2 that are not of its public
#: interface and may change in any version.
TESTED = ("2.9.0",)


@cache
def check_version() -> None:
    """Warn, once, if Brian2 is of a version that was not tested."""
    if brian2.__version__ not in TESTED:
        message = (
            f"Brian2 {brian2.__version__} was not tested with this package, which "
            f"replaces parts of it; tested are {', '.join(TESTED)}. Results may be "
            f"wrong. Install a tested version: pip install brian2=={TESTED[-1]}"
        )
        warnings.warn(message, stacklevel=2)
