"""
What a spike stands for, from layer to layer.

A layer's rate is its activation times a gain, in spikes a step. Where a layer reads
several others, their gains differ: the smallest one counts, and the weights from all
others are lessened, so that everything that arrives is in the same unit. Gains follow
from thresholds, which are run-time inputs, and so do these factors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.projections import INPUT, Layers, by_channel, parts
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.settings import ByChannel, reference, worth


def output_gains(
    layers: Layers, thresholds: Mapping[str, ByChannel], rate_scale: float
) -> dict[str, float]:
    """Give the spikes a step that an activation of 1 becomes."""
    gains = {INPUT: rate_scale}
    for layer in layers:
        smallest = min(gains[name] for name in layer.inputs)
        gains[layer.name] = smallest / reference(thresholds[layer.name])
    return gains


def input_gains(
    layers: Layers, thresholds: Mapping[str, ByChannel], rate_scale: float
) -> dict[str, float]:
    """Give the spikes a step that an activation of 1 becomes where a layer reads it."""
    gains = output_gains(layers, thresholds, rate_scale)
    return {layer.name: min(gains[name] for name in layer.inputs) for layer in layers}


def activations_of_spikes(layers: Layers, parameters: Parameters) -> dict[str, Any]:
    """Give the activation that a spike a step of each population stands for."""
    gains = output_gains(layers, parameters.thresholds, parameters.rate_scale)
    found = {}
    for name, shape in layers.shapes.items():
        share = worth(parameters.thresholds.get(name, 1.0))
        found[name] = (1.0 if share is None else by_channel(share, shape)) / gains[name]
    return found


def weight_factors(
    layers: Layers, parameters: Parameters
) -> dict[str, npt.NDArray[np.float64]]:
    """
    Give what weights are multiplied by, so that spikes of all sources count alike.
    """
    thresholds: dict[str, Any] = {INPUT: 1.0, **parameters.thresholds}
    gains = output_gains(layers, parameters.thresholds, parameters.rate_scale)
    shapes = layers.shapes
    found = {}
    for layer in layers:
        smallest = min(gains[name] for name in layer.inputs)
        for part in parts(layer):
            (source,) = part.inputs
            ratio, share = smallest / gains[source], worth(thresholds[source])
            if ratio != 1 or share is not None:
                each = np.ones(shapes[source][0]) if share is None else share
                found[part.name] = ratio * each
    return found


def unlinked(layers: Layers) -> tuple[str, ...]:
    """List layers whose biases have a scale of their own."""
    return tuple(
        layer.name for layer in layers if INPUT in layer.inputs or len(layer.inputs) > 1
    )


def part_delays_s(
    layers: Layers, delays_s: Mapping[str, float], step_s: float
) -> dict[str, float]:
    """Give the delay of the synapses of each part of each layer."""
    depths = layers.depths
    return {
        part.name: delays_s.get(layer.name, 0.0)
        + step_s * (depths[layer.name] - depths[part.inputs[0]] - 1)
        for layer in layers
        for part in parts(layer)
    }
