"""From a description to a plain Brian2 network of named groups and synapses."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import (
    Clock,
    Network,
    PoissonGroup,
    Quantity,
    get_device,
    linked_var,
    second,
)

from cnn2snn_brian.brian.codeobjects import droppable
from cnn2snn_brian.brian.explicit_synapses import explicit_synapses, set_rule
from cnn2snn_brian.brian.input import (
    chosen_input,
    perturb_input,
    set_current,
    takes_images,
)
from cnn2snn_brian.brian.internals import RuntimeDevice, check_version, word_substitute
from cnn2snn_brian.brian.neurons import Place, Schedule, if_neurons
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
    check_images,
    check_rate_scale,
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
    _check_device([what for what, given in changed.items() if given])
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
    if any(changed.values()):
        hidden = masks.get(INPUT)
        mask = None if hidden is None else to_neurons(hidden, hidden.shape)
        group = network[INPUT] if stimulus is None or draw is not None else stimulus
        perturb_input(
            network, mask, deletion, float(jitter) / snn.dt_s, seed, group, draw
        )
    return network


def _check_device(changed: list[str]) -> None:
    """Refuse changes of input spikes that a device would ignore: they run in Python."""
    device = get_device()
    if changed and not isinstance(device, RuntimeDevice):
        raise UnsupportedDeviceError(
            f"{', '.join(changed)}: input spikes can't be changed on Brian2's "
            f"{type(device).__name__}. Use its runtime mode, or compile() and run()"
        )


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
    models = snn.models(snn.neurons)
    # What `show` takes if it is not told otherwise.
    network.rate_scale = parameters.rate_scale
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
    by_channel = {
        name
        for name in snn.layer_names
        if for_program
        or np.ndim(parameters.thresholds[name])
        or np.ndim(parameters.leak[name])
    }
    gains = input_gains(snn.layers, parameters.thresholds, parameters.rate_scale)
    # Spikes of channels with lower thresholds stand for less.
    factors = {} if for_program else weight_factors(snn.layers, parameters)
    delays = projection_delays_s(snn.layers, snn.delays_s, snn.dt_s, snn.propagation)

    def connect(projection: Projection, schedule: Schedule) -> None:
        name = projection.name
        if projection.source in groups:  # an image as a current has no neurons
            ends = groups[projection.source], groups[projection.target]
            late = delays[name] * second
            synapses = _connected(snn, projection, *ends, schedule.synapses, late)
            if name in factors:
                synapses.w = scaled_weights(snn, projection, factors[name])
            network.add(synapses)

    for index, layer in enumerate(snn.layers):
        schedule = Schedule(snn.propagation, index + 1)
        constant: Literal["none", "first", "linked"] = "none"
        if snn.has_constant_input:
            constant = "first" if layer.name in unlinked(snn.layers) else "linked"
        group = if_neurons(
            layer.name,
            math.prod(layer.shape),
            clock=clock,
            # What passes a gate is a whole spike, of which nothing is left.
            reset="zero" if snn.layers.is_gate(layer.name) else snn.reset,
            constant_input=constant,
            dtype=snn.dtype,
            model=models[layer.name],
            failing=layer.name in snn.release_probability,
            lesions=layer.name in lesions,
            schedule=schedule,
            channels=layer.shape[0] if layer.name in by_channel else None,
            for_program=for_program,
        )
        _set_state(group, layer, parameters, models[layer.name])
        if constant == "first":
            group.input_scale = gains[layer.name]
        elif constant == "linked":
            source = groups[snn.layers.sources(layer.name)[0]]
            group.input_scale = linked_var(source, "output_scale")
        if constant != "none" and layer.bias is not None:
            group.bias = to_neurons(layer.bias, layer.shape)
        network.add(group)
        groups[layer.name] = group
        for projection in snn.layers.into(layer.name):
            if not snn.layers.is_feedback(projection):
                connect(projection, schedule)
    for projection in filter(snn.layers.is_feedback, snn.layers.projections):
        connect(projection, Schedule("step"))
    return network


def _check_memory(snn: "SpikingNetwork") -> None:
    """Refuse explicit synapses that don't fit into memory, before any is made."""
    explicit: dict[str, int] = {}
    for p in snn.layers.projections:
        if snn.synapse_kinds[p.target] == "explicit":
            n = explicit.get(p.target, 0)
            explicit[p.target] = n + p.connection.n_synapses
    total, free = sum(explicit.values()), free_memory()
    if total < MIN_CHECKED or free is None or total * SYNAPSE_BYTES <= free:
        return
    most = max(explicit, key=lambda name: explicit[name])
    raise InputError(
        f"{total:,} explicit synapses ({explicit[most]:,} of them into {most}) take "
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


def scaled_weights(snn: "SpikingNetwork", projection: Projection, share: Any) -> Any:
    """Multiply weights by what spikes of their source are worth."""
    if snn.synapse_kinds[projection.target] == "explicit" and not projection.gate:
        return projection.connection.expanded(share=share)[2]
    return projection.connection.stored(share=share)


def _connected(
    snn: "SpikingNetwork",
    projection: Projection,
    source: Any,
    target: Any,
    place: Place,
    delay: Quantity,
) -> Any:
    """Make the synapses of a projection."""
    name = projection.target
    on_pre = snn.models(snn.neurons)[name].on_pre
    if name in snn.release_probability:
        failing = word_substitute(on_pre, {"w": "(w * transmitted)"})
        on_pre = f"{TRANSMITTED}\n{failing}"
    make: Any = droppable(SharedSynapses)
    options: dict[str, Any] = {}
    if projection.gate:  # there are no others that compare their sources
        make, options = droppable(GateSynapses), {"rule": projection.gate}
    elif snn.synapse_kinds[name] == "explicit":
        make, options = explicit_synapses, {"rule": snn.rules.get(name)}
    return make(
        source,
        target,
        projection.connection,
        on_pre=on_pre,
        delay=delay,
        clock=target.clock,
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
    pixels = check_images(as_array("the image", image)[None], snn.input_shape)
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
        for layer in snn.layers:
            if INPUT in snn.layers.sources(layer.name):
                current = snn.layers.drive(layer.name, {INPUT: pixels})[0]
                if layer.bias is not None:
                    current = current + layer.bias
                network[layer.name].bias = to_neurons(current, layer.shape)
    if snn.has_constant_input:
        # Biases are scaled like the input that they are added to.
        for name in unlinked(snn.layers):
            group, only = network[name], snn.layers.sources(name) == (INPUT,)
            group.input_scale = scale if only else group.input_scale * (scale / own)
    network.rate_scale = scale
