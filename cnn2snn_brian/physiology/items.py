"""Items of sequences as stimuli: trials cut where an item appears."""

import math
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import TrialSpikes, start_and_end
from cnn2snn_brian.physiology.trials import (
    layer_of,
    recorded_neurons,
    recorded_windows,
)
from cnn2snn_brian.spikes.data import SpikeData
from cnn2snn_brian.spikes.trials import check_one_duration
from cnn2snn_brian.stimuli.times import whole_steps

__all__ = ["by_item"]


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
    result: SpikeData, layer: str | None = None, *, window: Any = None
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
        message = "no stimulus has items: show a stimuli.Sequence"
        raise InputError(message)
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
