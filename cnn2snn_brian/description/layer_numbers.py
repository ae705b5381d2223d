"""Numbers of layers: one for a layer, or one for each of its channels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.settings import (
    Numbers,
    Setting,
)
from cnn2snn_brian.errors import InputError

__all__ = [
    "BY_LAYER",
    "ByChannel",
    "ByLayer",
    "LayerNumber",
    "Threshold",
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
        """Write numbers, and lists of channels; no floor is a text, as JSON needs."""

        def written(number: Any) -> Any:
            if np.ndim(number):
                return np.asarray(number).tolist()
            return number if np.isfinite(number) else str(number)

        return {name: written(number) for name, number in value.items()}

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the numbers."""
        return {
            name: np.array(number) if np.ndim(number) else float(number)
            for name, number in stored.items()
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
    if np.min(number) == np.max(number):
        return f"{np.max(number):.4g}"
    return f"{np.min(number):.4g} to {np.max(number):.4g} by channel"


@dataclass(frozen=True)
class Threshold(LayerNumber):
    """Thresholds; biases are scaled by the largest one of a layer's channels."""

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write thresholds and their reference."""
        found = super().numbers(what, value, network)
        for name, number in value.items():
            found[f"{name}.v_ref"] = np.array([reference(number)])
        return found
