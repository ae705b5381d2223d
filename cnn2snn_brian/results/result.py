"""Results of a simulation: what users hold, save, export and look into."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.look.inspector import write_inspector
from cnn2snn_brian.physiology.histograms import psth
from cnn2snn_brian.physiology.latencies import first_spike
from cnn2snn_brian.results.exports import to_neo, to_xarray
from cnn2snn_brian.results.hdf5 import load_result, save_result
from cnn2snn_brian.spikes.data import SpikeData

__all__ = ["SimulationResult"]


class SimulationResult(SpikeData):
    """
    What a simulation of images found.

    Its fields are those of `SpikeData`, all plain numpy: ``spike_counts``,
    ``output_potentials``, ``events``, ``parameters``, ``perturbations``, ``network``
    and others. ``print(result)`` shows what was run, and
    ``simulator.run(images, **result.settings)`` repeats it.
    """

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
        return cls(**load_result(path))

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
        return to_xarray(self, labels)

    def psth(self, layer: str, bin: Any) -> npt.NDArray[np.float64]:
        """
        Compute firing rates over time, see `physiology.psth`.

        Parameters
        ----------
        layer : str
            A layer that was recorded, or ``input``.
        bin : Quantity [s] or float
            Width of a time bin, a multiple of the time step.

        Returns
        -------
        ndarray of float64, shape (n_stimuli, n_bins, ``*layer.shape``)
            Rates in Hz, the mean of all trials of a stimulus.

        Raises
        ------
        InputError
            If the layer was not recorded in each trial, or a trial is no whole number
            of bins.
        """
        rate = np.moveaxis(psth(self, layer, bin=bin).rate_hz, 2, 1)
        return rate.reshape(*rate.shape[:2], *self.shapes[layer])

    def first_spike(self, layer: str) -> npt.NDArray[np.float64]:
        """
        Give the time of the first spike of every neuron, see `physiology.first_spike`.

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
        return first_spike(self, layer).reshape(-1, *self.shapes[layer])

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
        return write_inspector(
            self, path, images, labels, cnn, classes, pictures, layers, title
        )
