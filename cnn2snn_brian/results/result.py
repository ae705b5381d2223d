"""What a simulation measured, and what follows from it by counting."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_choice, check_whole, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.inspector import write_inspector
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import (
    INPUT,
    Places,
    ReceptiveFields,
    Shape,
    column,
    sample,
)
from cnn2snn_brian.results import exports, hdf5, nwb
from cnn2snn_brian.results.measures import (
    Decisions,
    IntArray,
    Potentials,
    Recorded,
    RecordedSpikes,
    SpikeCounts,
    Trials,
    class_numbers,
    counted,
    decisions,
    earliest,
    tally,
)
from cnn2snn_brian.settings import (
    Parameters,
    Perturbations,
    run_settings,
    shown,
    shown_kind,
)

#: A neuron that spikes in more than this share of the steps is saturated.
SATURATED = 0.9

#: Of more classes, only the first are named.
MAX_CLASSES = 10

Readout = Literal["spikes", "spikes+potential"]


@dataclass(frozen=True)
class SimulationResult(Printed):
    """
    What a simulation of images found, as plain numpy.

    ``print(result)`` shows what was run, and
    ``simulator.run(images, **result.settings)`` repeats it.

    Attributes
    ----------
    spike_counts : SpikeCounts
        Spikes of every neuron by layer, int32 of shape (n_images, channels, height,
        width) or (n_images, n). With Poisson input, also of ``input``. All spikes of a
        burst count; spikes that were taken back don't (see `BurstIF`).
    output_potentials : ndarray of float, shape (n_images, n_outputs)
        Potential left in the last layer.
    events : dict of str to ndarray of int64, shape (n_images,)
        Synaptic events delivered into each layer: additions of a weight. A burst, or a
        correction, adds a weight once, times its spikes.
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
        A burst of `n` spikes is there `n` times.
    recorded_potentials : dict of (str, int) to (ndarray, ndarray)
        Of a layer and an image, neurons and their potentials, (n_steps, n_neurons);
        of other variables too, by names as ``"readers.w"``.
    weights : dict of str to ndarray of float64
        Learned weights of layers that have a rule of plasticity: at the end of the run,
        or, if weights were reset for each trial, at the end of each, along a first
        axis. Of a `Linear` (n_out, n_in) as in torch, else (n_synapses,) in the order
        of the Brian2 synapses.
    trials : Trials or None
        What the rows are if stimuli were shown: ``n_images`` is the number of trials
        then, and ``duration_s`` that of the longest.
    windows : tuple of (int, int)
        Steps that were recorded, from the first to the one after the last; empty if
        all were. The last layer's spikes are recorded all the time.
    interval : int
        Steps from one recorded potential to the next.
    burst_counts : SpikeCounts
        As `spike_counts`, bursts (and corrections) in place of spikes; empty if no
        neurons send bursts.
    corrections : SpikeCounts
        Spikes that were taken back; empty if neurons can't.
    recorded_corrections : dict of (str, int) to (ndarray of int32, ndarray of int32)
        As `recorded`, of spikes that were taken back.

    Notes
    -----
    A row of a result is an image, or a trial if stimuli were shown. Exports (the
    methods ``to_...``) have these arguments in common:

    layers : iterable of str, optional
        Layers (or ``input``); by default those of `neurons`, or all that were recorded.
    neurons : dict of str to iterable of tuple of int, optional
        Neurons of a layer, (channel, y, x) or (unit,), as `column` and `sample` give
        them; by default all. Those of other layers are left out.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel; with it, receptive fields are given in
        degrees too.
    labels : sequence of int or str, optional
        Labels of *all* rows, or of the stimuli.
    bin : Quantity [s], optional
        Width of bins of time, for spikes over time. A bin that was not recorded as a
        whole, or is past the end of its stimulus, is NaN, in float64.
    silent : bool
        Whether neurons without a spike are exported too.

    And these columns (or annotations, coordinates, metadata). Neurons have ``layer``,
    ``channel`` (the unit, in a linear layer), ``y`` and ``x`` (-1 in a linear layer),
    and the centre and the size of the receptive field in pixels: ``rf_y``, ``rf_x``,
    ``rf_height``, ``rf_width``. Rows have ``stimulus`` (its index), ``stimulus_name``,
    ``repeat``, ``prediction``, ``label``, and all parameters that the stimulus was made
    with. Items of a `Sequence` have their onset, their duration and a ``label``.
    ``settings`` is JSON, see `read_settings`.

    All raise `InputError` if a layer or neuron does not exist, was not recorded or is
    named twice, or there is not one label for each row, and `MissingLibraryError` if
    their library is not installed.
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
    recorded: Recorded = field(repr=False)
    recorded_potentials: Recorded = field(default_factory=dict, repr=False)
    weights: dict[str, npt.NDArray[np.float64]] = field(
        default_factory=dict, repr=False
    )
    trials: Trials | None = field(default=None, repr=False)
    windows: tuple[tuple[int, int], ...] = ()
    interval: int = 1
    burst_counts: SpikeCounts = field(default_factory=lambda: SpikeCounts({}, {}))
    corrections: SpikeCounts = field(default_factory=lambda: SpikeCounts({}, {}))
    recorded_corrections: Recorded = field(default_factory=dict, repr=False)

    save = hdf5.save
    load = classmethod(hdf5.load)
    to_neo = exports.to_neo
    to_pynapple = exports.to_pynapple
    to_xarray = exports.to_xarray
    to_assembly = exports.to_assembly
    to_rsatoolbox = exports.to_rsatoolbox
    to_nwb = nwb.to_nwb
    inspect = write_inspector

    @property
    def n_images(self) -> int:
        """Number of images, or of trials."""
        return len(self.output_potentials)

    @property
    def n_steps(self) -> int:
        """Number of time steps of an image, or of the longest trial."""
        return round(self.duration_s / self.dt_s)

    @property
    def output_layer(self) -> str:
        """Name of the last layer."""
        return list(self.parameters.thresholds or self.spike_counts)[-1]

    @property
    def output_threshold(self) -> float:
        """Threshold of the last layer."""
        return self.parameters.thresholds[self.output_layer]

    @property
    def n_events(self) -> int:
        """Synaptic events delivered, of all layers and images."""
        return int(sum(events.sum() for events in self.events.values()))

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

    @cached_property
    def rows(self) -> Trials:
        """What each row is: a trial, of a stimulus or of an image."""
        if self.trials is not None:
            return self.trials
        names = tuple(f"image {k}" for k in range(self.n_images))
        return Trials(1, (self.n_steps,) * self.n_images, names)

    @property
    def n_repeats(self) -> int:
        """Trials of each stimulus; 1 for images."""
        return self.rows.n_repeats

    @property
    def stimulus_of_row(self) -> npt.NDArray[np.int64]:
        """Index of the stimulus (or image) of each row, of shape (n_images,)."""
        return self.rows.stimulus_of_row

    @property
    def repeat_of_row(self) -> npt.NDArray[np.int64]:
        """Which repeat of its stimulus each row is, from 0, of shape (n_images,)."""
        return self.rows.repeat_of_row

    @property
    def steps_of_row(self) -> npt.NDArray[np.int64]:
        """Steps of each row, of shape (n_images,)."""
        return self.rows.steps_of_row

    @cached_property
    def receptive_fields(self) -> dict[str, ReceptiveFields]:
        """What the neurons see, by layer; empty in a file of version 0.1.0."""
        stored = self.network.get("receptive_fields", {})
        return {name: ReceptiveFields.of(own) for name, own in stored.items()}

    @property
    def pairs(self) -> dict[str, str]:
        """Names of OFF cells by those of their ON cells; see `convert`."""
        return dict(self.network.get("pairs", {}))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of an image, (channels, height, width)."""
        return tuple(self.network.get("image_shape", self.shapes.get(INPUT, ())))

    @property
    def recorded_layers(self) -> list[str]:
        """Layers whose spikes were recorded, in the order of the network."""
        found = {name for name, _ in self.recorded}
        return [name for name in self.shapes if name in found]

    def column(
        self,
        y: float | None = None,
        x: float | None = None,
        layers: Iterable[str] | None = None,
    ) -> Places:
        """
        Choose the neurons of all channels that see one point of the image.

        See `Network.column`; by default, layers are those that were recorded.

        Parameters
        ----------
        y, x, layers
            As of `Network.column`; also ``input``.

        Returns
        -------
        dict of str to list of tuple of int
            By layer, (channel, y, x): what exports take as ``neurons``.

        Raises
        ------
        InputError
            As of `Network.column`, or if version 0.1.0 saved the result.
        """
        if not self.receptive_fields:
            raise InputError("version 0.1.0 saved this result without receptive fields")
        if layers is None:
            layers = [n for n in self.recorded_layers if len(self.shapes[n]) == 3]
        return column(self.receptive_fields, self.shapes, y, x, layers)

    def sample(
        self, n: int, seed: int = 0, layers: Iterable[str] | None = None
    ) -> Places:
        """
        Choose some neurons of each layer at random.

        See `Network.sample`; by default, layers are those that were recorded.

        Parameters
        ----------
        n, seed, layers
            As of `Network.sample`; also ``input``.

        Returns
        -------
        dict of str to list of tuple of int
            By layer, (channel, y, x) or (unit,): what exports take as ``neurons``.

        Raises
        ------
        InputError
            As of `Network.sample`.
        """
        chosen = self.recorded_layers if layers is None else layers
        return sample(self.shapes, n, seed, chosen)

    def recorded_steps(
        self, image: int, layer: str | None = None
    ) -> npt.NDArray[np.int64]:
        """
        Say in which steps spikes and potentials were recorded.

        Parameters
        ----------
        image : int
            Index of the image or trial.
        layer : str, optional
            Whose spikes: those of the last layer are recorded in all steps.

        Returns
        -------
        ndarray of int64, shape (n_recorded_steps,)
            The steps, those of the windows that were asked for.
        """
        steps = np.arange(self.steps_of_row[image])
        if not self.windows or layer == self.output_layer:
            return steps
        return np.concatenate([steps[start:stop] for start, stop in self.windows])

    def spikes(self, layer: str, image: int) -> RecordedSpikes:
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
        RecordedSpikes
            Times, neurons and positions.

        Raises
        ------
        InputError
            If the layer was not recorded for this image.
        """
        neuron, step = self._found("spikes", layer, image, f"[{layer!r}]")
        return RecordedSpikes(step * self.dt_s, neuron, self._positions(layer, neuron))

    def numbered_spikes(
        self, layer: str
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """
        Give all recorded spikes of a layer, row after row.

        Parameters
        ----------
        layer : str
            A layer that was recorded in each row, or ``input``.

        Returns
        -------
        row, neuron, step : ndarray of int64, shape (n_spikes,)
            Row, place in the layer's arrays, (channel, y, x) in a row, and time step.

        Raises
        ------
        InputError
            If the layer was not recorded in each row.
        """
        spikes = [self._places_and_steps(layer, row) for row in range(self.n_images)]
        row = np.repeat(np.arange(self.n_images), [len(step) for _, step in spikes])
        neuron, step = map(np.concatenate, zip(*spikes, strict=True))
        return row, neuron.astype(np.int64), step.astype(np.int64)

    def _places_and_steps(self, layer: str, image: int) -> tuple[IntArray, IntArray]:
        """Give neurons, as places in the layer's arrays, and steps of their spikes."""
        neuron, step = self._found("spikes", layer, image, f"[{layer!r}]")
        at = self._positions(layer, neuron)
        return np.ravel_multi_index(at, self.shapes[layer]), step

    def _found(
        self, what: str, layer: str, image: int, asked: str
    ) -> tuple[IntArray, npt.NDArray[Any]]:
        """Give neurons and steps of recorded spikes, or neurons and potentials."""
        recorded = self.recorded if what == "spikes" else self.recorded_potentials
        if (layer, image) not in recorded:
            found = sorted({name for name, _ in recorded})
            raise InputError(
                f"{what} of {layer!r} were not recorded for image {image}; recorded "
                f"are {', '.join(found) or 'none'}. Ask for them: run(..., "
                f"record={asked})"
            )
        return recorded[layer, image]

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
        asked = f"Recording(potentials={{{layer!r}: [position, ...]}})"
        return self._trace("potentials", layer, image, asked)

    def variable(self, population: str, name: str, image: int) -> Potentials:
        """
        Give a recorded state variable of a population.

        Parameters
        ----------
        population : str
            Name of a layer or an added group.
        name : str
            Name of its variable.
        image : int
            Index of the image or trial.

        Returns
        -------
        Potentials
            Times, values (in SI units, as ``v``) and positions.

        Raises
        ------
        InputError
            If the variable was not recorded for this image.
        """
        asked = f"Recording(variables={{{population!r}: [{name!r}]}})"
        key = population if name == "v" else f"{population}.{name}"
        return self._trace("variables", key, image, asked)

    def _trace(self, what: str, key: str, image: int, asked: str) -> Potentials:
        neuron, values = self._found(what, key, image, asked)
        steps = self.recorded_steps(image)
        steps = steps[steps % self.interval == 0]
        t = self.dt_s * (steps + 1).astype(np.float64)
        return Potentials(t, values, self._positions(key.partition(".")[0], neuron))

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
        row, neuron, step = self.numbered_spikes(layer)
        shape = self.n_images, -(-self.n_steps // width), math.prod(self.shapes[layer])
        counts = tally((row, step // width, neuron), shape)
        return counts.reshape(*shape[:2], *self.shapes[layer])

    def psth(self, layer: str, bin: Any) -> npt.NDArray[np.float64]:
        r"""
        Give the peri-stimulus time histogram of every neuron.

        Parameters
        ----------
        layer : str
            A layer that was recorded, or ``input``.
        bin : Quantity [s]
            As of `binned`; the rate in a shorter last bin refers to its own width.

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
        row, neuron, step = self.numbered_spikes(layer)
        steps = np.bincount(np.arange(self.n_steps) // width)
        shape = self.rows.n_stimuli, len(steps), math.prod(self.shapes[layer])
        counts = tally((self.stimulus_of_row[row], step // width, neuron), shape)
        rates = counts / (self.n_repeats * self.dt_s * steps)[:, None]
        rates[~self.complete_bins(layer, bin)[:: self.n_repeats]] = np.nan
        return rates.reshape(*shape[:2], *self.shapes[layer])

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
        row, neuron, step = self.numbered_spikes(layer)
        shape = self.n_images, math.prod(self.shapes[layer])
        first = earliest((row, neuron), step * self.dt_s, shape)
        return first.reshape(self.n_images, *self.shapes[layer])

    def complete_bins(self, layer: str, bin: Any) -> npt.NDArray[np.bool_]:
        """
        Say which bins of time were recorded as a whole.

        Parameters
        ----------
        layer : str
            Name of the layer, or ``input``.
        bin : Quantity [s]
            As of `binned`.

        Returns
        -------
        ndarray of bool, shape (n_images, n_bins)
            False also past the end of a stimulus.

        Raises
        ------
        InputError
            If the bin can't be used.
        """
        width = self._steps_of_bin(bin)
        all_steps = np.bincount(np.arange(self.n_steps) // width)
        known = (self.recorded_steps(row, layer) for row in range(self.n_images))
        counts = [np.bincount(own // width, minlength=len(all_steps)) for own in known]
        return np.asarray(np.stack(counts) == all_steps)

    def _steps_of_bin(self, bin: Any) -> int:
        """Check the width of a bin."""
        steps = seconds("bin", bin, plain=False, above=0) / self.dt_s
        width = round(steps)
        if abs(steps - width) > 1e-6 * max(1, width) or not 1 <= width <= self.n_steps:
            raise InputError(
                f"bin is {bin}, expected a multiple of the time step "
                f"{1e3 * self.dt_s:g} ms, up to {1e3 * self.n_steps * self.dt_s:g} ms"
            )
        return width

    @cached_property
    def _final_counts(self) -> npt.NDArray[np.int64]:
        counts = self.spike_counts[self.output_layer]
        return counts.reshape(self.n_images, -1).astype(np.int64)

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
        check_choice("readout", readout, get_args(Readout))
        potentials = self.output_potentials.reshape(self.n_images, -1)
        if readout == "spikes":
            return np.where(self._is_best, potentials, -np.inf).argmax(1)
        return (self._final_counts + potentials / self.output_threshold).argmax(1)

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
        truth = class_numbers(labels, self.n_images)
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
        time = seconds("t", t)
        if not 0 <= time <= self.duration_s * (1 + 1e-9):
            raise InputError(
                f"t is {time} s, expected 0 to the duration, {self.duration_s} s"
            )
        shape, end = self._final_counts.shape, round(time / self.dt_s)
        found = np.zeros(shape, np.int64)
        for image, counts in enumerate(found):
            unit, step, sign = self.output_spikes(image)
            counts += tally((unit[step < end],), shape[1:], sign[step < end])
        return found

    def output_spikes(self, image: int) -> tuple[IntArray, IntArray, IntArray]:
        """
        Give the spikes of the last layer.

        Parameters
        ----------
        image : int
            Index of the image.

        Returns
        -------
        unit, step, sign : ndarray of int, shape (n_spikes,)
            Place in the layer's array, time step, and -1 if a spike was taken back,
            else 1.
        """
        layer = self.output_layer
        neuron, step = self.recorded[layer, image]
        taken = self.recorded_corrections.get((layer, image), (neuron[:0], step[:0]))
        sign = np.repeat([1, -1], [len(step), len(taken[1])])
        at = self._positions(layer, np.append(neuron, taken[0]))
        unit = np.ravel_multi_index(at, self.shapes[layer])
        return unit, np.append(step, taken[1]), sign

    def decide(self, margin: int) -> Decisions:
        """
        Decide on each image as soon as one class leads by a margin.

        Parameters
        ----------
        margin : int
            Output spikes by which the leading class has to be ahead of the second.

        Returns
        -------
        Decisions
            The step and the class of each decision, and the mean number of steps.

        Raises
        ------
        InputError
            If the margin is not a whole number of at least 1, or there is only one
            class.
        """
        margin = check_whole("margin", margin, 1)
        n_classes = self._final_counts.shape[1]
        if n_classes < 2:
            raise InputError(f"{n_classes} class, expected at least 2")
        spikes, final = map(self.output_spikes, range(self.n_images)), self.predictions
        return decisions(margin, spikes, final, self.steps_of_row, n_classes)

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
        n_outputs = self._final_counts.shape[1]
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
        truth = class_numbers(labels, self.n_images)
        correct = np.zeros(self.n_steps)
        n_classes = self._final_counts.shape[1]
        for image, label in enumerate(truth):
            unit, step, sign = self.output_spikes(image)
            counts = counted(unit, step, self.n_steps, n_classes, sign)
            correct += (counts.argmax(1) == label) & (counts.max(1) > 0)
        return correct / self.n_images

    def __repr__(self) -> str:
        events = f"{self.n_events:,} synaptic events"
        return f"{type(self).__name__}({self._summary()[0]}, {events})"

    def _parts(self) -> list[str]:
        return ["\n".join(self._summary())]

    def _summary(self) -> list[str]:
        """Describe the result, a line for each thing."""
        rows = f"{self.n_images} images, "
        if self.trials is not None:
            n = self.trials.n_stimuli
            rows = (
                f"{n} stimul{'i' if n > 1 else 'us'}, {self.n_repeats} trials of each, "
            )
            rows += "" if len({*self.trials.n_steps}) == 1 else "at most "
        lines = [
            f"{rows}{self.n_steps} steps of {1e3 * self.dt_s:g} ms, seed {self.seed}"
        ]
        if self.parameters.thresholds:
            lines += [
                f"{self.n_events:,} synaptic events, "
                f"{self.timings.get('run', 0):.2f} s",
                f"{self.ties.sum()} ties for the most output spikes, of these "
                f"{self.silent.sum()} without any output spike",
            ]
        added = [n for n in self.spike_counts if n not in self.parameters.thresholds]
        for name in added:
            if name != INPUT:
                mean = self.spike_counts[name].sum() / self.n_images
                lines.append(f"{name}: {mean:,.1f} spikes in a trial")
        if (network := self.network) and self.parameters.thresholds:
            kinds = shown_kind(network["synapses"])
            names = ", ".join(self.parameters.thresholds)
            lines += [
                f"encoding {network['encoding']}, reset {network['reset']}, synapses "
                f"{kinds}, dtype {network['dtype']}",
                f"layers: {names}, hash of their weights {network['layers'][:8]}",
            ]
            delays = (f"{k} {1e3 * v:g} ms" for k, v in network["delays_s"].items())
            lines += [f"delays: {', '.join(delays)}"] if network["delays_s"] else []
        if classes := self.network.get("classes"):
            n_more = len(classes) - MAX_CLASSES
            more = f" and {n_more} more" if n_more > 0 else ""
            lines.append(f"classes: {', '.join(classes[:MAX_CLASSES])}{more}")
        formerly = ["saved by version 0.1.0, which kept no lesions and no noise"]
        own = self.perturbations
        lines += shown(self.parameters) + (formerly if own is None else shown(own))
        versions = (f"{name} {version}" for name, version in self.versions.items())
        lines.append(f"versions: {', '.join(versions)}")
        if self.program:
            compiler, flags = self.program["compiler"], self.program["flags"]
            lines.append(f"compiled: {compiler} {flags}")
        return lines
