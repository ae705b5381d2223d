"""The command ``reproduce``: every table and figure of the paper."""

from pathlib import Path
from typing import Annotated

import typer

from cnn2snn_brian.cli.shared import (
    NWorkers,
    Seed,
    check_at_least,
    console,
)

__all__ = ["reproduce"]


def reproduce(
    data: Annotated[
        str,
        typer.Option(
            help="CIFAR-10: cifar10 (downloaded), or a folder with train and test in "
            "it, each with a folder a class. A folder cifar10 is ./cifar10."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the report and the figures.")],
    *,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Few images and steps: minutes, not an hour."),
    ] = False,
    seed: Seed = 0,
    workers: NWorkers = None,
) -> None:
    """
    Reproduce every table and figure of the paper on CIFAR-10.

    Trains nothing: the weights ship with the package. If it is interrupted, the same
    command goes on where it was.

    Example: cnn2snn-brian reproduce --data cifar10 --out report
    """
    check_at_least("--seed", seed, 0)
    check_at_least("--workers", workers, 1)
    from cnn2snn_brian.paper.extent import FULL, QUICK
    from cnn2snn_brian.paper.report import write_report
    from cnn2snn_brian.paper.steps import Reproduction
    from cnn2snn_brian.paper.tables import collect

    extent = QUICK if quick else FULL
    options = " --quick" if quick else ""
    options += f" --seed {seed}" if seed else ""
    command = f"cnn2snn-brian reproduce --data DIR --out DIR{options}"
    with Reproduction(data, out, extent, seed, workers) as work:
        write_report(work, collect(work), command)
    console.print(f"written: {out / 'reproduction.md'}, .html and .json")
