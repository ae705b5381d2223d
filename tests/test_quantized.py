"""A CNN with the clip-floor-shift activation: from training to spikes."""

import dataclasses

import brian2
import numpy as np
import pytest
import torch
from brian2 import SpikeMonitor, ms
from reference import randomize
from torch import nn

from cnn2snn_brian import SpikingNetwork, adjust, convert, from_torch
from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.cnn.weights import ModelCard, load_weights, read_card, save_weights
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.models import create, digits
from cnn2snn_brian.projections import Ceiling
from cnn2snn_brian.train import TrainingSettings, train

SHAPE = (2, 7, 6)
STEPS = 8


def cnn(steps=STEPS, bias=True):
    """(2, 7, 6) -> conv1 (3, 6, 4) -> pool1 (3, 3, 2) -> ip1 5 -> ip2 4."""
    module = nn.Sequential(
        nn.Conv2d(2, 3, (2, 3), bias=bias),
        ClipFloorShift(steps),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(18, 5, bias=bias),
        ClipFloorShift(steps),
        nn.Linear(5, 4, bias=bias),
    )
    randomize(module, seed=4)
    with torch.no_grad():
        module[1].ceiling.fill_(2.0)
        module[5].ceiling.fill_(0.5)
    return module.eval()


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 65, (n, *SHAPE)) / 64


def test_the_activation_is_clip_floor_shift():
    x = torch.linspace(-2, 4, 301, dtype=torch.float64)
    found = ClipFloorShift(4, 1.5).double()(x)
    expected = 1.5 * np.clip(np.floor(x.numpy() * 4 / 1.5 + 0.5) / 4, 0, 1)
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=1e-15)


def test_its_gradient_ignores_the_rounding():
    x = torch.tensor([-1.0, 0.3, 0.6, 5.0], requires_grad=True)
    activation = ClipFloorShift(4, 2.0)
    found = activation(x)
    for k, (of_x, of_ceiling) in enumerate(
        # Below 0, twice inside (rounded share minus share), above the ceiling.
        [(0, 0), (1, 0.25 - 0.15), (1, 0.25 - 0.3), (0, 1)]
    ):
        gradients = torch.autograd.grad(
            found[k], (x, activation.ceiling), retain_graph=True
        )
        assert gradients[0][k] == of_x
        assert gradients[1].item() == pytest.approx(of_ceiling, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_gradient_is_that_of_its_parts(dtype):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(5, 3, 4, generator=generator).to(dtype).requires_grad_()
    activation = ClipFloorShift(3, 0.8)
    share = (x.float() / activation.ceiling).clamp(0, 1)
    rounded = share + ((share * 3 + 0.5).floor() / 3 - share).detach()
    expected = rounded * activation.ceiling
    weights = torch.randn(5, 3, 4, generator=generator)
    wanted = x, activation.ceiling
    found = activation(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
    )


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_wrong_steps_are_refused(steps):
    with pytest.raises(InputError, match=f"steps is {steps}"):
        ClipFloorShift(steps)
    with pytest.raises(InputError, match="ceiling is 0"):
        ClipFloorShift(4, 0.0)


def test_spike_counts_are_the_activation():
    # The first layer has a constant input, so this holds for each neuron exactly.
    brian2.prefs.codegen.target = "numpy"
    for steps in (1, 3, STEPS):
        module = cnn(steps).double()
        snn = convert(module, SHAPE, preset="few-steps", dtype="float64")
        for image in images(2):
            network = snn.network(image)
            spikes = SpikeMonitor(network["conv1"])
            network.add(spikes)
            network.run(steps * ms)
            with torch.no_grad():
                expected = module[:2](torch.tensor(image[None]))[0] * steps / 2.0
            found = np.asarray(spikes.count).reshape(6, 4, 3).transpose(2, 0, 1)
            np.testing.assert_array_equal(found, expected.numpy())
            assert len(np.unique(found)) == steps + 1


def test_layers_compute_what_the_cnn_computes():
    module = cnn().double()
    layers = from_torch(module, SHAPE)
    pixels = images(3)
    found = layers.activations(pixels)
    x = torch.tensor(pixels)
    with torch.no_grad():
        for name, upto in (("conv1", 2), ("pool1", 3), ("ip1", 6), ("ip2", 7)):
            np.testing.assert_allclose(found[name], module[:upto](x), atol=1e-12)
    composed = layers.without_pooling_neurons().activations(pixels)
    np.testing.assert_allclose(composed["ip2"], found["ip2"], atol=1e-12)


def test_thresholds_come_from_the_cnn():
    snn = convert(cnn(bias=False), SHAPE, preset="few-steps", rate_scale=0.5)
    # A spike of the input is worth a pixel of 2, of conv1 2, of ip1 1/2.
    weight = cnn(bias=False)[6].weight.detach().numpy()
    bound = np.maximum(weight, 0).sum(1).max()
    assert dict(snn.thresholds) == {
        "conv1": pytest.approx(2.0 / 2),
        "ip1": pytest.approx(0.5 / 2.0),
        "ip2": pytest.approx(bound),
    }
    averages = nn.Sequential(cnn()[:2], nn.AvgPool2d(2), nn.AvgPool2d(2, 1)).eval()
    assert convert(averages, SHAPE, preset="few-steps").thresholds["pool2"] == 1.0
    with_neurons = convert(cnn(bias=False), SHAPE).thresholds
    assert list(with_neurons.values())[:3] == [2.0, 1.0, 0.25]
    given = convert(cnn(), SHAPE, preset="few-steps", thresholds={"ip2": 3.0})
    assert given.thresholds["ip2"] == 3.0
    assert given.thresholds["ip1"] == 0.25
    calibrated = convert(cnn(), SHAPE, preset="few-steps", calibration=images(9))
    assert calibrated.thresholds["ip1"] == 0.25
    assert 0 < calibrated.thresholds["ip2"] < given.thresholds["ip2"] * 10


def test_a_layer_without_a_ceiling_needs_images():
    module = cnn()
    module[5] = nn.ReLU()
    with pytest.raises(InputError, match="ip1: it has no ceiling"):
        convert(module, SHAPE)
    assert convert(module, SHAPE, calibration=images(9)).thresholds["conv1"] == 2.0


def test_a_saved_network_keeps_its_ceilings(tmp_path):
    snn = convert(cnn(), SHAPE, preset="few-steps")
    snn.save(tmp_path / "a.snn")
    again = SpikingNetwork.load(tmp_path / "a.snn")
    assert again == snn
    assert again.layers == snn.layers
    found = {population.name: population.ceiling for population in again.layers}
    ceilings = {name: Ceiling(a, STEPS) for name, a in (("conv1", 2.0), ("ip1", 0.5))}
    assert found == dict.fromkeys(again.layers.names) | ceilings
    relu = dataclasses.replace(
        snn.layers,
        populations=tuple(
            dataclasses.replace(population, ceiling=None) for population in snn.layers
        ),
    )
    assert relu != snn.layers


@pytest.mark.parametrize("place", [0, 2])
def test_an_activation_of_no_layer_has_neurons_of_its_own(place):
    module = cnn()
    module.insert(place, ClipFloorShift(3, ceiling=0.7))
    images = np.random.default_rng(0).random((2, *SHAPE))
    layers = from_torch(module, SHAPE)
    found = layers.activations(images)[layers.names[-1]]
    with torch.no_grad():
        expected = module.double()(torch.tensor(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_ceiling_below_0_is_refused():
    module = cnn()
    module[1].ceiling.data.fill_(-1)
    with pytest.raises(UnsupportedModuleError, match=r"^1: .*ceiling=-1"):
        from_torch(module, SHAPE)


def plain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.2), nn.MaxPool2d(2)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


def test_adjust_puts_it_in_place_of_relu():
    original = plain()
    before = str(original)
    found = adjust(original, activation="quantized", steps=5)
    assert str(original) == before
    assert isinstance(found.module[0][1], ClipFloorShift)
    assert isinstance(found.module[1], ClipFloorShift)
    assert isinstance(found.module[0][2], nn.AvgPool2d)
    assert [change.where for change in found.changes] == ["0.1", "0.2", "1"]
    assert found.changes[2].after == "ClipFloorShift(steps=5, ceiling=8)"
    state = found.module.state_dict()
    for name, value in original.state_dict().items():  # biases too
        assert torch.equal(state.pop(name), value)
    assert set(state) == {"0.1.ceiling", "1.ceiling"}
    assert isinstance(
        adjust(nn.ReLU(), activation="quantized", steps=5).module, ClipFloorShift
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_ceilings_start_from_images(dtype):
    module = nn.Sequential(plain()[0], nn.Flatten(), nn.Linear(12, 4)).train()
    module[0][1] = nn.ReLU()
    pixels = np.random.default_rng(0).integers(0, 256, (9, *SHAPE)).astype(dtype)
    given = pixels if dtype == np.uint8 else pixels / 255
    found = adjust(module, activation="quantized", steps=5, images=given)
    with torch.no_grad():
        drive = module[0][0](torch.tensor(pixels / 255).float()).numpy()
    expected = np.percentile(drive[drive > 0], 99)
    assert found.module[0][1].ceiling.item() == pytest.approx(expected, rel=1e-6)
    assert f"ceiling={expected:.4g}" in found.changes[0].after
    assert found.module.training
    assert not found.module[0][1]._forward_hooks


def test_steps_can_be_changed_later():
    first = adjust(plain(), activation="quantized", steps=5, images=images(3)).module
    second = adjust(first, activation="quantized", steps=2).module
    assert second[1].steps == 2
    assert first[1].steps == 5
    assert torch.equal(second[1].ceiling, first[1].ceiling)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x):
        return torch.relu(self.conv(x))


def test_what_adjust_cannot_do_is_refused():
    with pytest.raises(UnsupportedModuleError, match="call of relu.*as a function"):
        adjust(Functional(), activation="quantized", steps=4)
    assert adjust(Functional()).changes  # as ever
    with pytest.raises(InputError, match="activation='spiking'"):
        adjust(plain(), activation="spiking")
    for options in ({"activation": "quantized"}, {"steps": 4}, {"images": images(1)}):
        with pytest.raises(InputError, match="needs steps"):
            adjust(plain(), **options)
    for wrong in (images(1)[0], images(0), images(1)[:, :1], images(1).astype(int)):
        with pytest.raises(InputError, match="^images: "):
            adjust(plain(), activation="quantized", steps=4, images=wrong)


CARD = ModelCard("digits", (1, 8, 8), tuple("0123456789"), "digits", "", 0.5, 5, "")


def test_weights_files_say_that_a_cnn_is_quantized(tmp_path):
    path = tmp_path / "cnn.safetensors"
    module = adjust(digits(), activation="quantized", steps=6).module
    with torch.no_grad():
        module.relu1.ceiling.fill_(3.5)
    card = dataclasses.replace(CARD, quantized_steps=6)
    save_weights(path, module, card)
    assert read_card(path) == card
    for loaded in (create("digits"), adjust(digits(), "quantized", steps=6).module):
        load_weights(loaded, path)
        assert str(loaded) == str(module)
        assert loaded.relu1.ceiling.item() == 3.5


SETTINGS = TrainingSettings(epochs=2, batch_size=32, learning_rate=0.01)


def test_fine_tuning_goes_on_from_the_weights(tmp_path):
    few = load_digits()[0][:64]
    still = dataclasses.replace(SETTINGS, learning_rate=1e-12)
    start = adjust(digits(), activation="quantized", steps=6).module
    before = {name: value.clone() for name, value in start.state_dict().items()}
    train(start, few, still, progress=False, fresh=False)
    for name, value in start.state_dict().items():
        torch.testing.assert_close(value, before[name])
    fine = train(start, few, SETTINGS, progress=False, fresh=False)
    for name, value in fine.state_dict().items():
        assert not torch.equal(value, before[name])
    anew = train(start, few, still, progress=False)
    assert anew.relu1.ceiling.item() == 8
    assert not torch.allclose(anew.conv1.weight, before["conv1.weight"])


def test_fine_tuning_resumes(tmp_path):
    few = load_digits()[0][:64]
    first = adjust(digits(), activation="quantized", steps=6).module
    path = tmp_path / "a.checkpoint"
    options = {"checkpoint": path, "progress": False}

    def stop(*_):
        if path.exists():
            raise KeyboardInterrupt

    second = adjust(first, activation="quantized", steps=6).module
    train(first, few, SETTINGS, progress=False, fresh=False)
    hook = second.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        train(second, few, SETTINGS, fresh=False, **options)
    hook.remove()
    with pytest.raises(InputError, match="made with other settings"):
        train(second, few, SETTINGS, resume=True, **options)
    other = adjust(second, activation="quantized", steps=5).module
    with pytest.raises(InputError, match="made with other settings"):
        train(other, few, SETTINGS, fresh=False, resume=True, **options)
    train(second, few, SETTINGS, fresh=False, resume=True, **options)
    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name])
