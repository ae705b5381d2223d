"""Stimuli in a plain Brian2 network: timed rates, timed currents, or given spikes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import (
    Clock,
    Hz,
    Network,
    PoissonGroup,
    SpikeGeneratorGroup,
    TimedArray,
    second,
)

from cnn2snn_brian.brian.droppable import droppable
from cnn2snn_brian.brian.internals import ArrayVariable
from cnn2snn_brian.description.network import NetworkDescription
from cnn2snn_brian.description.pictures import check_rate_scale
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.joined import drive
from cnn2snn_brian.layers.order import INPUT, to_neurons
from cnn2snn_brian.stimuli.base import Stimulus
from cnn2snn_brian.stimuli.frames import FrameStimulus
from cnn2snn_brian.stimuli.spikes import SpikeStimulus

__all__ = ["Draw", "chosen_input", "set_current", "takes_images"]

#: Gives the input spikes of a step.
Draw = Callable[[int, np.random.Generator], npt.NDArray[np.intp]]


def chosen_input(
    snn: NetworkDescription, stimulus: Any, rate_scale: float
) -> tuple[Callable[[Clock], Any] | None, Draw | None]:
    """
    Say what takes the place of the silent Poisson source.

    Parameters
    ----------
    snn : NetworkDescription
        The network.
    stimulus : Stimulus or Group or None
        What is shown, or a group of the user's.
    rate_scale : float
        Spikes per step of an intensity of 1.

    Returns
    -------
    source : callable or None
        Makes the group, given the network's clock; None for the Poisson source.
    draw : callable or None
        Draws the spikes of any step, of its index and a generator of random numbers;
        None if that is not known.

    Raises
    ------
    InputError
        If the stimulus or the group does not fit the network.
    """
    if isinstance(stimulus, Stimulus):
        if snn.encoding == "current":
            return None, None
        stimulus.check(snn.input_shape, snn.dt_s)
        if isinstance(stimulus, FrameStimulus):
            check_rate_scale(rate_scale, stimulus.frames)
        source = partial(_stimulus_group, snn, stimulus, rate_scale)
        return source, _drawn_spikes(snn, stimulus, rate_scale)
    if stimulus is None:
        return None, None
    _check_group(snn, stimulus)
    return (lambda clock: stimulus), None


def takes_images(snn: NetworkDescription, network: Network) -> bool:
    """
    Say whether a network can be given another image.

    Parameters
    ----------
    snn : NetworkDescription
        What it was built from.
    network : brian2.Network
        The network.

    Returns
    -------
    bool
        False if its input was made for a stimulus in time, or is a group of the user's.
    """
    if snn.encoding == "current":
        readers = [layer.name for layer in snn.layers if INPUT in layer.inputs]
        return all("stimulus" not in network[name].namespace for name in readers)
    rates = network[INPUT].variables.get("rates") if INPUT in network else None
    return isinstance(rates, ArrayVariable)


def _check_group(snn: NetworkDescription, group: Any) -> None:
    """
    Check that a group of the user's can take the place of the input.

    Parameters
    ----------
    snn : NetworkDescription
        The network.
    group : SpikeGeneratorGroup, PoissonGroup, NeuronGroup or other source of spikes
        The group.

    Raises
    ------
    InputError
        If it has no spikes, not as many neurons as the input, or another time step; or
        the network has no input spikes.
    """
    if snn.encoding != "poisson":
        message = (
            f"input: with encoding={snn.encoding!r} there are no input spikes; convert "
            "with encoding='poisson'"
        )
        raise InputError(message)
    if "_spikespace" not in getattr(group, "variables", {}):
        message = (
            f"input is a {type(group).__name__}, expected a Brian2 group that spikes, "
            "such as a SpikeGeneratorGroup"
        )
        raise InputError(message)
    n_inputs = math.prod(snn.input_shape)
    if len(group) != n_inputs:
        message = (
            f"input has {len(group)} neurons, the network's input {n_inputs}: "
            f"{snn.input_shape}, ordered (y, x, channel)"
        )
        raise InputError(message)
    own = float(group.clock.dt)
    if abs(own - snn.dt_s) > 1e-9 * snn.dt_s:
        message = (
            f"input has a time step of {1e3 * own:g} ms, the network one of "
            f"{1e3 * snn.dt_s:g} ms; make the group with dt={1e3 * snn.dt_s:g}*ms"
        )
        raise InputError(message)


def _stimulus_group(
    snn: NetworkDescription, stimulus: Stimulus, rate_scale: float, clock: Clock
) -> Any:
    """
    Make the group that gives a stimulus as spikes.

    Parameters
    ----------
    snn : NetworkDescription
        The network, with Poisson input.
    stimulus : Stimulus
        What is shown.
    rate_scale : float
        Spikes per step of an intensity of 1.
    clock : Clock
        The network's clock.

    Returns
    -------
    PoissonGroup or SpikeGeneratorGroup
        The group ``input``. Behind the end of a movie its last frame stays.

    Raises
    ------
    InputError
        If the stimulus does not fit the network.
    """
    n_inputs = math.prod(snn.input_shape)
    if isinstance(stimulus, SpikeStimulus):
        neuron, step = stimulus.spikes(snn.dt_s, snn.input_shape)
        return droppable(SpikeGeneratorGroup)(
            n_inputs, neuron, step * snn.dt_s * second, clock=clock, name=INPUT
        )
    assert isinstance(stimulus, FrameStimulus)
    rates = rate_scale * to_neurons(stimulus.frames, snn.input_shape) / snn.dt_s
    if len(rates) == 1:
        return droppable(PoissonGroup)(
            n_inputs, rates=rates[0] * Hz, clock=clock, name=INPUT
        )
    return droppable(PoissonGroup)(
        n_inputs,
        rates="stimulus(t, i)",
        clock=clock,
        name=INPUT,
        namespace={"stimulus": _timed(rates * Hz, stimulus, snn.dt_s)},
    )


def _timed(values: Any, stimulus: FrameStimulus, dt_s: float) -> TimedArray:
    """Make a TimedArray of values by frame, with the longest step that it can have."""
    of_step = stimulus.frame_of_step(dt_s, 1)
    changes = np.flatnonzero(np.diff(of_step)) + 1
    slot = int(np.gcd.reduce(np.array([len(of_step), *changes])))
    return TimedArray(values[of_step[::slot]], dt=slot * dt_s * second)


def set_current(snn: NetworkDescription, network: Network, stimulus: Stimulus) -> None:
    """
    Give a network a stimulus as the current into the layers that read it.

    Parameters
    ----------
    snn : NetworkDescription
        The network, with images as currents.
    network : brian2.Network
        A network that `brian_network` made.
    stimulus : Stimulus
        What is shown.

    Raises
    ------
    InputError
        If the stimulus does not fit the network.
    """
    stimulus.check(snn.input_shape, snn.dt_s)
    if not isinstance(stimulus, FrameStimulus):
        message = (
            f"{stimulus.label} gives input spikes, and with encoding={snn.encoding!r} "
            "there are none; convert with encoding='poisson'"
        )
        raise InputError(message)
    for layer in snn.layers:
        if INPUT not in layer.inputs:
            continue
        group = network[layer.name]
        current = drive(layer, {INPUT: stimulus.frames})
        if layer.bias is not None:
            current = current + layer.bias
        values = to_neurons(current, layer.shape)
        if len(values) == 1:
            group.bias = values[0]
            continue
        group.namespace["stimulus"] = _timed(values, stimulus, snn.dt_s)
        # In front of the equations of a step, which use it.
        group.run_regularly("bias = stimulus(t, i)", when="start", clock=group.clock)


def _drawn_spikes(
    snn: NetworkDescription, stimulus: Stimulus, rate_scale: float
) -> Draw:
    """
    Give a function that draws the input spikes of any step.

    Parameters
    ----------
    snn : NetworkDescription
        The network.
    stimulus : Stimulus
        What is shown.
    rate_scale : float
        Spikes per step of an intensity of 1.

    Returns
    -------
    callable
        Of the index of a step and a generator of random numbers.
    """
    if isinstance(stimulus, SpikeStimulus):
        neuron, step = stimulus.spikes(snn.dt_s, snn.input_shape)

        def given(now: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
            first, behind = np.searchsorted(step, (now, now + 1))
            return neuron[first:behind].astype(np.intp)

        return given
    assert isinstance(stimulus, FrameStimulus)
    p = rate_scale * to_neurons(stimulus.frames, snn.input_shape)
    of_step = stimulus.frame_of_step(snn.dt_s, 1)

    def random(now: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        own = p[of_step[min(now, len(of_step) - 1)]]
        return np.flatnonzero(rng.random(len(own)) < own)

    return random
