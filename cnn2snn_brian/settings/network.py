"""What a converted network is: its layers and how they are simulated."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from brian2 import Quantity, second
from brian2.units import have_same_dimensions
from rich.table import Table
from safetensors import safe_open
from safetensors.numpy import save_file

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import DAMAGE, checksum, written_whole
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import INPUT, Layers, MaxPool2d
from cnn2snn_brian.settings.names import check_layer_names
from cnn2snn_brian.settings.neuron_models import NeuronModel
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.perturbations import Perturbations
from cnn2snn_brian.settings.plasticity import Rule, checked_rules
from cnn2snn_brian.settings.ready_made_neurons import IF
from cnn2snn_brian.settings.settings import (
    CHOICES,
    ByLayer,
    Encoding,
    FrozenDict,
    Propagation,
    Reset,
    SynapseKind,
    check_choice,
    check_names,
    checked_kinds,
    recorded,
    shown,
    shown_kind,
)
from cnn2snn_brian.settings.storage import (
    described_layers,
    described_model,
    described_rule,
    layers_of,
    model_of,
    rule_of,
)


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


@dataclass(frozen=True, eq=False)
class NetworkDescription(Printed):
    """
    A converted CNN without a Brian2 object: all that its network is built from.

    Attributes
    ----------
    layers : Layers
        The layers with their weights.
    parameters : Parameters
        Thresholds, floors, leaks, starting potentials and rate scale.
    reset : {"zero", "subtract"}
        Whether a spike sets the potential to 0 or takes the threshold from it.
    encoding : {"poisson", "current"}
        Whether an image is Poisson spikes, or a constant current into the first layer.
    synapses : {"shared", "explicit"} or dict of str to {"shared", "explicit"}
        Whether only kernels are stored (see `SharedSynapses`), or every synapse; of all
        layers or by layer, and ``"shared"`` for layers that a dict leaves out.
    dt_s : float
        Time step in seconds.
    dtype : {"float32", "float64"}
        Type of the state of neurons and synapses.
    classes : tuple of str, optional
        Names of the output neurons.
    neurons : NeuronModel or dict of str to NeuronModel
        What the neurons compute, of all layers or by layer; `IF` by default, also for
        layers that a dict leaves out.
    delays_s : dict of str to float
        Delay of the synapses into a layer in seconds; 0 for layers left out.
    release_probability : dict of str to float
        Layers whose synapses fail at random, and the probability that a spike is
        transmitted.
    propagation : {"step", "instant"}
        Whether a spike acts on the next layer one step later, or within the step.
    rules : dict of str to Rule
        Layers whose synapses learn, and their rules of plasticity.

    Raises
    ------
    InputError
        If a setting is unknown or out of its range, dt is not above 0, or there are not
        as many class names as output neurons.

    Notes
    -----
    Descriptions are equal if everything about them is, weights included.
    """

    layers: Layers
    parameters: Parameters
    reset: Reset = "zero"
    encoding: Encoding = "poisson"
    synapses: SynapseKind | Mapping[str, SynapseKind] = "shared"
    dt_s: float = 1e-3
    dtype: Literal["float32", "float64"] = "float32"
    classes: tuple[str, ...] | None = None
    neurons: NeuronModel | Mapping[str, NeuronModel] = field(default_factory=IF)
    delays_s: Mapping[str, float] = field(default_factory=dict)
    release_probability: Mapping[str, float] = field(default_factory=dict)
    propagation: Propagation = "step"
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_layer_names(self.layers)
        n_outputs = math.prod(self.layers[-1].shape)
        if self.classes is not None and len(self.classes) != n_outputs:
            raise InputError(
                f"{n_outputs} output neurons, but {len(self.classes)} class names"
            )
        kinds = checked_kinds(self.synapses, self.layer_names)
        object.__setattr__(self, "synapses", kinds)
        for what, choices in CHOICES.items():
            if what != "synapses":
                check_choice(what, getattr(self, what), choices)
        gates = (layer for layer in self.layers if isinstance(layer, MaxPool2d))
        if self.encoding == "current" and any(INPUT in gate.inputs for gate in gates):
            raise InputError(
                "maximum pooling of the image counts spikes: encoding='poisson'"
            )
        if not (math.isfinite(self.dt_s) and self.dt_s > 0):
            raise InputError(f"dt is {self.dt_s} s, expected a time above 0")
        for name, model in self.models(self.neurons).items():
            if not isinstance(model, NeuronModel):
                raise InputError(
                    f"neurons of {name}: {model!r}, expected a NeuronModel"
                )
        check_names("delay", self.delays_s, self.layer_names)
        for name, delay_s in self.delays_s.items():
            steps = delay_s / self.dt_s
            if not 0 <= steps < math.inf or abs(steps - round(steps)) > 1e-6:
                raise InputError(
                    f"the delay of {name} is {1e3 * delay_s:g} ms, expected a multiple "
                    f"of dt {1e3 * self.dt_s:g} ms of at least 0"
                )
        self.parameters.check_layers(self.layers)
        release = self.check_release(self.release_probability)
        # Copies that can't be changed behind the checks.
        object.__setattr__(self, "release_probability", FrozenDict(release))
        object.__setattr__(self, "delays_s", FrozenDict(self.delays_s))
        rules = checked_rules(
            self.rules, self.layers, self.synapse_kinds, self.encoding
        )
        object.__setattr__(self, "rules", rules)
        if isinstance(self.neurons, Mapping):
            object.__setattr__(self, "neurons", FrozenDict(self.neurons))

    @property
    def synapse_kinds(self) -> dict[str, SynapseKind]:
        """Kind of the synapses into every layer, in order."""
        if isinstance(self.synapses, Mapping):
            return dict(self.synapses)
        return dict.fromkeys(self.layer_names, self.synapses)

    def models(
        self, neurons: NeuronModel | Mapping[str, NeuronModel]
    ) -> dict[str, NeuronModel]:
        """
        Give every layer's model of its neurons.

        Parameters
        ----------
        neurons : NeuronModel or dict of str to NeuronModel
            One model, or models by layer. Layers left out have `IF`.

        Returns
        -------
        dict of str to NeuronModel
            By layer, in order.

        Raises
        ------
        InputError
            If a layer is unknown.
        """
        if not isinstance(neurons, Mapping):
            return dict.fromkeys(self.layer_names, neurons)
        check_names("neurons", neurons, self.layer_names)
        return {name: neurons.get(name, IF()) for name in self.layer_names}

    def check_release(self, probability: ByLayer) -> dict[str, float]:
        """
        Take one release probability or one by layer.

        Parameters
        ----------
        probability : float or dict of str to float
            Probability that a spike is transmitted, 0 to 1.

        Returns
        -------
        dict of str to float
            By layer; layers that a dict leaves out are left out.

        Raises
        ------
        InputError
            If a layer is unknown, or a number is out of its range.
        """
        if not isinstance(probability, Mapping):
            probability = dict.fromkeys(self.layer_names, probability)
        check_names("release_probability", probability, self.layer_names)
        for name, p in probability.items():
            if not 0 <= p <= 1:
                raise InputError(
                    f"release_probability of {name} is {p}, expected 0 to 1"
                )
        return {name: float(p) for name, p in probability.items()}

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return self.layers.names

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Threshold of every layer, in order."""
        return self.parameters.thresholds

    @property
    def dt(self) -> Quantity:
        """Time step of the simulation [s]."""
        return self.dt_s * second

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of an image, (channels, height, width)."""
        return self.layers.input_shape

    @property
    def has_constant_input(self) -> bool:
        """Whether any layer gets a constant input besides the leak."""
        biased = any(layer.bias is not None for layer in self.layers)
        return biased or self.encoding == "current"

    @property
    def population_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all populations that spike, by name."""
        shapes = self.layers.shapes
        if self.encoding == "current":
            del shapes[INPUT]
        return shapes

    def neutral_parameters(self) -> Parameters:
        """
        Give parameters that say nothing of this network.

        A compiled program gets its own at run time; these keep them out of its source.

        Returns
        -------
        parameters : Parameters
            Thresholds of 1, everything else 0.
        """
        return Parameters.of(self.layer_names, thresholds=1, v_min=0, leak=0, v_init=0)

    def record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Describe the network by what JSON can hold, and arrays.

        Returns
        -------
        settings : dict
            Everything but the arrays.
        arrays : dict of str to ndarray
            Weights and biases, ``conv1.weight``.
        """
        layers, arrays = described_layers(self.layers)
        settings: dict[str, Any] = {
            "input_shape": self.input_shape,
            "layers": layers,
            "parameters": recorded(self.parameters),
            **{what: getattr(self, what) for what in CHOICES if what != "propagation"},
            "dt_s": self.dt_s,
            "classes": self.classes,
        }
        # Only where they differ from the default, so that version 0.1.0 reads the rest.
        models = {
            name: described_model(model)
            for name, model in self.models(self.neurons).items()
        }
        if any(model != described_model(IF()) for model in models.values()):
            settings["neurons"] = models
        for name in ("delays_s", "release_probability"):
            if getattr(self, name):
                settings[name] = getattr(self, name)
        if self.propagation != "step":
            settings["propagation"] = self.propagation
        if self.rules:
            settings["rules"] = {k: described_rule(r) for k, r in self.rules.items()}
        return settings, arrays

    @property
    def fingerprint(self) -> str:
        """Hash of everything about the network, weights included, 32 digits."""
        settings, _ = self.record()
        settings["layers"] = self.layers.digest
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def summary(self) -> dict[str, Any]:
        """
        Say what a result should know of its network.

        Returns
        -------
        dict
            What JSON can hold: ``reset``, ``encoding``, ``synapses``, ``dtype``,
            ``delays_s``, ``classes``, ``layers``, a hash of layers and weights, and
            ``receptive_fields`` by layer.
        """
        return {
            **{what: getattr(self, what) for what in CHOICES},
            "delays_s": dict(self.delays_s),
            "classes": None if self.classes is None else list(self.classes),
            "layers": self.layers.digest[:32],
            "receptive_fields": {
                name: own.record() for name, own in self.layers.receptive_fields.items()
            },
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NetworkDescription):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.layers!r}, encoding {self.encoding}, reset "
            f"{self.reset}, dt {self.dt})"
        )

    def _parts(self) -> list[str | Table]:
        choices = (
            f"encoding {self.encoding}, reset {self.reset}, dt {self.dt}, "
            f"{shown_kind(self.synapses)} synapses, {self.dtype}, propagation "
            f"{self.propagation}"
        )
        delays = {k: f"{1e3 * v:g} ms" for k, v in self.delays_s.items() if v}
        lines = [choices, *shown(self.parameters, Perturbations.of(self))]
        if delays:
            lines.append(f"delays: {', '.join(map(' '.join, delays.items()))}")
        return [*self.layers._parts(), "\n".join(lines)]


#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian network 1"


def save_network(network: NetworkDescription, path: str | Path) -> None:
    """Write a converted network."""
    settings, arrays = network.record()
    text = json.dumps(settings)
    header = {"format": FORMAT, "network": text, "sha256": checksum(text, arrays)}
    with written_whole(path) as unfinished:
        save_file(arrays, unfinished, metadata=header)


def load_network(path: str | Path) -> dict[str, Any]:
    """Read a converted network."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except DAMAGE as error:
        raise InputError(f"{path}: not a converted network: {error}") from error
    if header.get("format") != FORMAT:
        raise InputError(
            f"{path}: its format is {header.get('format')!r}, expected {FORMAT!r}; "
            "make it with `cnn2snn-brian convert` or SpikingNetwork.save"
        )
    try:
        # Files of version 0.1.0 have no checksum.
        expected = header.get("sha256", None if len(header) == 2 else "")
        if expected not in (None, checksum(header["network"], arrays)):
            raise ValueError("its checksum is another than that of its content")
        fields = fields_of(json.loads(header["network"]), arrays)
        NetworkDescription(**fields)  # checks that all of it fits together
    except DAMAGE as error:
        raise InputError(f"{path}: damaged: {type(error).__name__}: {error}") from error
    return fields


def fields_of(settings: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Turn what `NetworkDescription.record` gave into the fields of a network."""
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
