"""Stimuli of spikes, and spike trains that are given."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import Quantity

from cnn2snn_brian.description.choices import check_choice
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.stimuli.base import Stimulus
from cnn2snn_brian.stimuli.recordings import trains_of_neo, trains_of_nwb
from cnn2snn_brian.stimuli.times import list_of_seconds, seconds

__all__ = ["Duplicates", "SpikeStimulus", "SpikeTrains", "indices"]

IntArray = npt.NDArray[np.integer[Any]]
#: What becomes of further spikes of a neuron in a step, which has at most one.
Duplicates = Literal["refuse", "warn", "first"]


def indices(what: str, values: Any, n: int) -> npt.NDArray[np.int64]:
    """Check whole numbers of at least 0."""
    array = np.array(values, ndmin=1)
    if array.shape != (n,):
        message = f"{what} has the shape {array.shape}, but there are {n} times"
        raise InputError(message)
    if n and not np.issubdtype(array.dtype, np.integer):
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
    duplicates: Duplicates

    def __post_init__(self) -> None:
        check_choice("duplicates", self.duplicates, ("refuse", "warn", "first"))
        if self.duration is not None:
            duration = seconds(f"the duration of {self.label}", self.duration)
            object.__setattr__(self, "duration", duration)

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
            If a spike is outside of the input or of the time, or `duplicates` is
            "refuse" and a neuron spikes twice in a step.
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
        in_order, at = neuron[order], step[order]
        again = np.zeros(len(at), bool)
        again[1:] = (np.diff(in_order) == 0) & (np.diff(at) == 0)
        if self.duplicates == "refuse" and again.any():
            k = int(np.flatnonzero(again)[0])
            message = (
                f"{self.label}: neuron {in_order[k]} spikes more than once in the step "
                f"at {1e3 * at[k] * dt_s:g} ms; rates above 1/dt can't be simulated. "
                f"{self._short_enough(neuron)}, duplicates='first' keeps one spike"
            )
            raise InputError(message)
        return in_order[~again].astype(np.int32), at[~again].astype(np.int32)

    def _short_enough(self, neuron: npt.NDArray[np.int64]) -> str:
        """Say which time step tells all spikes of a neuron apart."""
        order = np.lexsort((self.times, neuron))
        gaps = np.diff(self.times[order])[np.diff(neuron[order]) == 0]
        smallest = float(gaps.min())
        if smallest == 0:
            return "Some are at the same time, which no dt tells apart"
        unit = 10.0 ** (math.floor(math.log10(smallest)) - 1)
        dt_ms = 1e3 * unit * math.floor(smallest / unit + 1e-6)
        return f"A dt of at most {dt_ms:g} ms tells them apart"

    def check(self, input_shape: tuple[int, int, int], dt_s: float) -> None:
        """Check places and times; see `Stimulus.check`."""
        neuron, _ = self.spikes(dt_s, input_shape)
        n, lost = len(self.times), len(self.times) - len(neuron)
        if self.duplicates == "warn" and lost:
            message = (
                f"{self.label}: {lost:,} of {n:,} spikes are left out, because their "
                "neuron spikes before in the same step. "
                f"{self._short_enough(self.neurons(input_shape))}, duplicates='first' "
                "leaves them out without a warning"
            )
            warnings.warn(message, stacklevel=2)

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
        spikes in the step that a time falls into. Quantities of the library quantities,
        as in Neo's SpikeTrain, are converted.
    duration : Quantity [s], optional
        How long a trial takes; by default as long as one of the program.
    duplicates : {"refuse", "warn", "first"}
        What becomes of further spikes of a neuron in a step, which can have one: they
        are refused, or left out with or without a warning.

    Raises
    ------
    InputError
        If an index or a time can't be used.
    """

    index: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    duration: Quantity | None = None
    duplicates: Duplicates = field(default="refuse", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        times = list_of_seconds(self.times)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "index", indices("index", self.index, len(times)))

    @classmethod
    def from_neo(cls, trains: Any, index: Any = None, **more: Any) -> "SpikeTrains":
        """
        Take spike trains of the library Neo.

        Parameters
        ----------
        trains : neo.Segment, neo.SpikeTrain, or sequence of neo.SpikeTrain
            The trains. Times count from their ``t_start``, and a trial ends at their
            ``t_stop``; a spike at that very time is left out.
        index : array_like of int, shape (n_trains,), optional
            Neuron of the input of each train, as of `SpikeTrains`. By default the first
            train is neuron 0 and so on; trains that `SimulationResult.to_neo` wrote
            have their places, and all neurons have to be there then.
        **more
            ``duration``, ``duplicates``, ``name`` and ``parameters``, as of
            `SpikeTrains`.

        Returns
        -------
        SpikeTrains
            Their spikes.

        Raises
        ------
        InputError
            If these are other objects, start or stop at different times, or have no
            neuron each.
        MissingLibraryError
            If Neo is not installed.
        """
        neuron, times, duration = trains_of_neo(trains, index)
        return cls(neuron, times, **{"duration": duration, **more})

    @classmethod
    def from_nwb(
        cls,
        file: Any,
        window: tuple[Quantity, Quantity] | None = None,
        *,
        units: Sequence[int] | None = None,
        index: Any = None,
        **more: Any,
    ) -> "SpikeTrains":
        """
        Take the units of an NWB file.

        Parameters
        ----------
        file : pynwb.NWBFile or path-like
            The file, open or by name.
        window : tuple of Quantity [s], optional
            Start and end of what is shown, such as that of a trial; times count from
            the start. Without it, from 0 as long as a trial of the program takes.
        units : sequence of int, optional
            Rows of the table of units; all by default.
        index : array_like of int, shape (n_units,), optional
            Neuron of the input of each of them, as of `SpikeTrains`. By default the
            first is neuron 0 and so on; units that `SimulationResult.to_nwb` wrote have
            their places, and all neurons of one layer have to be there then.
        **more
            ``duration``, ``duplicates``, ``name`` and ``parameters``, as of
            `SpikeTrains`.

        Returns
        -------
        SpikeTrains
            Their spikes in the window.

        Raises
        ------
        InputError
            If the file can't be read or has no spikes, the window is no pair of times,
            or units have no neuron each.
        MissingLibraryError
            If pynwb is not installed.
        """
        neuron, times, duration = trains_of_nwb(file, window, units, index)
        return cls(neuron, times, **{"duration": duration, **more})

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

    def _row(self) -> IntArray:
        return self.index
