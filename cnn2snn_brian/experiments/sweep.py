"""
Experiments over a grid of settings and seeds, as a table.

A sweep compiles one program for each structure of the network, goes on where it was
interrupted, and yields one row for each setting and seed.
"""

import dataclasses
import hashlib
import inspect
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from brian2 import Quantity, ms

from cnn2snn_brian.description.network import CHOICES, delays_in_seconds
from cnn2snn_brian.description.noise import kernel_noise
from cnn2snn_brian.description.pictures import check_images
from cnn2snn_brian.description.run_settings import SETTINGS
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.program.simulator import Simulator
from cnn2snn_brian.program.workers import Workers
from cnn2snn_brian.progress import progress_bar

if TYPE_CHECKING:
    from pandas import DataFrame


__all__ = ["sweep"]

#: Settings that a compiled program takes at run time.
OF_A_RUN = tuple(SETTINGS)
#: Settings that make another network.
OF_A_NETWORK = ("kernel_noise", "delay", *CHOICES)

#: Columns of the table behind the settings.
MEASURED = (
    "seed",
    "accuracy",
    "n_images",
    "n_spikes",
    "n_events",
    "n_silent",
    "n_ties",
)


Setting = dict[str, tuple[Any, Any]]


def _label(value: Any) -> Any:
    """Say what stands in the table for a value of the grid."""
    if isinstance(value, Quantity) and np.ndim(value) == 0:
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _settings(grid: Mapping[str, Any], known: Iterable[str]) -> list[Setting]:
    """List all combinations: of each setting its label and its value."""
    known = tuple(known)
    axes = []
    for name, values in grid.items():
        if name not in known:
            message = f"grid: unknown setting {name!r}; there are {', '.join(known)}"
            raise InputError(message)
        if isinstance(values, Mapping):
            axis = [(_label(label), value) for label, value in values.items()]
        elif isinstance(values, str) or not isinstance(values, Iterable):
            message = f"grid: {name} is {values!r}, expected a list of values"
            raise InputError(message)
        else:
            axis = [(_label(value), value) for value in values]
        labels = [label for label, _ in axis]
        if not axis or len(set(labels)) < len(labels):
            message = (
                f"grid: {name} needs at least one value, and each once; it has "
                f"{', '.join(map(str, labels)) or 'none'}"
            )
            raise InputError(message)
        axes.append([(name, label, value) for label, value in axis])
    return [
        {name: (label, value) for name, label, value in combination}
        for combination in itertools.product(*axes)
    ]


def _written(value: Any) -> str:
    """Describe a value of the grid, the same in each process."""
    if isinstance(value, np.ndarray) and not isinstance(value, Quantity):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype}{value.shape}{content}"
    if isinstance(value, Mapping):
        return str([(str(key), _written(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return str([_written(item) for item in value])
    if dataclasses.is_dataclass(value):
        items = [
            (item.name, _written(getattr(value, item.name)))
            for item in dataclasses.fields(value)
        ]
        return f"{type(value).__name__}{items}"
    return getattr(value, "__qualname__", repr(value))


def _fingerprint(
    snn: SpikingNetwork,
    settings: list[Setting],
    images: Any,
    labels: Any,
    duration: Quantity,
) -> str:
    """Hash what decides about the rows of a sweep."""
    digest = hashlib.sha256()
    every = [{name: v for name, (_, v) in setting.items()} for setting in settings]
    for item in (snn, every, images, labels, float(duration)):
        digest.update(_written(item).encode() + b"\0")
    return digest.hexdigest()


class _Checkpoint:
    """Rows of a sweep in a file, which is replaced whole after each row."""

    def __init__(self, path: str | Path | None, fingerprint: str) -> None:
        self.path = None if path is None else Path(path)
        self.fingerprint = fingerprint
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path is None:
            return
        if not self.path.parent.is_dir():
            message = f"checkpoint {self.path}: the folder does not exist"
            raise InputError(message)
        if not self.path.exists():
            return
        try:
            stored = json.loads(self.path.read_text())
            found, rows = stored["sweep"], stored["rows"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"checkpoint {self.path}: not a readable checkpoint: {error}"
            raise InputError(message) from error
        if found != fingerprint:
            message = (
                f"checkpoint {self.path}: it is of another network, grid, duration or "
                "other pictures. Give another file, or remove this one"
            )
            raise InputError(message)
        self.rows = rows

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows[key] = row
        if self.path is not None:
            with written_whole(self.path) as unfinished:
                unfinished.write_text(
                    json.dumps({"sweep": self.fingerprint, "rows": self.rows})
                )


def _key(setting: Setting, seed: int) -> str:
    return json.dumps([{name: label for name, (label, _) in setting.items()}, seed])


def _changed(snn: SpikingNetwork, values: Mapping[str, Any]) -> SpikingNetwork:
    """Make the network of a setting, without noise of kernels."""
    changes = {name: value for name, value in values.items() if name != "delay"}
    if "delay" in values:
        changes["delays_s"] = delays_in_seconds(values["delay"], snn.layer_names)
    return dataclasses.replace(snn, **changes)


def _structure(snn: SpikingNetwork) -> str:
    """Say what has to be compiled anew when it changes, weights included."""
    models = {name: model.structure for name, model in snn.models(snn.neurons).items()}
    fixed = dataclasses.replace(
        snn,
        neurons={},
        parameters=snn.neutral_parameters(),
        release_probability=dict.fromkeys(snn.release_probability, 1.0),
    )
    return _written([fixed, models])


class _Simulators:
    """The simulator of the structure at hand: only one is kept at a time."""

    def __init__(self, duration: Quantity, cache_directory: Any) -> None:
        self.duration, self.cache_directory = duration, cache_directory
        self.current: tuple[str, Simulator] | None = None

    def of(self, snn: SpikingNetwork) -> Simulator:
        """Give a simulator of a network, a new one if its structure is another."""
        structure = _structure(snn)
        if self.current is None or self.current[0] != structure:
            self.close()
            made = snn.compile(self.duration, cache_directory=self.cache_directory)
            self.current = structure, made
        simulator = self.current[1]
        simulator.snn = snn
        return simulator

    def close(self) -> None:
        """Close it."""
        if self.current is not None:
            self.current[1].close()
            self.current = None


def sweep(
    network: SpikingNetwork | Callable[..., SpikingNetwork],
    images: Any,
    labels: Any,
    grid: Mapping[str, Any],
    *,
    seeds: Iterable[int] = range(5),
    duration: Quantity = 100 * ms,
    executor: Workers = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    cache_directory: str | Path | None = None,
) -> "DataFrame":
    """
    Simulate pictures for all combinations of settings and seeds.

    Settings are the arguments of `Simulator.run` (``thresholds``, ``v_min``,
    ``v_init``, ``leak``, ``rate_scale``, ``neurons``, ``release_probability``,
    ``lesion``, ``input_deletion``, ``input_jitter``), and ``kernel_noise``, ``delay``,
    ``reset``, ``encoding``, ``synapses`` and ``dtype``, which make another network. A
    program is compiled once for each structure.

    Parameters
    ----------
    network : SpikingNetwork or callable
        The network, or a function that makes it from settings given by name.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Pictures, float in [0, 1] or uint8.
    labels : array_like of int, shape (n_images,)
        The right classes.
    grid : dict of str to sequence or dict
        Values of each setting. A dict has labels for the table, and their values:
        ``{"lesion": {0.2: Lesion("conv1", fraction=0.2), ...}}``. Without labels,
        quantities are in SI units in the table, and other objects as text.
    seeds : iterable of int
        Seeds. A seed is that of the input spikes, of kernel noise, and of lesions
        without one of their own.
    duration : Quantity [s]
        How long a picture is shown.
    executor : int or concurrent.futures.Executor, optional
        Who runs the pictures, see `Simulator.run`.
    checkpoint : path-like, optional
        A file that is written after each row. A sweep with the same network, grid and
        pictures goes on from it; seeds may be added.
    progress : bool
        Whether to show a progress bar.
    cache_directory : path-like, optional
        Where compiled programs are kept.

    Returns
    -------
    pandas.DataFrame
        A row for each setting and seed, in the order of the grid: the settings,
        ``seed``, ``accuracy``, ``n_images``, ``n_spikes`` (of all layers, without
        input), ``n_events`` (synaptic events), ``n_silent`` and ``n_ties`` (pictures).

    Raises
    ------
    InputError
        If a setting, a seed or the pictures can't be used, or the checkpoint is
        damaged or of another sweep.
    BuildError
        If a program can't be compiled.
    SimulationError
        If a program fails.
    """
    from pandas import DataFrame

    factory = None if isinstance(network, SpikingNetwork) else network
    own = () if factory is None else tuple(inspect.signature(factory).parameters)
    known = (*own, *(name for name in OF_A_RUN + OF_A_NETWORK if name not in own))
    clash = sorted(set(grid) & set(MEASURED))
    if clash:
        message = f"grid: {', '.join(clash)} is a column of the table"
        raise InputError(message)
    settings = _settings(grid, known)
    chosen_seeds = list(seeds)
    for seed in chosen_seeds:
        if not isinstance(seed, int | np.integer) or seed < 0:
            message = f"seeds: {seed!r}, expected whole numbers of at least 0"
            raise InputError(message)
    if not chosen_seeds or len(set(chosen_seeds)) < len(chosen_seeds):
        message = "seeds: at least one, and each once"
        raise InputError(message)

    def base(setting: Setting) -> SpikingNetwork:
        if factory is None:
            return network  # type: ignore[return-value]
        arguments = {n: value for n, (_, value) in setting.items() if n in own}
        return factory(**arguments)

    def prepared(setting: Setting) -> SpikingNetwork:
        values = {
            name: value for name, (_, value) in setting.items() if name not in own
        }
        changes = {
            name: values[name]
            for name in (*OF_A_NETWORK, "neurons")
            if name in values and name != "kernel_noise"
        }
        snn = base(setting)
        if "release_probability" in values:
            release = snn.check_release(values["release_probability"])
            changes["release_probability"] = {**snn.release_probability, **release}
        return _changed(snn, changes)

    first = base(settings[0])
    pixels = check_images(images, first.input_shape)
    truth = np.asarray(labels)
    if truth.shape != (len(pixels),):
        message = f"{len(pixels)} pictures, labels of shape {truth.shape}"
        raise InputError(message)
    fingerprint = _fingerprint(first, settings, pixels, truth, duration)
    kept = _Checkpoint(checkpoint, fingerprint)
    missing = [
        (setting, seed)
        for setting in settings
        for seed in chosen_seeds
        if _key(setting, int(seed)) not in kept.rows
    ]
    # All of one structure after another, whatever the order of the grid.
    order = {str(_of_network(setting, own)): None for setting, _ in missing}
    rank = {text: position for position, text in enumerate(order)}
    missing.sort(key=lambda item: rank[str(_of_network(item[0], own))])
    simulators = _Simulators(duration, cache_directory)
    show = progress and len(missing) > 1
    try:
        with progress_bar("sweep", len(missing), show=show) as advance:
            for setting, seed in missing:
                row = _row(
                    simulators,
                    prepared(setting),
                    setting,
                    own,
                    int(seed),
                    pixels,
                    truth,
                    executor,
                )
                kept.add(_key(setting, int(seed)), row)
                advance(1, f"accuracy {row['accuracy']:.3f}")
    finally:
        simulators.close()
    rows = [
        kept.rows[_key(setting, int(seed))]
        for setting in settings
        for seed in chosen_seeds
    ]
    return DataFrame(rows, columns=[*grid, *MEASURED])


def _of_network(setting: Setting, own: Sequence[str]) -> tuple[Any, ...]:
    """List those settings that make another network, with their labels."""
    return tuple(
        (name, label)
        for name, (label, _) in setting.items()
        if name in own or name in OF_A_NETWORK or name == "neurons"
    )


def _row(
    simulators: _Simulators,
    snn: SpikingNetwork,
    setting: Setting,
    own: Sequence[str],
    seed: int,
    pixels: Any,
    truth: Any,
    executor: Workers,
) -> dict[str, Any]:
    """Simulate one setting with one seed."""
    noise = setting.get("kernel_noise", (0, 0))[1] if "kernel_noise" not in own else 0
    if noise:
        snn = kernel_noise(snn, noise, seed)
    arguments = {
        name: value
        for name, (_, value) in setting.items()
        if name in OF_A_RUN
        and name not in own
        and name not in ("neurons", "release_probability")
    }
    result = simulators.of(snn).run(
        pixels, seed=seed, executor=executor, progress=False, **arguments
    )
    counts = result.spike_counts
    return {
        **{name: label for name, (label, _) in setting.items()},
        "seed": seed,
        "accuracy": result.accuracy(truth),
        "n_images": len(truth),
        "n_spikes": sum(int(counts[name].sum()) for name in snn.layer_names),
        "n_events": result.n_events,
        "n_silent": int(result.silent.sum()),
        "n_ties": int(result.ties.sum()),
    }
