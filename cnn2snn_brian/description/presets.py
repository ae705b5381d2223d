"""Settings that belong together, by name."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from brian2 import Quantity, ms

from cnn2snn_brian.description.network import NetworkDescription
from cnn2snn_brian.errors import InputError

__all__ = ["PRESETS", "Preset", "find_preset", "suitable_duration"]


@dataclass(frozen=True)
class Preset:
    """
    How images are encoded, how neurons are reset, and how long an image takes.

    Attributes
    ----------
    description : str
        One line for people.
    arguments : dict
        Arguments of `convert` that it stands for; those of "paper" hold where it has
        none.
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
        {
            "encoding": "poisson",
            "reset": "zero",
            "v_min": 0.0,
            "leak": 0.0,
            "v_init": 0.0,
            "percentile": 99.9,
        },
        100 * ms,
        ("thresholds",),
    ),
    "free-floor": Preset(
        "the paper's, but potentials may fall as far as they do",
        {
            "encoding": "poisson",
            "reset": "zero",
            "v_min": -np.inf,
            "leak": 0.0,
            "v_init": 0.0,
            "percentile": 99.9,
        },
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
            "leak": 0.0,
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


def find_preset(name: str) -> Preset:
    """
    Find a preset by its name.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.

    Returns
    -------
    Preset
        The preset.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        message = f"preset={name!r}: expected {' or '.join(map(repr, PRESETS))}"
        raise InputError(message)
    return PRESETS[name]


def suitable_duration(network: NetworkDescription) -> Quantity:
    """
    Say how long an image takes with a network's settings.

    Parameters
    ----------
    network : NetworkDescription
        The network.

    Returns
    -------
    Quantity [s]
        The duration of the preset "few-steps" where images are currents and spikes
        cross all layers within a step; else that of "paper".
    """
    is_quick = network.encoding == "current" and network.propagation == "instant"
    return PRESETS["few-steps" if is_quick else "paper"].duration
