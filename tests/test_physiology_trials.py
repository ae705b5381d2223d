"""Measures of results of stimuli, their repeats and their frames."""

import numpy as np
import pytest
from brian2 import ms
from reference import chain
from torch import nn

from cnn2snn_brian import convert, physiology
from cnn2snn_brian.stimuli import static_grating, white_noise

SHAPE = (1, 7, 6)


@pytest.fixture(scope="module")
def snn():
    cnn = chain(nn.Conv2d(1, 2, 3))
    rng = np.random.default_rng(0)
    for weight in cnn.parameters():
        weight.data.copy_(weight.new_tensor(rng.normal(size=weight.shape)))
    return convert(cnn, SHAPE, thresholds={"conv1": 2.0}, v_min=-2.0)


@pytest.fixture(scope="module")
def simulator(snn):
    with snn.compile(1000 * ms) as compiled:
        yield compiled


@pytest.mark.standalone
def test_receptive_fields_by_movies_of_noise(snn, simulator):
    movies = [white_noise(SHAPE, 50, frame=20 * ms, seed=k) for k in range(12)]
    result = simulator.run(movies, repeats=2, seed=1, record=("conv1",))
    counts = physiology.counts(result, "conv1")
    assert counts.shape == (12, 2, 40)
    np.testing.assert_array_equal(
        counts.reshape(24, 2, 5, 4), result.spike_counts["conv1"]
    )
    np.testing.assert_array_equal(
        physiology.trial_spikes(result, "conv1").counts(), counts
    )
    frames = np.array([movie.frames for movie in movies])
    found = physiology.receptive_field(
        result, frames, "conv1", frame=20 * ms, lags=(0, 5), n_permutations=50
    )
    kernels = physiology.effective_kernel(snn.layers, "conv1", np.arange(40))
    table = found.compare(kernels)
    active = counts.sum((0, 1)) > 500
    assert active.any()
    assert (table.correlation[active] > 0.9).all()
    # Five frames ago is forgotten.
    late = found.compare(kernels, lag=5)
    assert late.correlation[active].abs().max() < 0.5
    # Channels and places are those of the result's own arrays.
    rate = physiology.psth(result, "conv1", bin=20 * ms).rate_hz
    own = result.psth("conv1", 20 * ms)
    np.testing.assert_allclose(np.moveaxis(rate, 2, 1).reshape(own.shape), own)
    first = physiology.first_spike(result, "conv1").reshape(24, 2, 5, 4)
    np.testing.assert_allclose(first, result.first_spike("conv1"))


@pytest.mark.standalone
def test_variability_is_that_of_the_input(simulator):
    gratings = [static_grating(SHAPE, angle, 0.2) for angle in (0, 45, 90, 135)]
    result = simulator.run(gratings, repeats=30, seed=2)
    # With p in a step, the variance of n steps is n p (1 - p): F = 1 - p.
    p = np.array([still.image for still in gratings]).reshape(4, 42)
    fano = physiology.fano_factor(result, "input")
    some = (p > 0.05) & (p < 0.95)
    ratio = fano[some] / (1 - p[some])
    # The standard error of a variance of 30 nearly normal numbers is sqrt(2 / 29).
    assert ratio.mean() == pytest.approx(1, abs=5 * np.sqrt(2 / 29 / some.sum()))
    noise = physiology.noise_correlation(result, "input")
    pairs = noise[np.triu_indices(42, 1)]
    assert abs(np.nanmean(pairs)) < 0.02
    tuned = physiology.tuning(result, [0, 45, 90, 135], "conv1")
    assert tuned.mean.shape == (4, 40)
    assert np.isfinite(tuned.sem).all()
