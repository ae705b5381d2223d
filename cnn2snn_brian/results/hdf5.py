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
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import DAMAGE, written_from_memory
from cnn2snn_brian.projections import INPUT, from_neurons, to_neurons
from cnn2snn_brian.settings import (
    Parameters,
    Perturbations,
    recorded,
    restored,
    run_settings,
)
from cnn2snn_brian.spikes import SpikeCounts, SpikeData, Trials


def settings_of(result: SpikeData) -> dict[str, Any]:
    """Say what a result was run with, as JSON can hold it."""
    found = {
        "duration_s": result.duration_s,
        "dt_s": result.dt_s,
        "seed": result.seed,
        "parameters": recorded(result.parameters),
        "perturbations": None
        if result.perturbations is None
        else recorded(result.perturbations),
        "network": result.network,
        "program": result.program,
        "timings": result.timings,
        "versions": result.versions,
        "shapes": result.shapes,
    }
    # Left out where there are none, so that earlier versions read the rest.
    if result.trials is not None:
        found["trials"] = result.trials.record()
    if result.windows:
        found["windows"] = result.windows
    return found


def settings_text(result: SpikeData) -> str:
    """Write what a result was run with as JSON."""
    return json.dumps(settings_of(result), allow_nan=False)


def restored_settings(
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
        parameters, perturbations = restored_settings(stored, shapes)
        seed, trials = stored["seed"], stored.get("trials") or {"n_repeats": 1}
        repeats = trials["n_repeats"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "these are no settings of a result, the JSON text that exports have: "
            f"{type(error).__name__}: {error}"
        ) from error
    return run_settings(parameters, perturbations, seed, repeats)


#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian result 2"
#: Of version 0.1.0: without perturbations, network and program.
FORMERLY = "cnn2snn-brian result 1"

#: Metadata with checksums; HDF5 1.10 and later read it.
LIBRARY_VERSION = ("v110", "v110")


def _write(group: h5py.Group, name: str, array: npt.NDArray[Any]) -> h5py.Dataset:
    if array.size == 0:
        return group.create_dataset(name, data=array)
    # Shuffled bytes of small numbers compress well; the checksum finds damage.
    return group.create_dataset(
        name,
        data=array,
        chunks=True,
        compression="gzip",
        compression_opts=4,
        shuffle=True,
        fletcher32=True,
    )


def _smallest(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give an index array the smallest unsigned type that holds it."""
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


def save_result(result: SpikeData, path: str | os.PathLike[str]) -> None:
    """Write a result."""
    # The order of the layers, which groups of a file do not keep.
    order = {"counted": list(result.spike_counts), "events": list(result.events)}
    settings = settings_of(result) | order
    with (
        written_from_memory(path) as image,
        h5py.File(image, "w", libver=LIBRARY_VERSION) as file,
    ):
        # Bytes of fixed length have a checksum. HDF5 keeps other strings in a heap that
        # has none, and a damaged heap can make it read for ever.
        file.attrs["format"] = np.bytes_(FORMAT.encode())
        file.attrs["settings"] = np.bytes_(
            json.dumps(settings, allow_nan=False).encode()
        )
        _write(file, "output_potentials", result.output_potentials)
        counts = file.create_group("spike_counts")
        for name in result.spike_counts:
            shape = result.shapes[name]
            # As small as the program delivered them.
            array = from_neurons(result.spike_counts.raw(name), shape)
            dataset = _write(counts, name, array)
            axes = ("channel", "y", "x") if len(shape) == 3 else ("unit",)
            for dimension, label in enumerate(("picture", *axes)):
                dataset.dims[dimension].label = label
        events = file.create_group("events")
        for name, array in result.events.items():
            _write(events, name, array)
        spikes = file.create_group("recorded")
        for name in {layer: None for layer, _ in result.recorded}:
            _write_spikes(spikes.create_group(name), result, name)
        learned = file.create_group("weights")
        for name, array in result.weights.items():
            _write(learned, name, array)
        traced = file.create_group("recorded_potentials")
        for name in {layer: None for layer, _ in result.recorded_potentials}:
            _write_potentials(traced.create_group(name), result, name)


def _write_spikes(group: h5py.Group, result: SpikeData, layer: str) -> None:
    pictures = [image for name, image in result.recorded if name == layer]
    found = [result.recorded[layer, image] for image in pictures]
    _write(group, "picture", np.array(pictures, np.int64))
    _write(group, "n_spikes", np.array([len(step) for _, step in found], np.int64))
    for index, what in enumerate(("neuron", "step")):
        joined = np.concatenate([spikes[index] for spikes in found])
        dataset = _write(group, what, _smallest(joined))
        dataset.attrs["dtype"] = np.bytes_(str(joined.dtype).encode())


def _write_potentials(group: h5py.Group, result: SpikeData, layer: str) -> None:
    pictures = [image for name, image in result.recorded_potentials if name == layer]
    found = [result.recorded_potentials[layer, image] for image in pictures]
    _write(group, "picture", np.array(pictures, np.int64))
    # The same neurons of all pictures, as `Simulator.run` records them.
    _write(group, "neuron", found[0][0])
    # Trials of other stimuli may be shorter: these end in NaN.
    together = np.full(
        (len(found), max(len(v) for _, v in found), len(found[0][0])), np.nan
    )
    for k, (_, v) in enumerate(found):
        together[k, : len(v)] = v
    dataset = _write(group, "potential", together.astype(found[0][1].dtype))
    for dimension, label in enumerate(("picture", "step", "neuron")):
        dataset.dims[dimension].label = label


def load_result(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a result."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("format")
            if isinstance(found, bytes):
                found = found.decode()
            if found in (FORMAT, FORMERLY):
                return _read(file)
    except DAMAGE as error:
        raise InputError(
            f"{path}: not a saved result, or damaged: {type(error).__name__}: {error}"
        ) from error
    raise InputError(
        f"{path}: its format is {found!r}, expected {FORMAT!r}; "
        "SimulationResult.save makes such files"
    )


def _read(file: h5py.File) -> dict[str, Any]:
    settings = json.loads(file.attrs["settings"])
    shapes = {name: tuple(shape) for name, shape in settings.pop("shapes").items()}
    potentials = file["output_potentials"][...]
    raw = {}
    for name in settings.pop("counted"):
        counts = file["spike_counts"][name][...]
        _check_shape(f"spike_counts/{name}", counts, (len(potentials), *shapes[name]))
        raw[name] = to_neurons(counts, shapes[name])
    events = {name: file["events"][name][...] for name in settings.pop("events")}
    for name, array in events.items():
        _check_shape(f"events/{name}", array, (len(potentials),))
    spikes = {}
    for name, group in file["recorded"].items():
        ends = np.cumsum(group["n_spikes"][...])
        both = []
        for what in ("neuron", "step"):
            joined = group[what][...].astype(group[what].attrs["dtype"].decode())
            _check_shape(f"recorded/{name}/{what}", joined, (ends[-1],))
            both.append(np.split(joined, ends[:-1]))
        for picture, neuron, step in zip(group["picture"][...], *both, strict=True):
            spikes[name, int(picture)] = neuron, step
    traced = {}
    for name, group in file["recorded_potentials"].items():
        neuron, v = group["neuron"][...], group["potential"][...]
        expected = (len(group["picture"]), v.shape[1], len(neuron))
        _check_shape(f"recorded_potentials/{name}", v, expected)
        for picture, own in zip(group["picture"][...], v, strict=True):
            known = ~np.isnan(own).all(1) if "trials" in settings else slice(None)
            traced[name, int(picture)] = neuron, own[known]
    trials = settings.pop("trials", None)
    windows = settings.pop("windows", ())
    # A file of an earlier version lacks newer settings.
    settings.pop("output_threshold", None)
    parameters, perturbations = restored_settings(settings, shapes)
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
        "windows": tuple((int(start), int(stop)) for start, stop in windows),
    }


def _check_shape(what: str, array: npt.NDArray[Any], expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{what} has the shape {array.shape}, expected {expected}")
