"""CNNs that are graphs: sums, concatenations, BatchNorm of its own, several readers."""

import brian2
import numpy as np
import pytest
import torch
from brian2 import SpikeMonitor, ms
from torch import nn

from cnn2snn_brian import (
    convert,
)
from cnn2snn_brian.cnn.from_torch import from_torch

SHAPE = (2, 9, 8)
IMAGES = np.random.default_rng(0).integers(0, 65, (2, *SHAPE)) / 64


def randomize(module, seed=0):
    """Weights and statistics in multiples of 1/64, so that sums are exact."""
    generator = torch.Generator().manual_seed(seed)

    def draw(values, low, high):
        values.data = torch.randint(low, high, values.shape, generator=generator) / 64

    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.Linear):
            draw(child.weight, -24, 33)
            if child.bias is not None:
                draw(child.bias, -16, 17)
        if isinstance(child, nn.BatchNorm2d):
            # A variance of 1 - eps makes the factor exactly the weight.
            child.running_var.fill_(1.0)
            child.eps = 0.0
            draw(child.weight, 16, 81)
            draw(child.bias, -16, 17)
            draw(child.running_mean, -16, 17)
    return module.double().eval()


class Graph(nn.Module):
    """Sum, concatenation, a shortcut with a stride, BatchNorm first, two readers."""

    def __init__(self, bias=True):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=bias)
        self.short = nn.Conv2d(4, 6, 1, stride=2, bias=bias)
        self.norm = nn.BatchNorm2d(6)
        self.conv3 = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
        self.conv4 = nn.Conv2d(6, 3, 1, bias=bias)
        self.pool = nn.AvgPool2d(2)
        self.line = nn.Linear(9 * 2 * 2, 5, bias=bias)

    def forward(self, x):
        one = self.conv1(x).relu()
        two = self.conv2(one) + self.short(one)
        first = self.norm(two).relu()
        three = (self.conv3(first) + torch.relu(two)).relu()
        four = self.conv4(first).relu()
        both = torch.cat([three, four], 1)
        return self.line(self.pool(both).flatten(1))


def test_a_graph_computes_what_torch_does():
    cnn = randomize(Graph())
    layers = from_torch(cnn, SHAPE)
    assert layers.names == ("conv1", "bn1", "add1", "add2", "conv5", "pool1", "ip1")
    found = layers.activations(IMAGES)
    expected = cnn(torch.tensor(IMAGES)).detach().numpy()
    np.testing.assert_allclose(found["ip1"], expected, rtol=1e-12)
    composed = layers.without_pooling_neurons()
    assert "pool1" not in composed.names
    np.testing.assert_allclose(
        composed.activations(IMAGES)["ip1"], expected, rtol=1e-12
    )


def test_the_table_says_who_reads_whom():
    rows = {
        line.split()[0]: " ".join(line.split())
        for line in str(from_torch(Graph().eval(), SHAPE)).splitlines()
    }
    assert rows["bn1"].startswith("bn1 Conv2d conv1 6x5x4")
    assert rows["add2"].startswith("add2 Conv2d of 2 bn1, add1 6x5x4")
    assert rows["pool1"].startswith("pool1 AvgPool2d of 2 add2, conv5 9x2x2")


def connect(name, cnn):
    """Linear maps into each population of `Graph`, by the population that they read."""
    norm = cnn.norm

    def flat(layer):
        return lambda x: layer(x) - layer(torch.zeros_like(x))

    def scale(layer):
        return lambda x: flat(layer)(x) * norm.weight[:, None, None]

    pool, line = cnn.pool, flat(cnn.line)

    def padded(before, behind):
        return lambda x: nn.functional.pad(pool(x), (0, 0, 0, 0, before, behind))

    return {
        "conv1": {"input": flat(cnn.conv1)},
        "bn1": {"conv1": lambda x: scale(cnn.conv2)(x) + scale(cnn.short)(x)},
        "add1": {"conv1": lambda x: flat(cnn.conv2)(x) + flat(cnn.short)(x)},
        "add2": {"bn1": flat(cnn.conv3), "add1": lambda x: x},
        "conv5": {"bn1": flat(cnn.conv4)},
        "pool1": {"add2": padded(0, 3), "conv5": padded(6, 0)},
        "ip1": {"pool1": lambda x: line(x.flatten(1))},
    }[name]


DEPTHS = {"input": 0, "conv1": 1, "bn1": 2, "add1": 2, "add2": 3, "conv5": 3}
DEPTHS |= {"pool1": 4, "ip1": 5}


def constants(cnn):
    """Biases of the populations: what each computes of an input of nothing."""
    with torch.no_grad():
        zero = torch.zeros(1, *SHAPE, dtype=torch.float64)
        one = torch.zeros(1, 4, 9, 8, dtype=torch.float64)
        two = torch.zeros(1, 6, 5, 4, dtype=torch.float64)
        both = cnn.conv2(one) + cnn.short(one)
        return {
            "conv1": cnn.conv1(zero),
            "bn1": cnn.norm(both),
            "add1": both,
            "add2": cnn.conv3(two),
            "conv5": cnn.conv4(two),
            "pool1": torch.zeros(1, 9, 2, 2, dtype=torch.float64),
            "ip1": cnn.line(torch.zeros(1, 36, dtype=torch.float64)),
        }


def loop(cnn, image, thresholds, n_steps, propagation):
    """Spikes of all populations, from a loop over steps: currents, subtraction."""
    names = tuple(thresholds)
    gains, scales, bias = {"input": 1.0}, {}, constants(cnn)
    for name in names:
        scales[name] = min(gains[source] for source in connect(name, cnn))
        gains[name] = scales[name] / thresholds[name]
    pixels = torch.tensor(image[None])
    v = {name: torch.full_like(bias[name], thresholds[name] / 2) for name in names}
    spikes = {name: [] for name in names}

    def arrive(name, t):
        for source, through in connect(name, cnn).items():
            late = DEPTHS[name] - DEPTHS[source] - 1 if propagation == "step" else 0
            if source != "input" and t - late >= 0:
                factor = scales[name] / gains[source]
                v[name] += factor * through(spikes[source][t - late])

    with torch.no_grad():
        for t in range(n_steps):
            for name in names:
                v[name] += bias[name] * scales[name]
                if name == "conv1":
                    v[name] += connect(name, cnn)["input"](pixels)
                if propagation == "instant":
                    arrive(name, t)
                spikes[name].append((v[name] >= thresholds[name]).double())
                v[name] -= thresholds[name] * spikes[name][t]
            if propagation == "step":
                for name in names:
                    arrive(name, t)
    return {name: torch.cat(found).bool().numpy() for name, found in spikes.items()}


THRESHOLDS = dict(
    zip(
        ("conv1", "bn1", "add1", "add2", "conv5", "pool1", "ip1"),
        (2.0, 1.0, 2.0, 0.5, 1.0, 0.5, 1.0),
        strict=True,
    )
)
N_STEPS = 11


def converted(propagation, synapses):
    return convert(
        randomize(Graph()),
        SHAPE,
        thresholds=THRESHOLDS,
        encoding="current",
        reset="subtract",
        v_min=-np.inf,
        v_init=0.5,
        propagation=propagation,
        synapses=synapses,
        dtype="float64",
    )


@pytest.mark.parametrize("synapses", ["shared", "explicit"])
@pytest.mark.parametrize("propagation", ["step", "instant"])
def test_every_spike_in_brian(propagation, synapses):
    brian2.prefs.codegen.target = "numpy"
    snn = converted(propagation, synapses)
    expected = loop(randomize(Graph()), IMAGES[0], THRESHOLDS, N_STEPS, propagation)
    network = snn.network(IMAGES[0])
    monitors = {name: SpikeMonitor(network[name]) for name in THRESHOLDS}
    network.add(*monitors.values())
    network.run(N_STEPS * ms, namespace={})
    for name, monitor in monitors.items():
        found = np.zeros((N_STEPS, len(network[name])), bool)
        found[np.rint(monitor.t / ms).astype(int), monitor.i] = True
        shape = expected[name].shape[1:]
        ordered = np.moveaxis(expected[name], 1, -1) if len(shape) == 3 else None
        whole = expected[name] if ordered is None else ordered
        np.testing.assert_array_equal(found, whole.reshape(N_STEPS, -1), name)
        assert found.any(), name


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("propagation", "synapses"),
    [("step", "shared"), ("instant", "shared"), ("instant", "explicit")],
)
def test_every_spike_of_a_program(propagation, synapses):
    snn = converted(propagation, synapses)
    with snn.compile(N_STEPS * ms) as simulator:
        # Other thresholds are run-time inputs, and scales of branches follow.
        other = {name: 2 * value for name, value in THRESHOLDS.items()}
        for thresholds in (THRESHOLDS, other | {"add1": 0.5}):
            result = simulator.run(IMAGES, thresholds=thresholds)
            for image, pixels in enumerate(IMAGES):
                expected = loop(
                    randomize(Graph()), pixels, thresholds, N_STEPS, propagation
                )
                for name, spikes in expected.items():
                    found = result.spike_counts[name][image]
                    np.testing.assert_array_equal(found, spikes.sum(0), name)
