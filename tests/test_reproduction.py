"""The paper's experiments on a few images of noise: steps, resuming, the report."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cnn2snn_brian import InputError, models
from cnn2snn_brian.reproduction import steps as paper_steps
from cnn2snn_brian.reproduction.report import collect, html_page, markdown, write_report
from cnn2snn_brian.reproduction.searches import cnns
from cnn2snn_brian.reproduction.steps import Extent, Reproduction, restored, to_json

pytestmark = pytest.mark.standalone

SHIPPED = Path(__file__).parent.parent / "docs" / "reproduction.json"

TINY = Extent(
    durations=(10, 20),
    few_steps=(5,),
    variants=(10,),
    n_test=2,
    n_tuning=1,
    n_unseen=1,
    budgets={0: 4},
    n_listing=1,
    listing_budget=2,
    n_sweep=1,
    # The search of the longest images is replaced by factors.
    long=20,
)


def noise_images(folder, classes, n):
    """Smooth noise in the folders of classes."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for index in range(n):
                small = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype="u1"))
                image = small.resize((32, 32), Image.Resampling.BICUBIC)
                image.save(folder / part / name / f"{index}.png")
    return folder


def kept_steps(out):
    """The steps of a file: one line of JSON each, behind the line of the settings."""
    lines = (out / "reproduction-steps.jsonl").read_text().splitlines()
    rows = map(json.loads, lines[1:])
    return {row["key"]: row["row"] for row in rows}


@pytest.fixture(scope="module", autouse=True)
def quick_simulations():
    """
    A smaller CNN of the same layers, and fewer points in a sweep.

    What the shipped weights do is tested elsewhere.
    """
    _, card = models.pretrained("cifar10_quick_adjusted")
    torch.manual_seed(0)
    cnn = models.cifar10_quick(adjusted=True).eval()
    small = {"conv1": (3, 4), "conv2": (4, 4), "conv3": (4, 6)}
    for name, (before, after) in small.items():
        setattr(cnn, name, nn.Conv2d(before, after, 5, padding=2, bias=False))
    cnn.ip1 = nn.Linear(6 * 8 * 8, 12, bias=False)
    cnn.ip2 = nn.Linear(12, 10, bias=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "pretrained", lambda name: (cnn, card))
        patch.setattr(paper_steps, "SWEEP_FACTORS", np.array([0.5, 1, 2]))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three images of each of CIFAR-10's classes."""
    _, card = models.pretrained("cifar10_quick_adjusted")
    return noise_images(tmp_path_factory.mktemp("images"), card.classes, 3)


@pytest.fixture(scope="module")
def report(data, tmp_path_factory):
    """A whole run: its folder and its numbers."""
    out = tmp_path_factory.mktemp("report")
    # Of so few images, one program run is faster than several at a time.
    with Reproduction(data, out, TINY, executor=1, progress=False) as work:
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
    images = re.findall(r"\]\((.+\.png)\)", text)
    assert len(images) == 4
    for name in images:
        with Image.open(out / name) as image:
            assert min(image.size) > 300


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


def test_accuracies_follow_from_the_predictions(report):
    out, numbers = report
    steps = kept_steps(out)
    labels = np.array(steps["cnns"]["labels"])
    assert np.bincount(labels).tolist() == [2] * 10
    assert numbers["adjusted"] == np.mean(np.array(steps["cnns"]["adjusted"]) == labels)
    tested = steps["tested-searched-paper-20-0"]
    right = np.array(tested["predictions"]) == labels[tested["members"]]
    assert numbers["over_time"][-1]["accuracy"] == right.mean()
    assert numbers["table2"]["snn"][-1] == right.mean()


def refuse_constant(name):
    message = f"{name} is not JSON"
    raise AssertionError(message)


def test_the_json_file_is_json_and_reads_back(report):
    out, numbers = report
    text = (out / "reproduction.json").read_text()
    read = restored(json.loads(text, parse_constant=refuse_constant))
    # As text: numbers that are none are not equal to themselves.
    assert repr(read) == repr(json.loads(json.dumps(numbers)))
    floors = read["free_floor"]["parameters"]["v_min"].values()
    assert set(floors) == {-np.inf}
    steps = (out / "reproduction-steps.jsonl").read_text()
    for line in steps.splitlines():
        json.loads(line, parse_constant=refuse_constant)


def test_the_shipped_json_file_is_json():
    read = json.loads(SHIPPED.read_text(), parse_constant=refuse_constant)
    floors = restored(read)["free_floor"]["parameters"]["v_min"].values()
    assert set(floors) == {-np.inf}


def test_the_shipped_page_has_the_numbers_of_the_shipped_file():
    numbers = restored(json.loads(SHIPPED.read_text()))
    names = ("fig3", "fig4", "fig5", "steps")
    figures = {name: f"reproduction/{name}.png" for name in names}
    command = "cnn2snn-brian reproduce --data DIR --out DIR"
    page = SHIPPED.with_suffix(".md").read_text()
    assert markdown(numbers, figures, command) == page


def test_long_images_take_the_best_factor(report):
    out, numbers = report
    short, long = (kept_steps(out)[f"searched-paper-{n}"] for n in TINY.durations)
    factor = float(max(long["factors"], key=long["factors"].get))
    for layer, threshold in short["parameters"]["thresholds"].items():
        grown = threshold * (factor if layer.startswith("conv") else 1)
        assert long["parameters"]["thresholds"][layer] == pytest.approx(grown)
    assert numbers["over_time"][-1]["parameters"] == restored(long["parameters"])


def test_a_second_run_reads_the_steps_and_simulates_nothing(report, data, monkeypatch):
    out, numbers = report

    def refuse(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(Reproduction, "simulator", refuse)
    with Reproduction(data, out, TINY, progress=False) as work:
        assert to_json(collect(work)) == to_json(numbers)


def test_a_step_that_was_cut_off_is_done_again_with_the_same_result(report, data):
    out, _ = report
    file = out / "reproduction-steps.jsonl"
    before = kept_steps(out)
    last = list(before)[-1]
    file.write_text(file.read_text()[:-20])
    with Reproduction(data, out, TINY, progress=False) as work:
        collect(work)
    after = kept_steps(out)
    assert list(after)[-1] == last
    assert after == before


def test_no_unfinished_tuning_is_left(report):
    out, _ = report
    assert sorted(path.name for path in out.iterdir()) == [
        "reproduction",
        "reproduction-steps.jsonl",
        "reproduction.html",
        "reproduction.json",
        "reproduction.lock",
        "reproduction.md",
    ]


def test_steps_of_another_seed_are_refused(report, data):
    out, _ = report
    with (
        Reproduction(data, out, TINY, seed=1, progress=False) as work,
        pytest.raises(InputError, match=r"in images, seed.*give another folder"),
    ):
        cnns(work)


def test_steps_of_other_versions_are_not_reported_as_of_these(
    report, data, monkeypatch
):
    out, _ = report
    installed = paper_steps.versions()
    monkeypatch.setattr(
        paper_steps, "versions", lambda: {**installed, "torch": "0", "brian2": "0"}
    )
    with (
        Reproduction(data, out, TINY, progress=False) as work,
        pytest.raises(InputError, match=r"differs in brian2, torch.*to do the steps"),
    ):
        cnns(work)


def test_steps_of_version_0_1_0_are_refused(data, tmp_path):
    (tmp_path / "reproduction-steps").mkdir()
    with (
        pytest.raises(InputError, match="version 0.1.0 kept its steps here"),
        Reproduction(data, tmp_path, TINY),
    ):
        pass


def test_two_processes_dont_share_a_folder(data, tmp_path):
    with (
        Reproduction(data, tmp_path, TINY),
        pytest.raises(InputError, match="another process"),
        Reproduction(data, tmp_path, TINY),
    ):
        pass


def test_an_interrupted_step_says_where_the_others_are(data, tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with (
        Reproduction(data, tmp_path, TINY, progress=False) as work,
        pytest.raises(KeyboardInterrupt, match="this reproduction is kept in .*jsonl"),
    ):
        work.step("first", interrupted)


def test_data_that_is_not_there_is_refused(tmp_path):
    with (
        Reproduction(tmp_path / "nothing", tmp_path, TINY) as work,
        pytest.raises(InputError, match="existing folder"),
    ):
        cnns(work)


def test_other_names_of_the_classes_get_the_numbers_of_the_cnn(data, tmp_path):
    _, card = models.pretrained("cifar10_quick_adjusted")
    for part in ("train", "test"):
        for name in card.classes:
            # Sorted, "car" and "Plane" have other places than in the CNN.
            other = {"airplane": "plane", "automobile": "Car"}.get(name, name)
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / part / other).symlink_to(data / part / name)
    with (
        Reproduction(data, tmp_path / "a", TINY) as expected,
        Reproduction(tmp_path / "data", tmp_path / "b", TINY) as found,
    ):
        for pairs in zip(expected.images, found.images, strict=True):
            by_image = [
                dict(
                    zip(
                        (image.tobytes() for image in images.images),
                        (images.classes[label] for label in images.labels),
                        strict=True,
                    )
                )
                for images in pairs
            ]
            common = by_image[0].keys() & by_image[1].keys()
            assert len(common) >= 10
            assert all(by_image[0][image] == by_image[1][image] for image in common)
        assert found.images[0].classes == card.classes


def test_other_classes_are_refused_with_both_lists(tmp_path):
    classes = ["<b>x", *"bcdefghij"]
    noise_images(tmp_path / "data", classes, 1)
    with (
        Reproduction(tmp_path / "data", tmp_path / "out", TINY) as work,
        pytest.raises(InputError, match=r"<b>x, b, c.*but the CNN has airplane, auto"),
    ):
        cnns(work)


def test_names_are_text_in_the_report():
    numbers = restored(json.loads(SHIPPED.read_text()))
    name = "<b>x|*y*&lt;"
    classes = [name, *numbers["classes"][1:]]
    numbers = {**numbers, "classes": classes}
    figures = dict.fromkeys(("fig3", "fig4", "fig5", "steps"), "f.png")

    class Text(HTMLParser):
        cells = ()

        def handle_starttag(self, tag, attrs):
            assert tag != "b"
            if tag == "td":
                self.cells += ("",)

        def handle_data(self, data):
            if self.cells:
                self.cells = (*self.cells[:-1], self.cells[-1] + data)

    parser = Text()
    parser.feed(html_page(markdown(numbers, figures, "the command")))
    # Of Table II and of Fig. 5.
    assert sum(cell.strip() == name for cell in parser.cells) == 2
