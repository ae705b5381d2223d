"""
Maximum pooling of spikes: a gate for Brian2 that passes the busiest input's spikes.

The gate counts the spikes of each input since the image's start. By the rule "gate", a
spike passes if its neuron is the one with the most spikes of its window so far, this
spike included [1]_. Where several have as many, that with the lowest index in the order
(y, x) counts as the one. When the lead changes, more spikes pass than any input has.

By the rule "largest-count", a spike passes if its neuron then has more spikes than any
neuron of the window had before. So exactly as many spikes have passed, at any time, as
the busiest input has.

By both, at most one spike of a window passes in a step.

References
----------
.. [1] Rueckauer et al. (2017), Conversion of Continuous-Valued Deep Networks to
   Efficient Event-Driven Networks, doi:10.3389/fnins.2017.00682
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Synapses

from cnn2snn_brian.brian.shared_synapses import SharedSynapses
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.max_pool2d import MaxPool2d

__all__ = ["GateSynapses"]


class GateSynapses(SharedSynapses):
    """
    Synapses of a maximum pooling: each passes spikes while its source leads.

    Parameters
    ----------
    source, target : Group
        The populations, or subgroups of them, channels last.
    layer : MaxPool2d
        The windows.
    **options
        ``on_pre``, ``delay``, ``when``, ``order``, ``clock``, ``name``, ``dtype`` and
        ``unit`` of `SharedSynapses`. With a delay, spikes count when they arrive.

    Attributes
    ----------
    spikes_so_far, spikes_passed : VariableView
        Spikes of each input that have arrived, and of each window that have passed. Set
        both to 0 for a new image.

    Raises
    ------
    InputError
        If the populations have other sizes than the layer, or an option can't be used.
    """

    _template = "max_pool_gate"

    def __init__(
        self, source: Any, target: Any, layer: MaxPool2d, **options: Any
    ) -> None:
        super().__init__(source, target, layer, **options)
        channels, _, width = layer.input_shape
        self.template_kwds |= {
            "channels": channels,
            "width": width,
            "by_count": layer.rule == "largest-count",
        }

    def _add_variables(self, dtype: Any, unit: Any) -> None:
        super()._add_variables(dtype, unit)
        layer, variables = self.layer, self.variables
        assert isinstance(layer, MaxPool2d)
        for name, group in (
            ("spikes_so_far", self.source),
            ("spikes_passed", self.target),
        ):
            variables.add_array(name, size=len(group), dtype=np.int32)
        # First and last row and column of each window, next to each other in memory.
        windows = [(*row, *column) for row in layer.rows for column in layer.columns]
        variables.add_array(
            "_windows",
            size=4 * len(windows),
            values=np.ravel(windows),
            dtype=np.int32,
            constant=True,
            read_only=True,
        )

    def leaders(
        self,
        inputs: npt.NDArray[Any],
        counts: npt.NDArray[Any],
        passed: npt.NDArray[Any],
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """
        Find the spikes that pass, for Brian2's NumPy target.

        Parameters
        ----------
        inputs : ndarray of int
            Inputs that spike in this step.
        counts : ndarray of int, shape (n_inputs,)
            Spikes of each input so far, these included.
        passed : ndarray of int, shape (n_targets,)
            Spikes of each window that have passed.

        Returns
        -------
        post, pre : ndarray of int
            Targets that a spike passes to, and inputs that it is of.
        """
        layer = self.layer
        assert isinstance(layer, MaxPool2d)
        spiking = np.zeros(len(counts), bool)
        spiking[inputs] = True
        channels = layer.shape[0]
        # One place for each input of a layer, as in torch but channels last.
        index = np.arange(len(counts)).reshape(*layer.input_shape[1:], channels)
        post, pre = [], []
        for y, (top, bottom) in enumerate(layer.rows):
            for x, (left, right) in enumerate(layer.columns):
                window = index[top:bottom, left:right].reshape(-1, channels)
                # `argmax` takes the first of equal ones.
                first = counts[window].argmax(0)
                leader = window[first, np.arange(channels)]
                targets = (y * layer.shape[2] + x) * channels + np.arange(channels)
                passes = (
                    counts[leader] > passed[targets]
                    if layer.rule == "largest-count"
                    else spiking[leader]
                )
                post.append(targets[passes])
                pre.append(leader[passes])
        return np.concatenate(post), np.concatenate(pre)

    def to_explicit(self, name: str = "synapses*") -> Synapses:
        """
        Refuse to make synapses of Brian2's own.

        Parameters
        ----------
        name : str
            Name of the new object.

        Raises
        ------
        InputError
            Always: a gate compares its inputs, which `Synapses` can't.
        """
        message = f"{self.name}: a gate compares inputs; it has no explicit form"
        raise InputError(message)
