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
import torch.nn.functional as F
from rich.table import Table
from torch import nn

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.from_torch import deep_copy
from cnn2snn_brian.cnn.trace import trace
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.settings import as_array

#: Percentile of a ReLU's activations above 0 that its ceiling starts at.
PERCENTILE = 99.0

#: ReLU as a function or a method of a tensor.
_RELU_CALLS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")


@dataclass(frozen=True)
class Change:
    """One replaced part of a CNN: its module path, what it was and what it is."""

    where: str
    before: str
    after: str


@dataclass(frozen=True)
class Adjustment(Printed):
    """
    An adjusted CNN and what was changed to get it.

    Attributes
    ----------
    module : nn.Module
        The new CNN. It has to be trained again.
    changes : tuple of Change
        Every change, in the order of the modules. ``print`` shows them as a table.
    """

    module: nn.Module
    changes: tuple[Change, ...]

    def __repr__(self) -> str:
        return f"Adjustment({len(self.changes)} changes)"

    def _parts(self) -> list[str | Table]:
        table = Table("layer", "before", "after", title="Adjustment")
        for change in self.changes:
            table.add_row(change.where, change.before, change.after)
        return [table]


def _average_pooling(pool: nn.MaxPool2d, where: str) -> nn.AvgPool2d:
    if pool.dilation not in (1, (1, 1)) or pool.return_indices:
        raise UnsupportedModuleError(
            where,
            f"{pool} has a dilation or returns indices",
            "Average pooling has neither; use a plain MaxPool2d.",
        )
    return nn.AvgPool2d(
        pool.kernel_size,
        pool.stride,
        pool.padding,
        ceil_mode=pool.ceil_mode,
        # A padded pixel never wins a maximum, so it must not pull down an average.
        count_include_pad=False,
    )


def _replaced(child: nn.Module, where: str, steps: int | None) -> nn.Module | None:
    """Give what takes the place of a module, None if it stays."""
    if isinstance(child, nn.MaxPool2d):
        return _average_pooling(child, where)
    if steps is not None and isinstance(child, ClipFloorShift):
        again = ClipFloorShift(steps, child.start)
        again.load_state_dict(child.state_dict())
        return again
    if steps is not None and isinstance(child, nn.ReLU | nn.LeakyReLU):
        return ClipFloorShift(steps)
    return nn.ReLU() if isinstance(child, nn.LeakyReLU) else None


def _replace_all(root: nn.Sequential, steps: int | None) -> list[tuple[str, Change]]:
    """Replace parts of a CNN, the only child of `root`; list paths and changes."""
    changes = []
    for path, child in list(root.named_modules(remove_duplicate=False)):
        if path == "":
            continue
        parent_path, _, name = path.rpartition(".")
        where = path.partition(".")[2] or "(the module itself)"
        before = str(child)
        replacement = _replaced(child, where, steps)
        if replacement is not None:
            root.get_submodule(parent_path)._modules[name] = replacement
            changes.append((path, Change(where, before, str(replacement))))
        elif (
            steps is None
            and isinstance(child, nn.Conv2d | nn.Linear)
            and child.bias is not None
        ):
            child.bias = None
            changes.append((path, Change(where, before, str(child))))
    return changes


def _check_calls(module: nn.Module) -> None:
    """Refuse a ReLU that is no module: there would be nowhere to keep its ceiling."""
    nodes = trace(module).graph.nodes
    for node in nodes:
        if node.op != "call_module" and node.target in _RELU_CALLS:
            raise UnsupportedModuleError(
                f"forward (call of {node.name})",
                "found ReLU as a function",
                "A quantized activation has a trained value: use nn.ReLU modules.",
            )


def quantize_in_place(module: nn.Module, steps: int) -> None:
    """Put the quantized activation in place of each ReLU of a CNN, as `adjust` does."""
    ClipFloorShift(steps)  # refuses a wrong number before anything is changed
    _check_calls(module)
    _replace_all(nn.Sequential(module), steps)


def _set_ceilings(module: nn.Module, images: Any) -> None:
    """Start ceilings at the percentile of what ReLUs give on some images."""
    values = torch.as_tensor(as_array("images", images))
    if values.dtype == torch.uint8:
        values = values.float() / 255
    if values.ndim != 4 or not len(values) or not values.is_floating_point():
        raise InputError(
            f"images: {values.dtype} of shape {tuple(values.shape)}, expected some of "
            "shape (n, channels, height, width), uint8 or float"
        )
    seen: dict[ClipFloorShift, list[torch.Tensor]] = {}

    def rectify(
        child: nn.Module, inputs: tuple[torch.Tensor, ...], _: Any
    ) -> torch.Tensor:
        assert isinstance(child, ClipFloorShift)
        result = inputs[0].relu()
        seen.setdefault(child, []).append(result[result > 0])
        return result

    activations = [m for m in module.modules() if isinstance(m, ClipFloorShift)]
    hooks = [child.register_forward_hook(rectify) for child in activations]
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
        positive = torch.cat(parts).numpy()
        if len(positive):
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
        A new CNN, and the table of changes.

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
    if activation not in ("relu", "quantized"):
        raise InputError(f"activation={activation!r}: expected 'relu' or 'quantized'")
    is_quantized = activation == "quantized"
    if is_quantized != (steps is not None) or (images is not None and not is_quantized):
        raise InputError("activation='quantized' needs steps; steps and images need it")
    adjusted = deep_copy(module)
    root = nn.Sequential(adjusted)  # so that the CNN has a parent too
    if steps is None:
        changes = _replace_all(root, None)
    else:
        ClipFloorShift(steps)  # refuses a wrong number
        _check_calls(adjusted)
        changes = _replace_all(root, steps)
        if images is not None:
            _set_ceilings(root[0], images)
    return Adjustment(
        root[0],
        tuple(
            Change(change.where, change.before, str(root.get_submodule(path)))
            for path, change in changes
        ),
    )
