"""Scores of predictions on the test images, beside those of the CNNs."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["N_BOOTSTRAP", "Truth"]

#: Resampled sets of test images for a confidence interval.
N_BOOTSTRAP = 2000


class Truth:
    """
    Right classes and the CNNs' answers for the test images, and what follows.

    Parameters
    ----------
    found : dict
        What `cnns` found.
    classes : tuple of str
        Names of the classes.

    Attributes
    ----------
    labels : ndarray of int64, shape (n_images,)
        The right classes.
    cnn_predictions, adjusted_predictions : ndarray of int64, shape (n_images,)
        The classes that the CNN and the adjusted CNN give.
    cnn, adjusted : ndarray of bool, shape (n_images,)
        Whether these are right.
    """

    def __init__(self, found: dict[str, Any], classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.labels = np.array(found["labels"])
        self.cnn_predictions = np.array(found["cnn"])
        self.adjusted_predictions = np.array(found["adjusted"])
        self.cnn = self.cnn_predictions == self.labels
        self.adjusted = self.adjusted_predictions == self.labels

    def by_class(
        self, right: npt.NDArray[np.bool_], members: npt.NDArray[np.intp] | None = None
    ) -> list[float]:
        """
        Compute the accuracy of every class, then of all.

        Parameters
        ----------
        right : ndarray of bool, shape (n_images,)
            Whether each test image is classified correctly.
        members : ndarray of int, optional
            Some of the test images; all by default.

        Returns
        -------
        list of float
            One a class, and the last one of all images.
        """
        labels = self.labels
        if members is not None:
            right, labels = right[members], labels[members]
        each = [float(right[labels == k].mean()) for k in range(len(self.classes))]
        return [*each, float(right.mean())]

    def scored(
        self, predictions: Iterable[int], members: Iterable[int]
    ) -> dict[str, Any]:
        """
        Compute the accuracy, and its ratio to the CNNs' with a bootstrap interval.

        Parameters
        ----------
        predictions : iterable of int
            Predicted classes.
        members : iterable of int
            Which of the test images they are of.

        Returns
        -------
        dict
            ``accuracy``, and ``to_adjusted`` and ``to_cnn`` with their
            ``..._interval``, which has the middle 95 %.
        """
        chosen = np.array(list(members))
        right = np.array(list(predictions)) == self.labels[chosen]
        rng = np.random.default_rng(0)
        drawn = rng.integers(len(chosen), size=(N_BOOTSTRAP, len(chosen)))
        resampled = right[drawn].mean(1)
        found: dict[str, Any] = {"accuracy": float(right.mean())}
        for name, reference in (("adjusted", self.adjusted), ("cnn", self.cnn)):
            same = reference[chosen]
            ratios = resampled / same[drawn].mean(1)
            found[f"to_{name}"] = float(right.mean() / same.mean())
            found[f"to_{name}_interval"] = np.percentile(ratios, [2.5, 97.5]).tolist()
        return found

    def drawn(self, n: int, seed: int) -> npt.NDArray[np.intp]:
        """
        Draw as many test images of each class as the paper has.

        Parameters
        ----------
        n : int
            Images of each class, or all if there are fewer.
        seed : int
            Seed of the draw.

        Returns
        -------
        ndarray of int
            Their indices, in order.
        """
        rng = np.random.default_rng(seed)
        chosen = [
            rng.permutation(np.flatnonzero(self.labels == label))[:n]
            for label in range(len(self.classes))
        ]
        return np.sort(np.concatenate(chosen))
