"""
Trials: what all measures read, of a result and a layer or of plain arrays.

A row of a result is a trial: stimulus after stimulus, the repeats of each in order.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import TrialSpikes
from cnn2snn_brian.spikes.data import SpikeData
from cnn2snn_brian.spikes.numbers import real_numbers
from cnn2snn_brian.spikes.trials import check_one_duration

__all__ = [
    "counts",
    "layer_of",
    "recorded_neurons",
    "recorded_windows",
    "trial_of_row",
    "trial_spikes",
]

IntArray = npt.NDArray[np.int64]


def layer_of(result: SpikeData, layer: str | None) -> str:
    """Check the name of a layer."""
    if layer is None or layer not in result.shapes:
        message = f"layer is {layer!r}; there are {', '.join(result.shapes)}"
        raise InputError(message)
    return layer


def trial_of_row(result: SpikeData) -> tuple[npt.NDArray[np.int64], int, int]:
    """
    Say which trial each row of a result is.

    Parameters
    ----------
    result : SpikeData
        The result. Images without repeats are stimuli with one repeat.

    Returns
    -------
    trial : ndarray of int64, shape (n_rows,)
        ``stimulus * n_repeats + repeat``.
    n_stimuli, n_repeats : int
        How many there are.
    """
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
    if not isinstance(data, SpikeData):
        message = (
            f"data is a {type(data).__name__}, expected a SimulationResult and a "
            "layer, or TrialSpikes: counts have no times"
        )
        raise InputError(message)
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


def _durations(result: SpikeData) -> tuple[float, float]:
    """Give the shortest and the longest trial, in seconds."""
    steps = np.asarray(getattr(result, "steps_of_row", result.n_steps))
    return float(steps.min() * result.dt_s), float(steps.max() * result.dt_s)


def recorded_windows(result: SpikeData, name: str) -> tuple[tuple[float, float], ...]:
    """Give starts and ends of what was recorded of a layer, in seconds."""
    windows = result.windows if name != result.output_layer else ()
    return tuple((first * result.dt_s, last * result.dt_s) for first, last in windows)


def recorded_neurons(
    result: SpikeData, name: str, row: int
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
    if isinstance(data, SpikeData) and window is None:
        name = layer_of(data, layer)
        check_one_duration(*_durations(data))
        trials, n_stimuli, n_repeats = trial_of_row(data)
        rows = data.spike_counts[name].reshape(data.n_images, -1)
        found = np.empty(rows.shape)
        found[trials] = rows
        return found.reshape(n_stimuli, n_repeats, -1)
    if isinstance(data, SpikeData | TrialSpikes):
        return trial_spikes(data, layer).counts(window).astype(np.float64)
    array = real_numbers("counts", data, least=0)
    if array.ndim != 3 or not array.size:
        message = (
            f"counts have the shape {array.shape}, expected (n_stimuli, n_repeats, "
            "n_neurons)"
        )
        raise InputError(message)
    if window is not None:
        message = "window: an array of counts has no times; give spikes or a result"
        raise InputError(message)
    return array
