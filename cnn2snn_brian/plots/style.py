"""Colours and small parts that all plots share."""

from collections.abc import Sequence
from typing import Any

from cnn2snn_brian.errors import InputError

#: Okabe and Ito's colours, which colour-blind people tell apart, without the yellow
#: that vanishes on white: https://jfly.uni-koeln.de/color/
COLOURS = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # bluish green
    "#D55E00",  # vermilion
    "#CC79A7",  # reddish purple
    "#56B4E9",  # sky blue
    "#333333",
)
GREY = "#8C8C8C"
#: Colour map of counts and activations.
MAP = "viridis"


def colour(index: int) -> str:
    """
    Choose the colour of a channel, class or system.

    Parameters
    ----------
    index : int
        Its number; colours come again after the last one.

    Returns
    -------
    str
        The colour.
    """
    return COLOURS[index % len(COLOURS)]


def given_or_current(ax: Any) -> Any:
    """
    Give the axes to draw in.

    Parameters
    ----------
    ax : matplotlib Axes or None
        What the user gave.

    Returns
    -------
    matplotlib Axes
        `ax`, or pyplot's current axes. Only then is pyplot imported: it may open
        windows.
    """
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.gca()


def class_names(classes: Sequence[str] | None, n: int) -> list[str]:
    """
    Name the classes, by their numbers if they have no names.

    Parameters
    ----------
    classes : sequence of str or None
        Names.
    n : int
        Number of classes.

    Returns
    -------
    list of str
        The names.

    Raises
    ------
    InputError
        If there is not one name for each class.
    """
    if classes is None:
        return [str(index) for index in range(n)]
    if len(classes) != n:
        raise InputError(f"classes: {len(classes)} names for {n} classes")
    return [str(name) for name in classes]
