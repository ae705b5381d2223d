"""
Inputs and results of a compiled program as files.

The C++ side is ``picture_program.h``; both follow the same order.
"""

import os
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import SimulationError
from cnn2snn_brian.files import write_errors
from cnn2snn_brian.projections import Connection
from cnn2snn_brian.settings import BY_TRIAL, KEPT, Numbers
from cnn2snn_brian.simulator.shown import Shown

MAGIC = b"PICTURE8"


def count_dtype(n_steps: int) -> type[np.unsignedinteger[Any]]:
    """Choose the smallest type that holds a neuron's spikes of one image."""
    if n_steps <= np.iinfo(np.uint8).max:
        return np.uint8
    return np.uint16 if n_steps <= np.iinfo(np.uint16).max else np.uint32


def picture_seeds(seed: int, first: int, n: int) -> npt.NDArray[np.uint64]:
    """Seed the random numbers of each image, by its index alone."""
    return np.array(
        [
            np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(
                1, np.uint64
            )[0]
            for index in range(first, first + n)
        ],
        dtype=np.uint64,
    )


@dataclass(frozen=True)
class CurrentReader:
    """
    What reads an image as a constant current.

    Attributes
    ----------
    connection : Connection
        Its connection, without a window in front of a kernel.
    biases : ndarray of float32, shape (n_neurons,)
        Biases of the neurons; empty if they come with other connections.
    """

    connection: Connection
    biases: npt.NDArray[np.float32]

    def arrays(self) -> list[npt.NDArray[Any]]:
        """List the runs, weights and biases that turn pixels into currents."""
        table = self.connection.runs()
        weights = self.connection.stored().astype(np.float32)
        targets = [table.first, table.post, table.weight, table.length]
        return [*targets, weights, self.biases]


@dataclass(frozen=True)
class ProgramInputs:
    """
    What a program run needs to know.

    Attributes
    ----------
    settings : dict of str to ndarray of float64
        Named numbers of the run, see `run_settings.numbers`.
    shown : tuple of Shown
        The images, or stimuli, each once.
    stimulus : ndarray of int64, shape (n_images,)
        Which of these each row of the result is of; repeats are neighbours.
    current_readers : tuple of CurrentReader
        With images as currents, all that reads them, in the order of the layers.
    seeds : ndarray of uint64, shape (n_images,)
        Seed of each image.
    record : ndarray of bool, shape (n_images, n_populations)
        Whose spikes are kept; populations in the order of the program.
    count_dtype : type
        Type of the spike counts.
    traced : tuple of ndarray of int32
        Neurons of each population whose potentials are kept; empty if there are none.
    trace : ndarray of bool, shape (n_images,)
        Of which images they are kept.
    """

    settings: Numbers
    shown: tuple[Shown, ...]
    stimulus: npt.NDArray[np.int64]
    current_readers: tuple[CurrentReader, ...]
    seeds: npt.NDArray[np.uint64]
    record: npt.NDArray[np.bool_]
    count_dtype: type[np.unsignedinteger[Any]]
    traced: tuple[npt.NDArray[np.int32], ...]
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
            shown=tuple(self.shown[k] for k in own),
            stimulus=stimulus,
            seeds=self.seeds[which],
            record=self.record[which],
            trace=self.trace[which],
        )

    def write(self, path: Path) -> None:
        """Write the inputs file of a program."""
        n_bytes = np.dtype(self.count_dtype).itemsize
        with path.open("wb") as file:
            file.write(MAGIC)
            file.write(struct.pack("=3q", self.n_images, n_bytes, len(self.settings)))
            for name, values in self.settings.items():
                key = name.encode()
                file.write(struct.pack("=q", len(key)) + key)
                file.write(struct.pack("=q", len(values)) + values.tobytes())
            for reader in self.current_readers:
                for array in reader.arrays():
                    file.write(struct.pack("=q", len(array)) + array.tobytes())
            for neurons in self.traced:
                file.write(struct.pack("=q", len(neurons)) + neurons.tobytes())
            before = -1
            for seed, traced, record, stimulus in zip(
                self.seeds, self.trace, self.record, self.stimulus, strict=True
            ):
                file.write(seed.tobytes() + traced.tobytes() + record.tobytes())
                # Repeats of a stimulus: it is written once.
                file.write(bytes([int(stimulus != before)]))
                if stimulus != before:
                    self.shown[stimulus].write(file)
                before = stimulus


@dataclass(frozen=True)
class ProgramOutputs:
    """
    What a program run found out.

    Attributes
    ----------
    counts : ndarray of unsigned int, shape (n_images, n_neurons)
        Spikes of all neurons of all populations.
    potentials : ndarray of float, shape (n_images, n_outputs)
        Potential of the last layer's neurons at the end of each image.
    spikes : dict of (image, population) to (ndarray of int32, ndarray of int32)
        Neuron and step of each recorded spike, in order of time.
    traces : dict of (image, population) to ndarray of float32
        Potentials of the traced neurons at the end of each recorded step, of shape
        (n_recorded_steps, n_neurons).
    weights : dict of (image, layer) to ndarray of float64
        Weights at the end of an image, by the index among the layers that learn; of the
        last image alone if they go on from image to image.
    """

    counts: npt.NDArray[np.unsignedinteger[Any]]
    potentials: npt.NDArray[np.float64]
    spikes: dict[tuple[int, int], tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]
    traces: dict[tuple[int, int], npt.NDArray[np.float32]] = field(default_factory=dict)
    weights: dict[tuple[int, int], npt.NDArray[np.float64]] = field(
        default_factory=dict
    )

    @classmethod
    def joined(cls, parts: "list[ProgramOutputs]") -> "ProgramOutputs":
        """Join the results of images that were run one part after another."""
        spikes, traces, weights = {}, {}, {}
        start = 0
        for part in parts:
            for (picture, population), recorded in part.spikes.items():
                spikes[start + picture, population] = recorded
            for (picture, population), trace in part.traces.items():
                traces[start + picture, population] = trace
            for (picture, layer), learned in part.weights.items():
                weights[start + picture, layer] = learned
            start += len(part.counts)
        return cls(
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.potentials for part in parts]),
            spikes,
            traces,
            weights,
        )

    @classmethod
    def read(
        cls, directory: Path, n_images: int, dtype: type[np.unsignedinteger[Any]]
    ) -> "ProgramOutputs":
        """Read the results of a program."""
        counts = np.fromfile(directory / "counts", dtype).reshape(n_images, -1)
        potentials = np.fromfile(directory / "potentials").reshape(n_images, -1)
        raw = (directory / "spikes").read_bytes()
        spikes, position = {}, 0
        while position < len(raw):
            picture, population, n = struct.unpack_from("=3q", raw, position)
            position += 24
            both = np.frombuffer(raw, np.int32, 2 * n, position)
            spikes[picture, population] = both[:n].copy(), both[n:].copy()
            position += 8 * n
        raw = (directory / "traces").read_bytes()
        traces, position = {}, 0
        while position < len(raw):
            picture, population, n_steps, n = struct.unpack_from("=4q", raw, position)
            position += 32
            trace = np.frombuffer(raw, np.float32, n_steps * n, position)
            traces[picture, population] = trace.reshape(n_steps, n).copy()
            position += trace.nbytes
        learned = directory / "weights"
        raw = learned.read_bytes() if learned.exists() else b""
        weights, position = {}, 0
        while position < len(raw):
            picture, layer, n = struct.unpack_from("=3q", raw, position)
            weights[picture, layer] = np.frombuffer(raw, float, n, position + 24).copy()
            position += 24 + 8 * n
        return cls(counts, potentials, spikes, traces, weights)


#: The exit codes of ``population.h`` in words.
ENDED = {
    3: "could not use its inputs",
    4: "could not write its results (TMPDIR can name a folder with more space)",
    130: "was interrupted",
}


def _failure(status: int, said: bytes) -> SimulationError:
    if status < 0:
        ended = f"was ended by signal {signal.Signals(-status).name}"
    else:
        ended = ENDED.get(status, f"ended with exit code {status}")
    words = said.decode(errors="replace")[-1000:].strip() or "it said nothing"
    return SimulationError(f"the compiled program {ended}: {words}")


class Running:
    """Programs that run at the moment, so that all can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def start(self, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program."""
        with self._lock:
            if self._stopped:
                raise SimulationError("interrupted")
            process = subprocess.Popen(command, **options)
            self._processes.add(process)
            return process

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """End a program, if it has not ended by itself, and wait until it is gone."""
        process.kill()
        process.wait()
        with self._lock:
            self._processes.discard(process)

    def stop(self) -> None:
        """End all programs, and let no other start."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()


def run(
    program: Path,
    project: Path,
    inputs: ProgramInputs,
    advance: Callable[[int], object] = lambda steps: None,
    running: Running | None = None,
) -> ProgramOutputs:
    """Run a compiled program on images."""
    running = running or Running()
    try:
        with tempfile.TemporaryDirectory(prefix="cnn2snn-brian-") as name:
            directory = Path(name)
            with write_errors(directory / "inputs"):
                inputs.write(directory / "inputs")
            process = running.start(
                [str(program), "--results_dir", os.path.join(name, "")],
                cwd=project,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            # Not to a file: what it says last is that the disk is full.
            said: list[bytes] = []
            listener = threading.Thread(
                target=lambda stream: said.append(stream.read()), args=[process.stderr]
            )
            listener.start()
            try:
                while process.stdout.read(1):
                    advance(1)
                status = process.wait()
            finally:
                # Also on Ctrl-C: no program goes on without its parent.
                running.end(process)
                listener.join()
                process.stdout.close()
                process.stderr.close()
            if status:
                raise _failure(status, b"".join(said))
            return ProgramOutputs.read(directory, inputs.n_images, inputs.count_dtype)
    except OSError as error:
        raise SimulationError(
            f"the compiled program could not be run: {error}"
        ) from error
