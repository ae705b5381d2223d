"""What a CNN sees of 8-bit images: pixels, in training flipped, shifted and cut."""

import numpy as np
import numpy.typing as npt
import torch

from cnn2snn_brian.train.settings import TrainingSettings

__all__ = ["augmented", "to_pixels"]


def to_pixels(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """
    Turn 8-bit images into the pixels that a CNN sees.

    Parameters
    ----------
    images : ndarray of uint8, shape (n_images, channels, height, width)
        The images.

    Returns
    -------
    torch.Tensor of float32
        Pixels in [0, 1], of the same shape.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images)).float() / 255
    # Twice as fast as torch's own order for these CNNs on a CPU.
    return pixels.contiguous(memory_format=torch.channels_last)


def augmented(
    images: npt.NDArray[np.uint8], rng: np.random.Generator, settings: TrainingSettings
) -> npt.NDArray[np.uint8]:
    """
    Flip, shift and cut a batch, each image on its own.

    Parameters
    ----------
    images : ndarray of uint8, shape (n_images, channels, height, width)
        The batch.
    rng : numpy.random.Generator
        Draws which images are flipped, how far each is shifted, and where it is cut.
    settings : TrainingSettings
        Whether images are flipped, how far they are shifted at most, and the side of
        the square that is cut out.

    Returns
    -------
    ndarray of uint8
        The images, of the same shape.
    """
    n, _, height, width = images.shape
    if settings.flip:
        images = images.copy()
        mirrored = rng.random(n) < 0.5
        images[mirrored] = images[mirrored, :, :, ::-1]
    if settings.shift:
        border = settings.shift
        padded = np.pad(images, ((0, 0), (0, 0), (border, border), (border, border)))
        top = np.asarray(rng.integers(0, 2 * border + 1, size=n))
        left = np.asarray(rng.integers(0, 2 * border + 1, size=n))
        rows = (top[:, None] + np.arange(height))[:, None, :, None]
        columns = (left[:, None] + np.arange(width))[:, None, None, :]
        channels = np.arange(images.shape[1])[None, :, None, None]
        images = padded[np.arange(n)[:, None, None, None], channels, rows, columns]
    if settings.cutout:
        images = _cut(images, rng, settings.cutout)
    return images


def _cut(
    images: npt.NDArray[np.uint8], rng: np.random.Generator, side: int
) -> npt.NDArray[np.uint8]:
    """Set a square of each image to mid-grey; at the border part of it is outside."""
    n, _, height, width = images.shape
    top = np.asarray(rng.integers(0, height, size=n))[:, None] - side // 2
    left = np.asarray(rng.integers(0, width, size=n))[:, None] - side // 2
    rows, columns = np.arange(height), np.arange(width)
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    cut = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return np.where(cut, np.uint8(128), images)
