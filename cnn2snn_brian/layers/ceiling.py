"""The largest activation of a layer, and the steps that it was trained with."""

from dataclasses import dataclass

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.base import ByContent
from cnn2snn_brian.layers.order import FloatArray

__all__ = ["Ceiling"]


@dataclass(frozen=True, eq=False)
class Ceiling(ByContent):
    """
    What a layer computes instead of ReLU: ReLU6, or a quantized activation.

    Attributes
    ----------
    layer : str
        Name of the layer.
    activation : float
        Its largest activation, above 0: that of a neuron which spikes in each step.
    steps : int, optional
        Number of equal steps from 0 to there, at least 1; without it, nothing is
        rounded.

    Raises
    ------
    InputError
        If a number is out of its range.

    References
    ----------
    Bu et al. (2022), Optimal ANN-SNN Conversion for High-accuracy and
    Ultra-low-latency Spiking Neural Networks, doi:10.48550/arXiv.2303.04347
    """

    layer: str
    activation: float
    steps: int | None = None

    def __post_init__(self) -> None:
        n_steps = 1 if self.steps is None else self.steps
        if not 0 < self.activation < np.inf or n_steps < 1:
            message = (
                f"{self.layer}: a ceiling of {self.activation} in {self.steps} steps, "
                "expected a number above 0 and at least 1 step"
            )
            raise InputError(message)

    def clipped(self, drive: FloatArray) -> FloatArray:
        """
        Compute the activations; with steps, rounded to them (eq. 15 of Bu et al.).

        Parameters
        ----------
        drive : ndarray of float
            Input of the neurons.

        Returns
        -------
        ndarray of float
            Of the same shape, from 0 to the ceiling.
        """
        if self.steps is None:
            return np.clip(drive, 0, self.activation)
        steps = np.floor(drive * (self.steps / self.activation) + 0.5)
        return np.asarray(
            np.clip(steps, 0, self.steps) * (self.activation / self.steps),
            dtype=drive.dtype,
        )
