"""Neurons that send several spikes in a step, against a loop over steps in torch."""

import brian2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import SpikeMonitor, ms
from reference import randomize
from torch import nn

from cnn2snn_brian import (
    IF,
    LIF,
    STDP,
    BurstIF,
    InputError,
    Recording,
    SimulationResult,
    SpikingNetwork,
    convert,
)
from cnn2snn_brian.settings import suitable_duration

N_STEPS = 6
SHAPE = (2, 9, 11)
IMAGES = np.random.default_rng(0).integers(0, 17, (3, *SHAPE)) / 16
MOST = 3


def parts(pooling, *, has_gate):
    """Linear stages of a CNN of odd sizes; what is averaged, and None for a gate."""
    convs = nn.Conv2d(2, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=(1, 0))
    third = nn.Conv2d(32, 40, 2, stride=(1, 2), padding=1, bias=False)
    for conv, seed in zip((*convs, third), range(3), strict=True):
        randomize(conv, seed)
    pool = nn.AvgPool2d(2)
    linear = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    found = [convs[0], pool, convs[1], third, *[None] * has_gate, linear]
    if pooling == "synapses":
        found[1:3] = [nn.Sequential(pool, convs[1])]
    x = torch.zeros(1, *SHAPE)
    for part in found:
        x = F.max_pool2d(x, 2) if part is None else part(x)
    randomize(linear, 3)
    for part in found:
        for parameter in part.parameters() if part else ():
            parameter.data.sub_(10 / 64).mul_(1 / 2)
    return found


def cnn_of(stages):
    """The CNN that these stages are of."""
    layers = []
    for stage in stages:
        if stage is None:
            layers.append(nn.MaxPool2d(2))
        else:
            is_pool = isinstance(stage, nn.AvgPool2d)
            layers += [stage] if is_pool else [stage, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


@torch.no_grad()
def bursts(stages, image, thresholds, waits, rule, *, signed):
    """Sizes of all bursts, (n_steps, *shape) of each stage."""
    x, v, counts, scale = torch.zeros(1, *SHAPE), [], {}, 1.0
    constants, found = [], []
    for i, stage in enumerate(stages):
        x = F.max_pool2d(x, 2) if stage is None else stage(0 * x)
        constants.append(0 * x if stage is None else x * scale)
        scale = scale if stage is None else scale / thresholds[i]
        v.append(0 * x + thresholds[i] / 2)
        found.append(torch.zeros(N_STEPS, *x.shape[1:]))
    constants[0] = stages[0](torch.as_tensor(image[None], dtype=torch.float32))
    for t in range(N_STEPS):
        for i, stage in enumerate(stages):
            now = t - waits[i]
            before = found[i - 1][now][None] if now >= 0 else 0 * found[i - 1][:1]
            if stage is None:
                counts[i] = counts.get(i, 0) + before
                most, at = F.max_pool2d(counts[i], 2, return_indices=True)
                n = before.flatten(2).gather(2, at.flatten(2)).reshape(at.shape)
                if rule == "largest-count":
                    n = most - found[i][:t].sum(0)
                found[i][t] = n[0]
                continue
            v[i] += constants[i]
            if i:
                v[i] += stage(before) - stage(0 * before)
            n = torch.floor(v[i] / thresholds[i]).clamp(0, MOST)
            if signed:
                back = torch.floor(-v[i] / thresholds[i]).clamp(0, MOST)
                n -= torch.minimum(back, found[i][:t].sum(0))
            v[i] -= n * thresholds[i]
            found[i][t] = n[0]
    return found


def case(synapses, pooling, propagation, gate, delay=0, signed=False):
    return pytest.param(synapses, pooling, propagation, gate, delay, signed)


def rare(*given):
    return pytest.param(*given, marks=pytest.mark.many)


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("synapses", "pooling", "propagation", "gate", "delay", "signed"),
    [
        ("shared", "synapses", "instant", "gate", 0, False),
        ("shared", "neurons", "step", None, 2, True),
        ("explicit", "synapses", "step", "largest-count", 1, False),
        rare("explicit", "neurons", "instant", None, 2, True),
        rare("shared", "synapses", "instant", None, 0, True),
        rare("shared", "synapses", "step", "largest-count", 2, False),
        rare("explicit", "neurons", "step", "gate", 0, False),
    ],
)
def test_every_burst(synapses, pooling, propagation, gate, delay, signed):
    stages = parts(pooling, has_gate=gate is not None)
    model = BurstIF(MOST, signed=signed)
    thresholds = dict.fromkeys(("conv1", "pool1", "conv2", "conv3", "ip1"), 0.5)
    thresholds |= {"conv2": 2.0, "conv3": 2.0, "ip1": 2.0}
    if pooling == "synapses":
        del thresholds["pool1"]
    snn = convert(
        cnn_of(stages),
        SHAPE,
        preset="bursts",
        neurons=model,
        thresholds=thresholds,
        pooling=pooling,
        propagation=propagation,
        synapses=synapses,
        max_pooling=gate or "gate",
        delay={"conv2": delay * ms, "conv3": delay * ms},
    )
    names = snn.layer_names
    theta = [snn.thresholds[name] for name in names]
    late = int(propagation == "step")
    waits = [late + delay * (name in ("conv2", "conv3")) for name in names]
    wanted = [
        bursts(stages, image, theta, waits, gate, signed=signed) for image in IMAGES
    ]
    with snn.compile(N_STEPS * ms) as simulator:
        kept = Recording(names, variables={name: ["burst"] for name in names})
        result = simulator.run(IMAGES, record=kept, progress=False)
    is_long = is_taken = False
    for k, of_image in enumerate(wanted):
        for name, n in zip(names, of_image, strict=True):
            n = n.numpy()
            np.testing.assert_array_equal(
                result.spike_counts[name][k], n.sum(0), err_msg=name
            )
            events = result.burst_counts[name][k]
            np.testing.assert_array_equal(events, (n != 0).sum(0))
            trains = result.spikes(name, k)
            each, sizes = trains.bursts
            found = np.zeros(n.shape)
            step = np.rint(1e3 * each.t).astype(int)
            found[step, *each.position] = sizes
            np.testing.assert_array_equal(found, np.maximum(n, 0))
            is_long |= bool((n == MOST).any())
            print(name, n.mean(), (n==0).mean(), (n==1).mean(),(n==MOST).mean(), (n<0).mean())
            if signed:
                taken = result.corrections[name][k]
                np.testing.assert_array_equal(taken, np.maximum(-n, 0).sum(0))
                is_taken |= bool(taken.any())
    assert is_long
    assert is_taken == signed
    for t in range(N_STEPS + 1):
        upto = [of_image[-1][:t].sum(0).numpy() for of_image in wanted]
        np.testing.assert_array_equal(result.output_counts(t * ms), upto)
    # What Brian2 does by itself.
    brian2.prefs.codegen.target = "numpy"
    network = snn.network(IMAGES[1])
    monitors = [SpikeMonitor(network[name], variables="burst") for name in names]
    network.add(monitors)
    network.run(N_STEPS * ms, namespace={})
    for monitor, n in zip(monitors, wanted[1], strict=True):
        found = np.zeros((N_STEPS, monitor.source.N))
        found[np.rint(monitor.t / ms).astype(int), monitor.i] = monitor.burst
        n = np.moveaxis(n.numpy(), 1, -1) if n.ndim == 4 else n.numpy()
        np.testing.assert_array_equal(found, n.reshape(N_STEPS, -1))
