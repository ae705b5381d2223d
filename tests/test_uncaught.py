"""What Python prints of an error that a script does not catch."""

import subprocess
import sys

import pytest

REPORT = "Brian 2 encountered an unexpected error"

OURS = """
from cnn2snn_brian import convert
from torch import nn
convert(nn.Conv2d(1, 2, 3), (1, 8, 8), thresholds=-1)
"""

SYNAPSES = """
from brian2 import NeuronGroup
from cnn2snn_brian import DenseSynapses
group = NeuronGroup(2, "v : 1")
DenseSynapses(group, group, [[1.0, 1.0]])
"""

NOT_OURS = """
from brian2 import NeuronGroup
from cnn2snn_brian import convert
raise RuntimeError("something else")
"""

THEIR_HOOK = """
import sys
import brian2
sys.excepthook = lambda kind, error, traceback: print("their hook", file=sys.stderr)
from cnn2snn_brian import convert
raise RuntimeError("something else")
"""


def said(script):
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    return found.stderr


@pytest.mark.parametrize(
    ("script", "message"),
    [(OURS, "the threshold of conv1 is -1"), (SYNAPSES, "has 2 neurons")],
)
def test_brian_asks_for_no_report_of_our_errors(script, message):
    found = said(script)
    assert found.startswith("Traceback")
    assert message in found.splitlines()[-1]
    assert REPORT not in found


def test_brian_asks_for_a_report_of_other_errors():
    found = said(NOT_OURS)
    assert REPORT in found
    assert "RuntimeError: something else" in found


def test_a_hook_of_somebody_else_stays():
    assert said(THEIR_HOOK) == "their hook\n"
