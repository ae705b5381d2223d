"""The former name of `cnn2snn_brian.projections`, for one version."""

import warnings

from cnn2snn_brian.projections import (  # noqa: F401
    INPUT,
    ReceptiveFields,
    Shape,
    from_neurons,
    to_neurons,
)
from cnn2snn_brian.projections import Network as Layers  # noqa: F401

warnings.warn(
    "cnn2snn_brian.layers is cnn2snn_brian.projections now, and Layers is Network",
    DeprecationWarning,
    stacklevel=2,
)
