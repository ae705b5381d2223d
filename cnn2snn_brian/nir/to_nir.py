"""
A spiking network as a NIR graph.

Every population is a node with neurons, and every part of a layer a Conv2d or Affine
node on the way to it. Weights are those that act at run time, so that spikes of
all populations count alike and thresholds mean the same as here.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from cnn2snn_brian.checks import check_choice, optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.nir.connections import bias_kernel, pool_kernel, pool_of, symmetric
from cnn2snn_brian.nir.metadata import KEY, kept
from cnn2snn_brian.nir.nodes import constants, current_based, known_to
from cnn2snn_brian.projections import (
    INPUT,
    Connection,
    Convolution,
    Projection,
    TransposedConvolution,
    Window,
    as_convolution,
    by_channel,
)
from cnn2snn_brian.settings import IF, LIF, NeuronModel, described_model, weight_factors

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: Relative error of a time.
ROUNDING = 1e-6

Pooling = Literal["depthwise", "avg", "sum"]
Resistance = Literal["step", "second"]
Integration = Literal["exact", "euler"]


def to_nir(
    network: "SpikingNetwork",
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
        If NIR has no node for a part of the network: other neurons than IF and LIF
        (and CubaLIF, as `from_nir` reads them), a refractory period, membrane noise,
        synapses that fail, or pooling windows of different sizes.
    MissingLibraryError
        If the library nir is not installed.

    References
    ----------
    .. [1] Pedersen et al. (2024), Neuromorphic intermediate representation,
       doi:10.1038/s41467-024-52259-9
    """
    check_choice("pooling", pooling, get_args(Pooling))
    check_choice("resistance", resistance, get_args(Resistance))
    check_choice("integration", integration, get_args(Integration))
    if network.release_probability:
        names = ", ".join(network.release_probability)
        raise InputError(f"{names}: NIR has no node for synapses that fail at random")
    if added := ", ".join(network.extension.names):
        raise InputError(
            f"{added}: a graph can't hold what extend added; write the network before"
        )
    writer = _Writer(network, pooling, strict, resistance, integration)
    for name in network.layer_names:
        writer.take(name)
    graph = writer.graph()
    if metadata:
        graph.metadata[KEY] = kept(network, graph)
    return graph


def _taus_s(name: str, model: NeuronModel) -> tuple[float, ...]:
    """Give the time constants of a model that NIR knows: membrane, synapses."""
    given = described_model(model)
    if given == described_model(IF()):
        return ()
    tau, synaptic = (model.parameters.get(what) for what in ("tau", "tau_syn"))
    if tau is not None and given == described_model(LIF(tau=tau)):
        return (float(tau),)
    if synaptic is not None:
        both = float(tau), float(synaptic)  # type: ignore[arg-type]
        if given == described_model(current_based(*both)):
            return both
    raise InputError(
        f"{name}: NIR has no node for the neurons {model}; it has IF and LIF, without "
        "a refractory period and noise"
    )


@dataclass
class _Writer:
    """The nodes and edges that were made so far; for the options see `to_nir`."""

    network: "SpikingNetwork"
    pooling: Pooling
    strict: bool
    resistance: Resistance
    integration: Integration
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    #: Whether all kernels are such that NIR computes their sizes.
    is_checked: bool = True

    def __post_init__(self) -> None:
        network = self.network
        self.nir = optional_library("nir", "nir", "NIR")
        self.dtype = np.dtype(network.dtype)
        models = network.models(network.neurons)
        self.taus = {name: _taus_s(name, model) for name, model in models.items()}
        self.shapes = network.layers.shapes
        self.factors = weight_factors(network.layers, network.parameters)
        self.constants = constants(network.layers, network.parameters)
        self._add(INPUT, self.nir.Input(np.array(self.shapes[INPUT])))

    def graph(self) -> Any:
        """Put all nodes together."""
        *_, last = self.network.layer_names
        self._add("output", self.nir.Output(np.array(self.shapes[last])), last)
        checked = known_to(self.nir.NIRGraph, type_check=self.is_checked)
        return self.nir.NIRGraph(self.nodes, self.edges, metadata={}, **checked)

    def take(self, name: str) -> None:
        """Make the nodes of the next population."""
        constant = self.constants.get(name)
        ends = []
        for projection in self.network.layers.into(name):
            kernel = projection.connection.kernel
            if projection.gate or isinstance(kernel, TransposedConvolution):
                raise InputError(
                    f"{projection.name}: NIR has no node for {projection.label}"
                )
            fits = self._can_carry(constant)
            ends.append(self._projection(projection, constant if fits else None))
            constant = None if fits else constant
        if constant is not None:
            ends.append(self._constant(name, constant))
        self._add(name, self._neurons(name), *ends)

    def _add(self, name: str, node: Any, *sources: str) -> str:
        if name in self.nodes:
            raise InputError(f"{name}: two nodes of the graph would have this name")
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def _full(self, shape: Any, value: Any) -> Any:
        return np.array(np.broadcast_to(value, shape), self.dtype)

    def _neurons(self, name: str) -> Any:
        shape, taus_s = self.shapes[name], self.taus[name]
        parameters, dt_s = self.network.parameters, self.network.dt_s
        given = by_channel(parameters.thresholds[name], shape)
        threshold = self._full(shape, given)
        if self.strict:
            # v > this exactly where v >= the threshold.
            threshold = np.nextafter(threshold, self.dtype.type(-np.inf))
        zero = self._full(shape, 0)
        level = known_to(self.nir.IF, v_reset=zero)
        if not taus_s:
            per_step = 1.0 if self.resistance == "step" else 1 / dt_s
            return self.nir.IF(self._full(shape, per_step), threshold, **level)
        if len(taus_s) == 1 and np.exp(-dt_s / taus_s[0]) == 0:
            return self.nir.Threshold(threshold)
        # A step takes this share of v, and adds the same share of r times the input;
        # so do synapses with their current and w_in.
        shares = [-np.expm1(-dt_s / tau_s) for tau_s in taus_s]
        if self.integration == "euler":
            taus_s = tuple(dt_s / share for share in shares)
        (resistance, *weight), (tau, *synaptic) = (
            [self._full(shape, value) for value in values]
            for values in ([1 / share for share in shares], taus_s)
        )
        if not synaptic:
            return self.nir.LIF(tau, resistance, zero, threshold, **level)
        if np.any(parameters.leak[name]):
            raise InputError(
                f"{name}: NIR has no node for a leak of neurons with a current"
            )
        return self.nir.CubaLIF(
            tau_syn=synaptic[0],
            tau_mem=tau,
            r=resistance,
            v_leak=zero,
            v_threshold=threshold,
            w_in=weight[0],
            **level,
        )

    def _projection(self, projection: Projection, constant: Any) -> str:
        """Make the nodes of a projection, and give the name of the last."""
        end, own = projection.source, projection.name
        if self.network.encoding == "poisson" or end != INPUT:
            end = self._delayed(projection)
        factor: Any = self.factors.get(own)
        connection = projection.connection
        window, kernel = connection.window, connection.kernel
        if window is not None and kernel is not None:
            end, share = self._pool(f"{own}_pool1", connection, window, end)
            factor = factor if share == 1 else share * (1 if factor is None else factor)
        elif window is not None:
            whole = connection.is_whole and constant is None
            if self.pooling != "depthwise" and whole and factor is None:
                return self._averages(own, connection, window, end)
            kernel = pool_kernel(own, connection.input_shape, window)
        assert kernel is not None
        if factor is not None:
            each = np.broadcast_to(factor, kernel.input_shape[:1])
            kernel = kernel.after_scaling(each)
        name = f"{own}_synapses"
        start, channels = connection.start, connection.channels
        found = as_convolution(kernel)
        if isinstance(found, Convolution):
            plain = symmetric(found)
            plain = replace(plain, weight=_rows(plain.weight, start, channels))
            return self._conv(name, plain, end, constant)
        if len(kernel.input_shape) > 1:
            flat = self.nir.Flatten({"input": np.array(kernel.input_shape)}, 0, -1)
            end = self._add(f"{own}_flatten", flat, end)
        weight = np.diag(kernel.weight) if kernel.weight.ndim == 1 else kernel.weight
        weight = _rows(weight, start, channels).astype(self.dtype)
        # Not every simulator reads Linear nodes.
        bias = np.zeros(len(weight)) if constant is None else constant
        node = self.nir.Affine(weight, bias.astype(self.dtype))
        return self._add(name, node, end)

    def _can_carry(self, constant: Any) -> bool:
        """Whether the last node of a projection has a bias that can be this."""
        if constant is None or constant.ndim == 1:
            return constant is not None
        return bool((constant == constant[:, :1, :1]).all())

    def _conv(self, name: str, kernel: Convolution, source: str, constant: Any) -> str:
        n_out, *sizes = kernel.weight.shape
        bias = np.zeros(n_out) if constant is None else constant[:, 0, 0]
        # NIR's own check of types computes the sizes of square kernels only.
        self.is_checked &= sizes[1] == sizes[2]
        node = self.nir.Conv2d(
            kernel.input_shape[1:],
            kernel.weight.astype(self.dtype),
            kernel.stride,
            (kernel.padding[0][0], kernel.padding[1][0]),
            kernel.dilation,
            1,
            bias.astype(self.dtype),
        )
        node.output_type = {"output": np.array(kernel.shape)}
        return self._add(name, node, source)

    def _pool(
        self, name: str, connection: Connection, window: Window, source: str
    ) -> tuple[str, float]:
        """Make a node of averages, and what it leaves for the weights after it."""
        shape = connection.input_shape
        if self.pooling == "depthwise":
            kernel = symmetric(pool_kernel(name, shape, window))
            return self._conv(name, kernel, source, None), 1.0
        sizes, rest = pool_of(name, window)
        is_sum = self.pooling == "sum"
        kind = self.nir.SumPool2d if is_sum else self.nir.AvgPool2d
        node = kind(*sizes)
        node.input_type = {"input": np.array(shape)}
        node.output_type = {"output": np.array(connection.read_shape)}
        rest *= 1 if is_sum else sizes[0].prod()
        return self._add(name, node, source), 1.0 if np.isclose(rest, 1) else rest

    def _averages(
        self, name: str, connection: Connection, window: Window, source: str
    ) -> str:
        """Average for neurons that do nothing else."""
        end, share = self._pool(f"{name}_synapses", connection, window, source)
        if share == 1:
            return end
        scale = self.nir.Scale(self._full(connection.shape, share))
        return self._add(f"{name}_scale", scale, end)

    def _delayed(self, projection: Projection) -> str:
        source = projection.source
        delay_s = self.network.delays_s.get(projection.target, 0) + projection.delay_s
        is_back = self.network.layers.is_feedback(projection)
        if delay_s <= (self.network.dt_s * (1 + ROUNDING) if is_back else 0):
            return source  # what leads back is a step late in every simulator
        delay = self.nir.Delay(np.full(self.shapes[source], delay_s))
        return self._add(f"{projection.name}_delay", delay, source)

    def _constant(self, name: str, constant: Any) -> str:
        """Make nodes that add a number of its own to each neuron of a map."""
        if "constant" not in self.nodes:
            channels, *sizes = self.shapes[INPUT]
            one = Convolution(
                self.shapes[INPUT],
                np.zeros((1, channels, 1, 1)),
                stride=(sizes[0], sizes[1]),
            )
            self._conv("constant", one, INPUT, np.ones((1, 1, 1)))
        return self._conv(f"{name}_bias", bias_kernel(constant), "constant", None)


def _rows(weight: Any, start: int, channels: int) -> Any:
    """Add outputs that nothing reaches."""
    if len(weight) == channels:
        return weight
    whole = np.zeros((channels, *weight.shape[1:]), weight.dtype)
    whole[start : start + len(weight)] = weight
    return whole
