"""All measures take the same trials, and refuse what is none, before they compute."""

import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
from brian2 import Hz, ms, mV
from hypothesis import given
from hypothesis import strategies as st
from test_physiology import replace_rows

from cnn2snn_brian import InputError, physiology, plots
from cnn2snn_brian.physiology import TrialSpikes
from cnn2snn_brian.results import Trials
from cnn2snn_brian.stimuli import Item

COUNTS = np.random.default_rng(0).poisson(5, (4, 3, 5)).astype(float)
KINDS = np.array([0, 1, 0, 1])
ANGLES = [0, 45, 90, 135]
IMAGES = np.random.default_rng(1).random((4, 6))

#: Measures of counts. A measure that is in none of these lists fails a test below.
OF_COUNTS = {
    "counts": physiology.counts,
    "decoding": lambda data, layer=None, **how: physiology.decoding(
        data, KINDS, layer, folds=2, **how
    ),
    "fano_factor": physiology.fano_factor,
    "noise_correlation": physiology.noise_correlation,
    "rdm": physiology.rdm,
    "receptive_field": lambda data, layer=None, **how: physiology.receptive_field(
        data, IMAGES, layer, n_permutations=3, **how
    ),
    "signal_correlation": physiology.signal_correlation,
    "sparseness": physiology.sparseness,
    "tuning": lambda data, layer=None, **how: physiology.tuning(
        data, ANGLES, layer, **how
    ),
}
#: Measures of spikes.
OF_SPIKES = {
    "decide": lambda data, layer=None: physiology.decide(data, 1, layer),
    "decide by a margin": lambda data, layer=None: physiology.decide(
        data, 1, layer, rule="margin"
    ),
    "first_spike": physiology.first_spike,
    "latency": physiology.latency,
    "latency by likelihood": lambda data, layer=None, **how: physiology.latency(
        data, layer, method="likelihood", bin=2 * ms, **how
    ),
    "psth": lambda data, layer=None, **how: physiology.psth(
        data, layer, bin=2 * ms, **how
    ),
}
OTHERS = {"by_item", "compare", "effective_kernel", "trial_spikes"}


def test_every_measure_is_tested_here():
    functions = {
        name
        for name in physiology.__all__
        if inspect.isfunction(getattr(physiology, name))
    }
    assert functions <= {*OF_COUNTS, *OF_SPIKES, *OTHERS}


# Stimuli of different durations.


def of_two_durations(result):
    """Stimuli of 20 and 10 steps in turn, of neurons that know nothing of these."""
    one = replace_rows(result, [0, 2])
    rows = np.tile([0, 1], 4)
    recorded = {}
    for k, row in enumerate(rows):
        for name in ("conv1", "ip1"):
            neuron, step = one.recorded[name, row]
            its = step < (20, 10)[k // 2 % 2]
            recorded[name, k] = neuron[its], step[its]
    raw = {
        name: np.stack(
            [
                np.bincount(recorded[name, k][0], minlength=math.prod(shape))
                for k in range(8)
            ]
        )
        for name, shape in result.shapes.items()
        if name != "input"
    }
    return replace(
        one,
        spike_counts=type(result.spike_counts)(raw, result.shapes),
        output_potentials=one.output_potentials[rows],
        recorded=recorded,
        trials=Trials(2, (20, 10, 20, 10), tuple("abcd")),
    )


@pytest.mark.parametrize("name", [*OF_COUNTS, *OF_SPIKES])
def test_trials_of_different_durations_are_compared_in_a_window_only(
    random_result, name
):
    measure = {**OF_COUNTS, **OF_SPIKES}[name]
    result = of_two_durations(random_result)
    spikes = physiology.trial_spikes(result, "ip1")
    for data, layer in ((result, "ip1"), (spikes, None)):
        with pytest.raises(InputError, match=r"stimuli last 0.01 to 0.02 s, .* 0.01 s"):
            measure(data, layer)
        if "decide" in name:
            continue
        with pytest.raises(InputError, match="stimuli last"):
            measure(data, layer, window=(0, 12 * ms))
        measure(data, layer, window=(0, 10 * ms))


def test_a_window_of_trials_of_different_durations_counts_the_same_in_each(
    random_result,
):
    result = of_two_durations(random_result)
    found = physiology.counts(result, "ip1", (0, 10 * ms))
    np.testing.assert_array_equal(found[0], found[1])
    # The longer trial has about twice as many spikes, which selects nothing.
    tuned = physiology.tuning(result, ANGLES, "ip1", window=(0, 10 * ms))
    np.testing.assert_allclose(tuned.osi[found.sum((0, 1)) > 0], 0)
    with pytest.raises(InputError, match="stimuli last"):
        plots.plot_fano_factor(result, "ip1")


def test_an_undecided_trial_takes_its_own_duration(random_result):
    result = of_two_durations(random_result)
    found = result.decide(50)
    np.testing.assert_array_equal(found.steps, [20, 20, 10, 10] * 2)
    assert not found.decided.any()


# Numbers that are none.


def spoiled(array, value):
    """The array with a value of another kind in one place."""
    array = array.astype(np.result_type(array, type(value)))
    array[2, 1, 3] = value
    return array


@pytest.mark.parametrize("name", OF_COUNTS)
@given(data=st.data())
def test_counts_are_finite_real_numbers_from_0_on(name, data):
    wrong = data.draw(
        st.sampled_from([math.nan, math.inf, 1j])
        | st.floats(max_value=-1e-6, allow_infinity=True)
        | st.complex_numbers(allow_nan=True).filter(lambda z: z.imag != 0)
    )
    if name == "rdm" and isinstance(wrong, float) and math.isfinite(wrong):
        return  # patterns of activations may be negative
    with pytest.raises(InputError):
        OF_COUNTS[name](spoiled(COUNTS, wrong))


@pytest.mark.parametrize("name", OF_COUNTS)
@pytest.mark.parametrize(
    "wrong",
    [COUNTS.astype(str), COUNTS * Hz, [[["a"]]], [[1], [2, 3]], None, COUNTS[:, :, :0]],
    ids=["text", "unit", "list of text", "ragged", "none", "empty"],
)
def test_counts_are_an_array_of_numbers(name, wrong):
    with pytest.raises(InputError):
        OF_COUNTS[name](wrong)


@pytest.mark.parametrize("name", OF_SPIKES)
def test_counts_have_no_times(name):
    with pytest.raises(InputError, match="counts have no times"):
        OF_SPIKES[name](COUNTS)


RIGHT = {
    "trial": [0, 1, 1],
    "neuron": [0, 1, 2],
    "t": [0.0, 3e-3, 9e-3],
    "n_stimuli": 1,
    "n_repeats": 2,
    "n_neurons": 3,
    "duration_s": 10e-3,
    "dt_s": 1e-3,
}
NOT_WHOLE = (
    st.floats(0, 2).filter(lambda x: not x.is_integer())
    | st.floats(max_value=-1e-9)
    | st.floats(min_value=3)
    | st.sampled_from([math.nan, 1j, "1", None, 5 * mV])
)
NOT_A_NUMBER_OF_THINGS = NOT_WHOLE | st.integers(max_value=0) | st.just(True)
NOT_A_DURATION = st.floats(max_value=0) | st.sampled_from(
    [math.nan, math.inf, 1j, "1", None, 5 * mV, True, [0.01]]
)
NOT_A_TIME = (
    st.floats(max_value=-1e-9)
    | st.floats(min_value=10e-3)
    | st.sampled_from([math.nan, 1j, "1", None, 5 * mV, 0.4e-3])
)


@given(data=st.data())
def test_spikes_are_whole_trials_and_neurons_at_times_of_their_trial(data):
    name = data.draw(st.sampled_from(list(RIGHT)))
    if name in ("trial", "neuron", "t"):
        wrong = list(RIGHT[name])
        place = data.draw(st.integers(0, 2))
        wrong[place] = data.draw(NOT_A_TIME if name == "t" else NOT_WHOLE)
    elif name == "dt_s":
        wrong = data.draw(NOT_A_DURATION.filter(lambda value: value is not None))
    elif name == "duration_s":
        wrong = data.draw(NOT_A_DURATION)
    else:
        wrong = data.draw(NOT_A_NUMBER_OF_THINGS)
    TrialSpikes(**RIGHT)
    with pytest.raises(InputError):
        TrialSpikes(**RIGHT | {name: wrong})


def test_times_of_another_library_do_not_lose_their_units():
    pq = pytest.importorskip("quantities")
    for t in ([0, 3, 9] * pq.ms, [0 * pq.ms, 3 * pq.ms, 9 * pq.ms]):
        with pytest.raises(InputError, match="t: found .* ms"):
            TrialSpikes(**RIGHT | {"t": t})
    with pytest.raises(InputError, match="expected a time"):
        physiology.psth(TrialSpikes(**RIGHT), bin=5 * pq.ms)
    own = TrialSpikes(**RIGHT | {"t": [0, 3, 9] * ms, "duration_s": 10 * ms})
    np.testing.assert_allclose(own.t, RIGHT["t"])


@given(
    st.lists(st.integers(0, 996), max_size=30),
    st.sampled_from([1e-4, 1e-3, 1 / 3, None]),
    st.lists(st.integers(1, 996), min_size=1, max_size=4, unique=True),
)
def test_every_spike_is_in_one_window_and_in_one_bin(steps, dt, cuts):
    # A time in floating point may be on either side of a window's edge.
    width = dt or 0.1
    steps = np.array(steps, int)
    t = np.array([sum([width] * k) if k < 50 else k * width for k in steps])
    zero = np.zeros_like(steps)
    spikes = TrialSpikes(zero, zero, t, 1, 1, 1, 997 * width, dt)
    edges = [0, *sorted(cuts), 997]
    parts = [
        spikes.counts((low * width, high * width)).sum()
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    expected = np.histogram(steps, edges)[0]
    expected[-1] = (steps >= edges[-2]).sum()
    np.testing.assert_array_equal(parts, expected)
    binned = spikes.binned(width).ravel()
    np.testing.assert_array_equal(binned, np.bincount(steps, minlength=997))
    psth = physiology.psth(spikes, bin=997 * width)
    assert psth.rate_hz.sum() == pytest.approx(len(steps) / (997 * width))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("asymmetric", np.arange(16.0).reshape(4, 4)),
        ("complex", np.zeros((4, 4), complex) + 1j),
        ("infinite", np.full((4, 4), np.inf)),
        ("text", np.full((4, 4), "1")),
    ],
)
def test_dissimilarities_are_those_of_pairs(name, wrong):
    right = physiology.rdm(COUNTS)
    physiology.compare(right, right, n_bootstrap=2, n_permutations=2)
    for pair in ((right, wrong), (wrong, right)):
        with pytest.raises(InputError, match="a matrix"):
            physiology.compare(*pair)


@given(
    st.floats().filter(lambda x: not x.is_integer())
    | st.integers(max_value=-1)
    | st.sampled_from([1j, "1", True, None])
)
def test_numbers_of_draws_folds_lags_and_seeds_are_whole(wrong):
    right = physiology.rdm(COUNTS)
    calls = [
        lambda: physiology.compare(right, right, n_bootstrap=wrong),
        lambda: physiology.compare(right, right, n_permutations=wrong),
        lambda: physiology.compare(right, right, seed=wrong),
        lambda: physiology.decoding(COUNTS, KINDS, folds=wrong),
        lambda: physiology.decoding(COUNTS, KINDS, folds=2, seed=wrong),
        lambda: physiology.receptive_field(COUNTS, IMAGES, lags=(wrong,)),
        lambda: physiology.receptive_field(COUNTS, IMAGES, n_permutations=wrong),
        lambda: physiology.receptive_field(COUNTS, IMAGES, seed=wrong),
        lambda: physiology.receptive_field(COUNTS, IMAGES, neurons=[wrong]),
        lambda: TrialSpikes(**RIGHT).of_neurons([wrong]),
    ]
    if wrong is not None:
        calls.append(lambda: physiology.decide(TrialSpikes(**RIGHT), wrong))
    for call in calls:
        with pytest.raises(InputError):
            call()


@given(
    st.floats().filter(lambda x: not 0 < x < 1) | st.sampled_from([1j, "1", True, 1])
)
def test_levels_of_significance_are_shares(wrong):
    spikes = TrialSpikes(**RIGHT)
    for call in (
        lambda: physiology.latency(spikes, method="likelihood", alpha=wrong),
        lambda: physiology.receptive_field(COUNTS, IMAGES, alpha=wrong),
    ):
        with pytest.raises(InputError, match="alpha is"):
            call()


@pytest.mark.parametrize(
    "wrong", [[0, 0.5, 1, 1], [0, 1], [0, 1, math.nan, 1], [1j] * 4]
)
def test_classes_are_whole_numbers_or_names(random_result, wrong):
    choices = physiology.decide(generated_choices(), 1)
    for call in (
        lambda: physiology.decoding(COUNTS, wrong, folds=2),
        lambda: choices.accuracy(wrong),
        lambda: choices.frame(wrong),
        lambda: random_result.decide(1).accuracy(wrong[:3]),
        lambda: random_result.accuracy(wrong[:3]),
        lambda: random_result.accuracy_over_time(wrong[:3]),
    ):
        with pytest.raises(InputError, match="labels"):
            call()


@pytest.mark.parametrize("names", [["0", "1", "0"], np.array(["0", "1", "0"], "O")])
def test_names_are_no_answers(random_result, names):
    choices = physiology.decide(generated_choices(), 1)
    for call in (
        lambda: choices.accuracy([*names, "1"]),
        lambda: random_result.decide(1).accuracy(names),
        lambda: random_result.accuracy(names),
        lambda: random_result.accuracy_over_time(names),
    ):
        with pytest.raises(InputError, match="found '0', expected the index"):
            call()
    right = np.array(random_result.predictions.tolist(), object)
    assert random_result.accuracy(right) == 1


def generated_choices():
    return TrialSpikes([0, 1, 2, 3], [0, 1, 0, 1], [0.0] * 4, 4, 1, 2, 1e-2, 1e-3)


@pytest.mark.parametrize(
    "wrong", [[0, 45, 90, 1j], [0, 45, 90, math.nan], ["0", "45", "90", "135"], [0]]
)
def test_values_of_a_tuning_curve_are_real_numbers(wrong):
    for period in (180, None):
        with pytest.raises(InputError, match="values"):
            physiology.tuning(COUNTS, wrong, period=period)


# Items of a sequence.


def of_sequences(result, items, n_steps=(20, 20)):
    """Two stimuli with items, two repeats of each."""
    rows = [0, 2, 0, 2]
    one = replace_rows(result, [0, 2])
    return replace(
        one,
        spike_counts=type(result.spike_counts)(
            {name: result.spike_counts.raw(name)[rows] for name in result.shapes},
            result.shapes,
        ),
        output_potentials=result.output_potentials[rows],
        recorded={
            (name, k): result.recorded[name, row]
            for k, row in enumerate(rows)
            for name in ("conv1", "ip1")
        },
        trials=Trials(2, n_steps, ("a", "b"), ({}, {}), items),
    )


ITEMS = (
    (Item(0.0, 4e-3, 2), Item(10e-3, 4e-3, 0)),
    (Item(0.0, 4e-3, 1), Item(10e-3, 4e-3, 2)),
)


def test_items_are_stimuli(random_result):
    result = of_sequences(random_result, ITEMS)
    found = physiology.by_item(result)
    assert (found.n_stimuli, found.n_repeats, found.n_neurons) == (4, 2, 3)
    assert found.labels == (2, 0, 1, 2)
    assert found.duration_s == pytest.approx(10e-3)
    for stimulus in range(2):
        for repeat in range(2):
            neuron, step = result.recorded["ip1", 2 * stimulus + repeat]
            for place in range(2):
                its = step // 10 == place
                item = (2 * stimulus + place) * 2 + repeat
                np.testing.assert_array_equal(
                    found.neuron[found.trial == item], neuron[its]
                )
                np.testing.assert_allclose(
                    found.t[found.trial == item], 1e-3 * (step[its] - 10 * place)
                )
    # The rates of a trial are those of its items, one after another.
    whole = physiology.psth(result, "conv1", bin=2 * ms).rate_hz
    parts = physiology.psth(physiology.by_item(result, "conv1"), bin=2 * ms).rate_hz
    np.testing.assert_allclose(
        parts.reshape(2, 2, 60, 5).swapaxes(1, 2).reshape(2, 60, 10), whole
    )


def test_measures_take_items(random_result):
    found = physiology.by_item(of_sequences(random_result, ITEMS))
    for name, measure in {**OF_COUNTS, **OF_SPIKES}.items():
        assert measure(found) is not None, name
    choices = physiology.decide(found)
    most = found.counts().argmax(2)
    np.testing.assert_array_equal(choices.choice, most)
    assert not choices.decided.any()
    assert choices.bound is None
    truth = np.array(found.labels)[:, None]
    assert choices.accuracy(found.labels) == (most == truth).mean()
    physiology.decoding(found, np.array(found.labels) == 2, folds=2)


def test_a_window_counts_from_the_onset_of_an_item(random_result):
    result = of_sequences(random_result, ITEMS)
    found = physiology.by_item(result, "conv1", window=(2 * ms, 5 * ms))
    assert found.duration_s == pytest.approx(3e-3)
    later = physiology.counts(result, "conv1", (12 * ms, 15 * ms))
    np.testing.assert_array_equal(found.counts()[[1, 3]], later)
    before = physiology.by_item(
        of_sequences(random_result, ((ITEMS[0][1],), ())), window=(-5 * ms, 0)
    )
    earlier = physiology.counts(result, "ip1", (5 * ms, 10 * ms))[:1]
    np.testing.assert_array_equal(before.counts(), earlier)
    assert before.labels == (0,)


@pytest.mark.parametrize(
    ("items", "window", "says"),
    [
        ((), None, "no stimulus has items"),
        (((), ()), None, "no stimulus has items"),
        (ITEMS, (-2 * ms, 5 * ms), "from 0 to 0.02 s"),
        (ITEMS, (0, 11 * ms), "from 0 to 0.02 s"),
        (ITEMS, (0, 1.5 * ms), "no multiple of the time step"),
        (ITEMS, (5 * ms, 5 * ms), "two times in order"),
        (ITEMS, 5 * ms, "expected .start, end."),
        ((ITEMS[0], (Item(5e-3, 1e-3, 0),)), None, "last 0.01 to 0.015 s"),
    ],
)
def test_items_that_can_not_be_cut_are_refused(random_result, items, window, says):
    with pytest.raises(InputError, match=says):
        physiology.by_item(of_sequences(random_result, items), window=window)


def test_what_was_not_recorded_of_an_item_is_refused(random_result):
    result = replace(of_sequences(random_result, ITEMS), windows=((0, 15),))
    with pytest.raises(InputError, match="recorded only from 0 to 0.015 s"):
        physiology.by_item(result, "conv1")
    physiology.by_item(result, "conv1", window=(0, 5 * ms))
    physiology.by_item(result)  # the last layer is always recorded
    with pytest.raises(InputError, match="not recorded for image 0"):
        physiology.by_item(result, "input", window=(0, 5 * ms))
