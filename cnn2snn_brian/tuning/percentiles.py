"""Thresholds from the CNN's activations, without a simulation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cnn2snn_brian.description.layer_numbers import ByChannel
from cnn2snn_brian.tuning.base import Method

__all__ = ["Percentiles"]


@dataclass(frozen=True, kw_only=True)
class Percentiles(Method):
    """
    Take percentiles of the CNN's activations, see `data_based_thresholds`.

    Nothing is simulated but the check of the result.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    """

    name: ClassVar[str] = "data"
    objective: ClassVar[str] = "accuracy"

    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """Take the data-based thresholds; see `Method.begin`."""
        return data_based
