"""What a run asks for: checked before it runs, and put together for the program."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole, free_memory
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    INPUT,
    Layers,
    MaxPool2d,
    Pooled,
    by_channel,
    drive,
    n_synapses,
    to_neurons,
)
from cnn2snn_brian.results import Trials
from cnn2snn_brian.settings import (
    Parameters,
    Perturbations,
    check_settings,
    check_trials,
    input_gains,
    numbers,
)
from cnn2snn_brian.simulator.protocol import (
    CurrentReader,
    ProgramInputs,
    count_dtype,
    picture_seeds,
)
from cnn2snn_brian.simulator.recording import Record, Recording, steps_in
from cnn2snn_brian.simulator.shown import shown_in_run

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: A spike is kept as its neuron and its step, both int32.
BYTES_PER_SPIKE = 8

#: A recorded potential is a float32.
BYTES_PER_POTENTIAL = 4

#: A learned weight is a float64.
BYTES_PER_WEIGHT = 8

#: While a recording is read, the program's file of it is in memory too.
PEAK = 2

#: Below this bound in bytes nothing is estimated: any machine has so much.
SMALL = 200e6

#: Spike counts below this size in bytes are not compared with the memory.
SMALL_COUNTS = 200e6

#: From this expected size in bytes on there is a warning.
LARGE = 2e9

#: Images, and settings, that the expected size is estimated from.
N_SAMPLED = 8


@dataclass(frozen=True)
class RecordingSize:
    """
    Size of recorded spikes and potentials in memory.

    Attributes
    ----------
    bound : int
        Bytes if every recorded neuron spikes in each step, and of the potentials.
    expected : int
        Bytes at the rates of `expected_rates`, and of the potentials.
    """

    bound: int
    expected: int


def expected_rates(
    layers: Layers, pixels: npt.NDArray[Any], parameters: Parameters
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    r"""Estimate how often neurons spike, without a simulation."""
    rates: dict[str, npt.NDArray[np.floating[Any]]] = {
        INPUT: np.clip(pixels * parameters.rate_scale, 0, 1)
    }
    # In the units of the CNN, where what comes from several layers can be added.
    activations = {INPUT: np.clip(pixels, 0, 1 / parameters.rate_scale)}
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)
    for layer in layers:
        threshold, gain = parameters.thresholds[layer.name], gains[layer.name]
        total: Any = drive(layer, activations) * gain
        total = total + by_channel(parameters.leak[layer.name], layer.shape)
        if layer.bias is not None:
            total = total + layer.bias * gain
        by_neuron = by_channel(threshold, layer.shape)
        rates[layer.name] = np.clip(total / by_neuron, 0, 1)
        activations[layer.name] = rates[layer.name] * by_neuron / gain
    return rates


def _expected_spikes(
    layers: Layers,
    pixels: npt.NDArray[Any],
    settings: Sequence[Parameters],
    steps: Mapping[str, npt.NDArray[np.int64]],
    repeats: int,
) -> float:
    """Estimate the spikes of one setting, from a few settings and images."""
    chosen = np.linspace(0, len(settings) - 1, min(N_SAMPLED, len(settings)))
    shown = np.flatnonzero(np.any(list(steps.values()), axis=0))
    n_pictures = max(1, N_SAMPLED // len(chosen))
    sampled = shown[np.linspace(0, len(shown) - 1, n_pictures).astype(int)]
    total = 0.0
    for index in chosen.astype(int):
        rates = expected_rates(
            layers, pixels[np.unique(sampled // repeats)], settings[index]
        )
        for name, kept in steps.items():
            cells = math.prod(layers.shapes[name]) * int(kept.sum())
            total += cells * float(rates[name].mean())
    return total / len(chosen)


def check_counts(n_rows: int, n_settings: int, bytes_per_row: int) -> None:
    """
    Refuse trials whose spike counts will not fit into memory, before they are run.
    """
    size = n_rows * n_settings * bytes_per_row
    if size < SMALL_COUNTS:
        return
    free = free_memory()
    if free is not None and PEAK * size > free:
        raise InputError(
            f"the spike counts of {n_rows:,} trials take {size / 1e9:.1f} GB, and "
            f"{PEAK} times the size is needed; {free / 1e9:.1f} GB of memory are free. "
            "Run fewer images or repeats at a time"
        )


def check_recording(
    layers: Layers,
    pixels: npt.NDArray[Any],
    settings: Sequence[Parameters],
    recorded: Mapping[str, npt.NDArray[Any]],
    n_steps: int = 1,
    n_potentials: int = 0,
    repeats: int = 1,
) -> RecordingSize | None:
    """Refuse a recording that will not fit into memory, before it is made."""
    steps = {
        name: n_steps * np.asarray(kept).astype(np.int64)
        for name, kept in recorded.items()
    }
    parts = {
        name: BYTES_PER_SPIKE * math.prod(layers.shapes[name]) * int(kept.sum())
        for name, kept in steps.items()
    }
    traces = BYTES_PER_POTENTIAL * n_potentials * n_steps
    bound = len(settings) * (sum(parts.values()) + traces)
    if bound < SMALL:
        return None
    spikes = 0.0
    if any(parts.values()):
        spikes = _expected_spikes(layers, pixels, settings, steps, repeats)
    size = RecordingSize(
        bound, round(len(settings) * (BYTES_PER_SPIKE * spikes + traces))
    )
    free = free_memory()
    largest = max(parts, key=lambda name: parts[name])
    kept = [name for name in recorded if parts[name]]
    if traces > BYTES_PER_SPIKE * spikes:
        kept.append("membrane potentials")
        most = f"{n_potentials} membrane potentials"
        most += " a step" if n_steps > 1 else ""
        advice = "Record fewer potentials: Recording(..., images=range(20))"
    else:
        n_images = np.count_nonzero(recorded[largest])
        most = f"{largest} of {n_images} images"
        advice = f"Record fewer images: record={{{largest!r}: range(20)}}"
        if repeats > 1 or len(np.unique(steps[largest])) > 1:
            most = f"{largest} of {n_images} trials"
            advice = f"Record fewer trials: record={{{largest!r}: range(20)}}"
            advice += ", or Recording(..., window=(start, stop))"
    said = (
        f"the recording of {', '.join(kept)} is expected to take "
        f"{size.expected / 1e9:.1f} GB (at most {size.bound / 1e9:.1f} GB), most of it "
        f"{most}"
    )
    if len(settings) > 1:
        said += f" with each of {len(settings)} settings"
    if free is not None:
        said += f"; {free / 1e9:.1f} GB of memory are free"
    if free is not None and PEAK * size.expected > free:
        raise InputError(f"{said}, and {PEAK} times the size is needed. {advice}")
    if size.expected > LARGE or (free is not None and PEAK * size.expected > free / 2):
        warnings.warn(f"{said}. {advice}", stacklevel=5)
    return size


def check_weights(
    snn: "SpikingNetwork", settings: Sequence[Perturbations], n_images: int
) -> None:
    """
    Refuse to keep the learned weights of each image, if they don't fit into memory.
    """
    n_runs = sum(not perturbations.keep_weights for perturbations in settings)
    learning = [layer for layer in snn.layers if layer.name in snn.rules]
    each = BYTES_PER_WEIGHT * sum(map(n_synapses, learning))
    size, free = n_runs * n_images * each, free_memory()
    if size > SMALL and free is not None and PEAK * size > free:
        raise InputError(
            f"the learned weights of {n_images} trials take {size / 1e9:.1f} GB and a "
            f"copy of them, {free / 1e9:.1f} GB of memory are free; show fewer images, "
            "or keep the weights from trial to trial"
        )


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
    snn: "SpikingNetwork",
    n_steps: int,
    images: Any,
    settings: Sequence[Mapping[str, Any] | Parameters],
    seed: int,
    record: Record,
    repeats: Any = 1,
) -> list[Job]:
    """Check all that was asked for, and put together what the program gets."""
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


def _current_readers(snn: "SpikingNetwork") -> tuple[CurrentReader, ...]:
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
    snn: "SpikingNetwork", settings: Sequence[Mapping[str, Any] | Parameters], seed: int
) -> list[tuple[Parameters, Perturbations]]:
    chosen = []
    for given in settings:
        for old in FORMERLY.keys() & (given if isinstance(given, Mapping) else ()):
            raise InputError(f"{old}: give {FORMERLY[old]}")
        chosen.append(check_settings(snn, given, seed))
    return chosen
