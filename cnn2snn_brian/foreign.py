"""Networks of other programs: read from NIR graphs."""

from typing import Any

from brian2 import Quantity, second

from cnn2snn_brian.description.choices import Encoding, Propagation, Reset
from cnn2snn_brian.description.units import check_units
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.exchange.reading import network_fields
from cnn2snn_brian.exchange.to_nir import Integration, Resistance
from cnn2snn_brian.network import SpikingNetwork

__all__ = ["from_nir"]


@check_units(dt=second)
def from_nir(
    graph: Any,
    *,
    reset: Reset | None = None,
    strict: bool | None = None,
    dt: Quantity | None = None,
    encoding: Encoding | None = None,
    propagation: Propagation | None = None,
    resistance: Resistance | None = None,
    integration: Integration | None = None,
    **options: Any,
) -> SpikingNetwork:
    r"""
    Read a spiking network from a graph of NIR.

    A graph that `SpikingNetwork.to_nir` made is read back as it was, with the same
    fingerprint. A graph of another program says less than a simulation needs: what is
    not given here is assumed, and a warning names each assumption.

    Parameters
    ----------
    graph : nir.NIRGraph or path-like
        The graph, or a file with one. It may have IF, LIF, Threshold, Conv2d, Linear,
        Affine, Scale, AvgPool2d, SumPool2d, Flatten and Delay nodes, and graphs within.
        Edges may be in any order; a node that several others lead to reads their sum.
    reset : {"zero", "subtract"}, optional
        Whether a spike sets the potential to ``v_reset`` or takes the threshold from
        it. Assumed: "zero", as NIR defines it.
    strict : bool, optional
        Whether neurons spike where v is above ``v_threshold``, as NIR defines it
        (assumed), or where they reach it. ``v_th`` is then the next larger number.
    dt : Quantity [s], optional
        Time step. Assumed: 1 ms.
    encoding : {"poisson", "current"}, optional
        Whether images are Poisson spikes (assumed) or currents.
    propagation : {"step", "instant"}, optional
        Whether spikes cross all layers within a step (assumed), or act on the next
        layer one step later.
    resistance : {"step", "second"}, optional
        Whether a step of an IF node adds ``r`` times its input (assumed), or that times
        dt in seconds.
    integration : {"exact", "euler"}, optional
        How a step of LIF nodes is computed, :math:`v \gets (1 - k)\, v + k\, r\, x`
        for an input x: with the exact :math:`k = 1 - e^{-dt / \tau}` (assumed), or with
        Euler's :math:`k = dt / \tau`.
    **options
        ``v_min``, ``v_init`` and ``rate_scale`` (assumed: ``-inf``, 0 and 1),
        ``synapses``, ``dtype`` and ``classes``, as in `convert`.

    Returns
    -------
    SpikingNetwork
        The network.

    Raises
    ------
    InputError
        If the graph is recurrent, has a node that can't be read (the message has its
        name) or, with Euler's method, a time constant below dt, or an argument can't be
        used.
    MissingLibraryError
        If the library nir is not installed.

    Examples
    --------
    >>> snn = from_nir("network.nir", reset="subtract")  # doctest: +SKIP
    """
    known = ("v_min", "v_init", "rate_scale", "synapses", "dtype", "classes")
    unknown = [name for name in options if name not in known]
    if unknown:
        message = f"unknown argument {', '.join(unknown)}; expected {', '.join(known)}"
        raise InputError(message)
    given = {
        "reset": reset,
        "strict": strict,
        "dt_s": None if dt is None else float(dt / second),
        "encoding": encoding,
        "propagation": propagation,
        "resistance": resistance,
        "integration": integration,
        **options,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if "classes" in given:
        given["classes"] = tuple(given["classes"])
    return SpikingNetwork(**network_fields(graph, given))
