"""
Copy a PyTorch CNN and list the calls of its ``forward``, in order.

``F.relu(x)`` and ``x.flatten(1)`` count like modules. Every call of the trace is either
understood or refused by its place in the module; nothing is skipped silently.
"""

import copy
import itertools
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
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.projections import LARGE, PART

SUPPORTED = (
    "Supported are Conv2d, ConvTranspose2d, Linear, AvgPool2d, AdaptiveAvgPool2d, "
    "Upsample, ReLU, ReLU6, LeakyReLU, PReLU, Flatten, BatchNorm, Dropout, Identity, "
    "padding, sums, concatenations and parts of channels."
)

#: What to do about what users have most often, by parts of its name in small letters.
_ADVICE = {
    ("groupnorm", "layernorm", "instancenorm", "localresponsenorm"): (
        "Its statistics are computed anew from each image: use BatchNorm and train "
        "again."
    ),
    ("softmax",): (
        "Leave it out at the end, where the class with the most output spikes is the "
        "same; inside, it weighs activations by others, which synapses can't."
    ),
    ("sigmoid",): (
        "As a gate (squeeze and excitation) it multiplies two activations, which "
        "synapses that add can't: use a network without it, or write gates of your own "
        "(docs/gates.md)."
    ),
    ("silu", "gelu", "swish", "mish", "elu", "softplus", "tanh"): (
        "A rate says what ReLU says, and nothing below 0: use ReLU and train again."
    ),
    ("attention",): (
        "It multiplies activations with one another, which synapses can't: use a "
        "network of convolutions."
    ),
    ("matmul", "bmm", "einsum"): (
        "Two activations can't be multiplied by synapses: use a network without "
        "attention."
    ),
}

#: Methods that change how numbers are stored. Weights are read in float64.
CASTS = ("float", "double", "half", "bfloat16", "to", "type_as", "cpu", "cuda")


def _words(text: str) -> list[str]:
    return text.split()


#: Functions, methods and properties that give values at other places, and zeros.
_REARRANGING = _words(
    "view reshape view_as reshape_as flatten unflatten ravel permute transpose t T "
    "mT movedim moveaxis swapaxes swapdims squeeze unsqueeze split "
    "split_with_sizes chunk tensor_split unbind narrow select index_select "
    "__getitem__ flip roll expand expand_as repeat repeat_interleave tile pad "
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle"
)

#: What each class of modules, function and tensor method is. Names stand for methods,
#: and for functions of torch that have one.
KINDS: dict[Any, str] = {
    what: kind
    for kind, several in {
        "Conv2d": (nn.Conv2d, F.conv2d),
        "Conv1d": (nn.Conv1d, F.conv1d),
        "ConvTranspose2d": (nn.ConvTranspose2d, F.conv_transpose2d),
        "Upsample": (
            nn.Upsample,
            nn.UpsamplingNearest2d,
            nn.UpsamplingBilinear2d,
            F.interpolate,
        ),
        "Linear": (nn.Linear, F.linear),
        "BatchNorm": (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, F.batch_norm),
        "AvgPool2d": (nn.AvgPool2d, F.avg_pool2d, nn.AvgPool1d, F.avg_pool1d),
        "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d)
        + (nn.AdaptiveAvgPool1d, F.adaptive_avg_pool1d),
        "mean": ("mean",),
        "sum": ("sum",),
        "MaxPool2d": (nn.MaxPool2d, F.max_pool2d, torch.max_pool2d)
        + (nn.MaxPool1d, F.max_pool1d, torch.max_pool1d),
        # ClipFloorShift is one that saturates; the reader notes where.
        "ReLU": (nn.ReLU, ClipFloorShift, F.relu, F.relu_, "relu", "relu_"),
        "ReLU6": (nn.ReLU6, F.relu6),
        "LeakyReLU": (nn.LeakyReLU, F.leaky_relu, "leaky_relu", "leaky_relu_"),
        "PReLU": (nn.PReLU, "prelu"),
        "abs": ("abs", "abs_", "absolute"),
        "clamp": ("clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_"),
        "add": ("add", "add_"),
        "sub": ("sub", "sub_", "subtract", "subtract_", "__rsub__", "rsub", "neg"),
        "mul": ("mul", "mul_", "multiply", "multiply_"),
        "div": ("div", "div_", "divide", "divide_", "true_divide", "__rdiv__"),
        "cat": ("cat", "concat", "concatenate"),
        "zeros": ("zeros_like", "new_zeros"),
        "rearranged": (
            *_REARRANGING,
            *(nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle),
            *(nn.ChannelShuffle, nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d),
            *(nn.ConstantPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d),
            *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.CircularPad2d),
        ),
        "Dropout": (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
        + (F.dropout, F.dropout1d, F.dropout2d, F.alpha_dropout),
        "Identity": (nn.Identity, "contiguous", "clone", "detach", "data", *CASTS),
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
    except UnsupportedModuleError:
        raise
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
    call : callable
        What is called with the arguments.
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
    call: Any

    def argument(self, index: int, name: str, default: Any) -> Any:
        """Look up an argument of a function call."""
        if len(self.args) > index:
            return self.args[index]
        return self.kwargs.get(name, default)


#: What a forward may ask of a tensor: its form, not its values.
_FORMS = _words(
    "__len__ __repr__ __format__ __hash__ size dim ndimension numel nelement "
    "stride is_contiguous is_floating_point is_complex get_device type "
    "is_same_size _assert"
)
#: What makes tensors of their own that only look like another.
_MAKERS = _words("zeros ones empty full rand randn tensor")


def _is_large(value: Any) -> bool:
    is_float32 = isinstance(value, torch.Tensor) and value.dtype == torch.float32
    return is_float32 and value.numel() >= LARGE


def in_double(tensor: torch.Tensor) -> torch.Tensor:
    """Give numbers in float64, but large weights as they are."""
    is_kept = _is_large(tensor) or not tensor.is_floating_point()
    return tensor if is_kept else tensor.double()


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """Call a function of torch, with large weights in float64."""
    name = str(getattr(func, "__name__", ""))
    if name == "conv2d" and len(args) > 1 and args[0].ndim == 4:
        # torch lays out the windows of all images, if numbers are float64.
        x, weight, *more = args
        if len(x) > 1 and x.numel() * weight[0, 0].numel() > PART:
            images = x.split(1)
            found = [computed(func, (one, weight, *more), kwargs) for one in images]
            return torch.cat(found)
    is_form = name in _FORMS or name in ("__get__", "__set__")
    changes = name.endswith("_") and not name.endswith("__")
    if is_form or changes or not any(map(_is_large, (*args, *kwargs.values()))):
        return func(*args, **kwargs)
    if name == "linear" and len(args) == 3 and _is_large(args[1]):
        x, weight, bias = args
        n = -(-PART // weight.shape[1])
        biases = itertools.repeat(None) if bias is None else bias.split(n)
        parts = zip(weight.split(n), biases, strict=False)
        return torch.cat([func(x, w.double(), b) for w, b in parts], -1)

    def doubled(value: Any) -> Any:
        return value.double() if _is_large(value) else value

    args, kwargs = map_aggregate((args, kwargs), doubled)
    return func(*args, **kwargs)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one call: it is of torch's own kinds or ours."""
    is_torchs = type(module).__module__.startswith(("torch.nn", "torch.ao.nn"))
    is_torchs = is_torchs and not isinstance(module, nn.Sequential)
    return (
        module_kind(module) is not None or is_torchs and "forward" not in vars(module)
    )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


class Tracer(TorchFunctionMode):
    """
    List the calls that a CNN makes for some images, as it makes them.

    Its forward runs with real tensors, so shapes, loops and classes of any kind are
    Python's. Each module keeps the state of its call, since a forward may set a stride
    between two of them. Hooks are not called. What is computed without the images is a
    constant.

    Parameters
    ----------
    cnn : nn.Module
        The CNN.
    images : torch.Tensor
        The images.
    """

    def __init__(self, cnn: nn.Module, images: torch.Tensor) -> None:
        super().__init__()
        self.graph = torch.fx.Graph()
        self.nodes: Any = WeakIdKeyDictionary()  # by tensor
        self.paths = {module: path for path, module in cnn.named_modules()}
        self.inside, self.is_inside_leaf = [""], False
        self.nodes[images] = self.graph.placeholder("image")
        call = nn.Module.__call__
        nn.Module.__call__ = lambda *given, **more: self._call(*given, **more)  # type: ignore
        try:
            with self:
                result = cnn(images)
        finally:
            nn.Module.__call__ = call  # type: ignore[method-assign]
        self.graph.output(map_aggregate(result, self._node))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.is_inside_leaf:
            return result
        where = self.inside[-1] or "forward"
        return self._listed(func, None, args, kwargs or {}, result, where)

    def _call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Call a module of the CNN, or one that its forward makes."""
        path = self.paths.get(module, self.inside[-1])
        if is_leaf(module):
            self.is_inside_leaf = True
            try:
                result = module.forward(*args, **kwargs)
            finally:
                self.is_inside_leaf = False
            return self._listed(path, module, args, kwargs, result, path or "forward")
        self.inside.append(path)
        try:
            return module.forward(*args, **kwargs)
        finally:
            self.inside.pop()

    def _node(self, value: Any) -> Any:
        """Give the call that a tensor comes from."""
        return self.nodes.get(value, value) if _is_tensor(value) else value

    def _listed(
        self,
        target: Any,
        module: nn.Module | None,
        args: Any,
        kwargs: Any,
        result: Any,
        where: str,
    ) -> Any:
        """Make a node of a call that computes tensors of the images."""
        given = map_aggregate((args, kwargs), self._node)
        reads: list[torch.fx.Node] = []
        torch.fx.map_arg(given, reads.append)
        name = target if module is not None else name_of(target)
        plain = name.removeprefix("new_").removesuffix("_like")
        is_made = plain != name and plain in _MAKERS and name not in KINDS
        if not reads or is_made:
            return result
        parts = result if isinstance(result, tuple | list) else (result,)
        if not any(map(_is_tensor, parts)) and module is None:
            if name in _FORMS or name_of(target, "") == "__get__":
                return result
            raise UnsupportedModuleError(
                where,
                f"depends on values of tensors (found {name.strip('_')})",
                "What forward does may depend on shapes only.",
            )
        kind = "call_function" if module is None else "call_module"
        node = self.graph.create_node(kind, target, *given, name=name.strip("_"))
        node.meta["where"] = where
        if module is None:
            node.meta["where"] += f" (call of {node.name})"
        else:
            node.meta["module"] = copy.copy(module)
            node.meta["is_named"] = module in self.paths
        if _is_tensor(result):
            self.nodes[result] = node
            return result
        for index, part in enumerate(parts):
            if _is_tensor(part):
                item = self.graph.call_function(operator.getitem, (node, index))
                item.meta["where"] = node.meta["where"]
                self.nodes[part] = item
        return result


def name_of(function: Any, what: str = "property") -> str:
    """Name a function, method, or the property of a tensor that is looked up."""
    name = str(getattr(function, "__name__", function))
    if name == "__get__" and what:
        return str(function.__self__.__name__)
    return name


def trace(module: nn.Module, images: torch.Tensor) -> torch.fx.Graph:
    """Trace a CNN; what reads a tensor that was changed in place reads the change."""
    hint = "forward must do the same for all images of a size."
    with refused(type(module).__name__, "its calls can't be listed", hint):
        graph = Tracer(module, images).graph
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
    return graph


def kind_of(node: torch.fx.Node) -> str | None:
    """Name the kind of layer that a call is."""
    if (module := node.meta.get("module")) is not None:
        return module_kind(module)
    if node.target is operator.getitem:
        return "part"
    return KINDS.get(node.target, KINDS.get(name_of(node.target)))


def _is_in_place(node: torch.fx.Node) -> bool:
    """Whether a call changes the first value that it reads."""
    name = name_of(node.target)
    is_method = name.endswith("_") and not name.endswith("__")
    options = getattr(node.meta.get("module"), "inplace", node.kwargs.get("inplace"))
    return is_method or bool(options)


#: For comparing values by weighted sums; their number is prime.
_WEIGHTS = np.cos(np.arange(4099))


def prints(tensor: torch.Tensor | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Give two numbers for each image, which hardly stay if a value changes."""
    values = np.asarray(tensor)
    values = np.where(np.isinf(values), 0, values)  # maxima are padded with it
    flat = values.reshape(len(values) if values.ndim else 1, -1)
    weights = np.resize(_WEIGHTS, flat.shape[1])
    return np.stack([flat @ weights, np.abs(flat).sum(1)])


class Calls(torch.fx.Interpreter):
    """
    The calls of a CNN one by one, without its hooks.

    Each notes the shape and the `prints` of the tensor that it computes.
    """

    extra_traceback = False

    def run_node(self, n: torch.fx.Node) -> Any:
        """Compute one of them."""
        if n.op == "call_module":
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            result = n.meta["module"].forward(*args, **kwargs)
        else:
            result = super().run_node(n)
        if _is_tensor(result):
            n.meta |= {"shape": tuple(result.shape[1:]), "prints": prints(result)}
        return result


def _output(node: torch.fx.Node) -> torch.fx.Node:
    """Find the one tensor that is returned."""
    returned, tensors = node.args[0], node.all_input_nodes
    if isinstance(returned, torch.fx.Node):
        return returned
    places = [str(one.meta.get("where", one.name)) for one in tensors]
    if len({*places}) == 1 < len(places):
        raise UnsupportedModuleError(
            places[0], "returns more than one tensor", SUPPORTED
        )
    heads = ", ".join(places)
    if len(tensors) == 1:
        kind = "dict" if isinstance(returned, dict) else "list or tuple"
        found, other = f"a {kind} with the tensor of {heads}", "the tensor alone."
    else:
        found = f"{len(tensors)} tensors, of {heads}"
        other = "one tensor: convert each head as a CNN of its own."
    raise UnsupportedModuleError("forward", f"returns {found}", f"Return {other}")


def steps(graph: torch.fx.Graph) -> tuple[str, list[Step], str]:
    """Name the calls that the result depends on: the image, all of them, the result."""
    first, *nodes, last = graph.nodes
    output = _output(last)
    needed = {output}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return first.name, [_step(node) for node in nodes if node in needed], output.name


def _step(node: torch.fx.Node) -> Step:
    """Describe a call."""
    where, kind, child = node.meta["where"], kind_of(node), node.meta.get("module")
    name = name_of(node.target).strip("_")
    if kind is None:
        found = f"found the function {name}"
        if child is not None:
            name, found = type(child).__name__, f"found {' '.join(str(child).split())}"
        raise UnsupportedModuleError(where, found, advice(name))
    if "shape" not in node.meta and kind != "rearranged":
        raise UnsupportedModuleError(
            where, f"{child or name} returns more than one tensor", SUPPORTED
        )
    reads: list[torch.fx.Node] = []  # also what it reads twice
    options = {key: value for key, value in node.kwargs.items() if key != "out"}
    torch.fx.map_arg((node.args, options), reads.append)
    before, after = (one.meta.get("shape", ()) for one in (reads[0], node))
    names = tuple(one.name for one in reads)
    call = child.forward if child is not None else node.target
    return Step(
        node.name,
        names,
        where,
        kind,
        child,
        node.args,
        options,
        before,
        after,
        call,
    )
