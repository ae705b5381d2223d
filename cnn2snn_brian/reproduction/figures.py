"""The figures of the report."""

from typing import Any

import numpy as np

from cnn2snn_brian.files import written_whole
from cnn2snn_brian.plots import (
    plot_class_accuracies,
    plot_feature_maps,
    plot_threshold_sweep,
)
from cnn2snn_brian.projections import INPUT
from cnn2snn_brian.reproduction.searches import cnns, found_by
from cnn2snn_brian.reproduction.steps import Reproduction


def draw(work: Reproduction, numbers: dict[str, Any]) -> dict[str, str]:
    """Draw all figures."""
    import matplotlib as mpl

    folder = work.out / "reproduction"
    folder.mkdir(exist_ok=True)
    with mpl.rc_context({"font.size": 9}):
        figures = {
            "fig3": _fig3(numbers),
            "fig4": _fig4(work, numbers),
            "fig5": _fig5(numbers),
            "steps": _accuracy_against_steps(numbers),
        }
        for name, figure in figures.items():
            with written_whole(folder / f"{name}.png") as unfinished:
                figure.savefig(unfinished, dpi=110)
    return {name: f"{folder.name}/{name}.png" for name in figures}


def _figure(width: float, height: float) -> Any:
    """Make a figure that is on no screen: without pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _fig3(numbers: dict[str, Any]) -> Any:
    """Draw the output against the threshold of one layer."""
    figure = _figure(10, 6)
    axes = figure.subplots(2, 3, sharey="row")
    labels = {
        "right_spikes": "spikes of the right output",
        "spike_ratio": "their share in all output spikes",
    }
    for column, (layer, sweep) in zip(axes.T, numbers["sweeps"].items(), strict=True):
        for ax, (key, label) in zip(column, labels.items(), strict=True):
            x, y = sweep["thresholds"], sweep[key]
            plot_threshold_sweep(x, y, ax, log=True, objective=label)
            ax.axvline(sweep["chosen"], color="0.6", lw=1, ls="--", zorder=0)
        column[0].set_title(layer)
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    return figure


def _fig4(work: Reproduction, numbers: dict[str, Any]) -> Any:
    """Draw a test image that the adjusted CNN classifies correctly, in all layers."""
    n_steps = numbers["main"]
    truth = cnns(work)
    right = np.flatnonzero(np.array(truth["adjusted"]) == np.array(truth["labels"]))
    # Of a few images, none may be right: then it is the first one.
    image = work.test.images[[*right, 0][:1]]
    simulator = work.simulator("paper", n_steps)
    parameters = found_by(work, "searched", "paper", n_steps)["parameters"]
    result = simulator.run(image, seed=work.seed, progress=False, **parameters)
    pixels = image.astype(np.float32) / 255
    activations = {INPUT: pixels, **simulator.snn.layers.activations(pixels)}
    layers = list(result.spike_counts)
    figure = _figure(7, 3 * len(layers))
    axes = figure.subplots(len(layers), 2)
    for pair, layer in zip(axes, layers, strict=True):
        plot_feature_maps(result, activations, layer, 0, pair)
    return figure


def _fig5(numbers: dict[str, Any]) -> Any:
    """Draw the accuracy of each class before and after threshold setting."""
    figure = _figure(9, 4)
    systems = {
        "adjusted CNN": numbers["table2"]["adjusted"],
        "SNN, before": numbers["before"],
        "SNN, after": numbers["after"],
    }
    classes = [*numbers["classes"], "all"]
    plot_class_accuracies(systems, figure.subplots(), classes=classes)
    return figure


def _accuracy_against_steps(numbers: dict[str, Any]) -> Any:
    """Draw the accuracy of all three settings against the number of steps."""
    figure = _figure(6.5, 4)
    ax = figure.subplots()
    for label, rows in {
        "paper's setting, searched": numbers["over_time"],
        "few steps, calibrated": numbers["few_steps"],
        "few steps, from activations": numbers["few_steps_data"],
        "free floor, searched": [numbers["free_floor"]],
    }.items():
        n_steps = [row["n_steps"] for row in rows]
        percent = [100 * row["accuracy"] for row in rows]
        ax.plot(n_steps, percent, marker="o", ms=4, label=label)
    for key, label, style in (("cnn", "CNN", ":"), ("adjusted", "adjusted CNN", "--")):
        ax.axhline(100 * numbers[key], color="0.4", ls=style, lw=1, label=label)
    ax.set_xscale("log", base=2)
    shown = [*numbers["over_time"], *numbers["few_steps"]]
    ticks = sorted({row["n_steps"] for row in shown})
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="steps of 1 ms per image", ylabel="accuracy (%)")
    ax.legend(fontsize="small")
    return figure
