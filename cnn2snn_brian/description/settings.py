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

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Numbers",
    "Setting",
    "described",
    "recorded",
    "setting",
    "setting_of",
    "shown",
]

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
        """
        Check what a user gave, and complete it.

        Parameters
        ----------
        what : str
            Name of the setting.
        given : object
            What the user gave; None for nothing.
        default : object
            The value that holds where nothing is given; None if there is none.
        network : NetworkDescription
            The network that it is for.
        seed : int
            Seed of the run, for what is drawn.

        Returns
        -------
        object
            The whole value.

        Raises
        ------
        InputError
            If it can't be used.
        """
        raise TypeError(what)  # pragma: no cover - subclasses have it

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """
        Write a value for a compiled program.

        Parameters
        ----------
        what : str
            Name of the setting.
        value : object
            A checked value.
        network : NetworkDescription
            The network that it is for.

        Returns
        -------
        dict of str to ndarray of float64
            Named numbers in SI units.
        """
        return {what: np.array([float(value)])}

    def recorded(self, value: Any) -> Any:
        """
        Write a value as JSON can hold it.

        Parameters
        ----------
        value : object
            A checked value.

        Returns
        -------
        object
            Numbers, texts, lists and dicts.
        """
        return value

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """
        Read what `recorded` wrote.

        Parameters
        ----------
        stored : object
            From JSON.
        shapes : dict of str to tuple of int
            Shapes of the layers.

        Returns
        -------
        object
            The value.
        """
        return stored

    def same(self, value: Any, other: Any) -> bool:
        """
        Compare two checked values.

        Parameters
        ----------
        value, other : object
            The values.

        Returns
        -------
        bool
            Whether they are equal.
        """
        return bool(value == other)

    def shown(self, value: Any) -> str:
        """
        Describe a value to people.

        Parameters
        ----------
        value : object
            A checked value.

        Returns
        -------
        str
            A short text; empty if it says nothing.
        """
        return f"{value}"


def setting(described: Setting, **options: Any) -> Any:
    """
    Make a dataclass field of a setting.

    Parameters
    ----------
    described : Setting
        The setting.
    **options
        Of ``dataclasses.field``.

    Returns
    -------
    dataclasses.Field
        The field; its metadata has the setting.
    """
    return field(metadata={"setting": described}, **options)


def setting_of(item: Any) -> Setting:
    """
    Give the setting of a dataclass field.

    Parameters
    ----------
    item : dataclasses.Field
        A field that `setting` made.

    Returns
    -------
    Setting
        Its setting.
    """
    found: Setting = item.metadata["setting"]
    return found


def described(*holders: Any) -> dict[str, Setting]:
    """
    List the settings of dataclasses.

    Parameters
    ----------
    *holders : type
        Dataclasses whose fields are settings.

    Returns
    -------
    dict of str to Setting
        By name, in order.
    """
    return {item.name: setting_of(item) for kind in holders for item in fields(kind)}


def shown(*holders: Any) -> list[str]:
    """
    Describe settings to people.

    Parameters
    ----------
    *holders : Parameters or Perturbations
        The settings.

    Returns
    -------
    list of str
        A line for each that says something.
    """
    lines = [
        (item.name, setting_of(item).shown(getattr(holder, item.name)))
        for holder in holders
        for item in fields(holder)
    ]
    return [f"{name}: {text}" for name, text in lines if text]


def recorded(holder: Any) -> dict[str, Any]:
    """
    Write settings as JSON can hold them.

    Parameters
    ----------
    holder : Parameters or Perturbations
        The settings.

    Returns
    -------
    dict
        By name.
    """
    return {
        item.name: setting_of(item).recorded(getattr(holder, item.name))
        for item in fields(holder)
    }
