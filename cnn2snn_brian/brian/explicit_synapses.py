"""Synapses between two layers, each of them stored."""

from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Clock, Quantity, Synapses, ms

from cnn2snn_brian.brian.droppable import droppable
from cnn2snn_brian.brian.plastic_synapses import options_of
from cnn2snn_brian.description.plasticity import Rule
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.connectivity import connections
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear

__all__ = ["explicit_synapses"]


def explicit_synapses(
    source: Any,
    target: Any,
    layer: Conv2d | AvgPool2d | Linear,
    *,
    clock: Clock,
    name: str,
    dtype: npt.DTypeLike = np.float32,
    on_pre: str = "v_post += w",
    delay: Quantity = 0 * ms,
    when: str = "synapses",
    order: int = 0,
    rule: Rule | None = None,
) -> Synapses:
    """
    Connect two populations with one stored synapse per connection.

    Everything in Brian2 works on them: plasticity, delays, state of each synapse. A
    convolution needs a lot of them, see ``fan_out`` of the layer.

    Parameters
    ----------
    source, target : Group
        The populations, channels last.
    layer : Conv2d, AvgPool2d or Linear
        What connects to what, with which weight.
    clock : Clock
        The clock of the network.
    name : str
        Name of the synapses.
    dtype : dtype
        Type of the weights.
    on_pre : str
        What a spike does. By default it adds ``w`` to the target's ``v`` (Eq. 2 of the
        paper).
    delay : Quantity [s]
        Delay of all of them.
    when, order : str, int
        Place in Brian2's schedule.
    rule : Rule, optional
        How they learn. Its parameters are still 0.

    Returns
    -------
    Synapses
        The synapses.

    Raises
    ------
    InputError
        If there are more synapses than Brian2 can number.
    """
    listed = connections(layer)
    options = {"model": "w : 1", "on_pre": on_pre, "dtype": np.dtype(dtype).type}
    if rule is not None:
        options |= options_of(rule, on_pre, dtype)
    synapses = droppable(Synapses)(
        source, target, delay=delay, clock=clock, name=name, **options
    )
    synapses.pre.when, synapses.pre.order = when, order
    synapses.connect(i=listed.pre, j=listed.post)
    synapses.w = listed.weight.astype(dtype)
    for what, value in rule.initial.items() if rule is not None else ():
        setattr(synapses, what, value)
    return synapses
