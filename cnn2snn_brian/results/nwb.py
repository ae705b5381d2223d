"""Results for NWB: units and trials in one file, as laboratories exchange them."""

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import h5py
import numpy as np

from cnn2snn_brian.checks import optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_from_memory
from cnn2snn_brian.inspector import matching
from cnn2snn_brian.results.columns import (
    NEURON_COLUMNS,
    SESSION,
    Selection,
    Session,
    item_columns,
    neuron_columns,
    row_columns,
    session_start,
)
from cnn2snn_brian.results.hdf5 import settings_text
from cnn2snn_brian.spikes import SpikeData
from cnn2snn_brian.stimuli import FrameStimulus, Stimulus

EXTRA = "nwb"
PURPOSE = "to_nwb"

#: Columns of the trials, and what tables of NWB have by themselves.
TRIAL_COLUMNS = {
    "stimulus": "index of the stimulus, or of the image",
    "stimulus_name": "name of the stimulus",
    "repeat": "repeat of the stimulus, from 0",
    "prediction": "index of the class with the most spikes",
    "label": "label of the stimulus, as it was given",
}
TAKEN = ("id", "name", "description", "colnames", "columns", "tags", "timeseries")

#: Columns of the items.
ITEM_COLUMNS = {
    "trial": "index of the trial",
    "item": "place of the item in its stimulus, from 0",
    "label": "label of the item",
}

#: Rows of a compressed piece of a column.
CHUNK = 2**16

#: The NCBI's taxon of what was made and not born, as files without a species fail
#: the checks of archives.
SYNTHETIC = "http://purl.obolibrary.org/obo/NCBITaxon_32630"


def to_nwb(
    result: SpikeData,
    path: str | os.PathLike[str],
    layers: Iterable[str] | None = None,
    *,
    silent: bool = True,
    start: datetime | None = None,
    description: str = SESSION,
    labels: Any = None,
    neurons: Mapping[str, Iterable[tuple[int, ...]]] | None = None,
    pixel_size_deg: float | None = None,
    stimuli: Stimulus | Sequence[Stimulus] | None = None,
    nwbfile: Any = None,
) -> None:
    """
    Write recorded spikes to an NWB file.

    The format is that of Neurodata Without Borders [1]_.

    Parameters
    ----------
    result : SpikeData
        A result with recorded layers.
    path : path-like
        The file, by custom with the suffix ``.nwb``. It is written whole or not at all.
    layers : iterable of str, optional
        Layers; by default all that were recorded.
    silent : bool
        Whether neurons without a spike are units too.
    start : datetime, optional
        When the session started, with a time zone; now by default.
    description : str
        What the session was.
    labels : sequence of int or str, optional
        Labels of all rows, or of the stimuli: a column of the trials.
    neurons : dict of str to iterable of tuple of int, optional
        Neurons of a layer, as `Layers.column` and `Layers.sample` give them; by default
        all.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel; with it, receptive fields are given in
        degrees too.
    stimuli : Stimulus or sequence of Stimulus, optional
        What was shown; with it, the file has the frames, of 1 or 3 channels. Stimuli of
        spikes have none.
    nwbfile : pynwb.NWBFile, optional
        A session of your own, with its subject, experimenter, keywords and so on; units
        and trials are added to it. By default a new one, of which `start` and
        `description` are. It must not have units or trials.

    Raises
    ------
    InputError
        If a layer was not recorded, a neuron does not exist, there is not one label for
        each row, `start` has no time zone, `stimuli` are not those of the result or
        have another number of channels, or `nwbfile` has units or trials or is given
        with `start` or `description`.
    MissingLibraryError
        If pynwb is not installed.
    FileNotFoundError
        If the folder of `path` does not exist.
    WriteError
        If the disk is full, or the like.

    Notes
    -----
    Trials follow each other in the order of the result's rows, one time step apart: a
    spike belongs to one of them only. The table ``trials`` has start and stop in
    seconds, ``stimulus``, ``stimulus_name``, ``repeat``, ``prediction``, ``label``, and
    a column for each parameter that stimuli were made with; ``items`` has those of a
    `Sequence`. ``units`` has spike times and the columns ``layer``, ``channel``, ``y``
    and ``x``, and the centre and size of the receptive field in pixels. The intervals
    that a unit was recorded in are given if they are not all trials of all units.
    Each frame is once in the stimulus template ``frames``, and the stimulus
    ``frames_shown`` says which of them is shown from when on. The text ``settings`` in
    the scratch space is JSON, see `read_settings`. All large columns are compressed.

    References
    ----------
    .. [1] Ruebel et al. (2022), The Neurodata Without Borders ecosystem for
       neurophysiological data science, doi:10.7554/eLife.78362
    """
    pynwb = optional_library("pynwb", EXTRA, PURPOSE)
    session = Session(result)
    selection = Selection(layers, neurons, pixel_size_deg)
    units = _units(session, selection, silent)
    rows = row_columns(result, labels, (*TAKEN, "start_time", "stop_time"))
    file = nwbfile
    if file is None:
        file = _new_file(pynwb, result, session_start(start), description)
    elif start is not None or description != SESSION:
        raise InputError(
            "start and description are those of a new file; the nwbfile has some"
        )
    elif file.units is not None or file.trials is not None:
        raise InputError("the nwbfile that was given has units or trials already")
    file.units = units
    file.trials = _intervals(
        "trials",
        "what was shown, trial after trial",
        session.intervals,
        rows,
        TRIAL_COLUMNS,
    )
    items = item_columns(result)
    if items["row"]:
        columns = {
            "trial": items["row"],
            "item": items["item"],
            "label": items["label"],
        }
        onsets = session.intervals[items["row"], 0] + items["onset_s"]
        times = np.stack([onsets, onsets + items["duration_s"]], axis=1)
        said = "what stimuli showed one after another"
        file.add_time_intervals(_intervals("items", said, times, columns, ITEM_COLUMNS))
    _add_frames(pynwb, file, session, stimuli)
    file.add_scratch(
        settings_text(result),
        name="settings",
        description="what was run, as JSON for cnn2snn_brian.results.read_settings",
    )
    with (
        written_from_memory(path) as image,
        h5py.File(image, "w") as whole,
        pynwb.NWBHDF5IO(file=whole, mode="w") as output,
    ):
        output.write(file)


def _new_file(pynwb: Any, result: SpikeData, began: datetime, description: str) -> Any:
    """Make a session of a network."""
    name = str(result.network.get("layers", "unknown"))
    versions = ", ".join(f"{what} {v}" for what, v in result.versions.items())
    return pynwb.NWBFile(
        session_description=description,
        identifier=str(uuid.uuid4()),
        session_start_time=began,
        source_script="cnn2snn-brian",
        source_script_file_name="cnn2snn-brian",
        was_generated_by=[[what, v] for what, v in result.versions.items()],
        experiment_description=f"Simulation of a spiking network ({versions})",
        keywords=["simulation", "spiking neural network", "converted CNN"],
        notes=str(result),
        subject=pynwb.file.Subject(
            subject_id=f"network-{name[:32]}",
            description="a network, not an animal; its id is the hash of its weights",
            species=SYNTHETIC,
            sex="O",
            age="P0D",
        ),
    )


def _compressed(data: Any) -> Any:
    """Ask for compression of what is large."""
    array = np.asarray(data)
    if array.dtype.kind not in "fiu" or array.size < 1000:
        return array if array.dtype.kind in "fiu" else data
    backend = optional_library("hdmf.backends.hdf5", EXTRA, PURPOSE)
    # No shuffle of bytes: equal times, of which there are many, then look less alike,
    # and take twice the space.
    chunks = (min(len(array), CHUNK), *array.shape[1:])
    return backend.H5DataIO(
        array, chunks=chunks, compression="gzip", compression_opts=4
    )


def _columns(columns: Mapping[str, Any], said: Mapping[str, str]) -> list[Any]:
    common = optional_library("hdmf.common", EXTRA, PURPOSE)
    return [
        common.VectorData(
            name=name.replace("/", "_"),
            description=said.get(name, f"{name} of the stimulus; NaN if it has none"),
            data=_compressed(column),
        )
        for name, column in columns.items()
    ]


def _intervals(
    name: str,
    about: str,
    times: Any,
    columns: Mapping[str, Any],
    said: Mapping[str, str],
) -> Any:
    """Make a table, whole columns at once: rows one by one take minutes."""
    epoch = optional_library("pynwb.epoch", EXTRA, PURPOSE)
    both = {"start_time": times[:, 0], "stop_time": times[:, 1]}
    what = {"start_time": "start, in s", "stop_time": "stop, in s"}
    made = _columns({**both, **columns}, {**said, **what})
    return epoch.TimeIntervals(
        name=name,
        description=about,
        columns=made,
        colnames=[column.name for column in made],
    )


def _units(session: Session, selection: Selection, silent: bool) -> Any:
    """Make the table of units, whole columns at once, too."""
    misc = optional_library("pynwb.misc", EXTRA, PURPOSE)
    result = session.result
    parts, n_spikes, times, seen = [], [], [], []
    for own in selection.of(result, session.layers):
        counts, own_times = session.spikes(own)
        if not silent:
            own, counts = own.some(counts > 0), counts[counts > 0]
        parts.append(own)
        n_spikes.append(counts)
        times.append(own_times)
        seen.append(session.observed(own.layer))
    columns = _columns(neuron_columns(parts), NEURON_COLUMNS)
    names = [column.name for column in columns]
    columns += _ragged(
        "spike_times", "times of spikes, in s", np.concatenate(times), n_spikes
    )
    names.append("spike_times")
    every = session.intervals
    if any(own.shape != every.shape or (own != every).any() for own in seen):
        sizes = [len(own.index) for own in parts]
        lengths = np.repeat([len(own) for own in seen], sizes)
        intervals = [np.tile(own, (n, 1)) for own, n in zip(seen, sizes, strict=True)]
        columns += _ragged(
            "obs_intervals",
            "intervals that the unit was recorded in, in s",
            np.concatenate(intervals),
            [lengths],
        )
        names.append("obs_intervals")
    return misc.Units(
        name="units",
        description="neurons of the recorded layers",
        columns=columns,
        colnames=names,
        resolution=float(result.dt_s),
    )


def _ragged(name: str, said: str, data: Any, lengths: Sequence[Any]) -> list[Any]:
    """Make a column of lists, and the index of where each of them ends."""
    common = optional_library("hdmf.common", EXTRA, PURPOSE)
    column = common.VectorData(name=name, description=said, data=_compressed(data))
    ends = np.cumsum(np.concatenate(lengths))
    ends = _compressed(ends.astype(np.min_scalar_type(int(ends.max(initial=0)))))
    return [common.VectorIndex(name=f"{name}_index", data=ends, target=column), column]


def _add_frames(pynwb: Any, file: Any, session: Session, stimuli: Any) -> None:
    """Add each frame once, and which of them is shown when."""
    result = session.result
    pictures: list[Any] = []
    shown, times = [], []
    rows = result.stimulus_of_row
    for k, (stimulus, _) in enumerate(matching(result, stimuli)):
        if not isinstance(stimulus, FrameStimulus):
            continue
        onsets, frame = stimulus.frame_times
        for begin in session.intervals[rows == k, 0]:
            times.append(begin + onsets)
            shown.append(len(pictures) + frame)
        for n, pixels in enumerate(np.rint(255 * stimulus.frames).astype(np.uint8)):
            pictures.append(
                _picture(pynwb, f"stimulus_{k}_frame_{n}", pixels, stimulus)
            )
    if not pictures:
        return
    images = pynwb.base.Images(
        name="frames",
        images=pictures,
        description="frames of the stimuli, intensities from 0 to 255",
        order_of_images=pynwb.base.ImageReferences(
            name="order_of_images", data=pictures
        ),
    )
    file.add_stimulus_template(images)
    at = np.concatenate(times)
    steps = np.diff(at)
    clock: dict[str, Any] = {"timestamps": _compressed(at)}
    if len(at) > 2 and np.ptp(steps) < 1e-9:
        clock = {"starting_time": float(at[0]), "rate": float(1 / steps[0])}
    file.add_stimulus(
        pynwb.image.IndexSeries(
            name="frames_shown",
            description="which of the frames is shown from when on",
            data=_compressed(np.concatenate(shown).astype(np.uint32)),
            indexed_images=images,
            unit="N/A",
            **clock,
        )
    )


def _picture(pynwb: Any, name: str, pixels: Any, stimulus: Stimulus) -> Any:
    """Make an image of a frame. NWB has x before y, and colours last."""
    if len(pixels) == 1:
        kind, data = pynwb.image.GrayscaleImage, pixels[0].T
    elif len(pixels) == 3:
        kind, data = pynwb.image.RGBImage, pixels.T
    else:
        raise InputError(
            f"{stimulus.label} has frames of {len(pixels)} channels; NWB has images of "
            "1 or 3. Leave `stimuli` out"
        )
    return kind(name=name, data=data, description=f"a frame of {stimulus.label}")
