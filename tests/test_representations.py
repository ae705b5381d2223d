"""Dissimilarities and readouts against numpy loops and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from cnn2snn_brian import physiology
from cnn2snn_brian.physiology import TrialSpikes, compare, decoding, rdm


def random_spikes(rate, n_repeats, n_steps=30, seed=0):
    """Bernoulli spikes, with probabilities (n_stimuli, n_neurons) in each step."""
    rng = np.random.default_rng(seed)
    n_stimuli, n_neurons = rate.shape
    drawn = rng.random((n_stimuli, n_repeats, n_steps, n_neurons))
    stimulus, repeat, step, neuron = np.nonzero(drawn < rate[:, None, None])
    trial = stimulus * n_repeats + repeat
    sizes = n_stimuli, n_repeats, n_neurons
    return TrialSpikes(trial, neuron, step * 1e-3, *sizes, n_steps * 1e-3, 1e-3)


def test_rdm_is_a_loop_over_pairs():
    counts = np.random.default_rng(1).poisson(4.0, (5, 3, 20))
    mean = counts.mean(1)
    loops = {
        "correlation": lambda a, b: 1 - np.corrcoef(a, b)[0, 1],
        "euclidean": lambda a, b: math.dist(a, b),
        "cosine": lambda a, b: 1 - a @ b / math.sqrt((a @ a) * (b @ b)),
    }
    for metric, distance in loops.items():
        found = rdm(counts, metric=metric)
        expected = [[distance(a, b) for b in mean] for a in mean]
        np.testing.assert_allclose(found.values, expected, atol=1e-12)
        np.testing.assert_allclose(found.pairs[:4], expected[0][1:])
    images = mean.reshape(5, 1, 4, 5)
    np.testing.assert_allclose(rdm(images).values, rdm(counts).values, atol=1e-12)


def test_rdm_of_a_window(random_result):
    found = rdm(random_result, "ip1", window=(0, 0.01))
    counts = physiology.counts(random_result, "ip1", (0, 0.01))
    np.testing.assert_array_equal(found.values, rdm(counts).values)
    # Its second image has no spikes: there is no correlation.
    assert np.isnan(found.values[1, [0, 2]]).all()
    assert np.isnan(found.values[[0, 2], 1]).all()
    assert (np.diag(found.values) == 0).all()


def test_comparison_of_matrices_that_are_alike():
    rng = np.random.default_rng(2)
    first = rdm(rng.random((12, 30)))
    same = compare(first, first.values**3, n_bootstrap=50, n_permutations=99)
    assert same.value == same.low == same.high == pytest.approx(1)
    assert same.p_value == 0.01
    pearson = compare(first, 2 * first.values + 1, method="pearson", n_bootstrap=10)
    assert pearson.value == pytest.approx(1)
    other = rdm(rng.random((12, 30)))
    expected = stats.spearmanr(first.pairs, other.pairs).statistic
    found = compare(first, other)
    assert found.value == pytest.approx(expected)
    assert found.low < 0 < found.high
    assert found.p_value > 0.01


def test_the_interval_of_a_comparison_holds_the_truth():
    # Pairs of a latent matrix plus noise of equal variance correlate with 1/2.
    n_inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        latent, *noise = rng.normal(size=(3, 30, 30))
        first, second = (np.triu(latent + e, 1) for e in noise)
        found = compare(
            first + first.T,
            second + second.T,
            method="pearson",
            n_bootstrap=100,
            n_permutations=0,
            seed=seed,
        )
        n_inside += found.low <= 0.5 <= found.high
        assert math.isnan(found.p_value)
    # 38 of 40 are expected, if intervals are as wide as they say.
    assert n_inside >= 34


def test_pairs_without_a_value_are_left_out():
    rng = np.random.default_rng(3)
    patterns = rng.random((8, 20))
    first, second = rdm(patterns), rdm(rng.random((8, 20)))
    patterns[2] = 0.7
    silent = rdm(patterns)
    assert np.isnan(silent.values).sum() == 14
    kept = np.delete(np.arange(8), 2)
    part = [np.delete(m.values, 2, 0)[:, kept] for m in (first, second)]
    assert compare(silent, second, n_bootstrap=20).value == pytest.approx(
        compare(*part, n_bootstrap=20).value
    )
    assert compare(silent, second, n_bootstrap=1).n_pairs == 21
    none = compare(np.full((5, 5), np.nan), np.ones((5, 5)), n_bootstrap=5)
    assert math.isnan(none.value)
    assert math.isnan(none.low)
    assert math.isnan(none.p_value)


def test_decoding_of_two_normal_classes():
    # A linear readout of equal normal classes is right with Phi(d' / 2).
    rng = np.random.default_rng(4)
    n, d = 2000, 1.5
    labels = np.arange(n) % 2
    counts = 100 + rng.normal(size=(n, 1, 2)) + d * labels[:, None, None] * [1, 0]
    found = decoding(counts, labels)
    assert found.accuracy.shape == (1, 5)
    expected = stats.norm.cdf(d / 2)
    error = math.sqrt(expected * (1 - expected) / n)
    assert found.accuracy.mean() == pytest.approx(expected, abs=5 * error)
    assert found.chance == 0.5
    assert np.isnan(found.t_s).all()


def test_without_information_decoding_is_at_chance():
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(4), 50)
    spikes = random_spikes(np.full((200, 6), 0.2), 3, seed=5)
    found = decoding(spikes, rng.permutation(labels), bin=0.015)
    assert found.chance == 0.25
    assert found.n_trials == 600
    error = math.sqrt(0.25 * 0.75 / 200)  # repeats of a stimulus are no more stimuli
    assert np.abs(found.accuracy.mean(1) - 0.25).max() < 5 * error


def test_decoding_over_time():
    rng = np.random.default_rng(6)
    labels = np.arange(60) % 3
    rate = 0.1 + 0.2 * np.eye(3)[labels]
    spikes = random_spikes(rate, 2, seed=6)
    # Nothing is different in the first third.
    late = TrialSpikes(
        spikes.trial,
        np.where(spikes.t < 0.01, rng.permutation(spikes.neuron), spikes.neuron),
        spikes.t,
        60,
        2,
        3,
        0.03,
        1e-3,
    )
    found = decoding(late, labels, bin=0.005, folds=4)
    np.testing.assert_allclose(found.t_s, 0.005 * np.arange(1, 7))
    mean = found.accuracy.mean(1)
    assert mean[:2].max() < 0.55
    assert mean[-1] > 0.75
    assert mean[-1] > mean[2]
    apart = decoding(late, labels, bin=0.005, folds=4, cumulative=False)
    np.testing.assert_array_equal(apart.accuracy[0], found.accuracy[0])
    assert apart.accuracy[-1].mean() < mean[-1]
    whole = decoding(late, labels, folds=4)
    np.testing.assert_array_equal(whole.accuracy[0], found.accuracy[-1])
    assert len(found.frame()) == 24


def test_repeats_of_a_stimulus_stay_together():
    class Remembers:
        """Knows the trials that it was trained on by their counts."""

        def get_params(self, deep=True):
            return {}

        def fit(self, x, y):
            self.known = {tuple(row) for row in x}
            return self

        def score(self, x, y):
            return np.mean([tuple(row) in self.known for row in x])

    # Both repeats of a stimulus have the same counts.
    counts = np.random.default_rng(7).random((20, 1, 4)).repeat(2, axis=1)
    labels = np.arange(20) % 2
    assert (decoding(counts, labels, estimator=Remembers()).accuracy == 0).all()
    found = decoding(counts, np.arange(20), across="repeats", estimator=Remembers())
    assert found.accuracy.shape == (1, 2)
    assert (found.accuracy == 1).all()
