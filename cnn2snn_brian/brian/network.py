"""From a description to a plain Brian2 network of named groups and synapses."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import Clock, Network, PoissonGroup, Quantity, Synapses, get_device, second

from cnn2snn_brian.brian.codeobjects import droppable
from cnn2snn_brian.brian.explicit_synapses import explicit_synapses, set_rule
from cnn2snn_brian.brian.extension import extend_network
from cnn2snn_brian.brian.input import (
    InputPerturbation,
    chosen_input,
    currents,
    perturb_input,
    set_current,
    takes_images,
)
from cnn2snn_brian.brian.internals import RuntimeDevice, check_version, word_substitute
from cnn2snn_brian.brian.neurons import (
    Place,
    Schedule,
    burst_before,
    if_neurons,
    link_scale,
)
from cnn2snn_brian.brian.shared_synapses import SharedSynapses
from cnn2snn_brian.brian.synapse_kinds import GateSynapses
from cnn2snn_brian.checks import free_memory
from cnn2snn_brian.errors import InputError, UnsupportedDeviceError
from cnn2snn_brian.projections import INPUT, Population, Projection, to_neurons
from cnn2snn_brian.settings import (
    CLOCK_NAME,
    NETWORK_NAME,
    LayerNumber,
    NeuronModel,
    Parameters,
    Perturbations,
    as_array,
    check_rate_scale,
    check_shown,
    check_units,
    described,
    input_gains,
    projection_delays_s,
    reference,
    unlinked,
    weight_factors,
)
from cnn2snn_brian.stimuli import Stimulus

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork


@check_units(dt=second)
def poisson_rates(
    pixels: npt.NDArray[np.float32],
    rate_scale: float,
    dt: Quantity,
) -> Quantity:
    """Map pixels to the rates of a `PoissonGroup`."""
    check_rate_scale(rate_scale, pixels)
    return rate_scale * to_neurons(pixels, pixels.shape[-3:]) / dt


#: Bytes of an explicit synapse while it is made; fewer of them are always made.
SYNAPSE_BYTES, MIN_CHECKED = 60, 10**7

#: A synapse that fails draws once for all that its statement does.
TRANSMITTED = "transmitted = int(rand() < release_probability_post)"


def brian_network(
    snn: "SpikingNetwork",
    parameters: Parameters,
    perturbations: Perturbations,
    seed: int = 0,
    stimulus: Any = None,
) -> Network:
    """Build the network of a description on the active device."""
    masks = perturbations.lesion
    deletion, jitter = perturbations.input_deletion, perturbations.input_jitter
    changed = {"input_deletion": deletion, "input_jitter": float(jitter)}
    changed[f"lesion of {INPUT}"] = INPUT in masks
    names = [what for what, given in changed.items() if given]
    if names and not isinstance(device := get_device(), RuntimeDevice):
        # They are changed in Python, which other devices ignore.
        raise UnsupportedDeviceError(
            f"{', '.join(names)}: input spikes can't be changed on Brian2's "
            f"{type(device).__name__}. Use its runtime mode, or compile() and run()"
        )
    source, draw = chosen_input(snn, stimulus, parameters.rate_scale)
    network = _built(snn, parameters, masks, source=source)
    if isinstance(stimulus, Stimulus) and snn.encoding == "current":
        set_current(snn, network, stimulus)
    for name, model in perturbations.neurons.items():
        group = network[name]
        for what, value in model.values.items():
            setattr(group, what, value)
        if name in perturbations.release_probability:
            group.release_probability = perturbations.release_probability[name]
        if name in masks:
            group.lesioned = to_neurons(masks[name], masks[name].shape)
    for name, rule in perturbations.plasticity.items():
        (projection,) = snn.layers.into(name)
        weights = perturbations.weights.get(name)
        synapses = network[f"{name}_synapses"]
        set_rule(synapses, rule, projection.connection, weights)
    extend_network(network, snn.extension.builders)
    for key, value in parameters.values.items():
        name, _, variable = key.partition(".")
        setattr(network[name], variable, value)
    if names:
        hidden = masks.get(INPUT)
        mask = None if hidden is None else to_neurons(hidden, hidden.shape)
        group = network[INPUT] if stimulus is None or draw is not None else stimulus
        steps = float(jitter) / snn.dt_s
        changes = InputPerturbation(group, mask, deletion, steps, seed, draw)
        perturb_input(network, changes)
    return network


def program_network(snn: "SpikingNetwork") -> Network:
    """Build the network of a compiled program, which gets its values at run time."""
    return _built(snn, snn.neutral_parameters(), {}, for_program=True)


def _built(
    snn: "SpikingNetwork",
    parameters: Parameters,
    lesions: Mapping[str, Any],
    *,
    for_program: bool = False,
    source: Callable[[Clock], Any] | None = None,
) -> Network:
    check_version()
    _check_memory(snn)
    clock = Clock(dt=snn.dt, name=CLOCK_NAME)
    network = Network(name=NETWORK_NAME)
    groups: dict[str, Any] = {}
    layers, models = snn.layers, snn.models(snn.neurons)
    # What `show` takes if it is not told otherwise.
    network.rate_scale, network.clock = parameters.rate_scale, clock
    if snn.encoding == "poisson":
        n_inputs = math.prod(snn.input_shape)
        groups[INPUT] = (
            droppable(PoissonGroup)(
                n_inputs, rates=np.zeros(n_inputs) / second, clock=clock, name=INPUT
            )
            if source is None
            else source(clock)
        )
        network.add(groups[INPUT])
        _say(groups[INPUT], shape=snn.input_shape)
    scaled_apart = unlinked(layers)
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)
    # Spikes of channels with lower thresholds stand for less.
    factors = {} if for_program else weight_factors(layers, parameters)
    delays = projection_delays_s(layers, snn.delays_s, snn.dt_s, snn.propagation)
    # How many steps before it arrives an event was: its size has to be remembered.
    ago = {}
    for p in layers.projections:
        is_late = layers.is_feedback(p) and snn.propagation == "instant"
        ago[p.name] = round(delays[p.name] / snn.dt_s) + is_late

    def connect(projection: Projection, place: Place) -> None:
        if projection.source not in groups:
            return  # an image as a current has no neurons
        ends = groups[projection.source], groups[projection.target]
        delay = delays[projection.name] * second
        on_pre = models[projection.target].on_pre
        size = None
        if (model := models.get(projection.source)) and model.size is not None:
            size = burst_before(ago[projection.name])
        synapses = _connected(snn, projection, ends, on_pre, place, delay, size)
        if (share := factors.get(projection.name)) is not None:
            connection = projection.connection
            is_explicit = isinstance(synapses, Synapses)
            synapses.w = (
                connection.expanded(share=share)[2]
                if is_explicit
                else connection.stored(share=share)
            )
        network.add(synapses)

    for index, layer in enumerate(layers):
        name, schedule = layer.name, Schedule.of(snn.propagation, index + 1)
        by_channel = for_program or any(
            np.ndim(of_layer[name])
            for of_layer in (parameters.thresholds, parameters.leak)
        )
        constant: Literal["none", "first", "linked"] = "none"
        if snn.has_constant_input:
            constant = "first" if name in scaled_apart else "linked"
        group = groups[name] = if_neurons(
            name,
            math.prod(layer.shape),
            clock=clock,
            # What passes a gate is a whole spike, of which nothing is left.
            reset="zero" if layers.is_gate(name) else snn.reset,
            constant_input=constant,
            dtype=snn.dtype,
            model=models[name],
            failing=name in snn.release_probability,
            lesions=name in lesions,
            schedule=schedule,
            channels=layer.shape[0] if by_channel else None,
            # Where something happens between equations and reset, they are apart.
            for_program=for_program and name not in snn.extension.apart,
            remembered=max(
                (ago[p.name] for p in layers.out_of(name) if models[name].size),
                default=0,
            ),
        )
        _set_state(group, layer, parameters, models[name])
        _say(group, shape=layer.shape, on_pre=models[name].on_pre)
        if constant == "first":
            group.input_scale = gains[name]
        elif constant == "linked":
            link_scale(group, groups[layers.sources(name)[0]])
        if constant != "none" and layer.bias is not None:
            group.bias = to_neurons(layer.bias, layer.shape)
        network.add(group)
        for projection in layers.into(name):
            if not layers.is_feedback(projection):
                connect(projection, schedule.synapses)
    for projection in filter(layers.is_feedback, layers.projections):
        # Before its source spikes: what it brings is at least of the step before.
        order = (INPUT, *layers.names)
        index = min(map(order.index, (projection.source, projection.target)))
        connect(projection, Schedule.of(snn.propagation, index).synapses)
    return network


def _say(group: Any, **facts: Any) -> None:
    """Let a group say what its population is, for connections that a user adds."""
    for what, fact in facts.items():
        if not hasattr(group, what):  # of a user's own input it may be a variable
            group.add_attribute(what)
            setattr(group, what, fact)


def _check_memory(snn: "SpikingNetwork") -> None:
    """Refuse explicit synapses that don't fit into memory, before any is made."""
    explicit: Counter[str] = Counter()
    for p in snn.layers.projections:
        if snn.synapse_kinds[p.target] == "explicit":
            explicit[p.target] += p.connection.n_synapses
    total, free = sum(explicit.values()), free_memory()
    if total < MIN_CHECKED or free is None or total * SYNAPSE_BYTES <= free:
        return
    ((most, n),) = explicit.most_common(1)
    raise InputError(
        f"{total:,} explicit synapses ({n:,} of them into {most}) take "
        f"about {total * SYNAPSE_BYTES / 1e9:.0f} GB, {free / 1e9:.0f} GB of memory "
        "are free; convert with synapses='shared'"
    )


def _set_state(
    group: Any, layer: Population, parameters: Parameters, model: NeuronModel
) -> None:
    """Give neurons their state at the start of an image."""
    name = layer.name

    def of_neurons(value: Any) -> Any:
        """Give each neuron the number of its channel; channels are last."""
        if np.ndim(value) == 0:
            return value
        return np.tile(value, math.prod(layer.shape[1:]))

    for what, kind in described(Parameters).items():
        if isinstance(kind, LayerNumber) and not kind.is_start:
            value = getattr(parameters, what)[name]
            setattr(group, kind.variable, of_neurons(value))
    threshold = parameters.thresholds[name]
    if "v_ref" in group.variables:
        group.v_ref = reference(threshold)
    group.v = of_neurons(parameters.v_init[name]) * of_neurons(threshold)
    for what, value in model.initial.items():
        setattr(group, what, value)


def _connected(
    snn: "SpikingNetwork",
    projection: Projection,
    ends: tuple[Any, Any],
    on_pre: str,
    place: Place,
    delay: Quantity,
    size: str | None,
) -> Any:
    """Make the synapses of a projection; `size` is that of its source's events."""
    name = projection.target
    if size is not None and not projection.gate:  # a gate counts for itself
        on_pre = word_substitute(on_pre, {"w": f"({size}_pre * w)"})
    if name in snn.release_probability:
        failing = word_substitute(on_pre, {"w": "(w * transmitted)"})
        on_pre = f"{TRANSMITTED}\n{failing}"
    make: Any = droppable(SharedSynapses)
    options: dict[str, Any] = {}
    if projection.gate:  # there are no others that compare their sources
        make = droppable(GateSynapses)
        options = {"rule": projection.gate, "size": size}
    elif snn.synapse_kinds[name] == "explicit":
        make, options = explicit_synapses, {"rule": snn.rules.get(name)}
    return make(
        *ends,
        projection.connection,
        on_pre=on_pre,
        delay=delay,
        clock=ends[1].clock,
        name=f"{projection.name}_synapses",
        dtype=snn.dtype,
        when=place.when,
        order=place.order,
        **options,
    )


def show(
    snn: "SpikingNetwork",
    network: Network,
    image: Any,
    rate_scale: float | None = None,
) -> None:
    """
    Give a Brian2 network of this CNN another image.

    Potentials are left as they are: for an independent run, set them too, or
    store the network before the first image and restore it.

    Parameters
    ----------
    network : brian2.Network
        A network that `network` made.
    image : ndarray, shape (channels, height, width)
        The image, float in [0, 1] or uint8.
    rate_scale : float, optional
        Spikes per step of a pixel of intensity 1, for this image and those after
        it; by default what the network has.

    Raises
    ------
    InputError
        If the image can't be used.
    """
    pixels = check_shown(as_array("the image", image)[None], snn.layers)
    # A network that a user put together of these groups has none of its own.
    own = getattr(network, "rate_scale", snn.parameters.rate_scale)
    scale = own if rate_scale is None else check_rate_scale(rate_scale)
    if not takes_images(snn, network):
        raise InputError(
            "the network has other input than an image; build one for the image"
        )
    if snn.encoding == "poisson":
        network[INPUT].rates = poisson_rates(pixels[0], scale, snn.dt)
    else:
        for name, (current,) in currents(snn, pixels):
            network[name].bias = current
    if snn.has_constant_input:
        # Biases are scaled like the input that they are added to.
        for name in unlinked(snn.layers):
            group, only = network[name], snn.layers.sources(name) == (INPUT,)
            group.input_scale = scale if only else group.input_scale * (scale / own)
    network.rate_scale = scale
