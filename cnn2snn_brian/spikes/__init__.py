"""What a simulation measured, as plain numpy: spike counts, trains, potentials."""

from cnn2snn_brian.spikes.data import SATURATED, SpikeCounts, SpikeData
from cnn2snn_brian.spikes.measures import (
    Correlation,
    Trials,
    check_one_duration,
    check_share,
    class_labels,
    class_numbers,
    correlation,
    decisions,
    earliest,
    real_numbers,
    seconds,
    tally,
    whole_numbers,
)
