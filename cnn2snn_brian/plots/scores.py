"""How well a network does: accuracy over time, thresholds, classes, confusions."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_shape, real_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.plots import style
from cnn2snn_brian.results import SimulationResult

#: With more classes, a confusion matrix has no numbers in its cells.
MAX_CELLS = 30


def plot_decisions(
    result: SimulationResult,
    labels: Any,
    ax: Any = None,
    *,
    margins: Iterable[int] = (1, 2, 3, 4, 6, 8),
    label: str | None = None,
    reference: float | None = None,
) -> Any:
    """
    Draw the accuracy of early decisions against the mean number of steps.

    Parameters
    ----------
    result : SimulationResult
        The result.
    labels : array_like of int, shape (n_images,)
        The right classes.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    margins : iterable of int
        Margins of output spikes, a point each; see `SimulationResult.decide`.
    label : str, optional
        Name of the line in the legend.
    reference : float, optional
        The CNN's accuracy, from 0 to 1, drawn as a dashed line.

    Returns
    -------
    matplotlib Axes
        `ax`, accuracy in percent. A number next to a point is its margin; the square is
        the whole duration.

    Raises
    ------
    InputError
        If a margin is below 1, or there is not one label for each image.
    """
    whole = 100 * result.accuracy(labels)
    found = {margin: result.decide(margin) for margin in margins}
    steps = [each.mean_steps for each in found.values()]
    what = "mean steps of an image"
    ax, used = style.trade_off(ax, what, steps, found, labels, label)
    ax.plot(result.n_steps, whole, "s", color=used, label="_whole duration")
    if reference is not None:
        ax.axhline(100 * reference, label="CNN", **style.DASHED)
    if label is not None or reference is not None:
        ax.legend()
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
    from cnn2snn_brian.sweeps import MEASURED, summary

    missing = [name for name in (x, y, hue) if name not in (None, *frame.columns)]
    if missing:
        raise InputError(
            f"{missing[0]!r}: the table has {', '.join(map(str, frame.columns))}"
        )
    ax = style.axes(ax, xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
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
        line = line.sort_values(x) if is_number else line
        at = line[x].to_numpy(float) if is_number else [places[str(v)] for v in line[x]]
        # One seed has no interval, which would be drawn as nothing at all.
        half = (line["mean"] - line["low"]).fillna(0.0)
        label, ls = None if value is None else f"{value}", "-" if is_number else "none"
        style.error_bars(ax, at, line["mean"], half, index, label, ls)
    if not is_number:
        ax.set_xticks(list(places.values()), list(places))
    if hue is not None:
        ax.legend(title=hue.replace("_", " "), fontsize="small")
    return ax


def plot_accuracy_over_time(
    result: SimulationResult,
    labels: Any,
    ax: Any = None,
    *,
    label: str | None = None,
    reference: float | None = None,
) -> Any:
    """
    Draw the accuracy had the simulation ended earlier.

    Parameters
    ----------
    result : SimulationResult
        The result.
    labels : array_like of int, shape (n_images,)
        The right classes.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default. Draw several results into one to
        compare them.
    label : str, optional
        Name of the line in the legend.
    reference : float, optional
        The CNN's accuracy, from 0 to 1, drawn as a dashed line.

    Returns
    -------
    matplotlib Axes
        `ax`, accuracy in percent.

    Raises
    ------
    InputError
        If there is not one label for each image.
    """
    accuracy = 100 * result.accuracy_over_time(labels)
    ax = style.axes(ax, xlabel="time (ms)", ylabel="accuracy (%)", ylim=(0, 102))
    is_first = not any(line.get_gid() == "accuracy" for line in ax.lines)
    t = 1e3 * result.dt_s * np.arange(1, result.n_steps + 1)
    look = {"color": style.next_colour(ax, "accuracy"), "gid": "accuracy", "lw": 1.8}
    ax.plot(t, accuracy, label=label or "SNN", **look)
    if reference is not None:
        name = f"CNN: {100 * reference:.1f} %"
        ax.axhline(100 * reference, color="black", ls="--", lw=1, label=name)
    ax.set_xlim(0, max(1e3 * result.duration_s, 0 if is_first else ax.get_xlim()[1]))
    if label is not None or reference is not None:
        ax.legend(loc="lower right", fontsize="small")
    return ax


def _by_name(what: str, value: Any) -> dict[str, Any]:
    """One series a name; a plain series has no name."""
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    if value is None:
        raise InputError(f"{what} is missing")
    return {"": value}


def plot_threshold_sweep(
    thresholds: Any,
    values: Any,
    ax: Any = None,
    best: float | Mapping[str, float] | None = None,
    *,
    log: bool = False,
    errors: Any = None,
    objective: str = "objective",
) -> Any:
    """
    Draw an objective against the threshold it was reached with.

    Parameters
    ----------
    thresholds : array_like of float, shape (n,), or dict of str to array_like
        The thresholds that were tried, in any order; a dict has those of several
        layers.
    values : array_like of float, shape (n,), or dict of str to array_like
        What was reached: accuracy, agreement with the CNN, or something else. NaN is a
        gap.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    best : float or dict of str to float, optional
        The chosen threshold, marked by a dot and a line down to the axis.
    log : bool
        Whether thresholds are on a logarithmic scale.
    errors : array_like of float, shape (n,), or dict of str to array_like, optional
        Half the height of the band around `values`, for example a standard error.
    objective : str
        Name of the vertical axis, with its unit.

    Returns
    -------
    matplotlib Axes
        `ax`.

    Raises
    ------
    InputError
        If thresholds, values, errors and best don't belong to the same layers, or are
        of different lengths, or a threshold is not above 0.
    """
    tried, reached = _by_name("thresholds", thresholds), _by_name("values", values)
    chosen = {} if best is None else _by_name("best", best)
    bands = {} if errors is None else _by_name("errors", errors)
    if set(tried) != set(reached) or not set(tried) >= set(chosen) | set(bands):
        raise InputError(
            f"thresholds of {list(tried)}, values of {list(reached)}, best of "
            f"{list(chosen)}, errors of {list(bands)}: expected the same layers"
        )
    ax = style.axes(ax, xlabel="threshold", ylabel=objective)
    for index, name in enumerate(tried):
        used = style.colour(index)
        x, y = np.asarray(tried[name], float), np.asarray(reached[name], float)
        half = np.asarray(bands.get(name, np.zeros(x.size)), float)
        for what, array in (("thresholds", x), ("values", y), ("errors", half)):
            check_shape(f"{name} {what}".strip(), array, x.size)
        if not (x > 0).all():
            raise InputError(f"{name} thresholds: found {x.min():g}, expected above 0")
        order = np.argsort(x, kind="stable")
        x, y, half = x[order], y[order], half[order]
        ax.plot(x, y, "o-", ms=3.5, lw=1.5, color=used, label=name or None)
        if name in bands:
            ax.fill_between(x, y - half, y + half, color=used, alpha=0.2, lw=0)
        if name in chosen:
            at = float(chosen[name])
            # On the line, which is straight in the axis' own scale.
            known, scale = np.isfinite(y), np.log if log else np.asarray
            height = np.nan
            if known.any():
                height = np.interp(scale(at), scale(x[known]), y[known])
            ax.axvline(at, color=used, ls=":", lw=1.2)
            ring = {"ms": 9, "mfc": "none", "mew": 2, "label": f"best: {at:.4g}"}
            ax.plot([at], [height], "o", color=used, **ring)
    if log:
        ax.set_xscale("log")
    ax.grid(axis="y", color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    if chosen or set(tried) != {""}:
        ax.legend(fontsize="small")
    return ax


def plot_confusion(matrix: Any, ax: Any = None, *, classes: style.Names = None) -> Any:
    """
    Draw a confusion matrix.

    Parameters
    ----------
    matrix : array_like of int, shape (n_classes, n_classes)
        Numbers of images: rows are the true classes, columns the answers, as
        ``sklearn.metrics.confusion_matrix(labels, result.predictions)`` gives them.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    classes : sequence of str, optional
        Names of the classes.

    Returns
    -------
    matplotlib Axes
        `ax`. Numbers are counts; the colour is the share of the row, so that classes
        with few images look like those with many.

    Raises
    ------
    InputError
        If the matrix is not square, has negative numbers, or there is not one name for
        each class.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    counts = np.asarray(matrix)
    real_numbers("matrix", counts, least=0)
    check_shape("matrix", counts, "n_classes", "n_classes")
    n = len(counts)
    names = style.class_names(classes, n)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    correct = np.trace(counts) / max(counts.sum(), 1)
    title = f"{correct:.1%} of {counts.sum():,} correct"
    ax = style.axes(ax)
    size = min(10.0, 110 / n, 342 / max(len(str(counts.max())), 1) / n + 3)
    shown = ConfusionMatrixDisplay(share, display_labels=names).plot(
        include_values=n <= MAX_CELLS,
        cmap="cividis",
        ax=ax,
        colorbar=False,
        im_kw={"vmin": 0, "vmax": 100},
        text_kw={"fontsize": size},
    )
    if n <= MAX_CELLS:
        for text, count in zip(shown.text_.ravel(), counts.ravel(), strict=True):
            text.set_text(f"{count}")
    every = -(-n // MAX_CELLS)
    ticks, names = np.arange(0, n, every), names[::every]
    style.name_ticks(ax, ticks, names, max(map(len, names)) > 2)
    ax.set_yticks(ticks, names)
    unit = "share of the true class (%)"
    ax.figure.colorbar(shown.im_, ax=ax, shrink=0.85, label=unit)
    ax.set(xlabel="answer", ylabel="true class", title=title)
    return ax


def plot_class_accuracies(
    accuracies: Mapping[str, npt.ArrayLike],
    ax: Any = None,
    *,
    classes: style.Names = None,
) -> Any:
    """
    Draw the accuracy of each class for several systems, as groups of bars.

    Parameters
    ----------
    accuracies : dict of str to array_like of float, shape (n_classes,)
        Accuracies from 0 to 1 by the system's name, for example ``{"CNN": ..., "SNN":
        ...}``. NaN (a class without images) has no bar.
    ax : matplotlib Axes, optional
        Where to draw; the current one by default.
    classes : sequence of str, optional
        Names of the classes.

    Returns
    -------
    matplotlib Axes
        `ax`, accuracy in percent.

    Raises
    ------
    InputError
        If there is no system, they have different numbers of classes, or a number is
        outside 0 to 1.
    """
    rows = {name: np.asarray(value, float) for name, value in accuracies.items()}
    if not rows:
        raise InputError("accuracies is empty, expected {name: accuracies of classes}")
    n = next(iter(rows.values())).size
    for name, row in rows.items():
        check_shape(f"accuracies of {name!r}", row, n)
        if ((row < 0) | (row > 1)).any():
            raise InputError(f"accuracies of {name!r} have a number outside 0 to 1")
    names = style.class_names(classes, n)
    limits = {"ylim": (0, 100), "xlim": (-0.6, n - 0.4)}
    ax = style.axes(ax, ylabel="accuracy (%)", **limits)
    width = 0.82 / len(rows)
    middle = np.arange(n)
    for index, (name, row) in enumerate(rows.items()):
        at = middle + (index - (len(rows) - 1) / 2) * width
        label = f"{name} (mean {100 * np.nanmean(row):.1f} %)"
        hatch = None if index < len(style.COLOURS) else "//"
        look = {"color": style.colour(index), "edgecolor": "white", "lw": 0.4}
        ax.bar(at, 100 * row, width, hatch=hatch, label=label, **look)
    style.name_ticks(ax, middle, names, n * max(map(len, names)) > 70)
    ax.grid(axis="y", color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    # Above the bars: inside, it would hide some.
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "frameon": False}
    ax.legend(ncols=min(len(rows), 2), fontsize="small", **above)
    return ax
