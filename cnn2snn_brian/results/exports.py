"""Results for other libraries: Neo, pynapple, xarray, Brain-Score and rsatoolbox."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_index, optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.results import tables
from cnn2snn_brian.results.hdf5 import settings_text
from cnn2snn_brian.results.measures import AXES
from cnn2snn_brian.settings import recorded

if TYPE_CHECKING:
    from cnn2snn_brian.results.result import SimulationResult

#: What an IntervalSet of pynapple has by itself.
OWN = ("start", "end", "index", "columns", "shape", "size", "values", "metadata")

#: Columns of rows that each SpikeTrain of Neo has, too.
TRAIN_NOTES = ("picture", "stimulus", "stimulus_name", "repeat", "label")


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
    rows = tables.row_columns(result, labels, ("picture",))
    if result.trials is None:
        for what in ("stimulus", "stimulus_name", "repeat"):
            del rows[what]
    session = tables.Session(result, layers, neurons, pixel_size_deg, silent)
    names = [own.layer for own in session.chosen]
    images = sorted({image for name, image in result.recorded if name in names})
    if pictures is not None:
        images = list(pictures)
    for image in images:
        check_index("picture", image, result.n_images)
        for name in names if layers is not None and pictures is not None else ():
            result.spikes(name, image)  # refuses what was not recorded
    block = neo.Block(
        name="cnn2snn-brian",
        description=tables.SESSION,
        # NWBIO needs it.
        **tables.session_record(result, start),
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
        segment = _segment(neo, result, row)
        block.segments.append(segment)
        notes = {what: row[what] for what in TRAIN_NOTES if what in row}
        trains = []
        for own in session.chosen:
            if (own.layer, image) in result.recorded:
                found = _spike_trains(neo, session, own, notes)
                made[own.layer] += found
                trains += found
        # All at once: Neo compares each new one with all that are there before.
        segment.spiketrains.extend(trains)
    for name, group in groups.items():
        group.spiketrains.extend(made[name])
    return block


def _segment(neo: Any, result: "SimulationResult", row: Mapping[str, Any]) -> Any:
    """Make the Segment of a row, which says what was shown when, without its spikes."""
    image = row["picture"]
    name = f"picture {image}"
    if result.trials is not None:
        name = f"stimulus {row['stimulus']}, trial {row['repeat']}"
    segment = neo.Segment(name=name, index=image)
    segment.annotate(**row)
    whole = 0.0, result.steps_of_row[image] * result.dt_s
    shown = {
        "stimulus": [(*whole, row.get("stimulus_name", name))],
        "items": result.rows.items_of_row[image],
    }
    for what, parts in shown.items():
        if parts:
            onsets, durations, labels = zip(*parts, strict=True)
            times = 1e3 * np.array([onsets, durations])
            epoch = neo.Epoch(*times, np.array(labels, dtype="U"), "ms")
            # NWBIO asks for names that no other Segment has.
            epoch.name = f"{what} of {name}"
            segment.epochs.append(epoch)
    return segment


def _spike_trains(
    neo: Any, session: tables.Session, chosen: tables.Chosen, notes: Mapping[str, Any]
) -> list[Any]:
    """Make the SpikeTrains of a layer, with everything that they share made once."""
    from quantities import Quantity, ms

    result, image = session.result, notes["picture"]
    known, counts, steps = session.trains(chosen, [image])
    times = 1e3 * ((steps - session.first[image]) * result.dt_s)
    columns = {what: column.tolist() for what, column in known.items()}
    axes = ["channel", "y", "x"][: len(result.shapes[chosen.layer])]
    if len(axes) == 1:
        columns["y"] = columns["x"] = [0] * len(counts)
    shared = {
        "units": ms,
        "t_start": Quantity(0.0, "ms"),
        "t_stop": Quantity(1e3 * result.steps_of_row[image] * result.dt_s, "ms"),
        "sampling_rate": Quantity(1 / result.dt_s, "Hz"),
        **notes,
    }
    found = []
    parts = np.split(times, np.cumsum(counts))
    for train, values in zip(parts, zip(*columns.values(), strict=True), strict=False):
        own = dict(zip(columns, values, strict=True))
        name = f"{chosen.layer} {','.join(str(own[axis]) for axis in axes)}"
        found.append(neo.SpikeTrain(train, name=name, **shared, **own))
    return found


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
    session = tables.Session(result, layers, neurons, pixel_size_deg, silent)
    rows = tables.row_columns(result, labels, OWN)
    support = reduce(
        lambda one, other: one.intersect(other),
        (nap.IntervalSet(session.observed(own.layer)) for own in session.chosen),
    )
    if not len(support):
        names = ", ".join(own.layer for own in session.chosen)
        raise InputError(
            f"the layers {names} were recorded in different trials; choose some"
        )
    kept, made = [], []
    for own, counts, steps in map(session.trains, session.chosen):
        kept.append(own)
        made += np.split(steps * result.dt_s, np.cumsum(counts))[:-1]
    spikes = nap.TsGroup(
        {k: nap.Ts(times, time_support=support) for k, times in enumerate(made)},
        time_support=support,
        bypass_check=True,
        metadata=tables.neuron_columns(kept),
    )
    described = {name: np.array(own) for name, own in rows.items()}
    trials = nap.IntervalSet(session.intervals, metadata=described)
    starts, stops, items = session.items
    # Metadata of no intervals would be columns without a type.
    about = (
        {name: np.array(own) for name, own in items.items()} if len(starts) else None
    )
    shown = nap.IntervalSet(starts, stops, metadata=about)
    return PynappleSession(spikes, trials, shown, settings_text(result))


def to_xarray(
    result: "SimulationResult",
    labels: Any = None,
    bin: Any = None,
    *,
    pixel_size_deg: float | None = None,
) -> Any:
    """
    Make an xarray Dataset of spike counts.

    Parameters
    ----------
    result : SimulationResult
        The result.
    labels, pixel_size_deg
        See `SimulationResult`.
    bin : Quantity [s], optional
        See `SimulationResult`: with it, there are also the spikes in bins of time of
        all layers that were recorded in each row, as ``conv1_over_time``.

    Returns
    -------
    xarray.Dataset
        An int32 array for each layer. The first dimension is ``picture``; of trials the
        first two are ``stimulus`` and ``trial``. ``time`` (the start of a bin in
        seconds) follows where there is a `bin`. The others carry the layer's name, as
        layers differ in size: ``conv1_channel``, ``conv1_y``, ``conv1_x``, or
        ``ip1_unit`` of a linear layer. There are also ``output_potentials`` and the
        coordinates ``prediction`` and ``label``; of trials the names and all parameters
        of the stimuli; of a `Sequence` ``item_onset`` and ``item_duration`` in seconds
        and ``item_label``, by ``stimulus`` and ``item``; and what neurons see, as
        ``conv1_rf_x``. Seed, times in seconds, versions and thresholds (JSON) are
        attributes, and ``settings``.

    Raises
    ------
    InputError
        See `SimulationResult`; or if the bin can't be used.
    MissingLibraryError
        If xarray is not installed.
    """
    xarray = optional_library("xarray", "export", "to_xarray")
    trials, last = result.trials, result.output_layer
    lengths = {"picture": result.n_images}
    if trials is not None:
        lengths = {"stimulus": trials.n_stimuli, "trial": trials.n_repeats}
    rows = (*lengths,)

    def by_trial(array: Any) -> Any:
        return np.reshape(array, (*lengths.values(), *np.shape(array)[1:]))

    axes = {
        name: [f"{name}_{axis}" for axis in AXES[len(shape)]]
        for name, shape in result.shapes.items()
    }
    coordinates: dict[str, Any] = {name: np.arange(n) for name, n in lengths.items()}
    variables: dict[str, Any] = {}
    over_bins = [] if bin is None else _in_each_row(result)
    for name, counts in result.spike_counts.items():
        said = {"long_name": f"spikes of {name}"}
        variables[name] = ((*rows, *axes[name]), by_trial(counts), said)
        if name in over_bins:
            binned = by_trial(over_time(result, name, bin))
            dims = (*rows, "time", *axes[name])
            variables[f"{name}_over_time"] = (dims, binned, said)
    if bin is not None:
        n_bins = result.complete_bins(last, bin).shape[1]
        coordinates["time"] = ("time", np.arange(n_bins) * float(bin))
    potentials = result.output_potentials.reshape(-1, *result.shapes[last])
    variables["output_potentials"] = ((*rows, *axes[last]), by_trial(potentials))
    coordinates |= _item_coordinates(result)
    for name in result.spike_counts:
        fields = tables.field_tables(result, name, pixel_size_deg)
        for what, (axis, table) in fields.items():
            # Rows don't depend on x, nor columns on y.
            channel, *on_map = axes[name]
            dims = (channel, on_map[axis]) if on_map else (channel,)
            seen = table if on_map else table[:, 0]
            coordinates[f"{name}_{what}"] = (dims, seen)
    taken = {*variables, *coordinates, *(axis for own in axes.values() for axis in own)}
    columns = tables.row_columns(result, labels, (*taken, "trial"))
    for name, column in columns.items():
        if name in ("prediction", "label"):
            coordinates[name] = (rows, by_trial(column))
        elif trials is not None and name not in ("stimulus", "repeat"):
            coordinates[name] = ("stimulus", column[:: trials.n_repeats])
    attributes = {
        "duration_s": result.duration_s,
        "dt_s": result.dt_s,
        "seed": str(result.seed),
        "thresholds": json.dumps(recorded(result.parameters)["thresholds"]),
        "versions": json.dumps(dict(result.versions)),
        "settings": settings_text(result),
    }
    return xarray.Dataset(variables, coordinates, attributes)


def _item_coordinates(result: "SimulationResult") -> dict[str, Any]:
    """Give the items of stimuli, (stimulus, item); NaN and "" where one has fewer."""
    items = tables.item_columns(result)
    if not items["row"]:
        return {}
    place = np.array(items["row"]) // result.n_repeats, np.array(items["item"])
    shape = (result.rows.n_stimuli, 1 + max(items["item"]))
    found = {}
    for name in ("onset_s", "duration_s", "label"):
        values = np.array(items[name])
        table = np.full(shape, "" if values.dtype.kind == "U" else np.nan, object)
        table[place] = values
        kind = str if values.dtype.kind == "U" else float
        found[f"item_{name.removesuffix('_s')}"] = (
            ("stimulus", "item"),
            table.astype(kind),
        )
    return found


def _in_each_row(result: "SimulationResult") -> list[str]:
    """List the layers whose spikes were recorded in each row."""
    n_rows = Counter(name for name, _ in result.recorded)
    return [name for name in result.spike_counts if n_rows[name] == result.n_images]


def over_time(result: "SimulationResult", layer: str, bin: Any) -> npt.NDArray[Any]:
    """Count spikes in bins of time, and say where none could be counted."""
    counts, complete = result.binned(layer, bin), result.complete_bins(layer, bin)
    if complete.all():
        return counts
    places = complete.reshape(*complete.shape, *[1] * (counts.ndim - 2))
    return np.where(places, counts, np.nan)


def _responses(
    session: tables.Session, bin: Any
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Give counts, (rows, neurons) or (rows, neurons, bins), and columns of neurons."""
    result, when = session.result, "" if bin is None else " in each row"
    known = [*result.spike_counts] if bin is None else _in_each_row(result)
    if bin is None and session.layers is None and session.neurons is None:
        known = [name for name in known if name in result.parameters.thresholds]
    parts, chosen = [], session.select(known, when)
    for own in chosen:
        if bin is None:
            counts = result.spike_counts[own.layer].reshape(result.n_images, -1)
        else:
            counts = over_time(result, own.layer, bin)
            counts = counts.reshape(*counts.shape[:2], -1).swapaxes(1, 2)
        parts.append(counts[:, own.places])
    return np.concatenate(parts, axis=1), tables.neuron_columns(
        [own.columns for own in chosen]
    )


def to_assembly(
    result: "SimulationResult",
    layers: Iterable[str] | None = None,
    labels: Any = None,
    bin: Any = None,
    *,
    neurons: Mapping[str, Iterable[tuple[int, ...]]] | None = None,
    pixel_size_deg: float | None = None,
) -> Any:
    """
    Make an xarray DataArray with the dimensions of Brain-Score's assemblies.

    Brain-Score [1]_ compares models with the brain by these.

    Parameters
    ----------
    result : SimulationResult
        The result.
    layers : iterable of str, optional
        Layers (or ``input``); by default all, or with `bin` all that were recorded in
        each row.
    labels, bin, neurons, pixel_size_deg
        See `SimulationResult`. Without `bin`, spikes are those of a whole presentation.

    Returns
    -------
    xarray.DataArray
        Spikes, with the dimensions ``presentation``, ``neuroid`` and, with `bin`,
        ``time_bin``. Coordinates of a presentation are the columns of rows, but
        ``stimulus_id`` and ``repetition`` are what Brain-Score calls ``stimulus`` and
        ``repeat``; of a neuroid ``neuroid_id`` and the columns of neurons; of a bin
        ``time_bin_start`` and ``time_bin_end`` in ms. Counts are int32 unless one is
        NaN. ``settings`` is an attribute.

    Raises
    ------
    InputError
        See `SimulationResult`.
    MissingLibraryError
        If xarray is not installed.

    References
    ----------
    .. [1] Schrimpf et al. (2020), Integrative Benchmarking to Advance Neurally
       Mechanistic Models of Human Intelligence, doi:10.1016/j.neuron.2020.07.040
    """
    xarray = optional_library("xarray", "export", "to_assembly")
    session = tables.Session(result, layers, neurons, pixel_size_deg)
    counts, columns = _responses(session, bin)
    named = {"stimulus": "stimulus_id", "repeat": "repetition"}
    taken = {*columns, "neuroid_id", "time_bin_start", "time_bin_end"}
    rows = tables.row_columns(result, labels, (*taken, *named.values()))
    coordinates: dict[str, Any] = {
        named.get(name, name): ("presentation", column) for name, column in rows.items()
    }
    coordinates["neuroid_id"] = ("neuroid", _ids(columns))
    coordinates |= {name: ("neuroid", column) for name, column in columns.items()}
    dims = ["presentation", "neuroid"]
    if bin is not None:
        dims.append("time_bin")
        starts = np.arange(counts.shape[2]) * float(bin) * 1e3
        ends = np.minimum(starts + float(bin) * 1e3, result.duration_s * 1e3)
        coordinates["time_bin_start"] = ("time_bin", starts)
        coordinates["time_bin_end"] = ("time_bin", ends)
    attributes = {"settings": settings_text(result), "units": "spikes"}
    return xarray.DataArray(counts, coordinates, dims, name="spikes", attrs=attributes)


def _ids(columns: Mapping[str, Any]) -> list[str]:
    """Name neurons, as ``conv1.3.0.7`` or ``ip1.4``."""
    parts = (columns[name].tolist() for name in ("layer", "channel", "y", "x"))
    return [
        f"{layer}.{channel}" if y < 0 else f"{layer}.{channel}.{y}.{x}"
        for layer, channel, y, x in zip(*parts, strict=True)
    ]


def to_rsatoolbox(
    result: "SimulationResult",
    layers: Iterable[str] | None = None,
    labels: Any = None,
    bin: Any = None,
    *,
    neurons: Mapping[str, Iterable[tuple[int, ...]]] | None = None,
    pixel_size_deg: float | None = None,
) -> Any:
    """
    Make a data set of rsatoolbox, for representational similarity analysis.

    See [1]_ for the library.

    Parameters
    ----------
    result : SimulationResult
        The result.
    layers : iterable of str, optional
        As of `to_assembly`. ``dataset.split_channel("layer")`` gives one data set for
        each.
    labels, bin, neurons, pixel_size_deg
        See `SimulationResult`. With `bin`, the data set is a `TemporalDataset`.

    Returns
    -------
    rsatoolbox.data.Dataset or rsatoolbox.data.TemporalDataset
        Spikes as float64, of shape (n_images, n_neurons), or (n_images, n_neurons,
        n_bins). Descriptors of observations are the columns of rows, those of channels
        the columns of neurons; of time there is ``time``, the start of a bin in
        seconds. Descriptors of the data set are the seed, the versions and
        ``settings``.

    Raises
    ------
    InputError
        See `SimulationResult`.
    MissingLibraryError
        If rsatoolbox is not installed.

    References
    ----------
    .. [1] Nili et al. (2014), A Toolbox for Representational Similarity Analysis,
       doi:10.1371/journal.pcbi.1003553
    """
    data = optional_library("rsatoolbox.data", "rsatoolbox", "to_rsatoolbox")
    session = tables.Session(result, layers, neurons, pixel_size_deg)
    counts, columns = _responses(session, bin)
    rows = tables.row_columns(result, labels)
    versions = {f"version {name}": text for name, text in result.versions.items()}
    about = {"seed": str(result.seed), **versions, "settings": settings_text(result)}
    described = {name: np.array(own) for name, own in rows.items()}
    if bin is None:
        return data.Dataset(counts.astype(float), about, described, columns)
    times = {"time": np.arange(counts.shape[2]) * float(bin)}
    return data.TemporalDataset(counts.astype(float), about, described, columns, times)
