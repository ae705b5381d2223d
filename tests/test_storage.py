import dataclasses
import json

import numpy as np
import pytest
import torch
from brian2 import ms
from by_hand import weight_of
from safetensors.numpy import load_file, save_file
from torch import nn

from cnn2snn_brian.conversion import convert
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import FORMAT, SpikingNetwork

SHAPE = (2, 7, 6)


def network(**changes):
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding="valid", groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True, padding=1, count_include_pad=False),
        nn.Conv2d(4, 3, (2, 3), padding="same", dilation=(2, 1), bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.ReLU(),
        nn.Linear(5, 3, bias=False),
    ).eval()
    thresholds = [1 / 3, 0.1, 2.0, 1e-9, 12345.678, 1.0]
    names = ("conv1", "pool1", "conv2", "pool2", "ip1", "ip2")
    options = {
        "thresholds": dict(zip(names, thresholds, strict=True)),
        "v_min": dict.fromkeys(names, -1.5) | {"pool1": -np.inf},
        "leak": 0.01,
        "v_init": {name: 0.1 * n for n, name in enumerate(names)},
        "reset": "subtract",
        "encoding": "current",
        "rate_scale": 0.7,
        "dt": 0.1 * ms,
        "dtype": "float64",
        "normalize": ((0.4, 0.6), 0.25),
    }
    return convert(cnn, SHAPE, **(options | changes))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "cnn.snn"
    network().save(path)
    return path


def rewritten(path, settings):
    """Write a network's file again with other settings in its header."""
    header = {"format": FORMAT, "network": settings}
    save_file(load_file(path), path, metadata=header)


def settings_of(path):
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(json.loads(file.read(size))["__metadata__"]["network"])


def check_same(found, expected):
    """Compare all fields, their types, and those of the arrays."""
    assert type(found) is type(expected)
    if isinstance(found, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(found, tuple):
        for a, b in zip(found, expected, strict=True):
            check_same(a, b)
    elif dataclasses.is_dataclass(found):
        for item in dataclasses.fields(found):
            check_same(getattr(found, item.name), getattr(expected, item.name))
    else:
        assert found == expected


def test_round_trip(saved):
    before, after = network(), SpikingNetwork.load(saved)
    assert after.parameters == before.parameters
    assert list(after.thresholds) == list(before.thresholds)
    assert after.parameters.v_min["pool1"] == -np.inf
    for name in ("reset", "encoding", "synapses", "dt_s", "dtype", "input_shape"):
        assert getattr(after, name) == getattr(before, name)
    assert after.layers.names == before.layers.names
    check_same(after.layers, before.layers)
    assert after == before
    assert str(after) == str(before)


def test_activations_are_the_same(saved):
    images = np.random.default_rng(0).random((3, *SHAPE))
    before = network().layers.activations(images)
    after = SpikingNetwork.load(saved).layers.activations(images)
    assert list(after) == list(before)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


def test_defaults_round_trip(tmp_path):
    torch.manual_seed(0)
    before = convert(nn.Conv2d(2, 3, 3, bias=False), SHAPE, thresholds=1)
    before.save(tmp_path / "cnn.snn")
    after = SpikingNetwork.load(str(tmp_path / "cnn.snn"))
    assert after.parameters == before.parameters
    assert (after.reset, after.encoding, after.dtype) == ("zero", "poisson", "float32")
    assert after.layers["conv1"].bias is None
    np.testing.assert_array_equal(
        weight_of(after.layers, "conv1"), weight_of(before.layers, "conv1")
    )


def test_names_that_begin_alike_are_kept_apart(tmp_path):
    # conv1 and conv10 begin with the same letters.
    parts = [nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()) for _ in range(11)]
    before = convert(nn.Sequential(*parts), SHAPE, thresholds=1)
    before.save(tmp_path / "cnn.snn")
    after = SpikingNetwork.load(tmp_path / "cnn.snn")
    assert len(after.layers) == 11
    for a, b in zip(after.layers, before.layers, strict=True):
        np.testing.assert_array_equal(a.bias, b.bias)
    for name in before.layers.names:
        np.testing.assert_array_equal(
            weight_of(after.layers, name), weight_of(before.layers, name)
        )


def test_changed_thresholds_are_saved(tmp_path):
    snn = network()
    snn.thresholds = {"ip1": 0.125}
    snn.save(tmp_path / "cnn.snn")
    loaded = SpikingNetwork.load(tmp_path / "cnn.snn")
    assert loaded.thresholds["ip1"] == 0.125
    assert loaded.thresholds["conv1"] == 1 / 3


def test_saving_again_replaces_the_file(saved):
    network(leak=0.5).save(saved)
    assert SpikingNetwork.load(saved).parameters.leak["conv1"] == 0.5
    assert [path.name for path in saved.parent.iterdir()] == ["cnn.snn"]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cnn.snn: there is no such file"):
        SpikingNetwork.load(tmp_path / "cnn.snn")
    with pytest.raises(InputError, match="there is no such file"):
        SpikingNetwork.load(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        network().save(tmp_path / "nowhere" / "cnn.snn")


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_a_truncated_file_is_refused(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="cnn.snn: not a converted network"):
        SpikingNetwork.load(saved)


@pytest.mark.parametrize("content", [b"not a network", b"\x00" * 64, b"PK\x03\x04"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "cnn.snn"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cnn.snn: not a converted network"):
        SpikingNetwork.load(path)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"format": FORMAT + "0", "network": "{}"}]
)
def test_another_format_is_refused(tmp_path, metadata):
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": np.zeros(3)}, path, metadata=metadata)
    with pytest.raises(InputError, match=r"weights.safetensors: its format is .* expe"):
        SpikingNetwork.load(path)


@pytest.mark.parametrize("settings", ["", "{", "[]", "{}", "null", '{"layers": []}'])
def test_a_header_without_a_network_is_refused(saved, settings):
    rewritten(saved, settings)
    with pytest.raises(InputError, match=r"cnn\.snn"):
        SpikingNetwork.load(saved)


def test_a_header_without_settings_is_refused(saved):
    save_file(load_file(saved), saved, metadata={"format": FORMAT})
    with pytest.raises(InputError, match=r"cnn\.snn"):
        SpikingNetwork.load(saved)


def damaged(settings, *path, value=None):
    """Change one entry of nested settings, or remove it if there is no value."""
    *parents, last = path
    for key in parents:
        settings = settings[key]
    if value is None:
        del settings[last]
    else:
        settings[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("layers", "projections", 0, "connection", "kernel", "kind"), "Conv3d"),
        (("layers", "projections", 0, "connection", "kernel", "kind"), None),
        (("layers", "projections", 0, "connection", "input_shape"), [2, 7, 5]),
        (("layers", "projections", 0, "connection", "kernel"), None),
        (("layers", "projections", 1, "connection", "window"), None),
        (("layers", "projections", 0, "name"), None),
        (("layers", "projections", 0, "color"), "red"),
        (("layers", "projections", 0, "source"), "conv2"),
        (("layers", "projections", 0, "delay_s"), -1.0),
        (("layers", "projections", 2), None),
        (("layers", "populations", 0, "name"), None),
        (("layers", "populations", 0, "color"), "red"),
        (("layers", "populations", 0, "shape"), [4, 5, 4]),
        (("layers", "populations", 2), None),
        (("parameters", "leak"), None),
        (("parameters", "thresholds", "conv1"), "high"),
        (("parameters", "thresholds", "conv1"), -1),
        (("parameters", "thresholds", "conv1"), None),
        (("parameters", "thresholds", "conv3"), 1),
        (("reset",), "later"),
        (("color",), "red"),
        (("input_shape",), None),
    ],
)
def test_damaged_settings_are_refused(saved, path, value):
    settings = settings_of(saved)
    damaged(settings, *path, value=value)
    rewritten(saved, json.dumps(settings))
    with pytest.raises(InputError, match=r"cnn\.snn"):
        SpikingNetwork.load(saved)


def test_missing_weights_are_refused(saved):
    arrays = load_file(saved)
    del arrays["ip2.weight"]
    header = {"format": FORMAT, "network": json.dumps(settings_of(saved))}
    save_file(arrays, saved, metadata=header)
    with pytest.raises(InputError, match=r"cnn\.snn"):
        SpikingNetwork.load(saved)


def test_no_flipped_bit_gives_another_network(saved):
    whole, before = saved.read_bytes(), network()
    rng = np.random.default_rng(4)
    refused = 0
    for position in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            after = SpikingNetwork.load(saved)
        except InputError:
            refused += 1
        else:
            # A header ends in spaces.
            assert after == before
    assert refused > 140


@pytest.mark.parametrize("what", ["conv1.weight", "conv1.bias", "ip2.weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(saved, what, value):
    # As in a file of version 0.1.0, which has no checksum.
    arrays = load_file(saved)
    arrays[what].flat[1] = value
    header = {"format": FORMAT, "network": json.dumps(settings_of(saved))}
    save_file(arrays, saved, metadata=header)
    name, _, field = what.partition(".")
    with pytest.raises(
        InputError, match=f"{name}: .*1 of .* its {field} are NaN or inf"
    ):
        SpikingNetwork.load(saved)


class WithLargeWeights(nn.Module):
    """Large weights in a module, in a function, and ones that are computed."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(84, 12_500)
        self.weight = nn.Parameter(torch.randn(90, 12_500) / 100)

    def forward(self, x):
        x = self.wide(x.flatten(1)).relu()
        weight = self.weight - self.weight.mean(1, keepdim=True)
        return nn.functional.linear(nn.functional.linear(x, weight).relu(), weight.T)


def test_large_weights_take_no_more_memory_than_the_cnn(tmp_path):
    torch.manual_seed(0)
    cnn = WithLargeWeights().eval()
    before = {name: value.clone() for name, value in cnn.state_dict().items()}
    images = np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)
    snn = convert(cnn, SHAPE, calibration=images)
    assert snn.layers.projections[0].connection.weight.dtype == np.float32
    assert all(torch.equal(value, before[k]) for k, value in cnn.state_dict().items())
    snn.save(tmp_path / "large.snn")
    loaded = SpikingNetwork.load(tmp_path / "large.snn")
    assert loaded == snn
    double = cnn.double()
    with torch.no_grad():
        expected = double(torch.from_numpy(images).double())
    found = loaded.layers.activations(images)[snn.layer_names[-1]]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
