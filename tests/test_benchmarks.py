"""The benchmarks measure what users have: they import public names only."""

import ast
from pathlib import Path

import pytest

import cnn2snn_brian

FOLDER = Path(__file__).parent.parent / "benchmarks"
#: Modules that are import paths of users.
PUBLIC = {
    "cnn2snn_brian",
    *(
        f"cnn2snn_brian.{name}"
        for name in (
            "data",
            "layers",
            "models",
            "plots",
            "results",
            "stimuli",
            "train",
            "tuning",
        )
    ),
}


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name
)
def test_benchmarks_import_public_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = {alias.name for alias in node.names}
            assert {m for m in modules if m.startswith("cnn2snn_brian")} <= PUBLIC
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.startswith("cnn2snn_brian"):
                assert node.module in PUBLIC
            if node.module == "cnn2snn_brian":
                names = {alias.name for alias in node.names}
                assert names <= set(cnn2snn_brian.__all__)
