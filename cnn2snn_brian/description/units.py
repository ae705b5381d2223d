"""Brian2's check of units, for functions that keep their signatures."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import brian2

__all__ = ["check_units"]

Function = TypeVar("Function", bound=Callable[..., Any])


def check_units(**units: Any) -> Callable[[Function], Function]:
    """
    Check the units of a function's arguments, with ``brian2.check_units``.

    That gives each function the signature ``(*args, **kwds)``, so that ``help`` and the
    documentation could not say what a function takes.

    Parameters
    ----------
    **units : Unit
        Unit of each argument that has one.

    Returns
    -------
    callable
        A decorator.
    """
    checked = brian2.check_units(**units)

    def decorator(function: Function) -> Function:
        wrapped: Any = wraps(function)(checked(function))
        return wrapped  # type: ignore[no-any-return]

    return decorator
