"""The steps that classify: test images by CNNs and SNNs, and the sweeps of Fig. 3."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian import models
from cnn2snn_brian.paper.extent import CHUNK, SWEEP_FACTORS
from cnn2snn_brian.paper.searches import searched, target_of
from cnn2snn_brian.paper.steps import CNNS, Reproduction
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.results.result import SimulationResult
from cnn2snn_brian.train import classify
from cnn2snn_brian.tuning.objectives import OBJECTIVES

__all__ = ["cnns", "simulated", "swept"]


def cnns(work: Reproduction) -> dict[str, Any]:
    """
    Classify the test images with the CNN and with the adjusted CNN.

    Parameters
    ----------
    work : Reproduction
        The experiments.

    Returns
    -------
    dict
        ``labels``, and ``cnn`` and ``adjusted``, the predicted classes.
    """

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
    """
    Show test images to the network, classes in turn.

    Parameters
    ----------
    work : Reproduction
        The experiments.
    name : str
        What the parameters are, for the names of the steps.
    preset : str
        A key of `PRESETS`.
    n_steps : int
        Steps of an image.
    parameters : dict, optional
        Arguments of `Simulator.run`; the data-based ones by default.
    most : int, optional
        Largest number of chunks of `CHUNK` images; all by default.

    Returns
    -------
    dict
        ``members``, the images; their ``predictions`` (and ``with_potential``, those
        of the readout that adds the potential left); ``ties``, ``silent``, ``events``
        an image by layer, ``output_spikes`` an image.
    """
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
    """
    Sweep the threshold of one layer, the others as the search found them (Fig. 3).

    Parameters
    ----------
    work : Reproduction
        The experiments.
    layer : str
        Name of the layer.
    n_steps : int
        Steps of an image.

    Returns
    -------
    dict
        ``thresholds``, and for each ``right_spikes`` (spikes of the right output neuron
        an image), ``spike_ratio`` and ``accuracy``; ``chosen``.
    """
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
