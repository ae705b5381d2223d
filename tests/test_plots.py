"""What plots draw: points, heights, colours and numbers, on results made by hand."""

import tracemalloc
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnn2snn_brian import InputError, Layers, SimulationResult, plots
from cnn2snn_brian.plots.maps import mosaic
from cnn2snn_brian.plots.style import COLOURS, GREY
from cnn2snn_brian.projections import Conv2d, Linear, to_neurons
from cnn2snn_brian.results import SpikeCounts, Trials
from cnn2snn_brian.settings.parameters import Parameters

N_STEPS, DT = 20, 2e-3
SHAPES = {"input": (2, 1, 3), "conv1": (2, 3, 2), "ip1": (3,)}
NAMES = ("conv1", "ip1")
THRESHOLDS = {"conv1": 1.5, "ip1": 2.0}
LABELS = np.array([0, 2, 1, 1])


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


def spikes():
    """Whether each neuron spikes, (n_images, n_steps, *shape), by layer."""
    rng = np.random.default_rng(3)
    found = {
        name: rng.random((4, N_STEPS, *shape)) < 0.4 for name, shape in SHAPES.items()
    }
    found["conv1"][:, :, 1, 0, 1] = False  # silent on all images
    found["conv1"][:, :, 0, 2, 0] = True  # saturated on all of them
    return found


SPIKES = spikes()
RNG = np.random.default_rng(4)
#: (channel, y, x) = (1, 2, 0) and (0, 0, 1), as indices (y, x, channel).
TRACED = np.array([(2 * 2 + 0) * 2 + 1, (0 * 2 + 1) * 2 + 0])
V = RNG.random((N_STEPS, 2)).astype(np.float32)


def by_hand(shapes, counts, recorded, n_images=1):
    """A result with these counts, (n_images, n_neurons) by layer."""
    return SimulationResult(
        spike_counts=SpikeCounts(counts, shapes),
        output_potentials=np.zeros((n_images, int(np.prod(list(shapes.values())[-1])))),
        events={},
        duration_s=N_STEPS * DT,
        dt_s=DT,
        seed=0,
        parameters=Parameters.of(
            tuple(shapes), thresholds=1, v_min=0, leak=0, v_init=0
        ),
        perturbations=None,
        network={},
        program={},
        timings={},
        versions={},
        shapes=shapes,
        recorded=recorded,
    )


@pytest.fixture
def result():
    counts, recorded = {}, {}
    for name, shape in SHAPES.items():
        neurons = to_neurons(SPIKES[name], shape)
        counts[name] = neurons.sum(1).astype(np.uint8)
        for image in range(4):
            step, neuron = np.nonzero(neurons[image])
            recorded[name, image] = neuron, step
    return SimulationResult(
        spike_counts=SpikeCounts(counts, SHAPES),
        output_potentials=np.zeros((4, 3)),
        events={},
        duration_s=N_STEPS * DT,
        dt_s=DT,
        seed=0,
        parameters=Parameters.of(
            NAMES, thresholds=THRESHOLDS, v_min=-0.5, leak=0, v_init=0
        ),
        perturbations=None,
        network={},
        program={},
        timings={},
        versions={},
        shapes=SHAPES,
        recorded=recorded,
        recorded_potentials={("conv1", 2): (TRACED, V)},
    )


def rgb(colour):
    return mpl.colors.to_rgba(colour)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_raster_has_every_spike_in_its_row_and_colour(result, ax):
    assert plots.plot_raster(result, "conv1", 2, ax) is ax
    (points,) = ax.collections
    t, row = np.asarray(points.get_offsets()).T
    drawn = np.zeros((N_STEPS, *SHAPES["conv1"]), bool)
    channel, y, x = np.unravel_index(row.astype(int), SHAPES["conv1"])
    drawn[np.rint(t / (1e3 * DT)).astype(int), channel, y, x] = True
    np.testing.assert_array_equal(drawn, SPIKES["conv1"][2])
    expected = [rgb(COLOURS[c]) for c in channel]
    np.testing.assert_allclose(points.get_facecolors(), expected)
    assert ax.get_xlabel() == "time (ms)"
    # As far as the duration, and a little beyond both ends.
    np.testing.assert_allclose(ax.get_xlim(), (-1.2, 41.2))
    # Channels are named in the middle of their rows.
    assert ax.get_ylabel() == "channel"
    np.testing.assert_allclose(ax.get_yticks(), [2.5, 8.5])
    assert ax.get_title() == f"conv1, image 2: {SPIKES['conv1'][2].sum()} spikes"
    assert ax.get_legend().get_title().get_text() == "channel"
    assert legend(ax) == ["0", "1"]


@pytest.mark.parametrize("shape", [(1,), (3,), (2000,), (4, 3, 2), (16, 16, 8)])
@pytest.mark.parametrize("size", [(6.4, 4.8), (3, 2)])
def test_no_spike_of_a_raster_is_hidden_by_the_axes(shape, size):
    n = int(np.prod(shape))
    neuron = np.array([0, n - 1, 0, n - 1])
    step = np.array([0, 0, N_STEPS - 1, N_STEPS - 1])
    result = by_hand(
        {"ip1": shape}, {"ip1": np.ones((1, n), np.uint8)}, {("ip1", 0): (neuron, step)}
    )
    ax = plt.figure(figsize=size, layout="constrained").add_subplot()
    plots.plot_raster(result, "ip1", 0, ax, population_rate=True)
    ax.figure.canvas.draw()
    (points,) = ax.collections
    pixels = ax.transData.transform(np.asarray(points.get_offsets()))
    # A marker's area is in points, as is the width of the line around the axes. In
    # small axes, more than half of the marker has to do.
    radius = np.sqrt(points.get_sizes().max()) / 2 if size == (6.4, 4.8) else 0
    free = (radius + ax.spines["left"].get_linewidth() / 2) * ax.figure.dpi / 72
    box = ax.get_window_extent()
    assert (pixels - free >= [box.x0, box.y0]).all()
    assert (pixels + free <= [box.x1, box.y1]).all()
    if len(shape) == 1:
        ticks = ax.get_yticks()
        np.testing.assert_array_equal(ticks, np.rint(ticks))


def test_spikes_of_a_shorter_trial_end_with_it(result):
    shorter = replace(result, trials=Trials(1, (20, 20, 20, 15), tuple("abcd")))
    neuron, step = result.recorded["ip1", 3]
    shorter.recorded["ip1", 3] = neuron[step < 15], step[step < 15]
    for draw in (
        lambda ax: plots.plot_raster(shorter, "ip1", 3, ax),
        lambda ax: plots.plot_output_counts(shorter, 3, ax),
    ):
        ax = draw(plt.figure().add_subplot())
        assert ax.get_xlim()[1] == pytest.approx(30.9)
    counts = result.spike_counts.raw("ip1")
    highest = counts.sum(0) / (3 * 20 + 15) / DT
    ax = plots.plot_rates(shorter, "ip1", plt.figure().add_subplot(), bins=1000)
    others = ax.containers[0]
    drawn = [bar.get_x() for bar in others if bar.get_height() > 0]
    np.testing.assert_allclose(drawn, np.sort(highest), atol=0.5)


@pytest.mark.parametrize("n", [3, 8, 30])
def test_raster_says_which_units_have_which_colour(ax, n):
    counts = np.ones((1, n), np.uint8)
    neuron = np.arange(n)
    result = by_hand({"ip1": (n,)}, {"ip1": counts}, {("ip1", 0): (neuron, neuron % 5)})
    plots.plot_raster(result, "ip1", 0, ax)
    assert ax.get_legend().get_title().get_text() == "unit"
    (points,) = ax.collections
    drawn = {
        round(row): tuple(colour)
        for (_, row), colour in zip(
            points.get_offsets(), points.get_facecolors(), strict=True
        )
    }
    named = set()
    for line, text in zip(ax.get_legend().get_lines(), legend(ax), strict=True):
        units = [int(unit) for unit in text.removesuffix(", …").split(", ")]
        for unit in units:
            assert drawn[unit] == pytest.approx(rgb(line.get_color()))
        same = [u for u, c in drawn.items() if c == pytest.approx(drawn[units[0]])]
        assert len(same) == len(units) or (text.endswith("…") and len(units) == 3)
        named |= set(same)
    assert named == set(range(n))


@pytest.mark.parametrize("in_grid", [True, False])
def test_population_rate_is_the_mean_in_each_step(result, in_grid):
    figure = plt.figure()
    ax = figure.add_subplot() if in_grid else figure.add_axes((0.1, 0.1, 0.8, 0.8))
    plots.plot_raster(result, "conv1", 1, ax, population_rate=True)
    upper, below = figure.axes
    assert upper is ax
    heights, edges, _ = below.patches[0].get_data()
    rate = SPIKES["conv1"][1].reshape(N_STEPS, -1).mean(1) / DT
    np.testing.assert_allclose(heights, rate)
    np.testing.assert_allclose(edges, 2 * np.arange(N_STEPS + 1))
    assert below.get_ylabel() == "rate (Hz)"
    assert below.get_xlim() == ax.get_xlim()
    assert ax.get_position().y0 >= below.get_position().y1 > below.get_position().y0


def test_raster_uses_the_current_axes(result, ax):
    plt.sca(ax)
    assert plots.plot_raster(result, "ip1", 0) is ax
    assert ax.get_ylabel() == "neuron"
    with pytest.raises(InputError, match="not recorded"):
        plots.plot_raster(result, "pool7", 0, ax)


def test_membrane(result, ax):
    assert plots.plot_membrane(result, "conv1", 2, ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    assert legend(ax) == ["(1, 2, 0)", "(0, 0, 1)", "threshold", "floor"]
    for index, name in enumerate(("(1, 2, 0)", "(0, 0, 1)")):
        np.testing.assert_allclose(lines[name].get_xdata(), 2 * np.arange(1, 21))
        np.testing.assert_array_equal(lines[name].get_ydata(), V[:, index])
    assert set(lines["threshold"].get_ydata()) == {1.5}
    assert set(lines["floor"].get_ydata()) == {-0.5}
    marks = [line for line in ax.lines if line.get_label() == "_spikes"]
    for line, (c, y, x) in zip(marks, [(1, 2, 0), (0, 0, 1)], strict=True):
        its = np.flatnonzero(SPIKES["conv1"][2][:, c, y, x])
        np.testing.assert_allclose(line.get_xdata(), 2 * its)
    assert ax.get_ylabel() == "membrane potential v"
    with pytest.raises(InputError, match="recorded are conv1"):
        plots.plot_membrane(result, "ip1", 2, ax)


def test_output_counts_add_up(result, ax):
    plots.plot_output_counts(result, 1, ax, ["cat", "dog", "owl"])
    total = np.cumsum(SPIKES["ip1"][1], 0)
    for output, line in enumerate(ax.lines):
        np.testing.assert_array_equal(line.get_ydata(), [0, *total[:, output]])
    assert legend(ax) == ["cat", "dog", "owl"]
    named = replace(result, network={"classes": ["ape", "bee", "cow"]})
    plots.plot_output_counts(named, 1, ax.figure.add_subplot())
    assert legend(ax.figure.axes[-1]) == ["ape", "bee", "cow"]
    widths = [line.get_linewidth() for line in ax.lines]
    assert np.argmax(widths) == total[-1].argmax() == result.predictions[1]
    with pytest.raises(InputError, match="2 names for 3"):
        plots.plot_output_counts(result, 1, ax, ["cat", "dog"])
    with pytest.raises(InputError, match="not recorded for image 99"):
        plots.plot_output_counts(result, 99, ax)


@pytest.mark.parametrize("image", [None, 3])
def test_rates_mark_silent_and_saturated_neurons(result, ax, image):
    plots.plot_rates(result, "conv1", ax, image=image, bins=10)
    chosen = SPIKES["conv1"] if image is None else SPIKES["conv1"][[image]]
    rate = chosen.mean((0, 1)).ravel() / DT
    silent, saturated = (rate == 0).sum(), (rate > 0.9 / DT).sum()
    assert (silent, saturated) == (1, 1)
    bars = {}
    for patch in ax.patches:
        if patch.get_height():
            bars.setdefault(patch.get_facecolor(), []).append(patch)
    heights = {c: sum(p.get_height() for p in found) for c, found in bars.items()}
    assert heights == {rgb(COLOURS[0]): 10, rgb(COLOURS[3]): 1, rgb(GREY): 1}
    (grey,), (top,) = bars[rgb(GREY)], bars[rgb(COLOURS[3])]
    assert grey.get_x() + grey.get_width() < 0
    assert top.get_x() + top.get_width() == pytest.approx(1 / DT)
    found, edges = np.histogram(rate[(rate > 0) & (rate <= 0.9 / DT)], 10, (0, 1 / DT))
    for bar in bars[rgb(COLOURS[0])]:
        at = np.searchsorted(edges, bar.get_x() + 1e-6) - 1
        assert bar.get_height() == found[at]
    assert legend(ax) == ["others: 10", "saturated: 1 (8.3%)", "silent: 1 (8.3%)"]
    assert ax.get_xlabel() == "firing rate (Hz)"


def test_rates_refuse(result, ax):
    with pytest.raises(InputError, match="no layer 'conv7'"):
        plots.plot_rates(result, "conv7", ax)
    with pytest.raises(InputError, match="image is 4, expected 0 to 3"):
        plots.plot_rates(result, "conv1", ax, image=4)
    with pytest.raises(InputError, match="bins is 0"):
        plots.plot_rates(result, "conv1", ax, bins=0)


def test_mosaic_puts_channels_side_by_side():
    maps = np.arange(12).reshape(3, 2, 2)
    nan = np.nan
    expected = [
        [0, 1, nan, 4, 5],
        [2, 3, nan, 6, 7],
        [nan, nan, nan, nan, nan],
        [8, 9, nan, nan, nan],
        [10, 11, nan, nan, nan],
    ]
    np.testing.assert_array_equal(mosaic(maps), expected)


def test_feature_maps_and_their_correlation(result):
    counts = SPIKES["conv1"].sum(1)
    activations = np.random.default_rng(5).normal(size=counts.shape)
    left, right = plots.plot_feature_maps(result, {"conv1": activations}, "conv1", 3)
    rectified = np.maximum(activations[3], 0)
    for ax, maps in ((left, counts[3]), (right, rectified)):
        drawn = np.ma.filled(ax.images[0].get_array(), np.nan)
        np.testing.assert_allclose(drawn, mosaic(maps))
    r = np.corrcoef(counts[3].ravel(), rectified.ravel())[0, 1]
    assert left.get_title() == f"SNN, conv1 (r = {r:.3f})"
    labels = {other.get_ylabel() for other in left.figure.axes}
    assert {"spikes", "activation"} <= labels


def test_feature_maps_of_a_linear_layer_from_layers(result):
    images = np.random.default_rng(6).random((4, 2, 1, 3))
    weight = np.random.default_rng(7).normal(size=(3, 6))
    layers = Layers((2, 1, 3), (Linear("ip1", ("input",), (2, 1, 3), weight),))
    axes = plt.figure().subplots(2, 1)
    found = plots.plot_feature_maps(result, layers, "ip1", 2, axes, images=images)
    assert list(found) == list(axes)
    drive = np.maximum(weight @ images[2].ravel(), 0)
    drawn = np.ma.filled(axes[1].images[0].get_array(), np.nan).ravel()
    np.testing.assert_allclose(drawn[:3], drive)
    assert np.isnan(drawn[3])
    assert [text.get_text() for text in axes[0].texts] == ["0", "1", "2"]
    r = np.corrcoef(SPIKES["ip1"][2].sum(0), drive)[0, 1]
    assert axes[0].get_title() == f"SNN, ip1 (r = {r:.3f})"
    with pytest.raises(InputError, match="images is missing"):
        plots.plot_feature_maps(result, layers, "ip1", 2, axes)


def test_one_image_is_drawn_without_a_copy_of_all(ax):
    # Counts of 4 MB and images of 4 MB, of which one is drawn.
    shape, n_images = (4, 16, 16), 4000
    layer = Conv2d(
        "conv1", ("input",), (1, 32, 32), np.ones((4, 1, 2, 2)), stride=(2, 2)
    )
    layers = Layers((1, 32, 32), (layer,))
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (n_images, 1, 32, 32), dtype=np.uint8)
    counts = rng.integers(0, 20, (n_images, 1024), dtype=np.uint8)
    assert images.nbytes == counts.nbytes == 4_096_000
    result = by_hand({"conv1": shape}, {"conv1": counts}, {}, n_images)
    axes = ax.figure.subplots(1, 2)

    def draw():
        plots.plot_feature_maps(result, layers, "conv1", 3999, axes, images=images)
        plots.plot_rates(result, "conv1", ax, image=3)
        plots.plot_rates(result, "conv1", ax)

    draw()  # what matplotlib loads at the first time is not counted
    tracemalloc.start()
    draw()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
    with pytest.raises(InputError, match="image is 3999, there are 5 images"):
        plots.plot_feature_maps(result, layers, "conv1", 3999, axes, images=images[:5])


def test_feature_maps_refuse(result):
    same = {"conv1": np.zeros((4, 2, 3, 2)), "ip1": np.zeros((4, 2))}
    left, _ = plots.plot_feature_maps(result, same, "conv1", 0)
    assert "r undefined" in left.get_title()
    for layer, image, said in [
        ("conv7", 0, "no layer 'conv7'"),
        ("input", 0, "no activations of 'input'"),
        ("conv1", 4, "image is 4"),
        ("ip1", 0, r"activations \(2,\), counts \(3,\)"),
    ]:
        with pytest.raises(InputError, match=said):
            plots.plot_feature_maps(result, same, layer, image)


def test_accuracy_over_time(result, ax):
    plots.plot_accuracy_over_time(result, LABELS, ax, label="a", reference=0.875)
    plots.plot_accuracy_over_time(result, LABELS, ax, label="b")
    first, reference, second = ax.lines
    total = SPIKES["ip1"].cumsum(1)
    right = (total.argmax(2) == LABELS[:, None]) & (total.max(2) > 0)
    np.testing.assert_allclose(first.get_ydata(), 100 * right.mean(0))
    np.testing.assert_allclose(first.get_xdata(), 2 * np.arange(1, 21))
    assert set(reference.get_ydata()) == {87.5}
    assert (first.get_color(), second.get_color()) == COLOURS[:2]
    assert legend(ax) == ["a", "CNN: 87.5 %", "b"]
    assert ax.get_ylabel() == "accuracy (%)"
    with pytest.raises(InputError, match="4 images"):
        plots.plot_accuracy_over_time(result, [0, 1], ax)


def test_threshold_sweep_of_several_layers(ax):
    thresholds = {"conv1": [4.0, 1.0, 2.0], "ip1": [0.5, 1.0]}
    values = {"conv1": [0.4, 0.8, 0.6], "ip1": [np.nan, 0.3]}
    plots.plot_threshold_sweep(
        thresholds,
        values,
        ax,
        {"conv1": np.sqrt(2.0)},
        log=True,
        errors={"conv1": [0.1, 0.2, 0.3]},
        objective="accuracy (%)",
    )
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["conv1"].get_xdata(), [1, 2, 4])
    np.testing.assert_array_equal(lines["conv1"].get_ydata(), [0.8, 0.6, 0.4])
    np.testing.assert_array_equal(lines["ip1"].get_ydata(), [np.nan, 0.3])
    # Halfway between 1 and 2 on a logarithmic scale.
    best = lines["best: 1.414"]
    np.testing.assert_allclose([*best.get_xdata(), *best.get_ydata()], [2**0.5, 0.7])
    band = ax.collections[0].get_paths()[0].vertices
    for x, low, high in [(1, 0.6, 1.0), (2, 0.3, 0.9), (4, 0.3, 0.5)]:
        at = band[np.isclose(band[:, 0], x), 1]
        assert (at.min(), at.max()) == pytest.approx((low, high))
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("threshold", "accuracy (%)")


def test_threshold_sweep_of_one_layer(ax):
    plots.plot_threshold_sweep([1, 2, 3], [1, 3, 2], ax, 2)
    assert legend(ax) == ["best: 2"]
    assert ax.get_xscale() == "linear"
    for arguments, said in [
        (([1, 2], [1]), "two rows of numbers"),
        (([0, 2], [1, 2]), "above 0"),
        (({"conv1": [1]}, {"ip1": [1]}), "the same layers"),
        (([1], [1], ax, {"conv1": 1}), "the same layers"),
    ]:
        with pytest.raises(InputError, match=said):
            plots.plot_threshold_sweep(*arguments)


def test_confusion(ax):
    matrix = np.array([[8, 2, 0], [1, 1, 0], [0, 0, 0]])
    plots.plot_confusion(matrix, ax, classes=["cat", "dog", "owl"])
    share = [[80, 20, 0], [50, 50, 0], [0, 0, 0]]
    np.testing.assert_allclose(ax.images[0].get_array(), share)
    for text in ax.texts:
        column, row = text.get_position()
        assert text.get_text() == str(matrix[row, column])
    assert len(ax.texts) == 9
    assert [t.get_text() for t in ax.get_xticklabels()] == ["cat", "dog", "owl"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("answer", "true class")
    assert ax.get_title() == "75.0% of 12 correct"
    for wrong, said in [([[1, 2]], "square"), ([[-1]], "square")]:
        with pytest.raises(InputError, match=said):
            plots.plot_confusion(wrong, ax)
    with pytest.raises(InputError, match="1 names for 3"):
        plots.plot_confusion(matrix, ax, classes=["cat"])


def test_class_accuracies_are_grouped_bars(ax):
    accuracies = {"CNN": [0.9, 0.8], "SNN": [0.7, 1.0], "none": [0.0, np.nan]}
    plots.plot_class_accuracies(accuracies, ax, classes=["cat", "dog"])
    for index, (bars, row) in enumerate(
        zip(ax.containers, accuracies.values(), strict=True)
    ):
        heights = [bar.get_height() for bar in bars]
        np.testing.assert_allclose(heights, 100 * np.array(row))
        assert bars[0].get_facecolor() == rgb(COLOURS[index])
    # Bars of a class touch, in the order of the systems, around its tick.
    first = [bars[0] for bars in ax.containers]
    assert first[0].get_x() + first[0].get_width() == pytest.approx(first[1].get_x())
    assert first[1].get_x() + first[1].get_width() / 2 == pytest.approx(0)
    assert legend(ax)[:2] == ["CNN (mean 85.0 %)", "SNN (mean 85.0 %)"]
    for wrong, said in [
        ({}, "empty"),
        ({"a": [0.1], "b": [0.1, 0.2]}, "shapes"),
        ({"a": [90.0]}, "outside 0 to 1"),
    ]:
        with pytest.raises(InputError, match=said):
            plots.plot_class_accuracies(wrong, ax)
