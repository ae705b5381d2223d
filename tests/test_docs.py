"""What the pages name exists, and what they print can be typed in that order."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer

from cnn2snn_brian.cli.app import app

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cnn2snn_brian"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

#: Options that name a file or folder to be written; `convert` writes its argument.
WRITTEN = ("out", "save", "figure", "history", "checkpoint")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def named(page):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_imports_of_a_page_exist(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module.split(".")[0] != PACKAGE.name:
                continue
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_a_page_names_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    if page.name == "CHANGELOG.md":
        return  # tells of files that are gone
    for name in re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|h|cpp|md))`", text):
        assert (ROOT / name).exists() or (PACKAGE / name).exists(), name
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert (ROOT / "tests" / name).exists(), name
    for name in re.findall(r"`(cnn2snn_brian\.[a-z_.]+)`", text):
        parent, _, last = name.rpartition(".")
        try:
            import_module(name)
        except ImportError:
            assert hasattr(import_module(parent), last), name


def test_commands_of_the_readme_read_only_what_those_before_wrote():
    commands = typer.main.get_command(app).commands
    (lines,) = [
        block
        for block in blocks(ROOT / "README.md", "sh")
        if block.startswith("cnn2snn-brian")
    ]
    written = {"digits"}  # scikit-learn's, without a file
    for line in lines.splitlines():
        _, name, *arguments = shlex.split(line)
        given = commands[name].make_context(name, arguments).params
        paths = {
            key: str(value)
            for key, value in given.items()
            if isinstance(value, Path) or key in ("data", "calibration", "module")
        }
        writes = {key for key in paths if key in WRITTEN}
        if name == "convert":
            writes |= {key for key, value in paths.items() if value.endswith(".snn")}
        for key in paths.keys() - writes:
            assert paths[key] in {*written, "None"}, line
        written |= {paths[key] for key in writes}
    assert len(written) > 3


def test_summaries_have_no_citation():
    # A table of the API page can't resolve one: it shows the key.
    page = (ROOT / "docs" / "api.md").read_text()
    named = re.findall(r"^   ([\w.]+)$", page, re.MULTILINE)
    assert len(named) > 100
    for name in named:
        parent, _, last = f"{PACKAGE.name}.{name}".rpartition(".")
        documented = getattr(import_module(parent), last)
        members = vars(documented).values() if isinstance(documented, type) else ()
        for item in (documented, *members):
            text = (getattr(item, "__doc__", None) or "").strip()
            assert "]_" not in text.partition("\n\n")[0], name
