"""Saved results: the same object again, or a clear error."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from brian2 import ms

from cnn2snn_brian import IF, LIF, InputError, SimulationResult, SpikingNetwork
from cnn2snn_brian.results.hdf5 import FORMAT
from cnn2snn_brian.settings.perturbations import Perturbations

#: A network, a result and its images and counts, all written by version 0.1.0.
FILES = Path(__file__).parent / "files_0_1_0"


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
        elif item.name == "perturbations":
            for part in dataclasses.fields(Perturbations):
                # Lesions are arrays, which nothing but numpy compares.
                np.testing.assert_equal(
                    getattr(ours, part.name), getattr(theirs, part.name)
                )
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


def test_a_loaded_result_says_what_was_run(random_result, tmp_path):
    random_result.save(tmp_path / "result.h5")
    found = SimulationResult.load(tmp_path / "result.h5")
    given = found.settings
    assert given["seed"] == 2**80
    assert given["thresholds"] == {"conv1": 0.1, "ip1": 1 / 3}
    assert given["v_min"] == {"conv1": -np.inf, "ip1": -0.7}
    assert given["neurons"] == {"conv1": LIF(tau=20 * ms), "ip1": IF()}
    assert given["release_probability"] == {"ip1": 0.5}
    assert given["input_deletion"] == 0.25
    assert given["input_jitter"] == 2 * ms
    mask = random_result.perturbations.lesion["conv1"]
    np.testing.assert_array_equal(given["lesion"]["conv1"], mask)
    text = str(found)
    assert text == str(random_result)
    for said in (
        "3 images, 20 steps of 1 ms, seed 1208925819614629174706176",
        "encoding poisson, reset zero, synapses shared, dtype float32",
        "delays: ip1 2 ms",
        "layers: conv1, ip1, hash of their weights 00000000",
        "thresholds: conv1 0.1, ip1 0.3333",
        "v_min: conv1 -inf, ip1 -0.7",
        "leak: 1e-09",
        "v_init: 0.5",
        "rate_scale: 1",
        "neurons: conv1 LIF(tau=20. ms); ip1 IF()",
        "release_probability: ip1 0.5",
        f"lesion: conv1 {mask.sum()} of 60 neurons",
        "input_deletion: 0.25",
        "input_jitter: 2. ms",
        "versions: brian2 2.9.0",
        "compiled: g++ 12.2.0 -O3",
        "classes: cat, dog, owl",
    ):
        assert said in text.splitlines(), said


@pytest.mark.standalone
def test_the_settings_of_a_saved_result_repeat_its_run(tmp_path):
    snn = SpikingNetwork.load(FILES / "network.snn")
    images = np.load(FILES / "run.npz")["images"]
    with snn.compile(20 * ms) as simulator:
        result = simulator.run(
            images,
            seed=5,
            thresholds={"conv1": 3.0},
            leak=1 / 64,
            neurons={"conv1": LIF(tau=10 * ms)},
            lesion={"conv1": np.arange(105).reshape(3, 7, 5) % 4 == 0},
            input_deletion=0.1,
            input_jitter=1 * ms,
        )
        result.save(tmp_path / "result.h5")
        loaded = SimulationResult.load(tmp_path / "result.h5")
        again = simulator.run(images, **loaded.settings)
        plain = simulator.run(images, seed=5)
    assert loaded.network == snn.summary()
    assert loaded.program["compiler"]
    for name in snn.population_shapes:
        np.testing.assert_array_equal(
            again.spike_counts[name], result.spike_counts[name]
        )
    np.testing.assert_array_equal(again.output_potentials, result.output_potentials)
    for key, (neuron, step) in result.recorded.items():
        np.testing.assert_array_equal(again.recorded[key], (neuron, step))
    assert (plain.spike_counts["conv1"] != result.spike_counts["conv1"]).any()


def test_a_result_of_version_0_1_0():
    # Made by version 0.1.0: ten images, 20 ms, seed 3; see the network's file below.
    result = SimulationResult.load(FILES / "result.h5")
    with np.load(FILES / "run.npz") as counted:
        for name in ("input", "conv1", "pool1", "ip1"):
            np.testing.assert_array_equal(result.spike_counts[name], counted[name])
    assert (result.seed, result.n_images, result.n_steps) == (3, 10, 20)
    assert result.parameters.thresholds == {"conv1": 4, "pool1": 0.75, "ip1": 1.5}
    assert sorted({image for name, image in result.recorded if name == "conv1"}) == [
        0,
        2,
    ]
    assert result.potentials("conv1", 1).v.shape == (20, 1)
    assert result.perturbations is None
    assert result.network == result.program == {}
    assert "saved by version 0.1.0, which kept no lesions and no noise" in str(result)
    with pytest.raises(InputError, match="saved this result without lesions") as error:
        _ = result.settings
    assert "result.parameters and result.seed are what is known" in str(error.value)


def test_a_result_of_version_0_1_0_is_saved_again(tmp_path):
    former = SimulationResult.load(FILES / "result.h5")
    former.save(tmp_path / "result.h5")
    found = SimulationResult.load(tmp_path / "result.h5")
    assert found.perturbations is None
    assert str(found) == str(former)


@pytest.mark.standalone
def test_a_network_of_version_0_1_0_gives_the_same_spikes():
    snn = SpikingNetwork.load(FILES / "network.snn")
    assert snn.classes == tuple("abcde")
    with np.load(FILES / "run.npz") as run, snn.compile(20 * ms) as simulator:
        result = simulator.run(run["images"], seed=3)
        for name in ("input", "conv1", "pool1", "ip1"):
            np.testing.assert_array_equal(result.spike_counts[name], run[name])


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
