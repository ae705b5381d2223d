"""The nodes of a NIR graph in the order of the data, and what they hold."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import second

from cnn2snn_brian.checks import real_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Network, Shape, by_channel, unused
from cnn2snn_brian.settings import (
    NeuronModel,
    Parameters,
    as_array,
    input_gains,
    weight_factors,
)

Array = npt.NDArray[np.float64]
Edges = list[tuple[str, str]]


def known_to(call: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Leave out arguments that a version of the library nir does not have."""
    taken = inspect.signature(call).parameters
    return {name: value for name, value in options.items() if name in taken}


def with_arrays(name: str, node: Any) -> Any:
    """Put arrays in the place of PyTorch's tensors."""
    changed: dict[str, Any] = {
        what: as_array(f"{name}: {what}", value)
        for what, value in vars(node).items()
        if hasattr(value, "detach")
    }
    if type(node).__name__ == "NIRGraph":
        changed["nodes"] = {k: with_arrays(k, one) for k, one in node.nodes.items()}
    if not changed:
        return node
    made = copy(node)
    vars(made).update(changed)
    return made


def flattened(graph: Any) -> tuple[dict[str, Any], Edges]:
    """Put the nodes of graphs within a graph into one."""
    nodes: dict[str, Any] = {}
    edges: Edges = []
    ends: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        if type(node).__name__ != "NIRGraph":
            nodes[name] = node
            continue
        inner, between = flattened(node)
        sides = []
        for kind in ("Input", "Output"):
            found = [key for key, one in inner.items() if type(one).__name__ == kind]
            if len(found) != 1:
                raise InputError(f"{name}: a graph with {len(found)} {kind} nodes")
            sides.append(f"{name}.{found[0]}")
        ends[name] = sides[0], sides[1]
        nodes |= {f"{name}.{key}": one for key, one in inner.items()}
        edges += [(f"{name}.{one}", f"{name}.{other}") for one, other in between]
    for edge in graph.edges:
        source, target = (str(name) for name in edge)
        for name in (source, target):
            if name not in graph.nodes:
                raise InputError(f"an edge of the graph names {name!r}, not a node")
        source, target = (
            ends.get(source, (source, source))[1],
            ends.get(target, (target, target))[0],
        )
        edges.append((source, target))
    return nodes, list(dict.fromkeys(edges))


def edges_back(
    nodes: Mapping[str, Any], edges: Edges, spiking: Sequence[str]
) -> set[tuple[str, str]]:
    """Choose edges out of neurons without which a graph has no circles."""
    # From the input on, so that what leads back is known as such.
    first = [name for name in nodes if type(nodes[name]).__name__ == "Input"]
    starts, back = [*first, *nodes], set[tuple[str, str]]()
    reached: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        reached[source].append(target)
    while circle := _circle(reached, starts):
        ends = zip(circle[-2::-1], circle[:0:-1], strict=True)
        out = [edge for edge in ends if type(nodes[edge[0]]).__name__ in spiking]
        if not out:
            raise InputError(
                f"{', '.join(circle[:-1])}: a circle without neurons; of recurrent "
                "graphs each circle needs some"
            )
        source, target = out[0]
        back.add(out[0])
        reached[source].remove(target)
    return back


def _circle(reached: Mapping[str, list[str]], starts: Sequence[str]) -> list[str]:
    """Find nodes that lead to the first of them again, by a search in depth."""
    done: set[str] = set()
    for start in starts:
        way, left = [start], [iter(reached[start])]
        while way and start not in done:
            target = next(left[-1], None)
            if target is None:
                done.add(way.pop())
                left.pop()
            elif target in way:
                return [*way[way.index(target) :], target]
            elif target not in done:
                way.append(target)
                left.append(iter(reached[target]))
    return []


def in_order(
    nodes: Mapping[str, Any], edges: Edges, back: Collection[tuple[str, str]]
) -> dict[str, list[str]]:
    """Sort nodes so that each comes after those that it reads but for edges back."""
    reads: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        reads[target].append(source)
    before = {
        name: [one for one in sources if (one, name) not in back]
        for name, sources in reads.items()
    }
    sorter = TopologicalSorter(before)
    sorter.prepare()
    found: dict[str, list[str]] = {}
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=[*nodes].index)
        found |= {name: reads[name] for name in ready}
        sorter.done(*ready)
    return found


def each_channel(name: str, what: str, value: Any, shape: Shape) -> float | Array:
    """Take numbers of neurons that are the same within each channel."""
    array = real_numbers(f"{name}: {what}", value)
    if array.size not in (1, np.prod(shape)):
        raise InputError(
            f"{name}: {what} of shape {array.shape} on values of shape {shape}"
        )
    if (array == array.flat[0]).all():
        return float(array.flat[0])
    of_channels = array.reshape(shape[0], -1)
    if (of_channels != of_channels[:, :1]).any():
        raise InputError(
            f"{name}: {what} differs within a channel; a layer has one number, or one "
            "for each channel"
        )
    return of_channels[:, 0]


def current_based(tau_s: float, synaptic_s: float) -> NeuronModel:
    """Make neurons with a current that decays: ``I`` is what it adds to v in a step."""
    return NeuronModel(
        """
        dv/dt = -v / tau : 1
        dI/dt = (-I + input_scale * bias / (1 - exp(-dt / tau_syn))) / tau_syn : 1
        """,
        # A constant input is part of the current, and so are spikes that arrive.
        noise="I - input_scale * bias",
        on_pre="I_post += w\nv_post += w",
        parameters={"tau": tau_s * second, "tau_syn": synaptic_s * second},
        method="exact",
        name="CubaLIF",
    )


def layer_name(name: str, taken: Any) -> str:
    """Make a name of Brian2's language."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not found[:1].isalpha():
        found = f"layer_{found}"
    return unused(found, taken)


def constants(layers: Network, parameters: Parameters) -> dict[str, Array]:
    """Give what is added to each neuron's potential in each step: bias and leak."""
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)
    found = {}
    for layer in layers:
        total = np.zeros(layer.shape)
        total += by_channel(parameters.leak[layer.name], layer.shape)
        if layer.bias is not None:
            total += layer.bias * gains[layer.name]
        if total.any():
            found[layer.name] = total
    return found


def described_scale(layers: Network, parameters: Parameters) -> Network:
    """Turn weights and biases that act at run time into those of a description."""
    factors = weight_factors(layers, parameters)
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)
    populations = tuple(
        one if one.bias is None else replace(one, bias=one.bias / gains[one.name])
        for one in layers
    )
    projections = tuple(
        replace(p, connection=p.connection.times(1 / factors[p.name]))
        if p.name in factors
        else p
        for p in layers.projections
    )
    return replace(layers, populations=populations, projections=projections)
