"""
A copy of a CNN to read: in float64, in evaluation mode, apart from the user's own.

Hooks are called as in the CNN itself, but they get copies of the lists and dicts that
they fill, if these can be copied. One that puts another value in the place of a result
is refused.
"""

import copy
from collections.abc import Callable, Iterator
from types import CellType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from cnn2snn_brian.errors import InputError, UnsupportedModuleError

__all__ = ["deep_copy", "readable_copy"]


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
    """
    Copy a CNN with all that belongs to it, computed tensors too.

    Parameters
    ----------
    module : nn.Module
        The CNN.
    memo : dict, optional
        What was copied already, as `copy.deepcopy` takes it.

    Returns
    -------
    nn.Module
        The copy.

    Raises
    ------
    InputError
        If something in it can't be copied.
    """
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
        message = (
            f"the CNN ({type(module).__name__}) can't be copied: {error}; take what is "
            "no tensor, number or module out of it"
        )
        raise InputError(message) from error


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
    """
    Copy a CNN to read it.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is not changed, and neither is what its hooks fill.

    Returns
    -------
    nn.Module
        Its copy on the CPU, in float64 and evaluation mode; parametrizations are
        computed.

    Raises
    ------
    InputError
        If the CNN can't be copied.
    UnsupportedModuleError
        If what wraps it (a DataParallel) has hooks.
    """
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
