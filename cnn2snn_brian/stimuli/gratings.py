"""Gratings and bars."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Hz, Quantity, ms, second

from cnn2snn_brian.checks import seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings import check_units
from cnn2snn_brian.stimuli.frames import Movie, Still

Shape = tuple[int, int, int]


def check_contrast(contrast: float, mean: float) -> None:
    """Check that a contrast does not leave [0, 1]."""
    if not (0 <= contrast <= 1 and 0 <= mean <= 1):
        raise InputError(f"contrast {contrast} and mean {mean}: expected 0 to 1")
    if mean * (1 + contrast) > 1 + 1e-9:
        raise InputError(
            f"a contrast of {contrast} around a mean of {mean} is above an intensity "
            f"of 1; the largest is {1 / mean - 1:.3g}"
        )


def _positions(shape: Shape, orientation: float) -> npt.NDArray[np.float64]:
    """Distance of each pixel from the centre along the direction of motion."""
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"shape is {shape}, expected (channels, height, width)")
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
    phases: npt.NDArray[np.float64],
    contrast: float,
    mean: float,
) -> npt.NDArray[np.float32]:
    """One frame of a grating for each phase, in radians."""
    check_contrast(contrast, mean)
    if not 0 <= spatial_frequency <= 0.5:
        raise InputError(
            f"spatial_frequency is {spatial_frequency} cycles per pixel, expected 0 to "
            "0.5: more can't be drawn with pixels"
        )
    angle = 2 * np.pi * spatial_frequency * _positions(shape, orientation)
    wave = np.cos(angle[None] - phases[:, None, None])
    frames = np.clip(mean * (1 + contrast * wave), 0, 1).astype(np.float32)
    return np.repeat(frames[:, None], shape[0], axis=1)


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
    frames = _grating(
        shape,
        orientation,
        spatial_frequency,
        np.radians([phase]),
        contrast,
        mean,
    )
    return Still(
        frames[0],
        duration,
        name=f"grating {orientation:g} deg",
        parameters={
            "orientation": orientation,
            "spatial_frequency": spatial_frequency,
            "phase": phase,
            "contrast": contrast,
        },
    )


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
        If an argument is out of its range, or the duration is no multiple of a frame.
    """
    times = _frame_starts(duration, frame)
    phases = math.radians(phase) + 2 * np.pi * float(temporal_frequency) * times
    frames = _grating(shape, orientation, spatial_frequency, phases, contrast, mean)
    return Movie(
        frames,
        frame,
        name=f"drifting grating {orientation:g} deg",
        parameters={
            "orientation": orientation,
            "spatial_frequency": spatial_frequency,
            "temporal_frequency": float(temporal_frequency),
            "phase": phase,
            "contrast": contrast,
        },
    )


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
        If an argument is out of its range, or the duration is no multiple of a frame.
    """
    if not width > 0:
        raise InputError(f"width is {width} pixels, expected a number above 0")
    times = _frame_starts(duration, frame)
    distance = _positions(shape, orientation)
    farthest = float(distance.max()) + (width + 1) / 2
    n = len(times)
    centres = np.linspace(-farthest, farthest, n) if n > 1 else np.zeros(1)
    # A pixel at the bar's edge is covered in part.
    outside = np.abs(distance[None] - centres[:, None, None]) - width / 2
    covered = np.clip(0.5 - outside, 0, 1)
    frames = (background + (bright - background) * covered).astype(np.float32)
    return Movie(
        np.repeat(frames[:, None], shape[0], axis=1),
        frame,
        name=f"bar {orientation:g} deg",
        parameters={"orientation": orientation, "width": width},
    )


def _frame_starts(duration: Quantity, frame: Quantity) -> npt.NDArray[Any]:
    """Start of each frame in seconds."""
    total = seconds("duration", duration, plain=False, above=0)
    each = seconds("the time of a frame", frame, plain=False, above=0)
    n = round(total / each)
    if n < 1 or abs(total / each - n) > 1e-6 * n:
        raise InputError(
            f"the duration {1e3 * total:g} ms is no multiple of a frame's "
            f"{1e3 * each:g} ms"
        )
    return np.arange(n) * each
