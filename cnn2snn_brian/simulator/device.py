"""
Brian2's C++ standalone device, for programs that show many images.

It is a separate device, so that a simulation that a user has under way on Brian2's
``cpp_standalone`` device is not touched.
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

import numpy as np
from brian2 import (
    Clock,
    CodeRunner,
    NeuronGroup,
    Synapses,
    all_devices,
    prefs,
    set_device,
)

from cnn2snn_brian.brian import (
    RESULTS_FOLDER,
    STOPPED,
    Added,
    ArrayVariable,
    CPPStandaloneDevice,
    DynamicArrayVariable,
    GateSynapses,
    ProgramCodeObject,
    Schedule,
    SharedSynapses,
    TrialEnd,
    added_to_steps,
    extend_network,
    forget,
    forgotten_spikes,
    fresh_names,
    moved,
    program_network,
    reset_device,
    rewound,
    runtime_mode,
    seeded,
    set_steps,
    sort_clocks,
    spiking,
)
from cnn2snn_brian.errors import BuildError
from cnn2snn_brian.projections import INPUT, LARGE, Shape, to_neurons
from cnn2snn_brian.settings import PERTURBATION, Perturbations, numbers
from cnn2snn_brian.simulator.units import write_units

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: Variable of event-driven equations: when a synapse was updated.
LAST_UPDATE = "lastupdate"


DEVICE_NAME = "cnn2snn_standalone"
#: Variables of a group that don't start each image as they were when it was built.
NO_STATE = {"v", "bias", "input_scale", "_spikespace", "i"}


#: File of a project with all arrays that its program starts with.
ARRAYS_FILE = "arrays"


class ProgramDevice(CPPStandaloneDevice):
    """C++ standalone mode: sources are a few compile units, arrays one file."""

    file: Any = None

    def load(self, where: str, values: Any, dtype: Any = None) -> None:
        """Let the program read an array when it starts."""
        self.insert_code("main", f"arrays.read_array({where});")
        self.file.write(np.int64(values.size).tobytes())
        whole: Any = ["readonly", "contig"]
        parts: Any = np.nditer(
            values,
            ["external_loop", "buffered", "zerosize_ok"],
            [whole],
            dtype,
            order="C",
            casting="unsafe",
            buffersize=LARGE,
        )
        for part in parts:
            self.file.write(part.data)

    def fill_with_array(self, var: Any, arr: Any) -> None:
        """Set a variable; Brian2 has a file for each, and keeps even large ones."""
        values = arr.base if isinstance(arr, np.flatiter) else np.asarray(arr)
        if values.size < 2:
            super().fill_with_array(var, values.ravel())
            return
        where = self.get_array_name(var, access_data=False)
        is_dynamic = isinstance(var, DynamicArrayVariable)
        self.load(where if is_dynamic else f"{where}, {var.size}", values, var.dtype)
        # Brian2 reads indices, when it connects synapses one by one.
        is_kept = values.size < LARGE or np.issubdtype(var.dtype, np.integer)
        is_kept = is_kept and not is_dynamic
        self.array_cache[var] = np.array(values, var.dtype).ravel() if is_kept else None

    def code_object_class(
        self, codeobj_class: Any = None, fallback_pref: str | None = None
    ) -> Any:
        """Choose the class of generated code; ours, unless one is asked for."""
        return ProgramCodeObject if codeobj_class is None else codeobj_class


DEVICE: ProgramDevice = all_devices.setdefault(DEVICE_NAME, ProgramDevice())


@contextmanager
def _device_taken() -> Iterator[None]:
    """Make our device the active one, and give back what was active before."""
    DEVICE.reinit()
    set_device(DEVICE_NAME, build_on_run=False)
    cpp = prefs.codegen.cpp
    flags, cpp.extra_compile_args = cpp.extra_compile_args, []
    try:
        # Without flags: Brian2 would try each with a compiler that is not ours. Names
        # of generated functions must not depend on which Brian2 objects are alive: a
        # compiled program is found again by its source.
        with fresh_names():
            yield
    finally:
        cpp.extra_compile_args = flags
        DEVICE.reinit()
        # Brian2 carries the dt of its default clock along, there and back.
        reset_device()
        gc.collect()


def _array(group: Any, variable: str) -> str:
    return str(DEVICE.get_array_name(group.variables[variable]))


def _dynamic_array(group: Any, variable: str) -> str:
    name = DEVICE.get_array_name(group.variables[variable], access_data=False)
    return f"brian::{name}"


def _learning_before(groups: dict[str, Any], snn: "SpikingNetwork") -> list[str]:
    """Write what happens before the first image."""
    if not snn.rules:
        return []
    lines = [f"cnn2snn::Learning learning(program, {RESULTS_FOLDER});"]
    for name, rule in snn.rules.items():
        synapses = groups[f"{name}_synapses"]
        weights = _dynamic_array(synapses, "w")
        lines.append(f'learning.add_weights("{name}", {weights});')
        own = sorted(rule.variables)  # Brian2 has a set: another order in each process
        own += [LAST_UPDATE] if LAST_UPDATE in synapses.variables else []
        states = [_dynamic_array(synapses, variable) for variable in own]
        lines += [f"learning.add_state({state});" for state in states]
    return lines


def _learning_after(groups: dict[str, Any], snn: "SpikingNetwork") -> list[str]:
    """Write what happens at the end of each image, before its results are written."""
    lines = []
    for name, rule in snn.rules.items():
        synapses = groups[f"{name}_synapses"]
        reward = _array(synapses, "reward")
        lines.append(f"    {reward}[0] = learning.reward();")
        if rule.on_trial_end:
            runner = TrialEnd(synapses, rule)
            runner.before_run({})
            lines.append(f"    _run_{runner.codeobj.name}();")
    return [*lines, "    learning.write();"] if snn.rules else []


def _delayed_spikes(groups: dict[str, Any], synapses: str) -> list[str]:
    """C++ that forgets spikes that are under way or counted when an image starts."""
    if synapses not in groups:
        return []
    connected = groups[synapses]
    if not isinstance(connected, SharedSynapses):
        return ["program.add_start([]() {", *forgotten_spikes(connected), "});"]
    lines = []
    if isinstance(connected, GateSynapses):
        for name in ("spikes_so_far", "spikes_passed"):
            values = f"{_array(connected, name)}, {connected.variables[name].size}"
            lines.append(f'program.add_state("{synapses}.{name}", {values});')
    if delay := connected.template_kwds["delay_steps"]:
        ring, slot = (_array(connected, name) for name in ("_delayed", "_slot"))
        row = connected.variables["_delayed"].size // (delay + 1)
        lines.append(f"program.add_ring({ring}, {row}, {delay + 1}, {slot});")
    return lines


def _worth_of_spikes(groups: dict[str, Any], snn: "SpikingNetwork") -> list[str]:
    """C++ that multiplies weights by what spikes of their source stand for."""
    lines = []
    for p in snn.layers.projections:
        synapses, connection = f"{p.name}_synapses", p.connection
        if synapses not in groups:
            continue
        variables, channels = groups[synapses].variables, connection.input_shape[0]
        key = f"{synapses}.factors"
        if isinstance(groups[synapses], SharedSynapses):
            weights = _array(groups[synapses], "w")
            lines.append(
                f'program.scale_weights("{key}", {weights}, {variables["w"].size}, '
                f"{connection.weights_of_channel}, {channels});"
            )
        else:
            weights = _dynamic_array(groups[synapses], "w")
            sources = _dynamic_array(groups[synapses], "_synaptic_pre")
            lines.append(
                f'program.scale_synapses("{key}", {weights}, {sources}, {channels});'
            )
    return lines


def _added_state(
    added: Added, variables: list[Any], clock: Any, recordable: dict[str, Shape]
) -> list[str]:
    """Write what added objects do: their spikes, their state, their queues."""
    lines = []
    sizes = {k.name: k.N for k in added.objects if isinstance(k, NeuronGroup)}
    for group in spiking(added.objects):
        spikes, every = _array(group, "_spikespace"), round(group.clock.dt_ / clock.dt_)
        lines.append(
            f'program.add_group("{group.name}", {spikes}, {group.N}, {every});'
        )
    for variable in variables:
        name, is_fixed = variable.owner.name, variable.constant and variable.read_only
        if is_fixed or isinstance(variable.owner, Clock):
            continue
        array = DEVICE.get_array_name(variable, access_data=False)
        where = f"brian::{array}"
        if not isinstance(variable, DynamicArrayVariable):
            where = f"{array}, {variable.size}"
        key = f"{name}.{variable.name}"
        lines.append(f'program.add_state("{key}", {where});')
        is_of_neuron = variable.size == sizes.get(name) and not variable.scalar
        if is_of_neuron and not variable.name.startswith("_"):
            recordable[key] = (variable.size,)
    for synapses in added.objects:
        if isinstance(synapses, Synapses):
            lines += ["program.add_start([]() {", *forgotten_spikes(synapses), "});"]
    return lines


def _image_loop(
    network: Any, snn: "SpikingNetwork", added: Added, variables: list[Any]
) -> tuple[str, str, dict[str, Shape]]:
    """C++ before and after Brian2's run of one image, and what it can record."""
    recordable = {}
    # Brian2's network goes through all of its objects for each that is asked for.
    groups = {item.name: item for item in network.objects}

    def array(group: str, variable: str) -> str:
        return _array(groups[group], variable)

    def spikes(group: str) -> str:
        return f"{array(group, '_spikespace')}, {groups[group].N}"

    clock, models = network.clock, snn.models(snn.neurons)
    lines = [
        # After all of Brian2's own objects, and the last slot of a step.
        added_to_steps(network, clock, "cnn2snn::after_step"),
        f"while (std::getline(std::cin, {RESULTS_FOLDER})) {{",
        f"cnn2snn::PictureProgram program({RESULTS_FOLDER});",
    ]
    # Every setting that is a variable of a group; the others are read by name.
    bound: set[tuple[str, str]] = set()
    for key in numbers(snn, snn.parameters, Perturbations.of(snn)):
        name, _, variable = key.partition(".")
        if variable and name in groups and variable in groups[name].variables:
            size = groups[name].variables[variable].size
            lines.append(f'program.set("{key}", {array(name, variable)}, {size});')
            bound.add((name, variable))
    if snn.encoding == "poisson":
        rates = f"{array(INPUT, 'rates')}, {float(snn.dt_s)!r}"
        lines.append(f'program.add_poisson("{INPUT}", {spikes(INPUT)}, {rates});')
    for name in snn.layer_names:
        n_thresholds = groups[name].variables["v_th"].size
        state = f"{array(name, 'v')}, {array(name, 'v_th')}, {n_thresholds}"
        lines.append(f'program.add_neurons("{name}", {spikes(name)}, {state});')
        if (model := models[name]).size is not None:
            sizes = f"{array(name, 'burst')}, {str(model.signed).lower()}"
            lines.append(f"program.add_sizes({sizes});")
        recordable[f"{name}.v"] = snn.layers[name].shape
        for variable in groups[name].variables.values():
            is_own = getattr(variable.owner, "name", None) == name
            is_set = variable.name in NO_STATE or (name, variable.name) in bound
            if isinstance(variable, ArrayVariable) and is_own and not is_set:
                values = f"{array(name, variable.name)}, {variable.size}"
                lines.append(f'program.add_state("{name}.{variable.name}", {values});')
                if variable.size == groups[name].N:
                    recordable[f"{name}.{variable.name}"] = snn.layers[name].shape
        for p in snn.layers.into(name):
            lines += _delayed_spikes(groups, f"{p.name}_synapses")
    lines += _worth_of_spikes(groups, snn)
    lines += _added_state(added, variables, clock, recordable)
    lines += _learning_before(groups, snn)
    if snn.encoding == "current":
        for p in snn.layers.out_of(INPUT):
            read = p.connection.after_window().input_shape
            n, bias = math.prod(read), array(p.target, "bias")
            lines.append(f"program.add_current({n}, {bias}, {p.name}_current);")
    lines += [
        "program.open();",
        "cnn2snn::current_program() = &program;",
        "while (program.next([](uint64_t seed) {",
        seeded("seed & 0xffffffffu"),
        "})) {",
        *rewound(DEVICE, network),
    ]
    after = _learning_after(groups, snn)
    after += [f"    program.finish({STOPPED});", "}", "}"]
    return "\n".join(lines), "\n".join(after), recordable


def _load_currents(snn: "SpikingNetwork") -> None:
    """Load runs, weights and biases of what reads an image as a constant current."""
    before = ""
    for p in snn.layers.out_of(INPUT) if snn.encoding == "current" else ():
        layer, inner = snn.layers[p.target], p.connection.after_window()
        bias = np.zeros(layer.shape) if layer.bias is None else layer.bias
        table, biases = inner.runs().by_source(), to_neurons(bias, layer.shape)
        DEVICE.insert_code("main", f"cnn2snn::ImageArrays {p.name}_image;")
        for what, values in {
            "first": table.first,
            "post": table.post,
            "weight": table.weight,
            "length": table.length,
            "weights": inner.as_stored().astype(np.float32),
            # They come once, however often a layer reads the image.
            "biases": biases[: 0 if layer.name == before else None].astype(np.float32),
        }.items():
            DEVICE.load(f"{p.name}_image.{what}", values)
        real = {"float32": "float", "float64": "double"}[snn.dtype]
        made = f"cnn2snn::ImageCurrent<{real}> {p.name}_current({p.name}_image);"
        DEVICE.insert_code("main", made)
        before = layer.name


def write_sources(snn: "SpikingNetwork", directory: Path) -> dict[str, Shape]:
    """Write the C++ project of a network, and list the variables it can record."""
    with _device_taken(), (directory / ARRAYS_FILE).open("wb") as DEVICE.file:
        DEVICE.insert_code("main", f'cnn2snn::InputFile arrays("{ARRAYS_FILE}");')
        network = program_network(snn)
        with runtime_mode():
            added = extend_network(network, snn.extension.builders)
        if (names := tuple(item.name for item in added.objects)) != (
            known := snn.extension.names
        ):
            forget(added.made)
            raise BuildError(
                f"extend: build added {', '.join(names)} now, and {', '.join(known)} "
                "before; give each object a name=..."
            )
        first, places = -1, [Schedule().perturbation] if snn.layers else []
        if snn.propagation != "step":
            first, n = 0, len(snn.layers) + 1
            indices = range(0 if snn.encoding == "poisson" else 1, n)
            places = [Schedule.of(snn.propagation, k).perturbation for k in indices]
        # Lesions and perturbed input take effect after the thresholds of a step, of the
        # population with this index or, with -1, of all.
        for population, place in enumerate(places, first):
            runner = CodeRunner(
                network[snn.layer_names[0]],
                "after_thresholds",
                code="",
                clock=network.clock,
                when=place.when,
                order=place.order,
                name=PERTURBATION + (f"_{population}" if population >= 0 else ""),
                template_kwds={"population": population},
                codeobj_class=ProgramCodeObject,
            )
            network.add(runner)
        variables = []
        if added.objects:
            variables = moved(added, DEVICE)
        _load_currents(snn)
        before, after, recordable = _image_loop(network, snn, added, variables)
        DEVICE.insert_code("before_network_run", before)
        DEVICE.insert_code("after_network_run", after)
        # The program writes its own result files. Without this, all synapses would be
        # written to disk at the end of each program run.
        DEVICE.insert_code("before_end", "return 0;")
        # The duration is that of each trial; Brian2 needs one to write its line.
        network.run(snn.dt, namespace={})
        # Of main.cpp only: Brian2's objects, which don't need it, have been made.
        headers = ["each_step.h", *(["learning.h"] if snn.rules else [])]
        DEVICE.headers += [f'"{header}"' for header in headers]
        set_steps(DEVICE, network, "program.n_steps()", snn.dt_s)
        sort_clocks(DEVICE, network)
        try:
            DEVICE.build(directory=str(directory), compile=False, run=False)
        except UnicodeError as error:
            raise BuildError(
                f"Brian2 can't read its sources as {locale.getpreferredencoding(False)}"
                ", the encoding of this process. Set PYTHONUTF8=1 in the environment, "
                "or a locale of UTF-8, such as LC_ALL=C.UTF-8"
            ) from error
    with as_file(files("cnn2snn_brian.simulator")) as folder:
        for path in folder.glob("*.h"):
            shutil.copy(path, directory)
    write_units(directory)
    return recordable
