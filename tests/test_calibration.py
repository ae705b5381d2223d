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
    IF,
    AdaptiveIF,
    BurstIF,
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
from cnn2snn_brian.layerwise import Layerwise
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
    errors = []
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

        errors.append((error(result, scale), error(plain, own)))
        assert errors[-1][0] < errors[-1][1]
    # Of 40 rows in the last of them, a mean changes by whole spikes.
    after, before = np.array(errors).T
    assert (after[:2] < 0.5 * before[:2]).all()


def test_channels_of_the_first_layer_choose_what_a_loop_chooses(images, simulator):
    scales, starts, rounds = (0.6, 1.0, 1.4), (0.3, 0.5, -1.0), 2
    found = calibrate(
        simulator, images, scales=scales, v_init=starts, rounds=rounds, progress=False
    )
    cnn = random_cnn()
    goal = activations(cnn, images)[0]
    with torch.no_grad():
        drive = cnn[0](torch.tensor(images)).numpy().reshape(goal.shape)
    largest = np.percentile(goal, 99, axis=(0, 2))[:, None]
    # Channels that are silent at the percentile take the layer's.
    largest[largest == 0] = np.percentile(goal, 99)
    tried = []
    for scale in scales:
        for start in starts:
            theta, leak = scale * largest, np.zeros_like(largest)
            for turn in range(rounds + 1):
                v, count = np.zeros_like(drive) + start * theta, np.zeros_like(drive)
                for step in range(N_STEPS):
                    v += drive + leak
                    spikes = v >= theta
                    v -= theta * spikes
                    count += spikes
                    if step + 1 == N_STEPS // 2:
                        early = count * theta / (N_STEPS // 2)
                coded = count * theta / N_STEPS
                mean = coded.mean((0, 2))[:, None]
                if turn < rounds:
                    wanted = np.minimum(goal, theta).mean((0, 2))[:, None]
                    leak = leak + wanted - mean
            error = ((coded - goal) ** 2).mean((0, 2))
            judged = error + 0.1 * ((early - goal) ** 2).mean((0, 2))
            tried.append((error, theta[:, 0], leak[:, 0], 0 * error + start, judged))
    chosen = np.argmin([judged for *_, judged in tried], axis=0)
    picked = np.array(tried)[chosen, :, np.arange(len(chosen))].T
    parameters = found.found
    np.testing.assert_allclose(parameters.thresholds["conv1"], picked[1], rtol=1e-5)
    # Positions are all of 40 images; a spike more or less is rounding.
    np.testing.assert_allclose(parameters.leak["conv1"], picked[2], atol=1e-3)
    np.testing.assert_allclose(parameters.v_init["conv1"], picked[3], rtol=1e-6)
    assert len({*chosen.tolist()}) > 1
    power = (goal**2).mean()
    assert found.errors["conv1"][1] == pytest.approx(
        np.sqrt(picked[0].mean() / power), rel=1e-3
    )


@pytest.mark.parametrize("neurons", [IF(), BurstIF(3), BurstIF(2, signed=True)])
@pytest.mark.parametrize("v_min", [-np.inf, -1.0])
def test_errors_are_those_of_the_spikes_with_what_was_found(images, neurons, v_min):
    snn = convert(
        random_cnn(), SHAPE, calibration=images, preset="few-steps", neurons=neurons,
        v_min=v_min,
    )  # fmt: skip
    found = calibrate(snn, images, duration=N_STEPS * ms, progress=False)
    spikes = Layerwise.of(snn, N_STEPS).spikes(found.found, images)
    for (name, sent, _), goal, scale in zip(
        spikes, activations(random_cnn(), images), scales_of(found.found), strict=False
    ):
        if name not in found.errors:
            continue
        coded = sent.sum(0).numpy().reshape(goal.shape) / N_STEPS * scale[:, None]
        error = np.sqrt(((coded - goal) ** 2).mean() / (goal**2).mean())
        # Of layers that are small enough, all positions are looked at.
        assert found.errors[name][1] == pytest.approx(error, rel=0.02)
    before, after = np.array([*found.errors.values()]).T
    assert after.sum() < before.sum()


def test_the_last_layer_keeps_one_threshold_and_gets_the_mean_of_its_input(
    simulator, images, found
):
    last = simulator.snn.layer_names[-1]
    assert np.ndim(found.found.thresholds[last]) == 0
    assert {*found.errors} == {*simulator.snn.layer_names} - {last}
    result = simulator.run(images, **found.arguments, progress=False)
    # All that arrived in an output: its spikes and what is left.
    threshold, start = found.found.thresholds[last], found.found.v_init[last]
    arrived = result.spike_counts[last] * threshold + result.output_potentials
    scale = scales_of(found.found)[-2].max()
    mean = scale * (arrived - start * threshold).mean(0) / N_STEPS
    wanted = activations(random_cnn(), images)[-1].mean((0, 2))
    np.testing.assert_allclose(mean, wanted, atol=1e-4)


def test_agreement_is_that_of_the_program(simulator, images, found):
    classes = activations(random_cnn(), images)[-1][..., 0].argmax(1)
    for agreement, parameters in (
        (found.agreement_before, found.before),
        (found.agreement, found.found),
    ):
        result = simulator.run(images, parameters=parameters, progress=False)
        assert agreement == (result.predictions == classes).mean()


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


def test_neurons_that_are_not_covered_are_refused(images):
    snn = convert(
        random_cnn(), SHAPE, calibration=images, preset="few-steps",
        neurons={"conv2": AdaptiveIF()},
    )  # fmt: skip
    with pytest.raises(InputError, match="conv2: neurons AdaptiveIF.*tune_thresholds"):
        calibrate(snn, images)


def test_weights_are_fitted_again(images, tmp_path):
    snn = convert(random_cnn(), SHAPE, calibration=images, preset="few-steps")
    options = {"duration": 2 * ms, "progress": False, "weights": True}
    found = calibrate(snn, images, checkpoint=tmp_path / "w.jsonl", **options)
    plain = calibrate(snn, images, duration=2 * ms, progress=False)
    changed = found.networks[1]
    again = {p.name for p in changed.layers.projections}
    again -= {p.name for p in snn.layers.projections if p in changed.layers.projections}
    # The first layer gets the image itself; the others have rows enough.
    assert again == {"conv2", "ip1", "ip2"}
    assert "weights into conv2, ip1, ip2 were fitted again, to 2 steps" in str(changed)
    # What arrives in a layer is nearer to the CNN's sums than with its weights.
    for name in ("conv2", "ip1"):
        assert found.errors[name][0] < plain.errors[name][0]
    # One ridge regression more, by hand, of the first layer that has one.
    expected = ridge(snn, found, images)
    np.testing.assert_allclose(
        changed.layers.into("conv2")[0].connection.weight.reshape(4, -1),
        expected[:-1].T,
        atol=1e-4,
    )
    kept = calibrate(snn, images, checkpoint=tmp_path / "w.jsonl", **options)
    assert kept.network == found.network
    if found.accepted:
        with pytest.raises(InputError, match="compile result.network"):
            found.arguments  # noqa: B018
    changed.save(tmp_path / "changed.snn")
    assert SpikingNetwork.load(tmp_path / "changed.snn") == changed


def ridge(snn, found, images):
    """Fit the weights of conv2 as docs/thresholds.md says: (values + 1, targets)."""
    cnn = random_cnn()
    conv1, conv2 = cnn[0], cnn[3]
    spikes = next(iter(Layerwise.of(snn, 2).spikes(found.found, images)))[1]
    worth = torch.tensor(found.found.thresholds["conv1"], dtype=torch.float32)
    rates = nn.functional.avg_pool2d(spikes.sum(0) / 2 * worth[:, None, None], 2)
    with torch.no_grad():
        z = conv2(nn.functional.avg_pool2d(conv1(torch.tensor(images)).relu(), 2))
        reached = conv2(rates)
    rows = nn.functional.unfold(rates, 2).transpose(1, 2).flatten(0, 1).double().numpy()
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    z, reached = (
        x.detach().movedim(1, -1).flatten(0, 2).double().numpy() for x in (z, reached)
    )
    gram = rows.T @ rows
    strength = np.full(len(gram), 0.01)
    strength[-1] = 1e-6
    delta = np.zeros((len(gram), 4))
    for _ in range(2):
        fit = rows @ delta
        goal = np.where((z < 0) & (reached + fit < 0), fit, z - reached)
        delta = np.linalg.solve(
            gram + np.diag(strength) * np.trace(gram) / len(gram), rows.T @ goal
        )
    own = conv2.weight.detach().double().reshape(4, -1).numpy().T
    return delta + np.vstack([own, np.zeros((1, 4))])


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
