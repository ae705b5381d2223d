"""Pictures of what a network does: each function takes ``ax`` and returns it."""

from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.results import SimulationResult

__all__ = ["plot_output_counts", "plot_raster", "plot_sweep"]


def plot_raster(
    result: SimulationResult, layer: str, image: int, ax: Any = None
) -> Any:
    """
    Draw the spikes of one layer for one picture, coloured by channel.

    Parameters
    ----------
    result : SimulationResult
        A result that recorded the layer.
    layer : str
        Name of the layer, or ``input``.
    image : int
        Index of the picture.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.

    Returns
    -------
    matplotlib Axes
        `ax`. Time goes to the right, neurons upwards: channel after channel, in each
        of them row after row.

    Raises
    ------
    InputError
        If the layer was not recorded for this picture.
    """
    import matplotlib.pyplot as plt

    trains = result.spikes(layer, image)
    shape = result.shapes[layer]
    row = np.ravel_multi_index(trains.position, shape)
    channel = trains.position[0]
    ax = plt.gca() if ax is None else ax
    ax.scatter(
        1e3 * trains.t, row, c=channel % 10, cmap="tab10", vmin=0, vmax=9, s=3, lw=0
    )
    ax.set(
        xlabel="time (ms)",
        ylabel="neuron",
        xlim=(0, 1e3 * result.duration_s),
        ylim=(-0.5, np.prod(shape) - 0.5),
        title=f"{layer}: {len(row):,} spikes",
    )
    return ax


def plot_output_counts(
    result: SimulationResult, image: int, ax: Any = None, classes: Any = None
) -> Any:
    """
    Draw how the spikes of each output neuron add up over time.

    Parameters
    ----------
    result : SimulationResult
        The result.
    image : int
        Index of the picture.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    classes : sequence of str, optional
        Names of the output neurons.

    Returns
    -------
    matplotlib Axes
        `ax`.
    """
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    steps = np.arange(result.n_steps + 1)
    trains = result.spikes(result.output_layer, image)
    spike_step = np.rint(trains.t / result.dt_s).astype(int)
    n_outputs = result.output_potentials.shape[1]
    unit = np.ravel_multi_index(trains.position, result.shapes[result.output_layer])
    for output in range(n_outputs):
        per_step = np.bincount(spike_step[unit == output], minlength=result.n_steps)
        total = np.concatenate([[0], np.cumsum(per_step)])
        label = str(output) if classes is None else str(classes[output])
        ax.step(1e3 * result.dt_s * steps, total, where="post", label=label)
    ax.set(
        xlabel="time (ms)", ylabel="output spikes", xlim=(0, 1e3 * result.duration_s)
    )
    ax.legend(fontsize="x-small", ncols=2)
    return ax


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
    import matplotlib.pyplot as plt

    from cnn2snn_brian.sweep import MEASURED, summary

    for name in (x, y, *([] if hue is None else [hue])):
        if name not in frame.columns:
            message = f"{name!r}: the table has {', '.join(map(str, frame.columns))}"
            raise InputError(message)
    ax = plt.gca() if ax is None else ax
    used = [name for name in frame.columns if name in (x, hue) or name in MEASURED]
    means = summary(frame[used], y)
    is_number = all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in means[x]
    )
    places = {str(value): k for k, value in enumerate(means[x].drop_duplicates())}
    values = [None] if hue is None else list(means[hue].drop_duplicates())
    for value in values:
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
