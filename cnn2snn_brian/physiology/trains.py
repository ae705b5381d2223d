"""
Spikes of one population in trials, as plain arrays.

Neurons are numbered as in the layer's arrays, (channel, y, x) in a row, so that
``values.reshape(..., *shape)`` gives the layer's shape back.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed

__all__ = ["TrialSpikes", "chosen_neurons", "seconds"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Times are multiples of dt in floating point: a spike at 0.3 - 1e-17 s is at 0.3 s.
_SLACK = 1e-6


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
    dimension = getattr(value, "dim", None)
    try:
        time = float(np.asarray(value))
    except (TypeError, ValueError):
        time = math.nan
    if not math.isfinite(time) or str(dimension) not in ("None", "s", "second"):
        message = f"{name} is {value!r}, expected a time"
        raise InputError(message)
    return time


def chosen_neurons(neurons: Any, n_neurons: int) -> IntArray:
    """
    Check numbers of neurons.

    Parameters
    ----------
    neurons : array_like of int
        The numbers.
    n_neurons : int
        How many neurons there are.

    Returns
    -------
    ndarray of int64, shape (n,)
        The numbers.

    Raises
    ------
    InputError
        If there is none, one does not exist, or is named twice.
    """
    chosen = np.asarray(neurons).ravel()
    whole = np.issubdtype(chosen.dtype, np.integer)
    different = len(np.unique(chosen)) == len(chosen) > 0
    if not (whole and different and chosen.min() >= 0 and chosen.max() < n_neurons):
        message = (
            f"neurons are {np.array2string(chosen, threshold=8)}, expected different "
            f"whole numbers from 0 to {n_neurons - 1}"
        )
        raise InputError(message)
    return chosen.astype(np.int64)


@dataclass(frozen=True, eq=False)
class TrialSpikes(Printed):
    """
    Spikes of one population in all trials.

    Attributes
    ----------
    trial : ndarray of int64, shape (n_spikes,)
        Trial of each spike, ``stimulus * n_repeats + repeat``.
    neuron : ndarray of int64, shape (n_spikes,)
        Neuron of each spike.
    t : ndarray of float64, shape (n_spikes,)
        Time of each spike in seconds since its trial's start. A spike of step k of a
        simulation is at ``k * dt``.
    n_stimuli, n_repeats, n_neurons : int
        How many there are, with and without spikes.
    duration_s : float
        Length of a trial in seconds.
    dt_s : float or None
        Time step in seconds, where times have one.
    recorded_s : tuple of (float, float)
        Starts and ends of what was recorded, in seconds; empty if all was.

    Raises
    ------
    InputError
        If the three arrays differ in length, or a trial, a neuron or a time is outside
        its range.
    """

    trial: IntArray
    neuron: IntArray
    t: FloatArray
    n_stimuli: int
    n_repeats: int
    n_neurons: int
    duration_s: float
    dt_s: float | None = None
    recorded_s: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", seconds(self.duration_s, "duration_s"))
        for name, kind in (("trial", np.int64), ("neuron", np.int64), ("t", float)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        if not self.trial.shape == self.neuron.shape == self.t.shape == (self.t.size,):
            message = (
                f"spikes: {self.trial.shape} trials, {self.neuron.shape} neurons, "
                f"{self.t.shape} times, expected one of each for each spike"
            )
            raise InputError(message)
        for name, values, end in (
            ("trial", self.trial, self.n_trials),
            ("neuron", self.neuron, self.n_neurons),
            ("t", self.t, self.duration_s * (1 + _SLACK)),
        ):
            if len(values) and not (values.min() >= 0 and values.max() < end):
                message = (
                    f"spikes: {name} goes from {values.min()} to {values.max()}, "
                    f"expected 0 to below {end:g}"
                )
                raise InputError(message)

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return self.n_stimuli * self.n_repeats

    def window(self, window: Any = None) -> tuple[float, float]:
        """
        Check a time window.

        Parameters
        ----------
        window : tuple of (Quantity [s] or float), optional
            Start and end, the end left out; the whole trial by default.

        Returns
        -------
        start, end : float
            In seconds.

        Raises
        ------
        InputError
            If it is empty, outside the trial, or was not recorded as a whole.
        """
        whole = (0.0, self.duration_s)
        if window is None:
            window = whole
        if np.ndim(window) != 1 or len(window) != 2:
            message = f"window is {window!r}, expected (start, end)"
            raise InputError(message)
        start, end = (seconds(time, "window") for time in window)
        if not 0 <= start < end <= self.duration_s * (1 + _SLACK):
            message = (
                f"window is {start:g} to {end:g} s, expected two times in order, from "
                f"0 to {self.duration_s:g} s"
            )
            raise InputError(message)
        slack = _SLACK * self.duration_s
        if not any(
            first <= start + slack and end <= last + slack
            for first, last in self.recorded_s or (whole,)
        ):
            spans = ", ".join(f"{a:g} to {b:g} s" for a, b in self.recorded_s)
            message = (
                f"window is {start:g} to {end:g} s, but spikes were recorded only from "
                f"{spans}"
            )
            raise InputError(message)
        return start, end

    def bins(
        self, bin: Any, window: Any = None
    ) -> tuple[IntArray, npt.NDArray[np.bool_], FloatArray]:
        """
        Say in which time bin each spike is.

        Parameters
        ----------
        bin : Quantity [s] or float
            Width of a bin.
        window : tuple of (Quantity [s] or float), optional
            Start and end; the whole trial by default.

        Returns
        -------
        index : ndarray of int64, shape (n_spikes,)
            Bin of each spike.
        inside : ndarray of bool, shape (n_spikes,)
            Whether the spike is in one of the bins.
        edges_s : ndarray of float64, shape (n_bins + 1,)
            Edges of the bins in seconds.

        Raises
        ------
        InputError
            If the window is no whole number of bins, or a bin no whole number of steps.
        """
        start, end = self.window(window)
        width = seconds(bin, "bin")
        n_bins = round((end - start) / width) if width > 0 else 0
        if n_bins < 1 or abs(n_bins * width - (end - start)) > _SLACK * (end - start):
            message = (
                f"bin is {width:g} s, expected a width of which a whole number makes "
                f"{end - start:g} s"
            )
            raise InputError(message)
        steps = width / (self.dt_s or width)
        if abs(steps - round(steps)) > _SLACK * steps:
            message = (
                f"bin is {width:g} s, expected a multiple of the time step, "
                f"{self.dt_s:g} s: others would hold unequal numbers of steps"
            )
            raise InputError(message)
        index = np.floor((self.t - start) / width + _SLACK).astype(np.int64)
        inside = (index >= 0) & (index < n_bins)
        return index, inside, start + width * np.arange(n_bins + 1, dtype=np.float64)

    def binned(self, bin: Any, window: Any = None) -> npt.NDArray[np.int32]:
        """
        Count spikes in time bins.

        Parameters
        ----------
        bin : Quantity [s] or float
            Width of a bin.
        window : tuple of (Quantity [s] or float), optional
            Start and end; the whole trial by default.

        Returns
        -------
        ndarray of int32, shape (n_stimuli, n_repeats, n_bins, n_neurons)
            Counts.

        Raises
        ------
        InputError
            If the window is no whole number of bins.
        """
        index, inside, edges = self.bins(bin, window)
        shape = (self.n_trials, len(edges) - 1, self.n_neurons)
        at = (self.trial[inside], index[inside], self.neuron[inside])
        found = np.zeros(math.prod(shape), np.int32)
        np.add.at(found, np.ravel_multi_index(at, shape), 1)
        return found.reshape(self.n_stimuli, self.n_repeats, *shape[1:])

    def counts(self, window: Any = None) -> npt.NDArray[np.int32]:
        """
        Count spikes in a window.

        Parameters
        ----------
        window : tuple of (Quantity [s] or float), optional
            Start and end, the end left out; the whole trial by default.

        Returns
        -------
        ndarray of int32, shape (n_stimuli, n_repeats, n_neurons)
            Counts.

        Raises
        ------
        InputError
            If the window is empty or outside the trial.
        """
        start, end = self.window(window)
        slack = _SLACK * (end - start)
        inside = (self.t >= start - slack) & (self.t < end - slack)
        shape = (self.n_trials, self.n_neurons)
        found = np.zeros(math.prod(shape), np.int32)
        at = (self.trial[inside], self.neuron[inside])
        np.add.at(found, np.ravel_multi_index(at, shape), 1)
        return found.reshape(self.n_stimuli, self.n_repeats, self.n_neurons)

    def of_neurons(self, neurons: Any) -> "TrialSpikes":
        """
        Keep some of the neurons.

        Parameters
        ----------
        neurons : array_like of int, shape (n,)
            Their numbers, each once. They are numbered anew in this order.

        Returns
        -------
        TrialSpikes
            Their spikes.

        Raises
        ------
        InputError
            If one does not exist, or is named twice.
        """
        chosen = chosen_neurons(neurons, self.n_neurons)
        place = np.full(self.n_neurons, -1)
        place[chosen] = np.arange(len(chosen))
        new = place[self.neuron]
        kept = new >= 0
        return TrialSpikes(
            self.trial[kept],
            new[kept],
            self.t[kept],
            self.n_stimuli,
            self.n_repeats,
            len(chosen),
            self.duration_s,
            self.dt_s,
            self.recorded_s,
        )
