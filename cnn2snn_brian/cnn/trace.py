"""
Trace a PyTorch CNN with torch.fx: the calls of its ``forward``, and who reads whom.

``F.relu(x)`` and ``x.flatten(1)`` count like modules. Every call of the trace is either
understood or refused by its place in the module; nothing is skipped silently.
"""

import copy
import operator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.errors import InputError, UnsupportedModuleError

__all__ = ["SUPPORTED", "Step", "Tracer", "steps"]

SUPPORTED = (
    "Supported are Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU, Flatten, "
    "ReLU6, BatchNorm, Dropout, Identity, sums and concatenations over channels."
)

#: What to do about the things that users have most often.
ADVICE = {
    "LeakyReLU": "A firing rate is never negative: use ReLU (cnn2snn_brian.adjust "
    "replaces it) and train again.",
    "Softmax": "Leave it out: the class with the most output spikes is the same.",
    "LogSoftmax": "Leave it out: the class with the most output spikes is the same.",
    "softmax": "Leave it out: the class with the most output spikes is the same.",
    "log_softmax": "Leave it out: the class with the most output spikes is the same.",
}


@dataclass(frozen=True)
class Step:
    """
    One call in a traced CNN.

    Attributes
    ----------
    name : str
        Name of its result.
    reads : tuple of str
        Names of the results that it reads.
    where : str
        Its place: the path of the module, or of the one that calls a function.
    kind : str
        The kind of layer that it is, by the name of the module that does the same.
    module : nn.Module or None
        The module, if it is one.
    args, kwargs : tuple, dict
        Arguments of the call, the input first.
    input_shape, shape : tuple of int
        Shape of what goes in (of several, the first) and comes out, without the batch.
    """

    name: str
    reads: tuple[str, ...]
    where: str
    kind: str
    module: nn.Module | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]

    def argument(self, index: int, name: str, default: Any) -> Any:
        """
        Look up an argument of a function call.

        Parameters
        ----------
        index : int
            Its position; the input is 0.
        name : str
            Its name.
        default : object
            What it is if it was not given.

        Returns
        -------
        object
            The argument.
        """
        if len(self.args) > index:
            return self.args[index]
        return self.kwargs.get(name, default)


#: Functions and tensor methods that stand for a module.
_FUNCTIONS: dict[Any, str] = {
    F.relu: "ReLU",
    F.relu_: "ReLU",
    torch.relu: "ReLU",
    torch.relu_: "ReLU",
    "relu": "ReLU",
    "relu_": "ReLU",
    F.relu6: "ReLU6",
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    "add_": "add",
    torch.cat: "cat",
    torch.concat: "cat",
    F.avg_pool2d: "AvgPool2d",
    F.adaptive_avg_pool2d: "AdaptiveAvgPool2d",
    F.max_pool2d: "MaxPool2d",
    torch.max_pool2d: "MaxPool2d",
    F.dropout: "Dropout",
    F.dropout2d: "Dropout",
    torch.flatten: "Flatten",
    "flatten": "Flatten",
    "view": "reshape",
    "reshape": "reshape",
    torch.reshape: "reshape",
    "contiguous": "Identity",
    torch.mean: "mean",
    "mean": "mean",
}

_MODULES: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv2d",
    nn.Linear: "Linear",
    nn.AvgPool2d: "AvgPool2d",
    nn.AdaptiveAvgPool2d: "AdaptiveAvgPool2d",
    nn.MaxPool2d: "MaxPool2d",
    nn.ReLU: "ReLU",
    nn.ReLU6: "ReLU6",
    ClipFloorShift: "ReLU",  # one that saturates; `from_torch` notes where
    nn.Flatten: "Flatten",
    nn.Dropout: "Dropout",
    nn.Dropout2d: "Dropout",
    nn.Identity: "Identity",
    nn.BatchNorm1d: "BatchNorm",
    nn.BatchNorm2d: "BatchNorm",
}


def _module_path(node: torch.fx.Node) -> str:
    """Where a function was called: the path of the module, and the function."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] if isinstance(entry, tuple) else "" for entry in stack.values()]
    path = next((path for path in reversed(paths) if path), "forward")
    return f"{path} (call of {node.name})"


class Tracer(torch.fx.Tracer):
    """Take our own activation as one call, like the modules of torch."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one call."""
        is_own = isinstance(m, ClipFloorShift)
        return is_own or super().is_leaf_module(m, module_qualified_name)


class _Propagation(ShapeProp):
    """Note the shape of every tensor, and the value of all that is none."""

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if _shape(node) is None:
            node.meta["value"] = result
        return result


def _traced(module: nn.Module, input_shape: tuple[int, int, int]) -> torch.fx.Graph:
    """Trace a copy of the module and note the shape of every value (batch of 2)."""
    is_torchs_own = type(module).__module__.startswith("torch.nn")
    is_one = is_torchs_own and not isinstance(module, nn.Sequential)
    if is_one or isinstance(module, ClipFloorShift):
        # A bare layer would be traced into the functions that it consists of.
        module = nn.Sequential(module)
    # The caller's module keeps its mode, and its buffers are not touched.
    module = copy.deepcopy(module).double().cpu().eval()
    try:
        traced = torch.fx.GraphModule(module, Tracer().trace(module))
    except Exception as error:
        where = type(module).__name__
        found = f"torch.fx can't trace its forward: {error}"
        advice = "forward must not depend on the values of tensors."
        raise UnsupportedModuleError(where, found, advice) from error
    inputs = [node for node in traced.graph.nodes if node.op == "placeholder"]
    if len(inputs) > 1:
        raise UnsupportedModuleError(
            inputs[1].name, "a second input of forward", "Give one image tensor."
        )
    example = torch.zeros(2, *input_shape, dtype=torch.float64)
    try:
        # On a wrong shape, ShapeProp prints a traceback of its own besides raising.
        with torch.inference_mode(), redirect_stderr(StringIO()):
            _Propagation(traced).propagate(example)
    except Exception as error:
        shape = (2, *input_shape)
        message = (
            f"the CNN does not compute an input of shape {shape}: "
            f"{error.__cause__ or error}"
        )
        raise InputError(message) from error
    return traced.graph


def _shape(node: torch.fx.Node) -> tuple[int, ...] | None:
    """Shape of a node's tensor without the batch, None if it is not a tensor."""
    meta = node.meta.get("tensor_meta")
    return None if meta is None or not hasattr(meta, "shape") else tuple(meta.shape[1:])


def _kind(node: torch.fx.Node, root: nn.Module) -> tuple[str, str, nn.Module | None]:
    """Name a call: its place, the kind of layer that it is, and its module."""
    if node.op == "call_module":
        where = str(node.target)
        child = root.get_submodule(where)
        kind = _MODULES.get(type(child))
        if kind is None:
            name = type(child).__name__
            raise UnsupportedModuleError(
                where, f"found {child}", f"{ADVICE.get(name, '')} {SUPPORTED}".strip()
            )
        return where, kind, child
    where = _module_path(node)
    kind = _FUNCTIONS.get(node.target)
    if kind is None:
        name = getattr(node.target, "__name__", str(node.target))
        advice = next((ADVICE[key] for key in ADVICE if key in name), "")
        raise UnsupportedModuleError(
            where, f"found the function {name}", f"{advice} {SUPPORTED}".strip()
        )
    return where, kind, None


def _output(node: torch.fx.Node) -> torch.fx.Node:
    """Find the one tensor that is returned."""
    returned = node.args[0]
    if isinstance(returned, torch.fx.Node) and _shape(returned) is not None:
        return returned
    if isinstance(returned, torch.fx.Node):
        raise UnsupportedModuleError(
            _place(returned), "it returns more than one tensor", SUPPORTED
        )
    heads = [_place(n) for n in node.all_input_nodes if _shape(n) is not None]
    raise UnsupportedModuleError(
        _module_path(node),
        f"returns {len(heads)} tensors, of {', '.join(heads)}",
        "Return one tensor: convert each head as a CNN of its own.",
    )


def _needed(output: torch.fx.Node) -> set[torch.fx.Node]:
    """Collect all that a result depends on."""
    found, waiting = set(), [output]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def steps(
    module: nn.Module, input_shape: tuple[int, int, int]
) -> tuple[str, list[Step], str]:
    """
    List the calls of a CNN.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is not changed.
    input_shape : tuple of int
        Shape of an image, (channels, height, width).

    Returns
    -------
    image : str
        Name of what goes in.
    steps : list of Step
        The calls that the result depends on, each behind those that it reads, with the
        shapes of what goes in and comes out.
    result : str
        Name of what comes out.

    Raises
    ------
    UnsupportedModuleError
        For a call that is not understood, or more results than one.
    InputError
        If `input_shape` does not fit the CNN.
    """
    graph = _traced(module, input_shape)
    root = graph.owning_module
    assert root is not None
    image = next(node.name for node in graph.nodes if node.op == "placeholder")
    output = _output(next(node for node in graph.nodes if node.op == "output"))
    needed = _needed(output)
    found = [
        _step(node, root)
        for node in graph.nodes
        if node in needed and node.op != "placeholder" and not _is_size(node)
    ]
    return image, found, output.name


def _is_size(node: torch.fx.Node) -> bool:
    """Whether a call only deals with sizes, ``x.shape[0]``: it shows in the shapes."""
    if node.op == "get_attr":
        return False
    return _shape(node) is None


def _step(node: torch.fx.Node, root: nn.Module) -> Step:
    reads = [n for n in node.all_input_nodes if _shape(n) is not None]
    tensors = [n for n in reads if n.op == "get_attr"]
    if node.op == "get_attr" or not reads or tensors:
        raise UnsupportedModuleError(
            _place(node),
            f"reads {', '.join(n.name for n in tensors) or 'a tensor of its own'}",
            f"All that is computed has to come from the image. {SUPPORTED}",
        )
    where, kind, child = _kind(node, root)
    before, after = _shape(reads[0]), _shape(node)
    assert before is not None
    if after is None:
        found = f"{child or kind} returns more than one tensor"
        raise UnsupportedModuleError(where, found, SUPPORTED)
    args, kwargs = torch.fx.map_arg(
        (node.args, dict(node.kwargs)), lambda n: n.meta.get("value", n)
    )
    names = tuple(n.name for n in _operands(node)) or tuple(n.name for n in reads)
    return Step(node.name, names, where, kind, child, args, kwargs, before, after)


def _operands(node: torch.fx.Node) -> list[torch.fx.Node]:
    """List the tensors that a call reads, in order, also those it reads twice."""
    found: list[torch.fx.Node] = []
    torch.fx.map_arg(
        (node.args, node.kwargs),
        lambda n: found.append(n) if _shape(n) is not None else None,
    )
    return found


def _place(node: torch.fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else _module_path(node)
