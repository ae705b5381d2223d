"""Perturbed networks: noisy kernels, and input spikes that are lost or displaced."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
from brian2 import Network, NetworkOperation, Quantity
from brian2.units import have_same_dimensions, second

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers import INPUT, AvgPool2d, Layers
from cnn2snn_brian.parameters import check_names

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

__all__ = ["Perturbations", "check_input_noise", "kernel_noise", "perturb_input"]

#: In runtime mode, input spikes are displaced by at most so many standard deviations.
FARTHEST = 6


@dataclass(frozen=True)
class Perturbations:
    """
    What a run of a compiled program does beside its parameters.

    Attributes
    ----------
    values : tuple of tuple of float
        For each layer, its model's parameters in SI units.
    lesioned : tuple of ndarray of int32
        For each population, the neurons that are silenced.
    deletion : float
        Probability that an input spike is lost.
    jitter_steps : float
        Standard deviation of the displacement of input spikes, in steps.
    n_steps : int
        Steps of a picture.
    """

    values: tuple[tuple[float, ...], ...]
    lesioned: tuple[npt.NDArray[np.int32], ...]
    deletion: float
    jitter_steps: float
    n_steps: int


def check_input_noise(
    encoding: str, deletion: float, jitter: Any
) -> tuple[float, float]:
    """
    Check how input spikes are perturbed.

    Parameters
    ----------
    encoding : str
        The network's encoding.
    deletion : float
        Probability that an input spike is lost.
    jitter : Quantity [s] or 0
        Standard deviation of its displacement.

    Returns
    -------
    deletion, jitter_s : float
        The probability, and the standard deviation in seconds.

    Raises
    ------
    InputError
        If a value is out of its range, or the network has no input spikes.
    """
    if isinstance(deletion, Quantity) or not 0 <= float(deletion) <= 1:
        message = f"input_deletion is {deletion}, expected a probability, 0 to 1"
        raise InputError(message)
    is_zero = np.ndim(jitter) == 0 and float(jitter) == 0
    if np.ndim(jitter) or not (is_zero or have_same_dimensions(jitter, second)):
        message = f"input_jitter is {jitter}, expected a time, such as 2*ms"
        raise InputError(message)
    if not 0 <= float(jitter) < np.inf:
        message = f"input_jitter is {jitter}, expected a time of at least 0"
        raise InputError(message)
    if encoding != "poisson" and (deletion > 0 or not is_zero):
        message = (
            f"input_deletion, input_jitter: with encoding={encoding!r} there are no "
            "input spikes"
        )
        raise InputError(message)
    return float(deletion), float(jitter)


@overload
def kernel_noise(
    network: "SpikingNetwork",
    relative_sd: float,
    seed: int = 0,
    layers: Iterable[str] | None = None,
) -> "SpikingNetwork": ...
@overload
def kernel_noise(
    network: Layers,
    relative_sd: float,
    seed: int = 0,
    layers: Iterable[str] | None = None,
) -> Layers: ...
def kernel_noise(
    network: Any,
    relative_sd: float,
    seed: int = 0,
    layers: Iterable[str] | None = None,
) -> Any:
    r"""
    Make a network whose trained weights are noisy.

    Each weight :math:`w` of a kernel becomes :math:`w (1 + s\, z)`, with a standard
    normal number :math:`z` of its own. Weights of 0 stay 0, biases and pooling are left
    as they are. The structure is the same: nothing is compiled again.

    Parameters
    ----------
    network : SpikingNetwork or Layers
        The network. It is not changed.
    relative_sd : float
        The standard deviation :math:`s`, as a share of each weight.
    seed : int
        Seed of the noise, at least 0. Of the same seed, noise is proportional to `s`.
    layers : iterable of str, optional
        Names of the layers whose kernels get noise; all by default.

    Returns
    -------
    SpikingNetwork or Layers
        What was given, with other weights.

    Raises
    ------
    InputError
        If `relative_sd` or `seed` is negative, or a layer is unknown.
    """
    if not 0 <= float(relative_sd) < np.inf:
        message = f"relative_sd is {relative_sd}, expected a number of at least 0"
        raise InputError(message)
    if not isinstance(seed, int | np.integer) or seed < 0:
        message = f"seed is {seed!r}, expected a whole number of at least 0"
        raise InputError(message)
    if not isinstance(network, Layers):
        noisy = kernel_noise(network.layers, relative_sd, seed, layers)
        return replace(network, layers=noisy)
    chosen = network.names if layers is None else tuple(layers)
    check_names("layers", chosen, network.names)
    made = []
    for index, layer in enumerate(network):
        if layer.name in chosen and not isinstance(layer, AvgPool2d):
            # A stream for each layer: the noise of one does not depend on the others.
            sequence = np.random.SeedSequence(seed, spawn_key=(index,))
            z = np.random.default_rng(sequence).standard_normal(layer.weight.shape)
            weight = layer.weight * (1 + relative_sd * z)
            layer = replace(layer, weight=weight.astype(layer.weight.dtype))
        made.append(layer)
    return Layers(network.input_shape, tuple(made))


class _InputPerturbation:
    """Lesions, losses and displacements of the input spikes of a Brian2 network."""

    def __init__(
        self,
        group: Any,
        lesioned: npt.NDArray[np.bool_] | None,
        deletion: float,
        jitter_steps: float,
        seed: int,
    ) -> None:
        self.group, self.lesioned = group, lesioned
        self.deletion, self.jitter_steps, self.seed = deletion, jitter_steps, seed
        self.begin()

    def begin(self) -> None:
        """Go back to a picture's start."""
        self.rng = np.random.default_rng(self.seed)
        # Spikes of the next steps; so many steps ahead are drawn.
        self.ahead = int(np.ceil(FARTHEST * self.jitter_steps))
        self.ring = np.zeros((2 * self.ahead + 1, self.group.N), bool)

    def displaced(self, step: int, drawn: npt.NDArray[np.intp]) -> Any:
        """Give the spikes of a step, some of which come from steps around it."""
        sources = [(step, drawn)]
        if self.jitter_steps:
            p = np.asarray(self.group.rates) * float(self.group.clock.dt)
            # Brian2 draws a step's spikes in that step, which is too late for those
            # that move ahead: they are drawn here instead.
            first = 0 if step == 0 else step + self.ahead
            sources = [
                (t, np.flatnonzero(self.rng.random(len(p)) < p))
                for t in range(first, step + self.ahead + 1)
            ]
        size = len(self.ring)
        for t, spikes in sources:
            shift = np.rint(self.jitter_steps * self.rng.standard_normal(len(spikes)))
            to = t + np.clip(shift, -self.ahead, self.ahead).astype(int)
            inside = to >= 0
            self.ring[to[inside] % size, spikes[inside]] = True
        now = np.flatnonzero(self.ring[step % size])
        self.ring[step % size] = False
        return now

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


def perturb_input(
    network: Network,
    lesioned: npt.NDArray[np.bool_] | None,
    deletion: float,
    jitter_steps: float,
    seed: int,
) -> None:
    """
    Perturb the input spikes of a Brian2 network in runtime mode.

    Parameters
    ----------
    network : brian2.Network
        A network with a Poisson source ``input``.
    lesioned : ndarray of bool, shape (n_inputs,), optional
        Input neurons that are silenced.
    deletion : float
        Probability that an input spike is lost.
    jitter_steps : float
        Standard deviation of its displacement, in steps.
    seed : int
        Seed of losses and displacements.
    """
    group = network[INPUT]
    perturbation = _InputPerturbation(group, lesioned, deletion, jitter_steps, seed)
    # Right behind the source's own threshold, in front of monitors and synapses: of
    # objects of one slot and order, Brian2 takes the names in alphabetical order.
    network.add(
        NetworkOperation(
            perturbation.__call__,
            clock=group.clock,
            when="thresholds",
            order=0,
            name=f"{group.thresholder['spike'].name}_perturbation",
        )
    )
