"""From layers to a Brian2 network, and to a compiled simulator of it."""

import math
from dataclasses import dataclass
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

from cnn2snn_brian.encoding import check_images, poisson_rates
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.explicit_synapses import explicit_synapses
from cnn2snn_brian.layers import INPUT, Layers, to_neurons
from cnn2snn_brian.neurons import RESETS, Reset, if_neurons
from cnn2snn_brian.parameters import ByLayer, Parameters
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

    Raises
    ------
    InputError
        If a setting is unknown, dt is not above 0, or there are not as many class
        names as output neurons.
    """

    layers: Layers
    parameters: Parameters
    reset: Reset = "zero"
    encoding: Encoding = "poisson"
    synapses: SynapseKind = "shared"
    dt_s: float = 1e-3
    dtype: Literal["float32", "float64"] = "float32"
    classes: tuple[str, ...] | None = None

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

    def network(self, image: Any = None, parameters: Parameters | None = None) -> Any:
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

        Returns
        -------
        brian2.Network
            The network, at the start of a picture.

        Raises
        ------
        InputError
            If the picture or the number of synapses can't be used.
        """
        parameters = parameters or self.parameters
        clock = Clock(dt=self.dt, name=CLOCK_NAME)
        network = Network(name=NETWORK_NAME)
        groups: dict[str, Any] = {}
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
            )
            group.v_th = parameters.thresholds[layer.name]
            group.v_min = parameters.v_min[layer.name]
            group.leak = parameters.leak[layer.name]
            v_init = parameters.v_init[layer.name]
            group.v = v_init * parameters.thresholds[layer.name]
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
                network.add(self._connect(layer, groups[source_name], group, clock))
        if image is not None:
            self.show(network, image, parameters.rate_scale)
        return network

    def _connect(self, layer: Any, source: Any, target: Any, clock: Clock) -> Any:
        name = f"{layer.name}_synapses"
        if self.synapses == "shared":
            return SharedSynapses(
                source, target, layer, clock=clock, name=name, dtype=self.dtype
            )
        return explicit_synapses(
            layer, source, target, clock=clock, name=name, dtype=self.dtype
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
        return f"{self.layers}\nthresholds: {thresholds}\n{settings}"
