"""What a physiologist measures: spikes and counts of trials in, tables out."""

from cnn2snn_brian.physiology.choices import Choices, decide
from cnn2snn_brian.physiology.dissimilarity import Comparison, Rdm, compare, rdm
from cnn2snn_brian.physiology.histograms import Psth, psth
from cnn2snn_brian.physiology.items import by_item
from cnn2snn_brian.physiology.latencies import Latency, first_spike, latency
from cnn2snn_brian.physiology.readouts import Decoding, decoding
from cnn2snn_brian.physiology.reverse_correlation import (
    ReceptiveField,
    effective_kernel,
    receptive_field,
)
from cnn2snn_brian.physiology.selectivity import sparseness
from cnn2snn_brian.physiology.trains import TrialSpikes
from cnn2snn_brian.physiology.trials import counts, trial_spikes
from cnn2snn_brian.physiology.tuning_curves import Tuning, tuning
from cnn2snn_brian.physiology.variability import (
    fano_factor,
    noise_correlation,
    signal_correlation,
)

__all__ = [
    "Choices",
    "Comparison",
    "Decoding",
    "Latency",
    "Psth",
    "Rdm",
    "ReceptiveField",
    "TrialSpikes",
    "Tuning",
    "by_item",
    "compare",
    "counts",
    "decide",
    "decoding",
    "effective_kernel",
    "fano_factor",
    "first_spike",
    "latency",
    "noise_correlation",
    "psth",
    "rdm",
    "receptive_field",
    "signal_correlation",
    "sparseness",
    "trial_spikes",
    "tuning",
]
