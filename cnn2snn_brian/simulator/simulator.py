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
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from brian2 import Network, Quantity, second

from cnn2snn_brian.checks import check_whole, seconds
from cnn2snn_brian.errors import BuildError, InputError, SimulationError
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.projections import INPUT, from_neurons, to_neurons
from cnn2snn_brian.results import Recorded, SimulationResult, SpikeCounts
from cnn2snn_brian.settings import Parameters, check_units, documented
from cnn2snn_brian.simulator.brian_model import BrianModel
from cnn2snn_brian.simulator.compiler import build_program, check_cache, find_compiler
from cnn2snn_brian.simulator.device import write_sources
from cnn2snn_brian.simulator.jobs import Job, prepared
from cnn2snn_brian.simulator.programs import Programs
from cnn2snn_brian.simulator.protocol import ProgramOutputs
from cnn2snn_brian.simulator.recording import Record
from cnn2snn_brian.simulator.workers import Workers, check_workers, run_shards
from cnn2snn_brian.stimuli import whole_steps

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: Index of a setting and its result, as they finish.
Results = Generator[tuple[int, SimulationResult], None, None]

#: Packages whose versions a result has.
VERSIONS = ("cnn2snn-brian", "brian2", "numpy")

#: With fewer images, there is no progress bar.
MIN_PROGRESS = 10


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
        self.duration_s = seconds("duration", duration, above=0)
        self.n_steps = whole_steps("duration", self.duration_s, snn.dt_s)
        check_whole("steps of the duration", self.n_steps, 1)
        self._structure = _structure(snn)
        # All that can go wrong without Brian2 comes first: it takes seconds.
        find_compiler()
        cache = check_cache(cache_directory)
        self._directory = tempfile.TemporaryDirectory(prefix="cnn2snn-brian-")
        self._project, self._closed = Path(self._directory.name), False
        self._programs = Programs(self._project)
        try:
            self._variables = write_sources(snn, self._project)
            self._build = build_program(self._project, cache)
        except BaseException as error:
            self.close()
            if not isinstance(error, OSError):
                raise
            raise BuildError(
                f"{self._project}: the network could not be built here: "
                f"{error.strerror or error}. TMPDIR can name a folder with more space"
            ) from error
        self.compiled = self._build.compiled
        neurons = sum(math.prod(shape) for shape in snn.population_shapes.values())
        self._work = max(1, neurons * self.n_steps)
        self._fan_out = {
            p.name: to_neurons(p.connection.fan_out(), p.connection.input_shape).astype(
                float
            )
            for p in snn.layers.projections
        }
        self._build_seconds = time.perf_counter() - start

    @classmethod
    def of(
        cls,
        build: Callable[[], Network],
        duration: Quantity,
        *,
        dt: Quantity | None = None,
        seed: int = 0,
        cache_directory: str | Path | None = None,
    ) -> "Simulator":
        """
        Compile any Brian2 network, without a CNN.

        ``simulator.run(repeats=200, seed=1, values={"S.w": 2*mV})`` runs 200 trials of
        it. Each starts with all variables as `build` left them, or with the given
        values, and draws its own random numbers.

        Parameters
        ----------
        build : function without arguments
            It makes a `brian2.Network` and returns it. Objects without a clock of their
            own get the default clock, with this dt; names in equations are those that
            the function sees.
        duration : Quantity [s]
            How long a trial takes, a multiple of dt.
        dt : Quantity [s], optional
            Time step; ``defaultclock.dt`` by default.
        seed : int
            Seed of what `build` draws: random connections and initial values.
        cache_directory : path-like, optional
            Where compiled programs are kept.

        Returns
        -------
        Simulator
            A context manager. ``simulator.snn.network()`` builds the network in Brian2.

        Raises
        ------
        InputError
            If the network has what a program can't run (a `NetworkOperation`, a
            monitor), or a time does not fit.
        BuildError
            As of `Simulator`.
        """
        model: Any = BrianModel(build, dt, seed)
        return cls(model, duration, cache_directory=cache_directory)

    def __enter__(self) -> "Simulator":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program and remove its files. What is compiled stays in the cache."""
        self._closed = True
        self._programs.close()
        self._directory.cleanup()

    @property
    def populations(self) -> tuple[str, ...]:
        """Names of all populations that spike, in order."""
        return tuple(self.snn.population_shapes)

    @documented
    def run(
        self,
        images: Any = None,
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
            What runs the images: all cores of this machine (None), that many of them,
            or an executor, such as ``dask.distributed.Client(...).get_executor()`` or
            ``mpi4py.futures.MPIPoolExecutor()``. It does not change the result.
        shard_size : int, optional
            Images of one program run. It does not change the result either.
        progress : bool
            Whether to show a progress bar.
        repeats : int
            Trials of each image or stimulus. A trial starts from the starting
            potentials and draws its own input spikes. The result has a row for each
            trial: stimulus after stimulus, its repeats in order.
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
        jobs = self._jobs(images, [settings], seed, record, repeats)
        ((_, result),) = self._results(jobs, executor, shard_size, progress)
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
    ) -> Results:
        """
        Show the same images with several settings; all are run at once.

        All settings see the same input spikes: what they differ by is not noise. A
        setting's own ``input_deletion`` or ``input_jitter`` acts on these.

        Parameters
        ----------
        images : ndarray, torch.Tensor, Stimulus or sequence of Stimulus
            Images or stimuli, as in `run`.
        settings : sequence of dict or Parameters
            What differs from run to run: a dict of the settings that `run` takes, or
            `Parameters` as they are.
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
        jobs = self._jobs(images, settings, seed, record, repeats)
        return self._results(jobs, executor, shard_size, progress)

    def _jobs(
        self, images: Any, settings: Any, seed: int, record: Record, repeats: int
    ) -> list[Job]:
        if self._closed:
            raise SimulationError("the simulator is closed; compile the network again")
        if _structure(self.snn) != self._structure:
            raise InputError(
                "the network was changed since it was compiled, and not only in "
                "its numbers; compile it again"
            )
        asked = images, settings, seed, record, repeats, self._variables
        return prepared(self.snn, self.n_steps, *asked)

    def _results(
        self, jobs: list[Job], workers: Workers, size: int | None, progress: bool
    ) -> Results:
        """Check the workers at once, and run the jobs as results are asked for."""
        workers = check_workers(workers, size)
        inputs = [job.inputs for job in jobs]
        n_images = sum(part.n_images for part in inputs)
        show = progress and n_images >= MIN_PROGRESS

        def results() -> Results:
            start = time.perf_counter()
            with progress_bar("simulating", n_images, show=show) as advance:
                for index, outputs in run_shards(
                    self._programs, inputs, self._work, workers, size, advance
                ):
                    taken = time.perf_counter() - start
                    yield index, self._result(outputs, jobs[index], taken)

        return results()

    def _result(
        self, outputs: ProgramOutputs, job: Job, taken: float
    ) -> SimulationResult:
        snn, names = self.snn, self.populations
        shapes = {**snn.layers.shapes, **snn.extension.populations}
        ends = np.cumsum([math.prod(shapes[name]) for name in names])
        # Spikes; events, where they may be several spikes; corrections.
        spikes, *others = (
            dict(zip(names, np.split(each, ends, axis=1)[:-1], strict=True))
            for each in np.moveaxis(outputs.counts, 1, 0)
        )
        raw = others[0] if others else spikes
        traced, events = list(job.inputs.traced), {}
        for name in snn.layer_names:
            reaching = [p for p in snn.layers.into(name) if p.source in raw]
            if reaching:
                delivered = sum(
                    _reached(raw[p.source], self._fan_out[p.name]) for p in reaching
                )
                events[name] = np.asarray(delivered).astype(np.int64)

        in_order = sorted(outputs.spikes.items())  # shards end in any order

        def recorded(populations: range) -> Recorded:
            return {
                (names[population % len(names)], image): (neuron, step)
                for (image, population), (neuron, step) in in_order
                if population in populations
            }

        last = outputs.potentials
        if snn.layers:
            last = from_neurons(last, snn.layers[-1].shape)
        longest = job.trials and max(job.trials.n_steps) * snn.dt_s
        return SimulationResult(
            spike_counts=SpikeCounts(spikes, shapes),
            output_potentials=last.reshape(len(last), -1),
            events=events,
            duration_s=longest or self.duration_s,
            dt_s=snn.dt_s,
            seed=job.seed,
            parameters=job.parameters,
            perturbations=job.perturbations,
            network=snn.summary(),
            program={"compiler": self._build.compiler, "flags": self._build.flags},
            timings={"build": self._build_seconds, "run": taken},
            versions={name: _version(name) for name in VERSIONS},
            shapes=shapes
            | {key.partition(".")[0]: self._variables[key] for key in traced},
            burst_counts=SpikeCounts(others[0] if others else {}, shapes),
            corrections=SpikeCounts(others[1] if len(others) > 1 else {}, shapes),
            recorded=recorded(range(len(names))),
            recorded_corrections=recorded(range(len(names), 2 * len(names))),
            recorded_potentials={
                (traced[index].removesuffix(".v"), image): (job.inputs.traced[key], v)
                for (image, index), v in sorted(outputs.traces.items())
                for key in [traced[index]]
            },
            interval=job.interval,
            weights=self._weights(outputs, job),
            trials=job.trials,
            windows=job.windows,
        )

    def _weights(self, outputs: ProgramOutputs, job: Job) -> dict[str, Any]:
        """Learned weights by layer, of the last image or of each."""
        found = {}
        for index, name in enumerate(self.snn.rules):
            (projection,) = self.snn.layers.into(name)
            images = sorted(image for image, which in outputs.weights if which == index)
            of_images = [
                projection.connection.from_synapses(outputs.weights[image, index])
                for image in images
            ]
            is_one = job.inputs.is_one_run
            found[name] = of_images[-1] if is_one else np.stack(of_images)
        return found


def _reached(counts: Any, fan_out: Any) -> Any:
    """Count the targets that all spikes of each image reach."""
    # Exact: the sums stay far below 2**53. No BLAS, whose threads go on spinning on the
    # cores that the programs need.
    return np.einsum("ni,i->n", counts, fan_out)


#: Cached: reading the metadata of a package takes longer than a short run.
_version = cache(importlib.metadata.version)


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
