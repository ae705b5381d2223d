"""What NIR can't say: kept with a graph, and read back if the graph was not changed."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import damage
from cnn2snn_brian.settings import fields_of

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: Entry of a graph's metadata.
KEY = "cnn2snn_brian"

#: Raised when metadata that were written before can no longer be read.
FORMAT = "cnn2snn-brian NIR 1"
DAMAGED = f"the metadata {KEY!r} of the graph are damaged"

#: Fields of nodes that say what they compute. Shapes follow from the edges.
_CONTENT = (
    "weight bias stride padding dilation groups kernel_size start_dim end_dim delay "
    "tau r v_leak v_reset v_threshold threshold scale"
)


def content(graph: Any) -> str:
    """Hash what a graph computes."""
    found = hashlib.sha256()
    for name in sorted(graph.nodes):
        node = graph.nodes[name]
        found.update(f"\0{name}\0{type(node).__name__}".encode())
        for what in _CONTENT.split():
            value = getattr(node, what, None)
            if value is None:
                continue
            array = np.asarray(value)
            if array.dtype.kind in "iu":
                array = array.astype(np.int64)
            found.update(f"\0{what}\0{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    edges = sorted((str(source), str(target)) for source, target in graph.edges)
    found.update(repr(edges).encode())
    return found.hexdigest()


def kept(network: "SpikingNetwork", graph: Any) -> dict[str, Any]:
    """Write a network's settings, and arrays that the graph has in another form."""
    settings, arrays = network.record()
    of_nodes, beside = {}, {}
    for key, array in arrays.items():
        weight = _of_node(graph, key)
        if weight is not None and np.array_equal(weight.astype(array.dtype), array):
            of_nodes[key] = str(array.dtype)
        else:
            beside[key] = np.array(array)
    return {
        "format": FORMAT,
        "network": json.dumps(settings),
        "of_nodes": json.dumps(of_nodes),
        "arrays": beside,
        "content": content(graph),
    }


def _of_node(graph: Any, key: str) -> Any:
    """Find the weights of a node by their name in a network's record."""
    name, _, what = key.rpartition(".")
    node = graph.nodes.get(f"{name}_synapses")
    return getattr(node, "weight", None) if what == "weight" else None


def kept_settings(graph: Any) -> dict[str, Any] | None:
    """Find what `kept` wrote of a network's settings."""
    entry = (graph.metadata or {}).get(KEY)
    if entry is None:
        return None
    with damage(DAMAGED):
        form = str(entry["format"])
        if form != FORMAT:
            raise InputError(
                f"the metadata {KEY!r} have the format {form!r}, expected {FORMAT!r}"
            )
        return dict(json.loads(entry["network"]))


def kept_fields(graph: Any, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Read a network back, if its graph was not changed."""
    entry = graph.metadata[KEY]
    with damage(DAMAGED):
        if str(entry.get("content")) != content(graph):
            return None
        arrays = dict(entry.get("arrays", {}))
        for key, dtype in json.loads(entry["of_nodes"]).items():
            arrays[key] = _of_node(graph, key).astype(dtype)
        return fields_of(settings, arrays)
