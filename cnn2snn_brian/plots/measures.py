"""Plots of measures: rates over time, tuning, receptive fields, decoding, choices."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_index, check_known, check_shape
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology import (
    Choices,
    Comparison,
    Decoding,
    Latency,
    Psth,
    Rdm,
    ReceptiveField,
    Tuning,
    counts,
    decide,
    fano_factor,
)
from cnn2snn_brian.plots import style

#: Which neurons or stimuli; all by default.
Numbers = Iterable[int] | None


def _chosen(what: str, given: Numbers, n: int) -> list[int]:
    """Check numbers of neurons or stimuli; all by default."""
    chosen = [*range(n)] if given is None else [int(index) for index in given]
    if not chosen or not all(0 <= index < n for index in chosen):
        raise InputError(f"{what} are {chosen}, expected some of 0 to {n - 1}")
    return chosen


def plot_psth(
    found: Psth, ax: Any = None, *, stimuli: Numbers = None, neurons: Numbers = None
) -> Any:
    """
    Draw firing rates over time.

    Parameters
    ----------
    found : Psth
        What `physiology.psth` found.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    stimuli : iterable of int, optional
        Stimuli to draw, a line each; all by default.
    neurons : iterable of int, optional
        Neurons to draw, a line for each and each stimulus, with a band of one standard
        error. Without them a line is the mean over all neurons, and has no band.

    Returns
    -------
    matplotlib Axes
        `ax`.

    Raises
    ------
    InputError
        If there is no such stimulus or neuron.
    """
    n_stimuli, n_neurons, _ = found.rate_hz.shape
    shown = _chosen("stimuli", stimuli, n_stimuli)
    lines: list[tuple[str, Any, Any]]
    if neurons is None:
        lines = [(f"stimulus {k}", found.rate_hz[k].mean(0), np.nan) for k in shown]
    else:
        lines = [
            (f"stimulus {k}, neuron {n}", found.rate_hz[k, n], found.sem_hz[k, n])
            for n in _chosen("neurons", neurons, n_neurons)
            for k in shown
        ]
    edges = 1e3 * found.edges_s
    limits = edges[0], edges[-1]
    ax = style.axes(ax, xlabel="time (ms)", ylabel="firing rate (Hz)", xlim=limits)
    for index, (name, rate, sem) in enumerate(lines):
        used = style.colour(index)
        ax.stairs(rate, edges, color=used, lw=1.4, label=name)
        if np.isfinite(sem).all():
            low, high = (np.append(v, v[-1]) for v in (rate - sem, rate + sem))
            ax.fill_between(edges, low, high, step="post", color=used, alpha=0.2, lw=0)
    ax.set_ylim(bottom=0)
    if 1 < len(lines) <= 12:
        ax.legend(fontsize="small")
    return ax


def plot_latency(latencies: Latency | Mapping[str, Latency], ax: Any = None) -> Any:
    """
    Draw the cumulative distribution of latencies.

    Parameters
    ----------
    latencies : Latency or dict of str to Latency
        What `physiology.latency` found; of several layers, by name.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.

    Returns
    -------
    matplotlib Axes
        `ax`. A line ends at the share of neurons and stimuli that have a latency.
    """
    by_name = latencies if isinstance(latencies, Mapping) else {"": latencies}
    ax = style.axes(ax, xlabel="latency (ms)", ylabel="share of neurons and stimuli")
    for index, (name, found) in enumerate(by_name.items()):
        known = np.sort(found.latency_s[np.isfinite(found.latency_s)])
        share = np.arange(len(known) + 1) / found.latency_s.size
        t = 1e3 * np.concatenate([[0], known])
        ax.step(t, share, where="post", color=style.colour(index), label=name)
    ax.set_ylim(0, 1.02)
    ax.set_xlim(left=0)
    if isinstance(latencies, Mapping):
        ax.legend(fontsize="small")
    return ax


def plot_tuning(found: Tuning, ax: Any = None, *, neurons: Iterable[int] = (0,)) -> Any:
    """
    Draw tuning curves.

    Parameters
    ----------
    found : Tuning
        What `physiology.tuning` found.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    neurons : iterable of int
        Neurons to draw.

    Returns
    -------
    matplotlib Axes
        `ax`. Bars are one standard error; a triangle on the axis is the preferred
        value.

    Raises
    ------
    InputError
        If there is no such neuron.
    """
    chosen = _chosen("neurons", neurons, found.mean.shape[1])
    kinds = {180: "orientation (degrees)", 360: "direction (degrees)"}
    kind = kinds.get(int(found.period or 0), "value of the stimulus")
    ax = style.axes(ax, xlabel=kind, ylabel="spikes")
    values, mean, sem = found.values, found.mean, np.nan_to_num(found.sem)
    if found.period is not None:  # the first angle comes again at the end
        values = np.append(values, values[0] + found.period)
        mean, sem = (np.concatenate([part, part[:1]]) for part in (mean, sem))
    for index, neuron in enumerate(chosen):
        curve = mean[:, neuron], sem[:, neuron]
        style.error_bars(ax, values, *curve, index, f"neuron {neuron}")
        at = {"transform": ax.get_xaxis_transform(), "label": "_preferred"}
        at |= {"color": style.colour(index), "marker": "v", "ms": 6}
        ax.plot(found.preferred[neuron], 0.02, **at)
    if found.period is not None:
        ax.set_xticks(np.arange(0, found.period + 1, found.period / 4))
    ax.set_ylim(bottom=0)
    ax.legend(fontsize="small")
    return ax


def plot_fano_factor(
    data: Any,
    layer: str | None = None,
    ax: Any = None,
    *,
    window: Any = None,
    label: str | None = None,
    n_steps: int | None = None,
) -> Any:
    """
    Draw the variance of counts against their mean.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons), with
        repeats.
    layer : str, optional
        Name of the layer of a result.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.
    label : str, optional
        Name in the legend.
    n_steps : int, optional
        Steps that were counted. Then there is a dotted line for neurons that spike with
        the same probability in each step, at most once, as Poisson input does.

    Returns
    -------
    matplotlib Axes
        `ax`, a point for each neuron and stimulus with spikes. On the dashed line the
        Fano factor is 1, as of a Poisson process.

    Raises
    ------
    InputError
        If there is only one repeat.
    """
    responses = counts(data, layer, window)
    factors = fano_factor(responses)
    known = np.isfinite(factors)
    mean, variance = responses.mean(1)[known], responses.var(1, ddof=1)[known]
    ax = style.axes(ax, xlabel="mean spikes", ylabel="variance of spikes")
    n_before = len(ax.collections)
    fano = factors[known].mean() if known.any() else np.nan
    name = f"{label or layer or 'neurons'}: mean Fano factor {fano:.2f}"
    style.cloud(ax, mean, variance, n_before, s=8, label=name)
    if not n_before:
        ax.axline((0, 0), slope=1, label="Fano factor 1", **style.DASHED)
    if n_steps is not None:
        x = np.linspace(0, n_steps, 101)
        name = f"one spike a step at most, {n_steps} steps"
        ax.plot(x, x * (1 - x / n_steps), color="black", ls=":", lw=1.4, label=name)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend(fontsize="small", loc="upper left")
    return ax


def plot_correlations(signal: Any, noise: Any, ax: Any = None) -> Any:
    """
    Draw the noise correlation of pairs of neurons against their signal correlation.

    Parameters
    ----------
    signal, noise : array_like of float, shape (n_neurons, n_neurons)
        What `signal_correlation` and `noise_correlation` found.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.

    Returns
    -------
    matplotlib Axes
        `ax`, a point for each pair, with the means in the title.

    Raises
    ------
    InputError
        If the matrices are not square and of one size.
    """
    signal, noise = np.asarray(signal, float), np.asarray(noise, float)
    check_shape("signal", signal, "n_neurons", "n_neurons")
    check_shape("noise", noise, *signal.shape)
    pairs = np.triu_indices(len(signal), 1)
    x, y = signal[pairs], noise[pairs]
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    means = f"means {x.mean():.2f} and {y.mean():.2f}" if len(x) else "none vary"
    ax = style.axes(ax, xlabel="signal correlation", ylabel="noise correlation")
    ax.set_title(f"{len(x):,} pairs: {means}")
    ax.axhline(0, color=style.GREY, lw=0.8)
    ax.axvline(0, color=style.GREY, lw=0.8)
    style.cloud(ax, x, y, 0, s=6)
    return ax


def plot_sparseness(
    by_name: Mapping[str, npt.NDArray[np.float64]], ax: Any = None, *, bins: int = 20
) -> Any:
    """
    Draw how sparseness is distributed.

    Parameters
    ----------
    by_name : dict of str to ndarray of float
        What `physiology.sparseness` found, such as one array for each layer.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    bins : int
        Number of bins from 0 to 1.

    Returns
    -------
    matplotlib Axes
        `ax`, an outline for each array, with its median in the legend.
    """
    ax = style.axes(ax, xlabel="sparseness", ylabel="share", xlim=(0, 1))
    look = {"bins": np.linspace(0, 1, bins + 1), "histtype": "step", "lw": 1.6}
    for index, (name, values) in enumerate(by_name.items()):
        known = np.asarray(values)[np.isfinite(values)]
        median = np.median(known) if len(known) else np.nan
        share = np.full(len(known), 1 / max(len(known), 1))
        label = f"{name}: median {median:.2f}"
        ax.hist(known, weights=share, color=style.colour(index), label=label, **look)
    ax.legend(fontsize="small")
    return ax


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
        If there is no such neuron, lag or channel, or stimuli were not images.
    """
    lag = field.lags[0] if lag is None else lag
    check_index("neuron", neuron, len(field.sta))
    check_known("lag", [str(lag)], map(str, field.lags))
    shape, at = field.sta.shape[2:], field.lags.index(lag)
    if len(shape) not in (2, 3):
        rule = "(height, width) or (channels, height, width)"
        raise InputError(f"stimuli: found the shape {shape}, expected {rule}")
    image = field.sta[neuron, at].reshape(-1, *shape[-2:])
    significant = field.significant[neuron, at].reshape(image.shape)
    if channel is None:
        image, significant = image.mean(0), significant.any(0)
    else:
        check_index("channel", channel, len(image))
        image, significant = image[channel], significant[channel]
    ax = style.axes(ax, xticks=[], yticks=[])
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
    ax = style.axes(ax, xlabel="stimulus", ylabel="stimulus")
    unit = f"dissimilarity ({found.metric})"
    style.heat_map(ax, found.values, unit, cmap=style.MAP, vmin=0)
    if labels is None:
        return ax
    classes = np.asarray(labels)
    check_shape("labels", classes, n)
    ends = np.flatnonzero(classes[1:] != classes[:-1]) + 0.5
    for end in ends:
        ax.axhline(end, color="white", lw=0.8)
        ax.axvline(end, color="white", lw=0.8)
    edges = np.concatenate([[-0.5], ends, [n - 0.5]])
    middle = (edges[1:] + edges[:-1]) / 2
    names = [str(classes[int(edge + 0.5)]) for edge in edges[:-1]]
    ax.set(xlabel="class", ylabel="class", xticks=middle, yticks=middle)
    ax.set(xticklabels=names, yticklabels=names)
    ax.tick_params(length=0)
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
    ax = style.axes(ax, ylabel=f"similarity of RDMs ({method})")
    if all(isinstance(name, int | float | np.number) for name in names):
        t = 1e3 * np.array(names, float)
        style.line_with_band(ax, t, value, low, high, "comparison", label)
        ax.set_xlabel("time (ms)")
    else:
        at, used = np.arange(len(names)), style.next_colour(ax, "comparison")
        ax.plot(at, value, "o", color=used, label=label, gid="comparison")
        ax.vlines(at, low, high, color=used)
        ax.set_xticks(at, [str(name) for name in names])
    ax.axhline(0, color=style.GREY, lw=0.8)
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
    ax = style.axes(ax, xlabel="time (ms)", ylabel="decoded correctly (%)")
    ax.set_ylim(0, 102)
    is_first = not any(line.get_gid() == "decoding" for line in ax.lines)
    accuracy = 100 * found.accuracy
    mean, low, high = accuracy.mean(1), accuracy.min(1), accuracy.max(1)
    style.line_with_band(ax, 1e3 * found.t_s, mean, low, high, "decoding", label)
    if is_first:
        ax.axhline(100 * found.chance, label="chance", **style.DASHED)
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
    ax = style.axes(ax, xlabel="reaction time (ms)", ylabel="trials", title=title)
    for name, which in groups.items():
        mean = f", mean {t[which].mean():.1f} ms" if which.any() else ""
        look = {"histtype": "stepfilled", "label": f"{name}: {which.sum()}{mean}"}
        used = style.colour(3 if name == "wrong" else 0)
        ax.hist(t[which], edges, alpha=0.6, color=used, **look)
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
        `ax`, accuracy in percent. A number next to a point is its bound. Undecided
        trials count with their whole duration, and the class with most spikes.

    Raises
    ------
    InputError
        If a bound is below 1, or there is not one label for each stimulus.
    """
    found = {bound: decide(data, bound, layer, rule=rule) for bound in bounds}
    t = [1e3 * each.reaction_time_s.mean() for each in found.values()]
    ax, _ = style.trade_off(ax, "mean reaction time (ms)", t, found, labels, rule)
    ax.legend(fontsize="small")
    return ax
