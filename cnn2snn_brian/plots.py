"""Pictures of what a network does: each function takes ``ax`` and returns it."""

from typing import Any

import numpy as np

from cnn2snn_brian.results import SimulationResult

__all__ = ["plot_output_counts", "plot_raster"]


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
