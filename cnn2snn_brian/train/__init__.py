"""Train a CNN, and see what it makes of images."""

from cnn2snn_brian.train.predictions import accuracy, classify
from cnn2snn_brian.train.settings import TrainingSettings
from cnn2snn_brian.train.training import train

__all__ = ["TrainingSettings", "accuracy", "classify", "train"]
