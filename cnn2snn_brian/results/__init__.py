"""Results of a simulation: what users hold, save, export and look into."""

import warnings
from typing import Any

from cnn2snn_brian.results.exports import PynappleSession
from cnn2snn_brian.results.hdf5 import read_settings
from cnn2snn_brian.results.measures import (
    Correlation,
    Decisions,
    Potentials,
    Recorded,
    RecordedSpikes,
    SpikeCounts,
    Trials,
    check_one_duration,
    class_labels,
    class_numbers,
    correlation,
    decisions,
    earliest,
    tally,
)
from cnn2snn_brian.results.result import SATURATED, Readout, SimulationResult

__all__ = [
    "SATURATED",
    "Decisions",
    "Potentials",
    "PynappleSession",
    "Readout",
    "Recorded",
    "RecordedSpikes",
    "SimulationResult",
    "SpikeCounts",
    "Trials",
    "correlation",
    "read_settings",
]


def __getattr__(name: str) -> Any:
    if name != "SpikeTrains":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    said = "results.SpikeTrains is called results.RecordedSpikes since version 0.3.0"
    warnings.warn(said, DeprecationWarning, stacklevel=2)
    return RecordedSpikes
