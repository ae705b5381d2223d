"""The steps that set thresholds: searches, and the paper's own methods."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian import models
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.reproduction.steps import (
    CHUNK,
    CNNS,
    CONTINUED,
    LONG_FACTORS,
    LONGER_FACTOR,
    N_CALIBRATION,
    SWEEP_FACTORS,
    SWEPT,
    VARIANTS,
    VARIANTS_EFFORT,
    Reproduction,
    setting_named,
)
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import recorded
from cnn2snn_brian.simulator import Simulator
from cnn2snn_brian.train import classify
from cnn2snn_brian.tuning import OBJECTIVES, Target, calibrate, tune_thresholds

#: Resampled sets of test images for a confidence interval.
N_BOOTSTRAP = 2000


class Truth:
    """
    Right classes and the CNNs' answers for the test images, and what follows.

    Parameters
    ----------
    found : dict
        What `cnns` found.
    classes : tuple of str
        Names of the classes.

    Attributes
    ----------
    labels : ndarray of int64, shape (n_images,)
        The right classes.
    cnn_predictions, adjusted_predictions : ndarray of int64, shape (n_images,)
        The classes that the CNN and the adjusted CNN give.
    cnn, adjusted : ndarray of bool, shape (n_images,)
        Whether these are right.
    """

    def __init__(self, found: dict[str, Any], classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.labels = np.array(found["labels"])
        self.cnn_predictions = np.array(found["cnn"])
        self.adjusted_predictions = np.array(found["adjusted"])
        self.cnn = self.cnn_predictions == self.labels
        self.adjusted = self.adjusted_predictions == self.labels

    def by_class(
        self, right: npt.NDArray[np.bool_], members: npt.NDArray[np.intp] | None = None
    ) -> list[float]:
        """Compute the accuracy of every class, then of all."""
        labels = self.labels
        if members is not None:
            right, labels = right[members], labels[members]
        each = [float(right[labels == k].mean()) for k in range(len(self.classes))]
        return [*each, float(right.mean())]

    def scored(
        self, predictions: Iterable[int], members: Iterable[int]
    ) -> dict[str, Any]:
        """Compute the accuracy, and its share of the CNNs' with an interval."""
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

    def drawn(self, n: int, seed: int) -> npt.NDArray[np.intp]:
        """Draw as many test images of each class as the paper has."""
        rng = np.random.default_rng(seed)
        chosen = [
            rng.permutation(np.flatnonzero(self.labels == label))[:n]
            for label in range(len(self.classes))
        ]
        return np.sort(np.concatenate(chosen))


def target_of(simulator: Simulator, images: LabelledImages) -> Target:
    """Compute what an objective compares a simulation with."""
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
    """Search parameters of a preset for a number of steps."""
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
    """Calibrate the preset "few-steps" for a number of steps."""
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
    """Set thresholds as the paper's listing or text does."""
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


def cnns(work: Reproduction) -> dict[str, Any]:
    """Classify the test images with the CNN and with the adjusted CNN."""

    def compute() -> dict[str, Any]:
        found = {"labels": work.test.labels.tolist()}
        for key, name in CNNS.items():
            module, _ = models.pretrained(name)
            found[key] = classify(module, work.test.images).tolist()
        return found

    return work.step("cnns", compute)


def _summary(result: SimulationResult) -> dict[str, Any]:
    """Numbers of a test that the report needs."""
    return {
        "predictions": result.predictions.tolist(),
        "with_potential": result.predict("spikes+potential").tolist(),
        "ties": int(result.ties.sum()),
        "silent": int(result.silent.sum()),
        "output_spikes": int(result.output_counts().sum()),
        "events": {layer: int(each.sum()) for layer, each in result.events.items()},
        "seconds": result.timings["run"],
    }


def simulated(
    work: Reproduction,
    name: str,
    preset: str,
    n_steps: int,
    parameters: dict[str, Any] | None,
    most: int | None = None,
) -> dict[str, Any]:
    """Show test images to the network, classes in turn."""
    n_chunks = -(-len(work.test) // CHUNK)

    def compute(number: int) -> dict[str, Any]:
        members: npt.NDArray[np.intp] = np.arange(number, len(work.test), n_chunks)
        result = work.simulator(preset, n_steps).run(
            work.test.images[members],
            seed=work.seed + number,
            executor=work.executor,
            progress=work.progress,
            **(parameters or {}),
        )
        return {"members": members.tolist(), **_summary(result)}

    chunks = [
        work.step(f"tested-{name}-{n_steps}-{k}", lambda k=k: compute(k))  # type: ignore[misc]
        for k in range(n_chunks if most is None else min(most, n_chunks))
    ]
    return _joined(chunks)


def _joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Put chunks together, images in the order of the test images."""
    members = np.concatenate([chunk["members"] for chunk in chunks])
    order = np.argsort(members)
    joined: dict[str, Any] = {"members": members[order].tolist()}
    for key in ("predictions", "with_potential"):
        together = np.concatenate([chunk[key] for chunk in chunks])
        joined[key] = together[order].tolist()
    for key in ("ties", "silent", "output_spikes", "seconds"):
        joined[key] = sum(chunk[key] for chunk in chunks)
    joined["output_spikes"] /= len(members)
    joined["events"] = {
        layer: sum(chunk["events"][layer] for chunk in chunks) / len(members)
        for layer in chunks[0]["events"]
    }
    return joined


def swept(work: Reproduction, layer: str, n_steps: int) -> dict[str, Any]:
    """Sweep one layer's threshold, the others as the search found them (Fig. 3)."""
    chosen = searched(work, "paper", n_steps)["parameters"]
    thresholds = chosen["thresholds"][layer] * SWEEP_FACTORS
    settings = [
        {**chosen, "thresholds": {**chosen["thresholds"], layer: float(value)}}
        for value in thresholds
    ]

    def compute() -> dict[str, Any]:
        images, _ = work.training(work.extent.n_sweep, 0)
        simulator = work.simulator("paper", n_steps)
        target = target_of(simulator, images)
        found: dict[str, list[float]] = {
            key: [0.0] * len(settings)
            for key in ("right_spikes", "spike_ratio", "accuracy")
        }
        with progress_bar(
            f"sweeping {layer}", len(settings), show=work.progress
        ) as advance:
            for index, result in simulator.run_many(
                images.images,
                settings,
                seed=work.seed,
                executor=work.executor,
                progress=False,
            ):
                counts = result.output_counts()
                right = counts[np.arange(len(counts)), target.labels]
                found["right_spikes"][index] = float(right.mean())
                for key in ("spike_ratio", "accuracy"):
                    found[key][index] = OBJECTIVES[key](result, target)
                advance(1)
        return {
            "thresholds": thresholds.tolist(),
            "chosen": chosen["thresholds"][layer],
            "n_images": len(images),
            **found,
        }

    return work.step(f"swept-{layer}-{n_steps}", compute)
