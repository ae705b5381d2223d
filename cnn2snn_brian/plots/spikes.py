"""Spikes and potentials of a layer: raster, traces, counts, rates, feature maps."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_index, check_known, check_shape, check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.plots import style
from cnn2snn_brian.projections import Network
from cnn2snn_brian.results import SATURATED, SimulationResult, correlation
from cnn2snn_brian.settings import check_shown

#: With more channels, no line is drawn between them.
MAX_SEPARATED = 24
#: With more traces, they have no legend.
MAX_LEGEND = 12
#: With more units, their numbers are not written into the cells.
MAX_NUMBERED = 64
#: Share of an axis that is left free at its ends, so that it hides no point.
MARGIN = 0.03
#: A legend next to the axes, where it hides nothing.
BESIDE = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
SMALL = {"fontsize": "small", "title_fontsize": "small"}


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


def _show_whole(ax: Any, duration_s: float) -> None:
    """Set the limits so that points at the ends are seen."""
    end = 1e3 * duration_s
    ax.set_xlim(-MARGIN * end, (1 + MARGIN) * end)


def _dashes(index: int) -> str:
    """Choose solid lines, then dashed, then dotted, once the colours are used up."""
    return ("-", "--", ":")[index // len(style.COLOURS) % 3]


def _colour_legend(ax: Any, n: int, what: str) -> None:
    """Say which channels or units have which colour; colours come again."""
    from matplotlib.lines import Line2D

    handles = []
    for index, used in enumerate(style.COLOURS[:n]):
        same = range(index, n, len(style.COLOURS))
        text = ", ".join(map(str, same[:3])) + (", …" if len(same) > 3 else "")
        handles.append(Line2D([], [], ls="", marker="o", ms=4, color=used, label=text))
    ax.legend(handles=handles, title=what, **BESIDE, **SMALL)


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
        of them row after row. A burst is a dot with the area of its spikes. The legend
        says which channels, or units of a linear layer, have which colour.

    Raises
    ------
    InputError
        If the layer was not recorded for this image.
    """
    trains, n_spikes = result.spikes(layer, image).bursts
    shape = result.shapes[layer]
    n_channels, n_neurons = shape[0], math.prod(shape)
    n_steps = int(result.steps_of_row[image])
    row = np.ravel_multi_index(trains.position, shape)
    title = f"{layer}, image {image}: {n_spikes.sum():,} spikes"
    if len(row) < n_spikes.sum():
        title += f" in {len(row):,} bursts"
    ax = style.axes(ax, xlabel="time (ms)", ylabel="neuron", title=title)
    colours = np.array(style.COLOURS)[trains.position[0] % len(style.COLOURS)]
    # Few spikes are drawn large enough to be seen, many small enough to stay apart.
    size = float(np.clip(1.2e4 / max(len(row), 1), 0.4, 8))
    # Many points make a PDF slow, so there they are an image.
    areas, is_image = size * n_spikes, len(row) > 5000
    ax.scatter(1e3 * trains.t, row, c=colours, s=areas, lw=0, rasterized=is_image)
    _show_whole(ax, n_steps * result.dt_s)
    free = max(0.5, MARGIN * n_neurons)
    ax.set_ylim(-free, n_neurons - 1 + free)
    ax.locator_params(axis="y", integer=True, min_n_ticks=1)
    if n_channels > 1:
        _colour_legend(ax, n_channels, "channel" if len(shape) == 3 else "unit")
    if len(shape) == 3 and n_channels > 1:
        height = n_neurons // n_channels
        shown = np.arange(0, n_channels, math.ceil(n_channels / 10))
        ax.set_yticks((shown + 0.5) * height - 0.5, [str(c) for c in shown])
        ax.set_ylabel("channel")
        ax.tick_params(axis="y", length=0)
        for channel in range(1, n_channels if n_channels <= MAX_SEPARATED else 0):
            ax.axhline(channel * height - 0.5, color="0.88", lw=0.6, zorder=0)
    if population_rate:
        below = _axes_below(ax)
        step = np.rint(trains.t / result.dt_s).astype(int)
        rate = np.bincount(step, n_spikes, n_steps) / n_neurons / result.dt_s
        edges = 1e3 * result.dt_s * np.arange(n_steps + 1)
        below.stairs(rate, edges, fill=True, color=style.GREY)
        below.set(xlabel="time (ms)", ylabel="rate (Hz)", label="population rate")
        below.set_ylim(0, max(1.1 * rate.max(), 1))
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
    title = f"{layer}, image {image}"
    ax = style.axes(ax, xlabel="time (ms)", ylabel="membrane potential v", title=title)
    positions = np.stack(recorded.position, 1)
    threshold = result.parameters.thresholds[layer]
    # One for all neurons, or one for each channel.
    levels = np.broadcast_to(threshold, result.shapes[layer][:1])[positions[:, 0]]
    floor = result.parameters.v_min[layer]
    spikes = result.spikes(layer, image) if (layer, image) in result.recorded else None
    triangle: dict[str, Any] = {"ls": "", "marker": "v", "ms": 5, "mec": "white"}
    # The underscore keeps it out of the legend.
    triangle |= {"mew": 0.4, "zorder": 4, "label": "_spikes"}
    for index, position in enumerate(positions):
        line = {"color": style.colour(index), "ls": _dashes(index), "lw": 1}
        where = ", ".join(map(str, position))
        where = f"({where})" if len(position) > 1 else where
        ax.plot(1e3 * recorded.t, recorded.v[:, index], label=where, **line)
        if spikes is not None:
            its = np.all(np.stack(spikes.position, 1) == position, axis=1)
            times, used = 1e3 * spikes.t[its], style.colour(index)
            ax.plot(times, np.full(len(times), levels[index]), color=used, **triangle)
    for level in np.unique(levels):
        label = "threshold" if np.ndim(threshold) == 0 else f"threshold {level:.3g}"
        ax.axhline(level, color="black", ls="--", lw=1, label=label)
    if math.isfinite(floor):
        ax.axhline(floor, color=style.GREY, ls=":", lw=1.2, label="floor")
    _show_whole(ax, result.steps_of_row[image] * result.dt_s)
    if len(positions) <= MAX_LEGEND:
        what = "neuron (channel, y, x)" if positions.shape[1] > 1 else "neuron"
        ax.legend(title=what, **BESIDE, **SMALL)
    return ax


def plot_output_counts(
    result: SimulationResult, image: int, ax: Any = None, classes: style.Names = None
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
    layer = result.output_layer
    result.spikes(layer, image)  # refuses an image that is not there
    names, answer = result.class_names(classes), result.predictions[image]
    unit, step, sign = result.output_spikes(image)
    title = f"{layer}, image {image}: the answer is {names[answer]}"
    ax = style.axes(ax, xlabel="time (ms)", ylabel="output spikes", title=title)
    n_steps = int(result.steps_of_row[image])
    t = 1e3 * result.dt_s * np.arange(n_steps + 1)
    for output, name in enumerate(names):
        own = unit == output
        per_step = np.bincount(step[own] + 1, sign[own], n_steps + 1)
        look: dict[str, Any] = {"color": style.colour(output), "ls": _dashes(output)}
        look |= {"lw": 2.5, "zorder": 3} if output == answer else {"lw": 1.2}
        ax.step(t, per_step.cumsum(), where="post", label=name, **look)
    _show_whole(ax, n_steps * result.dt_s)
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="y", integer=True, min_n_ticks=1)
    ax.legend(fontsize="x-small", ncols=math.ceil(len(names) / 10), **BESIDE)
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
        `ax`. Silent neurons have a separate bar, left of 0; saturated ones, which
        spike in more than 90 % of the steps, have another colour. The legend counts
        both. Numbers of neurons are on a logarithmic scale.

    Raises
    ------
    InputError
        If there is no such layer or image, or `bins` is below 1.
    """
    check_known("layer", [layer], result.spike_counts)
    if image is not None:
        check_index("image", image, result.n_images)
    check_whole("bins", bins, 1)
    # Which neuron is which does not matter here, and a copy of all may be gigabytes.
    rows = slice(None) if image is None else slice(image, image + 1)
    counts, steps = result.spike_counts.raw(layer)[rows], result.steps_of_row[rows]
    title = f"{layer}, {'mean over the images' if image is None else f'image {image}'}"
    ax = style.axes(ax, xlabel="firing rate (Hz)", ylabel="neurons", title=title)
    highest = 1 / result.dt_s
    rate = counts.sum(0, dtype=np.int64) / steps.sum() * highest
    silent, saturated = rate == 0, rate > SATURATED * highest
    others = ~silent & ~saturated
    edges = np.linspace(0, highest, bins + 1)
    # A bar has one colour: saturated neurons get separate ones from 90 % on.
    label = f"others: {others.sum():,}"
    ax.hist(rate[others], edges, color=style.colour(0), label=label)
    label = f"saturated: {saturated.sum():,} ({saturated.mean():.1%})"
    ax.hist(rate[saturated], edges, color=style.colour(3), label=label)
    label = f"silent: {silent.sum():,} ({silent.mean():.1%})"
    left = [-1.5 * edges[1], -0.5 * edges[1]]
    ax.hist(rate[silent] - edges[1], left, color=style.GREY, label=label)
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)
    ax.legend(fontsize="small", loc="upper right")
    return ax


def mosaic(maps: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Put the channels of a layer side by side into one image."""
    gap = 1 if maps.ndim == 3 else 0
    tiles = maps if maps.ndim == 3 else maps.reshape(-1, 1, 1)
    n, height, width = tiles.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, height + gap, width + gap), np.nan)
    cells[:n, :height, :width] = tiles
    grid = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    out = grid.reshape(rows * (height + gap), -1)
    return out[: len(out) - gap, : out.shape[1] - gap]


def plot_feature_maps(
    result: SimulationResult,
    layers_or_activations: Network | Mapping[str, npt.NDArray[Any]],
    layer: str,
    image: int,
    axes: Any = None,
    *,
    images: Any = None,
) -> Any:
    """
    Draw the spike counts of all channels next to the CNN's activations.

    Parameters
    ----------
    result : SimulationResult
        The result. Nothing needs to be recorded.
    layers_or_activations : Network or dict of str to ndarray
        The converted layers (``snn.layers``), or the CNN's activations of all images
        by layer, ``snn.layers.activations(pixels)``.
    layer : str
        Name of the layer.
    image : int
        Index of the image.
    axes : sequence of two matplotlib Axes, optional
        Where to draw; without it, a new figure is made.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        The images that were simulated; needed with `Network`.

    Returns
    -------
    ndarray of matplotlib Axes, shape (2,)
        The SNN's spike counts, and the CNN's activations after ReLU. Negative numbers
        of the last layer are 0, because a neuron has no negative rate. The title has
        Pearson's correlation of the two over all neurons of the layer, where both vary.

    Raises
    ------
    InputError
        If there is no such layer or image, or the shapes differ.
    """
    check_known("layer", [layer], result.spike_counts)
    check_index("image", image, result.n_images)
    counts = result.spike_counts.part(layer, image)
    of_images: Any = layers_or_activations
    row = image
    if isinstance(of_images, Network):
        if images is None:
            raise InputError("images is missing: the images that were simulated")
        check_index("image", image, len(images))
        # This one's alone: a copy of all may be gigabytes.
        one = check_shown(images[image : image + 1], of_images)
        of_images, row = of_images.activations(one), 0
    check_known("layer of activations", [layer], of_images)
    check_index("image", row, len(of_images[layer]))
    # A neuron has no negative rate.
    activations = np.maximum(np.asarray(of_images[layer][row]), 0)
    check_shape(f"activations of {layer}", activations, *counts.shape)
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != 2:
        raise InputError(f"axes: {len(axes)} given, expected 2")
    r = correlation(counts, activations)
    said = f"r = {r:.3f}" if math.isfinite(r) else "r undefined, one is constant"
    _draw_mosaic(axes[0], counts, f"SNN, {layer} ({said})", "spikes")
    _draw_mosaic(axes[1], activations, f"CNN, {layer}", "activation")
    return axes


def _draw_mosaic(ax: Any, maps: npt.NDArray[Any], title: str, unit: str) -> None:
    """Draw the channels of a layer, and number its units if there are few."""
    import matplotlib

    # Gaps between channels must not look like a value.
    colours = matplotlib.colormaps[style.MAP].with_extremes(bad="white")
    values, highest = mosaic(maps), max(float(maps.max()), 1e-12)
    how = {"cmap": colours, "vmin": 0, "vmax": highest, "interpolation": "nearest"}
    ax.set(title=title, xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    style.heat_map(ax, np.ma.masked_invalid(values), unit, **how)
    if maps.ndim == 1 and len(maps) <= MAX_NUMBERED:
        middle = {"ha": "center", "va": "center", "fontsize": "small"}
        for index, value in enumerate(maps):
            y, x = divmod(index, values.shape[1])
            shade = "black" if value > 0.6 * maps.max() else "white"
            ax.text(x, y, f"{index}", color=shade, **middle)
