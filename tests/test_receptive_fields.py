"""Receptive fields against the filters that made the spikes, kernels against torch."""

import numpy as np
import pytest
import torch
from reference import chain
from torch import nn

from cnn2snn_brian import InputError, from_torch, physiology
from cnn2snn_brian.physiology import TrialSpikes, receptive_field


def filters(n_pixels, seed):
    """Filters of length 1 with half of their weights 0."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(2, n_pixels)) * (np.arange(n_pixels) % 2)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_white_noise_gives_the_filter_back():
    rng = np.random.default_rng(10)
    kernels = filters(42, 1)
    stimuli = rng.normal(0.5, 0.2, size=(4000, 1, 7, 6))
    drive = (stimuli.reshape(4000, -1) - 0.5) @ kernels.T / 0.2
    rate = np.column_stack([np.exp(1 + 0.5 * drive), np.full(4000, 3.0)])
    counts = rng.poisson(rate, size=(1, 4000, 3))
    found = receptive_field(np.moveaxis(counts, 0, 1), stimuli)
    assert found.sta.shape == (3, 1, 1, 7, 6)
    # Of an exponential neuron: variance of a pixel times the filter's gain (Stein's
    # lemma), here 0.2**2 * 0.5 / 0.2; with a standard error of 0.2 / sqrt(n spikes).
    expected = 0.1 * kernels.reshape(2, 1, 1, 7, 6)
    error = 0.2 / np.sqrt(counts.sum((0, 1)))
    assert np.abs(found.sta[:2] - expected).max() < 6 * error[:2].max()
    np.testing.assert_array_less(found.p_value[:2], 0.01)
    # The third one responds to nothing.
    assert found.p_value[2] > 0.05
    assert not found.significant[2].any()
    table = found.compare(np.concatenate([kernels, kernels[:1]]).reshape(3, 1, 7, 6))
    assert (table.correlation[:2] > 0.95).all()
    assert (table.correlation_inside[:2] > 0.95).all()
    assert (table.n_significant[:2] >= 10).all()
    assert (table.n_outside <= 1).all()


def test_z_is_a_correlation():
    rng = np.random.default_rng(2)
    stimuli, counts = rng.random((30, 2, 3)), rng.poisson(3.0, (30, 4, 5))
    found = receptive_field(counts, stimuli, n_permutations=20)
    n, s = counts.mean(1), stimuli.reshape(30, -1)
    r = np.corrcoef(n.T, s.T)[:5, 5:]
    np.testing.assert_allclose(found.z.reshape(5, 6), r * np.sqrt(29))
    sta = (n.T @ s) / n.sum(0)[:, None] - s.mean(0)
    np.testing.assert_allclose(found.sta.reshape(5, 6), sta, atol=1e-12)
    some = receptive_field(counts, stimuli, neurons=[4, 0], n_permutations=20)
    np.testing.assert_allclose(some.sta, found.sta[[4, 0]], atol=1e-15)


def test_false_alarms_are_as_rare_as_asked():
    rng = np.random.default_rng(3)
    stimuli = (rng.random((100, 5, 5)) < 0.1) * 1.0  # sparse noise
    counts = rng.poisson(2.0, (100, 1, 300))
    found = receptive_field(counts, stimuli, n_permutations=100, alpha=0.1)
    n_alarms = found.significant.any((1, 2, 3)).sum()
    # 300 tests at 0.1 are 30, with a standard deviation of 5.2.
    assert 5 < n_alarms < 56
    np.testing.assert_allclose(
        found.significant.any((1, 2, 3)).mean(),
        (found.p_value <= 0.1).mean(),
        atol=0.03,
    )


def test_silent_neurons_and_constant_pixels():
    stimuli = np.random.default_rng(4).random((10, 4))
    stimuli[:, 2] = 0.5
    counts = np.zeros((10, 1, 2))
    counts[:5, 0, 1] = 1
    found = receptive_field(counts, stimuli, n_permutations=10)
    assert (found.sta[0] == 0).all()
    assert (found.z[0] == 0).all()
    assert found.p_value[0] == 1
    assert found.z[1, 0, 2] == 0
    assert np.isfinite(found.z).all()


def test_frames_of_a_movie_and_their_lag():
    rng = np.random.default_rng(5)
    n_stimuli, n_frames, n_repeats = 3, 400, 4
    frames = rng.normal(size=(n_stimuli, n_frames, 5))
    # The neuron sees pixel 3 two frames later.
    seen = np.zeros((n_stimuli, n_frames))
    seen[:, 2:] = frames[:, :-2, 3]
    p = 1 / (1 + np.exp(1 - 2 * seen))
    spikes = rng.random((n_stimuli, n_repeats, n_frames)) < p[:, None]
    stimulus, repeat, frame = np.nonzero(spikes)
    trials = TrialSpikes(
        stimulus * n_repeats + repeat,
        0 * frame,
        frame * 0.02 + 0.003,
        n_stimuli,
        n_repeats,
        1,
        n_frames * 0.02,
        1e-3,
    )
    found = receptive_field(trials, frames, frame=0.02, lags=(1, 2, 3))
    place = np.unravel_index(np.abs(found.z[0]).argmax(), found.z[0].shape)
    assert place == (1, 3)
    assert found.significant[0].sum() == 1
    kernel = np.zeros((1, 5))
    kernel[0, 3] = 1
    assert found.compare(kernel, lag=2).correlation[0] > 0.95
    with pytest.raises(InputError, match="unknown lag '0'"):
        found.compare(kernel)


@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2", "ip1"])
def test_effective_kernels_are_gradients_of_the_linear_network(layer):
    torch.manual_seed(0)
    stages = [
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 2, stride=2, bias=False),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 2 * 1, 5, bias=False)),
    ]
    module = nn.Sequential(
        *stages[:1], nn.ReLU(), *stages[1:3], nn.ReLU(), *stages[3]
    ).eval()
    layers = from_torch(module, (2, 8, 6))
    depth = ["conv1", "pool1", "conv2", "ip1"].index(layer) + 1
    linear = nn.Sequential(*stages[:depth])
    image = torch.zeros(1, 2, 8, 6, requires_grad=True)
    output = linear(image).flatten()
    neurons = [0, len(output) // 2, len(output) - 1]
    found = physiology.effective_kernel(layers, layer, neurons)
    assert found.shape == (3, 2, 8, 6)
    for kernel, neuron in zip(found, neurons, strict=True):
        (expected,) = torch.autograd.grad(output[neuron], image, retain_graph=True)
        np.testing.assert_allclose(kernel, expected[0], atol=1e-6)


def test_kernels_of_what_does_not_exist():
    layers = from_torch(chain(nn.Conv2d(1, 1, 2)), (1, 3, 3))
    with pytest.raises(InputError, match="there are conv1"):
        physiology.effective_kernel(layers, "ip1", [0])
    with pytest.raises(InputError, match="whole numbers from 0 to 3"):
        physiology.effective_kernel(layers, "conv1", [4])
