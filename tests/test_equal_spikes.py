"""
The spikes of ten networks are those of version 0.1.0.

``spike_counts_0_1_0.json`` was written by that version: of each layer the number of
spikes and a hash of its spike counts. Weights are multiples of 1/64, so that sums are
exact in single precision, on any machine; where they are not, a bound holds.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from brian2 import ms
from reference import randomize
from torch import nn

from cnn2snn_brian import LIF, ConductanceLIF, Lesion, NeuronModel, convert, models

pytestmark = [pytest.mark.standalone, pytest.mark.default_flags]

SAVED = json.loads((Path(__file__).parent / "spike_counts_0_1_0.json").read_text())
SHAPE = (2, 7, 6)
IMAGES = np.random.default_rng(0).integers(0, 65, (6, *SHAPE)).astype(np.float32) / 64
THRESHOLDS = {"conv1": 4.0, "pool1": 0.75, "conv2": 2.0, "ip1": 1.5}
ADAPTIVE = NeuronModel(
    "dv/dt = -v / tau : 1\nda/dt = -a / tau_a : 1",
    threshold="v >= v_th + a",
    reset="v = 0; a += 0.1 * v_th",
    parameters={"tau": 20 * ms, "tau_a": 50 * ms},
    method="exact",
)

#: What the preset "few-steps" stood for in version 0.1.0.
FEW_STEPS_0_1_0 = {
    "encoding": "current",
    "reset": "subtract",
    "v_min": -np.inf,
    "v_init": 0.5,
    "percentile": 99.5,
}

#: Seed of the weights, arguments of `convert` and of `run`. One program runs the first
#: two: weights, lesions and input noise are run-time inputs.
CASES = {
    "paper": (1, {}, {}),
    "lesion_noise": (
        6,
        {},
        {
            "lesion": [Lesion("conv1", fraction=0.3), Lesion("input", channels=[1])],
            "input_deletion": 0.2,
            "input_jitter": 2 * ms,
        },
    ),
    "explicit": (1, {"synapses": "explicit"}, {}),
    "bias_floor": (
        2,
        {"v_min": -1.0, "leak": 1 / 64, "reset": "subtract"},
        {"rate_scale": 0.5},
    ),
    "current": (3, FEW_STEPS_0_1_0, {"v_init": 0.25}),
    "delays": (4, {"delay": {"conv2": 3 * ms}}, {}),
    "release": (
        5,
        {"release_probability": {"conv1": 0.5}},
        {"release_probability": {"conv1": 0.25}},
    ),
    "lif": (7, {"neurons": LIF(20 * ms)}, {"neurons": LIF(10 * ms)}),
    "conductance": (
        8,
        {"neurons": {"conv1": ConductanceLIF(), "conv2": ADAPTIVE}, "v_min": -np.inf},
        {},
    ),
}
BIASED = ("bias_floor", "current")

#: Layers whose spikes can depend on how a machine rounds: exponentials, weights of a
#: trained CNN, and biases behind a threshold of 0.75, which are multiples of 1/3.
ROUNDED = {
    "bias_floor": ("conv2", "ip1"),
    "current": ("conv2", "ip1"),
    "lif": ("conv1", "pool1", "conv2", "ip1"),
    "conductance": ("conv1", "pool1", "conv2", "ip1"),
    "cifar10": ("conv1", "pool1", "conv2", "pool2", "conv3", "ip1", "ip2"),
}
#: A rounded sum decides otherwise only if it is at the threshold; that is rare.
BOUND = 0.01


def small_cnn(seed, bias):
    """(2, 7, 6) -> conv1 (3, 7, 5) -> pool1 (3, 4, 3) -> conv2 (4, 2, 2) -> ip1 5."""
    layers = [
        nn.Conv2d(2, 3, (3, 2), padding=(1, 0), bias=bias),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5, bias=bias),
    ]
    return randomize(nn.Sequential(*layers).eval(), seed)


def hashed(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def check(name, result):
    saved = SAVED[name]
    rounded = ROUNDED.get(name, ())
    assert set(result.spike_counts) == set(saved) - {"potentials"}
    for layer, counts in result.spike_counts.items():
        total, digest = saved[layer]
        assert total > 0
        if layer in rounded:
            assert abs(int(counts.sum()) - total) <= max(BOUND * total, 2), layer
        else:
            assert int(counts.sum()) == total, layer
            assert hashed(counts) == digest, layer
    if not rounded:
        assert hashed(result.output_potentials) == saved["potentials"]


@pytest.mark.parametrize("name", CASES)
def test_spikes_are_those_of_0_1_0(name):
    seed, options, settings = CASES[name]
    duration = 24 if name == "current" else 40
    cnn = small_cnn(seed, bias=name in BIASED)
    snn = convert(cnn, SHAPE, thresholds=THRESHOLDS, **options)
    with snn.compile(duration * ms) as simulator:
        result = simulator.run(IMAGES, seed=3, progress=False, executor=1, **settings)
    check(name, result)


def test_spikes_of_the_cifar10_network_are_those_of_0_1_0():
    cnn, _ = models.pretrained("cifar10_quick_adjusted")
    images = np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    snn = convert(cnn, (3, 32, 32), calibration=images)
    with snn.compile(60 * ms) as simulator:
        check("cifar10", simulator.run(images, seed=5, progress=False, executor=1))


def test_ten_networks_are_saved():
    assert set(SAVED) == {*CASES, "cifar10"}
    assert len(SAVED) == 10
