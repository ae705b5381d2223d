"""Spikes and potentials of a layer: raster, traces, counts, rates."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.plots.style import (
    COLOURS,
    GREY,
    class_names,
    colour,
    given_or_current,
)
from cnn2snn_brian.results import SATURATED, SimulationResult

#: With more channels, no line is drawn between them.
MAX_SEPARATED = 24
#: A legend that hides nothing.
BESIDE: dict[str, Any] = {
    "loc": "center left",
    "bbox_to_anchor": (1.01, 0.5),
    "fontsize": "small",
    "title_fontsize": "small",
    "frameon": False,
}
#: Share of an axis that is left free at its ends, so that it hides no point.
MARGIN = 0.03
#: With more traces, they have no legend.
MAX_LEGEND = 12


def _axes_below(ax: Any) -> Any:
    """Give up the lower quarter of the axes to new ones with the same time."""
    spec = ax.get_subplotspec()
    if spec is not None:
        upper, lower = spec.subgridspec(2, 1, height_ratios=(3, 1), hspace=0.02)
        ax.set_subplotspec(upper)
        return ax.figure.add_subplot(lower, sharex=ax)
    x, y, width, height = ax.get_position().bounds
    ax.set_position((x, y + 0.28 * height, width, 0.72 * height))
    return ax.figure.add_axes((x, y, width, 0.24 * height), sharex=ax)


def _show_whole(ax: Any, duration_s: float, n_neurons: int | None = None) -> None:
    """Set the limits so that points at the ends are seen; number neurons in whole."""
    from matplotlib.ticker import MaxNLocator

    end = 1e3 * duration_s
    ax.set_xlim(-MARGIN * end, (1 + MARGIN) * end)
    if n_neurons is not None:
        free = max(0.5, MARGIN * n_neurons)
        ax.set_ylim(-free, n_neurons - 1 + free)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _dashes(index: int) -> str:
    """Choose solid lines, then dashed, then dotted: there are only so many colours."""
    return ("-", "--", ":")[index // len(COLOURS) % 3]


def _colour_legend(ax: Any, n: int, what: str) -> None:
    """Say which channels or units have which colour; colours come again."""
    from matplotlib.lines import Line2D

    handles = []
    for index in range(min(n, len(COLOURS))):
        same = range(index, n, len(COLOURS))
        text = ", ".join(map(str, same[:3])) + (", …" if len(same) > 3 else "")
        handles.append(
            Line2D([], [], ls="", marker="o", ms=4, color=colour(index), label=text)
        )
    ax.legend(handles=handles, title=what, **BESIDE)


def plot_raster(
    result: SimulationResult,
    layer: str,
    image: int,
    ax: Any = None,
    *,
    population_rate: bool = False,
) -> Any:
    """
    Draw the spikes of one layer for one image, coloured by channel.

    Parameters
    ----------
    result : SimulationResult
        A result that recorded the layer.
    layer : str
        Name of the layer, or ``input``. The names are in ``snn.layer_names``: `convert`
        calls convolutions ``conv1``, ``conv2``, pooling layers ``pool1`` and linear
        ("inner product") layers ``ip1``.
    image : int
        Index of the image.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    population_rate : bool
        Whether to draw the layer's mean firing rate (Hz, in each step) under the
        raster. It takes a quarter of the place of `ax`, and is the last of
        ``ax.figure.axes``.

    Returns
    -------
    matplotlib Axes
        `ax`. Time goes to the right, neurons upwards: channel after channel, in each
        of them row after row. The legend says which channels, or units of a linear
        layer, have which colour.

    Raises
    ------
    InputError
        If the layer was not recorded for this image.
    """
    trains = result.spikes(layer, image)
    shape = result.shapes[layer]
    n_neurons = math.prod(shape)
    row = np.ravel_multi_index(trains.position, shape)
    ax = given_or_current(ax)
    colours = np.array(COLOURS)[trains.position[0] % len(COLOURS)]
    # Few spikes are drawn large enough to be seen, many small enough to stay apart.
    size = float(np.clip(1.2e4 / max(len(row), 1), 0.4, 8))
    # Many points make a PDF slow, so there they are an image.
    ax.scatter(1e3 * trains.t, row, c=colours, s=size, lw=0, rasterized=len(row) > 5000)
    ax.set(
        xlabel="time (ms)",
        ylabel="neuron",
        title=f"{layer}, image {image}: {len(row):,} spikes",
    )
    n_steps = int(result.steps_of_row[image])
    _show_whole(ax, n_steps * result.dt_s, n_neurons)
    if shape[0] > 1:
        _colour_legend(ax, shape[0], "channel" if len(shape) == 3 else "unit")
    if len(shape) == 3 and shape[0] > 1:
        n_channels, size_of_channel = shape[0], n_neurons // shape[0]
        shown = np.arange(0, n_channels, math.ceil(n_channels / 10))
        ax.set_yticks((shown + 0.5) * size_of_channel - 0.5, [str(c) for c in shown])
        ax.set_ylabel("channel")
        ax.tick_params(axis="y", length=0)
        if n_channels <= MAX_SEPARATED:
            for channel in range(1, n_channels):
                ax.axhline(
                    channel * size_of_channel - 0.5, color="0.88", lw=0.6, zorder=0
                )
    if population_rate:
        below = _axes_below(ax)
        step = np.rint(trains.t / result.dt_s).astype(int)
        spikes = np.bincount(step, minlength=n_steps)
        edges = 1e3 * result.dt_s * np.arange(n_steps + 1)
        rate = spikes / n_neurons / result.dt_s
        below.stairs(rate, edges, fill=True, color=GREY)
        below.set(xlabel="time (ms)", ylabel="rate (Hz)")
        below.set_ylim(0, max(1.1 * rate.max(), 1))
        below.set_label("population rate")
        ax.tick_params(labelbottom=False)
        ax.set_xlabel("")
    return ax


def plot_membrane(
    result: SimulationResult, layer: str, image: int, ax: Any = None
) -> Any:
    """
    Draw recorded membrane potentials, with the threshold and the floor.

    Parameters
    ----------
    result : SimulationResult
        A result that recorded potentials of the layer: ``run(...,
        record=Recording(potentials={"conv1": [(channel, y, x), ...]}))``.
    layer : str
        Name of the layer.
    image : int
        Index of the image.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.

    Returns
    -------
    matplotlib Axes
        `ax`. A point of a trace is the potential at the end of a step: after the
        reset and the floor, and after the spikes that arrived, which may take it above
        the threshold or below the floor for a step. A triangle on the threshold is a
        spike, if the layer's spikes were recorded too.

    Raises
    ------
    InputError
        If no potentials of the layer were recorded for this image.
    """
    recorded = result.potentials(layer, image)
    ax = given_or_current(ax)
    threshold = result.parameters.thresholds[layer]
    floor = result.parameters.v_min[layer]
    spikes = result.spikes(layer, image) if (layer, image) in result.recorded else None
    positions = np.stack(recorded.position, 1)
    for index, (position, v) in enumerate(zip(positions, recorded.v.T, strict=True)):
        where = ", ".join(map(str, position))
        ax.plot(
            1e3 * recorded.t,
            v,
            color=colour(index),
            ls=_dashes(index),
            lw=1,
            label=f"({where})" if len(position) > 1 else where,
        )
        if spikes is not None:
            its = np.all(np.stack(spikes.position, 1) == position, axis=1)
            times = 1e3 * spikes.t[its]
            ax.plot(
                times,
                np.full(len(times), _of_channel(threshold, position[0])),
                ls="",
                marker="v",
                ms=5,
                mec="white",
                mew=0.4,
                color=colour(index),
                zorder=4,
                label="_spikes",  # the underscore keeps it out of the legend
            )
    for each in sorted({_of_channel(threshold, c) for c in positions[:, 0]}):
        label = "threshold" if np.ndim(threshold) == 0 else f"threshold {each:.3g}"
        ax.axhline(each, color="black", ls="--", lw=1, label=label)
    if math.isfinite(floor):
        ax.axhline(floor, color=GREY, ls=":", lw=1.2, label="floor")
    ax.set(xlabel="time (ms)", ylabel="membrane potential v")
    _show_whole(ax, result.steps_of_row[image] * result.dt_s)
    ax.set_title(f"{layer}, image {image}")
    if len(positions) <= MAX_LEGEND:
        ax.legend(
            title="neuron (channel, y, x)" if positions.shape[1] > 1 else "neuron",
            **BESIDE,
        )
    return ax


def _of_channel(value: Any, channel: int) -> float:
    """Give a number of a layer for one of its channels."""
    return float(value if np.ndim(value) == 0 else value[channel])


def plot_output_counts(
    result: SimulationResult,
    image: int,
    ax: Any = None,
    classes: Sequence[str] | None = None,
) -> Any:
    """
    Draw how the spikes of each output neuron add up over time.

    Parameters
    ----------
    result : SimulationResult
        The result.
    image : int
        Index of the image.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    classes : sequence of str, optional
        Names of the output neurons; by default those that the network has.

    Returns
    -------
    matplotlib Axes
        `ax`. The neuron with the answer has the thick line.

    Raises
    ------
    InputError
        If there is no such image, or not one name for each output neuron.
    """
    from matplotlib.ticker import MaxNLocator

    n_outputs = result.output_potentials.shape[1]
    names = class_names(result.class_names() if classes is None else classes, n_outputs)
    ax = given_or_current(ax)
    trains = result.spikes(result.output_layer, image)
    n_steps = int(result.steps_of_row[image])
    spike_step = np.rint(trains.t / result.dt_s).astype(int)
    unit = np.ravel_multi_index(trains.position, result.shapes[result.output_layer])
    answer = result.predictions[image]
    for output in range(n_outputs):
        per_step = np.bincount(spike_step[unit == output], minlength=n_steps)
        total = np.concatenate([[0], np.cumsum(per_step)])
        ax.step(
            1e3 * result.dt_s * np.arange(n_steps + 1),
            total,
            where="post",
            label=names[output],
            color=colour(output),
            ls=_dashes(output),
            lw=2.5 if output == answer else 1.2,
            zorder=3 if output == answer else 2,
        )
    ax.set(
        xlabel="time (ms)",
        ylabel="output spikes",
        title=f"{result.output_layer}, image {image}: the answer is {names[answer]}",
    )
    _show_whole(ax, n_steps * result.dt_s)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(
        fontsize="x-small",
        ncols=math.ceil(n_outputs / 10),
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
    )
    return ax


def plot_rates(
    result: SimulationResult,
    layer: str,
    ax: Any = None,
    *,
    image: int | None = None,
    bins: int = 40,
) -> Any:
    """
    Draw how many neurons of a layer spike at which rate.

    Parameters
    ----------
    result : SimulationResult
        The result. Nothing needs to be recorded.
    layer : str
        Name of the layer, or ``input``.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    image : int, optional
        Index of an image. Without it, a neuron's rate is its mean over all images.
    bins : int
        Number of bars from 0 to 1/dt, the highest rate there is.

    Returns
    -------
    matplotlib Axes
        `ax`. Silent neurons are a bar of their own, left of 0; saturated ones, which
        spike in more than 90 % of the steps, have another colour. The legend counts
        both. Numbers of neurons are on a logarithmic scale.

    Raises
    ------
    InputError
        If there is no such layer or image, or no bin.
    """
    if layer not in result.spike_counts:
        raise InputError(
            f"no layer {layer!r}; there are {', '.join(result.spike_counts)}"
        )
    if image is not None and not 0 <= image < result.n_images:
        raise InputError(f"image is {image}, expected 0 to {result.n_images - 1}")
    if bins < 1:
        raise InputError(f"bins is {bins}, expected at least 1")
    # Which neuron is which does not matter here, and a copy of all may be gigabytes.
    rows = slice(None) if image is None else slice(image, image + 1)
    counts, steps = result.spike_counts.raw(layer)[rows], result.steps_of_row[rows]
    ax = given_or_current(ax)
    highest = 1 / result.dt_s
    rate = counts.sum(0, dtype=np.int64) / steps.sum() * highest
    silent, saturated = rate == 0, rate > SATURATED * highest
    edges = np.linspace(0, highest, bins + 1)
    # A bar has one colour: saturated neurons get bars of their own from 90 % on.
    ax.hist(
        rate[~silent & ~saturated],
        edges,
        color=colour(0),
        label=f"others: {(~silent & ~saturated).sum():,}",
    )
    for which, colour_of, name, at in (
        (saturated, colour(3), "saturated", edges),
        (silent, GREY, "silent", [-1.5 * highest / bins, -0.5 * highest / bins]),
    ):
        n, share = int(which.sum()), which.mean()
        label = f"{name}: {n:,} ({share:.1%})"
        values = rate[which] if name == "saturated" else np.full(n, np.mean(at))
        ax.hist(values, at, color=colour_of, label=label)
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)
    over = "mean over the images" if image is None else f"image {image}"
    ax.set(xlabel="firing rate (Hz)", ylabel="neurons", title=f"{layer}, {over}")
    ax.legend(fontsize="small", loc="upper right")
    return ax
