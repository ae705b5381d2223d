"""Results for NWB: units and trials in one file, as laboratories exchange them."""

import math
import os
import uuid
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

import h5py
import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.extras import optional_library
from cnn2snn_brian.files import written_from_memory
from cnn2snn_brian.layers.order import from_neurons
from cnn2snn_brian.spikes.data import SpikeData

__all__ = ["to_nwb"]

EXTRA = "nwb"
PURPOSE = "to_nwb"

#: Columns of the units, which say where a neuron is.
PLACES = {
    "layer": "layer of the network, or input",
    "channel": "channel of the neuron, or the unit of a linear layer",
    "y": "row of the neuron; -1 in a linear layer",
    "x": "column of the neuron; -1 in a linear layer",
}


def to_nwb(
    result: SpikeData,
    path: str | os.PathLike[str],
    layers: Iterable[str] | None = None,
    *,
    silent: bool = True,
    start: datetime | None = None,
    description: str = "Simulated trials of a converted CNN (cnn2snn-brian)",
) -> None:
    """
    Write recorded spikes to an NWB file [1]_.

    Parameters
    ----------
    result : SpikeData
        A result with recorded layers.
    path : path-like
        The file, by custom with the suffix ``.nwb``. It is written whole or not at all.
    layers : iterable of str, optional
        Layers; by default all that were recorded.
    silent : bool
        Whether neurons without a spike are units too.
    start : datetime, optional
        When the session started, with a time zone; now by default.
    description : str
        What the session was.

    Raises
    ------
    InputError
        If a layer was not recorded, or `start` has no time zone.
    MissingLibraryError
        If pynwb is not installed.
    FileNotFoundError
        If the folder of `path` does not exist.
    WriteError
        If the disk is full, or the like.

    Notes
    -----
    A session is continuous: trials follow each other without a gap, in the order of the
    result's rows. The table ``trials`` has start and stop in seconds, ``stimulus``,
    ``stimulus_name`` and ``repeat``, and a column for each parameter that stimuli were
    made with. ``units`` has spike times, the intervals that a unit was recorded in, and
    the columns ``layer``, ``channel``, ``y`` and ``x``.

    References
    ----------
    .. [1] Ruebel et al. (2022), The Neurodata Without Borders ecosystem for
       neurophysiological data science, doi:10.7554/eLife.78362
    """
    pynwb = optional_library("pynwb", EXTRA, PURPOSE)
    found = {name for name, _ in result.recorded}
    names = [name for name in result.spike_counts if name in found]
    if layers is not None:
        names = list(layers)
    for name in names:
        if name not in found:
            message = (
                f"spikes of {name!r} were not recorded; recorded are "
                f"{', '.join(sorted(found))}. Ask for them: run(..., record=[{name!r}])"
            )
            raise InputError(message)
    began = datetime.now(timezone.utc) if start is None else start
    if began.tzinfo is None:
        message = f"start is {start}, without a time zone"
        raise InputError(message)
    file = pynwb.NWBFile(
        session_description=description,
        identifier=str(uuid.uuid4()),
        session_start_time=began,
        source_script="cnn2snn-brian",
        source_script_file_name="cnn2snn-brian",
        notes=str(result),
    )
    ends = np.cumsum(result.steps_of_row) * result.dt_s
    starts = np.concatenate([[0.0], ends[:-1]])
    _add_trials(file, result, starts, ends)
    file.units = _units(result, names, starts, silent)
    with (
        written_from_memory(path) as image,
        h5py.File(image, "w") as whole,
        pynwb.NWBHDF5IO(file=whole, mode="w") as output,
    ):
        output.write(file)


def _add_trials(file: Any, result: SpikeData, starts: Any, ends: Any) -> None:
    trials = result.trials
    names: Any = (
        [f"image {row}" for row in range(result.n_images)]
        if trials is None
        else np.repeat(trials.names, trials.n_repeats)
    )
    own = {} if trials is None else dict(enumerate(trials.parameters))
    parameters = list(dict.fromkeys(key for values in own.values() for key in values))
    file.add_trial_column("stimulus", "index of the stimulus, or of the image")
    file.add_trial_column("stimulus_name", "name of the stimulus")
    file.add_trial_column("repeat", "repeat of the stimulus, from 0")
    file.add_trial_column("prediction", "index of the class with the most spikes")
    for name in parameters:
        file.add_trial_column(name, f"{name} of the stimulus; NaN if it has none")
    rows = zip(
        starts,
        ends,
        result.stimulus_of_row.tolist(),
        names,
        result.repeat_of_row.tolist(),
        result.predictions.tolist(),
        strict=True,
    )
    for begin, end, stimulus, name, repeat, prediction in rows:
        values = own.get(stimulus, {})
        file.add_trial(
            start_time=float(begin),
            stop_time=float(end),
            stimulus=stimulus,
            stimulus_name=str(name),
            repeat=repeat,
            prediction=prediction,
            **{key: float(values.get(key, np.nan)) for key in parameters},
        )


def _observed(result: SpikeData, name: str, rows: list[int], starts: Any) -> Any:
    """Intervals that a layer was recorded in, of shape (n, 2), in seconds."""
    found = []
    for row in rows:
        n_steps = int(result.steps_of_row[row])
        windows = result.windows if name != result.output_layer else ()
        for first, behind in windows or ((0, n_steps),):
            if first < n_steps:
                steps = np.array([first, min(behind, n_steps)])
                found.append(starts[row] + steps * result.dt_s)
    return np.array(found).reshape(-1, 2)


def _spikes_of_layer(
    result: SpikeData, name: str, rows: list[int], starts: Any
) -> tuple[Any, Any]:
    """
    Put the spikes of a layer together, neuron after neuron.

    Neurons are in the order of the layer's arrays, channels first: their numbers of
    spikes, and all times.
    """
    shape = result.shapes[name]
    n = math.prod(shape)
    # The place of each neuron in the layer's arrays.
    place = np.empty(n, np.int64)
    place[from_neurons(np.arange(n), shape).ravel()] = np.arange(n)
    parts = [result.recorded[name, row] for row in rows]
    neuron = np.concatenate([place[neuron] for neuron, _ in parts])
    times = np.concatenate(
        [
            starts[row] + step * result.dt_s
            for row, (_, step) in zip(rows, parts, strict=True)
        ]
    )
    order = np.argsort(neuron, kind="stable")  # spikes of a neuron stay in order
    return np.bincount(neuron, minlength=n), times[order]


def _units(result: SpikeData, names: list[str], starts: Any, silent: bool) -> Any:
    """Make the table of units, whole columns at once: rows one by one take minutes."""
    common = optional_library("hdmf.common", EXTRA, PURPOSE)
    misc = optional_library("pynwb.misc", EXTRA, PURPOSE)
    values: dict[str, list[Any]] = {name: [] for name in (*PLACES, "counts", "spikes")}
    seen, lengths = [np.zeros((0, 2))], []
    for name in names:
        rows = sorted(row for layer, row in result.recorded if layer == name)
        counts, times = _spikes_of_layer(result, name, rows, starts)
        chosen = np.flatnonzero(counts) if not silent else np.arange(len(counts))
        at = np.unravel_index(chosen, result.shapes[name])
        none = np.full(len(chosen), -1)
        values["layer"] += [name] * len(chosen)
        for what, column in zip(
            ("channel", "y", "x"),
            at if len(at) == 3 else (*at, none, none),
            strict=True,
        ):
            values[what] += column.tolist()
        values["counts"].append(counts[chosen])
        values["spikes"].append(times)
        intervals = _observed(result, name, rows, starts)
        seen += [intervals] * len(chosen)
        lengths += [len(intervals)] * len(chosen)
    columns = [
        common.VectorData(name=what, description=said, data=values[what])
        for what, said in PLACES.items()
    ]
    ragged = {
        "spike_times": (np.concatenate(values["spikes"]), values["counts"]),
        "obs_intervals": (np.concatenate(seen), [np.array(lengths, int)]),
    }
    for what, (data, parts) in ragged.items():
        column = common.VectorData(name=what, description=f"{what}, in s", data=data)
        ends = np.cumsum(np.concatenate(parts))
        columns.append(
            common.VectorIndex(name=f"{what}_index", data=ends, target=column)
        )
        columns.append(column)
    return misc.Units(
        name="units",
        description="neurons of the recorded layers",
        columns=columns,
        colnames=[*PLACES, *ragged],
    )
