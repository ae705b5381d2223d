"""ON and OFF cells: values that may be negative, and pixels above and below a mean."""

import brian2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import SpikeMonitor, ms
from reference import randomize
from torch import nn

from cnn2snn_brian import SpikingNetwork, calibrate, convert, from_nir, from_torch
from cnn2snn_brian.cnn import COMPOSE
from cnn2snn_brian.diagnosis import diagnose
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.inspector import write_inspector
from cnn2snn_brian.models import cifar10_quick
from cnn2snn_brian.projections import OnOffPixels
from cnn2snn_brian.settings import data_based_thresholds
from cnn2snn_brian.stimuli import Sequence, SpikeTrains, Still

SHAPE = (2, 7, 6)
IMAGES = np.random.default_rng(0).random((3, *SHAPE))
MEAN, STD = (0.4, 0.55), (0.2, 0.3)


class Body(nn.Module):
    """A function as a CNN, with a convolution, a norm and slopes of three channels."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.slopes = nn.PReLU(3)
        randomize(self, seed=3)
        self.norm.running_mean.uniform_()
        self.double().eval()

    def forward(self, x):
        return self.function(self, x)


def matches(cnn, layers):
    """Whether the layers compute the CNN, with what is not last rectified."""
    expected = cnn(torch.tensor(IMAGES)).detach().numpy()
    found = layers.activations(IMAGES)[layers.names[-1]].reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-10)


LINE = nn.Linear(60, 4).double()
DOWN = nn.Conv2d(3, 2, 2, stride=2).double()
MANY = nn.Conv2d(3, 4, 3, padding=1).double()


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda own, x: LINE(F.leaky_relu(own.conv(x), 0.2).flatten(1)), "conv1 ip1"),
        (lambda own, x: LINE(own.slopes(own.conv(x)).flatten(1)), "conv1 ip1"),
        (lambda own, x: LINE(F.prelu(own.conv(x), own.slopes.weight).flatten(1)), ""),
        (lambda own, x: LINE(own.conv(x).abs().flatten(1)), "conv1 ip1"),
        (lambda own, x: DOWN(MANY(own.conv(x))[:, :3]), "conv1 conv2 conv3"),
        (lambda own, x: DOWN(own.norm(own.conv(x))), "conv1 conv2"),
        (lambda own, x: MANY(own.conv(x).relu() - own.conv(x)), ""),
        (lambda own, x: LINE(F.avg_pool2d(own.conv(x), 1).flatten(1)), ""),
        (lambda own, x: MANY(F.avg_pool2d(own.slopes(own.conv(x)), 2)), ""),
        (
            lambda own, x: DOWN(torch.cat([own.conv(x), x[:, :1, 1:6, 1:5]], 1)[:, :3]),
            "",
        ),
        (lambda own, x: own.slopes(own.conv(x)), "conv1 join1"),
    ],
)
def test_values_below_0_are_said_by_off_cells(function, names):
    cnn = Body(function)
    layers = from_torch(cnn, SHAPE, compose=0)
    matches(cnn, layers)
    matches(cnn, layers.without_pooling_neurons())
    first = names.split()[:-1]
    wanted = [f"{name}_{sign}" for name in first for sign in ("on", "off")]
    if names:
        assert list(layers.names) == [*wanted, names.split()[-1]]
    found = layers.activations(IMAGES)
    sums = {name: total for name, total, _ in layers.computed(IMAGES)}
    assert layers.pairs
    for on, off in layers.pairs.items():
        if "pool" not in on:  # averages of both are not both sides of one value
            np.testing.assert_array_equal(sums[off], -sums[on])
            np.testing.assert_array_equal(found[off], np.maximum(-sums[on], 0))


def test_who_reads_a_value_reads_w_from_on_and_minus_w_from_off_cells():
    cnn = nn.Sequential(nn.Conv2d(2, 3, 2), nn.PReLU(3), nn.Conv2d(3, 4, 3))
    cnn = randomize(cnn, seed=1).double()
    layers = from_torch(cnn, SHAPE)
    on, off = (p.connection.kernel.weight for p in layers.into("conv2"))
    np.testing.assert_array_equal(on, cnn[2].weight.detach().numpy())
    slopes = cnn[1].weight.detach().numpy()[:, None, None]
    np.testing.assert_array_equal(off, -slopes * on)
    assert layers["conv1_off"].off_of == "conv1_on"
    np.testing.assert_array_equal(layers["conv1_off"].bias, -layers["conv1_on"].bias)


def test_a_relu_of_the_same_value_is_the_on_cells():
    def both(own, x):
        first = own.conv(x)
        return MANY(first) + MANY(first.relu())

    def reverse(own, x):
        first = own.conv(x)
        return MANY(first.relu()) + MANY(first)

    for function, on in ((both, "conv1_on"), (reverse, "conv1")):
        cnn = Body(function)
        layers = from_torch(cnn, SHAPE, compose=0)
        matches(cnn, layers)
        assert layers.names[:2] == (on, "conv1_off")
        assert len(layers) == 3


def test_two_maps_are_one_up_to_a_share_of_the_synapses():
    few = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1))
    many = nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 9, 1))
    # 7 x 6 positions: 4 weights, or twice 16 and 16; 5 x 4: 162, or twice 18 and 18.
    assert from_torch(few, SHAPE).names == ("conv2",)
    assert from_torch(many, SHAPE).names == ("conv1_on", "conv1_off", "conv2")
    assert from_torch(many, SHAPE, compose=162 / 72).names == ("conv2",)
    assert from_torch(many, SHAPE, compose=162 / 72 - 1e-6).names[0] == "conv1_on"
    assert from_torch(many, SHAPE, compose=np.inf).names == ("conv2",)
    assert from_torch(many, SHAPE, negative="refuse").names == ("conv2",)
    assert from_torch(few, SHAPE, compose=0).names[0] == "conv1_on"
    assert 1 < COMPOSE < 162 / 72
    snn = convert(many, SHAPE, thresholds=1.0)
    said = "conv1 and conv2: ON and OFF cells (1,440 synapses), not one map (3,240)"
    assert said in "\n".join(map(str, snn._parts()))
    (one,) = from_torch(few, SHAPE).notes
    assert (
        one == "conv1 and conv2: one map of 168 synapses, not ON and OFF cells (2,688)"
    )


@pytest.mark.parametrize(
    ("cnn", "message"),
    [
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.LeakyReLU()), "0: .*negative='on-off'"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3)), "0: .*negative='on-o"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.AvgPool2d(2)), "0: .*negative='on-off'"),
    ],
)
def test_refused_if_that_is_asked(cnn, message):
    with pytest.raises(UnsupportedModuleError, match=message):
        from_torch(nn.Sequential(*cnn, nn.Flatten()), SHAPE, negative="refuse")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negative": "both"}, "negative='both'"),
        ({"compose": -1}, "compose"),
        ({"compose": "always"}, "compose"),
        ({"input": "on-off"}, "give normalize"),
        ({"input": "both", "normalize": (0.5, 0.2)}, "input"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        convert(nn.Sequential(nn.Conv2d(2, 3, 3)), SHAPE, thresholds=1, **options)


def test_layers_that_were_read_take_no_such_arguments():
    layers = from_torch(nn.Sequential(nn.Conv2d(2, 3, 3)), SHAPE)
    for name, value in {"negative": "refuse", "compose": 0, "input": "on-off"}.items():
        with pytest.raises(InputError, match=f"{name}: these layers were read before"):
            convert(layers, thresholds=1, **{name: value})


def test_the_papers_cnn_converts_without_adjustment():
    cnn = randomize(cifar10_quick(pooling="average"), seed=0).double().eval()
    layers = from_torch(cnn, (3, 32, 32))
    image = np.random.default_rng(1).random((1, 3, 32, 32))
    expected = cnn(torch.tensor(image)).detach().numpy()
    found = layers.activations(image)["ip2"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert list(layers.pairs) == [
        f"{name}_on" for name in ["conv1", "pool1", "conv2", "pool2", "conv3", "ip1"]
    ]
    assert (
        len({"pool1_on", "pool1_off"} & {*layers.without_pooling_neurons().names}) == 0
    )
    # Trained values are counted once.
    n = sum(value.numel() for value in cnn.parameters())
    assert f"{n:,}" in str(layers.__str__())


def test_silent_cells_take_the_threshold_of_their_pair():
    cnn = nn.Sequential(nn.Conv2d(2, 3, 1), nn.LeakyReLU(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        cnn[0].weight[:, 0], cnn[0].weight[:, 1] = 1.0, -0.25
        cnn[0].bias.fill_(0.0)
        cnn[2].weight.abs_()
    layers, bright = from_torch(cnn, SHAPE), 0.5 + IMAGES / 2
    assert not layers.activations(bright)["conv1_off"].any()
    for per_channel in (False, True):
        found = data_based_thresholds(layers, bright, per_channel=per_channel)
        np.testing.assert_array_equal(
            found["conv1_off"],
            np.max(data_based_thresholds(layers, bright)["conv1_on"]),
        )


def on_off_network(**options):
    cnn = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.LeakyReLU(0.25),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(27, 4),
    )
    cnn = randomize(cnn, seed=5).double().eval()
    given = {"normalize": (MEAN, STD), "input": "on-off", "preset": "free-floor"}
    given |= {"calibration": IMAGES, "dtype": "float64", **options}
    return cnn, convert(cnn, SHAPE, **given)


def test_on_and_off_pixels_say_how_far_pixels_are_from_the_mean():
    pixels = OnOffPixels(np.array(MEAN), np.array(STD))
    assert pixels.largest == pytest.approx(0.6 / 0.2)
    found = pixels.channels(IMAGES)
    assert found.shape == (3, 4, 7, 6)
    assert found.min() >= 0
    assert found.max() <= 1
    mean, std = (np.array(x)[:, None, None] for x in (MEAN, STD))
    wanted = (IMAGES - mean) / std
    np.testing.assert_allclose((found[:, :2] - found[:, 2:]) * 3, wanted, atol=1e-12)
    assert (found[:, :2] * found[:, 2:] == 0).all()
    assert pixels.channels(found) is found
    with pytest.raises(InputError, match="std above 0"):
        OnOffPixels(np.array([0.5]), np.array([0.0]))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_cnn_reads_on_and_off_pixels(groups):
    first = [nn.Conv2d(2, 4, 3, groups=groups), nn.AvgPool2d(2), nn.BatchNorm2d(2)]
    for start in first:
        n = 4 if start is first[0] else 2
        cnn = nn.Sequential(start, nn.ReLU(), nn.Conv2d(n, 3, 2), nn.ReLU())
        cnn = randomize(cnn, seed=2).double().eval()
        layers = from_torch(cnn, SHAPE, (MEAN, STD), input="on-off")
        assert layers.input_shape == (4, 7, 6)
        assert layers.image_shape == SHAPE
        mean, std = (
            torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (MEAN, STD)
        )
        expected = cnn((torch.tensor(IMAGES) - mean) / std).detach().numpy()
        last = layers.activations(IMAGES)[layers.names[-1]]
        np.testing.assert_allclose(np.maximum(last, 0), expected, atol=1e-10)


def test_currents_of_on_and_off_pixels_are_those_of_normalized_ones():
    brian2.prefs.codegen.target = "numpy"
    spikes = {}
    for what in ("on-off", "pixels"):
        # Thresholds of the first populations are the same in units of the CNN.
        _, snn = on_off_network(
            input=what, encoding="current", calibration=None, thresholds=0.71
        )
        network = snn.network(IMAGES[0])
        monitors = {name: SpikeMonitor(network[name]) for name in snn.layer_names}
        network.add(*monitors.values())
        network.run(15 * ms, namespace={})
        spikes[what] = {
            k: (m.i[:].tolist(), m.t[:].tolist()) for k, m in monitors.items()
        }
    assert spikes["on-off"] == spikes["pixels"]
    assert all(len(found[0]) for found in spikes["pixels"].values())


def test_networks_with_pairs_are_saved_and_written_as_nir(tmp_path):
    _, snn = on_off_network()
    snn.save(tmp_path / "pairs.snn")
    for back in (SpikingNetwork.load(tmp_path / "pairs.snn"), from_nir(snn.to_nir())):
        assert back == snn
        assert back.layers.pairs == snn.layers.pairs
        assert back.layers.pixels == snn.layers.pixels
        assert back.layers.notes == snn.layers.notes
    assert "ON and OFF pixels" in str(snn._parts()[0].columns[1]._cells)


@pytest.mark.standalone
def test_a_program_shows_on_and_off_pixels(tmp_path):
    cnn, snn = on_off_network(rate_scale=0.8)
    n_steps = 40
    with snn.compile(n_steps * ms) as simulator:
        result = simulator.run(IMAGES, record=["input", "conv1_on"], progress=False)
        shown = simulator.run(
            [Still(IMAGES[0]), Sequence(IMAGES[1:], 20 * ms, off=0 * ms)]
        )
        said = snn.layers.said_by_input(IMAGES)
        again = simulator.run(said.astype(np.float32), progress=False)
        trains = result.spikes("input", 0)
        index = np.ravel_multi_index(trains.position, (4, 7, 6))
        order = np.moveaxis(np.arange(4 * 42).reshape(4, 7, 6), 0, -1).ravel()
        index = np.argsort(order)[index]  # of neurons, channels last
        given = simulator.run([SpikeTrains(index, trains.t * brian2.second)])
        better = calibrate(simulator, IMAGES, scales=(0.6, 1), rounds=1, progress=False)
    for name, counts in result.spike_counts.items():
        np.testing.assert_array_equal(again.spike_counts[name], counts)
        np.testing.assert_array_equal(given.spike_counts[name][0], counts[0])
        np.testing.assert_array_equal(shown.spike_counts[name][0], counts[0])
    # Rates of the input, 5 standard deviations of a binomial at most away.
    p = 0.8 * said
    off = np.abs(result.spike_counts["input"] - n_steps * p)
    assert (off <= 5 * np.sqrt(n_steps * p * (1 - p)) + 1e-9).all()
    assert result.pairs == {"conv1_on": "conv1_off", "pool1_on": "pool1_off"}
    assert result.image_shape == SHAPE
    assert {*better.errors} == {*snn.layer_names[:-1]}
    found = diagnose(result, snn.layers, IMAGES)
    assert found.table.loc["conv1_off", "correlation"] > 0.5
    path = tmp_path / "pairs.html"
    write_inspector(result, path, images=IMAGES.astype(np.float32), cnn=snn)
    text = path.read_text("utf-8")
    assert '"cells":"OFF cells of conv1_on"' in text
    assert '"inputShape":[2,7,6]' in text
