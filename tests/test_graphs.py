"""CNNs that are graphs: sums, concatenations, BatchNorm of its own, several readers."""

from collections import OrderedDict

import brian2
import numpy as np
import pytest
import torch
from brian2 import SpikeMonitor, ms
from by_hand import weight_of
from torch import nn
from torchvision import models as zoo

from cnn2snn_brian import (
    InputError,
    SpikingNetwork,
    UnsupportedModuleError,
    adjust,
    convert,
    diagnose,
)
from cnn2snn_brian.cnn.from_torch import from_torch
from cnn2snn_brian.settings.scales import projection_delays_s

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


def test_squared_weights_add_up_variances():
    layers = from_torch(randomize(Graph()), SHAPE)
    for form in (layers, layers.without_pooling_neurons()):
        assert len(form.projections) > len(form)
        for part in (p.connection for p in form.projections):
            n = int(np.prod(part.input_shape))
            every_input = np.eye(n).reshape(n, *part.input_shape)
            np.testing.assert_allclose(
                part.squared().drive(every_input), part.drive(every_input) ** 2
            )


def test_the_table_says_who_reads_whom():
    rows = {
        line.split()[0]: " ".join(line.split())
        for line in str(from_torch(Graph().eval(), SHAPE)).splitlines()
    }
    assert rows["bn1"].startswith("bn1 Conv2d conv1 6x5x4")
    assert rows["add2"].startswith("add2 Conv2d + ByChannel of 2 bn1, add1 6x5x4")
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


def test_a_saved_graph_is_the_same(tmp_path):
    snn = converted("instant", "shared")
    for made in (
        snn,
        convert(randomize(Graph()), SHAPE, thresholds=1, pooling="synapses"),
    ):
        made.save(tmp_path / "graph.snn")
        again = SpikingNetwork.load(tmp_path / "graph.snn")
        assert again == made
        assert again.layers == made.layers
        np.testing.assert_array_equal(
            again.layers.activations(IMAGES)["ip1"],
            made.layers.activations(IMAGES)["ip1"],
        )


def delays_s(network, given, propagation="step"):
    return projection_delays_s(network, given, 0.001, propagation)


def test_shortcuts_wait_for_the_branches_beside_them():
    layers = from_torch(randomize(Graph()), SHAPE)
    waits = {
        name: 1e3 * delay for name, delay in delays_s(layers, {"conv5": 0.002}).items()
    }
    # conv5 reads bn1, which is as deep as add1; pool1 reads layers of depth 3.
    assert waits["conv5"] == pytest.approx(2)
    assert waits["add2_from_bn1"] == waits["add2_from_add1"] == 0

    class Short(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))

        def forward(self, x):
            x = self.convs[0](x).relu()
            y = self.convs[2](self.convs[1](x).relu())
            return (x + y).relu()

    layers = from_torch(Short(), SHAPE)
    assert delays_s(layers, {}) == pytest.approx(
        {"conv1": 0, "conv2": 0, "add1_from_conv1": 0.001, "add1_from_conv2": 0}
    )
    assert not any(delays_s(layers, {}, "instant").values())


class Composed(nn.Module):
    """Linear maps without a ReLU between them."""

    def __init__(self, *maps):
        super().__init__()
        self.maps = nn.Sequential(*maps)

    def forward(self, x):
        return self.maps(x)


@pytest.mark.parametrize(
    "maps",
    [
        # Depthwise, then pointwise, with two outputs for each input channel.
        [nn.Conv2d(2, 4, 3, padding=1, groups=2, stride=2), nn.Conv2d(4, 5, 1)],
        # Pointwise, then depthwise, whose padding is of zeros, not of biases.
        [nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, padding=1, groups=4)],
        [nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1, groups=2)],
        [nn.Flatten(), nn.Linear(144, 6), nn.Linear(6, 3)],
        [nn.Conv2d(2, 3, 1), nn.AvgPool2d(3, 2, padding=1), nn.BatchNorm2d(3)],
        [nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 1)],
    ],
)
def test_maps_without_a_relu_are_composed_where_that_is_cheap(maps):
    torch.manual_seed(0)
    cnn = Composed(*maps).double().eval()
    layers = from_torch(cnn, SHAPE)
    expected = cnn(torch.tensor(IMAGES)).detach().numpy()
    found = layers.activations(IMAGES)[layers.names[-1]]
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("maps", "where"),
    [
        ([nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 3)], r"maps\.0"),
        ([nn.Conv2d(2, 4, 3), nn.AvgPool2d(2)], r"maps\.0"),
        ([nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(168, 3)], r"maps\.0"),
    ],
)
def test_others_are_refused_by_their_place(maps, where):
    with pytest.raises(UnsupportedModuleError, match=rf"^{where}: .*without a ReLU"):
        from_torch(Composed(*maps), SHAPE, negative="refuse")


def test_several_heads_are_refused_by_name():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten())
            self.one, self.two = nn.Linear(126, 4), nn.Linear(126, 2)

        def forward(self, x):
            x = self.body(x)
            return self.one(x), self.two(x)

    with pytest.raises(UnsupportedModuleError, match="returns 2 tensors, of one, two"):
        from_torch(Heads(), SHAPE)


def test_several_maps_of_one_pair_of_layers_become_one():
    class Parallel(nn.Module):
        """What RepVGG trains: three branches from one layer to the next."""

        def __init__(self):
            super().__init__()
            self.wide = nn.Conv2d(2, 2, (3, 5), padding=(1, 2))
            self.narrow = nn.Conv2d(2, 2, 1)
            self.norm = nn.BatchNorm2d(2)

        def forward(self, x):
            return (self.wide(x) + self.narrow(x) + self.norm(x) + x).relu()

    torch.manual_seed(1)
    cnn = Parallel().double().eval()
    layers = from_torch(cnn, SHAPE)
    assert len(layers) == 1
    assert weight_of(layers, layers.names[0]).shape == (2, 2, 3, 5)
    expected = cnn(torch.tensor(IMAGES)).detach().numpy()
    found = np.maximum(layers.activations(IMAGES)[layers.names[-1]], 0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_relu6_saturates_at_6():
    torch.manual_seed(0)
    cnn = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU6(), nn.Conv2d(3, 2, 1))
    nn.init.normal_(cnn[0].weight, std=3.0)
    # Outputs of which some are above 0.
    nn.init.constant_(cnn[2].bias, 9.0)
    snn = convert(
        cnn,
        SHAPE,
        calibration=IMAGES,
        encoding="current",
        reset="subtract",
        propagation="instant",
    )
    activations = snn.layers.activations(IMAGES)
    expected = cnn[:2].double()(torch.tensor(IMAGES)).detach().numpy()
    assert (expected == 6).any()
    np.testing.assert_allclose(activations["conv1"], expected, atol=1e-6)
    # One spike a step stands for 6.
    assert snn.thresholds["conv1"] == 6
    # Where activations are smaller, it stands for their percentile.
    nn.init.normal_(cnn[0].weight, std=0.1)
    snn = convert(cnn, SHAPE, calibration=IMAGES, percentile=99.0)
    with torch.no_grad():
        small = cnn[:2](torch.tensor(IMAGES)).numpy()
    expected = np.percentile(small, 99.0)
    assert 0 < expected < 6
    assert snn.thresholds["conv1"] == pytest.approx(expected, rel=1e-5)


def test_explicit_synapses_that_do_not_fit_are_refused_with_their_number():
    cnn = nn.Sequential(nn.Conv2d(3, 512, 3, padding=1, bias=False), nn.ReLU())
    cnn.append(nn.Conv2d(512, 512, 3, padding=1, bias=False))
    snn = convert(cnn, (3, 112, 112), thresholds=1.0, synapses="explicit")
    total = snn.layers.n_synapses
    assert total > 2.9e10
    with pytest.raises(InputError, match=rf"{total:,} explicit synapses .*into conv2"):
        snn.network()


@pytest.mark.standalone
def test_diagnose_names_the_branch():
    snn = converted("instant", "shared")
    with snn.compile(N_STEPS * ms) as simulator:
        # A threshold that is much too high takes what one branch has to say.
        result = simulator.run(IMAGES, thresholds={"add1": 64.0})
    found = diagnose(result, snn.layers, IMAGES)
    assert found.branches.index.tolist() == [
        ("add2", "bn1"),
        ("add2", "add1"),
        ("pool1", "add2"),
        ("pool1", "conv5"),
    ]
    np.testing.assert_allclose(found.branches["share"].groupby("layer").sum(), 1)
    assert found.layer == "add1"
    assert "on the branch through add1 into add2, next to bn1" in found.advice


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "googlenet"])
def test_networks_of_torchvision_compute_what_they_did(name):
    torch.manual_seed(0)
    extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    made = getattr(zoo, name)(num_classes=5, **extra).eval()
    cnn = adjust(made).module.double()
    pixels = np.random.default_rng(0).random((1, 3, 33, 35))
    layers = from_torch(cnn, (3, 33, 35))
    expected = cnn(torch.tensor(pixels)).detach().numpy()
    for form in (layers, layers.without_pooling_neurons()):
        found = form.activations(pixels)[form.names[-1]].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_linear_bottlenecks_are_one_map_with_what_reads_them():
    first = zoo.mobilenet_v2().eval().features[:4]
    cnn = adjust(nn.Sequential(OrderedDict(features=first))).module
    layers = from_torch(cnn, (3, 33, 35), negative="refuse")
    pixels = np.random.default_rng(0).random((2, 3, 33, 35))
    with torch.no_grad():
        expected = cnn.double()(torch.tensor(pixels)).numpy()
    found = layers.activations(pixels)[layers.names[-1]]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
