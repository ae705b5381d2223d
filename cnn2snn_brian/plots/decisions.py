"""Accuracy against the steps that images take, if they are decided early."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cnn2snn_brian.plots.style import GREY, colour, given_or_current
from cnn2snn_brian.results.result import SimulationResult

__all__ = ["plot_decisions"]


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
        `ax`, accuracy in percent. A number beside a point is its margin; the square is
        the whole duration.

    Raises
    ------
    InputError
        If a margin is below 1, or there is not one label for each image.
    """
    whole = 100 * result.accuracy(labels)
    chosen = [result.decide(margin) for margin in margins]
    steps = np.array([found.mean_steps for found in chosen])
    accuracy = np.array([100 * found.accuracy(labels) for found in chosen])
    ax = given_or_current(ax)
    used = colour(len(ax.get_lines()))
    ax.plot(steps, accuracy, "o-", color=used, label=label)
    ax.plot(result.n_steps, whole, "s", color=used, label="_whole duration")
    for found, x, y in zip(chosen, steps, accuracy, strict=True):
        ax.annotate(
            f"{found.margin}", (x, y), xytext=(4, -11), textcoords="offset points"
        )
    if reference is not None:
        ax.axhline(100 * reference, color=GREY, ls="--", lw=1, label="CNN")
    ax.set(xlabel="mean steps of an image", ylabel="accuracy (%)")
    if label is not None or reference is not None:
        ax.legend()
    return ax
