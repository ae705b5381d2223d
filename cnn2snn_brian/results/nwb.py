"""Results for NWB: units and trials in one file, as laboratories exchange them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from cnn2snn_brian.checks import optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_from_memory
from cnn2snn_brian.inspector import matching
from cnn2snn_brian.results import tables
from cnn2snn_brian.results.hdf5 import settings_text
from cnn2snn_brian.stimuli import FrameStimulus, Stimulus

if TYPE_CHECKING:
    from cnn2snn_brian.results.result import SimulationResult

#: Columns of trials and items, and what tables of NWB have by themselves.
TRIAL_COLUMNS = {
    "start_time": "start, in s",
    "stop_time": "stop, in s",
    "stimulus": "index of the stimulus, or of the image",
    "stimulus_name": "name of the stimulus",
    "repeat": "repeat of the stimulus, from 0",
    "prediction": "index of the class with the most spikes",
    "label": "label of the stimulus, as it was given",
}
ITEM_COLUMNS = {
    **TRIAL_COLUMNS,
    "trial": "index of the trial",
    "item": "place of the item in its stimulus, from 0",
    "label": "label of the item",
}
#: What tables have, and their columns.
TABLES = {
    "trials": ("what was shown, trial after trial", TRIAL_COLUMNS),
    "items": ("what stimuli showed one after another", ITEM_COLUMNS),
}
RAGGED = {
    "spike_times": "times of spikes, in s",
    "obs_intervals": "intervals that the unit was recorded in, in s",
}
TAKEN = ("id", "name", "description", "colnames", "columns", "tags", "timeseries")

#: Rows of a compressed piece of a column.
CHUNK = 2**16

#: The NCBI's taxon of what was made and not born, as files without a species fail
#: the checks of archives.
SYNTHETIC = "http://purl.obolibrary.org/obo/NCBITaxon_32630"


def to_nwb(
    result: "SimulationResult",
    path: str | os.PathLike[str],
    layers: Iterable[str] | None = None,
    *,
    silent: bool = True,
    start: datetime | None = None,
    description: str = tables.SESSION,
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
    result : SimulationResult
        A result with recorded layers.
    path : path-like
        The file, by custom with the suffix ``.nwb``. It is written whole or not at all.
    layers, silent, labels, neurons, pixel_size_deg
        See `SimulationResult`.
    start : datetime, optional
        When the session started, with a time zone; now by default.
    description : str
        What the session was.
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
        See `SimulationResult`; or if `start` has no time zone, `stimuli` are not those
        of the result or have another number of channels, or `nwbfile` has units or
        trials or is given with `start` or `description`.
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
    seconds and the columns of rows, ``items`` those of the items of a `Sequence`.
    ``units`` has spike times and the columns of neurons. The intervals that a unit was
    recorded in are given if they are not all trials of all units. Each frame is once in
    the stimulus template ``frames``, and the stimulus ``frames_shown`` says which of
    them is shown from when on. The text ``settings`` is in the scratch space. All large
    columns are compressed.

    References
    ----------
    .. [1] Ruebel et al. (2022), The Neurodata Without Borders ecosystem for
       neurophysiological data science, doi:10.7554/eLife.78362
    """
    pynwb = optional_library("pynwb", "nwb", "to_nwb")
    session = tables.Session(result, layers, neurons, pixel_size_deg, silent)
    units = _units(pynwb, session)
    rows = tables.row_columns(result, labels, (*TAKEN, "start_time", "stop_time"))
    file = nwbfile
    if file is None:
        about = tables.session_record(result, start, description)
        file = _new_file(pynwb, result, about)
    elif start is not None or description != tables.SESSION:
        raise InputError(
            "start and description are those of a new file; the nwbfile has some"
        )
    elif file.units is not None or file.trials is not None:
        raise InputError("the nwbfile that was given has units or trials already")
    file.units = units
    file.trials = _intervals(pynwb, "trials", session.intervals.T, rows)
    *times, items = session.items
    if items["trial"]:
        file.add_time_intervals(_intervals(pynwb, "items", times, items))
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


def _new_file(pynwb: Any, result: "SimulationResult", about: dict[str, Any]) -> Any:
    """Make a session of a network."""
    name = str(result.network.get("layers", "unknown"))
    versions = ", ".join(f"{what} {v}" for what, v in result.versions.items())
    return pynwb.NWBFile(
        **about,
        was_generated_by=[[what, v] for what, v in result.versions.items()],
        experiment_description=f"Simulation of a spiking network ({versions})",
        keywords=["simulation", "spiking neural network", "converted CNN"],
        subject=pynwb.file.Subject(
            subject_id=f"network-{name[:32]}",
            description="a network, not an animal; its id is the hash of its weights",
            species=SYNTHETIC,
            sex="O",
            age="P0D",
        ),
    )


def _compressed(pynwb: Any, data: Any) -> Any:
    """Ask for compression of what is large."""
    array = np.asarray(data)
    if array.dtype.kind not in "fiu":
        return data
    if array.size < 1000:
        return array
    # No shuffle of bytes: equal times, of which there are many, then look less alike,
    # and take twice the space.
    chunks = (min(len(array), CHUNK), *array.shape[1:])
    return pynwb.H5DataIO(array, chunks=chunks, compression="gzip", compression_opts=4)


def _columns(pynwb: Any, columns: Mapping[str, Any], said: Mapping[str, str]) -> Any:
    return [
        pynwb.core.VectorData(
            name=name.replace("/", "_"),
            description=said.get(name, f"{name} of the stimulus; NaN if it has none"),
            data=_compressed(pynwb, column),
        )
        for name, column in columns.items()
    ]


def _intervals(pynwb: Any, name: str, times: Any, columns: Any) -> Any:
    """Make a table, whole columns at once: rows one by one take minutes."""
    starts, stops = times
    columns = {"start_time": starts, "stop_time": stops, **columns}
    about, said = TABLES[name]
    made = _columns(pynwb, columns, said)
    names = [column.name for column in made]
    return pynwb.epoch.TimeIntervals(
        name=name, description=about, columns=made, colnames=names
    )


def _units(pynwb: Any, session: tables.Session) -> Any:
    """Make the table of units, whole columns at once, too."""
    result = session.result
    trains = map(session.trains, session.chosen)
    parts, counts, steps = zip(*trains, strict=True)
    columns = _columns(pynwb, tables.neuron_columns(parts), tables.NEURON_COLUMNS)
    times = [own * result.dt_s for own in steps]
    ragged: dict[str, Any] = {"spike_times": (times, np.concatenate(counts))}
    seen = [session.observed(own.layer) for own in session.chosen]
    if not all(np.array_equal(own, session.intervals) for own in seen):
        sizes = [*map(len, counts)]
        tiled = [np.tile(own, (n, 1)) for own, n in zip(seen, sizes, strict=True)]
        ragged["obs_intervals"] = (tiled, np.repeat([*map(len, seen)], sizes))
    names = [column.name for column in columns] + [*ragged]
    for name, (data, lengths) in ragged.items():
        # A column of lists, and the index of where each of them ends.
        (column,) = _columns(pynwb, {name: np.concatenate(data)}, RAGGED)
        ends = np.cumsum(lengths)
        ends = ends.astype(np.min_scalar_type(int(ends.max(initial=0))))
        index = pynwb.core.VectorIndex(
            name=f"{name}_index", data=_compressed(pynwb, ends), target=column
        )
        columns += [index, column]
    return pynwb.misc.Units(
        name="units",
        description="neurons of the recorded layers",
        columns=columns,
        colnames=names,
        resolution=float(result.dt_s),
    )


def _add_frames(pynwb: Any, file: Any, session: tables.Session, stimuli: Any) -> None:
    """Add each frame once, and which of them is shown when."""
    rows = session.result.stimulus_of_row
    frames: list[Any] = []
    shown, times = [], []
    for k, (stimulus, _) in enumerate(matching(session.result, stimuli)):
        if not isinstance(stimulus, FrameStimulus):
            continue
        onsets, frame = stimulus.frame_times
        for begin in session.intervals[rows == k, 0]:
            times.append(begin + onsets)
            shown.append(len(frames) + frame)
        frames += [
            _frame(pynwb, f"stimulus_{k}_frame_{n}", pixels, stimulus)
            for n, pixels in enumerate(stimulus.frames)
        ]
    if not frames:
        return
    order = pynwb.base.ImageReferences(name="order_of_images", data=frames)
    images = pynwb.base.Images(
        name="frames",
        images=frames,
        description="frames of the stimuli, intensities from 0 to 255",
        order_of_images=order,
    )
    file.add_stimulus_template(images)
    at = np.concatenate(times)
    steps = np.diff(at)
    clock: dict[str, Any] = {"timestamps": _compressed(pynwb, at)}
    if len(at) > 2 and np.ptp(steps) < 1e-9:
        clock = {"starting_time": float(at[0]), "rate": float(1 / steps[0])}
    series = pynwb.image.IndexSeries(
        name="frames_shown",
        description="which of the frames is shown from when on",
        data=_compressed(pynwb, np.concatenate(shown).astype(np.uint32)),
        indexed_images=images,
        unit="N/A",
        **clock,
    )
    file.add_stimulus(series)


def _frame(pynwb: Any, name: str, pixels: Any, stimulus: Stimulus) -> Any:
    """Make an image of a frame. NWB has x before y, and colours last."""
    kinds = {1: pynwb.image.GrayscaleImage, 3: pynwb.image.RGBImage}
    if len(pixels) not in kinds:
        raise InputError(
            f"{stimulus.label} has frames of {len(pixels)} channels; NWB has images of "
            "1 or 3. Leave `stimuli` out"
        )
    data = np.rint(255 * pixels).astype(np.uint8).T
    return kinds[len(pixels)](
        name=name,
        data=data[..., 0] if len(pixels) == 1 else data,
        description=f"a frame of {stimulus.label}",
    )
