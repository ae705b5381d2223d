"""What the package offers, and where it lives; `__init__.py` reads it, too."""

from cnn2snn_brian import data as data
from cnn2snn_brian import errors as errors
from cnn2snn_brian import models as models
from cnn2snn_brian import physiology as physiology
from cnn2snn_brian import plots as plots
from cnn2snn_brian import projections as projections
from cnn2snn_brian import results as results
from cnn2snn_brian import stimuli as stimuli
from cnn2snn_brian import train as train
from cnn2snn_brian import tuning as tuning
from cnn2snn_brian.brian.synapse_kinds import Conv2dSynapses as Conv2dSynapses
from cnn2snn_brian.brian.synapse_kinds import DenseSynapses as DenseSynapses
from cnn2snn_brian.brian.synapse_kinds import MaxPoolGate as MaxPoolGate
from cnn2snn_brian.brian.synapse_kinds import PoolSynapses as PoolSynapses
from cnn2snn_brian.brian.synapse_kinds import connect_convolution as connect_convolution
from cnn2snn_brian.cnn.adjust import adjust as adjust
from cnn2snn_brian.cnn.from_torch import from_torch as from_torch
from cnn2snn_brian.conversion import check_dale as check_dale
from cnn2snn_brian.conversion import convert as convert
from cnn2snn_brian.conversion import from_nir as from_nir
from cnn2snn_brian.conversion import split_by_sign as split_by_sign
from cnn2snn_brian.diagnosis import diagnose as diagnose
from cnn2snn_brian.errors import BuildError as BuildError
from cnn2snn_brian.errors import ConversionError as ConversionError
from cnn2snn_brian.errors import InputError as InputError
from cnn2snn_brian.errors import SimulationError as SimulationError
from cnn2snn_brian.errors import UnsupportedModuleError as UnsupportedModuleError
from cnn2snn_brian.errors import WriteError as WriteError
from cnn2snn_brian.network import SpikingNetwork as SpikingNetwork
from cnn2snn_brian.projections import Network as Network
from cnn2snn_brian.projections import difference_of_gaussians as difference_of_gaussians
from cnn2snn_brian.results import SimulationResult as SimulationResult
from cnn2snn_brian.settings.lesions import Lesion as Lesion
from cnn2snn_brian.settings.neuron_models import NeuronModel as NeuronModel
from cnn2snn_brian.settings.plasticity import STDP as STDP
from cnn2snn_brian.settings.plasticity import RewardSTDP as RewardSTDP
from cnn2snn_brian.settings.plasticity import Rule as Rule
from cnn2snn_brian.settings.presets import PRESETS as PRESETS
from cnn2snn_brian.settings.presets import kernel_noise as kernel_noise
from cnn2snn_brian.settings.ready_made_neurons import IF as IF
from cnn2snn_brian.settings.ready_made_neurons import LIF as LIF
from cnn2snn_brian.settings.ready_made_neurons import AdaptiveIF as AdaptiveIF
from cnn2snn_brian.settings.ready_made_neurons import BurstIF as BurstIF
from cnn2snn_brian.settings.ready_made_neurons import ConductanceLIF as ConductanceLIF
from cnn2snn_brian.settings.thresholds import (
    data_based_thresholds as data_based_thresholds,
)
from cnn2snn_brian.simulator.recording import Recording as Recording
from cnn2snn_brian.simulator.simulator import Simulator as Simulator
from cnn2snn_brian.stimuli import Events as Events
from cnn2snn_brian.stimuli import Movie as Movie
from cnn2snn_brian.stimuli import Sequence as Sequence
from cnn2snn_brian.stimuli import SpikeTrains as SpikeTrains
from cnn2snn_brian.stimuli import Still as Still
from cnn2snn_brian.sweeps import summary as summary
from cnn2snn_brian.sweeps import sweep as sweep
from cnn2snn_brian.tuning import CalibrationResult as CalibrationResult
from cnn2snn_brian.tuning import TuningResult as TuningResult
from cnn2snn_brian.tuning import calibrate as calibrate
from cnn2snn_brian.tuning import tune_thresholds as tune_thresholds

__version__: str
