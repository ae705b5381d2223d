"""Stimuli on the command line: files that are shown, and a table of their trials."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.results.result import SimulationResult
    from cnn2snn_brian.stimuli import Stimulus

__all__ = [
    "Repeats",
    "StimulusFiles",
    "check_only_images",
    "loaded",
    "longest",
    "stimulus_rows",
    "stimulus_table",
]

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
    """
    Check that either images or stimuli are shown.

    Parameters
    ----------
    data : str or None
        What ``--data`` is.
    stimulus : list of Path or None
        What ``--stimulus`` is.
    repeats : int
        What ``--repeats`` is.
    of_images : dict of str to object
        Options that choose images, by name.

    Raises
    ------
    BadParameter
        If both or none are given, or an option goes with the other.
    """
    if (data is None) == (not stimulus):
        message = "give either --data (images) or --stimulus (a file of a stimulus)"
        raise typer.BadParameter(message)
    if stimulus:
        for name, value in of_images.items():
            if value:
                message = f"{name} goes with --data, not with --stimulus"
                raise typer.BadParameter(message)
    elif repeats != 1:
        message = "--repeats goes with --stimulus"
        raise typer.BadParameter(message)


def loaded(paths: list[Path]) -> "list[Stimulus]":
    """
    Read the files of stimuli.

    Parameters
    ----------
    paths : list of Path
        The files.

    Returns
    -------
    list of Stimulus
        One of each file, named after it if it has no name.
    """
    from dataclasses import replace

    from cnn2snn_brian.stimuli import load

    found = []
    for path in paths:
        stimulus = load(path)
        found.append(stimulus if stimulus.name else replace(stimulus, name=path.stem))
    return found


def longest(snn: "SpikingNetwork", stimuli: "list[Stimulus]") -> float:
    """
    Say how long a program has to run that shows stimuli.

    Parameters
    ----------
    snn : SpikingNetwork
        The network.
    stimuli : list of Stimulus
        The stimuli.

    Returns
    -------
    float
        The longest stimulus in ms. One without a duration takes at least 100 ms, and
        until its last spike.
    """
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
    """
    Say what trials of each stimulus gave.

    Parameters
    ----------
    result : SimulationResult
        The result.

    Returns
    -------
    list of dict
        For each stimulus its name, trials and duration, the mean rate of each
        population in Hz, and the predictions with the share of trials that have them.
    """
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
    """
    Make a table of `stimulus_rows`.

    Parameters
    ----------
    title : str
        Its title.
    rows : list of dict
        The rows.
    classes : tuple of str, optional
        Names of the output neurons.

    Returns
    -------
    rich.table.Table
        A row for each stimulus.
    """
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
