"""
Copy a PyTorch CNN and trace it with torch.fx: the calls of its ``forward``, in order.

``F.relu(x)`` and ``x.flatten(1)`` count like modules. Every call of the trace is either
understood or refused by its place in the module; nothing is skipped silently.
"""

import copy
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.errors import InputError, UnsupportedModuleError

SUPPORTED = (
    "Supported are Conv2d, ConvTranspose2d, Linear, AvgPool2d, AdaptiveAvgPool2d, "
    "Upsample, ReLU, ReLU6, LeakyReLU, PReLU, Flatten, BatchNorm, Dropout, Identity, "
    "sums and concatenations over channels."
)

#: What to do about what users have most often, by parts of its name in small letters.
_ADVICE = {
    ("groupnorm", "layernorm", "instancenorm", "localresponsenorm"): (
        "Its statistics are computed anew from each image: use BatchNorm and train "
        "again."
    ),
    ("split", "chunk", "getitem", "unbind"): (
        "A part of the channels can't be taken: read all of them by a convolution of "
        "size 1 whose other weights are 0."
    ),
    ("softmax",): ("Leave it out: the class with the most output spikes is the same."),
}

#: Methods that change how numbers are stored. Weights are read in float64.
CASTS = ("float", "double", "half", "bfloat16", "to", "type_as", "cpu", "cuda")

#: What each class of modules, function and tensor method is.
KINDS: dict[Any, str] = {
    what: kind
    for kind, several in {
        "Conv2d": (nn.Conv2d, F.conv2d),
        "ConvTranspose2d": (nn.ConvTranspose2d, F.conv_transpose2d),
        "Upsample": (nn.Upsample, nn.UpsamplingNearest2d, F.interpolate),
        "Linear": (nn.Linear, F.linear),
        "BatchNorm": (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, F.batch_norm),
        "AvgPool2d": (nn.AvgPool2d, F.avg_pool2d),
        "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d),
        "mean": (torch.mean, "mean"),
        "MaxPool2d": (nn.MaxPool2d, F.max_pool2d, torch.max_pool2d),
        # ClipFloorShift is one that saturates; the reader notes where.
        "ReLU": (nn.ReLU, ClipFloorShift, F.relu, F.relu_, torch.relu, torch.relu_)
        + ("relu", "relu_"),
        "ReLU6": (nn.ReLU6, F.relu6),
        "LeakyReLU": (nn.LeakyReLU, F.leaky_relu, F.leaky_relu_),
        "PReLU": (nn.PReLU, F.prelu, torch.prelu),
        "abs": (torch.abs, "abs", operator.abs),
        "clamp": (torch.clamp, torch.clip, torch.clamp_min, "clamp", "clamp_", "clip")
        + ("clamp_min", "clamp_min_"),
        "add": (operator.add, operator.iadd, torch.add, "add", "add_"),
        "mul": (operator.mul, operator.imul, torch.mul, "mul", "mul_"),
        "cat": (torch.cat, torch.concat),
        "Flatten": (nn.Flatten, torch.flatten, "flatten"),
        "reshape": (torch.reshape, "reshape", "view"),
        "Dropout": (nn.Dropout, nn.Dropout2d, F.dropout, F.dropout2d),
        "Identity": (nn.Identity, "contiguous", *CASTS),
    }.items()
    for what in several
}


def module_kind(module: nn.Module) -> str | None:
    """Name the kind of layer that a module is; None if a forward of its own counts."""
    if "forward" not in vars(module):
        for base in type(module).__mro__:
            if base in KINDS:
                return KINDS[base]
            if {"forward", "_conv_forward"} & vars(base).keys():
                break
    return None


def advice(name: str) -> str:
    """Say what to do about something that is not supported."""
    plain = name.lower().replace("_", "")
    known = (
        text for parts, text in _ADVICE.items() if any(part in plain for part in parts)
    )
    return f"{next(known, '')} {SUPPORTED}".strip()


@contextmanager
def refused(where: str, what: str, hint: str) -> Iterator[None]:
    """Say of any error of a user's code where it is, and what to do."""
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UnsupportedModuleError(where, f"{what}: {reason}", hint) from error


class _Detached(TorchFunctionMode):
    """Copy tensors that were computed, too, without how they were computed."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args[0].detach(), args[1]
            # As in `copy`: what a memo knows by its address has to live as long.
            memo.setdefault(id(memo), []).append(tensor)
            args = tensor, memo
        return func(*args, **(kwargs or {}))


def deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    """Copy any object, with computed tensors."""
    with _Detached():
        return copy.deepcopy(value, memo)


def copied(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Copy a CNN with all that belongs to it."""
    memo = {} if memo is None else memo
    try:
        try:
            return deep_copy(module, memo)
        except Exception:
            # What was begun is not a copy. Hooks with a file or a lock stay the same.
            memo.clear()
            for child in module.modules():
                for hooks in (child._forward_pre_hooks, child._forward_hooks):
                    for hook in hooks.values():
                        try:
                            copy.deepcopy(hook)
                        except Exception:  # of any object that it may hold
                            memo[id(hook)] = hook
            return deep_copy(module, memo)
    except Exception as error:  # of any object that a module may hold
        raise InputError(
            f"the CNN ({type(module).__name__}) can't be copied: {error}; take out of "
            "it what is not a tensor, number or module"
        ) from error


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


class Tracer(torch.fx.Tracer):
    """
    List calls as a CNN makes them.

    A module is one call if it is of torch's own kinds or ours. Each keeps the state of
    its call, since a forward may set a stride between two of them. Hooks are not
    called, and weights stay what they are, so that all that is computed from them alone
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
    """Trace a CNN; what reads a tensor that was changed in place reads the change."""
    name, hint = type(module).__name__, "forward must not depend on values of tensors."
    with refused(name, "torch.fx can't trace its forward", hint), torch.no_grad():
        root = _Root(module)
        graph = Tracer().trace(root)
    before: set[torch.fx.Node] = set()
    #: Calls that give the same tensor, by each of them.
    same: dict[torch.fx.Node, list[torch.fx.Node]] = {}
    for node in graph.nodes:
        before.add(node)
        read = next(iter(node.all_input_nodes), None)
        in_place = _is_in_place(node)
        if read is not None and (in_place or kind_of(node) in ("Identity", "Dropout")):
            same[node] = same.setdefault(read, [read])
            for earlier in same[node] if in_place else ():
                earlier.replace_all_uses_with(node, lambda user: user not in before)
            same[node].append(node)
    return torch.fx.GraphModule(root, graph)


def kind_of(node: torch.fx.Node) -> str | None:
    """Name the kind of layer that a call is."""
    module = node.meta.get("module")
    return KINDS.get(node.target) if module is None else module_kind(module)


def _is_in_place(node: torch.fx.Node) -> bool:
    """Whether a call changes the first value that it reads."""
    name = str(getattr(node.target, "__name__", node.target))
    is_method = name.endswith("_") and not name.endswith("__")
    is_operator = node.target in (operator.iadd, operator.imul, operator.isub)
    options = getattr(node.meta.get("module"), "inplace", node.kwargs.get("inplace"))
    return is_operator or is_method or bool(options)


#: For comparing values by weighted sums; their number is prime.
_WEIGHTS = np.cos(np.arange(4099))


def prints(tensor: torch.Tensor | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Give two numbers for each image, which hardly stay if a value changes."""
    values = np.asarray(tensor)
    flat = values.reshape(len(values) if values.ndim else 1, -1)
    weights = np.resize(_WEIGHTS, flat.shape[1])
    return np.stack([flat @ weights, np.abs(flat).sum(1)])


class Calls(torch.fx.Interpreter):
    """
    The calls of a CNN one by one, without its hooks.

    Each notes the shape and the `prints` of what it computes of the image, or, if it
    computes no tensor or a constant, its value.
    """

    extra_traceback = False

    def run_node(self, n: torch.fx.Node) -> Any:
        """Compute one of them."""
        if n.op == "call_module":
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            result = n.meta["module"].forward(*args, **kwargs)
        else:
            result = super().run_node(n)
        if isinstance(result, torch.Tensor) and n.op != "get_attr":
            n.meta |= {"shape": tuple(result.shape[1:]), "prints": prints(result)}
        else:
            n.meta["value"] = result
        return result


def _place(node: torch.fx.Node) -> str:
    """Path of a module, or that of the module that calls a function."""
    if node.op == "call_module":
        return module_path(str(node.target))
    stack = (node.meta.get("nn_module_stack") or {}).values()
    paths = [module_path(entry[0]) for entry in stack if isinstance(entry, tuple)]
    path = next((path for path in reversed(paths) if path), "forward")
    return f"{path} (call of {node.name})"


def _output(node: torch.fx.Node) -> torch.fx.Node:
    """Find the one tensor that is returned."""
    returned, tensors = node.args[0], [n for n in node.all_input_nodes if _is_result(n)]
    if isinstance(returned, torch.fx.Node):
        if tensors:
            return returned
        raise UnsupportedModuleError(
            _place(returned), "it returns more than one tensor", SUPPORTED
        )
    heads = ", ".join(map(_place, tensors))
    if len(tensors) == 1:
        kind = "dict" if isinstance(returned, dict) else "list or tuple"
        found, other = f"a {kind} with the tensor of {heads}", "the tensor alone."
    else:
        found = f"{len(tensors)} tensors, of {heads}"
        other = "one tensor: convert each head as a CNN of its own."
    raise UnsupportedModuleError(_place(node), f"returns {found}", f"Return {other}")


def _is_result(node: torch.fx.Node) -> bool:
    """Whether a call gives a tensor that it computed of the image."""
    return "shape" in node.meta


def steps(traced: torch.fx.GraphModule) -> tuple[str, list[Step], str]:
    """Name the calls that the result depends on: the image, all of them, the result."""
    first, *nodes, last = traced.graph.nodes
    output = _output(last)
    needed = {output}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    found = [step for node in nodes if node in needed and (step := _step(node))]
    return first.name, found, output.name


def _step(node: torch.fx.Node) -> Step | None:
    """Describe a call; None for one that only deals with sizes, or gives a constant."""
    value = node.meta.get("value")
    parts = value if isinstance(value, tuple | list) else ()
    is_several = any(isinstance(part, torch.Tensor) for part in parts)
    if not _is_result(node) and not is_several:
        return None
    where, kind, child = _place(node), kind_of(node), node.meta.get("module")
    if kind is None:
        name = getattr(node.target, "__name__", str(node.target))
        found = f"found the function {name}"
        if child is not None:
            name, found = type(child).__name__, f"found {child}"
        raise UnsupportedModuleError(where, found, advice(name))
    if is_several:
        raise UnsupportedModuleError(
            where, f"{child or kind} returns more than one tensor", SUPPORTED
        )
    reads: list[torch.fx.Node] = []  # also what it reads twice
    given = node.args, dict(node.kwargs)
    torch.fx.map_arg(given, lambda n: reads.append(n) if _is_result(n) else None)
    if not reads:
        raise UnsupportedModuleError(
            where,
            "makes a tensor of its own",
            f"All that is computed has to come from the image. {SUPPORTED}",
        )
    args, kwargs = torch.fx.map_arg(given, lambda n: n.meta.get("value", n))
    before, after = reads[0].meta["shape"], node.meta["shape"]
    names = tuple(n.name for n in reads)
    return Step(node.name, names, where, kind, child, args, kwargs, before, after)
