"""Names of layers, which groups, synapses and what belongs to them are named after."""

import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

import brian2

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, Network

#: Fixed names: a compiled program is found again by its generated source.
CLOCK_NAME = "network_clock"
NETWORK_NAME = "converted_network"
#: What a program does to spikes; with ``_0``, ``_1``, ... to those of one population.
PERTURBATION = "perturbation"

#: Brian2's rule for a name.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: Names of files are made of it.
LONGEST = 100

RESERVED = re.compile(
    rf"{CLOCK_NAME}|{NETWORK_NAME}|{PERTURBATION}(_\d+)?|defaultclock"
)
#: What Brian2 and this package append to the name of a layer or of a part of it.
SUFFIX = re.compile(
    r"_(constant_input|floor|run_regularly|spike_resetter|spike_thresholder"
    r"|stateupdater|subexpression_update|synapses"
    r"|update)(_\w+)?"
)


def check_layer_names(layers: Network) -> None:
    """Check that layers have names that their Brian2 objects can have."""
    names = {INPUT, *(part.name for part in layers.projections), *layers.names}
    for name in layers.names:
        if fault := _fault(name, names):
            raise InputError(
                f"the name of the layer {name!r} {fault}. Rename its module, or use "
                "convert(..., names='role')"
            )


def _fault(name: str, names: Iterable[str]) -> str | None:
    if not NAME.fullmatch(name):
        return "can't be one in Brian2: ASCII letters, digits and _, no digit first"
    if len(name) > LONGEST:
        return f"has {len(name)} characters, at most {LONGEST} are possible"
    if RESERVED.fullmatch(name):
        return "is that of another object of the network"
    for other in names:
        rest = name.removeprefix(other)
        if rest != name and SUFFIX.fullmatch(rest):
            return f"is that of an object that belongs to the layer {other!r}"
    return None


Function = TypeVar("Function", bound=Callable[..., Any])


def check_units(**units: Any) -> Callable[[Function], Function]:
    """Check the units of a function's arguments, with ``brian2.check_units``."""
    checked = brian2.check_units(**units)

    def decorator(function: Function) -> Function:
        wrapped: Any = wraps(function)(checked(function))
        return wrapped  # type: ignore[no-any-return]

    return decorator
