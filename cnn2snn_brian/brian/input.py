"""Stimuli in a plain Brian2 network: timed rates, timed currents, or given spikes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from brian2 import (
    Clock,
    Hz,
    Network,
    NetworkOperation,
    PoissonGroup,
    SpikeGeneratorGroup,
    TimedArray,
    second,
)

from cnn2snn_brian.brian.codeobjects import droppable
from cnn2snn_brian.brian.internals import ArrayVariable
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, to_neurons
from cnn2snn_brian.settings import check_rate_scale
from cnn2snn_brian.stimuli import FrameStimulus, Stimulus, shape_shown

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: In runtime mode, input spikes are displaced by at most so many standard deviations.
FARTHEST = 6


#: Gives the input spikes of a step.
Draw = Callable[[int, np.random.Generator], npt.NDArray[np.intp]]


@dataclass
class InputPerturbation:
    """Lesions, losses and displacements of the input spikes of a Brian2 network."""

    group: Any
    lesioned: npt.NDArray[np.bool_] | None
    deletion: float
    jitter_steps: float
    seed: int
    draw: Draw | None = None

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Go back to an image's start."""
        self.rng = np.random.default_rng(self.seed)
        # Spikes of the next steps; so many steps ahead are drawn.
        self.ahead = int(np.ceil(FARTHEST * self.jitter_steps))
        self.ring = np.zeros((2 * self.ahead + 1, self.group.N), bool)

    def displaced(self, step: int, drawn: npt.NDArray[np.intp]) -> Any:
        """Give the spikes of a step, some of which come from steps around it."""
        sources = [(step, drawn)]
        if self.jitter_steps:
            # Brian2 draws a step's spikes in that step, which is too late for those
            # that move ahead: they are drawn here instead.
            first = 0 if step == 0 else step + self.ahead
            sources = [(t, self._drawn(t)) for t in range(first, step + self.ahead + 1)]
        size = len(self.ring)
        for t, spikes in sources:
            shift = np.rint(self.jitter_steps * self.rng.standard_normal(len(spikes)))
            to = t + np.clip(shift, -self.ahead, self.ahead).astype(int)
            inside = to >= 0
            self.ring[to[inside] % size, spikes[inside]] = True
        now = np.flatnonzero(self.ring[step % size])
        self.ring[step % size] = False
        return now

    def _drawn(self, step: int) -> npt.NDArray[np.intp]:
        """Draw the spikes of a step ahead."""
        if self.draw is not None:
            return self.draw(step, self.rng)
        p = np.asarray(self.group.rates) * float(self.group.clock.dt)
        return np.flatnonzero(self.rng.random(len(p)) < p)

    def __call__(self) -> None:
        """Change the spikes of the step that has just been drawn."""
        space = self.group.variables["_spikespace"].get_value()
        step = int(self.group.clock.timestep[:])
        if step == 0:
            self.begin()
        spikes = self.displaced(step, space[: space[-1]].copy())
        if self.deletion:
            spikes = spikes[self.rng.random(len(spikes)) >= self.deletion]
        if self.lesioned is not None:
            spikes = spikes[~self.lesioned[spikes]]
        space[: len(spikes)] = spikes
        space[-1] = len(spikes)


def perturb_input(network: Network, perturbation: InputPerturbation) -> None:
    """Perturb the input spikes of a Brian2 network in runtime mode."""
    group = perturbation.group
    drawing = getattr(group, "thresholder", {}).get("spike", group)
    # Right after the source's own threshold, before monitors and synapses: of objects
    # of one slot and order, Brian2 takes the names in alphabetical order.
    network.add(
        NetworkOperation(
            perturbation.__call__,
            clock=group.clock,
            when="thresholds",
            order=0,
            name=f"{drawing.name}_perturbation",
        )
    )


def chosen_input(
    snn: "SpikingNetwork", stimulus: Any, rate_scale: float
) -> tuple[Callable[[Clock], Any] | None, Draw | None]:
    """Say what takes the place of the silent Poisson source."""
    if isinstance(stimulus, Stimulus):
        if snn.encoding == "current":
            return None, None
        stimulus.check(shape_shown(snn.layers, stimulus), snn.dt_s)
        if isinstance(stimulus, FrameStimulus):
            check_rate_scale(rate_scale, snn.layers.said_by_input(stimulus.frames))
            return _drawn_at_random(snn, stimulus, rate_scale)
        return _given(snn, stimulus)
    if stimulus is None:
        return None, None
    _check_group(snn, stimulus)
    return (lambda clock: stimulus), None


def takes_images(snn: "SpikingNetwork", network: Network) -> bool:
    """Say whether a network can be given another image."""
    if snn.encoding == "current":
        readers = [p.target for p in snn.layers.out_of(INPUT)]
        return all("stimulus" not in network[name].namespace for name in readers)
    rates = network[INPUT].variables.get("rates") if INPUT in network else None
    return isinstance(rates, ArrayVariable)


def _check_group(snn: "SpikingNetwork", group: Any) -> None:
    """Check that a group of the user's can take the place of the input."""
    if snn.encoding != "poisson":
        raise InputError(
            f"input: with encoding={snn.encoding!r} there are no input spikes; convert "
            "with encoding='poisson'"
        )
    if "_spikespace" not in getattr(group, "variables", {}):
        raise InputError(
            f"input is a {type(group).__name__}, expected a Brian2 group that spikes, "
            "such as a SpikeGeneratorGroup"
        )
    n_inputs = math.prod(snn.input_shape)
    if len(group) != n_inputs:
        raise InputError(
            f"input has {len(group)} neurons, the network's input {n_inputs}: "
            f"{snn.input_shape}, ordered (y, x, channel)"
        )
    own = float(group.clock.dt)
    if abs(own - snn.dt_s) > 1e-9 * snn.dt_s:
        raise InputError(
            f"input has a time step of {1e3 * own:g} ms, the network one of "
            f"{1e3 * snn.dt_s:g} ms; make the group with dt={1e3 * snn.dt_s:g}*ms"
        )


def _given(snn: "SpikingNetwork", stimulus: Any) -> tuple[Callable[[Clock], Any], Draw]:
    """Give the spikes of a stimulus."""
    neuron, step = stimulus.spikes(snn.dt_s, snn.input_shape)
    n_inputs, times = math.prod(snn.input_shape), step * snn.dt_s * second

    def source(clock: Clock) -> Any:
        make = droppable(SpikeGeneratorGroup)
        return make(n_inputs, neuron, times, clock=clock, name=INPUT)

    def draw(now: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        first, end = np.searchsorted(step, (now, now + 1))
        return neuron[first:end].astype(np.intp)

    return source, draw


def _drawn_at_random(
    snn: "SpikingNetwork", stimulus: FrameStimulus, rate_scale: float
) -> tuple[Callable[[Clock], Any], Draw]:
    """Draw spikes at the rates of a stimulus."""
    frames = snn.layers.said_by_input(stimulus.frames)
    p = rate_scale * to_neurons(frames, snn.input_shape)
    of_step, rates = stimulus.frame_of_step(snn.dt_s, 1), p / snn.dt_s
    options: dict[str, Any] = {"rates": rates[0] * Hz}
    if len(rates) > 1:
        timed = _timed(rates * Hz, stimulus, snn.dt_s)
        options = {"rates": "stimulus(t, i)", "namespace": {"stimulus": timed}}

    def source(clock: Clock) -> Any:
        make = droppable(PoissonGroup)
        return make(p.shape[1], clock=clock, name=INPUT, **options)

    def draw(now: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        own = p[of_step[min(now, len(of_step) - 1)]]
        return np.flatnonzero(rng.random(len(own)) < own)

    return source, draw


def _timed(values: Any, stimulus: FrameStimulus, dt_s: float) -> TimedArray:
    """Make a TimedArray of values by frame, with the longest step that it can have."""
    of_step = stimulus.frame_of_step(dt_s, 1)
    changes = np.flatnonzero(np.diff(of_step)) + 1
    slot = int(np.gcd.reduce(np.array([len(of_step), *changes])))
    return TimedArray(values[of_step[::slot]], dt=slot * dt_s * second)


def set_current(snn: "SpikingNetwork", network: Network, stimulus: Stimulus) -> None:
    """Give a network a stimulus as the current into the layers that read it."""
    stimulus.check(shape_shown(snn.layers, stimulus), snn.dt_s)
    if not isinstance(stimulus, FrameStimulus):
        raise InputError(
            f"{stimulus.label} gives input spikes, and with encoding={snn.encoding!r} "
            "there are none; convert with encoding='poisson'"
        )
    for name, values in currents(snn, stimulus.frames):
        group = network[name]
        if len(values) == 1:
            group.bias = values[0]
            continue
        group.namespace["stimulus"] = _timed(values, stimulus, snn.dt_s)
        # Before the equations of a step, which use it.
        group.run_regularly("bias = stimulus(t, i)", when="start", clock=group.clock)


def currents(snn: "SpikingNetwork", images: Any) -> Iterator[tuple[str, Any]]:
    """Compute the currents into the layers that read images, (n, n_neurons)."""
    for layer in snn.layers:
        if INPUT in snn.layers.sources(layer.name):
            said = snn.layers.said_by_input(images)
            current = snn.layers.drive(layer.name, {INPUT: said})
            if layer.bias is not None:
                current = current + layer.bias
            yield layer.name, to_neurons(current, layer.shape)
