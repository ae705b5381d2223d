"""Results of a simulation: what users hold, save, export and look into."""

from cnn2snn_brian.results.hdf5 import read_settings
from cnn2snn_brian.results.neo import PynappleSession
from cnn2snn_brian.results.result import SimulationResult
from cnn2snn_brian.spikes.data import (
    SATURATED,
    Potentials,
    Readout,
    SpikeCounts,
    SpikeTrains,
)
from cnn2snn_brian.spikes.measures import correlation

__all__ = [
    "SATURATED",
    "Potentials",
    "PynappleSession",
    "Readout",
    "SimulationResult",
    "SpikeCounts",
    "SpikeTrains",
    "correlation",
    "read_settings",
]
