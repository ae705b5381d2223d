"""Times of a stimulus: with units where users give them, in whole steps inside."""

import math
from typing import Any

import numpy as np
from brian2 import Quantity, second
from brian2.units import have_same_dimensions

from cnn2snn_brian.errors import InputError

__all__ = ["seconds", "whole_steps"]


def seconds(what: str, time: Any, *, least: float = 0.0) -> Quantity:
    """
    Check a time.

    Parameters
    ----------
    what : str
        What it is, as the first words of a sentence.
    time : Quantity [s]
        The time; a plain 0 has no need of a unit.
    least : float
        What it has to be above, in seconds; 0 itself is allowed if this is negative.

    Returns
    -------
    Quantity [s]
        The time.

    Raises
    ------
    InputError
        If it is no time, not finite or not above `least`.
    """
    is_time = np.ndim(time) == 0 and (
        have_same_dimensions(time, second)
        if isinstance(time, Quantity)
        else isinstance(time, int | float) and time == 0
    )
    if not is_time or not (math.isfinite(float(time)) and float(time) > least):
        rule = "a time above 0" if least >= 0 else "a time of at least 0"
        message = f"{what} is {time}, expected {rule}, such as 100*ms"
        raise InputError(message)
    return float(time) * second


def whole_steps(what: str, time_s: float, dt_s: float) -> int:
    """
    Turn a time into steps.

    Parameters
    ----------
    what : str
        What takes this time, as the first words of a sentence.
    time_s : float
        The time in seconds.
    dt_s : float
        The time step in seconds.

    Returns
    -------
    int
        Number of steps.

    Raises
    ------
    InputError
        If the time is no whole number of steps.
    """
    steps = time_s / dt_s
    n_steps = round(steps)
    if abs(steps - n_steps) > 1e-6 * max(1, n_steps):
        message = (
            f"{what} takes {1e3 * time_s:g} ms, which is no multiple of the time step "
            f"{1e3 * dt_s:g} ms"
        )
        raise InputError(message)
    return n_steps
