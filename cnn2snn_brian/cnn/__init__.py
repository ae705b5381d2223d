"""Trained PyTorch CNNs: reading them, adjusting them, and their weights."""

from cnn2snn_brian.cnn.adjust import adjust
from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.from_torch import from_torch
from cnn2snn_brian.cnn.pairs import COMPOSE, Negative
from cnn2snn_brian.cnn.weights import (
    ModelCard,
    load_state,
    load_weights,
    read_card,
    save_weights,
)
