"""Parameters that were found for a network, beside those that it had."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnn2snn_brian.description.layer_numbers import ByChannel
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.printing import Printed

__all__ = ["FoundParameters"]


@dataclass(frozen=True)
class FoundParameters(Printed):
    """
    Parameters before and after. Subclasses know whether what was found is ``accepted``.

    Attributes
    ----------
    before, found : Parameters
        The network's own parameters, and those that were found.
    """

    before: Parameters
    found: Parameters

    if TYPE_CHECKING:

        @property
        def accepted(self) -> bool:
            """Whether `parameters` are those that were found."""

    @property
    def parameters(self) -> Parameters:
        """What to use. ``simulator.run(images, **result.arguments)`` does."""
        return self.found if self.accepted else self.before

    @property
    def thresholds(self) -> dict[str, ByChannel]:
        """The thresholds to use."""
        return dict(self.parameters.thresholds)

    @property
    def arguments(self) -> dict[str, Any]:
        """The parameters to use, as arguments of `Simulator.run`."""
        return dict(vars(self.parameters))
