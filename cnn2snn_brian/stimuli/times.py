"""Times of a stimulus: with units where users give them, in whole steps inside."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second
from brian2.units import have_same_dimensions

from cnn2snn_brian.errors import InputError

__all__ = ["list_of_seconds", "seconds", "whole_steps"]


def list_of_seconds(times: Any) -> npt.NDArray[np.float64]:
    """
    Read times of events, with the units of whatever library they are from.

    Parameters
    ----------
    times : array_like of float, Quantity [s] or a quantity of the library quantities
        The times; plain numbers are seconds. Lists may have quantities in them.

    Returns
    -------
    ndarray of float64, shape (n_times,)
        The times in seconds.

    Raises
    ------
    InputError
        If these are no times, or one is not finite or before 0.
    """
    try:
        array = np.atleast_1d(_without_unit(times))
    except (TypeError, ValueError) as error:
        message = f"times can't be read as seconds: {error}"
        raise InputError(message) from error
    if array.ndim != 1:
        message = f"times have the shape {array.shape}, expected a list of times"
        raise InputError(message)
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        message = f"time {np.flatnonzero(wrong)[0]} is {array[wrong][0]} s, before 0"
        raise InputError(message)
    return array


def _has_unit(given: Any) -> bool:
    known = isinstance(given, Quantity | np.timedelta64)
    return known or any(hasattr(given, name) for name in ("unit", "units"))


def _without_unit(given: Any) -> npt.NDArray[np.float64]:
    """Convert to seconds; numpy alone would drop units without a word."""
    if isinstance(given, list | tuple) and any(map(_has_unit, given)):
        return np.array([_without_unit(one) for one in given])
    if hasattr(given, "rescale"):  # of the library quantities, as Neo's SpikeTrains
        return np.array(given.rescale("s").magnitude, np.float64)
    array = np.array(given)
    if array.dtype.kind == "m":
        return np.asarray(array / np.timedelta64(1, "s"), np.float64)
    is_other = isinstance(given, Quantity) and not have_same_dimensions(given, second)
    if is_other or (_has_unit(given) and not isinstance(given, Quantity)):
        kind = f"{type(given).__module__}.{type(given).__qualname__}"
        unit = given.dim if is_other else getattr(given, "unit", None) or given.units
        message = f"a {kind} in {unit}; expected seconds, such as [1, 2]*ms"
        raise ValueError(message)
    if array.size and array.dtype.kind not in "fiu":
        message = f"they are of the type {array.dtype}"
        raise ValueError(message)
    return array.astype(np.float64)


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
