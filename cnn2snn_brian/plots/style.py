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
    """Choose the colour of a channel, class or system."""
    return COLOURS[index % len(COLOURS)]


def given_or_current(ax: Any) -> Any:
    """Give the axes to draw in."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.gca()


def class_names(classes: Sequence[str] | None, n: int) -> list[str]:
    """Name the classes, by their numbers if they have no names."""
    if classes is None:
        return [str(index) for index in range(n)]
    if len(classes) != n:
        raise InputError(f"classes: {len(classes)} names for {n} classes")
    return [str(name) for name in classes]
