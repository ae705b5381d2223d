"""What a physiologist measures: spikes and counts of trials in, tables out."""

from cnn2snn_brian.physiology.representations import (
    Choices as Choices,
    Comparison as Comparison,
    Decoding as Decoding,
    Rdm as Rdm,
    compare as compare,
    decide as decide,
    decoding as decoding,
    rdm as rdm,
)
from cnn2snn_brian.physiology.responses import (
    Latency as Latency,
    Tuning as Tuning,
    fano_factor as fano_factor,
    first_spike as first_spike,
    latency as latency,
    noise_correlation as noise_correlation,
    signal_correlation as signal_correlation,
    sparseness as sparseness,
    tuning as tuning,
)
from cnn2snn_brian.physiology.reverse_correlation import (
    ReceptiveField as ReceptiveField,
    effective_kernel as effective_kernel,
    receptive_field as receptive_field,
)
from cnn2snn_brian.physiology.trains import (
    Psth as Psth,
    TrialSpikes as TrialSpikes,
    by_item as by_item,
    counts as counts,
    psth as psth,
    trial_spikes as trial_spikes,
)

# ``X as X`` tells type checkers that X is offered.
__all__ = [name for name, value in vars().items() if callable(value)]
