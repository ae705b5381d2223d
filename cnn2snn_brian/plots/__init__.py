"""Plots of what a network does: each function takes ``ax`` and returns it."""

from cnn2snn_brian.plots.measures import (
    plot_comparisons,
    plot_correlations,
    plot_decoding,
    plot_fano_factor,
    plot_latency,
    plot_psth,
    plot_rdm,
    plot_reaction_times,
    plot_receptive_field,
    plot_sparseness,
    plot_speed_accuracy,
    plot_tuning,
)
from cnn2snn_brian.plots.scores import (
    plot_accuracy_over_time,
    plot_class_accuracies,
    plot_confusion,
    plot_decisions,
    plot_sweep,
    plot_threshold_sweep,
)
from cnn2snn_brian.plots.spikes import (
    plot_feature_maps,
    plot_membrane,
    plot_output_counts,
    plot_raster,
    plot_rates,
)

__all__ = [
    "plot_accuracy_over_time",
    "plot_class_accuracies",
    "plot_comparisons",
    "plot_confusion",
    "plot_correlations",
    "plot_decisions",
    "plot_decoding",
    "plot_fano_factor",
    "plot_feature_maps",
    "plot_latency",
    "plot_membrane",
    "plot_output_counts",
    "plot_psth",
    "plot_raster",
    "plot_rates",
    "plot_rdm",
    "plot_reaction_times",
    "plot_receptive_field",
    "plot_sparseness",
    "plot_speed_accuracy",
    "plot_sweep",
    "plot_threshold_sweep",
    "plot_tuning",
]
