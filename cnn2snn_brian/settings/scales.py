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

from cnn2snn_brian.projections import INPUT, Network, by_channel
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.settings import ByChannel, reference, worth


def gains(
    network: Network, thresholds: Mapping[str, ByChannel], rate_scale: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Give the spikes a step of an activation of 1, where it is read and as it is."""
    read, given = {}, {INPUT: rate_scale}
    for name in network.names:
        read[name] = min(given[source] for source in network.sources(name))
        given[name] = read[name] / reference(thresholds[name])
    return read, given


def input_gains(
    network: Network, thresholds: Mapping[str, ByChannel], rate_scale: float
) -> dict[str, float]:
    """Give the spikes a step that an activation of 1 becomes where a layer reads it."""
    return gains(network, thresholds, rate_scale)[0]


def activations_of_spikes(network: Network, parameters: Parameters) -> dict[str, Any]:
    """Give the activation that a spike a step of each population stands for."""
    _, given = gains(network, parameters.thresholds, parameters.rate_scale)
    found = {}
    for name, shape in network.shapes.items():
        share = worth(parameters.thresholds.get(name, 1.0))
        found[name] = (1.0 if share is None else by_channel(share, shape)) / given[name]
    return found


def weight_factors(
    network: Network, parameters: Parameters
) -> dict[str, npt.NDArray[np.float64]]:
    """Give the factors of weights that make spikes of all sources count alike."""
    thresholds: dict[str, Any] = {INPUT: 1.0, **parameters.thresholds}
    read, given = gains(network, parameters.thresholds, parameters.rate_scale)
    shapes = network.shapes
    found = {}
    for projection in network.projections:
        source = projection.source
        ratio = read[projection.target] / given[source]
        share = worth(thresholds[source])
        if ratio != 1 or share is not None:
            each = np.ones(shapes[source][0]) if share is None else share
            found[projection.name] = ratio * each
    return found


def unlinked(network: Network) -> tuple[str, ...]:
    """List layers whose biases have a scale of their own."""
    sources = {name: network.sources(name) for name in network.names}
    return tuple(
        name for name, read in sources.items() if INPUT in read or len(read) > 1
    )


def projection_delays_s(
    network: Network, delays_s: Mapping[str, float], dt_s: float, propagation: str
) -> dict[str, float]:
    """Give the delay of the synapses of each projection."""
    depths, found = network.depths, {}
    for p in network.projections:
        delay_s = delays_s.get(p.target, 0.0) + p.delay_s
        if network.is_feedback(p):
            # Its synapses come before their source in a step, or last: what they add
            # counts in the next one.
            delay_s -= dt_s
        elif propagation == "step":
            delay_s += dt_s * (depths[p.target] - depths[p.source] - 1)
        found[p.name] = delay_s
    return found
