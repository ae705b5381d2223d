"""The paper's experiments on a few pictures of noise: steps, resuming, the report."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cnn2snn_brian import InputError, models
from cnn2snn_brian.paper import steps as reproduction
from cnn2snn_brian.paper.report import collect, write_report
from cnn2snn_brian.paper.steps import Extent, Reproduction

pytestmark = pytest.mark.standalone

TINY = Extent(
    durations=(10, 20),
    few_steps=(5,),
    n_test=2,
    n_tuning=1,
    n_unseen=1,
    budgets={0: 9},
    n_listing=1,
    listing_budget=3,
    n_sweep=1,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Smooth noise in the folders of CIFAR-10's classes, three pictures of each."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    _, card = models.pretrained("cifar10_quick_adjusted")
    for part in ("train", "test"):
        for name in card.classes:
            (folder / part / name).mkdir(parents=True)
            for index in range(3):
                small = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype="u1"))
                picture = small.resize((32, 32), Image.Resampling.BICUBIC)
                picture.save(folder / part / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def report(data, tmp_path_factory):
    """A whole run: its folder and its numbers."""
    out = tmp_path_factory.mktemp("report")
    with (
        pytest.MonkeyPatch.context() as patch,
        Reproduction(data, out, TINY, progress=False) as work,
    ):
        # The search of the longest pictures is replaced by factors.
        patch.setattr(reproduction, "LONG", 20)
        numbers = collect(work)
        write_report(work, numbers, "the command")
    return out, numbers


def test_the_report_has_every_table_and_figure(report):
    out, _ = report
    text = (out / "reproduction.md").read_text()
    for title in (
        "Table I:",
        "Table II:",
        "Fig. 3",
        "Fig. 4",
        "Fig. 5",
        "RQ1",
        "Eq. 9",
    ):
        assert re.search(rf"^## {re.escape(title)}", text, re.MULTILINE), title
    pictures = re.findall(r"\]\((.+\.png)\)", text)
    assert len(pictures) == 4
    for name in pictures:
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300


def test_the_html_page_has_the_same_tables(report):
    out, _ = report

    class Cells(HTMLParser):
        n = 0

        def handle_starttag(self, tag, attrs):
            self.n += tag in ("td", "th")

    parser = Cells()
    parser.feed((out / "reproduction.html").read_text())
    rows = [
        line
        for line in (out / "reproduction.md").read_text().splitlines()
        if line.startswith("|") and not line.startswith("| ---")
    ]
    assert parser.n == sum(row.count("|") - 1 for row in rows)


def test_accuracies_follow_from_the_predictions(report, data):
    out, numbers = report
    assert json.loads((out / "reproduction.json").read_text()) == json.loads(
        json.dumps(numbers)
    )
    found = json.loads((out / "reproduction-steps" / "cnns.json").read_text())["found"]
    labels = np.array(found["labels"])
    assert np.bincount(labels).tolist() == [2] * 10
    assert numbers["adjusted"] == np.mean(np.array(found["adjusted"]) == labels)
    step = "tested-searched-paper-20-0.json"
    tested = json.loads((out / "reproduction-steps" / step).read_text())["found"]
    right = np.array(tested["predictions"]) == labels[tested["members"]]
    assert numbers["over_time"][-1]["accuracy"] == right.mean()
    assert numbers["table2"]["snn"][-1] == right.mean()


def test_long_pictures_take_the_best_factor(report):
    out, numbers = report
    steps = out / "reproduction-steps"
    short, long = (
        json.loads((steps / f"searched-paper-{n}.json").read_text())["found"]
        for n in TINY.durations
    )
    factor = float(max(long["factors"], key=long["factors"].get))
    for layer, threshold in short["parameters"]["thresholds"].items():
        grown = threshold * (factor if layer.startswith("conv") else 1)
        assert long["parameters"]["thresholds"][layer] == pytest.approx(grown)
    assert numbers["over_time"][-1]["parameters"] == long["parameters"]


def test_a_second_run_reads_the_steps_and_simulates_nothing(report, data, monkeypatch):
    out, numbers = report

    def refuse(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(Reproduction, "simulator", refuse)
    with Reproduction(data, out, TINY, progress=False) as work:
        again = collect(work)
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(numbers))


def test_a_missing_step_is_done_again_with_the_same_result(report, data):
    out, numbers = report
    step = out / "reproduction-steps" / "tested-feedback-20-0.json"
    before = json.loads(step.read_text())
    step.write_text("{damaged")
    with Reproduction(data, out, TINY, progress=False) as work:
        collect(work)
    after = json.loads(step.read_text())
    for found in (before, after):
        found["found"].pop("seconds")
    assert after == before


def test_steps_of_other_settings_are_not_taken(report, data):
    out, _ = report
    with Reproduction(data, out, TINY, seed=1, progress=False) as work:
        calls = []
        work.step("cnns", lambda: calls.append(1) or {"new": True})
        assert calls == [1]
        (work.steps / "cnns.json").unlink()


def test_two_processes_dont_share_a_folder(data, tmp_path):
    with (
        Reproduction(data, tmp_path, TINY),
        pytest.raises(InputError, match="another process"),
        Reproduction(data, tmp_path, TINY),
    ):
        pass


def test_pictures_of_other_classes_are_refused(tmp_path):
    with (
        Reproduction(tmp_path / "nothing", tmp_path, TINY) as work,
        pytest.raises(InputError, match="existing folder"),
    ):
        work.cnns()
