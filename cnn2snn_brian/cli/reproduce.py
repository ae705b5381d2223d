"""The command ``reproduce``: every table and figure of the paper."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cnn2snn_brian.cli.shared import NWorkers, Seed, check_at_least, check_out, console

if TYPE_CHECKING:
    from cnn2snn_brian.results import SimulationResult


DURATION_MS = 100
#: Image that is drawn.
DRAWN = 0


def demo(
    figure: Annotated[
        Path, typer.Option(help="Where to write the raster of one digit (PNG).")
    ] = Path("digit.png"),
    seed: Annotated[int, typer.Option(help="Seed of the Poisson spikes.")] = 0,
) -> None:
    """See it work: scikit-learn's 8x8 digits through a CNN and through its SNN."""
    check_out(figure)
    check_at_least("--seed", seed, 0)
    from brian2 import ms

    from cnn2snn_brian import models
    from cnn2snn_brian.conversion import convert
    from cnn2snn_brian.data import load_digits
    from cnn2snn_brian.train import accuracy

    console.print("Converting the digits CNN and compiling its Brian2 network ...")
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, test.input_shape, calibration=training.images, percentile=100)
    with snn.compile(DURATION_MS * ms) as simulator:
        record = {name: [DRAWN] for name in simulator.populations}
        result = simulator.run(test.images, seed=seed, record=record)
    _draw(result, test.classes[test.labels[DRAWN]], figure)
    table = Table(title=f"{len(test)} test digits")
    table.add_column("network")
    table.add_column("accuracy", justify="right")
    table.add_row("CNN", f"{accuracy(cnn, test):.1%}")
    table.add_row("SNN", f"{result.accuracy(test.labels):.1%}")
    console.print(table)
    console.print(str(result), highlight=False)
    build = result.timings["build"]
    console.print(f"program ready after {build:.1f} s; raster: {figure}")


def _draw(result: "SimulationResult", label: str, path: Path) -> None:
    # A figure of its own, without pyplot: no window, no state left behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from cnn2snn_brian.files import written_whole
    from cnn2snn_brian.plots import plot_output_counts, plot_raster

    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    names = [name for name in result.spike_counts if name != result.output_layer]
    axes = figure.subplots(len(names) + 1, 1, sharex=True)
    for ax, name in zip(axes, names, strict=False):
        plot_raster(result, name, DRAWN, ax).set_xlabel("")
    plot_output_counts(result, DRAWN, axes[-1])
    prediction = result.predictions[DRAWN]
    figure.suptitle(f"A digit {label} as spikes; the SNN says {prediction}")
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


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
    """Reproduce every table and figure of the paper on CIFAR-10."""
    check_at_least("--seed", seed, 0)
    check_at_least("--workers", workers, 1)
    from cnn2snn_brian.reproduction import (
        FULL,
        QUICK,
        Reproduction,
        collect,
        write_report,
    )

    extent = QUICK if quick else FULL
    options = " --quick" if quick else ""
    options += f" --seed {seed}" if seed else ""
    command = f"cnn2snn-brian reproduce --data DIR --out DIR{options}"
    with Reproduction(data, out, extent, seed, workers) as work:
        write_report(work, collect(work), command)
    console.print(f"written: {out / 'reproduction.md'}, .html and .json")
