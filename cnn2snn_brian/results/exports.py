"""Results for other libraries: spike trains for Neo, counts for xarray."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cnn2snn_brian.description.settings import recorded
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.extras import optional_library
from cnn2snn_brian.spikes.data import SpikeData

__all__ = ["to_neo", "to_xarray"]

EXTRA = "export"


def _label_of(labels: Any, n_images: int) -> Sequence[Any] | None:
    if labels is None:
        return None
    if len(labels) != n_images:
        message = f"{n_images} pictures, but {len(labels)} labels"
        raise InputError(message)
    return [
        label.item() if isinstance(label, np.generic) else label for label in labels
    ]


def to_neo(
    result: SpikeData,
    pictures: Iterable[int] | None = None,
    labels: Any = None,
    layers: Iterable[str] | None = None,
    *,
    silent: bool = True,
) -> Any:
    """
    Make a Neo Block of recorded spikes.

    Parameters
    ----------
    result : SpikeData
        A result with recorded layers.
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
        A Segment for each picture, a Group for each layer. Every SpikeTrain is
        annotated with ``layer``, ``channel``, ``y``, ``x``, ``picture`` and ``label``;
        of a linear layer, ``channel`` is the unit, ``y`` and ``x`` are 0. Neurons are
        in the order (channel, y, x). Times are in ms, from 0 to the duration.

    Raises
    ------
    InputError
        If there is not one label for each picture, or a layer was not recorded for a
        picture.
    MissingLibraryError
        If Neo is not installed.
    """
    neo = optional_library("neo", EXTRA, "to_neo")
    truth = _label_of(labels, result.n_images)
    # In the order of the layers, not of the recording.
    names = [
        name for name in result.spike_counts if name in {n for n, _ in result.recorded}
    ]
    if layers is not None:
        names = list(layers)
    if pictures is None:
        chosen = sorted({image for name, image in result.recorded if name in names})
        pairs = [(n, i) for i in chosen for n in names if (n, i) in result.recorded]
    else:
        chosen = list(pictures)
        # A layer that the caller did not name may lack some of the pictures.
        pairs = [
            (name, image)
            for image in chosen
            for name in names
            if layers is not None or (name, image) in result.recorded
        ]
    for image in chosen:
        if not 0 <= image < result.n_images:
            message = f"there is no picture {image}: 0 to {result.n_images - 1}"
            raise InputError(message)
    block = neo.Block(
        name="cnn2snn-brian",
        seed=str(result.seed),
        dt_ms=1e3 * result.dt_s,
        thresholds=recorded(result.parameters)["thresholds"],
    )
    groups = {name: neo.Group(name=name, layer=name) for name in names}
    block.groups.extend(groups.values())
    for image in chosen:
        segment = neo.Segment(name=f"picture {image}", index=image, picture=image)
        segment.annotate(prediction=int(result.predictions[image]))
        if truth is not None:
            segment.annotate(label=truth[image])
        block.segments.append(segment)
        for name in (n for n, i in pairs if i == image):
            trains = _spike_trains(
                result, name, image, None if truth is None else truth[image], silent
            )
            segment.spiketrains.extend(trains)
            groups[name].spiketrains.extend(trains)
    return block


def _spike_trains(
    result: SpikeData, layer: str, image: int, label: Any, silent: bool
) -> list[Any]:
    neo = optional_library("neo", EXTRA, "to_neo")
    quantities = optional_library("quantities", EXTRA, "to_neo")
    spikes = result.spikes(layer, image)
    shape = result.shapes[layer]
    row = np.ravel_multi_index(spikes.position, shape)
    # Stable, so that the spikes of a neuron stay in order of time.
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=math.prod(shape))
    t_stop = 1e3 * result.duration_s * quantities.ms
    times = np.split(1e3 * spikes.t[order], np.cumsum(counts)[:-1])
    positions = np.unravel_index(np.arange(len(counts)), shape)
    if len(positions) == 1:
        positions = (*positions, np.zeros_like(counts), np.zeros_like(counts))
    annotations = {} if label is None else {"label": label}
    return [
        neo.SpikeTrain(
            times[neuron],
            units=quantities.ms,
            t_start=0 * quantities.ms,
            t_stop=t_stop,
            sampling_rate=1 / result.dt_s * quantities.Hz,
            name=f"{layer} {channel},{y},{x}"
            if len(shape) == 3
            else f"{layer} {channel}",
            layer=layer,
            channel=channel,
            y=y,
            x=x,
            picture=image,
            **annotations,
        )
        for neuron, (channel, y, x) in enumerate(
            zip(*(axis.tolist() for axis in positions), strict=True)
        )
        if silent or counts[neuron]
    ]


def to_xarray(result: SpikeData, labels: Any = None) -> Any:
    """
    Make an xarray Dataset of spike counts.

    Parameters
    ----------
    result : SpikeData
        The result.
    labels : sequence of int or str, shape (n_images,), optional
        Labels of the pictures, kept as a coordinate.

    Returns
    -------
    xarray.Dataset
        An int32 array for each layer. The first dimension is ``picture``; the others
        carry the layer's name, as layers differ in size: ``conv1_channel``,
        ``conv1_y``, ``conv1_x``, or ``ip1_unit`` of a linear layer. There are also
        ``output_potentials`` and the coordinates ``prediction`` and ``label``. Seed,
        times in seconds and thresholds (JSON) are attributes.

    Raises
    ------
    InputError
        If there is not one label for each picture.
    MissingLibraryError
        If xarray is not installed.
    """
    xarray = optional_library("xarray", EXTRA, "to_xarray")
    truth = _label_of(labels, result.n_images)
    variables: dict[str, Any] = {}
    for name, counts in result.spike_counts.items():
        axes = ("channel", "y", "x") if counts.ndim == 4 else ("unit",)
        dims = ("picture", *(f"{name}_{axis}" for axis in axes))
        variables[name] = (dims, counts, {"long_name": f"spikes of {name}"})
    output = variables[result.output_layer][0][1:]
    shape = result.shapes[result.output_layer]
    potentials = result.output_potentials.reshape(-1, *shape)
    variables["output_potentials"] = (("picture", *output), potentials)
    coordinates: dict[str, Any] = {
        "picture": np.arange(result.n_images),
        "prediction": ("picture", result.predictions),
    }
    if truth is not None:
        coordinates["label"] = ("picture", np.asarray(truth))
    return xarray.Dataset(
        variables,
        coordinates,
        {
            "duration_s": result.duration_s,
            "dt_s": result.dt_s,
            "seed": str(result.seed),
            "thresholds": json.dumps(recorded(result.parameters)["thresholds"]),
        },
    )
