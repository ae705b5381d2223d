"""The paper's text: a binary search in one layer after the other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cnn2snn_brian.description.layer_numbers import ByChannel
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.tuning.base import (
    Candidate,
    Round,
    Rounds,
    SimulatingMethod,
    check_positive,
    with_threshold,
)
from cnn2snn_brian.tuning.scope import Scope

__all__ = ["Bisection"]


@dataclass(frozen=True, kw_only=True)
class Bisection(SimulatingMethod):
    """
    Follow the paper's text: a binary search, layer after layer, from 0 on.

    Both criteria of the paper [1]_ count: the objective is multiplied by the
    correlation of the layer's feature maps with the CNN's. An interval is halved around
    the best of the three points that quarter it, which finds the maximum of a function
    that rises and then falls. Each round has two or three candidates.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    start : float or dict of str to float, optional
        Thresholds of layers until it is their turn; the lower bounds by default, since
        a threshold is above the text's 0.
    resolution : float
        An interval is halved until it is this share of the one it began with.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """

    resolution: float = 1 / 32

    name: ClassVar[str] = "bisection"
    objective: ClassVar[str] = "spike_ratio"

    def __post_init__(self) -> None:
        super().__post_init__()
        resolution = check_positive("resolution", self.resolution)
        if resolution >= 1:
            message = f"resolution is {resolution:g}, expected a share below 1"
            raise InputError(message)
        object.__setattr__(self, "resolution", resolution)

    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """Begin at the lower bounds; see `Method.begin`."""
        return lower

    def rounds(self, scope: Scope) -> Rounds:
        """Halve the interval of each layer; see `SimulatingMethod.rounds`."""
        current = scope.start
        n_halvings = math.ceil(math.log2(1 / self.resolution))
        for layer in scope.layers:
            low, high = scope.lower[layer], scope.upper[layer]
            middle = low + (high - low) / 2
            value: float | None = None
            for _ in range(n_halvings):
                quarter = (high - low) / 4
                points = [middle - quarter, middle + quarter]
                if value is None:
                    points.append(middle)
                candidates = tuple(
                    Candidate(
                        with_threshold(current, layer, point), f"{layer} = {point:g}"
                    )
                    for point in points
                )
                values = yield Round(candidates, current, layer=layer)
                if value is None:
                    value = values.pop()
                # Of equal values the middle one stays.
                value, middle = max(
                    [(value, middle), *zip(values, points, strict=False)],
                    key=lambda pair: pair[0],
                )
                low, high = middle - quarter, middle + quarter
                current = with_threshold(current, layer, middle)
        return current
