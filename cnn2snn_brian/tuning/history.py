"""A table of all candidates that were tried."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cnn2snn_brian.tuning.coordinates import TUNABLE

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["history_table"]


def history_table(rows: list[dict[str, Any]]) -> "DataFrame":
    """
    Make a table of what is on record of candidates.

    Parameters
    ----------
    rows : list of dict
        The records, in order.

    Returns
    -------
    pandas.DataFrame
        A row for each candidate. Floors, starting potentials and leaks that are the
        same in all rows are left out.
    """
    from pandas import DataFrame

    table = []
    best: dict[int, float] = {}
    for row in rows:
        flat = {key: value for key, value in row.items() if key != "parameters"}
        # Values of different numbers of images can't be compared.
        kind = row["n_images"]
        best[kind] = max(best.get(kind, -np.inf), row["value"])
        flat["best"] = best[kind]
        for what in TUNABLE:
            for layer, value in row["parameters"][what].items():
                by_channel = isinstance(value, list)
                # A missing floor is a text on record.
                flat[f"{what}.{layer}"] = tuple(value) if by_channel else float(value)
        table.append(flat)
    frame = DataFrame(table)
    if len(frame) > 1:
        same = [
            column
            for column in frame.columns
            if column.startswith(("v_min.", "v_init.", "leak."))
            and frame[column].nunique() == 1
        ]
        frame = frame.drop(columns=same)
    return frame
