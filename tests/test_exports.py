"""Results in Neo and xarray, and what is said without them."""

import sys
from dataclasses import replace
from datetime import datetime

import neo
import numpy as np
import pandas as pd
import pynwb
import pytest
import quantities as pq
import torch
import xarray
from brian2 import ms

from cnn2snn_brian import InputError, SpikeTrains
from cnn2snn_brian.errors import MissingLibraryError
from cnn2snn_brian.results import SpikeCounts, Trials


def test_neo_has_every_spike(random_result):
    block = random_result.to_neo(labels=["cat", "dog", "frog"])
    assert isinstance(block, neo.Block)
    assert [segment.annotations["picture"] for segment in block.segments] == [0, 1, 2]
    assert [group.name for group in block.groups] == ["conv1", "ip1"]
    # conv1 was recorded for pictures 0 and 2, ip1 for all.
    assert [len(segment.spiketrains) for segment in block.segments] == [63, 3, 63]
    raster = np.zeros((20, 3, 5, 4), int)
    neuron, step = random_result.recorded["conv1", 2]
    y, x, channel = np.unravel_index(neuron, (5, 4, 3))
    raster[step, channel, y, x] = 1
    found = np.zeros_like(raster)
    for train in block.segments[2].spiketrains:
        notes = train.annotations
        assert notes["picture"] == 2
        assert notes["label"] == "frog"
        assert float(train.t_start.rescale("s")) == 0
        assert float(train.t_stop.rescale("s")) == pytest.approx(0.02)
        if notes["layer"] == "conv1":
            steps = np.rint(train.times.rescale("ms").magnitude).astype(int)
            assert (np.diff(steps) > 0).all()
            found[steps, notes["channel"], notes["y"], notes["x"]] += 1
    np.testing.assert_array_equal(found, raster)
    assert len(block.groups[0].spiketrains) == 120


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([5, 3, 8], index=[2, 1, 0]),
        pd.Series([5, 3, 8], index=["x", "y", "z"]),
        torch.tensor([5, 3, 8]),
        np.array([5, 3, 8]),
        (5, 3, 8),
    ],
)
def test_labels_are_taken_in_their_order(random_result, labels):
    assert random_result.to_xarray(labels)["label"].values.tolist() == [5, 3, 8]
    segments = random_result.to_neo(labels=labels).segments
    assert [segment.annotations["label"] for segment in segments] == [5, 3, 8]


def test_some_trains_only(random_result):
    block = random_result.to_neo(pictures=[1], layers=["ip1"], silent=False)
    assert len(block.segments[0].spiketrains) == 0
    block = random_result.to_neo(pictures=[0], layers=["ip1"])
    units = [train.annotations["channel"] for train in block.segments[0].spiketrains]
    assert units == [0, 1, 2]
    assert "label" not in block.segments[0].annotations
    with pytest.raises(InputError, match="'conv1' were not recorded for image 1"):
        random_result.to_neo(pictures=[1], layers=["conv1"])
    with pytest.raises(InputError, match="3 pictures, but 2 labels"):
        random_result.to_neo(labels=[0, 1])
    with pytest.raises(InputError, match="name one of them twice: ip1, conv1, ip1"):
        random_result.to_neo(layers=["ip1", "conv1", "ip1"])
    with pytest.raises(InputError, match="picture is 3, expected 0 to 2"):
        random_result.to_neo(pictures=[3])


def test_xarray_has_every_count(random_result):
    data = random_result.to_xarray(labels=np.array([2, 0, 1]))
    assert isinstance(data, xarray.Dataset)
    for name, counts in random_result.spike_counts.items():
        np.testing.assert_array_equal(data[name], counts)
    assert data["conv1"].dims == ("picture", "conv1_channel", "conv1_y", "conv1_x")
    assert data["ip1"].dims == ("picture", "ip1_unit")
    np.testing.assert_array_equal(data["label"], [2, 0, 1])
    np.testing.assert_array_equal(data["prediction"], random_result.predictions)
    np.testing.assert_array_equal(
        data["output_potentials"], random_result.output_potentials
    )
    assert data.attrs["seed"] == str(2**80)


@pytest.mark.parametrize(
    ("library", "method", "arguments"),
    [
        ("neo", "to_neo", ()),
        ("xarray", "to_xarray", ()),
        ("pynwb", "to_nwb", ("r.nwb",)),
    ],
)
def test_a_missing_library(random_result, monkeypatch, library, method, arguments):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match=rf"pip install {library}"):
        getattr(random_result, method)(*arguments)


@pytest.fixture
def trials_result(random_result):
    """Three stimuli, the last of which is shorter."""
    trials = Trials(1, (20, 20, 15), ("a", "b", "c"), ({"angle": 30.0}, {}, {}))
    recorded = {
        (name, row): (neuron[step < 15], step[step < 15])
        for (name, row), (neuron, step) in random_result.recorded.items()
    }
    return replace(random_result, trials=trials, recorded=recorded)


def test_trials_are_axes_of_xarray(random_result):
    one = random_result
    # Four trials, of the first image's row and of others.
    rows = [0, 2, 0, 1]
    raw = {name: one.spike_counts.raw(name)[rows] for name in one.spike_counts}
    result = replace(
        one,
        spike_counts=SpikeCounts(raw, one.shapes),
        output_potentials=one.output_potentials[rows],
        trials=Trials(2, (20, 20), ("left", "right"), ({"angle": 30.0}, {})),
        recorded={("ip1", k): one.recorded["ip1", row] for k, row in enumerate(rows)},
    )
    data = result.to_xarray(["l", "r"], bin=5 * ms)
    assert data["conv1"].dims[:2] == ("stimulus", "trial")
    for k in range(4):
        np.testing.assert_array_equal(
            data["conv1"][k // 2, k % 2], result.spike_counts["conv1"][k]
        )
    assert data["ip1_over_time"].dims == ("stimulus", "trial", "time", "ip1_unit")
    assert "conv1_over_time" not in data
    np.testing.assert_allclose(data["time"], [0, 0.005, 0.01, 0.015])
    expected = np.zeros((4, 3), int)
    neuron, step = result.recorded["ip1", 2]
    np.add.at(expected, (step // 5, neuron), 1)
    np.testing.assert_array_equal(data["ip1_over_time"][1, 0], expected)
    assert data["label"].values.tolist() == [["l", "l"], ["r", "r"]]
    assert data["stimulus_name"].values.tolist() == ["left", "right"]
    np.testing.assert_array_equal(data["angle"], [30, np.nan])


def test_a_segment_of_neo_is_a_trial(trials_result):
    block = trials_result.to_neo(layers=["ip1"])
    notes = [segment.annotations for segment in block.segments]
    assert [note["stimulus"] for note in notes] == [0, 1, 2]
    assert [note["stimulus_name"] for note in notes] == ["a", "b", "c"]
    assert [note["repeat"] for note in notes] == [0, 0, 0]
    train = block.segments[2].spiketrains[0]
    assert float(train.t_stop.rescale("ms")) == pytest.approx(15)
    assert train.annotations["stimulus"] == 2


def test_nwb_has_trials_and_every_spike(trials_result, tmp_path):
    result = replace(trials_result, windows=((2, 8), (10, 18)))
    result.to_nwb(tmp_path / "r.nwb")
    found = pynwb.validate(path=str(tmp_path / "r.nwb"))
    errors = found[0] if isinstance(found, tuple) else found
    assert not errors
    with pynwb.NWBHDF5IO(str(tmp_path / "r.nwb"), "r") as file:
        session = file.read()
        trials = session.trials.to_dataframe()
        units = session.units.to_dataframe()
    # A step apart: with closed intervals, a spike would be in two trials that touch.
    np.testing.assert_allclose(trials["start_time"], [0, 0.021, 0.042])
    np.testing.assert_allclose(trials["stop_time"], [0.02, 0.041, 0.057])
    assert trials["stimulus_name"].tolist() == ["a", "b", "c"]
    assert trials["prediction"].tolist() == result.predictions.tolist()
    np.testing.assert_array_equal(trials["angle"], [30, np.nan, np.nan])
    assert len(units) == 60 + 3
    # conv1 was recorded for rows 0 and 2, in windows; ip1 all the time.
    conv1 = units[units["layer"] == "conv1"]
    ip1 = units[units["layer"] == "ip1"]
    np.testing.assert_allclose(
        conv1["obs_intervals"].iloc[0],
        1e-3 * np.array([(2, 8), (10, 18), (44, 50), (52, 57)]),
    )
    np.testing.assert_allclose(ip1["obs_intervals"].iloc[0][2], [0.042, 0.057])
    raster = np.zeros((57, 3, 5, 4), int)
    for row in (0, 2):
        neuron, step = result.recorded["conv1", row]
        y, x, channel = np.unravel_index(neuron, (5, 4, 3))
        raster[step + 21 * row, channel, y, x] = 1
    again = np.zeros_like(raster)
    for _, unit in conv1.iterrows():
        steps = np.rint(np.array(unit["spike_times"]) / 1e-3).astype(int)
        again[steps, unit["channel"], unit["y"], unit["x"]] += 1
    np.testing.assert_array_equal(again, raster)
    assert ip1["channel"].tolist() == [0, 1, 2]


def test_nwb_refuses_what_was_not_recorded(random_result, tmp_path):
    with pytest.raises(InputError, match="'input' were not recorded"):
        random_result.to_nwb(tmp_path / "r.nwb", ["input"])
    with pytest.raises(InputError, match="without a time zone"):
        random_result.to_nwb(tmp_path / "r.nwb", start=datetime(2026, 1, 1))  # noqa: DTZ001
    random_result.to_nwb(tmp_path / "r.nwb", ["ip1"], silent=False)
    with pynwb.NWBHDF5IO(str(tmp_path / "r.nwb"), "r") as file:
        session = file.read()
        assert len(session.units) == 3
        assert session.trials["stimulus_name"][1] == "image 1"


def test_a_spike_at_the_end_of_a_slice_is_that_of_the_next():
    train = neo.SpikeTrain([1, 20, 30] * pq.ms, t_stop=40 * pq.ms)
    parts = [train.time_slice(a * pq.ms, (a + 20) * pq.ms) for a in (0, 20)]
    first, second = (
        SpikeTrains.from_neo(part).spikes(1e-3, (1, 1, 1)) for part in parts
    )
    assert [first[1].tolist(), second[1].tolist()] == [[1], [0, 10]]
