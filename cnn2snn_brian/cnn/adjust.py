"""
The paper's adjustment of a CNN to what spikes can express.

A firing rate is never negative, so LeakyReLU becomes ReLU; neurons get no constant
input, so biases go; and the maximum of spike trains would need a second population of
neurons, so maximum pooling becomes average pooling (section III.A of the paper [1]_).
For few steps, an activation that is trained for them takes the place of ReLU.

References
----------
.. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
   Threshold Setting.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.fx
from rich.table import Table
from torch import nn

from cnn2snn_brian.checks import check_choice, check_shape
from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.trace import copied, is_leaf, kind_of, refused
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.settings import as_array

#: Percentile of a ReLU's activations above 0 that its ceiling starts at.
PERCENTILE = 99.0


@dataclass(frozen=True)
class Change:
    """One replaced part of a CNN: its module path, what it was and what it is."""

    where: str
    before: str
    after: str


class Adjustment(Printed, nn.Module):
    """
    An adjusted CNN, and what was changed to get it.

    It is called, trained, converted and saved like the CNN inside.

    Attributes
    ----------
    module : nn.Module
        The new CNN. It has to be trained again.
    changes : tuple of Change
        Every change, in the order of the modules. ``print`` shows them as a table.
    """

    def __init__(self, module: nn.Module, changes: tuple[Change, ...]) -> None:
        super().__init__()
        self.module, self.changes = module, changes
        self.training = module.training

    def forward(self, x: torch.Tensor) -> Any:
        """
        Compute images.

        Parameters
        ----------
        x : torch.Tensor, shape (n, channels, height, width)
            The images.

        Returns
        -------
        torch.Tensor
            What the CNN gives.
        """
        return self.module(x)

    def __repr__(self) -> str:
        return f"Adjustment({len(self.changes)} changes)"

    def _parts(self) -> list[str | Table]:
        table = Table("layer", "before", "after", title="Adjustment")
        for change in self.changes:
            table.add_row(change.where, change.before, change.after)
        return [table]


def unwrapped(module: nn.Module) -> nn.Module:
    """Give the CNN inside of an `Adjustment`."""
    return module.module if isinstance(module, Adjustment) else module


def _replaced(child: nn.Module, where: str, steps: int | None) -> nn.Module | None:
    """Give what takes the place of a module, None if it stays."""
    if isinstance(child, nn.MaxPool2d):
        if child.dilation not in (1, (1, 1)) or child.return_indices:
            raise UnsupportedModuleError(
                where,
                f"{child} has a dilation or returns indices",
                "Average pooling has neither; use a plain MaxPool2d.",
            )
        sizes = child.kernel_size, child.stride, child.padding
        # A padded pixel never wins a maximum, so it must not pull down an average.
        return nn.AvgPool2d(*sizes, ceil_mode=child.ceil_mode, count_include_pad=False)
    if steps is None:
        return nn.ReLU() if isinstance(child, nn.LeakyReLU) else None
    if isinstance(child, ClipFloorShift):
        again = ClipFloorShift(steps, child.start)
        again.load_state_dict(child.state_dict())
        return again
    is_relu = isinstance(child, nn.ReLU | nn.LeakyReLU)
    return ClipFloorShift(steps) if is_relu else None


class _Tracer(torch.fx.Tracer):
    """List the functions that a CNN calls, without images."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)


def adjust_in_place(
    module: nn.Module, steps: int | None = None, images: Any = None
) -> Adjustment:
    """Adjust a CNN itself; the quantized activation has `steps`."""
    if steps is not None:
        ClipFloorShift(steps)  # refuses a wrong number before anything is changed
        hint = "forward must not depend on values of tensors."
        with refused(type(module).__name__, "torch.fx can't trace its forward", hint):
            graph = _Tracer().trace(nn.Sequential(module))
        for node in graph.nodes:
            if node.op != "call_module" and kind_of(node) == "ReLU":
                raise UnsupportedModuleError(
                    f"forward (call of {node.name})",
                    "found ReLU as a function",
                    "A quantized activation has a trained value: use nn.ReLU modules.",
                )
    root = nn.Sequential(module)  # so that the CNN has a parent too
    before = {}
    for path, child in [*root.named_modules(remove_duplicate=False)][1:]:
        parent, _, name = path.rpartition(".")
        was, where = str(child), _in_cnn(path)
        replacement = _replaced(child, where, steps)
        is_map = isinstance(child, nn.Conv2d | nn.Linear)
        if replacement is not None:
            root.get_submodule(parent)._modules[name] = replacement
        elif steps is None and is_map and child.bias is not None:
            child.bias = None
        else:
            continue
        before[path] = was
    if images is not None:
        _set_ceilings(root[0], images)
    changes = (
        Change(_in_cnn(path), was, str(root.get_submodule(path)))
        for path, was in before.items()
    )
    return Adjustment(root[0], tuple(changes))


def _in_cnn(path: str) -> str:
    return path.partition(".")[2] or "(the module itself)"


def _set_ceilings(module: nn.Module, images: Any) -> None:
    """Start ceilings at the percentile of what ReLUs give on some images."""
    values = torch.as_tensor(as_array("images", images))
    if values.dtype == torch.uint8:
        values = values.float() / 255
    check_shape("images", values.numpy(), "n", "channels", "height", "width")
    if not values.is_floating_point():
        raise InputError(f"images: found {values.dtype}, expected uint8 or float")
    seen: dict[ClipFloorShift, list[torch.Tensor]] = {
        child: [] for child in module.modules() if isinstance(child, ClipFloorShift)
    }

    def rectify(child: Any, inputs: tuple[torch.Tensor, ...], _: Any) -> torch.Tensor:
        result = inputs[0].relu()
        seen[child].append(result[result > 0])
        return result

    hooks = [child.register_forward_hook(rectify) for child in seen]
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(values.to(next(module.parameters()).dtype))
    except RuntimeError as error:
        raise InputError(f"images: the CNN can't compute them: {error}") from error
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    for child, parts in seen.items():
        if sum(map(len, parts)):
            positive = torch.cat(parts).numpy()
            child.start = float(np.percentile(positive, np.float64(PERCENTILE)))
            child.reset_parameters()


def adjust(
    module: nn.Module,
    activation: Literal["relu", "quantized"] = "relu",
    *,
    steps: int | None = None,
    images: Any = None,
) -> Adjustment:
    """
    Replace what the paper's SNN can't express, in any CNN.

    LeakyReLU becomes ReLU, biases of convolutions and linear layers are removed, and
    maximum pooling becomes average pooling of the same window. All other modules and
    the weights that still apply are kept.

    For SNNs of few steps, ``activation="quantized"`` puts `ClipFloorShift` in place of
    each ReLU [1]_. Biases stay. A few epochs of ``train(..., fresh=False)`` follow, and
    `convert` takes the thresholds from the CNN.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is not changed.
    activation : {"relu", "quantized"}
        What is put in place of ReLU and LeakyReLU.
    steps : int, optional
        Steps of the quantized activation, about as many as the SNN will have; needed
        with ``activation="quantized"``.
    images : ndarray of uint8 or float, shape (n, channels, height, width), optional
        Some training images, as `train` takes them or with pixels in [0, 1]. The
        largest activation of each layer starts at the 99th percentile of what is above
        0 there; without images at 8, as in the authors' code.

    Returns
    -------
    Adjustment
        A new CNN, which knows the table of its changes.

    Raises
    ------
    UnsupportedModuleError
        For maximum pooling that no average pooling corresponds to; with
        ``activation="quantized"`` for a ReLU that is called as a function.
    InputError
        If `activation`, `steps` or `images` can't be used, or the CNN can't be copied.

    References
    ----------
    .. [1] Bu et al. (2022), Optimal ANN-SNN Conversion for High-accuracy and
       Ultra-low-latency Spiking Neural Networks, doi:10.48550/arXiv.2303.04347

    Examples
    --------
    >>> from torch import nn
    >>> cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU(), nn.MaxPool2d(2))
    >>> adjust(cnn).module
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), bias=False)
      (1): ReLU()
      (2): AvgPool2d(kernel_size=2, stride=2, padding=0)
    )
    """
    check_choice("activation", activation, ("relu", "quantized"))
    is_quantized = activation == "quantized"
    if is_quantized != (steps is not None) or (images is not None and not is_quantized):
        raise InputError("activation='quantized' needs steps; steps and images need it")
    return adjust_in_place(copied(unwrapped(module)), steps, images)
