"""
Run a compiled program: its inputs as a file, its results as arrays.

The C++ side is ``templates/picture_program.h``; both follow the same order.
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
from cnn2snn_brian.layers import AvgPool2d, Conv2d, Linear, to_neurons
from cnn2snn_brian.parameters import Parameters
from cnn2snn_brian.perturbations import Perturbations
from cnn2snn_brian.runs import kernel_to_memory, runs

__all__ = [
    "ProgramInputs",
    "ProgramOutputs",
    "Running",
    "count_dtype",
    "picture_seeds",
    "run",
]

MAGIC = b"PICTURE5"


def count_dtype(n_steps: int) -> type[np.unsignedinteger[Any]]:
    """
    Choose the smallest type that holds a neuron's spikes of one picture.

    Parameters
    ----------
    n_steps : int
        Number of time steps, which a neuron spikes in at most once each.

    Returns
    -------
    type
        uint8, uint16 or uint32.
    """
    if n_steps <= np.iinfo(np.uint8).max:
        return np.uint8
    return np.uint16 if n_steps <= np.iinfo(np.uint16).max else np.uint32


def picture_seeds(seed: int, first: int, n: int) -> npt.NDArray[np.uint64]:
    """
    Seed the random numbers of each picture, by its index alone.

    Parameters
    ----------
    seed : int
        Seed of the simulation.
    first : int
        Index of the first picture.
    n : int
        Number of pictures.

    Returns
    -------
    seeds : ndarray of uint64, shape (n,)
        The same for a picture whatever it is simulated with.
    """
    return np.array(
        [
            np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(
                1, np.uint64
            )[0]
            for index in range(first, first + n)
        ],
        dtype=np.uint64,
    )


def _current_arrays(layer: Conv2d | AvgPool2d | Linear) -> list[npt.NDArray[Any]]:
    """List the runs, weights and biases that turn pixels into currents."""
    table = runs(layer)
    n_neurons = int(np.prod(layer.shape))
    bias = np.zeros(n_neurons, np.float32)
    if layer.bias is not None:
        bias = to_neurons(layer.bias, layer.shape).astype(np.float32)
    weights = kernel_to_memory(layer).astype(np.float32)
    return [table.first, table.post, table.weight, table.length, weights, bias]


@dataclass(frozen=True)
class ProgramInputs:
    """
    What a program run needs to know.

    Attributes
    ----------
    parameters : Parameters
        Parameters of the neurons.
    pixels : ndarray of float32, shape (n_images, n_inputs)
        Intensities in [0, 1], in the order of neurons.
    first_layer : Linear or Conv2d or AvgPool2d, optional
        With pictures as currents, the layer that the program computes them with.
    seeds : ndarray of uint64, shape (n_images,)
        Seed of each picture.
    record : ndarray of bool, shape (n_images, n_populations)
        Whose spikes are kept; populations in the order of the program.
    count_dtype : type
        Type of the spike counts.
    traced : tuple of ndarray of int32
        Neurons of each population whose potentials are kept; empty if there are none.
    trace : ndarray of bool, shape (n_images,), optional
        Of which pictures they are kept; of none by default.
    perturbations : Perturbations, optional
        Values of the neurons' models, lesions and input noise; none of these by
        default.
    """

    parameters: Parameters
    pixels: npt.NDArray[np.float32]
    first_layer: Conv2d | AvgPool2d | Linear | None
    seeds: npt.NDArray[np.uint64]
    record: npt.NDArray[np.bool_]
    count_dtype: type[np.unsignedinteger[Any]]
    traced: tuple[npt.NDArray[np.int32], ...] = ()
    trace: npt.NDArray[np.bool_] | None = None
    perturbations: Perturbations | None = None

    @property
    def n_images(self) -> int:
        """Number of pictures."""
        return len(self.pixels)

    def part(self, which: slice) -> "ProgramInputs":
        """
        Take some of the pictures.

        Parameters
        ----------
        which : slice
            The pictures.

        Returns
        -------
        ProgramInputs
            Their inputs, with the same parameters.
        """
        return replace(
            self,
            pixels=self.pixels[which],
            seeds=self.seeds[which],
            record=self.record[which],
            trace=None if self.trace is None else self.trace[which],
        )

    def write(self, path: Path) -> None:
        """
        Write the inputs file of a program.

        Parameters
        ----------
        path : Path
            The file.
        """
        parameters = self.parameters
        with path.open("wb") as file:
            file.write(MAGIC)
            n_bytes = np.dtype(self.count_dtype).itemsize
            file.write(
                struct.pack("=qqd", self.n_images, n_bytes, parameters.rate_scale)
            )
            none = (np.zeros(0, np.int32),) * self.record.shape[1]
            more = self.perturbations or Perturbations(
                ((),) * len(parameters.thresholds),
                none,
                0.0,
                0.0,
                0,
            )
            for name, of_model in zip(parameters.thresholds, more.values, strict=True):
                values = (
                    parameters.thresholds[name],
                    parameters.v_min[name],
                    parameters.leak[name],
                    parameters.v_init[name],
                )
                file.write(struct.pack("=4d", *values))
                file.write(struct.pack(f"={len(of_model)}d", *of_model))
            if self.first_layer is not None:
                for array in _current_arrays(self.first_layer):
                    file.write(struct.pack("=q", len(array)) + array.tobytes())
            for neurons in (*(self.traced or none), *more.lesioned):
                file.write(struct.pack("=q", len(neurons)) + neurons.tobytes())
            file.write(
                struct.pack("=ddq", more.deletion, more.jitter_steps, more.n_steps)
            )
            trace = np.zeros(self.n_images, bool) if self.trace is None else self.trace
            for seed, traced, record, pixels in zip(
                self.seeds, trace, self.record, self.pixels, strict=True
            ):
                file.write(seed.tobytes() + traced.tobytes() + record.tobytes())
                file.write(pixels.tobytes())


@dataclass(frozen=True)
class ProgramOutputs:
    """
    What a program run found out.

    Attributes
    ----------
    counts : ndarray of unsigned int, shape (n_images, n_neurons)
        Spikes of all neurons of all populations.
    potentials : ndarray of float, shape (n_images, n_outputs)
        Potential of the last layer's neurons at the end of each picture.
    spikes : dict of (picture, population) to (ndarray of int32, ndarray of int32)
        Neuron and step of each recorded spike, in order of time.
    traces : dict of (picture, population) to ndarray of float32
        Potentials of the traced neurons at the end of each step, of shape (n_steps,
        n_neurons).
    """

    counts: npt.NDArray[np.unsignedinteger[Any]]
    potentials: npt.NDArray[np.float64]
    spikes: dict[tuple[int, int], tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]
    traces: dict[tuple[int, int], npt.NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: "list[ProgramOutputs]") -> "ProgramOutputs":
        """
        Join the results of pictures that were run one part after another.

        Parameters
        ----------
        parts : list of ProgramOutputs
            The parts, in order.

        Returns
        -------
        ProgramOutputs
            All results; pictures are counted from the first part on.
        """
        spikes, traces = {}, {}
        start = 0
        for part in parts:
            for (picture, population), recorded in part.spikes.items():
                spikes[start + picture, population] = recorded
            for (picture, population), trace in part.traces.items():
                traces[start + picture, population] = trace
            start += len(part.counts)
        return cls(
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.potentials for part in parts]),
            spikes,
            traces,
        )

    @classmethod
    def read(
        cls, directory: Path, n_images: int, dtype: type[np.unsignedinteger[Any]]
    ) -> "ProgramOutputs":
        """
        Read the results of a program.

        Parameters
        ----------
        directory : Path
            Where the program wrote them.
        n_images : int
            Number of pictures.
        dtype : type
            Type of the counts.

        Returns
        -------
        ProgramOutputs
            The results.
        """
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
        return cls(counts, potentials, spikes, traces)


def _failure(program: Path, status: int, stderr: str) -> SimulationError:
    if status < 0:
        ended = f"was ended by signal {signal.Signals(-status).name}"
    else:
        ended = f"ended with exit code {status}"
    said = stderr.strip() or "it said nothing"
    return SimulationError(f"the program {program.name} {ended}: {said}")


class Running:
    """Programs that run at the moment, so that all can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def start(self, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        """
        Start a program.

        Parameters
        ----------
        command : list of str
            The program and its arguments.
        **options
            Of ``subprocess.Popen``.

        Returns
        -------
        subprocess.Popen
            The process.

        Raises
        ------
        SimulationError
            If all programs have been ended.
        """
        with self._lock:
            if self._stopped:
                message = "interrupted"
                raise SimulationError(message)
            process = subprocess.Popen(command, **options)
            self._processes.add(process)
            return process

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """
        End a program, if it has not ended by itself, and wait until it is gone.

        Parameters
        ----------
        process : subprocess.Popen
            The process.
        """
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
    """
    Run a compiled program on pictures.

    Parameters
    ----------
    program : Path
        The program.
    project : Path
        The project folder with its weights.
    inputs : ProgramInputs
        What to run.
    advance : callable
        Called with 1 after each picture.
    running : Running, optional
        Where the process is noted while it runs.

    Returns
    -------
    ProgramOutputs
        The results.

    Raises
    ------
    SimulationError
        If the program ends before it has delivered all results, or there is no space
        for them.
    """
    running = running or Running()
    try:
        with tempfile.TemporaryDirectory(prefix="cnn2snn-brian-") as name:
            directory = Path(name)
            inputs.write(directory / "inputs")
            errors = directory / "stderr"
            with errors.open("w") as stderr:
                process = running.start(
                    [str(program), "--results_dir", os.path.join(name, "")],
                    cwd=project,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                )
            assert process.stdout is not None
            try:
                while process.stdout.read(1):
                    advance(1)
                status = process.wait()
            finally:
                # Also on Ctrl-C: no program goes on without its parent.
                running.end(process)
                process.stdout.close()
            if status:
                raise _failure(program, status, errors.read_text(errors="replace"))
            return ProgramOutputs.read(directory, inputs.n_images, inputs.count_dtype)
    except OSError as error:
        message = f"the program {program.name} could not be run: {error}"
        raise SimulationError(message) from error
