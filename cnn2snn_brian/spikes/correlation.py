"""Correlation of two sets of numbers, given at once or in parts."""

import math
from typing import Any

import numpy as np

__all__ = ["Correlation", "correlation"]


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
        """
        Take a part.

        Parameters
        ----------
        first, second : array_like of float
            As many numbers in both, in the same order.
        """
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
