"""
Values that a network runs with: thresholds, floors, leaks, starting potentials, rates.

All of them can change from run to run without compiling anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from brian2 import Quantity, get_or_create_dimension

from cnn2snn_brian.checks import check_all_layers, check_known, check_shape
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Network
from cnn2snn_brian.settings.images import check_rate_scale
from cnn2snn_brian.settings.settings import (
    BY_LAYER,
    FrozenDict,
    LayerNumber,
    Numbers,
    Setting,
    Settings,
    Shapes,
    described,
    setting,
)


class Thresholds(LayerNumber):
    """Threshold of each layer, above 0; an array has one for each channel."""

    variable, called = "v_th", "the threshold"
    rule = "a finite number above 0"

    def fits(self, number: Any) -> Any:
        """Whether a neuron can reach it, and not at once."""
        return np.isfinite(number) & (number > 0)


class Floors(LayerNumber):
    """Floor of the potential, at most 0; ``-inf`` is none."""

    kind = BY_LAYER
    variable = called = "v_min"
    rule = "a number of at most 0 (the potential after a reset)"

    def fits(self, number: Any) -> Any:
        """Whether a reset potential is above it; also refuses NaN."""
        return number <= 0


class Leaks(LayerNumber):
    """The paper's constant L, added to the potential in each step."""

    variable, called = "leak", "the leak"


class Starts(LayerNumber):
    """Potential at an image's start, as a share of the threshold."""

    variable = called = "v_init"
    rule = "a finite share of the threshold below 1"
    is_start = True

    def fits(self, number: Any) -> Any:
        """Whether it is below the threshold."""
        return np.isfinite(number) & (number < 1)


class RateScale(Setting):
    """The paper's c, spikes per step of a pixel of intensity 1."""


class AddedValues(Setting):
    """
    Variables of what `SpikingNetwork.extend` added, at the start of each trial.

    ``{"readers.tau": 10*ms, "lateral.strength": 0.05}``: one value, or one for each
    neuron or synapse in Brian2's order.
    """

    kind = "dict of str to Quantity, optional"

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write them in SI units."""
        return {name: np.ravel(np.asarray(number)) for name, number in value.items()}

    def recorded(self, value: Any) -> Any:
        """Write numbers in SI units, and the exponents of these."""
        return {
            name: [np.asarray(number).tolist(), list(number.dim._dims)]
            for name, number in value.items()
        } or None

    def restored(self, stored: Any, shapes: Shapes) -> Any:
        """Read the numbers with their units."""
        return {
            name: Quantity(numbers, dim=get_or_create_dimension(exponents))
            for name, (numbers, exponents) in stored.items()
        }

    def shown(self, value: Any) -> str:
        """Describe single numbers to people, and say how many others there are."""
        return ", ".join(
            f"{name} {number if number.size == 1 else f'{number.size} numbers'}"
            for name, number in value.items()
        )


def _quantities(given: Any) -> FrozenDict[str, Quantity]:
    """Take quantities by name."""
    if not isinstance(given, Mapping):
        raise InputError(f"values: found {given!r:.80}, expected a dict by name")
    found = {}
    for name, value in given.items():
        try:
            found[name] = Quantity(value, dtype=float, copy=True)
        except (TypeError, ValueError) as error:
            raise InputError(f"values of {name}: {error}") from error
        if not np.isfinite(found[name]).all():
            raise InputError(f"values of {name}: found numbers that are not finite")
        found[name].setflags(write=False)
    return FrozenDict(found)


def _check_values(values: Mapping[str, Quantity], known: Mapping[str, Any]) -> None:
    """Check names, units and sizes."""
    for name, value in values.items():
        if name not in known:
            raise InputError(
                f"values: {name!r} is not a variable of an added object that can "
                f"be set; these are {', '.join(known) or 'none'}"
            )
        variable = known[name]
        if value.dim != variable.dim:
            raise InputError(
                f"values of {name}: the unit of {value!s:.80} is {value.dim}, "
                f"expected {variable.dim}"
            )
        if value.shape not in ((), (1,), variable.shape):
            raise InputError(
                f"values of {name}: found the shape {value.shape}, expected one "
                f"number or {variable.shape}"
            )


@dataclass(frozen=True, eq=False)
class Parameters(Settings):
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
    values : dict of str to Quantity
        Variables of what `SpikingNetwork.extend` added, ``"readers.tau"``.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    thresholds: Mapping[str, float] = setting(Thresholds())
    v_min: Mapping[str, float] = setting(Floors())
    leak: Mapping[str, float] = setting(Leaks())
    v_init: Mapping[str, float] = setting(Starts())
    rate_scale: float = setting(RateScale(), lambda: 1.0)
    values: Mapping[str, Quantity] = setting(AddedValues(), FrozenDict)

    def __post_init__(self) -> None:
        for what, kind in NUMBERS.items():
            numbers = kind.of_layers(what, getattr(self, what))
            object.__setattr__(self, what, numbers)
        object.__setattr__(self, "rate_scale", check_rate_scale(self.rate_scale))
        object.__setattr__(self, "values", _quantities(self.values))

    @classmethod
    def of(
        cls,
        layers: "Network | tuple[str, ...]",
        *,
        default: "Parameters | None" = None,
        **given: Any,
    ) -> "Parameters":
        """
        Take one number or a number by layer for each parameter.

        Parameters
        ----------
        layers : Network or tuple of str
            The layers, or their names in order. Numbers of channels are checked where
            the parameters meet a network.
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
        check_known("parameter", given, described(cls))
        names = tuple(getattr(layers, "names", layers))
        values: dict[str, Any] = {
            what: kind.completed(
                what, given.get(what), getattr(default, what, None), names
            )
            for what, kind in NUMBERS.items()
        }
        scale: Any = given.get("rate_scale")
        if scale is None:
            scale = getattr(default, "rate_scale", 1.0)
        added = {
            **getattr(default, "values", {}),
            **_quantities(given.get("values") or {}),
        }
        return cls(**values, rate_scale=scale, values=added)

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

    def check_network(self, network: Any) -> None:
        """Check that they have numbers for all of a network's layers, and no others."""
        layers = network.layers
        _check_values(self.values, network.extension.settable)
        shapes = layers.shapes
        for what in NUMBERS:
            values = getattr(self, what)
            check_all_layers(what, values, layers.names)
            for name, value in values.items():
                if np.ndim(value):
                    check_shape(f"{what} by channel of {name}", value, shapes[name][0])


#: Parameters that layers have, by name.
NUMBERS: dict[str, LayerNumber] = {
    what: kind
    for what, kind in described(Parameters).items()
    if isinstance(kind, LayerNumber)
}
