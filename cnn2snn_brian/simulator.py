"""
The simulator: a network compiled once, and run many times.

Thresholds, floors, leaks, starting potentials, rates, pictures and the seed are inputs
of a run. What a picture yields depends only on the network, these parameters, the
picture, the seed and the picture's index, and not on what it is simulated with.
"""

import importlib.metadata
import math
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, check_units, second

from cnn2snn_brian import program
from cnn2snn_brian.build import build_program, find_compiler
from cnn2snn_brian.cache import check_cache
from cnn2snn_brian.device import write_sources
from cnn2snn_brian.encoding import check_images, check_rate_scale
from cnn2snn_brian.errors import InputError, SimulationError
from cnn2snn_brian.layers import INPUT, from_neurons, to_neurons
from cnn2snn_brian.lesions import Lesions, lesion_masks
from cnn2snn_brian.neuron_models import NeuronModel
from cnn2snn_brian.parameters import ByLayer, Parameters, check_names
from cnn2snn_brian.perturbations import Perturbations, check_input_noise
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.recording import check_recording
from cnn2snn_brian.results import SimulationResult, SpikeCounts
from cnn2snn_brian.workers import Workers, check_workers, run_shards

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

__all__ = ["Record", "Simulator"]

#: Layers whose spikes are kept, for all pictures or for those with the given indices.
Record = Iterable[str] | Mapping[str, Iterable[int]]

#: Show a progress bar from so many pictures on.
MIN_PROGRESS = 10


#: Neurons whose potentials are kept, by layer.
Potentials = Mapping[str, Iterable[tuple[int, ...]]]


def _neurons_at(
    name: str, positions: Iterable[tuple[int, ...]], shape: tuple[int, ...]
) -> npt.NDArray[np.int32]:
    """Find neurons, given as in the layer's arrays, in its Brian2 group."""
    indices = from_neurons(np.arange(math.prod(shape)), shape)
    neurons = []
    for position in positions:
        at = tuple(position) if isinstance(position, Iterable) else (position,)
        fits = len(at) == len(shape) and all(
            isinstance(part, int | np.integer) and 0 <= part < size
            for part, size in zip(at, shape, strict=False)
        )
        if not fits:
            message = (
                f"record_potentials of {name!r}: {position!r} is no neuron of a layer "
                f"of shape {shape}"
            )
            raise InputError(message)
        neurons.append(indices[at])
    return np.array(neurons, dtype=np.int32)


#: What a setting of `Simulator.run_many` may have besides `Parameters`.
PERTURBED = (
    "neurons",
    "release_probability",
    "lesion",
    "input_deletion",
    "input_jitter",
)


def _n_steps(duration_s: float, dt_s: float) -> int:
    """Check that a picture's time is a whole number of steps."""
    if not (math.isfinite(duration_s) and duration_s > 0):
        message = f"duration is {duration_s} s, expected a time above 0"
        raise InputError(message)
    steps = duration_s / dt_s
    n_steps = round(steps)
    if n_steps < 1 or abs(steps - n_steps) > 1e-6 * n_steps:
        message = (
            f"duration {1e3 * duration_s:g} ms is no multiple of dt {1e3 * dt_s:g} ms"
        )
        raise InputError(message)
    return n_steps


def _structure(
    snn: "SpikingNetwork", neurons: NeuronModel | Mapping[str, NeuronModel]
) -> dict[str, Any]:
    """List what a program is compiled for, of the neurons of each layer."""
    return {name: model.structure for name, model in snn.models(neurons).items()}


class Simulator:
    """
    A compiled network. Use it as a context manager.

    Parameters
    ----------
    snn : SpikingNetwork
        The network. Later changes of its parameters are followed, unless `run` is
        given others.
    duration : Quantity [s]
        How long a picture is shown, a multiple of dt.
    cache_directory : path-like, optional
        Where compiled programs are kept. By default ``$CNN2SNN_BRIAN_CACHE``, or the
        user's cache directory.

    Attributes
    ----------
    compiled : bool
        False if the program was in the cache.

    Raises
    ------
    InputError
        If the duration can't be used.
    BuildError
        If there is no C++ compiler, it fails, or the cache can't be used.
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
        self._structure = _structure(snn, snn.neurons)
        # All that can go wrong without Brian2 comes first: it takes seconds.
        find_compiler()
        cache = check_cache(cache_directory)
        self._directory = tempfile.TemporaryDirectory(prefix="cnn2snn-brian-")
        self._closed = False
        try:
            self._project = Path(self._directory.name)
            write_sources(snn, self.n_steps * snn.dt_s, self._project)
            compiled, self.compiled = build_program(self._project, cache)
            # A copy of its own: the cache may be cleared while the simulator lives.
            self._program = self._project / "program"
            shutil.copy2(compiled, self._program)
        except BaseException:
            self.close()
            raise
        self._fan_out = {
            layer.name: to_neurons(layer.fan_out(), layer.input_shape).astype(float)
            for layer in snn.layers
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
        names = self.snn.layer_names
        return (INPUT, *names) if self.snn.encoding == "poisson" else names

    def _record_mask(self, record: Record, n_images: int) -> npt.NDArray[np.bool_]:
        names = self.populations
        mask = np.zeros((n_images, len(names)), dtype=bool)
        if isinstance(record, str):
            record = (record,)
        chosen: dict[str, Any] = (
            {name: list(pictures) for name, pictures in record.items()}
            if isinstance(record, Mapping)
            else dict.fromkeys(record, slice(None))
        )
        for name, pictures in chosen.items():
            if name not in names:
                message = (
                    f"record names the unknown layer {name!r}; there are "
                    f"{', '.join(names)}"
                )
                raise InputError(message)
            if not isinstance(pictures, slice) and any(
                not 0 <= picture < n_images for picture in pictures
            ):
                message = (
                    f"record of {name!r} names pictures outside 0 to {n_images - 1}"
                )
                raise InputError(message)
            mask[pictures, names.index(name)] = True
        # Few neurons, and `output_counts` needs them.
        mask[:, -1] = True
        return mask

    def _traced(
        self,
        record_potentials: Potentials,
        potential_images: Iterable[int] | None,
        n_images: int,
    ) -> tuple[tuple[npt.NDArray[np.int32], ...], npt.NDArray[np.bool_]]:
        """Neurons whose potentials are kept, by population, and of which pictures."""
        check_names("record_potentials", record_potentials, self.snn.layer_names)
        shapes = self.snn.layers.shapes
        traced = tuple(
            _neurons_at(name, record_potentials.get(name, ()), shapes[name])
            for name in self.populations
        )
        pictures = list(
            range(n_images) if potential_images is None else potential_images
        )
        if any(not 0 <= picture < n_images for picture in pictures):
            message = f"potential_images names pictures outside 0 to {n_images - 1}"
            raise InputError(message)
        trace = np.zeros(n_images, dtype=bool)
        trace[pictures] = True
        return traced, trace

    def _perturbations(
        self,
        seed: int,
        *,
        neurons: NeuronModel | Mapping[str, NeuronModel] | None = None,
        release_probability: ByLayer | None = None,
        lesion: Lesions = None,
        input_deletion: float = 0.0,
        input_jitter: Any = 0.0,
    ) -> Perturbations:
        """Check the run-time inputs of one setting other than its parameters."""
        snn = self.snn
        chosen = snn.neurons if neurons is None else neurons
        if isinstance(neurons, Mapping):
            check_names("neurons", neurons, snn.layer_names)
            chosen = {**snn.models(snn.neurons), **neurons}
        for name, structure in _structure(snn, chosen).items():
            if structure != self._structure[name]:
                message = (
                    f"neurons of {name}: {snn.models(chosen)[name]} has other "
                    "equations than the compiled model; only values of its parameters "
                    "can change. Convert and compile with neurons=... for that"
                )
                raise InputError(message)
        release = dict(snn.release_probability)
        if release_probability is not None:
            given = (
                release_probability
                if isinstance(release_probability, Mapping) or not release
                else dict.fromkeys(release, release_probability)
            )
            given = snn.check_release(given)
            fixed = [name for name in given if name not in release]
            if fixed:
                message = (
                    f"release_probability: synapses into {', '.join(fixed)} were "
                    "compiled as ones that never fail; convert with "
                    "release_probability=1 (or another number) for that"
                )
                raise InputError(message)
            release |= given
        deletion, jitter_s = check_input_noise(
            snn.encoding, input_deletion, input_jitter
        )
        masks = lesion_masks(lesion, snn.population_shapes, seed)
        lesioned = []
        for name in self.populations:
            mask = masks.get(name, np.zeros(0, bool))
            neurons_of = np.flatnonzero(to_neurons(mask, mask.shape))
            lesioned.append(neurons_of.astype(np.int32))
        values = []
        for name, model in snn.models(chosen).items():
            of_layer = [float(value) for value in model.values.values()]
            if name in release:
                of_layer.append(release[name])
            values.append(tuple(of_layer))
        return Perturbations(
            tuple(values),
            tuple(lesioned),
            deletion,
            jitter_s / snn.dt_s,
            self.n_steps,
        )

    def run(
        self,
        images: Any,
        *,
        thresholds: ByLayer | None = None,
        v_min: ByLayer | None = None,
        v_init: ByLayer | None = None,
        leak: ByLayer | None = None,
        rate_scale: float | None = None,
        seed: int = 0,
        record: Record = (),
        record_potentials: Potentials | None = None,
        potential_images: Iterable[int] | None = None,
        executor: Workers = None,
        shard_size: int | None = None,
        progress: bool = True,
        neurons: NeuronModel | Mapping[str, NeuronModel] | None = None,
        release_probability: ByLayer | None = None,
        lesion: Lesions = None,
        input_deletion: float = 0.0,
        input_jitter: Any = 0.0,
    ) -> SimulationResult:
        """
        Show pictures to the network. Nothing is compiled.

        Parameters
        ----------
        images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
            Intensities, float in [0, 1] or uint8.
        thresholds, v_min, v_init, leak : float or dict of str to float, optional
            See `convert`. A dict may leave layers out; the network's own parameters
            hold where nothing is given.
        rate_scale : float, optional
            Spikes per step of a pixel of intensity 1.
        seed : int
            Seed of the Poisson spikes, at least 0.
        record : iterable of str, or dict of str to iterable of int
            Layers (or ``input``) whose spikes are kept, for all pictures or for those
            with the given indices. The last layer is always recorded. A spike takes
            8 bytes; a recording that will not fit into memory is refused.
        record_potentials : dict of str to iterable of tuple of int, optional
            Neurons whose membrane potentials are kept at the end of each step, by
            layer: ``{"conv1": [(channel, y, x), ...], "ip2": [(3,), ...]}``. See
            `SimulationResult.potentials`; a neuron takes 4 bytes a step and picture.
        potential_images : iterable of int, optional
            Indices of the pictures that they are kept for, all by default.
        executor : int or concurrent.futures.Executor, optional
            Who runs the pictures: all cores of this machine (None), so many of them,
            or an executor, such as ``dask.distributed.Client(...).get_executor()`` or
            ``mpi4py.futures.MPIPoolExecutor()``. It does not change the result.
        shard_size : int, optional
            Pictures of one program run. It does not change the result either.
        progress : bool
            Whether to show a progress bar.
        neurons : NeuronModel or dict of str to NeuronModel, optional
            The network's model with other values of its parameters, such as
            ``LIF(tau=10*ms)`` for one that was compiled with another time constant. A
            dict may leave layers out.
        release_probability : float or dict of str to float, optional
            Probability that a synapse transmits a spike, for layers that were compiled
            with one.
        lesion : Lesion, iterable of Lesion, or dict of str to ndarray, optional
            Neurons that never spike, of layers or of ``input``.
        input_deletion : float
            Probability that an input spike is lost.
        input_jitter : Quantity [s]
            Standard deviation of the time by which an input spike is displaced. Spikes
            that leave the picture's time are lost, and two spikes of a neuron in one
            step are one.

        Returns
        -------
        SimulationResult
            Counts, predictions, and recorded spikes.

        Raises
        ------
        InputError
            If an argument can't be used, or the recording is expected to be too large.
        SimulationError
            If the program ends before its time twice for the same pictures, or the
            simulator is closed.
        """
        settings = {
            "thresholds": thresholds,
            "v_min": v_min,
            "v_init": v_init,
            "leak": leak,
            "rate_scale": rate_scale,
            "neurons": neurons,
            "release_probability": release_probability,
            "lesion": lesion,
            "input_deletion": input_deletion,
            "input_jitter": input_jitter,
        }
        results = self.run_many(
            images,
            [settings],
            seed=seed,
            record=record,
            record_potentials=record_potentials,
            potential_images=potential_images,
            executor=executor,
            shard_size=shard_size,
            progress=progress,
        )
        ((_, result),) = results
        return result

    def run_many(
        self,
        images: Any,
        settings: Sequence[Mapping[str, Any]],
        *,
        seed: int = 0,
        record: Record = (),
        record_potentials: Potentials | None = None,
        potential_images: Iterable[int] | None = None,
        executor: Workers = None,
        shard_size: int | None = None,
        progress: bool = True,
    ) -> Generator[tuple[int, SimulationResult], None, None]:
        """
        Show the same pictures with several settings; all are run at once.

        All settings see the same input spikes: what they differ by is not noise. A
        setting's own ``input_deletion`` or ``input_jitter`` acts on these.

        Parameters
        ----------
        images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
            Intensities, float in [0, 1] or uint8.
        settings : sequence of dict
            What each run has of its own: any of ``thresholds``, ``v_min``, ``v_init``,
            ``leak``, ``rate_scale``, ``neurons``, ``release_probability``, ``lesion``,
            ``input_deletion`` and ``input_jitter``, as in `run`.
        seed, record, record_potentials, potential_images
            As in `run`.
        executor, shard_size, progress
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
            If the program ends before its time twice for the same pictures, or the
            simulator is closed.
        """
        if self._closed:
            message = "the simulator is closed; compile the network again"
            raise SimulationError(message)
        snn = self.snn
        pixels = check_images(images, snn.input_shape)
        values = [item.name for item in fields(Parameters)]
        known = [*values, *PERTURBED]
        for given in settings:
            if not isinstance(given, Mapping) or {*given} - {*known}:
                message = (
                    f"settings: {given!r} is not a dict with some of {', '.join(known)}"
                )
                raise InputError(message)
        parameters = [
            Parameters.of(
                snn.layer_names,
                **{name: given[name] for name in values if name in given},
                default=snn.parameters,
            )
            for given in settings
        ]
        if snn.encoding == "poisson":
            for chosen in parameters:
                check_rate_scale(chosen.rate_scale, pixels)
        if not isinstance(seed, int | np.integer) or seed < 0:
            message = f"seed is {seed!r}, expected a whole number of at least 0"
            raise InputError(message)
        perturbations = [
            self._perturbations(
                int(seed), **{name: given[name] for name in PERTURBED if name in given}
            )
            for given in settings
        ]
        traced, trace = self._traced(
            record_potentials or {}, potential_images, len(pixels)
        )
        mask = self._record_mask(record, len(pixels))
        recorded = dict(zip(self.populations, mask.T, strict=True))
        n_traced = sum(map(len, traced)) * int(trace.sum())
        check_recording(
            snn.layers, pixels, parameters, recorded, self.n_steps, n_traced
        )
        inputs = program.ProgramInputs(
            snn.parameters,
            to_neurons(pixels, snn.input_shape),
            snn.layers[0] if snn.encoding == "current" else None,
            program.picture_seeds(int(seed), 0, len(pixels)),
            mask,
            program.count_dtype(self.n_steps),
            traced,
            trace,
        )
        jobs = [
            replace(inputs, parameters=chosen, perturbations=own)
            for chosen, own in zip(parameters, perturbations, strict=True)
        ]
        check_workers(executor, shard_size)
        return self._results_of(jobs, int(seed), executor, shard_size, progress)

    def _results_of(
        self,
        jobs: Sequence[program.ProgramInputs],
        seed: int,
        executor: Workers,
        shard_size: int | None,
        progress: bool,
    ) -> Generator[tuple[int, SimulationResult], None, None]:
        n_pictures = sum(job.n_images for job in jobs)
        show = progress and n_pictures >= MIN_PROGRESS
        start = time.perf_counter()
        with progress_bar("simulating", n_pictures, show=show) as advance:
            for index, outputs in run_shards(
                self._program, self._project, jobs, executor, shard_size, advance
            ):
                seconds = time.perf_counter() - start
                yield index, self._result(outputs, jobs[index], seed, seconds)

    def _result(
        self,
        outputs: program.ProgramOutputs,
        job: program.ProgramInputs,
        seed: int,
        seconds: float,
    ) -> SimulationResult:
        snn = self.snn
        shapes = snn.layers.shapes
        names = self.populations
        ends = np.cumsum([math.prod(shapes[name]) for name in names])
        raw = dict(zip(names, np.split(outputs.counts, ends[:-1], axis=1), strict=True))
        counts = SpikeCounts(raw, shapes)
        events = {}
        for layer in snn.layers:
            reaching = [name for name in layer.inputs if name in raw]
            if reaching:
                fan_out = self._fan_out[layer.name]
                # Exact: the sums stay far below 2**53.
                delivered = sum(raw[name] @ fan_out for name in reaching)
                events[layer.name] = np.asarray(delivered).astype(np.int64)
        last = snn.layer_names[-1]
        versions = {
            name: importlib.metadata.version(name)
            for name in ("cnn2snn-brian", "brian2", "numpy")
        }
        return SimulationResult(
            spike_counts=counts,
            output_potentials=from_neurons(outputs.potentials, shapes[last]).reshape(
                len(outputs.potentials), -1
            ),
            output_threshold=job.parameters.thresholds[last],
            events=events,
            duration_s=self.duration_s,
            dt_s=snn.dt_s,
            seed=seed,
            parameters=job.parameters,
            timings={"build": self._build_seconds, "run": seconds},
            versions=versions,
            shapes=shapes,
            recorded={
                (names[population], picture): spikes
                for (picture, population), spikes in outputs.spikes.items()
            },
            recorded_potentials={
                (names[population], picture): (job.traced[population], v)
                for (picture, population), v in outputs.traces.items()
            },
        )
