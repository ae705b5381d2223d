"""From layers to a Brian2 network, and to a compiled simulator of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from brian2 import (
    Clock,
    Network,
    PoissonGroup,
    Quantity,
    check_units,
    linked_var,
    ms,
    second,
)
from brian2.utils.stringtools import word_substitute

from cnn2snn_brian.encoding import check_images, poisson_rates
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.explicit_synapses import explicit_synapses
from cnn2snn_brian.layers import INPUT, Layers, to_neurons
from cnn2snn_brian.lesions import Lesions, lesion_masks
from cnn2snn_brian.neuron_models import IF, NeuronModel
from cnn2snn_brian.neurons import RESETS, Reset, if_neurons
from cnn2snn_brian.parameters import ByLayer, Parameters, check_names
from cnn2snn_brian.perturbations import check_input_noise, perturb_input
from cnn2snn_brian.shared_synapses import SharedSynapses

if TYPE_CHECKING:
    from cnn2snn_brian.simulator import Simulator

__all__ = ["Encoding", "SpikingNetwork", "SynapseKind"]

Encoding = Literal["poisson", "current"]
SynapseKind = Literal["shared", "explicit"]

ENCODINGS: tuple[Encoding, ...] = ("poisson", "current")
SYNAPSE_KINDS: tuple[SynapseKind, ...] = ("shared", "explicit")
DTYPES = ("float32", "float64")

#: Fixed names: a compiled program is found again by its generated source.
CLOCK_NAME = "network_clock"
NETWORK_NAME = "converted_network"

#: A synapse that fails draws once for all that its statement does.
TRANSMITTED = "transmitted = int(rand() < release_probability_post)"


def _check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        message = f"{what}={value!r}: expected {' or '.join(map(repr, choices))}"
        raise InputError(message)


@dataclass
class SpikingNetwork:
    """
    A converted CNN: what is needed to build its Brian2 network, any number of times.

    Attributes
    ----------
    layers : Layers
        The layers with their weights.
    parameters : Parameters
        Thresholds, floors, leaks, starting potentials and rate scale.
    reset : {"zero", "subtract"}
        Whether a spike sets the potential to 0 or takes the threshold from it.
    encoding : {"poisson", "current"}
        Whether a picture is Poisson spikes, or a constant current into the first layer.
    synapses : {"shared", "explicit"}
        Whether only kernels are stored (see `SharedSynapses`), or every synapse.
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

    Raises
    ------
    InputError
        If a setting is unknown or out of its range, dt is not above 0, or there are not
        as many class names as output neurons.
    """

    layers: Layers
    parameters: Parameters
    reset: Reset = "zero"
    encoding: Encoding = "poisson"
    synapses: SynapseKind = "shared"
    dt_s: float = 1e-3
    dtype: Literal["float32", "float64"] = "float32"
    classes: tuple[str, ...] | None = None
    neurons: NeuronModel | Mapping[str, NeuronModel] = field(default_factory=IF)
    delays_s: dict[str, float] = field(default_factory=dict)
    release_probability: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_outputs = math.prod(self.layers[-1].shape)
        if self.classes is not None and len(self.classes) != n_outputs:
            message = f"{n_outputs} output neurons, but {len(self.classes)} class names"
            raise InputError(message)
        _check_choice("reset", self.reset, tuple(RESETS))
        _check_choice("encoding", self.encoding, ENCODINGS)
        _check_choice("synapses", self.synapses, SYNAPSE_KINDS)
        _check_choice("dtype", self.dtype, DTYPES)
        if not (math.isfinite(self.dt_s) and self.dt_s > 0):
            message = f"dt is {self.dt_s} s, expected a time above 0"
            raise InputError(message)
        for name, model in self.models(self.neurons).items():
            if not isinstance(model, NeuronModel):
                message = f"neurons of {name}: {model!r}, expected a NeuronModel"
                raise InputError(message)
        check_names("delay", self.delays_s, self.layer_names)
        for name, delay_s in self.delays_s.items():
            steps = delay_s / self.dt_s
            if not 0 <= steps < math.inf or abs(steps - round(steps)) > 1e-6:
                message = (
                    f"the delay of {name} is {1e3 * delay_s:g} ms, expected a multiple "
                    f"of dt {1e3 * self.dt_s:g} ms of at least 0"
                )
                raise InputError(message)
        self.check_release(self.release_probability)

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
                message = f"release_probability of {name} is {p}, expected 0 to 1"
                raise InputError(message)
        return {name: float(p) for name, p in probability.items()}

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return self.layers.names

    @property
    def thresholds(self) -> dict[str, float]:
        """Threshold of every layer, in order. Setting takes what `convert` takes."""
        return dict(self.parameters.thresholds)

    @thresholds.setter
    def thresholds(self, value: ByLayer) -> None:
        self.parameters = Parameters.of(
            self.layer_names, thresholds=value, default=self.parameters
        )

    @property
    def dt(self) -> Quantity:
        """Time step of the simulation [s]."""
        return self.dt_s * second

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of a picture, (channels, height, width)."""
        return self.layers.input_shape

    @property
    def has_constant_input(self) -> bool:
        """Whether any layer gets a constant input besides the leak."""
        biased = any(layer.bias is not None for layer in self.layers)
        return biased or self.encoding == "current"

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

    def network(
        self,
        image: Any = None,
        parameters: Parameters | None = None,
        *,
        lesion: Lesions = None,
        input_deletion: float = 0.0,
        input_jitter: Any = 0.0,
        seed: int = 0,
    ) -> Any:
        """
        Build a plain Brian2 network on the active device.

        Populations are named like their layers, the Poisson source ``input``, the
        synapses into a layer ``conv1_synapses`` and so on: ``network["conv1"].v``.
        Add monitors, change what you like, and run it. `show` gives it another picture.

        Parameters
        ----------
        image : ndarray, shape (channels, height, width), optional
            The picture to show, float in [0, 1] or uint8. Without one, the input is
            silent.
        parameters : Parameters, optional
            Use these instead of the network's own.
        lesion : Lesion, iterable of Lesion, or dict of str to ndarray, optional
            Neurons that never spike. Layers with lesions have a variable ``lesioned``,
            which can be changed.
        input_deletion : float
            Probability that an input spike is lost.
        input_jitter : Quantity [s]
            Standard deviation of the time by which an input spike is displaced.
        seed : int
            Seed of lesions without one, and of lost and displaced input spikes. All
            other random numbers follow ``brian2.seed``.

        Returns
        -------
        brian2.Network
            The network, at the start of a picture.

        Raises
        ------
        InputError
            If the picture, the number of synapses or an argument can't be used.
        NotImplementedError
            If input spikes are perturbed or silenced in Brian2's standalone mode.
        """
        deletion, jitter_s = check_input_noise(
            self.encoding, input_deletion, input_jitter
        )
        masks = lesion_masks(lesion, self.population_shapes, seed)
        if image is not None:
            check_images(np.asarray(image)[None], self.input_shape)
        parameters = parameters or self.parameters
        network = self._built(parameters, masks)
        for name, model in self.models(self.neurons).items():
            group = network[name]
            for what, value in model.values.items():
                setattr(group, what, value)
            if name in self.release_probability:
                group.release_probability = self.release_probability[name]
            if name in masks:
                group.lesioned = to_neurons(masks[name], masks[name].shape)
        if deletion or jitter_s or INPUT in masks:
            hidden = masks.get(INPUT)
            mask = None if hidden is None else to_neurons(hidden, hidden.shape)
            perturb_input(network, mask, deletion, jitter_s / self.dt_s, seed)
        if image is not None:
            self.show(network, image, parameters.rate_scale)
        return network

    def program_network(self) -> Any:
        """
        Build the network of a compiled program, which gets its values at run time.

        Returns
        -------
        brian2.Network
            The network with `neutral_parameters`, and without values of the models'
            parameters.
        """
        return self._built(self.neutral_parameters(), {})

    @property
    def population_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all populations that spike, by name."""
        shapes = self.layers.shapes
        if self.encoding == "current":
            del shapes[INPUT]
        return shapes

    def _built(self, parameters: Parameters, lesions: Mapping[str, Any]) -> Any:
        clock = Clock(dt=self.dt, name=CLOCK_NAME)
        network = Network(name=NETWORK_NAME)
        groups: dict[str, Any] = {}
        models = self.models(self.neurons)
        if self.encoding == "poisson":
            groups[INPUT] = PoissonGroup(
                math.prod(self.input_shape),
                rates=np.zeros(math.prod(self.input_shape)) / second,
                clock=clock,
                name=INPUT,
            )
            network.add(groups[INPUT])
        for index, layer in enumerate(self.layers):
            constant: Literal["none", "first", "linked"] = "none"
            if self.has_constant_input:
                constant = "first" if index == 0 else "linked"
            group = if_neurons(
                layer.name,
                math.prod(layer.shape),
                clock=clock,
                reset=self.reset,
                constant_input=constant,
                dtype=self.dtype,
                model=models[layer.name],
                failing=layer.name in self.release_probability,
                lesions=layer.name in lesions,
            )
            group.v_th = parameters.thresholds[layer.name]
            group.v_min = parameters.v_min[layer.name]
            group.leak = parameters.leak[layer.name]
            v_init = parameters.v_init[layer.name]
            group.v = v_init * parameters.thresholds[layer.name]
            for what, value in models[layer.name].initial.items():
                setattr(group, what, value)
            if constant == "first":
                group.input_scale = parameters.rate_scale
            elif constant == "linked":
                source = groups[layer.inputs[0]]
                group.input_scale = linked_var(source, "output_scale")
            if constant != "none" and layer.bias is not None:
                group.bias = to_neurons(layer.bias, layer.shape)
            network.add(group)
            groups[layer.name] = group
            for source_name in layer.inputs:
                if source_name not in groups:
                    continue  # a picture as a current has no neurons
                network.add(
                    self._connect(
                        layer, groups[source_name], group, clock, models[layer.name]
                    )
                )
        return network

    def _connect(
        self, layer: Any, source: Any, target: Any, clock: Clock, model: NeuronModel
    ) -> Any:
        name = f"{layer.name}_synapses"
        delay = self.delays_s.get(layer.name, 0.0) * second
        on_pre = model.on_pre
        if layer.name in self.release_probability:
            failing = word_substitute(on_pre, {"w": "(w * transmitted)"})
            on_pre = f"{TRANSMITTED}\n{failing}"
        if self.synapses == "shared":
            return SharedSynapses(
                source,
                target,
                layer,
                on_pre=on_pre,
                delay=delay,
                clock=clock,
                name=name,
                dtype=self.dtype,
            )
        return explicit_synapses(
            layer,
            source,
            target,
            on_pre=on_pre,
            delay=delay,
            clock=clock,
            name=name,
            dtype=self.dtype,
        )

    def show(
        self, network: Network, image: Any, rate_scale: float | None = None
    ) -> None:
        """
        Give a Brian2 network of this CNN another picture.

        Potentials are left as they are: for an independent run, set them too, or
        store the network before the first picture and restore it.

        Parameters
        ----------
        network : brian2.Network
            A network that `network` made.
        image : ndarray, shape (channels, height, width)
            The picture, float in [0, 1] or uint8.
        rate_scale : float, optional
            Spikes per step of a pixel of intensity 1; the network's own by default.

        Raises
        ------
        InputError
            If the picture can't be used.
        """
        pixels = check_images(np.asarray(image)[None], self.input_shape)
        scale = self.parameters.rate_scale if rate_scale is None else rate_scale
        if self.encoding == "poisson":
            network[INPUT].rates = poisson_rates(pixels[0], scale, self.dt)
        else:
            layer, group = self.layers[0], network[self.layer_names[0]]
            current = layer.drive(pixels)[0]
            if layer.bias is not None:
                current = current + layer.bias
            group.bias = to_neurons(current, layer.shape)
            group.input_scale = scale

    @check_units(duration=second)
    def compile(
        self,
        duration: Quantity = 100 * ms,
        *,
        cache_directory: str | Path | None = None,
    ) -> "Simulator":
        """
        Compile the network with Brian2's C++ standalone mode.

        Parameters
        ----------
        duration : Quantity [s]
            How long a picture is shown, a multiple of dt.
        cache_directory : path-like, optional
            Where compiled programs are kept; the user's cache directory by default.

        Returns
        -------
        Simulator
            A context manager that runs the program.

        Raises
        ------
        InputError
            If the duration can't be used.
        BuildError
            If there is no C++ compiler, it fails, or the cache can't be used.
        """
        from cnn2snn_brian.simulator import Simulator

        return Simulator(self, duration, cache_directory=cache_directory)

    def save(self, path: str | Path) -> None:
        """
        Write the network to one file: layers, weights, thresholds and settings.

        Parameters
        ----------
        path : path-like
            The file, a safetensors file with the settings in its header.

        Raises
        ------
        FileNotFoundError
            If its folder does not exist.
        """
        from cnn2snn_brian.storage import save_network

        save_network(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "SpikingNetwork":
        """
        Read a network that `save` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        SpikingNetwork
            The same network.

        Raises
        ------
        InputError
            If the file is missing, damaged or of another kind.
        """
        from cnn2snn_brian.storage import load_network

        return load_network(path)

    def __str__(self) -> str:
        settings = (
            f"encoding {self.encoding}, reset {self.reset}, dt {self.dt}, "
            f"rate scale {self.parameters.rate_scale:g}, {self.synapses} synapses, "
            f"{self.dtype}"
        )
        thresholds = ", ".join(f"{k} {v:.4g}" for k, v in self.thresholds.items())
        models = self.models(self.neurons)
        if any(model != IF() for model in models.values()):
            one = len(set(map(str, models.values()))) == 1
            shown = [f"{name} {model}" for name, model in models.items()]
            settings += (
                f"\nneurons: {next(iter(models.values())) if one else '; '.join(shown)}"
            )
        for what, values, unit in (
            ("delays", {k: 1e3 * v for k, v in self.delays_s.items() if v}, " ms"),
            ("release probability", self.release_probability, ""),
        ):
            if values:
                listed = ", ".join(f"{k} {v:g}{unit}" for k, v in values.items())
                settings += f"\n{what}: {listed}"
        return f"{self.layers}\nthresholds: {thresholds}\n{settings}"
