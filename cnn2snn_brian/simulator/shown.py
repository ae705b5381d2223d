"""What a program shows: images and stimuli as it gets them, once for all repeats."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, Pooled, to_neurons
from cnn2snn_brian.results import Trials
from cnn2snn_brian.settings import check_images, check_rate_scale
from cnn2snn_brian.stimuli import FrameStimulus, SpikeStimulus, Stimulus

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

_NO_STEPS = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Shown:
    """
    A stimulus as a compiled program gets it.

    Attributes
    ----------
    n_steps : int
        Steps of a trial.
    frames : ndarray of float32, shape (n_frames, n_inputs)
        Different frames, in the order of neurons; none if spikes are given.
    frame_of_step : ndarray of int32, shape (n_steps,)
        Index of the frame of each step; empty if there is one frame only.
    neuron, step : ndarray of int32, shape (n_spikes,)
        Given spikes, in order of time.
    """

    n_steps: int
    frames: npt.NDArray[np.float32]
    frame_of_step: npt.NDArray[np.int32] = field(default_factory=lambda: _NO_STEPS)
    neuron: npt.NDArray[np.int32] = field(default_factory=lambda: _NO_STEPS)
    step: npt.NDArray[np.int32] = field(default_factory=lambda: _NO_STEPS)

    def write(self, file: BinaryIO) -> None:
        """Write it to the inputs file of a program; ``shown.h`` reads it."""
        file.write(struct.pack("=q", self.n_steps))
        for array in (self.frames, self.frame_of_step, self.neuron, self.step):
            file.write(struct.pack("=q", array.size))
            file.write(np.ascontiguousarray(array).data)


@dataclass(frozen=True)
class Showing:
    """
    What is shown in a run, and how often.

    Attributes
    ----------
    shown : tuple of Shown
        Each stimulus once.
    mean : ndarray of float32, shape (n_stimuli, channels, height, width)
        Mean intensity over time, to estimate rates with; of given spikes, the mean
        number of spikes in a step.
    trials : Trials, optional
        What the rows of the result are; None for plain images.
    repeats : int
        Trials of each stimulus.
    """

    shown: tuple[Shown, ...]
    mean: npt.NDArray[np.float32]
    trials: Trials | None
    repeats: int

    @property
    def n_rows(self) -> int:
        """Number of trials."""
        return len(self.shown) * self.repeats

    @property
    def steps_of_row(self) -> npt.NDArray[np.int64]:
        """Steps of each trial."""
        return np.repeat([part.n_steps for part in self.shown], self.repeats)


def shown_in_run(
    snn: "SpikingNetwork",
    n_steps: int,
    images: Any,
    repeats: Any,
    rate_scales: Sequence[float],
) -> Showing:
    """Check what is to be shown, and put it together."""
    repeats = check_whole("repeats", repeats, 1)
    if isinstance(images, Stimulus):
        images = [images]
    listed = isinstance(images, list | tuple)
    if listed and any(isinstance(item, Stimulus) for item in images):
        return _of_stimuli(snn, n_steps, images, repeats, rate_scales)
    pixels = check_images(images, snn.input_shape)
    if snn.encoding == "poisson":
        for scale in rate_scales:
            check_rate_scale(scale, pixels)
    in_order = _in_order(snn, pixels)
    shown = tuple(Shown(n_steps, in_order[k : k + 1]) for k in range(len(pixels)))
    trials = None
    if repeats > 1:
        names = tuple(f"image {k}" for k in range(len(pixels)))
        trials = Trials(repeats, (n_steps,) * len(pixels), names)
    return Showing(shown, pixels, trials, repeats)


def _in_order(
    snn: "SpikingNetwork", pixels: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Give the program what each reader of an image reads, in the order of neurons."""
    if snn.encoding != "current":
        return to_neurons(pixels, pixels.shape[1:])
    read = []
    for _, part in snn.layers.readers(INPUT):
        values = pixels
        if isinstance(part, Pooled):
            values = part.averages(pixels).astype(np.float32)
        read.append(to_neurons(values, values.shape[1:]))
    return np.concatenate(read, axis=1)


def _of_stimuli(
    snn: "SpikingNetwork",
    n_steps: int,
    stimuli: Sequence[Any],
    repeats: int,
    rate_scales: Sequence[float],
) -> Showing:
    for k, stimulus in enumerate(stimuli):
        if not isinstance(stimulus, Stimulus):
            raise InputError(
                f"stimulus {k} is a {type(stimulus).__name__}; a list has stimuli, "
                "an image among them as Still(image)"
            )
        try:
            stimulus.check(snn.input_shape, snn.dt_s)
            _check_time(stimulus, n_steps, snn.dt_s)
            if isinstance(stimulus, FrameStimulus):
                for scale in rate_scales if snn.encoding == "poisson" else ():
                    check_rate_scale(scale, stimulus.frames)
            elif snn.encoding != "poisson":
                raise InputError(
                    f"{stimulus.label} gives input spikes, and with encoding="
                    f"{snn.encoding!r} there are none; convert with encoding='poisson'"
                )
        except InputError as error:
            raise InputError(f"stimulus {k}: {error}") from error
    parts = [_shown(snn, n_steps, stimulus) for stimulus in stimuli]
    return Showing(
        tuple(parts),
        np.stack(
            [
                _mean(snn, stimulus, part)
                for stimulus, part in zip(stimuli, parts, strict=True)
            ]
        ),
        Trials(
            repeats,
            tuple(part.n_steps for part in parts),
            tuple(stimulus.label for stimulus in stimuli),
            tuple(dict(stimulus.parameters) for stimulus in stimuli),
            tuple(stimulus.items for stimulus in stimuli),
        ),
        repeats,
    )


def _check_time(stimulus: Stimulus, n_steps: int, dt_s: float) -> None:
    """Refuse a stimulus that is longer than the program, or has no time at all."""
    own = stimulus.n_steps(dt_s)
    if own is None and isinstance(stimulus, SpikeStimulus):
        latest = float(stimulus.times.max(initial=0))
        own = int((latest + 1e-3 * dt_s) / dt_s) + 1
    if own is not None and own > n_steps:
        raise InputError(
            f"{stimulus.label} takes {1e3 * own * dt_s:g} ms, which is longer than the "
            f"program, {1e3 * n_steps * dt_s:g} ms; compile with "
            f"duration={1e3 * own * dt_s:g}*ms"
        )
    if own is not None and own < 1:
        raise InputError(
            f"{stimulus.label} is shorter than a time step, {1e3 * dt_s:g} ms"
        )


def _shown(snn: "SpikingNetwork", n_steps: int, stimulus: Stimulus) -> Shown:
    own = stimulus.n_steps(snn.dt_s)
    if isinstance(stimulus, SpikeStimulus):
        neuron, step = stimulus.spikes(snn.dt_s, snn.input_shape)
        n_inputs = int(np.prod(snn.input_shape))
        none = np.zeros((0, n_inputs), np.float32)
        return Shown(n_steps if own is None else own, none, _NO_STEPS, neuron, step)
    assert isinstance(stimulus, FrameStimulus)
    frames = _in_order(snn, stimulus.frames)
    of_step = stimulus.frame_of_step(snn.dt_s, n_steps)
    if len(frames) == 1:
        return Shown(len(of_step), frames)
    return Shown(len(of_step), frames, of_step)


def _mean(
    snn: "SpikingNetwork", stimulus: Stimulus, part: Shown
) -> npt.NDArray[np.float32]:
    """Mean intensity of a stimulus over time."""
    if isinstance(stimulus, FrameStimulus):
        of_step = part.frame_of_step if len(part.frame_of_step) else np.zeros(1, int)
        n_frames = len(stimulus.frames)
        share = np.bincount(of_step, minlength=n_frames) / len(of_step)
        return np.tensordot(share, stimulus.frames, 1).astype(np.float32)
    channels, height, width = snn.input_shape
    counts = np.bincount(part.neuron, minlength=channels * height * width)
    image = (counts / part.n_steps).reshape(height, width, channels).transpose(2, 0, 1)
    scale = snn.parameters.rate_scale
    return np.minimum(image / scale, 1).astype(np.float32)
