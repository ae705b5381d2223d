"""
Calibration of networks that are too large for `cnn2snn_brian.calibrate`.

That one simulates the whole network for each of its trials. Here a layer's input, which
its own numbers do not change, is computed once from the spikes of the layers before:
all trials of all layers cost about what showing the images once costs. It is for input
currents, reset by subtraction, no floor, spikes that cross all layers within a step,
and no maximum pooling.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from cnn2snn_brian import Network, SpikingNetwork

__all__ = ["calibrated"]

#: Thresholds to choose from, as shares of a channel's percentile of the activations.
SHARES = (1.0, 1.5, 2.2)
#: Starting potentials to choose from, as shares of the threshold. With less than 0.5 a
#: neuron waits, and spikes that come too early by chance do not make it spike.
STARTS = (0.5, 0.2, -0.3)
#: How often a constant input is shifted until mean rates are those of the CNN.
ROUNDS = 3
#: Positions of a channel that fit its numbers, at most, drawn at random.
POSITIONS = 50


@dataclass
class _Layer:
    """Numbers of a layer's channels, in units of its activations, (channels, 1)."""

    threshold: Any
    shift: Any
    v_init: Any

    def spikes(self, currents: Any, n_steps: int) -> Any:
        """Integrate and fire: (n_steps or 1, channels, n) to bool (n_steps, ...)."""
        v = np.ones(currents.shape[1:], np.float32) * (self.v_init * self.threshold)
        fired = np.empty((n_steps, *v.shape), bool)
        for step, spikes in enumerate(fired):
            v += currents[step % len(currents)]
            v += self.shift
            np.greater_equal(v, self.threshold, out=spikes)
            v -= self.threshold * spikes
        return fired


def _drive(network: Network, name: str, values: dict[str, Any]) -> Any:
    """Do what `Network.drive` does, with torch's convolution of float32 numbers."""
    total: Any = 0
    for projection in network.into(name):
        connection, x = projection.connection, values[projection.source]
        kernel = connection.kernel
        if type(kernel).__name__ == "Convolution" and connection.is_whole:
            if connection.window is not None:
                x = connection.window.drive(x)
            (top, bottom), (left, right) = kernel.padding
            padded = F.pad(
                torch.from_numpy(np.ascontiguousarray(x, np.float32)),
                (left, right, top, bottom),
            )
            weight = torch.from_numpy(np.asarray(kernel.weight, np.float32))
            sums = F.conv2d(
                padded, weight, None, kernel.stride, 0, kernel.dilation, kernel.groups
            ).numpy()
        else:
            sums = projection.drive(x)
        total = total + sums
    bias = network[name].bias
    return np.asarray(total if bias is None else total + bias, np.float32)


def _fitted(layer: _Layer, sums: Any, wanted: Any, n_steps: int) -> tuple[Any, Any]:
    """Shift a constant input; give the best one and its squared error by channel."""
    best = np.full(len(wanted), np.inf)
    chosen = layer.shift
    for turn in range(ROUNDS + 1):
        counts = layer.spikes(sums, n_steps).sum(0, dtype=np.float32)
        coded = counts * (layer.threshold / n_steps)
        errors = np.square(coded - wanted).mean(1)
        chosen = np.where((errors < best)[:, None], layer.shift, chosen)
        best = np.minimum(errors, best)
        if turn < ROUNDS:
            reached = np.minimum(wanted, layer.threshold).mean(1, keepdims=True)
            layer.shift = layer.shift + reached - coded.mean(1, keepdims=True)
    return chosen, best


def calibrated(
    snn: SpikingNetwork, images: Any, n_steps: int, percentile: float = 99.9
) -> dict[str, Any]:
    """
    Fit thresholds, leaks and starting potentials to a number of steps.

    Parameters
    ----------
    snn : SpikingNetwork
        The network, of the preset "few-steps".
    images : ndarray of float32, shape (n, channels, height, width)
        Images, some 20.
    n_steps : int
        Steps of an image.
    percentile : float
        Percentile of the activations that thresholds are shares of.

    Returns
    -------
    dict
        ``thresholds``, ``leak`` and ``v_init`` for `Simulator.run`.
    """
    network, rng = snn.layers, np.random.default_rng(0)
    activations = network.collected_activations(images)
    spikes: dict[str, list[Any]] = {}
    layers: dict[str, _Layer] = {}
    *names, last = network.names
    for name in names:
        wanted = activations.pop(name)
        n_channels = wanted.shape[1]
        wanted = wanted.reshape(len(images), n_channels, -1)
        currents = []
        for index, image in enumerate(images):
            values: dict[str, Any] = {"input": image[None]}
            for source in {*network.sources(name)} - {"input"}:
                worth = layers[source].threshold
                shape = network.shapes[source]
                one = worth.reshape(-1, *(1,) * (len(shape) - 1))
                values[source] = spikes[source][index] * one
            sums = _drive(network, name, values)
            currents.append(sums.reshape(len(sums), n_channels, -1))
        n_all = wanted.shape[2]
        some = rng.choice(n_all, min(n_all, POSITIONS), replace=False)
        of_some = np.concatenate([sums[..., some] for sums in currents], axis=2)
        rows = wanted.transpose(1, 0, 2).reshape(n_channels, -1)
        goal = np.concatenate([row[:, some] for row in wanted], axis=1)
        largest = np.percentile(rows, percentile, axis=1).astype(np.float32)
        # Channels that are silent take the layer's.
        largest[largest <= 0] = np.percentile(rows, percentile)
        tried = []
        for share, start in product(SHARES, STARTS):
            zeros = np.zeros((n_channels, 1), np.float32)
            layer = _Layer(share * largest[:, None], zeros, zeros + np.float32(start))
            shift, errors = _fitted(layer, of_some, goal, n_steps)
            tried.append((layer.threshold, shift, layer.v_init, errors))
        chosen = np.argmin([errors for *_, errors in tried], axis=0)
        channels = np.arange(n_channels)
        layers[name] = _Layer(
            *(np.stack([one[k] for one in tried])[chosen, channels] for k in range(3))
        )
        spikes[name] = [
            layers[name].spikes(sums, n_steps).reshape(n_steps, *network.shapes[name])
            for sums in currents
        ]
        for source in [*spikes]:
            if all(p.target in layers for p in network.out_of(source)):
                del spikes[source]
    found = {name: layer.threshold[:, 0] for name, layer in layers.items()}
    found[last] = np.percentile(activations[last], np.float64(percentile))
    # Potentials are in units of the largest activation that arrives.
    scales = {
        name: max(float(np.max(found.get(one, 1.0))) for one in network.sources(name))
        for name in network.names
    }
    return {
        "thresholds": {name: found[name] / scales[name] for name in network.names},
        "leak": {name: layers[name].shift[:, 0] / scales[name] for name in names},
        "v_init": {name: layers[name].v_init[:, 0] for name in names},
    }
