"""Makers of stimuli: gratings, bars, noise, an image whose contrast grows."""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import Hz, Quantity, ms, second

from cnn2snn_brian.checks import check_choice, check_number, check_whole, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings import check_units
from cnn2snn_brian.stimuli.base import whole_steps
from cnn2snn_brian.stimuli.frames import Movie, Still

Shape = tuple[int, int, int]


def _check_shape(shape: Any) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"shape is {shape}, expected (channels, height, width)")


def _checked_noise(
    shape: Any, n_frames: Any, seed: Any, size: Any = 1
) -> tuple[np.random.Generator, tuple[int, int]]:
    """Check what noise is made with; its random numbers, and squares in y and x."""
    _check_shape(shape)
    check_whole("n_frames", n_frames, 1)
    check_whole("size", size, 1)
    rng = np.random.default_rng(check_whole("seed", seed, 0))
    return rng, (-(-shape[1] // size), -(-shape[2] // size))


def _movie(
    frames: npt.NDArray[Any], shape: Shape, frame: Any, name: str, **made: float
) -> Movie:
    """Make a movie of frames of all channels, or of one that is repeated."""
    whole = np.broadcast_to(frames, (len(frames), *shape))
    return Movie(whole.astype(np.float32, "C"), frame, name=name, parameters=made)


def _enlarged(cells: npt.NDArray[Any], size: int, shape: Shape) -> npt.NDArray[Any]:
    """Make squares of `size` pixels of cells, cut at the border of the image."""
    large = cells.repeat(size, axis=-2).repeat(size, axis=-1)
    return large[..., : shape[1], : shape[2]]


def _frame_starts(duration: Quantity, frame: Quantity) -> npt.NDArray[Any]:
    """Start of each frame in seconds."""
    total = seconds("duration", duration, plain=False, above=0)
    each = seconds("the time of a frame", frame, plain=False, above=0)
    return np.arange(whole_steps("duration", total, each, "a frame's time")) * each


def _check_contrast(contrast: float, mean: float) -> None:
    check_number("contrast", contrast, 0, 1)
    check_number("mean", mean, 0, 1)
    if mean * (1 + contrast) > 1 + 1e-9:
        raise InputError(
            f"a contrast of {contrast} around a mean of {mean} is above an intensity "
            f"of 1; the largest is {1 / mean - 1:.3g}"
        )


def _positions(shape: Shape, orientation: float) -> npt.NDArray[np.float64]:
    """Distance of each pixel from the centre along the direction of motion."""
    _check_shape(shape)
    _, height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    angle = math.radians(orientation)
    along = (x - (width - 1) / 2) * math.sin(angle)
    # y of an array points down; angles go counterclockwise, as on paper.
    return along + (y - (height - 1) / 2) * math.cos(angle)


def _grating(
    shape: Shape,
    orientation: float,
    spatial_frequency: float,
    phase: float,
    contrast: float,
    mean: float,
    drift: npt.NDArray[np.float64],
    frame: Quantity,
    **more: float,
) -> Movie:
    """Make a movie with a frame of a grating for each drift, in radians."""
    _check_contrast(contrast, mean)
    # Waves shorter than two pixels can't be drawn.
    check_number("spatial_frequency", spatial_frequency, 0, 0.5)
    angle = 2 * np.pi * spatial_frequency * _positions(shape, orientation)
    wave = np.cos(angle[None] - (math.radians(phase) + drift)[:, None, None])
    frames = np.clip(mean * (1 + contrast * wave), 0, 1)[:, None]
    made = {"orientation": orientation, "spatial_frequency": spatial_frequency}
    made |= {"phase": phase, "contrast": contrast, **more}
    kind = "drifting grating" if more else "grating"
    return _movie(frames, shape, frame, f"{kind} {orientation:g} deg", **made)


def static_grating(
    shape: Shape,
    orientation: float = 0.0,
    spatial_frequency: float = 0.1,
    phase: float = 0.0,
    contrast: float = 1.0,
    mean: float = 0.5,
    duration: Quantity | None = None,
) -> Still:
    r"""
    Make a sinusoidal grating that stands still.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width); all channels are the same.
    orientation : float
        Orientation of the stripes in degrees, counterclockwise from horizontal.
    spatial_frequency : float
        Cycles per pixel, at most 0.5.
    phase : float
        Phase at the centre in degrees; at 0 the centre is brightest.
    contrast : float
        Michelson contrast, 0 to 1.
    mean : float
        Mean intensity.
    duration : Quantity [s], optional
        How long it is shown; by default as long as a trial of the program.

    Returns
    -------
    Still
        Intensities :math:`m (1 + c \cos(2 \pi f d - \phi))`, with the distance
        :math:`d` from the centre across the stripes.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    looks = shape, orientation, spatial_frequency, phase, contrast, mean
    made = _grating(*looks, np.zeros(1), 1 * ms)
    return Still(made.frames[0], duration, name=made.name, parameters=made.parameters)


@check_units(temporal_frequency=Hz, duration=second, frame=second)
def drifting_grating(
    shape: Shape,
    orientation: float = 0.0,
    spatial_frequency: float = 0.1,
    temporal_frequency: Quantity = 4 * Hz,
    phase: float = 0.0,
    contrast: float = 1.0,
    mean: float = 0.5,
    duration: Quantity = 1 * second,
    frame: Quantity = 20 * ms,
) -> Movie:
    r"""
    Make a sinusoidal grating that drifts across its stripes.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width); all channels are the same.
    orientation : float
        Orientation of the stripes in degrees, counterclockwise from horizontal. The
        grating drifts to the right at 90, down at 0, and so on around: the opposite
        direction is 180 more.
    spatial_frequency : float
        Cycles per pixel, at most 0.5.
    temporal_frequency : Quantity [Hz]
        Cycles per second.
    phase : float
        Phase at the centre in degrees at the start.
    contrast : float
        Michelson contrast, 0 to 1.
    mean : float
        Mean intensity.
    duration, frame : Quantity [s]
        Time of the movie, and of a frame of it.

    Returns
    -------
    Movie
        Intensities :math:`m (1 + c \cos(2 \pi (f d - g t) - \phi))`, at the start
        :math:`t` of each frame.

    Raises
    ------
    InputError
        If an argument is out of its range, or the duration is not a multiple of
        a frame.
    """
    frequency = float(temporal_frequency)
    drift = 2 * np.pi * frequency * _frame_starts(duration, frame)
    looks = shape, orientation, spatial_frequency, phase, contrast, mean
    return _grating(*looks, drift, frame, temporal_frequency=frequency)


@check_units(duration=second, frame=second)
def moving_bar(
    shape: Shape,
    orientation: float = 90.0,
    width: float = 3.0,
    background: float = 0.0,
    bright: float = 1.0,
    duration: Quantity = 1 * second,
    frame: Quantity = 20 * ms,
) -> Movie:
    """
    Make a bar that crosses the image once.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width); all channels are the same.
    orientation : float
        Orientation of the bar in degrees, counterclockwise from horizontal. It moves
        to the right at 90, down at 0; the opposite direction is 180 more.
    width : float
        Width of the bar in pixels.
    background, bright : float
        Intensity around the bar, and of it.
    duration, frame : Quantity [s]
        Time of the movie, and of a frame of it.

    Returns
    -------
    Movie
        The bar, which enters at the start and has left at the end.

    Raises
    ------
    InputError
        If an argument is out of its range, or the duration is not a multiple of
        a frame.
    """
    check_number("width in pixels", width, above=0)
    times = _frame_starts(duration, frame)
    distance = _positions(shape, orientation)
    farthest = float(distance.max()) + (width + 1) / 2
    n = len(times)
    centres = np.linspace(-farthest, farthest, n) if n > 1 else np.zeros(1)
    # A pixel at the bar's edge is covered in part.
    outside = np.abs(distance[None] - centres[:, None, None]) - width / 2
    covered = np.clip(0.5 - outside, 0, 1)
    frames = (background + (bright - background) * covered)[:, None]
    made = {"orientation": orientation, "width": width}
    return _movie(frames, shape, frame, f"bar {orientation:g} deg", **made)


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
    rng, grid = _checked_noise(shape, n_frames, seed, size)
    n_cells = math.prod(grid)
    cells = np.full((n_frames, n_cells), background)
    place = rng.integers(n_cells, size=n_frames)
    colours = np.where(rng.random(n_frames) < 0.5, dark, bright)
    cells[np.arange(n_frames), place] = colours
    frames = _enlarged(cells.reshape(n_frames, 1, *grid), size, shape)
    return _movie(frames, shape, frame, "sparse noise", size=size, seed=seed)


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
    rng, grid = _checked_noise(shape, n_frames, seed, size)
    check_choice("kind", kind, ("binary", "gaussian"))
    if kind == "binary":
        _check_contrast(contrast, mean)
    check_number("mean", mean, 0, 1)
    check_number("contrast", contrast, 0)
    cells = (n_frames, shape[0] if color else 1, *grid)
    if kind == "binary":
        noise = 2.0 * rng.integers(2, size=cells) - 1
    else:
        noise = rng.standard_normal(cells)
    frames = _enlarged(np.clip(mean * (1 + contrast * noise), 0, 1), size, shape)
    made = {"size": size, "contrast": contrast, "seed": seed}
    return _movie(frames, shape, frame, f"{kind} white noise", **made)


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
    shape = pixels.shape
    rng, _ = _checked_noise(shape, n_frames, seed)
    check_number("sd", sd, 0)
    frames = np.clip(pixels + rng.normal(0, sd, (n_frames, *shape)), 0, 1)
    return _movie(frames, shape, frame, "noise on an image", sd=sd, seed=seed)


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
    check_whole("n_frames", n_frames, 1)
    middle = float(pixels.mean()) if mean is None else mean
    for what, number in (("start", start), ("stop", stop), ("mean", middle)):
        check_number(what, number, 0, 1)
    contrasts = np.linspace(start, stop, n_frames)[:, None, None, None]
    frames = np.clip(middle + contrasts * (pixels - middle), 0, 1)
    made = {"start": start, "stop": stop}
    return _movie(frames, pixels.shape, frame, "contrast ramp", **made)
