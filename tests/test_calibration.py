"""Calibration: what it promises of rates, against a loop and torch's activations."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from brian2 import ms
from torch import nn
from typer.testing import CliRunner

from cnn2snn_brian import (
    InputError,
    SpikingNetwork,
    calibrate,
    convert,
    diagnose,
    models,
    tune_thresholds,
)
from cnn2snn_brian.cli import app
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.tuning import CalibrationResult

pytestmark = pytest.mark.standalone

N_STEPS = 5
SHAPE = (2, 9, 7)


def random_cnn(seed=3):
    """Two convolutions of odd shapes with pooling, and a hidden linear layer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(5, 4, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3),
    ).eval()  # fmt: skip


def activations(cnn, images):
    """Activations of the ReLU layers and of the last one, (n, channels, positions)."""
    found, x = [], torch.tensor(images)
    with torch.no_grad():
        for part in cnn:
            x = part(x)
            if isinstance(part, nn.ReLU) or part is cnn[-1]:
                found.append(x.numpy().reshape(*x.shape[:2], -1))
    return found


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).random((40, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def simulator(images):
    snn = convert(random_cnn(), SHAPE, calibration=images, preset="few-steps")
    with snn.compile(N_STEPS * ms) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def found(simulator, images):
    return calibrate(simulator, images, rounds=6, progress=False)


def scales_of(parameters):
    """Activation that one spike a step stands for, by layer and channel."""
    before, scales = 1.0, []
    for threshold in parameters.thresholds.values():
        scales.append(np.asarray(threshold) * before)
        before = scales[-1].max()
    return scales


def test_mean_rates_are_those_of_the_cnn(simulator, images, found):
    result = simulator.run(images, **vars(found.found), progress=False)
    plain = simulator.run(images, progress=False)
    for name, goal, scale, own in zip(
        simulator.snn.layer_names[:-1],
        activations(random_cnn(), images),
        scales_of(found.found),
        scales_of(simulator.snn.parameters),
        strict=False,
    ):

        def error(run, scale, name=name, goal=goal):
            scale = np.broadcast_to(scale, goal.shape[1])[:, None]
            coded = run.spike_counts[name].reshape(goal.shape) * scale / N_STEPS
            wanted = np.minimum(goal, scale)
            return np.abs(coded.mean((0, 2)) - wanted.mean((0, 2))).mean()

        assert error(result, scale) < 0.5 * error(plain, own)


def test_channels_of_the_first_layer_choose_what_a_loop_chooses(images, simulator):
    scales, starts = (0.6, 1.0, 1.4), (0.3, 0.5)
    found = calibrate(
        simulator, images, scales=scales, v_init=starts, rounds=1, progress=False
    )
    cnn = random_cnn()
    goal = activations(cnn, images)[0]
    with torch.no_grad():
        drive = cnn[0](torch.tensor(images)).numpy().reshape(goal.shape)
    largest = np.percentile(goal, 99)
    errors, thresholds, v_init, shifts = [], [], [], []
    for scale in scales:
        for start in starts:
            theta = scale * largest
            v, count = np.full_like(drive, start * theta), np.zeros_like(drive)
            for _ in range(N_STEPS):
                v += drive
                spikes = v >= theta
                v -= theta * spikes
                count += spikes
            coded = count * theta / N_STEPS
            errors.append(((coded - goal) ** 2).mean((0, 2)))
            wanted = np.minimum(goal, theta).mean((0, 2))
            shifts.append(wanted - coded.mean((0, 2)))
            thresholds.append(theta)
            v_init.append(start)
    chosen = np.argmin(errors, axis=0)
    parameters = found.found
    np.testing.assert_allclose(
        parameters.thresholds["conv1"], np.array(thresholds)[chosen], rtol=1e-5
    )
    np.testing.assert_array_equal(parameters.v_init["conv1"], np.array(v_init)[chosen])
    shift = np.array(shifts)[chosen, np.arange(5)]
    np.testing.assert_allclose(parameters.leak["conv1"], shift, atol=1e-5)
    assert len({*chosen.tolist()}) > 1


def test_the_last_layer_keeps_one_threshold_and_its_leak(simulator, found):
    last = simulator.snn.layer_names[-1]
    assert np.ndim(found.found.thresholds[last]) == 0
    assert found.found.leak[last] == simulator.snn.parameters.leak[last]
    assert {*found.errors} == {*simulator.snn.layer_names} - {last}


def test_a_network_is_compiled_for_the_time_that_suits_it(simulator, images):
    snn = simulator.snn
    quick = calibrate(snn, images[:8], rounds=1, progress=False)
    assert quick.settings["duration_s"] == pytest.approx(0.012)
    given = calibrate(snn, images, duration=N_STEPS * ms, rounds=1, progress=False)
    compiled = calibrate(simulator, images, rounds=1, progress=False)
    assert given.found == compiled.found


def test_digits_in_two_steps():
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    images = training.per_class(20, seed=0).images
    snn = convert(cnn, (1, 8, 8), calibration=images, preset="few-steps")
    with snn.compile(2 * ms) as simulator:
        found = calibrate(simulator, images, progress=False)
        before = simulator.run(test.images, progress=False)
        after = simulator.run(test.images, **found.arguments, progress=False)
    assert found.accepted
    assert "is used" in str(found)
    assert after.accuracy(test.labels) > before.accuracy(test.labels)
    # What is found can be kept with the network.
    kept = replace(snn, parameters=found.parameters)
    assert kept.thresholds.keys() == found.thresholds.keys()


def test_a_search_begins_with_thresholds_by_channel(simulator, images):
    snn = simulator.snn
    labels = np.arange(len(images)) % 3
    tuned = tune_thresholds(
        simulator, images, labels, method="search", budget=4, held_out=0,
        accept="always", progress=False,
    )  # fmt: skip
    start = tuned.settings["start"]["thresholds"]
    assert {name: np.size(start[name]) for name in start} == {
        name: np.size(threshold) for name, threshold in snn.thresholds.items()
    }
    assert "by channel" in str(tuned)


def test_diagnosis_of_a_network_without_neurons_for_pooling(simulator, images):
    result = simulator.run(images, progress=False)
    found = diagnose(result, random_cnn(), images)
    assert all(name in str(found) for name in simulator.snn.layer_names)
    assert "pool1" not in str(found)


def test_it_goes_on_from_its_checkpoint(simulator, images, found, tmp_path):
    path = tmp_path / "calibration.jsonl"
    options = {"rounds": 6, "progress": False, "checkpoint": path}
    whole = calibrate(simulator, images, **options)
    assert whole.found == found.found
    lines = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["key"] for line in lines[1:]] == ["conv1", "conv2", "ip1"]
    # Killed in the middle of the second layer's line.
    path.write_text("".join(lines[:2]) + lines[2][:20])
    again = calibrate(simulator, images, **options)
    assert again.found == found.found
    assert again.errors == found.errors
    assert path.read_text().splitlines(keepends=True) == lines
    with pytest.raises(InputError, match="differs in images"):
        calibrate(simulator, images[:-1], **options)
    with pytest.raises(InputError, match="differs in scales"):
        calibrate(simulator, images, scales=(1.0,), **options)


def test_without_gain_the_network_keeps_its_own():
    own = {"before": "own", "found": "new", "errors": {}, "settings": {}, "n_images": 9}
    worse = CalibrationResult(agreement_before=0.8, agreement=0.7, **own)
    assert worse.parameters == "own"
    assert "are kept" in worse.verdict
    equal = CalibrationResult(agreement_before=0.8, agreement=0.8, **own)
    assert equal.parameters == "new"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scales": ()}, r"scales is \(\), expected at least one number"),
        ({"scales": (1.0, 0.0)}, "scales: one is 0.0, expected a number above 0"),
        ({"scales": (np.nan,)}, "scales: one is nan"),
        ({"v_init": (0.5, 1.0)}, "v_init: one is 1.0, expected a number below 1"),
        ({"v_init": "half"}, "v_init: one is 'half'"),
        ({"rounds": 0}, "rounds is 0, expected a whole number of at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"duration": 5 * ms}, "this network is compiled, and has one"),
    ],
)
def test_bad_input(simulator, images, given, message):
    with pytest.raises(InputError, match=message):
        calibrate(simulator, images, **given)


def test_bad_images(simulator, images):
    with pytest.raises(InputError, match="images have the shape"):
        calibrate(simulator.snn, images[:, :1])
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(105, 3)
    )
    snn = convert(module.eval(), SHAPE, thresholds=1.0, preset="few-steps")
    with pytest.raises(InputError, match="conv1: the 99.0th percentile"):
        calibrate(snn, np.zeros((2, *SHAPE), np.float32))


def test_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training, _ = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, (1, 8, 8), calibration=training.images[:100], preset="few-steps")
    snn.save("digits.snn")
    result = CliRunner().invoke(
        app,
        ["calibrate", "digits.snn", "--data", "digits", "--out", "quick.snn",
         "--duration", "2", "--n", "5", "--rounds", "1"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "of 50 images are classified like by the CNN" in result.output
    quick = SpikingNetwork.load("quick.snn")
    assert quick.parameters != snn.parameters
    assert {path.name for path in tmp_path.iterdir()} == {"digits.snn", "quick.snn"}


@pytest.mark.parametrize("network", [nn.Conv2d(1, 2, 3), None])
def test_what_is_no_network_is_refused_in_a_sentence(network):
    images = np.ones((2, 1, 6, 8))
    with pytest.raises(InputError, match="expected a SpikingNetwork"):
        calibrate(network, images)
    with pytest.raises(InputError, match="expected a SpikingNetwork"):
        tune_thresholds(network, images, [0, 1])
