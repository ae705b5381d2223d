"""The command ``run``: show images to a converted network."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cnn2snn_brian.cli.shared import (
    DATA_HELP,
    NetworkFile,
    NWorkers,
    check_at_least,
    check_out,
    console,
    numbers_by_layer,
)

if TYPE_CHECKING:
    from cnn2snn_brian.data import LabelledImages
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.results import SimulationResult
    from cnn2snn_brian.stimuli import Stimulus


StimulusFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--stimulus",
        help="A stimulus in time (.npz, written by its save), in place of --data; "
        "repeatable.",
    ),
]
Repeats = Annotated[int, typer.Option(help="With --stimulus: trials of each stimulus.")]

#: Time of stimuli that don't say how long they take, in ms.
DEFAULT_MS = 100.0


def check_only_images(
    data: str | None,
    stimulus: list[Path] | None,
    repeats: int,
    of_images: dict[str, object],
) -> None:
    """Check that either images or stimuli are shown."""
    if (data is None) == (not stimulus):
        raise typer.BadParameter(
            "give either --data (images) or --stimulus (a file of a stimulus)"
        )
    if stimulus:
        for name, value in of_images.items():
            if value:
                raise typer.BadParameter(
                    f"{name} goes with --data, not with --stimulus"
                )
    elif repeats != 1:
        raise typer.BadParameter("--repeats goes with --stimulus")


def loaded(paths: list[Path]) -> "list[Stimulus]":
    """Read the files of stimuli."""
    from dataclasses import replace

    from cnn2snn_brian.stimuli import load

    found = []
    for path in paths:
        stimulus = load(path)
        found.append(stimulus if stimulus.name else replace(stimulus, name=path.stem))
    return found


def longest(snn: "SpikingNetwork", stimuli: "list[Stimulus]") -> float:
    """Say how long a program has to run that shows stimuli."""
    times = []
    for stimulus in stimuli:
        n_steps = stimulus.n_steps(snn.dt_s)
        if n_steps is None:
            last = max(map(float, getattr(stimulus, "times", ())), default=0.0)
            steps = [DEFAULT_MS / (1e3 * snn.dt_s), last / snn.dt_s + 1]
            n_steps = math.ceil(max(steps) - 1e-6)
        times.append(1e3 * n_steps * snn.dt_s)
    return max(times)


def stimulus_rows(result: "SimulationResult") -> list[dict[str, Any]]:
    """Say what trials of each stimulus gave."""
    import numpy as np

    trials = result.trials
    assert trials is not None
    rows = []
    for k, name in enumerate(trials.names):
        own = slice(k * trials.n_repeats, (k + 1) * trials.n_repeats)
        duration_s = trials.n_steps[k] * result.dt_s
        classes, n = np.unique(result.predictions[own], return_counts=True)
        rates = {
            layer: float(result.spike_counts.part(layer, own).mean() / duration_s)
            for layer in result.spike_counts
        }
        rows.append(
            {
                "stimulus": name,
                "trials": trials.n_repeats,
                "duration_ms": 1e3 * duration_s,
                "rates_hz": rates,
                "predictions": {
                    str(index): float(count / trials.n_repeats)
                    for index, count in zip(classes, n, strict=True)
                },
            }
        )
    return rows


def stimulus_table(
    title: str, rows: list[dict[str, Any]], classes: tuple[str, ...] | None
) -> Table:
    """Make a table of `stimulus_rows`."""
    table = Table("stimulus", title=title)
    layers = list(rows[0]["rates_hz"])
    for column in ("trials", "ms", *(f"{name} Hz" for name in layers)):
        table.add_column(column, justify="right")
    table.add_column("most frequent prediction")
    for row in rows:
        best = max(row["predictions"], key=row["predictions"].get)
        name = best if classes is None else classes[int(best)]
        table.add_row(
            row["stimulus"],
            f"{row['trials']:,}",
            f"{row['duration_ms']:g}",
            *(f"{row['rates_hz'][layer]:.1f}" for layer in layers),
            f"{name} ({row['predictions'][best]:.0%} of trials)",
        )
    return table


def _by_class(
    result: "SimulationResult", test: "LabelledImages"
) -> list[dict[str, Any]]:
    """Accuracy of each class, and of all."""
    right = result.predictions == test.labels
    rows = []
    for label, name in enumerate((*test.classes, "all")):
        members = (
            test.labels == label if label < len(test.classes) else test.labels >= 0
        )
        if members.any():
            rows.append(
                {
                    "class": name,
                    "pictures": int(members.sum()),
                    "correct": int(right[members].sum()),
                    "accuracy": float(right[members].mean()),
                }
            )
    return rows


def _report(result: "SimulationResult", rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together what ``--json`` prints of a result."""
    from cnn2snn_brian.settings import recorded

    of_classes = {"classes": rows[:-1], "all": rows[-1]} if rows else {}
    return {
        "seed": result.seed,
        "thresholds": recorded(result.parameters)["thresholds"],
        **of_classes,
        "ties": int(result.ties.sum()),
        "silent": int(result.silent.sum()),
        "events": result.n_events,
        "timings_s": result.timings,
        "versions": result.versions,
    }


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table("class", title=title)
    for column in ("images", "correct", "accuracy"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["class"] == "all":
            table.add_section()
        table.add_row(
            row["class"],
            f"{row['pictures']:,}",
            f"{row['correct']:,}",
            f"{row['accuracy']:.1%}",
        )
    return table


def run(
    network: NetworkFile,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"{DATA_HELP} Only test images are shown: of class folders the tenth "
            "that `train` leaves out."
        ),
    ] = None,
    *,
    stimulus: StimulusFiles = None,
    repeats: Repeats = 1,
    whole: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Show all of a folder of class folders: none was trained with.",
        ),
    ] = False,
    n: Annotated[
        int | None, typer.Option(help="So many images, drawn at random.")
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            help="Time of an image in ms: 100 by default, of stimuli the longest."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of spikes and of the draw.")] = 0,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="Another threshold, as in conv1=2.5; repeatable."),
    ] = None,
    record: Annotated[
        list[str] | None,
        typer.Option(help="With --save: a layer whose spikes are kept; repeatable."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="File for the result (.h5), which `inspect` reads."),
    ] = None,
    workers: NWorkers = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables.")
    ] = False,
) -> None:
    """Show images to a converted network and print its accuracy, class by class."""
    if save is not None:
        check_out(save)
    check_at_least("--seed", seed, 0)
    check_at_least("--workers", workers, 1)
    check_at_least("--repeats", repeats, 1)
    check_only_images(data, stimulus, repeats, {"--n": n is not None, "--all": whole})
    thresholds = numbers_by_layer(threshold, "--threshold")
    from brian2 import ms

    from cnn2snn_brian.data import is_split, load_test_images
    from cnn2snn_brian.network import SpikingNetwork

    snn = SpikingNetwork.load(network)
    test, shown = None, ""
    what: Any
    if stimulus:
        what = loaded(stimulus)
        duration = longest(snn, what) if duration is None else duration
    else:
        assert data is not None
        test = load_test_images(
            data, snn.input_shape, n, seed, snn.classes, whole=whole
        )
        what, duration = test.images, 100.0 if duration is None else duration
        shown = "all" if whole else "held-out" if is_split(data) else "test"
    with snn.compile(duration * ms) as simulator:
        result = simulator.run(
            what,
            thresholds=thresholds,
            seed=seed,
            record=record or (),
            executor=workers,
            progress=not as_json,
            repeats=repeats,
        )
    if save is not None:
        result.save(save)
    of_run = {"network": str(network), "duration_ms": duration}
    if test is None:
        _print_trials(result, of_run, snn.classes, as_json=as_json)
        return
    rows = _by_class(result, test)
    if as_json:
        report = {**of_run, "data": data, "part": shown, **_report(result, rows)}
        console.print_json(json.dumps(report))
        return
    if shown == "held-out":
        console.print(
            f"{data}: {len(test)} images of those that are kept for testing; --all "
            "shows all"
        )
    console.print(_table(f"{network} on {data}", rows))
    console.print(str(result), highlight=False)


def _print_trials(
    result: "SimulationResult",
    of_run: dict[str, Any],
    classes: tuple[str, ...] | None,
    *,
    as_json: bool,
) -> None:
    """Print what trials of stimuli gave."""
    rows = stimulus_rows(result)
    if as_json:
        report = _report(result, [])
        console.print_json(json.dumps({**of_run, "stimuli": rows, **report}))
        return
    console.print(stimulus_table(f"{of_run['network']}", rows, classes))
    console.print(str(result), highlight=False)
