"""
Whether layers compute what the CNN does that they were read from: one image of noise.

A hook, an operation in place, an attribute that changes from call to call or a kind of
call that was misread gives other numbers. Everything is computed in float64.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.fx
from torch import nn
from torch.overrides import TorchFunctionMode

from cnn2snn_brian.cnn.kinds import CASTS
from cnn2snn_brian.cnn.trace import Calls, Tracer, module_path
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.layers.stack import Layers

__all__ = ["Trial"]

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

    They are a sum with different weights and the sum of all sizes, shape (2, n). Each
    value inside of a CNN is compared by them: what a ReLU hides, another image shows.
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
            message = f"the CNN does not compute an input of shape {shown}: {error}"
            raise InputError(message) from error
        finally:
            for hook in hooks:
                hook.remove()

    def run(self, traced: torch.fx.GraphModule) -> None:
        """
        Compute the calls of the CNN, so that they know their shapes.

        Parameters
        ----------
        traced : torch.fx.GraphModule
            The calls.

        Raises
        ------
        UnsupportedModuleError
            If they can't be computed, though the CNN could.
        """

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
        self, layers: Layers, sums: dict[str, tuple[str, str]], *, is_rectified: bool
    ) -> None:
        """
        Compare layers with the CNN, on the first image.

        Parameters
        ----------
        layers : Layers
            The layers.
        sums : dict of str to (str, str)
            For layers, by name: place and name of the call that gives the same sums as
            they, before a ReLU.
        is_rectified : bool
            Whether the CNN ends in an activation; the last layer has none.

        Raises
        ------
        UnsupportedModuleError
            If they differ, named by the first place that does.
        """
        self._check_forward()
        largest = 0.0
        for name, total, _ in layers.computed(self.pixels[:1]):  # noqa: B007
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
