"""Results for pynapple: spike trains of neurons, and the intervals of trials."""

from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.extras import optional_library
from cnn2snn_brian.results.columns import (
    Selection,
    item_columns,
    neuron_columns,
    row_columns,
)
from cnn2snn_brian.results.session import Session
from cnn2snn_brian.results.settings import settings_text
from cnn2snn_brian.spikes.data import SpikeData

__all__ = ["PynappleSession", "to_pynapple"]

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
        message = f"the layers {names} were recorded in different trials; choose some"
        raise InputError(message)
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
