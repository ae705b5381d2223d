"""
Inputs and results of a compiled program as files.

The C++ side is ``picture_program.h``; both follow the same order.
"""

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.settings import BY_TRIAL, KEPT, Numbers

MAGIC = b"PICTUR10"

_NONE = np.zeros(0, np.int32)


def _write(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Write an array with its size in front."""
    file.write(struct.pack("=q", array.size))
    file.write(np.ascontiguousarray(array).data)


class ProgramStimulus(NamedTuple):
    """
    An image or stimulus as a compiled program gets it; ``shown.h`` reads it.

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
    frame_of_step: npt.NDArray[np.int32] = _NONE
    neuron: npt.NDArray[np.int32] = _NONE
    step: npt.NDArray[np.int32] = _NONE


@dataclass(frozen=True)
class ProgramInputs:
    """
    What a program run needs to know.

    Attributes
    ----------
    settings : dict of str to ndarray of float64
        Named numbers of the run, see `settings.numbers`.
    stimuli : tuple of ProgramStimulus
        What is shown, each once.
    stimulus : ndarray of int64, shape (n_images,)
        Which of these each row of the result is of; repeats are neighbours.
    seeds : ndarray of uint64, shape (n_images,)
        Seed of each image.
    record : ndarray of bool, shape (n_images, n_populations)
        Whose spikes are kept; populations in the order of the program.
    count_dtype : dtype
        Type of the spike counts.
    n_counts : int
        Counts of each neuron: spikes; events, if an event may be several spikes; spikes
        that were taken back, if some may be.
    traced : dict of str to ndarray of int32
        Variables that are kept, ``"conv1.v"``, and of which neurons.
    trace : ndarray of bool, shape (n_images,)
        Of which images they are kept.
    """

    settings: Numbers
    stimuli: tuple[ProgramStimulus, ...]
    stimulus: npt.NDArray[np.int64]
    seeds: npt.NDArray[np.uint64]
    record: npt.NDArray[np.bool_]
    count_dtype: np.dtype[Any]
    n_counts: int
    traced: dict[str, npt.NDArray[np.int32]]
    trace: npt.NDArray[np.bool_]

    @property
    def n_images(self) -> int:
        """Number of images, or of trials."""
        return len(self.stimulus)

    @property
    def is_one_run(self) -> bool:
        """Whether each image goes on with the weights of the one before."""
        return bool(np.any(self.settings.get(KEPT, 0)))

    def part(self, which: slice) -> "ProgramInputs":
        """Take some of the images."""
        settings = {
            name: values[which] if name in BY_TRIAL else values
            for name, values in self.settings.items()
        }
        # Only what these show, since a part may travel.
        own, stimulus = np.unique(self.stimulus[which], return_inverse=True)
        return replace(
            self,
            settings=settings,
            stimuli=tuple(self.stimuli[k] for k in own),
            stimulus=stimulus,
            seeds=self.seeds[which],
            record=self.record[which],
            trace=self.trace[which],
        )

    def write(self, path: Path) -> None:
        """Write the inputs file of a program."""
        with path.open("wb", 1 << 20) as file:
            n_bytes = self.count_dtype.itemsize
            file.write(MAGIC)
            file.write(struct.pack("=3q", self.n_images, n_bytes, len(self.settings)))
            for name, values in self.settings.items():
                _write(file, np.frombuffer(name.encode(), np.uint8))
                _write(file, values)
            file.write(struct.pack("=q", len(self.traced)))
            for name, neurons in self.traced.items():
                _write(file, np.frombuffer(name.encode(), np.uint8))
                _write(file, neurons)
            n_populations = self.record.shape[1]
            heads = np.empty(
                self.n_images,
                [
                    ("seed", np.uint64),
                    ("trace", np.bool_),
                    ("record", np.bool_, n_populations),
                    ("is_new", np.bool_),
                ],
            )
            heads["seed"], heads["trace"] = self.seeds, self.trace
            heads["record"] = self.record
            # Repeats of a stimulus are neighbours: it is written once.
            heads["is_new"] = np.diff(self.stimulus, prepend=-1) != 0
            for head, index in zip(heads, self.stimulus, strict=True):
                file.write(head)
                if head["is_new"]:
                    n_steps, *arrays = self.stimuli[index]
                    file.write(struct.pack("=q", n_steps))
                    for array in arrays:
                        _write(file, array)


def _read(
    path: Path, dtype: type[np.generic], n_sizes: int, *rows: int
) -> dict[tuple[int, int], npt.NDArray[Any]]:
    """Read arrays; each has its image, another index and its sizes in front."""
    raw = path.read_bytes() if path.exists() else b""
    found, position = {}, 0
    while position < len(raw):
        image, index, *sizes = struct.unpack_from(f"={2 + n_sizes}q", raw, position)
        position += 8 * (2 + n_sizes)
        shape = (*rows, *sizes)
        array = np.frombuffer(raw, dtype, math.prod(shape), position)
        found[image, index] = array.reshape(shape).copy()
        position += array.nbytes
    return found


@dataclass(frozen=True)
class ProgramOutputs:
    """
    What a program run found out.

    Attributes
    ----------
    counts : ndarray of unsigned int, shape (n_images, n_counts, n_neurons)
        Spikes (events, corrections) of all neurons of all populations.
    potentials : ndarray of float, shape (n_images, n_outputs)
        Potential of the last layer's neurons at the end of each image.
    spikes : dict of (image, population) to ndarray of int32, shape (2, n_spikes)
        Neuron and step of each recorded spike, in order of time; those that were taken
        back are of a population behind all others.
    traces : dict of (image, variable) to ndarray of float32
        Values of the traced neurons at the end of each recorded step, of shape
        (n_recorded_steps, n_neurons), by the index among the traced variables.
    weights : dict of (image, layer) to ndarray of float64
        Weights at the end of an image, by the index among the layers that learn; of the
        last image alone if they go on from image to image.
    """

    counts: npt.NDArray[np.unsignedinteger[Any]]
    potentials: npt.NDArray[np.float64]
    spikes: dict[tuple[int, int], npt.NDArray[np.int32]]
    traces: dict[tuple[int, int], npt.NDArray[np.float32]]
    weights: dict[tuple[int, int], npt.NDArray[np.float64]]

    def whole(self, n_images: int) -> "ProgramOutputs":
        """Give room for the results of more images, to be filled with `put`."""
        counts, potentials = (
            np.empty((n_images, *own.shape[1:]), own.dtype)
            for own in (self.counts, self.potentials)
        )
        return ProgramOutputs(counts, potentials, {}, {}, {})

    def put(self, start: int, part: "ProgramOutputs") -> None:
        """Fill in the results of the images from `start` on."""
        stop = start + len(part.counts)
        self.counts[start:stop] = part.counts
        self.potentials[start:stop] = part.potentials
        for name in ("spikes", "traces", "weights"):
            of_images = getattr(part, name).items()
            getattr(self, name).update(
                ((start + image, index), array) for (image, index), array in of_images
            )

    @classmethod
    def read(cls, directory: Path, inputs: ProgramInputs) -> "ProgramOutputs":
        """Read the results of a program."""
        path, dtype = directory / "counts", inputs.count_dtype
        counts = np.zeros(0, dtype)
        if path.stat().st_size:  # some neurons may spike
            counts = np.memmap(path, dtype, "r")  # not read: `put` copies it once
        potentials = np.fromfile(directory / "potentials")
        return cls(
            counts.reshape(inputs.n_images, inputs.n_counts, -1),
            potentials.reshape(inputs.n_images, -1),
            _read(directory / "spikes", np.int32, 1, 2),
            _read(directory / "traces", np.float32, 2),
            _read(directory / "weights", np.float64, 1),
        )
