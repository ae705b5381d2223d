"""What is imported before there is work: nothing that takes long."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Each takes from a third of a second to several.
HEAVY = {"torch", "torchvision", "brian2", "matplotlib", "pandas", "sklearn", "scipy"}
NAMES = """
import json, sys
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
COMMANDS = (
    "demo",
    "train",
    "convert",
    "calibrate",
    "tune",
    "run",
    "inspect",
    "export",
    "reproduce",
    "cache",
)


def imported(code):
    """Run Python, and say which top-level modules it has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", code + NAMES],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_imports_nothing_that_takes_long():
    found = imported("import cnn2snn_brian")
    assert "cnn2snn_brian" in found
    assert not found & (HEAVY | {"numpy", "rich", "typer"})


def test_help_imports_nothing_that_takes_long():
    code = f"""
import contextlib, io, sys
from cnn2snn_brian.cli import app, main
assert {{*{COMMANDS!r}}} == {{
    command.name or command.callback.__name__ for command in app.registered_commands
}}
for command in ("", *{COMMANDS!r}):
    sys.argv = ["cnn2snn-brian", *command.split(), "--help"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main()
    assert "Usage" in said.getvalue(), command
"""
    assert not imported(code) & (HEAVY | {"numpy"})


def test_a_conversion_needs_no_plots_and_no_tables():
    # Brian2 imports matplotlib where it is installed, so that here it is not.
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["pylab"] = None
from cnn2snn_brian import convert
del sys.modules["matplotlib"], sys.modules["pylab"]
"""
    found = imported(code)
    assert {"torch", "brian2"} <= found
    assert not found & {"matplotlib", "pandas", "sklearn"}
