"""A converted network as one file: safetensors, with the settings in its header."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cnn2snn_brian.description.network import NetworkDescription
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.description.record import layers_of, model_of, rule_of
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole

__all__ = ["fields_of", "load_network", "save_network"]

#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian network 1"


def save_network(network: NetworkDescription, path: str | Path) -> None:
    """
    Write a converted network.

    Parameters
    ----------
    network : NetworkDescription
        The network.
    path : path-like
        The file to write.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    WriteError
        If the disk is full, or the like.
    """
    settings, arrays = network.record()
    header = {"format": FORMAT, "network": json.dumps(settings)}
    with written_whole(path) as unfinished:
        save_file(arrays, unfinished, metadata=header)


def load_network(path: str | Path) -> dict[str, Any]:
    """
    Read a converted network.

    Parameters
    ----------
    path : path-like
        A file that `save_network` wrote.

    Returns
    -------
    dict
        The fields of the network.

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
        fields = fields_of(json.loads(header["network"]), arrays)
        NetworkDescription(**fields)  # checks that all of it fits together
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        message = f"{path}: damaged: {type(error).__name__}: {error}"
        raise InputError(message) from error
    return fields


def fields_of(settings: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """
    Turn what `NetworkDescription.record` gave into the fields of a network.

    Parameters
    ----------
    settings : dict
        From JSON.
    arrays : dict of str to ndarray
        Weights and biases.

    Returns
    -------
    dict
        The fields.
    """
    fields = dict(settings)
    input_shape = fields.pop("input_shape")
    layers = layers_of(input_shape, fields["layers"], arrays)
    # A file of an earlier version lacks newer parameters, which have defaults.
    parameters = Parameters.of(layers, **fields["parameters"])
    if "neurons" in fields:
        described = fields["neurons"]
        models = {name: model_of(values) for name, values in described.items()}
        one = len({json.dumps(values) for values in described.values()}) == 1
        fields["neurons"] = next(iter(models.values())) if one else models
    if "rules" in fields:
        fields["rules"] = {k: rule_of(rule) for k, rule in fields["rules"].items()}
    if fields["classes"] is not None:
        fields["classes"] = tuple(fields["classes"])
    return fields | {"layers": layers, "parameters": parameters}
