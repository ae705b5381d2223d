"""Saved results: the same object again, or a clear error."""

import dataclasses

import h5py
import numpy as np
import pytest

from cnn2snn_brian import InputError, SimulationResult
from cnn2snn_brian.results.hdf5 import FORMAT


def assert_same(found, expected):
    for item in dataclasses.fields(SimulationResult):
        ours, theirs = getattr(found, item.name), getattr(expected, item.name)
        if item.name == "spike_counts":
            assert list(ours) == list(theirs)
            for name in theirs:
                assert ours.raw(name).dtype == theirs.raw(name).dtype
                np.testing.assert_array_equal(ours[name], theirs[name])
        elif item.name in ("recorded", "recorded_potentials"):
            assert ours.keys() == theirs.keys()
            for key, (neuron, step) in theirs.items():
                assert ours[key][0].dtype == neuron.dtype
                assert ours[key][1].dtype == step.dtype
                np.testing.assert_array_equal(ours[key][0], neuron)
                np.testing.assert_array_equal(ours[key][1], step)
        elif item.name == "events":
            assert list(ours) == list(theirs)
            for name in theirs:
                np.testing.assert_array_equal(ours[name], theirs[name])
        elif item.name == "output_potentials":
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs, item.name


def test_the_same_result_again(random_result, tmp_path):
    path = tmp_path / "result.h5"
    random_result.save(path)
    found = SimulationResult.load(path)
    assert_same(found, random_result)
    np.testing.assert_array_equal(found.predictions, random_result.predictions)
    np.testing.assert_array_equal(
        found.output_counts(0.01), random_result.output_counts(0.01)
    )
    assert list(tmp_path.iterdir()) == [path]


def test_other_programs_can_read_it(random_result, tmp_path):
    random_result.save(tmp_path / "result.h5")
    with h5py.File(tmp_path / "result.h5") as file:
        counts = file["spike_counts/conv1"]
        assert counts.dtype == np.uint8
        assert [axis.label for axis in counts.dims] == ["picture", "channel", "y", "x"]
        np.testing.assert_array_equal(counts, random_result.spike_counts["conv1"])
        assert file["recorded/conv1/neuron"].dtype == np.uint8
        np.testing.assert_array_equal(file["recorded/conv1/picture"], [2, 0])


def test_a_missing_or_foreign_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        SimulationResult.load(tmp_path / "result.h5")
    path = tmp_path / "other.h5"
    path.write_text("not HDF5")
    with pytest.raises(InputError, match=r"other\.h5: not a saved result"):
        SimulationResult.load(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="its format is None, expected 'cnn2snn"):
        SimulationResult.load(path)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
    with pytest.raises(InputError, match="damaged: KeyError"):
        SimulationResult.load(path)


def test_no_damage_goes_unseen(random_result, tmp_path):
    path = tmp_path / "result.h5"
    random_result.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for position in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = SimulationResult.load(path)
        except InputError:
            refused += 1
        else:
            # Some bytes of a file are padding.
            assert_same(found, random_result)
    assert refused > 50
    for share in (0.2, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError):
            SimulationResult.load(path)


def test_arrays_that_do_not_fit_each_other(random_result, tmp_path):
    path = tmp_path / "result.h5"
    for name in (
        "output_potentials",
        "events/ip1",
        "recorded/conv1/step",
        "recorded_potentials/conv1/neuron",
    ):
        random_result.save(path)
        with h5py.File(path, "a") as file:
            shorter = file[name][:-1]
            kept = dict(file[name].attrs)
            del file[name]
            file[name] = shorter
            file[name].attrs.update(kept)
        with pytest.raises(InputError, match="has the shape"):
            SimulationResult.load(path)


def test_a_failed_save_leaves_the_file_before(random_result, tmp_path):
    path = tmp_path / "result.h5"
    random_result.save(path)
    broken = dataclasses.replace(random_result, timings={"run": object()})
    with pytest.raises(TypeError):
        broken.save(path)
    assert_same(SimulationResult.load(path), random_result)
    assert list(tmp_path.iterdir()) == [path]
