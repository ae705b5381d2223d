"""
The simulator: a network compiled once, and run many times.

Thresholds, floors, leaks, starting potentials, rates, images and the seed are inputs of
a run. What an image yields depends only on the network, these settings, the image, the
seed and the image's index, and not on what it is simulated with.
"""

import importlib.metadata
import math
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from brian2 import Quantity, second

from cnn2snn_brian.errors import BuildError, InputError, SimulationError
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.projections import (
    INPUT,
    from_neurons,
    from_synapses,
    parts,
    to_neurons,
)
from cnn2snn_brian.results import SimulationResult, SpikeCounts
from cnn2snn_brian.settings import Parameters, check_units, documented
from cnn2snn_brian.simulator.compiler import (
    PROGRAM,
    build_program,
    check_cache,
    find_compiler,
)
from cnn2snn_brian.simulator.device import write_sources
from cnn2snn_brian.simulator.jobs import Job, prepared
from cnn2snn_brian.simulator.protocol import ProgramOutputs
from cnn2snn_brian.simulator.recording import Record
from cnn2snn_brian.simulator.workers import Workers, check_workers, run_shards

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: Show a progress bar from so many images on.
MIN_PROGRESS = 10


def _n_steps(duration_s: float, dt_s: float) -> int:
    """Check that an image's time is a whole number of steps."""
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise InputError(f"duration is {duration_s} s, expected a time above 0")
    steps = duration_s / dt_s
    n_steps = round(steps)
    if n_steps < 1 or abs(steps - n_steps) > 1e-6 * n_steps:
        raise InputError(
            f"duration {1e3 * duration_s:g} ms is no multiple of dt {1e3 * dt_s:g} ms"
        )
    return n_steps


class Simulator:
    """
    A compiled network. Use it as a context manager.

    Parameters
    ----------
    snn : SpikingNetwork
        The network. Later changes of its parameters are followed, unless `run` is
        given others.
    duration : Quantity [s]
        How long an image is shown, and how long a stimulus takes at most; a multiple of
        dt.
    cache_directory : path-like, optional
        Where compiled programs are kept. By default ``$CNN2SNN_BRIAN_CACHE``, or the
        user's cache directory.

    Attributes
    ----------
    snn : SpikingNetwork
        The network.
    compiled : bool
        False if the program was in the cache.

    Raises
    ------
    InputError
        If the duration can't be used.
    BuildError
        If there is no C++ compiler, it fails, the cache can't be used, or the disk of
        temporary files is full.
    """

    @check_units(duration=second)
    def __init__(
        self,
        snn: "SpikingNetwork",
        duration: Quantity,
        *,
        cache_directory: str | Path | None = None,
    ) -> None:
        start = time.perf_counter()
        self.snn = snn
        self.duration_s = float(duration / second)
        self.n_steps = _n_steps(self.duration_s, snn.dt_s)
        self._structure = _structure(snn)
        # All that can go wrong without Brian2 comes first: it takes seconds.
        find_compiler()
        cache = check_cache(cache_directory)
        self._directory = tempfile.TemporaryDirectory(prefix="cnn2snn-brian-")
        self._closed = False
        try:
            self._project = Path(self._directory.name)
            write_sources(snn, self._project)
            built = build_program(self._project, cache)
            self.compiled, self._build = built.compiled, built
            self._program = self._project / PROGRAM
        except OSError as error:
            self.close()
            raise BuildError(
                f"{self._project}: the network could not be built here: "
                f"{error.strerror or error}. TMPDIR can name a folder with more space"
            ) from error
        except BaseException:
            self.close()
            raise
        self._fan_out = {
            part.name: to_neurons(part.fan_out(), part.input_shape).astype(float)
            for layer in snn.layers
            for part in parts(layer)
        }
        self._build_seconds = time.perf_counter() - start

    def __enter__(self) -> "Simulator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the project's files. The program stays in the cache."""
        self._closed = True
        self._directory.cleanup()

    @property
    def populations(self) -> tuple[str, ...]:
        """Names of all populations that spike, in order."""
        return tuple(self.snn.population_shapes)

    @documented
    def run(
        self,
        images: Any,
        *,
        seed: int = 0,
        record: Record = (),
        executor: Workers = None,
        shard_size: int | None = None,
        progress: bool = True,
        repeats: int = 1,
        **settings: Any,
    ) -> SimulationResult:
        """
        Show images or stimuli to the network. Nothing is compiled.

        Parameters
        ----------
        images : ndarray, torch.Tensor, Stimulus or sequence of Stimulus
            Intensities of images, float in [0, 1] or uint8, of shape (n_images,
            channels, height, width), each shown for the program's duration; or stimuli
            in time (see `cnn2snn_brian.stimuli`) that take at most that long.
        seed : int
            Seed of everything random, at least 0.
        record : iterable of str, dict of str to iterable of int, or Recording
            Layers (or ``input``) whose spikes are kept, for all images or for those
            with the given indices; or a `Recording`, which keeps potentials too. The
            last layer is always recorded. What will not fit into memory is refused.
        executor : int or concurrent.futures.Executor, optional
            Who runs the images: all cores of this machine (None), so many of them, or
            an executor, such as ``dask.distributed.Client(...).get_executor()`` or
            ``mpi4py.futures.MPIPoolExecutor()``. It does not change the result.
        shard_size : int, optional
            Images of one program run. It does not change the result either.
        progress : bool
            Whether to show a progress bar.
        repeats : int
            Trials of each image or stimulus. A trial starts from the starting
            potentials and has input spikes of its own. The result has a row for each:
            stimulus after stimulus, its repeats in order.
        **settings
            Any of these. A dict by layer may leave layers out; the network's own
            values hold where nothing is given.
        {settings}

        Returns
        -------
        SimulationResult
            Counts, predictions, and recorded spikes.

        Raises
        ------
        InputError
            If an argument can't be used, or the recording is expected to be too large.
        SimulationError
            If the program ends before its time twice for the same images, or the
            simulator is closed.
        """
        ((_, result),) = self.run_many(
            images,
            [settings],
            seed=seed,
            record=record,
            executor=executor,
            shard_size=shard_size,
            progress=progress,
            repeats=repeats,
        )
        return result

    def run_many(
        self,
        images: Any,
        settings: Sequence[Mapping[str, Any] | Parameters],
        *,
        seed: int = 0,
        record: Record = (),
        executor: Workers = None,
        shard_size: int | None = None,
        progress: bool = True,
        repeats: int = 1,
    ) -> Generator[tuple[int, SimulationResult], None, None]:
        """
        Show the same images with several settings; all are run at once.

        All settings see the same input spikes: what they differ by is not noise. A
        setting's own ``input_deletion`` or ``input_jitter`` acts on these.

        Parameters
        ----------
        images : ndarray, torch.Tensor, Stimulus or sequence of Stimulus
            Images or stimuli, as in `run`.
        settings : sequence of dict or Parameters
            What each run has of its own, by name: the settings that `run` takes; or all
            of its parameters.
        seed, record, executor, shard_size, progress, repeats
            As in `run`.

        Returns
        -------
        results : iterator of (int, SimulationResult)
            Index of a setting and its result, in the order in which they finish.

        Raises
        ------
        InputError
            If an argument can't be used, or the recordings of all settings are expected
            to be too large, at the call: nothing has run then.
        SimulationError
            If the program ends before its time twice for the same images, or the
            simulator is closed.
        """
        if self._closed:
            raise SimulationError("the simulator is closed; compile the network again")
        if _structure(self.snn) != self._structure:
            raise InputError(
                "the network was changed since it was compiled, and not only in "
                "its numbers; compile it again"
            )
        workers = check_workers(executor, shard_size)
        jobs = prepared(self.snn, self.n_steps, images, settings, seed, record, repeats)
        return self._results(jobs, int(seed), workers, shard_size, progress)

    def _results(
        self,
        jobs: Sequence[Job],
        seed: int,
        workers: Workers,
        shard_size: int | None,
        progress: bool,
    ) -> Generator[tuple[int, SimulationResult], None, None]:
        inputs = [job.inputs for job in jobs]
        n_images = sum(part.n_images for part in inputs)
        show = progress and n_images >= MIN_PROGRESS
        start = time.perf_counter()
        with progress_bar("simulating", n_images, show=show) as advance:
            for index, outputs in run_shards(
                self._program, self._project, inputs, workers, shard_size, advance
            ):
                seconds = time.perf_counter() - start
                yield index, self._result(outputs, jobs[index], seed, seconds)

    def _result(
        self, outputs: ProgramOutputs, job: Job, seed: int, seconds: float
    ) -> SimulationResult:
        snn = self.snn
        shapes = snn.layers.shapes
        names = self.populations
        ends = np.cumsum([math.prod(shapes[name]) for name in names])
        raw = dict(zip(names, np.split(outputs.counts, ends[:-1], axis=1), strict=True))
        events = {}
        for layer in snn.layers:
            reaching = [part for part in parts(layer) if part.inputs[0] in raw]
            if reaching:
                delivered = sum(
                    _reached(raw[part.inputs[0]], self._fan_out[part.name])
                    for part in reaching
                )
                events[layer.name] = np.asarray(delivered).astype(np.int64)
        last = from_neurons(outputs.potentials, shapes[snn.layer_names[-1]])
        return SimulationResult(
            spike_counts=SpikeCounts(raw, shapes),
            output_potentials=last.reshape(len(last), -1),
            events=events,
            duration_s=self.duration_s
            if job.trials is None
            else max(job.trials.n_steps) * snn.dt_s,
            dt_s=snn.dt_s,
            seed=seed,
            parameters=job.parameters,
            perturbations=job.perturbations,
            network=snn.summary(),
            program={"compiler": self._build.compiler, "flags": self._build.flags},
            timings={"build": self._build_seconds, "run": seconds},
            versions=_versions(),
            shapes=shapes,
            recorded={
                (names[population], image): spikes
                for (image, population), spikes in outputs.spikes.items()
            },
            recorded_potentials={
                (names[population], image): (job.inputs.traced[population], v)
                for (image, population), v in outputs.traces.items()
            },
            weights=self._weights(outputs, job),
            trials=job.trials,
            windows=job.windows,
        )

    def _weights(self, outputs: ProgramOutputs, job: Job) -> dict[str, Any]:
        """Learned weights by layer, of the last image or of each."""
        found = {}
        for index, name in enumerate(self.snn.rules):
            layer = self.snn.layers[name]
            images = sorted(image for image, which in outputs.weights if which == index)
            of_images = [
                from_synapses(layer, outputs.weights[image, index]) for image in images
            ]
            found[name] = (
                of_images[-1] if job.inputs.is_one_run else np.stack(of_images)
            )
        return found


def _reached(counts: Any, fan_out: Any) -> Any:
    """Count the targets that all spikes of each image reach."""
    # Exact: the sums stay far below 2**53. Image by image, numbers stay in the cache.
    return np.array([image.astype(float) @ fan_out for image in counts])


@cache
def _found_versions() -> tuple[tuple[str, str], ...]:
    # Reading the metadata of a package takes longer than a short run.
    names = ("cnn2snn-brian", "brian2", "numpy")
    return tuple((name, importlib.metadata.version(name)) for name in names)


def _versions() -> dict[str, str]:
    return dict(_found_versions())


def _structure(snn: "SpikingNetwork") -> Any:
    """Say what a program is compiled for; the rest comes at run time."""
    summary = snn.summary()
    del summary["classes"]
    models = snn.models(snn.neurons)
    return (
        summary,
        snn.dt_s,
        {name: model.structure for name, model in models.items()},
        set(snn.release_probability),
        {name: rule.structure for name, rule in snn.rules.items()},
        INPUT in snn.population_shapes,
    )
