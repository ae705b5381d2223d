"""Plots of sweeps over settings and seeds."""

from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.plots.style import colour, given_or_current

__all__ = ["plot_sweep"]


def plot_sweep(
    frame: Any, x: str, y: str = "accuracy", hue: str | None = None, ax: Any = None
) -> Any:
    """
    Draw what a sweep found against one of its settings.

    Parameters
    ----------
    frame : pandas.DataFrame
        A table of `sweep`.
    x : str
        The setting to the right. Numbers are drawn to scale, anything else in the
        order of the grid.
    y : str
        The column to draw: means over seeds, and over settings other than `x` and
        `hue`, with Student's 95 % intervals, see `summary`.
    hue : str, optional
        A setting that has a line for each of its values.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.

    Returns
    -------
    matplotlib Axes
        `ax`.

    Raises
    ------
    InputError
        If the table has no such column.
    """
    from cnn2snn_brian.experiments.summary import summary
    from cnn2snn_brian.experiments.sweep import MEASURED

    for name in (x, y, *([] if hue is None else [hue])):
        if name not in frame.columns:
            message = f"{name!r}: the table has {', '.join(map(str, frame.columns))}"
            raise InputError(message)
    ax = given_or_current(ax)
    used = [name for name in frame.columns if name in (x, hue) or name in MEASURED]
    means = summary(frame[used], y)
    is_number = all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in means[x]
    )
    places = {str(value): k for k, value in enumerate(means[x].drop_duplicates())}
    values = [None] if hue is None else list(means[hue].drop_duplicates())
    for index, value in enumerate(values):
        line = means if value is None else means[means[hue] == value]
        if is_number:
            line = line.sort_values(x)
        at = line[x].to_numpy(float) if is_number else [places[str(v)] for v in line[x]]
        half = line["mean"] - line["low"]
        # One seed has no interval, which would be drawn as nothing at all.
        ax.errorbar(
            at,
            line["mean"],
            yerr=half.fillna(0.0),
            marker="o",
            color=colour(index),
            ms=4,
            lw=1.2,
            capsize=3,
            ls="-" if is_number else "none",
            label=None if value is None else f"{value}",
        )
    if not is_number:
        ax.set_xticks(list(places.values()), list(places))
    ax.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    if hue is not None:
        ax.legend(title=hue.replace("_", " "), fontsize="small")
    return ax
