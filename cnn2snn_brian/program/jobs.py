"""What a run asks for: checked before it runs, and put together for the program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn2snn_brian.description.learning import check_trials
from cnn2snn_brian.description.network import NetworkDescription
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.description.perturbations import Perturbations
from cnn2snn_brian.description.pictures import check_images, check_rate_scale
from cnn2snn_brian.description.run_settings import check_settings, numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import to_neurons
from cnn2snn_brian.layers.pooled import Pooled
from cnn2snn_brian.program.protocol import ProgramInputs, count_dtype, picture_seeds
from cnn2snn_brian.program.recording import Record, Recording
from cnn2snn_brian.program.recording_size import check_recording, check_weights

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
    """

    parameters: Parameters
    perturbations: Perturbations
    inputs: ProgramInputs


def prepared(
    snn: NetworkDescription,
    n_steps: int,
    images: Any,
    settings: Sequence[Mapping[str, Any]],
    seed: int,
    record: Record,
) -> list[Job]:
    """
    Check all that was asked for, and put together what the program gets.

    Parameters
    ----------
    snn : NetworkDescription
        The network.
    n_steps : int
        Steps of an image.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Intensities, float in [0, 1] or uint8.
    settings : sequence of dict
        What each run has of its own, by name.
    seed : int
        Seed of everything random.
    record : Recording, iterable of str, or dict of str to iterable of int
        What is recorded.

    Returns
    -------
    list of Job
        One for each of `settings`.

    Raises
    ------
    InputError
        If something can't be used, or the recordings are expected to be too large.
    """
    pixels = check_images(images, snn.input_shape)
    if not isinstance(seed, int | np.integer) or seed < 0:
        message = f"seed is {seed!r}, expected a whole number of at least 0"
        raise InputError(message)
    chosen = _checked(snn, settings, int(seed))
    if snn.encoding == "poisson":
        for parameters, _ in chosen:
            check_rate_scale(parameters.rate_scale, pixels)
    names, n_images = tuple(snn.population_shapes), len(pixels)
    for _, perturbations in chosen:
        check_trials(perturbations, n_images)
    check_weights(snn, [perturbations for _, perturbations in chosen], n_images)
    recording = Recording.of(record)
    mask = recording.spike_mask(names, n_images)
    traced, trace = recording.traced(names, snn.layers.shapes, n_images)
    check_recording(
        snn.layers,
        pixels,
        [parameters for parameters, _ in chosen],
        dict(zip(names, mask.T, strict=True)),
        n_steps,
        sum(map(len, traced)) * int(trace.sum()),
    )
    first = snn.layers[0] if snn.encoding == "current" else None
    if isinstance(first, Pooled):
        # The program gets what the layer behind the pooling reads.
        pixels = first.averages(pixels).astype(np.float32)
        first = first.layer
    in_order = to_neurons(pixels, pixels.shape[1:])
    seeds = picture_seeds(int(seed), 0, n_images)
    return [
        Job(
            parameters,
            perturbations,
            ProgramInputs(
                numbers(snn, parameters, perturbations),
                n_steps,
                in_order,
                first,
                seeds,
                mask,
                count_dtype(n_steps),
                traced,
                trace,
            ),
        )
        for parameters, perturbations in chosen
    ]


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
