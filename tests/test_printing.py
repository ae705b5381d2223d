"""What print, the prompt and a notebook show: the same, in short, and readable."""

import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brian2 import ms
from torch import nn

from cnn2snn_brian import (
    Layers,
    SimulationResult,
    SpikingNetwork,
    TuningResult,
    stimuli,
)
from cnn2snn_brian.cnn.adjust import Adjustment, adjust
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.diagnosis import Diagnosis
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import Conv2d, Linear
from cnn2snn_brian.projections.stack import Ceiling
from cnn2snn_brian.results import Trials
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.tuning import CalibrationResult
from cnn2snn_brian.tuning.result import Check

ROOT = Path(__file__).parent.parent

#: Names that HTML, or the markup and the emoji of a terminal's library, would change.
NAMES = ("<b>conv</b>", "[red]:smile:[/red]", "a&b")


def layers(names=NAMES):
    rng = np.random.default_rng(0)
    return Layers(
        (2, 7, 6),
        (
            Conv2d(names[0], ("input",), (2, 7, 6), rng.normal(size=(3, 2, 3, 2))),
            Conv2d(names[1], names[:1], (3, 5, 5), rng.normal(size=(4, 3, 3, 3))),
            Linear(names[2], names[1:2], (4, 3, 3), rng.normal(size=(3, 36))),
        ),
        (Ceiling(names[0], 6.0),),
    )


def parameters(names=NAMES, **more):
    given = {"thresholds": 2.5, "v_min": 0, "leak": 0, "v_init": 0, **more}
    return Parameters.of(tuple(names), **given)


def network():
    # Brian2's names are plain; those of classes are not.
    names = ("conv1", "conv2", "ip1")
    return SpikingNetwork(
        layers(names),
        parameters(names, rate_scale=0.5),
        classes=("<i>", "[b]", "&amp;"),
        delays_s={"conv2": 0.002},
        release_probability={"ip1": 0.25},
    )


def tuned():
    check = Check(40, -1.5, -0.25, 0.5, 0.7, 0.9, 12, 4)
    settings = {"method": "search", "objective": "likelihood", "accept": "better"}
    history = pd.DataFrame({"value": np.arange(200.0)})
    found = parameters(v_init=dict(zip(NAMES, (0.25, 0.5, 0), strict=True)))
    return TuningResult(parameters(), found, True, history, check, check, settings)


def calibrated():
    errors = dict.fromkeys(NAMES, (0.5, 0.125))
    return CalibrationResult(parameters(), parameters(), 0.5, 0.75, 40, errors, {})


def simulated(result):
    chosen = {**result.network, "classes": ["<i>", "[b]", "&amp;"]}
    return replace(result, network=chosen)


def diagnosed():
    table = pd.DataFrame(
        {
            "correlation": [0.5, 0.75, np.nan], "transfer": [0.5, 0.75, 1],
            "silent": 0.25, "saturated": 0.0, "missed": 0.125, "spikes": 1.5,
            "events": [np.nan, 2e6, 3], "threshold": 2.5, "strongest": 1.25,
        },
        index=pd.Index(NAMES, name="layer"),
    )  # fmt: skip
    at = pd.MultiIndex.from_tuples([NAMES[:2], NAMES[1:]], names=["layer", "reads"])
    branches = pd.DataFrame({"correlation": [1, 0.5], "share": 0.5}, index=at)
    return Diagnosis(table, 0.5, NAMES[0], "Try <more> [time].", {}, branches)


@pytest.fixture(
    params=[
        "network",
        "layers",
        "result",
        "tuned",
        "calibrated",
        "diagnosed",
        "adjusted",
    ]
)
def described(request, random_result):
    makers = {
        "network": network,
        "layers": layers,
        "result": lambda: simulated(random_result),
        "tuned": tuned,
        "calibrated": calibrated,
        "diagnosed": diagnosed,
        "adjusted": lambda: adjust(nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2))),
    }
    return makers[request.param]()


#: Without colours of our own, so that dark pages are as readable as light ones.
TAGS = {"div", "p", "br", "table", "caption", "thead", "tbody", "tr", "th", "td"}


class Words(HTMLParser):
    """The words of a page, and its tags."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.words += data.split()


def test_a_notebook_shows_the_words_of_print_in_their_order(described):
    page = Words(described._repr_html_())
    text = str(described)
    # Adjustments are in a box, and too wide for a line.
    order = sorted if isinstance(described, Adjustment) else list
    words = re.sub("[─━│┃┏┓┗┛┡┩├┤┬┴┼╇└┘┳]", " ", text).split()
    assert order(page.words) == order(words)
    assert page.tags <= TAGS
    assert len(text.splitlines()) < 25


def test_what_is_described_is_short_at_the_prompt(described):
    text = repr(described)
    assert text.startswith(f"{type(described).__name__}(")
    assert "\n" not in text
    assert len(text) < 200


def test_names_are_printed_as_they_are(described):
    shown = {
        Adjustment: ["LeakyReLU(negative_slope=0.1)"],
        SimulationResult: ["<i>", "[b]", "&amp;"],
        SpikingNetwork: ["conv1", "conv2", "ip1"],
    }
    text = str(described)
    assert all(name in text for name in shown.get(type(described), NAMES))
    assert "<b>" not in described._repr_html_()
    assert "<i>" not in described._repr_html_()


def test_a_long_name_is_not_cut():
    # As of a module deep in a DenseNet.
    names = [
        f"features.denseblock{k}.denselayer16.conv2_and_more_of_it" for k in range(3)
    ]
    text = str(layers(tuple(names)))
    assert all(name in text for name in names)


#: A row of each kind of data, with arrays that numpy would print on many lines.
PIXELS = np.zeros((7, 3, 8, 6), np.uint8)
DATA = [
    LabelledImages(PIXELS, np.arange(7), tuple("abcdefg")),
    stimuli.Movie(PIXELS, 20 * ms, name="<b>", parameters={"orientation": 30.0}),
    stimuli.Sequence(PIXELS),
    stimuli.Still(PIXELS[0]),
    stimuli.Events(np.zeros(999), *np.zeros((3, 999), int)),
    stimuli.SpikeTrains(np.arange(999), np.zeros(999) * ms),
    Trials(2, (10,) * 500, ("noise",) * 500, ({"seed": 1.0},) * 500),
    parameters(thresholds=dict.fromkeys(NAMES, np.arange(1, 900.0))),
    layers()[0],
    [layers()[0]],
]


@pytest.mark.parametrize("data", DATA, ids=lambda data: type(data).__name__)
def test_data_are_short(data):
    for text in (repr(data), str(data)):
        assert "\n" not in text
        assert len(text) < 400
    if isinstance(data, Printed):
        assert data._repr_html_() is None  # a notebook takes the line


def test_arrays_are_shown_by_type_and_shape():
    assert repr(DATA[0]) == (
        "LabelledImages(images=uint8 (7, 3, 8, 6), labels=int64 (7,), "
        "classes=('a', 'b', 'c', 'd', 'e', 'f', ... 1 more))"
    )
    assert repr(DATA[1]) == (
        "Movie(name='<b>', parameters={'orientation': 30.0}, "
        "frames=float32 (7, 3, 8, 6), frame=20. * msecond)"
    )


def test_counts_of_spikes_are_shown_by_shape(random_result):
    assert repr(random_result.spike_counts) == (
        "SpikeCounts(input (3, 2, 7, 6), conv1 (3, 3, 5, 4), ip1 (3, 3))"
    )
    for value in (
        random_result.spikes("conv1", 0),
        random_result.potentials("conv1", 1),
        random_result.decide(margin=1),
        random_result.perturbations,
    ):
        assert len(repr(value)) < 600
        assert "\n" not in repr(value)
        assert "array(" not in repr(value)


def public_data_classes():
    """Data classes that the API page names."""
    page = (ROOT / "docs" / "api.md").read_text()
    for name in re.findall(r"^   ([\w.]+)$", page, re.MULTILINE):
        parent, _, last = f"cnn2snn_brian.{name}".rpartition(".")
        found = getattr(import_module(parent), last)
        if isinstance(found, type) and is_dataclass(found):
            yield found


#: What a field is annotated with if it may print on many lines.
MANY_LINES = re.compile("ndarray|DataFrame|SpikeCounts|Layers|Parameters")


def test_all_public_data_with_arrays_are_short():
    found = {
        kind: bool(MANY_LINES.search(" ".join(str(f.type) for f in fields(kind))))
        for kind in public_data_classes()
    }
    assert sum(found.values()) > 20
    long = [
        kind.__name__
        for kind, many in found.items()
        if many and not issubclass(kind, Printed)
    ]
    assert not long


COLOURS = """
from cnn2snn_brian.projections import Layers, Linear
import numpy as np
print(Layers((1, 2, 1), (Linear("ip1", ("input",), (1, 2, 1), np.ones((1, 2))),)))
"""


def test_text_has_no_codes_of_a_terminal():
    ran = subprocess.run(
        [sys.executable, "-c", COLOURS],
        cwd=ROOT,
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ip1" in ran.stdout
    assert "\x1b" not in ran.stdout
