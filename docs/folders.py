"""
Draw the folders of the package and their imports: ``python docs/folders.py``.

The arrows are read from the source. An arrow that others imply is left out, and so are
those to the ground modules, which everything imports.
"""

import ast
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

docs = Path(__file__).parent
package = docs.parent / "cnn2snn_brian"

# Name: place (right, up), what is in it, whether `Simulator.run` takes an image there.
FOLDERS = {
    "cli": (1.5, 13, "the commands", False),
    "reproduction": (1.5, 12, "the paper's tables and figures", False),
    "plots": (0.5, 11, "figures", False),
    "sweeps": (0.5, 10, "sweeps, summaries", False),
    "conversion": (1.5, 9, "convert, from_nir", False),
    "tuning": (0.5, 9, "thresholds by simulation", False),
    "network": (1.5, 8, "SpikingNetwork", False),
    "simulator": (1.5, 7, "Simulator, the C++ program", True),
    "diagnosis": (0.5, 6, "where a network loses", False),
    "physiology": (-0.6, 6, "measures of spikes in trials", False),
    "results": (1.5, 5, "SimulationResult, its files", True),
    "inspector": (0.5, 4, "one HTML page", False),
    "nir": (-0.6, 4, "NIR graphs", False),
    "brian": (1.5, 4, "Brian2 groups and synapses", False),
    "models": (2.6, 4, "trained CNNs", False),
    "train": (3.6, 4, "training", False),
    "cnn": (2.6, 3, "PyTorch CNNs, read, adjusted", False),
    "data": (3.6, 3, "images and their classes", False),
    "stimuli": (0.5, 3, "stimuli in time", True),
    "layerwise": (-0.6, 3, "spikes, layer by layer", False),
    "settings": (1.5, 2, "neurons, settings of a run", True),
    "projections": (1.5, 1, "populations, projections", True),
    "ground": (1.5, 0, "errors, checks, files, checkpoint, printing, progress", False),
}
GROUND = {"errors", "checks", "files", "checkpoint", "printing", "progress"}
WIDTH, HEIGHT = 0.84, 0.52


def folder_of(module):
    """Say which folder, or module of the root, a module belongs to."""
    name = module.split(".")[1]
    return "ground" if name in GROUND else name


def running(node):
    """Go through what runs: imports for type checkers tie nothing."""
    for child in ast.iter_child_nodes(node):
        is_typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(
            child.test
        )
        if not is_typing:
            yield child
            yield from running(child)


def imported(file):
    """List the modules of the package that a file imports, wherever it does."""
    for node in running(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == package.name:
            yield from (f"{package.name}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imports():
    """Find which folder imports which."""
    found = {name: set() for name in FOLDERS}
    for file in package.rglob("*.py"):
        relative = file.relative_to(package).with_suffix("")
        if relative.parts[0].startswith("__") or relative.parts[0] == "layers":
            continue  # the public names, and a former one
        source = folder_of(".".join((package.name, *relative.parts)))
        targets = {
            folder_of(module)
            for module in imported(file)
            if module.startswith(f"{package.name}.")
        }
        found[source] |= targets - {source}
    return found


def reached(found, start):
    """Find all folders that one imports, directly or not."""
    seen, waiting = set(), [start]
    while waiting:
        new = found[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def arrows(found):
    """Leave out the arrows that others imply."""
    for source, targets in found.items():
        for target in targets - {"ground"}:
            others = targets - {target}
            if not any(target in reached(found, other) for other in others):
                yield source, target
    yield "projections", "ground"


found = imports()
for source, targets in found.items():
    for target in targets:
        if FOLDERS[source][1] <= FOLDERS[target][1]:
            message = f"{source} imports {target}, against the order"
            raise SystemExit(message)

fig, ax = plt.subplots(figsize=(12, 9.5), layout="constrained")
for name, (x, y, text, is_path) in FOLDERS.items():
    wide = 1.4 * WIDTH if name == "ground" else WIDTH
    box = FancyBboxPatch(
        (x - wide / 2, y - HEIGHT / 2),
        wide,
        HEIGHT,
        boxstyle="round,pad=0.02,rounding_size=0.05",
        facecolor="#CFE5F3" if is_path else "white",
        edgecolor="0.4",
        zorder=2,
    )
    ax.add_patch(box)
    style = {"ha": "center", "va": "center", "zorder": 3}
    ax.text(x, y + 0.11, name, weight="bold", size=10, **style)
    ax.text(x, y - 0.13, text, size=8, color="0.3", **style)
for source, target in arrows(found):
    (x, y, *_), (to_x, to_y, *_) = FOLDERS[source], FOLDERS[target]
    shift = 0.38 * (to_x - x) / max(abs(to_x - x), 1)
    ax.annotate(
        "",
        (to_x - shift, to_y + HEIGHT / 2 + 0.04),
        (x + shift, y - HEIGHT / 2 - 0.04),
        arrowprops={"arrowstyle": "-|>", "color": "0.45"},
        zorder=1,
    )
ax.set(xlim=(-1.1, 4.1), ylim=(-0.5, 13.5))
ax.axis("off")
fig.savefig(docs / "images" / "folders.png", dpi=110)
