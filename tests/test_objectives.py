"""What thresholds are set for, on results made by hand and against numpy and scipy."""

import numpy as np
import pytest
import torch
from brian2 import second
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from torch import nn

from cnn2snn_brian import InputError, SimulationResult, from_torch
from cnn2snn_brian.results import SpikeCounts
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.perturbations import Perturbations
from cnn2snn_brian.settings.settings import FrozenDict
from cnn2snn_brian.tuning.objectives import (
    OBJECTIVES,
    Target,
    feature_map_correlation,
    find_objective,
)


def result_of(counts, potentials):
    """A result of a network with one layer, ip1, with a threshold of 2."""
    counts = np.asarray(counts, np.uint8)
    return simulated({"ip1": counts}, {"ip1": counts.shape[1:]}, potentials)


def simulated(raw, shapes, potentials):
    parameters = Parameters.of(tuple(raw), thresholds=2, v_min=0, leak=0, v_init=0)
    nothing = FrozenDict()
    return SimulationResult(
        spike_counts=SpikeCounts(raw, shapes),
        output_potentials=np.asarray(potentials, float),
        events={},
        duration_s=0.02,
        dt_s=1e-3,
        seed=0,
        parameters=parameters,
        perturbations=Perturbations(nothing, nothing, nothing, 0.0, 0 * second),
        network={},
        program={},
        timings={},
        versions={},
        shapes=shapes,
        recorded={},
    )


COUNTS = [[3, 1, 2], [2, 2, 1], [0, 0, 0], [4, 4, 5]]
POTENTIALS = [[0, 1.9, 0], [0.5, 0.7, 1.9], [0.1, 0.3, 0.2], [1, 1, 1]]
LABELS = np.array([0, 1, 2, 0])
# The CNN predicts 0, 2, 1, 2.
ACTIVATIONS = np.array([[3, 1, 0], [0, 1, 2], [1, 5, 2], [-3, -2, -1]], np.float32)


def target_of(labels, activations):
    return Target(np.asarray(labels), {"ip1": np.asarray(activations)}, "ip1")


TARGET = target_of(LABELS, ACTIVATIONS)


def test_spike_ratio_by_hand():
    # Right neurons: 3 + 2 + 0 + 4 of 24 output spikes.
    found = OBJECTIVES["spike_ratio"](result_of(COUNTS, POTENTIALS), TARGET)
    assert found == pytest.approx(9 / 24)
    silent = result_of(np.zeros((4, 3)), POTENTIALS)
    assert OBJECTIVES["spike_ratio"](silent, TARGET) == 0


def test_accuracy_and_agreement_by_hand():
    # The SNN predicts 0, 1 (potential left), 1 (potential left), 2.
    result = result_of(COUNTS, POTENTIALS)
    assert OBJECTIVES["accuracy"](result, TARGET) == 2 / 4
    assert OBJECTIVES["agreement"](result, TARGET) == 3 / 4


def best_likelihood(scores, activations):
    """Without the code's own scaling and optimizer: a fine grid of factors."""
    wanted = softmax(np.asarray(activations, float), axis=1)
    factors = np.geomspace(1e-4, 1e3, 20_001)
    losses = [
        -(wanted * log_softmax(factor * np.asarray(scores, float), axis=1)).sum(1)
        for factor in factors
    ]
    return -np.mean(losses, axis=1).min()


def test_likelihood_is_that_of_the_best_factor():
    found = OBJECTIVES["likelihood"](result_of(COUNTS, POTENTIALS), TARGET)
    assert found == pytest.approx(best_likelihood(COUNTS, ACTIVATIONS), abs=1e-5)
    # An upper limit: minus the entropy of what the CNN says.
    wanted = softmax(ACTIVATIONS.astype(float), axis=1)
    assert found < (wanted * np.log(wanted)).sum(1).mean()


def without_potentials(counts):
    return result_of(counts, np.zeros(np.shape(counts)))


@pytest.mark.parametrize("factor", [2, 5, 50])
def test_likelihood_does_not_count_spikes(factor):
    few = OBJECTIVES["likelihood"](without_potentials(COUNTS), TARGET)
    many = OBJECTIVES["likelihood"](
        without_potentials(factor * np.array(COUNTS)), TARGET
    )
    assert many == pytest.approx(few, abs=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("count", [0, 7])
def test_likelihood_of_a_network_that_says_nothing(n_classes, count):
    activations = np.random.default_rng(0).normal(size=(5, n_classes))
    target = target_of(np.zeros(5, int), activations)
    silent = without_potentials(np.full((5, n_classes), count))
    assert OBJECTIVES["likelihood"](silent, target) == -np.log(n_classes)


@given(
    activations=st.permutations(range(12)).map(lambda order: np.reshape(order, (4, 3))),
    shift=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None)
def test_likelihood_is_largest_where_counts_order_like_the_cnn(activations, shift):
    target = target_of(np.zeros(4, int), activations / 2)

    def likelihood(counts):
        return OBJECTIVES["likelihood"](without_potentials(counts), target)

    alike = likelihood(activations)
    wanted = softmax(activations / 2, axis=1)
    # Counts that are proportional to the CNN's outputs reach the limit.
    assert alike == pytest.approx((wanted * np.log(wanted)).sum(1).mean(), abs=1e-6)
    assert alike > likelihood(np.roll(activations, shift, axis=1))
    assert alike > likelihood(activations.max() - activations)


MODULE = nn.Sequential(
    nn.Conv2d(2, 3, (2, 3)),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(3 * 6 * 4, 4),
).eval()
IMAGES = np.random.default_rng(0).random((60, 2, 7, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def layers():
    return from_torch(MODULE, (2, 7, 6))


def test_a_target_is_what_torch_computes(layers):
    labels = np.arange(60) % 4
    target = Target.of(layers, IMAGES, labels, ("conv1", "ip1"))
    with torch.no_grad():
        maps = MODULE[:2](torch.from_numpy(IMAGES)).numpy()
        outputs = MODULE(torch.from_numpy(IMAGES)).numpy()
    # More images than are computed at once.
    np.testing.assert_allclose(
        target.activations["conv1"], maps.reshape(60, -1), atol=1e-5
    )
    np.testing.assert_allclose(target.activations["ip1"], outputs, atol=1e-5)
    np.testing.assert_array_equal(target.predictions, outputs.argmax(1))
    first = target.first(7)
    assert first.n_images == 7
    np.testing.assert_array_equal(first.labels, labels[:7])
    np.testing.assert_allclose(first.activations["ip1"], outputs[:7], atol=1e-5)
    assert set(Target.of(layers, IMAGES, labels).activations) == {"ip1"}


def two_layers(seed):
    """A result of MODULE's network with random counts, and the counts."""
    rng = np.random.default_rng(seed)
    shapes = {"conv1": (3, 6, 4), "ip1": (4,)}
    raw = {
        "conv1": rng.integers(0, 20, (60, 72), dtype=np.uint8),  # channels last
        "ip1": rng.integers(0, 20, (60, 4), dtype=np.uint8),
    }
    result = simulated(raw, shapes, np.zeros((60, 4)))
    channels_first = raw["conv1"].reshape(60, 6, 4, 3).transpose(0, 3, 1, 2)
    return result, {"conv1": channels_first, "ip1": raw["ip1"]}


def test_feature_map_correlation_is_that_of_numpy(layers):
    labels = np.zeros(60, int)
    result, counts = two_layers(1)
    with torch.no_grad():
        maps = MODULE[:2](torch.from_numpy(IMAGES)).numpy()
        outputs = np.maximum(MODULE(torch.from_numpy(IMAGES)).numpy(), 0)
    expected = {
        "conv1": np.corrcoef(counts["conv1"].ravel(), maps.ravel())[0, 1],
        "ip1": np.corrcoef(counts["ip1"].ravel(), outputs.ravel())[0, 1],
    }
    for layer, correlation in expected.items():
        function, name, compared = find_objective(f"feature_map:{layer}", layers)
        assert (name, compared) == (f"feature_map:{layer}", (layer,))
        target = Target.of(layers, IMAGES, labels, compared)
        assert function(result, target) == pytest.approx(correlation, abs=1e-6)
    function, name, compared = find_objective("feature_map", layers)
    assert (name, compared) == ("feature_map", ("conv1", "ip1"))
    target = Target.of(layers, IMAGES, labels, compared)
    mean = np.mean([*expected.values()])
    assert function(result, target) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize(
    ("counts", "activations"),
    [
        (np.full((2, 3), 4), [[1, 2, 3], [4, 5, 6]]),
        ([[1, 2, 3], [4, 5, 6]], np.full((2, 3), -1.0)),
    ],
)
def test_nothing_correlates_with_a_constant(counts, activations):
    target = target_of([0, 0], np.asarray(activations, float))
    assert feature_map_correlation(without_potentials(counts), target, "ip1") == 0


def test_find_objective_by_name_or_function(layers):
    for name, function in OBJECTIVES.items():
        assert find_objective(name, layers) == (function, name, ())

    def mine(result, target):
        return 0.0

    class Mine:
        def __call__(self, result, target):
            return 0.0

    assert find_objective(mine, layers) == (mine, "mine", ())
    # The name is in the checkpoint: it may not change from process to process.
    assert find_objective(Mine(), layers)[1] == "Mine"


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("speed", "objective='speed': expected one of 'spike_ratio'"),
        ("", "objective=''"),
        ("feature_map:conv7", "'feature_map:LAYER' with a layer of conv1, ip1"),
        ("accuracy:conv1", "objective='accuracy:conv1'"),
        (3, "objective=3"),
    ],
)
def test_other_objectives_are_refused(layers, objective, message):
    with pytest.raises(InputError, match=message):
        find_objective(objective, layers)
