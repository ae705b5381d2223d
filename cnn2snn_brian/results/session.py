"""The rows of a result one after another, as a session on one clock."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import from_neurons
from cnn2snn_brian.results.columns import Chosen
from cnn2snn_brian.spikes.data import SpikeData

__all__ = ["SESSION", "Session", "session_start", "steps_by_neuron"]

Steps = npt.NDArray[np.signedinteger[Any]]

#: What a session is called where a format asks for it.
SESSION = "Simulated trials of a converted CNN (cnn2snn-brian)"


def session_start(start: datetime | None) -> datetime:
    """
    Say when a session started: now, or when it is said to have.

    Parameters
    ----------
    start : datetime, optional
        With a time zone.

    Returns
    -------
    datetime
        With a time zone.

    Raises
    ------
    InputError
        If there is no time zone.
    """
    began = datetime.now(timezone.utc) if start is None else start
    if began.tzinfo is None:
        message = f"start is {start}, without a time zone"
        raise InputError(message)
    return began


def steps_by_neuron(
    result: SpikeData, chosen: Chosen, rows: Iterable[int], starts: Steps | None = None
) -> tuple[Steps, Steps]:
    """
    Put the spikes of a layer together, neuron after neuron.

    Parameters
    ----------
    result : SpikeData
        The result.
    chosen : Chosen
        Neurons of a layer.
    rows : iterable of int
        Rows that it was recorded in, in order.
    starts : ndarray of int64, shape (n_images,), optional
        First step of each row; 0 by default.

    Returns
    -------
    counts : ndarray of int64, shape (n_neurons,)
        Spikes of each of the neurons.
    steps : ndarray of int, shape (n_spikes,)
        All their steps: neuron after neuron, and of each in order of time.
    """
    shape = result.shapes[chosen.layer]
    n = len(chosen.index)
    # Which of the chosen each neuron of the Brian2 group is; n if it is none of them.
    # The smaller the type, the faster numpy sorts.
    rank = np.full(math.prod(shape), n, np.min_scalar_type(n))
    rank[from_neurons(np.arange(len(rank)), shape).ravel()[chosen.index]] = range(n)
    # Of 100 million spikes, each byte less is 100 MB.
    least: Any = np.int32 if starts is None or starts.max() < 2**30 else np.int64
    ranks, steps = [np.zeros(0, rank.dtype)], [np.zeros(0, least)]
    for row in rows:
        neuron, step = result.recorded[chosen.layer, row]
        own = rank[neuron]
        kept = own < n
        ranks.append(own[kept])
        first = 0 if starts is None else starts[row]
        steps.append(step[kept].astype(least) + least(first))
    found = np.concatenate(ranks)
    order = np.argsort(found, kind="stable")  # spikes of a neuron stay in order
    return np.bincount(found, minlength=n), np.concatenate(steps)[order]


@dataclass(frozen=True)
class Session:
    """
    All rows of a result on one clock.

    A row starts one time step after the end of the one before: an interval is closed in
    most programs, and a spike at the end of one would belong to the next one too.

    Attributes
    ----------
    result : SpikeData
        The result.
    """

    result: SpikeData

    @cached_property
    def first(self) -> Steps:
        """First step of each row."""
        ends = np.cumsum(self.result.steps_of_row + 1)
        return np.concatenate([[0], ends[:-1]]).astype(np.int64)

    @property
    def intervals(self) -> npt.NDArray[np.float64]:
        """Start and stop of each row in seconds, of shape (n_images, 2)."""
        both = np.stack([self.first, self.first + self.result.steps_of_row], axis=1)
        return np.asarray(both * self.result.dt_s)

    @property
    def layers(self) -> list[str]:
        """Layers that were recorded, in the order of the network."""
        found = {name for name, _ in self.result.recorded}
        return [name for name in self.result.shapes if name in found]

    def rows_of(self, layer: str) -> list[int]:
        """
        List the rows that a layer was recorded in.

        Parameters
        ----------
        layer : str
            The layer.

        Returns
        -------
        list of int
            In order.
        """
        return sorted(row for name, row in self.result.recorded if name == layer)

    def spikes(self, chosen: Chosen) -> tuple[Steps, npt.NDArray[np.float64]]:
        """
        Give the spike times of neurons, neuron after neuron.

        Parameters
        ----------
        chosen : Chosen
            Neurons of a layer.

        Returns
        -------
        counts : ndarray of int64, shape (n_neurons,)
            Spikes of each of the neurons.
        times : ndarray of float64, shape (n_spikes,)
            All their times in seconds, of each neuron in order.
        """
        rows = self.rows_of(chosen.layer)
        counts, steps = steps_by_neuron(self.result, chosen, rows, self.first)
        return counts, np.asarray(steps * self.result.dt_s)

    def observed(self, layer: str) -> npt.NDArray[np.float64]:
        """
        Give the intervals that a layer was recorded in.

        Parameters
        ----------
        layer : str
            The layer.

        Returns
        -------
        ndarray of float64, shape (n, 2)
            Start and stop in seconds.
        """
        result = self.result
        windows: list[list[int]] = []
        for begin, end in () if layer == result.output_layer else result.windows:
            if windows and windows[-1][1] == begin:  # intervals must not touch
                windows[-1][1] = end
            else:
                windows.append([begin, end])
        found: list[Any] = []
        for row in self.rows_of(layer):
            n_steps = int(result.steps_of_row[row])
            for begin, end in windows or [[0, n_steps]]:
                if begin < n_steps:
                    both = np.array([begin, min(end, n_steps)])
                    found.append((self.first[row] + both) * result.dt_s)
        return np.array(found).reshape(-1, 2)
