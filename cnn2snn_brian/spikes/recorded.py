"""Recorded spikes and potentials, and trials: by time, by neuron, by stimulus."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second
from brian2.units import have_same_dimensions

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import Shape, from_neurons
from cnn2snn_brian.layers.receptive_fields import ReceptiveFields
from cnn2snn_brian.spikes.counts import IntArray, Potentials, SpikeTrains
from cnn2snn_brian.spikes.trials import Trials

__all__ = ["RecordedSpikes"]


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
            message = (
                f"spikes of {layer!r} were not recorded for image {image}; recorded "
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
            message = (
                f"potentials of {layer!r} were not recorded for image {image}; "
                f"recorded are {', '.join(found) or 'none'}. Ask for them: run(..., "
                f"record=Recording(potentials={{{layer!r}: [position, ...]}}))"
            )
            raise InputError(message)
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
            message = (
                f"bin is {bin}, expected a multiple of the time step "
                f"{1e3 * self.dt_s:g} ms, up to {1e3 * self.n_steps * self.dt_s:g} ms"
            )
            raise InputError(message)
        return width
