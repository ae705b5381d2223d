"""
Spikes of one population in trials, as plain arrays.

Neurons are numbered as in the layer's arrays, (channel, y, x) in a row, so that
``values.reshape(..., *shape)`` gives the layer's shape back.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from brian2 import second

from cnn2snn_brian.checks import check_whole, real_numbers, seconds, whole_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.results import SimulationResult, check_one_duration
from cnn2snn_brian.stimuli import whole_steps

if TYPE_CHECKING:
    import pandas


FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Share of a step that a time may be off: 0.3 - 1e-17 s is 0.3 s.
_SLACK = 1e-2


def chosen_neurons(neurons: Any, n_neurons: int) -> IntArray:
    """Check numbers of neurons."""
    chosen = whole_numbers("neurons", neurons, n_neurons).ravel()
    if not len(np.unique(chosen)) == len(chosen) > 0:
        raise InputError(
            f"neurons are {np.array2string(chosen, threshold=8)}, expected different "
            f"whole numbers from 0 to {n_neurons - 1}"
        )
    return chosen


def start_and_end(window: Any) -> tuple[float, float]:
    """Read a time window, in seconds."""
    if np.ndim(window) != 1 or len(window) != 2:
        raise InputError(f"window is {window!r}, expected (start, end)")
    start, end = (seconds("window", time) for time in window)
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
            time = seconds(name, getattr(self, name))
            if time <= 0:
                raise InputError(f"{name} is {time:g} s, expected a time above 0")
            object.__setattr__(self, name, time)
        for name, unit in (("trial", None), ("neuron", None), ("t", second)):
            checked = real_numbers(name, getattr(self, name), unit=unit)
            object.__setattr__(self, name, checked)
        if not self.trial.shape == self.neuron.shape == self.t.shape == (self.t.size,):
            raise InputError(
                f"spikes: {self.trial.shape} trials, {self.neuron.shape} neurons, "
                f"{self.t.shape} times, expected one of each for each spike"
            )
        for name, n in (("trial", self.n_trials), ("neuron", self.n_neurons)):
            whole = whole_numbers(name, getattr(self, name), n)
            object.__setattr__(self, name, whole)
        # A window leaves its end out, so a spike at the end would never be counted.
        end = self.duration_s - self._slack
        if self.t.size and not (self.t.min() >= 0 and self.t.max() < end):
            raise InputError(
                f"spikes: t goes from {self.t.min():g} to {self.t.max():g} s, expected "
                f"0 to below {self.duration_s:g} s"
            )
        if self.dt_s is not None:
            steps = self.t / self.dt_s
            off = np.abs(steps - np.rint(steps)) > _SLACK
            if off.any():
                raise InputError(
                    f"spikes: t has {self.t[off][0]:g} s, expected multiples of the "
                    f"time step, {self.dt_s:g} s"
                )

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
            raise InputError(
                f"window is {start:g} to {end:g} s, expected two times in order, from "
                f"0 to {self.duration_s:g} s"
            )
        if self.shortest_s is not None and end > self.shortest_s + self._slack:
            check_one_duration(self.shortest_s, self.duration_s)
        if not any(
            first <= start + self._slack and end <= last + self._slack
            for first, last in self.recorded_s or (whole,)
        ):
            spans = ", ".join(f"{a:g} to {b:g} s" for a, b in self.recorded_s)
            raise InputError(
                f"window is {start:g} to {end:g} s, but spikes were recorded only from "
                f"{spans}"
            )
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
        width = seconds("bin", bin)
        n_bins = round((end - start) / width) if width > 0 else 0
        if n_bins < 1 or abs(n_bins * width / (end - start) - 1) > 1e-6:
            raise InputError(
                f"bin is {width:g} s, expected a width of which a whole number makes "
                f"{end - start:g} s"
            )
        steps = width / (self.dt_s or width)
        if abs(steps - round(steps)) > 1e-6 * steps:
            raise InputError(
                f"bin is {width:g} s, expected a multiple of the time step, "
                f"{self.dt_s:g} s: others would hold unequal numbers of steps"
            )
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


def layer_of(result: SimulationResult, layer: str | None) -> str:
    """Check the name of a layer."""
    if layer is None or layer not in result.shapes:
        raise InputError(f"layer is {layer!r}; there are {', '.join(result.shapes)}")
    return layer


def trial_of_row(result: SimulationResult) -> tuple[npt.NDArray[np.int64], int, int]:
    """Say which trial each row of a result is."""
    n_repeats = int(getattr(result, "n_repeats", 1))
    rows = np.arange(result.n_images)
    stimulus = getattr(result, "stimulus_of_row", None)
    repeat = getattr(result, "repeat_of_row", None)
    if stimulus is None or repeat is None:
        return rows, result.n_images // n_repeats, n_repeats
    trial = np.asarray(stimulus, np.int64) * n_repeats + np.asarray(repeat, np.int64)
    return trial, result.n_images // n_repeats, n_repeats


def trial_spikes(data: Any, layer: str | None = None) -> TrialSpikes:
    """
    Collect the recorded spikes of a layer in all trials.

    Parameters
    ----------
    data : SimulationResult or TrialSpikes
        A result that recorded the layer in all its rows, or the spikes themselves.
    layer : str, optional
        Name of the layer of a result, or ``input``.

    Returns
    -------
    TrialSpikes
        The spikes. Images without repeats are stimuli with one repeat.

    Raises
    ------
    InputError
        If the layer does not exist or was not recorded in all rows, or `data` is of
        another kind.
    """
    if isinstance(data, TrialSpikes):
        return data
    if not isinstance(data, SimulationResult):
        raise InputError(
            f"data is a {type(data).__name__}, expected a SimulationResult and a "
            "layer, or TrialSpikes: counts have no times"
        )
    name = layer_of(data, layer)
    trials, n_stimuli, n_repeats = trial_of_row(data)
    rows = [recorded_neurons(data, name, row) for row in range(data.n_images)]
    trial = np.repeat(trials, [len(neuron) for neuron, _ in rows])
    neuron, step = (np.concatenate(part) for part in zip(*rows, strict=True))
    shortest, longest = _durations(data)
    return TrialSpikes(
        trial,
        neuron,
        step * data.dt_s,
        n_stimuli,
        n_repeats,
        math.prod(data.shapes[name]),
        data.duration_s,
        data.dt_s,
        recorded_windows(data, name),
        shortest if shortest < longest else None,
    )


def _durations(result: SimulationResult) -> tuple[float, float]:
    """Give the shortest and the longest trial, in seconds."""
    steps = np.asarray(getattr(result, "steps_of_row", result.n_steps))
    return float(steps.min() * result.dt_s), float(steps.max() * result.dt_s)


def recorded_windows(
    result: SimulationResult, name: str
) -> tuple[tuple[float, float], ...]:
    """Give starts and ends of what was recorded of a layer, in seconds."""
    windows = result.windows if name != result.output_layer else ()
    return tuple((first * result.dt_s, last * result.dt_s) for first, last in windows)


def recorded_neurons(
    result: SimulationResult, name: str, row: int
) -> tuple[IntArray, IntArray]:
    """Give neurons, in the order (channel, y, x), and steps of the spikes of a row."""
    position = result.spikes(name, row).position
    neuron = np.ravel_multi_index(position, result.shapes[name])
    return neuron.astype(np.int64), result.recorded[name, row][1].astype(np.int64)


def counts(
    data: Any, layer: str | None = None, window: Any = None
) -> npt.NDArray[np.float64]:
    """
    Give the spike counts of a layer by stimulus, repeat and neuron.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or the counts themselves, of shape (n_stimuli, n_repeats,
        n_neurons). Nothing of a result needs to be recorded if there is no window.
    layer : str, optional
        Name of the layer of a result, or ``input``.
    window : tuple of (Quantity [s] or float), optional
        Start and end, the end left out; the whole trial by default.

    Returns
    -------
    ndarray of float64, shape (n_stimuli, n_repeats, n_neurons)
        Counts; neurons in the order (channel, y, x).

    Raises
    ------
    InputError
        If the layer does not exist, the window is empty or outside the trial, spikes
        that it needs were not recorded, stimuli differ in duration and there is no
        window, or the array has other dimensions, or numbers that are negative or not
        finite.
    """
    if isinstance(data, SimulationResult) and window is None:
        name = layer_of(data, layer)
        check_one_duration(*_durations(data))
        trials, n_stimuli, n_repeats = trial_of_row(data)
        rows = data.spike_counts[name].reshape(data.n_images, -1)
        found = np.empty(rows.shape)
        found[trials] = rows
        return found.reshape(n_stimuli, n_repeats, -1)
    if isinstance(data, SimulationResult | TrialSpikes):
        return trial_spikes(data, layer).counts(window).astype(np.float64)
    array = real_numbers("counts", data, least=0)
    if array.ndim != 3 or not array.size:
        raise InputError(
            f"counts have the shape {array.shape}, expected (n_stimuli, n_repeats, "
            "n_neurons)"
        )
    if window is not None:
        raise InputError(
            "window: an array of counts has no times; give spikes or a result"
        )
    return array


@dataclass(frozen=True, eq=False)
class Psth(Printed):
    """
    Firing rates in time bins, means over repeats.

    Attributes
    ----------
    rate_hz : ndarray of float64, shape (n_stimuli, n_neurons, n_bins)
        Rates.
    sem_hz : ndarray of float64, shape (n_stimuli, n_neurons, n_bins)
        Their standard errors over repeats; NaN with one repeat.
    edges_s : ndarray of float64, shape (n_bins + 1,)
        Edges of the bins in seconds since a trial's start.
    n_repeats : int
        Trials of a stimulus.
    """

    rate_hz: npt.NDArray[np.float64]
    sem_hz: npt.NDArray[np.float64]
    edges_s: npt.NDArray[np.float64]
    n_repeats: int

    @property
    def t_s(self) -> npt.NDArray[np.float64]:
        """Centres of the bins in seconds, of shape (n_bins,)."""
        return (self.edges_s[1:] + self.edges_s[:-1]) / 2

    def frame(self) -> "pandas.DataFrame":
        """
        Give the rates as a tidy table.

        Returns
        -------
        pandas.DataFrame
            ``stimulus``, ``neuron``, ``t_s``, ``rate_hz`` and ``sem_hz``, a row for
            each bin.
        """
        import pandas as pd

        stimulus, neuron, index = np.indices(self.rate_hz.shape)
        return pd.DataFrame(
            {
                "stimulus": stimulus.ravel(),
                "neuron": neuron.ravel(),
                "t_s": self.t_s[index.ravel()],
                "rate_hz": self.rate_hz.ravel(),
                "sem_hz": self.sem_hz.ravel(),
            }
        )


def psth(data: Any, layer: str | None = None, *, bin: Any, window: Any = None) -> Psth:
    r"""
    Compute the peri-stimulus time histogram of each neuron.

    .. math:: r(t) = \frac{1}{n \Delta} \sum_{i=1}^{n} k_i(t)

    with the counts :math:`k_i(t)` of repeat i in a bin of width :math:`\Delta`
    [1]_.

    Parameters
    ----------
    data : SimulationResult or TrialSpikes
        A result that recorded the layer, or spikes.
    layer : str, optional
        Name of the layer of a result.
    bin : Quantity [s] or float
        Width of a bin, a multiple of the time step.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    Psth
        Rates and their standard errors.

    Raises
    ------
    InputError
        If the layer was not recorded, or the window is no whole number of bins.

    References
    ----------
    .. [1] Gerstein and Kiang (1960), An approach to the quantitative analysis of
       electrophysiological data from single neurons,
       doi:10.1016/S0006-3495(60)86872-5
    """
    spikes = trial_spikes(data, layer)
    index, inside, edges = spikes.bins(bin, window)
    n, n_bins = spikes.n_repeats, len(edges) - 1
    shape = (spikes.n_trials, spikes.n_neurons, n_bins)
    at = (spikes.trial[inside], spikes.neuron[inside], index[inside])
    # Only bins with spikes: an array of all trials would be n_repeats times larger.
    place, count = np.unique(np.ravel_multi_index(at, shape), return_counts=True)
    trial, neuron, which = np.unravel_index(place, shape)
    total = np.zeros((spikes.n_stimuli, *shape[1:]))
    squares = np.zeros_like(total)
    np.add.at(total, (trial // n, neuron, which), count)
    np.add.at(squares, (trial // n, neuron, which), count.astype(float) ** 2)
    width = edges[1] - edges[0]
    if n > 1:
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        sem = np.sqrt(variance / n) / width
    else:
        sem = np.full_like(total, np.nan)
    return Psth(total / n / width, sem, edges, n)


def _window_steps(
    window: Any, onsets: list[list[int]], ends: list[int], dt_s: float
) -> tuple[int, int]:
    """Give first and last step since an onset; by default to the next item."""
    if window is not None:
        first, last = (whole_steps("window", t, dt_s) for t in start_and_end(window))
        return first, last
    gaps = [
        gap
        for own, end in zip(onsets, ends, strict=True)
        for gap in np.diff([*own, end]).tolist()[: len(own)]
    ]
    check_one_duration(min(gaps) * dt_s, max(gaps) * dt_s)
    return 0, gaps[0]


def by_item(
    result: SimulationResult, layer: str | None = None, *, window: Any = None
) -> TrialSpikes:
    """
    Cut trials of sequences into their items, for all measures of spikes.

    Each item becomes a stimulus: of the first sequence one after another, then of the
    second, each with its repeats. Potentials are reset at the start of a trial only, so
    an item sees what those before it left.

    Parameters
    ----------
    result : SimulationResult
        A result of stimuli with items (`Sequence`), which recorded the layer in all its
        rows. Other stimuli in it are left out.
    layer : str, optional
        Name of the layer, or ``input``; the last one by default.
    window : tuple of (Quantity [s] or float), optional
        Start and end, since the onset of an item. By default, to the onset of the next
        item or the end of the trial.

    Returns
    -------
    TrialSpikes
        Spikes, with times since the start of the window, and the label of each item in
        ``labels``.

    Raises
    ------
    InputError
        If no stimulus has items, the layer was not recorded, the window is outside of a
        trial or no multiple of the time step, or there is none and the time to the next
        item differs.
    """
    name = layer_of(result, result.output_layer if layer is None else layer)
    items = () if result.trials is None else result.trials.items
    if not any(items):
        raise InputError("no stimulus has items: show a stimuli.Sequence")
    dt_s, n_repeats = result.dt_s, result.n_repeats
    onsets = [[whole_steps("onset", i.onset_s, dt_s) for i in own] for own in items]
    ends = result.steps_of_row[::n_repeats].tolist()
    first, last = _window_steps(window, onsets, ends, dt_s)
    windows = recorded_windows(result, name)
    found = []
    n_items, none, no_times = 0, np.zeros(0, np.int64), np.zeros(0)
    for stimulus, own in enumerate(onsets):
        end_s = ends[stimulus] * dt_s
        trial = TrialSpikes(none, none, no_times, 1, 1, 1, end_s, dt_s, windows)
        for onset in own:
            trial.window(((onset + first) * dt_s, (onset + last) * dt_s))
        for repeat in range(n_repeats if own else 0):
            row = stimulus * n_repeats + repeat
            neuron, step = recorded_neurons(result, name, row)
            for place, onset in enumerate(own):
                its = (step >= onset + first) & (step < onset + last)
                index = (n_items + place) * n_repeats + repeat
                t = (step[its] - onset - first) * dt_s
                found.append((np.full(len(t), index), neuron[its], t))
        n_items += len(own)
    trial_of, neuron_of, times = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    return TrialSpikes(
        trial_of,
        neuron_of,
        times,
        n_items,
        n_repeats,
        math.prod(result.shapes[name]),
        (last - first) * dt_s,
        dt_s,
        labels=tuple(item.label for own in items for item in own),
    )
