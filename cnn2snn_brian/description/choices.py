"""Values that are one of a few."""

from collections.abc import Mapping
from typing import Literal

from cnn2snn_brian.description.frozen import FrozenDict
from cnn2snn_brian.description.layer_numbers import check_names
from cnn2snn_brian.errors import InputError

__all__ = [
    "CHOICES",
    "Encoding",
    "Propagation",
    "Reset",
    "SynapseKind",
    "check_choice",
    "checked_kinds",
    "shown_kind",
]

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


def check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    """
    Check that a value is one of a few.

    Parameters
    ----------
    what : str
        Name of the argument.
    value : object
        What was given.
    choices : tuple of str
        What is possible.

    Raises
    ------
    InputError
        If it is none of them.
    """
    if value not in choices:
        message = f"{what}={value!r}: expected {' or '.join(map(repr, choices))}"
        raise InputError(message)


def checked_kinds(
    given: SynapseKind | Mapping[str, SynapseKind], names: tuple[str, ...]
) -> SynapseKind | Mapping[str, SynapseKind]:
    """
    Check the kinds of synapses.

    Parameters
    ----------
    given : str or dict of str to str
        One kind, or kinds by layer; layers that are left out are shared.
    names : tuple of str
        Names of the layers.

    Returns
    -------
    str or dict of str to str
        One kind if all layers have the same, or the kind of every layer.

    Raises
    ------
    InputError
        If a layer or a kind is unknown.
    """
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
    """
    Describe the kinds of synapses to people.

    Parameters
    ----------
    synapses : str or dict of str to str
        One kind, or kinds by layer.

    Returns
    -------
    str
        Such as ``shared``, or ``explicit (ip1) and shared``.
    """
    if not isinstance(synapses, Mapping):
        return synapses
    explicit = [name for name, kind in synapses.items() if kind == "explicit"]
    return f"explicit ({', '.join(explicit)}) and shared"
