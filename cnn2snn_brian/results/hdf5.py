"""
A simulation's result as one file: HDF5, readable by other programs too.

Arrays are compressed and carry checksums. ``spike_counts/conv1`` has the dimensions
(picture, channel, y, x). The spikes in ``recorded/conv1`` are those of all recorded
pictures, one picture after another: ``neuron`` is an index into the layer's Brian2
group, ordered (y, x, channel), ``step`` the time step, and ``n_spikes`` says how many
belong to each of the pictures in ``picture``. The membrane potentials in
``recorded_potentials/conv1`` are ``potential`` with the dimensions (picture, step,
neuron), for the pictures in ``picture`` and the indices in ``neuron``. ``weights/ip1``
are learned weights. Of neurons that send bursts, ``burst_counts``, ``corrections`` and
``recorded_corrections`` are as ``spike_counts`` and ``recorded``. The attribute
``settings`` is JSON.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import damage, written_from_memory
from cnn2snn_brian.projections import from_neurons, to_neurons
from cnn2snn_brian.results.measures import AXES, Recorded, SpikeCounts, Trials
from cnn2snn_brian.settings import (
    SETTINGS,
    Parameters,
    Perturbations,
    recorded,
    restored,
    run_settings,
)

if TYPE_CHECKING:
    from cnn2snn_brian.results.result import SimulationResult

#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian result 2"
#: Of version 0.1.0: without perturbations, network and program.
FORMERLY = "cnn2snn-brian result 1"

#: Counts by layer, and recorded spikes; other fields are left out if they are empty.
COUNTS = ("spike_counts", "burst_counts", "corrections")
RECORDED = ("recorded", "recorded_corrections")

#: Metadata with checksums; HDF5 1.10 and later read it.
LIBRARY_VERSION = ("v110", "v110")

#: Fields of a result that are written as JSON.
AS_JSON = (
    "duration_s",
    "dt_s",
    "seed",
    "parameters",
    "perturbations",
    "network",
    "program",
    "timings",
    "versions",
    "shapes",
)


def settings_text(result: "SimulationResult", **more: Any) -> str:
    """Write what a result was run with as JSON."""
    found = {name: getattr(result, name) for name in AS_JSON}
    for name in ("parameters", "perturbations"):
        if found[name] is not None:
            found[name] = recorded(found[name])
    # Left out where there are none, so that earlier versions read the rest.
    if result.trials is not None:
        found["trials"] = result.trials.record()
    if result.windows:
        found["windows"] = result.windows
    if result.interval > 1:
        found["interval"] = result.interval
    return json.dumps(found | more, allow_nan=False)


def _restored(text: str | bytes) -> dict[str, Any]:
    """Read what `settings_text` wrote."""
    stored = json.loads(text)
    shapes = {name: tuple(shape) for name, shape in stored["shapes"].items()}
    names = tuple(stored["parameters"]["thresholds"])
    # A file of an earlier version lacks newer settings.
    perturbations, trials = stored.get("perturbations"), stored.get("trials")
    if perturbations is not None:
        perturbations = restored(Perturbations, perturbations, shapes)
    return stored | {
        "shapes": shapes,
        "parameters": Parameters.of(
            names,
            **{
                k: SETTINGS[k].restored(v, shapes)
                for k, v in stored["parameters"].items()
            },
        ),
        "perturbations": perturbations,
        "trials": None if trials is None else Trials.of(trials),
        "windows": tuple(map(tuple, stored.get("windows", ()))),
    }


def read_settings(text: str) -> dict[str, Any]:
    """
    Read the settings that an export has, to repeat its run.

    Parameters
    ----------
    text : str
        The JSON that all exports have: the annotation ``settings`` of a Neo Block, the
        attribute of an xarray Dataset, the scratch text of an NWB file, and so on.

    Returns
    -------
    dict
        What `SimulationResult.settings` of the result was:
        ``simulator.run(images, **read_settings(text))`` gives the same spikes.

    Raises
    ------
    InputError
        If the text is something else.
    """
    with damage("these are not settings of a result, the JSON text that exports have"):
        found = _restored(text)
        repeats = 1 if found["trials"] is None else found["trials"].n_repeats
        own = {name: found[name] for name in ("parameters", "perturbations", "seed")}
        return run_settings(**own, repeats=repeats)


def _write(
    file: h5py.File, name: str, array: npt.NDArray[Any], *axes: str
) -> h5py.Dataset:
    # Shuffled bytes of small numbers compress well; the checksum finds damage.
    packed = {
        "chunks": True,
        "compression": "gzip",
        "compression_opts": 4,
        "shuffle": True,
        "fletcher32": True,
    }
    dataset = file.create_dataset(name, data=array, **(packed if array.size else {}))
    for dimension, label in enumerate(axes):
        dataset.dims[dimension].label = label
    return dataset


def save(result: "SimulationResult", path: str | os.PathLike[str]) -> None:
    """
    Write everything of this result to one HDF5 file.

    Parameters
    ----------
    result : SimulationResult
        The result.
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
    # The order of the layers, which groups of a file do not keep.
    order = {"counted": list(result.spike_counts), "events": list(result.events)}
    with (
        written_from_memory(path) as image,
        h5py.File(image, "w", libver=LIBRARY_VERSION) as file,
    ):
        # Bytes of fixed length have a checksum. HDF5 keeps other strings in a heap that
        # has none, and a damaged heap can make it read forever.
        file.attrs["format"] = np.bytes_(FORMAT.encode())
        file.attrs["settings"] = np.bytes_(settings_text(result, **order).encode())
        for group in ("events", "weights", "recorded", "recorded_potentials"):
            file.create_group(group)
        _write(file, "output_potentials", result.output_potentials)
        for what in COUNTS:
            for name in (counts := getattr(result, what)):
                shape = result.shapes[name]
                # As small as the program delivered them.
                array = from_neurons(counts.raw(name), shape)
                _write(file, f"{what}/{name}", array, "picture", *AXES[len(shape)])
        for group in ("events", "weights"):
            for name, array in getattr(result, group).items():
                _write(file, f"{group}/{name}", array)
        both = [
            (f"{what}/{name}", images)
            for what in RECORDED
            for name, images in _by_layer(getattr(result, what)).items()
        ]
        for where, images in both:
            _write(file, f"{where}/picture", np.array([*images], np.int64))
            lengths = [len(step) for _, step in images.values()]
            _write(file, f"{where}/n_spikes", np.array(lengths, np.int64))
            for k, what in enumerate(("neuron", "step")):
                joined = np.concatenate([spikes[k] for spikes in images.values()])
                smallest = np.min_scalar_type(int(joined.max(initial=0)))
                dataset = _write(file, f"{where}/{what}", joined.astype(smallest))
                dataset.attrs["dtype"] = np.bytes_(str(joined.dtype).encode())
        for name, images in _by_layer(result.recorded_potentials).items():
            where = f"recorded_potentials/{name}"
            _write(file, f"{where}/picture", np.array([*images], np.int64))
            # The same neurons of all images, as `Simulator.run` records them.
            neuron, first = next(iter(images.values()))
            _write(file, f"{where}/neuron", neuron)
            # Trials of other stimuli may be shorter: these end in NaN.
            shape = len(images), max(len(v) for _, v in images.values()), len(neuron)
            together = np.full(shape, np.nan, first.dtype)
            for own, (_, v) in zip(together, images.values(), strict=True):
                own[: len(v)] = v
            _write(file, f"{where}/potential", together, "picture", "step", "neuron")


def _by_layer(recorded: Recorded) -> dict[str, dict[int, Any]]:
    found: dict[str, dict[int, Any]] = {}
    for (layer, image), both in recorded.items():
        found.setdefault(layer, {})[image] = both
    return found


def load(
    kind: "type[SimulationResult]", path: str | os.PathLike[str]
) -> "SimulationResult":
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
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    with damage(f"{path}: not a saved result, or damaged"), h5py.File(path) as file:
        found = file.attrs.get("format")
        if isinstance(found, bytes):
            found = found.decode()
        if found not in (FORMAT, FORMERLY):
            raise InputError(
                f"{path}: its format is {found!r}, expected {FORMAT!r}; "
                "SimulationResult.save makes such files"
            )
        return kind(**_read(file))


def _read(file: h5py.File) -> dict[str, Any]:
    settings = _restored(file.attrs["settings"])
    # An earlier version wrote this, too.
    settings.pop("output_threshold", None)
    shapes = settings["shapes"]
    potentials = file["output_potentials"][...]
    n_images = len(potentials)
    raw: dict[str, dict[str, Any]] = {}
    counted = settings.pop("counted")
    for what in COUNTS:
        stored = file[what] if what == "spike_counts" else file.get(what, {})
        raw[what] = {
            name: to_neurons(
                _checked(stored[name], n_images, *shapes[name]), shapes[name]
            )
            for name in counted
            if name in stored or what == "spike_counts"
        }
    events = {
        name: _checked(file["events"][name], n_images) for name in settings["events"]
    }
    spikes: dict[str, Recorded] = {what: {} for what in RECORDED}
    groups = [("recorded", *item) for item in file["recorded"].items()]
    for name, group in file.get("recorded_corrections", {}).items():
        groups.append(("recorded_corrections", name, group))
    for what, name, group in groups:
        ends = np.cumsum(group["n_spikes"][...])
        parts = []
        for column in ("neuron", "step"):
            kind = group[column].attrs["dtype"].decode()
            joined = _checked(group[column], ends[-1]).astype(kind)
            parts.append(np.split(joined, ends[:-1]))
        for picture, neuron, step in zip(group["picture"][...], *parts, strict=True):
            spikes[what][name, int(picture)] = neuron, step
    traced: Recorded = {}
    for name, group in file["recorded_potentials"].items():
        pictures, neuron = group["picture"][...], group["neuron"][...]
        n_steps = group["potential"].shape[1]
        potential = _checked(group["potential"], len(pictures), n_steps, len(neuron))
        for picture, v in zip(pictures, potential, strict=True):
            known = slice(None) if settings["trials"] is None else ~np.isnan(v).all(1)
            traced[name, int(picture)] = neuron, v[known]
    return {
        "network": {},
        "program": {},
        **settings,
        **{what: SpikeCounts(found, shapes) for what, found in raw.items()},
        "output_potentials": potentials,
        "events": events,
        **spikes,
        "recorded_potentials": traced,
        # Files of earlier versions have none.
        "weights": {k: array[...] for k, array in file.get("weights", {}).items()},
    }


def _checked(dataset: h5py.Dataset, *expected: int) -> npt.NDArray[Any]:
    """Read an array of a shape that others tell."""
    if dataset.shape != expected:
        raise ValueError(
            f"{dataset.name} has the shape {dataset.shape}, expected {expected}"
        )
    return np.asarray(dataset[...])
