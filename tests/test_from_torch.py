import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import n_parameters, only, weight_of
from torch import nn

from cnn2snn_brian import convert, models
from cnn2snn_brian.cnn.from_torch import from_torch
from cnn2snn_brian.errors import InputError, UnsupportedModuleError

SHAPE = (2, 7, 6)


def images(shape=SHAPE, n=3, seed=0):
    return np.random.default_rng(seed).random((n, *shape))


def seeded(module):
    """Draw all weights, biases and statistics of a module, none of them trivial."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.1)
    return module.eval()


def output(module, pixels):
    """Compute a module in float64."""
    with torch.no_grad():
        return copy.deepcopy(module).double().eval()(torch.tensor(pixels)).numpy()


def check(module, shape=SHAPE, *, expected=None, **options):
    """Compare the last layer's activations with torch, and return the layers."""
    pixels = images(shape)
    layers = from_torch(module, shape, **options)
    found = layers.activations(pixels)[layers.names[-1]]
    if expected is None:
        expected = output(module, pixels)
    np.testing.assert_allclose(
        found.reshape(expected.shape), expected, rtol=1e-10, atol=1e-12
    )
    return layers


class Functional(nn.Module):
    """A convolution, what `between` does, and a linear layer."""

    def __init__(self, between, n_in=3 * 6 * 4):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (2, 3))
        self.between = between
        self.fc = nn.Linear(n_in, 4)

    def forward(self, x):
        return self.fc(self.between(self.conv(x)))


class Body(nn.Module):
    """A body with one convolution, and a function of it and its input."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.function = function

    def forward(self, x):
        return self.function(self.conv, x)


def test_a_plain_cnn():
    module = nn.Sequential(
        nn.Conv2d(2, 3, (2, 3), padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 2, stride=2, bias=False),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 2 * 1, 5),
        nn.ReLU(),
        nn.Linear(5, 3, bias=False),
    )
    layers = check(seeded(module))
    assert layers.names == ("conv1", "pool1", "conv2", "ip1", "ip2")
    assert only(layers, "ip1").connection.input_shape == (4, 2, 1)
    assert layers.sources("pool1") == ("conv1",)
    assert layers.sources("conv1") == ("input",)


def test_every_layer_equals_torch():
    module = seeded(
        nn.Sequential(
            nn.Conv2d(2, 3, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 4),
        )
    )
    found = from_torch(module, SHAPE).activations(images())
    for name, part in (("conv1", module[:2]), ("pool1", module[:3]), ("ip1", module)):
        np.testing.assert_allclose(
            found[name], output(part, images()), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_after_a_convolution_is_folded(affine, bias):
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2, bias=bias),
        nn.BatchNorm2d(4, eps=1e-3, affine=affine),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 7 * 6, 3),
    )
    layers = check(seeded(module))
    assert layers.names == ("conv1", "ip1")
    assert n_parameters(layers, "conv1") == 4 * 9 + 4


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_after_a_linear_layer_is_folded(affine, bias):
    module = nn.Sequential(
        nn.Flatten(),
        nn.Linear(84, 5, bias=bias),
        nn.BatchNorm1d(5, affine=affine),
        nn.ReLU(),
        nn.Linear(5, 3),
    )
    check(seeded(module))


def test_batch_norm_behind_dropout_is_folded():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Dropout(0.5), nn.Identity(), nn.BatchNorm2d(3)
    )
    check(seeded(module))


@pytest.mark.parametrize("channels", [1, 3])
def test_batch_norm_of_every_position_is_refused(channels):
    # One kernel can't be scaled differently at each position.
    n = channels * 20
    module = seeded(
        nn.Sequential(
            nn.Conv2d(2, channels, 3),
            nn.Flatten(),
            nn.BatchNorm1d(n),
            nn.ReLU(),
            nn.Linear(n, 4),
        )
    )
    with pytest.raises(UnsupportedModuleError, match="^2: "):
        from_torch(module, SHAPE)


def test_batch_norm_behind_a_flatten_of_one_position_is_folded():
    module = nn.Sequential(
        nn.Conv2d(2, 3, (7, 6)), nn.Flatten(), nn.BatchNorm1d(3), nn.ReLU()
    )
    module.append(nn.Linear(3, 4))
    check(seeded(module))


def test_biases_are_constant_inputs():
    layers = check(seeded(nn.Conv2d(2, 3, 3, stride=2)))
    assert layers["conv1"].bias.shape == (3, 3, 2)
    assert n_parameters(layers, "conv1") == 3 * 2 * 9 + 3


@pytest.mark.parametrize(
    "between",
    [
        lambda x: F.relu(x).flatten(1),
        lambda x: F.relu(x, inplace=True).flatten(start_dim=1),
        lambda x: torch.relu(x).flatten(1),
        lambda x: torch.flatten(torch.relu_(x), 1),
        lambda x: torch.flatten(x.relu(), start_dim=1),
        lambda x: x.relu_().view(x.size(0), -1),
        lambda x: x.relu().view(x.shape[0], -1),
        lambda x: x.relu().view(-1, 72),
        lambda x: x.relu().contiguous().view(x.size()[0], 72),
        lambda x: x.relu().reshape(x.size(0), -1),
        lambda x: torch.reshape(x.relu(), (x.shape[0], -1)),
        lambda x: x.relu().reshape((x.shape[0], 72)),
        lambda x: F.dropout(F.relu(x), 0.5, training=False).flatten(1),
        lambda x: F.relu(F.dropout2d(x, training=False)).flatten(1),
    ],
)
def test_functional_relu_flatten_and_dropout(between):
    layers = check(seeded(Functional(between)))
    assert layers.names == ("conv1", "ip1")


def test_flattening_with_computed_sizes():
    def between(x):
        n, channels, height, width = x.shape
        return x.relu().view(n, channels * height * width)

    check(seeded(Functional(between)))
    check(seeded(Functional(lambda x: x.relu().view(-1, x.size(1) * 6 * 4))))


@pytest.mark.parametrize(
    ("pool", "n_out"),
    [
        (lambda x: F.avg_pool2d(x, 2), 3 * 3 * 2),
        (lambda x: F.avg_pool2d(x, (3, 2), stride=(2, 1)), 3 * 2 * 3),
        (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), 3 * 4 * 3),
        (lambda x: F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True), 3 * 4 * 3),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=3), 3 * 3 * 2),
        (lambda x: F.avg_pool2d(input=x, kernel_size=2), 3 * 3 * 2),
        (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), 3 * 4 * 3),
        (lambda x: F.adaptive_avg_pool2d(x, 1), 3),
        (lambda x: x.mean((2, 3)), 3),
        (lambda x: x.mean(dim=(-1, -2)), 3),
        (lambda x: x.mean([2, 3], keepdim=True), 3),
        (lambda x: torch.mean(x, (2, 3)), 3),
        (lambda x: torch.mean(x, dim=[3, 2], keepdim=True), 3),
    ],
)
def test_functional_pooling(pool, n_out):
    module = Functional(lambda x: torch.flatten(pool(F.relu(x)), 1), n_out)
    layers = check(seeded(module))
    assert layers.names == ("conv1", "pool1", "ip1")


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.avg_pool2d(x, x.size()[2:]),
        lambda x: F.avg_pool2d(x, x.shape[2:]),
        lambda x: F.avg_pool2d(x, (x.size(2), x.size(3))),
        lambda x: F.avg_pool2d(x, kernel_size=x.shape[-2:]),
    ],
)
def test_pooling_over_the_size_of_the_layer(pool):
    check(seeded(Functional(lambda x: pool(F.relu(x)).flatten(1), 3)))


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d((2, 3), (3, 1), (1, 0), divisor_override=5),
        nn.AdaptiveAvgPool2d((3, 4)),
        nn.AdaptiveAvgPool2d((None, 1)),
    ],
)
def test_a_cnn_may_begin_and_end_with_pooling(pool):
    check(pool)
    check(seeded(nn.Sequential(pool, nn.Conv2d(2, 3, 1), nn.ReLU(), pool)))


def test_dropout_and_identity_do_nothing():
    module = nn.Sequential(
        nn.Dropout(),
        nn.Conv2d(2, 3, 3),
        nn.Identity(),
        nn.ReLU(),
        nn.Dropout2d(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(60, 4),
    )
    assert check(seeded(module)).names == ("conv1", "ip1")


def test_a_bare_convolution():
    layers = check(seeded(nn.Conv2d(2, 3, 3, dilation=2)))
    assert layers.names == ("conv1",)
    assert from_torch(nn.Conv2d(2, 3, 3), SHAPE, names="module").names == ("layer_0",)


def test_a_flatten_of_what_is_flat_does_nothing():
    module = nn.Sequential(nn.Flatten(), nn.Linear(84, 3), nn.ReLU(), nn.Flatten())
    module.append(nn.Linear(3, 2))
    check(seeded(module))


def nested():
    features = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), nn.AvgPool2d(2)
    )

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = features
            self.classifier = nn.Linear(12, 4)

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    return Nested()


def test_names_by_module():
    layers = check(seeded(nested()), names="module")
    assert layers.names == ("features_0_0", "features_1", "classifier")
    assert layers.sources("classifier") == ("features_1",)
    assert check(seeded(nested())).names == ("conv1", "pool1", "ip1")


def test_names_by_module_of_a_sequential():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4)
    )
    assert from_torch(module, SHAPE, names="module").names == ("layer_0", "layer_3")


@pytest.mark.parametrize("names", ["role", "module"])
def test_a_pooling_module_may_be_used_twice(names):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(2, 3, 2)
            self.conv2 = nn.Conv2d(3, 4, 2)
            self.pool = nn.AvgPool2d(2, 1)
            self.relu = nn.ReLU()

        def forward(self, x):
            x = self.pool(self.relu(self.conv1(x)))
            return self.pool(self.relu(self.conv2(x)))

    layers = check(seeded(Twice()), names=names)
    assert len(set(layers.names)) == 4


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="names='path': expected 'role' or 'module'"):
        from_torch(nn.Conv2d(2, 3, 3), SHAPE, names="path")


def test_float64_weights_keep_their_precision():
    module = seeded(nn.Conv2d(2, 3, 3).double())
    with torch.no_grad():
        module.weight.div_(3)
    layers = from_torch(module, SHAPE)
    weight = weight_of(layers, "conv1")
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight, module.weight.detach().numpy())


def test_float16_cnns_are_taken():
    module = seeded(nn.Conv2d(2, 3, 3)).half()
    weight = weight_of(from_torch(module, SHAPE), "conv1")
    np.testing.assert_array_equal(weight, module.weight.detach().double().numpy())


def test_the_module_is_not_changed():
    module = seeded(
        nn.Sequential(
            nn.Conv2d(2, 3, 3),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(60, 4),
        )
    )
    module[3].train()
    modes = [child.training for child in module.modules()]
    before = copy.deepcopy(module.state_dict())
    layers = from_torch(module, SHAPE, normalize=(0.5, 0.2))
    assert [child.training for child in module.modules()] == modes
    assert set(module.state_dict()) == set(before)
    for name, value in module.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    # Nor do the layers change when the CNN is trained on.
    weight = weight_of(layers, "ip1").copy()
    with torch.no_grad():
        module[5].weight.zero_()
    np.testing.assert_array_equal(weight_of(layers, "ip1"), weight)


def normalized(mean, std, channels=2):
    mean, std = (
        np.broadcast_to(np.asarray(value, float), (channels,))[:, None, None]
        for value in (mean, std)
    )
    return lambda pixels: (pixels - mean) / std


@pytest.mark.parametrize(
    ("mean", "std"), [((0.4, 0.6), (0.2, 0.3)), (0.5, 0.25), ([0.1, 0.9], 0.5)]
)
@pytest.mark.parametrize(
    "first",
    [
        nn.Conv2d(2, 4, 3, padding=2),
        nn.Conv2d(2, 4, (3, 2), stride=2, padding=1, bias=False),
        nn.Conv2d(2, 4, (4, 2), padding="same", dilation=2),
        nn.Conv2d(2, 4, 3, padding=(2, 1), groups=2),
    ],
)
def test_normalization_is_exact_at_the_border_too(first, mean, std):
    module = seeded(nn.Sequential(first, nn.ReLU(), nn.AvgPool2d(2)))
    expected = output(module, normalized(mean, std)(images()))
    check(module, expected=expected, normalize=(mean, std))


def test_normalization_of_interleaved_groups():
    module = seeded(nn.Conv2d(6, 9, 3, padding=1, groups=3))
    mean, std = np.linspace(0.1, 0.6, 6), np.linspace(0.2, 0.9, 6)
    shape = (6, 5, 4)
    expected = output(module, normalized(mean, std, 6)(images(shape)))
    check(module, shape, expected=expected, normalize=(mean, std))


def test_normalization_before_a_linear_layer():
    module = seeded(nn.Sequential(nn.Flatten(), nn.Linear(84, 4), nn.BatchNorm1d(4)))
    mean, std = (0.4, 0.6), (0.2, 0.3)
    expected = output(module, normalized(mean, std)(images()))
    check(module, expected=expected, normalize=(mean, std))


def test_normalization_with_batch_norm_and_tensors():
    module = seeded(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)))
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    expected = output(module, normalized(mean.numpy(), std.numpy())(images()))
    check(module, expected=expected, normalize=(mean, std))


@pytest.mark.parametrize(
    "first",
    [
        # Averages of pixels are never negative; they are normalized behind that.
        nn.AvgPool2d(3, 2, padding=1),
        # Pixels below the mean are negative after the normalization: the ReLU acts.
        nn.ReLU(),
    ],
)
def test_normalization_before_something_else_than_a_layer(first):
    module = seeded(nn.Sequential(first, nn.Conv2d(2, 3, 2)))
    mean, std = torch.tensor([0.3, 0.6]), torch.tensor([0.2, 0.5])
    layers = from_torch(module, SHAPE, normalize=(mean, std))
    pixels = torch.rand(3, *SHAPE, dtype=torch.float64)
    normal = (pixels - mean[:, None, None]) / std[:, None, None]
    expected = module.double()(normal).detach().numpy()
    found = layers.activations(pixels.numpy())[layers.names[-1]]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "normalize",
    [
        ((0.1, 0.2, 0.3), 0.5),
        (0.5, 0),
        (0.5, -1),
        (0.5, np.nan),
        (np.inf, 1),
        (0.5,),
        (0.5, 0.5, 0.5),
        0.5,
    ],
)
def test_other_normalizations_are_refused(normalize):
    with pytest.raises(InputError, match="normalize"):
        from_torch(nn.Conv2d(2, 3, 3), SHAPE, normalize=normalize)


def test_table():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)
    )
    rows = [line.split() for line in str(from_torch(module, SHAPE)).splitlines()]
    titles = ["layer", "kind", "reads", "shape", "neurons", "synapses", "parameters"]
    assert rows[0] == titles
    assert rows[2] == ["conv1", "Conv2d", "input", "3x5x4", "60", "1,080", "57"]
    assert rows[3] == ["pool1", "AvgPool2d", "conv1", "3x2x2", "12", "48", "0"]
    assert rows[4] == ["ip1", "Linear", "pool1", "4", "4", "48", "52"]
    assert rows[5] == ["total", "160", "1,176", "109"]


def wrapped(module):
    """Put a module at the path ``features.1``, behind a convolution and before one."""
    cnn = nn.Sequential()
    cnn.features = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()), module
    )
    cnn.last = nn.Conv2d(2, 2, 1)
    return cnn.eval()


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        (nn.MaxPool2d(2), "adjust replaces it"),
        (nn.Softmax(1), "Leave it out"),
        (nn.LogSoftmax(1), "Leave it out"),
        (nn.Sigmoid(), "Supported are"),
        (nn.Tanh(), "Supported are"),
        (nn.Hardtanh(), "Supported are"),
        (nn.LocalResponseNorm(2), "Supported are"),
        (nn.GroupNorm(1, 2), "Supported are"),
        (nn.Linear(6, 6), "Put a Flatten before it"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "padding with zeros"),
    ],
)
def test_modules_without_a_counterpart_are_refused_by_their_path(module, advice):
    with pytest.raises(UnsupportedModuleError, match=rf"^features\.1: .*{advice}"):
        from_torch(wrapped(module), SHAPE)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (
            lambda conv, x: F.max_pool2d(conv(x).relu(), 2),
            "max_pool2d.*average pool",
        ),
        (lambda conv, x: F.softmax(conv(x), 1), "softmax.*Leave it out"),
        (lambda conv, x: conv(x).softmax(1), "softmax.*Leave it out"),
        (lambda conv, x: F.log_softmax(conv(x), 1), "log_softmax.*Leave it out"),
        (lambda conv, x: torch.sigmoid(conv(x)), "sigmoid"),
        (lambda conv, x: conv(conv(x).relu().permute(0, 1, 3, 2)), "permute, which"),
        (lambda conv, x: conv(conv(x).relu().roll(1, 0)), "image to another"),
        (lambda conv, x: F.pad(conv(x).relu(), (1, 1), value=1.0), "other values"),
        (lambda conv, x: conv(x) * conv(x), "multiplies two activations"),
        (lambda conv, x: 1 / conv(x).relu(), "divides by an activation"),
        (lambda conv, x: conv(x).relu().mean(), "a mean over"),
        (lambda conv, x: conv(x).relu().mean((0, 2, 3)), "a mean over"),
        (lambda conv, x: conv(x).relu().flatten(2).mean(1), "a mean over"),
        (lambda conv, x: conv(x).relu().view(-1, 12), "image to another"),
        (lambda conv, x: conv(x).relu().flatten(), "image to another"),
        (lambda conv, x: torch.cat([x, x], 2), "along dimension 2"),
    ],
)
def test_functions_without_a_counterpart_are_refused_by_their_place(function, found):
    module = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), Body(function))
    with pytest.raises(UnsupportedModuleError, match=rf"^2 \(call of \w+\): .*{found}"):
        from_torch(module, SHAPE)


def test_a_tensor_of_its_own_is_refused():
    with pytest.raises(UnsupportedModuleError, match="has to come from the image"):
        from_torch(Body(lambda conv, x: conv(x).relu() + torch.ones(7, 6)), SHAPE)


def test_unflatten_is_refused():
    module = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 42))))
    module.append(nn.Linear(42, 3))
    with pytest.raises(UnsupportedModuleError, match=r"^0\.1: found Unflatten"):
        from_torch(module, SHAPE)


def test_what_the_result_does_not_depend_on_is_left_out():
    def function(conv, x):
        early = conv(x)
        early.relu()
        return early

    assert from_torch(Body(function), SHAPE).names == ("conv1",)


def test_several_results_are_refused():
    def function(conv, x):
        x = conv(x)
        return x, x.relu()

    with pytest.raises(UnsupportedModuleError, match="Return one tensor"):
        from_torch(Body(function), SHAPE)


def test_two_inputs_are_refused():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x, y):
            return self.conv(x + y)

    with pytest.raises(UnsupportedModuleError, match="^y: a second input of forward"):
        from_torch(Two(), SHAPE)


def test_further_inputs_have_their_defaults():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x, targets=None, *rest, scale=1.0, **more):
            x = self.conv(x)
            if targets is not None:
                return x, targets
            return x.relu() if scale == 2.0 else x

    class Rest(Optional):
        def forward(self, *images):
            return self.conv(*images)

    check(seeded(Optional()))
    check(seeded(Rest()))


def test_control_flow_that_depends_on_data_is_refused():
    def function(conv, x):
        return conv(x) if x.sum() > 0 else x

    with pytest.raises(UnsupportedModuleError, match="^forward: depends on values"):
        from_torch(Body(function), SHAPE)


@pytest.mark.parametrize("path", ["", "2.1"])
def test_batch_norm_in_training_mode_is_refused(path):
    if path:
        module = nn.Sequential(
            nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Sequential(nn.Conv2d(2, 3, 1))
        )
        module[2].append(nn.BatchNorm2d(3))
    else:
        module = nn.BatchNorm2d(2)
    where = path.replace(".", r"\.") or "BatchNorm2d"
    with pytest.raises(UnsupportedModuleError, match=rf"^{where}: .*training mode"):
        from_torch(module, SHAPE)


def test_batch_norm_without_statistics_is_refused():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)
    ).eval()
    with pytest.raises(UnsupportedModuleError, match="^1: a BatchNorm without running"):
        from_torch(module, SHAPE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("path", "name", "what"),
    [
        ("0.0", "weight", "weights"),
        ("0.0", "bias", "biases"),
        ("0.1", "running_mean", "running mean"),
        ("0.1", "running_var", "running variance"),
        ("0.1", "weight", "weights"),
        ("0.1", "bias", "biases"),
        ("3", "weight", "weights"),
        ("3", "bias", "biases"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(path, name, what, value):
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(60, 4),
    ).eval()
    with torch.no_grad():
        tensor = getattr(module.get_submodule(path), name)
        tensor.view(-1)[1] = value
    where = path.replace(".", r"\.")
    message = (
        rf"^{where}: 1 of {tensor.numel()} values of its {what} are NaN or infinite"
    )
    with pytest.raises(UnsupportedModuleError, match=message):
        from_torch(module, SHAPE)


@pytest.mark.parametrize(
    "after",
    [
        nn.Conv2d(3, 3, 2),
        nn.AvgPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Linear(60, 4)),
        nn.Sequential(nn.AvgPool2d(2), nn.ReLU(), nn.Conv2d(3, 3, 1)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)),
    ],
)
def test_a_layer_without_relu_in_the_middle_is_refused(after):
    module = nn.Sequential(nn.Sequential(nn.Conv2d(2, 3, 3)), after).eval()
    with pytest.raises(UnsupportedModuleError, match=r"^0\.0: .*without a ReLU"):
        from_torch(module, SHAPE, negative="refuse")


@pytest.mark.parametrize("module", [nn.Sequential(), nn.Flatten(), nn.ReLU()])
def test_a_module_without_layers_is_refused(module):
    where = type(module).__name__
    with pytest.raises(UnsupportedModuleError, match=f"^{where}: it has no layers"):
        from_torch(module, SHAPE)


def test_weights_may_be_parameters_of_any_module():
    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 2, 3, 3))
            self.register_buffer("bias", torch.tensor([1.0, -2.0, 3.0]))
            self.line = nn.Parameter(torch.ones(4, 60))

        def forward(self, x):
            x = F.conv2d(x, self.weight, self.bias).relu()
            return F.linear(x.flatten(1), self.line)

    assert check(seeded(Direct())).names == ("conv1", "ip1")


@pytest.mark.parametrize("shape", [(3, 7, 6), (2, 6, 7), (2, 2, 2), (1, 2, 42)])
def test_another_input_shape_is_refused(shape):
    module = nn.Sequential(nn.Conv2d(2, 3, (3, 4)), nn.Flatten(), nn.Linear(45, 4))
    with pytest.raises(InputError, match="does not compute an input of shape"):
        from_torch(module, shape)


@pytest.mark.parametrize("shape", [(7, 6), (3, 2, 7, 6), (2, 0, 6), (-2, 7, 6), ()])
def test_an_input_shape_that_is_no_picture_is_refused(shape):
    with pytest.raises(InputError, match=r"expected \(channels, height, width\)"):
        from_torch(nn.Conv2d(2, 3, 3), shape)


def test_a_cnn_with_its_card_is_refused():
    # models.pretrained gives both; giving both to convert is an easy slip.
    pair = models.pretrained("digits")
    message = (
        r"of type tuple \(Sequential, ModelCard\), .*cnn, card = models\.pretrained"
    )
    with pytest.raises(InputError, match=message):
        convert(pair, (1, 8, 8), thresholds=1.0)
    with pytest.raises(InputError, match="of type OrderedDict, expected an nn.Module"):
        from_torch(pair[0].state_dict(), (1, 8, 8))


def test_weights_without_values_are_refused():
    with torch.device("meta"):
        cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    with pytest.raises(InputError, match="0.weight: on torch's meta device.*assign"):
        from_torch(cnn, (1, 8, 8))


class Called(nn.Module):
    def __init__(self, call, *arguments):
        super().__init__()
        self.call, self.arguments = call, arguments

    def forward(self, x):
        return self.call(x, *self.arguments)


@pytest.mark.parametrize(
    "module",
    [
        nn.AvgPool2d([2]),
        nn.AvgPool2d([3], [2], [1]),
        nn.AvgPool2d((3,), []),
        nn.AvgPool2d([3, 2], [1]),
        Called(F.avg_pool2d, [3], [2], [1]),
        Called(F.avg_pool2d, [2]),
        nn.MaxPool2d([2]),
        nn.MaxPool2d([3], [2], [1], [1]),
        nn.MaxPool2d(3, []),
        Called(F.max_pool2d, [3], [2], [1]),
        nn.Conv2d(2, 3, 3, stride=[2], padding=[1], dilation=[1]),
        nn.Conv2d(2, 3, (3, 2), (1,), (1,), (2,)),
    ],
)
def test_sizes_of_one_element_hold_for_both_axes(module):
    cnn = nn.Sequential(module, nn.Flatten())
    check(seeded(cnn), (2, 9, 8), max_pooling="gate")


@pytest.mark.parametrize("shape", [np.ones((4, 1, 6, 8)), 28, "abc", torch.ones(1, 2)])
def test_an_input_shape_that_is_none(shape):
    with pytest.raises(InputError, match=r"input_shape .*: expected \(channels"):
        from_torch(nn.Conv2d(1, 2, 3), shape)


def test_an_error_without_words_is_named():
    class Checked(nn.Sequential):
        def forward(self, x):
            if torch.overrides._get_current_function_mode() is not None:
                raise TypeError
            return super().forward(x)

    with pytest.raises(InputError, match="does not compute an input of shape"):
        from_torch(Checked(nn.Conv2d(1, 2, 3)), (1, 6, 8))


@pytest.mark.parametrize("put", [lambda x: {"out": x}, lambda x: [x], lambda x: (x,)])
def test_one_tensor_in_a_container_is_refused_with_what_to_do(put):
    class Container(nn.Sequential):
        def forward(self, x):
            return put(super().forward(x))

    with pytest.raises(UnsupportedModuleError, match="with the tensor of 0. Return"):
        from_torch(Container(nn.Conv2d(1, 2, 3)), (1, 6, 8))
