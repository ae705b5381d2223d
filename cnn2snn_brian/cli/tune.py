"""The command ``tune``: set the thresholds of a converted network."""

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cnn2snn_brian.cli.shared import (
    NetworkFile,
    NWorkers,
    PerClass,
    Seed,
    TrainingData,
    check_at_least,
    check_out,
    console,
)


def calibrate_command(
    network: NetworkFile,
    data: TrainingData,
    out: Annotated[Path, typer.Option(help="File for the calibrated network.")],
    *,
    duration: Annotated[
        float | None,
        typer.Option(help="Time of an image in ms; by default what suits the network."),
    ] = None,
    n: PerClass = 30,
    rounds: Annotated[int, typer.Option(help="How often leaks are shifted.")] = 3,
    seed: Seed = 0,
    workers: NWorkers = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File that keeps what was fitted, to go on from there."),
    ] = None,
) -> None:
    """Fit thresholds and leaks by channel to a number of steps, without training."""
    for path in (out, checkpoint):
        if path is not None:
            check_out(path)
    check_at_least("--n", n, 1)
    check_at_least("--rounds", rounds, 1)
    check_at_least("--seed", seed, 0)
    check_at_least("--workers", workers, 1)
    from brian2 import ms

    from cnn2snn_brian.data import load_training_images
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.tuning import calibrate

    snn = SpikingNetwork.load(network)
    images = load_training_images(data, snn.input_shape, snn.classes).per_class(n, seed)
    result = calibrate(
        snn,
        images.images,
        duration=None if duration is None else duration * ms,
        rounds=rounds,
        seed=seed,
        executor=workers,
        checkpoint=checkpoint,
    )
    replace(snn, parameters=result.parameters).save(out)
    console.print(str(result), highlight=False)
    console.print(f"written: {out}")


class MethodChoice(str, Enum):
    """Methods of `tune_thresholds`."""

    feedback = "feedback"
    bisection = "bisection"
    data = "data"
    search = "search"


class AcceptChoice(str, Enum):
    """When `tune_thresholds` takes what was found."""

    better = "better"
    always = "always"


def tune_command(
    network: NetworkFile,
    data: TrainingData,
    out: Annotated[Path, typer.Option(help="File for the network that was tuned.")],
    *,
    method: Annotated[
        MethodChoice, typer.Option(help="How thresholds are looked for.")
    ] = MethodChoice.search,
    objective: Annotated[
        str | None,
        typer.Option(
            help="spike_ratio, accuracy, agreement, likelihood, feature_map or "
            "feature_map:LAYER; by default what suits the method."
        ),
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Name of a class: use its images only.")
    ] = None,
    duration: Annotated[float, typer.Option(help="Time of an image in ms.")] = 100.0,
    n: PerClass = 20,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            help="With search: thresholds, v_min, v_init or leak; repeatable."
        ),
    ] = None,
    start: Annotated[
        float | None, typer.Option(help="First threshold of all layers.")
    ] = None,
    step: Annotated[
        float | None, typer.Option(help="First step, see the documentation.")
    ] = None,
    budget: Annotated[int, typer.Option(help="Largest number of candidates.")] = 100,
    accept: Annotated[
        AcceptChoice,
        typer.Option(
            help="Take what was found only if it is better on images that were kept "
            "apart, or always."
        ),
    ] = AcceptChoice.better,
    seed: Seed = 0,
    workers: NWorkers = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File that keeps what was tried, to go on from there."),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="File for a table of all candidates (CSV).")
    ] = None,
) -> None:
    """Set the thresholds of a converted network by what it makes of training images."""
    for path in (out, checkpoint, history):
        if path is not None:
            check_out(path)
    check_at_least("--n", n, 1)
    check_at_least("--seed", seed, 0)
    check_at_least("--workers", workers, 1)
    from brian2 import ms

    from cnn2snn_brian.data import load_training_images
    from cnn2snn_brian.files import written_whole
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.tuning import tune_thresholds

    snn = SpikingNetwork.load(network)
    images = load_training_images(data, snn.input_shape, snn.classes).per_class(n, seed)
    # A network without class names takes those of the images.
    named = replace(snn, classes=images.classes) if snn.classes is None else snn
    with named.compile(duration * ms) as simulator:
        result = tune_thresholds(
            simulator,
            images.images,
            images.labels,
            method=method.value,
            objective=objective,
            category=category,
            tune=tune or None,
            start=start,
            step=step,
            budget=budget,
            accept=accept.value,
            seed=seed,
            executor=workers,
            checkpoint=checkpoint,
        )
    if history is not None:
        with written_whole(history) as unfinished:
            result.history.to_csv(unfinished, index=False)
    replace(snn, parameters=result.parameters).save(out)
    console.print(str(result), highlight=False)
    console.print(f"written: {out}")
