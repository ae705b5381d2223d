"""
Values that a network runs with: thresholds, floors, leaks, starting potentials, rates.

All of them can change from run to run without compiling anything.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cnn2snn_brian.description.frozen import FrozenDict
from cnn2snn_brian.description.pictures import check_rate_scale
from cnn2snn_brian.description.settings import Numbers, Setting, setting, setting_of
from cnn2snn_brian.errors import InputError

__all__ = ["BY_LAYER", "ByLayer", "LayerNumber", "Parameters", "check_names"]

#: One number for all layers, or some layers' numbers by name.
ByLayer = float | Mapping[str, float]

BY_LAYER = "float or dict of str to float, optional"


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
class LayerNumber(Setting):
    """
    A number for each layer.

    Attributes
    ----------
    summary, kind, owner
        See `Setting`.
    variable : str
        Name of the number in a compiled program, and of the variable of the group if
        there is one.
    called : str
        What messages call it.
    fits : callable
        Whether a number is in its range.
    rule : str
        That range in words.
    default : float, optional
        What holds where neither a user nor a network says something, and in files of
        versions that did not have the setting. Without one, a number has to be given.
    is_start : bool
        Whether it is used at an image's start only, and no variable of the group.
    """

    kind: str = BY_LAYER
    owner: str = "layer"
    variable: str = ""
    called: str = ""
    fits: Callable[[float], bool] = np.isfinite
    rule: str = "a finite number"
    default: float | None = None
    is_start: bool = False

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Any:
        """Take one number or numbers by layer; see `Setting.checked`."""
        names = network.layer_names
        if default is None and self.default is not None:
            default = dict.fromkeys(names, self.default)
        if given is None:
            if default is None:
                message = f"{what} is missing"
                raise InputError(message)
            given = default
        return _by_layer(what, given, names, default)

    def check_range(self, values: Mapping[str, float]) -> None:
        """
        Check the range of all numbers.

        Parameters
        ----------
        values : dict of str to float
            Numbers by layer.

        Raises
        ------
        InputError
            If a number is out of its range.
        """
        for name, value in values.items():
            if not self.fits(value):
                message = f"{self.called} of {name} is {value}, expected {self.rule}"
                raise InputError(message)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write a number for each layer; see `Setting.numbers`."""
        return {
            f"{name}.{self.variable}": np.array([number])
            for name, number in value.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write numbers; JSON has no infinity, so a missing floor is a text."""
        return {
            name: number if np.isfinite(number) else str(number)
            for name, number in value.items()
        }

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the numbers."""
        return {name: float(number) for name, number in stored.items()}

    def shown(self, value: Any) -> str:
        """Describe it to people, once if all layers have the same."""
        if len(set(value.values())) == 1:
            return f"{next(iter(value.values())):.4g}"
        return ", ".join(f"{name} {number:.4g}" for name, number in value.items())


@dataclass(frozen=True)
class RateScale(Setting):
    """The scale of the input; see `Parameters`."""

    kind: str = "float, optional"
    owner: str = "input"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> float:
        """Check that it is above 0; see `Setting.checked`."""
        if given is None:
            given = 1.0 if default is None else default
        return check_rate_scale(given)

    def shown(self, value: Any) -> str:
        """Describe it to people."""
        return f"{value:.4g}"


def _is_threshold(value: float) -> bool:
    return bool(np.isfinite(value) and value > 0)


def _is_floor(value: float) -> bool:
    return value <= 0  # also refuses NaN


def _is_share(value: float) -> bool:
    return bool(np.isfinite(value) and value < 1)


@dataclass(frozen=True)
class _Named:
    """What a setting has to know of a network where only its layers are known."""

    layer_names: tuple[str, ...]


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
        Potential at an image's start, as a share of the threshold, below 1.
    rate_scale : float
        The paper's c, spikes per step of a pixel of intensity 1.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    thresholds: Mapping[str, float] = setting(
        LayerNumber(
            "Threshold of each layer, above 0.",
            variable="v_th",
            called="the threshold",
            fits=_is_threshold,
            rule="a finite number above 0",
        )
    )
    v_min: Mapping[str, float] = setting(
        LayerNumber(
            "Floor of the potential, at most 0; ``-inf`` is none.",
            variable="v_min",
            called="v_min",
            fits=_is_floor,
            rule="a number of at most 0 (the potential after a reset)",
        )
    )
    leak: Mapping[str, float] = setting(
        LayerNumber(
            "The paper's constant L, added to the potential in each step.",
            variable="leak",
            called="the leak",
        )
    )
    v_init: Mapping[str, float] = setting(
        LayerNumber(
            "Potential at an image's start, as a share of the threshold.",
            variable="v_init",
            called="v_init",
            fits=_is_share,
            rule="a finite share of the threshold below 1",
            is_start=True,
        )
    )
    rate_scale: float = setting(
        RateScale("The paper's c, spikes per step of a pixel of intensity 1.")
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            kind = setting_of(item)
            if isinstance(kind, LayerNumber):
                kind.check_range(value)
                object.__setattr__(self, item.name, FrozenDict(value))
            else:
                kind.checked(item.name, value, None, None)

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        *,
        default: "Parameters | None" = None,
        **given: Any,
    ) -> "Parameters":
        """
        Take one number or a number by layer for each parameter.

        Parameters
        ----------
        names : tuple of str
            Names of the layers, in order.
        default : Parameters, optional
            What holds where nothing is given.
        **given : float or dict of str to float, optional
            Parameters by name: one number for all layers, or numbers by layer. A dict
            that leaves layers out takes those from `default`. None is nothing given.

        Returns
        -------
        parameters : Parameters
            Checked numbers for all layers.

        Raises
        ------
        InputError
            If a parameter or a layer is unknown, or a number is missing or out of its
            range.
        """
        known = [item.name for item in fields(cls)]
        unknown = [name for name in given if name not in known]
        if unknown:
            message = (
                f"unknown parameter {', '.join(unknown)}; there are {', '.join(known)}"
            )
            raise InputError(message)
        network = _Named(names)
        return cls(
            **{
                item.name: setting_of(item).checked(
                    item.name,
                    given.get(item.name),
                    None if default is None else getattr(default, item.name),
                    network,
                )
                for item in fields(cls)
            }
        )
