"""
Layers of a converted CNN: frozen descriptions with numpy weights.

Arrays of a layer are in torch's order, (channel, y, x); the neurons of a Brian2 group
are in the order (y, x, channel). `to_neurons` and `from_neurons` convert.
"""

from cnn2snn_brian.projections.base import ByContent, Layer
from cnn2snn_brian.projections.geometry import (
    Cells,
    Runs,
    connections,
    from_synapses,
    kernel_from_memory,
    kernel_to_memory,
    pool_cells,
    runs,
    synapse_shape,
    to_synapses,
    weights_of_channel,
)
from cnn2snn_brian.projections.kernels import (
    AvgPool2d,
    Conv2d,
    GateRule,
    Linear,
    MaxPool2d,
    check_rule,
    pool_windows,
)
from cnn2snn_brian.projections.order import (
    INPUT,
    FloatArray,
    Shape,
    by_channel,
    from_neurons,
    to_neurons,
)
from cnn2snn_brian.projections.places import (
    Places,
    ReceptiveFields,
    column,
    index_of,
    sample,
)
from cnn2snn_brian.projections.pooling import (
    AnyLayer,
    Joined,
    Part,
    Placed,
    Pooled,
    composed,
    drive,
    is_pooling,
    n_synapses,
    named,
    on_channels,
    parts,
    renamed,
    reweighted,
    squared,
    ungrouped,
)
from cnn2snn_brian.projections.stack import Ceiling, Layers

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
