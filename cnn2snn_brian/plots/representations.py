"""What responses stand for: receptive fields, similarity, decoding, choices."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology import (
    Choices,
    Comparison,
    Decoding,
    Rdm,
    ReceptiveField,
    decide,
)
from cnn2snn_brian.plots.style import (
    GREY,
    MAP,
    axes,
    colour,
    heat_map,
    line_with_band,
    next_colour,
    trade_off,
)

#: Colour map of values around 0.
DIVERGING = "RdBu_r"


def plot_receptive_field(
    field: ReceptiveField,
    neuron: int = 0,
    ax: Any = None,
    *,
    lag: int | None = None,
    channel: int | None = None,
    title: str | None = None,
) -> Any:
    """
    Draw a spike-triggered average, and outline what is significant.

    Parameters
    ----------
    field : ReceptiveField
        What `physiology.receptive_field` found, with stimuli of shape (height, width)
        or (channels, height, width).
    neuron : int
        Which of its neurons.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    lag : int, optional
        Frames before the response; the first lag by default.
    channel : int, optional
        Channel of the stimulus; the mean over channels by default.
    title : str, optional
        Title; the neuron and its p-value by default.

    Returns
    -------
    matplotlib Axes
        `ax`. Red is brighter than the mean stimulus, blue is darker, and the outline is
        around pixels that are significant in one of the channels.

    Raises
    ------
    InputError
        If there is no such neuron, lag or channel, or stimuli were no images.
    """
    lag = field.lags[0] if lag is None else lag
    if not 0 <= neuron < len(field.sta) or lag not in field.lags:
        raise InputError(
            f"neuron {neuron}, lag {lag}: there are {len(field.sta)} neurons and the "
            f"lags {field.lags}"
        )
    at = neuron, field.lags.index(lag)
    image, significant = field.sta[at], field.significant[at]
    if image.ndim == 2:
        image, significant = image[None], significant[None]
    if image.ndim != 3 or not 0 <= (channel or 0) < len(image):
        raise InputError(
            f"stimuli have the shape {field.sta.shape[2:]}, expected (channels, "
            f"height, width) with a channel {channel or 0}"
        )
    if channel is None:
        image, significant = image.mean(0), significant.any(0)
    else:
        image, significant = image[channel], significant[channel]
    ax = axes(ax, xticks=[], yticks=[])
    ax.set_title(title or f"neuron {neuron}, p = {field.p_value[neuron]:.2g}")
    limit = max(np.abs(image).max(), 1e-12)
    drawn = ax.imshow(image, cmap=DIVERGING, vmin=-limit, vmax=limit)
    left, right, bottom, top = drawn.get_extent()
    if significant.any():
        # Enlarged, so that the outline follows the edges of pixels.
        fine = np.kron(np.pad(significant, 1), np.ones((8, 8)))
        y, x = ((np.arange(n) + 0.5) / 8 - 1.5 for n in fine.shape)
        ax.contour(x, y, fine, [0.5], colors="black", linewidths=0.9)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    return ax


def plot_rdm(found: Rdm, ax: Any = None, *, labels: Any = None) -> Any:
    """
    Draw a dissimilarity matrix.

    Parameters
    ----------
    found : Rdm
        What `physiology.rdm` found.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    labels : array_like, shape (n_stimuli,), optional
        Classes of the stimuli. Lines are drawn between neighbours of different classes;
        so stimuli should be sorted by class.

    Returns
    -------
    matplotlib Axes
        `ax`, with a colour bar.

    Raises
    ------
    InputError
        If there is not one label for each stimulus.
    """
    n = len(found.values)
    ax = axes(ax, xlabel="stimulus", ylabel="stimulus")
    heat_map(ax, found.values, f"dissimilarity ({found.metric})", cmap=MAP, vmin=0)
    if labels is None:
        return ax
    classes = np.asarray(labels)
    if classes.shape != (n,):
        raise InputError(f"{n} stimuli, labels of shape {classes.shape}")
    ends = np.flatnonzero(classes[1:] != classes[:-1]) + 0.5
    for end in ends:
        ax.axhline(end, color="white", lw=0.8)
        ax.axvline(end, color="white", lw=0.8)
    edges = np.concatenate([[-0.5], ends, [n - 0.5]])
    middle = (edges[1:] + edges[:-1]) / 2
    names = [str(classes[int(np.ceil(edge))]) for edge in edges[:-1]]
    ax.set_xticks(middle, names)
    ax.set_yticks(middle, names)
    ax.tick_params(length=0)
    ax.set(xlabel="class", ylabel="class")
    return ax


def plot_comparisons(
    found: Mapping[str, Comparison] | Mapping[float, Comparison],
    ax: Any = None,
    *,
    label: str | None = None,
) -> Any:
    """
    Draw how alike dissimilarity matrices are.

    Parameters
    ----------
    found : dict of str to Comparison, or of float to Comparison
        What `physiology.compare` found: by name, or by time in seconds.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    label : str, optional
        Name of the series in the legend.

    Returns
    -------
    matplotlib Axes
        `ax`, with bootstrap intervals: points by name, or a line over time with a band.
    """
    names = list(found)
    value, low, high = np.array([(c.value, c.low, c.high) for c in found.values()]).T
    method = next(iter(found.values())).method
    ax = axes(ax, ylabel=f"similarity of RDMs ({method})")
    if all(isinstance(name, int | float | np.number) for name in names):
        t = 1e3 * np.array(names, float)
        line_with_band(ax, t, value, low, high, "comparison", label)
        ax.set_xlabel("time (ms)")
    else:
        at, used = np.arange(len(names)), next_colour(ax, "comparison")
        ax.plot(at, value, "o", color=used, label=label, gid="comparison")
        ax.vlines(at, low, high, color=used)
        ax.set_xticks(at, [str(name) for name in names])
    ax.axhline(0, color=GREY, lw=0.8)
    if label is not None:
        ax.legend(fontsize="small")
    return ax


def plot_decoding(found: Decoding, ax: Any = None, *, label: str | None = None) -> Any:
    """
    Draw the accuracy of a linear readout over time.

    Parameters
    ----------
    found : Decoding
        What `physiology.decoding` found.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default. Draw several layers into one to
        compare them.
    label : str, optional
        Name of the line in the legend.

    Returns
    -------
    matplotlib Axes
        `ax`, in percent: the mean over folds, and a band from the worst to the best.
    """
    ax = axes(ax, xlabel="time (ms)", ylabel="decoded correctly (%)", ylim=(0, 102))
    is_first = not any(line.get_gid() == "decoding" for line in ax.lines)
    accuracy = 100 * found.accuracy
    mean, low, high = accuracy.mean(1), accuracy.min(1), accuracy.max(1)
    line_with_band(ax, 1e3 * found.t_s, mean, low, high, "decoding", label)
    if is_first:
        ax.axhline(100 * found.chance, color=GREY, ls="--", lw=1, label="chance")
    ax.legend(fontsize="small", loc="lower right")
    return ax


def plot_reaction_times(
    choices: Choices, labels: Any = None, ax: Any = None, *, bins: int = 30
) -> Any:
    """
    Draw how reaction times are distributed.

    Parameters
    ----------
    choices : Choices
        What `physiology.decide` found.
    labels : array_like of int, shape (n_stimuli,), optional
        The right classes; then right and wrong choices have a colour each.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    bins : int
        Number of bins.

    Returns
    -------
    matplotlib Axes
        `ax`. Trials without a decision are not drawn; the title counts them.

    Raises
    ------
    InputError
        If there is not one label for each stimulus.
    """
    table = choices.frame(labels)
    t, decided = 1e3 * table["reaction_time_s"].to_numpy(), table["decided"].to_numpy()
    groups = {"decided": decided}
    if labels is not None:
        right = table["correct"].to_numpy()
        groups = {"right": decided & right, "wrong": decided & ~right}
    edges = np.linspace(0, t.max(), bins + 1)
    title = f"{choices.rule}, bound {choices.bound}: {(~decided).sum()} undecided"
    ax = axes(ax, xlabel="reaction time (ms)", ylabel="trials", title=title)
    for (name, which), used in zip(
        groups.items(), (colour(0), colour(3)), strict=False
    ):
        mean = f", mean {t[which].mean():.1f} ms" if which.any() else ""
        label = f"{name}: {which.sum()}{mean}"
        ax.hist(
            t[which], edges, histtype="stepfilled", alpha=0.6, color=used, label=label
        )
    ax.set_xlim(0, edges[-1])
    ax.legend(fontsize="small")
    return ax


def plot_speed_accuracy(
    data: Any,
    labels: Any,
    ax: Any = None,
    *,
    bounds: Iterable[int] = (1, 2, 3, 4, 6, 8),
    rule: Literal["race", "margin"] = "race",
    layer: str | None = None,
) -> Any:
    """
    Draw accuracy against mean reaction time, a point for each bound.

    Parameters
    ----------
    data : SimulationResult or TrialSpikes
        See `physiology.decide`.
    labels : array_like of int, shape (n_stimuli,)
        The right classes.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    bounds : iterable of int
        Bounds, a point each.
    rule : {"race", "margin"}
        See `physiology.decide`.
    layer : str, optional
        Layer of a result; the last one by default.

    Returns
    -------
    matplotlib Axes
        `ax`, accuracy in percent. A number beside a point is its bound. Undecided
        trials count with their whole duration, and the class with most spikes.

    Raises
    ------
    InputError
        If a bound is below 1, or there is not one label for each stimulus.
    """
    found = {bound: decide(data, bound, layer, rule=rule) for bound in bounds}
    t = [1e3 * each.reaction_time_s.mean() for each in found.values()]
    ax, _ = trade_off(ax, "mean reaction time (ms)", t, found, labels, rule)
    ax.legend(fontsize="small")
    return ax
