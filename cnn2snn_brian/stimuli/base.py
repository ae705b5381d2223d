"""What all stimuli have: a kind, a name, a duration, parameters, a plot and a file."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second
from brian2.units import have_same_dimensions

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.printing import Printed


def list_of_seconds(times: Any) -> npt.NDArray[np.float64]:
    """Read times of events, with the units of whatever library they are from."""
    try:
        array = np.atleast_1d(_without_unit(times))
    except (TypeError, ValueError) as error:
        raise InputError(f"times can't be read as seconds: {error}") from error
    if array.ndim != 1:
        raise InputError(
            f"times have the shape {array.shape}, expected a list of times"
        )
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        raise InputError(
            f"time {np.flatnonzero(wrong)[0]} is {array[wrong][0]} s, before 0"
        )
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
        raise ValueError(f"a {kind} in {unit}; expected seconds, such as [1, 2]*ms")
    if array.size and array.dtype.kind not in "fiu":
        raise ValueError(f"they are of the type {array.dtype}")
    return array.astype(np.float64)


def whole_steps(what: str, time_s: float, dt_s: float) -> int:
    """Turn a time into steps."""
    steps = time_s / dt_s
    n_steps = round(steps)
    if abs(steps - n_steps) > 1e-6 * max(1, n_steps):
        raise InputError(
            f"{what} takes {1e3 * time_s:g} ms, which is no multiple of the time step "
            f"{1e3 * dt_s:g} ms"
        )
    return n_steps


#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian stimulus 1"


def save(stimulus: Any, path: str | os.PathLike[str]) -> None:
    """Write a stimulus."""
    if Path(path).suffix != ".npz":
        raise InputError(f"{path}: the file of a stimulus has to end with .npz")
    arrays: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for item in fields(stimulus):
        value = getattr(stimulus, item.name)
        if isinstance(value, np.ndarray) and value.ndim:
            arrays[item.name] = value
        elif item.name in stimulus.TIMES:
            numbers[item.name] = None if value is None else float(value)
        elif item.name == "parameters":
            numbers[item.name] = {key: float(number) for key, number in value.items()}
        else:
            numbers[item.name] = value
    head = {"format": FORMAT, "kind": type(stimulus).__name__, "fields": numbers}
    with written_whole(path) as unfinished:
        np.savez_compressed(unfinished, stimulus=np.array(json.dumps(head)), **arrays)


class Item(NamedTuple):
    """
    One of several things that a stimulus shows one after another.

    Attributes
    ----------
    onset_s : float
        When it appears, in seconds since the start of the trial.
    duration_s : float
        How long it is shown, in seconds.
    label : int or str
        What it is.
    """

    onset_s: float
    duration_s: float
    label: int | str


@dataclass(frozen=True, eq=False, kw_only=True)
class Stimulus(Printed, ABC):
    """
    What is shown in a trial, from its start to its end.

    Attributes
    ----------
    name : str
        A name for reports and plots; the kind by default.
    parameters : dict of str to float
        What it was made with, such as ``orientation``; kept with results.
    """

    #: Fields that are times; files keep them in seconds.
    TIMES: ClassVar[tuple[str, ...]] = ("duration",)

    name: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name, or its kind if it has none."""
        return self.name or type(self).__name__

    @property
    def items(self) -> tuple[Item, ...]:
        """What it shows one after another, in order; empty if that is one thing."""
        return ()

    @property
    @abstractmethod
    def duration_s(self) -> float | None:
        """How long it takes in seconds; None is as long as it is shown."""

    def n_steps(self, dt_s: float) -> int | None:
        """
        Say how many steps it takes.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.

        Returns
        -------
        int or None
            Number of steps; None is as many as it is shown for.

        Raises
        ------
        InputError
            If its duration is no whole number of steps.
        """
        if self.duration_s is None:
            return None
        return whole_steps(self.label, self.duration_s, dt_s)

    @abstractmethod
    def check(self, input_shape: tuple[int, int, int], dt_s: float) -> None:
        """
        Check that a network can be shown this.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the network's input, (channels, height, width).
        dt_s : float
            The time step in seconds.

        Raises
        ------
        InputError
            If its shape is another, or its times are no multiples of the step.
        """

    @abstractmethod
    def plot(self, ax: Any = None) -> Any:
        """
        Draw it over time.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; the current axes by default.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """

    def save(self, path: str | os.PathLike[str]) -> None:
        """
        Write it to one file; `stimuli.load` reads it.

        Parameters
        ----------
        path : path-like
            The file, with the suffix ``.npz``. It is written whole or not at all.

        Raises
        ------
        InputError
            If it has another suffix.
        FileNotFoundError
            If its folder does not exist.
        WriteError
            If the disk is full, or the like.
        """
        save(self, path)
