"""Convert a trained CNN: read it, set its thresholds, choose how it is simulated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from brian2 import Quantity, ms, second

from cnn2snn_brian.checks import by_layer, check_choice, check_known, check_names
from cnn2snn_brian.cnn import COMPOSE, Negative, from_torch
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import damage
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.nir import Integration, Resistance, network_fields
from cnn2snn_brian.projections import (
    INPUT,
    KINDS,
    GateRule,
    Network,
    mixed_signs,
    rolled,
    split,
)
from cnn2snn_brian.settings import (
    CHOICES,
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
    described,
    find_preset,
    with_gates,
)

if TYPE_CHECKING:
    from torch import nn


#: Arguments of `convert` that a preset may set.
OPTIONS = (
    *(name for name in described(Parameters) if name != "thresholds"),
    *CHOICES,
    "neurons",
    "delay",
    "release_probability",
    "percentile",
    "per_channel",
    "pooling",
)


@check_units(dt=second, feedback_delay=second)
def convert(
    module: "nn.Module | Network",
    input_shape: tuple[int, int, int] | None = None,
    *,
    thresholds: ByLayer | None = None,
    calibration: Any = None,
    preset: str | Preset = "paper",
    dt: Quantity = 1 * ms,
    normalize: tuple[Any, Any] | None = None,
    names: Literal["role", "module"] = "role",
    max_pooling: GateRule | None = None,
    negative: Negative = "on-off",
    compose: float = COMPOSE,
    input: Literal["pixels", "on-off"] = "pixels",
    classes: Sequence[str] | None = None,
    unroll: bool = True,
    feedback_delay: Quantity | None = None,
    **options: Any,
) -> SpikingNetwork:
    """
    Convert a trained CNN to a spiking network.

    The defaults are the paper's: Poisson input, reset to 0, a floor at 0, no leak,
    steps of 1 ms, c = 1.

    Parameters
    ----------
    module : nn.Module or Network
        The CNN (see `from_torch` for what it may consist of), or layers read before.
    input_shape : tuple of int
        Shape of an image, (channels, height, width). Not needed with `Network`.
    thresholds : float or dict of str to float, optional
        One number for all layers, or a number for each by name; those of the
        gates of maximum pooling may be left out. Without it, they come from
        `calibration`; a dict of some layers takes the rest from there. A
        quantized CNN (see `adjust`) needs neither: it was trained with its thresholds.
    calibration : ndarray or torch.Tensor, shape (n, channels, height, width), optional
        Training images that thresholds are computed from, see
        `data_based_thresholds`.
    preset : str or Preset
        Options that belong together, which hold where no other is given: "paper",
        "free-floor", "few-steps" or "bursts", see `PRESETS`.
    dt : Quantity [s]
        Time step.
    normalize : tuple, optional
        (mean, std) that the CNN's images were normalized with, see `from_torch`.
    names : {"role", "module"}
        How layers are named, see `from_torch`.
    max_pooling : {"gate", "largest-count"}, optional
        What maximum pooling becomes: a population of neurons that pass on the spikes
        of the input with most spikes so far, or those that make the largest count
        larger, see `MaxPoolGate`. Without it, maximum pooling is refused.
    negative : {"on-off", "refuse"}
        What becomes of a value z that may be negative where neurons have to say it, as
        after LeakyReLU or between two convolutions: two populations, ON cells that
        integrate z and OFF cells that integrate -z (``conv3_on``, ``conv3_off``), or an
        error. See `from_torch`.
    compose : float
        Two maps without a ReLU between them become one with at most so many times the
        synapses that they have with ON and OFF cells between them; ``print`` shows the
        choice. 0: never; ``inf``: wherever it can be. See `from_torch`.
    input : {"pixels", "on-off"}
        What the input neurons say: pixels, or with `normalize` how far pixels are above
        the mean in ON, and below it in OFF channels, see `OnOffPixels`.
    classes : sequence of str, optional
        Names of the output neurons, kept for reports.
    unroll : bool
        Whether a module that is called several times makes a population for each call,
        which computes what the CNN computes. If False, layers that the CNN repeats are
        one population each, with feedback; see the notes.
    feedback_delay : Quantity [s], optional
        With ``unroll=False``, the delay of feedback, a multiple of dt; dt by default.
    **options
        How the CNN is converted and simulated, any of these. None is nothing given.
    percentile : float, optional
        Percentile of the activations that counts as the largest.
    per_channel : bool, optional
        Whether `calibration` gives each channel its own threshold.
    pooling : {"neurons", "synapses"}, optional
        Whether average pooling is a population of neurons (the paper's), or part of the
        synapses into the next layer: no neurons, thresholds or rounding there.
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
        `ConductanceLIF`, `AdaptiveIF` or your own `NeuronModel`; for all layers,
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
        nor calibration images; with ``unroll=False``, if the CNN repeats nothing.

    Notes
    -----
    With ``unroll=False`` a CNN such as ``for t in range(n): h = relu(W(h) + U(x))``
    becomes a population for ``h`` that reads ``x`` by U and itself by W. A pass may
    have several layers. By its weights, each pass has to be like the one before; the
    first one may differ, since nothing has come back yet. What follows may read the
    last pass only. The populations have the names of the first pass.

    Nothing counts passes in the SNN: a spike that is read in the next pass counts one
    step (or `feedback_delay`) later, for as long as an image is shown. Rates settle, if
    they do, where one more pass changes nothing: at the fixed point
    h = relu(W h + U x), and not at the CNN's h after n passes, which is near it if the
    CNN has settled by then. The image acts in each step, also where the CNN reads it in
    the first pass only (``h = relu(U(x))``, then ``h = relu(W(h))``), and a start that
    later passes don't read (``h`` of other weights or of zeros) is left out. Thresholds
    from `calibration` are of activations after n passes.
    """
    check_known("argument", options, OPTIONS)
    chosen = find_preset(preset).arguments
    check_known("argument of the preset", chosen, OPTIONS)
    given = {name: value for name, value in options.items() if value is not None}
    settings = {**PRESETS["paper"].arguments, **chosen, **given, "classes": classes}
    of_torch = {
        "normalize": normalize is not None,
        "max_pooling": max_pooling is not None,
        "negative": negative != "on-off",
        "compose": compose != COMPOSE,
        "input": input != "pixels",
    }
    if not isinstance(module, Network):
        if input_shape is None:
            raise InputError(
                "input_shape is missing: (channels, height, width) of an image"
            )
        layers = from_torch(
            module,
            input_shape,
            normalize,
            names=names,
            max_pooling=max_pooling,
            negative=negative,
            compose=compose,
            input=input,
        )
    elif read := [what for what, is_given in of_torch.items() if is_given]:
        raise InputError(
            f"{read[0]}: these layers were read before; give it to from_torch"
        )
    else:
        layers = module
    pooling = settings.get("pooling", "neurons")
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
    dt_s, n_passes = float(dt / second), 1
    if not unroll:
        late = dt if feedback_delay is None else feedback_delay
        layers, n_passes = rolled(layers, float(late / second))
    elif feedback_delay is not None:
        raise InputError("feedback_delay: there is no feedback without unroll=False")
    numbers = {what: settings.get(what) for what in described(Parameters)}
    numbers["thresholds"] = _thresholds(
        layers, thresholds, calibration, settings, n_passes
    )
    fields = (*CHOICES, "neurons", "release_probability", "classes")
    return SpikingNetwork(
        layers,
        Parameters.of(layers, **numbers),
        **{what: settings[what] for what in fields if what in settings},
        dt_s=dt_s,
        delays_s=delays_in_seconds(settings.get("delay", {}), layers.names),
    )


def _thresholds(
    layers: Network,
    thresholds: ByLayer | None,
    calibration: Any,
    settings: Mapping[str, Any],
    n_passes: int,
) -> dict[str, Any]:
    """Take thresholds that are given, and the rest from calibration images."""
    given: dict[str, Any] = {}
    if thresholds is not None and not isinstance(thresholds, Mapping):
        # One number is for neurons that sum; a gate's is 1.
        summing = (name for name in layers.names if not layers.is_gate(name))
        thresholds = dict.fromkeys(summing, thresholds)
    if thresholds is not None:
        check_names("thresholds", thresholds, layers.names)
        given = with_gates(layers, thresholds)
    if not {*layers.names} - {*given}:
        return given
    scale = settings.get("rate_scale", 1.0)
    models = by_layer("neurons", settings.get("neurons", {}), layers.names)
    most = {name: getattr(model, "most", 1) for name, model in models.items()}
    if calibration is not None:
        share, split = settings["percentile"], settings.get("per_channel", False)
        found = data_based_thresholds(
            layers,
            calibration,
            share,
            scale,
            per_channel=split,
            passes=n_passes,
            most=most,
        )
    elif any(layer.ceiling for layer in layers):
        found = ceiling_thresholds(layers, scale, most)
    else:
        raise InputError(
            "thresholds: give numbers, or calibration=... (training images) to compute "
            "them from the CNN's activations"
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
    check_known("argument", options, known)
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
    network = network_fields(graph, given)
    with damage("what the graph says of its network does not fit together"):
        return SpikingNetwork(**network)


def check_dale(network: SpikingNetwork | Network) -> dict[str, int]:
    """
    Find neurons that both excite and inhibit.

    By Dale's law, a neuron does one of the two [1]_.

    Parameters
    ----------
    network : SpikingNetwork or Network
        The network. Pixels count as neurons where they send spikes.

    Returns
    -------
    dict of str to int
        By projection, how many of its source neurons have outgoing weights above 0 and
        others below, in all projections together. Projections without such neurons are
        left out; an empty dict says that the law holds.

    See Also
    --------
    split_by_sign : Make an excitatory and an inhibitory population of one.

    References
    ----------
    .. [1] Eccles, Fatt and Koketsu (1954), Cholinergic and inhibitory synapses in a
       pathway from motor-axon collaterals to motoneurones,
       doi:10.1113/jphysiol.1954.sp005226
    """
    layers = network if isinstance(network, Network) else network.layers
    found = mixed_signs(layers)
    if isinstance(network, SpikingNetwork) and network.encoding == "current":
        for projection in layers.out_of(INPUT):
            found.pop(projection.name, None)
    return found


def split_by_sign(snn: SpikingNetwork, name: str) -> SpikingNetwork:
    """
    Make an excitatory and an inhibitory population of one.

    Both have the input, the thresholds and the neurons of the population, so they spike
    alike. The one sends by its weights above 0, the other by those below, which keeps
    to Dale's law (see `check_dale`) with twice the neurons.

    Parameters
    ----------
    snn : SpikingNetwork
        The network; it stays as it is.
    name : str
        A layer, but not the last one. ``conv1`` becomes ``conv1_excitatory`` and
        ``conv1_inhibitory``.

    Returns
    -------
    SpikingNetwork
        A new network. Its targets get the same sums, added up in another order:
        potentials are equal where that makes no difference, as with weights that are
        multiples of 1/64, and to rounding elsewhere, where now and then a spike
        differs. Where neurons have noise or synapses fail, both draw for themselves.

    Raises
    ------
    InputError
        If there is no such layer or it is the last one, its outgoing weights have one
        sign only, or a rule of plasticity changes them or its input.
    """
    names = snn.layer_names
    check_names("split_by_sign", [name], names)
    if name == names[-1]:
        raise InputError(f"{name}: the last layer sends nothing")
    learning = {name, *(p.target for p in snn.layers.out_of(name))} & {*snn.rules}
    if learning:
        raise InputError(
            f"{name}: the synapses into {', '.join(sorted(learning))} learn, so their "
            "signs may change; split the network first"
        )
    layers = split(snn.layers, name)

    def of_both(values: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for one, value in values.items():
            own = [f"{name}_{kind}" for kind in KINDS] if one == name else [one]
            made |= dict.fromkeys(own, value)
        return made

    changed: dict[str, Any] = {
        what: of_both(value)
        for what in ("synapses", "neurons", "delays_s", "release_probability")
        if isinstance(value := getattr(snn, what), Mapping)
    }
    numbers: dict[str, Any] = {
        what: of_both(value) if isinstance(value, Mapping) else value
        for what, value in vars(snn.parameters).items()
    }
    return replace(
        snn, layers=layers, parameters=Parameters.of(layers, **numbers), **changed
    )
