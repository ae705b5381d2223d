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
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from brian2 import Quantity, get_dimensions, ms

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import check_known, check_number, check_shape, check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.projections import ByContent
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import (
    CHOICES,
    SETTINGS,
    check_shown,
    delays_in_seconds,
    kernel_noise,
)
from cnn2snn_brian.simulator import Simulator, Workers

if TYPE_CHECKING:
    from pandas import DataFrame


#: Values of each setting by their labels.
Axes = dict[str, dict[Any, Any]]

#: Columns of the table after the settings.
MEASURED = (
    *("seed", "accuracy", "n_images"),
    *("n_spikes", "n_events", "n_silent", "n_ties"),
)

#: Settings that make another network, besides those of a run.
OF_A_NETWORK = ("kernel_noise", "delay", *CHOICES)

#: Settings of a run that a network has a field for: the field is set, so that they
#: need not be what the network was made with.
FIELDS = ("neurons", "release_probability")


@dataclasses.dataclass(frozen=True)
class Combination:
    """Labels and values of one combination of settings, by name, and a seed."""

    labels: dict[str, Any]
    values: dict[str, Any]
    seed: int

    @property
    def key(self) -> str:
        """Name of its row."""
        return json.dumps([self.labels, self.seed])

    def row(self, result: SimulationResult, truth: Any) -> dict[str, Any]:
        """Put together what stands in the table."""
        # What spikes besides the input are the layers, each with a threshold.
        names = result.parameters.thresholds
        measured = (
            self.seed,
            result.accuracy(truth),
            len(truth),
            sum(int(result.spike_counts[name].sum()) for name in names),
            result.n_events,
            int(result.silent.sum()),
            int(result.ties.sum()),
        )
        return self.labels | dict(zip(MEASURED, measured, strict=True))


def _label(value: Any) -> Any:
    """Say what stands in the table for a value of the grid."""
    if isinstance(value, Quantity) and np.ndim(value) == 0:
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def axes(grid: Mapping[str, Any], known: Iterable[str]) -> Axes:
    """List the values of each setting, and their labels."""
    if clash := sorted(set(grid) & set(MEASURED)):
        raise InputError(f"grid: {', '.join(clash)} is a column of the table")
    check_known("setting of the grid:", grid, known)
    found: Axes = {}
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"grid: {name} is {values!r}, expected a list of values")
        pairs = [(value, value) for value in values]
        pairs = list(values.items()) if isinstance(values, Mapping) else pairs
        axis = [(_label(label), value) for label, value in pairs]
        labels = [label for label, _ in axis]
        if not labels or len(set(labels)) < len(labels):
            raise InputError(
                f"grid: {name} needs at least one value, and each once; it has "
                f"{', '.join(map(str, labels)) or 'none'}"
            )
        found[name] = dict(axis)
    return found


def combinations(found: Axes, seeds: Iterable[int]) -> list[Combination]:
    """List all combinations of settings, each with all seeds."""
    chosen = [check_whole("seeds: one", seed, 0) for seed in seeds]
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError("seeds: at least one, and each once")
    return [
        Combination(labels, {n: found[n][label] for n, label in labels.items()}, seed)
        for each in itertools.product(*found.values())
        for labels in [dict(zip(found, each, strict=True))]
        for seed in chosen
    ]


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


def _hash(value: Any) -> str:
    return hashlib.sha256(written(value).encode()).hexdigest()[:16]


@dataclasses.dataclass
class Programs:
    """Networks of combinations, and the program of the one at hand."""

    given: SpikingNetwork | Callable[..., SpikingNetwork]
    duration: Quantity
    cache_directory: str | Path | None = None
    made: tuple[Any, SpikingNetwork] | None = None
    compiled: tuple[str, Simulator] | None = None

    @cached_property
    def own(self) -> tuple[str, ...]:
        """Names of settings that the function takes."""
        if isinstance(self.given, SpikingNetwork):
            return ()
        if not callable(self.given):
            raise InputError(
                f"network is {self.given!r}, expected a SpikingNetwork or a function "
                "that makes one"
            )
        return tuple(inspect.signature(self.given).parameters)

    def base(self, chosen: Combination) -> SpikingNetwork:
        """Give the network that a combination begins with."""
        if isinstance(self.given, SpikingNetwork):
            return self.given
        own = {n: label for n, label in chosen.labels.items() if n in self.own}
        if self.made is None or self.made[0] != own:
            self.made = own, self.given(**{n: chosen.values[n] for n in own})
        return self.made[1]

    def network(self, chosen: Combination) -> SpikingNetwork:
        """Make the network of a combination."""
        values = {n: v for n, v in chosen.values.items() if n not in self.own}
        snn = self.base(chosen)
        changes = {n: values[n] for n in (*CHOICES, "neurons") if n in values}
        if "delay" in values:
            changes["delays_s"] = delays_in_seconds(values["delay"], snn.layer_names)
        if "release_probability" in values:
            release = snn.check_release(values["release_probability"])
            changes["release_probability"] = {**snn.release_probability, **release}
        if changes:
            snn = dataclasses.replace(snn, **changes)
        noise = values.get("kernel_noise", 0)
        return kernel_noise(snn, noise, chosen.seed) if noise else snn

    def label(self, chosen: Combination) -> str:
        """Name the network of a combination."""
        names = {*self.own, *OF_A_NETWORK, "neurons"}
        return str([pair for pair in chosen.labels.items() if pair[0] in names])

    def run(self, chosen: Combination, images: Any, **how: Any) -> SimulationResult:
        """Simulate a combination; a program of another structure is compiled."""
        snn = self.network(chosen)
        structure = _structure(snn)
        if self.compiled is None or self.compiled[0] != structure:
            self.close()
            made = snn.compile(self.duration, cache_directory=self.cache_directory)
            self.compiled = structure, made
        simulator = self.compiled[1]
        simulator.snn = snn
        others = {*self.own, *OF_A_NETWORK, *FIELDS}
        settings = {n: v for n, v in chosen.values.items() if n not in others}
        added = {n: settings.pop(n) for n in list(settings) if "." in n}
        if added:
            settings["values"] = {**settings.get("values", {}), **added}
        return simulator.run(
            images, seed=chosen.seed, progress=False, **how, **settings
        )

    def close(self) -> None:
        """Close the simulator."""
        if self.compiled is not None:
            self.compiled[1].close()
            self.compiled = None


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

    Settings are those of `Simulator.run`, with the names and values that it takes,
    variables of what `SpikingNetwork.extend` added (``"lateral.strength"``), and
    ``kernel_noise`` and the arguments ``delay``, ``reset``, ``encoding``, ``synapses``
    and ``dtype`` of `convert`, which make another network. A program is compiled once
    for each structure.

    Parameters
    ----------
    network : SpikingNetwork or callable
        The network, or a function that makes it from settings given by name. It is
        called once for each setting, whatever the number of seeds.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Images, float in [0, 1] or uint8.
    labels : array_like of int, shape (n_images,)
        The right classes.
    grid : dict of str to sequence or dict
        Values of each setting. A dict has labels for the table, and their values:
        ``{"lesion": {0.2: Lesion("conv1", fraction=0.2), ...}}``. Without labels,
        quantities are in SI units in the table, and other objects as text.
    seeds : iterable of int
        Seeds of the input spikes, of kernel noise, and of lesions without a seed.
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

    programs = Programs(network, duration, cache_directory)
    added = [name for name in grid if "." in name]  # variables of added objects
    known_names = (*programs.own, *SETTINGS, "parameters", *OF_A_NETWORK, *added)
    found = axes(grid, known_names)
    every = combinations(found, seeds)
    first = programs.base(every[0])
    check_known("variable of an added object:", added, first.extension.settable)
    pixels = check_shown(images, first.layers)
    truth = np.asarray(labels)
    check_shape("labels", truth, len(pixels))
    settings = {
        "network": first.fingerprint,
        "grid": {n: [[k, _hash(v)] for k, v in found[n].items()] for n in found},
        "images": _hash(pixels),
        "labels": _hash(truth),
        "duration_s": float(duration),
    }
    known = Checkpoint(checkpoint, "sweep", settings, (*found, *MEASURED))
    missing = [chosen for chosen in every if chosen.key not in known.rows]
    # All of one network after another, whatever the order of the grid.
    order = list(dict.fromkeys(map(programs.label, missing)))
    missing.sort(key=lambda chosen: order.index(programs.label(chosen)))
    show = progress and len(missing) > 1
    bar = progress_bar("sweep", len(missing), show=show)
    with closing(programs), known, bar as advance:
        for chosen in missing:
            result = programs.run(chosen, pixels, executor=executor)
            row = chosen.row(result, truth)
            known.add(chosen.key, row)
            advance(1, f"accuracy {row['accuracy']:.3f}")
    rows = [known.rows[chosen.key] for chosen in every]
    return DataFrame(rows, columns=[*grid, *MEASURED])


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
        If the column or the interval does not exist, or the level is not in (0, 1).

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
    check_number("level", level, above=0, below=1)
    by = [name for name in frame.columns if name not in MEASURED]
    groups = frame.groupby(by, sort=False, dropna=False) if by else [((), frame)]
    rows = []
    for values, part in groups:
        sample = part[y].to_numpy(float)
        n, mean = len(sample), sample.mean()
        sd = sample.std(ddof=1) if n > 1 else np.nan
        if interval == "t":
            # Without a second seed sd is NaN, and so is the interval.
            centre = mean
            half = stats.t.ppf((1 + level) / 2, max(n - 1, 1)) * sd / np.sqrt(n)
        else:
            z, m = stats.norm.ppf((1 + level) / 2), part["n_images"].iloc[0]
            centre = (mean + z**2 / (2 * m)) / (1 + z**2 / m)
            half = z * np.sqrt(mean * (1 - mean) / m + (z / (2 * m)) ** 2)
            half = half / (1 + z**2 / m)
        rows.append([*values, mean, sd, n, centre - half, centre + half])
    return DataFrame(rows, columns=[*by, "mean", "sd", "n", "low", "high"])
