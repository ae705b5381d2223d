"""In a notebook: a real kernel runs cells, and what it shows is what people see."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAKE = """
import numpy as np
from cnn2snn_brian import SpikingNetwork
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.projections import (
    Connection, Dense, Network, Population, Projection
)
kernel = Dense((1, 2, 1), np.ones((3, 2)))
projection = Projection("ip1", "input", "ip1", Connection((1, 2, 1), kernel=kernel))
layers = Network((1, 2, 1), (Population("ip1", (3,)),), (projection,))
given = {"thresholds": 2.5, "v_min": 0, "leak": 0, "v_init": 0}
snn = SpikingNetwork(layers, Parameters.of(layers, **given))
"""

BAR = """
from cnn2snn_brian.progress import progress_bar
with progress_bar("simulating <all>", 4) as advance:
    for k in range(4):
        advance(1, f"loss {k}")
"""

STOPPED = """
with progress_bar("stopped", 1000) as advance:
    advance(250)
    raise RuntimeError("in between")
"""

HIDDEN = """
with progress_bar("hidden", 4, show=False) as advance:
    advance(4)
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """Outputs of cells that a kernel ran."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    make_cell = nbformat.v4.new_code_cell
    cells = {"make": MAKE, "show": "snn", "print": "print(snn)", "bar": BAR}
    cells |= {"stopped": STOPPED, "hidden": HIDDEN}
    made = nbformat.v4.new_notebook(cells=[make_cell(cell) for cell in cells.values()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        # Neither a profile of the user nor a widget decides what is shown.
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        nbclient.NotebookClient(
            made, kernel_name="python3", allow_errors=True
        ).execute()
    return {name: cell.outputs for name, cell in zip(cells, made.cells, strict=True)}


@pytest.mark.slow
def test_a_network_is_a_table_in_a_notebook(notebook):
    assert not notebook["make"]
    (shown,) = notebook["show"]
    assert "<table>" in shown.data["text/html"]
    assert "thresholds: 2.5" in shown.data["text/html"]
    assert shown.data["text/plain"].startswith("SpikingNetwork(Network(1x2x1 -> 3, ")


@pytest.mark.slow
def test_print_shows_text_and_nothing_else(notebook):
    (text,) = notebook["print"]
    assert text.output_type == "stream"
    assert "thresholds: 2.5" in text.text


@pytest.mark.slow
def test_a_progress_bar_stays_in_the_notebook(notebook):
    (bar,) = notebook["bar"]
    html = bar.data["text/html"]
    assert html.startswith("<div>simulating &lt;all&gt; <progress value=4 max=4>")
    assert " 4/4 0:00:0" in html
    assert html.endswith(" loss 3</div>")
    assert bar.data["text/plain"].startswith("simulating <all> 4/4 0:00:0")
    assert not notebook["hidden"]


@pytest.mark.slow
def test_a_progress_bar_stops_where_the_work_stopped(notebook):
    bar, error = notebook["stopped"]
    assert "<progress value=250 max=1000>" in bar.data["text/html"]
    assert error.ename == "RuntimeError"
