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
            found[(step, *each.position)] = sizes
            np.testing.assert_array_equal(found, np.maximum(n, 0))
            is_long |= bool((n == MOST).any())
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


def small(**options):
    """Two layers; v_th and weights are powers of two, so that sums are exact."""
    cnn = randomize(
        nn.Sequential(
            nn.Conv2d(1, 4, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
        ),
        seed=5,
    ).eval()
    options = {"neurons": BurstIF(4), "thresholds": 0.25} | options
    return convert(cnn, (1, 3, 3), preset="bursts", **options)


@pytest.fixture(scope="module")
def program():
    """A program with a lesion, synapses that fail, and readers of an own model."""
    snn = small(release_probability={"ip1": 0.5}, classes=["a", "b", "c"])

    def readers(network):
        group = brian2.NeuronGroup(4, "got : 1\ncame : 1", name="readers")
        on_pre = "got_post += burst_pre\ncame_post += 1"
        synapses = brian2.Synapses(
            network["conv1"], group, on_pre=on_pre, name="reading"
        )
        synapses.connect(j="i % 4")
        network.add(group, synapses)

    with snn.extend(readers).compile(40 * ms) as simulator:
        yield simulator


@pytest.mark.standalone
def test_lesions_failing_synapses_and_added_objects(program, tmp_path):
    images = np.random.default_rng(1).random((2, 1, 3, 3))
    mask = np.zeros((4, 2, 2), bool)
    mask[1] = True
    kept = Recording(["conv1"], variables={"readers": ["got", "came"]})
    result = program.run(images, record=kept, lesion={"conv1": mask}, seed=3)
    counts, bursts = result.spike_counts["conv1"], result.burst_counts["conv1"]
    assert not counts[:, 1].any()
    assert (counts > bursts).any()
    # By channel, what the last step left: synapses of a user's own read `burst_pre`.
    for what, found in (("got", counts), ("came", bursts)):
        last = result.variable("readers", what, 1).v[-1]
        np.testing.assert_array_equal(last, found[1].sum((1, 2)))
    # A burst is one addition of each of its weights.
    assert result.events["ip1"].tolist() == (3 * bursts.sum((1, 2, 3))).tolist()
    whole = program.run(images, seed=3, release_probability={"ip1": 1.0})
    np.testing.assert_array_equal(whole.spike_counts["conv1"][:, 0], counts[:, 0])
    path = tmp_path / "result.h5"
    result.save(path)
    loaded = SimulationResult.load(path)
    np.testing.assert_array_equal(loaded.burst_counts["conv1"], bursts)
    (of_file, in_file), (trains, sizes) = (
        each.spikes("conv1", 0).bursts for each in (loaded, result)
    )
    np.testing.assert_array_equal(in_file, sizes)
    np.testing.assert_array_equal(of_file.neuron, trains.neuron)
    assert not loaded.corrections


@pytest.mark.standalone
def test_a_burst_fails_as_a_whole(program):
    image = np.full((1, 1, 3, 3), 0.75)
    base = {"thresholds": {"conv1": 0.25, "ip1": 1e6}, "v_init": 0.0, "leak": 0.0}
    trials = program.run(image, repeats=300, seed=1, **base)
    all_of_them = program.run(
        image, repeats=1, seed=1, release_probability={"ip1": 1.0}, **base
    )
    bias = program.run(
        image, repeats=1, seed=1, release_probability={"ip1": 0.0}, **base
    ).output_potentials
    arrived = trials.output_potentials - bias
    wanted = (all_of_them.output_potentials - bias)[0] / 2
    error = arrived.std(0) / np.sqrt(300)
    assert (np.abs(arrived.mean(0) - wanted) < 4 * error).all()
    # Of n independent spikes the spread would be smaller by the root of n.
    weights = program.snn.layers.projections[-1].connection.weight
    sizes = all_of_them.spike_counts["conv1"] / all_of_them.burst_counts["conv1"].clip(
        1
    )
    n = all_of_them.burst_counts["conv1"]
    variance = 0.25 * (n * sizes**2).reshape(1, -1) @ (weights.T**2)
    gain = all_of_them.parameters.thresholds["conv1"]
    assert gain == 0.25
    np.testing.assert_allclose(arrived.var(0), variance[0], rtol=0.35)


def test_files_and_presets(tmp_path):
    snn = small(neurons=BurstIF(3, signed=True))
    snn.save(tmp_path / "bursts.snn")
    loaded = SpikingNetwork.load(tmp_path / "bursts.snn")
    assert loaded == snn
    assert loaded.neurons == BurstIF(3, signed=True)
    assert "BurstIF(most=3, signed=True)" in str(loaded)
    assert suitable_duration(snn) == 4 * ms
    assert suitable_duration(small(neurons=IF())) == 12 * ms


def test_the_largest_activation_is_a_whole_burst():
    cnn = cnn_of(parts("synapses", has_gate=False))
    one, four = (
        convert(
            cnn, SHAPE, preset="bursts", neurons=neurons, calibration=IMAGES
        ).thresholds
        for neurons in (IF(), BurstIF(4))
    )
    # A spike of conv1 is worth a fourth; those of later layers too, as what they read.
    np.testing.assert_allclose(four["conv1"], one["conv1"] / 4)
    for name in ("conv2", "conv3", "ip1"):
        np.testing.assert_allclose(four[name], one[name])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BurstIF(0), "most is 0, expected a whole number of at least 1"),
        (lambda: BurstIF(65), "most is 65"),
        (lambda: BurstIF(2.0), "most is 2.0"),
        (lambda: small(reset="zero"), "conv1: a burst takes .* reset='subtract'"),
        (
            lambda: convert(
                cnn_of(parts("synapses", has_gate=True)),
                SHAPE,
                preset="bursts",
                max_pooling="gate",
                neurons={"conv3": BurstIF(signed=True)},
                thresholds=1.0,
            ),
            "pool2: maximum pooling can't take spikes back",
        ),
        (
            lambda: small(synapses="explicit").plasticity("ip1", STDP()),
            "plasticity of ip1: neurons of ip1 send several spikes at once",
        ),
        (
            lambda: small(synapses="explicit", neurons={"conv1": BurstIF()}).plasticity(
                "ip1", STDP()
            ),
            "plasticity of ip1: neurons of conv1 send several spikes",
        ),
        (lambda: small().to_nir(), r"conv1: NIR has no node .* BurstIF\(most=4\)"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_bursts_into_other_neurons_in_cython():
    """Only conv1 sends bursts, and conductances and leaky neurons read them."""
    brian2.prefs.codegen.target = "cython"
    image = np.full((1, 3, 3), 0.75)
    for synapses in ("shared", "explicit"):
        snn = small(
            neurons={"conv1": BurstIF(4), "ip1": LIF(5 * ms)}, synapses=synapses
        )
        network = snn.network(image)
        sent = SpikeMonitor(network["conv1"], variables="burst")
        kept = brian2.StateMonitor(network["ip1"], "v", record=True)
        network["ip1"].v_th = 1e6
        network.add(sent, kept)
        network.run(5 * ms, namespace={})
        assert sent.burst[:].max() > 1
        linear = snn.layers.projections[-1].connection.weight
        v, found = np.zeros(3), []
        bias = snn.layers["ip1"].bias / snn.thresholds["conv1"]
        for t in range(5):
            v = v * np.exp(-1 / 5) if t else 0.5 * 0.25 * np.exp(-1 / 5) * np.ones(3)
            burst = np.zeros(16)
            now = np.rint(sent.t / ms).astype(int) == t
            burst[sent.i[now]] = sent.burst[now]
            # Neurons have channels last, torch's weights first.
            v = v + bias + linear @ burst.reshape(2, 2, 4).transpose(2, 0, 1).ravel()
            found.append(v)
        # It keeps what is there at the start of a step.
        np.testing.assert_allclose(kept.v.T[1:], found[:-1], rtol=1e-5)
