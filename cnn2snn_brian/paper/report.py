"""The report of a reproduction: numbers, figures, Markdown and HTML."""

import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.presets import PRESETS
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.layers.order import INPUT
from cnn2snn_brian.paper import numbers as paper
from cnn2snn_brian.paper.steps import LONG, LONG_FACTORS, PER_CLASS, SWEPT, Reproduction
from cnn2snn_brian.plots import (
    plot_class_accuracies,
    plot_feature_maps,
    plot_threshold_sweep,
)
from cnn2snn_brian.results.result import SimulationResult

__all__ = ["collect", "write_report"]

#: Resampled sets of test pictures for a confidence interval.
N_BOOTSTRAP = 2000
#: The paper's own methods, its figures and the free floor are shown at this number of
#: steps, or the next one below.
SHOWN = 100
#: Shares of the adjusted CNN's accuracy that a smallest number of steps is given for.
BARS = (0.99, 0.995)


class _Truth:
    """Right classes and the CNNs' answers for the test pictures, and what follows."""

    def __init__(self, work: Reproduction) -> None:
        found = work.cnns()
        self.classes = work.test.classes
        self.labels = np.array(found["labels"])
        self.cnn = np.array(found["cnn"]) == self.labels
        self.adjusted = np.array(found["adjusted"]) == self.labels
        self.adjusted_predictions = np.array(found["adjusted"])
        self.cnn_predictions = np.array(found["cnn"])

    def by_class(
        self, right: npt.NDArray[np.bool_], members: npt.NDArray[np.intp] | None = None
    ) -> list[float]:
        """Accuracy of every class, then of all, on all pictures or some of them."""
        labels = self.labels
        if members is not None:
            right, labels = right[members], labels[members]
        each = [float(right[labels == k].mean()) for k in range(len(self.classes))]
        return [*each, float(right.mean())]

    def scored(
        self, predictions: Iterable[int], members: Iterable[int]
    ) -> dict[str, Any]:
        """Accuracy, and its ratio to the CNNs' with a bootstrap interval."""
        chosen = np.array(list(members))
        right = np.array(list(predictions)) == self.labels[chosen]
        rng = np.random.default_rng(0)
        drawn = rng.integers(len(chosen), size=(N_BOOTSTRAP, len(chosen)))
        resampled = right[drawn].mean(1)
        found: dict[str, Any] = {"accuracy": float(right.mean())}
        for name, reference in (("adjusted", self.adjusted), ("cnn", self.cnn)):
            same = reference[chosen]
            ratios = resampled / same[drawn].mean(1)
            found[f"to_{name}"] = float(right.mean() / same.mean())
            found[f"to_{name}_interval"] = np.percentile(ratios, [2.5, 97.5]).tolist()
        return found


def _smallest(rows: list[dict[str, Any]], key: str, bar: float) -> int | None:
    """Fewest steps from which on all rows reach the bar."""
    reached = None
    for row in reversed(rows):
        if row[key] < bar:
            break
        reached = row["n_steps"]
    return reached


def collect(work: Reproduction) -> dict[str, Any]:
    """
    Do all steps that are missing, and put their numbers together.

    Parameters
    ----------
    work : Reproduction
        The experiments.

    Returns
    -------
    dict
        Every number of the report; what JSON can hold.
    """
    truth = _Truth(work)
    extent = work.extent
    layers = work.network("paper").layers
    names = layers.names

    def row(
        name: str,
        preset: str,
        n_steps: int,
        parameters: Any,
        most: int | None = None,
    ) -> dict[str, Any]:
        tested = work.tested(name, preset, n_steps, parameters, most)
        members = tested["members"]
        n_test = len(members)
        return {
            "n_steps": n_steps,
            "n_test": n_test,
            **truth.scored(tested["predictions"], members),
            "with_potential": truth.scored(tested["with_potential"], members),
            "ties": tested["ties"] / n_test,
            "silent": tested["silent"] / n_test,
            "output_spikes": tested["output_spikes"],
            "events": float(sum(tested["events"].values())),
            "seconds": tested["seconds"],
        }

    def searched(preset: str, n_steps: int) -> dict[str, Any]:
        found = work.searched(preset, n_steps)
        return {
            **row(f"searched-{preset}", preset, n_steps, found["parameters"]),
            "search": {
                key: found[key] for key in ("tuning", "held_out", "n_candidates")
            },
            "parameters": found["parameters"],
        }

    shown = max(n for n in extent.durations if n <= SHOWN)
    over_time = [searched("paper", n_steps) for n_steps in extent.durations]
    main = extent.durations[-1]
    few_steps = [searched("few-steps", n_steps) for n_steps in extent.few_steps]
    few_steps_data = [
        row("data-few-steps", "few-steps", n, None) for n in extent.few_steps
    ]
    free_floor = searched("free-floor", shown)
    free_floor_data = row("data-free-floor", "free-floor", shown, None)
    methods = {}
    for method in ("feedback", "bisection"):
        found = work.papers_method(method, shown)
        methods[method] = {
            # Nearly all neurons spike with these: slow, and few pictures tell enough.
            **row(method, "paper", shown, found["parameters"], most=1),
            **{
                k: found[k]
                for k in ("tuning", "held_out", "n_candidates", "parameters")
            },
        }
    data_based = row("data-paper", "paper", shown, None)
    data_based["thresholds"] = work.network("paper").thresholds
    snn = np.array(
        work.tested("searched-paper", "paper", main, over_time[-1]["parameters"])[
            "predictions"
        ]
    )
    before = work.tested("data-paper", "paper", shown, None)["predictions"]
    after = work.tested(
        "searched-paper",
        "paper",
        shown,
        work.searched("paper", shown)["parameters"],
    )["predictions"]
    right = snn == truth.labels
    rng = np.random.default_rng(work.seed)
    hundred = np.sort(
        np.concatenate(
            [
                rng.permutation(np.flatnonzero(truth.labels == label))[:PER_CLASS]
                for label in range(len(truth.classes))
            ]
        )
    )
    systems = {"cnn": truth.cnn, "adjusted": truth.adjusted, "snn": right}
    gains = np.subtract(
        truth.by_class(np.array(after) == truth.labels),
        truth.by_class(np.array(before) == truth.labels),
    )
    n_synapses = layers.n_synapses
    per_event = paper.ENERGY_PER_EVENT_J
    alike = {
        f"{a}_{b}": float((systems[a] == systems[b]).mean())
        for a, b in (("cnn", "adjusted"), ("adjusted", "snn"), ("cnn", "snn"))
    }
    return {
        "n_test": len(truth.labels),
        "seed": work.seed,
        "extent": asdict(extent),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("cnn2snn-brian", "brian2", "numpy", "torch")
        },
        "classes": list(truth.classes),
        "layers": list(names),
        "cnn": float(truth.cnn.mean()),
        "adjusted": float(truth.adjusted.mean()),
        "shown": shown,
        "main": main,
        "long": LONG,
        "long_factors": list(LONG_FACTORS),
        "over_time": over_time,
        "smallest": {
            **{
                f"adjusted {bar}": _smallest(over_time, "to_adjusted", bar)
                for bar in BARS
            },
            "cnn 0.9804": _smallest(over_time, "to_cnn", 0.9804),
        },
        "data_based": data_based,
        "methods": methods,
        "free_floor": free_floor,
        "free_floor_data": free_floor_data,
        "few_steps": few_steps,
        "few_steps_data": few_steps_data,
        "table2": {name: truth.by_class(each) for name, each in systems.items()},
        "table2_hundred": {
            name: truth.by_class(each, hundred) for name, each in systems.items()
        },
        "n_hundred": len(hundred) // len(truth.classes),
        "before": truth.by_class(np.array(before) == truth.labels),
        "after": truth.by_class(np.array(after) == truth.labels),
        "gains": gains.tolist(),
        "n_gain": int((gains[:-1] > 0).sum()),
        "sweeps": {layer: work.swept(layer, shown) for layer in SWEPT},
        "consistency": {
            "right": {name: int(each.sum()) for name, each in systems.items()},
            "wrong": {name: int((~each).sum()) for name, each in systems.items()},
            "alike": alike,
            "same_class": {
                "cnn_adjusted": float(
                    (truth.cnn_predictions == truth.adjusted_predictions).mean()
                ),
                "adjusted_snn": float((truth.adjusted_predictions == snn).mean()),
                "cnn_snn": float((truth.cnn_predictions == snn).mean()),
            },
        },
        "energy": {
            "n_synapses": int(n_synapses),
            "papers_formula": n_synapses * paper.PICTURES_PER_SECOND * per_event,
            "events": [
                {
                    "what": what,
                    "n_steps": each["n_steps"],
                    "events": each["events"],
                    "joule": each["events"] * per_event,
                    "watt": each["events"] * per_event * paper.PICTURES_PER_SECOND,
                }
                for what, each in (
                    *(("paper", each) for each in over_time),
                    ("free-floor", free_floor),
                    *(("few-steps", each) for each in few_steps),
                )
            ],
        },
    }


def _figures(work: Reproduction, numbers: dict[str, Any]) -> dict[str, str]:
    """Draw all figures; their names."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder = work.out / "reproduction"
    folder.mkdir(exist_ok=True)

    def saved(figure: Any, name: str) -> str:
        FigureCanvasAgg(figure)
        with written_whole(folder / f"{name}.png") as unfinished:
            figure.savefig(unfinished, dpi=110)
        return f"{folder.name}/{name}.png"

    names = {}
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(10, 6), layout="constrained")
        axes = figure.subplots(2, 3, sharey="row")
        for column, (layer, sweep) in enumerate(numbers["sweeps"].items()):
            for ax, key, label in (
                (axes[0, column], "right_spikes", "spikes of the right output"),
                (axes[1, column], "spike_ratio", "their share in all output spikes"),
            ):
                plot_threshold_sweep(
                    sweep["thresholds"], sweep[key], ax, log=True, objective=label
                )
                ax.axvline(sweep["chosen"], color="0.6", lw=1, ls="--", zorder=0)
                ax.set(title=layer if key == "right_spikes" else None)
                if column:
                    ax.set(ylabel=None)
        names["fig3"] = saved(figure, "fig3")

        figure = Figure(figsize=(9, 4), layout="constrained")
        ax = figure.subplots()
        plot_class_accuracies(
            {
                "adjusted CNN": numbers["table2"]["adjusted"],
                "SNN, before": numbers["before"],
                "SNN, after": numbers["after"],
            },
            ax,
            classes=[*numbers["classes"], "all"],
        )
        names["fig5"] = saved(figure, "fig5")

        figure = Figure(figsize=(6.5, 4), layout="constrained")
        _plot_accuracy_against_steps(figure.subplots(), numbers)
        names["steps"] = saved(figure, "steps")

        result, activations, shown = _feature_maps(work, numbers)
        figure = Figure(figsize=(7, 3 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), 2)
        for pair, layer in zip(axes, shown, strict=True):
            plot_feature_maps(result, activations, layer, 0, pair)
        names["fig4"] = saved(figure, "fig4")
    return names


def _plot_accuracy_against_steps(ax: Any, numbers: dict[str, Any]) -> None:
    for label, rows in (
        ("paper's setting", numbers["over_time"]),
        ("few steps", numbers["few_steps"]),
        ("free floor", [numbers["free_floor"]]),
    ):
        ax.plot(
            [row["n_steps"] for row in rows],
            [100 * row["accuracy"] for row in rows],
            marker="o",
            ms=4,
            label=f"{label}, searched",
        )
    for key, style in (("cnn", ":"), ("adjusted", "--")):
        label = "CNN" if key == "cnn" else "adjusted CNN"
        ax.axhline(100 * numbers[key], color="0.4", ls=style, lw=1, label=label)
    ax.set_xscale("log", base=2)
    ticks = sorted({row["n_steps"] for row in numbers["over_time"]} | {8, 16, 24})
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="steps of 1 ms a picture", ylabel="accuracy (%)")
    ax.legend(fontsize="small")


def _feature_maps(
    work: Reproduction, numbers: dict[str, Any]
) -> tuple[SimulationResult, dict[str, Any], list[str]]:
    """One test picture that CNN and SNN classify correctly, through all layers."""
    n_steps = numbers["main"]
    parameters = work.searched("paper", n_steps)["parameters"]
    truth = work.cnns()
    right = np.flatnonzero(np.array(truth["adjusted"]) == np.array(truth["labels"]))
    picture = work.test.images[right[:1]]
    simulator = work.simulator("paper", n_steps)
    result = simulator.run(picture, seed=work.seed, progress=False, **parameters)
    pixels = picture.astype(np.float32) / 255
    activations = {INPUT: pixels, **simulator.snn.layers.activations(pixels)}
    return result, activations, list(result.spike_counts)


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["percent"] = lambda x, digits=1: f"{100 * x:.{digits}f}"
    environment.filters["figures"] = lambda x, digits=3: f"{x:.{digits}g}"
    environment.filters["thousands"] = lambda x: f"{x:,.0f}"
    # A class of a few pictures may have none that the CNN classifies correctly.
    environment.filters["over"] = lambda x, y: f"{100 * x / y:.1f}" if y else "-"
    environment.filters["signed"] = lambda x: f"{100 * x:+.1f}"
    return environment


def write_report(work: Reproduction, numbers: dict[str, Any], command: str) -> None:
    """
    Write ``reproduction.json``, ``.md`` and ``.html``, and the figures.

    Parameters
    ----------
    work : Reproduction
        The experiments; the report goes to its folder.
    numbers : dict
        What `collect` found.
    command : str
        The command that was given, for the report.
    """
    from markdown_it import MarkdownIt

    templates = files("cnn2snn_brian.paper") / "templates"
    figures = _figures(work, numbers)
    template = _environment().from_string(
        (templates / "reproduction.md").read_text(encoding="utf-8")
    )
    text = template.render(
        **numbers, figures=figures, paper=vars(paper), command=command, presets=PRESETS
    )
    body = MarkdownIt().enable("table").render(text)
    page = (templates / "page.html").read_text(encoding="utf-8")
    html = page.replace("{{ body }}", body)
    for suffix, content in (
        ("json", json.dumps(numbers, indent=1)),
        ("md", text),
        ("html", html),
    ):
        with written_whole(work.out / f"reproduction.{suffix}") as unfinished:
            unfinished.write_text(content, encoding="utf-8")
