"""A converted CNN: its Brian2 network, its compiled program, its file."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from brian2 import Network, Quantity, check_units, ms, second

from cnn2snn_brian.brian.network import brian_network, show
from cnn2snn_brian.description.network import (
    Encoding,
    NetworkDescription,
    Propagation,
    Reset,
)
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.description.perturbations import Perturbations
from cnn2snn_brian.description.pictures import check_images
from cnn2snn_brian.description.storage import load_network, save_network
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.exchange.reading import network_fields
from cnn2snn_brian.exchange.to_nir import Pooling, Resistance, to_nir
from cnn2snn_brian.program.simulator import Simulator

__all__ = ["SpikingNetwork", "from_nir"]


class SpikingNetwork(NetworkDescription):
    """
    A converted CNN: what is needed to build its Brian2 network, any number of times.

    Its fields are those of `NetworkDescription`: ``layers``, ``parameters``, ``reset``,
    ``encoding``, ``synapses``, ``dt_s``, ``dtype``, ``classes``, ``neurons``,
    ``delays_s`` and ``release_probability``. They can be set, and are checked then;
    ``snn.thresholds = ...`` takes what `convert` takes. ``dataclasses.replace`` makes a
    changed copy. Two networks are equal if everything about them is, weights included.

    Raises
    ------
    InputError
        If a field is unknown or out of its range, also when it is set later.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "thresholds":
            name = "parameters"
            value = Parameters.of(
                self.layers, thresholds=value, default=self.parameters
            )
        elif name not in {item.name for item in fields(self)}:
            message = f"a SpikingNetwork has no field {name!r}"
            raise AttributeError(message)
        checked = replace(self, **{name: value})
        object.__setattr__(self, name, getattr(checked, name))

    def network(
        self,
        image: Any = None,
        parameters: Parameters | None = None,
        *,
        seed: int = 0,
        **perturbations: Any,
    ) -> Network:
        """
        Build a plain Brian2 network on the active device.

        Populations are named like their layers, the Poisson source ``input``, the
        synapses into a layer ``conv1_synapses`` and so on: ``network["conv1"].v``.
        Add monitors, change what you like, and run it. `show` gives it another image.

        Parameters
        ----------
        image : ndarray, shape (channels, height, width), optional
            The image to show, float in [0, 1] or uint8. Without one, the input is
            silent.
        parameters : Parameters, optional
            Use these instead of the network's own.
        seed : int
            Seed of lesions without one, and of lost and displaced input spikes. All
            other random numbers follow ``brian2.seed``.
        **perturbations
            ``neurons``, ``release_probability``, ``lesion``, ``input_deletion`` and
            ``input_jitter`` as in `Simulator.run`. Layers with lesions have a variable
            ``lesioned``, which can be changed.

        Returns
        -------
        brian2.Network
            The network, at the start of an image.

        Raises
        ------
        InputError
            If the image, the number of synapses or an argument can't be used.
        NotImplementedError
            If input spikes are perturbed or silenced in Brian2's standalone mode.
        """
        given = Perturbations.of(self, seed, **perturbations)
        if image is not None:
            check_images(np.asarray(image)[None], self.input_shape)
        network = brian_network(self, parameters or self.parameters, given, seed)
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
            How long an image is shown, a multiple of dt.
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
        metadata: bool = True,
    ) -> Any:
        """
        Write the network as a graph of NIR, the format that simulators exchange [1]_.

        Weights, biases and leaks are those that act at run time: spikes of all
        populations count alike, and the graph alone makes the same spikes where a step
        is computed like here, with spikes that cross all layers within it. Its input is
        Poisson spikes, or pixels times ``rate_scale`` for images as currents.
        ``nir.write`` makes a file of it.

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


@check_units(dt=second)
def from_nir(
    graph: Any,
    *,
    reset: Reset | None = None,
    strict: bool | None = None,
    dt: Quantity | None = None,
    encoding: Encoding | None = None,
    propagation: Propagation | None = None,
    resistance: Resistance | None = None,
    **options: Any,
) -> SpikingNetwork:
    """
    Read a spiking network from a graph of NIR.

    A graph that `SpikingNetwork.to_nir` made is read back as it was, with the same
    fingerprint. A graph of another program says less than a simulation needs: what is
    not given here is assumed, and a warning names each assumption.

    Parameters
    ----------
    graph : nir.NIRGraph or path-like
        The graph, or a file with one. It may have IF, LIF, Threshold, Conv2d, Linear,
        Affine, Scale, AvgPool2d, SumPool2d, Flatten and Delay nodes, and graphs within.
        Edges may be in any order; a node that several others lead to reads their sum.
    reset : {"zero", "subtract"}, optional
        Whether a spike sets the potential to ``v_reset`` or takes the threshold from
        it. Assumed: "zero", as NIR defines it.
    strict : bool, optional
        Whether neurons spike where v is above ``v_threshold``, as NIR defines it
        (assumed), or where they reach it. ``v_th`` is then the next larger number.
    dt : Quantity [s], optional
        Time step. Assumed: 1 ms.
    encoding : {"poisson", "current"}, optional
        Whether images are Poisson spikes (assumed) or currents.
    propagation : {"step", "instant"}, optional
        Whether spikes cross all layers within a step (assumed), or act on the next
        layer one step later.
    resistance : {"step", "second"}, optional
        Whether a step of an IF node adds ``r`` times its input (assumed), or that times
        dt in seconds. LIF nodes add ``r * dt / tau`` times their input, a step of
        Euler.
    **options
        ``v_min``, ``v_init`` and ``rate_scale`` (assumed: ``-inf``, 0 and 1),
        ``synapses``, ``dtype`` and ``classes``, as in `convert`.

    Returns
    -------
    SpikingNetwork
        The network.

    Raises
    ------
    InputError
        If the graph is recurrent, has a node that can't be read (the message has its
        name), or an argument can't be used.
    MissingLibraryError
        If the library nir is not installed.

    Examples
    --------
    >>> snn = from_nir("network.nir", reset="subtract")  # doctest: +SKIP
    """
    known = ("v_min", "v_init", "rate_scale", "synapses", "dtype", "classes")
    unknown = [name for name in options if name not in known]
    if unknown:
        message = f"unknown argument {', '.join(unknown)}; expected {', '.join(known)}"
        raise InputError(message)
    given = {
        "reset": reset,
        "strict": strict,
        "dt_s": None if dt is None else float(dt / second),
        "encoding": encoding,
        "propagation": propagation,
        "resistance": resistance,
        **options,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if "classes" in given:
        given["classes"] = tuple(given["classes"])
    return SpikingNetwork(**network_fields(graph, given))
