"""
Populations and projections: frozen descriptions with numpy weights.

Arrays of a population are in torch's order, (channel, y, x); the neurons of a Brian2
group are in the order (y, x, channel). `to_neurons` and `from_neurons` convert. Nothing
here needs torch or Brian2.
"""

from cnn2snn_brian.projections.algebra import (
    Term,
    Value,
    as_convolution,
    is_gain,
    is_pointwise,
    simplest,
    takes,
    then,
    unused,
)
from cnn2snn_brian.projections.base import LARGE, PART, ByContent, is_large, is_left_out
from cnn2snn_brian.projections.connection import MAX_SYNAPSES, Cells, Connection
from cnn2snn_brian.projections.convolution import Convolution, pair, zeros_around
from cnn2snn_brian.projections.dense import ByChannel, Dense
from cnn2snn_brian.projections.kernel import Kernel, Runs, SpatialKernel
from cnn2snn_brian.projections.lateral import difference_of_gaussians, kernel_between
from cnn2snn_brian.projections.network import (
    PASSED,
    Ceiling,
    GateRule,
    Network,
    Population,
    Projection,
    check_rule,
    gate_window,
    neurons_of,
)
from cnn2snn_brian.projections.order import (
    INPUT,
    FloatArray,
    Shape,
    by_channel,
    from_neurons,
    to_neurons,
)
from cnn2snn_brian.projections.pixels import OnOffPixels
from cnn2snn_brian.projections.places import (
    Places,
    ReceptiveFields,
    column,
    index_of,
    sample,
)
from cnn2snn_brian.projections.recurrence import rolled
from cnn2snn_brian.projections.signs import KINDS, mixed_signs, split
from cnn2snn_brian.projections.transposed_convolution import TransposedConvolution
from cnn2snn_brian.projections.window import (
    Span,
    Window,
    nearest,
    pool_spans,
    span_matrix,
)

__all__ = [
    "LARGE",
    "PART",
    "is_large",
    "INPUT",
    "ByChannel",
    "Ceiling",
    "Connection",
    "Convolution",
    "Dense",
    "Kernel",
    "Network",
    "OnOffPixels",
    "Population",
    "Projection",
    "ReceptiveFields",
    "Shape",
    "TransposedConvolution",
    "Window",
    "from_neurons",
    "to_neurons",
]
