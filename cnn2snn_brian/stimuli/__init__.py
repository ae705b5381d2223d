"""Stimuli in time: images, sequences, movies, events, spikes, and their makers."""

from cnn2snn_brian.stimuli.base import Item, Stimulus, whole_steps
from cnn2snn_brian.stimuli.files import load
from cnn2snn_brian.stimuli.frames import FrameStimulus, Movie, Sequence, Still
from cnn2snn_brian.stimuli.gratings import drifting_grating, moving_bar, static_grating
from cnn2snn_brian.stimuli.noise import (
    contrast_ramp,
    noise_on,
    sparse_noise,
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
