"""Methods of threshold setting on functions instead of networks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnn2snn_brian import from_torch
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.tuning import Bisection, Feedback, Percentiles, Search
from cnn2snn_brian.tuning.methods import (
    FLOOR_SHARES,
    LARGEST_V_INIT,
    TUNABLE,
    Scope,
    find_method,
)

CHAIN = nn.Sequential(
    nn.Conv2d(1, 2, 3, bias=False),
    nn.ReLU(),
    nn.AvgPool2d(2),
    nn.Flatten(),
    nn.Linear(8, 3, bias=False),
).eval()


@pytest.fixture(scope="module")
def layers():
    return from_torch(CHAIN, (1, 6, 6))


def parameters(names, threshold, **others):
    given = {"v_min": 0, "leak": 0, "v_init": 0, **others}
    return Parameters.of(tuple(names), thresholds=threshold, **given)


def scope(start, layers, lower, upper, *, network=None, seed=0):
    bounds = {name: (lower.get(name, 0), high) for name, high in upper.items()}
    return Scope(network, tuple(layers), start, bounds, seed)


def follow(method, where, objective):
    """Drive a method; give what it chose and all of its rounds."""
    steps = method.rounds(where)
    rounds, values = [], None
    while True:
        try:
            tried = steps.send(values)
        except StopIteration as stop:
            return stop.value, rounds
        rounds.append(tried)
        values = [objective(candidate.parameters) for candidate in tried.candidates]


def tried_thresholds(rounds):
    return [
        tuple(candidate.parameters.thresholds.values())
        for tried in rounds
        for candidate in tried.candidates
    ]


def test_feedback_goes_as_the_listing_does():
    # The ratio is largest at (0.3, 0.1, 0.2). By hand, with n = 0.1: a line for each
    # "calculate max1"; a + is an update (line 9), a - goes back (line 10).
    best = np.array([0.3, 0.1, 0.2])

    def ratio(chosen):
        return -np.abs(np.array([*chosen.thresholds.values()]) - best).sum()

    trace = [
        (0.1, 0.1, 0.1),  # line 3: max
        (0.2, 0.1, 0.1),  # +
        (0.2, 0.2, 0.1),  # -
        (0.2, 0.1, 0.2),  # +
        (0.3, 0.1, 0.2),  # +, the second repeat
        (0.3, 0.2, 0.2),  # -
        (0.3, 0.1, 0.3),  # -
        (0.4, 0.1, 0.2),  # -, the third repeat: nothing changes
        (0.3, 0.2, 0.2),  # -
        (0.3, 0.1, 0.3),  # -
    ]
    names = ("p1", "p2", "p3")
    where = scope(parameters(names, 0.1), names, {}, dict.fromkeys(names, math.inf))
    chosen, rounds = follow(Feedback(step=0.1), where, ratio)
    assert [len(tried.candidates) for tried in rounds] == [1] * len(trace)
    np.testing.assert_allclose(tried_thresholds(rounds), trace, rtol=1e-12)
    np.testing.assert_allclose([*chosen.thresholds.values()], best, rtol=1e-12)


def test_feedback_keeps_a_threshold_only_if_the_output_got_better():
    names = ("a", "b")
    where = scope(parameters(names, 0.1), names, {}, {"a": 9, "b": 9})
    chosen, rounds = follow(Feedback(step=0.1), where, lambda chosen: 0.5)
    assert chosen.thresholds == {"a": 0.1, "b": 0.1}
    assert len(rounds) == 3


def test_feedback_stays_within_its_bounds_and_layers():
    start = parameters(("a", "b", "c"), 0.1)
    where = scope(start, ("c", "a"), {}, {"a": 0.3, "b": 9, "c": 0.45})
    chosen, rounds = follow(
        Feedback(step=0.1), where, lambda chosen: sum(chosen.thresholds.values())
    )
    # 0.1 + 0.1 + 0.1 is a little above 0.3: still reached.
    expected = {"a": pytest.approx(0.3), "b": 0.1, "c": pytest.approx(0.4)}
    assert chosen.thresholds == expected
    first = rounds[1].candidates[0].parameters.thresholds
    assert first["c"] == 0.2, "the layers' order is that of the argument"


@given(
    peaks=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3),
    low=st.floats(0.01, 2),
    width=st.floats(0.1, 50),
    skew=st.floats(0.2, 5),
)
@settings(max_examples=60, deadline=None)
def test_bisection_finds_the_peak_of_every_layer(peaks, low, width, skew):
    names = tuple(f"conv{index + 1}" for index in range(len(peaks)))
    lower, upper = dict.fromkeys(names, low), dict.fromkeys(names, low + width)
    wanted = {name: low + peak * width for name, peak in zip(names, peaks, strict=True)}

    def objective(chosen):
        off = [(chosen.thresholds[name] - wanted[name]) / width for name in names]
        return -sum(-gap if gap < 0 else skew * gap for gap in off)

    method = Bisection()
    where = scope(parameters(names, lower), names, lower, upper)
    chosen, rounds = follow(method, where, objective)
    for name in names:
        error = abs(chosen.thresholds[name] - wanted[name])
        # The middle of the last interval, which has the peak in it.
        assert error <= method.resolution / 2 * width * (1 + 1e-6)
    # Layer after layer: three points, then two for each further halving to 1/32.
    order = [tried.layer for tried in rounds]
    assert order == [name for name in names for _ in range(5)]
    assert [len(tried.candidates) for tried in rounds] == [3, 2, 2, 2, 2] * len(names)


def test_bisection_halves_its_interval():
    names = ("a",)
    where = scope(parameters(names, 1.0), names, {"a": 1.0}, {"a": 9.0})
    chosen, rounds = follow(
        Bisection(resolution=1 / 8),
        where,
        lambda chosen: -abs(chosen.thresholds["a"] - 3.4),
    )
    # By hand: 1 to 9; best 3: 1 to 5; best 3: 2 to 4; best 3.5: 3 to 4.
    points = [(3,), (7,), (5,), (2,), (4,), (2.5,), (3.5,)]
    assert tried_thresholds(rounds) == points
    assert chosen.thresholds == {"a": 3.5}
    # If the budget ended before a round, this would be chosen.
    assert [tried.current.thresholds["a"] for tried in rounds] == [1, 3, 3]


def optimum(layers, target):
    def objective(chosen):
        gaps = [np.log(chosen.thresholds[name] / target[name]) for name in layers.names]
        return -float(np.square(gaps).sum())

    return objective


BOUNDS = {"conv1": (0.1, 20.0), "pool1": (0.1, 20.0), "ip1": (0.1, 20.0)}
LOWER = {name: low for name, (low, _) in BOUNDS.items()}
UPPER = {name: high for name, (_, high) in BOUNDS.items()}


def run_search(layers, objective, *, budget=120, seed=0, tune=("thresholds",), **more):
    start = more.pop("start", parameters(layers.names, 1.0))
    names = more.pop("names", layers.names)
    method = Search(tune=tune, step=more.pop("step", 0.25), budget=budget)
    where = scope(start, names, LOWER, UPPER, network=layers, seed=seed)
    return follow(method, where, objective)


@pytest.mark.parametrize("seed", [0, 1, 2, 2**40])
def test_search_finds_an_optimum_within_its_budget(layers, seed):
    target = {"conv1": 3.1, "pool1": 0.8, "ip1": 1.9}
    chosen, rounds = run_search(layers, optimum(layers, target), seed=seed)
    for name in layers.names:
        assert chosen.thresholds[name] == pytest.approx(target[name], rel=0.1)
    assert len(tried_thresholds(rounds)) <= 120
    # Few images while the steps are large, all for the finalists.
    shares = [tried.share for tried in rounds]
    assert shares[1] == 0.25
    assert shares[-1] == 1.0
    assert shares[1:] == sorted(shares[1:])


@pytest.mark.parametrize("budget", [1, 2, 3, 7, 15, 16, 17, 40])
def test_search_takes_its_budget_at_most(layers, budget):
    target = dict.fromkeys(layers.names, 2.0)
    chosen, rounds = run_search(layers, optimum(layers, target), budget=budget)
    assert 1 <= len(tried_thresholds(rounds)) <= budget
    best = max(
        (
            candidate.parameters
            for tried in rounds
            for candidate in tried.candidates
            if tried.share == 1
        ),
        key=optimum(layers, target),
    )
    assert chosen == best, "the best of those that saw all images"


def test_search_stays_within_its_bounds(layers):
    # The optimum is outside, and the start at the edge.
    objective = optimum(layers, {"conv1": 500.0, "pool1": 0.001, "ip1": 1.0})
    start = parameters(layers.names, {"conv1": 20.0, "pool1": 0.1, "ip1": 1.0})
    chosen, rounds = run_search(layers, objective, start=start, step=1.0)
    for thresholds in tried_thresholds(rounds):
        for value, (low, high) in zip(thresholds, BOUNDS.values(), strict=True):
            assert low * (1 - 1e-9) <= value <= high * (1 + 1e-9)
    assert chosen.thresholds["conv1"] == pytest.approx(20, rel=0.05)
    assert chosen.thresholds["pool1"] == pytest.approx(0.1, rel=0.05)


def test_search_depends_on_the_seed_alone(layers):
    objective = optimum(layers, dict.fromkeys(layers.names, 2.0))
    chosen, rounds = run_search(layers, objective, seed=3)
    again = run_search(layers, objective, seed=3)
    assert again == (chosen, rounds)
    _, others = run_search(layers, objective, seed=4)
    assert others[0] == rounds[0], "the scan is not random"
    assert tried_thresholds(others[1:2]) != tried_thresholds(rounds[1:2])


def test_search_of_one_threshold(layers):
    target = dict.fromkeys(layers.names, 1.7)
    chosen, rounds = run_search(layers, optimum(layers, target), names=("ip1",))
    assert chosen.thresholds["ip1"] == pytest.approx(1.7, rel=0.05)
    assert chosen.thresholds["conv1"] == chosen.thresholds["pool1"] == 1.0
    assert {thresholds[:2] for thresholds in tried_thresholds(rounds)} == {(1.0, 1.0)}


WANTED = {"thresholds": 2.0, "v_min": -1.5, "v_init": 0.4, "leak": 0.03}


@pytest.mark.parametrize(
    "tune",
    [("v_min",), ("v_init",), ("leak",), ("thresholds", "v_init"), TUNABLE],
)
def test_search_tunes_what_is_named(layers, tune):
    def objective(chosen):
        gaps = []
        for what in tune:
            for value in getattr(chosen, what).values():
                if what in ("thresholds", "v_min"):
                    gaps.append(np.log(value / WANTED[what]))
                else:
                    gaps.append((value - WANTED[what]) * (10 if what == "leak" else 1))
        return -float(np.square(gaps).sum())

    start = parameters(layers.names, 1.0, v_min=-np.inf)
    chosen, rounds = run_search(
        layers, objective, start=start, tune=tune, budget=200, step=0.5
    )
    origin = objective(parameters(layers.names, 1.0, v_min=-FLOOR_SHARES[1]))
    assert objective(chosen) > 0.25 * origin
    for what in TUNABLE:
        moved = {
            tuple(getattr(candidate.parameters, what).values())
            for tried in rounds
            for candidate in tried.candidates
        }
        if what in tune:
            assert len(moved) > 100
        else:
            assert moved == {tuple(getattr(start, what).values())}
    for tried in rounds[1:]:
        for candidate in tried.candidates:
            for value in candidate.parameters.v_init.values():
                assert 0 <= value <= LARGEST_V_INIT


def test_a_method_is_a_name_with_options_or_an_object():
    assert find_method("feedback", {"step": 0.5}) == Feedback(step=0.5)
    assert find_method("search", {"tune": "v_init"}) == Search(tune=("v_init",))
    assert find_method("data", {"layers": ["ip1"], "bounds": None}) == Percentiles(
        layers=("ip1",)
    )
    made = Bisection(resolution=1 / 4)
    assert find_method(made, {}) is made
    with pytest.warns(DeprecationWarning, match=r"as in Bisection\(budget=...\)"):
        assert find_method(made, {"budget": 7}) == Bisection(resolution=1 / 4, budget=7)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            "bisection",
            {"step": 1},
            "'bisection' has no option step; its options are",
        ),
        ("data", {"start": 1, "step": 1}, "method='data' has no option start, step"),
        ("feedback", {"resolution": 0.1}, "method='feedback' has no option resolution"),
        ("search", {"stepp": 1}, "method='search' has no option stepp"),
        (Feedback(), {"step": 1}, r"step: give it to the method, as in Feedback\("),
        (
            "bisection",
            {"resolution": 1},
            "resolution is 1, expected .* below 1",
        ),
        ("bisection", {"resolution": 0}, "resolution is 0, expected a number above 0"),
        ("search", {"step": "wide"}, "step is 'wide', expected a number above 0"),
        (Feedback, {}, "expected one of 'feedback'.*or an object of Feedback"),
    ],
)
def test_options_that_a_method_does_not_have_are_refused(method, options, message):
    with pytest.raises(InputError, match=message):
        find_method(method, options)
