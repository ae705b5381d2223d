"""
Turn a trained PyTorch CNN into a spiking network in Brian2.

`convert` makes a `SpikingNetwork` of a CNN, its ``network()`` is a plain Brian2 network
and its ``compile()`` a `Simulator`: a C++ program that runs pictures.
"""

from cnn2snn_brian.adjust import adjust
from cnn2snn_brian.convert import convert
from cnn2snn_brian.diagnosis import diagnose
from cnn2snn_brian.errors import (
    BuildError,
    ConversionError,
    InputError,
    SimulationError,
    UnsupportedModuleError,
)
from cnn2snn_brian.from_torch import from_torch
from cnn2snn_brian.layers import Layers
from cnn2snn_brian.lesions import Lesion
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.neuron_models import IF, LIF, ConductanceLIF, NeuronModel
from cnn2snn_brian.perturbations import kernel_noise
from cnn2snn_brian.presets import PRESETS
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.shared_synapses import (
    Conv2dSynapses,
    DenseSynapses,
    PoolSynapses,
)
from cnn2snn_brian.simulator import Simulator
from cnn2snn_brian.sweep import summary, sweep
from cnn2snn_brian.thresholds import data_based_thresholds
from cnn2snn_brian.tuning import TuningResult, tune_thresholds

__all__ = [
    "IF",
    "LIF",
    "PRESETS",
    "BuildError",
    "ConductanceLIF",
    "Conv2dSynapses",
    "ConversionError",
    "DenseSynapses",
    "InputError",
    "Layers",
    "Lesion",
    "NeuronModel",
    "PoolSynapses",
    "SimulationError",
    "SimulationResult",
    "Simulator",
    "SpikingNetwork",
    "TuningResult",
    "UnsupportedModuleError",
    "adjust",
    "convert",
    "data_based_thresholds",
    "diagnose",
    "from_torch",
    "kernel_noise",
    "summary",
    "sweep",
    "tune_thresholds",
]

__version__ = "0.1.0"
