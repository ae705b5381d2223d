import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cnn2snn_brian.cnn.adjust import adjust
from cnn2snn_brian.cnn.from_torch import from_torch
from cnn2snn_brian.cnn.weights import ModelCard, load_weights, save_weights
from cnn2snn_brian.errors import UnsupportedModuleError


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(2)
        ),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(3 * 3 * 3, 4),
    )


def test_parts_are_replaced():
    adjusted = adjust(cnn()).module
    assert isinstance(adjusted[0][1], nn.ReLU)
    assert isinstance(adjusted[0][2], nn.AvgPool2d)
    assert adjusted[0][0].bias is None
    assert adjusted[3].bias is None
    assert isinstance(adjusted[1], nn.Dropout)
    assert adjusted[1].p == 0.3


def test_weights_are_carried_over():
    original = cnn()
    adjusted = adjust(original).module
    assert set(adjusted.state_dict()) == {"0.0.weight", "3.weight"}
    for name, value in adjusted.state_dict().items():
        assert torch.equal(value, original.state_dict()[name])


def test_the_adjusted_cnn_computes_and_converts():
    original = cnn()
    adjusted = adjust(original).module.eval()
    images = torch.rand(2, 2, 6, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = adjusted(images)
        x = torch.conv2d(images, original[0][0].weight, padding=1)
        x = nn.functional.avg_pool2d(torch.relu(x), 2).flatten(1)
        expected = x @ original[3].weight.T
    torch.testing.assert_close(found, expected)
    assert from_torch(adjusted, (2, 6, 7)).names == ("conv1", "pool1", "ip1")


def test_an_adjusted_cnn_is_called_trained_converted_and_saved(tmp_path):
    images = torch.rand(2, 2, 6, 7, generator=torch.Generator().manual_seed(1))
    adjusted = adjust(cnn())
    assert adjusted.training
    adjusted(images).square().sum().backward()
    assert adjusted.module[3].weight.grad is not None
    adjusted.eval()
    with torch.no_grad():
        assert torch.equal(adjusted(images), adjusted.module(images))
    layers = from_torch(adjusted, (2, 6, 7), names="module")
    assert layers.names == ("layer_0_0", "layer_0_2", "layer_3")
    assert str(adjust(adjusted).module) == str(adjusted.module)
    copied = copy.deepcopy(adjusted)
    assert copied.changes == adjusted.changes

    card = ModelCard("mine", (2, 6, 7), tuple("abcd"), "", "", 0.5, 2, "")
    save_weights(tmp_path / "a.safetensors", adjusted, card)
    assert set(load_file(tmp_path / "a.safetensors")) == {"0.0.weight", "3.weight"}
    torch.nn.init.zeros_(copied.module[3].weight)
    for other in (copied, copied.module):
        load_weights(other, tmp_path / "a.safetensors")
        with torch.no_grad():
            assert torch.equal(other(images), adjusted(images))


def test_the_original_is_unchanged():
    original = cnn()
    state = copy.deepcopy(original.state_dict())
    before = str(original)
    adjusted = adjust(original).module
    with torch.no_grad():
        adjusted[0][0].weight.zero_()
    assert str(original) == before
    assert set(original.state_dict()) == set(state)
    for name, value in original.state_dict().items():
        assert torch.equal(value, state[name])


def test_changes_are_listed_by_path():
    changes = adjust(cnn()).changes
    assert [change.where for change in changes] == ["0.0", "0.1", "0.2", "3"]
    assert changes[1].before == "LeakyReLU(negative_slope=0.2)"
    assert changes[1].after == "ReLU()"
    assert changes[3].before.endswith("bias=True)")
    assert changes[3].after.endswith("bias=False)")


def test_nothing_is_changed_where_nothing_has_to_be():
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.AvgPool2d(2)
    )
    found = adjust(module)
    assert found.changes == ()
    assert str(found.module) == str(module)


def test_a_lone_module_is_replaced():
    found = adjust(nn.LeakyReLU())
    assert isinstance(found.module, nn.ReLU)
    assert [change.where for change in found.changes] == ["(the module itself)"]
    found = adjust(nn.MaxPool2d(3, 2))
    assert isinstance(found.module, nn.AvgPool2d)
    bare = nn.Linear(3, 2)
    assert adjust(bare).module.bias is None
    assert bare.bias is not None


def test_attributes_of_a_module_of_ones_own_are_replaced():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU())
            self.pool = nn.MaxPool2d(2)

        def forward(self, x):
            return self.pool(self.body(x))

    found = adjust(Block())
    assert isinstance(found.module.body[1], nn.ReLU)
    assert isinstance(found.module.pool, nn.AvgPool2d)
    assert [change.where for change in found.changes] == ["body.0", "body.1", "pool"]


def test_a_module_used_twice_is_replaced_twice():
    act, pool = nn.LeakyReLU(), nn.MaxPool2d(2)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), act, pool, nn.Conv2d(2, 3, 3), act, pool
    )
    found = adjust(module)
    left = [type(child) for child in found.module]
    assert left == [nn.Conv2d, nn.ReLU, nn.AvgPool2d] * 2
    assert [change.where for change in found.changes] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil_mode"),
    [(2, None, 0, False), (3, 2, 1, True), ((3, 2), (2, 1), (1, 0), False)],
)
def test_pooling_keeps_its_windows(kernel, stride, padding, ceil_mode):
    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)
    adjusted = adjust(pool).module
    image = torch.rand(1, 2, 7, 6, generator=torch.Generator().manual_seed(0))
    assert adjusted(image).shape == pool(image).shape
    # Where all pixels are the same, maximum and average agree, at the border too.
    torch.testing.assert_close(
        adjusted(torch.ones(1, 2, 7, 6)), torch.ones_like(pool(image))
    )


@pytest.mark.parametrize("options", [{"dilation": 2}, {"return_indices": True}])
def test_pooling_without_a_counterpart_is_refused(options):
    module = nn.Sequential(nn.Sequential(nn.MaxPool2d(2, **options)))
    with pytest.raises(UnsupportedModuleError, match=r"^0\.0: MaxPool2d"):
        adjust(module)


def test_table():
    text = str(adjust(cnn()))
    assert "Adjustment" in text
    for title in ("layer", "before", "after"):
        assert title in text
    (row,) = [line for line in text.splitlines() if "LeakyReLU" in line]
    cells = [cell.strip() for cell in row.strip("│| \n").split("│")]
    assert cells == ["0.1", "LeakyReLU(negative_slope=0.2)", "ReLU()"]
    assert "MaxPool2d" in text
    assert "AvgPool2d" in text
