"""What a run asks for: checked before it runs, and put together for the program."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.description.learning import check_trials
from cnn2snn_brian.description.network import NetworkDescription
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.description.perturbations import Perturbations
from cnn2snn_brian.description.run_settings import check_settings, numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.max_pool2d import MaxPool2d
from cnn2snn_brian.layers.order import INPUT, to_neurons
from cnn2snn_brian.layers.pooled import Pooled
from cnn2snn_brian.program.protocol import (
    CurrentReader,
    ProgramInputs,
    count_dtype,
    picture_seeds,
)
from cnn2snn_brian.program.recording import Record, Recording, steps_in
from cnn2snn_brian.program.recording_size import (
    check_counts,
    check_recording,
    check_weights,
)
from cnn2snn_brian.program.shown import shown_in_run
from cnn2snn_brian.spikes.trials import Trials

__all__ = ["Job", "prepared"]

#: Arguments of version 0.1.0 that are part of `Recording` now.
FORMERLY = {
    "record_potentials": "record=Recording(potentials=...)",
    "potential_images": "record=Recording(potentials=..., images=...)",
}


@dataclass(frozen=True)
class Job:
    """
    One setting of a run.

    Attributes
    ----------
    parameters, perturbations : Parameters, Perturbations
        Its values.
    inputs : ProgramInputs
        What the program gets.
    trials : Trials, optional
        What the rows of the result are; None for plain images.
    windows : tuple of (int, int)
        Steps that are recorded, from the first to the one behind the last; empty if all
        are.
    """

    parameters: Parameters
    perturbations: Perturbations
    inputs: ProgramInputs
    trials: Trials | None
    windows: tuple[tuple[int, int], ...]


def prepared(
    snn: NetworkDescription,
    n_steps: int,
    images: Any,
    settings: Sequence[Mapping[str, Any]],
    seed: int,
    record: Record,
    repeats: Any = 1,
) -> list[Job]:
    """
    Check all that was asked for, and put together what the program gets.

    Parameters
    ----------
    snn : NetworkDescription
        The network.
    n_steps : int
        Steps of the program.
    images : ndarray, torch.Tensor, Stimulus or sequence of Stimulus
        Images, of shape (n_images, channels, height, width), or stimuli.
    settings : sequence of dict
        What each run has of its own, by name.
    seed : int
        Seed of everything random.
    record : Recording, iterable of str, or dict of str to iterable of int
        What is recorded.
    repeats : int
        Trials of each image or stimulus.

    Returns
    -------
    list of Job
        One for each of `settings`.

    Raises
    ------
    InputError
        If something can't be used, or the recordings are expected to be too large.
    """
    seed = check_whole("seed", seed, 0)
    chosen = _checked(snn, settings, seed)
    scales = [parameters.rate_scale for parameters, _ in chosen]
    showing = shown_in_run(snn, n_steps, images, repeats, scales)
    names, n_rows = tuple(snn.population_shapes), showing.n_rows
    dtype = count_dtype(max(part.n_steps for part in showing.shown))
    sizes = [math.prod(shape) for shape in snn.population_shapes.values()]
    check_counts(n_rows, len(chosen), np.dtype(dtype).itemsize * sum(sizes))
    for _, perturbations in chosen:
        check_trials(perturbations, n_rows)
    check_weights(snn, [perturbations for _, perturbations in chosen], n_rows)
    recording = Recording.of(record)
    mask = recording.spike_mask(names, n_rows)
    traced, trace = recording.traced(names, snn.layers.shapes, n_rows)
    windows = recording.windows(snn.dt_s, n_steps)
    kept = steps_in(windows, showing.steps_of_row)
    check_recording(
        snn.layers,
        showing.mean,
        [parameters for parameters, _ in chosen],
        dict(zip(names, (mask * kept[:, None]).T, strict=True)),
        n_potentials=sum(map(len, traced)) * int(kept[trace].sum()),
        repeats=showing.repeats,
    )
    readers = _current_readers(snn)
    stimulus = np.repeat(np.arange(len(showing.shown)), showing.repeats)
    seeds = picture_seeds(int(seed), 0, n_rows)
    in_windows = {"record_windows": np.array(windows, np.float64).ravel()}
    return [
        Job(
            parameters,
            perturbations,
            ProgramInputs(
                numbers(snn, parameters, perturbations) | in_windows,
                showing.shown,
                stimulus,
                readers,
                seeds,
                mask,
                dtype,
                traced,
                trace,
            ),
            showing.trials,
            windows,
        )
        for parameters, perturbations in chosen
    ]


def _current_readers(snn: NetworkDescription) -> tuple[CurrentReader, ...]:
    """List all that reads an image as a constant current."""
    found: list[CurrentReader] = []
    before = ""
    for layer, part in snn.layers.readers(INPUT) if snn.encoding == "current" else ():
        bias = np.zeros(layer.shape) if layer.bias is None else layer.bias
        in_order = to_neurons(bias, layer.shape).astype(np.float32)
        if layer.name == before:
            in_order = in_order[:0]  # biases come once
        inner = part.layer if isinstance(part, Pooled) else part
        assert not isinstance(inner, MaxPool2d)  # the description refuses it
        found.append(CurrentReader(inner, in_order))
        before = layer.name
    return tuple(found)


def _checked(
    snn: NetworkDescription, settings: Sequence[Mapping[str, Any]], seed: int
) -> list[tuple[Parameters, Perturbations]]:
    chosen = []
    for given in settings:
        if not isinstance(given, Mapping):
            message = f"settings: {given!r} is not a dict of settings by name"
            raise InputError(message)
        for old in FORMERLY.keys() & given.keys():
            message = f"{old}: give {FORMERLY[old]}"
            raise InputError(message)
        chosen.append(check_settings(snn, given, seed))
    return chosen
