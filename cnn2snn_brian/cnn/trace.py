"""
Trace a PyTorch CNN with torch.fx: the calls of its ``forward``, and who reads whom.

``F.relu(x)`` and ``x.flatten(1)`` count like modules. Every call of the trace is either
understood or refused by its place in the module; nothing is skipped silently.
"""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.errors import UnsupportedModuleError

SUPPORTED = (
    "Supported are Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU, Flatten, "
    "ReLU6, BatchNorm, Dropout, Identity, sums and concatenations over channels."
)

#: What to do about the things that users have most often.
_ADVICE = {
    **dict.fromkeys(
        ("GroupNorm", "group_norm", "LayerNorm", "layer_norm", "InstanceNorm")
        + ("instance_norm", "LocalResponseNorm", "local_response_norm"),
        "Its statistics are computed anew from each image: use BatchNorm and train "
        "again.",
    ),
    **dict.fromkeys(
        ("split", "chunk", "getitem", "unbind"),
        "A part of the channels can't be taken: read all of them by a convolution of "
        "size 1 whose other weights are 0.",
    ),
    "LeakyReLU": "A firing rate is never negative: use ReLU (cnn2snn_brian.adjust "
    "replaces it) and train again.",
    "Softmax": "Leave it out: the class with the most output spikes is the same.",
    "LogSoftmax": "Leave it out: the class with the most output spikes is the same.",
    "softmax": "Leave it out: the class with the most output spikes is the same.",
    "log_softmax": "Leave it out: the class with the most output spikes is the same.",
}


#: Methods that change how numbers are stored. Weights are read in float64.
CASTS = ("float", "double", "half", "bfloat16", "to", "type_as", "cpu", "cuda")

#: Functions and tensor methods that stand for a module.
FUNCTIONS: dict[Any, str] = {
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
    F.conv2d: "Conv2d",
    F.conv_transpose2d: "ConvTranspose2d",
    F.interpolate: "Upsample",
    F.linear: "Linear",
    F.batch_norm: "BatchNorm",
    operator.mul: "mul",
    operator.imul: "mul",
    torch.mul: "mul",
    "mul": "mul",
    "mul_": "mul",
    **dict.fromkeys((torch.clamp, torch.clip, "clamp", "clamp_", "clip"), "clamp"),
    **dict.fromkeys((torch.clamp_min, "clamp_min", "clamp_min_"), "clamp"),
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
    **dict.fromkeys(CASTS, "Identity"),
    torch.mean: "mean",
    "mean": "mean",
}

_MODULES: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv2d",
    nn.ConvTranspose2d: "ConvTranspose2d",
    nn.Upsample: "Upsample",
    nn.UpsamplingNearest2d: "Upsample",
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
    nn.SyncBatchNorm: "BatchNorm",
}


def module_kind(module: nn.Module) -> str | None:
    """Name the kind of layer that a module is."""
    if "forward" in vars(module):
        return None
    for base in type(module).__mro__:
        if base in _MODULES:
            return _MODULES[base]
        if {"forward", "_conv_forward"} & vars(base).keys():
            return None
    return None


def advice(name: str) -> str:
    """Say what to do about something that is not supported."""
    known = (text for part, text in _ADVICE.items() if part in name)
    return f"{next(known, '')} {SUPPORTED}".strip()


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
        """Look up an argument of a function call."""
        if len(self.args) > index:
            return self.args[index]
        return self.kwargs.get(name, default)


class _Root(nn.Module):
    """A CNN that gets an image only: other arguments have their defaults."""

    def __init__(self, cnn: nn.Module) -> None:
        super().__init__()
        self.cnn = cnn

    def forward(self, image: torch.Tensor) -> Any:
        return self.cnn(image)


def module_path(target: str) -> str:
    """Give the path of a module in the CNN."""
    return target.partition(".")[2]  # without the name that `_Root` gives the CNN


def _caller(node: torch.fx.Node) -> str:
    """Where a function was called: the path of the module, and the function."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [
        module_path(entry[0]) if isinstance(entry, tuple) else ""
        for entry in stack.values()
    ]
    path = next((path for path in reversed(paths) if path), "forward")
    return f"{path} (call of {node.name})"


class Tracer(torch.fx.Tracer):
    """
    List calls as a CNN makes them.

    A module is one call if it is of torch's own kinds or ours. Each keeps the state of
    its call, since a forward may set a stride between two of them. Hooks are not
    called, and weights stay what they are, so that all that is computed of them alone
    is a constant.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one call."""
        is_torchs = super().is_leaf_module(m, module_qualified_name)
        return module_kind(m) is not None or is_torchs and "forward" not in vars(m)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """List a module, or the calls that its forward makes."""
        result = super().call_module(m, m.forward, args, kwargs)
        if self.is_leaf_module(m, ""):
            result.node.meta["module"] = copy.copy(m)
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """Give what a module has."""
        return attr_val


def trace(module: nn.Module) -> torch.fx.GraphModule:
    """Trace a CNN."""
    try:
        with torch.no_grad():
            root = _Root(module)
            graph = Tracer().trace(root)
    except Exception as error:
        raise UnsupportedModuleError(
            type(module).__name__,
            f"torch.fx can't trace its forward: {str(error) or type(error).__name__}",
            "forward must not depend on the values of tensors.",
        ) from error
    before: set[torch.fx.Node] = set()
    #: Calls that give the same tensor, by each of them.
    same: dict[torch.fx.Node, list[torch.fx.Node]] = {}
    for node in graph.nodes:
        before.add(node)
        read = next(iter(node.all_input_nodes), None)
        in_place = _is_in_place(node)
        if read is not None and (in_place or _is_identity(node)):
            same[node] = same.setdefault(read, [read])
            for earlier in same[node] if in_place else ():
                earlier.replace_all_uses_with(node, lambda user: user not in before)
            same[node].append(node)
    return torch.fx.GraphModule(root, graph)


def _is_in_place(node: torch.fx.Node) -> bool:
    """Whether a call changes the first value that it reads."""
    name = str(getattr(node.target, "__name__", node.target))
    is_method = name.endswith("_") and not name.endswith("__")
    is_operator = node.target in (operator.iadd, operator.imul, operator.isub)
    options = getattr(node.meta.get("module"), "inplace", node.kwargs.get("inplace"))
    return is_operator or is_method or bool(options)


def _is_identity(node: torch.fx.Node) -> bool:
    """Whether a call gives what it reads."""
    child = node.meta.get("module")
    kind = FUNCTIONS.get(node.target) if child is None else module_kind(child)
    return kind in ("Identity", "Dropout")


class Calls(torch.fx.Interpreter):
    """
    The calls of a CNN one by one, without its hooks.

    Each notes the shape of its result, or what else it is.

    Parameters
    ----------
    traced : torch.fx.GraphModule
        The calls.
    note : callable
        Takes each call and its result.
    """

    def __init__(
        self,
        traced: torch.fx.GraphModule,
        note: Callable[[torch.fx.Node, Any], None],
    ) -> None:
        super().__init__(traced)
        self.extra_traceback, self.note = False, note

    def run_node(self, n: torch.fx.Node) -> Any:
        """Compute one of them."""
        if n.op == "call_module":
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            result = n.meta["module"].forward(*args, **kwargs)
        else:
            result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            n.meta["shape"] = tuple(result.shape[1:])
        if n.op == "get_attr" or not isinstance(result, torch.Tensor):
            n.meta["value"] = result
        self.note(n, result)
        return result


def _shape(node: torch.fx.Node) -> tuple[int, ...] | None:
    """Shape of a result without the batch, None if it is no tensor or a constant."""
    return None if node.op == "get_attr" else node.meta.get("shape")


def _kind(node: torch.fx.Node) -> tuple[str, str, nn.Module | None]:
    """Name a call: its place, the kind of layer that it is, and its module."""
    where, child = _place(node), node.meta.get("module")
    if child is not None:
        kind = module_kind(child)
        name, found = type(child).__name__, f"found {child}"
    else:
        kind = FUNCTIONS.get(node.target)
        name = getattr(node.target, "__name__", str(node.target))
        found = f"found the function {name}"
    if kind is None:
        raise UnsupportedModuleError(where, found, advice(name))
    return where, kind, child


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
    if len(heads) == 1:
        kind = "dict" if isinstance(returned, dict) else "list or tuple"
        raise UnsupportedModuleError(
            _caller(node),
            f"returns a {kind} with the tensor of {heads[0]}",
            "Return the tensor alone.",
        )
    raise UnsupportedModuleError(
        _caller(node),
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


def steps(traced: torch.fx.GraphModule) -> tuple[str, list[Step], str]:
    """Name the calls of a CNN."""
    nodes = traced.graph.nodes
    image = next(node.name for node in nodes if node.op == "placeholder")
    output = _output(next(node for node in nodes if node.op == "output"))
    needed = _needed(output)
    # What only deals with sizes, ``x.shape[0]``, shows in the shapes.
    found = [
        _step(node)
        for node in nodes
        if node in needed and node.op != "placeholder" and _shape(node) is not None
    ]
    return image, found, output.name


def _step(node: torch.fx.Node) -> Step:
    if several := _several(node):
        where, kind, child = _kind(several)
        raise UnsupportedModuleError(
            where, f"{child or kind} returns more than one tensor", SUPPORTED
        )
    where, kind, child = _kind(node)
    reads = _operands(node)
    if not reads:
        raise UnsupportedModuleError(
            where,
            "makes a tensor of its own",
            f"All that is computed has to come from the image. {SUPPORTED}",
        )
    before, after = _shape(reads[0]), _shape(node)
    assert before is not None
    assert after is not None
    args, kwargs = torch.fx.map_arg(
        (node.args, dict(node.kwargs)), lambda n: n.meta.get("value", n)
    )
    names = tuple(n.name for n in reads)
    return Step(node.name, names, where, kind, child, args, kwargs, before, after)


def _several(node: torch.fx.Node) -> torch.fx.Node | None:
    """Find the first call before a call that returns several tensors."""
    for source in node.all_input_nodes:
        value = source.meta.get("value")
        parts = value if isinstance(value, tuple | list) else ()
        if any(isinstance(part, torch.Tensor) for part in parts):
            return _several(source) or source
    return None


def _operands(node: torch.fx.Node) -> list[torch.fx.Node]:
    """List the tensors that a call reads, in order, also those it reads twice."""
    found: list[torch.fx.Node] = []
    torch.fx.map_arg(
        (node.args, node.kwargs),
        lambda n: found.append(n) if _shape(n) is not None else None,
    )
    return found


def _place(node: torch.fx.Node) -> str:
    return module_path(str(node.target)) if node.op == "call_module" else _caller(node)
