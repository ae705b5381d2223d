"""
What is assumed of Brian2's private parts, one assumption a test; nothing is compiled.

If one fails with a new version of Brian2, its name says what has to be looked at.
"""

import ast
import configparser
import re
import sys
from pathlib import Path

import brian2
import numpy as np
import pytest
from brian2 import NeuronGroup, SpikeGeneratorGroup, SpikeMonitor, Synapses, ms
from by_hand import Layers, Linear
from jinja2 import meta, nodes
from packaging.requirements import Requirement
from packaging.version import Version

import cnn2snn_brian
from cnn2snn_brian.brian import codeobjects, internals
from cnn2snn_brian.brian.codeobjects import ProgramCodeObject, StandaloneCodeObject
from cnn2snn_brian.brian.internals import TESTED
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.projections.order import INPUT
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.simulator.device import write_sources

PACKAGE = Path(cnn2snn_brian.__file__).parent
TEMPLATES = PACKAGE / "brian" / "templates"
BRIAN = Path(brian2.__file__).parent
STANDALONE = BRIAN / "devices" / "cpp_standalone" / "templates"


def network():
    """A layer of each kind of synapses."""
    layers = Layers(
        (1, 2, 3),
        (
            Linear("ip1", (INPUT,), (1, 2, 3), np.ones((2, 6))),
            Linear("ip2", ("ip1",), (2,), np.ones((3, 2))),
        ),
    )
    values = Parameters.of(layers, thresholds=1.0, v_min=0, leak=0, v_init=0)
    return SpikingNetwork(
        layers,
        values,
        reset="zero",
        encoding="poisson",
        synapses={"ip1": "explicit", "ip2": "shared"},
        dt_s=1e-3,
        dtype="float32",
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = tmp_path_factory.mktemp("project")
    write_sources(network(), directory)
    return directory


def words(text):
    return re.sub(r"\s+", " ", text)


# Python


def test_all_that_is_private_is_imported_in_one_place():
    public, found = set(dir(brian2)), {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(
                "brian2."
            ):
                names = {alias.name for alias in node.names} - public
                if names:
                    found.setdefault(path.name, set()).update(names)
    assert found.pop("internals.py") <= set(vars(internals))
    assert found == {
        "neuron_models.py": {"EquationError", "brian_excepthook"},
    }


def test_brian_sets_the_hook_for_uncaught_errors():
    # Ours is in its place since the package was imported.
    from brian2.utils import logger

    assert callable(logger.brian_excepthook)
    source = (BRIAN / "utils" / "logger.py").read_text("utf-8")
    assert "sys.excepthook = brian_excepthook" in source
    assert sys.excepthook is not logger.brian_excepthook


def test_wrong_equations_are_an_equation_error():
    from brian2.equations.equations import EquationError

    with pytest.raises(EquationError):
        brian2.Equations("x : : 1")


def test_dimensions_are_written_as_seven_exponents():
    dimensions = brian2.get_or_create_dimension((1, 0, -2, 0, 0, 0, 0))
    assert brian2.have_same_dimensions(brian2.metre / brian2.second**2, dimensions)
    assert brian2.get_dimensions(brian2.metre)._dims == (1, 0, 0, 0, 0, 0, 0)


def test_neurons_are_made_of_these_objects():
    group = NeuronGroup(2, "v : 1", threshold="v > 1", reset="v = 0")
    parts = [group.state_updater, group.thresholder["spike"], group.resetter["spike"]]
    assert {id(part) for part in parts} <= {id(o) for o in group.contained_objects}
    assert [part.when for part in parts] == ["groups", "thresholds", "resets"]
    # A monitor's place follows from the thresholder.
    group.thresholder["spike"].order = 7
    monitor = SpikeMonitor(group)
    assert (monitor.when, monitor.order) == ("thresholds", 8)


def test_spikes_are_listed_in_front_of_their_number():
    source = SpikeGeneratorGroup(5, [3, 1], [0, 0] * ms, dt=1 * ms)
    brian2.prefs.codegen.target = "numpy"
    brian2.Network(source).run(1 * ms)
    space = source.variables["_spikespace"].get_value()
    assert len(space) == 6
    assert space[: space[-1]].tolist() == [1, 3]


def test_a_group_can_be_put_together_of_variables():
    source = PACKAGE / "brian" / "shared_synapses.py"
    used = set(
        re.findall(r"variables\.(add_\w+|create_\w+|indices)", source.read_text())
    )
    assert len(used) > 4
    for name in used - {"indices"}:
        assert callable(getattr(internals.Variables, name)), name
    group = NeuronGroup(2, "v : 1\nw : 1 (shared)")
    assert group.variables.indices["v"] == "_idx"
    assert group.variables.indices["w"] == "0"
    assert callable(group._enable_group_attributes)
    assert isinstance(group.variables["v"], internals.ArrayVariable)


def test_queues_are_those_of_pathways():
    group = NeuronGroup(2, "v : 1", threshold="v > 1")
    synapses = Synapses(group, group, on_pre="v += 1", on_post="v += 1", name="s")
    assert [pathway.name for pathway in synapses._pathways] == ["s_pre", "s_post"]


def test_a_network_knows_what_was_stored():
    brian2.prefs.codegen.target = "numpy"
    net = brian2.Network(NeuronGroup(1, "v : 1"))
    assert not internals.has_stored_state(net)
    net.store()
    assert internals.has_stored_state(net)


@pytest.mark.parametrize("target", ["numpy", "cython"])
def test_code_objects_of_runtime_mode_have_templaters(target):
    brian2.prefs.codegen.target = target
    kind = codeobjects.own_code_object_class()
    assert kind.templater is not kind.__mro__[1].templater
    for name in ("shared_synapses", "max_pool_gate"):
        assert callable(getattr(kind.templater, name))
        with pytest.raises((AttributeError, KeyError)):
            getattr(kind.__mro__[1].templater, name)


def test_templates_of_standalone_mode_are_found_in_order():
    bases = {
        kind: kind.templater.common_group.template_source
        for kind in (ProgramCodeObject, StandaloneCodeObject)
    }
    assert "namespace support_" in bases[ProgramCodeObject]
    assert "namespace support_" not in bases[StandaloneCodeObject]
    for kind in (ProgramCodeObject, StandaloneCodeObject):
        assert callable(kind.templater.shared_synapses)


@pytest.mark.parametrize("name", ["rand", "randn"])
def test_functions_have_an_implementation_for_each_kind_of_code(name):
    found = brian2.DEFAULT_FUNCTIONS[name].implementations[ProgramCodeObject]
    group = NeuronGroup(1, "v : 1")
    assert "cnn2snn::" in found.get_code(group)["support_code"]
    other = brian2.DEFAULT_FUNCTIONS[name].implementations[StandaloneCodeObject]
    assert "cnn2snn::" not in str(other.get_code(group))


# Templates that are replaced


def parsed(path):
    return StandaloneCodeObject.templater.env.parse(path.read_text("utf-8"))


def replaced():
    ours = {path.name: path for path in (TEMPLATES / "program").glob("*.cpp")}
    return {
        name: (path, STANDALONE / name)
        for name, path in ours.items()
        if (STANDALONE / name).exists()
    }


def test_two_templates_are_replaced():
    assert set(replaced()) == {"common_group.cpp", "threshold.cpp"}


@pytest.mark.parametrize("name", ["common_group.cpp", "threshold.cpp"])
def test_replaced_templates_have_the_parts_of_brians(name):
    own, brians = (parsed(path) for path in replaced()[name])
    for kind in (nodes.Macro, nodes.Block):
        names = [{node.name for node in tree.find_all(kind)} for tree in (own, brians)]
        assert {n for n in names[0] if not n.startswith("_")} == names[1]
    needed = [meta.find_undeclared_variables(tree) for tree in (own, brians)]
    # Without OpenMP and profiling, which a program of ours does not have.
    left = needed[1] - needed[0] - {"openmp_pragma", "profiled"}
    assert not left
    assert not needed[0] - needed[1] - {"codeobj_name", "get_array_name"}


@pytest.mark.parametrize("target", ["cython", "numpy"])
def test_templates_of_runtime_mode_extend_brians(target):
    folder = BRIAN / "codegen" / "runtime" / f"{target}_rt" / "templates"
    for path in (TEMPLATES / target).iterdir():
        for base in re.findall(r"extends '([\w.]+)'", path.read_text()):
            assert "block maincode" in (folder / base).read_text(), base
    extended = [p for p in (TEMPLATES / target).iterdir() if "extends" in p.read_text()]
    assert len(extended) == 2


def test_an_empty_part_is_known_by_its_comment():
    for path in replaced()["common_group.cpp"]:
        assert path.read_text().count("EMPTY_CODE_BLOCK") == 2
    source = (BRIAN / "devices" / "cpp_standalone" / "codeobject.py").read_text("utf-8")
    assert "EMPTY_CODE_BLOCK" in source


# Generated C++


def test_the_network_class_has_what_the_program_uses(project):
    header = words((project / "network.h").read_text())
    for what in (
        "typedef void (*codeobj_func)();",
        "static bool _globally_stopped;",
        "double t;",
        "void run(const double duration,",
    ):
        assert what in header, what
    assert re.search(r"void add\((Base)?Clock \*clock, codeobj_func func\);", header)


def test_objects_have_a_generator_and_a_folder_of_results(project):
    header = words((project / "objects.h").read_text())
    assert "extern std::string results_dir;" in header
    assert re.search(r"std::vector< ?RandomGenerator ?> _random_generators;", header)
    assert "void seed(unsigned long seed)" in header


def test_what_a_program_never_calls_is_left_out(project):
    source = (project / "objects.cpp").read_text()
    for name in ("set_variable_by_name", "_write_arrays", "_dealloc_arrays"):
        assert re.search(rf"^void {name}\([^)]*\)\s*\{{\}}", source, re.MULTILINE)
    assert re.search(r"^void _init_arrays\(\)\s*\{\n", source, re.MULTILINE)


def test_queues_of_spikes_are_vectors_of_vectors(project):
    header = words((project / "brianlib" / "spikequeue.h").read_text("utf-8"))
    assert re.search(r"vector< ?vector<int32_t> ?> queue;", header)
    assert "std::vector< CSpikeQueue * > queue;" in words(
        (project / "synapses_classes.h").read_text()
    )


def test_the_main_file_runs_the_network_in_the_loop_over_images(project):
    main = words((project / "main.cpp").read_text())
    order = (
        "converted_network.add(&network_clock, _run_ip2_synapses_codeobject);",
        "converted_network.add(&network_clock, cnn2snn::after_step);",
        "while (std::getline(std::cin, brian::results_dir)) {",
        "cnn2snn::PictureProgram program(brian::results_dir);",
        "for (auto* queue : brian::ip1_synapses_pre.queue)",
        "brian::_random_generators[0].seed(",
        "converted_network.t = 0; _array_network_clock_t[0] = 0;",
        "converted_network.run(program.n_steps() * 0.001, NULL,",
        "program.finish(Network::_globally_stopped);",
        "return 0; brian_end();",
    )
    places = [main.find(part) for part in order]
    assert -1 not in places, order[places.index(-1)]
    assert places == sorted(places)
    for part in order:
        assert main.count(part) == 1, part


def test_no_source_has_names_of_its_own(project):
    # Files are compiled together: a second anonymous namespace has the same names.
    for path in project.rglob("*.cpp"):
        assert "namespace {" not in path.read_text("utf-8"), path


def test_each_variable_is_an_array_with_a_name_of_its_group(project):
    header = (project / "objects.h").read_text()
    for name in ("_array_ip1_v", "_array_ip2_synapses_w", "_array_input__spikespace"):
        assert re.search(rf"extern \w+ ?\*\s*{name};", header), name
    assert "_dynamic_array_ip1_synapses_w;" in header


# Versions, see also `test_shared_synapses.py`


@pytest.mark.skipif(not (PACKAGE.parent / "setup.cfg").exists(), reason="no sources")
def test_the_tested_versions_are_those_that_are_installed():
    config = configparser.ConfigParser()
    config.read(PACKAGE.parent / "setup.cfg")
    (found,) = (
        Requirement(line)
        for line in config["options"]["install_requires"].splitlines()
        if line.startswith("brian2")
    )
    assert all(version in found.specifier for version in TESTED)
    first, last = Version(TESTED[0]), Version(TESTED[-1])
    assert f"{last.major}.{last.minor + 1}.0" not in found.specifier
    assert f"{first.major}.{first.minor - 1}.9" not in found.specifier
