"""Stimuli: what is shown when, what makers make, files, plots, bad input."""

import matplotlib as mpl
import numpy as np
import pytest
from brian2 import Hz, ms, second

from cnn2snn_brian import InputError, stimuli
from cnn2snn_brian.stimuli import Events, Movie, Sequence, SpikeTrains, Still

mpl.use("Agg")

SHAPE = (2, 7, 6)
IMAGES = np.random.default_rng(0).random((3, *SHAPE))


def test_what_is_shown_when():
    movie = Movie(IMAGES, 4 * ms)
    np.testing.assert_array_equal(movie.frame_of_step(2e-3, 99), [0, 0, 1, 1, 2, 2])
    assert movie.n_steps(2e-3) == 6
    assert movie.duration_s == pytest.approx(0.012)
    sequence = Sequence(IMAGES[:2], on=3 * ms, off=2 * ms, background=0.25)
    np.testing.assert_array_equal(
        sequence.frame_of_step(1e-3, 99), [0, 0, 0, 2, 2, 1, 1, 1, 2, 2]
    )
    assert sequence.frames.shape == (3, *SHAPE)
    assert (sequence.frames[2] == 0.25).all()
    for t, frame in ((0, 0), (2.9, 0), (3, 2), (5, 1), (9, 2), (50, 2)):
        np.testing.assert_array_equal(sequence.at(t * ms), sequence.frames[frame])
    without = Sequence(IMAGES, on=2 * ms, off=0 * ms)
    np.testing.assert_array_equal(without.frame_of_step(1e-3, 9), [0, 0, 1, 1, 2, 2])
    assert len(without.frames) == 3
    still = Still(IMAGES[0])
    assert still.n_steps(1e-3) is None
    assert still.frame_of_step(1e-3, 5).tolist() == [0] * 5
    assert Still(IMAGES[0], 2 * ms).frame_of_step(1e-3, 5).tolist() == [0] * 2
    assert Sequence(IMAGES).duration_s == pytest.approx(0.45)


def test_a_sequence_says_what_it_shows_when():
    sequence = Sequence(IMAGES, 3 * ms, 2 * ms, labels=np.array([7, 7, 2]))
    for k, item in enumerate(sequence.items):
        shown = sequence.frame_of_step(1e-3, 0) == k
        steps = np.flatnonzero(shown) * 1e-3
        assert item.onset_s == pytest.approx(steps[0])
        assert item.duration_s == pytest.approx(len(steps) * 1e-3)
    assert [item.label for item in sequence.items] == [7, 7, 2]
    assert [item.label for item in Sequence(IMAGES).items] == [0, 1, 2]
    names = Sequence(IMAGES, labels=["cat", "dog", "cat"]).items
    assert [item.label for item in names] == ["cat", "dog", "cat"]
    assert Still(IMAGES[0]).items == Movie(IMAGES).items == ()


def test_images_of_bytes_and_no_way_to_change_them():
    movie = Movie(np.full((2, *SHAPE), 51, np.uint8))
    assert movie.frames.dtype == np.float32
    assert movie.frames[0, 0, 0, 0] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="read-only"):
        movie.frames[0] = 1


def test_events_of_polarities():
    events = Events([0.0, 0.001, 0.0012], [1, 5, 5], [2, 6, 6], [0, 1, -1])
    # (y, x, channel), channel 1 for those that became brighter.
    neuron, step = events.spikes(1e-3, SHAPE)
    assert neuron.tolist() == [(2 * 6 + 1) * 2, (6 * 6 + 5) * 2, (6 * 6 + 5) * 2 + 1]
    assert step.tolist() == [0, 1, 1]
    # In one channel, two events of a pixel in a step are one spike.
    neuron, step = events.spikes(1e-3, (1, 7, 6))
    assert neuron.tolist() == [13, 41]
    assert step.tolist() == [0, 1]
    # As the library tonic has them.
    kind = np.dtype([("x", int), ("y", int), ("t", int), ("p", bool)])
    record = np.array([(1, 2, 5000, 0), (5, 6, 6000, 1)], kind)
    own = Events.of(record, duration=5 * ms, name="record")
    np.testing.assert_allclose(own.times, [0, 1e-3])
    assert own.polarity.tolist() == [0, 1]
    assert own.n_steps(1e-3) == 5
    with pytest.raises(InputError, match="events have the fields none"):
        Events.of(np.zeros(3))


@pytest.mark.parametrize(
    "stimulus",
    [
        Still(IMAGES[0], 7 * ms, name="one"),
        Still(IMAGES[0]),
        Sequence(IMAGES, 2 * ms, 0 * ms, 0.1),
        Sequence(IMAGES, labels=["cat", "dog", "cat"]),
        Movie(IMAGES, 3 * ms, parameters={"speed": 2.5}),
        Events([0.5 * ms] * 2, [1, 2], [3, 4], [0, 1], 4 * ms),
        SpikeTrains([5, 3], [2, 1] * ms, name="two"),
    ],
    ids=lambda stimulus: type(stimulus).__name__,
)
def test_files_give_the_same_stimulus(tmp_path, stimulus):
    stimulus.save(tmp_path / "s.npz")
    again = stimuli.load(tmp_path / "s.npz")
    assert type(again) is type(stimulus)
    assert vars(again).keys() == vars(stimulus).keys()
    for name, value in vars(stimulus).items():
        np.testing.assert_array_equal(vars(again)[name], value)
    ax = again.plot()
    assert ax.get_xlabel() == "time (ms)"
    assert ax.get_title() == (stimulus.name or type(stimulus).__name__)
    ax.figure.clear()


def test_files_that_are_no_stimuli(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        stimuli.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("text")
    for name in ("other", "text"):
        with pytest.raises(InputError, match="not a saved stimulus"):
            stimuli.load(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match="has to end with .npz"):
        Still(IMAGES[0]).save(tmp_path / "s.npy")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Still(IMAGES), r"shape \(3, 2, 7, 6\), expected \(channels"),
        (lambda: Movie(IMAGES[0]), r"frames has the shape \(2, 7, 6\), expected \(n"),
        (lambda: Movie(2 * IMAGES), "have to be in"),
        (lambda: Movie(IMAGES, 5), "the time of a frame is 5, expected a time"),
        (lambda: Movie(IMAGES, 0 * ms), "expected a time above 0"),
        (lambda: Sequence(IMAGES, off=-1 * ms), "a time of at least 0"),
        (lambda: Sequence(IMAGES, background=2), "background is 2"),
        (lambda: Sequence(IMAGES, labels=[1, 2]), "for each of 3 images"),
        (lambda: Sequence(IMAGES, labels=[1.5, 2, 3]), "a whole number or a name"),
        (lambda: Sequence(IMAGES, labels="abc"), "labels are 'abc'"),
        (lambda: Events([0.002, 0.001], [0] * 2, [0] * 2, [0] * 2), "event 1 at 1 ms"),
        (lambda: Events([0.1], [0], [0], [3]), "other values than 1"),
        (lambda: Events([0.1], [0, 1], [0], [1]), "x has the shape"),
        (lambda: Events([0.1], [0.5], [0], [1]), "expected whole numbers"),
        (lambda: SpikeTrains([0], [-1 * ms]), "before 0"),
        (lambda: SpikeTrains([0], [1] * Hz), "expected seconds"),
        (lambda: stimuli.static_grating(SHAPE, contrast=1.5), "expected 0 to 1"),
        (lambda: stimuli.static_grating(SHAPE, mean=0.8), "the largest is 0.25"),
        (lambda: stimuli.static_grating(SHAPE, spatial_frequency=0.7), "0.5: more"),
        (
            lambda: stimuli.drifting_grating(SHAPE, duration=50 * ms),
            "50 ms is no multiple of a frame's 20 ms",
        ),
        (lambda: stimuli.white_noise(SHAPE, 5, mean=0.7), "leaves 0 to 1"),
        (lambda: stimuli.sparse_noise(SHAPE, 0), "n_frames is 0"),
        (lambda: stimuli.sparse_noise((7, 6), 3), "expected .channels, height, width"),
        (lambda: stimuli.contrast_ramp(IMAGES[0], stop=2), "numbers from 0 to 1"),
    ],
)
def test_what_can_not_be_a_stimulus(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize("orientation", [0, 30, 90, 135, 200])
def test_gratings_are_plane_waves(orientation):
    shape = (1, 33, 41)
    f, contrast = 0.08, 0.6
    grating = stimuli.drifting_grating(
        shape, orientation, f, 5 * Hz, 40, contrast, 0.5, 200 * ms, 10 * ms
    )
    assert grating.frames.shape == (20, *shape)
    y, x = np.mgrid[:33, :41]
    up, right = 16 - y, x - 20
    # Stripes along (cos, sin) of the orientation; across them the phase grows. The
    # direction of motion is 90 degrees clockwise of the stripes.
    angle = np.radians(orientation)
    across = right * np.sin(angle) - up * np.cos(angle)
    for k in (0, 7):
        phase = 2 * np.pi * (f * across - 5 * k * 0.01) - np.radians(40)
        expected = 0.5 * (1 + contrast * np.cos(phase))
        np.testing.assert_allclose(grating.frames[k, 0], expected, atol=1e-5)
    still = stimuli.static_grating(shape, orientation, f, 40, contrast)
    np.testing.assert_allclose(still.image, grating.frames[0], atol=1e-6)
    assert still.parameters["orientation"] == orientation


def test_a_bar_crosses_the_image():
    bar = stimuli.moving_bar((1, 9, 20), 90, 3, duration=1 * second)
    column = bar.frames[:, 0].sum(1) / 9
    inside = column.sum(1) > 2.9
    centre = (column * np.arange(20)).sum(1)[inside] / column.sum(1)[inside]
    assert (np.diff(centre) > 0).all()
    assert column[0].sum() == column[-1].sum() == 0
    assert column.sum(1).max() == pytest.approx(3, abs=0.1)


def test_noise_has_its_statistics():
    sparse = stimuli.sparse_noise((2, 7, 6), 2000, 2, seed=1)
    different = (sparse.frames != 0.5).all(1)
    np.testing.assert_array_equal(different.sum((1, 2)) <= 4, np.ones(2000, bool))
    assert different.any((1, 2)).all()
    bright = (sparse.frames == 1).any((1, 2, 3)).mean()
    assert abs(bright - 0.5) < 5 * 0.5 / np.sqrt(2000)
    binary = stimuli.white_noise((2, 7, 6), 500, contrast=0.5, seed=2)
    np.testing.assert_allclose(np.unique(binary.frames), [0.25, 0.75])
    np.testing.assert_array_equal(binary.frames[:, 0], binary.frames[:, 1])
    n = 500 * 42
    assert abs(binary.frames[:, 0].mean() - 0.5) < 5 * 0.25 / np.sqrt(n)
    color = stimuli.white_noise(
        (2, 7, 6), 500, 2, color=True, kind="gaussian", contrast=0.2
    )
    a, b = (color.frames[:, k, ::2, ::2].ravel() for k in (0, 1))
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))
    assert abs(a.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * len(a))
    np.testing.assert_array_equal(color.frames[:, :, 0, 0], color.frames[:, :, 1, 1])
    noisy = stimuli.noise_on(np.full(SHAPE, 0.5), 0.1, 200, seed=3)
    n = 200 * 84
    assert abs(noisy.frames.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * n)
    other = stimuli.noise_on(np.full(SHAPE, 0.5), 0.1, 200, seed=4)
    assert (noisy.frames != other.frames).mean() > 0.99


def test_a_contrast_ramp_ends_with_the_image():
    ramp = stimuli.contrast_ramp(IMAGES[0], 5)
    np.testing.assert_allclose(ramp.frames[-1], IMAGES[0], atol=1e-6)
    np.testing.assert_allclose(ramp.frames[0], IMAGES[0].mean(), atol=1e-6)
    spread = ramp.frames.std((1, 2, 3))
    np.testing.assert_allclose(
        spread, np.linspace(0, 1, 5) * IMAGES[0].std(), atol=1e-6
    )
