"""Exports against the libraries that read them, and what all of them say alike."""

import warnings
from dataclasses import replace
from datetime import datetime, timezone

import h5py
import neo
import numpy as np
import pynwb
import pytest
from brian2 import ms
from neo.core.objectlist import ObjectList
from torch import nn

from cnn2snn_brian import InputError, Movie, Sequence, convert
from cnn2snn_brian.results import Trials, read_settings
from cnn2snn_brian.stimuli import Item

FREQUENCIES = (0.1, 0.2, 0.4)


@pytest.fixture(scope="module")
def network():
    """The network whose shapes `random_result` has, as a result knows it."""
    cnn = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 3))
    return convert(cnn.eval(), (2, 7, 6), thresholds=1).summary()


@pytest.fixture
def result(random_result, network):
    """Three gratings of one name; the first is a sequence of two, the last shorter."""
    recorded = {
        (name, row): (neuron[step < 15], step[step < 15])
        for (name, row), (neuron, step) in random_result.recorded.items()
    }
    trials = Trials(
        1,
        (20, 20, 15),
        ("grating",) * 3,
        tuple({"frequency": f, "label": 7.0} for f in FREQUENCIES),
        ((Item(0.0, 0.006, "cat"), Item(0.01, 0.006, 3)), (), ()),
    )
    return replace(random_result, trials=trials, recorded=recorded, network=network)


def raster(result, row, layer="conv1"):
    """Spikes of a row, (n_steps, *layer.shape)."""
    shape = result.shapes[layer]
    found = np.zeros((result.n_steps, *shape), int)
    spikes = result.spikes(layer, row)
    np.add.at(found, (np.rint(spikes.t / 1e-3).astype(int), *spikes.position), 1)
    return found


def same_settings(found, expected):
    """Compare what `run` would get."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name == "lesion":
            np.testing.assert_array_equal(found[name]["conv1"], value["conv1"])
        else:
            assert found[name] == value, name


def test_neo_writes_and_reads_it_as_nwb(result, tmp_path):
    began = datetime(2026, 11, 1, 9, 30, tzinfo=timezone.utc)
    block = result.to_neo(labels=["a", "b", "c"], start=began)
    path = tmp_path / "neo.nwb"
    neo.io.NWBIO(str(path), mode="w").write_block(block)
    reader = neo.io.NWBIO(str(path), mode="r")
    again = reader.read_block()
    assert again.annotations["session_start_time"] == began
    assert len(again.segments) == 3
    names = [segment.name for segment in block.segments]
    assert len(set(names)) == 3
    for name, row in zip(names, range(3), strict=True):
        (segment,) = (part for part in again.segments if part.name == name)
        expected = block.segments[row].spiketrains
        found = {train.name: train for train in segment.spiketrains}
        assert len(found) == len(expected)
        for train in expected:
            times = found[train.name].rescale("ms").magnitude
            np.testing.assert_allclose(times, train.magnitude, atol=1e-9)
        labels = [list(epoch.labels) for epoch in segment.epochs]
        assert len(labels) == (2 if row == 0 else 1)
    reader.close()


def test_neo_says_what_was_shown_and_run(result):
    block = result.to_neo(labels=["a", "b", "c"])
    same_settings(read_settings(block.annotations["settings"]), result.settings)
    assert block.annotations["versions"] == {"brian2": "2.9.0"}
    for segment, frequency in zip(block.segments, FREQUENCIES, strict=True):
        assert segment.annotations["frequency"] == frequency
        assert segment.annotations["parameter_label"] == 7
    items = block.segments[0].epochs[1]
    np.testing.assert_allclose(items.times.rescale("ms").magnitude, [0, 10])
    np.testing.assert_allclose(items.durations.rescale("ms").magnitude, [6, 6])
    assert items.labels.tolist() == ["cat", "3"]


def test_neo_takes_a_column_with_its_place(result):
    block = result.to_neo(neurons=result.column(2, 3), pixel_size_deg=0.5)
    trains = block.segments[-1].spiketrains
    # A kernel of 3 x 3 whose centre is (2, 3) belongs to the neuron (1, 2).
    assert [train.name for train in trains] == [
        "conv1 0,1,2",
        "conv1 1,1,2",
        "conv1 2,1,2",
    ]
    for channel, train in enumerate(trains):
        steps = np.rint(train.magnitude).astype(int)
        expected = np.flatnonzero(raster(result, 2)[:, channel, 1, 2])
        np.testing.assert_array_equal(steps, expected)
        notes = train.annotations
        assert (notes["rf_y"], notes["rf_x"]) == (2, 3)
        assert (notes["rf_height"], notes["rf_width"]) == (3, 3)
        # The image has 7 x 6 pixels: its centre is (3, 2.5).
        assert notes["rf_elevation_deg"] == 0.5
        assert notes["rf_azimuth_deg"] == 0.25
        assert notes["rf_width_deg"] == 1.5


def test_trains_of_many_segments_take_no_longer_each(result, monkeypatch):
    # Neo compares each train that is added with all that are there before.
    compared = []
    once = ObjectList._contains
    monkeypatch.setattr(
        ObjectList,
        "_contains",
        lambda self, item: compared.append(len(self._items or ())) or once(self, item),
    )
    result.to_neo()
    assert max(compared) < 5


def test_wrong_selections(result):
    for neurons, text in (
        ({"conv1": [(3, 0, 0)]}, "is no neuron of a layer of shape"),
        ({"conv1": [(0, 0, 0), (0, 0, 0)]}, "name one of them twice"),
        ({"input": [(0, 0, 0)]}, "'input' were not recorded"),
    ):
        with pytest.raises(InputError, match=text):
            result.to_neo(neurons=neurons)
    with pytest.raises(InputError, match="unknown layer .conv99."):
        result.to_neo(layers=["ip1"], neurons={"conv99": [(0,)]})
    some = result.to_neo(layers=["ip1"], neurons=result.sample(2))
    assert [len(segment.spiketrains) for segment in some.segments] == [2, 2, 2]
    for nothing in ({"layers": []}, {"neurons": {}}):
        with pytest.raises(InputError, match="no layer is named"):
            result.to_assembly(**nothing)
    for size in (-1, "1", np.nan, True):
        with pytest.raises(InputError, match=f"pixel_size_deg is {size!r}"):
            result.to_neo(pixel_size_deg=size)
    old = replace(result, network={})
    assert "rf_x" not in old.to_assembly().coords
    with pytest.raises(InputError, match="without receptive fields"):
        old.to_neo(pixel_size_deg=1)
    with pytest.raises(InputError, match="without receptive fields"):
        old.column()
    with pytest.raises(InputError, match="not settings of a result"):
        read_settings("{}")


def test_xarray_says_what_was_shown_and_run(result, tmp_path):
    data = result.to_xarray(bin=5 * ms, pixel_size_deg=0.5)
    same_settings(read_settings(data.attrs["settings"]), result.settings)
    np.testing.assert_array_equal(data["frequency"], FREQUENCIES)
    assert data["item_label"].values.tolist() == [["cat", "3"], ["", ""], ["", ""]]
    np.testing.assert_array_equal(data["item_onset"][0], [0, 0.01])
    # A neuron sees 3 x 3 pixels, the first one from row 0 on.
    assert data["conv1_rf_y"].dims == ("conv1_channel", "conv1_y")
    np.testing.assert_array_equal(data["conv1_rf_y"], [np.arange(5) + 1] * 3)
    np.testing.assert_array_equal(data["conv1_rf_width_deg"], np.full((3, 4), 1.5))
    np.testing.assert_array_equal(data["ip1_rf_height"], [7] * 3)
    # The last stimulus is shorter by the last bin.
    assert np.isnan(data["ip1_over_time"][2, 0, 3]).all()
    assert not np.isnan(data["ip1_over_time"][2, 0, :3]).any()


def test_an_assembly_of_brain_score(result, random_result):
    data = result.to_assembly(labels=["a", "b", "c"], neurons=result.sample(5, seed=1))
    assert data.dims == ("presentation", "neuroid")
    assert data["stimulus_id"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(data["frequency"], FREQUENCIES)
    assert len(set(data["neuroid_id"].values)) == 8
    for neuroid in range(8):
        own = data.isel(neuroid=neuroid)
        at = (int(own["channel"]), int(own["y"]), int(own["x"]))
        counts = result.spike_counts[str(own["layer"].values)]
        place = at if at[1] >= 0 else at[:1]
        np.testing.assert_array_equal(own, counts[(slice(None), *place)])
    binned = result.to_assembly(bin=5 * ms)
    assert binned.dims == ("presentation", "neuroid", "time_bin")
    assert set(binned["layer"].values) == {"ip1"}  # conv1 was not recorded in row 1
    expected = raster(result, 0, "ip1").reshape(4, 5, 3).sum(1).T
    np.testing.assert_array_equal(binned[0], expected)
    np.testing.assert_allclose(binned["time_bin_end"], [5, 10, 15, 20])
    # All is recorded, whether or not the last bin is a full one: nothing is NaN.
    assert random_result.to_assembly(bin=3 * ms).dtype == np.int32
    with pytest.raises(InputError, match="'conv1' were not recorded in each row"):
        result.to_assembly(["conv1"], bin=5 * ms)


def test_pynapple_has_every_spike(result):
    nap = pytest.importorskip("pynapple")
    found = result.to_pynapple(labels=["a", "b", "c"], pixel_size_deg=0.5)
    assert isinstance(found.spikes, nap.TsGroup)
    same_settings(read_settings(found.settings), result.settings)
    trials = found.trials
    assert len(trials) == 3
    np.testing.assert_array_equal(trials["frequency"], FREQUENCIES)
    np.testing.assert_array_equal(trials["parameter_label"], [7] * 3)
    assert list(trials["label"]) == ["a", "b", "c"]
    assert list(found.items["label"]) == ["cat", "3"]
    np.testing.assert_allclose(found.items.start, [0, 0.01])
    # conv1 was recorded in rows 0 and 2: that is the time that both layers share.
    np.testing.assert_allclose(
        found.spikes.time_support.values, [[0, 0.02], [0.042, 0.057]]
    )
    assert len(found.spikes) == 63
    for row in (0, 2):
        counts = found.spikes.restrict(trials[row]).count(ep=trials[row])
        expected = np.concatenate(
            [raster(result, row, name).sum(0).ravel() for name in ("conv1", "ip1")]
        )
        np.testing.assert_array_equal(counts.values.sum(0), expected)
    conv1 = found.spikes[found.spikes["layer"] == "conv1"]
    unit = conv1[int(conv1.index[7])]
    place = [int(conv1.get_info(name)[7]) for name in ("channel", "y", "x")]
    assert place == [0, 1, 3]
    steps = np.concatenate(
        [np.flatnonzero(raster(result, row)[:, 0, 1, 3]) + 21 * row for row in (0, 2)]
    )
    np.testing.assert_allclose(unit.t, 1e-3 * steps)
    assert conv1["rf_x"][7] == 4


def test_pynapple_of_windows_and_choices(result):
    pytest.importorskip("pynapple")
    windowed = replace(result, windows=((2, 5), (5, 8)))
    spikes = windowed.to_pynapple(["conv1"], silent=False).spikes
    np.testing.assert_allclose(
        spikes.time_support.values, [[0.002, 0.008], [0.044, 0.05]]
    )
    places = result.sample(4, seed=2, layers=["conv1"])
    some = result.to_pynapple(neurons=places).spikes
    at = zip(*(some.get_info(name) for name in ("channel", "y", "x")), strict=True)
    assert [tuple(map(int, place)) for place in at] == places["conv1"]
    apart = {
        key: spikes for key, spikes in result.recorded.items() if key != ("ip1", 0)
    }
    del apart["conv1", 2]
    with pytest.raises(InputError, match="recorded in different trials"):
        replace(result, recorded=apart).to_pynapple()


def test_rsatoolbox_computes_distances(result):
    rsatoolbox = pytest.importorskip("rsatoolbox")
    data = result.to_rsatoolbox(labels=["a", "b", "c"])
    assert isinstance(data, rsatoolbox.data.Dataset)
    same_settings(read_settings(data.descriptors["settings"]), result.settings)
    assert data.measurements.shape == (3, 63)
    for part in data.split_channel("layer"):
        layer = part.descriptors["layer"]
        counts = result.spike_counts[str(layer)].reshape(3, -1)
        np.testing.assert_array_equal(part.measurements, counts)
        rdm = rsatoolbox.rdm.calc_rdm(part, method="euclidean", descriptor="frequency")
        pairs = [(0, 1), (0, 2), (1, 2)]
        expected = [((counts[a] - counts[b]) ** 2).mean() for a, b in pairs]
        np.testing.assert_allclose(rdm.dissimilarities[0], expected)
    chosen = data.subset_channel("x", 2)
    assert chosen.measurements.shape == (3, 15)
    times = result.to_rsatoolbox(bin=5 * ms)
    assert isinstance(times, rsatoolbox.data.TemporalDataset)
    np.testing.assert_allclose(times.time_descriptors["time"], [0, 0.005, 0.01, 0.015])
    expected = raster(result, 1, "ip1").reshape(4, 5, 3).sum(1).T
    np.testing.assert_array_equal(times.measurements[1], expected)
    assert np.isnan(times.measurements[2, :, 3]).all()


@pytest.fixture
def shown():
    """The stimuli of `colourful`: sequences and a shorter movie."""
    rng = np.random.default_rng(0)
    return [
        Sequence(rng.random((2, 3, 7, 6)), 6 * ms, 4 * ms, labels=["cat", 3]),
        Sequence(rng.random((1, 3, 7, 6)), 20 * ms, 0 * ms),
        Movie(rng.random((3, 3, 7, 6)), 5 * ms),
    ]


@pytest.fixture
def colourful(result):
    """The same result, of an input with colours."""
    return replace(result, shapes=result.shapes | {"input": (3, 7, 6)})


def nwb(path):
    """Read a file as plain arrays."""
    with pynwb.NWBHDF5IO(str(path), "r") as file:
        session = file.read()
        tables = {
            name: table.to_dataframe()
            for name, table in (
                ("trials", session.trials),
                ("units", session.units),
                *session.intervals.items(),
            )
        }
        frames = None
        if session.stimulus:
            series = session.stimulus["frames_shown"]
            pictures = series.indexed_images.order_of_images.data[:]
            frames = series.timestamps[:], [pictures[k].data[:] for k in series.data[:]]
        about = {
            "settings": session.scratch["settings"].data,
            "resolution": session.units.resolution,
            "subject": session.subject.subject_id,
            "keywords": list(session.keywords[:]),
            "experimenter": session.experimenter,
        }
    return tables, frames, about


def test_nwb_has_labels_items_and_frames(colourful, shown, tmp_path):
    result = colourful
    path = tmp_path / "r.nwb"
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        result.to_nwb(path, labels=["a", "b", "c"], stimuli=shown, pixel_size_deg=0.5)
    tables, frames, about = nwb(path)
    trials = tables["trials"]
    assert trials["label"].tolist() == ["a", "b", "c"]
    assert trials["parameter_label"].tolist() == [7, 7, 7]
    assert (trials["start_time"][1:].to_numpy() > trials["stop_time"][:-1]).all()
    items = tables["items"]
    np.testing.assert_allclose(items["start_time"], [0, 0.01])
    np.testing.assert_allclose(items["stop_time"], [0.006, 0.016])
    assert items["label"].tolist() == ["cat", "3"]
    times, pictures = frames
    onsets = [0, 6, 10, 16, 21, 42, 47, 52]
    np.testing.assert_allclose(times, 1e-3 * np.array(onsets))
    expected = [*shown[0].frames[[0, 2, 1, 2]], *shown[1].frames, *shown[2].frames]
    for found, frame in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(found, np.rint(255 * frame).transpose(2, 1, 0))
    same_settings(read_settings(about["settings"]), result.settings)
    assert about["resolution"] == 1e-3
    units = tables["units"]
    conv1 = units[units["layer"] == "conv1"]
    np.testing.assert_array_equal(conv1["rf_y"], conv1["y"] + 1)
    np.testing.assert_array_equal(conv1["rf_azimuth_deg"], (conv1["x"] + 1 - 2.5) / 2)
    with pytest.raises(InputError, match="the result is of 3"):
        result.to_nwb(path, stimuli=shown[:2])
    two = replace(result, shapes=result.shapes | {"input": (2, 7, 6)})
    pair = [Movie(np.zeros((1, 2, 7, 6)), n * ms) for n in (20, 20, 15)]
    with pytest.raises(InputError, match="images of 1 or 3"):
        two.to_nwb(path, stimuli=pair)


def test_nwb_is_added_to_a_session_of_ones_own(result, tmp_path):
    mine = pynwb.NWBFile(
        "ours",
        "id",
        datetime(2026, 1, 1, tzinfo=timezone.utc),
        experimenter="Doe, J.",
        keywords=["cat"],
        subject=pynwb.file.Subject(subject_id="S1"),
    )
    path = tmp_path / "r.nwb"
    places = result.sample(5, seed=0)
    result.to_nwb(path, neurons=places, nwbfile=mine)
    tables, _, about = nwb(path)
    assert about["subject"] == "S1"
    assert about["keywords"] == ["cat"]
    assert about["experimenter"] == ("Doe, J.",)
    units = tables["units"]
    conv1 = units[units["layer"] == "conv1"]
    assert [*zip(conv1["channel"], conv1["y"], conv1["x"], strict=True)] == places[
        "conv1"
    ]
    with pytest.raises(InputError, match="has units or trials already"):
        result.to_nwb(path, nwbfile=mine)
    with pytest.raises(InputError, match="are those of a new file"):
        result.to_nwb(path, nwbfile=mine, description="theirs")


def test_nwb_does_not_repeat_what_all_units_have(result, tmp_path):
    result.to_nwb(tmp_path / "ip1.nwb", ["ip1"])
    assert "obs_intervals" not in nwb(tmp_path / "ip1.nwb")[0]["units"]
    result.to_nwb(tmp_path / "both.nwb")
    units = nwb(tmp_path / "both.nwb")[0]["units"]
    assert {len(own) for own in units["obs_intervals"]} == {2, 3}


def test_nwb_is_not_much_larger_than_our_own_file(random_result, tmp_path):
    # 360,000 spikes.
    rng = np.random.default_rng(0)
    recorded = {}
    for row in range(3):
        step, neuron = np.nonzero(rng.random((20000, 60)) < 0.1)
        recorded["conv1", row] = neuron.astype(np.int32), step.astype(np.int32)
    empty = np.zeros(0, np.int32)
    recorded |= {("ip1", row): (empty, empty) for row in range(3)}
    result = replace(random_result, recorded=recorded, duration_s=20.0)
    result.save(tmp_path / "r.h5")
    result.to_nwb(tmp_path / "r.nwb")
    own = (tmp_path / "r.h5").stat().st_size
    with h5py.File(tmp_path / "r.nwb") as file:
        assert file["units/spike_times"].id.get_storage_size() < 3 * own
    # What NWB says of its own format takes the rest.
    assert (tmp_path / "r.nwb").stat().st_size < 3 * own + 300_000


@pytest.mark.slow
def test_nwbinspector_has_nothing_to_object_to(colourful, shown, tmp_path):
    inspector = pytest.importorskip("nwbinspector")
    path = tmp_path / "r.nwb"
    colourful.to_nwb(path, labels=[1, 2, 3], stimuli=shown, pixel_size_deg=0.5)
    found = [
        f"{message.check_function_name}: {message.message}"
        for message in inspector.inspect_nwbfile(nwbfile_path=str(path))
        if message.importance.name != "BEST_PRACTICE_SUGGESTION"
    ]
    assert not found


def test_nothing_to_export(result, tmp_path):
    none = {"conv1": []}
    assert not result.to_neo(neurons=none).segments[0].spiketrains
    assert result.to_assembly(neurons=none).shape == (3, 0)
    result.to_nwb(tmp_path / "r.nwb", neurons=none)
    assert len(nwb(tmp_path / "r.nwb")[0]["units"]) == 0
