"""Whether what a run yields will fit into memory: said before it is run."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import free_memory
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, Layers, by_channel, drive, n_synapses
from cnn2snn_brian.settings import Parameters, Perturbations, input_gains

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

#: From this expected size in bytes on there is a warning.
LARGE = 2e9

#: Images, and settings, that the expected size is estimated from.
N_SAMPLED = 8


def _check_fits(said: str, size: float, advice: str, *, warn: bool = False) -> None:
    free = free_memory()
    if free is not None:
        said += f"; {free / 1e9:.1f} GB of memory are free"
        if PEAK * size > free:
            raise InputError(f"{said}, and {PEAK} times the size is needed. {advice}")
    if warn and (size > LARGE or (free is not None and PEAK * size > free / 2)):
        warnings.warn(f"{said}. {advice}", stacklevel=6)


def check_counts(n_rows: int, n_settings: int, bytes_per_row: int) -> None:
    """Refuse trials whose spike counts will not fit into memory."""
    size = n_rows * n_settings * bytes_per_row
    if size > SMALL:
        said = f"the spike counts of {n_rows:,} trials take {size / 1e9:.1f} GB"
        _check_fits(said, size, "Run fewer images or repeats at a time")


def check_weights(
    snn: "SpikingNetwork", settings: Sequence[Perturbations], n_rows: int
) -> None:
    """Refuse to keep the learned weights of each trial, if they will not fit."""
    n_runs = sum(not perturbations.keep_weights for perturbations in settings)
    learning = [layer for layer in snn.layers if layer.name in snn.rules]
    size = n_runs * n_rows * BYTES_PER_WEIGHT * sum(map(n_synapses, learning))
    if size > SMALL:
        said = f"the learned weights of {n_rows:,} trials take {size / 1e9:.1f} GB"
        advice = "Show fewer images, or keep the weights from trial to trial"
        _check_fits(said, size, advice)


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
    mean: Callable[[Any], npt.NDArray[Any]],
    settings: Sequence[Parameters],
    recorded: Mapping[str, npt.NDArray[Any]],
    repeats: int,
) -> float:
    """Estimate the spikes of one setting, from a few settings and images."""
    chosen = np.linspace(0, len(settings) - 1, min(N_SAMPLED, len(settings)))
    shown = np.flatnonzero(np.any(list(recorded.values()), axis=0))
    n_images = max(1, N_SAMPLED // len(chosen))
    sampled = shown[np.linspace(0, len(shown) - 1, n_images).astype(int)]
    pixels = mean(np.unique(sampled // repeats))
    total = 0.0
    for index in chosen.astype(int):
        rates = expected_rates(layers, pixels, settings[index])
        for name, steps in recorded.items():
            cells = math.prod(layers.shapes[name]) * int(steps.sum())
            total += cells * float(rates[name].mean())
    return total / len(chosen)


def check_recording(
    layers: Layers,
    mean: Callable[[Any], npt.NDArray[Any]],
    settings: Sequence[Parameters],
    recorded: Mapping[str, npt.NDArray[Any]],
    n_potentials: int = 0,
    repeats: int = 1,
) -> tuple[int, int] | None:
    """
    Refuse a recording that will not fit; give its largest and its expected size.

    `mean` gives the mean intensities of the stimuli of some indices, and `recorded` has
    the number of steps that are recorded of each trial, by layer.
    """
    parts = {
        name: BYTES_PER_SPIKE * math.prod(layers.shapes[name]) * int(steps.sum())
        for name, steps in recorded.items()
    }
    potentials = BYTES_PER_POTENTIAL * n_potentials
    bound = len(settings) * (sum(parts.values()) + potentials)
    if bound < SMALL:
        return None
    spikes = 0.0
    if any(parts.values()):
        expected = _expected_spikes(layers, mean, settings, recorded, repeats)
        spikes = BYTES_PER_SPIKE * expected
    size = round(len(settings) * (spikes + potentials))
    largest = max(parts, key=lambda name: parts[name])
    kept = [name for name in recorded if parts[name]]
    if potentials > spikes:
        kept.append("membrane potentials")
        most = f"{n_potentials:,} membrane potentials"
        advice = "Record fewer potentials: Recording(..., images=range(20))"
    else:
        steps = recorded[largest]
        are_trials = repeats > 1 or len(np.unique(steps)) > 1
        rows = "trials" if are_trials else "images"
        most = f"{largest} of {np.count_nonzero(steps)} {rows}"
        advice = f"Record fewer {rows}: record={{{largest!r}: range(20)}}"
        if are_trials:
            advice += ", or Recording(..., window=(start, stop))"
    said = (
        f"the recording of {', '.join(kept)} is expected to take {size / 1e9:.1f} GB "
        f"(at most {bound / 1e9:.1f} GB), most of it {most}"
    )
    if len(settings) > 1:
        said += f" with each of {len(settings)} settings"
    _check_fits(said, size, advice, warn=True)
    return bound, size
