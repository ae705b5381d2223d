"""
Spikes of one population in trials, as plain arrays.

Neurons are numbered as in the layer's arrays, (channel, y, x) in a row, so that
``values.reshape(..., *shape)`` gives the layer's shape back.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import second

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.spikes.numbers import real_numbers, seconds, whole_numbers
from cnn2snn_brian.spikes.trials import check_one_duration

__all__ = ["TrialSpikes", "chosen_neurons", "start_and_end"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Share of a step that a time may be off: 0.3 - 1e-17 s is 0.3 s.
_SLACK = 1e-2


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
    chosen = whole_numbers("neurons", neurons, n_neurons).ravel()
    if not len(np.unique(chosen)) == len(chosen) > 0:
        message = (
            f"neurons are {np.array2string(chosen, threshold=8)}, expected different "
            f"whole numbers from 0 to {n_neurons - 1}"
        )
        raise InputError(message)
    return chosen


def start_and_end(window: Any) -> tuple[float, float]:
    """Read a time window, in seconds."""
    if np.ndim(window) != 1 or len(window) != 2:
        message = f"window is {window!r}, expected (start, end)"
        raise InputError(message)
    start, end = (seconds(time, "window") for time in window)
    return start, end


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
        Length of a trial in seconds, of the longest if they differ.
    dt_s : float or None
        Time step in seconds, where times have one.
    recorded_s : tuple of (float, float)
        Starts and ends of what was recorded, in seconds; empty if all was.
    shortest_s : float or None
        Length of the shortest trial in seconds; None if all have one. Measures of
        trials of different lengths need a window that ends in all of them.
    labels : tuple of int or str
        What each stimulus is, if it has a label, as an item of `by_item` has.

    Raises
    ------
    InputError
        If the three arrays differ in length, a trial, a neuron or a time is outside its
        range, a number of trials or neurons is not whole, or a time is no multiple of
        the time step.
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
    shortest_s: float | None = None
    labels: tuple[int | str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("n_stimuli", "n_repeats", "n_neurons"):
            object.__setattr__(self, name, check_whole(name, getattr(self, name), 1))
        for name in ("duration_s", "dt_s", "shortest_s"):
            if getattr(self, name) is None and name != "duration_s":
                continue
            time = seconds(getattr(self, name), name)
            if time <= 0:
                message = f"{name} is {time:g} s, expected a time above 0"
                raise InputError(message)
            object.__setattr__(self, name, time)
        for name, unit in (("trial", None), ("neuron", None), ("t", second)):
            checked = real_numbers(name, getattr(self, name), unit=unit)
            object.__setattr__(self, name, checked)
        if not self.trial.shape == self.neuron.shape == self.t.shape == (self.t.size,):
            message = (
                f"spikes: {self.trial.shape} trials, {self.neuron.shape} neurons, "
                f"{self.t.shape} times, expected one of each for each spike"
            )
            raise InputError(message)
        for name, n in (("trial", self.n_trials), ("neuron", self.n_neurons)):
            whole = whole_numbers(name, getattr(self, name), n)
            object.__setattr__(self, name, whole)
        # A window leaves its end out, so a spike at the end would never be counted.
        end = self.duration_s - self._slack
        if self.t.size and not (self.t.min() >= 0 and self.t.max() < end):
            message = (
                f"spikes: t goes from {self.t.min():g} to {self.t.max():g} s, expected "
                f"0 to below {self.duration_s:g} s"
            )
            raise InputError(message)
        if self.dt_s is not None:
            steps = self.t / self.dt_s
            off = np.abs(steps - np.rint(steps)) > _SLACK
            if off.any():
                message = (
                    f"spikes: t has {self.t[off][0]:g} s, expected multiples of the "
                    f"time step, {self.dt_s:g} s"
                )
                raise InputError(message)

    @property
    def _slack(self) -> float:
        """Seconds that a spike before the start of a window is part of it."""
        if self.dt_s is None:
            return 1e-9 * self.duration_s
        return _SLACK * self.dt_s

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
        start, end = whole if window is None else start_and_end(window)
        if not 0 <= start < end <= self.duration_s + self._slack:
            message = (
                f"window is {start:g} to {end:g} s, expected two times in order, from "
                f"0 to {self.duration_s:g} s"
            )
            raise InputError(message)
        if self.shortest_s is not None and end > self.shortest_s + self._slack:
            check_one_duration(self.shortest_s, self.duration_s)
        if not any(
            first <= start + self._slack and end <= last + self._slack
            for first, last in self.recorded_s or (whole,)
        ):
            spans = ", ".join(f"{a:g} to {b:g} s" for a, b in self.recorded_s)
            message = (
                f"window is {start:g} to {end:g} s, but spikes were recorded only from "
                f"{spans}"
            )
            raise InputError(message)
        return start, end

    def inside(self, window: Any = None) -> npt.NDArray[np.bool_]:
        """
        Say which spikes are in a time window.

        Parameters
        ----------
        window : tuple of (Quantity [s] or float), optional
            Start and end, the end left out; the whole trial by default.

        Returns
        -------
        ndarray of bool, shape (n_spikes,)
            Whether the spike is in it.

        Raises
        ------
        InputError
            See `window`.
        """
        start, end = self.window(window)
        t = self.t + self._slack
        return np.asarray((t >= start) & (t < end))

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
        if n_bins < 1 or abs(n_bins * width / (end - start) - 1) > 1e-6:
            message = (
                f"bin is {width:g} s, expected a width of which a whole number makes "
                f"{end - start:g} s"
            )
            raise InputError(message)
        steps = width / (self.dt_s or width)
        if abs(steps - round(steps)) > 1e-6 * steps:
            message = (
                f"bin is {width:g} s, expected a multiple of the time step, "
                f"{self.dt_s:g} s: others would hold unequal numbers of steps"
            )
            raise InputError(message)
        edges = np.linspace(start, end, n_bins + 1)
        index = np.searchsorted(edges, self.t + self._slack, side="right") - 1
        return index, (index >= 0) & (index < n_bins), edges

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
        inside = self.inside(window)
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
        return replace(
            self,
            trial=self.trial[kept],
            neuron=new[kept],
            t=self.t[kept],
            n_neurons=len(chosen),
        )
