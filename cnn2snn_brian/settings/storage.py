"""Networks and neuron models as JSON and arrays: for files, results and comparison."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
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
    OnOffPixels,
    Population,
    Projection,
    Window,
    gate_window,
    is_left_out,
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


#: Fields of a population, a projection or a connection that have fields themselves.
_PARTS: dict[str, Any] = {
    "ceiling": Ceiling,
    "connection": Connection,
    "kernel": Kernel,
    "window": Window,
}


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
    if not any(dimensions):
        return number
    return Quantity(number, dim=get_or_create_dimension(dimensions))


def described_model(model: NeuronModel | Rule) -> dict[str, Any]:
    """Turn a neuron model, or a rule of plasticity, into what JSON can hold."""
    values = dict(vars(model))
    for name in _NUMBERS:
        values[name] = {key: _number(value) for key, value in values[name].items()}
    if isinstance(model, NeuronModel):
        values["refractory"] = float(model.refractory)
        if model.size is None:  # earlier versions don't have it
            del values["size"], values["most"], values["signed"]
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
            elif item.init and value is not None and not is_left_out(item, value):
                values[item.name] = value
        if isinstance(part, Kernel):
            values["kind"] = type(part).__name__
        return values

    parts: dict[str, Any] = {
        what: [described(part, part.name) for part in getattr(network, what)]
        for what in ("populations", "projections")
    }
    if network.pixels is not None:
        pixels = {name: getattr(network.pixels, name) for name in ("mean", "std")}
        parts["pixels"] = {name: value.tolist() for name, value in pixels.items()}
    if network.notes:
        parts["notes"] = [*network.notes]
    return parts, arrays


def network_of(
    input_shape: Any, record: Any, arrays: Mapping[str, npt.NDArray[Any]]
) -> Network:
    """Make the network that `described_network`, or an earlier version, described."""
    if isinstance(record, list):
        return _network_0_2(_tuples(input_shape), record, arrays)

    def given(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
        found = {
            what: given(_PARTS[what], value, prefix)
            if what in _PARTS
            else _tuples(value)
            for what, value in values.items()
        }
        kind = Kernel.kinds[found.pop("kind")] if kind is Kernel else kind
        for item in dataclasses.fields(kind):
            if f"{prefix}.{item.name}" in arrays:
                found[item.name] = arrays[f"{prefix}.{item.name}"]
        try:
            return kind(**found)
        except InputError as error:
            if str(error).startswith(prefix):
                raise
            # A kernel and a window have no name.
            raise InputError(f"{prefix}: {error}") from error

    populations, projections = (
        tuple(given(kind, values, values["name"]) for values in record[what])
        for what, kind in (("populations", Population), ("projections", Projection))
    )
    said = {k: np.array(v, np.float64) for k, v in record.get("pixels", {}).items()}
    pixels = OnOffPixels(**said) if said else None
    notes = tuple(record.get("notes", ()))
    return Network(_tuples(input_shape), populations, projections, pixels, notes)


def _network_0_2(
    input_shape: Any,
    layers: list[dict[str, Any]],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> Network:
    """Read layers as versions 0.1.0 and 0.2.0 described them."""
    populations, projections = [], []
    for layer in layers:
        inner = _inner_0_2(layer)
        name, ceiling = inner["name"], layer.get("ceiling")
        found = [_part_0_2(p, name, arrays) for p in layer.get("parts", [layer])]
        populations.append(
            Population(
                name,
                found[0].connection.shape,
                arrays.get(f"{name}.bias"),
                inner.get("n_bias_parameters", 0),
                None if ceiling is None else Ceiling(*ceiling),
            )
        )
        projections += found
    return Network(input_shape, tuple(populations), tuple(projections))


def _inner_0_2(part: dict[str, Any]) -> dict[str, Any]:
    return _inner_0_2(part["layer"]) if "layer" in part else part


def _part_0_2(
    part: dict[str, Any], target: str, arrays: Mapping[str, npt.NDArray[Any]]
) -> Projection:
    """Read a part of a layer."""
    if "layer" in part:
        inner = _part_0_2(part["layer"], target, arrays)
        whole, source = inner.connection, inner.source
        if part["kind"] == "Placed":
            whole = whole.moved(part["start"], part["channels"])
        for pool in reversed(part.get("pools", ())):
            first = _part_0_2(pool, target, arrays)
            whole, source = then(first.connection, whole) or whole, first.source
        return replace(inner, source=source, connection=whole)
    values = {what: _tuples(value) for what, value in part.items()}
    name, (source,), shape = (values[k] for k in ("name", "inputs", "input_shape"))
    kind, gate = part["kind"], None
    if kind == "MaxPool2d":
        gate = values.get("rule", "gate")
        window = gate_window(shape[1:], (values["rows"], values["columns"]))
        connection = Connection(shape, window)
    elif kind == "AvgPool2d":
        spans = values["rows"], values["columns"]
        shares = values["row_weights"], values["column_weights"]
        axes = zip(shape[1:], spans, shares, strict=True)
        connection = Connection(shape, Window(*(span_matrix(*axis) for axis in axes)))
    else:
        make: Any = Dense if kind == "Linear" else Convolution
        geometry = ("stride", "padding", "dilation", "groups")
        more = {what: values[what] for what in geometry if what in values}
        kernel = make(shape, arrays[f"{name}.weight"], **more)
        connection = simplest(Connection(shape, kernel=kernel))
    return Projection(name, source, target, connection, gate=gate)


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
    models = network.models(network.neurons)
    settings["neurons"] = {k: described_model(model) for k, model in models.items()}
    if all(model == described_model(IF()) for model in settings["neurons"].values()):
        del settings["neurons"]
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
