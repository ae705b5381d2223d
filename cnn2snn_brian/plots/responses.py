"""Responses of neurons: rates over time, latencies, tuning, variability, sparseness."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology import Latency, Psth, Tuning
from cnn2snn_brian.physiology.latencies import repeated_counts
from cnn2snn_brian.plots.style import GREY, axes, cloud, colour, error_bars


def _chosen(what: str, given: Iterable[int] | None, n: int) -> list[int]:
    """Check numbers of neurons or stimuli; all by default."""
    chosen = [*range(n)] if given is None else [int(index) for index in given]
    if not chosen or not all(0 <= index < n for index in chosen):
        raise InputError(f"{what} are {chosen}, expected some of 0 to {n - 1}")
    return chosen


def plot_psth(
    found: Psth,
    ax: Any = None,
    *,
    stimuli: Iterable[int] | None = None,
    neurons: Iterable[int] | None = None,
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
        means = found.rate_hz.mean(1)
        lines = [(f"stimulus {index}", means[index], np.nan) for index in shown]
    else:
        pairs = product(_chosen("neurons", neurons, n_neurons), shown)
        lines = [
            (f"stimulus {k}, neuron {n}", found.rate_hz[k, n], found.sem_hz[k, n])
            for n, k in pairs
        ]
    edges = 1e3 * found.edges_s
    limits = edges[0], edges[-1]
    ax = axes(ax, xlabel="time (ms)", ylabel="firing rate (Hz)", xlim=limits)
    for index, (name, rate, sem) in enumerate(lines):
        used = colour(index)
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
    ax = axes(ax, xlabel="latency (ms)", ylabel="share of neurons and stimuli")
    for index, (name, found) in enumerate(by_name.items()):
        known = np.sort(found.latency_s[np.isfinite(found.latency_s)])
        share = np.arange(len(known) + 1) / found.latency_s.size
        t = 1e3 * np.concatenate([[0], known])
        ax.step(t, share, where="post", color=colour(index), label=name)
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
    kind = kinds.get(found.period or 0, "value of the stimulus")
    ax = axes(ax, xlabel=kind, ylabel="spikes")
    values, mean, sem = found.values, found.mean, np.nan_to_num(found.sem)
    if found.period is not None:  # the first angle comes again at the end
        values = np.append(values, values[0] + found.period)
        mean, sem = (np.concatenate([part, part[:1]]) for part in (mean, sem))
    for index, neuron in enumerate(chosen):
        error_bars(
            ax, values, mean[:, neuron], sem[:, neuron], index, f"neuron {neuron}"
        )
        at = {"transform": ax.get_xaxis_transform(), "label": "_preferred"}
        ax.plot(found.preferred[neuron], 0.02, "v", ms=6, color=colour(index), **at)
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
    responses = repeated_counts(data, layer, window, "the Fano factor")
    mean, variance = responses.mean(1).ravel(), responses.var(1, ddof=1).ravel()
    mean, variance = mean[mean > 0], variance[mean > 0]
    ax = axes(ax, xlabel="mean spikes", ylabel="variance of spikes")
    n_before = len(ax.collections)
    fano = np.mean(variance / mean) if len(mean) else np.nan
    name = f"{label or layer or 'neurons'}: mean Fano factor {fano:.2f}"
    cloud(ax, mean, variance, n_before, s=8, label=name)
    if not n_before:
        ax.axline((0, 0), slope=1, color=GREY, ls="--", lw=1, label="Fano factor 1")
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
    if signal.shape != noise.shape or signal.shape != (len(signal),) * 2:
        raise InputError(f"matrices have the shapes {signal.shape} and {noise.shape}")
    pairs = np.triu_indices(len(signal), 1)
    x, y = signal[pairs], noise[pairs]
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    means = f"means {x.mean():.2f} and {y.mean():.2f}" if len(x) else "none vary"
    ax = axes(ax, xlabel="signal correlation", ylabel="noise correlation")
    ax.set_title(f"{len(x):,} pairs: {means}")
    ax.axhline(0, color=GREY, lw=0.8)
    ax.axvline(0, color=GREY, lw=0.8)
    cloud(ax, x, y, 0, s=6)
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
    ax = axes(ax, xlabel="sparseness", ylabel="share", xlim=(0, 1))
    style = {"bins": np.linspace(0, 1, bins + 1), "histtype": "step", "lw": 1.6}
    for index, (name, values) in enumerate(by_name.items()):
        known = np.asarray(values)[np.isfinite(values)]
        median = np.median(known) if len(known) else np.nan
        share = np.full(len(known), 1 / max(len(known), 1))
        label = f"{name}: median {median:.2f}"
        ax.hist(known, weights=share, color=colour(index), label=label, **style)
    ax.legend(fontsize="small")
    return ax
