"""
The paper's adjustment of a CNN to what spikes can express.

A firing rate is never negative, so LeakyReLU becomes ReLU; neurons get no constant
input, so biases go; and the maximum of spike trains would need a second population of
neurons, so maximum pooling becomes average pooling (section III.A of the paper [1]_).

References
----------
.. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
   Threshold Setting.
"""

import copy
from dataclasses import dataclass

from rich.table import Table
from torch import nn

from cnn2snn_brian.errors import UnsupportedModuleError
from cnn2snn_brian.printing import as_text

__all__ = ["Adjustment", "Change", "adjust"]


@dataclass(frozen=True)
class Change:
    """One replaced part of a CNN: its module path, what it was and what it is."""

    where: str
    before: str
    after: str


@dataclass(frozen=True)
class Adjustment:
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

    def __str__(self) -> str:
        table = Table("layer", "before", "after", title="Adjustment")
        for change in self.changes:
            table.add_row(change.where, change.before, change.after)
        return as_text(table) + "\n"


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


def adjust(module: nn.Module) -> Adjustment:
    """
    Replace what the paper's SNN can't express, in any CNN.

    LeakyReLU becomes ReLU, biases of convolutions and linear layers are removed, and
    maximum pooling becomes average pooling of the same window. All other modules and
    the weights that still apply are kept.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is not changed.

    Returns
    -------
    Adjustment
        A new CNN, and the table of changes.

    Raises
    ------
    UnsupportedModuleError
        For maximum pooling that no average pooling corresponds to.

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
    adjusted = nn.Sequential(copy.deepcopy(module))  # so that the root has a parent too
    changes = []
    for path, child in list(adjusted.named_modules(remove_duplicate=False)):
        if path == "":
            continue
        parent_path, _, name = path.rpartition(".")
        where = path.partition(".")[2] or "(the module itself)"
        before = str(child)
        if isinstance(child, nn.LeakyReLU):
            replacement: nn.Module = nn.ReLU()
            adjusted.get_submodule(parent_path)._modules[name] = replacement
            changes.append(Change(where, before, str(replacement)))
        elif isinstance(child, nn.MaxPool2d):
            replacement = _average_pooling(child, where)
            adjusted.get_submodule(parent_path)._modules[name] = replacement
            changes.append(Change(where, before, str(replacement)))
        elif isinstance(child, nn.Conv2d | nn.Linear) and child.bias is not None:
            child.bias = None
            changes.append(Change(where, before, str(child)))
    return Adjustment(adjusted[0], tuple(changes))
