"""Results of a simulation: plain numpy, no Brian2."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers import Shape, from_neurons
from cnn2snn_brian.parameters import Parameters

__all__ = [
    "SATURATED",
    "Potentials",
    "Readout",
    "SimulationResult",
    "SpikeCounts",
    "SpikeTrains",
    "correlation",
]

#: A neuron that spikes in more than this share of the steps is saturated.
SATURATED = 0.9

Readout = Literal["spikes", "spikes+potential"]
IntArray = npt.NDArray[np.integer[Any]]


class SpikeTrains(NamedTuple):
    """
    Recorded spikes of one layer for one picture, in order of time.

    Attributes
    ----------
    t : ndarray of float, shape (n_spikes,)
        Times in seconds since the picture's start.
    neuron : ndarray of int, shape (n_spikes,)
        Index in the layer's Brian2 group, (y, x, channel).
    position : tuple of ndarray of int
        ``(channel, y, x)`` of each spike, or ``(unit,)`` in a linear layer: an index
        into the layer's arrays.
    """

    t: npt.NDArray[np.floating[Any]]
    neuron: IntArray
    position: tuple[IntArray, ...]


class Potentials(NamedTuple):
    """
    Recorded membrane potentials of a layer for one picture.

    Attributes
    ----------
    t : ndarray of float64, shape (n_steps,)
        Ends of the steps, in seconds since the picture's start.
    v : ndarray of float32, shape (n_steps, n_neurons)
        Potential at these times: after the reset, and after the spikes that arrived.
    position : tuple of ndarray of int, shape (n_neurons,)
        ``(channel, y, x)`` of each neuron, or ``(unit,)`` in a linear layer.
    """

    t: npt.NDArray[np.float64]
    v: npt.NDArray[np.float32]
    position: tuple[IntArray, ...]


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
    x = np.asarray(first, np.float64).ravel()
    y = np.asarray(second, np.float64).ravel()
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


class SpikeCounts(Mapping[str, npt.NDArray[np.int32]]):
    """
    Spike counts by layer, ``counts["conv1"]`` of shape ``(n_images, *layer.shape)``.

    They are kept as small as they can be, and handed out as a new int32 array.
    """

    def __init__(self, raw: dict[str, IntArray], shapes: dict[str, Shape]) -> None:
        self._raw = raw
        self._shapes = shapes

    def __getitem__(self, name: str) -> npt.NDArray[np.int32]:
        return from_neurons(self._raw[name].astype(np.int32), self._shapes[name])

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

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


@dataclass(frozen=True)
class SimulationResult:
    """
    What a simulation of pictures found.

    Attributes
    ----------
    spike_counts : SpikeCounts
        Spikes of every neuron by layer, int32 of shape (n_images, channels, height,
        width) or (n_images, n). With Poisson input, also of ``input``.
    output_potentials : ndarray of float, shape (n_images, n_outputs)
        Potential left in the last layer.
    output_threshold : float
        Threshold of the last layer.
    events : dict of str to ndarray of int64, shape (n_images,)
        Synaptic events delivered into each layer.
    duration_s, dt_s : float
        Time of a picture, and time step, in seconds.
    seed : int
        Seed of the simulation.
    parameters : Parameters
        What the neurons ran with.
    timings : dict of str to float
        Seconds spent: ``build`` (of the program), ``run``.
    versions : dict of str to str
        Versions of the libraries used.
    """

    spike_counts: SpikeCounts
    output_potentials: npt.NDArray[np.float64]
    output_threshold: float
    events: dict[str, npt.NDArray[np.int64]]
    duration_s: float
    dt_s: float
    seed: int
    parameters: Parameters
    timings: dict[str, float]
    versions: dict[str, str]
    shapes: dict[str, Shape] = field(repr=False)
    recorded: dict[tuple[str, int], tuple[IntArray, IntArray]] = field(repr=False)
    #: Neurons (indices in the group) and their potentials, (n_steps, n_neurons).
    recorded_potentials: dict[
        tuple[str, int], tuple[IntArray, npt.NDArray[np.float32]]
    ] = field(default_factory=dict, repr=False)

    @property
    def n_images(self) -> int:
        """Number of pictures."""
        return len(self.output_potentials)

    @property
    def n_steps(self) -> int:
        """Number of time steps of a picture."""
        return round(self.duration_s / self.dt_s)

    @property
    def output_layer(self) -> str:
        """Name of the last layer."""
        return list(self.spike_counts)[-1]

    @cached_property
    def _final_counts(self) -> npt.NDArray[np.int64]:
        counts = self.spike_counts[self.output_layer]
        return counts.reshape(self.n_images, -1).astype(np.int64)

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """Class with the most output spikes, ties decided by the potential left."""
        return self.predict()

    def predict(self, readout: Readout = "spikes") -> npt.NDArray[np.int64]:
        """
        Decide on a class for each picture.

        Parameters
        ----------
        readout : {"spikes", "spikes+potential"}
            "spikes": most output spikes; of neurons with equally many, the one with
            the largest potential left; if that is equal too, the first.
            "spikes+potential": largest sum of spikes and potential left, that in
            units of the threshold.

        Returns
        -------
        predictions : ndarray of int64, shape (n_images,)
            Index of the class.

        Raises
        ------
        InputError
            If the readout is unknown.
        """
        if readout == "spikes+potential":
            share = self.output_potentials / self.output_threshold
            return (self._final_counts + share).argmax(1)
        if readout != "spikes":
            message = f"readout={readout!r}: expected 'spikes' or 'spikes+potential'"
            raise InputError(message)
        return np.where(
            self._is_best, self.output_potentials.reshape(self.n_images, -1), -np.inf
        ).argmax(1)

    @property
    def _is_best(self) -> npt.NDArray[np.bool_]:
        counts = self._final_counts
        return np.asarray(counts == counts.max(1, keepdims=True))

    @property
    def ties(self) -> npt.NDArray[np.bool_]:
        """Whether several classes have the most output spikes, of shape (n_images,)."""
        return np.asarray(self._is_best.sum(1) > 1)

    @property
    def silent(self) -> npt.NDArray[np.bool_]:
        """Whether there is no output spike at all (a tie too), of shape (n_images,)."""
        return np.asarray(self._final_counts.max(1) == 0)

    @property
    def n_events(self) -> int:
        """Synaptic events delivered, of all layers and pictures."""
        return int(sum(events.sum() for events in self.events.values()))

    def accuracy(self, labels: Any, readout: Readout = "spikes") -> float:
        """
        Share of pictures that are classified correctly.

        Parameters
        ----------
        labels : array_like of int, shape (n_images,)
            The right classes.
        readout : {"spikes", "spikes+potential"}
            See `predict`.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        InputError
            If there is not one label for each picture.
        """
        truth = np.asarray(labels)
        if truth.shape != (self.n_images,):
            message = f"{self.n_images} pictures, labels of shape {truth.shape}"
            raise InputError(message)
        return float((self.predict(readout) == truth).mean())

    def output_counts(self, t: Any = None) -> npt.NDArray[np.int64]:
        """
        Count output spikes up to a time.

        Parameters
        ----------
        t : Quantity [s] or float, optional
            Time since a picture's start (a plain number is in seconds); the whole
            duration without it.

        Returns
        -------
        counts : ndarray of int64, shape (n_images, n_outputs)
            Spikes of each output neuron in the steps before `t`.

        Raises
        ------
        InputError
            If `t` is not between 0 and the duration.
        """
        if t is None:
            return self._final_counts.copy()
        time = float(np.asarray(t))
        if not 0 <= time <= self.duration_s * (1 + 1e-9):
            message = f"t is {time} s, expected 0 to the duration, {self.duration_s} s"
            raise InputError(message)
        n_steps = round(time / self.dt_s)
        counts = np.zeros_like(self._final_counts)
        for image in range(self.n_images):
            neuron, step = self.recorded[self.output_layer, image]
            early = neuron[step < n_steps]
            counts[image] = np.bincount(early, minlength=counts.shape[1])
        # Neurons are in torch's order here for a linear layer only.
        shape = self.shapes[self.output_layer]
        return from_neurons(counts, shape).reshape(self.n_images, -1)

    def accuracy_over_time(self, labels: Any) -> npt.NDArray[np.float64]:
        """
        Accuracy after each step, by spikes alone.

        Parameters
        ----------
        labels : array_like of int, shape (n_images,)
            The right classes.

        Returns
        -------
        accuracy : ndarray of float, shape (n_steps,)
            Share of correct pictures had the simulation ended after a step. Of
            classes with equally many spikes, the first counts; a picture without
            output spikes counts as wrong.
        """
        truth = np.asarray(labels)
        correct = []
        for step in range(1, self.n_steps + 1):
            counts = self.output_counts(step * self.dt_s)
            right = (counts.argmax(1) == truth) & (counts.max(1) > 0)
            correct.append(right.mean())
        return np.array(correct)

    def spikes(self, layer: str, image: int) -> SpikeTrains:
        """
        Give the recorded spikes of a layer.

        Parameters
        ----------
        layer : str
            Name of the layer, or ``input``.
        image : int
            Index of the picture.

        Returns
        -------
        SpikeTrains
            Times, neurons and positions.

        Raises
        ------
        InputError
            If the layer was not recorded for this picture.
        """
        if (layer, image) not in self.recorded:
            found = sorted({name for name, _ in self.recorded})
            message = (
                f"spikes of {layer!r} were not recorded for picture {image}; recorded "
                f"are {', '.join(found)}. Ask for them: run(..., record=[{layer!r}])"
            )
            raise InputError(message)
        neuron, step = self.recorded[layer, image]
        position = self._positions(layer, neuron)
        return SpikeTrains(step * self.dt_s, neuron, position)

    def _positions(self, layer: str, neuron: IntArray) -> tuple[IntArray, ...]:
        shape = self.shapes[layer]
        if len(shape) != 3:
            return (neuron,)
        channels, height, width = shape
        y, x, channel = np.unravel_index(neuron, (height, width, channels))
        return channel, y, x

    def potentials(self, layer: str, image: int) -> Potentials:
        """
        Give the recorded membrane potentials of a layer.

        Parameters
        ----------
        layer : str
            Name of the layer.
        image : int
            Index of the picture.

        Returns
        -------
        Potentials
            Times, potentials and positions, neurons in the order they were asked for.

        Raises
        ------
        InputError
            If no potentials of the layer were recorded for this picture.
        """
        if (layer, image) not in self.recorded_potentials:
            found = sorted({name for name, _ in self.recorded_potentials})
            message = (
                f"potentials of {layer!r} were not recorded for picture {image}; "
                f"recorded are {', '.join(found) or 'none'}. Ask for them: run(..., "
                f"record_potentials={{{layer!r}: [position, ...]}})"
            )
            raise InputError(message)
        neuron, v = self.recorded_potentials[layer, image]
        t = self.dt_s * np.arange(1, self.n_steps + 1, dtype=np.float64)
        return Potentials(t, v, self._positions(layer, neuron))

    def save(self, path: str | os.PathLike[str]) -> None:
        """
        Write everything of this result to one HDF5 file.

        Parameters
        ----------
        path : path-like
            The file, by custom with the suffix ``.h5``. It is written whole or not
            at all.

        Raises
        ------
        FileNotFoundError
            If its folder does not exist.
        """
        from cnn2snn_brian.result_files import save_result

        save_result(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SimulationResult":
        """
        Read a result that `save` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        SimulationResult
            The same result.

        Raises
        ------
        InputError
            If the file is missing, damaged or of another kind.
        """
        from cnn2snn_brian.result_files import load_result

        return load_result(path)

    def to_neo(
        self,
        pictures: Iterable[int] | None = None,
        labels: Any = None,
        layers: Iterable[str] | None = None,
        *,
        silent: bool = True,
    ) -> Any:
        """
        Make a Neo Block of recorded spikes, see `exports.to_neo`.

        Parameters
        ----------
        pictures : iterable of int, optional
            Indices of pictures; by default all of which one of the layers was recorded.
        labels : sequence of int or str, shape (n_images,), optional
            Labels of *all* pictures of the result, kept as annotations.
        layers : iterable of str, optional
            Layers; by default all that were recorded.
        silent : bool
            Whether neurons without a spike have a SpikeTrain too, an empty one.

        Returns
        -------
        neo.Block
            A Segment for each picture, a Group for each layer; SpikeTrains annotated
            with layer, channel, y, x, picture and label.

        Raises
        ------
        InputError
            If there is not one label for each picture, or a layer was not recorded for
            a picture.
        MissingLibraryError
            If Neo is not installed.
        """
        from cnn2snn_brian.exports import to_neo

        return to_neo(self, pictures, labels, layers, silent=silent)

    def to_xarray(self, labels: Any = None) -> Any:
        """
        Make an xarray Dataset of spike counts, see `exports.to_xarray`.

        Parameters
        ----------
        labels : sequence of int or str, shape (n_images,), optional
            Labels of the pictures, kept as a coordinate.

        Returns
        -------
        xarray.Dataset
            Counts by layer, with the dimensions ``picture``, ``conv1_channel``,
            ``conv1_y``, ``conv1_x`` and so on.

        Raises
        ------
        InputError
            If there is not one label for each picture.
        MissingLibraryError
            If xarray is not installed.
        """
        from cnn2snn_brian.exports import to_xarray

        return to_xarray(self, labels)

    def inspect(
        self,
        path: str | os.PathLike[str],
        images: Any = None,
        labels: Any = None,
        cnn: Any = None,
        classes: Sequence[str] | None = None,
        pictures: Iterable[int] | None = None,
        layers: Iterable[str] | None = None,
        title: str = "Spikes of a converted CNN",
    ) -> Path:
        """
        Write one HTML file to look into this result with a browser.

        It shows rasters, rates, feature maps beside the CNN's, the picture and the
        output spikes, up to a time that a slider sets. It needs no network.

        Parameters
        ----------
        path : path-like
            The HTML file.
        images : ndarray, shape (n_images, channels, height, width), optional
            All pictures that were simulated, float in [0, 1] or uint8.
        labels : array_like of int, shape (n_images,), optional
            Their classes.
        cnn : Layers, SpikingNetwork, nn.Module or dict of str to ndarray, optional
            The CNN to compare with, or its activations by layer, of shape (n_images or
            number of `pictures`, ``*layer.shape``).
        classes : sequence of str, optional
            Names of the output neurons; numbers by default.
        pictures : iterable of int, optional
            Indices of the pictures to look into; by default the first 20 of those of
            which layers were recorded.
        layers : iterable of str, optional
            Layers to look into; all by default.
        title : str
            Heading of the page.

        Returns
        -------
        Path
            The file. It is written whole or not at all.

        Raises
        ------
        InputError
            If something does not fit the result, or the data would be larger than
            256 MB.
        MissingLibraryError
            If Bokeh is not installed.
        FileNotFoundError
            If the folder of `path` does not exist.
        """
        from cnn2snn_brian.inspector import write_inspector

        return write_inspector(
            self, path, images, labels, cnn, classes, pictures, layers, title
        )

    def __str__(self) -> str:
        lines = [
            f"{self.n_images} pictures, {self.n_steps} steps of {1e3 * self.dt_s:g} ms,"
            f" seed {self.seed}",
            f"{self.n_events:,} synaptic events, {self.timings.get('run', 0):.2f} s",
            f"{int(self.ties.sum())} ties for the most output spikes, of these "
            f"{int(self.silent.sum())} without any output spike",
        ]
        return "\n".join(lines)
