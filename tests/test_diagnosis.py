"""Faults that are put in by construction: which layer is named, and what is advised."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from brian2 import ms
from by_hand import Layers, Linear, connection_of, layer_of
from torch import nn

from cnn2snn_brian import (
    AdaptiveIF,
    InputError,
    Lesion,
    SimulationResult,
    convert,
    models,
)
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.diagnosis import diagnose
from cnn2snn_brian.layerwise import Layerwise
from cnn2snn_brian.projections import to_neurons
from cnn2snn_brian.results import SpikeCounts
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.perturbations import Perturbations

NAMES = ("conv1", "pool1", "conv2", "ip1")


@pytest.fixture(scope="module")
def digits():
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, (1, 8, 8), calibration=training.images, percentile=100)
    assert snn.layer_names == NAMES
    images = test.images[:60]
    with snn.compile(100 * ms) as simulator:
        yield cnn, snn, simulator, images


@pytest.fixture(scope="module")
def healthy(digits):
    cnn, _, simulator, images = digits
    result = simulator.run(images, progress=False)
    return result, diagnose(result, cnn, images)


@pytest.mark.standalone
def test_nothing_is_wrong_with_a_healthy_network(digits, healthy):
    cnn, _, _, images = digits
    result, found = healthy
    assert found.layer is None
    assert "longer" in found.advice
    assert tuple(found.table.index) == NAMES
    assert (found.table["transfer"] > 0.98).all()
    with torch.no_grad():
        answers = cnn(torch.from_numpy(images).float() / 255).argmax(1).numpy()
    assert found.agreement == (result.predictions == answers).mean()


@pytest.mark.standalone
def test_the_table_is_what_torch_and_numpy_say(digits, healthy):
    cnn, snn, _, images = digits
    result, found = healthy
    activations, x = {}, torch.from_numpy(images).float() / 255
    for name in NAMES:
        with torch.no_grad():
            x = x.flatten(1) if name == "ip1" else x
            x = torch.relu(getattr(cnn, name)(x))
        activations[name] = x.numpy().astype(float)
    for name, row in found.table.iterrows():
        counts = result.spike_counts[name]
        flat = counts.reshape(len(counts), -1)
        r = np.corrcoef(counts.ravel(), activations[name].ravel())[0, 1]
        assert row["correlation"] == pytest.approx(r, abs=1e-6)
        assert row["silent"] == pytest.approx((flat.max(0) == 0).mean())
        assert row["saturated"] == pytest.approx((flat > 90).mean())
        assert row["spikes"] == pytest.approx(flat.mean())
        assert row["events"] == pytest.approx(result.events[name].mean())
        assert row["threshold"] == snn.thresholds[name]
        missed = activations[name][counts == 0].sum() / activations[name].sum()
        assert row["missed"] == pytest.approx(missed, rel=1e-4, abs=1e-9)
    # What the spikes of conv1 should make of conv2, by torch.
    with torch.no_grad():
        pooled = torch.from_numpy(result.spike_counts["pool1"]).float()
        drive = torch.relu(cnn.conv2(pooled)).numpy().astype(float)
    r = np.corrcoef(result.spike_counts["conv2"].ravel(), drive.ravel())[0, 1]
    assert found.table.loc["conv2", "transfer"] == pytest.approx(r, abs=1e-6)


@pytest.mark.standalone
@pytest.mark.parametrize("layer", NAMES)
def test_a_threshold_that_is_too_high(digits, healthy, layer):
    cnn, snn, simulator, images = digits
    high = {layer: 50 * snn.thresholds[layer]}
    result = simulator.run(images, thresholds=high, progress=False)
    found = diagnose(result, cnn, images)
    assert found.layer == layer
    assert f"lower its threshold, now {high[layer]:.4g}" in found.advice
    assert found.table.loc[layer, "missed"] > 0.8
    # The advice is the same scale as the threshold that works.
    advised = float(found.advice.split()[-1].rstrip("."))
    assert found.thresholds == {layer: pytest.approx(advised, rel=1e-3)}
    assert 0.2 < advised / snn.thresholds[layer] < 2
    better = simulator.run(images, thresholds={layer: advised}, progress=False)
    assert diagnose(better, cnn, images).agreement > 0.9
    # With layers instead of the CNN, nothing changes.
    again = diagnose(result, snn.layers, images)
    np.testing.assert_array_equal(again.table, found.table)


@pytest.mark.standalone
@pytest.mark.parametrize("layer", ["conv1", "conv2", "ip1"])
def test_a_threshold_that_is_too_low(digits, healthy, layer):
    cnn, snn, simulator, images = digits
    low = {layer: 0.02 * snn.thresholds[layer]}
    found = diagnose(simulator.run(images, thresholds=low, progress=False), cnn, images)
    assert found.layer == layer
    assert f"raise its threshold, now {low[layer]:.4g}" in found.advice
    _, before = healthy
    saturated = found.table.loc[layer, "saturated"]
    assert saturated > 10 * before.table.loc[layer, "saturated"]
    assert f"{saturated:.1%} of its neurons are saturated" in found.advice


@pytest.mark.standalone
def test_diagnose_refuses_another_network_and_other_pictures(digits, healthy):
    cnn, snn, _, images = digits
    result, _ = healthy
    with pytest.raises(InputError, match="59 images, the result has 60"):
        diagnose(result, cnn, images[1:])
    names = snn.layers.names[:2]
    other = Layers((1, 8, 8), [layer_of(snn.layers, name) for name in names])
    with pytest.raises(InputError, match="not the same network"):
        diagnose(result, other, images)


@pytest.mark.standalone
def test_a_diagnosis_prints_a_table(healthy):
    _, found = healthy
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", *found.table.columns]
    row = found.table.loc["conv2"]
    conv2 = next(line for line in lines if line.startswith(" conv2")).split()
    assert conv2[1:3] == [f"{row['correlation']:.3f}", f"{row['transfer']:.3f}"]
    assert conv2[3] == f"{row['silent']:.1%}"
    assert lines[-2] == f"same answer as the CNN: {found.agreement:.1%}"
    assert lines[-1] == found.advice


def by_hand(v_min, silent_share):
    """A layer whose spikes have nothing to do with its input."""
    rng = np.random.default_rng(0)
    layers = Layers(
        (2, 1, 3), (Linear("ip1", ("input",), (2, 1, 3), rng.random((40, 6))),)
    )
    images = rng.random((30, 2, 1, 3))
    counts = rng.integers(1, 8, (30, 40)).astype(np.uint8)
    counts[rng.random(counts.shape) < silent_share] = 0
    inputs = np.rint(10 * images).astype(np.uint8)
    shapes = layers.shapes
    raw = {"input": np.moveaxis(inputs, 1, -1).reshape(30, 6), "ip1": counts}
    result = SimulationResult(
        spike_counts=SpikeCounts(raw, shapes),
        output_potentials=np.zeros((30, 40)),
        events={},
        duration_s=10e-3,
        dt_s=1e-3,
        seed=0,
        parameters=Parameters.of(
            ("ip1",), thresholds=5.0, v_min=v_min, leak=0, v_init=0
        ),
        perturbations=None,
        network={},
        program={},
        timings={},
        versions={},
        shapes=shapes,
        recorded={},
    )
    return diagnose(result, layers, images)


@pytest.mark.parametrize(
    ("v_min", "silent_share", "said"),
    [
        (0.0, 0.6, "show the images longer than 10 ms"),
        (0.0, 0.0, "held at the floor 0 and forgets inhibition"),
        (-np.inf, 0.0, "reset='subtract'"),
    ],
)
def test_thresholds_that_fit_are_not_blamed(v_min, silent_share, said):
    found = by_hand(v_min, silent_share)
    assert found.layer == "ip1"
    assert said in found.advice
    assert np.isnan(found.table.loc["ip1", "events"])


def nearly_lossless(n_wrong, noise):
    """Spikes that follow the CNN but for some noise, and `n_wrong` of 50 answers."""
    rng = np.random.default_rng(0)
    weight = rng.random((10, 6))
    layers = Layers((1, 2, 3), (Linear("ip1", ("input",), (1, 2, 3), weight),))
    images = rng.random((50, 1, 2, 3))
    drive = images.reshape(50, 6) @ weight.T
    answers = drive.argmax(1)
    counts = np.rint(20 * drive + rng.normal(size=drive.shape) * noise)
    wrong = np.arange(50) < n_wrong
    answers[wrong] = (answers[wrong] + 1) % 10
    counts[np.arange(50), answers] = counts.max(1) + 1
    inputs = np.rint(100 * images).astype(np.uint8).reshape(50, 6)
    raw = {"input": inputs, "ip1": counts.clip(0).astype(np.uint8)}
    result = SimulationResult(
        spike_counts=SpikeCounts(raw, layers.shapes),
        output_potentials=np.zeros((50, 10)),
        events={},
        duration_s=0.1,
        dt_s=1e-3,
        seed=0,
        parameters=Parameters.of(("ip1",), thresholds=5, v_min=0, leak=0, v_init=0),
        perturbations=None,
        network={},
        program={},
        timings={},
        versions={},
        shapes=layers.shapes,
        recorded={},
    )
    return diagnose(result, layers, images)


def test_nothing_needs_doing_where_hardly_anything_is_lost():
    found = nearly_lossless(n_wrong=2, noise=2.0)
    assert found.agreement == 0.96
    assert 0.95 < found.table.loc["ip1", "correlation"] < 0.99
    assert found.layer is None
    assert found.advice.startswith("Nothing needs doing: ")
    assert "96.0% of the answers" in found.advice
    assert "lowest in ip1" in found.advice
    # With as little noise and other answers, something is wrong.
    assert nearly_lossless(n_wrong=10, noise=2.0).layer == "ip1"
    assert nearly_lossless(n_wrong=0, noise=12.0).layer == "ip1"


def test_counts_of_all_images_are_not_copied():
    class Guarded(SpikeCounts):
        """Counts that give no layer as a whole but the last."""

        def __getitem__(self, name):
            assert name == "ip1", name
            return super().__getitem__(name)

    rng = np.random.default_rng(0)
    first = Linear("hidden", ("input",), (1, 2, 3), rng.random((40, 6)))
    layers = Layers(
        (1, 2, 3), (first, Linear("ip1", ("hidden",), (40,), rng.random((5, 40))))
    )
    raw = {
        "input": rng.integers(0, 9, (120, 6), np.uint8),
        "hidden": rng.integers(0, 9, (120, 40), np.uint8),
        "ip1": rng.integers(0, 9, (120, 5), np.uint8),
    }
    result = SimulationResult(
        spike_counts=Guarded(raw, layers.shapes),
        output_potentials=np.zeros((120, 5)),
        events={},
        duration_s=0.01,
        dt_s=1e-3,
        seed=0,
        parameters=Parameters.of(
            ("hidden", "ip1"), thresholds=1, v_min=0, leak=0, v_init=0
        ),
        perturbations=None,
        network={},
        program={},
        timings={},
        versions={},
        shapes=layers.shapes,
        recorded={},
    )
    table = diagnose(result, layers, rng.random((120, 1, 2, 3))).table
    expected = raw["hidden"].mean()
    assert table.loc["hidden", "spikes"] == pytest.approx(expected)


def test_biases_and_constant_currents_count_as_input():
    rng = np.random.default_rng(1)
    n_steps, c, thresholds = 200, 0.5, {"ip1": 4.0, "ip2": 3.0}
    leak = {"ip1": 0.3, "ip2": -0.2}
    first = Linear("ip1", ("input",), (1, 2, 3), rng.random((20, 6)), rng.random(20))
    # Activations of ip1 are near 4: this bias is as large as what comes from there.
    bias = 30 * rng.normal(size=15)
    second = Linear("ip2", ("ip1",), (20,), rng.normal(size=(15, 20)) / 4, bias)
    layers = Layers((1, 2, 3), (first, second))
    images = rng.random((30, 1, 2, 3))
    drive = (
        c * (images.reshape(30, 6) @ connection_of(first).weight.T + first[0].bias)
        + leak["ip1"]
    )
    ip1 = np.rint(n_steps * drive / 4)
    drive = ip1 @ connection_of(second).weight.T + n_steps * (
        c / 4 * bias + leak["ip2"]
    )
    ip2 = np.rint(np.maximum(drive, 0) / 3)
    raw = {"ip1": ip1.astype(np.uint16), "ip2": ip2.astype(np.uint16)}
    result = SimulationResult(
        spike_counts=SpikeCounts(raw, layers.shapes),
        output_potentials=np.zeros((30, 15)),
        events={"ip2": np.zeros(30, int)},
        duration_s=0.2,
        dt_s=1e-3,
        seed=0,
        parameters=Parameters.of(
            ("ip1", "ip2"),
            thresholds=thresholds,
            v_min=-np.inf,
            leak=leak,
            v_init=0,
            rate_scale=c,
        ),
        perturbations=None,
        network={},
        program={},
        timings={},
        versions={},
        shapes=layers.shapes,
        recorded={},
    )
    table = diagnose(result, layers, images).table
    assert (table["transfer"] > 0.9995).all()
    assert np.isnan(table.loc["ip1", "events"])
    assert table.loc["ip2", "events"] == 0


class Branches(nn.Module):
    """A residual block and a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.first = nn.Conv2d(6, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.left, self.right = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.pool = nn.AvgPool2d(2)
        self.line = nn.Linear(8 * 16, 10)

    def forward(self, x):
        x = self.stem(x).relu()
        x = (self.second(self.first(x).relu()) + x).relu()
        x = torch.cat([self.left(x).relu(), self.right(x).relu()], 1)
        return self.line(self.pool(x).flatten(1))


def simulated(**options):
    """A net with random weights, whose thresholds follow from the digits."""
    training, test = load_digits()
    torch.manual_seed(0)
    snn = convert(Branches(), (1, 8, 8), calibration=training.images[:200], **options)
    with snn.compile(60 * ms) as simulator:
        yield snn, simulator, test.images


@pytest.fixture(scope="module")
def branches():
    yield from simulated()


@pytest.fixture(scope="module")
def branches_without_floor():
    yield from simulated(reset="subtract", v_min=-np.inf)


@pytest.mark.standalone
@pytest.mark.slow
@pytest.mark.parametrize("net", ["digits", "branches", "branches_without_floor"])
def test_advice_makes_nothing_worse(request, net):
    # Thresholds are inputs of a run, so one program serves all faults.
    *_, snn, simulator, images = request.getfixturevalue(net)
    images = images[:30]
    directions, better = set(), []

    def diagnosed(thresholds):
        run = simulator.run(images, thresholds=thresholds, progress=False)
        return diagnose(run, snn.layers, images)

    for layer in snn.layer_names:
        for factor in (0.05, 5, 30):
            thresholds = {layer: factor * snn.thresholds[layer]}
            found = diagnosed(thresholds)
            if not found.thresholds:
                continue
            ((named, advised),) = found.thresholds.items()
            before, after = (
                each.table.loc[named].fillna(0)  # a silent layer has no correlation
                for each in (found, diagnosed(thresholds | found.thresholds))
            )
            rises = advised > before["threshold"]
            assert ("raise its" if rises else "lower its") in found.advice
            directions.add(rises)
            for column in ("correlation", "transfer"):
                said = f"{layer} times {factor}: {found.advice}"
                assert after[column] >= before[column] - 0.005, said
            better.append(after["transfer"] - before["transfer"])
    assert directions == {False, True}
    assert len(better) > 5
    assert np.median(better) > 0.01


def run_without_a_program(snn, images, n_steps, **settings):
    """Give what a program would: spikes of all layers, and what is left in the last."""
    parameters = snn.parameters.replace(**settings)
    raw, left = {}, None
    emulated = Layerwise.of(snn, n_steps)
    for name, spikes, left in emulated.spikes(parameters, images):  # noqa: B007
        raw[name] = to_neurons(spikes.sum(0).numpy(), spikes.shape[2:]).astype(np.int32)
    return SimulationResult(
        spike_counts=SpikeCounts(raw, snn.layers.shapes),
        output_potentials=left.flatten(1).numpy(),
        events={},
        duration_s=n_steps * 1e-3,
        dt_s=1e-3,
        seed=0,
        parameters=parameters,
        perturbations=Perturbations.of(snn),
        network=snn.summary(),
        program={},
        timings={},
        versions={},
        shapes=snn.layers.shapes,
        recorded={},
    )


def test_timing_clipping_and_rounding_are_told_apart():
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, (1, 8, 8), calibration=training.images[:300], preset="few-steps")
    images = test.images[:200].astype(np.float32) / 255
    hidden = {name: snn.thresholds[name] for name in ("conv1", "conv2")}
    with torch.no_grad():
        answers = cnn(torch.from_numpy(images)).argmax(1).numpy()

    def diagnosed(factor):
        thresholds = {name: factor * own for name, own in hidden.items()}
        result = run_without_a_program(snn, images, 2, thresholds=thresholds)
        found = diagnose(result, snn.layers, images)
        agreement = found.anatomy["agreement"]
        assert agreement["as they are"] == (result.predictions == answers).mean()
        assert "even, clipped" in str(found)
        return agreement, found.advice

    plain, _ = diagnosed(1)
    assert plain.min() > 0.95
    low, said = diagnosed(0.25)
    assert low["even, clipped"] < 0.9 < low["even, rounded"]
    assert "clipping costs most" in said
    assert "Raise thresholds" in said
    high, said = diagnosed(2)
    assert high["even, rounded"] < 0.9 < high["even, clipped"]
    assert "rounding costs most" in said
    assert "more time than 2 ms" in said


def test_uneven_timing_is_what_even_spikes_mend():
    # Of two inputs that cancel, one comes in the first steps and the other in the last.
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(),
        nn.Linear(40, 10),
    ).eval()  # fmt: skip
    images = np.random.default_rng(0).random((300, 1, 4, 3), np.float32)
    n_steps = 16
    snn = convert(cnn, (1, 4, 3), calibration=images, preset="few-steps")
    start = np.where(np.arange(40) % 2, -6.0, 0.9)
    leak = (0.5 - start) * snn.thresholds["ip1"] / n_steps
    settings = {"v_init": {"ip1": start}, "leak": {"ip1": leak}}
    result = run_without_a_program(snn, images, n_steps, **settings)
    found = diagnose(result, snn.layers, images)
    agreement = found.anatomy["agreement"]
    assert agreement["even"] > agreement["as they are"] + 0.05
    assert found.layer is not None
    assert "uneven timing costs most" in found.advice
    assert "calibrate" in found.advice


def test_networks_that_are_not_covered_have_no_anatomy():
    images = np.random.default_rng(0).random((20, 1, 4, 3), np.float32)
    cnn = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
    snn = convert(cnn, (1, 4, 3), calibration=images, preset="few-steps")
    result = run_without_a_program(snn, images, 4)
    assert diagnose(result, snn.layers, images).anatomy is not None
    zero = {**result.network, "reset": "zero"}
    others = [
        {"network": zero},
        {"perturbations": Perturbations.of(snn, lesion=Lesion("ip1", fraction=0.5))},
        {"perturbations": replace(result.perturbations, neurons={"ip1": AdaptiveIF()})},
    ]
    for changed in others:
        other = replace(result, **changed)
        assert diagnose(other, snn.layers, images).anatomy is None
