"""The units of a program: equal code is there once, and belongs to several layers."""

import re

import numpy as np
import pytest
import torch
from brian2 import ms
from torch import nn
from torch.nn import functional as F

from cnn2snn_brian import convert
from cnn2snn_brian.simulator.device import write_sources

SHAPE, N_STEPS, THRESHOLD = (2, 8, 6), 12, 0.5


class Pools(nn.Module):
    """Two poolings of one layer, of equal shapes, that read other neighbours."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 1, bias=False)
        self.last = nn.Conv2d(4, 3, 1, bias=False)

    def pools(self, x):
        return F.avg_pool2d(x, 2, 2), F.avg_pool2d(x, 4, 2, 1)

    def forward(self, x):
        pools = self.pools(torch.relu(self.first(x)))
        return torch.relu(self.last(torch.cat([torch.relu(p) for p in pools], 1)))


@pytest.fixture(scope="module")
def cnn():
    module = Pools().double().eval()
    random = np.random.default_rng(0)
    for layer in (module.first, module.last):
        weights = random.integers(-8, 17, layer.weight.shape) / 16
        layer.weight.data = torch.as_tensor(weights)
    return module


def converted(cnn):
    options = {"encoding": "current", "reset": "subtract", "propagation": "instant"}
    values = {"thresholds": THRESHOLD, "v_min": -np.inf, "v_init": 0.0}
    return convert(cnn, SHAPE, dtype="float64", **values, **options)


def test_equal_code_is_there_once(cnn, tmp_path):
    write_sources(converted(cnn), tmp_path)
    units = [path.read_text() for path in tmp_path.glob("program*.cpp")]
    codes = re.findall(r"^static .* void (\w+)_loops\(.*\)$", "".join(units), re.M)
    calls = dict(re.findall(r"^void (\w+)\(\) {.* (\w+)_loops\(", "".join(units), re.M))
    pools = [f"_run_pool{k}_synapses_codeobject" for k in (1, 2)]
    assert [calls[name] for name in pools] == [pools[0]] * 2
    assert codes.count(pools[0]) == 1
    assert pools[1] not in codes
    # Each function that main.cpp calls is there, and what is not called is not.
    declared = {
        name
        for path in (tmp_path / "code_objects").glob("*.h")
        for name in re.findall(r"void (\w+)\(\);", path.read_text())
    }
    assert declared == set(calls)
    assert set(codes) == set(calls.values())
    # All of Brian2's other sources are included, once.
    included = re.findall(r'#include "(\w+\.cpp)"', "".join(units))
    sources = {path.name for path in tmp_path.rglob("*.cpp")}
    assert sorted(included) == sorted(s for s in sources if "program" not in s)


@pytest.mark.standalone
def test_layers_of_equal_code_have_tables_of_their_own(cnn):
    image = np.random.default_rng(1).integers(0, 17, SHAPE) / 16
    with converted(cnn).compile(N_STEPS * ms) as simulator:
        counts = simulator.run(image[None]).spike_counts
    v, expected = {}, dict.fromkeys(("conv1", "pool1", "pool2", "conv2"), 0)

    def spikes(name, received):
        v[name] = v.get(name, 0) + received
        fired = (v[name] >= THRESHOLD).double()
        v[name] -= THRESHOLD * fired
        expected[name] += fired
        return fired

    with torch.no_grad():
        for _ in range(N_STEPS):
            pools = cnn.pools(spikes("conv1", cnn.first(torch.tensor(image[None]))))
            sent = [spikes(f"pool{k}", pool) for k, pool in enumerate(pools, 1)]
            spikes("conv2", cnn.last(torch.cat(sent, 1)))
    for name, count in expected.items():
        assert 0 < count.sum() < count.numel() * N_STEPS
        np.testing.assert_array_equal(counts[name], count.numpy())
    assert not torch.equal(expected["pool1"], expected["pool2"])
