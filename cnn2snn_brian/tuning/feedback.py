"""The paper's listing: raise one threshold after the other, and look at the output."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cnn2snn_brian.description.layer_numbers import ByChannel
from cnn2snn_brian.tuning.base import (
    Candidate,
    Round,
    Rounds,
    SimulatingMethod,
    check_positive,
    with_threshold,
)
from cnn2snn_brian.tuning.scope import Scope

__all__ = ["Feedback"]

#: Where thresholds begin in the paper's listing.
START = 0.1


@dataclass(frozen=True, kw_only=True)
class Feedback(SimulatingMethod):
    """
    Follow the paper's listing.

    Layer after layer, the threshold is raised by one step and stays there if the output
    became better; else it goes back [1]_. That is repeated until no layer gains, since
    after that nothing would ever change. Each round has one candidate: a try depends on
    the one before.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    start : float or dict of str to float, optional
        First thresholds; the listing's 0.1 by default.
    step : float
        The listing's n. The paper names no number.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """

    step: float = 0.1

    name: ClassVar[str] = "feedback"
    objective: ClassVar[str] = "spike_ratio"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "step", check_positive("step", self.step))

    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """Begin where the listing does; see `Method.begin`."""
        return dict.fromkeys(layers, START)

    def rounds(self, scope: Scope) -> Rounds:
        """Raise thresholds as long as it helps; see `SimulatingMethod.rounds`."""
        current = scope.start
        (best,) = yield Round((Candidate(current, "start"),), current)
        gained = True
        while gained:
            gained = False
            for layer in scope.layers:
                raised = current.thresholds[layer] + self.step
                # 0.1 + 0.1 + 0.1 is a little above 0.3, and yet within it.
                if raised > scope.upper[layer] * (1 + 1e-9):
                    continue
                trial = with_threshold(current, layer, raised)
                note = f"{layer} + {self.step:g}"
                (value,) = yield Round((Candidate(trial, note),), current)
                if value > best:
                    current, best, gained = trial, value, True
        return current
