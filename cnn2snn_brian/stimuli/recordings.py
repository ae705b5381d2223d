"""Spike trains of recordings, as the libraries Neo and pynwb have them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.extras import optional_library
from cnn2snn_brian.stimuli.times import list_of_seconds, seconds

__all__ = ["trains_of_neo", "trains_of_nwb"]

#: Neurons and times of all spikes, and how long the recording is.
Trains = tuple[npt.NDArray[Any], npt.NDArray[np.float64], Quantity | None]
#: What our own exports say of a neuron's place.
PLACE = ("channel", "y", "x")


def trains_of_neo(trains: Any, index: Any) -> Trains:
    """Read trains of Neo; see `SpikeTrains.from_neo`."""
    neo = optional_library("neo", "export", "SpikeTrains.from_neo")
    trains = getattr(trains, "spiketrains", trains)
    listed = [trains] if isinstance(trains, neo.SpikeTrain) else list(trains)
    if not listed or any(not isinstance(one, neo.SpikeTrain) for one in listed):
        message = "trains: expected neo.SpikeTrain objects, or a neo.Segment with some"
        raise InputError(message)
    ends = []
    for what in ("t_start", "t_stop"):
        found = {float(getattr(one, what).rescale("s")) for one in listed}
        if max(found) - min(found) > 1e-9:
            message = (
                f"trains: their {what} is {min(found):g} to {max(found):g} s; cut them "
                "to the same time (neo.SpikeTrain.time_slice)"
            )
            raise InputError(message)
        ends.append(min(found))
    start, stop = ends
    places = None
    if all(set(PLACE) <= set(one.annotations) for one in listed):
        places = [[one.annotations[what] for what in PLACE] for one in listed]
    # A spike at the end is that of what follows; `time_slice` keeps it in both.
    end = (stop - start) * (1 - 1e-9)
    times = [one.rescale("s").magnitude - start for one in listed]
    times = [one[one < end] for one in times]
    return _joined("trains", times, index, places, (stop - start) * second)


def trains_of_nwb(
    file: Any,
    window: tuple[Quantity, Quantity] | None,
    units: Sequence[int] | None,
    index: Any,
) -> Trains:
    """Read units of an NWB file; see `SpikeTrains.from_nwb`."""
    pynwb = optional_library("pynwb", "nwb", "SpikeTrains.from_nwb")
    if not isinstance(file, pynwb.NWBFile):
        if not Path(file).is_file():
            message = f"{file}: there is no such file"
            raise InputError(message)
        try:
            source = pynwb.NWBHDF5IO(str(file), "r")
            opened = source.read()
        except Exception as error:  # h5py and hdmf raise many kinds
            message = f"{file}: not an NWB file: {type(error).__name__}: {error}"
            raise InputError(message) from error
        with source:
            return trains_of_nwb(opened, window, units, index)
    table = file.units
    if table is None or "spike_times" not in table.colnames:
        message = f"{file.identifier}: has no units with spike times"
        raise InputError(message)
    rows = list(range(len(table)) if units is None else units)
    if not set(rows) <= set(range(len(table))):
        message = f"units {rows}: the table has rows 0 to {len(table) - 1}"
        raise InputError(message)
    times = [np.asarray(table["spike_times"][row], np.float64) for row in rows]
    duration = None
    if window is not None:
        if len(window) != 2:
            message = f"window is {window!r}, expected a start and an end"
            raise InputError(message)
        start, end = (float(seconds("window", time, least=-1e-300)) for time in window)
        duration = seconds("what is shown", (end - start) * second)
        # A spike at the end of a trial is the next one's.
        slack = 1e-9 * (end - start)
        times = [one[(one >= start - slack) & (one < end - slack)] for one in times]
        times = [np.maximum(one - start, 0) for one in times]
    places = None
    if set(PLACE) <= set(table.colnames):
        places = [[int(table[what][row]) for what in PLACE] for row in rows]
    return _joined("units", times, index, places, duration)


def _joined(
    what: str, trains: Any, index: Any, places: Any, duration: Quantity | None
) -> Trains:
    """Put trains together, each with its neuron."""
    if index is None:
        index = np.arange(len(trains)) if places is None else _placed(what, places)
    neuron = np.asarray(index)
    if neuron.shape != (len(trains),):
        message = (
            f"index has the shape {neuron.shape}, but there are {len(trains)} {what}"
        )
        raise InputError(message)
    times = np.concatenate([np.zeros(0), *trains])
    lengths = [len(one) for one in trains]
    return np.repeat(neuron, lengths), list_of_seconds(times), duration


def _placed(what: str, places: Any) -> npt.NDArray[np.int64]:
    """Turn places (channel, y, x) into neurons, ordered (y, x, channel)."""
    channel, y, x = np.array(places, np.int64).reshape(-1, 3).T.clip(0)
    channels, height, width = (int(axis.max(initial=0)) + 1 for axis in (channel, y, x))
    neuron = (y * width + x) * channels + channel
    if len(np.unique(neuron)) < len(places) or len(places) < channels * height * width:
        message = (
            f"{what}: their places are not all those of one layer, each once, so that "
            "the size of the input is not known; choose those of the input, or give "
            "index=..."
        )
        raise InputError(message)
    return neuron
