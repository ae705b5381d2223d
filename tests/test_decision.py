"""Decisions by a margin, against a plain loop."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnn2snn_brian import InputError
from cnn2snn_brian.plots import plot_decisions


@pytest.mark.parametrize("margin", [1, 2, 4, 50])
def test_the_first_lead_decides(random_result, margin):
    found = random_result.decide(margin)
    for image in range(random_result.n_images):
        t, unit = random_result.spikes("ip1", image)
        counts, expected = [0, 0, 0], None
        for step in range(random_result.n_steps):
            for spike, neuron in zip(
                np.rint(t / random_result.dt_s), unit, strict=True
            ):
                counts[neuron] += spike == step
            best, second, _ = sorted(counts, reverse=True)
            if best - second >= margin:
                expected = step + 1, counts.index(best)
                break
        assert found.decided[image] == (expected is not None)
        if expected is None:
            expected = random_result.n_steps, random_result.predictions[image]
        assert (found.steps[image], found.predictions[image]) == expected
    assert found.mean_steps == found.steps.mean()


@pytest.mark.parametrize("margin", [0, -1, 1.5, True, None])
def test_a_margin_is_a_whole_number(random_result, margin):
    with pytest.raises(InputError, match="margin is"):
        random_result.decide(margin)


def test_plot(random_result):
    figure, ax = plt.subplots()
    labels = [0, 1, 2]
    assert plot_decisions(random_result, labels, ax, margins=[1, 3]) is ax
    x, y = ax.get_lines()[0].get_data()
    found = [random_result.decide(margin) for margin in (1, 3)]
    np.testing.assert_allclose(x, [each.mean_steps for each in found])
    np.testing.assert_allclose(y, [100 * each.accuracy(labels) for each in found])
    plt.close(figure)
