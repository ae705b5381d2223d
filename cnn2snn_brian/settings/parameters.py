"""
Values that a network runs with: thresholds, floors, leaks, starting potentials, rates.

All of them can change from run to run without compiling anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.settings.images import check_rate_scale
from cnn2snn_brian.settings.settings import (
    BY_LAYER,
    FrozenDict,
    LayerNumber,
    Setting,
    Threshold,
    recorded,
    setting,
    setting_of,
)


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


def _is_threshold(value: Any) -> Any:
    return np.isfinite(value) & (value > 0)


def _is_floor(value: Any) -> Any:
    return value <= 0  # also refuses NaN


def _is_share(value: Any) -> Any:
    return np.isfinite(value) & (value < 1)


@dataclass(frozen=True)
class _Named:
    """What a setting has to know of a network where only its layers are known."""

    layer_names: tuple[str, ...]
    n_channels: Mapping[str, int]

    @classmethod
    def of(cls, layers: Any) -> "_Named":
        if isinstance(layers, tuple):
            return cls(layers, {})
        return cls(layers.names, {k: shape[0] for k, shape in layers.shapes.items()})


@dataclass(frozen=True, eq=False)
class Parameters(Printed):
    """
    What the neurons of a network run with.

    A number of a layer may be an array with a number for each of its channels, but for
    ``v_min``.

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
        Threshold(
            "Threshold of each layer, above 0; an array has one for each channel.",
            variable="v_th",
            called="the threshold",
            fits=_is_threshold,
            rule="a finite number above 0",
        )
    )
    v_min: Mapping[str, float] = setting(
        LayerNumber(
            "Floor of the potential, at most 0; ``-inf`` is none.",
            kind=BY_LAYER,
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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return recorded(self) == recorded(other)

    __hash__ = None  # type: ignore[assignment]

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
        names: Any,
        *,
        default: "Parameters | None" = None,
        **given: Any,
    ) -> "Parameters":
        """
        Take one number or a number by layer for each parameter.

        Parameters
        ----------
        names : Layers or tuple of str
            The layers, or their names in order; with these, numbers of channels are not
            checked.
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
            raise InputError(
                f"unknown parameter {', '.join(unknown)}; there are {', '.join(known)}"
            )
        network = _Named.of(names)
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

    def replace(self, **given: Any) -> "Parameters":
        """
        Make changed parameters of the same layers.

        Parameters
        ----------
        **given : float or dict of str to float, optional
            Parameters by name, as in `of`. A dict may leave layers out:
            ``parameters.replace(thresholds={"conv1": 2.0})``.

        Returns
        -------
        changed : Parameters
            These parameters, but for what was given.

        Raises
        ------
        InputError
            If a parameter or a layer is unknown, or a number is out of its range.
        """
        return Parameters.of(tuple(self.thresholds), default=self, **given)

    def check_layers(self, layers: Any) -> None:
        """Check that they have numbers for all of a network's layers, and no others."""
        Parameters.of(layers, **vars(self))
