"""Networks and neuron models as JSON and arrays: for files, results and comparison."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, get_dimensions, get_or_create_dimension, second

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    Ceiling,
    Connection,
    Convolution,
    Dense,
    Kernel,
    Network,
    Population,
    Projection,
    Window,
    gate_window,
    simplest,
    span_matrix,
    then,
)
from cnn2snn_brian.settings.neuron_models import NeuronModel
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.plasticity import Rule
from cnn2snn_brian.settings.ready_made_neurons import IF
from cnn2snn_brian.settings.settings import CHOICES, recorded

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

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


def described_network(network: Network) -> tuple[dict[str, Any], dict[str, Any]]:
    """Turn populations and projections into what JSON can hold, and arrays."""
    arrays: dict[str, Any] = {}

    def described(part: Any, prefix: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for item in dataclasses.fields(part):
            value = getattr(part, item.name)
            if isinstance(value, np.ndarray):
                arrays[f"{prefix}.{item.name}"] = value
            elif dataclasses.is_dataclass(value):
                values[item.name] = described(value, prefix)
            elif item.init and value is not None:
                values[item.name] = value
        if isinstance(part, Kernel):
            values["kind"] = type(part).__name__
        return values

    parts = {
        what: [described(part, part.name) for part in getattr(network, what)]
        for what in ("populations", "projections")
    }
    return parts, arrays


def network_of(
    input_shape: Any, record: Any, arrays: Mapping[str, npt.NDArray[Any]]
) -> Network:
    """Make the network that `described_network`, or an earlier version, described."""
    if isinstance(record, list):
        return _network_0_2(_tuples(input_shape), record, arrays)

    def given(values: Mapping[str, Any], prefix: str, kind: Any) -> Any:
        found = {what: _tuples(value) for what, value in values.items()}
        for item in dataclasses.fields(kind):
            if f"{prefix}.{item.name}" in arrays:
                found[item.name] = arrays[f"{prefix}.{item.name}"]
        try:
            return kind(**found)
        except InputError as error:  # a kernel and a window have no name
            raise InputError(f"{prefix}: {error}") from error

    populations, projections = [], []
    for values in record["populations"]:
        values = dict(values)
        if "ceiling" in values:
            values["ceiling"] = Ceiling(**values["ceiling"])
        populations.append(given(values, values["name"], Population))
    for values in record["projections"]:
        name, parts = values["name"], dict(values["connection"])
        if "kernel" in parts:
            kernel = dict(parts["kernel"])
            parts["kernel"] = given(kernel, name, Kernel.kinds[kernel.pop("kind")])
        if "window" in parts:
            parts["window"] = given({}, name, Window)
        connection = Connection(**{k: _tuples(v) for k, v in parts.items()})
        projections.append(Projection(**{**values, "connection": connection}))
    return Network(_tuples(input_shape), tuple(populations), tuple(projections))


def _network_0_2(
    input_shape: Any,
    layers: list[dict[str, Any]],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> Network:
    """Read layers as versions 0.1.0 and 0.2.0 described them."""
    populations, projections = [], []
    for layer in layers:
        found = [_part_0_2(part, arrays) for part in layer.get("parts", [layer])]
        name = layer["name"] if "parts" in layer else found[0][0]
        ceiling = layer.get("ceiling")
        populations.append(
            Population(
                name,
                found[0][2].shape,
                arrays.get(f"{name}.bias"),
                _inner_0_2(layer).get("n_bias_parameters", 0),
                None if ceiling is None else Ceiling(*ceiling),
            )
        )
        projections += [
            Projection(own, source, name, connection, gate=gate)
            for own, source, connection, gate in found
        ]
    return Network(input_shape, tuple(populations), tuple(projections))


def _inner_0_2(part: dict[str, Any]) -> dict[str, Any]:
    return _inner_0_2(part["layer"]) if "layer" in part else part


def _part_0_2(
    part: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[str, str, Connection, Any]:
    """Read name, source, connection and rule of a gate of a part of a layer."""
    if part["kind"] == "Placed":
        name, source, own, gate = _part_0_2(part["layer"], arrays)
        return name, source, own.moved(part["start"], part["channels"]), gate
    if part["kind"] == "Pooled":
        first = [_part_0_2(pool, arrays) for pool in part["pools"]]
        name, _, whole, gate = _part_0_2(part["layer"], arrays)
        for _, _, pool, _ in reversed(first):
            whole = then(pool, whole) or whole
        return name, first[0][1], whole, gate
    values = {what: _tuples(value) for what, value in part.items()}
    name, (source,), shape = (values[k] for k in ("name", "inputs", "input_shape"))
    if part["kind"] in ("AvgPool2d", "MaxPool2d"):
        spans = values["rows"], values["columns"]
        if part["kind"] == "MaxPool2d":
            window = gate_window(shape[1:], spans)
        else:
            shares = values["row_weights"], values["column_weights"]
            axes = zip(shape[1:], spans, shares, strict=True)
            window = Window(*(span_matrix(*axis) for axis in axes))
        gate = values.get("rule", "gate") if part["kind"] == "MaxPool2d" else None
        return name, source, Connection(shape, window), gate
    geometry = ("stride", "padding", "dilation", "groups")
    kind = Dense if part["kind"] == "Linear" else Convolution
    more = {what: values[what] for what in geometry if what in values}
    kernel = kind(shape, arrays[f"{name}.weight"], **more)
    return name, source, simplest(Connection(shape, kernel=kernel)), None


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
    layers, arrays = described_network(network.layers)
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
    layers = network_of(settings["input_shape"], settings["layers"], arrays)
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
