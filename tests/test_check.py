"""The check at the end of reading: a CNN whose layers compute something else."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import only
from torch import nn

from cnn2snn_brian import InputError, UnsupportedModuleError
from cnn2snn_brian.cnn.from_torch import from_torch

SHAPE = (2, 7, 6)
PIXELS = np.random.default_rng(1).random((3, *SHAPE))


class Body(nn.Module):
    """Two convolutions and a linear layer, called by a function."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(2, 3, 3, padding=1)
        self.two = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.line = nn.Linear(3 * 7 * 6, 4)
        self.function = function
        self.eval()

    def forward(self, x):
        return self.function(self, x)


def expected(module, pixels=PIXELS):
    """Compute a CNN in its own precision."""
    with torch.no_grad():
        return module(torch.tensor(pixels, dtype=torch.float32)).numpy()


def read_as_it_computes(module, **options):
    layers = from_torch(module, SHAPE, **options)
    found = layers.activations(PIXELS)[layers.names[-1]]
    np.testing.assert_allclose(found, expected(module), rtol=1e-4, atol=1e-5)
    return layers


def relu_with_another_reader(m, x):
    x = m.one(x)
    y = m.two(m.relu(x)).relu()
    return m.line((x + y).relu().flatten(1))


def relu_without_a_name(m, x):
    x = m.one(x)
    F.relu_(x)
    return m.line(x.flatten(1))


def method_without_a_name(m, x):
    x = m.one(x)
    x.relu_()
    return m.line(x.flatten(1))


def sum_without_a_name(m, x):
    x = m.one(x).relu()
    x.add_(m.two(x).relu())
    return m.line(x.flatten(1))


def module_without_a_name(m, x):
    x = m.one(x)
    m.relu(x)
    m.relu(x)
    return m.line(x.flatten(1))


def changed_after_a_first_reader(m, x):
    x = m.one(x).relu()
    y = m.two(x).relu()
    x.add_(y)
    return m.line((m.two(x) + y).relu().flatten(1))


def clamped_in_place(m, x):
    x = m.one(x)
    x.clamp_(min=0)
    return m.line(x.flatten(1))


def changed_under_another_name(m, x):
    x = m.one(x).relu()
    z = x
    z += m.two(x).relu()
    return m.line(x.flatten(1))


def changed_by_out(m, x):
    x = m.one(x).relu()
    y = m.two(x).relu()
    torch.add(x, y, out=x)
    return m.line(x.flatten(1))


@pytest.mark.parametrize(
    "function",
    [
        relu_with_another_reader,
        relu_without_a_name,
        method_without_a_name,
        sum_without_a_name,
        module_without_a_name,
        changed_after_a_first_reader,
        clamped_in_place,
        changed_under_another_name,
        changed_by_out,
    ],
)
def test_what_is_changed_in_place_is_read_as_the_change(function):
    read_as_it_computes(Body(function))


def changed_as_a_view(m, x):
    x = m.one(x).relu()
    y = x.flatten(1)
    x.add_(m.two(x).relu())
    return m.line(y)


def dropped_in_evaluation_too(m, x):
    return m.line(F.dropout(m.one(x).relu(), 0.5).flatten(1))


def weights_that_change(m, x):
    m.line.weight.data.mul_(-1)
    return m.line(m.one(x).relu().flatten(1))


def rounded(m, x):
    return m.line(m.one(x.to(torch.int32).to(torch.float64)).relu().flatten(1))


@pytest.mark.parametrize(
    ("function", "where"),
    [
        (changed_as_a_view, "line"),
        (dropped_in_evaluation_too, "line"),
        (weights_that_change, "line"),
        (rounded, r"forward \(call of relu\)"),
    ],
)
def test_what_can_not_be_read_is_refused_by_its_place(function, where):
    with pytest.raises(UnsupportedModuleError, match=rf"^{where}: .*image of noise"):
        from_torch(Body(function), SHAPE)


def test_a_kind_that_is_misread_is_refused(monkeypatch):
    # Of whatever kind: here a ReLU6 that is taken for a ReLU.
    from cnn2snn_brian.cnn import trace as kinds

    monkeypatch.setitem(kinds.KINDS, nn.ReLU6, "ReLU")
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU6(), nn.Conv2d(3, 2, 1))
    nn.init.normal_(module[0].weight, std=9.0)
    with pytest.raises(UnsupportedModuleError, match="^2: .*it or what it reads was"):
        from_torch(module, SHAPE)


class Twice(nn.Module):
    """A convolution that is called twice, with another stride each time."""

    def __init__(self, dilation):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.line = nn.Linear(2 * 4 * 3 if dilation == 1 else 2 * 3 * 2, 3)
        self.dilation = dilation

    def forward(self, x):
        self.conv.stride, self.conv.dilation = (1, 1), (1, 1)
        x = self.conv(x).relu()
        self.conv.stride, self.conv.dilation = (2, 2), (self.dilation,) * 2
        return self.line(self.conv(x).relu().flatten(1))


@pytest.mark.parametrize("dilation", [1, 2])
def test_attributes_that_change_in_forward_are_those_of_the_call(dilation):
    module = Twice(dilation)
    layers = read_as_it_computes(module)
    kernels = [only(layers, name).connection.kernel for name in ("conv1", "conv2")]
    assert [kernel.stride for kernel in kernels] == [(1, 1), (2, 2)]
    assert kernels[1].dilation == (dilation, dilation)


def test_a_forward_that_counts_its_calls_is_refused():
    def function(m, x):
        m.calls = getattr(m, "calls", 0) + 1
        x = m.one(x).relu()
        return m.line((x + x if m.calls % 2 else x).flatten(1))

    with pytest.raises(UnsupportedModuleError, match="^line: .*change in forward"):
        from_torch(Body(function), SHAPE)


@pytest.mark.parametrize(
    "cast",
    [
        lambda x: x.float(),
        lambda x: x.double().float(),
        lambda x: x.to(torch.float32),
        lambda x: x.to(dtype=torch.float32),
        lambda x: x.to("cpu", torch.float32),
        lambda x: x.type_as(torch.ones(1)),
        lambda x: x.cpu(),
    ],
)
def test_casts_change_nothing(cast):
    read_as_it_computes(Body(lambda m, x: m.line(m.one(cast(x)).relu().flatten(1))))
    read_as_it_computes(Body(lambda m, x: m.line(cast(m.one(x).relu()).flatten(1))))


@pytest.mark.parametrize("names", ["role", "module"])
def test_a_result_that_is_rectified_is_compared_as_it_is(names):
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).eval()
    assert len(from_torch(module, SHAPE, names=names)) == 1
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2))
    assert len(from_torch(module, SHAPE, names=names)) == 2


def test_a_result_that_saturates_is_compared_as_it_is():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU6())
    nn.init.normal_(module[0].weight, std=9.0)
    assert expected(module).max() == 6
    read_as_it_computes(module)


def test_outputs_that_cancel_out_are_no_difference():
    # Both computations end in rounding errors around 0.
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 1, bias=False)
    )
    with torch.no_grad():
        module[0].weight[2:] = module[0].weight[:2]
        module[0].bias[2:] = module[0].bias[:2]
        module[2].weight[:, 2:] = -module[2].weight[:, :2]
    assert len(from_torch(module, SHAPE)) == 2


def test_random_numbers_of_torch_go_on():
    module = Body(lambda m, x: m.line(m.one(x).relu().flatten(1)))
    torch.manual_seed(7)
    once = torch.rand(5)
    torch.manual_seed(7)
    from_torch(module, SHAPE)
    assert torch.equal(torch.rand(5), once)
    module = Body(dropped_in_evaluation_too)
    torch.manual_seed(7)
    with pytest.raises(UnsupportedModuleError):
        from_torch(module, SHAPE)
    assert torch.equal(torch.rand(5), once)


@pytest.mark.parametrize("part", [0, 3])
def test_lazy_modules_that_never_ran_are_refused(part):
    kinds = [nn.LazyConv2d(3, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)]
    kinds[3 - part] = [nn.Conv2d(2, 3, 3), 0, 0, nn.Linear(60, 4)][3 - part]
    module = nn.Sequential(*kinds)
    with pytest.raises(InputError, match=rf"^{part}\.weight: a lazy module"):
        from_torch(module, SHAPE)
    module(torch.ones(1, *SHAPE))
    read_as_it_computes(module)


def test_what_a_relu_hides_of_one_image_is_refused():
    # All sums are below 0, so for no image of noise the result changes.
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    nn.init.constant_(module[0].bias, -50.0)

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = module
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.body[0].bias.data.fill_(-50.0 - self.calls)
            return self.body(x)

    with pytest.raises(UnsupportedModuleError, match=r"^body\.0: .*weights and attri"):
        from_torch(Shifted(), SHAPE)
