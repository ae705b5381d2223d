"""
All settings of a run: what `Simulator.run`, ``run_many``, ``sweep`` and results take.

They are the fields of `Parameters` and `Perturbations`; this module puts them together.
"""

import textwrap
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from cnn2snn_brian.checks import check_known
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.perturbations import Perturbations
from cnn2snn_brian.settings.scales import input_gains, unlinked, weight_factors
from cnn2snn_brian.settings.settings import Numbers, Setting, described, reference

Documented = TypeVar("Documented", bound=Callable[..., Any])

#: All settings of a run, by name.
SETTINGS: dict[str, Setting] = described(Parameters, Perturbations)


#: What a docstring says of settings that are given together.
ALL_AT_ONCE = "Numbers of a tuning or a result; those given by name go before them."


def check_settings(
    network: Any, given: Any, seed: int = 0
) -> tuple[Parameters, Perturbations]:
    """Check the settings of one run: by name, or `Parameters` alone."""
    if isinstance(given, Parameters):
        given = {"parameters": given}
    if not isinstance(given, Mapping):
        raise InputError(f"settings: {given!r} is not a dict of settings by name")
    check_known("setting", given, (*SETTINGS, "parameters"))
    others = dict(given)
    parameters = others.pop("parameters", None)
    changes = {
        name: others.pop(name) for name in described(Parameters) if name in given
    }
    if parameters is None:
        parameters = network.parameters
    if not isinstance(parameters, Parameters):
        raise InputError(
            f"parameters: {parameters!r}, expected Parameters, as a network, a tuning "
            "and a result have them"
        )
    if changes:
        parameters = parameters.replace(**changes)
    parameters.check_network(network)
    return parameters, Perturbations.of(network, seed, **others)


def numbers(
    network: Any, parameters: Parameters, perturbations: Perturbations
) -> Numbers:
    """Write all settings of a run for a compiled program."""
    found: Numbers = {}
    for name, value in {**vars(parameters), **vars(perturbations)}.items():
        found |= SETTINGS[name].numbers(name, value, network)
    for name, threshold in parameters.thresholds.items():
        found[f"{name}.v_ref"] = np.array([reference(threshold)])
    for name, factors in weight_factors(network.layers, parameters).items():
        found[f"{name}_synapses.factors"] = factors
    if network.has_constant_input:
        scale = parameters.rate_scale
        gains = input_gains(network.layers, parameters.thresholds, scale)
        for name in unlinked(network.layers):
            found[f"{name}.input_scale"] = np.array([gains[name]])
    return found


def run_settings(
    parameters: Parameters, perturbations: Perturbations | None, seed: int, repeats: int
) -> dict[str, Any]:
    """Put together what `Simulator.run` needs to repeat a run."""
    if perturbations is None:
        raise InputError(
            "version 0.1.0 saved this result without lesions, neuron models and "
            "noise; result.parameters and result.seed are what is known of its run"
        )
    repeated = {"repeats": repeats} if repeats > 1 else {}
    return {**vars(parameters), **vars(perturbations), "seed": seed, **repeated}


def documented(function: Documented) -> Documented:
    """Put the settings of a run into a docstring that has a line ``{settings}``."""
    doc = function.__doc__
    if doc is None:  # python -OO
        return function
    line = next(line for line in doc.splitlines() if line.strip() == "{settings}")
    indent = line[: line.index("{")]
    entries = [f"{indent}parameters : Parameters, optional\n{indent}    {ALL_AT_ONCE}"]
    for name, item in SETTINGS.items():
        text = textwrap.fill(item.summary, 84 - len(indent))
        text = textwrap.indent(text, f"{indent}    ")
        entries.append(f"{indent}{name} : {item.kind}\n{text}")
    function.__doc__ = doc.replace(line, "\n".join(entries))
    return function
