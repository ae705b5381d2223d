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
    """
    Give the spikes a step that an activation of 1 becomes.

    Parameters
    ----------
    layers : Layers
        The layers.
    thresholds : dict of str to float or ndarray of shape (channels,)
        Threshold of every layer.
    rate_scale : float
        Spikes a step of a pixel of intensity 1.

    Returns
    -------
    dict of str to float
        Of the input and every layer; by channel, of the channel with the largest
        threshold.
    """
    gains = {INPUT: rate_scale}
    for layer in layers:
        smallest = min(gains[name] for name in layer.inputs)
        gains[layer.name] = smallest / reference(thresholds[layer.name])
    return gains


def input_gains(
    layers: Layers, thresholds: Mapping[str, ByChannel], rate_scale: float
) -> dict[str, float]:
    """
    Give the spikes a step that an activation of 1 becomes where a layer reads it.

    Parameters
    ----------
    layers, thresholds, rate_scale
        As for `output_gains`.

    Returns
    -------
    dict of str to float
        By layer: the smallest of the layers that it reads. Biases are scaled by it.
    """
    gains = output_gains(layers, thresholds, rate_scale)
    return {layer.name: min(gains[name] for name in layer.inputs) for layer in layers}


def activations_of_spikes(layers: Layers, parameters: Parameters) -> dict[str, Any]:
    """
    Give the activation that a spike a step of each population stands for.

    Parameters
    ----------
    layers : Layers
        The layers.
    parameters : Parameters
        What the neurons run with.

    Returns
    -------
    dict of str to float or ndarray
        Of the input and every layer; by channel, of a shape that arrays of the layer
        can be multiplied with.
    """
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

    Parameters
    ----------
    layers : Layers
        The layers.
    parameters : Parameters
        What the neurons run with.

    Returns
    -------
    dict of str to ndarray of float, shape (channels,)
        By the name of the connections, a number for each channel of their source.
        Connections whose weights stay as they are are left out.
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
    """
    List layers whose biases have a scale of their own.

    Parameters
    ----------
    layers : Layers
        The layers.

    Returns
    -------
    tuple of str
        Those that read the image or several layers; in all others the scale of biases
        follows from that of the layer before.
    """
    return tuple(
        layer.name for layer in layers if INPUT in layer.inputs or len(layer.inputs) > 1
    )


def part_delays_s(
    layers: Layers, delays_s: Mapping[str, float], step_s: float
) -> dict[str, float]:
    """
    Give the delay of the synapses of each part of each layer.

    Parameters
    ----------
    layers : Layers
        The layers.
    delays_s : dict of str to float
        Delays into layers, in seconds; layers left out have none.
    step_s : float
        What a spike takes from layer to layer, in seconds: dt with propagation "step",
        and nothing with "instant".

    Returns
    -------
    dict of str to float
        In seconds, by the names of the parts. Spikes of a shortcut wait for those that
        come through the layers that it passes by.
    """
    depths = layers.depths
    return {
        part.name: delays_s.get(layer.name, 0.0)
        + step_s * (depths[layer.name] - depths[part.inputs[0]] - 1)
        for layer in layers
        for part in parts(layer)
    }
