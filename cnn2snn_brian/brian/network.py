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
from cnn2snn_brian.brian.neurons import Schedule, if_neurons
from cnn2snn_brian.brian.shared_synapses import SharedSynapses
from cnn2snn_brian.brian.synapse_kinds import GateSynapses
from cnn2snn_brian.checks import free_memory
from cnn2snn_brian.errors import InputError, UnsupportedDeviceError
from cnn2snn_brian.projections import (
    INPUT,
    MaxPool2d,
    Pooled,
    connections,
    drive,
    kernel_to_memory,
    n_synapses,
    parts,
    to_neurons,
    weights_of_channel,
)
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
    part_delays_s,
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
        layer = snn.layers[name]
        weights = perturbations.weights.get(name)
        set_rule(network[f"{name}_synapses"], rule, layer, weights)
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
    step_s = snn.dt_s if snn.propagation == "step" else 0.0
    delays = part_delays_s(snn.layers, snn.delays_s, step_s)
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
            reset="zero" if isinstance(layer, MaxPool2d) else snn.reset,
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
            source = groups[layer.inputs[0]]
            group.input_scale = linked_var(source, "output_scale")
        if constant != "none" and layer.bias is not None:
            group.bias = to_neurons(layer.bias, layer.shape)
        network.add(group)
        groups[layer.name] = group
        for part in parts(layer):
            (source_name,) = part.inputs
            if source_name in groups:  # an image as a current has no neurons
                source, late = groups[source_name], delays[part.name]
                synapses = _connected(snn, layer, part, source, group, schedule, late)
                if part.name in factors:
                    kind = snn.synapse_kinds[layer.name]
                    synapses.w = scaled_weights(kind, part, factors[part.name])
                network.add(synapses)
    return network


def _check_memory(snn: "SpikingNetwork") -> None:
    """Refuse explicit synapses that don't fit into memory, before any is made."""
    explicit = {
        layer.name: n_synapses(layer)
        for layer in snn.layers
        if snn.synapse_kinds[layer.name] == "explicit"
    }
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
    group: Any, layer: Any, parameters: Parameters, model: NeuronModel
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


def scaled_weights(kind: str, layer: Any, share: Any) -> Any:
    """Multiply the weights of connections by what spikes of their source are worth."""
    if kind == "explicit" and not isinstance(layer, MaxPool2d):
        listed = connections(layer)
        return listed.weight * share[listed.pre % len(share)]
    stored = kernel_to_memory(layer.inner if isinstance(layer, Pooled) else layer)
    return (
        stored * share[np.arange(len(stored)) // weights_of_channel(layer) % len(share)]
    )


def _connected(
    snn: "SpikingNetwork",
    layer: Any,
    part: Any,
    source: Any,
    target: Any,
    schedule: Schedule,
    delay_s: float,
) -> Any:
    """Make the synapses of a part of a layer."""
    on_pre = snn.models(snn.neurons)[layer.name].on_pre
    if layer.name in snn.release_probability:
        failing = word_substitute(on_pre, {"w": "(w * transmitted)"})
        on_pre = f"{TRANSMITTED}\n{failing}"
    shared = snn.synapse_kinds[layer.name] == "shared"
    learning = {} if shared else {"rule": snn.rules.get(layer.name)}
    make: Any = droppable(SharedSynapses) if shared else explicit_synapses
    if isinstance(layer, MaxPool2d):  # there are no others that compare their sources
        make, learning = droppable(GateSynapses), {}
    return make(
        source,
        target,
        part,
        on_pre=on_pre,
        delay=delay_s * second,
        clock=target.clock,
        name=f"{part.name}_synapses",
        dtype=snn.dtype,
        when=schedule.synapses.when,
        order=schedule.synapses.order,
        **learning,
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
            if INPUT in layer.inputs:
                current = drive(layer, {INPUT: pixels})[0]
                if layer.bias is not None:
                    current = current + layer.bias
                network[layer.name].bias = to_neurons(current, layer.shape)
    if snn.has_constant_input:
        # Biases are scaled like the input that they are added to.
        for name in unlinked(snn.layers):
            group, only = network[name], snn.layers[name].inputs == (INPUT,)
            group.input_scale = scale if only else group.input_scale * (scale / own)
    network.rate_scale = scale
