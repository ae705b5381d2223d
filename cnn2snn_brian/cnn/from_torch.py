"""
Read a PyTorch CNN: ``nn.Module`` to `Network`.

`trace` lists the calls of a copy, and a `Reader` makes values of them, and of each ReLU
a layer. What can't be converted is refused by its place in the module, and in the end
the layers are compared with the CNN.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.fx
from torch import nn
from torch.overrides import TorchFunctionMode

from cnn2snn_brian.checks import check_choice, check_number
from cnn2snn_brian.cnn.adjust import Adjustment
from cnn2snn_brian.cnn.modules import check_normalize
from cnn2snn_brian.cnn.pairs import COMPOSE, Negative, with_one_input
from cnn2snn_brian.cnn.reader import Reader
from cnn2snn_brian.cnn.trace import (
    CASTS,
    SUPPORTED,
    Calls,
    computed,
    copied,
    deep_copy,
    in_double,
    is_leaf,
    prints,
    refused,
    steps,
    trace,
)
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.projections import GateRule, Network, OnOffPixels, check_rule

_WRAPPERS = Adjustment, nn.DataParallel, nn.parallel.DistributedDataParallel


def _inside(module: nn.Module, path: str = "") -> nn.Module:
    """Take off what `adjust`, `torch.compile` or `DataParallel` put around a module."""
    name = "module" if isinstance(module, _WRAPPERS) else "_orig_mod"
    inside = getattr(module, name, None)
    if inside is None:
        return module
    if module._forward_hooks or module._forward_pre_hooks:
        raise UnsupportedModuleError(
            path or type(module).__name__,
            f"a {type(module).__name__} with hooks",
            "Give the CNN inside of it.",
        )
    return _inside(inside, path)


def _apart(hook: Any, memo: dict[int, Any]) -> Any:
    """Copy a hook's own variables, so that it does not fill the user's."""
    if not isinstance(hook, FunctionType):
        return hook  # an object: it was copied with the module

    def apart(value: Any) -> Any:
        try:
            return deep_copy(value, memo)
        except Exception:  # a file, a lock: the hook needs the very one
            return value

    variables = hook.__globals__ | {
        name: apart(hook.__globals__[name])
        for name in hook.__code__.co_names
        if isinstance(hook.__globals__.get(name), list | dict | set)
    }
    cells = tuple(
        cell if cell == CellType() else CellType(apart(cell.cell_contents))
        for cell in hook.__closure__ or ()
    )
    defaults = apart(hook.__defaults__)
    made = FunctionType(hook.__code__, variables, hook.__name__, defaults, cells)
    made.__kwdefaults__ = apart(hook.__kwdefaults__)
    return made


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)
    else:
        yield value


def _watched(hook: Callable[..., Any], path: str) -> Callable[..., Any]:
    """Refuse that a hook changes what it is shown, gives something else or fails."""
    name = getattr(hook, "__name__", type(hook).__name__)

    def watched(module: nn.Module, *shown: Any) -> Any:
        where = path or type(module).__name__
        tensors = [part for part in _parts(shown) if isinstance(part, torch.Tensor)]
        versions = [tensor._version for tensor in tensors]
        hint = "Hooks are called without gradients, on two images: remove this one."
        with refused(where, f"its hook {name} fails", hint):
            returned = hook(module, *shown)
        seen = {id(part) for part in (None, *_parts(shown))}
        is_other = any(id(part) not in seen for part in _parts(returned))
        if is_other or [tensor._version for tensor in tensors] != versions:
            raise UnsupportedModuleError(
                where,
                f"its hook {name} changes a value",
                "Hooks may look and not change anything: remove this one, and put what "
                "it does into the CNN's forward.",
            )
        return returned

    return watched


def _readable_copy(module: nn.Module) -> nn.Module:
    """
    Copy a CNN in float64, without wrappers and with hooks that only look.

    Large weights of float32 stay that: they are computed with as float64.
    """
    memo: dict[int, Any] = {}
    root = copied(module, memo).cpu().eval()._apply(in_double)
    # What is changed in a module is changed before the walk comes to its children.
    for path, child in root.named_modules():
        for name, part in child._modules.items():
            if part is not None:
                child._modules[name] = _inside(part, f"{path}.{name}".lstrip("."))
        for hooks in (child._forward_pre_hooks, child._forward_hooks):
            for key, hook in hooks.items():
                hooks[key] = _watched(_apart(hook, memo), path)
        for name, value in [*vars(child).items()]:
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(child, name, in_double(value.cpu()))
        for name in [*getattr(child, "parametrizations", ())]:
            nn.utils.parametrize.remove_parametrizations(child, name)
    return root


Array = npt.NDArray[np.floating[Any]]

#: Largest difference, as a share of the largest value. Rounding in float64 makes about
#: 4e-16 of it, and 1e-12 in nets of a hundred layers; weights of float32 are themselves
#: known to 6e-8.
TOLERANCE = 1e-8
#: The same as a share of the largest activation inside, of which outputs may be small
#: differences.
ROUNDING = 1e-12


class _InFloat64(TorchFunctionMode):
    """
    Compute in float64, one large weight and one image at a time.

    A CNN's own casts, as in ``x.float()``, leave its numbers alone.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in CASTS and args[0].is_floating_point():
            given = (*args, *kwargs.values())
            dtypes = [value for value in given if isinstance(value, torch.dtype)]
            if all(dtype.is_floating_point for dtype in dtypes):
                return args[0]
        return computed(func, args, kwargs)


@contextmanager
def _undisturbed(seed: int = 0) -> Iterator[None]:
    """Compute without gradients, and leave torch's random numbers as they are."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _InFloat64():
        torch.manual_seed(seed)
        yield


def _in_forward(
    cnn: nn.Module, images: torch.Tensor
) -> tuple[torch.Tensor, list[tuple[str, Array]]]:
    """Compute images with hooks; note what each module gave, call after call."""
    found: list[tuple[str, Array]] = []

    def note(path: str, result: Any) -> None:
        if isinstance(result, torch.Tensor):
            found.append((path, prints(result)))

    hooks = [
        child.register_forward_hook(lambda *seen, path=path: note(path, seen[-1]))
        for path, child in cnn.named_modules()
        if is_leaf(child)
    ]
    try:
        with _undisturbed():
            return cnn(images.clone()), found  # its first layer may work in place
    except UnsupportedModuleError:
        raise
    except Exception as error:  # of any code in its forward
        shape = (*images.shape,)
        raise InputError(
            f"the CNN does not compute an input of shape {shape}: {error}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _differ(found: Array, expected: Array, scale: Array | float, floor: float) -> bool:
    """Whether two results differ by more than rounding."""
    if found.shape != expected.shape:
        return True
    allowed = TOLERANCE * np.asarray(scale) + ROUNDING * floor
    return not bool((np.abs(found - expected) <= allowed).all())


def _refusal(where: str, found: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        where,
        f"for an image of noise, {found}",
        "What changes values without a call that says so can't be read: hooks, results "
        "that are changed in place and read again (x += y), weights and attributes "
        "that change in forward, random numbers.",
    )


def _check_calls(
    calls: list[torch.fx.Node], in_forward: list[tuple[str, Array]]
) -> None:
    """Compare what modules give in forward, with hooks, with their calls alone."""
    alone = [
        (str(node.target), node.meta["prints"])
        for node in calls
        if node.meta.get("is_named") and "prints" in node.meta
    ]
    names = {path for path, _ in alone}
    called = (call for call in in_forward if call[0] in names)
    for (path, found), (other, expected) in zip(alone, called, strict=False):
        expected = expected[:, : found.shape[1]]
        if path != other or _differ(found, expected, expected[1], 0.0):
            raise _refusal(path, "in forward it gives something else than alone")


def _check_layers(
    layers: Network, pixels: Array, sums: dict[str, tuple[str, Array]]
) -> tuple[Array, float]:
    """Compare sums of layers with the CNN's; give the result, the largest sum."""
    largest = 0.0
    for name, total, activation in layers.computed(pixels):  # noqa: B007
        largest = max(largest, float(np.abs(total).max()))
        if name in sums:
            where, expected = sums[name]
            if _differ(prints(total), expected, expected[1], largest * total.size):
                raise _refusal(where, "it or what it reads was read wrongly")
    return activation.ravel(), largest


def _check_module(module: nn.Module) -> None:
    """Refuse what has no values, is in training mode or takes two images."""
    for path, child in module.named_modules():
        for name, value in [*child._parameters.items(), *child._buffers.items()]:
            if nn.parameter.is_lazy(value):
                why = "a lazy module that never ran; run it once, then load the weights"
            elif value is not None and value.is_meta:
                why = "on torch's meta device, where tensors have no values; load the "
                why += "trained weights first, with load_state_dict(..., assign=True)"
            else:
                continue
            raise InputError(f"{path}.{name}: {why}".lstrip("."))
        where = path or type(child).__name__
        if isinstance(child, torch.jit.ScriptModule):
            raise UnsupportedModuleError(
                where,
                "found a ScriptModule, whose code is not Python any more",
                "Give the nn.Module that it was made of.",
            )
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.training:
            raise UnsupportedModuleError(
                where,
                f"found {child} in training mode",
                "Call eval() on the CNN first, so that the trained statistics count.",
            )
    inputs = inspect.signature(module.forward).parameters.values()
    given = [item for item in inputs if "VAR" not in item.kind.name]
    for item in [item for item in given if item.default is item.empty][1:]:
        raise UnsupportedModuleError(
            item.name, "a second input of forward", "Give one image tensor."
        )


def from_torch(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    normalize: tuple[Any, Any] | None = None,
    *,
    names: Literal["role", "module"] = "role",
    max_pooling: GateRule | None = None,
    negative: Negative = "on-off",
    compose: float = COMPOSE,
    input: Literal["pixels", "on-off"] = "pixels",
) -> Network:
    """
    Read a trained CNN.

    Parameters
    ----------
    module : nn.Module
        A directed acyclic graph of convolutions (of one dimension, of two and
        transposed), Linear, average pooling of all kinds, Upsample, ReLU, ReLU6,
        LeakyReLU, PReLU, BatchNorm, Dropout and Identity, as modules or as functions,
        of sums, products with constants, concatenations, and of what moves values
        (Flatten, parts of channels, padding, PixelShuffle). A ReLU makes neurons; what
        is between two of them becomes the synapses. Other modules, subclasses too, are
        read by their forward, with the defaults of further arguments. The CNN is not
        changed.
    input_shape : tuple of int
        Shape of an image, (channels, height, width). A CNN of Conv1d gets images of
        height 1 without it, (channels, width).
    normalize : tuple of float or of sequences of float, optional
        (mean, std) that the CNN's images were normalized with, of all channels or of
        each. It is folded into the first layer, so that the SNN takes pixels in [0, 1].
    names : {"role", "module"}
        Name layers conv1, pool1, ..., ip1, or by their path in the module with ``_``
        for ``.`` (a name in Brian2 has no dots).
    max_pooling : {"gate", "largest-count"}, optional
        What MaxPool2d becomes: a population after a `MaxPoolGate` of this rule.
        Without it, MaxPool2d is refused.
    negative : {"on-off", "refuse"}
        What becomes of a value z that may be negative where neurons have to say it: a
        rate can't be negative. "on-off": ON cells, which integrate z, and OFF cells,
        which integrate -z, so that their rates are relu(z) and relu(-z). Who reads z,
        reads W from ON and -W from OFF cells; LeakyReLU of slope a reads -a W from OFF
        cells. They are named ``conv3_on`` and ``conv3_off``. "refuse": an error.
    compose : float
        Two maps without a ReLU between them become one, without neurons between, where
        that has a form and at most so many times the synapses that it takes with ON and
        OFF cells between them. 0: never; ``inf``: wherever it can be. What was
        chosen is in ``notes``, and printed with a `SpikingNetwork`. With
        ``negative="refuse"`` it is ``inf``.
    input : {"pixels", "on-off"}
        What the input neurons say: pixels, or with `normalize` how far pixels are above
        and below `mean`, in ON and OFF channels (see `OnOffPixels`).

    Returns
    -------
    Network
        Frozen descriptions with float64 weights.

    Raises
    ------
    UnsupportedModuleError
        For anything that can't be converted, named by its path in the module; if a hook
        changes a value, or the layers compute something else than the CNN.
    InputError
        If `module` is not a CNN or can't be copied, its weights have no values (on
        torch's meta device, or lazy), `input_shape` does not fit the CNN, or
        `normalize` the image.

    Notes
    -----
    The calls of forward are listed while it computes two images of noise. At the end,
    the layers are compared with the CNN on another image, in float64:
    what the CNN does without saying so in a call (a hook, an operation in place, an
    attribute that changes) would make them another function. For that, a copy of the
    CNN runs once with its hooks; they get copies of the variables that they fill. Only
    hooks that torch calls for all modules, hooks that can't be copied (with a lock),
    and what a hook does outside of Python variables (files, prints), see this run.

    Examples
    --------
    >>> cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(),
    ...                     nn.Linear(4 * 4 * 4, 10))
    >>> from_torch(cnn, (1, 6, 6)).names
    ('conv1', 'ip1')
    """
    check_choice("names", names, ("role", "module"))
    check_choice("input", input, ("pixels", "on-off"))
    if input == "on-off" and normalize is None:
        raise InputError(
            "input='on-off': give normalize=(mean, std), what the CNN's images were "
            "normalized with"
        )
    check_choice("negative", negative, get_args(Negative))
    if compose != math.inf:
        check_number("compose", compose, 0)
    if max_pooling is not None:
        check_rule("max_pooling", max_pooling)
    try:
        shape = tuple(int(size) for size in input_shape)
    except (TypeError, ValueError):  # an image, or one number
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        given = " ".join(repr(input_shape).split())
        raise InputError(f"input_shape {given:.80}: expected (channels, height, width)")
    if not isinstance(module, nn.Module):
        found, other = type(module).__name__, ""
        if isinstance(module, tuple):
            found += f" ({', '.join(type(part).__name__ for part in module)})"
            if any(isinstance(part, nn.Module) for part in module):
                other = "; unpack it first: cnn, card = models.pretrained('digits')"
        raise InputError(f"the CNN is of type {found}, expected an nn.Module{other}")
    module = _inside(module)
    _check_module(module)
    mean, std = check_normalize(normalize or (0.0, 1.0), shape[0])
    cnn = _readable_copy(module)
    if is_leaf(cnn):
        cnn = nn.Sequential(cnn)  # a bare layer has no forward that calls it
    # What is computed of other images, and not by a call, is no constant: two to list
    # the calls, two that they compute, and three in forward, since a CNN may compute
    # with their number.
    rng = np.random.default_rng(0)
    pixels, others = rng.random((3, *shape)), rng.random((2, *shape))
    images, first = (
        torch.from_numpy((one - mean[:, None, None]) / std[:, None, None])
        for one in (pixels, others)
    )
    if shape[1] == 1 and any(isinstance(part, nn.Conv1d) for part in cnn.modules()):
        images, first = images[:, :, 0], first[:, :, 0]
    # First of all, since hooks before modules may compute their weights.
    expected, in_forward = _in_forward(cnn, images)
    what = "its calls can't be computed one by one"
    hint = "forward must not change modules that it calls, nor hooks values."
    with _undisturbed(1):
        graph = trace(cnn, first)
        with refused(type(cnn).__name__, what, hint):
            Calls(cnn, graph=graph).run(images[:2].clone())
    image, calls, result = steps(graph)
    said = None if input == "pixels" else OnOffPixels(mean, std)
    how = names, normalize, max_pooling, negative, compose, said
    reader = Reader(image, (*images.shape[1:],), shape, *how)  # type: ignore[arg-type]
    for step in calls:
        reader.take(step)
    is_rectified = reader.result(calls[-1] if calls else None, result)
    if not reader.populations:
        raise UnsupportedModuleError(
            type(module).__name__, "it has no layers with neurons", SUPPORTED
        )
    projections = reader.projections
    if said is not None:
        projections = with_one_input(reader.populations, projections)
        shape = (2 * shape[0], *shape[1:])
    network = Network(
        shape,  # type: ignore[arg-type]
        tuple(reader.populations),
        tuple(projections),
        said,
        tuple(reader.notes),
    )
    nodes = {node.name: node for node in graph.nodes}
    _check_calls([*nodes.values()], in_forward)
    sums = {
        name: (where, nodes[call].meta["prints"][:, :1])
        for name, (where, call) in reader.sums.items()
    }
    last, largest = _check_layers(network, pixels[:1], sums)
    last = np.maximum(last, 0) if is_rectified else last
    wanted = expected[0].numpy().ravel()
    if _differ(last, wanted, float(np.abs(wanted).max()), largest):
        raise _refusal(type(cnn).__name__, "its result was read wrongly")
    return network
