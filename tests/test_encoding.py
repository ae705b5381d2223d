import numpy as np
import pytest
import torch
from brian2 import DimensionMismatchError, Hz, get_dimensions, ms
from torch import nn

from cnn2snn_brian.brian.network import poisson_rates
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.errors import ConversionError, InputError
from cnn2snn_brian.settings.images import check_images, check_rate_scale
from cnn2snn_brian.stimuli import Movie

SHAPE = (2, 7, 6)


def pictures(n=3, seed=0):
    return np.random.default_rng(seed).random((n, *SHAPE))


def test_8_bit_pictures_are_scaled_exactly():
    shape = (1, 16, 16)
    images = np.arange(256, dtype=np.uint8).reshape(1, *shape)
    pixels = check_images(images, shape)
    assert pixels.dtype == np.float32
    expected = (np.arange(256) / 255).astype(np.float32)
    np.testing.assert_array_equal(pixels.ravel(), expected)
    assert pixels.min() == 0
    assert pixels.max() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_pictures_keep_their_values(dtype):
    images = pictures().astype(dtype)
    pixels = check_images(images, SHAPE)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, images.astype(np.float32))


@pytest.mark.parametrize("as_uint8", [False, True])
def test_tensors_are_taken(as_uint8):
    images = pictures()
    if as_uint8:
        images = (images * 255).astype(np.uint8)
    tensor = torch.tensor(images)
    np.testing.assert_array_equal(
        check_images(tensor, SHAPE), check_images(images, SHAPE)
    )
    if not as_uint8:
        tensor.requires_grad_()
        np.testing.assert_array_equal(
            check_images(tensor, SHAPE), check_images(images, SHAPE)
        )


def test_labelled_pictures_are_taken():
    pictures = np.arange(84, dtype=np.uint8).reshape(2, 1, 7, 6)
    labelled = LabelledImages(pictures, np.array([0, 1]), ("a", "b"))
    found = check_images(labelled, (1, 7, 6))
    np.testing.assert_array_equal(found, pictures / np.float32(255))


TENSORS = {
    "bfloat16": lambda tensor: tensor.bfloat16(),
    "float16": lambda tensor: tensor.half(),
    "gradient": lambda tensor: tensor.requires_grad_(),
    "parameter": lambda tensor: nn.Parameter(tensor),
    "sparse": lambda tensor: tensor.to_sparse(),
    "quantized": lambda tensor: torch.quantize_per_tensor(
        tensor, 1 / 256, 0, torch.quint8
    ),
    "list": lambda tensor: [*tensor.requires_grad_()],
    "tuple of arrays": lambda tensor: tuple(tensor.numpy()),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_of_every_kind_are_taken(kind):
    # Eighths are numbers of each of these types.
    images = np.floor(8 * pictures()) / 8
    given = TENSORS[kind](torch.tensor(images).float())
    np.testing.assert_array_equal(check_images(given, SHAPE), images)
    np.testing.assert_array_equal(Movie(given).frames, images)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((torch.zeros(4, *SHAPE), torch.zeros(4)), "if these are images and labels"),
        ((np.zeros((4, *SHAPE)), np.zeros(4)), "if these are images and labels"),
        ([torch.zeros(SHAPE), torch.zeros(1, 2, 2)], "can't be read as one array"),
        (torch.zeros(4, *SHAPE, device="meta"), "can't be read as one array"),
        ({"images": 1}, "images: a dict, not an array"),
        (None, "images: a NoneType, not an array"),
    ],
)
def test_what_is_no_array_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        check_images(given, SHAPE)


def test_pictures_are_not_changed():
    images = (pictures() * 255).astype(np.uint8)
    before = images.copy()
    pixels = check_images(images, SHAPE)
    pixels[:] = 0
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("value", [-1e-6, 1.00001, 255.0])
def test_pixels_outside_0_and_1_are_refused(value):
    images = pictures()
    images[2, 1, 5, 3] = value
    message = r"image 2 has the pixel .* at channel 1, y 5, x 3; .*\(1 are not\)"
    with pytest.raises(InputError, match=message):
        check_images(images, SHAPE)


def test_a_pixel_barely_above_1_is_refused_before_rounding():
    images = pictures()
    images[0, 0, 0, 0] = 1 + 1e-12
    with pytest.raises(InputError, match="image 0 has the pixel"):
        check_images(images, SHAPE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(value):
    images = pictures()
    images[1, 0, 6, 5] = value
    message = "image 1 is NaN or infinite at channel 0, y 6, x 5"
    with pytest.raises(InputError, match=message):
        check_images(images, SHAPE)


@pytest.mark.parametrize(
    "shape", [(3, 1, 7, 6), (3, 2, 6, 7), (3, 7, 6, 2), (84,), (1, 3, 2, 7, 6)]
)
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"expected \(n, 2, 7, 6\)"):
        check_images(np.zeros(shape), SHAPE)


def test_one_picture_without_a_batch_is_refused():
    with pytest.raises(InputError, match=r"as a batch of shape \(1, 2, 7, 6\)"):
        check_images(np.zeros(SHAPE), SHAPE)


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="the batch is empty"):
        check_images(np.zeros((0, *SHAPE)), SHAPE)


@pytest.mark.parametrize(
    "dtype", ["int32", "int64", "int8", "uint16", "bool", "object"]
)
def test_other_types_are_refused(dtype):
    with pytest.raises(InputError, match=f"images are {dtype}"):
        check_images(np.zeros((2, *SHAPE), dtype=dtype), SHAPE)


def test_input_errors_are_value_errors():
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, ConversionError)


@pytest.mark.parametrize("scale", [0, -1, -0.0, np.nan, np.inf, -np.inf])
def test_rate_scales_out_of_range_are_refused(scale):
    with pytest.raises(InputError, match="rate_scale is .*above 0"):
        check_rate_scale(scale)
    with pytest.raises(InputError, match="rate_scale is .*above 0"):
        poisson_rates(np.zeros(SHAPE), scale, 1 * ms)


def test_a_probability_above_1_is_refused():
    pixels = np.full(SHAPE, 0.5, np.float32)
    assert check_rate_scale(2, pixels) == 2
    with pytest.raises(InputError, match="rate_scale 2.01 times the brightest pixel"):
        check_rate_scale(2.01, pixels)
    with pytest.raises(InputError, match="times the brightest pixel"):
        poisson_rates(pixels, 2.01, 1 * ms)


@pytest.mark.parametrize("level", [51, 85, 255, 102, 15, 17])
def test_a_probability_of_1_is_allowed(level):
    # 51 / 255 is 0.2, a little more in float32; 5 times 0.2 is 1 and not more.
    pixels = check_images(np.full((1, *SHAPE), level, np.uint8), SHAPE)
    scale = 255 / level
    assert check_rate_scale(scale, pixels) == scale


def test_rates_are_in_hertz_and_in_the_order_of_neurons():
    pixels = pictures()
    rates = poisson_rates(pixels, 0.5, 2 * ms)
    assert get_dimensions(rates) == get_dimensions(Hz)
    assert rates.shape == (3, 84)
    for c, y, x in [(0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 1, 0), (1, 4, 3), (1, 6, 5)]:
        # 0.5 I spikes per step of 2 ms are 250 I spikes per second.
        np.testing.assert_allclose(
            np.asarray(rates[:, (y * 6 + x) * 2 + c] / Hz),
            250 * pixels[:, c, y, x],
            rtol=1e-6,
        )


def test_rates_of_one_picture():
    rates = poisson_rates(np.ones(SHAPE, np.float32), 1.0, 1 * ms)
    np.testing.assert_allclose(np.asarray(rates / Hz), np.full(84, 1000.0), rtol=1e-6)


def test_a_time_step_without_a_unit_is_refused():
    with pytest.raises(DimensionMismatchError):
        poisson_rates(np.zeros(SHAPE), 1.0, 0.001)
