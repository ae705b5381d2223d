"""Stimuli: what is shown when, what makers make, files, plots, bad input."""

import warnings
from datetime import datetime, timezone

import matplotlib as mpl
import neo
import numpy as np
import pandas as pd
import pynwb
import pytest
import quantities as pq
from brian2 import Hz, ms, second, volt

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
    texts = pd.Series(["cat", "dog", "cat"], index=[2, 1, 0])
    assert Sequence(IMAGES, labels=texts).items == names
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
    # In one channel, two events of a pixel in a step are one spike (see below).
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


IN_MS = {
    "brian2": [1.5, 0.2] * ms,
    "brian2 in a list": [1.5 * ms, 200e-6 * second],
    "quantities": [1.5, 0.2] * pq.ms,
    "quantities in a list": (1.5 * pq.ms, 200 * pq.us),
    "neo": neo.SpikeTrain([1.5, 0.2] * pq.ms, t_stop=0.01 * pq.s),
    "numpy": np.array([1500, 200], "m8[us]"),
    "pandas": pd.to_timedelta([1.5, 0.2], unit="ms"),
    "plain numbers": [0.0015, 0.0002],
}


class OfAnotherLibrary(np.ndarray):
    unit = "ms"


@pytest.mark.parametrize("times", IN_MS.values(), ids=IN_MS)
def test_times_keep_their_unit(times):
    trains = SpikeTrains([3, 4], times)
    np.testing.assert_allclose(trains.times, [0.0015, 0.0002], rtol=1e-12)
    assert type(trains.times) is np.ndarray
    events = Events(times[::-1], [1, 2], [1, 2], [0, 1])
    np.testing.assert_allclose(events.times, [0.0002, 0.0015], rtol=1e-12)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([1, 2] * pq.mV, "seconds"),
        ([1 * pq.mV, 2 * pq.ms], "seconds"),
        ([1 * volt, 2 * volt], "as seconds: .* expected plain numbers or"),
        ([1 * ms, 2 * volt], "as seconds: .* expected plain numbers or"),
        (np.array([1, 2]) * pq.dimensionless, "seconds"),
        (np.array([1.0, 2.0]).view(OfAnotherLibrary), "OfAnotherLibrary in ms"),
        (["soon", "late"], "can't be read"),
        ([[1, 2], [3]], "can't be read"),
        (np.array(["2026-01-01"] * 2, "M8[s]"), "can't be read"),
    ],
)
def test_other_units_are_refused(times, says):
    with pytest.raises(InputError, match=says):
        SpikeTrains([0, 1], times)


def test_spikes_in_one_step_are_refused_or_left_out():
    # Neuron 2 spikes after 0.3 and 0.25 ms, neuron 5 after 0.45 ms.
    index, times = [2, 5, 2, 2, 5], [1.0, 1.5, 1.3, 1.55, 1.95] * ms
    with pytest.raises(InputError, match=r"neuron 2 .* step at 1 ms") as refused:
        SpikeTrains(index, times).spikes(1e-3, SHAPE)
    assert "A dt of at most 0.25 ms tells them apart" in str(refused.value)
    for dt_s, n in ((0.25e-3, 5), (0.1e-3, 5), (0.4e-3, 4), (1e-3, 2)):
        first = SpikeTrains(index, times, duplicates="first")
        neuron, step = first.spikes(dt_s, SHAPE)
        assert len(neuron) == n
        expected = {
            (k, int(t / dt_s + 1e-3)) for k, t in zip(index, first.times, strict=True)
        }
        assert {*zip(neuron.tolist(), step.tolist(), strict=True)} == expected
    first.check(SHAPE, 1e-3)
    twice = SpikeTrains([1, 1], [1, 1] * ms)
    with pytest.raises(InputError, match="at the same time, which no dt tells apart"):
        twice.check(SHAPE, 1e-5)
    with pytest.raises(InputError, match="duplicates='last': expected"):
        SpikeTrains(index, times, duplicates="last")


def test_events_that_are_left_out_are_counted_in_a_warning():
    rng = np.random.default_rng(0)
    n = 3000
    in_us = np.sort(rng.integers(0, 30000, n))
    t = in_us * 1e-6
    x, y, polarity = (rng.integers(k, size=n) for k in (6, 7, 2))
    n_spikes = len({*zip(x, y, polarity, in_us // 1000, strict=True)})
    events = Events(t, x, y, polarity)
    says = f"Events: {n - n_spikes:,} of 3,000 spikes are left out"
    with pytest.warns(UserWarning, match=says) as said:
        events.check(SHAPE, 1e-3)
    assert len(said) == 1
    assert len(events.spikes(1e-3, SHAPE)[0]) == n_spikes
    with pytest.raises(InputError, match="spikes more than once"):
        Events(t, x, y, polarity, duplicates="refuse").check(SHAPE, 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Events(t, x, y, polarity, duplicates="first").check(SHAPE, 1e-3)


def in_steps(stimulus, n_neurons, n_steps, dt_s=1e-3):
    raster = np.zeros((n_steps, n_neurons), int)
    np.add.at(raster, (np.rint(stimulus.times / dt_s).astype(int), stimulus.index), 1)
    return raster


def test_trains_of_neo():
    trains = [
        neo.SpikeTrain(times * pq.ms, t_start=100 * pq.ms, t_stop=0.15 * pq.s)
        for times in ([101, 103.5], [], [149])
    ]
    spikes = SpikeTrains.from_neo(trains, [7, 8, 3], name="cell")
    assert spikes.index.tolist() == [7, 7, 3]
    np.testing.assert_allclose(spikes.times, [0.001, 0.0035, 0.049])
    assert float(spikes.duration) == pytest.approx(0.05)
    assert spikes.label == "cell"
    segment = neo.Segment()
    segment.spiketrains.extend(trains)
    assert SpikeTrains.from_neo(segment).index.tolist() == [0, 0, 2]
    assert SpikeTrains.from_neo(trains[0], duration=None).duration is None
    later = neo.SpikeTrain([5] * pq.ms, t_stop=0.15 * pq.s)
    for given, index, says in (
        ([*trains, later], None, "t_start is 0 to 0.1 s"),
        (trains, [1, 2], r"index of trains: found the shape \(2,\), expected \(3\)"),
        ([1.0, 2.0], None, "expected neo.SpikeTrain"),
        (trains, [0.5, 1, 2], "expected whole numbers"),
        ([], None, "expected neo.SpikeTrain"),
    ):
        with pytest.raises(InputError, match=says):
            SpikeTrains.from_neo(given, index)


def test_units_of_nwb(tmp_path):
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    file = pynwb.NWBFile("session", "one", start)
    with pytest.raises(InputError, match="one: has no units"):
        SpikeTrains.from_nwb(file)
    for times in ([0.101, 0.15, 0.3], [0.1, 0.2], [0.5]):
        file.add_unit(spike_times=times)
    with pynwb.NWBHDF5IO(str(tmp_path / "s.nwb"), "w") as output:
        output.write(file)
    for given in (file, tmp_path / "s.nwb", str(tmp_path / "s.nwb")):
        spikes = SpikeTrains.from_nwb(given, (100 * ms, 200 * ms), index=[5, 4, 9])
        assert spikes.index.tolist() == [5, 5, 4]
        np.testing.assert_allclose(spikes.times, [0.001, 0.05, 0], atol=1e-12)
        assert float(spikes.duration) == pytest.approx(0.1)
    whole = SpikeTrains.from_nwb(file, units=[2, 0])
    assert whole.index.tolist() == [0, 1, 1, 1]
    assert whole.duration is None
    for window, units, says in (
        ((1 * ms, 2 * ms, 3 * ms), None, "expected a start and an end"),
        ((2 * ms, 1 * ms), None, "what is shown is .*above 0"),
        ((0, 5), None, "window is 5, expected a time"),
        (None, [3], "the table has rows 0 to 2"),
    ):
        with pytest.raises(InputError, match=says):
            SpikeTrains.from_nwb(file, window, units=units)
    with pytest.raises(InputError, match="no such file"):
        SpikeTrains.from_nwb(tmp_path / "none.nwb")
    (tmp_path / "text.nwb").write_text("text")
    with pytest.raises(InputError, match="text.nwb: not an NWB file"):
        SpikeTrains.from_nwb(tmp_path / "text.nwb")


def test_exports_come_back_as_stimuli(random_result, tmp_path):
    neuron, step = random_result.recorded["conv1", 2]
    expected = np.zeros((20, 60), int)
    expected[step, neuron] = 1
    block = random_result.to_neo(pictures=[2])
    of_layer = [
        train
        for train in block.segments[0].spiketrains
        if train.annotations["layer"] == "conv1"
    ]
    again = SpikeTrains.from_neo(of_layer)
    np.testing.assert_array_equal(in_steps(again, 60, 20), expected)
    random_result.to_nwb(tmp_path / "r.nwb", ["conv1", "ip1"])
    window = (42 * ms, 62 * ms)  # trials are a step apart
    again = SpikeTrains.from_nwb(tmp_path / "r.nwb", window, units=range(60))
    np.testing.assert_array_equal(in_steps(again, 60, 20), expected)
    for read in (
        lambda: SpikeTrains.from_neo(block.segments[0]),
        lambda: SpikeTrains.from_neo(of_layer[:-1]),
        lambda: SpikeTrains.from_nwb(tmp_path / "r.nwb", window),
    ):
        with pytest.raises(InputError, match="not all those of one layer"):
            read()


@pytest.mark.parametrize(
    "stimulus",
    [
        Still(IMAGES[0], 7 * ms, name="one"),
        Still(IMAGES[0]),
        Sequence(IMAGES, 2 * ms, 0 * ms, 0.1),
        Sequence(IMAGES, labels=["cat", "dog", "cat"]),
        Movie(IMAGES, 3 * ms, parameters={"speed": 2.5}),
        Events([0.5 * ms] * 2, [1, 2], [3, 4], [0, 1], 4 * ms),
        SpikeTrains([5, 3], [2, 1] * ms, name="two", duplicates="first"),
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


def test_a_damaged_file_is_an_error_of_one_kind(tmp_path):
    path, rng = tmp_path / "s.npz", np.random.default_rng(0)
    Movie(IMAGES, 3 * ms).save(path)
    written = path.read_bytes()
    said = []
    for k in range(200):
        damaged = bytearray(written)
        if k % 4:
            for place in rng.integers(len(written), size=k % 9 + 1):
                damaged[place] ^= 1 << int(rng.integers(8))
        else:
            del damaged[rng.integers(len(written)) :]
        path.write_bytes(damaged)
        try:
            assert isinstance(stimuli.load(path), Movie)
        except InputError as error:
            said.append(str(error))
    assert len(said) > 100
    assert all(str(path) in message for message in said)


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
        (lambda: Movie(IMAGES[0]), r"frames: .* \(2, 7, 6\), expected \(n"),
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
        (lambda: Events([0.1], [0, 1], [0], [1]), "x: found the shape"),
        (lambda: Events([0.1], [0.5], [0], [1]), "expected whole numbers"),
        (lambda: SpikeTrains([0], [-1 * ms]), "found -0.001, expected .* at least 0"),
        (lambda: SpikeTrains([0], [1] * Hz), "expected plain numbers or"),
        (lambda: SpikeTrains([True], [1 * ms]), "expected whole numbers"),
        (lambda: stimuli.static_grating(SHAPE, contrast=1.5), "a number from 0 to 1"),
        (lambda: stimuli.static_grating(SHAPE, mean=0.8), "the largest is 0.25"),
        (lambda: stimuli.static_grating(SHAPE, spatial_frequency=0.7), "from 0 to 0.5"),
        (
            lambda: stimuli.drifting_grating(SHAPE, duration=50 * ms),
            "duration is 50 ms, expected a multiple of a frame's time, 20 ms",
        ),
        (lambda: stimuli.white_noise(SHAPE, 5, mean=0.7), "the largest is 0.429"),
        (lambda: stimuli.sparse_noise(SHAPE, 0), "n_frames is 0"),
        (lambda: stimuli.sparse_noise((7, 6), 3), "expected .channels, height, width"),
        (
            lambda: stimuli.contrast_ramp(IMAGES[0], stop=2),
            "stop is 2, expected a number from",
        ),
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
