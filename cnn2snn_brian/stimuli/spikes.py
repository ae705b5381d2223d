"""Stimuli of spikes: events of a camera, and spike trains that are given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second
from brian2.units import have_same_dimensions

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.stimuli.base import Stimulus
from cnn2snn_brian.stimuli.times import seconds

__all__ = ["Events", "SpikeStimulus", "SpikeTrains"]

IntArray = npt.NDArray[np.integer[Any]]


def _times(times: Any) -> npt.NDArray[np.float64]:
    """Check times and give them in seconds."""
    if isinstance(times, Quantity) and not have_same_dimensions(times, second):
        message = f"times are {times.dim}, expected seconds"
        raise InputError(message)
    array = np.array(times, np.float64, ndmin=1)
    if array.ndim != 1:
        message = f"times have the shape {array.shape}, expected a list of times"
        raise InputError(message)
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        message = f"time {np.flatnonzero(wrong)[0]} is {array[wrong][0]} s, before 0"
        raise InputError(message)
    return array


def _indices(what: str, values: Any, n: int) -> npt.NDArray[np.int64]:
    """Check whole numbers of at least 0."""
    array = np.array(values, ndmin=1)
    if array.shape != (n,):
        message = f"{what} has the shape {array.shape}, but there are {n} times"
        raise InputError(message)
    if n and not (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        message = f"{what} is {array.dtype}, expected whole numbers"
        raise InputError(message)
    return array.astype(np.int64)


def _steps(times_s: npt.NDArray[np.float64], dt_s: float) -> npt.NDArray[np.int64]:
    """Give the step that each time falls into, by the rule of Brian2's `timestep`."""
    return ((times_s + 1e-3 * dt_s) / dt_s).astype(np.int64)


class SpikeStimulus(Stimulus):
    """A stimulus that says when which neuron of the input spikes."""

    times: npt.NDArray[np.float64]
    duration: Quantity | None

    @property
    def duration_s(self) -> float | None:
        """How long it takes in seconds, if it was said."""
        return None if self.duration is None else float(self.duration)

    def neurons(self, input_shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        """
        Say which neuron of the input each spike is of.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the network's input, (channels, height, width).

        Returns
        -------
        ndarray of int64, shape (n_spikes,)
            Index in the input's Brian2 group, (y, x, channel).

        Raises
        ------
        InputError
            If a spike is outside of the input.
        """
        raise NotImplementedError

    def spikes(
        self, dt_s: float, input_shape: tuple[int, int, int]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """
        Give the spikes as a network gets them.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.
        input_shape : tuple of int
            Shape of the network's input.

        Returns
        -------
        neuron : ndarray of int32, shape (n_spikes,)
            Index in the input's Brian2 group, ascending within a step.
        step : ndarray of int32, shape (n_spikes,)
            Step of each spike, ascending.

        Raises
        ------
        InputError
            If a spike is outside of the input or of the time.
        """
        neuron, step = self.neurons(input_shape), _steps(self.times, dt_s)
        n_steps = self.n_steps(dt_s)
        if n_steps is not None and len(step) and step.max() >= n_steps:
            late = int(step.argmax())
            message = (
                f"{self.label}: the spike at {1e3 * self.times[late]:g} ms comes after "
                f"the end, {1e3 * n_steps * dt_s:g} ms"
            )
            raise InputError(message)
        order = np.lexsort((neuron, step))
        return neuron[order].astype(np.int32), step[order].astype(np.int32)

    def check(self, input_shape: tuple[int, int, int], dt_s: float) -> None:
        """Check places and times; see `Stimulus.check`."""
        self.spikes(dt_s, input_shape)

    def plot(self, ax: Any = None) -> Any:
        """Draw each spike as a dot."""
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        ax.plot(1e3 * self.times, self._row(), ".", color="black", markersize=2)
        ax.set_xlabel("time (ms)")
        ax.set_ylabel("input neuron")
        ax.set_title(self.label)
        return ax

    def _row(self) -> IntArray:
        """Give each spike its row in a plot."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class SpikeTrains(SpikeStimulus):
    """
    Spikes that are given, in place of those that a Poisson input draws.

    Attributes
    ----------
    index : array_like of int, shape (n_spikes,)
        Neurons of the input as in its Brian2 group: (y, x, channel), that is
        ``(y * width + x) * channels + channel``. What a result recorded has this order:
        ``t, index = result.spikes("input", 0)``.
    times : Quantity [s] or array_like of float, shape (n_spikes,)
        Their times since the start (plain numbers are seconds), in any order. A neuron
        spikes in the step that a time falls into.
    duration : Quantity [s], optional
        How long a trial takes; by default as long as one of the program.

    Raises
    ------
    InputError
        If an index or a time can't be used.
    """

    index: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    duration: Quantity | None = None

    def __post_init__(self) -> None:
        times = _times(self.times)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "index", _indices("index", self.index, len(times)))
        if self.duration is not None:
            object.__setattr__(
                self, "duration", seconds("the duration of spikes", self.duration)
            )

    def neurons(self, input_shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        """Check that each neuron exists; see `SpikeStimulus.neurons`."""
        n = int(np.prod(input_shape))
        wrong = (self.index < 0) | (self.index >= n)
        if wrong.any():
            message = (
                f"{self.label}: spike {np.flatnonzero(wrong)[0]} is of the neuron "
                f"{self.index[wrong][0]}; the input has neurons 0 to {n - 1}"
            )
            raise InputError(message)
        return self.index

    def spikes(
        self, dt_s: float, input_shape: tuple[int, int, int]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Refuse two spikes of a neuron in one step; see `SpikeStimulus.spikes`."""
        neuron, step = super().spikes(dt_s, input_shape)
        twice = (np.diff(neuron) == 0) & (np.diff(step) == 0)
        if twice.any():
            k = int(np.flatnonzero(twice)[0])
            message = (
                f"{self.label}: neuron {neuron[k]} spikes more than once in the step "
                f"at {1e3 * step[k] * dt_s:g} ms; rates above 1/dt can't be simulated"
            )
            raise InputError(message)
        return neuron, step

    def _row(self) -> IntArray:
        return self.index


@dataclass(frozen=True, eq=False)
class Events(SpikeStimulus):
    """
    Events of an event camera: a pixel that became brighter or darker.

    An input of one channel gets all events; of two channels, the first gets those of
    polarity 0 (or -1), the second those of polarity 1. Several events of a pixel and
    channel in one step are one spike.

    Attributes
    ----------
    t : Quantity [s] or array_like of float, shape (n_events,)
        Times since the start (plain numbers are seconds), ascending.
    x, y : array_like of int, shape (n_events,)
        Pixels; y is 0 in the first row.
    polarity : array_like of int, shape (n_events,)
        1 of a pixel that became brighter; 0 or -1 of one that became darker.
    duration : Quantity [s], optional
        How long a trial takes; by default as long as one of the program.

    Raises
    ------
    InputError
        If events are not in the order of their times, or can't be used.
    """

    t: npt.NDArray[np.float64]
    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    polarity: npt.NDArray[np.int64]
    duration: Quantity | None = None

    def __post_init__(self) -> None:
        times = _times(self.t)
        falling = np.flatnonzero(np.diff(times) < 0)
        if len(falling):
            k = int(falling[0])
            message = (
                f"events are not sorted by time: event {k + 1} at "
                f"{1e3 * times[k + 1]:g} ms comes after one at {1e3 * times[k]:g} ms"
            )
            raise InputError(message)
        object.__setattr__(self, "t", times)
        for what in ("x", "y", "polarity"):
            found = _indices(what, getattr(self, what), len(times))
            object.__setattr__(self, what, found)
        if not np.isin(self.polarity, (-1, 0, 1)).all():
            message = "polarity has other values than 1, and 0 or -1"
            raise InputError(message)
        if self.duration is not None:
            object.__setattr__(
                self, "duration", seconds("the duration of events", self.duration)
            )

    @property
    def times(self) -> npt.NDArray[np.float64]:  # type: ignore[override]
        """Times since the start in seconds, as of `SpikeTrains`."""
        return self.t

    @classmethod
    def of(cls, events: Any, unit: float = 1e-6, **more: Any) -> "Events":
        """
        Take a structured array, such as an item of a data set of the library tonic.

        Parameters
        ----------
        events : structured ndarray
            With the fields ``t``, ``x``, ``y`` and ``p`` (or ``polarity``).
        unit : float
            Seconds that a ``t`` of 1 stands for; microseconds by default.
        **more
            ``duration`` and ``name``, as of `Events`.

        Returns
        -------
        Events
            The events, with times from the first event on.

        Raises
        ------
        InputError
            If a field is missing.
        """
        names = getattr(getattr(events, "dtype", None), "names", None) or ()
        sign = "p" if "p" in names else "polarity"
        missing = {"t", "x", "y", sign} - {*names}
        if missing:
            message = (
                f"events have the fields {', '.join(names) or 'none'}, expected t, x, "
                "y and p"
            )
            raise InputError(message)
        t = np.asarray(events["t"], np.float64)
        t = unit * (t - t[0]) if len(t) else t
        return cls(t, events["x"], events["y"], events[sign].astype(int), **more)

    def neurons(self, input_shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        """Find the neuron of each event; see `SpikeStimulus.neurons`."""
        channels, height, width = input_shape
        if channels > 2:
            message = (
                f"{self.label}: the input has {channels} channels, events need 1, or 2 "
                "for the two polarities"
            )
            raise InputError(message)
        wrong = (self.x < 0) | (self.x >= width) | (self.y < 0) | (self.y >= height)
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            message = (
                f"{self.label}: event {k} is at x {self.x[k]}, y {self.y[k]}, outside "
                f"of the input of {width} x {height} pixels"
            )
            raise InputError(message)
        channel = (self.polarity == 1) if channels == 2 else np.zeros(len(self.x), int)
        return (self.y * width + self.x) * channels + channel

    def spikes(
        self, dt_s: float, input_shape: tuple[int, int, int]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Make one spike of several events of a step; see `SpikeStimulus.spikes`."""
        neuron, step = super().spikes(dt_s, input_shape)
        first = np.ones(len(neuron), bool)
        first[1:] = (np.diff(neuron) != 0) | (np.diff(step) != 0)
        return neuron[first], step[first]

    def _row(self) -> IntArray:
        return self.y * (int(self.x.max(initial=0)) + 1) + self.x
