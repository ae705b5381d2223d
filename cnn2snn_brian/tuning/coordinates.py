"""Parameters of a network as a point that a search moves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.layer_numbers import reference
from cnn2snn_brian.description.parameters import Parameters

__all__ = ["FLOOR_SHARES", "LARGEST_V_INIT", "TUNABLE", "Coordinates"]

#: A step of the search is a factor of exp(step) for a threshold. The others move by
#: these multiples of it: v_min by a factor, v_init by a share of the threshold, the
#: leak by a share of the threshold in a step.
STEP_SCALES = {"thresholds": 1.0, "v_min": 2.0, "v_init": 0.5, "leak": 0.02}

#: What `Search` can change.
TUNABLE = tuple(STEP_SCALES)

#: Floors are searched between these shares of the threshold below 0.
FLOOR_SHARES = (0.05, 20.0)

#: v_init is searched up to here; at 1 a neuron would spike without any input.
LARGEST_V_INIT = 0.95


@dataclass(frozen=True)
class Coordinates:
    """
    Parameters as a vector, 0 at the start, in units of the search's step.

    Attributes
    ----------
    start : Parameters
        Parameters of the zero vector.
    layers : tuple of str
        Layers whose parameters are moved.
    tune : tuple of str
        Which of `TUNABLE` are moved.
    """

    start: Parameters
    layers: tuple[str, ...]
    tune: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return len(self.layers) * len(self.tune)

    def limits(
        self, lower: Mapping[str, float], upper: Mapping[str, float]
    ) -> npt.NDArray[np.float64]:
        """
        Give the smallest and the largest value of each coordinate.

        Parameters
        ----------
        lower, upper : dict of str to float
            Smallest and largest threshold of each layer.

        Returns
        -------
        ndarray of float64, shape (n, 2)
            The limits.
        """
        rows = []
        for what in self.tune:
            for layer in self.layers:
                threshold = reference(self.start.thresholds[layer])
                edges = {
                    "thresholds": np.log(
                        np.array([lower[layer], upper[layer]]) / threshold
                    ),
                    "v_min": np.log(np.array(FLOOR_SHARES) / self._floor(layer)),
                    "v_init": np.array([0.0, LARGEST_V_INIT])
                    - np.mean(self.start.v_init[layer]),
                    "leak": np.array([-1.0, 1.0]),
                }
                rows.append(edges[what] / STEP_SCALES[what])
        return np.array(rows)

    def _floor(self, layer: str) -> float:
        """How far the floor is below 0 at the start, in units of the threshold."""
        share = -self.start.v_min[layer] / reference(self.start.thresholds[layer])
        return float(np.clip(share, *FLOOR_SHARES))

    def parameters(self, vector: npt.NDArray[np.float64]) -> Parameters:
        """
        Give the parameters of a point.

        Parameters
        ----------
        vector : ndarray of float64, shape (n,)
            The point.

        Returns
        -------
        parameters : Parameters
            What is not tuned is that of the start.
        """
        moves = {
            what: dict(zip(self.layers, part * STEP_SCALES[what], strict=True))
            for what, part in zip(
                self.tune, np.split(vector, len(self.tune)), strict=True
            )
        }
        start = self.start
        thresholds = dict(start.thresholds)
        for layer, move in moves.get("thresholds", {}).items():
            thresholds[layer] = start.thresholds[layer] * np.exp(move)
        v_min, v_init, leak = dict(start.v_min), dict(start.v_init), dict(start.leak)
        for layer, move in moves.get("v_min", {}).items():
            share = self._floor(layer) * np.exp(move)
            v_min[layer] = float(-share * reference(thresholds[layer]))
        for layer, move in moves.get("v_init", {}).items():
            v_init[layer] = np.clip(start.v_init[layer] + move, 0, LARGEST_V_INIT)
        for layer, move in moves.get("leak", {}).items():
            leak[layer] = start.leak[layer] + move * reference(thresholds[layer])
        return replace(
            start, thresholds=thresholds, v_min=v_min, leak=leak, v_init=v_init
        )
