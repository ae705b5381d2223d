"""Stimuli in the inspector: their frames, when each is shown, and names of trials."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import INPUT
from cnn2snn_brian.spikes.data import SpikeData
from cnn2snn_brian.stimuli.base import Stimulus
from cnn2snn_brian.stimuli.frames import FrameStimulus

__all__ = ["frames_of", "matching", "trial_of"]


def trial_of(result: SpikeData, row: int) -> dict[str, Any]:
    """
    Say which trial a row is, for the page.

    Parameters
    ----------
    result : SpikeData
        The result.
    row : int
        Index of the row.

    Returns
    -------
    dict
        ``stimulus``, ``stimulusName`` and ``repeat``; empty for images.
    """
    if result.trials is None:
        return {}
    stimulus = int(result.stimulus_of_row[row])
    return {
        "stimulus": stimulus,
        "stimulusName": result.trials.names[stimulus],
        "repeat": int(result.repeat_of_row[row]),
    }


def matching(
    result: SpikeData, stimuli: Sequence[Stimulus] | Stimulus | None
) -> list[tuple[Stimulus, int]]:
    """
    Check that stimuli are those of a result.

    Parameters
    ----------
    result : SpikeData
        A result of trials of these stimuli.
    stimuli : Stimulus or sequence of Stimulus or None
        The stimuli, in their order in the run.

    Returns
    -------
    list of (Stimulus, int)
        Each of them, and the steps of its trials. Empty without stimuli.

    Raises
    ------
    InputError
        If these are not the stimuli of the result.
    """
    if stimuli is None:
        return []
    given = [stimuli] if isinstance(stimuli, Stimulus) else list(stimuli)
    trials = result.trials
    if trials is None or len(given) != trials.n_stimuli:
        n = 0 if trials is None else trials.n_stimuli
        message = f"stimuli: {len(given)} are given, the result is of {n}"
        raise InputError(message)
    channels, height, width = result.shapes[INPUT]
    for k, stimulus in enumerate(given):
        stimulus.check((channels, height, width), result.dt_s)
        own = stimulus.n_steps(result.dt_s)
        if own is not None and own != trials.n_steps[k]:
            message = (
                f"stimuli: stimulus {k} has {own} steps, its trials {trials.n_steps[k]}"
            )
            raise InputError(message)
    return list(zip(given, trials.n_steps, strict=True))


def frames_of(
    result: SpikeData, stimuli: Sequence[Stimulus] | Stimulus | None
) -> list[dict[str, Any] | None]:
    """
    Give the frames of stimuli, and when they are shown.

    Parameters
    ----------
    result : SpikeData
        A result of trials of these stimuli.
    stimuli : Stimulus or sequence of Stimulus or None
        The stimuli, in their order in the run.

    Returns
    -------
    list
        Of each stimulus a dict of ``frames``, uint8, and ``shown``, the index of the
        frame of each step; None if it has none. Empty without stimuli.

    Raises
    ------
    InputError
        If these are not the stimuli of the result.
    """
    found: list[dict[str, Any] | None] = []
    for stimulus, n_steps in matching(result, stimuli):
        if not isinstance(stimulus, FrameStimulus):
            found.append(None)
            continue
        shown = stimulus.frame_of_step(result.dt_s, n_steps)
        frames = np.rint(255 * stimulus.frames).astype(np.uint8)
        found.append({"frames": frames.ravel(), "shown": shown.astype(np.uint32)})
    return found
