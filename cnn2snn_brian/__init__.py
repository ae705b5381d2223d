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
        plots,
        results,
        train,
        tuning,
    )
    from cnn2snn_brian.brian.synapse_kinds import (
        Conv2dSynapses,
        DenseSynapses,
        PoolSynapses,
    )
    from cnn2snn_brian.cnn.adjust import adjust
    from cnn2snn_brian.cnn.from_torch import from_torch
    from cnn2snn_brian.conversion import convert
    from cnn2snn_brian.description.lesions import Lesion
    from cnn2snn_brian.description.neuron_models import NeuronModel
    from cnn2snn_brian.description.noise import kernel_noise
    from cnn2snn_brian.description.presets import PRESETS
    from cnn2snn_brian.description.ready_made_neurons import IF, LIF, ConductanceLIF
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
    from cnn2snn_brian.layers import Layers
    from cnn2snn_brian.look.diagnosis import diagnose
    from cnn2snn_brian.network import SpikingNetwork, from_nir
    from cnn2snn_brian.program.recording import Recording
    from cnn2snn_brian.program.simulator import Simulator
    from cnn2snn_brian.results import SimulationResult
    from cnn2snn_brian.tuning import (
        CalibrationResult,
        TuningResult,
        calibrate,
        tune_thresholds,
    )

__version__ = "0.1.0"

#: Where public names live.
_HOMES = {
    "Conv2dSynapses": "brian.synapse_kinds",
    "DenseSynapses": "brian.synapse_kinds",
    "PoolSynapses": "brian.synapse_kinds",
    "adjust": "cnn.adjust",
    "from_torch": "cnn.from_torch",
    "convert": "conversion",
    "Lesion": "description.lesions",
    "NeuronModel": "description.neuron_models",
    "kernel_noise": "description.noise",
    "PRESETS": "description.presets",
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
    "from_nir": "network",
    "Recording": "program.recording",
    "Simulator": "program.simulator",
    "SimulationResult": "results",
    "CalibrationResult": "tuning",
    "TuningResult": "tuning",
    "calibrate": "tuning",
    "tune_thresholds": "tuning",
}

#: Modules that are names of their own, as in ``c2s.models.pretrained("digits")``.
_MODULES = ("data", "errors", "layers", "models", "plots", "results", "train", "tuning")

__all__ = [
    "IF",
    "LIF",
    "PRESETS",
    "BuildError",
    "CalibrationResult",
    "ConductanceLIF",
    "Conv2dSynapses",
    "ConversionError",
    "DenseSynapses",
    "InputError",
    "Layers",
    "Lesion",
    "NeuronModel",
    "PoolSynapses",
    "Recording",
    "SimulationError",
    "SimulationResult",
    "Simulator",
    "SpikingNetwork",
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
    "plots",
    "results",
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
