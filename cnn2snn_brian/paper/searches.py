"""The steps that set thresholds: searches, and the paper's own methods."""

from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.description.settings import recorded
from cnn2snn_brian.paper.extent import (
    CONTINUED,
    LONG_FACTORS,
    LONGER_FACTOR,
    N_CALIBRATION,
    SWEPT,
    VARIANTS,
    VARIANTS_EFFORT,
    setting_named,
)
from cnn2snn_brian.paper.steps import Reproduction
from cnn2snn_brian.program.simulator import Simulator
from cnn2snn_brian.tuning.calibration import calibrate
from cnn2snn_brian.tuning.objectives import OBJECTIVES, Target
from cnn2snn_brian.tuning.tune import tune_thresholds

__all__ = ["calibrated", "papers_method", "searched", "target_of"]


def target_of(simulator: Simulator, images: LabelledImages) -> Target:
    """
    Compute what an objective compares a simulation with.

    Parameters
    ----------
    simulator : Simulator
        The network.
    images : LabelledImages
        What it is shown.

    Returns
    -------
    Target
        The CNN's answers.
    """
    pixels = images.images.astype(np.float32) / 255
    return Target.of(simulator.snn.layers, pixels, images.labels)


def _tuned(
    work: Reproduction,
    name: str,
    simulator: Simulator,
    parts: tuple[LabelledImages, LabelledImages],
    **options: Any,
) -> dict[str, Any]:
    """Tune, with a checkpoint until the step is done; what the report needs of it."""
    images, unseen = parts
    result = tune_thresholds(
        simulator,
        images.images,
        images.labels,
        held_out=(unseen.images, unseen.labels),
        accept="always",  # the report is about what each method finds
        seed=work.seed,
        executor=work.executor,
        checkpoint=work.unfinished(name),
        progress=work.progress,
        **options,
    )
    history = result.history
    return {
        "parameters": recorded(result.parameters),
        "method": result.settings["method"],
        "objective": result.settings["objective"],
        "start": result.settings["start"],
        "n_candidates": len(history),
        "tuning": asdict(result.tuning),
        "held_out": asdict(result.held_out) if result.held_out else None,
        "values": [] if history.empty else history["value"].tolist(),
        "accuracies": [] if history.empty else history["accuracy"].tolist(),
    }


def searched(work: Reproduction, preset: str, n_steps: int) -> dict[str, Any]:
    """
    Search parameters of a preset for a number of steps.

    With the paper's setting, a search begins where that of fewer steps ended.

    Parameters
    ----------
    work : Reproduction
        The experiments.
    preset : str
        A key of `PRESETS` or `VARIANTS`.
    n_steps : int
        Steps of an image.

    Returns
    -------
    dict
        ``parameters``, and how they do on images of the tuning and on others.
    """
    extent = work.extent
    start = None
    shorter = [n for n in extent.durations if n < n_steps]
    if preset == "paper" and shorter:
        if n_steps >= extent.long:
            return _scaled(work, shorter[-1], n_steps)
        start = _longer(work, shorter[-1], n_steps, LONGER_FACTOR)
    elif preset in CONTINUED:
        start = searched(work, "paper", n_steps)["parameters"]["thresholds"]
    effort = VARIANTS_EFFORT if preset in VARIANTS else 1
    name = f"searched-{preset}-{n_steps}"

    def compute() -> dict[str, Any]:
        return _tuned(
            work,
            name,
            work.simulator(preset, n_steps),
            work.training(max(1, round(effort * extent.n_tuning)), extent.n_unseen),
            method="search",
            tune=setting_named(preset).tune,
            start=start,
            budget=round(effort * extent.budget(n_steps)),
        )

    return work.step(name, compute)


def calibrated(work: Reproduction, n_steps: int) -> dict[str, Any]:
    """
    Calibrate the preset "few-steps" for a number of steps.

    Parameters
    ----------
    work : Reproduction
        The experiments.
    n_steps : int
        Steps of an image.

    Returns
    -------
    dict
        ``parameters``, the share of images that are classified like by the CNN
        (``agreement``, and ``agreement_before``), and their number ``n_images``.
    """
    name = f"calibrated-{n_steps}"
    n_images = min(N_CALIBRATION, work.extent.n_tuning)

    def compute() -> dict[str, Any]:
        result = calibrate(
            work.simulator("few-steps", n_steps),
            work.training(n_images, 0)[0].images,
            seed=work.seed,
            executor=work.executor,
            checkpoint=work.unfinished(name),
            progress=work.progress,
        )
        return {
            "parameters": recorded(result.found),
            "agreement_before": result.agreement_before,
            "agreement": result.agreement,
            "n_images": result.n_images,
        }

    return work.step(name, compute)


def _longer(
    work: Reproduction, shorter: int, n_steps: int, factor: float
) -> dict[str, float]:
    """Thresholds of the paper's setting for fewer steps, made for more."""
    found = searched(work, "paper", shorter)["parameters"]["thresholds"]
    growth = factor ** np.log2(n_steps / shorter)
    scaled = {name: float(growth * found[name]) for name in SWEPT}
    return {**found, **scaled}


def _scaled(work: Reproduction, shorter: int, n_steps: int) -> dict[str, Any]:
    """Choose a factor for the thresholds of fewer steps, on training images."""
    name = f"searched-paper-{n_steps}"

    def compute() -> dict[str, Any]:
        parts = work.training(work.extent.n_tuning, work.extent.n_unseen)
        simulator = work.simulator("paper", n_steps)
        target = target_of(simulator, parts[0])
        candidates = [_longer(work, shorter, n_steps, f) for f in LONG_FACTORS]
        values = [0.0] * len(candidates)
        for index, result in simulator.run_many(
            parts[0].images,
            [{"thresholds": thresholds} for thresholds in candidates],
            seed=work.seed,
            executor=work.executor,
            progress=work.progress,
        ):
            values[index] = OBJECTIVES["likelihood"](result, target)
        best = candidates[int(np.argmax(values))]
        found = _tuned(
            work, name, simulator, parts, method="search", start=best, budget=1
        )
        factors = dict(zip(map(str, LONG_FACTORS), values, strict=True))
        return {**found, "factors": factors}

    return work.step(name, compute)


def papers_method(
    work: Reproduction, method: Literal["feedback", "bisection"], n_steps: int
) -> dict[str, Any]:
    """
    Set thresholds as the paper's listing or text does.

    Parameters
    ----------
    work : Reproduction
        The experiments.
    method : {"feedback", "bisection"}
        The listing, or the text.
    n_steps : int
        Steps of an image.

    Returns
    -------
    dict
        ``parameters``, and how they do on images of the tuning and on others.
    """
    extent = work.extent
    name = f"{method}-{n_steps}"

    def compute() -> dict[str, Any]:
        return _tuned(
            work,
            name,
            work.simulator("paper", n_steps),
            work.training(extent.n_listing, extent.n_unseen),
            method=method,
            budget=extent.listing_budget,
        )

    return work.step(name, compute)
