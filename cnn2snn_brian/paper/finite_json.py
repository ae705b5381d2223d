"""
JSON without infinities, which it does not have.

A floor that is not there is minus infinity. In a file it is the text "-inf"; not a
number is "nan".
"""

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["finite", "restored", "to_json"]

_TEXTS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def finite(value: Any) -> Any:
    """
    Write infinities as text.

    Parameters
    ----------
    value : dict, list, tuple, str, number, bool or None
        Anything of these, in each other. No text of it is "inf", "-inf" or "nan".

    Returns
    -------
    dict, list, str, number, bool or None
        The same, with text where a number is not finite; what JSON can hold.
    """
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return value


def restored(value: Any) -> Any:
    """
    Undo `finite`.

    Parameters
    ----------
    value : dict, list, str, number, bool or None
        What `finite` gave.

    Returns
    -------
    dict, list, str, number, bool or None
        The same, with numbers instead of the texts.

    Examples
    --------
    >>> restored(finite({"v_min": {"conv1": -math.inf}}))
    {'v_min': {'conv1': -inf}}
    """
    if isinstance(value, dict):
        return {key: restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item) for item in value]
    return _TEXTS.get(value, value) if isinstance(value, str) else value


def to_json(value: Any) -> str:
    """
    Write JSON.

    Parameters
    ----------
    value : dict, list, tuple, str, number, bool or None
        As `finite` takes it.

    Returns
    -------
    str
        The text.
    """
    return json.dumps(finite(value), indent=1, allow_nan=False) + "\n"
