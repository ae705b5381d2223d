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
        layers,
        models,
        physiology,
        plots,
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
    from cnn2snn_brian.conversion import convert
    from cnn2snn_brian.description.lesions import Lesion
    from cnn2snn_brian.description.neuron_models import NeuronModel
    from cnn2snn_brian.description.noise import kernel_noise
    from cnn2snn_brian.description.plasticity import STDP, RewardSTDP, Rule
    from cnn2snn_brian.description.presets import PRESETS
    from cnn2snn_brian.description.ready_made_neurons import (
        IF,
        LIF,
        AdaptiveIF,
        ConductanceLIF,
    )
    from cnn2snn_brian.description.thresholds import data_based_thresholds
    from cnn2snn_brian.errors import (
        BuildError,
        ConversionError,
        InputError,
        SimulationError,
        UnsupportedModuleError,
    )
    from cnn2snn_brian.experiments.summary import summary
    from cnn2snn_brian.experiments.sweep import sweep
    from cnn2snn_brian.foreign import from_nir
    from cnn2snn_brian.layers import Layers
    from cnn2snn_brian.look.diagnosis import diagnose
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.program.recording import Recording
    from cnn2snn_brian.program.simulator import Simulator
    from cnn2snn_brian.results import SimulationResult
    from cnn2snn_brian.stimuli import Events, Movie, Sequence, SpikeTrains, Still
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
    "Lesion": "description.lesions",
    "NeuronModel": "description.neuron_models",
    "kernel_noise": "description.noise",
    "STDP": "description.plasticity",
    "RewardSTDP": "description.plasticity",
    "Rule": "description.plasticity",
    "PRESETS": "description.presets",
    "AdaptiveIF": "description.ready_made_neurons",
    "ConductanceLIF": "description.ready_made_neurons",
    "IF": "description.ready_made_neurons",
    "LIF": "description.ready_made_neurons",
    "data_based_thresholds": "description.thresholds",
    "BuildError": "errors",
    "ConversionError": "errors",
    "InputError": "errors",
    "SimulationError": "errors",
    "UnsupportedModuleError": "errors",
    "summary": "experiments.summary",
    "sweep": "experiments.sweep",
    "Layers": "layers",
    "diagnose": "look.diagnosis",
    "SpikingNetwork": "network",
    "from_nir": "foreign",
    "Recording": "program.recording",
    "Simulator": "program.simulator",
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
    "layers",
    "models",
    "physiology",
    "plots",
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
    "Layers",
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
    "layers",
    "models",
    "physiology",
    "plots",
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
        message = f"module 'cnn2snn_brian' has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
