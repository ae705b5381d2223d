"""Measures against closed forms, plain loops and generators of known spikes."""

import math
from dataclasses import replace

import numpy as np
import pytest
from brian2 import ms, mV
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cnn2snn_brian import InputError, physiology
from cnn2snn_brian.physiology import TrialSpikes, decide, latency, psth
from cnn2snn_brian.results import Trials

DT = 1e-3


def generated(rate_hz, n_repeats, seed=0, dt=DT):
    """Bernoulli spikes of rates (n_stimuli, n_neurons, n_steps), step by step."""
    rate = np.asarray(rate_hz, float)
    n_stimuli, n_neurons, n_steps = rate.shape
    rng = np.random.default_rng(seed)
    drawn = rng.random((n_stimuli, n_repeats, n_neurons, n_steps))
    stimulus, repeat, neuron, step = np.nonzero(drawn < rate[:, None] * dt)
    return TrialSpikes(
        stimulus * n_repeats + repeat,
        neuron,
        step * dt,
        n_stimuli,
        n_repeats,
        n_neurons,
        n_steps * dt,
        dt,
    )


# Trials.


def test_a_result_is_trials(random_result):
    spikes = physiology.trial_spikes(random_result, "ip1")
    assert (spikes.n_stimuli, spikes.n_repeats, spikes.n_neurons) == (3, 1, 3)
    counts = physiology.counts(random_result, "conv1")
    expected = random_result.spike_counts["conv1"].reshape(3, 1, -1)
    np.testing.assert_array_equal(counts, expected)
    window = physiology.counts(random_result, "ip1", (2 * ms, 0.007))
    for row in range(3):
        neuron, step = random_result.recorded["ip1", row]
        its = neuron[(step >= 2) & (step < 7)]
        np.testing.assert_array_equal(window[row, 0], np.bincount(its, minlength=3))


def test_xarray_goes_in(random_result):
    xarray = pytest.importorskip("xarray")
    counts = physiology.counts(random_result, "conv1")
    array = xarray.DataArray(counts, dims=("stimulus", "repeat", "neuron"))
    np.testing.assert_array_equal(
        physiology.sparseness(array), physiology.sparseness(random_result, "conv1")
    )


def test_neurons_are_in_the_order_of_the_arrays(random_result):
    whole = physiology.trial_spikes(replace_rows(random_result, [2, 0]), "conv1")
    np.testing.assert_array_equal(
        whole.counts(),
        random_result.spike_counts["conv1"][[2, 0]].reshape(2, 1, -1),
    )


def replace_rows(result, rows):
    """Some rows of a result, as a result."""
    raw = {name: result.spike_counts.raw(name)[rows] for name in result.spike_counts}
    recorded = {
        (name, rows.index(row)): value
        for (name, row), value in result.recorded.items()
        if row in rows
    }
    return replace(
        result,
        spike_counts=type(result.spike_counts)(raw, result.shapes),
        output_potentials=result.output_potentials[rows],
        recorded=recorded,
    )


def test_rows_are_repeats_of_stimuli(random_result):
    rows = replace_rows(random_result, [2, 0])
    rows = replace(rows, trials=Trials(2, (20,), ("a",)))
    counts = physiology.counts(rows, "conv1")
    assert counts.shape == (1, 2, 60)
    expected = random_result.spike_counts["conv1"].reshape(3, -1)
    np.testing.assert_array_equal(counts[0], expected[[2, 0]])
    spikes = physiology.trial_spikes(rows, "conv1")
    np.testing.assert_array_equal(spikes.counts(), counts)


def test_what_was_not_recorded_is_not_silence(random_result):
    rows = replace_rows(random_result, [2, 0])
    part = replace(rows, windows=((5, 10), (12, 20)))
    expected = physiology.counts(rows, "conv1", (6 * ms, 10 * ms))
    found = physiology.counts(part, "conv1", (6 * ms, 10 * ms))
    np.testing.assert_array_equal(found, expected)
    for window in (None, (4 * ms, 9 * ms), (9 * ms, 13 * ms)):
        with pytest.raises(InputError, match="only from 0.005 to 0.01 s, 0.012 to"):
            physiology.first_spike(part, "conv1", window)
    assert physiology.counts(part, "conv1").sum() > expected.sum()
    physiology.first_spike(part, "ip1")  # always recorded
    unequal = replace(rows, trials=Trials(1, (20, 10), ("a", "b")))
    with pytest.raises(InputError, match="stimuli last 0.01 to 0.02 s"):
        psth(unequal, "conv1", bin=1 * ms)


def test_bins_hold_whole_steps():
    # Times like 3 * 0.1 ms are above or below what the bins are computed as.
    dt, n_steps = 1e-4, 997 * 3
    step = np.arange(n_steps)
    spikes = TrialSpikes(0 * step, 0 * step, step * dt, 1, 1, 1, n_steps * dt, dt)
    for width in (1, 3, 997):
        binned = spikes.binned(width * dt)
        assert binned.shape == (1, 1, n_steps // width, 1)
        assert (binned == width).all()
    assert spikes.counts((300 * dt, 700 * dt)) == 400
    part = spikes.of_neurons([0])
    np.testing.assert_array_equal(part.t, spikes.t)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda r: physiology.counts(r, "conv9"), "there are input, conv1, ip1"),
        (lambda r: physiology.counts(r), "unknown layer None"),
        (lambda r: physiology.counts(r, "conv1", (0, 0.01)), "not recorded for image"),
        (lambda r: physiology.counts(r, "ip1", (0.01, 0.01)), "two times in order"),
        (lambda r: physiology.counts(r, "ip1", (0, 0.03)), "from 0 to 0.02 s"),
        (lambda r: physiology.counts(r, "ip1", (0, 3 * mV)), "expected a time"),
        (lambda r: physiology.counts(r, "ip1", 3), "expected .start, end."),
        (lambda r: psth(r, "ip1", bin=3 * ms), "a whole number makes 0.02 s"),
        (lambda r: psth(r, "ip1", bin=0.4 * ms), "a multiple of the time step"),
        (lambda r: psth(r, "ip1", bin=0), "a whole number makes"),
        (lambda r: psth(np.ones((2, 2, 2)), bin=1), "counts have no times"),
        (lambda r: physiology.counts(np.ones((2, 2))), "n_stimuli, n_repeats"),
        (lambda r: physiology.counts(-np.ones((2, 2, 2))), "at least 0"),
        (lambda r: physiology.counts(np.ones((2, 2, 2)), None, (0, 1)), "no times"),
        (lambda r: TrialSpikes([0], [0], [0.2], 1, 1, 1, 0.1), "t goes from 0.2"),
        (lambda r: TrialSpikes([3], [0], [0.0], 1, 2, 1, 0.1), "trial goes from 3"),
        (
            lambda r: TrialSpikes([0], [0, 1], [0.0], 1, 2, 1, 0.1),
            r"neuron: found the shape \(2,\), expected \(1\)",
        ),
        (
            lambda r: TrialSpikes([0], [0], [0.0], 1, 1, 2, 0.1).of_neurons([0, 0]),
            "expected different whole numbers",
        ),
        (lambda r: latency(r, "ip1", method="median"), "'first-spike' or"),
        (lambda r: latency(r, "ip1", method="likelihood", alpha=2), "alpha is 2"),
        (lambda r: physiology.fano_factor(r, "ip1"), "at least 2 repeats"),
        (lambda r: physiology.noise_correlation(r, "ip1"), "at least 2 repeats"),
        (lambda r: physiology.signal_correlation(np.ones((2, 1, 2))), "3 stimuli"),
        (
            lambda r: physiology.signal_correlation(np.ones((3, 1, 10_001))),
            "0.8 GB, expected at most 10000",
        ),
        (lambda r: physiology.tuning(r, [0, 90], "ip1"), r"expected \(3\)"),
        (lambda r: physiology.tuning(r, [0, 45, 90], "ip1"), "evenly spaced over 180"),
        (lambda r: physiology.tuning(r, [0, 1, 2], "ip1", period=90), "180, 360 or"),
        (lambda r: physiology.sparseness(r, "ip1", over="time"), "over='time'"),
        (lambda r: physiology.sparseness(r, "ip1", measure="x"), "measure='x'"),
        (lambda r: physiology.sparseness(np.ones((2, 1, 1))), "at least 2 of them"),
        (lambda r: physiology.rdm(r, "ip1", metric="x"), "metric='x'"),
        (lambda r: physiology.rdm(np.ones((2, 5))), "at least 3 stimuli"),
        (lambda r: physiology.rdm(np.ones(5)), "n_stimuli, n_repeats"),
        (lambda r: physiology.compare(np.ones((4, 4)), np.ones((5, 5))), r"\(4, 4\)"),
        (
            lambda r: physiology.compare(np.ones((4, 4)), np.ones((4, 4)), method="x"),
            "method='x'",
        ),
        (lambda r: physiology.decoding(r, [0, 1], "ip1"), "each of 3 stimuli"),
        (lambda r: physiology.decoding(r, [0, 0, 0], "ip1"), "at least 2 classes"),
        (lambda r: physiology.decoding(r, [0, 1, 1], "ip1"), "a class has 1 stimuli"),
        (
            lambda r: physiology.decoding(r, [0, 1, 1], "ip1", across="repeats"),
            "at least 2 repeats",
        ),
        (
            lambda r: physiology.decoding(r, [0, 1, 1], "ip1", folds=1),
            "folds is 1, .* 2",
        ),
        (lambda r: decide(r, 0), "bound is 0"),
        (lambda r: decide(r, True), "bound is True"),
        (lambda r: decide(r, 1, rule="lead"), "rule='lead'"),
        (
            lambda r: decide(TrialSpikes([], [], [], 1, 1, 2, 1.0), 1, rule="margin"),
            "no time step",
        ),
        (lambda r: decide(r, 1).accuracy([0, 1]), "3 stimuli, labels"),
        (
            lambda r: physiology.receptive_field(
                r, np.ones((3, 2)), "ip1", neurons=[-1]
            ),
            "numbers from 0 to 2",
        ),
        (
            lambda r: physiology.receptive_field(r, np.ones((4, 2)), "ip1"),
            r"shape \(4, 2\), expected \(3, ...\)",
        ),
        (
            lambda r: physiology.receptive_field(r, np.ones((3, 2)), "ip1", lags=(1,)),
            "leave at least 3 frames",
        ),
        (
            lambda r: physiology.receptive_field(
                r, np.ones((3, 2)), "ip1", n_permutations=0
            ),
            "n_permutations is 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(random_result, call, said):
    with pytest.raises(InputError, match=said):
        call(random_result)


# Rates over time.


def test_psth_of_an_inhomogeneous_poisson_process():
    t = np.arange(120) * DT
    rate = np.stack([60 + 50 * np.sin(2 * np.pi * t / 0.06), np.full(120, 20.0)])
    n = 400
    found = psth(generated(rate[None], n), bin=4 * ms)
    assert found.rate_hz.shape == (1, 2, 30)
    p = rate.reshape(2, 30, 4) * DT
    expected = p.mean(2) / DT
    error = np.sqrt((p * (1 - p)).sum(2) / n) / (4 * DT)
    assert (np.abs(found.rate_hz[0] - expected) < 5 * error).all()
    # A variance of so few spikes has itself an error.
    relative = np.abs(found.sem_hz[0] / error - 1)
    assert (relative < 5 / np.sqrt(2 * n * p.sum(2))).all()
    np.testing.assert_allclose(found.t_s, 0.002 + 0.004 * np.arange(30))


def test_psth_is_a_mean_over_repeats():
    spikes = generated(np.full((2, 3, 12), 300.0), 4, seed=1)
    found = psth(spikes, bin=3 * ms, window=(3 * ms, 12 * ms))
    binned = spikes.binned(3 * ms, (3 * ms, 12 * ms))
    expected = np.moveaxis(binned, 2, 3)
    np.testing.assert_allclose(found.rate_hz, expected.mean(1) / 3e-3)
    error = expected.std(1, ddof=1) / 2 / 3e-3
    np.testing.assert_allclose(found.sem_hz, error, atol=1e-9)
    table = found.frame()
    one = table[(table.stimulus == 1) & (table.neuron == 2)]
    np.testing.assert_allclose(one.rate_hz, found.rate_hz[1, 2])
    assert np.isnan(psth(generated(np.ones((1, 1, 2)), 1), bin=DT).sem_hz).all()


def test_short_cuts_of_a_result(random_result):
    found = random_result.psth("ip1", bin=2 * ms)
    assert found.shape == (3, 10, 3)
    total = found.sum(1) * 2e-3
    np.testing.assert_allclose(total[[0, 2]], random_result.spike_counts["ip1"][[0, 2]])
    # Of 20 ms, bins of 3 ms leave 2 ms.
    uneven = random_result.psth("ip1", bin=3 * ms)
    assert uneven.shape == (3, 7, 3)
    total = (uneven * np.array([3] * 6 + [2])[:, None]).sum(1) * 1e-3
    np.testing.assert_allclose(total[[0, 2]], random_result.spike_counts["ip1"][[0, 2]])
    rows = replace_rows(random_result, [2, 0])
    total = rows.psth("conv1", bin=20 * ms)[:, 0] * 20e-3
    np.testing.assert_allclose(total, rows.spike_counts["conv1"])
    first = random_result.first_spike("ip1")
    assert first.shape == (3, 3)
    for row in range(3):
        neuron, step = random_result.recorded["ip1", row]
        for unit in range(3):
            steps = step[neuron == unit]
            expected = steps.min() * 1e-3 if len(steps) else math.nan
            np.testing.assert_allclose(first[row, unit], expected)


def test_a_last_bin_that_is_shorter_is_exported(random_result):
    pytest.importorskip("xarray")
    rows = replace_rows(random_result, [2, 0])
    data = rows.to_xarray(bin=7 * ms)
    np.testing.assert_allclose(data["time"], [0, 7e-3, 14e-3])
    np.testing.assert_array_equal(
        data["conv1_over_time"].sum("time"), rows.spike_counts["conv1"]
    )


@pytest.mark.parametrize("width", [1, 5])
def test_elephant_agrees(width):
    statistics = pytest.importorskip("elephant.statistics")
    neo = pytest.importorskip("neo")
    pq = pytest.importorskip("quantities")
    spikes = generated(np.full((1, 1, 40), 200.0), 6, seed=2)
    trains = [
        # Elephant, too, puts a spike at an edge into either bin by its last digit.
        neo.SpikeTrain(
            1e3 * spikes.t[spikes.trial == k] + 0.5, units=pq.ms, t_stop=40 * pq.ms
        )
        for k in range(6)
    ]
    histogram = statistics.time_histogram(trains, width * pq.ms, output="mean")
    found = psth(spikes, bin=width * ms)
    expected = histogram.magnitude.ravel() / (1e-3 * width)
    np.testing.assert_allclose(found.rate_hz[0, 0], expected)
    # Elephant's variance divides by n.
    fano = physiology.fano_factor(spikes)[0, 0]
    np.testing.assert_allclose(fano * 5 / 6, statistics.fanofactor(trains))


# Latency.


def test_first_spike_in_a_window():
    spikes = TrialSpikes(
        [0, 0, 1, 1], [0, 0, 0, 1], [0.002, 0.006, 0.007, 0.001], 1, 2, 3, 0.01, DT
    )
    first = physiology.first_spike(spikes)
    np.testing.assert_allclose(
        first, [[[0.002, np.nan, np.nan], [0.007, 0.001, np.nan]]]
    )
    later = physiology.first_spike(spikes, window=(3 * ms, 10 * ms))
    np.testing.assert_allclose(later[..., 0], [[0.003, 0.004]])
    found = latency(spikes)
    np.testing.assert_allclose(found.latency_s, [[0.0045, 0.001, np.nan]])
    np.testing.assert_allclose(found.share, [[1, 0.5, 0]])
    assert list(found.frame().neuron) == [0, 1, 2]


def test_latency_by_likelihood_finds_the_step_of_the_rate():
    onsets = np.array([20, 45, 61])
    rate = np.where(np.arange(100) >= onsets[:, None], 90.0, 8.0)
    spikes = generated(rate[None], 60, seed=3)
    found = latency(spikes, method="likelihood")
    np.testing.assert_allclose(found.latency_s[0], onsets * DT, atol=2.1e-3)
    assert (found.p_value < 1e-6).all()
    # First spikes are too early: these neurons are active before.
    share = np.mean(physiology.first_spike(spikes)[0] < onsets * DT, axis=0)
    np.testing.assert_allclose(share, 1 - (1 - 8 * DT) ** onsets, atol=0.3)
    # The same by all Poisson likelihoods, one by one.
    counts = spikes.binned(DT)[0].sum(0)
    for neuron, count in enumerate(counts.T):
        best = max(
            range(1, 100),
            key=lambda m, k=count: (
                stats.poisson.logpmf(k[:m], k[:m].mean()).sum()
                + stats.poisson.logpmf(k[m:], k[m:].mean()).sum()
            ),
        )
        assert found.latency_s[0, neuron] == pytest.approx(best * DT)


def test_constant_and_falling_rates_have_no_latency():
    constant = generated(np.full((1, 400, 50), 40.0), 20, seed=4)
    share = np.isfinite(latency(constant, method="likelihood").latency_s).mean()
    assert share < 0.05
    falling = np.where(np.arange(50) < 20, 200.0, 10.0)
    found = latency(generated(falling[None, None], 20), method="likelihood")
    assert np.isnan(found.latency_s).all()
    assert (found.p_value > 0.05).all()


# Tuning.


def test_tuning_of_a_cosine():
    angles = np.arange(8) * 22.5
    place, depth = 67.5, 0.6
    curve = 10 * (1 + depth * np.cos(2 * np.deg2rad(angles - place)))
    counts = np.stack([curve, np.full(8, 3.0), np.zeros(8)], 1)[:, None]
    found = physiology.tuning(counts, angles)
    assert found.preferred[0] == pytest.approx(place)
    assert np.isnan(found.preferred[1:]).all()
    np.testing.assert_allclose(found.osi, [depth, 0, np.nan], atol=1e-12)
    np.testing.assert_allclose(
        found.circular_variance, [1 - depth / 2, 1, np.nan], atol=1e-12
    )
    assert np.isnan(found.dsi).all()
    assert list(found.frame().columns)[:3] == ["neuron", "preferred", "osi"]


def test_tuning_of_a_von_mises_curve():
    from scipy.special import i0, i1

    angles = np.arange(36) * 10.0
    kappa, place = 1.5, 130.0
    curve = np.exp(kappa * np.cos(np.deg2rad(angles - place)))
    found = physiology.tuning(curve[:, None, None], angles, period=360)
    # Half a turn away the exponent has the other sign.
    assert found.dsi[0] == pytest.approx(np.tanh(kappa))
    assert found.preferred[0] == pytest.approx(place)
    both = np.exp(kappa * np.cos(2 * np.deg2rad(angles - place)))
    found = physiology.tuning(both[:, None, None], angles, period=360)
    assert found.circular_variance[0] == pytest.approx(1 - i1(kappa) / i0(kappa))
    assert found.osi[0] == pytest.approx(np.tanh(kappa))
    assert found.dsi[0] == pytest.approx(0)


@pytest.mark.parametrize("n", [5, 6])
def test_between_angles_the_curve_is_interpolated(n):
    angles = np.arange(n) * 180 / n
    curve = np.random.default_rng(n).random(n)
    found = physiology.tuning(curve[:, None, None], angles)
    around = np.concatenate([angles, angles + 180])
    peak = curve.argmax()
    orth = np.interp(angles[peak] + 90, around, np.tile(curve, 2))
    expected = (curve[peak] - orth) / (curve[peak] + orth)
    assert found.osi[0] == pytest.approx(expected)


@given(
    st.integers(3, 12),
    st.sampled_from([180, 360]),
    st.sampled_from([1, 1 / 3, 1e-4, 0.1 + 0.2]),
    st.data(),
)
def test_indices_are_from_0_to_1_and_angles_below_the_period(n, period, scale, data):
    # Small whole numbers, so that many values are equal; the scale makes them round.
    drawn = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    curve = scale * np.array(data.draw(drawn), float)
    angles = np.arange(n) * period / n
    found = physiology.tuning(curve[:, None, None], angles, period=period)
    for index in (found.osi, found.dsi, found.circular_variance):
        assert np.isnan(index[0]) or 0 <= index[0] <= 1 + 1e-12
    assert np.isnan(found.preferred[0]) or 0 <= found.preferred[0] < period
    # Angles that are given later or with full turns are the same angles.
    k = data.draw(st.integers(0, n - 1))
    turned = np.roll(angles, k) + 360 * data.draw(st.integers(-2, 2))
    again = physiology.tuning(np.roll(curve, k)[:, None, None], turned, period=period)
    for name in ("preferred", "osi", "dsi"):
        np.testing.assert_allclose(
            getattr(again, name), getattr(found, name), atol=1e-7, err_msg=name
        )


def test_the_preferred_angle_at_the_end_of_the_period_is_0():
    # With the vector sum in floating point, 0 came out as 360 and as 180.
    for n in range(4, 40):
        angles = np.arange(n) * 360 / n
        curve = np.exp(2 * np.cos(np.deg2rad(angles)))
        found = physiology.tuning(curve[:, None, None], angles, period=360)
        assert found.preferred[0] == pytest.approx(0, abs=1e-7)
        half = physiology.tuning(curve[:, None, None], angles / 2)
        assert half.preferred[0] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("scale", [1, 1 / 3, 0.1, 1e-5])
def test_of_equal_ones_the_first_is_preferred(scale):
    angles = np.arange(8) * 45.0
    both = scale * np.cos(np.deg2rad(angles - 67.5)) ** 2
    found = physiology.tuning(both[:, None, None], angles, period=360)
    assert found.preferred[0] == pytest.approx(67.5)
    assert found.dsi[0] == pytest.approx(0)
    # Means of equal numbers in another order.
    counts = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0, 0, 0]])[..., None] * scale
    assert physiology.tuning(counts, [1, 2, 3], period=None).preferred[0] == 1
    assert (
        physiology.tuning(counts[[1, 0, 2]], [1, 2, 3], period=None).preferred[0] == 1
    )


def test_selectivity_for_an_orientation_is_not_negative():
    # The strongest direction, 0, is not of the strongest orientation, 90.
    curve = np.array([10.0, 8, 0, 8])
    found = physiology.tuning(curve[:, None, None], [0, 90, 180, 270], period=360)
    assert found.osi[0] == pytest.approx((8 - 5) / (8 + 5))
    assert found.dsi[0] == 1


def gabor(size, orientation, frequency, phase=0.0):
    """A Gabor whose stripes have this orientation, in degrees from the x axis."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    across = x * np.sin(np.deg2rad(orientation)) + y * np.cos(np.deg2rad(orientation))
    envelope = np.exp(-(x**2 + y**2) / (2 * (size / 6) ** 2))
    return envelope * np.cos(2 * np.pi * frequency * across + phase)


def grating(size, orientation, frequency, phase):
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    across = x * np.sin(np.deg2rad(orientation)) + y * np.cos(np.deg2rad(orientation))
    return np.cos(2 * np.pi * frequency * across + phase)


def test_tuning_of_a_gabor_unit():
    angles = np.repeat(np.arange(0, 180, 15), 8)
    phases = np.tile(np.arange(8) * np.pi / 4, 12)
    units = [gabor(15, place, 0.15) for place in (30, 105)]
    pairs = zip(angles, phases, strict=True)
    images = [grating(15, angle, 0.15, phase) for angle, phase in pairs]
    drive = np.maximum(np.tensordot(images, units, ([1, 2], [1, 2])), 0)
    found = physiology.tuning(drive[:, None], angles)
    np.testing.assert_allclose(found.preferred, [30, 105], atol=1)
    assert (found.osi > 0.95).all()
    assert found.mean.shape == (12, 2)


def test_tuning_to_what_is_no_angle():
    counts = np.array([[1, 3], [5, 5], [2, 4], [6, 6]], float)[..., None]
    found = physiology.tuning(counts, [0.5, 1, 0.5, 1], period=None)
    np.testing.assert_allclose(found.values, [0.5, 1])
    np.testing.assert_allclose(found.mean[:, 0], [2.5, 5.5])
    expected = [np.std([1, 3, 2, 4], ddof=1) / 2, np.std([5, 5, 6, 6], ddof=1) / 2]
    np.testing.assert_allclose(found.sem[:, 0], expected)
    assert found.preferred[0] == 1
    assert np.isnan([found.osi[0], found.dsi[0], found.circular_variance[0]]).all()


# Variability.


def test_fano_factor_of_known_processes():
    rng = np.random.default_rng(5)
    n = 4000
    counts = np.stack(
        [rng.poisson(12, n), rng.binomial(50, 0.4, n), np.full(n, 7), np.zeros(n)], 1
    )
    found = physiology.fano_factor(counts[None])[0]
    # The standard error of a variance of n nearly normal numbers is sqrt(2 / n).
    error = 5 * math.sqrt(2 / n)
    np.testing.assert_allclose(found[:2], [1, 0.6], atol=error)
    assert found[2] == 0
    assert np.isnan(found[3])


def test_noise_correlation_of_a_shared_rate():
    # Poisson counts at a rate that all share, with variance s2 of the shared factor:
    # covariance l1 l2 s2, variance l + l^2 s2.
    rng = np.random.default_rng(6)
    s2, n = 0.2, 3000
    rates = np.array([[5.0, 20, 20], [20, 5, 20], [10, 10, 20]])
    factor = rng.gamma(1 / s2, s2, size=(3, n, 1))
    counts = rng.poisson(rates[:, None] * factor * [1, 1, 0] + [0, 0, 20])
    found = physiology.noise_correlation(counts)
    l1, l2 = rates[:, 0], rates[:, 1]
    expected = np.sqrt(l1 * l2) * s2 / np.sqrt((1 + l1 * s2) * (1 + l2 * s2))
    error = 5 / math.sqrt(3 * n)
    assert found[0, 1] == pytest.approx(expected.mean(), abs=error)
    assert abs(found[0, 2]) < error
    np.testing.assert_allclose(np.diag(found), 1)
    # Means over many repeats leave the signal: the first two are opposite.
    signal = physiology.signal_correlation(counts)
    assert signal[0, 1] == pytest.approx(np.corrcoef(l1, l2)[0, 1], abs=0.05)


def test_what_does_not_vary_has_no_correlation():
    counts = np.random.default_rng(7).poisson(5, (4, 5, 3)).astype(float)
    counts[..., 1] = 0.1
    for measure in (physiology.noise_correlation, physiology.signal_correlation):
        found = measure(counts)
        assert np.isnan(found[1]).all()
        assert np.isnan(found[:, 1]).all()
        assert np.isfinite(found[0, 2])
    means = counts[..., [0, 2]].mean(1)
    expected = np.corrcoef(means.T)[0, 1]
    assert physiology.signal_correlation(counts)[0, 2] == pytest.approx(expected)


# Sparseness.


def test_sparseness_of_known_responses():
    n = 1000
    one = np.zeros(n)
    one[3] = 5
    exponential = stats.expon.ppf((np.arange(n) + 0.5) / n)
    counts = np.stack([np.full(n, 2.0), one, exponential, np.zeros(n)])[:, None]
    rolls = physiology.sparseness(counts, measure="treves-rolls")
    # Mean squared over mean square of an exponential distribution is 1/2.
    np.testing.assert_allclose(rolls[:3], [1, 1 / n, 0.5], rtol=0.01)
    gallant = physiology.sparseness(counts)
    np.testing.assert_allclose(gallant[:3], [0, 1, 0.5], atol=0.01)
    assert np.isnan([rolls[3], gallant[3]]).all()
    lifetime = physiology.sparseness(np.swapaxes(counts, 0, 2), over="stimuli")
    np.testing.assert_allclose(lifetime, gallant)


# Choices.


def test_a_race_takes_the_first_to_reach_the_bound():
    spikes = TrialSpikes(
        [0, 0, 0, 1, 1, 2],
        [0, 1, 1, 1, 0, 1],
        [0.001, 0.002, 0.004, 0.003, 0.003, 0.009],
        3,
        1,
        2,
        0.01,
        DT,
    )
    found = decide(spikes, 1)
    np.testing.assert_allclose(found.reaction_time_s[:, 0], [0.002, 0.004, 0.01])
    np.testing.assert_array_equal(found.choice[:, 0], [0, 0, 1])
    two = decide(spikes, 2)
    np.testing.assert_array_equal(two.decided[:, 0], [True, False, False])
    np.testing.assert_allclose(two.reaction_time_s[:, 0], [0.005, 0.01, 0.01])
    np.testing.assert_array_equal(two.choice[:, 0], [1, 0, 1])
    assert two.accuracy([1, 1, 1]) == pytest.approx(2 / 3)
    assert list(two.frame([1, 1, 1]).correct) == [True, False, True]
    assert "correct" not in two.frame()


def test_reaction_times_of_a_race_are_negative_binomial():
    p, bound, n = 0.2, 5, 4000
    rate = np.array([[p / DT, 0.0]])[..., None] * np.ones(200)
    found = decide(generated(rate, n, seed=8), bound)
    assert found.decided.all()
    steps = found.reaction_time_s / DT
    error = math.sqrt(bound * (1 - p)) / p / math.sqrt(n)
    assert steps.mean() == pytest.approx(bound / p, abs=5 * error)


def test_choices_by_a_margin_are_a_random_walk():
    p, q, bound, n = 0.3, 0.2, 3, 4000
    rate = np.array([[p, q]])[..., None] / DT * np.ones(600)
    found = decide(generated(rate, n, seed=9), bound, rule="margin")
    assert found.decided.all()
    # The gambler's ruin, with steps up and down that are not the other's too.
    up, down = p * (1 - q), q * (1 - p)
    expected = 1 / (1 + (down / up) ** bound)
    error = math.sqrt(expected * (1 - expected) / n)
    assert found.accuracy([0]) == pytest.approx(expected, abs=5 * error)


@pytest.mark.parametrize("bound", [1, 3, 50])
def test_a_margin_is_that_of_the_result(random_result, bound):
    repeats = replace(random_result, trials=Trials(3, (20,), ("a",)))
    found = decide(repeats, bound, rule="margin")
    expected = random_result.decide(bound)
    np.testing.assert_array_equal(found.choice[0], expected.predictions)
    np.testing.assert_array_equal(found.decided[0], expected.decided)
    np.testing.assert_allclose(found.reaction_time_s[0], expected.steps * 1e-3)
