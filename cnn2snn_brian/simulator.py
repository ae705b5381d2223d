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
from collections.abc import Iterable, Mapping
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
from cnn2snn_brian.results import SimulationResult, SpikeCounts
from cnn2snn_brian.workers import Workers, run_shards

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

__all__ = ["Record", "Simulator"]

#: Layers whose spikes are kept, for all pictures or for those with the given indices.
Record = Iterable[str] | Mapping[str, Iterable[int]]

#: Show a progress bar from so many pictures on.
MIN_PROGRESS = 10


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

    def _perturbations(
        self,
        neurons: NeuronModel | Mapping[str, NeuronModel] | None,
        release_probability: ByLayer | None,
        lesion: Lesions,
        input_deletion: float,
        input_jitter: Any,
        seed: int,
    ) -> Perturbations:
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
            with the given indices. The last layer is always recorded.
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
            If an argument can't be used.
        SimulationError
            If the program ends before its time twice for the same pictures, or the
            simulator is closed.
        """
        if self._closed:
            message = "the simulator is closed; compile the network again"
            raise SimulationError(message)
        snn = self.snn
        pixels = check_images(images, snn.input_shape)
        parameters = Parameters.of(
            snn.layer_names,
            thresholds=thresholds,
            v_min=v_min,
            leak=leak,
            v_init=v_init,
            rate_scale=rate_scale,
            default=snn.parameters,
        )
        if snn.encoding == "poisson":
            check_rate_scale(parameters.rate_scale, pixels)
        if not isinstance(seed, int | np.integer) or seed < 0:
            message = f"seed is {seed!r}, expected a whole number of at least 0"
            raise InputError(message)
        mask = self._record_mask(record, len(pixels))
        perturbations = self._perturbations(
            neurons,
            release_probability,
            lesion,
            input_deletion,
            input_jitter,
            int(seed),
        )

        start = time.perf_counter()
        inputs = program.ProgramInputs(
            parameters,
            to_neurons(pixels, snn.input_shape),
            snn.layers[0] if snn.encoding == "current" else None,
            program.picture_seeds(int(seed), 0, len(pixels)),
            mask,
            program.count_dtype(self.n_steps),
            perturbations,
        )
        show = progress and len(pixels) >= MIN_PROGRESS
        with progress_bar("simulating", len(pixels), show=show) as advance:
            outputs = run_shards(
                self._program, self._project, inputs, executor, shard_size, advance
            )
        return self._result(outputs, parameters, seed, time.perf_counter() - start)

    def _result(
        self,
        outputs: program.ProgramOutputs,
        parameters: Parameters,
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
            output_threshold=parameters.thresholds[last],
            events=events,
            duration_s=self.duration_s,
            dt_s=snn.dt_s,
            seed=int(seed),
            parameters=parameters,
            timings={"build": self._build_seconds, "run": seconds},
            versions=versions,
            shapes=shapes,
            recorded={
                (names[population], picture): spikes
                for (picture, population), spikes in outputs.spikes.items()
            },
        )
