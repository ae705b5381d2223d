"""Noise: sparse, white, on an image; and an image whose contrast grows."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, ms, second

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings import check_units
from cnn2snn_brian.stimuli.frames import Movie, Still

Shape = tuple[int, int, int]


def _check(shape: Any, n_frames: Any, size: Any, seed: Any) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"shape is {shape}, expected (channels, height, width)")
    for what, value in (("n_frames", n_frames), ("size", size)):
        check_whole(what, value, 1)
    check_whole("seed", seed, 0)


def _enlarged(
    cells: npt.NDArray[Any], size: int, shape: Shape
) -> npt.NDArray[np.float32]:
    """Make squares of `size` pixels of cells, cut at the border of the image."""
    large = cells.repeat(size, axis=-2).repeat(size, axis=-1)
    return large[..., : shape[1], : shape[2]].astype(np.float32)


@check_units(frame=second)
def sparse_noise(
    shape: Shape,
    n_frames: int,
    size: int = 1,
    background: float = 0.5,
    dark: float = 0.0,
    bright: float = 1.0,
    frame: Quantity = 20 * ms,
    seed: int = 0,
) -> Movie:
    """
    Make frames with one dark or bright square each, at random places.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width); all channels are the same.
    n_frames : int
        Number of frames.
    size : int
        Side of a square in pixels. Squares lie on a grid.
    background, dark, bright : float
        Intensities. Each square is dark or bright with probability 0.5.
    frame : Quantity [s]
        Time of a frame.
    seed : int
        Seed of places and signs.

    Returns
    -------
    Movie
        The frames.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    _check(shape, n_frames, size, seed)
    rng = np.random.default_rng(seed)
    height, width = -(-shape[1] // size), -(-shape[2] // size)
    cells = np.full((n_frames, height * width), background)
    place = rng.integers(height * width, size=n_frames)
    cells[np.arange(n_frames), place] = np.where(
        rng.random(n_frames) < 0.5, dark, bright
    )
    frames = _enlarged(cells.reshape(n_frames, 1, height, width), size, shape)
    return Movie(
        np.repeat(frames, shape[0], axis=1),
        frame,
        name="sparse noise",
        parameters={"size": size, "seed": seed},
    )


@check_units(frame=second)
def white_noise(
    shape: Shape,
    n_frames: int,
    size: int = 1,
    mean: float = 0.5,
    contrast: float = 1.0,
    kind: Literal["binary", "gaussian"] = "binary",
    color: bool = False,
    frame: Quantity = 20 * ms,
    seed: int = 0,
) -> Movie:
    """
    Make frames of independent pixels.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width).
    n_frames : int
        Number of frames.
    size : int
        Side of an independent square in pixels.
    mean : float
        Mean intensity.
    contrast : float
        Standard deviation as a share of the mean. Binary noise has the intensities
        ``mean (1 - contrast)`` and ``mean (1 + contrast)``; Gaussian noise is cut off
        at 0 and 1.
    kind : {"binary", "gaussian"}
        Distribution of the intensities.
    color : bool
        Whether channels are independent of each other; all are the same without it.
    frame : Quantity [s]
        Time of a frame.
    seed : int
        Seed of the noise.

    Returns
    -------
    Movie
        The frames.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    _check(shape, n_frames, size, seed)
    if kind not in ("binary", "gaussian"):
        raise InputError(f"kind={kind!r}: expected 'binary' or 'gaussian'")
    if not 0 <= mean <= 1 or contrast < 0:
        raise InputError(
            f"mean {mean} and contrast {contrast}: expected 0 to 1, at least 0"
        )
    if kind == "binary" and (contrast > 1 or mean * (1 + contrast) > 1 + 1e-9):
        raise InputError(
            f"binary noise of mean {mean} and contrast {contrast} leaves 0 to 1; use a "
            "smaller contrast"
        )
    rng = np.random.default_rng(seed)
    channels = shape[0] if color else 1
    cells = (n_frames, channels, -(-shape[1] // size), -(-shape[2] // size))
    if kind == "binary":
        noise = 2.0 * rng.integers(2, size=cells) - 1
    else:
        noise = rng.standard_normal(cells)
    frames = _enlarged(np.clip(mean * (1 + contrast * noise), 0, 1), size, shape)
    if not color:
        frames = np.repeat(frames, shape[0], axis=1)
    return Movie(
        frames,
        frame,
        name=f"{kind} white noise",
        parameters={"size": size, "contrast": contrast, "seed": seed},
    )


@check_units(frame=second)
def noise_on(
    image: Any,
    sd: float,
    n_frames: int = 50,
    frame: Quantity = 20 * ms,
    seed: int = 0,
) -> Movie:
    """
    Add new noise to an image in each frame.

    Parameters
    ----------
    image : ndarray, shape (channels, height, width)
        Intensities, float in [0, 1] or uint8.
    sd : float
        Standard deviation of the Gaussian noise; intensities are cut off at 0 and 1.
    n_frames : int
        Number of frames.
    frame : Quantity [s]
        Time of a frame.
    seed : int
        Seed of the noise.

    Returns
    -------
    Movie
        The frames.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    pixels = Still(image).image
    _check(pixels.shape, n_frames, 1, seed)
    if not sd >= 0:
        raise InputError(f"sd is {sd}, expected at least 0")
    noise = np.random.default_rng(seed).normal(0, sd, (n_frames, *pixels.shape))
    frames = np.clip(pixels[None] + noise, 0, 1).astype(np.float32)
    return Movie(
        frames, frame, name="noise on an image", parameters={"sd": sd, "seed": seed}
    )


@check_units(frame=second)
def contrast_ramp(
    image: Any,
    n_frames: int = 50,
    start: float = 0.0,
    stop: float = 1.0,
    mean: float | None = None,
    frame: Quantity = 20 * ms,
) -> Movie:
    """
    Show an image with a contrast that changes from frame to frame.

    Parameters
    ----------
    image : ndarray, shape (channels, height, width)
        Intensities, float in [0, 1] or uint8.
    n_frames : int
        Number of frames.
    start, stop : float
        Contrast of the first and of the last frame, 0 to 1; 1 is the image itself.
    mean : float, optional
        Intensity at a contrast of 0; by default the mean of the image.
    frame : Quantity [s]
        Time of a frame.

    Returns
    -------
    Movie
        The frames.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    pixels = Still(image).image
    _check(pixels.shape, n_frames, 1, 0)
    middle = float(pixels.mean()) if mean is None else mean
    if not (0 <= start <= 1 and 0 <= stop <= 1 and 0 <= middle <= 1):
        raise InputError(
            f"contrasts {start} to {stop} around {middle}: expected numbers from 0 to 1"
        )
    contrasts = np.linspace(start, stop, n_frames)[:, None, None, None]
    frames = np.clip(middle + contrasts * (pixels[None] - middle), 0, 1)
    return Movie(
        frames.astype(np.float32),
        frame,
        name="contrast ramp",
        parameters={"start": start, "stop": stop},
    )
