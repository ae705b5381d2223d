"""What follows from counts: correlations, classes and decisions."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import whole_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed


class Correlation:
    """
    Pearson's correlation of numbers that come in parts.

    Each part is centred by itself, and the sums of squares are put together [1]_: sums
    of uncentred squares would lose digits where the mean is large.

    References
    ----------
    .. [1] Chan, Golub and LeVeque (1983), Algorithms for Computing the Sample Variance,
       doi:10.1080/00031305.1983.10483115
    """

    def __init__(self) -> None:
        self._n = 0
        self._mean = np.zeros(2)
        self._squares = np.zeros((2, 2))
        self._low, self._high = np.full(2, np.inf), np.full(2, -np.inf)

    def add(self, first: Any, second: Any) -> None:
        """Take a part."""
        both = np.stack([np.ravel(first), np.ravel(second)]).astype(np.float64)
        n = both.shape[1]
        if n == 0:
            return
        self._low = np.minimum(self._low, both.min(1))
        self._high = np.maximum(self._high, both.max(1))
        mean = both.mean(1)
        both -= mean[:, None]
        apart = mean - self._mean
        total = self._n + n
        self._squares += both @ both.T + np.outer(apart, apart) * (self._n * n / total)
        self._mean += apart * (n / total)
        self._n = total

    @property
    def value(self) -> float:
        """From -1 to 1; NaN if one of the two is constant or there are no numbers."""
        if not (self._low < self._high).all():
            return math.nan
        (xx, xy), (_, yy) = self._squares
        return float(np.clip(xy / math.sqrt(xx * yy), -1, 1))


def correlation(first: Any, second: Any) -> float:
    """
    Compute Pearson's correlation.

    Parameters
    ----------
    first, second : array_like of float
        As many numbers in both, in the same order.

    Returns
    -------
    float
        From -1 to 1; NaN if one of the two is constant.
    """
    found = Correlation()
    found.add(first, second)
    return found.value


def class_labels(labels: Any, n: int, what: str = "images") -> npt.NDArray[Any]:
    """Check the classes of images or stimuli."""
    truth = np.asarray(labels)
    if truth.shape != (n,):
        raise InputError(
            f"{n} {what}, labels of shape {truth.shape}: expected one for each of "
            f"{n} {what}"
        )
    if truth.dtype.kind not in "biuUSO":
        return whole_numbers("labels", truth, 2**53)
    return truth


def class_numbers(labels: Any, n: int, what: str = "images") -> npt.NDArray[Any]:
    """Check the classes of images or stimuli, to compare them with output neurons."""
    truth = class_labels(labels, n, what)
    numbers = np.asarray(truth.tolist()) if truth.dtype.kind == "O" else truth
    if numbers.dtype.kind not in "biuf":
        found = truth.tolist()[0]
        raise InputError(
            f"labels: found {found!r}, expected the index of an output neuron"
        )
    return class_labels(numbers, n, what)


@dataclass(frozen=True, eq=False)
class Decisions(Printed):
    """
    When and how each image was decided.

    Attributes
    ----------
    margin : int
        Output spikes by which the leading class had to be ahead of the second.
    steps : ndarray of int64, shape (n_images,)
        Steps until the decision; all of them where no class led by the margin.
    predictions : ndarray of int64, shape (n_images,)
        The leading class then; at the end that of `SimulationResult.predict`.
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


def tally(
    at: tuple[npt.NDArray[Any], ...], shape: tuple[int, ...]
) -> npt.NDArray[np.int32]:
    """Count spikes by what tells them apart, such as trial, bin and neuron."""
    found = np.zeros(math.prod(shape), np.int32)
    np.add.at(found, np.ravel_multi_index(at, shape), 1)
    return found.reshape(shape)


def earliest(
    at: tuple[npt.NDArray[Any], ...], t: npt.NDArray[Any], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Find the first of the times with the same index; NaN where there is none."""
    found = np.full(shape, np.inf)
    np.minimum.at(found, at, t)
    return np.where(np.isinf(found), np.nan, found)


def counted(
    neuron: npt.NDArray[Any], step: npt.NDArray[Any], n_steps: int, n_classes: int
) -> npt.NDArray[np.int64]:
    """Count the spikes of each class up to the end of each step."""
    return tally((step, neuron), (n_steps, n_classes)).cumsum(0, dtype=np.int64)


def decisions(
    margin: int,
    output_spikes: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    final: npt.NDArray[np.int64],
    n_steps: int | npt.NDArray[np.int64],
    n_classes: int,
) -> Decisions:
    """Decide on each image as soon as one class leads by a margin."""
    steps = np.array(np.broadcast_to(n_steps, len(final)), np.int64)
    predictions = final.copy()
    decided = np.zeros(len(final), bool)
    for image, (neuron, step) in enumerate(output_spikes):
        counts = counted(neuron, step, steps[image], n_classes)
        first, second = np.sort(counts, axis=1)[:, [-1, -2]].T
        leads = np.flatnonzero(first - second >= margin)
        if len(leads):
            decided[image] = True
            steps[image] = leads[0] + 1
            predictions[image] = counts[leads[0]].argmax()
    return Decisions(margin, steps, predictions, decided)


def check_one_duration(shortest_s: float, longest_s: float) -> None:
    """Refuse to compare trials of different durations."""
    if longest_s > shortest_s:
        raise InputError(
            f"stimuli last {shortest_s:g} to {longest_s:g} s, expected one duration, "
            f"or a window that ends by {shortest_s:g} s: what is silent and what is "
            "over would look the same"
        )
