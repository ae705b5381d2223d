"""What people really have: parts of channels, padding, sums with numbers, loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_from_torch import check, seeded
from torch import nn
from torchvision.ops import StochasticDepth

from cnn2snn_brian import UnsupportedModuleError
from cnn2snn_brian.cnn.from_torch import from_torch

SHAPE = (2, 8, 6)


class Between(nn.Module):
    """A rectified convolution, what `between` makes of it, and two more layers."""

    def __init__(self, between, size, channels=4):
        super().__init__()
        self.one, self.other = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.two = nn.Conv2d(channels, 3, 3, padding=1)
        self.line = nn.Linear(3 * size[0] * size[1], 2)
        self.between = between

    def forward(self, x):
        found = self.between(self.one(x).relu(), self.other(x))
        return self.line(self.two(found).relu().flatten(1))


def shuffled(x, groups=2):
    n, channels, height, width = x.size()
    x = x.view(n, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(n, -1, height, width)


def same(x, kernel=3, stride=2):
    """Pad as TensorFlow does: by sizes, and more at the end."""
    sizes = []
    for size in x.shape[:1:-1]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sizes += [total // 2, total - total // 2]
    return F.pad(x, sizes)


def blurred(x):
    one = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4
    filters = torch.outer(one, one).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(
        F.pad(x, (1, 1, 1, 1), "reflect"), filters, stride=2, groups=x.shape[1]
    )


WHOLE = (8, 6)
BETWEEN = [
    (lambda a, b: torch.cat(a.split(1, 1)[::-1], 1), WHOLE, 4),
    (lambda a, b: torch.cat([a.chunk(2, 1)[1], b.relu()[:, 1:3]], 1), WHOLE, 4),
    (lambda a, b: torch.cat([b[:, :1], a.narrow(1, 2, 2)], 1), WHOLE, 3),
    (lambda a, b: shuffled(torch.cat([a, b], 1)), WHOLE, 8),
    (lambda a, b: F.channel_shuffle(a, 2) + a[:, [3, 2, 1, 0]], WHOLE, 4),
    (lambda a, b: a[:, 1:3], WHOLE, 2),
    (lambda a, b: F.pad(a, (1, 0, 2, 1)), (11, 7), 4),
    (lambda a, b: nn.ZeroPad2d((0, 1, 0, 1))(a), (9, 7), 4),
    (lambda a, b: nn.ReflectionPad2d(1)(a), (10, 8), 4),
    (lambda a, b: same(a), (9, 7), 4),
    (lambda a, b: blurred(a), (4, 3), 4),
    (lambda a, b: F.pixel_shuffle(a, 2), (16, 12), 1),
    (lambda a, b: F.pixel_unshuffle(a, 2), (4, 3), 16),
    (lambda a, b: a[:, :, ::2, 1:-1], (4, 4), 4),
    (lambda a, b: a.flip(3) + a.roll(1, 2), WHOLE, 4),
    (lambda a, b: F.interpolate(a, scale_factor=2, mode="bilinear"), (16, 12), 4),
    (
        lambda a, b: F.interpolate(a, (5, 9), mode="bilinear", align_corners=True),
        (5, 9),
        4,
    ),
    (lambda a, b: F.interpolate(b, scale_factor=1.5, mode="nearest"), (12, 9), 4),
    (lambda a, b: 0.2 * a + b / 3 - 1, WHOLE, 4),
    (lambda a, b: 1 - a + torch.sub(b, a, alpha=2), WHOLE, 4),
    (lambda a, b: -(-a + 0.5), WHOLE, 4),
    (lambda a, b: StochasticDepth(0.5, "row").eval()(b) + a, WHOLE, 4),
    (lambda a, b: a + a.mean((2, 3), keepdim=True), WHOLE, 4),
    (lambda a, b: a.sum(1, keepdim=True) + a.mean(1, True), WHOLE, 1),
    (lambda a, b: a.mean(3, keepdim=True) + b.sum(2, keepdim=True), WHOLE, 4),
]


@pytest.mark.parametrize(("between", "size", "channels"), BETWEEN)
def test_what_is_between_two_layers(between, size, channels):
    check(seeded(Between(between, size, channels)), shape=SHAPE, negative="refuse")


POOLED = [
    lambda x: x.mean((2, 3)),
    lambda x: x.mean([-1, -2], keepdim=True).flatten(1),
    lambda x: torch.mean(x, dim=3).mean(2),
    lambda x: x.flatten(2).mean(-1),
    lambda x: x.view(x.size(0), x.size(1), -1).mean(2),
    lambda x: F.avg_pool2d(x, x.size()[2:]).squeeze(3).squeeze(2),
    lambda x: F.adaptive_avg_pool2d(x, (1, 1))[:, :, 0, 0],
    lambda x: F.adaptive_avg_pool2d(x, 1).view(-1, x.size(1)),
    lambda x: x.sum((2, 3)) / 48,
    lambda x: torch.flatten(nn.AdaptiveAvgPool2d(1)(x), 1),
]


@pytest.mark.parametrize("pooled", POOLED)
def test_spellings_of_global_average_pooling(pooled):
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.line = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3, 2)

        def forward(self, x):
            return self.line(pooled(self.conv(x).relu()))

    layers = check(seeded(Body()), shape=SHAPE)
    assert layers.shapes[layers.names[-1]] == (2,)


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (0, 1, 3, 2)])
def test_a_flatten_in_another_order(order):
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.line = nn.Conv2d(2, 3, 3), nn.Linear(3 * 6 * 4, 2)

        def forward(self, x):
            return self.line(self.conv(x).relu().permute(order).reshape(len(x), -1))

    check(seeded(Body()), shape=SHAPE)


def test_a_network_of_one_dimension():
    module = nn.Sequential(
        nn.Conv1d(2, 4, 5, stride=2, padding=2),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(4, 6, 3, dilation=2, groups=2, padding="same"),
        nn.ReLU(),
        nn.AvgPool1d(3, 2, padding=1),
        nn.Conv1d(6, 4, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    module = seeded(module).double()
    pixels = np.random.default_rng(0).random((2, 2, 1, 33))
    network = from_torch(module, (2, 1, 33), max_pooling="gate")
    with torch.no_grad():
        expected = module(torch.from_numpy(pixels[:, :, 0])).numpy()
    found = network.activations(pixels)[network.names[-1]]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("padding", [(0, 1, 0, 1), (1, 1, 1, 1)])
def test_maximum_pooling_after_padding(padding):
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.ConstantPad2d(padding, -torch.inf),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(4, 2, 1),
    )
    check(seeded(module), shape=SHAPE, max_pooling="gate")


def test_the_maximum_of_what_may_be_negative():
    # A bound of it is known where only pixels come before.
    stem = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.MaxPool2d(2, 2), nn.BatchNorm2d(4), nn.ReLU()
    )
    module = seeded(nn.Sequential(stem, nn.Conv2d(4, 3, 1)))
    network = check(module, shape=SHAPE, max_pooling="gate")
    pixels = np.random.default_rng(0).integers(0, 2, (50, *SHAPE)).astype(float)
    values = network.computed(pixels)
    name, total, _ = next(values)
    assert name == "conv1"
    assert total.min() >= 0  # for the darkest and brightest images, too
    deep = [nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU()]
    deep += [nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.MaxPool2d(2)]
    with pytest.raises(UnsupportedModuleError, match="^7: the maximum of what may be"):
        from_torch(nn.Sequential(*deep), SHAPE, max_pooling="gate")


class Part(nn.Sequential):
    """A container of its own, with an activation inside of a subclass."""

    def forward(self, x):
        for part in self:
            x = part(x)
        return x * 0.5 + x


class Activated(nn.Conv2d):
    def __init__(self, *args):
        super().__init__(*args)
        self.act = nn.ReLU()

    def forward(self, x):
        if x.shape[-1] % 2:  # the size decides
            x = F.pad(x, (0, 1))
        return self.act(super().forward(x))


def test_what_shapes_decide_and_classes_hide():
    module = nn.Sequential(Part(Activated(2, 3, 3), Activated(3, 4, (1, 2))))
    check(seeded(module.append(nn.Conv2d(4, 2, 1))), shape=(2, 7, 7))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (nn.MultiheadAttention(4, 2), "multiplies activations with one another"),
        (nn.Sigmoid(), "a gate"),
        (nn.Hardsigmoid(), "a gate"),
        (nn.SiLU(), "use ReLU"),
        (nn.GELU(), "use ReLU"),
        (nn.Hardswish(), "use ReLU"),
    ],
)
def test_what_is_refused_says_what_to_do(part, message):
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.part = nn.Conv2d(2, 4, 1), part

        def forward(self, x):
            x = self.conv(x).relu()
            if isinstance(self.part, nn.MultiheadAttention):
                x = x.flatten(2).transpose(1, 2)
                return self.part(x, x, x)[0]
            return self.part(x)

    with pytest.raises(UnsupportedModuleError, match=f"^part: .*{message}"):
        from_torch(Body(), SHAPE)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.autograd.Function,
        lambda x: x * float(x.detach().numpy().mean()),
        lambda x: x * x.sum().item(),
        lambda x: x / len(x),
        lambda x: x + torch.rand(1, dtype=x.dtype),
        lambda x: torch.where(x > 0, x, x * 0),
    ],
)
def test_what_depends_on_the_image_in_other_ways_is_refused(function):
    if function(torch.ones(2)) is torch.autograd.Function:

        class Doubled(torch.autograd.Function):
            @staticmethod
            def forward(context, x):
                return torch.from_numpy(np.maximum(2 * np.asarray(x.data), 0))

        function = Doubled.apply

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.two(function(self.one(x).relu()))

    with pytest.raises(UnsupportedModuleError):
        from_torch(Body(), SHAPE)


class Area(nn.Module):
    """An area of CORnet-Z: a convolution, ReLU and maximum pooling."""

    def __init__(self, n_in, n_out, kernel=3, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2)
        self.nonlin = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x):
        return self.pool(self.nonlin(self.conv(x)))


def cornet_z(widths=(4, 6, 8, 10), n_classes=5):
    """Four areas and a decoder (Kubilius et al. 2018, doi:10.1101/408385)."""
    v1, v2, v4, it = widths
    areas = [Area(3, v1, 7, 2), Area(v1, v2), Area(v2, v4), Area(v4, it)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(it, n_classes)]
    return nn.Sequential(*areas, *head)


class Recurrent(nn.Module):
    """
    An area of CORnet-S: one bottleneck with a shortcut, several times in a row.

    Its convolutions are the same each time, its BatchNorms are not; the first time has
    a stride (Kubilius et al. 2019, doi:10.48550/arXiv.1909.06161).
    """

    def __init__(self, n_in, n_out, times, scale=2):
        super().__init__()
        self.times = times
        self.enter = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.skip = nn.Conv2d(n_out, n_out, 1, 2, bias=False)
        self.skip_norm = nn.BatchNorm2d(n_out)
        inner = n_out * scale
        self.narrow = nn.Conv2d(n_out, inner, 1, bias=False)
        self.middle = nn.Conv2d(inner, inner, 3, 2, 1, bias=False)
        self.wide = nn.Conv2d(inner, n_out, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(n) for n in (inner, inner, n_out))
            for _ in range(times)
        )

    def forward(self, x):
        x = self.enter(x)
        for time, norms in enumerate(self.norms):
            short = self.skip_norm(self.skip(x)) if time == 0 else x
            self.middle.stride = (2, 2) if time == 0 else (1, 1)
            x = self.act(norms[0](self.narrow(x)))
            x = self.act(norms[1](self.middle(x)))
            x = norms[2](self.wide(x))
            x += short
            x = self.act(x)
        return x


def cornet_s(widths=(4, 6, 8, 10), n_classes=5):
    v1, v2, v4, it = widths
    retina = [
        nn.Conv2d(3, v1, 7, 2, 3, bias=False),
        nn.BatchNorm2d(v1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(v1, v1, 3, 1, 1, bias=False),
        nn.BatchNorm2d(v1),
        nn.ReLU(inplace=True),
    ]
    areas = [Recurrent(v1, v2, 2), Recurrent(v2, v4, 4), Recurrent(v4, it, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(it, n_classes)]
    return nn.Sequential(*retina, *areas, *head)


@pytest.mark.parametrize(("cnn", "n_convolutions"), [(cornet_z, 4), (cornet_s, 26)])
def test_networks_of_the_ventral_stream(cnn, n_convolutions):
    network = check(seeded(cnn()), shape=(3, 64, 48), max_pooling="gate")
    n_maps = sum(name.startswith("conv") for name in network.names)
    n_sums = sum(name.startswith("add") for name in network.names)
    assert n_maps + n_sums == n_convolutions


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.standalone
def test_maps_of_a_segmentation_head_correlate_with_those_of_the_cnn(is_transposed):
    from brian2 import ms

    from cnn2snn_brian import convert

    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    body += [nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 1)]
    up = nn.Upsample(scale_factor=4, mode="bilinear")
    body.append(nn.ConvTranspose2d(3, 3, 8, 4, 2) if is_transposed else up)
    cnn = nn.Sequential(*body).eval()
    images = np.random.default_rng(0).random((2, 3, 24, 20)).astype(np.float32)
    with torch.no_grad():
        maps = cnn(torch.from_numpy(images)).numpy()
        # Evidence is a rate: above 0.
        last = cnn[6] if is_transposed else cnn[5]
        last.bias += float(-maps.min()) + 0.1
        maps = cnn(torch.from_numpy(images)).numpy()
    snn = convert(
        cnn,
        images.shape[1:],
        calibration=images,
        percentile=100,
        encoding="current",
        reset="subtract",
        v_min=-np.inf,
        v_init=0.5,
        propagation="instant",
    )
    with snn.compile(200 * ms) as simulator:
        result = simulator.run(images, executor=1, progress=False)
    counts = result.spike_counts[snn.layer_names[-1]].reshape(maps.shape)
    assert np.corrcoef(counts.ravel(), maps.ravel())[0, 1] > 0.98
