"""
A simulation's result as one file: HDF5, readable by other programs too.

Arrays are compressed and carry checksums. ``spike_counts/conv1`` has the dimensions
(picture, channel, y, x). The spikes in ``recorded/conv1`` are those of all recorded
pictures, one picture after another: ``neuron`` is an index into the layer's Brian2
group, ordered (y, x, channel), ``step`` the time step, and ``n_spikes`` says how many
belong to each of the pictures in ``picture``. The membrane potentials in
``recorded_potentials/conv1`` are ``potential`` with the dimensions (picture, step,
neuron), for the pictures in ``picture`` and the indices in ``neuron``. ``weights/ip1``
are learned weights. The attribute ``settings`` is JSON.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import damage, written_from_memory
from cnn2snn_brian.projections import INPUT, from_neurons, to_neurons
from cnn2snn_brian.results.recorded import SpikeCounts, Trials
from cnn2snn_brian.settings import (
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


def _json(result: "SimulationResult", **more: Any) -> str:
    found = {name: getattr(result, name) for name in AS_JSON}
    holders = {name: found[name] for name in ("parameters", "perturbations")}
    found |= {name: own and recorded(own) for name, own in holders.items()}
    # Left out where there are none, so that earlier versions read the rest.
    if result.trials is not None:
        found["trials"] = result.trials.record()
    if result.windows:
        found["windows"] = result.windows
    return json.dumps(found | more, allow_nan=False)


def settings_text(result: "SimulationResult") -> str:
    """Write what a result was run with as JSON."""
    return _json(result)


def _restored(
    stored: Mapping[str, Any], shapes: Mapping[str, Any]
) -> tuple[Parameters, Perturbations | None]:
    """Read parameters and perturbations."""
    names = tuple(name for name in shapes if name != INPUT)
    own = stored.get("perturbations")
    return (
        Parameters.of(names, **stored["parameters"]),
        None if own is None else restored(Perturbations, own, shapes),
    )


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
    try:
        stored = json.loads(text)
        shapes = {name: tuple(shape) for name, shape in stored["shapes"].items()}
        parameters, perturbations = _restored(stored, shapes)
        seed, trials = stored["seed"], stored.get("trials") or {"n_repeats": 1}
        repeats = trials["n_repeats"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "these are no settings of a result, the JSON text that exports have: "
            f"{type(error).__name__}: {error}"
        ) from error
    return run_settings(parameters, perturbations, seed, repeats)


def _write(
    group: h5py.Group, name: str, array: npt.NDArray[Any], *axes: str
) -> h5py.Dataset:
    # Shuffled bytes of small numbers compress well; the checksum finds damage.
    packed = {
        "chunks": True,
        "compression": "gzip",
        "compression_opts": 4,
        "shuffle": True,
        "fletcher32": True,
    }
    dataset = group.create_dataset(name, data=array, **(packed if array.size else {}))
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
        # has none, and a damaged heap can make it read for ever.
        file.attrs["format"] = np.bytes_(FORMAT.encode())
        file.attrs["settings"] = np.bytes_(_json(result, **order).encode())
        _write(file, "output_potentials", result.output_potentials)
        counts = file.create_group("spike_counts")
        for name in result.spike_counts:
            shape = result.shapes[name]
            # As small as the program delivered them.
            array = from_neurons(result.spike_counts.raw(name), shape)
            axes = ("channel", "y", "x") if len(shape) == 3 else ("unit",)
            _write(counts, name, array, "picture", *axes)
        for what in ("events", "weights"):
            group = file.create_group(what)
            for name, array in getattr(result, what).items():
                _write(group, name, array)
        for what, write in (
            ("recorded", _write_spikes),
            ("recorded_potentials", _write_potentials),
        ):
            group, of_layers = file.create_group(what), getattr(result, what)
            for name in dict.fromkeys(layer for layer, _ in of_layers):
                own = {
                    k: found for (layer, k), found in of_layers.items() if layer == name
                }
                write(group.create_group(name), own)


def _write_spikes(group: h5py.Group, found: Mapping[int, Any]) -> None:
    lengths = [len(step) for _, step in found.values()]
    _write(group, "picture", np.array([*found], np.int64))
    _write(group, "n_spikes", np.array(lengths, np.int64))
    for what, parts in zip(
        ("neuron", "step"), zip(*found.values(), strict=True), strict=True
    ):
        joined = np.concatenate(parts)
        smallest = np.min_scalar_type(int(joined.max(initial=0)))
        dataset = _write(group, what, joined.astype(smallest))
        dataset.attrs["dtype"] = np.bytes_(str(joined.dtype).encode())


def _write_potentials(group: h5py.Group, found: Mapping[int, Any]) -> None:
    (neuron, first), *_ = found.values()
    _write(group, "picture", np.array([*found], np.int64))
    # The same neurons of all pictures, as `Simulator.run` records them.
    _write(group, "neuron", neuron)
    # Trials of other stimuli may be shorter: these end in NaN.
    longest = max(len(v) for _, v in found.values())
    together = np.full((len(found), longest, len(neuron)), np.nan, first.dtype)
    for own, (_, v) in zip(together, found.values(), strict=True):
        own[: len(v)] = v
    _write(group, "potential", together, "picture", "step", "neuron")


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
    settings = json.loads(file.attrs["settings"])
    shapes = {name: tuple(shape) for name, shape in settings["shapes"].items()}
    potentials = file["output_potentials"][...]
    n_images = len(potentials)
    raw = {}
    for name in settings.pop("counted"):
        counts = _checked(file["spike_counts"][name], (n_images, *shapes[name]))
        raw[name] = to_neurons(counts, shapes[name])
    events = {
        name: _checked(file["events"][name], (n_images,)) for name in settings["events"]
    }
    spikes = {}
    for name, group in file["recorded"].items():
        ends = np.cumsum(group["n_spikes"][...])
        both = []
        for what in ("neuron", "step"):
            joined = _checked(group[what], (ends[-1],))
            kind = group[what].attrs["dtype"].decode()
            both.append(np.split(joined.astype(kind), ends[:-1]))
        for picture, *own in zip(group["picture"][...], *both, strict=True):
            spikes[name, int(picture)] = tuple(own)
    traced = {}
    for name, group in file["recorded_potentials"].items():
        pictures, neuron = group["picture"][...], group["neuron"][...]
        n_steps = group["potential"].shape[1]
        expected = (len(pictures), n_steps, len(neuron))
        for picture, v in zip(
            pictures, _checked(group["potential"], expected), strict=True
        ):
            known = ~np.isnan(v).all(1) if "trials" in settings else slice(None)
            traced[name, int(picture)] = neuron, v[known]
    trials = settings.get("trials")
    # A file of an earlier version lacks newer settings.
    settings.pop("output_threshold", None)
    parameters, perturbations = _restored(settings, shapes)
    return {
        "network": {},
        "program": {},
        **settings,
        "spike_counts": SpikeCounts(raw, shapes),
        "output_potentials": potentials,
        "events": events,
        "parameters": parameters,
        "perturbations": perturbations,
        "shapes": shapes,
        "recorded": spikes,
        "recorded_potentials": traced,
        # Files of earlier versions have none.
        "weights": {k: array[...] for k, array in file.get("weights", {}).items()},
        "trials": None if trials is None else Trials.of(trials),
        "windows": tuple((a, b) for a, b in settings.get("windows", ())),
    }


def _checked(dataset: h5py.Dataset, expected: tuple[int, ...]) -> npt.NDArray[Any]:
    """Read an array of a shape that others tell."""
    if dataset.shape != expected:
        raise ValueError(
            f"{dataset.name} has the shape {dataset.shape}, expected {expected}"
        )
    return np.asarray(dataset[...])
