"""Results of a simulation: what users hold, save, export and look into."""

from cnn2snn_brian.results.pynapple import PynappleSession
from cnn2snn_brian.results.result import SimulationResult
from cnn2snn_brian.results.settings import read_settings
from cnn2snn_brian.spikes.correlation import correlation
from cnn2snn_brian.spikes.counts import Potentials, SpikeCounts, SpikeTrains
from cnn2snn_brian.spikes.data import SATURATED, Readout

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
