"""What a result was run with, as JSON and back: in our own files and in all exports."""

import json
from collections.abc import Mapping
from typing import Any

from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.description.perturbations import Perturbations
from cnn2snn_brian.description.run_settings import restored, run_settings
from cnn2snn_brian.description.settings import recorded
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import INPUT
from cnn2snn_brian.spikes.data import SpikeData

__all__ = ["read_settings", "restored_settings", "settings_of", "settings_text"]


def settings_of(result: SpikeData) -> dict[str, Any]:
    """
    Say what a result was run with, as JSON can hold it.

    Parameters
    ----------
    result : SpikeData
        The result.

    Returns
    -------
    dict
        Times, seed, parameters, perturbations, network, program, versions, shapes, and
        trials and windows if there are any.
    """
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
    """
    Write what a result was run with as JSON.

    Parameters
    ----------
    result : SpikeData
        The result.

    Returns
    -------
    str
        `settings_of` as JSON.
    """
    return json.dumps(settings_of(result), allow_nan=False)


def restored_settings(
    stored: Mapping[str, Any], shapes: Mapping[str, Any]
) -> tuple[Parameters, Perturbations | None]:
    """
    Read parameters and perturbations.

    Parameters
    ----------
    stored : dict
        As `settings_of` wrote them.
    shapes : dict of str to tuple of int
        Shapes of the input and of the layers.

    Returns
    -------
    parameters : Parameters
        What the neurons ran with.
    perturbations : Perturbations or None
        None in a file of version 0.1.0.
    """
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
        message = (
            "these are no settings of a result, the JSON text that exports have: "
            f"{type(error).__name__}: {error}"
        )
        raise InputError(message) from error
    return run_settings(parameters, perturbations, seed, repeats)
