"""Stimuli in time: images, sequences, movies, events, spikes, and their makers."""

from cnn2snn_brian.stimuli.base import (
    Item as Item,
    Stimulus as Stimulus,
    load as load,
    whole_steps,
)
from cnn2snn_brian.stimuli.frames import (
    FrameStimulus as FrameStimulus,
    Movie as Movie,
    Sequence as Sequence,
    Still as Still,
    shape_shown,
)
from cnn2snn_brian.stimuli.patterns import (
    contrast_ramp as contrast_ramp,
    drifting_grating as drifting_grating,
    moving_bar as moving_bar,
    noise_on as noise_on,
    sparse_noise as sparse_noise,
    static_grating as static_grating,
    white_noise as white_noise,
)
from cnn2snn_brian.stimuli.spikes import (
    Events as Events,
    SpikeStimulus as SpikeStimulus,
    SpikeTrains as SpikeTrains,
)

# ``X as X`` tells type checkers that X is offered.
_OFFERED = {name for name, value in vars().items() if callable(value)}
__all__ = sorted(_OFFERED - {"shape_shown", "whole_steps"})
