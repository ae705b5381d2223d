"""What a result hands out: spikes, potentials, counts and what its rows are."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.printing import Printed, short_fields
from cnn2snn_brian.projections import Shape, from_neurons
from cnn2snn_brian.stimuli import Item

IntArray = npt.NDArray[np.integer[Any]]


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
    """

    t: npt.NDArray[np.floating[Any]]
    neuron: IntArray
    position: tuple[IntArray, ...]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return iter((self.t, self.neuron))


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
        parameters = [
            {name: float(value) for name, value in own.items()}
            for own in self.parameters
        ]
        return asdict(self) | {"parameters": parameters}

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
        items = ((Item(*item) for item in own) for own in record.get("items", ()))
        return cls(
            int(record["n_repeats"]),
            tuple(record["n_steps"]),
            tuple(record["names"]),
            tuple(record["parameters"]),
            tuple(map(tuple, items)),
        )
