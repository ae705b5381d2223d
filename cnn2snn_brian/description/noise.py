"""Noise on the trained weights of a network."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.description.layer_numbers import check_names
from cnn2snn_brian.description.network import NetworkDescription
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.joined import reweighted
from cnn2snn_brian.layers.order import FloatArray
from cnn2snn_brian.layers.stack import Layers

__all__ = ["kernel_noise"]


Noisy = TypeVar("Noisy", bound=NetworkDescription | Layers)


def kernel_noise(
    network: Noisy,
    relative_sd: float,
    seed: int = 0,
    layers: Iterable[str] | None = None,
) -> Noisy:
    r"""
    Make a network whose trained weights are noisy.

    Each weight :math:`w` of a kernel becomes :math:`w (1 + s\, z)`, with a standard
    normal number :math:`z` of its own. Weights of 0 stay 0, biases and pooling are left
    as they are. The structure is the same: nothing is compiled again.

    Parameters
    ----------
    network : SpikingNetwork or Layers
        The network. It is not changed.
    relative_sd : float
        The standard deviation :math:`s`, as a share of each weight.
    seed : int
        Seed of the noise, at least 0. Of the same seed, noise is proportional to `s`.
    layers : iterable of str, optional
        Names of the layers whose kernels get noise; all by default.

    Returns
    -------
    SpikingNetwork or Layers
        What was given, with other weights.

    Raises
    ------
    InputError
        If `relative_sd` or `seed` is negative, or a layer is unknown.
    """
    if not 0 <= float(relative_sd) < np.inf:
        message = f"relative_sd is {relative_sd}, expected a number of at least 0"
        raise InputError(message)
    check_whole("seed", seed, 0)
    if not isinstance(network, Layers):
        noisy = kernel_noise(network.layers, relative_sd, seed, layers)
        return replace(network, layers=noisy)
    chosen = network.names if layers is None else tuple(layers)
    check_names("layers", chosen, network.names)
    made = []
    for index, layer in enumerate(network):
        if layer.name in chosen:
            # A stream for each layer: the noise of one does not depend on the others.
            sequence = np.random.SeedSequence(seed, spawn_key=(index,))
            rng = np.random.default_rng(sequence)
            layer = reweighted(layer, partial(_noisy, relative_sd, rng))
        made.append(layer)
    return replace(network, layers=tuple(made))


def _noisy(
    relative_sd: float, rng: np.random.Generator, weight: FloatArray
) -> FloatArray:
    changed = weight * (1 + relative_sd * rng.standard_normal(weight.shape))
    return np.asarray(changed, weight.dtype)
