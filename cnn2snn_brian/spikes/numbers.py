"""Numbers that go into a measure: times, counts, indices and classes, checked."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import DimensionMismatchError, Quantity, get_dimensions, second

from cnn2snn_brian.errors import InputError

__all__ = [
    "check_share",
    "class_labels",
    "class_numbers",
    "real_numbers",
    "seconds",
    "whole_numbers",
]


def check_share(what: str, number: Any) -> None:
    """
    Check a number between 0 and 1, without these.

    Parameters
    ----------
    what : str
        Name of the argument.
    number : object
        What the user gave.

    Raises
    ------
    InputError
        If it is another.
    """
    if not isinstance(number, float | np.floating) or not 0 < number < 1:
        message = f"{what} is {number!r}, expected a number between 0 and 1"
        raise InputError(message)


def real_numbers(
    what: str,
    values: Any,
    *,
    least: float = -math.inf,
    known: bool = True,
    unit: Quantity | None = None,
) -> npt.NDArray[np.float64]:
    """
    Check real numbers, of any shape.

    Parameters
    ----------
    what : str
        Name of the argument.
    values : array_like
        What the user gave, a tensor of torch among others.
    least : float
        The smallest that one can be.
    known : bool
        Whether all have to be finite; else they may be NaN.
    unit : Quantity, optional
        A unit that they may have.

    Returns
    -------
    ndarray of float64
        The numbers.

    Raises
    ------
    InputError
        If they are no real numbers, have another unit, or are too small, infinite or
        NaN.
    """
    given = values
    if hasattr(values, "detach"):  # a torch tensor, without importing torch
        values = values.detach().cpu().numpy()
    try:
        if isinstance(values, list | tuple):
            # Of units in a list, numpy alone would forget; those of others, Brian2 too.
            foreign = any(hasattr(item, "dimensionality") for item in values)
            values = None if foreign else Quantity(values)
        array = np.asarray(values)
        allowed = (None, get_dimensions(1), None if unit is None else unit.dim)
        plain = getattr(values, "dim", None) in allowed
        plain = plain and not hasattr(values, "dimensionality")
    except (DimensionMismatchError, TypeError, ValueError):
        plain, array = False, np.empty(0)
    if not plain or (array.size and array.dtype.kind not in "biuf"):
        rule = "real numbers" if unit is None else f"plain numbers or Brian2's {unit}"
        message = f"{what}: found {given!r:.80}, expected {rule}"
        raise InputError(message)
    array = array.astype(np.float64)
    right = np.isfinite(array) if known else ~np.isinf(array)
    wrong = ~right | (array < least)
    if wrong.any():
        rule = "finite numbers" if known else "finite numbers or NaN"
        rule += f" of at least {least:g}" if math.isfinite(least) else ""
        message = f"{what}: found {array[wrong][0]:g}, expected {rule}"
        raise InputError(message)
    return array


def whole_numbers(what: str, values: Any, n: int) -> npt.NDArray[np.int64]:
    """
    Check numbers of things, such as neurons.

    Parameters
    ----------
    what : str
        Name of the argument.
    values : array_like of int
        What the user gave; whole numbers among floating-point ones are taken.
    n : int
        How many things there are.

    Returns
    -------
    ndarray of int64
        The numbers.

    Raises
    ------
    InputError
        If one is not whole, or not from 0 to below `n`.
    """
    array = real_numbers(what, values)
    rule = f"expected whole numbers from 0 to {n - 1}"
    broken = array != np.floor(array)
    if broken.any() or np.asarray(values).dtype == bool:
        found = f"{array[broken][0]:g}" if broken.any() else "True and False"
        message = f"{what}: found {found}, {rule}"
        raise InputError(message)
    if array.size and not (array.min() >= 0 and array.max() < n):
        message = f"{what} goes from {array.min():g} to {array.max():g}, {rule}"
        raise InputError(message)
    return array.astype(np.int64)


def seconds(value: Any, name: str) -> float:
    """
    Read a time.

    Parameters
    ----------
    value : Quantity [s] or float
        The time; a plain number is in seconds.
    name : str
        What it is called, for the message.

    Returns
    -------
    float
        The time in seconds.

    Raises
    ------
    InputError
        If it is no finite number, or has another unit.
    """
    try:
        time = real_numbers(name, value, unit=second)
    except InputError:
        time = np.empty(0)
    if time.ndim or isinstance(value, bool):
        message = f"{name} is {value!r}, expected a time"
        raise InputError(message)
    return float(time)


def class_labels(labels: Any, n: int, what: str = "images") -> npt.NDArray[Any]:
    """
    Check the classes of images or stimuli.

    Parameters
    ----------
    labels : array_like of int or str
        What the user gave.
    n : int
        How many images there are.
    what : str
        What they are called, for the message.

    Returns
    -------
    ndarray, shape (n,)
        The classes.

    Raises
    ------
    InputError
        If there is not one class for each image, or one is a number that is not whole.
    """
    truth = np.asarray(labels)
    if truth.shape != (n,):
        message = (
            f"{n} {what}, labels of shape {truth.shape}: expected one for each of "
            f"{n} {what}"
        )
        raise InputError(message)
    if truth.dtype.kind not in "biuUSO":
        return whole_numbers("labels", truth, 2**53)
    return truth


def class_numbers(labels: Any, n: int, what: str = "images") -> npt.NDArray[Any]:
    """
    Check the classes of images or stimuli, to compare them with output neurons.

    Parameters
    ----------
    labels : array_like of int
        What the user gave.
    n : int
        How many images there are.
    what : str
        What they are called, for the message.

    Returns
    -------
    ndarray of int, shape (n,)
        The classes.

    Raises
    ------
    InputError
        If there is not one class for each image, or one is no whole number: a name
        would never be the answer.
    """
    truth = class_labels(labels, n, what)
    numbers = np.asarray(truth.tolist()) if truth.dtype.kind == "O" else truth
    if numbers.dtype.kind not in "biuf":
        found = truth.tolist()[0]
        message = f"labels: found {found!r}, expected the index of an output neuron"
        raise InputError(message)
    return class_labels(numbers, n, what)
