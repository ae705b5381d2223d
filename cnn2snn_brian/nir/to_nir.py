"""
A spiking network as a NIR graph.

Every population is a node with neurons, and every part of a layer a Conv2d or Affine
node on the way to it. Weights are those that act at run time, so that spikes of
all populations count alike and thresholds mean the same as here.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cnn2snn_brian.checks import check_choice, optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.nir.connections import (
    Kernel,
    bias_kernel,
    pool_kernel,
    pool_of,
    symmetric,
)
from cnn2snn_brian.nir.metadata import KEY, kept
from cnn2snn_brian.nir.nodes import constants, known_to, times
from cnn2snn_brian.projections import (
    INPUT,
    AnyLayer,
    AvgPool2d,
    Conv2d,
    Linear,
    Part,
    Placed,
    Pooled,
    by_channel,
    parts,
)
from cnn2snn_brian.settings import IF, LIF, NeuronModel, described_model, weight_factors

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

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
    check_choice("pooling", pooling, ("depthwise", "avg", "sum"))
    check_choice("resistance", resistance, ("step", "second"))
    check_choice("integration", integration, ("exact", "euler"))
    if network.release_probability:
        names = ", ".join(network.release_probability)
        raise InputError(f"{names}: NIR has no node for synapses that fail at random")
    writer = _Writer(
        network,
        pooling,
        strict=strict,
        resistance=resistance,
        integration=integration,
    )
    for layer in network.layers:
        writer.take(layer)
    graph = writer.graph()
    if metadata:
        graph.metadata[KEY] = kept(network, graph)
    return graph


def _tau_s(name: str, model: NeuronModel) -> float | None:
    """Give the time constant of a model that NIR knows; None for none."""
    given = described_model(model)
    if given == described_model(IF()):
        return None
    tau = model.parameters.get("tau")
    if tau is not None and given == described_model(LIF(tau=tau)):
        return float(tau)
    raise InputError(
        f"{name}: NIR has no node for the neurons {model}; it has IF and LIF, without "
        "a refractory period and noise"
    )


class _Writer:
    """
    The nodes and edges that were made so far.

    Parameters
    ----------
    network : SpikingNetwork
        The network.
    pooling, strict, resistance, integration
        See `to_nir`.
    """

    def __init__(
        self,
        network: "SpikingNetwork",
        pooling: Pooling,
        *,
        strict: bool,
        resistance: Resistance,
        integration: Integration,
    ) -> None:
        self.nir = optional_library("nir", "nir", "NIR")
        self.network, self.pooling, self.strict = network, pooling, strict
        self.integration = integration
        self.dtype = np.dtype(network.dtype)
        self.resistance = 1.0 if resistance == "step" else 1 / network.dt_s
        models = network.models(network.neurons)
        self.taus = {name: _tau_s(name, model) for name, model in models.items()}
        self.shapes = network.layers.shapes
        self.factors = weight_factors(network.layers, network.parameters)
        self.constants = constants(network.layers, network.parameters)
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        #: Whether all kernels are such that NIR computes their sizes.
        self.is_checked = True
        self._add(INPUT, self.nir.Input(np.array(self.shapes[INPUT])))

    def graph(self) -> Any:
        """Put all nodes together."""
        *_, last = self.network.layer_names
        self._add("output", self.nir.Output(np.array(self.shapes[last])), last)
        checked = known_to(self.nir.NIRGraph, type_check=self.is_checked)
        return self.nir.NIRGraph(self.nodes, self.edges, metadata={}, **checked)

    def take(self, layer: AnyLayer) -> None:
        """Make the nodes of the next layer."""
        constant = self.constants.get(layer.name)
        ends = []
        for part in parts(layer):
            kind = type(part.inner if isinstance(part, Pooled) else part)
            kind = type(part.layer) if isinstance(part, Placed) else kind
            if kind not in (Conv2d, AvgPool2d, Linear):
                raise InputError(f"{part.name}: NIR has no node for {kind.__name__}")
            fits = self._can_carry(part, constant)
            ends.append(self._part(part, constant if fits else None))
            constant = None if fits else constant
        if constant is not None:
            ends.append(self._constant(layer.name, constant))
        self._add(layer.name, self._neurons(layer.name), *ends)

    def _add(self, name: str, node: Any, *sources: str) -> str:
        if name in self.nodes:
            raise InputError(f"{name}: two nodes of the graph would have this name")
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def _full(self, shape: Any, value: Any) -> Any:
        return np.array(np.broadcast_to(value, shape), self.dtype)

    def _neurons(self, name: str) -> Any:
        shape, tau_s = self.shapes[name], self.taus[name]
        given = by_channel(self.network.parameters.thresholds[name], shape)
        threshold = self._full(shape, given)
        if self.strict:
            # v > this exactly where v >= the threshold.
            threshold = np.nextafter(threshold, self.dtype.type(-np.inf))
        zero = self._full(shape, 0)
        level = known_to(self.nir.IF, v_reset=zero)
        if tau_s is None:
            return self.nir.IF(self._full(shape, self.resistance), threshold, **level)
        if np.exp(-self.network.dt_s / tau_s) == 0:
            return self.nir.Threshold(threshold)
        # A step takes this share of v, and adds the same share of r times the input.
        share = -np.expm1(-self.network.dt_s / tau_s)
        if self.integration == "euler":
            tau_s = self.network.dt_s / share
        resistance = self._full(shape, 1 / share)
        tau = self._full(shape, tau_s)
        return self.nir.LIF(tau, resistance, zero, threshold, **level)

    def _part(self, part: Part, constant: Any) -> str:
        """Make the nodes of one part, and give the name of the last."""
        (end,) = part.inputs
        if self.network.encoding == "poisson" or end != INPUT:
            end = self._delayed(part, end)
        factor = self.factors.get(part.name)
        inner: Any = part
        share = 1.0
        if isinstance(part, Pooled):
            for index, pool in enumerate(part.pools):
                end, more = self._pool(f"{part.name}_pool{index + 1}", pool, end)
                share *= more
            inner = part.layer
        start, channels = 0, self.shapes[self._target(part)][0]
        if isinstance(inner, Placed):
            start, inner = inner.start, inner.layer
        if isinstance(inner, AvgPool2d):
            whole = inner.shape[0] == channels and constant is None
            if self.pooling != "depthwise" and whole and factor is None:
                return self._averages(part.name, inner, end, share)
            inner = pool_kernel(inner)
        assert isinstance(inner, Conv2d | Linear)
        if factor is not None or share != 1:
            each = np.ones(inner.input_shape[0]) if factor is None else factor
            inner = times(inner, share * each)
        name = f"{part.name}_synapses"
        if isinstance(inner, Conv2d):
            kernel = symmetric(inner)
            weight = _rows(kernel.weight, start, channels)
            return self._conv(name, weight, kernel, end, constant)
        if len(inner.input_shape) > 1:
            flat = self.nir.Flatten({"input": np.array(inner.input_shape)}, 0, -1)
            end = self._add(f"{part.name}_flatten", flat, end)
        weight = _rows(inner.weight, start, channels).astype(self.dtype)
        # Not every simulator reads Linear nodes.
        bias = np.zeros(len(weight)) if constant is None else constant
        node = self.nir.Affine(weight, bias.astype(self.dtype))
        return self._add(name, node, end)

    def _target(self, part: Part) -> str:
        """Find the layer that a part belongs to."""
        return next(
            layer.name
            for layer in self.network.layers
            if any(part is other for other in parts(layer))
        )

    def _can_carry(self, part: Part, constant: Any) -> bool:
        """Whether the last node of a part has a bias that can be this."""
        if constant is None:
            return False
        if constant.ndim == 1:
            return True
        return bool((constant == constant[:, :1, :1]).all())

    def _conv(
        self, name: str, weight: Any, kernel: Kernel, source: str, constant: Any
    ) -> str:
        bias = np.zeros(len(weight)) if constant is None else constant[:, 0, 0]
        self.is_checked &= kernel.is_square
        node = self.nir.Conv2d(
            tuple(int(size) for size in self._shape_of(source)[1:]),
            weight.astype(self.dtype),
            kernel.stride,
            kernel.padding,
            kernel.dilation,
            1,
            bias.astype(self.dtype),
        )
        shape = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                self._shape_of(source)[1:],
                kernel.padding,
                kernel.dilation,
                weight.shape[2:],
                kernel.stride,
                strict=True,
            )
        ]
        node.output_type = {"output": np.array([len(weight), *shape])}
        return self._add(name, node, source)

    def _shape_of(self, name: str) -> tuple[int, ...]:
        return tuple(int(n) for n in self.nodes[name].output_type["output"])

    def _pool(self, name: str, pool: AvgPool2d, source: str) -> tuple[str, float]:
        """Make a node of averages, and what it leaves for the weights behind it."""
        if self.pooling == "depthwise":
            kernel = symmetric(pool_kernel(pool))
            return self._conv(name, kernel.weight, kernel, source, None), 1.0
        found = pool_of(pool)
        is_sum = self.pooling == "sum"
        kind = self.nir.SumPool2d if is_sum else self.nir.AvgPool2d
        node = kind(*(np.array(x) for x in (found.size, found.stride, found.padding)))
        node.input_type = {"input": np.array(pool.input_shape)}
        node.output_type = {"output": np.array(pool.shape)}
        rest = found.share if is_sum else found.share * found.size[0] * found.size[1]
        return self._add(name, node, source), 1.0 if np.isclose(rest, 1) else rest

    def _averages(self, name: str, pool: AvgPool2d, source: str, share: float) -> str:
        """Average for neurons that do nothing else."""
        end, more = self._pool(f"{name}_synapses", pool, source)
        if share * more == 1:
            return end
        scale = self.nir.Scale(self._full(pool.shape, share * more))
        return self._add(f"{name}_scale", scale, end)

    def _delayed(self, part: Part, source: str) -> str:
        delay_s = self.network.delays_s.get(self._target(part), 0)
        if not delay_s:
            return source
        delay = self.nir.Delay(np.full(self.shapes[source], delay_s))
        return self._add(f"{part.name}_delay", delay, source)

    def _constant(self, name: str, constant: Any) -> str:
        """Make nodes that add a number of its own to each neuron of a map."""
        if "constant" not in self.nodes:
            channels, *sizes = self.shapes[INPUT]
            one = Kernel(np.zeros((1, channels, 1, 1)), (sizes[0], sizes[1]), (0, 0))
            self._conv("constant", one.weight, one, INPUT, np.ones((1, 1, 1)))
        kernel = bias_kernel(constant)
        return self._conv(f"{name}_bias", kernel.weight, kernel, "constant", None)


def _rows(weight: Any, start: int, channels: int) -> Any:
    """Add outputs that nothing reaches."""
    if len(weight) == channels:
        return weight
    whole = np.zeros((channels, *weight.shape[1:]), weight.dtype)
    whole[start : start + len(weight)] = weight
    return whole
