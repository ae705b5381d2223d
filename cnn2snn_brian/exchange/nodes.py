"""The nodes of a NIR graph in the order of the data, and what they hold."""

import inspect
import re
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.pictures import as_array
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import INPUT, Shape

__all__ = [
    "each_channel",
    "flattened",
    "in_order",
    "known_to",
    "layer_name",
    "pair",
    "with_arrays",
]

Array = npt.NDArray[np.float64]
Edges = list[tuple[str, str]]


def known_to(call: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """
    Leave out arguments that a version of the library nir does not have.

    Before 1.0.5, neurons had no ``v_reset``, and types were not checked.

    Parameters
    ----------
    call : callable
        What is called.
    **options
        Arguments.

    Returns
    -------
    dict of str to object
        Those that it takes.
    """
    taken = inspect.signature(call).parameters
    return {name: value for name, value in options.items() if name in taken}


def with_arrays(name: str, node: Any) -> Any:
    """
    Put arrays in the place of PyTorch's tensors.

    Parameters
    ----------
    name : str
        Name of the node, for messages.
    node : nir.NIRNode
        A node, or a graph.

    Returns
    -------
    nir.NIRNode
        The same if it has no tensors, or else a copy.

    Raises
    ------
    InputError
        If a tensor can't be read.
    """
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
    """
    Put the nodes of graphs within a graph into one.

    Parameters
    ----------
    graph : nir.NIRGraph
        The graph.

    Returns
    -------
    nodes : dict of str to nir.NIRNode
        By name; those of a graph within have its name before theirs, ``block.conv``.
    edges : list of tuple of str
        (source, target).

    Raises
    ------
    InputError
        If an edge names no node, or a graph within has several inputs or outputs.
    """
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
                message = f"{name}: a graph within with {len(found)} {kind} nodes"
                raise InputError(message)
            sides.append(f"{name}.{found[0]}")
        ends[name] = sides[0], sides[1]
        nodes |= {f"{name}.{key}": one for key, one in inner.items()}
        edges += [(f"{name}.{one}", f"{name}.{other}") for one, other in between]
    for pair_of_nodes in graph.edges:
        source, target = (str(name) for name in pair_of_nodes)
        for name in (source, target):
            if name not in graph.nodes:
                message = f"an edge of the graph names {name!r}, which is no node"
                raise InputError(message)
        source = ends[source][1] if source in ends else source
        target = ends[target][0] if target in ends else target
        edges.append((source, target))
    return nodes, list(dict.fromkeys(edges))


def in_order(nodes: Mapping[str, Any], edges: Edges) -> dict[str, list[str]]:
    """
    Sort nodes so that each comes after those that it reads.

    Parameters
    ----------
    nodes : dict of str to nir.NIRNode
        The nodes.
    edges : list of tuple of str
        (source, target), in any order.

    Returns
    -------
    dict of str to list of str
        For each node, in order, the nodes that it reads.

    Raises
    ------
    InputError
        If the graph is recurrent.
    """
    reads: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        reads[target].append(source)
    found: dict[str, list[str]] = {}
    left = list(nodes)
    while left:
        ready = [name for name in left if all(one in found for one in reads[name])]
        if not ready:
            # Only what lies on a circle, and not what comes after one.
            circle = {*left}
            while True:
                read = {one for name in circle for one in reads[name]} & circle
                if read == circle:
                    break
                circle = read
            names = ", ".join(name for name in left if name in circle)
            message = f"{names}: a recurrent connection; only graphs without circles"
            message += " can be read"
            raise InputError(message)
        found |= {name: reads[name] for name in ready}
        left = [name for name in left if name not in found]
    return found


def pair(value: Any) -> tuple[int, int]:
    """
    Take one whole number for both axes, or one for each.

    Parameters
    ----------
    value : int or sequence of int
        The number or numbers.

    Returns
    -------
    tuple of int
        (y, x).
    """
    y, x = np.broadcast_to(np.asarray(value), (2,))
    return int(y), int(x)


def each_channel(name: str, what: str, value: Any, shape: Shape) -> float | Array:
    """
    Take numbers of neurons that are the same within each channel.

    Parameters
    ----------
    name : str
        Name of the node.
    what : str
        What they are.
    value : ndarray of float
        A number for each neuron, or for all of them.
    shape : tuple of int
        Shape of the population.

    Returns
    -------
    float or ndarray of float, shape (channels,)
        One number if all are the same.

    Raises
    ------
    InputError
        If they have another shape, differ within a channel, or are not finite.
    """
    array = np.asarray(value, np.float64)
    if array.size not in (1, np.prod(shape)):
        message = f"{name}: {what} of shape {array.shape} on values of shape {shape}"
        raise InputError(message)
    if not np.isfinite(array).all():
        message = f"{name}: {what} has values that are not finite"
        raise InputError(message)
    if (array == array.flat[0]).all():
        return float(array.flat[0])
    of_channels = array.reshape(shape[0], -1)
    if (of_channels != of_channels[:, :1]).any():
        message = (
            f"{name}: {what} differs within a channel; a layer has one number, or one "
            "for each channel"
        )
        raise InputError(message)
    return of_channels[:, 0]


def layer_name(name: str, taken: Any) -> str:
    """
    Make a name of Brian2's language.

    Parameters
    ----------
    name : str
        Name of a node.
    taken : collection of str
        Names of other layers.

    Returns
    -------
    str
        The same, with ``_`` for what can't be in a name.
    """
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not found[:1].isalpha():
        found = f"layer_{found}"
    base, n = found, 1
    while found in taken or found == INPUT:
        n += 1
        found = f"{base}_{n}"
    return found
