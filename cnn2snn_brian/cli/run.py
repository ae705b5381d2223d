"""The command ``run``: show images or stimuli to a converted network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

import cnn2snn_brian as c2s
from cnn2snn_brian.cli import shared

if TYPE_CHECKING:
    from cnn2snn_brian.data import LabelledImages


def _by_stimulus(result: "c2s.SimulationResult") -> list[dict[str, Any]]:
    """Say what trials of each stimulus gave."""
    import pandas as pd

    trials = result.trials
    rows = []
    for k, name in enumerate(trials.names if trials else ()):
        own = slice(k * result.n_repeats, (k + 1) * result.n_repeats)
        duration_s = float(result.steps_of_row[own][0]) * result.dt_s
        shares = pd.Series(result.predictions[own]).value_counts(normalize=True)
        counts = result.spike_counts
        means = {layer: float(counts.part(layer, own).mean()) for layer in counts}
        row = {"stimulus": name, "trials": result.n_repeats}
        row["duration_ms"] = 1e3 * duration_s
        row["rates_hz"] = {layer: mean / duration_s for layer, mean in means.items()}
        row["predictions"] = shares.sort_index().to_dict()
        rows.append(row)
    return rows


def _print_stimuli(
    title: str, rows: list[dict[str, Any]], classes: tuple[str, ...] | None
) -> None:
    rates = [f"{layer} Hz" for layer in rows[0]["rates_hz"]]
    columns = ["stimulus", "trials", "ms", *rates, "most frequent prediction"]
    cells = []
    for row in rows:
        best, share = max(row["predictions"].items(), key=lambda pair: pair[1])
        name = best if classes is None else classes[best]
        first = row["stimulus"], f"{row['trials']:,}", f"{row['duration_ms']:g}"
        rates = [f"{rate:.1f}" for rate in row["rates_hz"].values()]
        cells.append([*first, *rates, f"{name} ({share:.0%} of trials)"])
    shared.print_table(title, columns, cells)


def _by_class(
    result: "c2s.SimulationResult", test: "LabelledImages"
) -> list[dict[str, Any]]:
    """Accuracy of each class, and of all."""
    right = result.predictions == test.labels
    groups = [(name, test.labels == label) for label, name in enumerate(test.classes)]
    return [
        {
            "class": name,
            "pictures": int(members.sum()),
            "correct": int(right[members].sum()),
            "accuracy": float(right[members].mean()),
        }
        for name, members in [*groups, ("all", test.labels >= 0)]
        if members.any()
    ]


def _print_classes(title: str, rows: list[dict[str, Any]]) -> None:
    forms = "{class}", "{pictures:,}", "{correct:,}", "{accuracy:.1%}"
    *cells, total = [[form.format(**row) for form in forms] for row in rows]
    shared.print_table(title, ("class", "images", "correct", "accuracy"), cells, total)


def run(
    network: shared.NetworkFile,
    data: Annotated[str | None, shared.DATA] = None,
    *,
    stimulus: shared.StimulusFiles = None,
    repeats: shared.Repeats = 1,
    whole: shared.Whole = False,
    n: int | None = None,
    duration: float | None = None,
    seed: shared.Seed = 0,
    threshold: shared.Thresholds = None,
    record: list[str] | None = None,
    save: Annotated[Path | None, shared.output()] = None,
    workers: shared.NWorkers = None,
    as_json: Annotated[bool, Option("--json")] = False,
) -> None:
    """
    Show images to a converted network and print its accuracy, class by class.

    Parameters
    ----------
    data
        Only test images are shown: of class folders the tenth that `train` leaves out.
    n
        How many images, drawn at random.
    duration
        Time of an image in ms: 100 by default, of stimuli the longest.
    seed
        Seed of spikes and of the draw.
    threshold
        It takes the place of the network's.
    record
        With --save: a layer whose spikes are kept; repeatable.
    save
        File for the result (.h5), which `inspect` reads.
    as_json
        Print JSON instead of tables.
    """
    shared.check_shown(data, stimulus, repeats, n, whole=whole)
    thresholds = shared.numbers_by_layer(threshold)
    from cnn2snn_brian.settings import recorded

    snn = c2s.SpikingNetwork.load(network)
    stimuli, test = shared.load_stimuli(stimulus), None
    if data is not None:
        shape, classes = snn.image_shape, snn.classes
        test = c2s.data.load_test_images(data, shape, n, seed, classes, whole=whole)
    if duration is None:
        duration = shared.longest_ms(snn, stimuli)
    how: dict[str, Any] = {"thresholds": thresholds, "record": record or ()}
    how |= {
        "seed": seed,
        "repeats": repeats,
        "executor": workers,
        "progress": not as_json,
    }
    with snn.compile(shared.in_ms(duration)) as simulator:
        result = simulator.run(stimuli if test is None else test.images, **how)
    if save is not None:
        result.save(save)
    rows = _by_stimulus(result) if test is None else _by_class(result, test)
    # Of class folders a part is kept for testing, which data sets have themselves.
    is_part = data is not None and not whole and c2s.data.is_split(data)
    if as_json:
        shown: dict[str, Any] = {"stimuli": rows}
        if test is not None:
            part = "all" if whole else "held-out" if is_part else "test"
            shown = {"data": data, "part": part, "classes": rows[:-1], "all": rows[-1]}
        report = {
            "network": str(network),
            "duration_ms": duration,
            **shown,
            "seed": result.seed,
            "thresholds": recorded(result.parameters)["thresholds"],
            "ties": int(result.ties.sum()),
            "silent": int(result.silent.sum()),
            "events": result.n_events,
            "timings_s": result.timings,
            "versions": result.versions,
        }
        shared.console.print_json(data=report)
        return
    if test is None:
        _print_stimuli(str(network), rows, snn.classes)
    else:
        if is_part:
            those = f"{len(test)} images of those that are kept for testing"
            shared.say(f"{data}: {those}; --all shows all")
        _print_classes(f"{network} on {data}", rows)
    shared.say(result)
