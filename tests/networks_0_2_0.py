"""Small CNNs of every kind that can be converted, in weights that add up exactly."""

import nir
import numpy as np
import torch
import torch.nn.functional as F
from reference import randomize
from torch import nn

from cnn2snn_brian import adjust

SHAPE = (2, 8, 8)


def exact(module, seed):
    """
    Weights that are multiples of 1/64, and BatchNorms that multiply by their weight.

    Products of two such numbers are multiples of 1/4096, which float32 adds up exactly
    as long as sums stay below 4096.
    """
    randomize(module, seed)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.eps = 0.0
            child.running_mean.fill_(1 / 4)
            child.running_var.fill_(1.0)
    return module.eval()


class Residual(nn.Module):
    """A block with an identity, one with a projection, the mean over all places."""

    def __init__(self, bias, pool=False):
        super().__init__()

        def norm(n):
            return nn.BatchNorm2d(n) if bias else nn.Identity()

        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=bias)
        self.pool = nn.MaxPool2d(2, 1) if pool else nn.Identity()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.norm1 = norm(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm2 = norm(4)
        self.conv3 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.norm3 = norm(6)
        self.conv4 = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
        self.short = nn.Conv2d(4, 6, 1, stride=2, bias=False)
        self.norm4 = norm(6)
        self.line = nn.Linear(6, 5, bias=bias)

    def forward(self, x):
        x = self.pool(self.stem(x).relu())
        y = self.norm1(self.conv1(x)).relu()
        x = F.relu(self.norm2(self.conv2(y)) + x)
        y = self.norm3(self.conv3(x)).relu()
        x = F.relu(self.conv4(y) + self.norm4(self.short(x)))
        return self.line(x.mean((2, 3)))


class Concatenated(nn.Module):
    """Squeeze and expand, a dense block, branches as in Inception."""

    def __init__(self, bias):
        super().__init__()
        self.squeeze = nn.Conv2d(2, 3, 1, bias=bias)
        self.expand1 = nn.Conv2d(3, 3, 1, bias=bias)
        self.expand3 = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(7)
        self.dense = nn.Conv2d(7, 3, 3, padding=1, bias=False)
        self.branch3 = nn.Conv2d(10, 3, 3, stride=2, padding=1, bias=bias)
        self.branch5 = nn.Conv2d(10, 2, 5, stride=2, padding=2, bias=bias)
        self.branch_pool = nn.Conv2d(10, 3, 1, bias=bias)
        self.line = nn.Linear(32, 5, bias=bias)

    def forward(self, x):
        x = self.squeeze(x).relu()
        x = torch.cat([self.expand1(x).relu(), self.expand3(x).relu()], 1)
        x = torch.cat([x, self.dense(self.norm(x).relu()).relu()], 1)
        pooled = self.branch_pool(F.avg_pool2d(x, 2)).relu()
        x = torch.cat([self.branch3(x).relu(), self.branch5(x).relu(), pooled], 1)
        return self.line(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Parallel(nn.Module):
    """Several maps between the same two layers, as RepVGG trains them."""

    def __init__(self, bias):
        super().__init__()
        self.wide1 = nn.Conv2d(2, 4, (3, 5), padding=(1, 2), bias=bias)
        self.narrow1 = nn.Conv2d(2, 4, 1, bias=bias)
        self.wide2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.narrow2 = nn.Conv2d(4, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4) if bias else nn.Identity()
        self.line = nn.Linear(64, 5, bias=bias)

    def forward(self, x):
        x = (self.wide1(x) + self.narrow1(x)).relu()
        x = (self.wide2(x) + self.narrow2(x) + self.norm(x) + x).relu()
        return self.line(F.avg_pool2d(x, 2).flatten(1))


def pools(bias=False):
    """Pooling that overlaps, is padded, cut off, adaptive, and twice in a row."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.AvgPool2d(2, padding=1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, 1),
        nn.Conv2d(3, 4, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((2, 4)),
        nn.Flatten(),
        nn.Linear(32, 6, bias=bias),
        nn.ReLU(),
        nn.Linear(6, 5, bias=bias),
    )


def thirds():
    """Windows of 3 x 3 and 2 x 3: weights that are rounded."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
        nn.Conv2d(3, 4, 2, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.Flatten(),
        nn.Linear(8, 5, bias=False),
    )


def kernels():
    """By channel, in groups, with dilation, stride, odd shapes; BatchNorm between."""
    return nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(1, 2), groups=2, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, (3, 1), padding="same", dilation=(2, 1), groups=2),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1, stride=(2, 1), groups=4, bias=False),
        nn.Conv2d(8, 3, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 5),
    )


def channelwise():
    """BatchNorms that no convolution is in front of, or behind."""
    return nn.Sequential(
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Conv2d(2, 3, 3, stride=2),
        nn.ReLU(),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 5),
    )


def ceilings():
    """ReLU6, of which one spike a step stands for 6."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, bias=False),
        nn.ReLU6(),
        nn.Conv2d(3, 4, 2, bias=False),
        nn.ReLU6(),
        nn.Flatten(),
        nn.Linear(16, 5, bias=False),
    )


def maxima():
    """Maximum pooling: windows apart, and padded ones that overlap."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Flatten(),
        nn.Linear(16, 5, bias=False),
    )


def maxima_of_the_image():
    """A gate that spikes of the input pass."""
    return nn.Sequential(
        nn.MaxPool2d((2, 3), 2),
        nn.Conv2d(2, 3, 2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(18, 5, bias=False),
    )


def quantized():
    """What training for 8 steps makes; ceilings are powers of 2."""
    cnn = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 6),
        nn.ReLU(),
        nn.Linear(6, 5),
    )
    cnn = exact(adjust(cnn, activation="quantized", steps=8).module, 21)
    ceilings = [4.0, 8.0]
    for child in cnn.modules():
        if hasattr(child, "ceiling"):
            child.ceiling.data.fill_(ceilings.pop(0))
    return cnn


def of_another_program():
    """A NIR graph: unordered, nested, with two readers, r, a sum and a pool."""
    rng = np.random.default_rng(3)

    def sixty_fourths(*shape):
        return rng.integers(-24, 41, shape) / 64

    ones = np.ones((3, 4, 4))
    inner = nir.NIRGraph(
        {
            "in": nir.Input(np.array([3, 4, 4])),
            "scale": nir.Scale(ones * np.array([1.0, 2.0, 0.5])[:, None, None]),
            "if": nir.IF(2 * ones, ones, 0 * ones),
            "out": nir.Output(np.array([3, 4, 4])),
        },
        [("if", "out"), ("scale", "if"), ("in", "scale")],
    )
    return nir.NIRGraph(
        {
            "output": nir.Output(np.array([5])),
            "neurons": nir.IF(np.full(5, 0.5), np.ones(5), np.zeros(5)),
            "0": nir.Conv2d(
                (8, 8), sixty_fourths(3, 2, 3, 3), 2, 1, 1, 1, sixty_fourths(3)
            ),
            "block": inner,
            "again": nir.Conv2d(
                (4, 4), sixty_fourths(3, 3, 3, 3), 1, "same", 1, 1, np.zeros(3)
            ),
            "step": nir.Threshold(0.5 * ones),
            "wait": nir.Delay(2e-3 * ones),
            "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
            "flat": nir.Flatten({"input": np.array([3, 2, 2])}, 0, -1),
            "line": nir.Affine(sixty_fourths(5, 12), sixty_fourths(5)),
            "input": nir.Input(np.array([2, 8, 8])),
        },
        [
            ("neurons", "output"),
            ("line", "neurons"),
            ("flat", "line"),
            ("pool", "flat"),
            ("step", "pool"),
            ("block", "pool"),
            ("again", "step"),
            ("wait", "again"),
            ("block", "wait"),
            ("0", "block"),
            ("input", "0"),
        ],
        type_check=False,
    )
