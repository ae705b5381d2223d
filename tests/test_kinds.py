"""What is read by its forward: subclasses, functions with weights, constants."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_from_torch import SHAPE, check, seeded
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from cnn2snn_brian import UnsupportedModuleError
from cnn2snn_brian.cnn.from_torch import from_torch


class Plain(nn.Conv2d):
    """A subclass that computes what a convolution does."""


class Standardized(nn.Conv2d):
    """As in Weight Standardization (doi:10.48550/arXiv.1903.10520)."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.flatten(1).std(1).view(-1, 1, 1, 1) + 1e-5)
        return self._conv_forward(x, weight, self.bias)


class StandardizedByNorm(nn.Conv2d):
    """As in timm: a BatchNorm of the weights."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True, momentum=0.0)
        return F.conv2d(
            x,
            weight.reshape_as(self.weight),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


class Inner(nn.Conv2d):
    """Another `_conv_forward`, and none but torch's forward."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight.abs(), bias)


class ByKeyword(nn.Conv2d):
    def forward(self, x):
        return torch.conv2d(
            input=x, weight=self.weight, stride=2, padding="valid", groups=self.groups
        )


@pytest.mark.parametrize("names", ["role", "module"])
@pytest.mark.parametrize(
    "kind", [Plain, Standardized, StandardizedByNorm, Inner, ByKeyword]
)
def test_subclasses_of_a_convolution(kind, names):
    conv = kind(2, 4, (2, 3), stride=2, padding=1, dilation=1, groups=2)
    module = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    module(torch.ones(1, *SHAPE))
    layers = check(seeded(module), names=names)
    expected = ("conv1", "ip1") if names == "role" else ("layer_0", "layer_3")
    assert layers.names == expected


class NormAct(nn.BatchNorm2d):
    """As in timm: a BatchNorm with an activation of its own."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x):
        torch._assert(x.ndim == 4, f"expected 4D input (got {x.ndim}D input)")
        x = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            0.1,
            self.eps,
        )
        return self.act(self.drop(x))


class NormThenRelu(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


class PlainNorm(nn.BatchNorm2d):
    """A subclass that computes what a BatchNorm does."""


class Frozen(nn.Module):
    """A BatchNorm whose values are all buffers, scaled anew each time."""

    def __init__(self, channels):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(-1, 1, 1)


@pytest.mark.parametrize(
    "kind",
    [NormAct, NormThenRelu, PlainNorm, nn.SyncBatchNorm, FrozenBatchNorm2d, Frozen],
)
def test_kinds_of_batch_norm(kind):
    norm = kind(3)
    with torch.no_grad():
        norm.weight.uniform_(-1, 1)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(60, 4)
    )
    assert check(seeded(module)).names == ("conv1", "ip1")


def test_an_activation_in_a_batch_norm_makes_neurons():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), NormAct(3), nn.Conv2d(3, 3, 3))
    module.append(NormAct(3))
    module += nn.Sequential(nn.Flatten(), nn.Linear(18, 4))
    assert check(seeded(module)).names == ("conv1", "conv2", "ip1")


class Doubled(nn.ReLU):
    def forward(self, x):
        return super().forward(x) + super().forward(x)


class PlainLine(nn.Linear):
    """A subclass that computes what a linear layer does."""


class WithoutBias(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight)


class Pool(nn.AvgPool2d):
    def forward(self, x):
        return super().forward(x)


class Flat(nn.Flatten):
    """A subclass that flattens."""


@pytest.mark.parametrize("line", [PlainLine, WithoutBias])
def test_other_subclasses(line):
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), Doubled(), Pool(2), Flat(), line(12, 4), nn.Dropout()
    )
    assert check(seeded(module)).names == ("conv1", "pool1", "ip1")


def test_a_forward_of_an_instance_counts():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    relu = module[1]
    relu.forward = lambda x: F.relu(x) + F.relu(x)
    expected = nn.Sequential(module[0], Doubled(), module[2])
    pixels = np.random.default_rng(0).random((3, *SHAPE))
    with torch.no_grad():
        wanted = expected.double()(torch.tensor(pixels)).numpy()
    check(module, expected=wanted)


class Function(nn.Module):
    """Two convolutions, what `between` makes of them, and a linear layer."""

    def __init__(self, between, **parts):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 1)
        self.line = nn.Linear(3 * 7 * 6, 4)
        self.between = between
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        found = self.between(self, self.one(x), self.two(x))
        return self.line(found.relu().flatten(1))


@pytest.mark.parametrize(
    "between",
    [
        lambda m, a, b: a.clamp(min=0) + b.clamp(0),
        lambda m, a, b: torch.clamp(a, min=0.0) + b.clamp_min(0),
        lambda m, a, b: torch.clip(a, 0) + torch.clamp_min(b, 0),
        lambda m, a, b: a.clamp(0, 0.3) + b.clamp(min=0, max=0.2),
        lambda m, a, b: sum([a, b]),
        lambda m, a, b: sum([a.relu(), b.relu(), a.relu()]),
        lambda m, a, b: 0 + a,
        lambda m, a, b: a * m.gain + b,
        lambda m, a, b: m.gain * a.relu() + m.gain[0],
        lambda m, a, b: torch.mul(a, m.gain.exp()).add(m.gain.view(1, 3, 1, 1) * 2) + b,
    ],
)
def test_clamps_sums_and_constants_of_each_channel(between):
    gain = nn.Parameter(torch.ones(1, 3, 1, 1))
    check(seeded(Function(between, gain=gain)))


def test_the_maximum_of_a_clamp_is_a_ceiling():
    module = Function(lambda m, a, b: a.clamp(0, 0.25))
    (ceiling,) = (
        population.ceiling
        for population in from_torch(module, SHAPE)
        if population.ceiling is not None
    )
    assert (ceiling.activation, ceiling.steps) == (0.25, None)


class GroupNorm(nn.GroupNorm):
    def forward(self, x):
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


ANEW = "statistics are computed anew from each image: use BatchNorm"


@pytest.mark.parametrize(
    ("between", "parts", "message"),
    [
        (lambda m, a, b: m.norm(a), {"norm": nn.GroupNorm(1, 3)}, ANEW),
        (lambda m, a, b: m.norm(a), {"norm": GroupNorm(1, 3)}, f"group_norm.*{ANEW}"),
        (lambda m, a, b: m.norm(a), {"norm": nn.LayerNorm([3, 7, 6])}, ANEW),
        (lambda m, a, b: m.norm(a), {"norm": nn.InstanceNorm2d(3)}, ANEW),
        (lambda m, a, b: F.layer_norm(a, [3, 7, 6]), {}, f"layer_norm.*{ANEW}"),
        (lambda m, a, b: a.clamp(-1, 1), {}, "clamps to -1 and 1"),
        (lambda m, a, b: a.clamp(max=1), {}, "clamps to None and 1"),
        (lambda m, a, b: a.clamp(0, -1), {}, "clamps to 0 and -1"),
        (lambda m, a, b: a * b, {}, "the function mul"),
        (lambda m, a, b: a * m.map, {"map": torch.ones(7, 6)}, r"of shape \(7, 6\)"),
        (
            lambda m, a, b: a + m.map,
            {"map": torch.ones(3, 7, 6)},
            r"of shape \(3, 7, 6\)",
        ),
        (lambda m, a, b: a + torch.zeros((b.size(0), 3, 1, 1)), {}, r"\(2, 3, 1, 1\)"),
    ],
)
def test_what_can_not_be_read_is_named(between, parts, message):
    module = seeded(Function(between, **parts))
    with pytest.raises(UnsupportedModuleError, match=message):
        from_torch(module, SHAPE)


def test_tensors_that_are_no_parameters_are_constants_too():
    module = seeded(Function(lambda m, a, b: a + m.gain.view(3, 1, 1)))
    module.gain = torch.tensor([1.0, -2.0, 3.0])  # .double() leaves it as it is
    pixels = np.random.default_rng(0).random((3, *SHAPE))
    with torch.no_grad():
        expected = module(torch.tensor(pixels, dtype=torch.float32)).numpy()
    found = from_torch(module, SHAPE).activations(pixels)["ip1"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_that_come_from_the_image_are_refused():
    class Dynamic(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x):
            x = self.conv(x).relu().flatten(1)
            return F.linear(x, x)

    with pytest.raises(UnsupportedModuleError, match="weight is computed from the"):
        from_torch(Dynamic(), (2, 7, 6))


def test_a_batch_norm_of_the_batch_is_refused():
    module = Function(
        lambda m, a, b: F.batch_norm(a, m.mean, m.mean + 1, training=True),
        mean=torch.zeros(3),
    )
    with pytest.raises(UnsupportedModuleError, match="without running statistics"):
        from_torch(module, SHAPE)


def test_reading_takes_no_random_numbers_of_torch():
    module = nn.Sequential(Standardized(2, 3, 3), nn.ReLU(), WithoutBias(4, 4))[:2]
    torch.manual_seed(3)
    once = torch.rand(3)
    torch.manual_seed(3)
    from_torch(module, SHAPE)
    assert torch.equal(torch.rand(3), once)
