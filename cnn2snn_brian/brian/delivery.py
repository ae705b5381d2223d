"""How shared synapses deliver spikes: what the templates are told of a layer."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from brian2.core.variables import Variables

from cnn2snn_brian.layers.pooled import Pooled
from cnn2snn_brian.layers.target_runs import Cells

__all__ = ["CELLS", "add_cells", "adds_only", "pool_constants"]

#: Variables of the cells that spikes are averaged in.
CELLS = ["_cell_first", "_cell_index", "_cell_share"]

#: A statement that does nothing but add a weight.
PLAIN = re.compile(r"(\w+?)(?:_post)?\s*\+=\s*w")


def adds_only(on_pre: str, variables: Mapping[str, Any]) -> bool:
    """
    Say whether a spike does nothing but add a weight to a variable of the target.

    Parameters
    ----------
    on_pre : str
        What a spike does.
    variables : dict of str to Variable
        Variables of the synapses.

    Returns
    -------
    bool
        Only then may sums of weights be added.
    """
    match = PLAIN.fullmatch(on_pre.strip())
    if match is None:
        return False
    variable = variables.get(f"{match[1]}_post")
    return (
        variable is not None
        and not variable.scalar
        and variable.dtype == variables["w"].dtype
        and getattr(variable, "conditional_write", None) is None
    )


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


def pool_constants(pool: Pooled | None, is_plain: bool) -> dict[str, Any] | None:
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
        "n": math.prod(pool.layer.input_shape),
        "counted": is_plain,
    }
