"""Settings that belong together, by name."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from brian2 import Quantity, ms

from cnn2snn_brian.checks import check_choice, check_names, check_number, check_whole
from cnn2snn_brian.projections import Network
from cnn2snn_brian.settings.ready_made_neurons import BurstIF

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

Noisy = TypeVar("Noisy", bound="SpikingNetwork | Network")


def kernel_noise(
    network: Noisy,
    relative_sd: float,
    seed: int = 0,
    layers: Iterable[str] | None = None,
) -> Noisy:
    r"""
    Make a network whose trained weights are noisy.

    Each weight :math:`w` of a kernel becomes :math:`w (1 + s\, z)`, with a standard
    normal number :math:`z` for each. Weights of 0 stay 0, biases and pooling are left
    as they are. The structure is the same: nothing is compiled again.

    Parameters
    ----------
    network : SpikingNetwork or Network
        The network. It is not changed.
    relative_sd : float
        The standard deviation :math:`s`, as a share of each weight.
    seed : int
        Seed of the noise, at least 0. Of the same seed, noise is proportional to `s`.
    layers : iterable of str, optional
        Names of the layers whose kernels get noise; all by default.

    Returns
    -------
    SpikingNetwork or Network
        What was given, with other weights.

    Raises
    ------
    InputError
        If `relative_sd` or `seed` is negative, or a layer is unknown.
    """
    check_number("relative_sd", relative_sd, 0)
    check_whole("seed", seed, 0)
    if not isinstance(network, Network):
        noisy = kernel_noise(network.layers, relative_sd, seed, layers)
        return replace(network, layers=noisy)
    chosen = network.names if layers is None else tuple(layers)
    check_names("layers", chosen, network.names)
    # A stream for each layer: the noise of one does not depend on the others.
    streams = {
        name: np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        for index, name in enumerate(network.names)
        if name in chosen
    }
    made = []
    for projection in network.projections:
        connection = projection.connection
        if projection.target in streams and connection.kernel is not None:
            weight, rng = connection.weight, streams[projection.target]
            noise = 1 + relative_sd * rng.standard_normal(weight.shape)
            connection = connection.reweighted((weight * noise).astype(weight.dtype))
        made.append(replace(projection, connection=connection))
    return replace(network, projections=tuple(made))


@dataclass(frozen=True)
class Preset:
    """
    How images are encoded, how neurons are reset, and how long an image takes.

    Attributes
    ----------
    description : str
        One line for people.
    arguments : dict
        Arguments of `convert` that it stands for; for others, those of "paper" hold.
    duration : Quantity [s]
        An image's time that suits it.
    tune : tuple of str
        What `tune_thresholds` changes in it, by method "search".
    """

    description: str
    arguments: dict[str, Any]
    duration: Quantity
    tune: tuple[str, ...]


PRESETS: dict[str, Preset] = {
    "paper": Preset(
        "the paper's: Poisson input, reset to 0, no potential below 0",
        {"encoding": "poisson", "reset": "zero", "percentile": 99.9}
        | dict.fromkeys(("v_min", "leak", "v_init"), 0.0),
        100 * ms,
        ("thresholds",),
    ),
    "free-floor": Preset(
        "the paper's, but potentials may fall as far as they do",
        {"v_min": -np.inf},
        100 * ms,
        ("thresholds",),
    ),
    "few-steps": Preset(
        "for speed: input currents, reset by subtraction, no floor, all layers within "
        "a step, no neurons for pooling, thresholds by channel",
        {
            "encoding": "current",
            "reset": "subtract",
            "v_min": -np.inf,
            "v_init": 0.5,
            "propagation": "instant",
            "pooling": "synapses",
            "percentile": 99.0,
            "per_channel": True,
        },
        12 * ms,
        ("thresholds", "v_init"),
    ),
}
PRESETS["bursts"] = Preset(
    "for two to four steps: few-steps with neurons that send up to 8 spikes a step",
    {**PRESETS["few-steps"].arguments, "neurons": BurstIF(8)},
    4 * ms,
    ("thresholds",),
)


def find_preset(name: str | Preset) -> Preset:
    """Find a preset by its name, or take one that somebody made."""
    if isinstance(name, Preset):
        return name
    check_choice("preset", name, tuple(PRESETS))
    return PRESETS[name]


def suitable_duration(network: "SpikingNetwork") -> Quantity:
    """
    Say how long an image takes with a network's settings.

    Parameters
    ----------
    network : SpikingNetwork
        The network.

    Returns
    -------
    Quantity [s]
        The duration of the preset "few-steps" where images are currents and spikes
        cross all layers within a step, that of "bursts" if all neurons send bursts too;
        else that of "paper".
    """
    if network.encoding != "current" or network.propagation != "instant":
        return PRESETS["paper"].duration
    models = network.models(network.neurons).values()
    is_burst = all(model.size is not None for model in models)
    return PRESETS["bursts" if is_burst else "few-steps"].duration
