"""Results of a simulation: what users hold, save, export and look into."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.inspector import write_inspector
from cnn2snn_brian.projections import Places, column, sample
from cnn2snn_brian.results import exports, nwb
from cnn2snn_brian.results import neo as assemblies
from cnn2snn_brian.results import neo as pynapple
from cnn2snn_brian.results.columns import Session
from cnn2snn_brian.results.hdf5 import load_result, save_result
from cnn2snn_brian.spikes import SpikeData


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
        WriteError
            If the disk is full, or the like.
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

    to_neo = exports.to_neo
    to_xarray = exports.to_xarray
    to_nwb = nwb.to_nwb
    to_pynapple = pynapple.to_pynapple
    to_assembly = assemblies.to_assembly
    to_rsatoolbox = assemblies.to_rsatoolbox

    def column(
        self,
        y: float | None = None,
        x: float | None = None,
        layers: Iterable[str] | None = None,
    ) -> Places:
        """
        Choose neurons that see one point of the image, see `Network.column`.

        Parameters
        ----------
        y, x : float, optional
            The point in pixels; the centre of the image by default.
        layers : iterable of str, optional
            Layers of channels (or ``input``); by default those that were recorded.

        Returns
        -------
        dict of str to list of tuple of int
            By layer, (channel, y, x): what exports take as ``neurons``.

        Raises
        ------
        InputError
            If the point is outside of the image, a layer is unknown or linear, or the
            file of the result does not say what its neurons see.
        """
        if not self.receptive_fields:
            raise InputError("version 0.1.0 saved this result without receptive fields")
        if layers is None:
            known = Session(self).layers
            layers = [name for name in known if len(self.shapes[name]) == 3]
        return column(self.receptive_fields, self.shapes, y, x, layers)

    def sample(
        self, n: int, seed: int = 0, layers: Iterable[str] | None = None
    ) -> Places:
        """
        Choose some neurons of each layer at random, see `Network.sample`.

        Parameters
        ----------
        n : int
            Neurons of each layer; of a smaller layer all.
        seed : int
            Seed.
        layers : iterable of str, optional
            Layers (or ``input``); by default those that were recorded.

        Returns
        -------
        dict of str to list of tuple of int
            By layer, (channel, y, x) or (unit,): what exports take as ``neurons``.

        Raises
        ------
        InputError
            If `n` or `seed` is no whole number, or a layer is unknown.
        """
        known = Session(self).layers if layers is None else layers
        return sample(self.shapes, n, seed, known)

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
        stimuli: Any = None,
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
        cnn : Network, SpikingNetwork, nn.Module or dict of str to ndarray, optional
            The CNN to compare with, or its activations by layer, of shape (n_images or
            number of `pictures`, ``*layer.shape``).
        classes : sequence of str, optional
            Names of the output neurons; by default the network's, or numbers.
        pictures : iterable of int, optional
            Indices of the pictures to look into; by default the first 20 of those of
            which layers were recorded.
        layers : iterable of str, optional
            Layers to look into; all by default.
        title : str
            Heading of the page.
        stimuli : Stimulus or sequence of Stimulus, optional
            Of a result of trials, what was shown: the page has the frame at its cursor.

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
        WriteError
            If the disk is full, or the like.
        """
        return write_inspector(
            self, path, images, labels, cnn, classes, pictures, layers, title, stimuli
        )
