"""What the rows of a result are, if stimuli were shown: trials."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import DimensionMismatchError, Quantity, get_dimensions, second

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.settings import shown, shown_kind
from cnn2snn_brian.stimuli import Item


class Correlation:
    """
    Pearson's correlation of numbers that come in parts.

    Each part is centred by itself, and the sums of squares are put together [1]_: sums
    of uncentred squares would lose digits where the mean is large.

    References
    ----------
    .. [1] Chan, Golub and LeVeque (1983), Algorithms for Computing the Sample Variance,
       doi:10.1080/00031305.1983.10483115
    """

    def __init__(self) -> None:
        self._n = 0
        self._mean = np.zeros(2)
        self._squares = np.zeros((2, 2))
        self._low, self._high = np.full(2, np.inf), np.full(2, -np.inf)

    def add(self, first: Any, second: Any) -> None:
        """Take a part."""
        both = np.stack([np.ravel(first), np.ravel(second)]).astype(np.float64)
        n = both.shape[1]
        if n == 0:
            return
        self._low = np.minimum(self._low, both.min(1))
        self._high = np.maximum(self._high, both.max(1))
        mean = both.mean(1)
        both -= mean[:, None]
        apart = mean - self._mean
        total = self._n + n
        self._squares += both @ both.T + np.outer(apart, apart) * (self._n * n / total)
        self._mean += apart * (n / total)
        self._n = total

    @property
    def value(self) -> float:
        """From -1 to 1; NaN if one of the two is constant or there are no numbers."""
        if not (self._low < self._high).all():
            return math.nan
        (xx, xy), (_, yy) = self._squares
        return float(np.clip(xy / math.sqrt(xx * yy), -1, 1))


def correlation(first: Any, second: Any) -> float:
    """
    Compute Pearson's correlation.

    Parameters
    ----------
    first, second : array_like of float
        As many numbers in both, in the same order.

    Returns
    -------
    float
        From -1 to 1; NaN if one of the two is constant.
    """
    found = Correlation()
    found.add(first, second)
    return found.value


def check_share(what: str, number: Any) -> None:
    """Check a number between 0 and 1, without these."""
    if not isinstance(number, float | np.floating) or not 0 < number < 1:
        raise InputError(f"{what} is {number!r}, expected a number between 0 and 1")


def real_numbers(
    what: str,
    values: Any,
    *,
    least: float = -math.inf,
    known: bool = True,
    unit: Quantity | None = None,
) -> npt.NDArray[np.float64]:
    """Check real numbers, of any shape."""
    given = values
    if hasattr(values, "detach"):  # a torch tensor, without importing torch
        values = values.detach().cpu().numpy()
    try:
        if isinstance(values, list | tuple):
            # Of units in a list, numpy alone would forget; those of others, Brian2 too.
            foreign = any(hasattr(item, "dimensionality") for item in values)
            values = None if foreign else Quantity(values)
        array = np.asarray(values)
        allowed = (None, get_dimensions(1), None if unit is None else unit.dim)
        plain = getattr(values, "dim", None) in allowed
        plain = plain and not hasattr(values, "dimensionality")
    except (DimensionMismatchError, TypeError, ValueError):
        plain, array = False, np.empty(0)
    if not plain or (array.size and array.dtype.kind not in "biuf"):
        rule = "real numbers" if unit is None else f"plain numbers or Brian2's {unit}"
        raise InputError(f"{what}: found {given!r:.80}, expected {rule}")
    array = array.astype(np.float64)
    right = np.isfinite(array) if known else ~np.isinf(array)
    wrong = ~right | (array < least)
    if wrong.any():
        rule = "finite numbers" if known else "finite numbers or NaN"
        rule += f" of at least {least:g}" if math.isfinite(least) else ""
        raise InputError(f"{what}: found {array[wrong][0]:g}, expected {rule}")
    return array


def whole_numbers(what: str, values: Any, n: int) -> npt.NDArray[np.int64]:
    """Check numbers of things, such as neurons."""
    array = real_numbers(what, values)
    rule = f"expected whole numbers from 0 to {n - 1}"
    broken = array != np.floor(array)
    if broken.any() or np.asarray(values).dtype == bool:
        found = f"{array[broken][0]:g}" if broken.any() else "True and False"
        raise InputError(f"{what}: found {found}, {rule}")
    if array.size and not (array.min() >= 0 and array.max() < n):
        raise InputError(f"{what} goes from {array.min():g} to {array.max():g}, {rule}")
    return array.astype(np.int64)


def seconds(value: Any, name: str) -> float:
    """Read a time."""
    try:
        time = real_numbers(name, value, unit=second)
    except InputError:
        time = np.empty(0)
    if time.ndim or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}, expected a time")
    return float(time)


def class_labels(labels: Any, n: int, what: str = "images") -> npt.NDArray[Any]:
    """Check the classes of images or stimuli."""
    truth = np.asarray(labels)
    if truth.shape != (n,):
        raise InputError(
            f"{n} {what}, labels of shape {truth.shape}: expected one for each of "
            f"{n} {what}"
        )
    if truth.dtype.kind not in "biuUSO":
        return whole_numbers("labels", truth, 2**53)
    return truth


def class_numbers(labels: Any, n: int, what: str = "images") -> npt.NDArray[Any]:
    """Check the classes of images or stimuli, to compare them with output neurons."""
    truth = class_labels(labels, n, what)
    numbers = np.asarray(truth.tolist()) if truth.dtype.kind == "O" else truth
    if numbers.dtype.kind not in "biuf":
        found = truth.tolist()[0]
        raise InputError(
            f"labels: found {found!r}, expected the index of an output neuron"
        )
    return class_labels(numbers, n, what)


def tally(
    at: tuple[npt.NDArray[Any], ...], shape: tuple[int, ...]
) -> npt.NDArray[np.int32]:
    """Count spikes by what tells them apart, such as trial, bin and neuron."""
    found = np.zeros(math.prod(shape), np.int32)
    np.add.at(found, np.ravel_multi_index(at, shape), 1)
    return found.reshape(shape)


def earliest(
    at: tuple[npt.NDArray[Any], ...],
    t: npt.NDArray[np.float64],
    shape: tuple[int, ...],
) -> npt.NDArray[np.float64]:
    """Find the first of the times with the same index; NaN where there is none."""
    found = np.full(shape, np.inf)
    np.minimum.at(found, at, t)
    return np.where(np.isinf(found), np.nan, found)


@dataclass(frozen=True, eq=False)
class Decisions(Printed):
    """
    When and how each image was decided.

    Attributes
    ----------
    margin : int
        So many output spikes the leading class had to be ahead of the second.
    steps : ndarray of int64, shape (n_images,)
        Steps until the decision; all of them where no class led by the margin.
    predictions : ndarray of int64, shape (n_images,)
        The leading class then; at the end that of `SpikeData.predict`.
    decided : ndarray of bool, shape (n_images,)
        Whether a class led by the margin.
    """

    margin: int
    steps: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]
    decided: npt.NDArray[np.bool_]

    @property
    def mean_steps(self) -> float:
        """Steps that an image takes on average."""
        return float(self.steps.mean())

    def accuracy(self, labels: Any) -> float:
        """
        Share of images that are decided correctly.

        Parameters
        ----------
        labels : array_like of int, shape (n_images,)
            The right classes.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        InputError
            If there is not one label for each image, or one is a name.
        """
        truth = class_numbers(labels, len(self.predictions))
        return float((self.predictions == truth).mean())


def decisions(
    margin: int,
    output_spikes: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    final: npt.NDArray[np.int64],
    n_steps: int | npt.NDArray[np.int64],
    n_classes: int,
) -> Decisions:
    """Decide on each image as soon as one class leads by a margin."""
    steps = np.array(np.broadcast_to(n_steps, len(final)), np.int64)
    predictions = final.copy()
    decided = np.zeros(len(final), bool)
    for image, (neuron, step) in enumerate(output_spikes):
        counts = np.zeros((steps[image], n_classes), np.int64)
        np.add.at(counts, (step, neuron), 1)
        counts = counts.cumsum(0)
        first, second = np.sort(counts, axis=1)[:, [-1, -2]].T
        leads = np.flatnonzero(first - second >= margin)
        if len(leads):
            decided[image] = True
            steps[image] = leads[0] + 1
            predictions[image] = counts[leads[0]].argmax()
    return Decisions(margin, steps, predictions, decided)


#: Of more classes, only so many are named.
MAX_CLASSES = 10


def _of_the_network(result: Any) -> list[str]:
    """Say what was simulated."""
    kinds = shown_kind(result.network["synapses"])
    chosen = {**result.network, "synapses": kinds}
    choices = ("encoding", "reset", "synapses", "dtype")
    lines = [
        ", ".join(f"{what} {chosen[what]}" for what in choices),
        f"layers: {', '.join(result.parameters.thresholds)}, "
        f"hash of their weights {result.network['layers'][:8]}",
    ]
    delays = result.network["delays_s"]
    if delays:
        listed = ", ".join(f"{k} {1e3 * v:g} ms" for k, v in delays.items())
        lines.append(f"delays: {listed}")
    classes = result.network["classes"]
    if classes is not None:
        more = (
            f" and {len(classes) - MAX_CLASSES} more"
            if len(classes) > MAX_CLASSES
            else ""
        )
        lines.append(f"classes: {', '.join(classes[:MAX_CLASSES])}{more}")
    return lines


def summary(result: Any) -> str:
    """Describe a result to people."""
    rows = f"{result.n_images} images, {result.n_steps} steps"
    if result.trials is not None:
        n, longest = result.trials.n_stimuli, result.n_steps
        same = len(set(result.trials.n_steps)) == 1
        rows = (
            f"{n} stimul{'i' if n > 1 else 'us'}, {result.n_repeats} trials of each, "
        )
        rows += f"{longest} steps" if same else f"at most {longest} steps"
    lines = [
        f"{rows} of {1e3 * result.dt_s:g} ms, seed {result.seed}",
        f"{result.n_events:,} synaptic events, {result.timings.get('run', 0):.2f} s",
        f"{int(result.ties.sum())} ties for the most output spikes, of these "
        f"{int(result.silent.sum())} without any output spike",
    ]
    if result.network:
        lines += _of_the_network(result)
    holders = (result.parameters, result.perturbations)
    lines += shown(*(holder for holder in holders if holder is not None))
    if result.perturbations is None:
        lines.append("saved by version 0.1.0, which kept no lesions and no noise")
    versions = ", ".join(f"{k} {v}" for k, v in result.versions.items())
    lines.append(f"versions: {versions}")
    if result.program:
        lines.append(
            f"compiled: {result.program['compiler']} {result.program['flags']}"
        )
    return "\n".join(lines)


def check_one_duration(shortest_s: float, longest_s: float) -> None:
    """Refuse to compare trials of different durations."""
    if longest_s > shortest_s:
        raise InputError(
            f"stimuli last {shortest_s:g} to {longest_s:g} s, expected one duration, "
            f"or a window that ends by {shortest_s:g} s: what is silent and what is "
            "over would look the same"
        )


@dataclass(frozen=True)
class Trials(Printed):
    """
    The trials of a run: stimulus after stimulus, its repeats in order.

    Attributes
    ----------
    n_repeats : int
        Trials of each stimulus.
    n_steps : tuple of int
        Steps of a trial of each stimulus.
    names : tuple of str
        Name of each stimulus.
    parameters : tuple of dict of str to float
        What each stimulus was made with, such as ``orientation``.
    items : tuple of tuple of Item
        What each stimulus showed one after another: onset, duration and label of each
        image of a `Sequence`, none of others. Empty in a file of version 0.1.0.
    """

    n_repeats: int
    n_steps: tuple[int, ...]
    names: tuple[str, ...]
    parameters: tuple[Mapping[str, float], ...] = ()
    items: tuple[tuple[Item, ...], ...] = ()

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return len(self.n_steps)

    @property
    def stimulus_of_row(self) -> npt.NDArray[np.int64]:
        """Index of the stimulus of each row."""
        return np.repeat(np.arange(self.n_stimuli), self.n_repeats)

    @property
    def repeat_of_row(self) -> npt.NDArray[np.int64]:
        """Which repeat of its stimulus each row is."""
        return np.tile(np.arange(self.n_repeats), self.n_stimuli)

    @property
    def steps_of_row(self) -> npt.NDArray[np.int64]:
        """Steps of each row."""
        return np.repeat(self.n_steps, self.n_repeats)

    def record(self) -> dict[str, Any]:
        """
        Write the trials as JSON can hold them.

        Returns
        -------
        dict
            The fields by name.
        """
        return {
            "n_repeats": self.n_repeats,
            "n_steps": list(self.n_steps),
            "names": list(self.names),
            "parameters": [
                {name: float(value) for name, value in own.items()}
                for own in self.parameters
            ],
            "items": [[list(item) for item in own] for own in self.items],
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Trials":
        """
        Read what `record` wrote.

        Parameters
        ----------
        record : dict
            The fields by name.

        Returns
        -------
        Trials
            The trials.
        """
        return cls(
            int(record["n_repeats"]),
            tuple(record["n_steps"]),
            tuple(record["names"]),
            tuple(record["parameters"]),
            tuple(
                tuple(Item(*item) for item in own) for own in record.get("items", ())
            ),
        )
