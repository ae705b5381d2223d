"""The methods of threshold setting by name."""

from dataclasses import fields
from typing import Any, Literal

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.tuning.base import Method, as_tuple
from cnn2snn_brian.tuning.bisection import Bisection
from cnn2snn_brian.tuning.feedback import Feedback
from cnn2snn_brian.tuning.percentiles import Percentiles
from cnn2snn_brian.tuning.search import Search

__all__ = ["METHODS", "MethodName", "find_method"]

MethodName = Literal["feedback", "bisection", "data", "search"]

#: Method -> its class.
METHODS: dict[str, type[Method]] = {
    kind.name: kind for kind in (Feedback, Bisection, Percentiles, Search)
}


def find_method(method: str | Method, options: dict[str, Any]) -> Method:
    """
    Take a method by its name and options, or one that was made.

    Parameters
    ----------
    method : str or Method
        A key of `METHODS`, or the method.
    options : dict
        Options of a method that is named. None is nothing given.

    Returns
    -------
    Method
        The method.

    Raises
    ------
    InputError
        If there is no such method, it does not have an option, or an option is out of
        its range.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(method, Method):
        if options:
            message = (
                f"{', '.join(options)}: give it to the method, as in "
                f"{type(method).__name__}({next(iter(options))}=...)"
            )
            raise InputError(message)
        return method
    if not isinstance(method, str) or method not in METHODS:
        kinds = ", ".join(kind.__name__ for kind in METHODS.values())
        message = (
            f"method={method!r}: expected one of {', '.join(map(repr, METHODS))}, or "
            f"an object of {kinds}"
        )
        raise InputError(message)
    kind = METHODS[method]
    known = [item.name for item in fields(kind)]
    if "tune" in options and "tune" not in known:
        tune = as_tuple(options.pop("tune"))
        if tune != ("thresholds",):
            message = f"method={method!r} sets thresholds only, found tune={tune}"
            raise InputError(message)
    unknown = [name for name in options if name not in known]
    if unknown:
        message = (
            f"method={method!r} uses no {', '.join(unknown)}; its options are "
            f"{', '.join(known)}"
        )
        raise InputError(message)
    return kind(**options)
