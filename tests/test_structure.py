"""The house: imports point one way, no file is too long, public names are in place."""

import ast
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import cnn2snn_brian

PACKAGE = Path(cnn2snn_brian.__file__).parent
NAME = PACKAGE.name

#: Files and folders of the package, a floor a line. A floor may use those above it; its
#: members may not use each other.
ORDER = """
    errors
    checks files printing progress
    checkpoint
    projections
    settings
    cnn data layerwise stimuli
    brian inspector nir models train
    results
    diagnosis physiology
    simulator
    network
    conversion tuning
    sweeps
    plots
    reproduction layers
    __init__
    cli
    __main__
"""
FLOORS = {
    room: floor
    for floor, line in enumerate(ORDER.strip().splitlines())
    for room in line.split()
}

#: Torch takes seconds to import; these cannot do without it.
USE_TORCH = ("cnn", "models", "train")
TORCH = ("torch", "torchvision")

LONGEST = 400
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
CODE = (".cpp", ".css", ".h", ".js", ".py")


def package_files():
    """Python files by their name within the package; a folder's is its __init__."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
        parts = folders if name == "__init__" else [*folders, name]
        found[".".join(parts)] = path
    return found


FILES = package_files()


def imported(node):
    """Full dotted names of an import; the names of a `from` may be modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: relative import"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def run_nodes(tree, in_functions=True):
    """Nodes that run; if not those in functions, those that an import runs."""
    for node in ast.iter_child_nodes(tree):
        if not in_functions and isinstance(node, FUNCTIONS):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from run_nodes(node, in_functions)


def arrows():
    """
    Imports between files of the package, as pairs of names.

    Those in functions count, too; those under TYPE_CHECKING don't: they tie nothing at
    run time. Those of the package's own `__init__` are left out: it names everything
    and imports nothing until it is asked.
    """
    found = set()
    for importer, path in FILES.items():
        if not importer:
            continue
        for node in run_nodes(ast.parse(path.read_text())):
            for name in imported(node):
                package, _, inside = name.partition(".")
                if package != NAME:
                    continue
                known = inside in FILES
                target = inside if known else inside.rpartition(".")[0]
                # `__version__` is there before any import.
                if inside != "__version__":
                    found.add((importer, target))
    return sorted(found)


ARROWS = arrows()


def room(name):
    return name.partition(".")[0] or "__init__"


def test_every_file_and_folder_has_its_floor():
    assert {room(name) for name in FILES} == set(FLOORS)


def test_imports_point_one_way():
    assert len(ARROWS) > 100
    against = [
        f"{importer} imports {target or NAME}"
        for importer, target in ARROWS
        if room(importer) != room(target)
        and FLOORS[room(importer)] <= FLOORS[room(target)]
    ]
    assert not against


def test_no_circle_of_imports():
    left = set(ARROWS)
    # An arrow that nothing leads to, or that leads nowhere, is in no circle.
    while circles := {i for i, _ in left} & {t for _, t in left}:
        rest = {(i, t) for i, t in left if i in circles and t in circles}
        assert rest != left, sorted(rest)
        left = rest


def test_few_files_import_torch_at_once():
    found = {
        importer
        for importer, path in FILES.items()
        for node in run_nodes(ast.parse(path.read_text()), in_functions=False)
        for name in imported(node)
        if name.partition(".")[0] in TORCH
    }
    assert {room(name) for name in found} == set(USE_TORCH)


def lines_of_code(path):
    """Count lines; in Python, those without blank ones, comments and docstrings."""
    text = path.read_text()
    if path.suffix != ".py":
        return text.count("\n")
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not is_text(part)] or [ast.Pass()]
    ends = [
        (node.lineno, node.end_lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.expr | ast.stmt) and hasattr(node, "lineno")
        if not isinstance(
            node, ast.FunctionDef | ast.ClassDef | ast.If | ast.For | ast.With | ast.Try
        )
    ]
    return len({line for first, last in ends for line in range(first, last + 1)})


def is_text(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_no_file_is_too_long():
    paths = [path for path in PACKAGE.rglob("*") if path.suffix in CODE]
    lengths = {str(path.relative_to(PACKAGE)): lines_of_code(path) for path in paths}
    assert len(lengths) >= len(FILES)
    assert not {name: n for name, n in lengths.items() if n > LONGEST}


def test_every_folder_says_what_it_is():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    silent = [
        str(folder)
        for folder in folders
        if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert not silent


def test_no_public_name_is_hidden_by_a_file():
    # `import cnn2snn_brian.convert` would put a module in the place of the function.
    modules = {name for name, home in cnn2snn_brian._HOMES.items() if home == NAME}
    rooms = {room(name) for name in FILES if name}
    assert rooms & set(cnn2snn_brian.__all__) == modules


REACH = """
import sys
from importlib import import_module
from types import ModuleType

first, names = sys.argv[1].split(), sys.argv[2].split()
for module in first:
    import_module(module)
import cnn2snn_brian as c2s

modules = set("data errors models physiology plots projections results".split())
modules |= {"stimuli", "train", "tuning"}
for name in names:
    value = getattr(c2s, name)
    assert isinstance(value, ModuleType) == (name in modules), (name, value)
    assert value is getattr(c2s, name)
    assert callable(value) == (name not in (*modules, "PRESETS")), (name, value)
assert modules <= set(names) <= set(dir(c2s))
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ["files-first", "names-backwards"])
def test_public_names_are_reached_in_any_order(order):
    names, first = cnn2snn_brian.__all__, []
    if order == "files-first":
        first = [f"{NAME}.{name}" for name in FILES if name and name != "__main__"]
    else:
        names = names[::-1]
    result = subprocess.run(
        [sys.executable, "-c", REACH, " ".join(first), " ".join(names)],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_deprecations_are_errors_in_every_folder(pytestconfig):
    # The filter in pyproject.toml names the package only.
    if pytestconfig.getoption("pythonwarnings"):
        pytest.skip("another filter was asked for")
    for name in ("conversion", "simulator.compiler"):
        with pytest.raises(DeprecationWarning, match="old"):
            warnings.warn_explicit(
                "old", DeprecationWarning, "f.py", 1, module=f"{NAME}.{name}"
            )
