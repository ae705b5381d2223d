"""Spike counts as arrays with named axes: for xarray, Brain-Score and rsatoolbox."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import optional_library
from cnn2snn_brian.results.hdf5 import settings_text
from cnn2snn_brian.results.tables import (
    Selection,
    item_columns,
    neuron_columns,
    row_columns,
)
from cnn2snn_brian.settings import recorded

if TYPE_CHECKING:
    from cnn2snn_brian.results.result import SimulationResult

#: What receptive fields have along x; the others are along y.
ALONG_X = ("rf_x", "rf_width", "rf_azimuth_deg", "rf_width_deg")


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
        name: [f"{name}_{axis}" for axis in ("channel", "y", "x")]
        if len(own) == 3
        else [f"{name}_unit"]
        for name, own in result.shapes.items()
    }
    coordinates: dict[str, Any] = {name: np.arange(n) for name, n in lengths.items()}
    variables: dict[str, Any] = {}
    for name, counts in result.spike_counts.items():
        said = {"long_name": f"spikes of {name}"}
        variables[name] = ((*rows, *axes[name]), by_trial(counts), said)
        if bin is not None and name in _in_each_row(result):
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
        coordinates |= _field_coordinates(result, name, axes[name], pixel_size_deg)
    taken = {*variables, *coordinates, *(axis for own in axes.values() for axis in own)}
    columns = row_columns(result, labels, (*taken, "trial"))
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
    items = item_columns(result)
    if not items["row"]:
        return {}
    place = np.array(items["row"]) // result.n_repeats, np.array(items["item"])
    shape = (result.rows.n_stimuli, 1 + max(items["item"]))
    found = {}
    for name in ("onset_s", "duration_s", "label"):
        texts = any(isinstance(value, str) for value in items[name])
        table = np.full(shape, "" if texts else np.nan, object if texts else float)
        table[place] = items[name]
        table = table.astype(str) if texts else table
        found[f"item_{name.removesuffix('_s')}"] = (("stimulus", "item"), table)
    return found


def _field_coordinates(
    result: "SimulationResult",
    name: str,
    axes: list[str],
    pixel_size_deg: float | None,
) -> dict[str, Any]:
    """Say what the neurons of a layer see, with the dimensions of its array."""
    (own,) = Selection([name], None, pixel_size_deg).of(result, [name])
    found = {}
    for what, column in own.columns.items():
        if what.startswith("rf_"):
            table, dims = column.reshape(result.shapes[name]), axes
            if len(axes) == 3:  # rows do not depend on x, nor columns on y
                along_x = what in ALONG_X
                table = table[:, 0] if along_x else table[:, :, 0]
                dims = [axes[0], axes[2 if along_x else 1]]
            found[f"{name}_{what}"] = (dims, table)
    return found


def _in_each_row(result: "SimulationResult") -> list[str]:
    """List the layers whose spikes were recorded in each row."""
    rows = range(result.n_images)
    return [
        name
        for name in result.spike_counts
        if all((name, row) in result.recorded for row in rows)
    ]


def over_time(result: "SimulationResult", layer: str, bin: Any) -> npt.NDArray[Any]:
    """Count spikes in bins of time, and say where none could be counted."""
    counts, complete = result.binned(layer, bin), result.complete_bins(layer, bin)
    if complete.all():
        return counts
    places = complete.reshape(*complete.shape, *[1] * (counts.ndim - 2))
    return np.where(places, counts, np.nan)


def _responses(
    result: "SimulationResult", selection: Selection, bin: Any
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Give counts, (rows, neurons) or (rows, neurons, bins), and columns of neurons."""
    known = [*result.spike_counts]
    if bin is not None:
        known = _in_each_row(result)
    elif selection.layers is None and selection.neurons is None:
        known = [name for name in known if name in result.parameters.thresholds]
    chosen = selection.of(result, known, "" if bin is None else " in each row")
    parts = []
    for own in chosen:
        if bin is None:
            counts = result.spike_counts[own.layer].reshape(result.n_images, -1)
        else:
            counts = over_time(result, own.layer, bin)
            counts = counts.reshape(*counts.shape[:2], -1).swapaxes(1, 2)
        parts.append(counts[:, own.index])
    return np.concatenate(parts, axis=1), neuron_columns(chosen)


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
    selection = Selection(layers, neurons, pixel_size_deg)
    counts, columns = _responses(result, selection, bin)
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
    selection = Selection(layers, neurons, pixel_size_deg)
    counts, columns = _responses(result, selection, bin)
    rows = row_columns(result, labels)
    versions = {f"version {name}": text for name, text in result.versions.items()}
    about = {"seed": str(result.seed), **versions, "settings": settings_text(result)}
    arguments: dict[str, Any] = {
        "descriptors": about,
        "obs_descriptors": {name: np.array(own) for name, own in rows.items()},
        "channel_descriptors": columns,
    }
    if bin is None:
        return data.Dataset(counts.astype(float), **arguments)
    arguments["time_descriptors"] = {"time": np.arange(counts.shape[2]) * float(bin)}
    return data.TemporalDataset(counts.astype(float), **arguments)
