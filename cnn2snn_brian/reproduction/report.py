"""The report of a reproduction, as Markdown, as HTML and as JSON."""

import json
import re
from dataclasses import asdict
from importlib.resources import files
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from cnn2snn_brian.files import written_whole
from cnn2snn_brian.projections import Network
from cnn2snn_brian.reproduction import searches, steps
from cnn2snn_brian.reproduction.figures import draw
from cnn2snn_brian.reproduction.steps import Reproduction, to_json
from cnn2snn_brian.settings import PRESETS


def _template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


#: The paper's own figures.
PAPER: dict[str, Any] = json.loads(_template("paper.json"))
#: Resampled sets of test images for a confidence interval.
N_BOOTSTRAP = 2000
#: The paper's own methods, its figures and the free floor are shown at this number of
#: steps, or the next one below.
SHOWN = 100
#: Shares of a CNN's accuracy that a smallest number of steps is given for.
BARS = (("adjusted", 0.99), ("adjusted", 0.995), ("cnn", 0.9804))
#: What of a tuning is reported.
OF_A_TUNING = ("tuning", "held_out", "n_candidates")
#: And of a calibration.
OF_A_CALIBRATION = ("agreement_before", "agreement", "n_images")


class Rows:
    """
    Rows of the tables: a setting, and how it does on the test images.

    Parameters
    ----------
    work : Reproduction
        The experiments.

    Attributes
    ----------
    labels : ndarray of int64, shape (n_images,)
        The right classes.
    answers : DataFrame
        The classes that the CNN and the adjusted CNN give, by image.
    right : DataFrame
        Whether these are right.
    """

    def __init__(self, work: Reproduction) -> None:
        self.work, self.classes = work, work.test.classes
        self.answers = pd.DataFrame(searches.cnns(work))
        self.labels = self.answers.pop("labels").to_numpy()
        self.right = self.is_right(self.answers)

    def is_right(self, answers: pd.DataFrame) -> pd.DataFrame:
        """Compare classes of all test images with the right ones."""
        return answers.eq(self.labels, axis=0)

    def _scored(self, answers: pd.Series) -> dict[str, Any]:
        """Compute the accuracy, and its ratio to the CNNs' with its interval."""
        right = (answers == self.labels[answers.index]).to_numpy()
        n = len(right)
        drawn = np.random.default_rng(0).integers(n, size=(N_BOOTSTRAP, n))
        resampled = right[drawn].mean(1)
        found: dict[str, Any] = {"accuracy": float(right.mean())}
        for name in ("adjusted", "cnn"):
            same = self.right[name].to_numpy()[answers.index]
            ratios = resampled / same[drawn].mean(1)
            found[f"to_{name}"] = float(right.mean() / same.mean())
            found[f"to_{name}_interval"] = np.percentile(ratios, [2.5, 97.5]).tolist()
        return found

    def row(self, kind: str, preset: str, n_steps: int) -> dict[str, Any]:
        """Set thresholds in a way that `searches.KINDS` has, and test them."""
        found, answers, sums = searches.tested(self.work, kind, preset, n_steps)
        tuning = {key: found[key] for key in OF_A_TUNING if key in found}
        # Of the paper's methods these stand in the row itself.
        reported = {"search": tuning} if kind == "searched" else tuning
        if kind == "calibrated":
            reported["calibration"] = {key: found[key] for key in OF_A_CALIBRATION}
        elif reported:
            reported["parameters"] = found["parameters"]
        return {
            "n_steps": n_steps,
            "n_test": len(answers),
            **self._scored(answers["predictions"]),
            "with_potential": self._scored(answers["with_potential"]),
            **sums,
            **reported,
        }

    def as_it_is(self) -> dict[str, Any]:
        """Test the CNN that is adjusted in its averages only, with ON and OFF cells."""
        right = np.equal(searches.average(self.work), self.labels)
        (preset,), durations = steps.AS_IT_IS, self.work.extent.few_steps
        rows = []
        for n_steps in durations:
            found = self.row("calibrated", preset, n_steps)
            data = self.row("data", preset, n_steps)
            ratio = found["accuracy"] / float(right.mean())
            rows.append({**found, "data": data, "to_itself": ratio})
        return {"cnn": float(right.mean()), "rows": rows}

    def predictions(self, kind: str, n_steps: int) -> pd.Series:
        """Classes of all test images, "data" or "searched", the paper's setting."""
        _, answers, _ = searches.tested(self.work, kind, "paper", n_steps)
        return answers["predictions"]

    def by_class(self, right: pd.DataFrame) -> dict[str, list[float]]:
        """Compute the accuracies of every class, then of all."""
        each = right.groupby(self.labels[right.index]).mean()
        each.loc["all"] = right.mean()
        return {str(name): each[name].tolist() for name in each}


def collect(work: Reproduction) -> dict[str, Any]:
    """Do all steps that are missing, and put their numbers together."""
    rows, extent = Rows(work), work.extent
    snn = work.network("paper")
    shown = max(n for n in extent.durations if n <= SHOWN)
    main = extent.durations[-1]
    over_time = [rows.row("searched", "paper", n_steps) for n_steps in extent.durations]
    free_floor = rows.row("searched", "free-floor", shown)
    few_steps = [rows.row("calibrated", "few-steps", n) for n in extent.few_steps]
    settings = [
        *(("paper", row) for row in over_time),
        ("free-floor", free_floor),
        *(("few-steps", row) for row in few_steps),
    ]
    return {
        "n_test": len(rows.labels),
        "seed": work.seed,
        "extent": asdict(extent),
        "versions": steps.versions(),
        "classes": list(rows.classes),
        "layers": list(snn.layers.names),
        **{str(name): float(rows.right[name].mean()) for name in rows.right},
        "long": extent.long,
        "long_factors": list(steps.LONG_FACTORS),
        "shown": shown,
        "main": main,
        "over_time": over_time,
        "smallest": {
            f"{cnn} {bar}": _smallest(over_time, f"to_{cnn}", bar) for cnn, bar in BARS
        },
        "data_based": {
            **rows.row("data", "paper", shown),
            "thresholds": dict(snn.thresholds),
        },
        "methods": {kind: rows.row(kind, "paper", shown) for kind in searches.METHODS},
        "free_floor": free_floor,
        "free_floor_data": rows.row("data", "free-floor", shown),
        "few_steps": few_steps,
        "few_steps_data": [rows.row("data", "few-steps", n) for n in extent.few_steps],
        "as_it_is": rows.as_it_is(),
        "variants": [
            {
                "variant": variant,
                "n_steps": n_steps,
                # Untuned, a variant that only tunes more is the paper's setting.
                "data": None
                if len(steps.VARIANTS[variant].tune) > 1
                else rows.row("data", variant, n_steps),
                "searched": rows.row("searched", variant, n_steps),
            }
            for n_steps in extent.variants
            for variant in steps.VARIANTS
        ],
        **_table2(rows, main),
        **_fig5(rows, shown),
        "sweeps": {layer: searches.swept(work, layer, shown) for layer in steps.SWEPT},
        "energy": _energy(snn.layers, settings),
    }


def _smallest(over_time: list[dict[str, Any]], key: str, bar: float) -> int | None:
    """Give the fewest steps from which on all rows reach a share of a CNN."""
    rows = takewhile(lambda row: not row[key] < bar, reversed(over_time))
    return min((row["n_steps"] for row in rows), default=None)


def _table2(rows: Rows, n_steps: int) -> dict[str, Any]:
    """Table II: accuracies by class, also of as many images as the paper's."""
    answers = rows.answers.assign(snn=rows.predictions("searched", n_steps))
    right = rows.is_right(answers)
    rng = np.random.default_rng(rows.work.seed)
    drawn = [
        rng.permutation(np.flatnonzero(rows.labels == label))[: steps.PER_CLASS]
        for label in range(len(rows.classes))
    ]
    pairs = (("cnn", "adjusted"), ("adjusted", "snn"), ("cnn", "snn"))
    return {
        "table2": rows.by_class(right),
        "table2_hundred": rows.by_class(right.loc[np.sort(np.concatenate(drawn))]),
        "n_hundred": sum(map(len, drawn)) // len(rows.classes),
        # RQ1: how often two of the CNN, the adjusted CNN and the SNN agree.
        "consistency": {
            "right": right.sum().to_dict(),
            "wrong": (~right).sum().to_dict(),
            "alike": {f"{a}_{b}": (right[a] == right[b]).mean() for a, b in pairs},
            "same_class": {
                f"{a}_{b}": (answers[a] == answers[b]).mean() for a, b in pairs
            },
        },
    }


def _fig5(rows: Rows, n_steps: int) -> dict[str, Any]:
    """Fig. 5: accuracies by class before and after threshold setting."""
    kinds = {"before": "data", "after": "searched"}
    answers = {key: rows.predictions(kind, n_steps) for key, kind in kinds.items()}
    found = rows.by_class(rows.is_right(pd.DataFrame(answers)))
    gains = np.subtract(found["after"], found["before"])
    n_gain = int((gains[:-1] > 0).sum())
    return {**found, "gains": gains.tolist(), "n_gain": n_gain}


def _energy(
    layers: Network, settings: list[tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    """Eq. 9 and 10: the paper's formula, and the events that were delivered."""
    per_event, per_second = PAPER["joule_per_event"], PAPER["images_per_second"]
    events = []
    for what, row in settings:
        joule = row["events"] * per_event
        found = {"what": what, "n_steps": row["n_steps"], "events": row["events"]}
        events.append({**found, "joule": joule, "watt": joule * per_second})
    return {
        "n_synapses": int(layers.n_synapses),
        "papers_formula": layers.n_synapses * per_second * per_event,
        "events": events,
    }


#: How the template writes numbers, and names, of which some characters mean something
#: in Markdown.
FILTERS = {
    "name": lambda text: re.sub(r"([\\`*_{}\[\]<>|&])", r"\\\1", text),
    "percent": lambda x, digits=1: f"{100 * x:.{digits}f}",
    "figures": lambda x, digits=3: f"{x:.{digits}g}",
    "thousands": lambda x: f"{x:,.0f}",
    # A class of a few images may have none that the CNN classifies correctly.
    "over": lambda x, y: f"{100 * x / y:.1f}" if y else "-",
    "signed": lambda x: f"{100 * x:+.1f}",
}


def markdown(numbers: dict[str, Any], figures: dict[str, str], command: str) -> str:
    """Write the report as Markdown."""
    from jinja2 import Environment, StrictUndefined

    # Not autoescape: it is for HTML. The text is Markdown, with the filter `name`.
    environment = Environment(undefined=StrictUndefined, autoescape=False)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(FILTERS)
    return environment.from_string(_template("reproduction.md")).render(
        **numbers,
        figures=figures,
        paper=PAPER,
        command=command,
        presets=PRESETS,
        n_bootstrap=N_BOOTSTRAP,
        forms=steps.VARIANTS,
        variants_effort=steps.VARIANTS_EFFORT,
    )


def html_page(text: str) -> str:
    """Make a page of the report."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _template("page.html").replace("{{ body }}", body)


def write_report(work: Reproduction, numbers: dict[str, Any], command: str) -> None:
    """Write ``reproduction.json``, ``.md`` and ``.html``, and the figures."""
    text = markdown(numbers, draw(work, numbers), command)
    contents = {"json": to_json(numbers), "md": text, "html": html_page(text)}
    for suffix, content in contents.items():
        with written_whole(work.out / f"reproduction.{suffix}") as unfinished:
            unfinished.write_text(content, encoding="utf-8")
