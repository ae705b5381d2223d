"""Events of an event camera."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.stimuli.spikes import Duplicates, IntArray, SpikeStimulus, indices
from cnn2snn_brian.stimuli.times import list_of_seconds

__all__ = ["Events"]


@dataclass(frozen=True, eq=False)
class Events(SpikeStimulus):
    """
    Events of an event camera: a pixel that became brighter or darker.

    An input of one channel gets all events; of two channels, the first gets those of
    polarity 0 (or -1), the second those of polarity 1. Several events of a pixel and
    channel in one step are one spike; a warning says how many.

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
    duplicates : {"warn", "first", "refuse"}
        What becomes of further events of a pixel and channel in a step, which can have
        one spike: they are left out with or without a warning, or refused.

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
    duplicates: Duplicates = field(default="warn", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        times = list_of_seconds(self.t)
        falling = np.flatnonzero(np.diff(times) < 0)
        if len(falling):
            k = int(falling[0])
            message = (
                f"events are not sorted by time: event {k + 1} at "
                f"{1e3 * times[k + 1]:g} ms comes after one at {1e3 * times[k]:g} ms"
            )
            raise InputError(message)
        object.__setattr__(self, "t", times)
        if np.asarray(self.polarity).dtype == bool:
            object.__setattr__(self, "polarity", np.asarray(self.polarity).astype(int))
        for what in ("x", "y", "polarity"):
            found = indices(what, getattr(self, what), len(times))
            object.__setattr__(self, what, found)
        if not np.isin(self.polarity, (-1, 0, 1)).all():
            message = "polarity has other values than 1, and 0 or -1"
            raise InputError(message)

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
            ``duration``, ``duplicates`` and ``name``, as of `Events`.

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

    def _row(self) -> IntArray:
        return self.y * (int(self.x.max(initial=0)) + 1) + self.x
