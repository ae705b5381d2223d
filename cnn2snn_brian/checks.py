"""Checks that every stage needs."""

from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError

__all__ = ["check_whole"]


def check_whole(what: str, number: Any, smallest: int) -> int:
    """
    Check a whole number; True and False are none.

    Parameters
    ----------
    what : str
        Name of the argument.
    number : object
        What the user gave.
    smallest : int
        The smallest that it can be.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputError
        If it is no whole number, or smaller.
    """
    is_whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not is_whole or number < smallest:
        message = (
            f"{what} is {number!r}, expected a whole number of at least {smallest}"
        )
        raise InputError(message)
    return int(number)
