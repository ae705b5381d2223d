"""What a converted network is: neurons, settings, thresholds, files."""

from cnn2snn_brian.settings.images import (
    as_array,
    check_images,
    check_rate_scale,
    check_shown,
)
from cnn2snn_brian.settings.names import (
    CLOCK_NAME,
    NETWORK_NAME,
    PERTURBATION,
    check_layer_names,
    check_units,
)
from cnn2snn_brian.settings.neuron_models import RESETS, NeuronModel, narrow_brians_hook
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.perturbations import (
    BY_TRIAL,
    KEPT,
    Perturbations,
    check_trials,
)
from cnn2snn_brian.settings.plasticity import Rule, checked_rules
from cnn2snn_brian.settings.presets import (
    PRESETS,
    Preset,
    find_preset,
    kernel_noise,
    suitable_duration,
)
from cnn2snn_brian.settings.ready_made_neurons import (
    IF,
    LIF,
    ROUNDING,
    BurstIF,
    passing_on,
)
from cnn2snn_brian.settings.run_settings import (
    SETTINGS,
    check_settings,
    documented,
    numbers,
    run_settings,
)
from cnn2snn_brian.settings.scales import (
    activations_of_spikes,
    input_gains,
    projection_delays_s,
    unlinked,
    weight_factors,
)
from cnn2snn_brian.settings.settings import (
    CHOICES,
    ByChannel,
    ByLayer,
    Encoding,
    FrozenDict,
    LayerNumber,
    Numbers,
    Propagation,
    Reset,
    SynapseKind,
    checked_kinds,
    delays_in_seconds,
    described,
    recorded,
    reference,
    restored,
    shown,
    shown_kind,
    shown_number,
)
from cnn2snn_brian.settings.storage import described_model, fields_of, network_record
from cnn2snn_brian.settings.thresholds import (
    Highest,
    ceiling_thresholds,
    data_based_thresholds,
    input_scales,
    largest_activation,
    largest_of,
    thresholds_of_activations,
    with_gates,
)
