"""Convert a trained CNN: read it, set its thresholds, choose how it is simulated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from brian2 import Quantity, ms, second

from cnn2snn_brian.checks import check_choice, check_names
from cnn2snn_brian.cnn import from_torch
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import damage
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.nir import Integration, Resistance, network_fields
from cnn2snn_brian.projections import GateRule, Layers, MaxPool2d
from cnn2snn_brian.settings import (
    CHOICES,
    IF,
    PRESETS,
    ByLayer,
    Encoding,
    Parameters,
    Preset,
    Propagation,
    Reset,
    ceiling_thresholds,
    check_units,
    data_based_thresholds,
    delays_in_seconds,
    find_preset,
    with_gates,
)

if TYPE_CHECKING:
    from torch import nn


#: Arguments of `convert` that say how the network is simulated.
OPTIONS = (
    *(item.name for item in fields(Parameters) if item.name != "thresholds"),
    *CHOICES,
    "neurons",
    "delay",
    "release_probability",
)

#: Arguments of `convert` that a preset may set.
_OF_PRESETS = (*OPTIONS, "percentile", "per_channel", "pooling")


@check_units(dt=second)
def convert(
    module: "nn.Module | Layers",
    input_shape: tuple[int, int, int] | None = None,
    *,
    thresholds: ByLayer | None = None,
    calibration: Any = None,
    percentile: float | None = None,
    per_channel: bool | None = None,
    preset: str | Preset = "paper",
    dt: Quantity = 1 * ms,
    normalize: tuple[Any, Any] | None = None,
    names: Literal["role", "module"] = "role",
    pooling: Literal["neurons", "synapses"] | None = None,
    max_pooling: GateRule | None = None,
    classes: Sequence[str] | None = None,
    **options: Any,
) -> SpikingNetwork:
    """
    Convert a trained CNN to a spiking network.

    The defaults are the paper's: Poisson input, reset to 0, a floor at 0, no leak,
    steps of 1 ms, c = 1.

    Parameters
    ----------
    module : nn.Module or Layers
        The CNN (see `from_torch` for what it may consist of), or layers read before.
    input_shape : tuple of int
        Shape of an image, (channels, height, width). Not needed with `Layers`.
    thresholds : float or dict of str to float, optional
        One number for all layers, or a number for each by name; populations behind
        the gates of maximum pooling may be left out. Without it, they
        come from `calibration`; a dict of some layers takes the rest from there. A
        quantized CNN (see `adjust`) needs neither: it was trained with its thresholds.
    calibration : ndarray or torch.Tensor, shape (n, channels, height, width), optional
        Training images that thresholds are computed from, see
        `data_based_thresholds`.
    percentile : float, optional
        Percentile of the activations that counts as the largest.
    per_channel : bool, optional
        Whether `calibration` gives each channel a threshold of its own.
    preset : str or Preset
        Options that belong together, which hold where no other is given: "paper",
        "free-floor" or "few-steps", see `PRESETS`.
    dt : Quantity [s]
        Time step.
    normalize : tuple, optional
        (mean, std) that the CNN's images were normalized with, see `from_torch`.
    names : {"role", "module"}
        How layers are named, see `from_torch`.
    pooling : {"neurons", "synapses"}, optional
        Whether average pooling is a population of neurons (the paper's), or part of the
        synapses into the layer behind it: no neurons, thresholds or rounding there.
    max_pooling : {"gate", "largest-count"}, optional
        What maximum pooling becomes: a population of neurons that pass on the spikes
        of the input with most spikes so far, or those that make the largest count
        larger, see `MaxPoolGate`. Without it, maximum pooling is refused.
    classes : sequence of str, optional
        Names of the output neurons, kept for reports.
    **options
        How the network is simulated, any of these. None is nothing given.
    v_min : float or dict of str to float, optional
        Floor of the potential, at most 0; ``-inf`` is none.
    leak : float or dict of str to float, optional
        The paper's constant L, added to the potential in each step.
    v_init : float or dict of str to float, optional
        Potential at an image's start, as a share of the threshold.
    rate_scale : float, optional
        The paper's c, spikes per step of a pixel of intensity 1; 1 by default.
    reset : {"zero", "subtract"}, optional
        Whether a spike sets the potential to 0 or takes the threshold from it.
    encoding : {"poisson", "current"}, optional
        Whether an image is Poisson spikes, or a constant current into the first
        layer: no input spikes, for few steps.
    synapses : {"shared", "explicit"} or dict of str to str, optional
        Whether only kernels are stored (see `SharedSynapses`; the default), or every
        synapse; for all layers, or by layer: ``{"ip1": "explicit"}``. Layers that are
        not named are shared.
    propagation : {"step", "instant"}, optional
        Whether a spike acts on the next layer one step later (the paper's), or spikes
        cross all layers within a step.
    dtype : {"float32", "float64"}, optional
        Type of the state of neurons and synapses; float32 by default.
    neurons : NeuronModel or dict of str to NeuronModel, optional
        What a neuron computes: `IF` (the paper's, the default), `LIF`,
        `ConductanceLIF`, `AdaptiveIF` or a `NeuronModel` of your own; for all layers,
        or by layer.
    delay : Quantity [s] or dict of str to Quantity [s], optional
        Delay of the synapses into all layers, or into some by name; a multiple of dt.
    release_probability : float or dict of str to float, optional
        Probability that a synapse transmits a spike, for all layers or for some by
        name. Each synapse draws for each spike. Without it synapses never fail, and
        programs are faster.

    Returns
    -------
    SpikingNetwork
        The converted network. Nothing is compiled yet.

    Raises
    ------
    UnsupportedModuleError
        If the CNN has a part that can't be converted.
    InputError
        If an argument is unknown or out of its range, or there are neither thresholds
        nor calibration images.
    """
    _check_known("argument", options, OPTIONS)
    chosen = preset if isinstance(preset, Preset) else find_preset(preset)
    _check_known("argument of the preset", chosen.arguments, _OF_PRESETS)
    settings = {**PRESETS["paper"].arguments, **chosen.arguments}
    settings |= {name: value for name, value in options.items() if value is not None}
    if percentile is not None:
        settings["percentile"] = percentile
    if per_channel is not None:
        settings["per_channel"] = per_channel
    layers = _layers(module, input_shape, normalize, names, max_pooling)
    pooling = settings.pop("pooling", "neurons") if pooling is None else pooling
    check_choice("pooling", pooling, ("neurons", "synapses"))
    if pooling == "synapses":
        composed = layers.without_pooling_neurons()
        for name in {*layers.names} - {*composed.names}:
            if isinstance(thresholds, Mapping) and name in thresholds:
                raise InputError(
                    f"thresholds: {name} has no neurons with pooling='synapses', so it "
                    "has no threshold; leave it out"
                )
        layers = composed
    numbers = {
        item.name: settings.get(item.name)
        for item in fields(Parameters)
        if item.name != "thresholds"
    }
    parameters = Parameters.of(
        layers,
        thresholds=_thresholds(layers, thresholds, calibration, settings),
        **numbers,
    )
    release = settings.get("release_probability", {})
    if not isinstance(release, Mapping):
        release = dict.fromkeys(layers.names, release)
    return SpikingNetwork(
        layers,
        parameters,
        **{what: settings[what] for what in CHOICES if what in settings},
        dt_s=float(dt / second),
        classes=None if classes is None else tuple(classes),
        neurons=settings.get("neurons", IF()),
        delays_s=delays_in_seconds(settings.get("delay", 0 * ms), layers.names),
        release_probability=dict(release),
    )


def _check_known(what: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse names that say nothing about how a network is simulated."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(
            f"unknown {what}: {', '.join(unknown)}; how a network is simulated is said "
            f"by {', '.join(known)}"
        )


def _layers(
    module: Any,
    input_shape: tuple[int, int, int] | None,
    normalize: tuple[Any, Any] | None,
    names: Literal["role", "module"],
    max_pooling: GateRule | None,
) -> Layers:
    """Read a CNN, unless it has been read before."""
    if isinstance(module, Layers):
        for what, given in (("normalize", normalize), ("max_pooling", max_pooling)):
            if given is not None:
                raise InputError(
                    f"{what}: these layers were read before; give it to from_torch"
                )
        return module
    if input_shape is None:
        raise InputError(
            "input_shape is missing: (channels, height, width) of an image"
        )
    return from_torch(
        module, input_shape, normalize, names=names, max_pooling=max_pooling
    )


def _thresholds(
    layers: Layers,
    thresholds: ByLayer | None,
    calibration: Any,
    settings: Mapping[str, Any],
) -> ByLayer:
    """Take thresholds that are given, and the rest from calibration images."""
    given: dict[str, Any] = {}
    if isinstance(thresholds, Mapping):
        check_names("thresholds", thresholds, layers.names)
        given = with_gates(layers, thresholds)
        if not set(layers.names) - {*given}:
            return given
    elif thresholds is not None:
        gates = [layer for layer in layers if isinstance(layer, MaxPool2d)]
        # One number is for neurons that sum; a gate's is 1.
        summing = (layer.name for layer in layers if layer not in gates)
        named = dict.fromkeys(summing, thresholds)
        return with_gates(layers, named) if gates else thresholds
    if calibration is None and layers.ceilings:
        found = ceiling_thresholds(layers, settings.get("rate_scale", 1.0))
        return with_gates(layers, found, given)
    if calibration is None:
        raise InputError(
            "thresholds: give numbers, or calibration=... (training images) to compute "
            "them from the CNN's activations"
        )
    found = data_based_thresholds(
        layers,
        calibration,
        settings["percentile"],
        settings.get("rate_scale", 1.0),
        per_channel=settings.get("per_channel", False),
    )
    return with_gates(layers, found, given)


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
        raise InputError(
            f"unknown argument {', '.join(unknown)}; expected {', '.join(known)}"
        )
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
    network = network_fields(graph, given)
    with damage("what the graph says of its network does not fit together"):
        return SpikingNetwork(**network)
