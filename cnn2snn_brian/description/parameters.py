"""
Values that a network runs with: thresholds, floors, leaks, starting potentials, rates.

All of them can change from run to run without compiling anything.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.frozen import FrozenDict
from cnn2snn_brian.description.pictures import check_rate_scale
from cnn2snn_brian.description.settings import (
    Numbers,
    Setting,
    recorded,
    setting,
    setting_of,
)
from cnn2snn_brian.errors import InputError

__all__ = [
    "BY_LAYER",
    "ByChannel",
    "ByLayer",
    "LayerNumber",
    "Parameters",
    "check_names",
    "reference",
    "shown_number",
    "worth",
]

#: A number, or one for each channel, of shape (channels,).
ByChannel = float | npt.NDArray[np.float64]

#: One number for all layers, or some layers' numbers by name.
ByLayer = float | Mapping[str, Any]

BY_LAYER = "float or dict of str to float, optional"
BY_CHANNEL = "float or dict of str to float or ndarray of shape (channels,), optional"


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


def reference(threshold: ByChannel) -> float:
    """
    Give the threshold that biases and the next layers are scaled by.

    Parameters
    ----------
    threshold : float or ndarray of float, shape (channels,)
        Threshold of a layer.

    Returns
    -------
    float
        The threshold, or the largest one of the channels.
    """
    return float(np.max(threshold))


def worth(threshold: ByChannel) -> npt.NDArray[np.float64] | None:
    """
    Say what a spike of each channel is worth to the layers that read it.

    A neuron with a lower threshold spikes more often for the same activation, so each
    of its spikes stands for less.

    Parameters
    ----------
    threshold : float or ndarray of float, shape (channels,)
        Threshold of a layer.

    Returns
    -------
    ndarray of float, shape (channels,), or None
        Threshold of each channel over `reference`; None if all channels have the same.
    """
    if np.ndim(threshold) == 0:
        return None
    return np.asarray(threshold) / reference(threshold)


def _checked_number(
    what: str, name: str, value: Any, channels: int | None
) -> ByChannel:
    """Take a number, or one for each channel."""
    if np.ndim(value) == 0:
        return float(value)
    array = np.array(value, np.float64)
    if array.ndim != 1 or (channels is not None and len(array) != channels):
        size = "channels" if channels is None else channels
        message = (
            f"{what} of {name}: an array of shape {array.shape}, expected one number, "
            f"or ({size},) for its channels"
        )
        raise InputError(message)
    array.setflags(write=False)
    return array


def _by_layer(
    what: str, value: ByLayer, network: Any, default: Mapping[str, Any] | None
) -> dict[str, ByChannel]:
    """Numbers of each layer, in the order of the layers."""
    names = network.layer_names
    if isinstance(value, Mapping):
        check_names(what, value, names)
        given = {**(default or {}), **value}
        missing = [name for name in names if name not in given]
        if missing:
            message = f"{what} is missing for {', '.join(missing)}"
            raise InputError(message)
    else:
        given = dict.fromkeys(names, value)
    channels = network.n_channels
    try:
        return {
            name: _checked_number(what, name, given[name], channels.get(name))
            for name in names
        }
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        message = f"{what}: expected a number or a dict by layer name: {error}"
        raise InputError(message) from error


@dataclass(frozen=True)
class LayerNumber(Setting):
    """
    A number for each layer, or an array of a number for each of its channels.

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

    kind: str = BY_CHANNEL
    owner: str = "layer"
    variable: str = ""
    called: str = ""
    fits: Callable[[Any], Any] = np.isfinite
    rule: str = "a finite number"
    default: float | None = None
    is_start: bool = False

    @property
    def is_by_channel(self) -> bool:
        """Whether each channel of a layer may have a number of its own."""
        return self.kind == BY_CHANNEL

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Any:
        """Take one number or numbers by layer; see `Setting.checked`."""
        if default is None and self.default is not None:
            default = dict.fromkeys(network.layer_names, self.default)
        if given is None:
            if default is None:
                message = f"{what} is missing"
                raise InputError(message)
            given = default
        found = _by_layer(what, given, network, default)
        for name, value in found.items():
            if np.ndim(value) and not self.is_by_channel:
                message = f"{what} of {name}: an array, expected one number for a layer"
                raise InputError(message)
        return found

    def check_range(self, values: Mapping[str, ByChannel]) -> None:
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
            if not np.all(self.fits(np.asarray(value))):
                message = f"{self.called} of {name} is {value}, expected {self.rule}"
                raise InputError(message)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write a number for each layer; see `Setting.numbers`."""
        return {
            f"{name}.{self.variable}": np.array(number, np.float64, ndmin=1)
            for name, number in value.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write numbers, and lists for channels."""
        return {
            name: number if np.ndim(number) == 0 else np.asarray(number).tolist()
            for name, number in value.items()
        }

    def shown(self, value: Any) -> str:
        """Describe it to people, once if all layers have the same."""
        texts = {name: shown_number(number) for name, number in value.items()}
        if len(set(texts.values())) == 1:
            return next(iter(texts.values()))
        return ", ".join(f"{name} {text}" for name, text in texts.items())


def shown_number(number: ByChannel) -> str:
    """
    Describe a number of a layer to people.

    Parameters
    ----------
    number : float or ndarray of float, shape (channels,)
        The number, or one for each channel.

    Returns
    -------
    str
        The number, or smallest and largest of the channels.
    """
    if np.ndim(number) == 0:
        return f"{number:.4g}"
    return f"{np.min(number):.4g} to {np.max(number):.4g} by channel"


@dataclass(frozen=True)
class Threshold(LayerNumber):
    """Thresholds; a spike of a channel is worth its share of the largest one."""

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write thresholds, their reference, and the worth of spikes."""
        found = super().numbers(what, value, network)
        for name, number in value.items():
            found[f"{name}.v_ref"] = np.array([reference(number)])
            share = worth(number)
            if share is not None:
                found[f"{name}.worth"] = share
        return found


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


@dataclass(frozen=True, eq=False)
class Parameters:
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
            message = (
                f"unknown parameter {', '.join(unknown)}; there are {', '.join(known)}"
            )
            raise InputError(message)
        network = (
            _Named(names, {})
            if isinstance(names, tuple)
            else _Named(names.names, {k: shape[0] for k, shape in names.shapes.items()})
        )
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
