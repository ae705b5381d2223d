"""
When things happen in a step: Brian2's ``when`` and ``order`` for each population.

With propagation ``"step"`` all populations spike, then all are reset, then all synapses
deliver: a spike acts on the next layer one step later. With ``"instant"`` a step goes
through the populations in the order of the data: synapses into a layer, its threshold,
its reset and floor, and only then the synapses into the next one. Both are nothing but
places in Brian2's schedule.
"""

from dataclasses import dataclass

from cnn2snn_brian.description.choices import Propagation

__all__ = ["Place", "Schedule"]

#: Between the orders of two populations: their synapses, threshold, reset and floor.
APART = 10


@dataclass(frozen=True)
class Place:
    """
    A place in Brian2's schedule.

    Attributes
    ----------
    when : str
        The slot of a step.
    order : int
        The order within the slot.
    """

    when: str
    order: int


@dataclass(frozen=True)
class Schedule:
    """
    Places of what a population does in a step.

    Equations, leak and constant input come before all of it, in the slot ``groups``.

    Attributes
    ----------
    propagation : {"step", "instant"}
        Whether a spike acts on the next layer in the next step, or in the same one.
    index : int
        Index of the population in the order of the data; the input is 0.
    """

    propagation: Propagation = "step"
    index: int = 0

    def _place(self, when: str, order: int, within: int) -> Place:
        if self.propagation == "step":
            return Place(when, order)
        return Place("thresholds", APART * self.index + within)

    @property
    def synapses(self) -> Place:
        """Spikes of the layers before act on this population."""
        return self._place("synapses", 0, -1)

    @property
    def threshold(self) -> Place:
        """Neurons spike. Brian2's place for an input is the same."""
        return self._place("thresholds", 0, 0)

    @property
    def perturbation(self) -> Place:
        """Spikes are lost, and lesioned neurons silenced, in a compiled program."""
        return self._place("after_thresholds", -1, 1)

    @property
    def reset(self) -> Place:
        """Neurons that spiked are reset."""
        return self._place("after_thresholds", 0, 2)

    @property
    def floor(self) -> Place:
        """Potentials are held at their floor."""
        return self._place("after_thresholds", 1, 3)
