"""
A spiking network from a NIR graph.

A graph that `to_nir` made is read back as it was. In any other graph, nodes with
neurons become layers, and what is between them becomes their synapses; what NIR does
not say is assumed, and said in a warning.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn2snn_brian.checks import check_choice, optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import damage
from cnn2snn_brian.nir.graph_reader import (
    ASSUMED,
    BESIDE,
    NUMBERS,
    SETTINGS,
    GraphReader,
)
from cnn2snn_brian.nir.metadata import kept_fields, kept_settings
from cnn2snn_brian.nir.nodes import known_to, with_arrays
from cnn2snn_brian.settings import CHOICES, Parameters


def network_fields(graph: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Read a NIR graph."""
    nir = optional_library("nir", "nir", "NIR")
    own = {"resistance": ("step", "second"), "integration": ("exact", "euler")}
    for what, choices in {**CHOICES, **own}.items():
        if what in given:
            check_choice(what, given[what], choices)
    where = "the graph"
    if isinstance(graph, str | Path):
        where, graph = str(graph), _from_file(nir, graph)
    if not isinstance(graph, nir.NIRGraph):
        raise InputError(f"a {type(graph).__name__}, expected a nir.NIRGraph or a file")
    graph = with_arrays(where, graph)
    settings, known = kept_settings(graph), {}
    if settings is not None:
        fields = kept_fields(graph, settings)
        if fields is not None:
            return _with_given(fields, given)
        known = _known(settings)
    assumed = {k: v for k, v in ASSUMED.items() if k not in known and k not in given}
    reader = GraphReader(graph, {**assumed, **known, **given})
    fields = reader.fields()
    _warn(where, assumed, reader.without_delay, changed=settings is not None)
    return fields


def _from_file(nir: Any, path: str | Path) -> Any:
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    with damage(f"{path}: not a NIR graph"):
        # Types are checked here, so that a message has the name of the node.
        if not hasattr(nir, "dict2NIRNode"):  # before version 1.0.5
            return nir.read(path, **known_to(nir.read, type_check=False))
        with optional_library("h5py", "nir", "NIR").File(path, "r") as file:
            nodes = _unchecked(nir.serialization.hdf2dict(file["node"]))
        return nir.dict2NIRNode(nodes)


def _unchecked(node: dict[str, Any]) -> dict[str, Any]:
    """Let no graph check its types, those within others neither."""
    if node.get("type") == "Conv2d":
        return {"input_shape": None, **node}  # as before version 0.2 of nir
    if node.get("type") != "NIRGraph":
        return node
    inner = {name: _unchecked(one) for name, one in node["nodes"].items()}
    return {**node, "nodes": inner, "type_check": False}


def _with_given(fields: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Change what a user said otherwise."""
    numbers = {what: given[what] for what in NUMBERS if what in given}
    fields["parameters"] = Parameters.of(
        fields["layers"], default=fields["parameters"], **numbers
    )
    named = (*CHOICES, *BESIDE, "dt_s")
    return fields | {what: given[what] for what in named if what in given}


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Take settings of a network whose graph was changed since."""
    found = {"propagation": "step", **settings}
    names = (*SETTINGS, *BESIDE)
    known = {what: found[what] for what in names if found.get(what) is not None}
    if isinstance(known.get("synapses"), Mapping):
        del known["synapses"]  # of layers that may be others now
    for what in NUMBERS:
        numbers = settings["parameters"][what]
        known[what] = numbers
        if isinstance(numbers, Mapping):
            known[what] = {
                name: number if np.ndim(number) else float(number)
                for name, number in numbers.items()
            }
    return known


def _warn(
    where: str, assumed: Mapping[str, Any], back: Sequence[str], *, changed: bool
) -> None:
    """Name every assumption."""
    said = f"{where}: "
    if changed:
        said += "nodes were changed after the export, so they are read anew; "
    if assumed:
        words = (
            "dt=1*ms" if what == "dt_s" else f"{what}={value!r}"
            for what, value in assumed.items()
        )
        said += (
            "NIR leaves open, or simulators disagree about, what is assumed here: "
            f"{', '.join(words)}. Give these arguments to say otherwise"
        )
    if back:
        said += f"; of what leads back, {', '.join(back)}, spikes arrive a step later, "
        said += "as the graph has no Delay node there"
    if changed or assumed or back:
        warnings.warn(said, stacklevel=4)
