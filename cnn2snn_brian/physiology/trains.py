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

from cnn2snn_brian.checks import (
    check_known,
    check_shape,
    check_whole,
    real_numbers,
    seconds,
    whole_numbers,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.results import SimulationResult, check_one_duration, tally
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
        found = np.array2string(chosen, threshold=8)
        raise InputError(f"neurons are {found}, expected different whole numbers")
    return chosen


def start_and_end(window: Any) -> tuple[float, float]:
    """Read a time window, in seconds."""
    if np.ndim(window) != 1 or len(window) != 2:
        raise InputError(f"window is {window!r}, expected (start, end)")
    start, end = (seconds("window", time) for time in window)
    return start, end


class Measured(Printed):
    """Numbers by stimulus, neuron or the like, with a tidy table of them."""

    #: Axes of the arrays. One that is an attribute, such as ``t_s``, has these values.
    _axes: tuple[str, ...]
    #: The arrays that are in the table.
    _columns: tuple[str, ...]

    def frame(self) -> "pandas.DataFrame":
        """
        Give the numbers as a tidy table.

        Returns
        -------
        pandas.DataFrame
            A row for each element; the class names the columns.
        """
        import pandas as pd

        columns = {name: getattr(self, name) for name in self._columns}
        sizes = zip(self._axes, columns[self._columns[0]].shape, strict=True)
        axes = [getattr(self, axis, range(size)) for axis, size in sizes]
        rows = pd.MultiIndex.from_product(axes, names=self._axes)
        values = {name: array.ravel() for name, array in columns.items()}
        return pd.DataFrame(values, index=rows).reset_index()


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
        range, a number of trials or neurons is not whole, or a time is not a multiple
        of the time step.
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
        checked = vars(self)  # a frozen dataclass refuses assignments only
        for name in ("n_stimuli", "n_repeats", "n_neurons"):
            checked[name] = check_whole(name, checked[name], 1)
        for name in ("duration_s", "dt_s", "shortest_s"):
            if checked[name] is not None or name == "duration_s":
                checked[name] = seconds(name, checked[name], above=0)
        checked["t"] = real_numbers("t", self.t, unit=second)
        check_shape("t", self.t, self.t.size)
        for name, n in (("trial", self.n_trials), ("neuron", self.n_neurons)):
            numbers = real_numbers(name, checked[name])
            check_shape(name, numbers, self.t.size)
            checked[name] = whole_numbers(name, numbers, n)
        # A window leaves its end out, so a spike at the end would never be counted.
        whole = self.duration_s
        if not ((self.t >= 0) & (self.t < whole - self._slack)).all():
            span = f"{self.t.min():g} to {self.t.max():g} s"
            raise InputError(f"t goes from {span}, expected 0 to below {whole:g} s")
        if self.dt_s is not None:
            steps = self.t / self.dt_s
            off = np.abs(steps - np.rint(steps)) > _SLACK
            if off.any():
                rule = f"multiples of the time step, {self.dt_s:g} s"
                raise InputError(f"t has {self.t[off][0]:g} s, expected {rule}")

    @property
    def _slack(self) -> float:
        """Seconds that a spike before the start of a window is part of it."""
        return 1e-9 * self.duration_s if self.dt_s is None else _SLACK * self.dt_s

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
            rule = f"two times in order, from 0 to {self.duration_s:g} s"
            raise InputError(f"window is {start:g} to {end:g} s, expected {rule}")
        if self.shortest_s is not None and end > self.shortest_s + self._slack:
            check_one_duration(self.shortest_s, self.duration_s)
        if not any(
            first <= start + self._slack and end <= last + self._slack
            for first, last in self.recorded_s or (whole,)
        ):
            spans = ", ".join(f"{a:g} to {b:g} s" for a, b in self.recorded_s)
            rule = f"but spikes were recorded only from {spans}"
            raise InputError(f"window is {start:g} to {end:g} s, {rule}")
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
            If the window is not a whole number of bins, or a bin not one of steps.
        """
        start, end = self.window(window)
        width = seconds("bin", bin)
        n_bins = round((end - start) / width) if width > 0 else 0
        if n_bins < 1 or abs(n_bins * width / (end - start) - 1) > 1e-6:
            rule = f"a width of which a whole number makes {end - start:g} s"
            raise InputError(f"bin is {width:g} s, expected {rule}")
        steps = width / (self.dt_s or width)
        if abs(steps - round(steps)) > 1e-6 * steps:
            rule = f"a multiple of the time step, {self.dt_s:g} s"
            raise InputError(f"bin is {width:g} s, expected {rule}")
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
            If the window is not a whole number of bins.
        """
        index, inside, edges = self.bins(bin, window)
        at = (self.trial[inside], index[inside], self.neuron[inside])
        found = tally(at, (self.n_trials, len(edges) - 1, self.n_neurons))
        return found.reshape(self.n_stimuli, self.n_repeats, *found.shape[1:])

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
        at = (self.trial[inside], self.neuron[inside])
        found = tally(at, (self.n_trials, self.n_neurons))
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
        neuron = place[self.neuron]
        kept = neuron >= 0
        trial, neuron, t = self.trial[kept], neuron[kept], self.t[kept]
        return replace(self, trial=trial, neuron=neuron, t=t, n_neurons=len(chosen))


def recorded_windows(
    result: SimulationResult, name: str
) -> tuple[tuple[float, float], ...]:
    """Give starts and ends of what was recorded of a layer, in seconds."""
    windows = result.windows if name != result.output_layer else ()
    return tuple((first * result.dt_s, last * result.dt_s) for first, last in windows)


def _sizes(result: SimulationResult, layer: Any) -> tuple[int, int, int]:
    """Check a layer, and give the numbers of stimuli, repeats and neurons."""
    check_known("layer", [layer], result.shapes)
    n_stimuli = result.n_images // result.n_repeats
    return n_stimuli, result.n_repeats, math.prod(result.shapes[layer])


def _durations(result: SimulationResult) -> tuple[float, float]:
    """Give the shortest and the longest trial, in seconds."""
    steps = result.steps_of_row
    return float(steps.min() * result.dt_s), float(steps.max() * result.dt_s)


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
    sizes, (shortest, longest) = _sizes(data, layer), _durations(data)
    # The rows of a result are stimulus after stimulus, repeat after repeat.
    trial, neuron, step = data.numbered_spikes(str(layer))
    return TrialSpikes(
        trial,
        neuron,
        np.asarray(step * data.dt_s, np.float64),
        *sizes,
        data.duration_s,
        data.dt_s,
        recorded_windows(data, str(layer)),
        shortest if shortest < longest else None,
    )


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
        sizes = _sizes(data, layer)
        check_one_duration(*_durations(data))
        check_known("layer of spike counts", [str(layer)], data.spike_counts)
        return data.spike_counts[str(layer)].reshape(sizes).astype(np.float64)
    if isinstance(data, SimulationResult | TrialSpikes):
        return trial_spikes(data, layer).counts(window).astype(np.float64)
    array = real_numbers("counts", data, least=0)
    check_shape("counts", array, "n_stimuli", "n_repeats", "n_neurons")
    if window is not None:
        raise InputError("window: counts have no times; give spikes or a result")
    return array


@dataclass(frozen=True, eq=False)
class Psth(Measured):
    """
    Firing rates in time bins, means over repeats.

    ``frame()`` has ``stimulus``, ``neuron``, ``t_s``, ``rate_hz`` and ``sem_hz``.

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

    rate_hz: FloatArray
    sem_hz: FloatArray
    edges_s: FloatArray
    n_repeats: int

    _axes = ("stimulus", "neuron", "t_s")
    _columns = ("rate_hz", "sem_hz")

    @property
    def t_s(self) -> FloatArray:
        """Centres of the bins in seconds, of shape (n_bins,)."""
        return (self.edges_s[1:] + self.edges_s[:-1]) / 2


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
        If the layer was not recorded, or the window is not a whole number of bins.

    References
    ----------
    .. [1] Gerstein and Kiang (1960), An approach to the quantitative analysis of
       electrophysiological data from single neurons,
       doi:10.1016/S0006-3495(60)86872-5
    """
    spikes = trial_spikes(data, layer)
    index, inside, edges = spikes.bins(bin, window)
    n, width = spikes.n_repeats, edges[1] - edges[0]
    shape = (spikes.n_trials, spikes.n_neurons, len(edges) - 1)
    at = (spikes.trial[inside], spikes.neuron[inside], index[inside])
    # Only bins with spikes: an array of all trials would be n_repeats times larger.
    place, count = np.unique(np.ravel_multi_index(at, shape), return_counts=True)
    trial, *rest = np.unravel_index(place, shape)
    total, squares = np.zeros((2, spikes.n_stimuli, *shape[1:]))
    np.add.at(total, (trial // n, *rest), count)
    np.add.at(squares, (trial // n, *rest), count.astype(float) ** 2)
    sem = np.full_like(total, np.nan)
    if n > 1:
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        sem = np.sqrt(variance / n) / width
    return Psth(total / n / width, sem, edges, n)


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
        trial or not a multiple of the time step, or without it the time to the next
        item differs.
    """
    name = result.output_layer if layer is None else layer
    _, n_repeats, n_neurons = _sizes(result, name)
    items = () if result.trials is None else result.trials.items
    if not any(items):
        raise InputError("no stimulus has items: show a stimuli.Sequence")
    dt_s = result.dt_s
    onsets = [[whole_steps("onset", i.onset_s, dt_s) for i in own] for own in items]
    ends = result.steps_of_row[::n_repeats].tolist()
    if window is None:
        # To the next item, or to the end of the trial.
        trials = zip(onsets, ends, strict=True)
        gaps = np.concatenate([np.diff([*own, end])[: len(own)] for own, end in trials])
        check_one_duration(gaps.min() * dt_s, gaps.max() * dt_s)
        first, last = 0, int(gaps[0])
    else:
        first, last = (whole_steps("window", t, dt_s) for t in start_and_end(window))
    row, neuron, step = result.numbered_spikes(name)
    windows = recorded_windows(result, name)
    none: Any = np.zeros(0)
    found: list[tuple[npt.NDArray[Any], ...]] = []
    for stimulus, (own, end) in enumerate(zip(onsets, ends, strict=True)):
        whole = TrialSpikes(none, none, none, 1, 1, 1, end * dt_s, dt_s, windows)
        rows = stimulus * n_repeats, (stimulus + 1) * n_repeats
        its = slice(*np.searchsorted(row, rows))
        for onset in own:
            whole.window(((onset + first) * dt_s, (onset + last) * dt_s))
            since = step[its] - onset - first
            inside = (since >= 0) & (since < last - first)
            trial = len(found) * n_repeats + row[its][inside] % n_repeats
            found.append((trial, neuron[its][inside], since[inside] * dt_s))
    trial, neuron, t = map(np.concatenate, zip(*found, strict=True))
    labels = tuple(item.label for own in items for item in own)
    sizes = len(found), n_repeats, n_neurons
    times = (last - first) * dt_s, dt_s
    return TrialSpikes(trial, neuron, t, *sizes, *times, labels=labels)
