"""What a result hands out, and what follows from counts."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import whole_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed, short_fields
from cnn2snn_brian.projections import Shape, from_neurons
from cnn2snn_brian.stimuli import Item

#: Axes of the arrays of layers, by their number.
AXES = {3: ("channel", "y", "x"), 1: ("unit",)}

IntArray = npt.NDArray[np.integer[Any]]
#: Of a layer and an image: neurons, and steps of their spikes or their potentials.
Recorded = dict[tuple[str, int], tuple[IntArray, npt.NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class RecordedSpikes(Printed):
    """
    Recorded spikes of one layer for one image, in order of time.

    ``t, neuron = result.spikes("conv1", 0)`` gives the times and the neurons.

    Attributes
    ----------
    t : ndarray of float, shape (n_spikes,)
        Times in seconds since the image's start.
    neuron : ndarray of int, shape (n_spikes,)
        Index in the layer's Brian2 group, (y, x, channel).
    position : tuple of ndarray of int
        ``(channel, y, x)`` of each spike, or ``(unit,)`` in a linear layer: an index
        into the layer's arrays.

    Notes
    -----
    All spikes of a burst have the same time and neuron; `bursts` puts them together.
    """

    t: npt.NDArray[np.floating[Any]]
    neuron: IntArray
    position: tuple[IntArray, ...]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return iter((self.t, self.neuron))

    @property
    def bursts(self) -> tuple["RecordedSpikes", npt.NDArray[np.int64]]:
        """The bursts, one spike each, and the number of spikes of each."""
        is_next = np.ones(len(self.t), bool)
        is_next[1:] = (np.diff(self.t) != 0) | (np.diff(self.neuron) != 0)
        (first,) = np.nonzero(is_next)
        position = tuple(axis[first] for axis in self.position)
        size = np.diff(np.append(first, len(self.t)))
        return RecordedSpikes(self.t[first], self.neuron[first], position), size


class Potentials(NamedTuple):
    """
    Recorded membrane potentials of a layer for one image.

    Attributes
    ----------
    t : ndarray of float64, shape (n_steps,)
        Ends of the steps, in seconds since the image's start.
    v : ndarray of float32, shape (n_steps, n_neurons)
        Potential at these times: after the reset, and after the spikes that arrived.
    position : tuple of ndarray of int, shape (n_neurons,)
        ``(channel, y, x)`` of each neuron, or ``(unit,)`` in a linear layer.
    """

    t: npt.NDArray[np.float64]
    v: npt.NDArray[np.float32]
    position: tuple[IntArray, ...]

    def __repr__(self) -> str:
        return short_fields("Potentials", self._asdict())


class SpikeCounts(Mapping[str, npt.NDArray[np.int32]]):
    """
    Spike counts by layer, ``counts["conv1"]`` of shape ``(n_images, *layer.shape)``.

    They are kept as small as they can be, and handed out as a new int32 array. Of a
    large layer and many images that array is large: `part` gives some images' alone.
    """

    def __init__(self, raw: dict[str, IntArray], shapes: dict[str, Shape]) -> None:
        self._raw = raw
        self._shapes = shapes

    def __getitem__(self, name: str) -> npt.NDArray[np.int32]:
        return self.part(name, slice(None))

    def part(self, name: str, images: int | slice) -> npt.NDArray[np.int32]:
        """
        Give the counts of one image or of some, without those of the others.

        Parameters
        ----------
        name : str
            Name of the layer.
        images : int or slice
            Index of an image, or a range of them.

        Returns
        -------
        ndarray of int32, shape ``layer.shape`` or ``(n_images, *layer.shape)``
            Counts in torch's order.
        """
        raw = self._raw[name][images].astype(np.int32)
        return from_neurons(raw, self._shapes[name])

    def raw(self, name: str) -> IntArray:
        """
        Give the counts of a layer as they are kept, without a copy.

        Parameters
        ----------
        name : str
            Name of the layer.

        Returns
        -------
        ndarray of unsigned int, shape (n_images, n_neurons)
            Counts in the order of the neurons of a Brian2 group, (y, x, channel).
        """
        return self._raw[name]

    def __contains__(self, name: object) -> bool:
        return name in self._raw  # a Mapping's own would make the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        shapes = (f"{k} {(len(v), *self._shapes[k])}" for k, v in self._raw.items())
        return f"SpikeCounts({', '.join(shapes)})"


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

    @property
    def items_of_row(self) -> list[tuple[Item, ...]]:
        """What each row showed one after another."""
        return [self.items[k] if self.items else () for k in self.stimulus_of_row]

    def record(self) -> dict[str, Any]:
        """
        Write the trials as JSON can hold them.

        Returns
        -------
        dict
            The fields by name.
        """
        numbers = [{k: float(v) for k, v in own.items()} for own in self.parameters]
        return asdict(self) | {"parameters": numbers}

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
        known = {
            name: tuple(record[name]) for name in ("n_steps", "names", "parameters")
        }
        items = (tuple(Item(*item) for item in own) for own in record.get("items", ()))
        return cls(int(record["n_repeats"]), **known, items=tuple(items))


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
        Of equal length, in the same order.

    Returns
    -------
    float
        From -1 to 1; NaN if one of the two is constant.
    """
    found = Correlation()
    found.add(first, second)
    return found.value


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


@dataclass(frozen=True, eq=False)
class Decisions(Printed):
    """
    When and how each image was decided.

    Attributes
    ----------
    margin : int
        Output spikes by which the leading class had to be ahead of the second.
    steps : ndarray of int64, shape (n_images,)
        Steps until the decision; all of them where no class led by the margin.
    predictions : ndarray of int64, shape (n_images,)
        The leading class then; at the end that of `SimulationResult.predict`.
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


def tally(
    at: tuple[npt.NDArray[Any], ...], shape: tuple[int, ...], size: Any = 1
) -> npt.NDArray[np.int32]:
    """Count spikes by what tells them apart, such as trial, bin and neuron."""
    found = np.zeros(math.prod(shape), np.int32)
    np.add.at(found, np.ravel_multi_index(at, shape), size)
    return found.reshape(shape)


def earliest(
    at: tuple[npt.NDArray[Any], ...], t: npt.NDArray[Any], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Find the first of the times with the same index; NaN where there is none."""
    found = np.full(shape, np.inf)
    np.minimum.at(found, at, t)
    return np.where(np.isinf(found), np.nan, found)


def counted(
    neuron: npt.NDArray[Any],
    step: npt.NDArray[Any],
    n_steps: int,
    n_classes: int,
    sign: Any = 1,
) -> npt.NDArray[np.int64]:
    """Count the spikes of each class up to the end of each step."""
    return tally((step, neuron), (n_steps, n_classes), sign).cumsum(0, dtype=np.int64)


def decisions(
    margin: int,
    output_spikes: Iterable[tuple[npt.NDArray[Any], ...]],
    final: npt.NDArray[np.int64],
    n_steps: int | npt.NDArray[np.int64],
    n_classes: int,
) -> Decisions:
    """Decide on each image as soon as one class leads by a margin."""
    steps = np.array(np.broadcast_to(n_steps, len(final)), np.int64)
    predictions = final.copy()
    decided = np.zeros(len(final), bool)
    for image, (neuron, step, *sign) in enumerate(output_spikes):
        counts = counted(neuron, step, steps[image], n_classes, *sign)
        first, second = np.sort(counts, axis=1)[:, [-1, -2]].T
        leads = np.flatnonzero(first - second >= margin)
        if len(leads):
            decided[image] = True
            steps[image] = leads[0] + 1
            predictions[image] = counts[leads[0]].argmax()
    return Decisions(margin, steps, predictions, decided)


def check_one_duration(shortest_s: float, longest_s: float) -> None:
    """Refuse to compare trials of different durations."""
    if longest_s > shortest_s:
        raise InputError(
            f"stimuli last {shortest_s:g} to {longest_s:g} s, expected one duration, "
            f"or a window that ends by {shortest_s:g} s: what is silent and what is "
            "over would look the same"
        )
