"""Results for pynapple: spike trains of neurons, and the intervals of trials."""

from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.results.columns import (
    Chosen,
    Selection,
    Session,
    item_columns,
    neuron_columns,
    row_columns,
)
from cnn2snn_brian.results.hdf5 import settings_text
from cnn2snn_brian.spikes import SpikeData


def over_time(result: SpikeData, layer: str, bin: Any) -> npt.NDArray[Any]:
    """Count spikes in bins of time, and say where none could be counted."""
    counts = result.binned(layer, bin)
    n_bins = counts.shape[1]
    width = round(float(bin) / result.dt_s)
    full = np.minimum(width, result.n_steps - width * np.arange(n_bins))
    complete = np.zeros((result.n_images, n_bins), bool)
    for row, n_steps in enumerate(result.steps_of_row):
        known = np.arange(n_steps)
        if layer != result.output_layer:
            known = result.recorded_steps(row)
        known = known[known < n_bins * width] // width
        complete[row] = np.bincount(known, minlength=n_bins) == full
    if complete.all():
        return counts
    places = complete.reshape(*complete.shape, *[1] * (counts.ndim - 2))
    return np.where(places, counts, np.nan)


def _responses(
    result: SpikeData, chosen: list[Chosen], bin: Any
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Give counts, (rows, neurons) or (rows, bins, neurons), and columns of neurons."""
    parts = []
    for own in chosen:
        if bin is None:
            counts: Any = result.spike_counts[own.layer]
        else:
            counts = over_time(result, own.layer, bin)
        flat = counts.reshape(*counts.shape[: 1 if bin is None else 2], -1)
        parts.append(flat[..., own.index])
    return np.concatenate(parts, axis=-1), neuron_columns(chosen)


def _chosen(result: SpikeData, selection: Selection, bin: Any) -> list[Chosen]:
    """Find layers that there are counts of, or spikes of each row to bin."""
    known = [*result.spike_counts]
    if bin is not None:
        rows = range(result.n_images)
        known = [n for n in known if all((n, row) in result.recorded for row in rows)]
    elif selection.layers is None and selection.neurons is None:
        layers = result.parameters.thresholds
        known = [name for name in known if name in layers]
    return selection.of(result, known, "" if bin is None else " in each row")


def to_assembly(
    result: SpikeData,
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
    result : SpikeData
        The result.
    layers : iterable of str, optional
        Layers (or ``input``); by default all, or with `bin` all that were recorded in
        each row.
    labels : sequence of int or str, optional
        Labels of all rows, or of the stimuli.
    bin : Quantity [s], optional
        Width of bins of time, for spikes over time; without it, spikes of a whole
        presentation.
    neurons : dict of str to iterable of tuple of int, optional
        Neurons of a layer, as `Layers.column` and `Layers.sample` give them; by default
        all.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel; with it, receptive fields are given in
        degrees too.

    Returns
    -------
    xarray.DataArray
        Spikes, with the dimensions ``presentation``, ``neuroid`` and, with `bin`,
        ``time_bin``. Coordinates of a presentation are ``stimulus_id`` (its index),
        ``stimulus_name``, ``repetition``, ``prediction``, ``label`` and the parameters
        of the stimulus; of a neuroid ``neuroid_id``, ``layer``, ``channel``, ``y``,
        ``x`` (-1 in a linear layer), and the centre and size of its receptive field in
        pixels; of a bin ``time_bin_start`` and ``time_bin_end`` in ms. Counts are
        int32; with a bin that was not recorded as a whole, or is past the end of its
        stimulus, float64 with NaN. ``settings`` is JSON, see `read_settings`.

    Raises
    ------
    InputError
        If a layer or neuron does not exist, was not recorded, or there is not one label
        for each row.
    MissingLibraryError
        If xarray is not installed.

    References
    ----------
    .. [1] Schrimpf et al. (2020), Integrative Benchmarking to Advance Neurally
       Mechanistic Models of Human Intelligence, doi:10.1016/j.neuron.2020.07.040
    """
    xarray = optional_library("xarray", "export", "to_assembly")
    chosen = _chosen(result, Selection(layers, neurons, pixel_size_deg), bin)
    counts, columns = _responses(result, chosen, bin)
    named = {"stimulus": "stimulus_id", "repeat": "repetition"}
    taken = {*columns, "neuroid_id", "time_bin_start", "time_bin_end"}
    rows = row_columns(result, labels, (*taken, *named.values()))
    coordinates: dict[str, Any] = {
        named.get(name, name): ("presentation", column) for name, column in rows.items()
    }
    coordinates["neuroid_id"] = ("neuroid", _ids(columns))
    coordinates |= {name: ("neuroid", column) for name, column in columns.items()}
    dims = ["presentation", "neuroid"]
    if bin is not None:
        counts = np.moveaxis(counts, 1, 2)
        dims.append("time_bin")
        starts = np.arange(counts.shape[2]) * float(bin) * 1e3
        coordinates["time_bin_start"] = ("time_bin", starts)
        ends = np.minimum(starts + float(bin) * 1e3, result.duration_s * 1e3)
        coordinates["time_bin_end"] = ("time_bin", ends)
    attributes = {"settings": settings_text(result), "units": "spikes"}
    return xarray.DataArray(counts, coordinates, dims, name="spikes", attrs=attributes)


def _ids(columns: Mapping[str, Any]) -> list[str]:
    """Name neurons, as ``conv1.3.0.7`` or ``ip1.4``."""
    places = zip(
        *(columns[name].tolist() for name in ("layer", "channel", "y", "x")),
        strict=True,
    )
    return [
        f"{layer}.{channel}" if y < 0 else f"{layer}.{channel}.{y}.{x}"
        for layer, channel, y, x in places
    ]


def to_rsatoolbox(
    result: SpikeData,
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
    result : SpikeData
        The result.
    layers : iterable of str, optional
        Layers (or ``input``); by default all, or with `bin` all that were recorded in
        each row. ``dataset.split_channel("layer")`` gives one data set for each.
    labels : sequence of int or str, optional
        Labels of all rows, or of the stimuli.
    bin : Quantity [s], optional
        Width of bins of time, for a `TemporalDataset`.
    neurons : dict of str to iterable of tuple of int, optional
        Neurons of a layer, as `Layers.column` and `Layers.sample` give them; by default
        all.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel; with it, receptive fields are given in
        degrees too.

    Returns
    -------
    rsatoolbox.data.Dataset or rsatoolbox.data.TemporalDataset
        Spikes as float64, of shape (n_images, n_neurons), or (n_images, n_neurons,
        n_bins). Descriptors of observations are ``stimulus``, ``stimulus_name``,
        ``repeat``, ``prediction``, ``label`` and the parameters of the stimulus; of
        channels (neurons) ``layer``, ``channel``, ``y``, ``x`` and the receptive
        fields; of time ``time``, the start of a bin in seconds. Descriptors of the data
        set are the seed, the versions and ``settings`` as JSON, see `read_settings`.
        Bins that were not recorded as a whole are NaN.

    Raises
    ------
    InputError
        If a layer or neuron does not exist, was not recorded, or there is not one label
        for each row.
    MissingLibraryError
        If rsatoolbox is not installed.

    References
    ----------
    .. [1] Nili et al. (2014), A Toolbox for Representational Similarity Analysis,
       doi:10.1371/journal.pcbi.1003553
    """
    data = optional_library("rsatoolbox.data", "rsatoolbox", "to_rsatoolbox")
    chosen = _chosen(result, Selection(layers, neurons, pixel_size_deg), bin)
    counts, columns = _responses(result, chosen, bin)
    rows = row_columns(result, labels)
    about = {
        "seed": str(result.seed),
        **{f"version {name}": version for name, version in result.versions.items()},
        "settings": settings_text(result),
    }
    arguments: dict[str, Any] = {
        "descriptors": about,
        "obs_descriptors": {name: np.array(own) for name, own in rows.items()},
        "channel_descriptors": {name: np.array(own) for name, own in columns.items()},
    }
    if bin is None:
        return data.Dataset(counts.astype(float), **arguments)
    arguments["time_descriptors"] = {"time": np.arange(counts.shape[1]) * float(bin)}
    return data.TemporalDataset(np.moveaxis(counts, 1, 2).astype(float), **arguments)


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
    result: SpikeData,
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
    result : SpikeData
        A result with recorded layers.
    layers : iterable of str, optional
        Layers; by default all that were recorded.
    labels : sequence of int or str, optional
        Labels of all rows, or of the stimuli.
    silent : bool
        Whether neurons without a spike are in the group too.
    neurons : dict of str to iterable of tuple of int, optional
        Neurons of a layer, as `Layers.column` and `Layers.sample` give them; by default
        all.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel; with it, receptive fields are given in
        degrees too.

    Returns
    -------
    PynappleSession
        ``spikes``, ``trials``, ``items`` and ``settings``. Rows of the result follow
        each other, a time step apart. The group has the metadata ``layer``,
        ``channel``, ``y``, ``x`` (-1 in a linear layer), and the centre and size of the
        receptive field in pixels; trials have ``stimulus``, ``stimulus_name``,
        ``repeat``, ``prediction``, ``label`` and the parameters of the stimulus; items
        have ``trial``, ``item`` and ``label``. The group's time support is when all of
        its layers were recorded: spikes outside of it are not in it.

    Raises
    ------
    InputError
        If a layer was not recorded, a neuron does not exist, there is not one label for
        each row, or there is no time when all layers were recorded.
    MissingLibraryError
        If pynapple is not installed.

    References
    ----------
    .. [1] Viejo et al. (2023), Pynapple, a toolbox for data analysis in neuroscience,
       doi:10.7554/eLife.85786
    """
    nap = optional_library("pynapple", "pynapple", "to_pynapple")
    session = Session(result)
    chosen = Selection(layers, neurons, pixel_size_deg).of(result, session.layers)
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
    trains: list[Any] = []
    parts = []
    for own in chosen:
        counts, times = session.spikes(own)
        if not silent:
            own, counts = own.some(counts > 0), counts[counts > 0]
        parts.append(own)
        ends = [0, *np.cumsum(counts).tolist()]
        trains += [
            nap.Ts(times[first:end], time_support=support)
            for first, end in pairwise(ends)
        ]
    return PynappleSession(
        nap.TsGroup(
            dict(enumerate(trains)),
            time_support=support,
            bypass_check=True,
            metadata=neuron_columns(parts),
        ),
        nap.IntervalSet(session.intervals, metadata=_arrays(rows)),
        _items(nap, result, session),
        settings_text(result),
    )


def _arrays(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.array(column) for name, column in columns.items()}


def _items(nap: Any, result: SpikeData, session: Session) -> Any:
    items = item_columns(result)
    onsets, durations = (
        np.array(items.pop(name)) for name in ("onset_s", "duration_s")
    )
    if not len(onsets):
        return nap.IntervalSet(np.zeros(0), np.zeros(0))
    onsets = session.intervals[items["row"], 0] + onsets
    metadata = _arrays({"trial": items.pop("row"), **items})
    return nap.IntervalSet(onsets, onsets + durations, metadata=metadata)
