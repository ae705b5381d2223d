"""
Brian2's C++ standalone device, for programs that show many images.

The device is one of our own, so that a simulation that a user has under way on
Brian2's ``cpp_standalone`` device is not touched.
"""

import gc
import locale
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brian2 import CodeRunner, all_devices, prefs, set_device

from cnn2snn_brian.brian import (
    RESULTS_FOLDER,
    STOPPED,
    ArrayVariable,
    CPPStandaloneDevice,
    GateSynapses,
    Place,
    ProgramCodeObject,
    Schedule,
    SharedSynapses,
    TrialEnd,
    added_to_steps,
    forgotten_spikes,
    program_network,
    reset_device,
    rewound,
    seeded,
    set_steps,
)
from cnn2snn_brian.errors import BuildError
from cnn2snn_brian.projections import INPUT
from cnn2snn_brian.settings import PERTURBATION, Perturbations, numbers
from cnn2snn_brian.simulator.compiler import UNIT

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

HEADER = "learning.h"

#: Variable of event-driven equations: when a synapse was updated.
LAST_UPDATE = "lastupdate"


def learning_before(
    device: CPPStandaloneDevice, network: Any, snn: "SpikingNetwork"
) -> list[str]:
    """Write what happens before the first image."""
    if not snn.rules:
        return []
    lines = [f"cnn2snn::Learning learning(program, {RESULTS_FOLDER});"]
    for name, rule in snn.rules.items():
        variables = network[f"{name}_synapses"].variables

        def array(variable: str, variables: Any = variables) -> str:
            found = device.get_array_name(variables[variable], access_data=False)
            return f"brian::{found}"

        lines.append(f'learning.add_weights("{name}", {array("w")});')
        own = [*rule.variables, *([LAST_UPDATE] if LAST_UPDATE in variables else [])]
        lines += [f"learning.add_state({array(variable)});" for variable in own]
    return lines


def learning_after(
    device: CPPStandaloneDevice, network: Any, snn: "SpikingNetwork"
) -> list[str]:
    """Write what happens at the end of each image, before its results are written."""
    lines = []
    for name, rule in snn.rules.items():
        synapses = network[f"{name}_synapses"]
        reward = device.get_array_name(synapses.variables["reward"])
        lines.append(f"    {reward}[0] = learning.reward();")
        if rule.on_trial_end:
            runner = TrialEnd(synapses, rule)
            runner.before_run({})
            lines.append(f"    _run_{runner.codeobj.name}();")
    return [*lines, "    learning.write();"] if snn.rules else []


DEVICE_NAME = "cnn2snn_standalone"
#: What all generated files read; `HEADER` reads it in networks that learn.
PROGRAM_HEADER = "picture_program.h"
#: Of the part of a program that Brian2 does not generate.
HEADERS = (
    HEADER,
    PROGRAM_HEADER,
    "input_file.h",
    "image_current.h",
    "population.h",
    "random_numbers.h",
    "run_settings.h",
    "shown.h",
)


#: Variables of a group that don't start each image as they were when it was built.
NO_STATE = {"v", "bias", "input_scale", "_spikespace", "i"}


class ProgramDevice(CPPStandaloneDevice):
    """C++ standalone mode whose sources are one translation unit."""

    def code_object_class(
        self, codeobj_class: Any = None, fallback_pref: str | None = None
    ) -> Any:
        """Choose the class of generated code; ours, unless one is asked for."""
        return ProgramCodeObject if codeobj_class is None else codeobj_class


all_devices.setdefault(DEVICE_NAME, ProgramDevice())


@contextmanager
def _device_taken() -> Iterator[CPPStandaloneDevice]:
    """Make our device the active one, and give back what was active before."""
    device = all_devices[DEVICE_NAME]
    # Names of generated functions depend on which Brian2 objects are alive, and a
    # compiled program is found again by its source: forget networks built before.
    gc.collect()
    device.reinit()
    set_device(DEVICE_NAME, build_on_run=False)
    cpp = prefs.codegen.cpp
    flags, cpp.extra_compile_args = cpp.extra_compile_args, []
    try:
        # Without flags: Brian2 would try each with a compiler that is not ours.
        yield device
    finally:
        cpp.extra_compile_args = flags
        device.reinit()
        # Brian2 carries the dt of its default clock along, there and back.
        reset_device()
        gc.collect()


class AfterThresholds(CodeRunner):  # type: ignore[misc]
    """
    Where lesions and perturbed input take effect: behind thresholds of a step.

    Parameters
    ----------
    group : NeuronGroup
        Any group of the network.
    place : Place
        When it happens in a step.
    population : int
        Index of the population whose threshold was before; -1 for all.
    """

    def __init__(self, group: Any, place: Place, population: int) -> None:
        CodeRunner.__init__(
            self,
            group,
            "after_thresholds",
            code="",
            clock=group.clock,
            when=place.when,
            order=place.order,
            name=f"{PERTURBATION}_{population}" if population >= 0 else PERTURBATION,
            template_kwds={"population": population},
            codeobj_class=ProgramCodeObject,
        )


def _delayed_spikes(
    device: CPPStandaloneDevice, network: Any, synapses: str
) -> list[str]:
    """C++ that forgets spikes that are under way or counted when an image starts."""
    if synapses not in network:
        return []
    connected = network[synapses]
    lines = []
    if isinstance(connected, GateSynapses):
        for name in ("spikes_so_far", "spikes_passed"):
            counts = connected.variables[name]
            counted = device.get_array_name(counts)
            lines.append(f"program.add_state({counted}, {counts.size});")
    if not isinstance(connected, SharedSynapses):
        return ["program.add_start([]() {", *forgotten_spikes(connected), "});"]
    if not connected.template_kwds["delay_steps"]:
        return lines
    ring, slot = (
        str(device.get_array_name(connected.variables[name]))
        for name in ("_delayed", "_slot")
    )
    n_rows = connected.template_kwds["delay_steps"] + 1
    row = connected.variables["_delayed"].size // n_rows
    return [*lines, f"program.add_ring({ring}, {row}, {n_rows}, {slot});"]


def _worth_of_spikes(
    device: CPPStandaloneDevice, network: Any, snn: "SpikingNetwork"
) -> list[str]:
    """C++ that multiplies weights by what spikes of their source stand for."""
    lines = []
    for p in snn.layers.projections:
        synapses, connection = f"{p.name}_synapses", p.connection
        if synapses not in network:
            continue
        variables, channels = network[synapses].variables, connection.input_shape[0]
        key = f"{synapses}.factors"
        if isinstance(network[synapses], SharedSynapses):
            weights = device.get_array_name(variables["w"])
            lines.append(
                f'program.scale_weights("{key}", {weights}, {variables["w"].size}, '
                f"{connection.weights_of_channel}, {channels});"
            )
        else:
            weights, sources = (
                device.get_array_name(variables[name], access_data=False)
                for name in ("w", "_synaptic_pre")
            )
            lines.append(
                f'program.scale_synapses("{key}", brian::{weights}, brian::{sources}, '
                f"{channels});"
            )
    return lines


def _picture_loop(
    device: CPPStandaloneDevice, network: Any, snn: "SpikingNetwork"
) -> tuple[str, str]:
    """C++ in front of and behind Brian2's run of one image."""

    def array(group: str, variable: str) -> str:
        return str(device.get_array_name(network[group].variables[variable]))

    def spikes(group: str) -> str:
        return f"{array(group, '_spikespace')}, {network[group].N}"

    clock = network[snn.layer_names[0]].clock
    lines = [f"cnn2snn::PictureProgram program({RESULTS_FOLDER});"]
    # Every setting that is a variable of a group; the others are read by name.
    bound: set[tuple[str, str]] = set()
    for key in numbers(snn, snn.parameters, Perturbations.of(snn)):
        name, _, variable = key.partition(".")
        if variable and name in network and variable in network[name].variables:
            size = network[name].variables[variable].size
            lines.append(f'program.set("{key}", {array(name, variable)}, {size});')
            bound.add((name, variable))
    if snn.encoding == "poisson":
        rates = array(INPUT, "rates")
        lines.append(
            f'program.add_poisson("{INPUT}", {spikes(INPUT)}, {rates}, '
            f"{float(snn.dt_s)!r});"
        )
    for name in snn.layer_names:
        n_thresholds = network[name].variables["v_th"].size
        state = f"{array(name, 'v')}, {array(name, 'v_th')}, {n_thresholds}"
        lines.append(f'program.add_neurons("{name}", {spikes(name)}, {state});')
        for variable in network[name].variables.values():
            if not isinstance(variable, ArrayVariable):
                continue
            if variable.owner is None or variable.owner.name != name:
                continue
            if variable.name in NO_STATE or (name, variable.name) in bound:
                continue
            lines.append(
                f"program.add_state({array(name, variable.name)}, {variable.size});"
            )
        for p in snn.layers.into(name):
            lines += _delayed_spikes(device, network, f"{p.name}_synapses")
    lines += _worth_of_spikes(device, network, snn)
    lines += learning_before(device, network, snn)
    if snn.encoding == "current":
        for p in snn.layers.out_of(INPUT):
            read = p.connection.after_window().input_shape
            n, bias = math.prod(read), array(p.target, "bias")
            lines.append(f"program.add_current({n}, {bias});")
    lines += [
        "program.open();",
        "cnn2snn::current_program() = &program;",
        # Behind all of Brian2's own objects: after the last slot of a step.
        added_to_steps(network, clock, "cnn2snn::after_step"),
        "while (program.next([](uint64_t seed) {",
        seeded("seed & 0xffffffffu"),
        "})) {",
        *rewound(device, network, clock),
    ]
    after = learning_after(device, network, snn)
    after += [f"    program.finish({STOPPED});", "}"]
    return "\n".join(lines), "\n".join(after)


def write_sources(snn: "SpikingNetwork", directory: Path) -> None:
    """Write the C++ project of a network that is shown images."""
    with _device_taken() as device:
        network = program_network(snn)
        group = network[snn.layer_names[0]]
        if snn.propagation == "step":
            network.add(AfterThresholds(group, Schedule().perturbation, -1))
        else:
            first = 0 if snn.encoding == "poisson" else 1
            for index in range(first, len(snn.layers) + 1):
                place = Schedule.of(snn.propagation, index).perturbation
                network.add(AfterThresholds(group, place, index - first))
        device.headers.append(f'"{HEADER if snn.rules else PROGRAM_HEADER}"')
        before, after = _picture_loop(device, network, snn)
        device.insert_code("before_network_run", before)
        device.insert_code("after_network_run", after)
        # The results are in files of our own. Without this, all synapses would be
        # written to disk at the end of each program run.
        device.insert_code("before_end", "return 0;")
        # The duration is that of each trial; Brian2 needs one to write its line.
        network.run(snn.dt, namespace={})
        set_steps(device, network, "program.n_steps()", snn.dt_s)
        try:
            device.build(directory=str(directory), compile=False, run=False)
        except UnicodeError as error:
            raise BuildError(
                f"Brian2 can't read its sources as {locale.getpreferredencoding(False)}"
                ", the encoding of this process. Set PYTHONUTF8=1 in the environment, "
                "or a locale of UTF-8, such as LC_ALL=C.UTF-8"
            ) from error
    for name in HEADERS:
        with as_file(files("cnn2snn_brian.simulator") / name) as path:
            shutil.copy(path, directory / name)
    sources = sorted(directory.rglob("*.cpp"))
    includes = [f'#include "{path.relative_to(directory)}"\n' for path in sources]
    (directory / UNIT).write_text("".join(includes))
