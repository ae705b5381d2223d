"""
Experiments over a grid of settings and seeds, as a table.

A sweep compiles one program for each structure of the network, goes on where it was
interrupted, and yields one row for each setting and seed.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from brian2 import Quantity, ms

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.description.pictures import check_images
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.experiments.grid import (
    Axes,
    Setting,
    axes,
    combinations,
    row_key,
    written,
)
from cnn2snn_brian.experiments.networks import Networks, Simulators
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.program.workers import Workers
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.results.result import SimulationResult

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["MEASURED", "sweep"]

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
        message = f"{len(pixels)} images, labels of shape {truth.shape}"
        raise InputError(message)
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
        message = f"grid: {', '.join(clash)} is a column of the table"
        raise InputError(message)
    return axes(grid, known)


def _checked_seeds(seeds: Iterable[int]) -> list[int]:
    chosen = list(seeds)
    chosen = [check_whole("seeds: one", seed, 0) for seed in chosen]
    if not chosen or len(set(chosen)) < len(chosen):
        message = "seeds: at least one, and each once"
        raise InputError(message)
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
