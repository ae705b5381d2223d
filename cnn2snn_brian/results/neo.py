"""Spike trains for Neo and for pynapple."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn2snn_brian.checks import optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.results.hdf5 import settings_text
from cnn2snn_brian.results.tables import (
    SESSION,
    Chosen,
    Selection,
    Session,
    item_columns,
    neuron_columns,
    row_columns,
    session_start,
    trains,
)
from cnn2snn_brian.settings import recorded

if TYPE_CHECKING:
    from cnn2snn_brian.results.result import SimulationResult


def to_neo(
    result: "SimulationResult",
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
    result : SimulationResult
        A result with recorded layers.
    pictures : iterable of int, optional
        Indices of rows; by default all of which one of the layers was recorded.
    labels, layers, silent, neurons, pixel_size_deg
        See `SimulationResult`.
    start : datetime, optional
        When the session started, with a time zone; now by default. NWBIO needs it.

    Returns
    -------
    neo.Block
        A Segment for each picture or trial, a Group for each layer. The Segment of a
        trial is annotated with the columns of its row, and its SpikeTrains end with the
        stimulus. Items of a `Sequence` are an Epoch of the Segment, the stimulus is
        another. Every SpikeTrain is annotated with the columns of its neuron, but ``y``
        and ``x`` are 0 in a linear layer, and with ``picture`` and ``label``. Neurons
        are in the order (channel, y, x). Times are in ms, from 0 to the duration. The
        Block has ``versions`` and ``settings``.

    Raises
    ------
    InputError
        See `SimulationResult`; or if there is no such picture, or `start` has no time
        zone.
    MissingLibraryError
        If Neo is not installed.
    """
    neo = optional_library("neo", "export", "to_neo")
    rows = row_columns(result, labels, ("picture",))
    if result.trials is None:
        for what in ("stimulus", "stimulus_name", "repeat"):
            del rows[what]
    selection = Selection(layers, neurons, pixel_size_deg)
    chosen = selection.of(result, result.recorded_layers)
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
    made: dict[str, list[Any]] = {name: [] for name in names}
    for image in images:
        row = {"picture": image, **{what: own[image] for what, own in rows.items()}}
        segment = _segment(result, image, row)
        block.segments.append(segment)
        kept = ("picture", "stimulus", "stimulus_name", "repeat", "label")
        notes = {what: row[what] for what in kept if what in row}
        found = {
            own.layer: _spike_trains(result, own, image, notes, silent)
            for own in chosen
            if (own.layer, image) in result.recorded
        }
        # All at once: Neo compares each new one with all that are there before.
        segment.spiketrains.extend([one for own in found.values() for one in own])
        for name, own in found.items():
            made[name] += own
    for name, group in groups.items():
        group.spiketrains.extend(made[name])
    return block


def _segment(result: "SimulationResult", image: int, row: Mapping[str, Any]) -> Any:
    """Make the Segment of a row, which says what was shown when, without its spikes."""
    import neo
    from quantities import ms

    name = f"picture {image}"
    if result.trials is not None:
        name = f"stimulus {row['stimulus']}, trial {row['repeat']}"
    segment = neo.Segment(name=name, index=image)
    segment.annotate(**row)
    whole = result.steps_of_row[image] * result.dt_s
    shown = {"stimulus": [(0.0, whole, row.get("stimulus_name", name))]}
    if items := result.rows.items_of_row[image]:
        shown["items"] = items
    for what, parts in shown.items():
        onsets, durations, labels = zip(*parts, strict=True)
        segment.epochs.append(
            neo.Epoch(
                times=1e3 * np.array(onsets) * ms,
                durations=1e3 * np.array(durations) * ms,
                labels=np.array(labels, dtype="U"),
                # NWBIO asks for names that no other Segment has.
                name=f"{what} of {name}",
            )
        )
    return segment


def _spike_trains(
    result: "SimulationResult",
    chosen: Chosen,
    image: int,
    notes: Mapping[str, Any],
    silent: bool,
) -> list[Any]:
    """Make the SpikeTrains of a layer, with everything that they share made once."""
    import neo
    from quantities import Quantity, ms

    chosen, counts, steps = trains(result, chosen, [image], silent=silent)
    times = 1e3 * (steps * result.dt_s)
    columns = {what: column.tolist() for what, column in chosen.columns.items()}
    axes = ["channel", "y", "x"]
    if len(result.shapes[chosen.layer]) != 3:
        columns["y"] = columns["x"] = [0] * len(counts)
        axes = ["channel"]
    shared = {
        "units": ms,
        "t_start": Quantity(0.0, "ms"),
        "t_stop": Quantity(1e3 * result.steps_of_row[image] * result.dt_s, "ms"),
        "sampling_rate": Quantity(1 / result.dt_s, "Hz"),
        **notes,
    }
    found = []
    values = zip(*columns.values(), strict=True)
    ends = pairwise([0, *np.cumsum(counts).tolist()])
    for (first, end), row in zip(ends, values, strict=True):
        own = dict(zip(columns, row, strict=True))
        name = f"{chosen.layer} {','.join(str(own[axis]) for axis in axes)}"
        found.append(neo.SpikeTrain(times[first:end], name=name, **shared, **own))
    return found


#: What an IntervalSet has by itself.
OWN = ("start", "end", "index", "columns", "shape", "size", "values", "metadata")


class PynappleSession(NamedTuple):
    """
    A result as objects of pynapple, on one clock in seconds.

    Attributes
    ----------
    spikes : pynapple.TsGroup
        A spike train for each neuron, with metadata.
    trials : pynapple.IntervalSet
        An interval for each row of the result, with metadata.
    items : pynapple.IntervalSet
        An interval for each item of a `Sequence`, with metadata; empty without items.
    settings : str
        What was run, as JSON, see `read_settings`.
    """

    spikes: Any
    trials: Any
    items: Any
    settings: str


def to_pynapple(
    result: "SimulationResult",
    layers: Iterable[str] | None = None,
    labels: Any = None,
    *,
    silent: bool = True,
    neurons: Mapping[str, Iterable[tuple[int, ...]]] | None = None,
    pixel_size_deg: float | None = None,
) -> PynappleSession:
    """
    Make a TsGroup of recorded spikes and an IntervalSet of trials, for pynapple.

    See [1]_ for the library.

    Parameters
    ----------
    result : SimulationResult
        A result with recorded layers.
    layers, labels, silent, neurons, pixel_size_deg
        See `SimulationResult`.

    Returns
    -------
    PynappleSession
        ``spikes``, ``trials``, ``items`` and ``settings``. Rows of the result follow
        each other, a time step apart. Metadata are the columns of neurons, rows and
        items; an item has its ``trial`` and its place ``item``, too. The group's time
        support is when all of its layers were recorded: spikes outside of it are not in
        it.

    Raises
    ------
    InputError
        See `SimulationResult`; or if there is no time when all layers were recorded.
    MissingLibraryError
        If pynapple is not installed.

    References
    ----------
    .. [1] Viejo et al. (2023), Pynapple, a toolbox for data analysis in neuroscience,
       doi:10.7554/eLife.85786
    """
    nap = optional_library("pynapple", "pynapple", "to_pynapple")
    session = Session(result)
    selection = Selection(layers, neurons, pixel_size_deg)
    chosen = selection.of(result, result.recorded_layers)
    rows = row_columns(result, labels, OWN)
    support = reduce(
        lambda one, other: one.intersect(other),
        (nap.IntervalSet(session.observed(own.layer)) for own in chosen),
    )
    if not len(support):
        names = ", ".join(own.layer for own in chosen)
        raise InputError(
            f"the layers {names} were recorded in different trials; choose some"
        )
    kept, made = [], []
    for own, counts, times in session.trains(chosen, silent):
        kept.append(own)
        ends = pairwise([0, *np.cumsum(counts).tolist()])
        made += [nap.Ts(times[first:end], time_support=support) for first, end in ends]
    spikes = nap.TsGroup(
        dict(enumerate(made)),
        time_support=support,
        bypass_check=True,
        metadata=neuron_columns(kept),
    )
    items = {name: np.array(own) for name, own in item_columns(result).items()}
    row = items.pop("row")
    shown = nap.IntervalSet(np.zeros(0), np.zeros(0))
    if len(row):
        onsets = session.intervals[row, 0] + items.pop("onset_s")
        ends = onsets + items.pop("duration_s")
        shown = nap.IntervalSet(onsets, ends, metadata={"trial": row, **items})
    return PynappleSession(
        spikes,
        nap.IntervalSet(
            session.intervals,
            metadata={name: np.array(own) for name, own in rows.items()},
        ),
        shown,
        settings_text(result),
    )
