"""Checks of numbers that say how thresholds are set."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.spikes.numbers import check_whole

__all__ = ["check_numbers", "check_whole"]


def check_numbers(
    what: str, given: Any, fits: Callable[[Any], Any], rule: str
) -> list[float]:
    """
    Check some numbers to choose from.

    Parameters
    ----------
    what : str
        Name of the argument.
    given : object
        What the user gave.
    fits : callable
        Says of an array which numbers are in the range.
    rule : str
        The range in words.

    Returns
    -------
    list of float
        The numbers.

    Raises
    ------
    InputError
        If these are not numbers, none, not finite, or out of the range.
    """
    try:
        array = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 1 or not array.size:
        message = f"{what} is {given!r}, expected some numbers {rule}"
        raise InputError(message)
    wrong = ~(np.isfinite(array) & fits(array))
    if wrong.any():
        message = f"{what} has {array[wrong][0]:g}, expected finite numbers {rule}"
        raise InputError(message)
    return [float(number) for number in array]
