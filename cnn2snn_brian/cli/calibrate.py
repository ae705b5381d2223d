"""The command ``calibrate``: fit a converted network to a number of steps."""

from dataclasses import replace
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

__all__ = ["calibrate_command"]


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
    """
    Fit thresholds and leaks by channel to a number of steps, without training.

    Example: cnn2snn-brian calibrate digits.snn --data digits --out quick.snn
    """
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
