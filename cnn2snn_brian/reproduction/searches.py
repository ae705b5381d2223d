"""The steps that set thresholds, and test them: searches, and the paper's methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from cnn2snn_brian import models
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.reproduction import steps
from cnn2snn_brian.reproduction.steps import Reproduction
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import recorded
from cnn2snn_brian.train import classify
from cnn2snn_brian.tuning import OBJECTIVES, Target, calibrate, tune_thresholds


def cnns(work: Reproduction) -> dict[str, Any]:
    """Classify the test images with the CNN and with the adjusted CNN."""

    def compute() -> dict[str, Any]:
        answers = {
            key: classify(models.pretrained(name)[0], work.test.images).tolist()
            for key, name in steps.CNNS.items()
        }
        return {"labels": work.test.labels.tolist(), **answers}

    return work.step("cnns", compute)


def average(work: Reproduction) -> list[int]:
    """Classify the test images with the CNN that is adjusted in its averages only."""

    def compute() -> dict[str, Any]:
        cnn, _ = models.pretrained(steps.AVERAGE)
        return {"classes": classify(cnn, work.test.images).tolist()}

    return list(work.step("cnn-average", compute)["classes"])


def found_by(
    work: Reproduction, kind: str, preset: str, n_steps: int
) -> dict[str, Any]:
    """Find parameters for a setting and a number of steps, in a way of `KINDS`."""
    if kind == "data":
        return {"parameters": {}}  # those from the CNN's activations
    name = f"{kind}-{preset}-{n_steps}"
    return work.step(name, lambda: KINDS[kind](work, name, preset, n_steps))


def thresholds_of(work: Reproduction, n_steps: int) -> dict[str, float]:
    """Give the thresholds that the search found for the paper's setting."""
    found = found_by(work, "searched", "paper", n_steps)
    return dict(found["parameters"]["thresholds"])


def _tuned(
    work: Reproduction,
    name: str,
    preset: str,
    n_steps: int,
    n_images: int,
    **options: Any,
) -> dict[str, Any]:
    """Tune, with a checkpoint until the step is done; what the report needs of it."""
    images, unseen = work.training(n_images, work.extent.n_unseen)
    result = tune_thresholds(
        work.simulator(preset, n_steps),
        images.images,
        images.labels,
        held_out=(unseen.images, unseen.labels),
        accept="always",  # the report is about what each method finds
        checkpoint=work.unfinished(name),
        **work.options,
        **options,
    )
    history = result.history
    return {
        "parameters": recorded(result.parameters),
        **{key: result.settings[key] for key in ("method", "objective", "start")},
        "n_candidates": len(history),
        "tuning": asdict(result.tuning),
        "held_out": asdict(result.held_out) if result.held_out else None,
        "values": [] if history.empty else history["value"].tolist(),
        "accuracies": [] if history.empty else history["accuracy"].tolist(),
    }


def _searched(
    work: Reproduction, name: str, preset: str, n_steps: int
) -> dict[str, Any]:
    """Search parameters of a preset for a number of steps."""
    extent = work.extent
    shorter = [n for n in extent.durations if n < n_steps]
    start = None
    if preset == "paper" and shorter:
        if n_steps >= extent.long:
            return _scaled(work, name, shorter[-1], n_steps)
        start = _longer(work, shorter[-1], n_steps, steps.LONGER_FACTOR)
    elif preset in steps.CONTINUED:
        start = thresholds_of(work, n_steps)
    effort = steps.VARIANTS_EFFORT if preset in steps.VARIANTS else 1
    return _tuned(
        work,
        name,
        preset,
        n_steps,
        max(1, round(effort * extent.n_tuning)),
        method="search",
        tune=steps.SETTINGS[preset].tune,
        start=start,
        budget=round(effort * extent.budget(n_steps)),
    )


def _longer(
    work: Reproduction, shorter: int, n_steps: int, factor: float
) -> dict[str, float]:
    """Thresholds of the paper's setting for fewer steps, made for more."""
    found = thresholds_of(work, shorter)
    growth = factor ** np.log2(n_steps / shorter)
    return {**found, **{name: float(growth * found[name]) for name in steps.SWEPT}}


def _scaled(
    work: Reproduction, name: str, shorter: int, n_steps: int
) -> dict[str, Any]:
    """Choose a factor for the thresholds of fewer steps, on training images."""
    n = work.extent.n_tuning
    candidates = [_longer(work, shorter, n_steps, f) for f in steps.LONG_FACTORS]
    settings = [{"thresholds": thresholds} for thresholds in candidates]
    judges = {"likelihood": OBJECTIVES["likelihood"]}
    values = _judged(work, n_steps, work.training(n, 0)[0], settings, judges)
    best = candidates[int(np.argmax(values["likelihood"]))]
    options = {"method": "search", "start": best, "budget": 1}
    found = _tuned(work, name, "paper", n_steps, n, **options)
    factors = zip(map(str, steps.LONG_FACTORS), values["likelihood"], strict=True)
    return {**found, "factors": dict(factors)}


def _calibrated(
    work: Reproduction, name: str, preset: str, n_steps: int
) -> dict[str, Any]:
    """Calibrate a preset for a number of steps."""
    images, _ = work.training(min(steps.N_CALIBRATION, work.extent.n_tuning), 0)
    result = calibrate(
        work.simulator(preset, n_steps),
        images.images,
        checkpoint=work.unfinished(name),
        **work.options,
    )
    return {
        "parameters": recorded(result.found),
        "agreement_before": result.agreement_before,
        "agreement": result.agreement,
        "n_images": result.n_images,
    }


def _papers_method(
    work: Reproduction, name: str, preset: str, n_steps: int, method: str
) -> dict[str, Any]:
    """Set thresholds as the paper's listing or text does."""
    options = {"method": method, "budget": work.extent.listing_budget}
    return _tuned(work, name, preset, n_steps, work.extent.n_listing, **options)


#: The paper's own methods.
METHODS = ("feedback", "bisection")
#: What finds parameters: steps.
KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "searched": _searched,
    "calibrated": _calibrated,
    **{method: partial(_papers_method, method=method) for method in METHODS},
}


def _judged(
    work: Reproduction,
    n_steps: int,
    images: LabelledImages,
    settings: Sequence[dict[str, Any]],
    judges: Mapping[str, Callable[[SimulationResult, Target], float]],
) -> dict[str, list[float]]:
    """Run the paper's setting with several parameters, and judge each result."""
    simulator = work.simulator("paper", n_steps)
    pixels = images.images.astype(np.float32) / 255
    target = Target.of(simulator.snn.layers, pixels, images.labels)
    found = {name: [0.0] * len(settings) for name in judges}
    for index, result in simulator.run_many(images.images, settings, **work.options):
        for name, judge in judges.items():
            found[name][index] = judge(result, target)
    return found


def tested(
    work: Reproduction, kind: str, preset: str, n_steps: int
) -> tuple[dict[str, Any], pd.DataFrame, dict[Any, float]]:
    """
    Show test images to a network, classes in turn.

    It gives what the search found, the answers by image, and sums over all images.
    """
    found = found_by(work, kind, preset, n_steps)
    n_chunks = -(-len(work.test) // steps.CHUNK)
    # Nearly all neurons spike with the paper's: slow, and few images tell enough.
    numbers = range(1 if kind in METHODS else n_chunks)

    def compute(number: int) -> dict[str, Any]:
        members = np.arange(number, len(work.test), n_chunks)
        result = work.simulator(preset, n_steps).run(
            work.test.images[members],
            **{**work.options, "seed": work.seed + number},
            **found["parameters"],
        )
        return {
            "members": members.tolist(),
            "predictions": result.predictions.tolist(),
            "with_potential": result.predict("spikes+potential").tolist(),
            "ties": int(result.ties.sum()),
            "silent": int(result.silent.sum()),
            "output_spikes": int(result.output_counts().sum()),
            "events": {layer: int(each.sum()) for layer, each in result.events.items()},
            "seconds": result.timings["run"],
        }

    name = f"tested-{kind}-{preset}-{n_steps}"
    chunks = [work.step(f"{name}-{k}", partial(compute, k)) for k in numbers]
    table, columns = pd.DataFrame(chunks), ["members", "predictions", "with_potential"]
    of_images = table[columns].explode(columns).astype(np.int64)
    answers = of_images.set_index("members").sort_index()
    sums = table[["ties", "silent", "output_spikes"]].sum() / len(answers)
    events = pd.DataFrame(table["events"].tolist()).sum() / len(answers)
    sums["events"], sums["seconds"] = sum(events), table["seconds"].sum()
    return found, answers, sums.to_dict()


def _right_spikes(result: SimulationResult, target: Target) -> float:
    counts = result.output_counts()
    return float(counts[np.arange(len(counts)), target.labels].mean())


def swept(work: Reproduction, layer: str, n_steps: int) -> dict[str, Any]:
    """Sweep the threshold of one layer, the others as searched (Fig. 3)."""
    chosen = found_by(work, "searched", "paper", n_steps)["parameters"]
    thresholds = chosen["thresholds"][layer] * steps.SWEEP_FACTORS
    others = chosen["thresholds"]
    tried = [{**others, layer: float(value)} for value in thresholds]
    settings = [{**chosen, "thresholds": each} for each in tried]
    known = {key: OBJECTIVES[key] for key in ("spike_ratio", "accuracy")}
    judges = {"right_spikes": _right_spikes, **known}

    def compute() -> dict[str, Any]:
        images, _ = work.training(work.extent.n_sweep, 0)
        return {
            "thresholds": thresholds.tolist(),
            "chosen": chosen["thresholds"][layer],
            "n_images": len(images),
            **_judged(work, n_steps, images, settings, judges),
        }

    return work.step(f"swept-{layer}-{n_steps}", compute)
