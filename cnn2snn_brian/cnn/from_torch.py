"""
Read a PyTorch CNN: ``nn.Module`` to `Network`.

`trace` lists the calls of a copy; here they become values, and with each ReLU a layer.
What can't be converted is refused by its place in the module, and `check` compares the
layers with the CNN.
"""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.fx
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from cnn2snn_brian.cnn.modules import check_normalize
from cnn2snn_brian.cnn.reader import Reader
from cnn2snn_brian.cnn.trace import (
    CASTS,
    SUPPORTED,
    Calls,
    Tracer,
    module_path,
    steps,
    trace,
)
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.projections import GateRule, Network, check_rule


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


def _not_copied(module: nn.Module) -> dict[int, Any]:
    """Find hooks that can't be copied, by their addresses."""
    found = {}
    for child in module.modules():
        hooks = (*child._forward_pre_hooks.values(), *child._forward_hooks.values())
        for hook in hooks:
            try:
                copy.deepcopy(hook)
            except Exception:  # of any object that it may hold
                found[id(hook)] = hook
    return found


def deep_copy(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Copy a CNN with all that belongs to it, computed tensors too."""
    memo = {} if memo is None else memo
    before = dict(memo)
    try:
        with _Detached():
            try:
                return copy.deepcopy(module, memo)
            except Exception:
                # What was begun is no copy. Hooks with a file or a lock stay the same.
                memo.clear()
                memo |= before | _not_copied(module)
                return copy.deepcopy(module, memo)
    except Exception as error:  # of any object that a module may hold
        raise InputError(
            f"the CNN ({type(module).__name__}) can't be copied: {error}; take what is "
            "no tensor, number or module out of it"
        ) from error


def _inside(module: nn.Module, path: str = "") -> nn.Module:
    """Take off what `torch.compile` and `DataParallel` put around a module."""
    while True:
        is_parallel = isinstance(module, nn.DataParallel | DistributedDataParallel)
        inside = module._modules.get("module" if is_parallel else "_orig_mod")
        if inside is None:
            return module
        if module._forward_hooks or module._forward_pre_hooks:
            raise UnsupportedModuleError(
                path or type(module).__name__,
                f"a {type(module).__name__} with hooks",
                "Give the CNN inside of it.",
            )
        module = inside


def _apart(hook: Any, memo: dict[int, Any]) -> Any:
    """Copy a hook's own variables, so that it does not fill the user's."""
    if not isinstance(hook, FunctionType):
        return hook  # an object: it was copied with the module

    def copied(value: Any) -> Any:
        try:
            with _Detached():
                return copy.deepcopy(value, memo)
        except Exception:  # a file, a lock: the hook needs the very one
            return value

    cells = []
    for cell in hook.__closure__ or ():
        try:
            cells.append(CellType(copied(cell.cell_contents)))
        except ValueError:  # still empty
            cells.append(cell)
    variables = dict(hook.__globals__)
    for name in hook.__code__.co_names:
        if isinstance(variables.get(name), list | dict | set):
            variables[name] = copied(variables[name])
    made = FunctionType(
        hook.__code__,
        variables,
        hook.__name__,
        copied(hook.__defaults__),
        tuple(cells) if hook.__closure__ else None,
    )
    made.__kwdefaults__ = copied(hook.__kwdefaults__)
    return made


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)
    else:
        yield value


def _watched(hook: Callable[..., Any], path: str) -> Callable[..., Any]:
    """Refuse that a hook changes what it is shown, gives something else or fails."""

    def watched(module: nn.Module, *shown: Any) -> Any:
        tensors = [part for part in _parts(shown) if isinstance(part, torch.Tensor)]
        versions = [tensor._version for tensor in tensors]
        name = getattr(hook, "__name__", type(hook).__name__)
        try:
            returned = hook(module, *shown)
        except Exception as error:  # of any code in it
            raise UnsupportedModuleError(
                path or type(module).__name__,
                f"its hook {name} fails: {str(error) or type(error).__name__}",
                "Hooks are called without gradients, on two images: remove this one.",
            ) from error
        seen = {id(part) for part in (None, *_parts(shown))}
        if (
            any(id(part) not in seen for part in _parts(returned))
            or [tensor._version for tensor in tensors] != versions
        ):
            raise UnsupportedModuleError(
                path or type(module).__name__,
                f"its hook {name} changes a value",
                "Hooks may look and not change anything: remove this one, and put what "
                "it does into the CNN's forward.",
            )
        return returned

    return watched


def readable_copy(module: nn.Module) -> nn.Module:
    """Copy a CNN to read it."""
    memo: dict[int, Any] = {}
    root = deep_copy(_inside(module), memo)
    for path, parent in [*root.named_modules()]:
        for name, child in parent._modules.items():
            if child is not None:
                where = f"{path}.{name}".lstrip(".")
                parent._modules[name] = _inside(child, where)
    root = root.double().cpu().eval()
    for path, child in [*root.named_modules()]:
        for hooks in (child._forward_pre_hooks, child._forward_hooks):
            for key, hook in hooks.items():
                hooks[key] = _watched(_apart(hook, memo), path)
        for name, value in [*vars(child).items()]:
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(child, name, value.double().cpu())
        if parametrize.is_parametrized(child):
            assert isinstance(child.parametrizations, nn.ModuleDict)
            for name in [*child.parametrizations]:
                parametrize.remove_parametrizations(child, name)
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            # It asks for the number of dimensions, which a traced value can't tell.
            child._check_input_dim = lambda _: None  # type: ignore[assignment]
    return root


Array = npt.NDArray[np.floating[Any]]

#: Largest difference, as a share of the largest value. Rounding in float64 makes about
#: 4e-16 of it, and 1e-12 in nets of a hundred layers; weights of float32 are themselves
#: known to 6e-8.
TOLERANCE = 1e-8
#: The same as a share of the largest activation inside, of which outputs may be small
#: differences.
ROUNDING = 1e-12

#: Of values that are compared by their sums; their number is prime.
WEIGHTS = np.cos(np.arange(4099))


class _InFloat64(TorchFunctionMode):
    """Let a CNN's own casts, as in ``x.float()``, leave its numbers alone."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in CASTS and args[0].is_floating_point():
            dtypes = [
                v for v in (*args, *kwargs.values()) if isinstance(v, torch.dtype)
            ]
            if all(dtype.is_floating_point for dtype in dtypes):
                return args[0]
        return func(*args, **kwargs)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Compute without gradients, and leave torch's random numbers as they are."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _InFloat64():
        torch.manual_seed(0)
        yield


def _differ(found: Array, expected: Array, scale: Array | float, floor: float) -> bool:
    """Whether two results differ by more than rounding."""
    if found.shape != expected.shape:
        return True
    allowed = TOLERANCE * np.asarray(scale) + ROUNDING * floor
    return not bool((np.abs(found - expected) <= allowed).all())


def _prints(values: Array) -> Array:
    """
    Give two numbers of each image's values, which hardly stay when one of them changes.
    """
    flat = values.reshape(len(values) if values.ndim else 1, -1)
    weights = np.resize(WEIGHTS, flat.shape[1])
    return np.stack([flat @ weights, np.abs(flat).sum(1)])


class Trial:
    """
    Two images of noise, and what a CNN makes of them.

    There are two, since a CNN may take a batch of one apart in other ways.

    Parameters
    ----------
    cnn : nn.Module
        A copy of the CNN, made to be read. Its hooks are called.
    shape : tuple of int
        Shape of an image.
    mean, std : ndarray of float64, shape (channels,)
        What its images were normalized with.

    Raises
    ------
    InputError
        If it can't compute images of this shape.
    """

    def __init__(
        self, cnn: nn.Module, shape: tuple[int, int, int], mean: Array, std: Array
    ) -> None:
        self.cnn = cnn
        self.pixels = np.random.default_rng(0).random((2, *shape))
        normal = (self.pixels - mean[:, None, None]) / std[:, None, None]
        self.images = torch.from_numpy(normal)
        #: What each module gave, call after call: in forward, and called one by one.
        self.in_forward: list[tuple[str, Array]] = []
        self.one_by_one: list[tuple[str, Array]] = []
        #: What each call gave, by its name.
        self.results: dict[str, Array] = {}
        paths = {child: path for path, child in cnn.named_modules()}

        def note(child: nn.Module, _: Any, result: Any) -> None:
            if isinstance(result, torch.Tensor):
                self.in_forward.append((paths[child], _prints(result.numpy())))

        is_leaf = Tracer().is_leaf_module
        leaves = [child for child, path in paths.items() if is_leaf(child, path)]
        hooks = [child.register_forward_hook(note) for child in leaves]
        try:
            with _undisturbed():
                # A copy: the first layer may work in place.
                self.expected = cnn(self.images.clone())
        except UnsupportedModuleError:
            raise
        except Exception as error:  # of any code in its forward
            shown = (len(self.images), *shape)
            raise InputError(
                f"the CNN does not compute an input of shape {shown}: {error}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()

    def run(self, traced: torch.fx.GraphModule) -> None:
        """Compute the calls of the CNN, so that they know their shapes."""

        def note(node: torch.fx.Node, result: Any) -> None:
            if isinstance(result, torch.Tensor) and node.op != "get_attr":
                self.results[node.name] = _prints(result.numpy())
                if node.op == "call_module":
                    path = module_path(str(node.target))
                    self.one_by_one.append((path, self.results[node.name]))

        calls = Calls(traced, note)
        try:
            with _undisturbed():
                calls.run(self.images.clone())
        except Exception as error:
            raise UnsupportedModuleError(
                type(self.cnn).__name__,
                f"its calls can't be computed one by one: {error}",
                "forward must not change the modules that it calls, and hooks must not "
                "change values.",
            ) from error

    def check(
        self, network: Network, sums: dict[str, tuple[str, str]], *, is_rectified: bool
    ) -> None:
        """Compare layers with the CNN, on the first image."""
        self._check_forward()
        largest = 0.0
        for name, total, _ in network.computed(self.pixels[:1]):  # noqa: B007
            largest = max(largest, float(np.abs(total).max()))
            where, call = sums.get(name, ("", ""))
            if call:
                expected, found = self.results[call][:, 0], _prints(total)[:, 0]
                if _differ(found, expected, expected[1], largest * total.size):
                    raise _refusal(where, "it or what it reads was read wrongly")
        result = (np.maximum(total, 0) if is_rectified else total).ravel()
        expected = self.expected[0].numpy().ravel()
        scale = float(np.abs(expected).max())
        if _differ(result, expected, scale, largest):
            raise _refusal(type(self.cnn).__name__, "its result was read wrongly")

    def _check_forward(self) -> None:
        """Compare what modules give in forward, with hooks, with their calls alone."""
        names = {path for path, _ in self.one_by_one}
        in_forward = [call for call in self.in_forward if call[0] in names]
        for (path, found), (other, expected) in zip(
            self.one_by_one, in_forward, strict=False
        ):
            if path != other or _differ(found, expected, expected[1], 0.0):
                raise _refusal(path, "in forward it gives something else than alone")


def _refusal(where: str, found: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        where,
        f"for an image of noise, {found}",
        "What changes values without a call that says so can't be read: hooks, results "
        "that are changed in place and read again (x += y), weights and attributes "
        "that change in forward, random numbers.",
    )


def _check_module(module: Any) -> None:
    """Refuse what is no CNN, has no values or is in training mode."""
    if not isinstance(module, nn.Module):
        found = type(module).__name__
        if isinstance(module, tuple):
            found += f" ({', '.join(type(part).__name__ for part in module)})"
        message = f"the CNN is of type {found}, expected an nn.Module"
        if isinstance(module, tuple) and any(
            isinstance(part, nn.Module) for part in module
        ):
            message += (
                "; unpack it first, as in: cnn, card = models.pretrained('digits')"
            )
        raise InputError(message)
    for path, values in itertools.chain(
        module.named_parameters(), module.named_buffers()
    ):
        if values.is_meta:
            raise InputError(
                f"{path}: on torch's meta device, where tensors have no values; load "
                "the trained weights first, with load_state_dict(..., assign=True)"
            )
        if is_lazy(values):
            raise InputError(
                f"{path}: a lazy module that never ran has no values; run the CNN once "
                "and load its trained weights"
            )
    inputs = inspect.signature(module.forward).parameters.values()
    needed = [
        item.name
        for item in inputs
        if item.default is item.empty and "VAR" not in item.kind.name
    ]
    if len(needed) > 1:
        raise UnsupportedModuleError(
            needed[1], "a second input of forward", "Give one image tensor."
        )
    for path, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            raise UnsupportedModuleError(
                path or type(module).__name__,
                "found a ScriptModule, whose code is not Python any more",
                "Give the nn.Module that it was made of.",
            )
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.training:
            raise UnsupportedModuleError(
                path or type(child).__name__,
                f"found {child} in training mode",
                "Call eval() on the CNN first, so that the trained statistics count.",
            )


def from_torch(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    normalize: tuple[Any, Any] | None = None,
    *,
    names: Literal["role", "module"] = "role",
    max_pooling: GateRule | None = None,
) -> Network:
    """
    Read a trained CNN.

    Parameters
    ----------
    module : nn.Module
        A directed acyclic graph of Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU,
        ReLU6, BatchNorm, Flatten, Dropout and Identity, as modules or as functions, of
        sums and of concatenations over channels. A ReLU makes neurons; what is between
        two of them becomes the synapses. Two convolutions or linear layers without a
        ReLU between them are composed where that is cheap (pointwise and depthwise,
        Linear and Linear), and refused elsewhere: a firing rate is never negative.
        Other modules, subclasses too, are read by their forward, with the defaults of
        further arguments. The CNN is not changed.
    input_shape : tuple of int
        Shape of an image, (channels, height, width).
    normalize : tuple of float or of sequences of float, optional
        (mean, std) that the CNN's images were normalized with, of all channels or of
        each. It is folded into the first layer, so that the SNN takes pixels in [0, 1].
    names : {"role", "module"}
        Name layers conv1, pool1, ..., ip1, or by their path in the module with ``_``
        for ``.`` (a name in Brian2 has no dots).
    max_pooling : {"gate", "largest-count"}, optional
        What MaxPool2d becomes: a population behind a `MaxPoolGate` of this rule.
        Without it, MaxPool2d is refused.

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
        If `module` is no CNN or can't be copied, its weights have no values (on torch's
        meta device, or lazy), `input_shape` does not fit the CNN, or `normalize` the
        image.

    Notes
    -----
    At the end, the layers are compared with the CNN on an image of noise, in float64:
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
    if names not in ("role", "module"):
        raise InputError(f"names={names!r}: expected 'role' or 'module'")
    if max_pooling is not None:
        check_rule("max_pooling", max_pooling)
    try:
        shape = tuple(int(size) for size in input_shape)
    except (TypeError, ValueError):  # an image, or one number
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        given = " ".join(repr(input_shape).split())
        raise InputError(f"input_shape {given:.80}: expected (channels, height, width)")
    _check_module(module)
    mean_and_std = check_normalize(normalize or (0.0, 1.0), shape[0])
    cnn = readable_copy(module)
    if Tracer().is_leaf_module(cnn, ""):
        cnn = nn.Sequential(cnn)  # a bare layer has no forward that calls it
    # First of all, since hooks before modules may compute their weights.
    trial = Trial(cnn, shape, *mean_and_std)  # type: ignore[arg-type]
    traced = trace(cnn)
    trial.run(traced)
    image, calls, result = steps(traced)
    reader = Reader(image, shape, names, normalize, max_pooling)  # type: ignore[arg-type]
    for step in calls:
        reader.take(step)
    is_rectified = reader.result(calls[-1] if calls else None, result)
    if not reader.populations:
        raise UnsupportedModuleError(
            type(module).__name__, "it has no layers with neurons", SUPPORTED
        )
    network = Network(shape, tuple(reader.populations), tuple(reader.projections))  # type: ignore[arg-type]
    trial.check(network, reader.sums, is_rectified=is_rectified)
    return network
