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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from brian2 import Quantity, get_dimensions, ms

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.projections import ByContent
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import (
    CHOICES,
    SETTINGS,
    check_images,
    delays_in_seconds,
    kernel_noise,
)
from cnn2snn_brian.simulator import Simulator, Workers

if TYPE_CHECKING:
    from pandas import DataFrame


#: Of every setting its labels and values.
Axes = dict[str, list[tuple[Any, Any]]]

#: One combination: of every setting a label and a value.
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


def axes(grid: Mapping[str, Any], known: Iterable[str]) -> Axes:
    """List the values of each setting, and their labels."""
    known = tuple(known)
    found: Axes = {}
    for name, values in grid.items():
        if name not in known:
            raise InputError(
                f"grid: unknown setting {name!r}; there are {', '.join(known)}"
            )
        if isinstance(values, Mapping):
            axis = [(_label(label), value) for label, value in values.items()]
        elif isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"grid: {name} is {values!r}, expected a list of values")
        else:
            axis = [(_label(value), value) for value in values]
        labels = [label for label, _ in axis]
        if not axis or len(set(labels)) < len(labels):
            raise InputError(
                f"grid: {name} needs at least one value, and each once; it has "
                f"{', '.join(map(str, labels)) or 'none'}"
            )
        found[name] = axis
    return found


def combinations(found: Axes) -> list[Setting]:
    """List all combinations."""
    return [
        dict(zip(found, chosen, strict=True))
        for chosen in itertools.product(*found.values())
    ]


def row_key(setting: Setting, seed: int) -> str:
    """Name the row of a setting and a seed."""
    return json.dumps([{name: label for name, (label, _) in setting.items()}, seed])


def written(value: Any) -> str:
    """Describe a value of a grid, the same in each process."""
    if isinstance(value, SpikingNetwork):
        return value.fingerprint
    if isinstance(value, ByContent):
        return value.digest
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype}{value.shape}{get_dimensions(value)}{content}"
    if isinstance(value, Mapping):
        return str([(str(key), written(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return str([written(item) for item in value])
    if dataclasses.is_dataclass(value):
        items = [
            (item.name, written(getattr(value, item.name)))
            for item in dataclasses.fields(value)
        ]
        return f"{type(value).__name__}{items}"
    if hasattr(value, "state_dict") and not isinstance(value, type):
        # The text of a module says nothing of its weights.
        weights = {k: v.detach().cpu().numpy() for k, v in value.state_dict().items()}
        return f"{value!r}{written(weights)}"
    return getattr(value, "__qualname__", repr(value))


#: Settings that make another network, besides those of a run.
OF_A_NETWORK = ("kernel_noise", "delay", *CHOICES)

#: Settings of a run that a network has a field for: the field is set, so that they
#: need not be what the network was made with.
FIELDS = ("neurons", "release_probability")


class Networks:
    """
    Makes the network of each setting.

    Parameters
    ----------
    network : SpikingNetwork or callable
        The network, or a function that makes it from settings of its own.

    Raises
    ------
    InputError
        If it is neither.
    """

    def __init__(self, network: SpikingNetwork | Callable[..., SpikingNetwork]) -> None:
        if not (isinstance(network, SpikingNetwork) or callable(network)):
            raise InputError(
                f"network is {network!r}, expected a SpikingNetwork or a function that "
                "makes one"
            )
        self._network = network
        #: Names of settings that the function takes.
        self.own: tuple[str, ...] = ()
        if not isinstance(network, SpikingNetwork):
            self.own = tuple(inspect.signature(network).parameters)
        self._made: tuple[list[Any], SpikingNetwork] | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """All settings that a grid can have."""
        return tuple(dict.fromkeys((*self.own, *SETTINGS, *OF_A_NETWORK)))

    def base(self, setting: Setting) -> SpikingNetwork:
        """Give the network that a setting begins with."""
        if isinstance(self._network, SpikingNetwork):
            return self._network
        labels = [label for name, (label, _) in setting.items() if name in self.own]
        if self._made is None or self._made[0] != labels:
            arguments = {n: value for n, (_, value) in setting.items() if n in self.own}
            self._made = labels, self._network(**arguments)
        return self._made[1]

    def of(self, setting: Setting, seed: int) -> SpikingNetwork:
        """Make the network of a setting and a seed."""
        values = {n: value for n, (_, value) in setting.items() if n not in self.own}
        snn = self.base(setting)
        changes = {n: values[n] for n in (*CHOICES, "neurons") if n in values}
        if "delay" in values:
            changes["delays_s"] = delays_in_seconds(values["delay"], snn.layer_names)
        if "release_probability" in values:
            release = snn.check_release(values["release_probability"])
            changes["release_probability"] = {**snn.release_probability, **release}
        if changes:
            snn = dataclasses.replace(snn, **changes)
        noise = values.get("kernel_noise", 0)
        return kernel_noise(snn, noise, seed) if noise else snn

    def of_a_run(self, setting: Setting) -> dict[str, Any]:
        """Give those settings that a run takes."""
        return {
            name: value
            for name, (_, value) in setting.items()
            if name in SETTINGS and name not in self.own and name not in FIELDS
        }

    def label(self, setting: Setting) -> str:
        """Name the network of a setting."""
        names = {*self.own, *OF_A_NETWORK, "neurons"}
        return str([(n, label) for n, (label, _) in setting.items() if n in names])


def _structure(snn: SpikingNetwork) -> str:
    """Say what has to be compiled anew when it changes, weights included."""
    models = {name: model.structure for name, model in snn.models(snn.neurons).items()}
    fixed = dataclasses.replace(
        snn,
        neurons={},
        parameters=snn.neutral_parameters(),
        release_probability=dict.fromkeys(snn.release_probability, 1.0),
    )
    return fixed.fingerprint + written(models)


class Simulators:
    """
    The simulator of the structure at hand: only one is kept at a time.

    Parameters
    ----------
    duration : Quantity [s]
        How long an image is shown.
    cache_directory : path-like, optional
        Where compiled programs are kept.
    """

    def __init__(
        self, duration: Quantity, cache_directory: str | Path | None = None
    ) -> None:
        self._duration, self._cache_directory = duration, cache_directory
        self._current: tuple[str, Simulator] | None = None

    def of(self, snn: SpikingNetwork) -> Simulator:
        """Give a simulator of a network, a new one if its structure is another."""
        structure = _structure(snn)
        if self._current is None or self._current[0] != structure:
            self.close()
            made = snn.compile(self._duration, cache_directory=self._cache_directory)
            self._current = structure, made
        simulator = self._current[1]
        simulator.snn = snn
        return simulator

    def close(self) -> None:
        """Close it."""
        if self._current is not None:
            self._current[1].close()
            self._current = None


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
    Simulate images for all combinations of settings and seeds.

    Settings are those of `Simulator.run`, with the names and values that it takes, and
    ``kernel_noise`` and the arguments ``delay``, ``reset``, ``encoding``, ``synapses``
    and ``dtype`` of `convert`, which make another network. A program is compiled once
    for each structure.

    Parameters
    ----------
    network : SpikingNetwork or callable
        The network, or a function that makes it from settings given by name. It is
        called once for a setting, whatever the number of seeds.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Images, float in [0, 1] or uint8.
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
        How long an image is shown.
    executor : int or concurrent.futures.Executor, optional
        Who runs the images, see `Simulator.run`.
    checkpoint : path-like, optional
        A file that each row is appended to. A sweep with the same network, grid and
        images goes on from it; seeds may be added. Of a function, the network of the
        first setting has to be the same.
    progress : bool
        Whether to show a progress bar.
    cache_directory : path-like, optional
        Where compiled programs are kept.

    Returns
    -------
    pandas.DataFrame
        A row for each setting and seed, in the order of the grid: the settings,
        ``seed``, ``accuracy``, ``n_images``, ``n_spikes`` (of all layers, without
        input), ``n_events`` (synaptic events), ``n_silent`` and ``n_ties`` (images).

    Raises
    ------
    InputError
        If a setting, a seed or the images can't be used, or the checkpoint is
        damaged or of another sweep.
    BuildError
        If a program can't be compiled.
    SimulationError
        If a program fails.
    """
    from pandas import DataFrame

    networks = Networks(network)
    found = _checked_axes(grid, networks.known)
    settings = combinations(found)
    chosen_seeds = _checked_seeds(seeds)
    first = networks.base(settings[0])
    pixels = check_images(images, first.input_shape)
    truth = np.asarray(labels)
    if truth.shape != (len(pixels),):
        raise InputError(f"{len(pixels)} images, labels of shape {truth.shape}")
    known = Checkpoint(
        checkpoint,
        "sweep",
        {
            "network": first.fingerprint,
            "grid": _described(found),
            "images": _hash(pixels),
            "labels": _hash(truth),
            "duration_s": float(duration),
        },
        (*found, *MEASURED),
    )
    every = [(setting, seed) for setting in settings for seed in chosen_seeds]
    missing = [task for task in every if row_key(*task) not in known.rows]
    # All of one network after another, whatever the order of the grid.
    rank = {networks.label(setting): None for setting, _ in missing}
    order = {label: position for position, label in enumerate(rank)}
    missing.sort(key=lambda task: order[networks.label(task[0])])
    simulators = Simulators(duration, cache_directory)
    show = progress and len(missing) > 1
    try:
        with known, progress_bar("sweep", len(missing), show=show) as advance:
            for setting, seed in missing:
                simulator = simulators.of(networks.of(setting, seed))
                result = simulator.run(
                    pixels,
                    seed=seed,
                    executor=executor,
                    progress=False,
                    **networks.of_a_run(setting),
                )
                row = _row(setting, seed, result, truth)
                known.add(row_key(setting, seed), row)
                advance(1, f"accuracy {row['accuracy']:.3f}")
    finally:
        simulators.close()
    rows = [known.rows[row_key(*task)] for task in every]
    return DataFrame(rows, columns=[*grid, *MEASURED])


def _checked_axes(grid: Mapping[str, Any], known: tuple[str, ...]) -> Axes:
    clash = sorted(set(grid) & set(MEASURED))
    if clash:
        raise InputError(f"grid: {', '.join(clash)} is a column of the table")
    return axes(grid, known)


def _checked_seeds(seeds: Iterable[int]) -> list[int]:
    chosen = list(seeds)
    chosen = [check_whole("seeds: one", seed, 0) for seed in chosen]
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError("seeds: at least one, and each once")
    return chosen


def _described(found: Axes) -> dict[str, Any]:
    """Write a grid as JSON can hold it, the same in each process."""
    return {
        name: [[label, _hash(value)] for label, value in axis]
        for name, axis in found.items()
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(written(value).encode()).hexdigest()[:16]


def _row(
    setting: Setting, seed: int, result: SimulationResult, truth: Any
) -> dict[str, Any]:
    """Put together what stands in the table of one run."""
    # What spikes besides the input are the layers, each with a threshold.
    names = result.parameters.thresholds
    return {
        **{name: label for name, (label, _) in setting.items()},
        "seed": seed,
        "accuracy": result.accuracy(truth),
        "n_images": len(truth),
        "n_spikes": sum(int(result.spike_counts[name].sum()) for name in names),
        "n_events": result.n_events,
        "n_silent": int(result.silent.sum()),
        "n_ties": int(result.ties.sum()),
    }


def _grouped(frame: Any, by: list[str]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Rows of each setting; of all together if there is only one setting."""
    if not by:
        yield (), frame
        return
    yield from frame.groupby(by, sort=False, dropna=False)


def summary(
    frame: "DataFrame",
    y: str = "accuracy",
    *,
    interval: Literal["t", "wilson"] = "t",
    level: float = 0.95,
) -> "DataFrame":
    r"""
    Average a sweep over its seeds, with confidence intervals.

    Parameters
    ----------
    frame : pandas.DataFrame
        A table of `sweep`.
    y : str
        The column to average.
    interval : {"t", "wilson"}
        "t": Student's interval for the mean over seeds,
        :math:`\bar y \pm t\, s / \sqrt{n}`, of how much the result varies for these
        images. It needs two seeds. "wilson": Wilson's interval [1]_ for the accuracy
        on other images of the same kind; since all seeds show the same images, it
        counts each image once.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    pandas.DataFrame
        A row for each setting: the settings, ``mean``, ``sd``, ``n`` (seeds), ``low``
        and ``high``; the last two are NaN if there is no interval.

    Raises
    ------
    InputError
        If there is no such column or interval, or the level is not in (0, 1).

    References
    ----------
    .. [1] Wilson (1927), Probable inference, the law of succession, and statistical
       inference, doi:10.1080/01621459.1927.10502953
    """
    from pandas import DataFrame
    from scipy import stats

    if y not in frame.columns:
        raise InputError(f"y={y!r}: the table has {', '.join(map(str, frame.columns))}")
    if interval not in ("t", "wilson") or (interval == "wilson" and y != "accuracy"):
        raise InputError(
            f"interval={interval!r} of {y!r}: expected 't', or 'wilson' of 'accuracy'"
        )
    if not 0 < level < 1:
        raise InputError(f"level is {level}, expected above 0 and below 1")
    by = [name for name in frame.columns if name not in MEASURED]
    rows = []
    for values, part in _grouped(frame, by):
        sample = part[y].to_numpy(float)
        n, mean = len(sample), sample.mean()
        sd = sample.std(ddof=1) if n > 1 else np.nan
        if interval == "t":
            # Without a second seed sd is NaN, and so is the interval.
            half = stats.t.ppf((1 + level) / 2, max(n - 1, 1)) * sd / np.sqrt(n)
            low, high = mean - half, mean + half
        else:
            z, m = stats.norm.ppf((1 + level) / 2), part["n_images"].iloc[0]
            centre = (mean + z**2 / (2 * m)) / (1 + z**2 / m)
            half = z * np.sqrt(mean * (1 - mean) / m + (z / (2 * m)) ** 2)
            low, high = centre - half / (1 + z**2 / m), centre + half / (1 + z**2 / m)
        rows.append([*values, mean, sd, n, low, high])
    return DataFrame(rows, columns=[*by, "mean", "sd", "n", "low", "high"])
