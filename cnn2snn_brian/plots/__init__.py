"""Plots of what a network does: each function takes ``ax`` and returns it."""

from cnn2snn_brian.plots.measures import (
    plot_comparisons as plot_comparisons,
    plot_correlations as plot_correlations,
    plot_decoding as plot_decoding,
    plot_fano_factor as plot_fano_factor,
    plot_latency as plot_latency,
    plot_psth as plot_psth,
    plot_rdm as plot_rdm,
    plot_reaction_times as plot_reaction_times,
    plot_receptive_field as plot_receptive_field,
    plot_sparseness as plot_sparseness,
    plot_speed_accuracy as plot_speed_accuracy,
    plot_tuning as plot_tuning,
)
from cnn2snn_brian.plots.scores import (
    plot_accuracy_over_time as plot_accuracy_over_time,
    plot_class_accuracies as plot_class_accuracies,
    plot_confusion as plot_confusion,
    plot_decisions as plot_decisions,
    plot_sweep as plot_sweep,
    plot_threshold_sweep as plot_threshold_sweep,
)
from cnn2snn_brian.plots.spikes import (
    plot_feature_maps as plot_feature_maps,
    plot_membrane as plot_membrane,
    plot_output_counts as plot_output_counts,
    plot_raster as plot_raster,
    plot_rates as plot_rates,
)

# ``X as X`` tells type checkers that X is offered.
__all__ = [name for name, value in vars().items() if callable(value)]
