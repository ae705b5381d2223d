"""Presets: what they stand for, and what wins over them."""

import numpy as np
import pytest
from brian2 import ms
from test_cli import cli  # noqa: F401 (a fixture)
from torch import nn

from cnn2snn_brian import PRESETS, InputError, SpikingNetwork, convert
from cnn2snn_brian.settings.presets import find_preset, suitable_duration
from cnn2snn_brian.settings.thresholds import data_based_thresholds
from cnn2snn_brian.tuning.methods import TUNABLE

MODULE = nn.Sequential(
    nn.Conv2d(2, 3, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(90, 4)
).eval()
IMAGES = np.random.default_rng(0).random((20, 2, 7, 6))

#: encoding, reset, v_min, v_init, percentile, by channel, steps
SETTINGS = {
    "paper": ("poisson", "zero", 0.0, 0.0, 99.9, False, 100),
    "free-floor": ("poisson", "zero", -np.inf, 0.0, 99.9, False, 100),
    "few-steps": ("current", "subtract", -np.inf, 0.5, 99, True, 12),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_preset_gives_the_network_its_settings(name):
    encoding, reset, v_min, v_init, percentile, by_channel, n_steps = SETTINGS[name]
    snn = convert(MODULE, (2, 7, 6), calibration=IMAGES, preset=name)
    assert (snn.encoding, snn.reset) == (encoding, reset)
    assert {*snn.parameters.v_min.values()} == {v_min}
    assert {*snn.parameters.v_init.values()} == {v_init}
    assert snn.propagation == ("instant" if name == "few-steps" else "step")
    expected = data_based_thresholds(
        snn.layers, IMAGES, percentile, per_channel=by_channel
    )
    assert [*snn.thresholds] == [*expected]
    for layer, values in expected.items():
        np.testing.assert_array_equal(snn.thresholds[layer], values)
    preset = PRESETS[name]
    assert suitable_duration(snn) == preset.duration
    assert preset.duration / ms == n_steps
    assert {*preset.tune} <= {*TUNABLE}
    assert preset.description


def test_the_paper_is_the_default():
    given = convert(MODULE, (2, 7, 6), calibration=IMAGES, preset="paper")
    default = convert(MODULE, (2, 7, 6), calibration=IMAGES)
    assert default.parameters == given.parameters
    assert (default.encoding, default.reset) == (given.encoding, given.reset)


def test_what_is_given_wins():
    snn = convert(
        MODULE,
        (2, 7, 6),
        calibration=IMAGES,
        preset="few-steps",
        encoding="poisson",
        reset="zero",
        v_min=0.0,
        v_init=0.0,
        percentile=90,
        per_channel=False,
        propagation="step",
    )
    assert (snn.encoding, snn.reset) == ("poisson", "zero")
    assert snn.propagation == "step"
    assert {*snn.parameters.v_min.values(), *snn.parameters.v_init.values()} == {0.0}
    assert snn.thresholds == data_based_thresholds(snn.layers, IMAGES, 90)


def test_a_preset_decides_about_pooling():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 2, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(18, 4),
    ).eval()  # fmt: skip
    quick = convert(module, (2, 7, 6), calibration=IMAGES, preset="few-steps")
    assert quick.layer_names == ("conv1", "ip1")
    kept = convert(
        module, (2, 7, 6), calibration=IMAGES, preset="few-steps", pooling="neurons"
    )
    assert kept.layer_names == ("conv1", "pool1", "ip1")


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputError, match="preset='fast': expected 'paper' or"):
        convert(MODULE, (2, 7, 6), thresholds=1.0, preset="fast")
    with pytest.raises(InputError, match="preset=''"):
        find_preset("")


def test_presets_on_the_command_line(cli, tmp_path):  # noqa: F811
    command = ["convert", "x.snn", "--architecture", "digits", "--calibration"]
    result = cli(*command, "digits", "--preset", "few-steps", "--v-init", "0.25")
    assert result.returncode == 0, result.stderr
    snn = SpikingNetwork.load(tmp_path / "x.snn")
    assert (snn.encoding, snn.reset) == ("current", "subtract")
    assert {*snn.parameters.v_init.values()} == {0.25}
    result = cli(*command, "digits", "--preset", "fast")
    assert result.returncode == 2
    assert "fast" in result.stderr
