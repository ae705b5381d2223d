"""Read a NIR graph node by node: populations become layers of neurons."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from brian2 import second

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import damage
from cnn2snn_brian.nir.connections import (
    convolved,
    multiplied,
    pool_in,
    pool_window,
    through,
)
from cnn2snn_brian.nir.nodes import (
    current_based,
    described_scale,
    each_channel,
    edges_back,
    flattened,
    in_order,
    layer_name,
)
from cnn2snn_brian.projections import (
    INPUT,
    Connection,
    Network,
    Population,
    Projection,
    Value,
    neurons_of,
    pair,
)
from cnn2snn_brian.settings import IF, LIF, Parameters

#: What holds where a graph and a user say nothing.
ASSUMED: dict[str, Any] = {
    "reset": "zero",
    "v_min": -np.inf,
    "v_init": 0.0,
    "encoding": "poisson",
    "rate_scale": 1.0,
    "propagation": "instant",
    "dt_s": 1e-3,
    "strict": True,
    "resistance": "step",
    "integration": "exact",
}

#: Settings that say nothing about what a graph computes.
BESIDE = ("synapses", "dtype", "classes")

#: Settings of a network that are assumed, and numbers of its populations.
SETTINGS = ("reset", "encoding", "propagation", "dt_s")
NUMBERS = ("v_min", "v_init", "rate_scale")

#: Steps of a time constant with which nothing is kept: exp(-1000) is 0.
AT_ONCE = 1e-3
#: Relative error of a number of 32 bits, and some.
ROUNDING = 1e-6

NEURONS = ("IF", "LIF", "CubaLIF", "Threshold")
SUPPORTED = (
    "Input, Output, IF, LIF, CubaLIF, Threshold, Conv2d, Linear, Affine, Scale, "
    "AvgPool2d, SumPool2d, Flatten and Delay"
)


class GraphReader:
    """
    What was read so far.

    Parameters
    ----------
    graph : nir.NIRGraph
        The graph.
    said : dict of str to object
        What holds, by the names of `ASSUMED` and `BESIDE`.
    """

    def __init__(self, graph: Any, said: Mapping[str, Any]) -> None:
        self.nodes, edges = flattened(graph)
        back = edges_back(self.nodes, edges, NEURONS)
        self.reads = in_order(self.nodes, edges, back)
        self.said = said
        self.dtype = np.dtype(said.get("dtype", "float32"))
        self.values: dict[str, Value] = {}
        #: How late values arrive, in seconds, by the population that they come from.
        self.late: dict[str, dict[str, float]] = {}
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.input_shape: tuple[int, int, int] | None = None
        #: Whether the graph counts a batch of one as the first axis.
        self.has_batch = False
        self.thresholds: dict[str, Any] = {}
        self.models: dict[str, Any] = {}
        self.delays_s: dict[str, float] = {}
        #: Projections that lead back and have no delay in the graph.
        self.without_delay: list[str] = []
        #: Populations that are read before they are made, by their nodes.
        self.promised: dict[str, Value] = {}
        for name in dict.fromkeys(source for source, _ in sorted(back)):
            self._promise(name)
        self._check_ends()

    def _promise(self, name: str) -> None:
        """Name a population that something reads before it is made."""
        node = self.nodes[name]
        given = getattr(node, "v_threshold", getattr(node, "threshold", ()))
        shape = tuple(np.shape(given))
        if len(shape) in (2, 4) and shape[0] == 1:
            shape = shape[1:]
        readers = [n for n, sources in self.reads.items() if name in sources]
        for reader in readers if not shape else ():  # one number for all neurons
            weight: Any = getattr(self.nodes[reader], "weight", None)
            shape = np.shape(weight)[1:] if np.ndim(weight) == 2 else shape
        if len(shape) not in (1, 3):
            raise InputError(
                f"{name}: a recurrent connection of neurons whose number is not known"
            )
        own = layer_name(name, {one.terms[0].source for one in self.promised.values()})
        self.promised[name] = self.values[name] = Value.of(own, shape, name)
        self.late[name] = {own: 0.0}

    def _check_ends(self) -> None:
        """Check that there is one input, one output and nothing beside the way."""
        kinds = {name: type(node).__name__ for name, node in self.nodes.items()}
        # Of graphs within others, these are no more than names.
        for kind in ("Input", "Output"):
            found = [n for n in kinds if kinds[n] == kind and "." not in n]
            if len(found) != 1:
                names = ", ".join(found) or "the graph"
                raise InputError(f"{names}: {len(found)} {kind} nodes, expected one")
        (out,) = (n for n in kinds if kinds[n] == "Output" and "." not in n)
        useful, todo = {out}, [out]
        while todo:
            more = {*self.reads[todo.pop()]} - useful
            useful |= more
            todo += more
        beside = [n for n in kinds if n not in useful and kinds[n] != "Input"]
        if beside:
            raise InputError(f"{', '.join(beside)}: not on the way to the output {out}")

    def fields(self) -> dict[str, Any]:
        """Read all nodes, and put the network together."""
        for name, sources in self.reads.items():
            kind = type(self.nodes[name]).__name__
            with damage(f"{name}: the {kind} node can't be read"):
                self._read(name, kind, sources)
        assert self.input_shape is not None
        layers = Network(
            self.input_shape, tuple(self.populations), tuple(self.projections)
        )
        numbers = {what: self.said[what] for what in NUMBERS}
        for what in ("v_min", "v_init"):
            if isinstance(numbers[what], Mapping):
                # Of a graph that was changed: layers may be others.
                numbers[what] = {
                    name: numbers[what].get(name, ASSUMED[what])
                    for name in layers.names
                }
        parameters = Parameters.of(
            layers, thresholds=self.thresholds, leak=0.0, **numbers
        )
        first, *others = self.models.values()
        alike = all(str(other) == str(first) for other in others)
        named = (*SETTINGS, *(what for what in BESIDE if what in self.said))
        return {
            "layers": described_scale(layers, parameters),
            "parameters": parameters,
            "neurons": first if alike else self.models,
            "delays_s": self.delays_s,
            **{what: self.said[what] for what in named},
        }

    def _read(self, name: str, kind: str, sources: list[str]) -> None:
        if kind == "Input" and not sources:
            self._input(name)
            return
        if not sources:
            raise InputError(f"{name}: a {kind} node that reads nothing")
        value = self._sum(name, sources)
        self.late[name] = self._delays_of(name, sources)
        self.values[name] = self._taken(name, kind, value)

    def _input(self, name: str) -> None:
        node = self.nodes[name]
        shape = tuple(int(n) for n in np.ravel(node.input_type["input"]))
        if len(shape) in (2, 4) and shape[0] == 1:
            shape = shape[1:]  # a batch of one, as norse writes it
            self.has_batch = True
        if len(shape) not in (1, 3):
            raise InputError(
                f"{name}: an input of shape {shape}, expected one or three sizes, or a "
                "1 in front of them"
            )
        # A list of numbers is an image of one pixel.
        self.input_shape = shape if len(shape) == 3 else (shape[0], 1, 1)  # type: ignore[assignment]
        whole: Any = self.input_shape
        found = Value.of(INPUT, whole, name)
        self.values[name] = replace(found, is_flat=len(shape) == 1)
        self.late[name] = {INPUT: 0.0}

    def _sum(self, name: str, sources: list[str]) -> Value:
        first, *others = (self.values[source] for source in sources)
        for source, other in zip(sources[1:], others, strict=True):
            if (other.shape, other.is_flat) != (first.shape, first.is_flat):
                raise InputError(
                    f"{name}: sums {sources[0]} of shape {first.shape} and {source} of "
                    f"shape {other.shape}"
                )
            first = first.plus(other, "")
        return first

    def _delays_of(self, name: str, sources: list[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for source in sources:
            for term in self.values[source].terms:
                late = self.late[source][term.source]
                if found.setdefault(term.source, late) != late:
                    raise InputError(
                        f"{name}: reads {term.source} with different delays"
                    )
        return found

    def _taken(self, name: str, kind: str, value: Value) -> Value:
        """Read the next node."""
        node = self.nodes[name]
        if kind in NEURONS:
            return self._population(name, kind, node, value)
        if kind in ("AvgPool2d", "SumPool2d"):
            if len(value.shape) != 3 or value.is_flat:
                raise InputError(
                    f"{name}: average pooling of values of shape {value.shape}"
                )
            size = pair(node.kernel_size)
            share = 1.0 if kind == "SumPool2d" else 1 / (size[0] * size[1])
            window = pool_window(value.shape, size, node.stride, node.padding, share)
            return through(name, value, Connection(value.shape, window))
        if kind == "Conv2d":
            readers = [n for n, sources in self.reads.items() if name in sources]
            if any(type(self.nodes[n]).__name__ not in NEURONS for n in readers):
                found = pool_in(name, node, value)
                if found is not None:
                    return through(name, value, Connection(value.shape, found))
            return convolved(name, node, value)
        if kind in ("Linear", "Affine"):
            return multiplied(name, node, value)
        if kind == "Scale":
            return _scaled(value, each_channel(name, "scale", node.scale, value.shape))
        if kind == "Flatten":
            last = len(value.shape) - 1 + self.has_batch
            if int(node.start_dim) not in (0, 1) or int(node.end_dim) not in (-1, last):
                raise InputError(f"{name}: only flattening of all values can be read")
            return replace(value, is_flat=True)
        if kind == "Delay":
            late = each_channel(name, "delay", node.delay, value.shape)
            if np.ndim(late):
                raise InputError(f"{name}: different delays; a layer has one")
            self.late[name] = {k: d + float(late) for k, d in self.late[name].items()}
            return value
        if kind == "Output" and "." not in name:
            self._check_output(name, value)
        if kind in ("Input", "Output"):
            return value
        raise InputError(
            f"{name}: a {kind} node can't be read; supported are {SUPPORTED}"
        )

    def _check_output(self, name: str, value: Value) -> None:
        last = self.populations[-1].name if self.populations else ""
        if [term.source for term in value.terms] != [last] or not value.is_rectified:
            raise InputError(
                f"{name}: what comes out has to be the spikes of the last neurons "
                f"({', '.join(NEURONS)})"
            )

    def _population(self, name: str, kind: str, node: Any, value: Value) -> Value:
        """Make a layer of neurons."""
        shape, dt_s = value.shape, self.said["dt_s"]
        if not value.terms:
            raise InputError(f"{name}: its neurons read nothing")
        taken = {one.terms[0].source for one in self.promised.values()}
        taken |= {made.name for made in self.populations}
        own = layer_name(name, taken)
        if (promised := self.promised.get(name)) is not None:
            own = promised.terms[0].source
            if shape != promised.shape:
                raise InputError(
                    f"{name}: reads values of shape {shape}, and what is recurrent "
                    f"reads {promised.shape} of it"
                )
        level: Any = 0.0
        if kind == "Threshold":
            threshold = each_channel(name, "threshold", node.threshold, shape)
            self.models[own] = LIF(tau=dt_s * AT_ONCE * second)
        else:
            threshold = each_channel(name, "v_threshold", node.v_threshold, shape)
            # Before version 1.0.5 of nir there was none.
            given = getattr(node, "v_reset", 0.0)
            level = each_channel(name, "v_reset", given, shape)
            gain = each_channel(name, "r", node.r, shape)
            if kind != "IF":
                gain = gain * self._leak(own, name, node, level, shape)
            else:
                self.models[own] = IF()
                if self.said["resistance"] == "second":
                    gain = gain * dt_s
            value = _scaled(value, gain)
            if np.any(level) and self.said["reset"] == "subtract":
                raise InputError(
                    f"{name}: v_reset is {level}, expected 0 with reset='subtract'"
                )
        above = np.asarray(threshold - level, self.dtype)
        if self.said["strict"]:
            above = np.nextafter(above, self.dtype.type(np.inf))
        if (above <= 0).any():
            raise InputError(f"{name}: a threshold that is not above the reset")
        self.thresholds[own] = above.astype(float) if above.ndim else float(above)
        population, projections = neurons_of(value, own, unit=name)
        self.populations.append(population)
        self.projections += self._delayed(name, own, projections)
        self.late[name] = {own: 0.0}
        return replace(Value.of(own, shape, name), is_flat=value.is_flat)

    def _delayed(
        self, name: str, own: str, projections: list[Projection]
    ) -> list[Projection]:
        """Give projections their delays; without one, what leads back has a step."""
        made = {INPUT, *(one.name for one in self.populations)} - {own}
        late = {p.name: self.late[name][p.source] for p in projections}
        if all(p.source in made for p in projections) and len({*late.values()}) == 1:
            if delay_s := late[projections[0].name]:
                self.delays_s[own] = delay_s
            return projections
        for p in projections:
            if p.source not in made and not late[p.name]:
                late[p.name] = self.said["dt_s"]
                self.without_delay.append(p.name)
        return [replace(p, delay_s=late[p.name]) for p in projections]

    def _leak(self, own: str, name: str, node: Any, level: Any, shape: Any) -> Any:
        """Take time constants, and give the share of its input that a step adds."""
        v_leak = each_channel(name, "v_leak", node.v_leak, shape)
        if np.any(v_leak != level):
            raise InputError(f"{name}: v_leak is {v_leak}, expected v_reset ({level})")
        if type(node).__name__ == "LIF":
            tau_s, share = self._kept(name, "tau", node.tau, shape)
            self.models[own] = LIF(tau=tau_s * second)
            return share
        tau_s, share = self._kept(name, "tau_mem", node.tau_mem, shape)
        synaptic_s, arriving = self._kept(name, "tau_syn", node.tau_syn, shape)
        self.models[own] = current_based(tau_s, synaptic_s)
        weight = each_channel(name, "w_in", node.w_in, shape)
        return share * arriving * weight

    def _kept(self, name: str, what: str, tau: Any, shape: Any) -> tuple[float, float]:
        """Give the time constant that acts, and the share that a step replaces."""
        tau_s = each_channel(name, what, tau, shape)
        if np.ndim(tau_s) or not float(tau_s) > 0:
            raise InputError(
                f"{name}: {what} is {tau_s}, expected one time above 0 for a layer"
            )
        dt_s, acting_s = self.said["dt_s"], float(tau_s)
        share = -np.expm1(-dt_s / acting_s)
        if self.said["integration"] == "euler":
            share = dt_s / acting_s
            if share > 1 + ROUNDING:
                raise InputError(
                    f"{name}: {what} is {acting_s:g} s, and Euler's method needs at "
                    f"least dt ({dt_s:g} s); give integration='exact' or another dt"
                )
            # The time constant with which 1 - share is what is left after a step.
            is_all = share > 1 - ROUNDING
            acting_s = dt_s * AT_ONCE if is_all else -dt_s / np.log1p(-share)
        return acting_s, float(share)


def _scaled(value: Value, gain: Any) -> Value:
    """Multiply each channel; a bias of nothing stays nothing."""
    if np.ndim(gain) == 0 and gain == 1:
        return value
    each = np.broadcast_to(gain, (value.shape[0],))
    found = value.scaled(each, np.zeros(len(each)), value.name)
    if value.bias is None:
        return replace(found, bias=None, n_biases=0)
    return replace(found, n_biases=value.n_biases)
