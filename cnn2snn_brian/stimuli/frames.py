"""Stimuli of frames: a still image, a sequence of images, a movie."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, ms, second

from cnn2snn_brian.checks import check_number, check_shape, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Network
from cnn2snn_brian.settings import as_array, check_images
from cnn2snn_brian.stimuli.base import Item, Stimulus, whole_steps

#: The most frames that a plot shows.
MAX_SHOWN = 12

#: Colour between the frames of a plot.
GAP = (0.34, 0.71, 0.91)


def _checked(what: str, images: Any) -> npt.NDArray[np.float32]:
    """Check images of any shape."""
    array = as_array(what, images)
    check_shape(what, array, "n", "channels", "height", "width")
    pixels = check_images(array, array.shape[1:])
    pixels.flags.writeable = False
    return pixels


def shape_shown(network: Network, stimulus: Stimulus) -> tuple[int, int, int]:
    """Give the shape that a stimulus has to have: frames may be images, too."""
    frames = getattr(stimulus, "frames", None)
    if frames is None or frames.shape[1] == network.input_shape[0]:
        return network.input_shape
    return network.image_shape


class FrameStimulus(Stimulus):
    """
    A stimulus of frames, of which each is shown for some steps.

    Attributes
    ----------
    frames : ndarray of float32, shape (n_frames, channels, height, width)
        The different frames, in [0, 1].
    """

    frames: Any

    @abstractmethod
    def _cycle(self) -> tuple[int, dict[str, float]]:
        """Say how many cycles it has, and what in each takes how many seconds."""

    def _frame_order(self) -> npt.NDArray[np.int64]:
        """List frames by cycle and place: another image in each, then the last one."""
        n, cycle = self._cycle()
        return np.array([[k, *[n] * (len(cycle) - 1)] for k in range(n)])

    def _cycle_steps(self, dt_s: float) -> list[int]:
        return [whole_steps(what, s, dt_s) for what, s in self._cycle()[1].items()]

    @property
    def duration_s(self) -> float | None:
        """How long it takes in seconds; None is as long as it is shown."""
        n, cycle = self._cycle()
        return n * sum(cycle.values()) or None

    @property
    def frame_times(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Start of each presentation in seconds, and the index of its frame."""
        n, cycle = self._cycle()
        starts = np.arange(n)[:, None] * sum(cycle.values())
        within = np.cumsum([0, *cycle.values()])[:-1]
        return (starts + within).ravel(), self._frame_order().ravel()

    def n_steps(self, dt_s: float) -> int | None:
        """Say how many steps it takes; see `Stimulus.n_steps`."""
        if self.duration_s is None:
            return None
        return self._cycle()[0] * sum(self._cycle_steps(dt_s))

    def frame_of_step(self, dt_s: float, n_steps: int) -> npt.NDArray[np.int32]:
        """
        Say which frame is shown when.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.
        n_steps : int
            Number of steps of an image that was given no duration.

        Returns
        -------
        ndarray of int32, shape (n_steps,)
            Index of the frame of each step.

        Raises
        ------
        InputError
            If a time is not a whole number of steps.
        """
        steps = [n_steps] if self.duration_s is None else self._cycle_steps(dt_s)
        order = self._frame_order().astype(np.int32)
        return np.repeat(order.ravel(), np.tile(steps, len(order)))

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

    def _draw(self, ax: Any) -> None:
        """Draw frames side by side, at most 12, with their times in ms."""
        starts, frame = self.frame_times
        n = len(starts)
        chosen = np.unique(np.linspace(0, n - 1, min(n, MAX_SHOWN)).astype(int))
        shown = self.frames[frame[chosen]]
        channels, height, width = shown.shape[1:]
        images = shown if channels == 3 else shown.mean(1)[:, None].repeat(3, 1)
        # Gaps of a colour, since frames may be as bright as paper at their edges.
        strip = np.tile(GAP, (height, len(chosen), width + 1, 1))
        strip[:, :, :width] = images.transpose(2, 0, 3, 1)
        strip = strip.reshape(height, -1, 3)[:, :-1]
        ax.imshow(strip, interpolation="nearest")
        centres = np.arange(len(chosen)) * (width + 1) + (width - 1) / 2
        ax.set_xticks(centres, [f"{1e3 * t:g}" for t in starts[chosen]])
        ax.set_yticks([])


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
        super().__post_init__()
        image = as_array("the image", self.image)
        check_shape("the image", image, "channels", "height", "width")
        self._keep(image=_checked("the image", image[None])[0])

    @property
    def frames(self) -> npt.NDArray[np.float32]:
        """The image, of shape (1, channels, height, width)."""
        return self.image[None]

    def _cycle(self) -> tuple[int, dict[str, float]]:
        return 1, {self.label: 0.0 if self.duration is None else float(self.duration)}


@dataclass(frozen=True, eq=False)
class Sequence(FrameStimulus):
    """
    Images one after another, with a gray screen after each.

    Attributes
    ----------
    images : ndarray, shape (n_images, channels, height, width)
        Intensities, float in [0, 1] or uint8; kept as float32.
    on : Quantity [s]
        How long an image is shown.
    off : Quantity [s]
        How long the background is shown after each image; 0 for none.
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
        self._keep(images=_checked("images", self.images))
        n = len(self.images)
        labels = np.asarray(range(n) if self.labels is None else self.labels)
        if labels.dtype == object:  # texts of pandas
            labels = np.asarray(labels.tolist())
        if labels.shape != (n,) or labels.dtype.kind not in "iuU":
            raise InputError(
                f"labels are {self.labels!r}, expected a whole number or a name for "
                f"each of {n} images"
            )
        self._keep(
            labels=tuple(labels.tolist()),
            on=seconds("on", self.on, plain=False, above=0) * second,
            off=seconds("off", self.off, plain=False, least=0) * second,
        )
        check_number("background", self.background, 0, 1)

    @property
    def frames(self) -> npt.NDArray[np.float32]:
        """The images, and after them the background if it is shown at all."""
        if not float(self.off):
            return self.images
        screen = np.full_like(self.images[:1], self.background)
        return np.concatenate([self.images, screen])

    @property
    def items(self) -> tuple[Item, ...]:
        """Each image with its onset, its time without the background, and its label."""
        on, both = float(self.on), float(self.on) + float(self.off)
        return tuple(Item(k * both, on, label) for k, label in enumerate(self.labels))

    def _cycle(self) -> tuple[int, dict[str, float]]:
        off = {"the background of the sequence": float(self.off)}
        on = {"an image of the sequence": float(self.on)}
        return len(self.images), on | off if float(self.off) else on


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
        frame = seconds("the time of a frame", self.frame, plain=False, above=0)
        self._keep(frames=_checked("frames", self.frames), frame=frame * second)

    def _cycle(self) -> tuple[int, dict[str, float]]:
        return len(self.frames), {f"a frame of {self.label}": float(self.frame)}
