"""Networks and neuron models as JSON and arrays: for files, results and comparison."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from brian2 import Quantity, get_dimensions, get_or_create_dimension, second

from cnn2snn_brian.projections import (
    AvgPool2d,
    Ceiling,
    Conv2d,
    Joined,
    Layers,
    Linear,
    MaxPool2d,
    Placed,
    Pooled,
)
from cnn2snn_brian.settings.neuron_models import NeuronModel
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.plasticity import Rule
from cnn2snn_brian.settings.ready_made_neurons import IF
from cnn2snn_brian.settings.settings import CHOICES, recorded

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Conv2d, AvgPool2d, MaxPool2d, Linear, Placed, Pooled, Joined)
}

#: Fields of a neuron model and of a rule that are numbers, with units, by name.
_NUMBERS = ("parameters", "initial")


def _tuples(value: Any) -> Any:
    """Turn the lists of JSON back into the tuples of a layer."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _number(value: Any) -> list[Any]:
    """Write a parameter as its number in SI units and its dimensions."""
    number = float(value)
    # A text where JSON has no number.
    written = number if np.isfinite(number) else str(number)
    return [written, list(get_dimensions(value)._dims)]


def _quantity(stored: list[Any]) -> Any:
    number, dimensions = float(stored[0]), stored[1]
    return (
        Quantity(number, dim=get_or_create_dimension(dimensions))
        if any(dimensions)
        else number
    )


def described_model(model: NeuronModel | Rule) -> dict[str, Any]:
    """Turn a neuron model, or a rule of plasticity, into what JSON can hold."""
    values = dict(vars(model))
    for name in _NUMBERS:
        values[name] = {key: _number(value) for key, value in values[name].items()}
    if isinstance(model, NeuronModel):
        values["refractory"] = float(model.refractory)
    return values


def model_of(described: dict[str, Any], kind: type[Any] = NeuronModel) -> Any:
    """Make the neuron model, or rule, that `described_model` described."""
    values = dict(described)
    for name in _NUMBERS:
        values[name] = {key: _quantity(value) for key, value in values[name].items()}
    if values.get("refractory"):
        values["refractory"] *= second
    return kind(**values)


def _described_layer(layer: Any, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Describe one layer, and collect its arrays."""
    description: dict[str, Any] = {"kind": type(layer).__name__}
    for item in dataclasses.fields(layer):
        value = getattr(layer, item.name)
        if isinstance(value, np.ndarray):
            arrays[f"{prefix}.{item.name}"] = value
        elif isinstance(value, tuple(_KINDS.values())):
            description[item.name] = _described_layer(value, prefix, arrays)
        elif item.name in ("parts", "pools"):
            description[item.name] = [
                _described_layer(
                    part, part.name if item.name == "parts" else "", arrays
                )
                for part in value
            ]
        elif item.init and value is not None:
            description[item.name] = value
    return description


def _layer_of(description: dict[str, Any], prefix: str, arrays: dict[str, Any]) -> Any:
    """Make the layer that `_described_layer` described."""
    fields: dict[str, Any] = {}
    for what, value in description.items():
        if what in ("parts", "pools"):
            fields[what] = tuple(
                _layer_of(part, _name_of(part) if what == "parts" else "", arrays)
                for part in value
            )
        elif isinstance(value, dict):
            fields[what] = _layer_of(value, prefix, arrays)
        elif what != "kind":
            fields[what] = _tuples(value)
    kind = _KINDS[description["kind"]]
    for item in dataclasses.fields(kind):
        if f"{prefix}.{item.name}" in arrays:
            fields[item.name] = arrays[f"{prefix}.{item.name}"]
    return kind(**fields)


def _name_of(description: dict[str, Any]) -> str:
    """Find the name of a layer, which may be within another."""
    if "name" in description:
        return str(description["name"])
    return _name_of(description["layer"])


def described_layers(layers: Layers) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Turn layers into what JSON can hold, and arrays."""
    arrays: dict[str, Any] = {}
    descriptions = [_described_layer(layer, layer.name, arrays) for layer in layers]
    for ceiling in layers.ceilings:
        described = descriptions[layers.names.index(ceiling.layer)]
        described["ceiling"] = [ceiling.activation, ceiling.steps]
    return descriptions, arrays


def layers_of(
    input_shape: Any, descriptions: list[dict[str, Any]], arrays: dict[str, Any]
) -> Layers:
    """Make the layers that `described_layers` described."""
    layers, ceilings = [], []
    for given in descriptions:
        description = dict(given)
        ceiling = description.pop("ceiling", None)
        name = _name_of(description)
        layers.append(_layer_of(description, name, arrays))
        if ceiling is not None:
            ceilings.append(Ceiling(name, *ceiling))
    return Layers(_tuples(list(input_shape)), tuple(layers), tuple(ceilings))


def network_record(network: "SpikingNetwork") -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Describe the network by what JSON can hold, and arrays.

    Returns
    -------
    settings : dict
        Everything but the arrays.
    arrays : dict of str to ndarray
        Weights and biases, ``conv1.weight``.
    """
    layers, arrays = described_layers(network.layers)
    settings: dict[str, Any] = {
        "input_shape": network.input_shape,
        "layers": layers,
        "parameters": recorded(network.parameters),
        **{what: getattr(network, what) for what in CHOICES if what != "propagation"},
        "dt_s": network.dt_s,
        "classes": network.classes,
    }
    # Only where they differ from the default, so that version 0.1.0 reads the rest.
    models = {
        name: described_model(model)
        for name, model in network.models(network.neurons).items()
    }
    if any(model != described_model(IF()) for model in models.values()):
        settings["neurons"] = models
    for name in ("delays_s", "release_probability"):
        if getattr(network, name):
            settings[name] = getattr(network, name)
    if network.propagation != "step":
        settings["propagation"] = network.propagation
    if network.rules:
        settings["rules"] = {k: described_model(r) for k, r in network.rules.items()}
    return settings, arrays


def fields_of(settings: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Turn what `network_record` gave into the fields of a network."""
    layers = layers_of(settings["input_shape"], settings["layers"], arrays)
    # A file of an earlier version lacks newer parameters, which have defaults.
    fields = settings | {
        "layers": layers,
        "parameters": Parameters.of(layers, **settings["parameters"]),
    }
    del fields["input_shape"]
    models = {k: model_of(v) for k, v in fields.get("neurons", {}).items()}
    if models:
        first, *others = settings["neurons"].values()
        is_one = all(other == first for other in others)
        fields["neurons"] = next(iter(models.values())) if is_one else models
    rules = settings.get("rules", {})
    return fields | {"rules": {k: model_of(v, Rule) for k, v in rules.items()}}
