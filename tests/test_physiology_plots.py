"""What plots of measures draw: positions, labels, numbers."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnn2snn_brian import InputError, physiology, plots
from cnn2snn_brian.physiology import TrialSpikes


@pytest.fixture(autouse=True)
def without_windows():
    backend = mpl.get_backend()
    mpl.use("Agg")
    yield
    plt.close("all")
    mpl.use(backend)


@pytest.fixture
def ax():
    return plt.figure(layout="constrained").add_subplot()


@pytest.fixture
def spikes():
    rng = np.random.default_rng(0)
    drawn = rng.random((2, 5, 3, 40)) < 0.2
    drawn[:, :, 2] = False  # a silent neuron
    stimulus, repeat, neuron, step = np.nonzero(drawn)
    return TrialSpikes(5 * stimulus + repeat, neuron, step * 1e-3, 2, 5, 3, 0.04, 1e-3)


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_psth(ax, spikes):
    found = physiology.psth(spikes, bin=0.005)
    assert plots.plot_psth(found, ax) is ax
    np.testing.assert_allclose(
        [patch.get_data().values for patch in ax.patches], found.rate_hz.mean(1)
    )
    np.testing.assert_allclose(ax.patches[0].get_data().edges, np.arange(0, 41, 5))
    assert texts(ax) == ["stimulus 0", "stimulus 1"]
    other = plt.figure().add_subplot()
    plots.plot_psth(found, other, stimuli=[1], neurons=iter([0, 1]))
    np.testing.assert_allclose(
        [patch.get_data().values for patch in other.patches], found.rate_hz[1, :2]
    )
    assert len(other.collections) == 2  # bands
    with pytest.raises(InputError, match="0 to 2"):
        plots.plot_psth(found, other, neurons=[3])
    with pytest.raises(InputError, match="0 to 1"):
        plots.plot_psth(found, other, stimuli=[2])


def test_latency(ax, spikes):
    found = physiology.latency(spikes)
    plots.plot_latency({"conv1": found}, ax)
    x, y = ax.get_lines()[0].get_data()
    np.testing.assert_allclose(x[1:], 1e3 * np.sort(found.latency_s[:, :2].ravel()))
    assert y[-1] == pytest.approx(4 / 6)
    assert texts(ax) == ["conv1"]
    plots.plot_latency(found, plt.figure().add_subplot())


def test_tuning(ax):
    angles = np.arange(6) * 30.0
    counts = 2 + np.cos(2 * np.deg2rad(angles - 60))[:, None, None]
    found = physiology.tuning(np.repeat(counts, 3, 1), angles)
    plots.plot_tuning(found, ax, neurons=[0])
    line, *_ = ax.get_lines()
    np.testing.assert_allclose(line.get_xdata(), np.arange(7) * 30)
    np.testing.assert_allclose(line.get_ydata(), [*counts[:, 0, 0], counts[0, 0, 0]])
    assert ax.get_lines()[-1].get_xdata()[0] == pytest.approx(60)
    assert ax.get_xlabel() == "orientation (degrees)"
    linear = physiology.tuning(counts, angles, period=None)
    other = plots.plot_tuning(linear, plt.figure().add_subplot())
    assert len(other.get_lines()[0].get_xdata()) == 6
    with pytest.raises(InputError, match="some of 0 to 0"):
        plots.plot_tuning(found, ax, neurons=[])


def test_fano_factor(ax, spikes):
    plots.plot_fano_factor(spikes, ax=ax, label="all")
    counts = spikes.counts()[..., :2]
    expected = np.column_stack([counts.mean(1).ravel(), counts.var(1, ddof=1).ravel()])
    np.testing.assert_allclose(ax.collections[0].get_offsets(), expected)
    mean = (expected[:, 1] / expected[:, 0]).mean()
    assert texts(ax) == [f"all: mean Fano factor {mean:.2f}", "Fano factor 1"]
    other = plt.figure().add_subplot()
    plots.plot_fano_factor(spikes, ax=other, n_steps=40)
    x, y = other.get_lines()[-1].get_data()
    np.testing.assert_allclose(y, 40 * (x / 40) * (1 - x / 40))
    with pytest.raises(InputError, match="2 repeats"):
        plots.plot_fano_factor(np.ones((2, 1, 2)), ax=ax)


def test_correlations(ax):
    signal = np.array([[1, 0.5, np.nan], [0.5, 1, np.nan], [np.nan, np.nan, np.nan]])
    noise = np.array([[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]])
    plots.plot_correlations(signal, noise, ax)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.5, 0.1]])
    assert ax.get_title() == "1 pairs: means 0.50 and 0.10"
    with pytest.raises(InputError, match="noise: found the shape"):
        plots.plot_correlations(signal, noise[:2], ax)


def test_sparseness(ax):
    values = {"conv1": np.array([0.12, 0.13, 0.91, np.nan]), "ip1": np.array([0.5])}
    plots.plot_sparseness(values, ax, bins=10)
    assert texts(ax) == ["conv1: median 0.13", "ip1: median 0.50"]
    heights = ax.patches[0].get_xy()[:, 1]
    assert heights.max() == pytest.approx(2 / 3)


def test_receptive_field(ax):
    rng = np.random.default_rng(1)
    stimuli = rng.random((200, 2, 4, 5))
    counts = rng.poisson(20 * stimuli[:, 0, 1, 2])[:, None, None]
    found = physiology.receptive_field(counts, stimuli, n_permutations=50)
    plots.plot_receptive_field(found, 0, ax)
    np.testing.assert_allclose(ax.images[0].get_array(), found.sta[0, 0].mean(0))
    (outline,) = ax.collections
    corners = np.concatenate([path.vertices for path in outline.get_paths()])
    # Around the pixel in row 1 and column 2.
    np.testing.assert_allclose(corners.min(0), [1.5, 0.5], atol=0.1)
    np.testing.assert_allclose(corners.max(0), [2.5, 1.5], atol=0.1)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 4.5), (3.5, -0.5))
    other = plt.figure().add_subplot()
    plots.plot_receptive_field(found, 0, other, channel=1, title="darker")
    np.testing.assert_allclose(other.images[0].get_array(), found.sta[0, 0, 1])
    assert other.get_title() == "darker"
    for wrong in ({"neuron": 1}, {"lag": 2}, {"channel": 2}):
        with pytest.raises(InputError, match="neuron is 1|lag '2'|channel is 2"):
            plots.plot_receptive_field(found, ax=other, **wrong)


def test_rdm(ax):
    found = physiology.rdm(np.random.default_rng(2).random((5, 8)))
    plots.plot_rdm(found, ax, labels=["a", "a", "b", "b", "b"])
    np.testing.assert_allclose(ax.images[0].get_array(), found.values)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    np.testing.assert_allclose(ax.get_xticks(), [0.5, 3])
    assert len(ax.get_lines()) == 2
    plots.plot_rdm(found, plt.figure().add_subplot())
    with pytest.raises(InputError, match=r"shape \(1,\), expected \(5\)"):
        plots.plot_rdm(found, ax, labels=[1])


def test_comparisons(ax):
    one = physiology.Comparison(0.4, 0.3, 0.6, 0.01, "spearman", 9)
    two = physiology.Comparison(0.1, -0.1, 0.2, 0.3, "spearman", 9)
    plots.plot_comparisons({"CNN": one, "pixels": two}, ax)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [0.4, 0.1])
    bars = [segment[:, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(bars, [[0.3, 0.6], [-0.1, 0.2]])
    other = plt.figure().add_subplot()
    plots.plot_comparisons({0.01: one, 0.02: two}, other, label="conv1")
    np.testing.assert_allclose(other.get_lines()[0].get_xdata(), [10, 20])
    assert texts(other) == ["conv1"]


def test_decoding(ax):
    found = physiology.Decoding(
        np.array([[0.2, 0.4], [0.8, 1.0]]), np.array([0.01, 0.02]), 0.1, 40
    )
    plots.plot_decoding(found, ax, label="conv1")
    line = ax.get_lines()[0]
    np.testing.assert_allclose(line.get_data(), [[10, 20], [30, 90]])
    assert texts(ax) == ["conv1", "chance"]
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), 10)


def test_choices(ax, random_result):
    labels = [0, 1, 2]
    found = physiology.decide(random_result, 2)
    plots.plot_reaction_times(found, labels, ax)
    assert ax.get_title() == f"race, bound 2: {(~found.decided).sum()} undecided"
    right = found.decided & (found.choice == np.array(labels)[:, None])
    assert texts(ax)[0].startswith(f"right: {right.sum()}")
    other = plt.figure().add_subplot()
    plots.plot_reaction_times(found, ax=other)
    curve = plt.figure().add_subplot()
    plots.plot_speed_accuracy(random_result, labels, curve, bounds=[1, 3])
    x, y = curve.get_lines()[0].get_data()
    expected = [physiology.decide(random_result, bound) for bound in (1, 3)]
    np.testing.assert_allclose(
        x, [1e3 * each.reaction_time_s.mean() for each in expected]
    )
    np.testing.assert_allclose(y, [100 * each.accuracy(labels) for each in expected])
