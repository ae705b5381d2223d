"""Where a method looks for thresholds: from where on, and between which bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn2snn_brian.description.layer_numbers import check_names
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.stack import Layers

__all__ = ["BOUND_FACTORS", "Scope", "bounds_by_layer", "check_some", "within"]

#: Bounds of thresholds, if none are given, as multiples of the data-based ones.
BOUND_FACTORS = (1 / 64, 16.0)


@dataclass(frozen=True)
class Scope:
    """
    Where a method looks for thresholds.

    Attributes
    ----------
    network : Layers
        The network's layers.
    layers : tuple of str
        Layers that are set, in order.
    start : Parameters
        Where to begin.
    lower, upper : dict of str to float
        Smallest and largest threshold of each layer.
    budget : int
        Largest number of candidates.
    seed : int
        Seed of random steps.
    """

    network: Layers
    layers: tuple[str, ...]
    start: Parameters
    lower: Mapping[str, float]
    upper: Mapping[str, float]
    budget: int
    seed: int


def check_some(what: str, given: Sequence[str], known: tuple[str, ...]) -> None:
    """
    Check that names are some of those known, and each there once.

    Parameters
    ----------
    what : str
        What the names are given for.
    given : sequence of str
        The names.
    known : tuple of str
        What is possible.

    Raises
    ------
    InputError
        If there is none, an unknown one, or one twice.
    """
    unknown = [name for name in given if name not in known]
    if unknown or not given or len({*given}) < len(given):
        message = (
            f"{what}={given!r}: expected some of {', '.join(map(repr, known))}, each "
            "once"
        )
        raise InputError(message)


def bounds_by_layer(
    bounds: Any, names: tuple[str, ...], data_based: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """
    Take bounds as given, and multiples of data-based thresholds elsewhere.

    Parameters
    ----------
    bounds : tuple (low, high), or dict of str to tuple, optional
        Bounds of all layers, or of some by name.
    names : tuple of str
        Names of all layers.
    data_based : dict of str to float
        Data-based thresholds of all layers.

    Returns
    -------
    lower, upper : dict of str to float
        Bounds of all layers.

    Raises
    ------
    InputError
        If a layer is unknown, or bounds are not two numbers in order above 0.
    """
    lower = {name: BOUND_FACTORS[0] * value for name, value in data_based.items()}
    upper = {name: BOUND_FACTORS[1] * value for name, value in data_based.items()}
    if bounds is not None:
        by_layer = (
            bounds if isinstance(bounds, Mapping) else dict.fromkeys(names, bounds)
        )
        check_names("bounds", by_layer, names)
        for name, pair in by_layer.items():
            try:
                lower[name], upper[name] = map(float, pair)
            except (TypeError, ValueError) as error:
                message = f"bounds of {name}: expected (low, high), found {pair!r}"
                raise InputError(message) from error
    for name in names:
        if not 0 < lower[name] < upper[name] < np.inf:
            message = (
                f"bounds of {name} are {lower[name]:g} and {upper[name]:g}, expected "
                "0 < low < high"
            )
            raise InputError(message)
    return lower, upper


def within(
    thresholds: Mapping[str, float],
    given: Mapping[str, float],
    lower: Mapping[str, float],
    upper: Mapping[str, float],
) -> dict[str, float]:
    """
    Move first thresholds into bounds that were asked for.

    Parameters
    ----------
    thresholds : dict of str to float
        Thresholds of layers with such bounds.
    given : dict of str to float
        Those of them that a user gave: they are not moved.
    lower, upper : dict of str to float
        The bounds.

    Returns
    -------
    dict of str to float
        Thresholds of the same layers.

    Raises
    ------
    InputError
        If one that a user gave is outside.
    """
    inside = {}
    for name, value in thresholds.items():
        inside[name] = min(max(value, lower[name]), upper[name])
        if name in given and inside[name] != value:
            message = (
                f"start of {name} is {value:g}, outside its bounds {lower[name]:g} to "
                f"{upper[name]:g}"
            )
            raise InputError(message)
    return inside
