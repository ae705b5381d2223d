"""
Turn a trained PyTorch CNN into a spiking network in Brian2.

`convert` makes a `SpikingNetwork` of a CNN, its ``network()`` is a plain Brian2 network
and its ``compile()`` a `Simulator`: a C++ program that runs images.

Names are imported when they are first used: torch and Brian2 take seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn2snn_brian import (
        data,
        errors,
        models,
        physiology,
        plots,
        projections,
        results,
        stimuli,
        train,
        tuning,
    )
    from cnn2snn_brian.brian.synapse_kinds import (
        Conv2dSynapses,
        DenseSynapses,
        MaxPoolGate,
        PoolSynapses,
    )
    from cnn2snn_brian.cnn.adjust import adjust
    from cnn2snn_brian.cnn.from_torch import from_torch
    from cnn2snn_brian.conversion import convert, from_nir
    from cnn2snn_brian.diagnosis import diagnose
    from cnn2snn_brian.errors import (
        BuildError,
        ConversionError,
        InputError,
        SimulationError,
        UnsupportedModuleError,
        WriteError,
    )
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.projections import Network
    from cnn2snn_brian.results import SimulationResult
    from cnn2snn_brian.settings.lesions import Lesion
    from cnn2snn_brian.settings.neuron_models import NeuronModel
    from cnn2snn_brian.settings.plasticity import STDP, RewardSTDP, Rule
    from cnn2snn_brian.settings.presets import PRESETS, kernel_noise
    from cnn2snn_brian.settings.ready_made_neurons import (
        IF,
        LIF,
        AdaptiveIF,
        ConductanceLIF,
    )
    from cnn2snn_brian.settings.thresholds import data_based_thresholds
    from cnn2snn_brian.simulator.recording import Recording
    from cnn2snn_brian.simulator.simulator import Simulator
    from cnn2snn_brian.stimuli import Events, Movie, Sequence, SpikeTrains, Still
    from cnn2snn_brian.sweeps import summary, sweep
    from cnn2snn_brian.tuning import (
        CalibrationResult,
        TuningResult,
        calibrate,
        tune_thresholds,
    )

__version__ = "0.2.0"

#: Where public names live.
_HOMES = {
    "Conv2dSynapses": "brian.synapse_kinds",
    "DenseSynapses": "brian.synapse_kinds",
    "MaxPoolGate": "brian.synapse_kinds",
    "PoolSynapses": "brian.synapse_kinds",
    "adjust": "cnn.adjust",
    "from_torch": "cnn.from_torch",
    "convert": "conversion",
    "Lesion": "settings.lesions",
    "NeuronModel": "settings.neuron_models",
    "kernel_noise": "settings.presets",
    "STDP": "settings.plasticity",
    "RewardSTDP": "settings.plasticity",
    "Rule": "settings.plasticity",
    "PRESETS": "settings.presets",
    "AdaptiveIF": "settings.ready_made_neurons",
    "ConductanceLIF": "settings.ready_made_neurons",
    "IF": "settings.ready_made_neurons",
    "LIF": "settings.ready_made_neurons",
    "data_based_thresholds": "settings.thresholds",
    "BuildError": "errors",
    "ConversionError": "errors",
    "InputError": "errors",
    "SimulationError": "errors",
    "UnsupportedModuleError": "errors",
    "WriteError": "errors",
    "summary": "sweeps",
    "sweep": "sweeps",
    "Network": "projections",
    "diagnose": "diagnosis",
    "SpikingNetwork": "network",
    "from_nir": "conversion",
    "Recording": "simulator.recording",
    "Simulator": "simulator.simulator",
    "SimulationResult": "results",
    "Events": "stimuli",
    "Movie": "stimuli",
    "Sequence": "stimuli",
    "SpikeTrains": "stimuli",
    "Still": "stimuli",
    "CalibrationResult": "tuning",
    "TuningResult": "tuning",
    "calibrate": "tuning",
    "tune_thresholds": "tuning",
}

#: Modules that are names of their own, as in ``c2s.models.pretrained("digits")``.
_MODULES = (
    "data",
    "errors",
    "models",
    "physiology",
    "plots",
    "projections",
    "results",
    "stimuli",
    "train",
    "tuning",
)

__all__ = [
    "IF",
    "LIF",
    "PRESETS",
    "STDP",
    "AdaptiveIF",
    "BuildError",
    "CalibrationResult",
    "ConductanceLIF",
    "Conv2dSynapses",
    "ConversionError",
    "DenseSynapses",
    "Events",
    "InputError",
    "Network",
    "Lesion",
    "MaxPoolGate",
    "Movie",
    "NeuronModel",
    "PoolSynapses",
    "Recording",
    "RewardSTDP",
    "Rule",
    "Sequence",
    "SimulationError",
    "SimulationResult",
    "Simulator",
    "SpikeTrains",
    "SpikingNetwork",
    "Still",
    "TuningResult",
    "UnsupportedModuleError",
    "WriteError",
    "adjust",
    "calibrate",
    "convert",
    "data",
    "data_based_thresholds",
    "diagnose",
    "errors",
    "from_nir",
    "from_torch",
    "kernel_noise",
    "models",
    "physiology",
    "plots",
    "projections",
    "results",
    "stimuli",
    "summary",
    "sweep",
    "train",
    "tune_thresholds",
    "tuning",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"cnn2snn_brian.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"cnn2snn_brian.{name}")
    else:
        raise AttributeError(f"module 'cnn2snn_brian' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
