"""How shared synapses deliver spikes: what the templates are told of a layer."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn2snn_brian.brian.internals import Variables
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.pooled import Pooled
from cnn2snn_brian.layers.target_runs import Cells, Runs, weights_of_channel

__all__ = ["CELLS", "add_cells", "added_to", "constants"]

#: Variables of the cells that spikes are averaged in.
CELLS = ["_cell_first", "_cell_index", "_cell_share"]

#: A statement that does nothing but add a weight.
PLAIN = re.compile(r"(\w+?)(?:_post)?\s*\+=\s*w")

#: Spikes of a position, on average, from which on sums in registers are faster.
SUMS_FROM = 4

#: Targets in a run from which on they are; a few registers.
SUMS_LENGTH = 32

#: Sums along rows need whole registers, of any processor and both types of numbers.
COLUMN_CHANNELS = 16

#: They keep so many positions in registers, at most.
COLUMN_WIDTH = 8

#: Spikes of a position, on average, from which on they are faster.
COLUMNS_FROM = 0.25

#: The same where the weights of all subsets of the channels are added up before.
SUBSETS_FROM = 0.25

#: Weights of all subsets, at most: they stay in the first-level cache.
SUBSET_WEIGHTS = 2**14


def added_to(on_pre: str, variables: Mapping[str, Any]) -> str | None:
    """
    Find the variable of the target that a spike adds a weight to.

    Parameters
    ----------
    on_pre : str
        What a spike does.
    variables : dict of str to Variable
        Variables of the synapses.

    Returns
    -------
    str or None
        Its name among `variables`; None if a spike does anything else. Only sums of
        weights may be put together before they are added.
    """
    match = PLAIN.fullmatch(on_pre.strip())
    if match is None:
        return None
    name = f"{match[1]}_post"
    variable = variables.get(name)
    is_plain = (
        variable is not None
        and not variable.scalar
        and variable.dtype == variables["w"].dtype
        and getattr(variable, "conditional_write", None) is None
    )
    return name if is_plain else None


def add_cells(variables: Variables, cells: Cells, dtype: Any) -> None:
    """
    Add the variables of the cells that spikes are averaged in.

    Parameters
    ----------
    variables : Variables
        Variables of the synapses.
    cells : Cells
        The cells of each input position.
    dtype : dtype
        Type of the weights.
    """
    variables.add_auxiliary_variable("_value", dtype=dtype)
    described: tuple[tuple[Any, Any], ...] = (
        (cells.first, np.int32),
        (cells.cell, np.int32),
        (cells.share, dtype),
    )
    for name, (values, kind) in zip(CELLS, described, strict=True):
        variables.add_array(
            name,
            size=len(values),
            values=values,
            dtype=kind,
            constant=True,
            read_only=True,
        )


def _pool_constants(pool: Pooled | None, is_plain: bool) -> dict[str, Any] | None:
    """
    Give the sizes of the cells that spikes are averaged in.

    Parameters
    ----------
    pool : Pooled, optional
        A layer with poolings in front of it.
    is_plain : bool
        Whether a spike does nothing but add a weight: a cell's spikes are counted then.

    Returns
    -------
    dict or None
        For the templates; None without pooling.
    """
    if pool is None:
        return None
    return {
        "channels": pool.input_shape[0],
        "n_inputs": math.prod(pool.input_shape),
        "n": math.prod(pool.layer.input_shape),
        "counted": is_plain,
    }


def _sums_constants(
    layer: Any, table: Runs, target: str | None
) -> dict[str, Any] | None:
    """
    Give the sizes for sums in registers, see ``templates/standalone/sums.cpp``.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d or Linear
        The layer, without poolings in front of it.
    table : Runs
        Its runs.
    target : str or None
        The variable that a spike adds a weight to, see `added_to`.

    Returns
    -------
    dict or None
        For the template; None where spikes are delivered as they come.
    """
    longest = table.length.max(initial=0)
    if target is None or table.channels < SUMS_FROM or longest < SUMS_LENGTH:
        return None
    n = len(table.first) - 1
    return {
        "n": n,
        "target": target,
        "stride": weights_of_channel(layer),
        "worthwhile": SUMS_FROM * n // table.channels,
    }


def _columns_constants(
    layer: Any, table: Runs, target: str | None, is_pooled: bool
) -> dict[str, Any] | None:
    """
    Give the sizes for sums along rows, see ``templates/standalone/columns.cpp``.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d or Linear
        The layer, without poolings in front of it.
    table : Runs
        Its runs.
    target : str or None
        The variable that a spike adds a weight to, see `added_to`.
    is_pooled : bool
        Whether there are poolings in front of it.

    Returns
    -------
    dict or None
        For the template; None where there is no such form.
    """
    if target is None or not isinstance(layer, Conv2d):
        return None
    out, _, ky, kx = layer.weight.shape
    is_plain = layer.groups == 1 and {*layer.stride, *layer.dilation} == {1}
    if not is_plain or out % COLUMN_CHANNELS or kx > COLUMN_WIDTH:
        return None
    channels, height, width = layer.input_shape
    has_subsets = not is_pooled and 2**channels * ky * kx * out <= SUBSET_WEIGHTS
    share = SUBSETS_FROM if has_subsets else COLUMNS_FROM
    return {
        "target": target,
        "height": height,
        "width": width,
        "out_height": layer.shape[1],
        "out_width": layer.shape[2],
        "out": out,
        "ky": ky,
        "kx": kx,
        "pad_y": layer.padding[0][0],
        "pad_x": layer.padding[1][0],
        "subsets": has_subsets,
        "worthwhile": max(1, round(share * height * width)),
    }


def constants(
    layer: Any, table: Runs, on_pre: str, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """
    Give what the templates are told of a layer.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, Linear or Pooled
        The layer.
    table : Runs
        Its runs; with pooling, those of the cells.
    on_pre : str
        What a spike does.
    variables : dict of str to Variable
        Variables of the synapses.

    Returns
    -------
    dict
        For the templates.
    """
    pool = layer if isinstance(layer, Pooled) else None
    inner = layer if pool is None else pool.layer
    target = added_to(on_pre, variables)
    return {
        "longest": int(table.length.max(initial=0)),
        "channels": table.channels,
        "pool": _pool_constants(pool, target is not None),
        "sums": _sums_constants(inner, table, target),
        "spread": {"channels": layer.shape[0], "target": target}
        if isinstance(layer, AvgPool2d) and target is not None
        else None,
        "columns": _columns_constants(inner, table, target, pool is not None),
    }
