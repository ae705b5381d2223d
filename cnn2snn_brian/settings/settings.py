"""
What a setting of a run is.

A setting is described once, as a field of `Parameters` (what a network's neurons run
with) or of `Perturbations` (what one run does in addition): its check, its default, how
it is written for a compiled program, and how it is kept with a result. ``run``,
``run_many``, ``sweep``, ``convert``, saved networks and results follow from these
fields. A new setting is a new field.

A compiled program gets every setting as named numbers: ``conv1.v_th``,
``input_deletion``. Names of the form ``layer.variable`` go to the group's variable of
that name without further ado; other names are read where ``picture_program.h`` needs
them.
"""

from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Any, Literal, NoReturn, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import by_layer, check_all_layers, check_choice, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed

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


#: Shapes of populations, by name.
Shapes = Mapping[str, tuple[int, ...]]


class Setting:
    """A setting of a run: a number, or what a subclass makes of it."""

    #: What a user may give, as in a numpydoc docstring.
    kind = "float, optional"

    #: What it is, for documentation; by default what its class says of itself.
    summary = ""

    def __init_subclass__(cls) -> None:
        cls.summary = " ".join((cls.__doc__ or "").split())

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Check what a user gave for a run of a network."""
        return given

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write a value for a compiled program."""
        return {what: np.array([float(value)])}

    def recorded(self, value: Any) -> Any:
        """Write a value as JSON can hold it; None if there is nothing to keep."""
        return value

    def restored(self, stored: Any, shapes: Shapes) -> Any:
        """Read what `recorded` wrote."""
        return stored

    def shown(self, value: Any) -> str:
        """Describe a value to people; nothing if there is nothing to say."""
        return f"{value:.4g}" if value else ""


def setting(described: Setting, default: Any = MISSING) -> Any:
    """Make a dataclass field of a setting; `default` makes what holds without it."""
    return field(metadata={"setting": described}, default_factory=default)


def described(*holders: Any) -> dict[str, Setting]:
    """List the settings of dataclasses."""
    return {
        item.name: item.metadata["setting"] for kind in holders for item in fields(kind)
    }


class Settings(Printed):
    """Dataclasses of settings: equal if what is recorded of them is."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return recorded(self) == recorded(other)

    __hash__ = None  # type: ignore[assignment]


def shown(*holders: Any) -> list[str]:
    """Describe settings to people."""
    return [
        f"{name}: {text}"
        for holder in holders
        for name, kind in described(holder).items()
        if (text := kind.shown(getattr(holder, name)))
    ]


def recorded(holder: Any) -> dict[str, Any]:
    """Write settings as JSON can hold them."""
    return {
        name: text
        for name, kind in described(holder).items()
        if (text := kind.recorded(getattr(holder, name))) is not None
    }


def restored(kind: Any, stored: Mapping[str, Any], shapes: Shapes) -> Any:
    """Read what `recorded` wrote."""
    known = described(kind).items()
    return kind(**{k: s.restored(stored[k], shapes) for k, s in known if k in stored})


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


class LayerNumber(Setting):
    """
    A number for each layer, or an array of a number for each of its channels.

    Attributes
    ----------
    kind, summary
        See `Setting`.
    variable : str
        Name of the number in a compiled program, and of the variable of the group if
        there is one.
    called : str
        What messages call it.
    rule : str
        What `fits` asks of a number, in words.
    default : float, optional
        What holds where neither a user nor a network says something, and in files of
        versions that did not have the setting. Without one, a number has to be given.
    is_start : bool
        Whether it is used at an image's start only, and not a variable of the group.
    """

    kind = BY_CHANNEL
    variable = called = ""
    rule = "a finite number"
    default: float | None = None
    is_start = False

    def fits(self, number: Any) -> Any:
        """Whether a number is in its range."""
        return np.isfinite(number)

    def completed(
        self, what: str, given: Any, default: Any, names: tuple[str, ...]
    ) -> dict[str, Any]:
        """Take one number or numbers by layer, and the rest from the default."""
        if default is None and self.default is not None:
            default = dict.fromkeys(names, self.default)
        chosen = {} if given is None else by_layer(what, given, names)
        found = {**(default or {}), **chosen}
        check_all_layers(what, found, names)
        return {name: found[name] for name in names}

    def of_layers(self, what: str, values: Mapping[str, Any]) -> FrozenDict[str, Any]:
        """Check the number, or numbers, of each layer."""
        most = 1 if self.kind == BY_CHANNEL else 0
        found: dict[str, ByChannel] = {}
        for name, value in values.items():
            try:
                number = np.array(value, np.float64) if np.ndim(value) else float(value)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"{what}: expected a number or a dict by layer name: {error}"
                ) from error
            if np.ndim(number) > most:
                raise InputError(
                    f"{what} of {name}: an array of shape {np.shape(number)}, expected "
                    f"one number{', or one for each channel' if most else ''}"
                )
            if not np.all(self.fits(number)):
                raise InputError(
                    f"{self.called} of {name} is {value}, expected {self.rule}"
                )
            if isinstance(number, np.ndarray):
                number.setflags(write=False)
            found[name] = number
        return FrozenDict(found)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write a number for each layer."""
        return {
            f"{name}.{self.variable}": np.array(number, np.float64, ndmin=1)
            for name, number in value.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write numbers, and lists of channels; no floor is a text, as JSON needs."""
        lists = {name: np.asarray(number).tolist() for name, number in value.items()}
        return {k: str(v) if np.isinf(v).all() else v for k, v in lists.items()}

    def shown(self, value: Any) -> str:
        """Describe it to people, once if all layers have the same."""
        return shown_by_layer({k: shown_number(v) for k, v in value.items()}, ", ")


def shown_by_layer(texts: Mapping[str, str], separator: str) -> str:
    """Describe what layers have, once if all have the same."""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return separator.join(f"{name} {text}" for name, text in texts.items())


def shown_number(number: ByChannel) -> str:
    """Describe a number of a layer to people."""
    if np.min(number) == np.max(number):
        return f"{np.max(number):.4g}"
    return f"{np.min(number):.4g} to {np.max(number):.4g} by channel"


Reset = Literal["zero", "subtract"]
Encoding = Literal["poisson", "current"]
SynapseKind = Literal["shared", "explicit"]
Propagation = Literal["step", "instant"]

#: Fields that have one of a few values.
CHOICES = {
    "reset": get_args(Reset),
    "encoding": get_args(Encoding),
    "synapses": get_args(SynapseKind),
    "dtype": ("float32", "float64"),
    "propagation": get_args(Propagation),
}


def checked_kinds(
    given: Any, names: tuple[str, ...]
) -> SynapseKind | Mapping[str, SynapseKind]:
    """Check the kinds of synapses; layers that are left out share theirs."""
    if not isinstance(given, Mapping):
        check_choice("synapses", given, CHOICES["synapses"])
    kinds = dict.fromkeys(names, "shared") | by_layer("synapses", given, names)
    for name, kind in kinds.items():
        check_choice(f"synapses of {name}", kind, CHOICES["synapses"])
    one = set(kinds.values())
    return one.pop() if len(one) == 1 else FrozenDict(kinds)


def shown_kind(synapses: SynapseKind | Mapping[str, SynapseKind]) -> str:
    """Describe the kinds of synapses to people."""
    if not isinstance(synapses, Mapping):
        return synapses
    explicit = [name for name, kind in synapses.items() if kind == "explicit"]
    return f"explicit ({', '.join(explicit)}) and shared"


def delays_in_seconds(delay: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Take one delay or delays by layer."""
    delays = {
        name: seconds(f"the delay of {name}", value, plain=False)
        for name, value in by_layer("delay", delay, names).items()
    }
    return {name: delay_s for name, delay_s in delays.items() if delay_s}
