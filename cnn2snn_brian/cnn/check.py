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
from cnn2snn_brian.cnn.trace import Calls, Step, module_path
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


def _differs(found: Array, expected: Array, largest: float = 0.0) -> bool:
    """Whether two results differ by more than rounding."""
    if found.size != expected.size:
        return True
    scale = max(np.abs(expected).max(initial=0), np.abs(found).max(initial=0))
    allowed = TOLERANCE * scale + ROUNDING * largest
    return not np.abs(found.ravel() - expected.ravel()).max(initial=0) <= allowed


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
        calls = Calls(traced)
        calls.extra_traceback = False
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
        self,
        traced: torch.fx.GraphModule,
        layers: Layers,
        calls: dict[str, Step],
        *,
        is_rectified: bool,
    ) -> None:
        """
        Compare layers with the CNN, on the first image.

        Parameters
        ----------
        traced : torch.fx.GraphModule
            The calls of the CNN.
        layers : Layers
            The layers.
        calls : dict of str to Step
            For layers, by name: the call whose result is their activation.
        is_rectified : bool
            Whether the CNN ends in an activation; the last layer has none.

        Raises
        ------
        UnsupportedModuleError
            If they differ, named by the first place that does.
        """
        activations = layers.activations(self.pixels[:1])
        last = layers.names[-1]
        if is_rectified:
            activations[last] = np.maximum(activations[last], 0)
        largest = max(np.abs(values).max() for values in activations.values())
        expected = self.expected[:1].numpy()
        if not _differs(activations[last], expected, largest):
            return
        where, cause = self._first_difference(traced, activations, calls)
        apart = "infinitely"
        if activations[last].size == expected.size:
            apart = f"{np.abs(activations[last].ravel() - expected.ravel()).max():.2g}"
        raise UnsupportedModuleError(
            where,
            f"{cause}: for an image of noise, the results of the CNN (up to "
            f"{np.abs(expected).max():.2g}) and of the layers read from it are {apart} "
            "apart",
            "What changes values without a call that says so can't be read: hooks, "
            "results that are changed in place and read again (x += y), weights and "
            "attributes that change in forward, random numbers.",
        )

    def _first_difference(
        self,
        traced: torch.fx.GraphModule,
        activations: dict[str, Array],
        calls: dict[str, Step],
    ) -> tuple[str, str]:
        """Find the place where the CNN, its calls and its layers part, and say how."""
        names = {step.name: layer for layer, step in calls.items()}
        one_by_one: list[tuple[str, Array]] = []
        made: dict[str, Array] = {}

        class Noting(Calls):
            def run_node(self, n: torch.fx.Node) -> Any:
                result = super().run_node(n)
                if n.op == "call_module":
                    one_by_one.append((str(n.target), result.numpy().copy()))
                if n.name in names:
                    made[names[n.name]] = result[:1].numpy().copy()
                return result

        in_forward: list[tuple[str, Array]] = []
        paths = {child: path for path, child in self.cnn.named_modules()}

        def note(child: nn.Module, _: Any, result: Any) -> None:
            in_forward.append((f"cnn.{paths[child]}", result.numpy().copy()))

        with _undisturbed():
            Noting(traced).run(self.images.clone())
            called = {path for path, _ in one_by_one}
            hooks = [
                child.register_forward_hook(note)
                for child, path in paths.items()
                if f"cnn.{path}" in called
            ]
            self.cnn(self.images.clone())
        for hook in hooks:
            hook.remove()
        for (path, found), (other, expected) in zip(
            one_by_one, in_forward, strict=False
        ):
            if path != other or _differs(found, expected):
                return module_path(
                    path
                ), "forward or a hook makes it give something else"
        for name, values in activations.items():
            if name in made and _differs(values, made[name], np.abs(made[name]).max()):
                return calls[name].where, "it or what comes before it was read wrongly"
        return type(self.cnn).__name__, "it was read wrongly"
