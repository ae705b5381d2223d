"""Brian2 objects of a network: groups of neurons, synapses, input."""

from cnn2snn_brian.brian.codeobjects import BRIAN_FUNCTIONS, ProgramCodeObject
from cnn2snn_brian.brian.explicit_synapses import TrialEnd, end_trial
from cnn2snn_brian.brian.extension import (
    Added,
    Builder,
    Extension,
    described,
    extend_network,
    forget,
    fresh_names,
    moved,
    runtime_mode,
    spiking,
)
from cnn2snn_brian.brian.internals import (
    RESULTS_FOLDER,
    STOPPED,
    ArrayVariable,
    CPPStandaloneDevice,
    DynamicArrayVariable,
    added_to_steps,
    forgotten_spikes,
    has_stored_state,
    reset_device,
    rewound,
    seeded,
    set_steps,
    sort_clocks,
)
from cnn2snn_brian.brian.network import brian_network, program_network, show
from cnn2snn_brian.brian.neurons import Place, Schedule
from cnn2snn_brian.brian.shared_synapses import SharedSynapses
from cnn2snn_brian.brian.synapse_kinds import GateSynapses
