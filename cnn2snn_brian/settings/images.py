"""Checks of images."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_number
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Network


def as_array(what: str, values: Any) -> npt.NDArray[Any]:
    """Take an array, a tensor of PyTorch of any kind, or a list of either."""
    try:
        array = _plain(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{what} can't be read as one array{_advice(values)}: {error}"
        ) from error
    if array.dtype == object and not isinstance(values, np.ndarray):
        raise InputError(
            f"{what}: a {type(values).__name__}, not an array{_advice(values)}"
        )
    return array


def _plain(values: Any) -> npt.NDArray[Any]:
    if isinstance(values, list | tuple) and any(hasattr(v, "detach") for v in values):
        return np.stack([_plain(value) for value in values])
    if not hasattr(values, "detach"):  # no tensor; torch is not imported here
        return np.asarray(values)
    tensor = values.detach()
    tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
    if tensor.is_floating_point() and tensor.itemsize < 4:
        tensor = tensor.float()  # bfloat16 and others; exact
    return np.asarray(tensor.cpu().resolve_neg().numpy())


def _advice(values: Any) -> str:
    if hasattr(values, "images"):
        return "; give its .images"
    is_pair = isinstance(values, list | tuple) and len(values) == 2
    if is_pair and np.ndim(values[0]) == 4 and np.ndim(values[1]) == 1:
        return "; if these are images and labels, give the first of them"
    return ""


def check_images(
    images: Any, input_shape: tuple[int, int, int]
) -> npt.NDArray[np.float32]:
    """Check images and scale 8-bit ones to [0, 1]."""
    if hasattr(images, "labels"):  # LabelledImages, which this folder does not know
        images = images.images
    array = as_array("images", images)
    if array.ndim == len(input_shape):
        raise InputError(
            f"images have the shape {array.shape}; for one image, give it as a batch "
            f"of shape {(1, *array.shape)}"
        )
    if array.ndim != 4 or array.shape[1:] != tuple(input_shape):
        raise InputError(
            f"images have the shape {array.shape}, expected (n, "
            f"{', '.join(map(str, input_shape))}): (n, channels, height, width)"
        )
    if len(array) == 0:
        raise InputError("there are no images: the batch is empty")
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"images are {array.dtype}, expected float in [0, 1] or uint8")
    # The check comes before the conversion: it must see what the user gave.
    wrong = ~((array >= 0) & (array <= 1))
    if wrong.any():
        n, c, y, x = np.argwhere(wrong)[0]
        value = array[n, c, y, x]
        fault = f"has the pixel {value}" if np.isfinite(value) else "is NaN or infinite"
        raise InputError(
            f"image {n} {fault} at channel {c}, y {y}, x {x}; pixels have to be in "
            f"[0, 1] ({wrong.sum()} are not). Divide by 255, or give uint8; a "
            "normalization belongs into the network (normalize=...)"
        )
    return array.astype(np.float32)


def check_shown(images: Any, network: Network) -> npt.NDArray[np.float32]:
    """Check images, and give what the input neurons of a network say of them."""
    given = getattr(images, "images", images)
    said = network.input_shape
    is_said = network.pixels is not None and np.shape(given)[1:] == said
    pixels = check_images(given, said if is_said else network.image_shape)
    return network.said_by_input(pixels)  # type: ignore[return-value]


def check_rate_scale(
    rate_scale: float, pixels: npt.NDArray[np.float32] | None = None
) -> float:
    """Check that no input neuron has to spike more than once in a step."""
    scale = check_number("rate_scale", rate_scale, above=0)
    # Pixels are float32: 51 / 255 is a little above 0.2, and 5 times that above 1.
    if pixels is not None and scale * float(pixels.max()) > 1 + 1e-6:
        raise InputError(
            f"rate_scale {scale} times the brightest pixel {pixels.max()} is above 1: "
            "a neuron spikes at most once in a step. Use a smaller rate_scale, or "
            "encoding='current'"
        )
    return scale
