"""Results of a simulation: what users hold, save, export and look into."""

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cnn2snn_brian.look.inspector import write_inspector
from cnn2snn_brian.results.exports import to_neo, to_xarray
from cnn2snn_brian.results.hdf5 import load_result, save_result
from cnn2snn_brian.results.nwb import to_nwb
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
            Labels of *all* pictures of the result, or of the stimuli, kept as
            annotations.
        layers : iterable of str, optional
            Layers; by default all that were recorded.
        silent : bool
            Whether neurons without a spike have a SpikeTrain too, an empty one.

        Returns
        -------
        neo.Block
            A Segment for each picture or trial, a Group for each layer; SpikeTrains
            annotated with layer, channel, y, x, picture and label, and with stimulus
            and repeat of trials.

        Raises
        ------
        InputError
            If there is not one label for each picture, or a layer was not recorded for
            a picture.
        MissingLibraryError
            If Neo is not installed.
        """
        return to_neo(self, pictures, labels, layers, silent=silent)

    def to_xarray(self, labels: Any = None, bin: Any = None) -> Any:
        """
        Make an xarray Dataset of spike counts, see `exports.to_xarray`.

        Parameters
        ----------
        labels : sequence of int or str, shape (n_images,), optional
            Labels of the pictures, or of the stimuli, kept as a coordinate.
        bin : Quantity [s], optional
            Width of bins of time; with it, there are also spikes over time of layers
            that were recorded, ``conv1_over_time``.

        Returns
        -------
        xarray.Dataset
            Counts by layer, with the dimensions ``picture`` (or ``stimulus`` and
            ``trial``), ``conv1_channel``, ``conv1_y``, ``conv1_x`` and so on.

        Raises
        ------
        InputError
            If there is not one label for each picture.
        MissingLibraryError
            If xarray is not installed.
        """
        return to_xarray(self, labels, bin)

    def to_nwb(
        self,
        path: str | os.PathLike[str],
        layers: Iterable[str] | None = None,
        *,
        silent: bool = True,
        start: datetime | None = None,
    ) -> None:
        """
        Write recorded spikes and trials to an NWB file, see `nwb.to_nwb`.

        Parameters
        ----------
        path : path-like
            The file, by custom with the suffix ``.nwb``. It is written whole or not at
            all.
        layers : iterable of str, optional
            Layers; by default all that were recorded.
        silent : bool
            Whether neurons without a spike are units too.
        start : datetime, optional
            When the session started, with a time zone; now by default.

        Raises
        ------
        InputError
            If a layer was not recorded, or `start` has no time zone.
        MissingLibraryError
            If pynwb is not installed.
        FileNotFoundError
            If the folder of `path` does not exist.
        WriteError
            If the disk is full, or the like.
        """
        to_nwb(self, path, layers, silent=silent, start=start)

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
