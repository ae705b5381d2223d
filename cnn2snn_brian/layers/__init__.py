"""
Layers of a converted CNN: frozen descriptions with numpy weights.

Arrays of a layer are in torch's order, (channel, y, x); the neurons of a Brian2 group
are in the order (y, x, channel). `to_neurons` and `from_neurons` convert.
"""

from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.base import Layer
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.max_pool2d import MaxPool2d
from cnn2snn_brian.layers.order import INPUT, Shape, from_neurons, to_neurons
from cnn2snn_brian.layers.pooled import Pooled
from cnn2snn_brian.layers.receptive_fields import ReceptiveFields
from cnn2snn_brian.layers.stack import Layers

__all__ = [
    "INPUT",
    "AvgPool2d",
    "Conv2d",
    "Layer",
    "Layers",
    "Linear",
    "MaxPool2d",
    "Pooled",
    "ReceptiveFields",
    "Shape",
    "from_neurons",
    "to_neurons",
]
