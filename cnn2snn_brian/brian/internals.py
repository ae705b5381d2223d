"""
What this package takes from inside of Brian2: parts that may change in any version.

Names that ``from brian2 import ...`` does not offer are imported here, and what the
generated C++ looks like is said here. Two more are taken in ``description``, which does
not know this folder: ``EquationError`` and ``brian_excepthook``. Files of Brian2 are
replaced in ``templates/``. ``tests/test_internals.py`` checks each of these assumptions
against the Brian2 that is installed, without a compiler.
"""

import warnings
from functools import cache
from typing import Any

import brian2
from brian2.codegen.generators.cpp_generator import CPPCodeGenerator
from brian2.codegen.runtime.cython_rt import CythonCodeObject
from brian2.codegen.runtime.numpy_rt import NumpyCodeObject
from brian2.core.names import Nameable
from brian2.core.tracking import InstanceTrackerSet
from brian2.core.variables import (
    ArrayVariable,
    DynamicArrayVariable,
    Subexpression,
    Variables,
)
from brian2.devices.cpp_standalone.codeobject import CPPStandaloneCodeObject
from brian2.devices.cpp_standalone.device import CPPStandaloneDevice
from brian2.devices.device import RuntimeDevice, reset_device
from brian2.utils.stringtools import get_identifiers, word_substitute

#: C++: where a program writes its results, and whether Brian2 has stopped it.
RESULTS_FOLDER, STOPPED = "brian::results_dir", "Network::_globally_stopped"


def added_to_steps(network: Any, clock: Any, function: str) -> str:
    """C++ that calls a function in each step, after all objects added before."""
    return f"{network.name}.add(&{clock.name}, {function});"


def seeded(seed: str) -> str:
    """C++ that seeds Brian2's generator of random numbers."""
    return f"brian::_random_generators[0].seed({seed});"


def rewound(device: CPPStandaloneDevice, network: Any) -> list[str]:
    """C++ that sets the time back to 0."""
    clocks = sorted(
        {item.clock for item in network.sorted_objects}, key=lambda c: c.name
    )
    # Brian2 sets it at the end of a step only: the first step would see the time at
    # which the last image ended.
    times = (device.get_array_name(clock.variables["t"]) for clock in clocks)
    return [f"{network.name}.t = 0;", *(f"{t}[0] = 0;" for t in times)]


def forgotten_spikes(synapses: Any) -> list[str]:
    """C++ that empties the queues of Brian2's own synapses."""
    return [
        f"for (auto* queue : brian::{pathway.name}.queue)"
        " for (auto& spikes : queue->queue) spikes.clear();"
        for pathway in synapses._pathways
    ]


def set_steps(
    device: CPPStandaloneDevice, network: Any, steps: str, dt_s: float
) -> None:
    """Let the line that runs a network for one step take as many as a C++ number."""
    ((_, lines),) = (
        entry for kind, entry in device.main_queue if kind == "run_network"
    )
    (index,) = (k for k, line in enumerate(lines) if f"{network.name}.run(" in line)
    # The product that Brian2 would have had: the same bits, so the same steps.
    duration = f"{steps} * {float(dt_s)!r}"
    before, _, behind = lines[index].partition(f"run({float(dt_s)!r},")
    assert behind, lines[index]
    lines[index] = f"{before}run({duration},{behind}"


def sort_clocks(device: CPPStandaloneDevice, network: Any) -> None:
    """Set clocks in the order of their names: Brian2 has a set, in any order."""
    names = {
        device.get_array_name(clock.variables[what])
        for clock in {item.clock for item in network.sorted_objects}
        for what in ("t", "timestep")
    }
    places = [
        k
        for k, (kind, given) in enumerate(device.main_queue)
        if kind == "set_by_single_value" and given[0] in names
    ]
    lines = sorted((device.main_queue[k] for k in places), key=lambda line: line[1][0])
    for place, line in zip(places, lines, strict=True):
        device.main_queue[place] = line


def has_stored_state(network: Any) -> bool:
    """Say whether ``network.store()`` was called."""
    return "default" in network._stored_state


#: Of Brian2, parts are replaced that may change in any version (``internals.py``).
TESTED = ("2.9.0", "2.10.1", "2.11.0")


@cache
def check_version() -> None:
    """Warn, once, if Brian2 is of a version that was not tested."""
    if brian2.__version__ not in TESTED:
        warnings.warn(
            f"Brian2 {brian2.__version__} was not tested with this package, which "
            f"replaces parts of it; tested are {', '.join(TESTED)}",
            stacklevel=2,
        )
