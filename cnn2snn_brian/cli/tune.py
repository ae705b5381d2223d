"""The command ``tune``: set the thresholds of a converted network."""

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cnn2snn_brian.errors import InputError

__all__ = ["AcceptChoice", "MethodChoice", "tune_command"]

console = Console()


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
    network: Annotated[Path, typer.Argument(help="A file that `convert` wrote.")],
    data: Annotated[
        str,
        typer.Option(
            help="Pictures: digits, cifar10 or a folder, as in `train`. Only training "
            "pictures are used."
        ),
    ],
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
        str | None, typer.Option(help="Name of a class: use its pictures only.")
    ] = None,
    duration: Annotated[float, typer.Option(help="Time of a picture in ms.")] = 100.0,
    n: Annotated[
        int, typer.Option(help="Pictures of each class, drawn at random.")
    ] = 20,
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
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File that keeps what was tried, to go on from there."),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="File for a table of all candidates (CSV).")
    ] = None,
) -> None:
    """
    Set the thresholds of a converted network by what it makes of training pictures.

    Example: cnn2snn-brian tune digits.snn --data digits --out tuned.snn
    """
    from brian2 import ms

    from cnn2snn_brian.data import load_data
    from cnn2snn_brian.files import check_folder, written_whole
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.tuning.tune import tune_thresholds

    for path in (out, checkpoint, history):
        if path is not None:
            check_folder(path)
    if n < 1 or seed < 0:
        name, value = ("--n", n) if n < 1 else ("--seed", seed)
        message = f"{name} is {value}, expected at least {int(n < 1)}"
        raise InputError(message)
    snn = SpikingNetwork.load(network)
    pictures, _ = load_data(data, snn.input_shape, seed=seed)
    if snn.classes is not None and pictures.classes != snn.classes:
        message = (
            f"the network's classes are {', '.join(snn.classes)}, those of {data} "
            f"{', '.join(pictures.classes)}"
        )
        raise InputError(message)
    pictures = pictures.per_class(n, seed)
    # A network without class names takes those of the pictures.
    named = replace(snn, classes=pictures.classes) if snn.classes is None else snn
    with named.compile(duration * ms) as simulator:
        result = tune_thresholds(
            simulator,
            pictures.images,
            pictures.labels,
            method=method.value,
            objective=objective,
            category=category,
            tune=tune or ("thresholds",),
            start=start,
            step=step,
            budget=budget,
            accept=accept.value,
            seed=seed,
            checkpoint=checkpoint,
        )
    if history is not None:
        with written_whole(history) as unfinished:
            result.history.to_csv(unfinished, index=False)
    replace(snn, parameters=result.parameters).save(out)
    console.print(str(result), highlight=False)
    console.print(f"written: {out}")
