"""Stimuli of frames: a still image, a sequence of images, a movie."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, ms, second

from cnn2snn_brian.checks import seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings import as_array, check_images
from cnn2snn_brian.stimuli.base import Item, Stimulus, whole_steps

#: A plot shows at most so many frames.
MAX_SHOWN = 12

#: Colour between the frames of a plot.
GAP = (0.34, 0.71, 0.91)


def _checked(what: str, images: Any) -> npt.NDArray[np.float32]:
    """Check images of any shape."""
    array = as_array(what, images)
    if array.ndim != 4:
        raise InputError(
            f"{what} has the shape {array.shape}, expected (n, channels, height, width)"
        )
    channels, height, width = array.shape[1:]
    pixels = check_images(array, (channels, height, width))
    pixels.flags.writeable = False
    return pixels


class FrameStimulus(Stimulus):
    """
    A stimulus of frames, of which each is shown for some steps.

    Attributes
    ----------
    frames : ndarray of float32, shape (n_frames, channels, height, width)
        The different frames, in [0, 1].
    """

    frames: Any

    def frame_of_step(self, dt_s: float, n_steps: int) -> npt.NDArray[np.int32]:
        """
        Say which frame is shown when.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.
        n_steps : int
            Number of steps, for an image that has no time of its own.

        Returns
        -------
        ndarray of int32, shape (n_steps,)
            Index of the frame of each step.

        Raises
        ------
        InputError
            If a time is no whole number of steps.
        """
        raise NotImplementedError

    @property
    def frame_times(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Start of each presentation in seconds, and the index of its frame."""
        raise NotImplementedError

    def at(self, t: Any) -> npt.NDArray[np.float32]:
        """
        Give the frame of a time.

        Parameters
        ----------
        t : Quantity [s] or float
            Time since the start (a plain number is in seconds).

        Returns
        -------
        ndarray of float32, shape (channels, height, width)
            The frame; past the end, the last one.
        """
        starts, frame = self.frame_times
        # A frame starts in the step that its time falls into.
        index = np.searchsorted(starts, float(np.asarray(t)) + 1e-9, side="right") - 1
        return self.frames[frame[max(0, int(index))]]

    def check(self, input_shape: tuple[int, int, int], dt_s: float) -> None:
        """Check shape and times; see `Stimulus.check`."""
        found = self.frames.shape[1:]
        if found != tuple(input_shape):
            raise InputError(
                f"{self.label} has frames of the shape {found}, the network expects "
                f"{tuple(input_shape)}: (channels, height, width)"
            )
        self.n_steps(dt_s)

    def plot(self, ax: Any = None) -> Any:
        """Draw frames side by side, at most 12, with their times in ms."""
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        starts, frame = self.frame_times
        n = len(starts)
        chosen = np.unique(np.linspace(0, n - 1, min(n, MAX_SHOWN)).astype(int))
        shown = self.frames[frame[chosen]]
        channels, height, width = shown.shape[1:]
        images = shown if channels == 3 else shown.mean(1)[:, None].repeat(3, 1)
        # Gaps of a colour, since frames may be as bright as paper at their edges.
        strip = np.ones((height, (width + 1) * len(chosen) - 1, 3)) * GAP
        for k, image in enumerate(images.transpose(0, 2, 3, 1)):
            strip[:, k * (width + 1) : k * (width + 1) + width] = image
        ax.imshow(strip, interpolation="nearest")
        centres = np.arange(len(chosen)) * (width + 1) + (width - 1) / 2
        ax.set_xticks(centres, [f"{1e3 * t:g}" for t in starts[chosen]])
        ax.set_yticks([])
        ax.set_xlabel("time (ms)")
        ax.set_title(self.label)
        return ax


@dataclass(frozen=True, eq=False)
class Still(FrameStimulus):
    """
    An image that does not change.

    Attributes
    ----------
    image : ndarray, shape (channels, height, width)
        Intensities, float in [0, 1] or uint8; kept as float32.
    duration : Quantity [s], optional
        How long it is shown; by default as long as a trial of the program.

    Raises
    ------
    InputError
        If the image or the duration can't be used.
    """

    image: npt.NDArray[np.float32]
    duration: Quantity | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.image)
        if len(shape) != 3:
            raise InputError(
                f"the image has the shape {shape}, expected (channels, height, width)"
            )
        pixels = _checked("the image", self.image[None])
        object.__setattr__(self, "image", pixels[0])
        if self.duration is not None:
            what = "the duration of an image"
            duration = seconds(what, self.duration, plain=False, above=0) * second
            object.__setattr__(self, "duration", duration)

    @property
    def frames(self) -> npt.NDArray[np.float32]:
        """The image, of shape (1, channels, height, width)."""
        return self.image[None]

    @property
    def duration_s(self) -> float | None:
        """How long it is shown, in seconds."""
        return None if self.duration is None else float(self.duration)

    @property
    def frame_times(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """One presentation from the start on."""
        return np.zeros(1), np.zeros(1, np.int64)

    def frame_of_step(self, dt_s: float, n_steps: int) -> npt.NDArray[np.int32]:
        """Show the image in each step."""
        own = self.n_steps(dt_s)
        return np.zeros(n_steps if own is None else own, np.int32)


@dataclass(frozen=True, eq=False)
class Sequence(FrameStimulus):
    """
    Images one after another, with a gray screen behind each.

    Attributes
    ----------
    images : ndarray, shape (n_images, channels, height, width)
        Intensities, float in [0, 1] or uint8; kept as float32.
    on : Quantity [s]
        How long an image is shown.
    off : Quantity [s]
        How long the background is shown behind each image; 0 for none.
    background : float
        Its intensity, 0 to 1.
    labels : sequence of int or str, optional
        What each image is, such as its class; its place in the sequence by default.

    Raises
    ------
    InputError
        If the images, a time or the background can't be used, or there is not one label
        for each image.
    """

    TIMES: ClassVar[tuple[str, ...]] = ("on", "off")

    images: npt.NDArray[np.float32]
    on: Quantity = field(default_factory=lambda: 100 * ms)
    off: Quantity = field(default_factory=lambda: 50 * ms)
    background: float = 0.5
    labels: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", _checked("images", self.images))
        n = len(self.images)
        labels = np.asarray(range(n) if self.labels is None else self.labels)
        if labels.dtype == object:  # texts of pandas
            labels = np.asarray(labels.tolist())
        if labels.shape != (n,) or labels.dtype.kind not in "iuU":
            raise InputError(
                f"labels are {self.labels!r}, expected a whole number or a name for "
                f"each of {n} images"
            )
        object.__setattr__(self, "labels", tuple(labels.tolist()))
        on = seconds("on", self.on, plain=False, above=0) * second
        off = seconds("off", self.off, plain=False, least=0) * second
        object.__setattr__(self, "on", on)
        object.__setattr__(self, "off", off)
        if not 0 <= float(self.background) <= 1:
            raise InputError(f"background is {self.background}, expected 0 to 1")

    @property
    def frames(self) -> npt.NDArray[np.float32]:
        """The images, and the background behind them if it is shown at all."""
        if not float(self.off):
            return self.images
        screen = np.full_like(self.images[:1], self.background)
        return np.concatenate([self.images, screen])

    @property
    def duration_s(self) -> float:
        """Time of all images with the background behind each, in seconds."""
        return len(self.images) * (float(self.on) + float(self.off))

    @property
    def items(self) -> tuple[Item, ...]:
        """Each image with its onset, its time without the background, and its label."""
        on, both = float(self.on), float(self.on) + float(self.off)
        return tuple(Item(k * both, on, label) for k, label in enumerate(self.labels))

    @property
    def frame_times(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Images and backgrounds in turn."""
        n = len(self.images)
        starts = np.arange(n) * (float(self.on) + float(self.off))
        if not float(self.off):
            return starts, np.arange(n)
        both = np.column_stack([starts, starts + float(self.on)]).ravel()
        frames = np.column_stack([np.arange(n), np.full(n, n)]).ravel()
        return both, frames

    def n_steps(self, dt_s: float) -> int:
        """Say how many steps it takes, from whole steps on and off."""
        on = whole_steps("an image of the sequence", float(self.on), dt_s)
        off = whole_steps("the background of the sequence", float(self.off), dt_s)
        return len(self.images) * (on + off)

    def frame_of_step(self, dt_s: float, n_steps: int) -> npt.NDArray[np.int32]:
        """Show images and backgrounds in turn."""
        n = len(self.images)
        on = whole_steps("an image of the sequence", float(self.on), dt_s)
        off = self.n_steps(dt_s) // n - on
        each = np.column_stack([np.arange(n), np.full(n, n)]).astype(np.int32)
        return np.repeat(each.ravel(), np.tile([on, off], n))


@dataclass(frozen=True, eq=False)
class Movie(FrameStimulus):
    """
    Frames one after another, each for the same time.

    Attributes
    ----------
    frames : ndarray, shape (n_frames, channels, height, width)
        Intensities, float in [0, 1] or uint8; kept as float32.
    frame : Quantity [s]
        Time of a frame, a multiple of the time step.

    Raises
    ------
    InputError
        If the frames or their time can't be used.
    """

    TIMES: ClassVar[tuple[str, ...]] = ("frame",)

    frames: npt.NDArray[np.float32]
    frame: Quantity = field(default_factory=lambda: 20 * ms)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", _checked("frames", self.frames))
        frame = seconds("the time of a frame", self.frame, plain=False, above=0)
        object.__setattr__(self, "frame", frame * second)

    @property
    def duration_s(self) -> float:
        """Time of all frames, in seconds."""
        return len(self.frames) * float(self.frame)

    @property
    def frame_times(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Each frame once."""
        n = len(self.frames)
        return np.arange(n) * float(self.frame), np.arange(n)

    def n_steps(self, dt_s: float) -> int:
        """Say how many steps it takes, from the whole steps of a frame."""
        own = whole_steps(f"a frame of {self.label}", float(self.frame), dt_s)
        return own * len(self.frames)

    def frame_of_step(self, dt_s: float, n_steps: int) -> npt.NDArray[np.int32]:
        """Show each frame for its time."""
        n = len(self.frames)
        return np.repeat(np.arange(n, dtype=np.int32), self.n_steps(dt_s) // n)
