"""The commands ``tune`` and ``calibrate``: set the thresholds of a network."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Context

import cnn2snn_brian as c2s
from cnn2snn_brian.cli import shared
from cnn2snn_brian.files import written_whole

if TYPE_CHECKING:
    from cnn2snn_brian.data import LabelledImages


def _loaded(
    network: Path, data: str, n: int, seed: int
) -> "tuple[c2s.SpikingNetwork, LabelledImages]":
    """Load a network, and training images of its classes."""
    snn = c2s.SpikingNetwork.load(network)
    images = c2s.data.load_training_images(data, snn.image_shape, snn.classes)
    return snn, images.per_class(n, seed)


def calibrate_command(
    network: shared.NetworkFile,
    data: Annotated[str, shared.DATA],
    out: shared.OutFile,
    *,
    duration: float | None = None,
    n: shared.AtLeastOne = 30,
    rounds: shared.AtLeastOne = 3,
    seed: shared.Seed = 0,
    workers: shared.NWorkers = None,
    checkpoint: shared.CheckpointFile = None,
    weights: bool = False,
) -> None:
    """
    Fit thresholds, leaks and starts by channel to a number of steps, without training.

    Parameters
    ----------
    data
        Only training images are used.
    out
        File for the calibrated network.
    duration
        Time of an image in ms; by default what suits the network.
    n
        Images of each class, drawn at random.
    rounds
        How often leaks are shifted.
    seed
        Seed of everything random.
    weights
        Whether weights are fitted again, too.
    """
    snn, images = _loaded(network, data, n, seed)
    time = None if duration is None else shared.in_ms(duration)
    how: dict[str, Any] = {"rounds": rounds, "seed": seed, "executor": workers}
    how |= {"duration": time, "checkpoint": checkpoint, "weights": weights}
    result = c2s.calibrate(snn, images.images, **how)
    result.network.save(out)
    shared.say_written(result, out)


def tune_command(
    context: Context,
    network: shared.NetworkFile,
    data: Annotated[str, shared.DATA],
    out: shared.OutFile,
    *,
    method: Literal["feedback", "bisection", "data", "search"] = "search",
    objective: str | None = None,
    category: str | None = None,
    duration: float = 100.0,
    n: shared.AtLeastOne = 20,
    tune: list[str] | None = None,
    start: float | None = None,
    step: float | None = None,
    budget: int = 100,
    accept: Literal["better", "always"] = "better",
    seed: shared.Seed = 0,
    workers: shared.NWorkers = None,
    checkpoint: shared.CheckpointFile = None,
    history: Annotated[Path | None, shared.output()] = None,
) -> None:
    """
    Set the thresholds of a converted network by what it makes of training images.

    Parameters
    ----------
    data
        Only training images are used.
    out
        File for the network that was tuned.
    method
        How thresholds are looked for.
    objective
        spike_ratio, accuracy, agreement, likelihood, feature_map or
        feature_map:LAYER; by default what suits the method.
    category
        Name of a class: use its images only.
    duration
        Time of an image in ms.
    n
        Images of each class, drawn at random.
    tune
        With search: thresholds, v_min, v_init or leak; repeatable.
    start
        First threshold of all layers.
    step
        First step, see the documentation.
    budget
        Largest number of candidates.
    accept
        Take what was found only if it is better on images that were kept apart, or
        always.
    seed
        Seed of everything random.
    history
        File for a table of all candidates (CSV).
    """
    snn, images = _loaded(network, data, n, seed)
    # A network without class names takes those of the images.
    named = replace(snn, classes=images.classes) if snn.classes is None else snn
    names = "method", "objective", "category", "start", "step", "budget", "accept"
    how = {name: context.params[name] for name in (*names, "seed")}
    how |= {"tune": tune or None, "executor": workers, "checkpoint": checkpoint}
    with named.compile(shared.in_ms(duration)) as simulator:
        result = c2s.tune_thresholds(simulator, images.images, images.labels, **how)
    if history is not None:
        with written_whole(history) as unfinished:
            result.history.to_csv(unfinished, index=False)
    replace(snn, parameters=result.parameters).save(out)
    shared.say_written(result, out)
