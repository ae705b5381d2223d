"""Decisions before the end: as soon as one class leads by a margin."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.printing import Printed
from cnn2snn_brian.spikes.numbers import class_numbers

__all__ = ["Decisions", "decisions"]


@dataclass(frozen=True, eq=False)
class Decisions(Printed):
    """
    When and how each image was decided.

    Attributes
    ----------
    margin : int
        So many output spikes the leading class had to be ahead of the second.
    steps : ndarray of int64, shape (n_images,)
        Steps until the decision; all of them where no class led by the margin.
    predictions : ndarray of int64, shape (n_images,)
        The leading class then; at the end that of `SpikeData.predict`.
    decided : ndarray of bool, shape (n_images,)
        Whether a class led by the margin.
    """

    margin: int
    steps: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]
    decided: npt.NDArray[np.bool_]

    @property
    def mean_steps(self) -> float:
        """Steps that an image takes on average."""
        return float(self.steps.mean())

    def accuracy(self, labels: Any) -> float:
        """
        Share of images that are decided correctly.

        Parameters
        ----------
        labels : array_like of int, shape (n_images,)
            The right classes.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        InputError
            If there is not one label for each image, or one is a name.
        """
        truth = class_numbers(labels, len(self.predictions))
        return float((self.predictions == truth).mean())


def decisions(
    margin: int,
    output_spikes: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    final: npt.NDArray[np.int64],
    n_steps: int | npt.NDArray[np.int64],
    n_classes: int,
) -> Decisions:
    """
    Decide on each image as soon as one class leads by a margin.

    Parameters
    ----------
    margin : int
        Spikes between the first and the second class, at least 1.
    output_spikes : iterable of (ndarray of int, ndarray of int)
        Of each image, class and step of every output spike.
    final : ndarray of int64, shape (n_images,)
        Classes where no class leads by the margin.
    n_steps : int or ndarray of int, shape (n_images,)
        Number of steps of an image.
    n_classes : int
        Number of classes.

    Returns
    -------
    Decisions
        Steps and classes.
    """
    steps = np.array(np.broadcast_to(n_steps, len(final)), np.int64)
    predictions = final.copy()
    decided = np.zeros(len(final), bool)
    for image, (neuron, step) in enumerate(output_spikes):
        counts = np.zeros((steps[image], n_classes), np.int64)
        np.add.at(counts, (step, neuron), 1)
        counts = counts.cumsum(0)
        first, second = np.sort(counts, axis=1)[:, [-1, -2]].T
        leads = np.flatnonzero(first - second >= margin)
        if len(leads):
            decided[image] = True
            steps[image] = leads[0] + 1
            predictions[image] = counts[leads[0]].argmax()
    return Decisions(margin, steps, predictions, decided)
