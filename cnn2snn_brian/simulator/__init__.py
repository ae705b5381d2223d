"""The compiled C++ program of a network: built once, kept, and run many times."""

from cnn2snn_brian.simulator.simulator import Simulator
from cnn2snn_brian.simulator.workers import Workers
