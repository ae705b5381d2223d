"""Colours and small parts that all plots share."""

from collections.abc import Mapping, Sequence
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
#: A line to compare with.
DASHED: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 1}
#: Colour map of counts and activations.
MAP = "viridis"


#: Names of classes; their numbers by default.
Names = Sequence[str] | None


def colour(index: int) -> str:
    """Choose the colour of a channel, class or system."""
    return COLOURS[index % len(COLOURS)]


def axes(ax: Any, **labels: Any) -> Any:
    """Give the axes to draw in, the current ones by default, with their labels."""
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    ax.set(**labels)
    return ax


def heat_map(ax: Any, values: Any, unit: str, **how: Any) -> None:
    """Draw a matrix as an image with a colour bar."""
    drawn = ax.imshow(values, **how)
    ax.figure.colorbar(drawn, ax=ax, shrink=0.85, label=unit)


def line_with_band(
    ax: Any, x: Any, y: Any, low: Any, high: Any, kind: str, label: str | None
) -> None:
    """Draw a line and an interval around it, in the next colour of its kind."""
    used = next_colour(ax, kind)
    ax.plot(x, y, "o-", ms=3, color=used, label=label, gid=kind)
    ax.fill_between(x, low, high, color=used, alpha=0.2, lw=0)


def error_bars(
    ax: Any, x: Any, y: Any, half: Any, index: int, label: str | None, ls: str = "-"
) -> None:
    """Draw points with bars that go as far up as down."""
    style = {"marker": "o", "ms": 3, "lw": 1.2, "capsize": 2, "ls": ls}
    ax.errorbar(x, y, yerr=half, color=colour(index), label=label, **style)


def cloud(ax: Any, x: Any, y: Any, index: int, **how: Any) -> None:
    """Draw points, which in a PDF are an image if there are many."""
    many = {"rasterized": len(x) > 5000}
    ax.scatter(x, y, lw=0, alpha=0.5, color=colour(index), **many, **how)


def next_colour(ax: Any, kind: str) -> str:
    """Choose the colour of one more line of a kind, which is its ``gid``."""
    return colour(sum(line.get_gid() == kind for line in ax.lines))


def trade_off(
    ax: Any, xlabel: str, time: Any, found: Mapping[int, Any], labels: Any, label: Any
) -> tuple[Any, str]:
    """Draw accuracy against time, a point for each bound; give axes and colour."""
    accuracy = [100 * each.accuracy(labels) for each in found.values()]
    ax = axes(ax, xlabel=xlabel, ylabel="accuracy (%)")
    used = colour(len(ax.get_lines()))
    ax.plot(time, accuracy, "o-", color=used, label=label)
    for bound, *point in zip(found, time, accuracy, strict=True):
        ax.annotate(f"{bound}", point, xytext=(4, -11), textcoords="offset points")
    return ax, used


def name_ticks(ax: Any, at: Any, names: list[str], turned: bool) -> None:
    """Write names under an axis, slanted if they are long."""
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(at, names, **(slanted if turned else {}))


def class_names(classes: Names, n: int) -> list[str]:
    """Name the classes, by their numbers if they have no names."""
    names = range(n) if classes is None else classes
    if len(names) != n:
        raise InputError(f"classes: {len(names)} names for {n} classes")
    return [str(name) for name in names]
