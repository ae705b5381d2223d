"""What a physiologist measures: spikes and counts of trials in, tables out."""

from cnn2snn_brian.physiology.dissimilarity import Comparison, Rdm, compare, rdm
from cnn2snn_brian.physiology.latencies import (
    Latency,
    fano_factor,
    first_spike,
    latency,
    noise_correlation,
    signal_correlation,
)
from cnn2snn_brian.physiology.readouts import Choices, Decoding, decide, decoding
from cnn2snn_brian.physiology.reverse_correlation import (
    ReceptiveField,
    effective_kernel,
    receptive_field,
)
from cnn2snn_brian.physiology.trains import (
    Psth,
    TrialSpikes,
    by_item,
    counts,
    psth,
    trial_spikes,
)
from cnn2snn_brian.physiology.tuning_curves import Tuning, sparseness, tuning

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
