"""A converted network as one file: safetensors, with the settings in its header."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from brian2 import Quantity, get_dimensions, second
from brian2.units.fundamentalunits import get_or_create_dimension
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.layers import AvgPool2d, Conv2d, Layers, Linear
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.neuron_models import IF, NeuronModel
from cnn2snn_brian.parameters import Parameters

__all__ = ["load_network", "save_network"]

#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian network 1"

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Conv2d, AvgPool2d, Linear)
}


def _tuples(value: Any) -> Any:
    """Turn the lists of JSON back into the tuples of a layer."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _number(value: Any) -> list[Any]:
    """Write a parameter as its number in SI units and its dimensions."""
    return [float(value), list(get_dimensions(value)._dims)]


def _quantity(stored: list[Any]) -> Any:
    number, dimensions = stored
    return (
        Quantity(number, dim=get_or_create_dimension(dimensions))
        if any(dimensions)
        else number
    )


#: Fields of a model that are numbers, with units, by name.
_NUMBERS = ("parameters", "initial")


def _described(model: NeuronModel) -> dict[str, Any]:
    """Turn a neuron model into what JSON can hold."""
    values = {
        item.name: getattr(model, item.name) for item in dataclasses.fields(model)
    }
    for name in _NUMBERS:
        values[name] = {key: _number(value) for key, value in values[name].items()}
    values["refractory"] = float(model.refractory)
    return values


def _model(values: dict[str, Any]) -> NeuronModel:
    for name in _NUMBERS:
        values[name] = {key: _quantity(value) for key, value in values[name].items()}
    if values["refractory"]:
        values["refractory"] *= second
    return NeuronModel(**values)


def save_network(network: SpikingNetwork, path: str | Path) -> None:
    """
    Write a converted network.

    Parameters
    ----------
    network : SpikingNetwork
        The network.
    path : path-like
        The file to write.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    """
    arrays: dict[str, Any] = {}
    descriptions = []
    for layer in network.layers:
        description: dict[str, Any] = {"kind": type(layer).__name__}
        for item in dataclasses.fields(layer):
            value = getattr(layer, item.name)
            if isinstance(value, np.ndarray):
                arrays[f"{layer.name}.{item.name}"] = value
            elif item.init and value is not None:
                description[item.name] = value
        descriptions.append(description)
    settings = {
        "input_shape": network.input_shape,
        "layers": descriptions,
        "parameters": dataclasses.asdict(network.parameters),
        "reset": network.reset,
        "encoding": network.encoding,
        "synapses": network.synapses,
        "dt_s": network.dt_s,
        "dtype": network.dtype,
        "classes": network.classes,
    }
    # Only where they differ from the default, so that earlier versions read the rest.
    models = network.models(network.neurons)
    if any(model != IF() for model in models.values()):
        settings["neurons"] = {
            name: _described(model) for name, model in models.items()
        }
    for name in ("delays_s", "release_probability"):
        if getattr(network, name):
            settings[name] = getattr(network, name)
    header = {"format": FORMAT, "network": json.dumps(settings)}
    with written_whole(path) as unfinished:
        save_file(arrays, unfinished, metadata=header)


def load_network(path: str | Path) -> SpikingNetwork:
    """
    Read a converted network.

    Parameters
    ----------
    path : path-like
        A file that `save_network` wrote.

    Returns
    -------
    SpikingNetwork
        The same network.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    if not Path(path).is_file():
        message = f"{path}: there is no such file"
        raise InputError(message)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        message = f"{path}: not a converted network: {error}"
        raise InputError(message) from error
    if header.get("format") != FORMAT:
        message = (
            f"{path}: its format is {header.get('format')!r}, expected {FORMAT!r}; "
            "make it with `cnn2snn-brian convert` or SpikingNetwork.save"
        )
        raise InputError(message)
    try:
        return _read(json.loads(header["network"]), arrays)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        message = f"{path}: damaged: {type(error).__name__}: {error}"
        raise InputError(message) from error


def _read(settings: dict[str, Any], arrays: dict[str, Any]) -> SpikingNetwork:
    descriptions = settings.pop("layers")
    layers = []
    for description in descriptions:
        kind = _KINDS[description.pop("kind")]
        fields = {name: _tuples(value) for name, value in description.items()}
        prefix = f"{fields['name']}."
        fields |= {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        layers.append(kind(**fields))
    if "neurons" in settings:
        models = {name: _model(values) for name, values in settings["neurons"].items()}
        different = {str(dataclasses.astuple(model)) for model in models.values()}
        one = len(different) == 1 and next(iter(models.values()))
        settings["neurons"] = one or models
    network = SpikingNetwork(
        Layers(_tuples(settings.pop("input_shape")), tuple(layers)),
        Parameters(**settings.pop("parameters")),
        classes=_tuples(settings.pop("classes")),
        **settings,
    )
    # Every layer needs its numbers, and no other has any.
    Parameters.of(network.layer_names, **dataclasses.asdict(network.parameters))
    return network
