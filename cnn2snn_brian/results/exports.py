"""Results for other libraries: spike trains for Neo, counts for xarray."""

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from cnn2snn_brian.checks import optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.results.columns import (
    SESSION,
    Chosen,
    Selection,
    Session,
    item_columns,
    row_columns,
    session_start,
    steps_by_neuron,
)
from cnn2snn_brian.results.hdf5 import settings_text
from cnn2snn_brian.results.neo import over_time
from cnn2snn_brian.settings import recorded
from cnn2snn_brian.spikes import SpikeData

EXTRA = "export"

#: What receptive fields have along x; the others are along y.
ALONG_X = ("rf_x", "rf_width", "rf_azimuth_deg", "rf_width_deg")

#: What an item has, apart from its row.
ITEM = ("onset_s", "duration_s", "label")


def to_neo(
    result: SpikeData,
    pictures: Iterable[int] | None = None,
    labels: Any = None,
    layers: Iterable[str] | None = None,
    *,
    silent: bool = True,
    neurons: Mapping[str, Iterable[tuple[int, ...]]] | None = None,
    pixel_size_deg: float | None = None,
    start: datetime | None = None,
) -> Any:
    """
    Make a Neo Block of recorded spikes.

    Parameters
    ----------
    result : SpikeData
        A result with recorded layers.
    pictures : iterable of int, optional
        Indices of pictures; by default all of which one of the layers was recorded.
    labels : sequence of int or str, shape (n_images,), optional
        Labels of *all* pictures of the result, or of the stimuli, kept as annotations.
    layers : iterable of str, optional
        Layers; by default all that were recorded.
    silent : bool
        Whether neurons without a spike have a SpikeTrain too, an empty one.
    neurons : dict of str to iterable of tuple of int, optional
        Neurons of a layer, as `Layers.column` and `Layers.sample` give them; by default
        all.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel; with it, receptive fields are given in
        degrees too.
    start : datetime, optional
        When the session started, with a time zone; now by default. NWBIO needs it.

    Returns
    -------
    neo.Block
        A Segment for each picture or trial, a Group for each layer. The Segment of a
        trial is annotated with ``stimulus``, ``stimulus_name``, ``repeat`` and all
        parameters of the stimulus, and its SpikeTrains end with the stimulus. Items of
        a `Sequence` are an Epoch of the Segment, the stimulus is another. Every
        SpikeTrain is annotated with ``layer``, ``channel``, ``y``, ``x``, ``picture``
        and ``label``, and with the centre and the size of its receptive field in
        pixels: ``rf_y``, ``rf_x``, ``rf_height``, ``rf_width``. Of a linear layer,
        ``channel`` is the unit, ``y`` and ``x`` are 0. Neurons are in the order
        (channel, y, x). Times are in ms, from 0 to the duration. The Block has
        ``versions``, and ``settings`` as JSON, see `read_settings`.

    Raises
    ------
    InputError
        If there is not one label for each picture, a layer was not recorded for a
        picture, a neuron does not exist, or `start` has no time zone.
    MissingLibraryError
        If Neo is not installed.
    """
    neo = optional_library("neo", EXTRA, "to_neo")
    quantities = optional_library("quantities", EXTRA, "to_neo")
    rows = row_columns(result, labels, ("picture",))
    session = Session(result)
    chosen = Selection(layers, neurons, pixel_size_deg).of(result, session.layers)
    names = [own.layer for own in chosen]
    images = sorted({image for name, image in result.recorded if name in names})
    if pictures is not None:
        images = list(pictures)
    for image in images:
        if not 0 <= image < result.n_images:
            raise InputError(f"there is no picture {image}: 0 to {result.n_images - 1}")
        for name in names if layers is not None and pictures is not None else ():
            result.spikes(name, image)  # refuses what was not recorded
    block = neo.Block(
        name="cnn2snn-brian",
        description=SESSION,
        # What NWBIO asks for.
        session_start_time=session_start(start),
        session_description=SESSION,
        identifier=str(uuid.uuid4()),
        source_script="cnn2snn-brian",
        source_script_file_name="cnn2snn-brian",
        notes=str(result),
        seed=str(result.seed),
        dt_ms=1e3 * result.dt_s,
        thresholds=recorded(result.parameters)["thresholds"],
        versions=dict(result.versions),
        settings=settings_text(result),
    )
    groups = {name: neo.Group(name=name, layer=name) for name in names}
    block.groups.extend(groups.values())
    trains: dict[str, list[Any]] = {name: [] for name in names}
    items = item_columns(result)
    of_row = np.array(items["row"], int)
    for image in images:
        segment = _segment(neo, result, image, rows)
        shown = {
            what: [items[what][k] for k in np.flatnonzero(of_row == image)]
            for what in ITEM
        }
        segment.epochs.extend(_epochs(neo, quantities, result, segment, shown))
        block.segments.append(segment)
        notes: dict[str, Any] = {"picture": image}
        told = ("stimulus", "stimulus_name", "repeat") if result.trials else ()
        for what in (*told, *(("label",) if "label" in rows else ())):
            notes[what] = rows[what][image]
        made = []
        for own in chosen:
            if (own.layer, image) in result.recorded:
                found = _spike_trains(
                    neo, quantities, result, own, image, notes, silent
                )
                trains[own.layer] += found
                made += found
        # All at once: Neo compares each new one with all that are there before.
        segment.spiketrains.extend(made)
    for name, group in groups.items():
        group.spiketrains.extend(trains[name])
    return block


def _segment(neo: Any, result: SpikeData, image: int, rows: Mapping[str, Any]) -> Any:
    """Make the Segment of a row, without its spikes."""
    name = f"picture {image}"
    own = {what: column[image] for what, column in rows.items()}
    if result.trials is None:
        for what in ("stimulus", "stimulus_name", "repeat"):
            del own[what]
    else:
        name = f"stimulus {own['stimulus']}, trial {own['repeat']}"
    segment = neo.Segment(name=name, index=image)
    segment.annotate(picture=image, **own)
    return segment


def _epochs(
    neo: Any, quantities: Any, result: SpikeData, segment: Any, items: Any
) -> list[Any]:
    """Say what was shown when: the stimulus of a row, and the items of a sequence."""
    image = segment.index
    whole = result.steps_of_row[image] * result.dt_s
    what = segment.annotations.get("stimulus_name", segment.name)
    shown = {"stimulus": ([0.0], [whole], [what])}
    if items["label"]:
        shown["items"] = tuple(items[name] for name in ITEM)  # type: ignore[assignment]
    return [
        neo.Epoch(
            times=1e3 * np.array(onsets) * quantities.ms,
            durations=1e3 * np.array(durations) * quantities.ms,
            labels=np.array(labels, dtype="U"),
            # NWBIO asks for names that no other Segment has.
            name=f"{name} of {segment.name}",
        )
        for name, (onsets, durations, labels) in shown.items()
    ]


def _spike_trains(
    neo: Any,
    quantities: Any,
    result: SpikeData,
    chosen: Chosen,
    image: int,
    notes: Mapping[str, Any],
    silent: bool,
) -> list[Any]:
    """Make the SpikeTrains of a layer, with everything that they share made once."""
    counts, steps = steps_by_neuron(result, chosen, [image])
    if not silent:
        chosen, counts = chosen.some(counts > 0), counts[counts > 0]
    times = 1e3 * (steps * result.dt_s)
    ends = [0, *np.cumsum(counts).tolist()]
    shape = result.shapes[chosen.layer]
    columns = {what: column.tolist() for what, column in chosen.columns.items()}
    if len(shape) != 3:
        columns["y"] = columns["x"] = [0] * len(counts)
    shared = {
        "t_start": quantities.Quantity(0.0, "ms"),
        "t_stop": quantities.Quantity(
            1e3 * result.steps_of_row[image] * result.dt_s, "ms"
        ),
        "sampling_rate": quantities.Quantity(1 / result.dt_s, "Hz"),
        "layer": chosen.layer,
        **notes,
    }
    axes = ("channel", "y", "x") if len(shape) == 3 else ("channel",)
    return [
        neo.SpikeTrain(
            times[first:end],
            units=quantities.ms,
            name=f"{chosen.layer} {','.join(str(own[axis]) for axis in axes)}",
            **shared,
            **own,
        )
        for (first, end), own in zip(
            pairwise(ends),
            (
                dict(zip(columns, row, strict=True))
                for row in zip(*columns.values(), strict=True)
            ),
            strict=True,
        )
    ]


def to_xarray(
    result: SpikeData,
    labels: Any = None,
    bin: Any = None,
    *,
    pixel_size_deg: float | None = None,
) -> Any:
    """
    Make an xarray Dataset of spike counts.

    Parameters
    ----------
    result : SpikeData
        The result.
    labels : sequence of int or str, shape (n_images,), optional
        Labels of the pictures, or of the stimuli, kept as a coordinate.
    bin : Quantity [s], optional
        With it, there are also the spikes in bins of time of all layers that were
        recorded in each picture or trial, as ``conv1_over_time``: float64 with NaN if
        some bins were not recorded as a whole, or are past the end of a stimulus.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel; with it, receptive fields are given in
        degrees too.

    Returns
    -------
    xarray.Dataset
        An int32 array for each layer. The first dimension is ``picture``; of trials the
        first two are ``stimulus`` and ``trial``. ``time`` (the start of a bin in
        seconds) follows where there is a `bin`. The others
        carry the layer's name, as layers differ in size: ``conv1_channel``,
        ``conv1_y``, ``conv1_x``, or ``ip1_unit`` of a linear layer. There are also
        ``output_potentials`` and the coordinates ``prediction`` and ``label``; of
        trials the names and all parameters of the stimuli; of a `Sequence`
        ``item_onset`` and ``item_duration`` in seconds and ``item_label``, by
        ``stimulus`` and ``item``; and what neurons see, as ``conv1_rf_x``, its centre,
        and ``conv1_rf_width``, in pixels. Seed, times in seconds, versions and
        thresholds (JSON) are attributes, and ``settings``, see `read_settings`.

    Raises
    ------
    InputError
        If there is not one label for each picture, or the bin can't be used.
    MissingLibraryError
        If xarray is not installed.
    """
    xarray = optional_library("xarray", EXTRA, "to_xarray")
    trials = result.trials
    rows: tuple[str, ...] = ("picture",)
    shape: tuple[int, ...] = (result.n_images,)
    if trials is not None:
        rows, shape = ("stimulus", "trial"), (trials.n_stimuli, trials.n_repeats)

    def by_trial(array: Any) -> Any:
        array = np.asarray(array)
        return array.reshape(*shape, *array.shape[1:])

    axes = {
        name: tuple(
            f"{name}_{axis}"
            for axis in (("channel", "y", "x") if len(own) == 3 else ("unit",))
        )
        for name, own in result.shapes.items()
    }
    variables: dict[str, Any] = {}
    for name, counts in result.spike_counts.items():
        said = {"long_name": f"spikes of {name}"}
        variables[name] = ((*rows, *axes[name]), by_trial(counts), said)
        whole = all((name, row) in result.recorded for row in range(result.n_images))
        if bin is not None and whole:
            dims = (*rows, "time", *axes[name])
            binned = by_trial(over_time(result, name, bin))
            variables[f"{name}_over_time"] = (dims, binned, said)
    last = result.output_layer
    potentials = result.output_potentials.reshape(-1, *result.shapes[last])
    variables["output_potentials"] = ((*rows, *axes[last]), by_trial(potentials))
    coordinates: dict[str, Any] = {
        name: np.arange(n) for name, n in zip(rows, shape, strict=True)
    }
    if bin is not None:
        n_bins = -(-result.n_steps // round(float(bin) / result.dt_s))
        coordinates["time"] = ("time", np.arange(n_bins) * float(bin))
    if trials is not None:
        coordinates |= _item_coordinates(result)
    for name in result.spike_counts:
        coordinates |= _field_coordinates(result, name, axes[name], pixel_size_deg)
    taken = {*variables, *coordinates, *(axis for own in axes.values() for axis in own)}
    columns = row_columns(result, labels, (*taken, "trial"))
    of_row = ("prediction", *(("label",) if labels is not None else ()))
    coordinates |= {name: (rows, by_trial(columns[name])) for name in of_row}
    if trials is not None:
        for name in columns.keys() - {*of_row, "stimulus", "repeat"}:
            own = columns[name][:: trials.n_repeats]
            coordinates[name] = ("stimulus", own)
    return xarray.Dataset(
        variables,
        coordinates,
        {
            "duration_s": result.duration_s,
            "dt_s": result.dt_s,
            "seed": str(result.seed),
            "thresholds": json.dumps(recorded(result.parameters)["thresholds"]),
            "versions": json.dumps(dict(result.versions)),
            "settings": settings_text(result),
        },
    )


def _item_coordinates(result: SpikeData) -> dict[str, Any]:
    """Give the items of stimuli, (stimulus, item); NaN and "" where one has fewer."""
    items, repeats = item_columns(result), result.n_repeats
    if not items["row"]:
        return {}
    n_stimuli = result.n_images // repeats
    found = {}
    for name, column in (
        ("item_onset", "onset_s"),
        ("item_duration", "duration_s"),
        ("item_label", "label"),
    ):
        values = items[column]
        texts = any(isinstance(value, str) for value in values)
        shape = (n_stimuli, 1 + max(items["item"]))
        table: Any = np.full(shape, "" if texts else np.nan, object if texts else float)
        for row, item, value in zip(items["row"], items["item"], values, strict=True):
            table[row // repeats, item] = value
        found[name] = (("stimulus", "item"), table.astype(str) if texts else table)
    return found


def _field_coordinates(
    result: SpikeData, name: str, axes: tuple[str, ...], pixel_size_deg: float | None
) -> dict[str, Any]:
    """Say what the neurons of a layer see, with the dimensions of its array."""
    (own,) = Selection([name], None, pixel_size_deg).of(result, [name])
    shape = result.shapes[name]
    found = {}
    for what, column in own.columns.items():
        if what.startswith("rf_"):
            table, dims = column.reshape(shape), axes
            if len(shape) == 3:  # rows do not depend on x, nor columns on y
                along_x = what in ALONG_X
                table = table[:, 0] if along_x else table[:, :, 0]
                dims = (axes[0], axes[2 if along_x else 1])
            found[f"{name}_{what}"] = (dims, table)
    return found
