import numpy as np
import pytest
import torch
from by_hand import AvgPool2d, Layers, Linear
from torch import nn

from cnn2snn_brian.cnn.from_torch import from_torch
from cnn2snn_brian.conversion import convert
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT
from cnn2snn_brian.projections import network as network_module
from cnn2snn_brian.settings.thresholds import (
    Highest,
    data_based_thresholds,
    largest_activation,
)

SHAPE = (1, 1, 2)


def tiny():
    """Two linear layers and a pooling one, with weights that a head can multiply."""
    first = AvgPool2d(
        "pool1",
        (INPUT,),
        SHAPE,
        rows=((0, 1),),
        columns=((0, 1), (1, 2)),
        row_weights=(1.0,),
        column_weights=(2.0, 2.0),
    )
    second = Linear("ip1", ("pool1",), SHAPE, np.array([[1.0, 2.0], [-1.0, 0.5]]))
    third = Linear("ip2", ("ip1",), (2,), np.array([[3.0, 0.0], [-1.0, 0.0]]))
    return Layers(SHAPE, (first, second, third))


def tiny_pictures():
    # pool1: (2, 0) and (1, 2). ip1: (2, 0) and (5, 0). ip2: (6, -2) and (15, -5).
    return np.array([[[[1.0, 0.0]]], [[[0.5, 1.0]]]])


def test_maximum_by_hand():
    found = data_based_thresholds(tiny(), tiny_pictures(), percentile=100)
    assert found == {"pool1": 2.0, "ip1": 2.5, "ip2": 3.0}
    assert all(type(value) is float for value in found.values())


def test_percentile_by_hand():
    # ip1 has the values 0, 0, 2, 5; its 75th percentile is 2 + 0.25 * 3.
    # pool1 has 0, 1, 2, 2: 2. ip2 has -5, -2, 6, 15: 6 + 0.25 * 9.
    found = data_based_thresholds(tiny(), tiny_pictures(), percentile=75)
    assert found == {"pool1": 2.0, "ip1": 1.375, "ip2": pytest.approx(8.25 / 2.75)}


@pytest.mark.parametrize("rate_scale", [0.25, 0.5, 2.0])
def test_rate_scale_changes_the_first_layer_only(rate_scale):
    found = data_based_thresholds(tiny(), tiny_pictures(), 100, rate_scale)
    assert found == {"pool1": 2.0 * rate_scale, "ip1": 2.5, "ip2": 3.0}


def test_8_bit_and_float_calibration_agree():
    images = np.random.default_rng(0).integers(0, 256, (6, 2, 7, 6)).astype(np.uint8)
    torch.manual_seed(0)
    cnn = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4))
    layers = from_torch(cnn, (2, 7, 6))
    from_bytes = data_based_thresholds(layers, images)
    from_floats = data_based_thresholds(layers, torch.tensor(images / 255))
    assert from_bytes == pytest.approx(from_floats, rel=1e-6)
    with torch.no_grad():
        activations = cnn[:2](torch.tensor(images).float() / 255).numpy()
    expected = np.percentile(activations, 99.9)
    assert from_bytes["conv1"] == pytest.approx(expected, rel=1e-5)


def test_batches_do_not_change_the_result(monkeypatch):
    layers = tiny()
    images = np.random.default_rng(0).random((7, *SHAPE))
    at_once = data_based_thresholds(layers, images, 90)
    monkeypatch.setattr(network_module, "MAX_IMAGES", 3)
    assert data_based_thresholds(layers, images, 90) == at_once


def test_a_silent_layer_is_refused():
    with pytest.raises(InputError, match="pool1: the 100th percentile .* is 0"):
        data_based_thresholds(tiny(), np.zeros((2, *SHAPE)), 100)
    # Three quarters of the values of ip2 are not above 0 here.
    images = np.concatenate([np.zeros((3, *SHAPE)), tiny_pictures()])
    with pytest.raises(InputError, match="the 60th percentile"):
        data_based_thresholds(tiny(), images, 60)


def test_a_layer_that_is_always_negative_is_refused():
    layer = Linear("ip1", (INPUT,), SHAPE, np.array([[-1.0, -2.0]]))
    with pytest.raises(InputError, match="ip1: the 100th percentile"):
        data_based_thresholds(Layers(SHAPE, (layer,)), tiny_pictures(), 100)


@pytest.mark.parametrize("percentile", [0, -1, 100.1, np.nan, np.inf])
def test_percentiles_out_of_range_are_refused(percentile):
    with pytest.raises(InputError, match="percentile is"):
        data_based_thresholds(tiny(), tiny_pictures(), percentile)


@pytest.mark.parametrize("rate_scale", [0, -1.0, np.nan, np.inf])
def test_rate_scales_out_of_range_are_refused(rate_scale):
    with pytest.raises(InputError, match="rate_scale is"):
        data_based_thresholds(tiny(), tiny_pictures(), 100, rate_scale)
    with pytest.raises(InputError, match="rate_scale is"):
        convert(tiny(), calibration=tiny_pictures(), rate_scale=rate_scale)


def test_bad_calibration_pictures_are_refused():
    with pytest.raises(InputError, match="images have the shape"):
        data_based_thresholds(tiny(), np.zeros((2, 1, 2, 1)))
    with pytest.raises(InputError, match="has the pixel"):
        data_based_thresholds(tiny(), tiny_pictures() * 255)


def test_convert_needs_thresholds_or_calibration():
    with pytest.raises(InputError, match="thresholds: give numbers, or calibration"):
        convert(tiny())
    with pytest.raises(InputError, match="thresholds: give numbers, or calibration"):
        convert(tiny(), thresholds={"ip1": 1.0})


def test_convert_fills_missing_thresholds_from_calibration():
    snn = convert(
        tiny(),
        thresholds={"ip1": 7.0},
        calibration=tiny_pictures(),
        percentile=100,
        rate_scale=0.5,
    )
    assert snn.thresholds == {"pool1": 1.0, "ip1": 7.0, "ip2": 3.0}
    assert list(snn.thresholds) == ["pool1", "ip1", "ip2"]


def test_convert_does_not_need_calibration_with_all_thresholds():
    assert convert(tiny(), thresholds=2).thresholds == {
        "pool1": 2.0,
        "ip1": 2.0,
        "ip2": 2.0,
    }


def test_convert_names_unknown_layers():
    with pytest.raises(InputError, match="thresholds names the unknown layer 'ip3'"):
        convert(tiny(), thresholds={"ip3": 1.0}, calibration=tiny_pictures())
    complete = {"pool1": 1.0, "ip1": 1.0, "ip2": 1.0, "ip3": 1.0}
    with pytest.raises(InputError, match="thresholds names the unknown layer 'ip3'"):
        convert(tiny(), thresholds=complete)


def test_convert_needs_an_input_shape_for_a_module():
    with pytest.raises(InputError, match="input_shape is missing"):
        convert(nn.Conv2d(1, 2, 3), thresholds=1)


def test_convert_does_not_ignore_a_normalization():
    # Layers were read before; a normalization can no longer be folded into them.
    with pytest.raises(InputError, match="normalize"):
        convert(tiny(), thresholds=1, normalize=(0.5, 0.25))


@pytest.mark.parametrize("percentile", [99.9, 99, 42.5])
def test_percentiles_of_float32_are_interpolated_in_double(percentile):
    # In float32, numpy's versions place the percentile differently between two values.
    values = np.random.default_rng(0).random((300, 3, 11)).astype(np.float32)
    found = largest_activation("ip1", values, percentile, per_channel=True)
    for channel, value in enumerate(found):
        ordered = np.sort(values[:, channel].ravel()).astype(float)
        place = (len(ordered) - 1) * (percentile / 100)
        low = int(place)
        expected = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
        assert value == pytest.approx(expected, rel=1e-13)


def test_a_constant_makes_negative_outputs_readable():
    torch.manual_seed(0)
    cnn = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4))
    images = np.random.default_rng(0).random((20, 2, 7, 6))
    with torch.no_grad():
        cnn[-1].bias -= 37.25
        before = cnn(torch.tensor(images).float()).argmax(1)
    with pytest.raises(
        InputError, match="ip1: .*No output of the CNN is above"
    ) as said:
        convert(cnn, (2, 7, 6), calibration=images, percentile=100)
    assert "higher percentile" not in str(said.value)
    with torch.no_grad():
        cnn[-1].bias += float(str(said.value).split()[-1])
        outputs = cnn(torch.tensor(images).float())
    assert (outputs.max(1).values > 0).all()
    assert torch.equal(outputs.argmax(1), before)
    snn = convert(cnn, (2, 7, 6), calibration=images, percentile=100)
    assert snn.thresholds["ip1"] > 0


def test_a_layer_that_is_silent_at_every_percentile_needs_other_images():
    with pytest.raises(InputError, match="silent for all of these images, so use oth"):
        data_based_thresholds(tiny(), np.zeros((2, *SHAPE)), 100)
    values = np.zeros((10, 3))
    values[0, 0] = 1
    with pytest.raises(InputError, match="Use a higher percentile"):
        largest_activation("ip1", values, 50, per_channel=False)


@pytest.mark.parametrize("percentile", [100, 99.9, 97.3, 50, 0.4])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 4)])
def test_percentiles_of_the_highest_values_are_those_of_all(percentile, shape):
    rng = np.random.default_rng(int(percentile))
    for n in (1, 2, 23):
        values = np.maximum(rng.normal(size=(n, *shape)), 0).round(1).astype(np.float32)
        highest = Highest(n, shape, percentile, per_channel=True)
        for start in range(0, n, 5):
            highest.add(values[start : start + 5])
        exact, rows = np.float64(percentile), np.moveaxis(values, 1, 0)
        rows = rows.reshape(shape[0], -1)
        assert highest.at_percentile(by_channel=False) == np.percentile(values, exact)
        np.testing.assert_array_equal(
            highest.at_percentile(by_channel=True), np.percentile(rows, exact, axis=1)
        )
        assert (highest.max(), highest.min()) == (values.max(), values.min())
