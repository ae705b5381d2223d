"""Pearson's correlation, at once and in parts, against numpy's."""

import math

import numpy as np
import pytest

from cnn2snn_brian.results.measures import Correlation, correlation


@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_parts_have_the_correlation_of_the_whole(mean):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 5)) + mean
    y = 0.3 * x + rng.normal(size=(9, 5))
    expected = np.corrcoef(x.ravel(), y.ravel())[0, 1]
    assert correlation(x, y) == pytest.approx(expected, rel=1e-12)
    found = Correlation()
    for part in (slice(0, 1), slice(1, 7), slice(7, 7), slice(7, 9)):
        found.add(x[part], y[part])
    # Sums of uncentred squares would be wrong in the fifth digit at a mean of 1e6.
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_counts_do_not_overflow():
    counts = np.array([200, 100, 250], np.uint8)
    assert correlation(counts, counts) == pytest.approx(1)
    assert correlation(counts, [2, 4, 1]) == pytest.approx(
        np.corrcoef(counts.astype(float), [2, 4, 1])[0, 1]
    )


def test_what_is_constant_has_no_correlation():
    # The mean of 0.1, three times, is not 0.1.
    assert math.isnan(correlation([0.1, 0.1, 0.1], [1, 2, 3]))
    assert math.isnan(correlation([1, 2, 3], [0, 0, 0]))
    found = Correlation()
    assert math.isnan(found.value)
    found.add([0.1], [1])
    found.add([0.1], [2])
    assert math.isnan(found.value)
    # Constant in each part, and not altogether.
    found.add([0.2, 0.2], [3, 3])
    expected = np.corrcoef([0.1, 0.1, 0.2, 0.2], [1, 2, 3, 3])[0, 1]
    assert found.value == pytest.approx(expected, rel=1e-12)
