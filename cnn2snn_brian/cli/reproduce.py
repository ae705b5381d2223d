"""The commands ``demo`` and ``reproduce``: see it work, and the paper's experiments."""

from pathlib import Path
from typing import Annotated

from typer import Option

import cnn2snn_brian as c2s
from cnn2snn_brian.cli import shared
from cnn2snn_brian.files import written_whole

#: Image that is drawn.
DRAWN = 0


def demo(figure: shared.OutFile = Path("digit.png"), seed: shared.Seed = 0) -> None:
    """
    See it work: scikit-learn's 8x8 digits through a CNN and through its SNN.

    Parameters
    ----------
    figure
        Where to write the raster of one digit (PNG).
    seed
        Seed of the Poisson spikes.
    """
    shared.say("Converting the digits CNN and compiling its Brian2 network ...")
    training, test = c2s.data.load_digits()
    cnn, _ = c2s.models.pretrained("digits")
    snn = c2s.convert(
        cnn, test.input_shape, calibration=training.images, percentile=100
    )
    with snn.compile(shared.in_ms(shared.DEFAULT_MS)) as simulator:
        record = {name: [DRAWN] for name in simulator.populations}
        result = simulator.run(test.images, seed=seed, record=record)
    _draw(result, test.classes[test.labels[DRAWN]], figure)
    shares = {"CNN": c2s.train.accuracy(cnn, test), "SNN": result.accuracy(test.labels)}
    shared.print_table(
        f"{len(test)} test digits",
        ("network", "accuracy"),
        [(name, f"{share:.1%}") for name, share in shares.items()],
    )
    shared.say(result)
    build = result.timings["build"]
    shared.say(f"program ready after {build:.1f} s; raster: {figure}")


def _draw(result: "c2s.SimulationResult", label: str, path: Path) -> None:
    # Without pyplot: no window, no state that stays.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    names = [name for name in result.spike_counts if name != result.output_layer]
    *axes, last = figure.subplots(len(names) + 1, 1, sharex=True)
    for ax, name in zip(axes, names, strict=True):
        c2s.plots.plot_raster(result, name, DRAWN, ax).set_xlabel("")
    c2s.plots.plot_output_counts(result, DRAWN, last)
    prediction = result.predictions[DRAWN]
    figure.suptitle(f"A digit {label} as spikes; the SNN says {prediction}")
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def reproduce(
    data: Annotated[str, Option()],
    out: Annotated[Path, Option()],
    *,
    quick: Annotated[bool, Option("--quick")] = False,
    seed: shared.Seed = 0,
    workers: shared.NWorkers = None,
) -> None:
    """
    Reproduce every table and figure of the paper on CIFAR-10.

    Parameters
    ----------
    data
        CIFAR-10: cifar10 (downloaded), or a folder with train and test in it, each with
        a folder a class. A folder cifar10 is ./cifar10.
    out
        Folder for the report and the figures.
    quick
        Few images and steps: minutes, not an hour.
    seed
        Seed of everything random.
    """
    from cnn2snn_brian import reproduction as paper

    options = " --quick" if quick else ""
    options += f" --seed {seed}" if seed else ""
    command = f"cnn2snn-brian reproduce --data DIR --out DIR{options}"
    extent = paper.QUICK if quick else paper.FULL
    with paper.Reproduction(data, out, extent, seed, workers) as work:
        paper.write_report(work, paper.collect(work), command)
    shared.say(f"written: {out / 'reproduction.md'}, .html and .json")
