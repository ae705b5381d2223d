"""What a simulation measured, and what follows from it by counting."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second
from brian2.units import have_same_dimensions
from rich.table import Table

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed, short_fields
from cnn2snn_brian.projections import ReceptiveFields, Shape, from_neurons
from cnn2snn_brian.settings import Parameters, Perturbations, run_settings
from cnn2snn_brian.spikes.measures import (
    Decisions,
    Trials,
    class_numbers,
    decisions,
    seconds,
    summary,
)

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class SpikeTrains(Printed):
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
        return from_neurons(self._raw[name].astype(np.int32), self._shapes[name])

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
        shapes = {
            name: (len(raw), *self._shapes[name]) for name, raw in self._raw.items()
        }
        return f"SpikeCounts({', '.join(f'{k} {v}' for k, v in shapes.items())})"


class RecordedSpikes:
    """What a result says of single spikes. `SpikeData` has the fields."""

    dt_s: float
    network: Mapping[str, Any]
    shapes: dict[str, Shape]
    recorded: dict[tuple[str, int], tuple[IntArray, IntArray]]
    recorded_potentials: dict[tuple[str, int], tuple[IntArray, npt.NDArray[np.float32]]]
    trials: Trials | None
    windows: tuple[tuple[int, int], ...]

    @property
    def n_images(self) -> int:
        """Number of images, or of trials."""
        raise NotImplementedError

    @property
    def n_steps(self) -> int:
        """Number of time steps of an image, or of the longest trial."""
        raise NotImplementedError

    @property
    def output_layer(self) -> str:
        """Name of the last layer."""
        raise NotImplementedError

    @property
    def n_repeats(self) -> int:
        """Trials of each stimulus; 1 for images."""
        return 1 if self.trials is None else self.trials.n_repeats

    @property
    def stimulus_of_row(self) -> npt.NDArray[np.int64]:
        """Index of the stimulus (or image) of each row, of shape (n_images,)."""
        if self.trials is None:
            return np.arange(self.n_images)
        return self.trials.stimulus_of_row

    @property
    def repeat_of_row(self) -> npt.NDArray[np.int64]:
        """Which repeat of its stimulus each row is, from 0, of shape (n_images,)."""
        if self.trials is None:
            return np.zeros(self.n_images, np.int64)
        return self.trials.repeat_of_row

    @property
    def steps_of_row(self) -> npt.NDArray[np.int64]:
        """Steps of each row, of shape (n_images,)."""
        if self.trials is None:
            return np.full(self.n_images, self.n_steps)
        return self.trials.steps_of_row

    @cached_property
    def receptive_fields(self) -> dict[str, ReceptiveFields]:
        """What the neurons see, by layer; empty in a file of version 0.1.0."""
        stored = self.network.get("receptive_fields", {})
        return {name: ReceptiveFields.of(own) for name, own in stored.items()}

    def recorded_steps(self, image: int) -> npt.NDArray[np.int64]:
        """
        Say in which steps spikes and potentials were recorded.

        Parameters
        ----------
        image : int
            Index of the image or trial.

        Returns
        -------
        ndarray of int64, shape (n_recorded_steps,)
            The steps, those of the windows that were asked for; of spikes of the last
            layer all steps are recorded.
        """
        steps = np.arange(self.steps_of_row[image])
        if not self.windows:
            return steps
        return np.concatenate([steps[start:stop] for start, stop in self.windows])

    def spikes(self, layer: str, image: int) -> SpikeTrains:
        """
        Give the recorded spikes of a layer.

        Parameters
        ----------
        layer : str
            Name of the layer, or ``input``.
        image : int
            Index of the image.

        Returns
        -------
        SpikeTrains
            Times, neurons and positions.

        Raises
        ------
        InputError
            If the layer was not recorded for this image.
        """
        if (layer, image) not in self.recorded:
            found = sorted({name for name, _ in self.recorded})
            raise InputError(
                f"spikes of {layer!r} were not recorded for image {image}; recorded "
                f"are {', '.join(found)}. Ask for them: run(..., record=[{layer!r}])"
            )
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
            Index of the image.

        Returns
        -------
        Potentials
            Times, potentials and positions, neurons in the order they were asked for.

        Raises
        ------
        InputError
            If no potentials of the layer were recorded for this image.
        """
        if (layer, image) not in self.recorded_potentials:
            found = sorted({name for name, _ in self.recorded_potentials})
            raise InputError(
                f"potentials of {layer!r} were not recorded for image {image}; "
                f"recorded are {', '.join(found) or 'none'}. Ask for them: run(..., "
                f"record=Recording(potentials={{{layer!r}: [position, ...]}}))"
            )
        neuron, v = self.recorded_potentials[layer, image]
        t = self.dt_s * (self.recorded_steps(image) + 1).astype(np.float64)
        return Potentials(t, v, self._positions(layer, neuron))

    def binned(self, layer: str, bin: Any) -> npt.NDArray[np.int32]:
        """
        Count the recorded spikes of every neuron in bins of time.

        Parameters
        ----------
        layer : str
            A layer that was recorded in each trial, or ``input``.
        bin : Quantity [s]
            Width of a bin, a multiple of the time step. If no whole number of them
            makes the duration, the last bin is shorter.

        Returns
        -------
        ndarray of int32, shape (n_images, n_bins, ``*layer.shape``)
            Spikes; 0 also where nothing was recorded.

        Raises
        ------
        InputError
            If the layer was not recorded in each trial, or the bin can't be used.
        """
        width = self._steps_of_bin(bin)
        self._recorded(layer, 0)
        n, n_bins = math.prod(self.shapes[layer]), -(-self.n_steps // width)
        counts = np.zeros((self.n_images, n_bins, n), np.int32)
        for row in range(self.n_images):
            counts[row] = self._in_bins(layer, row, width)
        return from_neurons(counts, self.shapes[layer])

    def psth(self, layer: str, bin: Any) -> npt.NDArray[np.float64]:
        r"""
        Give the peri-stimulus time histogram of every neuron.

        Parameters
        ----------
        layer : str
            A layer that was recorded, or ``input``.
        bin : Quantity [s]
            Width of a bin, a multiple of the time step. If no whole number of them
            makes the duration, the last bin is shorter, and its rate is that of its own
            time.

        Returns
        -------
        ndarray of float64, shape (n_stimuli, n_bins, ``*layer.shape``)
            Rates in Hz, the mean of all trials of a stimulus. NaN in bins that were not
            recorded as a whole, or are past the end of a stimulus.

        Raises
        ------
        InputError
            If the layer was not recorded in each trial, or the bin can't be used.

        Notes
        -----
        :math:`r_k = n_k / (R \Delta)`, with the spikes :math:`n_k` of a neuron in bin
        :math:`k` of all :math:`R` trials, and the width :math:`\Delta` of that bin.
        """
        width = self._steps_of_bin(bin)
        self._recorded(layer, 0)
        n_bins, shape = -(-self.n_steps // width), self.shapes[layer]
        steps = np.minimum(width, self.n_steps - width * np.arange(n_bins))
        n_stimuli = self.n_images // self.n_repeats
        n = math.prod(shape)
        rates = np.zeros((n_stimuli, n_bins, n))
        complete = np.zeros((n_stimuli, n_bins), bool)
        for row, stimulus in enumerate(self.stimulus_of_row):
            rates[stimulus] += self._in_bins(layer, row, width)
            known = self.recorded_steps(row)
            if layer == self.output_layer:
                known = np.arange(self.steps_of_row[row])
            known = np.bincount(known // width, minlength=n_bins)
            complete[stimulus] = known == steps
        rates /= (self.n_repeats * self.dt_s * steps)[:, None]
        rates[~complete] = np.nan
        return from_neurons(rates, shape)

    def first_spike(self, layer: str) -> npt.NDArray[np.float64]:
        """
        Give the time of the first recorded spike of every neuron.

        Parameters
        ----------
        layer : str
            A layer that was recorded, or ``input``.

        Returns
        -------
        ndarray of float64, shape (n_images, ``*layer.shape``)
            Seconds since the start of each trial, NaN of neurons without a spike.

        Raises
        ------
        InputError
            If the layer was not recorded in each trial.
        """
        self._recorded(layer, 0)
        times = np.full((self.n_images, math.prod(self.shapes[layer])), np.nan)
        for row in range(self.n_images):
            neuron, step = self._recorded(layer, row)
            # In order of time: the first of each neuron.
            who, first = np.unique(neuron, return_index=True)
            times[row, who] = step[first] * self.dt_s
        return from_neurons(times, self.shapes[layer])

    def _in_bins(self, layer: str, row: int, width: int) -> npt.NDArray[np.int64]:
        """Count spikes in bins of so many steps, (n_bins, n_neurons)."""
        n, n_bins = math.prod(self.shapes[layer]), -(-self.n_steps // width)
        neuron, step = self._recorded(layer, row)
        place = step.astype(np.int64) // width * n + neuron
        return np.bincount(place, minlength=n_bins * n).reshape(n_bins, n)

    def _recorded(self, layer: str, row: int) -> tuple[IntArray, IntArray]:
        """Give neurons and steps of recorded spikes."""
        if (layer, row) not in self.recorded:
            self.spikes(layer, row)  # says what is missing
        return self.recorded[layer, row]

    def _steps_of_bin(self, bin: Any) -> int:
        """Check the width of a bin."""
        is_time = isinstance(bin, Quantity) and have_same_dimensions(bin, second)
        steps = float(bin) / self.dt_s if is_time and np.ndim(bin) == 0 else 0.0
        width = round(steps)
        if abs(steps - width) > 1e-6 * max(1, width) or not 1 <= width <= self.n_steps:
            raise InputError(
                f"bin is {bin}, expected a multiple of the time step "
                f"{1e3 * self.dt_s:g} ms, up to {1e3 * self.n_steps * self.dt_s:g} ms"
            )
        return width


#: A neuron that spikes in more than this share of the steps is saturated.
SATURATED = 0.9

Readout = Literal["spikes", "spikes+potential"]


@dataclass(frozen=True)
class SpikeData(Printed, RecordedSpikes):
    """
    What a simulation of images measured.

    Attributes
    ----------
    spike_counts : SpikeCounts
        Spikes of every neuron by layer, int32 of shape (n_images, channels, height,
        width) or (n_images, n). With Poisson input, also of ``input``.
    output_potentials : ndarray of float, shape (n_images, n_outputs)
        Potential left in the last layer.
    events : dict of str to ndarray of int64, shape (n_images,)
        Synaptic events delivered into each layer.
    duration_s, dt_s : float
        Time of an image, and time step, in seconds.
    seed : int
        Seed of the simulation.
    parameters : Parameters
        What the neurons ran with.
    perturbations : Perturbations or None
        Neuron models, lesions, failing synapses and noise of the run; None in a file of
        version 0.1.0, which did not keep them.
    network : dict of str to object
        What was simulated: encoding, reset, kind of synapses, delays, dtype, names of
        the classes, and a hash of layers and weights. Empty in a file of version 0.1.0.
    program : dict of str to str
        Compiler and flags of the program. Empty in a file of version 0.1.0.
    timings : dict of str to float
        Seconds spent: ``build`` (of the program), ``run``.
    versions : dict of str to str
        Versions of the libraries used.
    shapes : dict of str to tuple of int
        Shapes of the input and of all layers.
    recorded : dict of (str, int) to (ndarray of int32, ndarray of int32)
        Of a layer and an image, neuron and step of each spike.
    recorded_potentials : dict of (str, int) to (ndarray, ndarray)
        Of a layer and an image, neurons and their potentials, (n_steps, n_neurons).
    weights : dict of str to ndarray of float64
        Learned weights of layers that have a rule of plasticity: at the end of the run,
        or, if weights were reset for each trial, at the end of each, along a first
        axis. Of a `Linear` (n_out, n_in) as in torch, else (n_synapses,) in the order
        of the Brian2 synapses.
    trials : Trials or None
        What the rows are if stimuli were shown: ``n_images`` is the number of trials
        then, and ``duration_s`` that of the longest.
    windows : tuple of (int, int)
        Steps that were recorded, from the first to the one behind the last; empty if
        all were. The last layer's spikes are recorded all the time.
    """

    spike_counts: SpikeCounts
    output_potentials: npt.NDArray[np.float64]
    events: dict[str, npt.NDArray[np.int64]]
    duration_s: float
    dt_s: float
    seed: int
    parameters: Parameters
    perturbations: Perturbations | None
    network: Mapping[str, Any]
    program: Mapping[str, str]
    timings: dict[str, float]
    versions: dict[str, str]
    shapes: dict[str, Shape] = field(repr=False)
    recorded: dict[tuple[str, int], tuple[IntArray, IntArray]] = field(repr=False)
    recorded_potentials: dict[
        tuple[str, int], tuple[IntArray, npt.NDArray[np.float32]]
    ] = field(default_factory=dict, repr=False)
    weights: dict[str, npt.NDArray[np.float64]] = field(
        default_factory=dict, repr=False
    )
    trials: Trials | None = field(default=None, repr=False)
    windows: tuple[tuple[int, int], ...] = ()

    @property
    def n_images(self) -> int:
        """Number of images, or of trials."""
        return len(self.output_potentials)

    @property
    def n_steps(self) -> int:
        """Number of time steps of an image, or of the longest trial."""
        return round(self.duration_s / self.dt_s)

    @property
    def output_threshold(self) -> float:
        """Threshold of the last layer."""
        return self.parameters.thresholds[self.output_layer]

    @property
    def settings(self) -> dict[str, Any]:
        """
        What `Simulator.run` needs to repeat this run.

        ``simulator.run(images, **result.settings)`` gives the same spikes, on the same
        network and images. It has the seed, all parameters and all perturbations, and
        the number of repeats if there were several.

        Raises
        ------
        InputError
            If the result is a file of version 0.1.0, which did not keep perturbations.
        """
        return run_settings(
            self.parameters, self.perturbations, self.seed, self.n_repeats
        )

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
        Decide on a class for each image.

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
            raise InputError(
                f"readout={readout!r}: expected 'spikes' or 'spikes+potential'"
            )
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
        """Synaptic events delivered, of all layers and images."""
        return int(sum(events.sum() for events in self.events.values()))

    def accuracy(self, labels: Any, readout: Readout = "spikes") -> float:
        """
        Share of images that are classified correctly.

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
            If there is not one label for each image, or one is a name.
        """
        truth = self._check_labels(labels)
        return float((self.predict(readout) == truth).mean())

    def output_counts(self, t: Any = None) -> npt.NDArray[np.int64]:
        """
        Count output spikes up to a time.

        Parameters
        ----------
        t : Quantity [s] or float, optional
            Time since an image's start (a plain number is in seconds); the whole
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
        time = seconds(t, "t")
        if not 0 <= time <= self.duration_s * (1 + 1e-9):
            raise InputError(
                f"t is {time} s, expected 0 to the duration, {self.duration_s} s"
            )
        n_steps = round(time / self.dt_s)
        counts = np.zeros_like(self._final_counts)
        for image in range(self.n_images):
            neuron, step = self._output_spikes(image)
            counts[image] = np.bincount(neuron[step < n_steps], minlength=len(counts.T))
        return counts

    def _output_spikes(self, image: int) -> tuple[IntArray, IntArray]:
        """Output neurons in the order of `predict`, and steps of their spikes."""
        neuron, step = self.recorded[self.output_layer, image]
        at = self._positions(self.output_layer, neuron)
        return np.ravel_multi_index(at, self.shapes[self.output_layer]), step

    def _check_labels(self, labels: Any) -> npt.NDArray[Any]:
        return class_numbers(labels, self.n_images)

    def decide(self, margin: int) -> Decisions:
        """
        Decide on each image as soon as one class leads by a margin.

        Parameters
        ----------
        margin : int
            So many output spikes has the leading class to be ahead of the second.

        Returns
        -------
        Decisions
            The step and the class of each decision, and the mean number of steps.

        Raises
        ------
        InputError
            If the margin is no whole number of at least 1, or there is only one class.
        """
        n_classes = self._final_counts.shape[1]
        margin = check_whole("margin", margin, 1)
        if n_classes < 2:
            raise InputError(f"{n_classes} class, expected at least 2")
        return decisions(
            margin,
            map(self._output_spikes, range(self.n_images)),
            self.predictions,
            self.steps_of_row,
            n_classes,
        )

    def class_names(self, given: Sequence[str] | None = None) -> list[str]:
        """
        Name the output neurons.

        Parameters
        ----------
        given : sequence of str, optional
            Names to use; by default the network's own, and numbers if it has none.

        Returns
        -------
        list of str
            A name for each.

        Raises
        ------
        InputError
            If there is not one name for each output neuron.
        """
        n_outputs = len(self._final_counts.T)
        known = self.network.get("classes") or range(n_outputs)
        names = known if given is None else given
        if len(names) != n_outputs:
            raise InputError(
                f"{n_outputs} output neurons, but {len(names)} class names"
            )
        return [str(name) for name in names]

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
            Share of correct images had the simulation ended after a step. Of classes
            with equally many spikes, the first counts; an image without output spikes
            counts as wrong.

        Raises
        ------
        InputError
            If there is not one label for each image, or one is a name.
        """
        truth = self._check_labels(labels)
        correct = np.zeros(self.n_steps)
        for image in range(self.n_images):
            neuron, step = self._output_spikes(image)
            counts = np.zeros((self.n_steps, len(self._final_counts.T)), np.int32)
            np.add.at(counts, (step, neuron), 1)
            counts = counts.cumsum(0)
            correct += (counts.argmax(1) == truth[image]) & (counts.max(1) > 0)
        return correct / self.n_images

    def __repr__(self) -> str:
        what, *_ = summary(self).splitlines()
        return f"{type(self).__name__}({what}, {self.n_events:,} synaptic events)"

    def _parts(self) -> list[str | Table]:
        return [summary(self)]
