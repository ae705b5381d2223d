"""
What users add to a network: Brian2 objects of their own, in each of Brian2's modes.

A build function makes its objects in Brian2's runtime mode, also where they become part
of a compiled program: connections and initial values are numbers then, the same in all
modes, and `moved` takes them to the program.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from brian2 import (
    Clock,
    CodeRunner,
    EventMonitor,
    Network,
    NetworkOperation,
    PopulationRateMonitor,
    Quantity,
    StateMonitor,
    Synapses,
    get_device,
    prefs,
    second,
    set_device,
)

from cnn2snn_brian.brian.internals import (
    ArrayVariable,
    DynamicArrayVariable,
    InstanceTrackerSet,
    Nameable,
    RuntimeDevice,
    get_identifiers,
    reset_device,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT

#: Why objects are refused.
REFUSED: dict[type[Any], str] = {
    NetworkOperation: "Python can't run in a compiled program; write it in Brian2's "
    "language, as run_regularly, run_on_event or a TimedArray",
    EventMonitor: "the result records: run(..., record=[...])",
    StateMonitor: "the result records: run(..., record=Recording(variables=...))",
    PopulationRateMonitor: "the result records: run(..., record=[...]), result.psth",
}

#: Slots in which a compiled program updates a layer in one pass, unless something else
#: happens to it there.
ONE_PASS = ("groups", "thresholds", "after_thresholds", "resets")


class Builder(NamedTuple):
    """A build function, and the seed of what it draws."""

    build: Callable[..., object]
    seed: int
    #: Whether it makes a network, in place of adding to one.
    makes_network: bool = False


@dataclass(frozen=True, eq=False)
class Extension:
    """
    What was added to a network.

    Attributes
    ----------
    builders : tuple of Builder
        The build functions, in order.
    populations : dict of str to tuple of int
        Shapes of added groups that spike.
    settable : dict of str to Quantity
        Variables of added objects that a run can set, ``"readers.tau"``, and how
        `build` leaves them.
    apart : frozenset of str
        Layers that added objects change between their equations and their resets.
    digest : str
        Hash of the objects' code, connections and initial values.
    names : tuple of str
        Names of the objects.
    """

    builders: tuple[Builder, ...] = ()
    populations: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    settable: Mapping[str, Quantity] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()
    digest: str = ""
    names: tuple[str, ...] = ()


class Added(NamedTuple):
    """What a network was extended by."""

    #: As they were added, and all that was made for it, their parts among it.
    objects: tuple[Any, ...]
    made: tuple[Any, ...]


@contextmanager
def runtime_mode() -> Iterator[None]:
    """Make objects in Brian2's runtime mode, with its NumPy target."""
    target, prefs.codegen.target = prefs.codegen.target, "numpy"
    set_device("runtime")
    try:
        yield
    finally:
        reset_device()
        prefs.codegen.target = target


@contextmanager
def _own_clock_and_seed(clock: Any, seed: int) -> Iterator[None]:
    """Let objects have the network's clock, and draw from a seed of their own."""
    device = get_device()
    default, device.defaultclock = device.defaultclock, clock
    can_restore = isinstance(device, RuntimeDevice)
    state = device.get_random_state() if can_restore else None
    queue = getattr(device, "main_queue", ())
    asked = [given for kind, given in queue if kind == "seed"]
    device.seed(seed)
    try:
        yield
    finally:
        device.defaultclock = default
        if can_restore:
            device.set_random_state(state)
        else:  # what a user asked for before, or other numbers in each run
            device.seed(asked[-1] if asked else None)


def _called(builder: Builder, network: Network, new: InstanceTrackerSet) -> None:
    """Call a build function; its objects see the names that it and its helpers see."""
    stack: list[tuple[Any, set[Any]]] = [(sys._getframe(), set())]
    before = sys.getprofile()

    def keep(frame: Any, event: str, argument: Any) -> None:
        caller, known = stack[-1]
        if event == "call" and frame.f_back is caller:
            package, _, _ = frame.f_globals.get("__name__", "").partition(".")
            if package not in ("brian2", "cnn2snn_brian"):
                stack.append((frame, set(_alive(new))))
        elif event == "return" and frame is caller:
            stack.pop()
            for item in set(_alive(new)) - known:
                for seeing in (item, getattr(item, "group", item)):
                    _show_names(seeing, frame.f_globals | frame.f_locals)

    sys.setprofile(keep)
    try:
        made = builder.build(*(() if builder.makes_network else (network,)))
    finally:
        sys.setprofile(before)
    if builder.makes_network:
        if not isinstance(made, Network):
            raise InputError(f"build returns {made!r:.80}, expected a brian2.Network")
        network.add(*made.objects)
        network.schedule = made.schedule


def _show_names(item: Any, names: Mapping[str, Any]) -> None:
    """Add names that Brian2 looks up constants in, unless they have a meaning there."""
    own = getattr(item, "namespace", None)
    if own is not None:
        inner = {*own, *getattr(item, "variables", ())}
        more = {k: v for k, v in names.items() if k[0] != "_" and k not in inner}
        item.namespace = {**own, **more}


@contextmanager
def fresh_names() -> Iterator[InstanceTrackerSet]:
    """Name objects as if there were no others, and keep track of them."""
    known = Nameable.__instancefollower__.instance_sets
    before, known[Nameable] = known[Nameable], InstanceTrackerSet()
    new = known[Nameable]
    try:
        yield new
    finally:
        known[Nameable] = before
        for item in _alive(new):
            before.add(item)


def _alive(references: InstanceTrackerSet) -> list[Any]:
    """List objects by their names, which those don't have that could not be made."""
    found = (reference() for reference in list(references))
    named = (item for item in found if hasattr(item, "name"))
    return sorted(named, key=attrgetter("name"))


def forget(objects: Iterable[Any]) -> None:
    """Let objects go without Brian2's warning that they never ran."""
    for item in objects:
        item._network = "none"


def extend_network(network: Network, builders: tuple[Builder, ...]) -> Added:
    """Call build functions, and check what they added."""
    if not builders:
        return Added((), ())
    before = set(network.objects)
    names = {part.name for part in _parts(network)} | {INPUT}
    with fresh_names() as new:
        try:
            for builder in builders:
                with _own_clock_and_seed(network.clock, builder.seed):
                    _called(builder, network, new)
            made = _alive(new)
            _check_all(network, before, names, made)
        except BaseException:
            forget(_alive(new))
            raise
    return Added(
        tuple(sorted(set(network.objects) - before, key=attrgetter("name"))),
        tuple(made),
    )


def _check_all(
    network: Network, before: set[Any], names: set[str], made: list[Any]
) -> None:
    if gone := sorted(item.name for item in before - set(network.objects)):
        raise InputError(f"extend: build removes {', '.join(gone)} from the network")
    for item in set(network.objects) - before:
        if item not in made or item._network is not None:
            raise InputError(
                f"extend: {item.name} was made before build was called, or is part of "
                "another network; make it in build, so that each network has its own"
            )
    parts = set(_parts(network)).intersection(made)
    for part in sorted(parts, key=attrgetter("name")):
        _check(part, names, network.clock)
        names.add(part.name)
    lost = [
        item.name
        for item in made
        if getattr(item, "add_to_magic_network", False)
        and getattr(item, "group", item) is item  # not a part of another one
        and item not in parts
    ]
    if lost:
        raise InputError(
            f"extend: build makes {', '.join(lost)}, but does not add it to the "
            "network: network.add(...)"
        )
    try:
        network.check_dependencies()
    except ValueError as error:
        raise InputError(f"extend: {error}") from error


def _parts(network: Network) -> Iterator[Any]:
    """List all objects of a network, also those that are parts of others."""
    waiting = list(network.objects)
    while waiting:
        part = waiting.pop()
        yield part
        waiting += part.contained_objects


def _check(part: Any, names: set[str], clock: Clock) -> None:
    """Refuse what can't be part of a compiled program, or does not fit."""
    for kind, advice in REFUSED.items():
        if isinstance(part, kind):
            raise InputError(
                f"extend: {part.name} is a {type(part).__name__}: {advice}"
            )
    if part.name in names:
        raise InputError(
            f"extend: there is a {part.name!r} in the network already; give this "
            f"{type(part).__name__} another name"
        )
    every = part.clock.dt_ / clock.dt_
    if round(every) < 1 or abs(every - round(every)) > 1e-6:
        raise InputError(
            f"extend: {part.name} has a time step of {part.clock.dt}, expected a "
            f"multiple of the network's, {clock.dt}"
        )
    # In standalone mode nothing is known of them, but `extend` has checked them.
    if isinstance(part, Synapses) and isinstance(get_device(), RuntimeDevice):
        _check_delays(part, clock)


def _check_delays(synapses: Synapses, clock: Clock) -> None:
    """Refuse a delay that Brian2 would round; those of single synapses it may."""
    for pathway in synapses._pathways:
        if (variable := pathway.variables["delay"]).scalar:
            delay = float(np.ravel(variable.get_value())[0])
            if abs(delay / clock.dt_ - round(delay / clock.dt_)) > 1e-6:
                raise InputError(
                    f"extend: the delay of {synapses.name} is {delay * second!s}, "
                    f"expected a multiple of dt, {clock.dt}"
                )


def own_variables(item: Any) -> Iterator[Any]:
    """List the arrays of an object that belong to it and not to another one."""
    variables = getattr(item, "variables", {})
    for variable in map(variables.get, sorted(variables)):
        owner = getattr(variable, "owner", None)
        is_own = getattr(owner, "name", None) == item.name
        if is_own and isinstance(variable, ArrayVariable):
            yield variable


def spiking(objects: tuple[Any, ...]) -> list[Any]:
    """List the groups that spike."""
    return [item for item in objects if "spike" in getattr(item, "events", ())]


def described(
    network: Network, builders: tuple[Builder, ...], layers: Any
) -> Extension:
    """Add objects to a network in runtime mode, and say what they are."""
    added = extend_network(network, builders)
    forget(added.made)
    settable, digest = {}, hashlib.sha256()
    for item in added.made:
        for part in ("equations", "code", "abstract_code", "event_codes", "when"):
            digest.update(f"{item.name}.{part} {getattr(item, part, '')}\0".encode())
        for variable in own_variables(item):
            digest.update(f"{variable.name}\0".encode())
            digest.update(np.ascontiguousarray(variable.get_value()).data)
    for item in added.objects:
        for variable in own_variables(item):
            if not variable.read_only and not variable.name.startswith("_"):
                value = np.array(variable.get_value(), float)
                found = Quantity(value[0] if variable.scalar else value)
                found.dim = variable.dim
                settable[f"{item.name}.{variable.name}"] = found
    apart = {
        owner
        for part in added.made
        if isinstance(part, CodeRunner) and part.when in ONE_PASS
        for owner in _used_by(part) & set(layers.names)
    }
    return Extension(
        builders,
        {group.name: (int(group.N),) for group in spiking(added.objects)},
        settable,
        frozenset(apart),
        digest.hexdigest()[:32],
        tuple(item.name for item in added.objects),
    )


def _used_by(part: CodeRunner) -> set[str]:
    """Name the owners of the variables that code or equations use."""
    code, equations = getattr(part, "code", ""), getattr(part.group, "equations", "")
    words = get_identifiers(f"{code} {equations}")
    return {
        getattr(getattr(variable, "owner", None), "name", "")
        for name, variable in part.group.variables.items()
        if name in words
    }


def moved(added: Added, device: Any) -> list[Any]:
    """
    Take what was made in runtime mode to a standalone device.

    Values go to its file, so that the source of a program does not depend on them, nor
    on the number of synapses.
    """
    found = []
    for item in added.made:
        variables: Any = getattr(item, "variables", None)
        if variables is None:
            continue
        variables.device = device
        # Brian2 has sets of names: another order in each process.
        for variable in map(variables.get, sorted(variables)):
            if not isinstance(variable, ArrayVariable) or variable.device is device:
                continue
            values = np.atleast_1d(variable.get_value()).copy()
            variable.device = device
            device.add_array(variable)
            where = device.get_array_name(variable, access_data=False)
            if not isinstance(variable, DynamicArrayVariable):
                device.init_with_zeros(variable, variable.dtype)
                where = f"{where}, {values.size}"
            is_count = isinstance(item, Synapses) and variable.name == "N"
            device.array_cache[variable] = None if is_count else values
            device.load(where, values)
            found.append(variable)
    return found
