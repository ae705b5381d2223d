"""Stimuli in time: images, sequences, movies, events, spikes, and their makers."""

from cnn2snn_brian.stimuli.base import Item, Stimulus, load, whole_steps
from cnn2snn_brian.stimuli.frames import FrameStimulus, Movie, Sequence, Still
from cnn2snn_brian.stimuli.patterns import (
    contrast_ramp,
    drifting_grating,
    moving_bar,
    noise_on,
    sparse_noise,
    static_grating,
    white_noise,
)
from cnn2snn_brian.stimuli.spikes import Events, SpikeStimulus, SpikeTrains

__all__ = [
    "Events",
    "FrameStimulus",
    "Item",
    "Movie",
    "Sequence",
    "SpikeStimulus",
    "SpikeTrains",
    "Still",
    "Stimulus",
    "contrast_ramp",
    "drifting_grating",
    "load",
    "moving_bar",
    "noise_on",
    "sparse_noise",
    "static_grating",
    "white_noise",
]
