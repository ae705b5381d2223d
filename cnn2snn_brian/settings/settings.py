"""
What a setting of a run is.

A setting is described once: its name (of the field that it is the metadata of), the
layers or the network that it belongs to, its check, its default, how it is written for
a compiled program, and how it is kept with a result. The settings are the fields of
`Parameters` (what a network's neurons run with) and of `Perturbations` (what one run
does beside). ``run``, ``run_many``, ``sweep``, ``convert``, saved networks and results
follow from these fields. A new setting is a new field.

A compiled program gets every setting as named numbers: ``conv1.v_th``,
``input_deletion``. Names of the form ``layer.variable`` go to the group's variable of
that name without further ado; other names are read where ``picture_program.h`` needs
them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
from brian2.units import have_same_dimensions, second

from cnn2snn_brian.checks import check_choice, check_names
from cnn2snn_brian.errors import InputError

Key = TypeVar("Key")
Value = TypeVar("Value")


class FrozenDict(dict[Key, Value]):
    """
    A dictionary that refuses changes.

    What was checked stays as it was checked: ``snn.thresholds["conv1"] = -1`` raises
    TypeError. It can be pickled, hashed by its items where they can, and written as
    JSON, and ``dict(...)`` makes an ordinary one of it.
    """

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "these values were checked and can't be changed in place; give new ones, "
            'as in snn.thresholds = {"conv1": 2.5}'
        )

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


#: Named numbers, as a compiled program gets them.
Numbers = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Setting:
    """
    One setting of a run. Subclasses know the kind of its value.

    Attributes
    ----------
    summary : str
        What it is, a sentence for documentation.
    kind : str
        What a user may give, as in a numpydoc docstring.
    owner : {"layer", "input", "network"}
        Whom it belongs to: a value for each layer, one for the input, or one for all.
    """

    summary: str
    kind: str
    owner: str = "network"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Any:
        """Check what a user gave, and complete it."""
        raise TypeError(what)  # pragma: no cover - subclasses have it

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write a value for a compiled program."""
        return {what: np.array([float(value)])}

    def recorded(self, value: Any) -> Any:
        """Write a value as JSON can hold it."""
        return value

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read what `recorded` wrote."""
        return stored

    def same(self, value: Any, other: Any) -> bool:
        """Compare two checked values."""
        return bool(value == other)

    def shown(self, value: Any) -> str:
        """Describe a value to people."""
        return f"{value}"


def setting(described: Setting, **options: Any) -> Any:
    """Make a dataclass field of a setting."""
    return field(metadata={"setting": described}, **options)


def setting_of(item: Any) -> Setting:
    """Give the setting of a dataclass field."""
    found: Setting = item.metadata["setting"]
    return found


def described(*holders: Any) -> dict[str, Setting]:
    """List the settings of dataclasses."""
    return {item.name: setting_of(item) for kind in holders for item in fields(kind)}


def shown(*holders: Any) -> list[str]:
    """Describe settings to people."""
    lines = [
        (item.name, setting_of(item).shown(getattr(holder, item.name)))
        for holder in holders
        for item in fields(holder)
    ]
    return [f"{name}: {text}" for name, text in lines if text]


def recorded(holder: Any) -> dict[str, Any]:
    """Write settings as JSON can hold them."""
    return {
        item.name: setting_of(item).recorded(getattr(holder, item.name))
        for item in fields(holder)
    }


#: A number, or one for each channel, of shape (channels,).
ByChannel = float | npt.NDArray[np.float64]


#: One number for all layers, or some layers' numbers by name.
ByLayer = float | Mapping[str, Any]


BY_LAYER = "float or dict of str to float, optional"


BY_CHANNEL = "float or dict of str to float or ndarray of shape (channels,), optional"


def reference(threshold: ByChannel) -> float:
    """Give the threshold that biases and the next layers are scaled by."""
    return float(np.max(threshold))


def worth(threshold: ByChannel) -> npt.NDArray[np.float64] | None:
    """Say what a spike of each channel is worth to the layers that read it."""
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
        raise InputError(
            f"{what} of {name}: an array of shape {array.shape}, expected one number, "
            f"or ({size},) for its channels"
        )
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
            raise InputError(f"{what} is missing for {', '.join(missing)}")
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
        raise InputError(
            f"{what}: expected a number or a dict by layer name: {error}"
        ) from error


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
                raise InputError(f"{what} is missing")
            given = default
        found = _by_layer(what, given, network, default)
        for name, value in found.items():
            if np.ndim(value) and not self.is_by_channel:
                raise InputError(
                    f"{what} of {name}: an array, expected one number for a layer"
                )
        return found

    def check_range(self, values: Mapping[str, ByChannel]) -> None:
        """Check the range of all numbers."""
        for name, value in values.items():
            if not np.all(self.fits(np.asarray(value))):
                raise InputError(
                    f"{self.called} of {name} is {value}, expected {self.rule}"
                )

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
    """Describe a number of a layer to people."""
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


Reset = Literal["zero", "subtract"]
Encoding = Literal["poisson", "current"]
SynapseKind = Literal["shared", "explicit"]
Propagation = Literal["step", "instant"]

#: Fields that have one of a few values.
CHOICES = {
    "reset": ("zero", "subtract"),
    "encoding": ("poisson", "current"),
    "synapses": ("shared", "explicit"),
    "dtype": ("float32", "float64"),
    "propagation": ("step", "instant"),
}


def checked_kinds(
    given: SynapseKind | Mapping[str, SynapseKind], names: tuple[str, ...]
) -> SynapseKind | Mapping[str, SynapseKind]:
    """Check the kinds of synapses."""
    choices = CHOICES["synapses"]
    if not isinstance(given, Mapping):
        check_choice("synapses", given, choices)
        return given
    check_names("synapses", given, names)
    for name, kind in given.items():
        check_choice(f"synapses of {name}", kind, choices)
    kinds: dict[str, SynapseKind] = {name: given.get(name, "shared") for name in names}
    one = set(kinds.values())
    return one.pop() if len(one) == 1 else FrozenDict(kinds)


def shown_kind(synapses: SynapseKind | Mapping[str, SynapseKind]) -> str:
    """Describe the kinds of synapses to people."""
    if not isinstance(synapses, Mapping):
        return synapses
    explicit = [name for name, kind in synapses.items() if kind == "explicit"]
    return f"explicit ({', '.join(explicit)}) and shared"


def delays_in_seconds(delay: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Take one delay or one by layer."""
    if isinstance(delay, Mapping):
        check_names("delay", delay, names)
        given = dict(delay)
    else:
        given = dict.fromkeys(names, delay)
    delays = {}
    for name, value in given.items():
        is_zero = np.ndim(value) == 0 and float(value) == 0
        if np.ndim(value) or not (is_zero or have_same_dimensions(value, second)):
            raise InputError(
                f"the delay of {name} is {value}, expected a time, such as 2*ms"
            )
        if not is_zero:
            delays[name] = float(value)
    return delays
