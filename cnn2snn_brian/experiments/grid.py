"""A grid of settings: its combinations, their labels, and their content as text."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from brian2 import Quantity, get_dimensions

from cnn2snn_brian.description.network import NetworkDescription
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.base import ByContent

__all__ = ["Axes", "Setting", "axes", "combinations", "row_key", "written"]

#: Of every setting its labels and values.
Axes = dict[str, list[tuple[Any, Any]]]

#: One combination: of every setting a label and a value.
Setting = dict[str, tuple[Any, Any]]


def _label(value: Any) -> Any:
    """Say what stands in the table for a value of the grid."""
    if isinstance(value, Quantity) and np.ndim(value) == 0:
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def axes(grid: Mapping[str, Any], known: Iterable[str]) -> Axes:
    """
    List the values of each setting, and their labels.

    Parameters
    ----------
    grid : dict of str to sequence or dict
        Values of each setting, or values by label.
    known : iterable of str
        Settings that there are.

    Returns
    -------
    Axes
        Labels and values by setting.

    Raises
    ------
    InputError
        If a setting is unknown, or its values are no list, none, or there twice.
    """
    known = tuple(known)
    found: Axes = {}
    for name, values in grid.items():
        if name not in known:
            message = f"grid: unknown setting {name!r}; there are {', '.join(known)}"
            raise InputError(message)
        if isinstance(values, Mapping):
            axis = [(_label(label), value) for label, value in values.items()]
        elif isinstance(values, str) or not isinstance(values, Iterable):
            message = f"grid: {name} is {values!r}, expected a list of values"
            raise InputError(message)
        else:
            axis = [(_label(value), value) for value in values]
        labels = [label for label, _ in axis]
        if not axis or len(set(labels)) < len(labels):
            message = (
                f"grid: {name} needs at least one value, and each once; it has "
                f"{', '.join(map(str, labels)) or 'none'}"
            )
            raise InputError(message)
        found[name] = axis
    return found


def combinations(found: Axes) -> list[Setting]:
    """
    List all combinations.

    Parameters
    ----------
    found : Axes
        Labels and values by setting.

    Returns
    -------
    list of Setting
        In the order of the grid, the last setting fastest.
    """
    return [
        dict(zip(found, chosen, strict=True))
        for chosen in itertools.product(*found.values())
    ]


def row_key(setting: Setting, seed: int) -> str:
    """
    Name the row of a setting and a seed.

    Parameters
    ----------
    setting : Setting
        The setting.
    seed : int
        The seed.

    Returns
    -------
    str
        Labels and seed as JSON.
    """
    return json.dumps([{name: label for name, (label, _) in setting.items()}, seed])


def written(value: Any) -> str:
    """
    Describe a value of a grid, the same in each process.

    Parameters
    ----------
    value : object
        The value.

    Returns
    -------
    str
        Text that is another for another value. Networks, layers, arrays and weights of
        PyTorch modules are hashes of their content; functions are known by their name.
    """
    if isinstance(value, NetworkDescription):
        return value.fingerprint
    if isinstance(value, ByContent):
        return value.digest
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype}{value.shape}{get_dimensions(value)}{content}"
    if isinstance(value, Mapping):
        return str([(str(key), written(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return str([written(item) for item in value])
    if dataclasses.is_dataclass(value):
        items = [
            (item.name, written(getattr(value, item.name)))
            for item in dataclasses.fields(value)
        ]
        return f"{type(value).__name__}{items}"
    if hasattr(value, "state_dict") and not isinstance(value, type):
        # The text of a module says nothing of its weights.
        weights = {k: v.detach().cpu().numpy() for k, v in value.state_dict().items()}
        return f"{value!r}{written(weights)}"
    return getattr(value, "__qualname__", repr(value))
