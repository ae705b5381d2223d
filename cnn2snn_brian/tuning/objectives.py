"""
What thresholds are set for: figures of a simulation, the larger the better.

An objective is a function of a `SimulationResult` and a `Target`, what the images
should have yielded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import Layers
from cnn2snn_brian.results import SimulationResult, correlation

FloatArray = npt.NDArray[np.floating[Any]]

FEATURE_MAP = "feature_map"


@dataclass(frozen=True)
class Target(Printed):
    """
    What images should yield: their classes, and what the CNN makes of them.

    Attributes
    ----------
    labels : ndarray of int64, shape (n_images,)
        The right classes.
    activations : dict of str to ndarray of float32, shape (n_images, n)
        The CNN's activations of the last layer, and of every layer that an objective
        compares; neurons in torch's order.
    output_layer : str
        Name of the last layer.
    """

    labels: npt.NDArray[np.int64]
    activations: dict[str, FloatArray]
    output_layer: str

    @classmethod
    def of(
        cls,
        layers: Layers,
        images: FloatArray,
        labels: npt.NDArray[np.int64],
        compared: tuple[str, ...] = (),
    ) -> "Target":
        """
        Compute what the CNN makes of images.

        Parameters
        ----------
        layers : Layers
            The CNN.
        images : ndarray of float, shape (n_images, channels, height, width)
            Images with pixels in [0, 1].
        labels : ndarray of int64, shape (n_images,)
            Their classes.
        compared : tuple of str
            Layers whose activations are kept besides the last one's.

        Returns
        -------
        Target
            Labels and activations.
        """
        last = layers.names[-1]
        found = layers.collected_activations(images, (*compared, last))
        return cls(labels, {k: x.reshape(len(x), -1) for k, x in found.items()}, last)

    def first(self, n: int) -> "Target":
        """
        Take the first images only.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        Target
            Their target.
        """
        activations = {name: values[:n] for name, values in self.activations.items()}
        return Target(self.labels[:n], activations, self.output_layer)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """The CNN's classes, of shape (n_images,)."""
        return self.activations[self.output_layer].argmax(1)


Objective = Callable[[SimulationResult, Target], float]


def _spike_ratio(result: SimulationResult, target: Target) -> float:
    """Share of the right neurons in all output spikes, the paper's objective."""
    counts = result.output_counts()
    total = counts.sum()
    right = counts[np.arange(len(counts)), target.labels].sum()
    return float(right / total) if total else 0.0


def _accuracy(result: SimulationResult, target: Target) -> float:
    """Share of images that are classified correctly."""
    return result.accuracy(target.labels)


def _agreement(result: SimulationResult, target: Target) -> float:
    """Share of images that are classified like by the CNN."""
    return float((result.predictions == target.predictions).mean())


def _likelihood(result: SimulationResult, target: Target) -> float:
    """Log-likelihood of the CNN's classes under those of the SNN, in nats an image."""
    scores = result.output_counts().astype(float)
    spread = scores.std()
    if not spread > 0 or not np.isfinite(spread):
        return float(-np.log(scores.shape[1]))
    scores = scores / spread
    wanted = softmax(target.activations[target.output_layer].astype(float), axis=1)

    def loss(log_factor: float) -> float:
        found = log_softmax(np.exp(log_factor) * scores, axis=1)
        return float(-(wanted * found).sum(axis=1).mean())

    best = minimize_scalar(loss, bounds=(-6, 4), method="bounded")
    return -float(best.fun)


def feature_map_correlation(
    result: SimulationResult, target: Target, layer: str
) -> float:
    """Correlate a layer's spike counts with the CNN's rectified activations."""
    activations = np.maximum(target.activations[layer], 0)
    found = correlation(result.spike_counts[layer], activations)
    return 0.0 if np.isnan(found) else found


#: Name -> function, for those that need nothing but the output.
OBJECTIVES: dict[str, Objective] = {
    "spike_ratio": _spike_ratio,
    "accuracy": _accuracy,
    "agreement": _agreement,
    "likelihood": _likelihood,
}


def find_objective(
    objective: str | Objective, layers: Layers
) -> tuple[Objective, str, tuple[str, ...]]:
    """Find an objective by its name."""
    if callable(objective):
        # No repr: it has an address, and a checkpoint has to know the name again.
        name = getattr(objective, "__name__", type(objective).__name__)
        return objective, name, ()
    if objective in OBJECTIVES:
        return OBJECTIVES[objective], objective, ()
    kind, _, layer = str(objective).partition(":")
    if kind != FEATURE_MAP or (layer and layer not in layers.names):
        names = ", ".join(map(repr, [*OBJECTIVES, FEATURE_MAP, f"{FEATURE_MAP}:LAYER"]))
        raise InputError(
            f"objective={objective!r}: expected one of {names} with a layer of "
            f"{', '.join(layers.names)}, or a function"
        )
    compared = (layer,) if layer else layers.names

    def mean_correlation(result: SimulationResult, target: Target) -> float:
        each = [feature_map_correlation(result, target, name) for name in compared]
        return float(np.mean(each))

    return mean_correlation, str(objective), compared
