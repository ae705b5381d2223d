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


def _label_of(labels: Any, result: SpikeData) -> Sequence[Any] | None:
    """Give each row its label; labels of stimuli hold for all of their trials."""
    if labels is None:
        return None
    n_images, repeats = result.n_images, result.n_repeats
    if len(labels) * repeats == n_images:
        labels = [labels[k] for k in result.stimulus_of_row]
    if len(labels) != n_images:
        of = "pictures" if repeats == 1 else "trials"
        message = f"{n_images} {of}, but {len(labels)} labels"
        raise InputError(message)
    return [
        label.item() if isinstance(label, np.generic) else label for label in labels
    ]


def _named(result: SpikeData, row: int) -> dict[str, Any]:
    """Say which stimulus and which repeat a row is, if stimuli were shown."""
    if result.trials is None:
        return {}
    stimulus = int(result.stimulus_of_row[row])
    return {
        "stimulus": stimulus,
        "stimulus_name": result.trials.names[stimulus],
        "repeat": int(result.repeat_of_row[row]),
    }


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
        A Segment for each picture or trial, a Group for each layer. The Segment of a
        trial is annotated with ``stimulus``, ``stimulus_name`` and ``repeat``, and its
        SpikeTrains end with the stimulus. Every SpikeTrain is
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
    truth = _label_of(labels, result)
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
        own = _named(result, image)
        name = f"picture {image}"
        if own:
            name = f"stimulus {own['stimulus']}, trial {own['repeat']}"
        segment = neo.Segment(name=name, index=image, picture=image, **own)
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
    t_stop = 1e3 * result.steps_of_row[image] * result.dt_s * quantities.ms
    times = np.split(1e3 * spikes.t[order], np.cumsum(counts)[:-1])
    positions = np.unravel_index(np.arange(len(counts)), shape)
    if len(positions) == 1:
        positions = (*positions, np.zeros_like(counts), np.zeros_like(counts))
    annotations = _named(result, image)
    if label is not None:
        annotations["label"] = label
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


def to_xarray(result: SpikeData, labels: Any = None, bin: Any = None) -> Any:
    """
    Make an xarray Dataset of spike counts.

    Parameters
    ----------
    result : SpikeData
        The result.
    labels : sequence of int or str, shape (n_images,), optional
        Labels of the pictures, or of the stimuli, kept as a coordinate.
    bin : Quantity [s], optional
        With it, there are also the spikes in bins of time of all layers that were
        recorded in each picture or trial, as ``conv1_over_time``.

    Returns
    -------
    xarray.Dataset
        An int32 array for each layer. The first dimension is ``picture``; of trials the
        first two are ``stimulus`` and ``trial``. ``time`` (the start of a bin in
        seconds) follows where there is a `bin`. The others
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
    truth = _label_of(labels, result)
    trials = result.trials
    rows: tuple[str, ...] = ("picture",)
    shape: tuple[int, ...] = (result.n_images,)
    if trials is not None:
        rows, shape = ("stimulus", "trial"), (trials.n_stimuli, trials.n_repeats)

    def by_trial(array: Any) -> Any:
        array = np.asarray(array)
        return array.reshape(*shape, *array.shape[1:])

    variables: dict[str, Any] = {}
    axes = {
        name: tuple(
            f"{name}_{axis}"
            for axis in (("channel", "y", "x") if len(own) == 3 else ("unit",))
        )
        for name, own in result.shapes.items()
    }
    for name, counts in result.spike_counts.items():
        said = {"long_name": f"spikes of {name}"}
        variables[name] = ((*rows, *axes[name]), by_trial(counts), said)
        whole = all((name, row) in result.recorded for row in range(result.n_images))
        if bin is not None and whole:
            dims = (*rows, "time", *axes[name])
            binned = by_trial(result.binned(name, bin))
            variables[f"{name}_over_time"] = (dims, binned, said)
    last = result.output_layer
    potentials = result.output_potentials.reshape(-1, *result.shapes[last])
    variables["output_potentials"] = ((*rows, *axes[last]), by_trial(potentials))
    coordinates: dict[str, Any] = {
        **{name: np.arange(n) for name, n in zip(rows, shape, strict=True)},
        "prediction": (rows, by_trial(result.predictions)),
    }
    if trials is not None:
        coordinates["stimulus_name"] = ("stimulus", list(trials.names))
        own = dict.fromkeys(key for values in trials.parameters for key in values)
        for key in own:
            numbers = [values.get(key, np.nan) for values in trials.parameters]
            coordinates[key] = ("stimulus", numbers)
    if bin is not None:
        n_bins = -(-result.n_steps // round(float(bin) / result.dt_s))
        coordinates["time"] = ("time", np.arange(n_bins) * float(bin))
    if truth is not None:
        coordinates["label"] = (rows, by_trial(truth))
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
