"""Input spikes of a Brian2 network that are lost or displaced, in runtime mode."""

from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Network, NetworkOperation

from cnn2snn_brian.layers.order import INPUT

__all__ = ["perturb_input"]

#: In runtime mode, input spikes are displaced by at most so many standard deviations.
FARTHEST = 6


class _InputPerturbation:
    """Lesions, losses and displacements of the input spikes of a Brian2 network."""

    def __init__(
        self,
        group: Any,
        lesioned: npt.NDArray[np.bool_] | None,
        deletion: float,
        jitter_steps: float,
        seed: int,
        draw: Any,
    ) -> None:
        self.group, self.lesioned, self.draw = group, lesioned, draw
        self.deletion, self.jitter_steps, self.seed = deletion, jitter_steps, seed
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
            spikes: npt.NDArray[np.intp] = self.draw(step, self.rng)
            return spikes
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


def perturb_input(
    network: Network,
    lesioned: npt.NDArray[np.bool_] | None,
    deletion: float,
    jitter_steps: float,
    seed: int,
    group: Any = None,
    draw: Any = None,
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
    group : Group, optional
        The source of input spikes; by default the Poisson source.
    draw : callable, optional
        Gives the spikes of a step, of its index and a generator, if the source is no
        Poisson source with rates that stay.
    """
    group = network[INPUT] if group is None else group
    perturbation = _InputPerturbation(
        group, lesioned, deletion, jitter_steps, seed, draw
    )
    drawing = getattr(group, "thresholder", {}).get("spike", group)
    # Right behind the source's own threshold, in front of monitors and synapses: of
    # objects of one slot and order, Brian2 takes the names in alphabetical order.
    network.add(
        NetworkOperation(
            perturbation.__call__,
            clock=group.clock,
            when="thresholds",
            order=0,
            name=f"{drawing.name}_perturbation",
        )
    )
