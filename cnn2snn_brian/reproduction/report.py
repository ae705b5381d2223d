"""The report of a reproduction, as Markdown, as HTML and as JSON."""

import re
from dataclasses import asdict
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from cnn2snn_brian.files import written_whole
from cnn2snn_brian.projections import Network
from cnn2snn_brian.reproduction.figures import draw
from cnn2snn_brian.reproduction.searches import (
    N_BOOTSTRAP,
    Truth,
    calibrated,
    cnns,
    papers_method,
    searched,
    simulated,
    swept,
)
from cnn2snn_brian.reproduction.steps import (
    LONG_FACTORS,
    PER_CLASS,
    SWEPT,
    VARIANTS,
    VARIANTS_EFFORT,
    Reproduction,
    to_json,
    versions,
)
from cnn2snn_brian.settings import PRESETS

#: Table I, thresholds by layer.
THRESHOLDS = {
    "conv1": 6.8,
    "pool1": 0.75,
    "conv2": 0.1,
    "pool2": 0.75,
    "conv3": 0.1,
    "ip1": 0.7,
    "ip2": 0.7,
}

#: Table II: CNN, adjusted CNN and C_SNN in percent, and C_SNN/CNN in percent.
ACCURACIES = {
    "airplane": (83.5, 82.3, 82.0, 98.2),
    "automobile": (85.8, 85.2, 84.7, 98.7),
    "bird": (71.7, 71.5, 70.6, 98.5),
    "cat": (67.5, 66.9, 65.8, 97.5),
    "deer": (84.2, 83.6, 82.8, 98.3),
    "dog": (73.2, 71.8, 71.5, 97.7),
    "frog": (77.1, 76.9, 75.4, 97.8),
    "horse": (79.5, 79.3, 78.9, 99.2),
    "ship": (86.7, 85.7, 84.9, 97.9),
    "truck": (94.7, 92.8, 91.5, 96.6),
    "average": (80.39, 79.6, 78.8, 98.04),
}

#: Eq. 9 and 10. The text prints mJ; only pJ gives its 3.9 mW.
SYNAPSES = 1.42e7
IMAGES_PER_SECOND = 742
ENERGY_PER_EVENT_J = 0.37e-12
POWER_W = 3.9e-3

#: All of them, for the report's template.
PAPER = {
    "ACCURACIES": ACCURACIES,
    "IMAGES_PER_SECOND": IMAGES_PER_SECOND,
    "POWER_W": POWER_W,
    "SYNAPSES": SYNAPSES,
    "THRESHOLDS": THRESHOLDS,
}


#: The paper's own methods, its figures and the free floor are shown at this number of
#: steps, or the next one below.
SHOWN = 100
#: Shares of the adjusted CNN's accuracy that a smallest number of steps is given for.
BARS = (0.99, 0.995)
#: What of a tuning is reported.
OF_A_TUNING = ("tuning", "held_out", "n_candidates")
#: And of a calibration.
OF_A_CALIBRATION = ("agreement_before", "agreement", "n_images")


class _Rows:
    """Rows of the tables: a setting, and how it does on the test images."""

    def __init__(self, work: Reproduction) -> None:
        self.work = work
        self.truth = Truth(cnns(work), work.test.classes)

    def _row(
        self,
        name: str,
        preset: str,
        n_steps: int,
        parameters: dict[str, Any] | None,
        most: int | None = None,
    ) -> dict[str, Any]:
        found = simulated(self.work, name, preset, n_steps, parameters, most)
        members = found["members"]
        n_test = len(members)
        return {
            "n_steps": n_steps,
            "n_test": n_test,
            **self.truth.scored(found["predictions"], members),
            "with_potential": self.truth.scored(found["with_potential"], members),
            "ties": found["ties"] / n_test,
            "silent": found["silent"] / n_test,
            "output_spikes": found["output_spikes"],
            "events": float(sum(found["events"].values())),
            "seconds": found["seconds"],
        }

    def data_based(self, preset: str, n_steps: int) -> dict[str, Any]:
        return self._row(f"data-{preset}", preset, n_steps, None)

    def searched(self, preset: str, n_steps: int) -> dict[str, Any]:
        found = searched(self.work, preset, n_steps)
        return {
            **self._row(f"searched-{preset}", preset, n_steps, found["parameters"]),
            "search": {key: found[key] for key in OF_A_TUNING},
            "parameters": found["parameters"],
        }

    def calibrated(self, n_steps: int) -> dict[str, Any]:
        found = calibrated(self.work, n_steps)
        return {
            **self._row("calibrated", "few-steps", n_steps, found["parameters"]),
            "calibration": {key: found[key] for key in OF_A_CALIBRATION},
        }

    def papers_method(
        self, method: Literal["feedback", "bisection"], n_steps: int
    ) -> dict[str, Any]:
        found = papers_method(self.work, method, n_steps)
        return {
            # Nearly all neurons spike with these: slow, and few images tell enough.
            **self._row(method, "paper", n_steps, found["parameters"], most=1),
            **{key: found[key] for key in (*OF_A_TUNING, "parameters")},
        }

    def predictions(self, kind: str, n_steps: int) -> Any:
        """Classes of all test images, "data" or "searched", the paper's setting."""
        parameters = None
        if kind == "searched":
            parameters = searched(self.work, "paper", n_steps)["parameters"]
        found = simulated(self.work, f"{kind}-paper", "paper", n_steps, parameters)
        return np.array(found["predictions"])


def collect(work: Reproduction) -> dict[str, Any]:
    """Do all steps that are missing, and put their numbers together."""
    rows, extent = _Rows(work), work.extent
    snn = work.network("paper")
    shown = max(n for n in extent.durations if n <= SHOWN)
    main = extent.durations[-1]
    over_time = [rows.searched("paper", n_steps) for n_steps in extent.durations]
    free_floor = rows.searched("free-floor", shown)
    few_steps = [rows.calibrated(n) for n in extent.few_steps]
    settings = [
        *(("paper", row) for row in over_time),
        ("free-floor", free_floor),
        *(("few-steps", row) for row in few_steps),
    ]
    return {
        **_about(work, rows.truth, snn.layers),
        "shown": shown,
        "main": main,
        "over_time": over_time,
        "smallest": _smallest_numbers(over_time),
        "data_based": {
            **rows.data_based("paper", shown),
            "thresholds": dict(snn.thresholds),
        },
        "methods": {
            "feedback": rows.papers_method("feedback", shown),
            "bisection": rows.papers_method("bisection", shown),
        },
        "free_floor": free_floor,
        "free_floor_data": rows.data_based("free-floor", shown),
        "few_steps": few_steps,
        "few_steps_data": [rows.data_based("few-steps", n) for n in extent.few_steps],
        "variants": _variants(rows, extent.variants),
        **_table2(rows, main),
        **_fig5(rows, shown),
        "sweeps": {layer: swept(work, layer, shown) for layer in SWEPT},
        "consistency": _consistency(rows, main),
        "energy": _energy(snn.layers, settings),
    }


def _variants(rows: _Rows, numbers: tuple[int, ...]) -> list[dict[str, Any]]:
    """Rows of the paper's setting in other forms."""
    return [
        {
            "variant": variant,
            "n_steps": n_steps,
            # Untuned, a variant that only tunes more is the paper's setting.
            "data": None
            if len(VARIANTS[variant].tune) > 1
            else rows.data_based(variant, n_steps),
            "searched": rows.searched(variant, n_steps),
        }
        for n_steps in numbers
        for variant in VARIANTS
    ]


def _about(work: Reproduction, truth: Truth, layers: Network) -> dict[str, Any]:
    """Say what was done, with what."""
    return {
        "n_test": len(truth.labels),
        "seed": work.seed,
        "extent": asdict(work.extent),
        "versions": versions(),
        "classes": list(truth.classes),
        "layers": list(layers.names),
        "cnn": float(truth.cnn.mean()),
        "adjusted": float(truth.adjusted.mean()),
        "long": work.extent.long,
        "long_factors": list(LONG_FACTORS),
    }


def _smallest_numbers(over_time: list[dict[str, Any]]) -> dict[str, int | None]:
    """Give the fewest steps from which on all rows reach a share of a CNN."""

    def smallest(key: str, bar: float) -> int | None:
        reached = None
        for row in reversed(over_time):
            if row[key] < bar:
                break
            reached = row["n_steps"]
        return reached

    return {
        **{f"adjusted {bar}": smallest("to_adjusted", bar) for bar in BARS},
        "cnn 0.9804": smallest("to_cnn", 0.9804),
    }


def _table2(rows: _Rows, n_steps: int) -> dict[str, Any]:
    """Table II: accuracies by class, also of as many images as the paper's."""
    truth = rows.truth
    systems = {
        "cnn": truth.cnn,
        "adjusted": truth.adjusted,
        "snn": rows.predictions("searched", n_steps) == truth.labels,
    }
    hundred = truth.drawn(PER_CLASS, rows.work.seed)
    return {
        "table2": {name: truth.by_class(each) for name, each in systems.items()},
        "table2_hundred": {
            name: truth.by_class(each, hundred) for name, each in systems.items()
        },
        "n_hundred": len(hundred) // len(truth.classes),
    }


def _fig5(rows: _Rows, n_steps: int) -> dict[str, Any]:
    """Fig. 5: accuracies by class before and after threshold setting."""
    truth = rows.truth
    before = truth.by_class(rows.predictions("data", n_steps) == truth.labels)
    after = truth.by_class(rows.predictions("searched", n_steps) == truth.labels)
    gains = np.subtract(after, before)
    return {
        "before": before,
        "after": after,
        "gains": gains.tolist(),
        "n_gain": int((gains[:-1] > 0).sum()),
    }


def _consistency(rows: _Rows, n_steps: int) -> dict[str, Any]:
    """RQ1: how often two of the CNN, the adjusted CNN and the SNN agree."""
    truth = rows.truth
    answers = {
        "cnn": truth.cnn_predictions,
        "adjusted": truth.adjusted_predictions,
        "snn": rows.predictions("searched", n_steps),
    }
    right = {name: each == truth.labels for name, each in answers.items()}
    pairs = (("cnn", "adjusted"), ("adjusted", "snn"), ("cnn", "snn"))
    return {
        "right": {name: int(each.sum()) for name, each in right.items()},
        "wrong": {name: int((~each).sum()) for name, each in right.items()},
        "alike": {f"{a}_{b}": float((right[a] == right[b]).mean()) for a, b in pairs},
        "same_class": {
            f"{a}_{b}": float((answers[a] == answers[b]).mean()) for a, b in pairs
        },
    }


def _energy(
    layers: Network, settings: list[tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    """Eq. 9 and 10: the paper's formula, and the events that were delivered."""
    per_event = ENERGY_PER_EVENT_J
    return {
        "n_synapses": int(layers.n_synapses),
        "papers_formula": layers.n_synapses * IMAGES_PER_SECOND * per_event,
        "events": [
            {
                "what": what,
                "n_steps": row["n_steps"],
                "events": row["events"],
                "joule": row["events"] * per_event,
                "watt": row["events"] * per_event * IMAGES_PER_SECOND,
            }
            for what, row in settings
        ],
    }


def _name(text: str) -> str:
    """Write a name in Markdown, where some characters mean something."""
    return re.sub(r"([\\`*_{}\[\]<>|&])", r"\\\1", text)


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Of HTML; the text is Markdown. `_name` does the same for that.
        autoescape=False,
    )
    environment.filters["name"] = _name
    environment.filters["percent"] = lambda x, digits=1: f"{100 * x:.{digits}f}"
    environment.filters["figures"] = lambda x, digits=3: f"{x:.{digits}g}"
    environment.filters["thousands"] = lambda x: f"{x:,.0f}"
    # A class of a few images may have none that the CNN classifies correctly.
    environment.filters["over"] = lambda x, y: f"{100 * x / y:.1f}" if y else "-"
    environment.filters["signed"] = lambda x: f"{100 * x:+.1f}"
    return environment


def _template(name: str) -> str:
    path = files("cnn2snn_brian.reproduction") / "templates" / name
    return path.read_text(encoding="utf-8")


def markdown(numbers: dict[str, Any], figures: dict[str, str], command: str) -> str:
    """Write the report as Markdown."""
    template = _environment().from_string(_template("reproduction.md"))
    text: str = template.render(
        **numbers,
        figures=figures,
        paper=PAPER,
        command=command,
        presets=PRESETS,
        n_bootstrap=N_BOOTSTRAP,
        forms=VARIANTS,
        variants_effort=VARIANTS_EFFORT,
    )
    return text


def html_page(text: str) -> str:
    """Make a page of the report."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _template("page.html").replace("{{ body }}", body)


def write_report(work: Reproduction, numbers: dict[str, Any], command: str) -> None:
    """Write ``reproduction.json``, ``.md`` and ``.html``, and the figures."""
    text = markdown(numbers, draw(work, numbers), command)
    for suffix, content in (
        ("json", to_json(numbers)),
        ("md", text),
        ("html", html_page(text)),
    ):
        with written_whole(work.out / f"reproduction.{suffix}") as unfinished:
            unfinished.write_text(content, encoding="utf-8")
