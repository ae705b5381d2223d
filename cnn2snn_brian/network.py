"""A converted CNN: its Brian2 network, its compiled program, its file."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from brian2 import Network, Quantity, ms, second

from cnn2snn_brian.brian import brian_network, end_trial, has_stored_state, show
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.nir import Integration, Pooling, Resistance, to_nir
from cnn2snn_brian.settings import (
    BY_TRIAL,
    KEPT,
    NetworkDescription,
    Parameters,
    Perturbations,
    Rule,
    as_array,
    check_images,
    check_units,
    load_network,
    save_network,
)
from cnn2snn_brian.simulator import Simulator
from cnn2snn_brian.stimuli import Stimulus


class SpikingNetwork(NetworkDescription):
    """
    A converted CNN: what is needed to build its Brian2 network, any number of times.

    Its fields are those of `NetworkDescription`: ``layers``, ``parameters``, ``reset``,
    ``encoding``, ``synapses``, ``dt_s``, ``dtype``, ``classes``, ``neurons``,
    ``delays_s``, ``release_probability``, ``propagation`` and ``rules``. They can be
    set, and are checked then; ``snn.thresholds = ...`` takes what `convert` takes.
    ``dataclasses.replace`` makes a changed copy. Two networks are equal if everything
    about them is, weights included.

    Raises
    ------
    InputError
        If a field is unknown or out of its range, also when it is set later.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "thresholds":
            name = "parameters"
            value = self.parameters.replace(thresholds=value)
        elif name not in {item.name for item in fields(self)}:
            raise AttributeError(f"a SpikingNetwork has no field {name!r}")
        checked = replace(self, **{name: value})
        object.__setattr__(self, name, getattr(checked, name))

    def plasticity(self, layer: str, rule: Rule) -> "SpikingNetwork":
        """
        Let the synapses into a layer learn.

        Parameters
        ----------
        layer : str
            A layer with explicit synapses: ``convert(..., synapses={"ip1":
            "explicit"})``.
        rule : Rule
            The rule: `STDP`, `RewardSTDP` or a `Rule` of your own.

        Returns
        -------
        SpikingNetwork
            A new network; this one stays as it is.

        Raises
        ------
        InputError
            If the layer is unknown or has shared or no synapses, or the rule is none.
        """
        return replace(self, rules={**self.rules, layer: rule})

    def network(
        self,
        image: Any = None,
        parameters: Parameters | None = None,
        *,
        seed: int = 0,
        input: Any = None,
        **perturbations: Any,
    ) -> Network:
        """
        Build a plain Brian2 network on the active device.

        Populations are named like their layers, the Poisson source ``input``, the
        synapses into a layer ``conv1_synapses`` and so on: ``network["conv1"].v``.
        Add monitors, change what you like, and run it. `show` gives it another image.

        Parameters
        ----------
        image : ndarray, shape (channels, height, width), or Stimulus, optional
            The image to show, float in [0, 1] or uint8; or a stimulus in time. Without
            one, the input is silent.
        parameters : Parameters, optional
            Use these instead of the network's own.
        seed : int
            Seed of lesions without one, and of lost and displaced input spikes. All
            other random numbers follow ``brian2.seed``.
        input : Group, optional
            A group of your own in place of the input, such as a `SpikeGeneratorGroup`:
            anything that spikes, with a neuron for each pixel, ordered (y, x, channel),
            and the network's time step. It keeps its name.
        **perturbations
            ``neurons``, ``release_probability``, ``lesion``, ``input_deletion``,
            ``input_jitter``, ``plasticity`` and ``weights`` as in `Simulator.run`.
            Layers with lesions have a variable ``lesioned``, which can be changed.

        Returns
        -------
        brian2.Network
            The network, at the start of an image.

        Raises
        ------
        InputError
            If the image, the stimulus, the group, the number of synapses or an
            argument can't be used.
        UnsupportedDeviceError
            If input spikes are lost, displaced or silenced in Brian2's standalone mode.
        """
        for name in sorted({KEPT, *BY_TRIAL} & set(perturbations)):
            raise InputError(
                f"{name}: in Brian2, give it to end_trial at the end of a trial"
            )
        given = Perturbations.of(self, seed, **perturbations)
        if input is not None:
            if image is not None:
                raise InputError("give an image or stimulus, or input=..., not both")
            if isinstance(input, Stimulus):
                raise InputError(
                    f"input is a {input.label}: a stimulus is the first argument"
                )
            if float(given.input_jitter):
                raise InputError(
                    "input_jitter: spikes of a group of your own can't be displaced; "
                    "show SpikeTrains for that"
                )
        parameters = parameters or self.parameters
        if input is not None or isinstance(image, Stimulus):
            stimulus = image if input is None else input
            return brian_network(self, parameters, given, seed, stimulus)
        if image is not None:
            check_images(as_array("the image", image)[None], self.input_shape)
        network = brian_network(self, parameters, given, seed)
        if image is not None:
            show(self, network, image)
        return network

    def show(
        self, network: Network, image: Any, rate_scale: float | None = None
    ) -> None:
        """
        Give a Brian2 network of this CNN another image.

        Potentials are left as they are: for an independent run, set them too, or
        store the network before the first image and restore it.

        Parameters
        ----------
        network : brian2.Network
            A network that `network` made.
        image : ndarray, shape (channels, height, width)
            The image, float in [0, 1] or uint8.
        rate_scale : float, optional
            Spikes per step of a pixel of intensity 1, for this image and those after
            it; by default what the network has.

        Raises
        ------
        InputError
            If the image can't be used.
        """
        show(self, network, image, rate_scale)

    def end_trial(
        self, network: Network, reward: float = 0.0, *, keep_weights: bool = True
    ) -> None:
        """
        End a trial of a Brian2 network that learns, and go back to its start.

        Rules do what they do at a trial's end, then the network is restored as
        ``network.store()`` left it, monitors and time included. Read your monitors
        before.

        Parameters
        ----------
        network : brian2.Network
            A network that `network` made, on which ``network.store()`` was called
            before its first trial.
        reward : float
            Reward of the trial.
        keep_weights : bool
            Whether the learned weights go on, or are those of the start again.

        Raises
        ------
        InputError
            If nothing learns, the network was not stored, or the reward is no number.
        """
        if not self.rules:
            raise InputError(
                "end_trial: no layer of this network learns; use network.restore()"
            )
        if np.ndim(reward) or not np.isfinite(reward):
            raise InputError(f"reward is {reward}, expected a finite number")
        if not has_stored_state(network):
            raise InputError(
                "end_trial: call network.store() before the first trial, so that there "
                "is a start to go back to"
            )
        learned = {}
        for name, rule in self.rules.items():
            synapses = network[f"{name}_synapses"]
            end_trial(synapses, rule, float(reward))
            learned[name] = np.array(synapses.w_[:])
        network.restore()
        for name in learned if keep_weights else ():
            network[f"{name}_synapses"].w = learned[name]

    @check_units(duration=second)
    def compile(
        self,
        duration: Quantity = 100 * ms,
        *,
        cache_directory: str | Path | None = None,
    ) -> Simulator:
        """
        Compile the network with Brian2's C++ standalone mode.

        Parameters
        ----------
        duration : Quantity [s]
            How long an image is shown, and how long a stimulus takes at most; a
            multiple of dt.
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
        return Simulator(self, duration, cache_directory=cache_directory)

    def to_nir(
        self,
        *,
        pooling: Pooling = "depthwise",
        strict: bool = True,
        resistance: Resistance = "step",
        integration: Integration = "exact",
        metadata: bool = True,
    ) -> Any:
        """
        Write the network as a graph of NIR, the format that simulators exchange.

        Weights, biases and leaks are those that act at run time: spikes of all
        populations count alike, and the graph alone makes the same spikes where a step
        is computed like here, with spikes that cross all layers within it. Its input is
        Poisson spikes, or pixels times ``rate_scale`` for images as currents.
        ``nir.write`` makes a file of it [1]_.

        Parameters
        ----------
        pooling : {"depthwise", "avg", "sum"}
            How average pooling without neurons is written: as a Conv2d, which every
            simulator reads, as AvgPool2d or as SumPool2d.
        strict : bool
            NIR's neurons spike where v is above ``v_threshold``, those here where it
            reaches ``v_th``. If True, ``v_threshold`` is the next smaller number than
            ``v_th``, so that both say the same; if False it is ``v_th``.
        resistance : {"step", "second"}
            Whether the ``r`` of IF nodes is 1, so that a step adds its input, or 1/dt,
            so that input times dt does.
        integration : {"exact", "euler"}
            How the reader computes a step of LIF nodes: by the solution of NIR's
            differential equation, or as Euler's method does, which takes dt / tau in
            place of 1 - exp(-dt / tau). ``tau`` is written so that potentials fall as
            they do here.
        metadata : bool
            Whether what NIR can't say is kept with the graph, for `from_nir`.

        Returns
        -------
        nir.NIRGraph
            The graph.

        Raises
        ------
        InputError
            If NIR has no node for a part of the network: other neurons than IF and LIF,
            a refractory period, membrane noise, synapses that fail, or pooling windows
            of different sizes.
        MissingLibraryError
            If the library nir is not installed.

        References
        ----------
        .. [1] Pedersen et al. (2024), Neuromorphic intermediate representation,
           doi:10.1038/s41467-024-52259-9
        """
        return to_nir(
            self,
            pooling=pooling,
            strict=strict,
            resistance=resistance,
            integration=integration,
            metadata=metadata,
        )

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
        WriteError
            If the disk is full, or the like.
        """
        save_network(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "SpikingNetwork":
        """
        Read a network that `save` wrote, also one of version 0.1.0.

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
        return cls(**load_network(path))
