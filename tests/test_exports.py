"""Results in Neo and xarray, and what is said without them."""

import sys

import neo
import numpy as np
import pytest
import xarray

from cnn2snn_brian import InputError
from cnn2snn_brian.errors import MissingLibraryError


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
    with pytest.raises(InputError, match="no picture 3"):
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
    ("library", "method"), [("neo", "to_neo"), ("xarray", "to_xarray")]
)
def test_a_missing_library(random_result, monkeypatch, library, method):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match=rf"pip install {library}"):
        getattr(random_result, method)()
