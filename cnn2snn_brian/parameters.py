"""
Values that a network runs with: thresholds, floors, leaks, starting potentials, rates.

All of them can change from run to run without compiling anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cnn2snn_brian.encoding import check_rate_scale
from cnn2snn_brian.errors import InputError

__all__ = ["ByLayer", "Parameters", "check_names"]

#: One number for all layers, or some layers' numbers by name.
ByLayer = float | Mapping[str, float]


def check_names(what: str, given: Iterable[str], names: tuple[str, ...]) -> None:
    """
    Check that only existing layers are named.

    Parameters
    ----------
    what : str
        What the names are given for.
    given : iterable of str
        The names.
    names : tuple of str
        Names of the layers.

    Raises
    ------
    InputError
        If a name is none of a layer.
    """
    unknown = [str(name) for name in given if name not in names]
    if unknown:
        message = (
            f"{what} names the unknown layer {', '.join(map(repr, unknown))}; "
            f"layers are {', '.join(names)}"
        )
        raise InputError(message)


def _by_layer(
    what: str,
    value: ByLayer,
    names: tuple[str, ...],
    default: Mapping[str, float] | None,
) -> dict[str, float]:
    """One number a layer, in the order of the layers."""
    if isinstance(value, Mapping):
        check_names(what, value, names)
        given = {**(default or {}), **value}
        missing = [name for name in names if name not in given]
        if missing:
            message = f"{what} is missing for {', '.join(missing)}"
            raise InputError(message)
    else:
        given = dict.fromkeys(names, value)
    try:
        return {name: float(given[name]) for name in names}
    except (TypeError, ValueError) as error:
        message = f"{what}: expected a number or a dict by layer name: {error}"
        raise InputError(message) from error


@dataclass(frozen=True)
class Parameters:
    """
    What the neurons of a network run with.

    Attributes
    ----------
    thresholds : dict of str to float
        Threshold of every layer, above 0.
    v_min : dict of str to float
        Floor of the potential of every layer, at most 0; ``-inf`` is no floor.
    leak : dict of str to float
        The paper's constant L of every layer, added in each step.
    v_init : dict of str to float
        Potential at a picture's start, as a share of the threshold, below 1.
    rate_scale : float
        The paper's c, spikes per step of a pixel of intensity 1.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    thresholds: dict[str, float]
    v_min: dict[str, float]
    leak: dict[str, float]
    v_init: dict[str, float]
    rate_scale: float

    def __post_init__(self) -> None:
        def check(what: str, values: dict[str, float], fits: object, rule: str) -> None:
            for name, value in values.items():
                if not fits(value):  # type: ignore[operator]
                    message = f"{what} of {name} is {value}, expected {rule}"
                    raise InputError(message)

        check(
            "the threshold",
            self.thresholds,
            lambda value: np.isfinite(value) and value > 0,
            "a finite number above 0",
        )
        check(
            "v_min",
            self.v_min,
            lambda value: value <= 0,  # also refuses NaN
            "a number of at most 0 (the potential after a reset)",
        )
        check("the leak", self.leak, np.isfinite, "a finite number")
        check(
            "v_init",
            self.v_init,
            lambda value: np.isfinite(value) and value < 1,
            "a finite share of the threshold below 1",
        )
        check_rate_scale(self.rate_scale)

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        *,
        thresholds: ByLayer | None = None,
        v_min: ByLayer | None = None,
        leak: ByLayer | None = None,
        v_init: ByLayer | None = None,
        rate_scale: float | None = None,
        default: "Parameters | None" = None,
    ) -> "Parameters":
        """
        Take one number or a number by layer for each parameter.

        Parameters
        ----------
        names : tuple of str
            Names of the layers, in order.
        thresholds, v_min, leak, v_init : float or dict of str to float, optional
            One number for all layers, or numbers by layer. A dict that leaves layers
            out takes those from `default`.
        rate_scale : float, optional
            Spikes per step of a pixel of intensity 1.
        default : Parameters, optional
            What holds where nothing is given.

        Returns
        -------
        parameters : Parameters
            Checked numbers for all layers.

        Raises
        ------
        InputError
            If a layer is unknown or a number is missing or out of its range.
        """
        chosen: dict[str, dict[str, float]] = {}
        for what, value in (
            ("thresholds", thresholds),
            ("v_min", v_min),
            ("leak", leak),
            ("v_init", v_init),
        ):
            fallback = None if default is None else getattr(default, what)
            if value is None:
                if fallback is None:
                    message = f"{what} is missing"
                    raise InputError(message)
                value = fallback
            chosen[what] = _by_layer(what, value, names, fallback)
        if rate_scale is None:
            rate_scale = 1.0 if default is None else default.rate_scale
        return cls(
            chosen["thresholds"],
            chosen["v_min"],
            chosen["leak"],
            chosen["v_init"],
            check_rate_scale(rate_scale),
        )
