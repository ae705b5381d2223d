"""Stimuli of spikes, and spike trains that are given."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second

from cnn2snn_brian.checks import check_choice, check_shape, optional_library, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.stimuli.base import Stimulus, list_of_seconds

IntArray = npt.NDArray[np.integer[Any]]
#: What becomes of further spikes of a neuron in a step, which has at most one.
Duplicates = Literal["refuse", "warn", "first"]
#: What our own exports say of a neuron's place.
PLACE = ("channel", "y", "x")


def indices(what: str, values: Any, n: int) -> npt.NDArray[np.int64]:
    """Check whole numbers of at least 0."""
    array = np.array(values, ndmin=1)
    check_shape(what, array, n)
    if n and not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{what} is {array.dtype}, expected whole numbers")
    return array.astype(np.int64)


def _placed(what: str, known: Any) -> npt.NDArray[np.int64]:
    """Turn places (channel, y, x) into neurons, ordered (y, x, channel)."""
    places = np.array([[int(one[name]) for name in PLACE] for one in known])
    channel, y, x = places.reshape(-1, 3).T.clip(0)
    channels, height, width = (int(axis.max(initial=0)) + 1 for axis in (channel, y, x))
    neuron = (y * width + x) * channels + channel
    if len(np.unique(neuron)) < len(places) or len(places) < channels * height * width:
        rule = "choose those of the input, or give index=..."
        found = f"{what}: their places are not all those of one layer, each once"
        raise InputError(f"{found}, so that the input has no known size; {rule}")
    return neuron


class SpikeStimulus(Stimulus):
    """A stimulus that says when which neuron of the input spikes."""

    times: npt.NDArray[np.float64]
    duration: Quantity | None
    duplicates: Duplicates

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("duplicates", self.duplicates, ("refuse", "warn", "first"))

    @abstractmethod
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

    @abstractmethod
    def _rows(self) -> IntArray:
        """Give each spike its row in a plot."""

    def spikes(
        self, dt_s: float, input_shape: tuple[int, int, int], *, warn: bool = False
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """
        Give the spikes as a network gets them.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.
        input_shape : tuple of int
            Shape of the network's input.
        warn : bool
            Whether to say how many spikes `duplicates` leaves out.

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
        neuron = self.neurons(input_shape)
        # The step that each time falls into, by the rule of Brian2's `timestep`.
        step = ((self.times + 1e-3 * dt_s) / dt_s).astype(np.int64)
        n_steps = self.n_steps(dt_s)
        if n_steps is not None and len(step) and step.max() >= n_steps:
            late, end = 1e3 * self.times[step.argmax()], 1e3 * n_steps * dt_s
            found = f"the spike at {late:g} ms comes after the end, {end:g} ms"
            raise InputError(f"{self.label}: {found}")
        order = np.lexsort((neuron, step))
        in_order, at = neuron[order], step[order]
        again = np.zeros(len(at), bool)
        again[1:] = (np.diff(in_order) == 0) & (np.diff(at) == 0)
        if self.duplicates == "refuse" and again.any():
            k = int(np.flatnonzero(again)[0])
            found = f"neuron {in_order[k]} spikes more than once in the step at"
            found = f"{self.label}: {found} {1e3 * at[k] * dt_s:g} ms"
            way = f"{self._short_enough(neuron)}, duplicates='first' keeps one spike"
            raise InputError(f"{found}; rates above 1/dt can't be simulated. {way}")
        if warn and self.duplicates == "warn" and again.any():
            found = f"{self.label}: {again.sum():,} of {len(again):,} spikes"
            why = "are left out, because their neuron spikes before in the same step"
            way = f"{self._short_enough(neuron)}, duplicates='first' gives no warning"
            warnings.warn(f"{found} {why}. {way}", stacklevel=3)
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
        self.spikes(dt_s, input_shape, warn=True)

    def _draw(self, ax: Any) -> None:
        ax.plot(1e3 * self.times, self._rows(), ".", color="black", markersize=2)
        ax.set_ylabel("input neuron")


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
        self._keep(times=times, index=indices("index", self.index, len(times)))

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
            If these are other objects, start or stop at different times, or not
            every train has a neuron.
        MissingLibraryError
            If Neo is not installed.
        """
        neo = optional_library("neo", "export", "SpikeTrains.from_neo")
        trains = getattr(trains, "spiketrains", trains)
        listed = [trains] if isinstance(trains, neo.SpikeTrain) else list(trains)
        if not listed or any(not isinstance(one, neo.SpikeTrain) for one in listed):
            rule = "neo.SpikeTrain objects, or a neo.Segment with some"
            raise InputError(f"trains: expected {rule}")
        ends = []
        for what in ("t_start", "t_stop"):
            found = {float(getattr(one, what).rescale("s")) for one in listed}
            if max(found) - min(found) > 1e-9:
                rule = "cut them to the same time (neo.SpikeTrain.time_slice)"
                span = f"{min(found):g} to {max(found):g} s"
                raise InputError(f"trains: their {what} is {span}; {rule}")
            ends.append(min(found))
        times = [one.rescale("s").magnitude for one in listed]
        known = [one.annotations for one in listed]
        return cls._joined("trains", times, ends, index, known, more)

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
            If the file can't be read or has no spikes, the window is not a pair of
            times, or not every unit has a neuron.
        MissingLibraryError
            If pynwb is not installed.
        """
        pynwb = optional_library("pynwb", "nwb", "SpikeTrains.from_nwb")
        if not isinstance(file, pynwb.NWBFile):
            if not Path(file).is_file():
                raise InputError(f"{file}: there is no such file")
            try:
                source = pynwb.NWBHDF5IO(str(file), "r")
                opened = source.read()
            except Exception as error:  # h5py and hdmf raise many kinds
                found = f"{type(error).__name__}: {error}"
                raise InputError(f"{file}: not an NWB file: {found}") from error
            with source:
                return cls.from_nwb(opened, window, units=units, index=index, **more)
        table = file.units
        if table is None or "spike_times" not in table.colnames:
            raise InputError(f"{file.identifier}: has no units with spike times")
        rows = list(range(len(table)) if units is None else units)
        if not set(rows) <= set(range(len(table))):
            raise InputError(f"units {rows}: the table has rows 0 to {len(table) - 1}")
        times = [np.asarray(table["spike_times"][row], np.float64) for row in rows]
        ends = None
        if window is not None:
            if len(window) != 2:
                raise InputError(f"window is {window!r}, expected a start and an end")
            ends = [seconds("window", t, plain=False, least=0) for t in window]
            seconds("what is shown", ends[1] - ends[0], above=0)
        columns = [what for what in PLACE if what in table.colnames]
        known = [{what: table[what][row] for what in columns} for row in rows]
        return cls._joined("units", times, ends, index, known, more)

    @classmethod
    def _joined(
        cls, what: str, trains: Any, ends: Any, index: Any, known: Any, more: Any
    ) -> "SpikeTrains":
        """Put trains together, as far as they are between two times."""
        duration = None
        if ends is not None:
            start, stop = ends
            duration = (stop - start) * second
            # A spike at the end is that of what follows; Neo's `time_slice` keeps both.
            slack = 1e-9 * (stop - start)
            trains = [t[(t >= start - slack) & (t < stop - slack)] for t in trains]
            trains = [np.maximum(times - start, 0) for times in trains]
        if index is None:
            have_places = known and all(set(PLACE) <= set(one) for one in known)
            index = _placed(what, known) if have_places else np.arange(len(trains))
        neuron: Any = np.asarray(index)
        check_shape(f"index of {what}", neuron, len(trains))
        neuron = np.repeat(neuron, [len(one) for one in trains])
        times = np.concatenate([np.zeros(0), *trains])
        return cls(neuron, times, **{"duration": duration, **more})

    def neurons(self, input_shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        """Check that each neuron exists; see `SpikeStimulus.neurons`."""
        n = int(np.prod(input_shape))
        wrong = (self.index < 0) | (self.index >= n)
        if wrong.any():
            found = f"spike {wrong.argmax()} is of the neuron {self.index[wrong][0]}"
            rule = f"the input has neurons 0 to {n - 1}"
            raise InputError(f"{self.label}: {found}; {rule}")
        return self.index

    def _rows(self) -> IntArray:
        return self.index


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
            before, at = 1e3 * times[k : k + 2]
            found = f"event {k + 1} at {at:g} ms comes after one at {before:g} ms"
            raise InputError(f"events are not sorted by time: {found}")
        polarity = np.asarray(self.polarity)
        polarity = polarity.astype(int) if polarity.dtype == bool else polarity
        given = {"x": self.x, "y": self.y, "polarity": polarity}
        self._keep(t=times, **{k: indices(k, v, len(times)) for k, v in given.items()})
        if not np.isin(self.polarity, (-1, 0, 1)).all():
            raise InputError("polarity has other values than 1, and 0 or -1")

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
            found = ", ".join(names) or "none"
            raise InputError(f"events have the fields {found}, expected t, x, y and p")
        t = np.asarray(events["t"], np.float64)
        t = unit * (t - t[0]) if len(t) else t
        return cls(t, events["x"], events["y"], events[sign].astype(int), **more)

    def neurons(self, input_shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        """Find the neuron of each event; see `SpikeStimulus.neurons`."""
        channels, height, width = input_shape
        if channels > 2:
            rule = "events need 1, or 2 for the two polarities"
            raise InputError(f"{self.label}: the input has {channels} channels, {rule}")
        wrong = (self.x < 0) | (self.x >= width) | (self.y < 0) | (self.y >= height)
        if wrong.any():
            k = int(wrong.argmax())
            found = f"{self.label}: event {k} is at x {self.x[k]}, y {self.y[k]}"
            rule = f"outside of the input of {width} x {height} pixels"
            raise InputError(f"{found}, {rule}")
        channel = (self.polarity == 1) if channels == 2 else np.zeros(len(self.x), int)
        return (self.y * width + self.x) * channels + channel

    def _rows(self) -> IntArray:
        return self.y * (int(self.x.max(initial=0)) + 1) + self.x
