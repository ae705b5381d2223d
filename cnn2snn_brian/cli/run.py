"""The command ``run``: show images to a converted network."""

import json
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
from cnn2snn_brian.cli.stimuli import (
    Repeats,
    StimulusFiles,
    check_only_images,
    loaded,
    longest,
    stimulus_rows,
    stimulus_table,
)

if TYPE_CHECKING:
    from cnn2snn_brian.data import LabelledImages
    from cnn2snn_brian.results.result import SimulationResult

__all__ = ["run"]


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
    from cnn2snn_brian.description.settings import recorded

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
    """
    Show images to a converted network and print its accuracy, class by class.

    With --stimulus, show stimuli in time and print the rates of their trials.

    Example: cnn2snn-brian run digits.snn --data digits --duration 100
    """
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
