"""What a physiologist measures: spikes and counts of trials in, tables out."""

from cnn2snn_brian.physiology.representations import (
    Choices,
    Comparison,
    Decoding,
    Rdm,
    compare,
    decide,
    decoding,
    rdm,
)
from cnn2snn_brian.physiology.responses import (
    Latency,
    Tuning,
    fano_factor,
    first_spike,
    latency,
    noise_correlation,
    signal_correlation,
    sparseness,
    tuning,
)
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
