"""What a simulation measured, and what follows from it by counting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rich.table import Table

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.description.perturbations import Perturbations
from cnn2snn_brian.description.run_settings import run_settings
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import Shape
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.spikes.counts import IntArray, SpikeCounts
from cnn2snn_brian.spikes.decision import Decisions, decisions
from cnn2snn_brian.spikes.numbers import class_numbers, seconds
from cnn2snn_brian.spikes.recorded import RecordedSpikes
from cnn2snn_brian.spikes.summary import summary
from cnn2snn_brian.spikes.trials import Trials

__all__ = ["SATURATED", "Readout", "SpikeData"]

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
            message = f"t is {time} s, expected 0 to the duration, {self.duration_s} s"
            raise InputError(message)
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
            message = f"{n_classes} class, expected at least 2"
            raise InputError(message)
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
            message = f"{n_outputs} output neurons, but {len(names)} class names"
            raise InputError(message)
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
