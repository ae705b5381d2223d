"""Threshold setting on compiled networks: known optima, checkpoints, bad input."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brian2 import ms
from scipy import stats
from test_workers import needs_linux, programs, wait_for
from torch import nn

from cnn2snn_brian import (
    InputError,
    NeuronModel,
    Simulator,
    TuningResult,
    convert,
    data_based_thresholds,
    models,
    tune_thresholds,
)
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.simulator import compiler
from cnn2snn_brian.tuning import Bisection, Check, Feedback, Percentiles, Search
from cnn2snn_brian.tuning.tune import TuningSet

pytestmark = pytest.mark.standalone

N_CLASSES = 3
WRONG = 0.2


def one_layer(wrong=WRONG, **options):
    """
    Pixel k drives output k with 1 in each step, and the others with `wrong`.

    In 4 steps (a constant current, reset to 0), a neuron of drive d spikes
    floor(4 / ceil(threshold / d)) times.
    """
    module = nn.Sequential(nn.Flatten(), nn.Linear(N_CLASSES, N_CLASSES, bias=False))
    weight = np.full((N_CLASSES, N_CLASSES), wrong)
    np.fill_diagonal(weight, 1)
    module[1].weight.data = nn.Parameter(module[1].weight.new_tensor(weight))
    return convert(
        module.eval(),
        (N_CLASSES, 1, 1),
        thresholds=0.1,
        encoding="current",
        classes=("ant", "bee", "cow"),
        **options,
    )


LABELS = np.repeat(np.arange(N_CLASSES), 5)
IMAGES = np.eye(N_CLASSES)[LABELS][:, :, None, None]


@pytest.fixture(scope="module")
def known():
    with one_layer().compile(4 * ms) as simulator:
        yield simulator


@pytest.mark.parametrize(
    ("threshold", "right", "wrong"),
    [(0.1, 4, 4), (0.35, 4, 2), (0.6, 4, 1), (0.85, 4, 0), (3.9, 1, 0), (4.1, 0, 0)],
)
def test_the_best_threshold_is_known_by_construction(known, threshold, right, wrong):
    counts = known.run(IMAGES, thresholds=threshold).output_counts()
    expected = np.where(np.eye(N_CLASSES, dtype=bool)[LABELS], right, wrong)
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("feedback", {"step": 0.25}),
        ("bisection", {"bounds": (0.01, 8)}),
        ("data", {"objective": "spike_ratio"}),
        ("search", {"start": 0.15, "objective": "spike_ratio", "step": 0.5}),
        ("search", {"start": 8.0, "objective": "spike_ratio", "step": 1.0}),
    ],
)
def test_every_method_finds_it(known, method, arguments):
    result = tune_thresholds(
        known, IMAGES, LABELS, method=method, progress=False, **arguments
    )
    # Above, the wrong neurons are silent; up to there, the right ones spike.
    assert 4 * WRONG < result.thresholds["ip1"] <= 4
    assert result.tuning.accuracy == result.tuning.cnn_accuracy == 1
    assert result.value == result.held_out.value == 1
    # With the network's own 0.1, all neurons spike in each step.
    assert result.tuning.value_before == pytest.approx(1 / 3)
    assert (result.tuning.n_images, result.held_out.n_images) == (12, 3)
    assert len(result.history) <= 100


def test_a_network_that_is_not_compiled(known):
    snn = one_layer()
    found = tune_thresholds(snn, IMAGES, LABELS, duration=4 * ms, progress=False)
    assert_same(found, tune_thresholds(known, IMAGES, LABELS, progress=False))
    assert found.settings["method"] == "search"
    assert snn == one_layer()
    with pytest.raises(InputError, match="duration: this network is compiled"):
        tune_thresholds(known, IMAGES, LABELS, duration=4 * ms)


def test_feedback_by_hand(known):
    result = tune_thresholds(
        known, IMAGES, LABELS, method="feedback", step=0.25, progress=False
    )
    history = result.history
    tried = [0.1, 0.35, 0.6, 0.85, 1.1]
    np.testing.assert_allclose(history["thresholds.ip1"], tried, rtol=1e-12)
    # 4 spikes of the right neuron; the two wrong ones have 4, 2, 1, 0 each. At 1.1
    # the right one has 2: the ratio is no better, and nothing else is left to try.
    values = [1 / 3, 1 / 2, 2 / 3, 1, 1]
    np.testing.assert_allclose(history["value"], values)
    np.testing.assert_allclose(history["best"], values)
    np.testing.assert_array_equal(history["criterion"], history["value"])
    assert list(history["round"]) == [0, 1, 2, 3, 4]
    assert set(history["n_images"]) == {12}
    assert result.thresholds == {"ip1": pytest.approx(0.85)}
    text = str(result)
    assert "feedback, spike_ratio: 5 candidates" in text
    assert re.search(r"held-out +3 +0\.3333 +1\.0000", text)


def test_a_budget_ends_feedback_where_it_is(known):
    result = tune_thresholds(
        known, IMAGES, LABELS, method="feedback", step=0.25, budget=3, progress=False
    )
    assert len(result.history) == 3
    assert result.thresholds == {"ip1": pytest.approx(0.6)}


def test_bisection_goes_by_both_criteria(known):
    result = tune_thresholds(
        known, IMAGES, LABELS, method="bisection", bounds=(0.01, 8), progress=False
    )
    history = result.history
    pictures, _ = TuningSet.mixed(IMAGES, LABELS, 0).split(0.2)
    for row in history.itertuples():
        found = known.run(pictures.images, thresholds=row[-1])
        counts = found.output_counts().ravel()
        cnn = np.where(pictures.images.ravel() == 1, 1, WRONG)
        agreement = np.corrcoef(counts, cnn)[0, 1] if counts.std() else 0
        assert row.criterion == pytest.approx(row.value * agreement, abs=1e-6)


def test_bisection_of_an_objective_below_0(known):
    result = tune_thresholds(
        known, IMAGES, LABELS, method="bisection", objective="likelihood",
        bounds=(0.01, 8), progress=False,
    )  # fmt: skip
    # What does not agree with the CNN counts as worse here too.
    assert (result.history["value"] < 0).all()
    assert (result.history["criterion"] <= result.history["value"] + 1e-9).all()


def test_data_is_percentiles_without_candidates(known):
    result = tune_thresholds(
        known, IMAGES, LABELS, method="data", percentile=100, held_out=0,
        accept="always", progress=False,
    )  # fmt: skip
    assert result.history.empty
    assert result.held_out is None
    assert result.thresholds == data_based_thresholds(known.snn.layers, IMAGES, 100)


def test_the_classes_can_be_one(known):
    seen = []

    def right_spikes(result, target):
        seen.append(target.labels)
        return float(result.output_counts()[:, target.labels[0]].mean())

    for category in (1, np.int64(1), "bee"):
        result = tune_thresholds(
            known, IMAGES, LABELS, objective=right_spikes, category=category,
            progress=False,
        )  # fmt: skip
        assert result.settings["category"] == category
        assert {*np.concatenate(seen)} == {1}
        assert (result.tuning.n_images, result.held_out.n_images) == (4, 1)


# A second network: Poisson input and several layers, for all that has to be the same.

N_DIGITS = 60


def digits():
    training, _ = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, (1, 8, 8), calibration=training.images[:200])
    return snn, training[:N_DIGITS]


@pytest.fixture(scope="module")
def poisson():
    snn, pictures = digits()
    with snn.compile(20 * ms) as simulator:
        yield simulator, pictures


def tune_digits(simulator, pictures, **arguments):
    settings = {"method": "search", "budget": 24, "seed": 5, "progress": False}
    # These tests are about what is found, be it better or not.
    settings["accept"] = "always"
    return tune_thresholds(
        simulator, pictures.images, pictures.labels, **{**settings, **arguments}
    )


def assert_same(found, expected):
    assert found.parameters == expected.parameters
    assert found.tuning == expected.tuning
    assert found.held_out == expected.held_out
    assert found.settings == expected.settings
    # All but the time is the same.
    pd.testing.assert_frame_equal(
        found.history.drop(columns="seconds", errors="ignore"),
        expected.history.drop(columns="seconds", errors="ignore"),
    )


@pytest.fixture(scope="module")
def expected(poisson):
    return tune_digits(*poisson, executor=1)


def test_executors_change_nothing_and_nothing_compiles(poisson, expected, monkeypatch):
    def refuse(*arguments, **more):
        pytest.fail("a program was compiled")

    with monkeypatch.context() as patched:
        patched.setattr(compiler, "_asked", refuse)
        assert_same(tune_digits(*poisson, executor=2), expected)
        assert_same(tune_digits(*poisson), expected)
    with ThreadPoolExecutor(2) as threads:
        assert_same(tune_digits(*poisson, executor=threads), expected)


def test_another_seed_is_another_tuning(poisson, expected):
    other = tune_digits(*poisson, seed=6)
    assert other.settings["images"] != expected.settings["images"]
    assert list(other.history["value"]) != list(expected.history["value"])


def test_the_arguments_reproduce_the_values(poisson, expected):
    simulator, pictures = poisson
    seed = expected.settings["seed"]
    tuned, unseen = TuningSet.mixed(
        (pictures.images / 255).astype(np.float32), pictures.labels, seed
    ).split(0.2)
    for part, check in ((tuned, expected.tuning), (unseen, expected.held_out)):
        result = simulator.run(part.images, **expected.arguments, seed=seed)
        assert result.parameters == expected.parameters
        assert result.accuracy(part.labels) == check.accuracy
        before = simulator.run(part.images, seed=seed)
        assert before.accuracy(part.labels) == check.accuracy_before
    # The history's last round saw all images: its best is what was chosen.
    final = expected.history.query("n_images == @expected.tuning.n_images")
    assert final["value"].max() == expected.value


def rows_of(path):
    """What a checkpoint has of candidates: a line for each, behind the first."""
    return [json.loads(line)["row"] for line in path.read_text().splitlines()[1:]]


class Accuracy:
    """An objective that counts its calls, and fails after some."""

    def __init__(self, fail_after=None):
        self.fail_after = fail_after
        self.calls = 0
        self.pictures = []

    def __call__(self, result, target):
        if self.calls == self.fail_after:
            message = "stopped in the middle"
            raise RuntimeError(message)
        self.calls += 1
        outputs = target.activations[target.output_layer]
        self.pictures.append({row.tobytes() for row in outputs})
        return result.accuracy(target.labels)


#: Calls that are no candidates: own and chosen parameters, on tuned and unseen ones.
N_CHECKS = 4


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "search"},
        {"method": "feedback", "step": 1.0},
        {"method": "bisection", "bounds": (0.1, 9.0), "layers": ["ip1", "conv1"]},
    ],
)
def test_a_tuning_goes_on_from_its_checkpoint(poisson, tmp_path, arguments):
    reference = Accuracy()
    expected = tune_digits(*poisson, objective=reference, **arguments)
    n_candidates = len(expected.history)
    assert reference.calls == n_candidates + N_CHECKS
    path = tmp_path / "tuning.jsonl"
    calls = 0
    # In the middle of a round too.
    for fail_after in (3, n_candidates // 2 - 3):
        failing = Accuracy(fail_after)
        with pytest.raises(RuntimeError, match="in the middle"):
            tune_digits(*poisson, objective=failing, checkpoint=path, **arguments)
        calls += failing.calls
        assert len(rows_of(path)) == calls
    last = Accuracy()
    found = tune_digits(*poisson, objective=last, checkpoint=path, **arguments)
    assert_same(found, expected)
    assert calls + last.calls == n_candidates + N_CHECKS, "none was run twice"
    again = Accuracy()
    assert_same(
        tune_digits(*poisson, objective=again, checkpoint=path, **arguments), expected
    )
    assert again.calls == N_CHECKS
    assert [*tmp_path.iterdir()] == [path]


def test_held_out_pictures_are_not_tuned_on(poisson):
    objective = Accuracy()
    result = tune_digits(*poisson, objective=objective)
    tuned = set.union(*objective.pictures[:-2])
    unseen = objective.pictures[-1]
    assert objective.pictures[-2] == unseen
    assert not tuned & unseen
    assert len(tuned | unseen) == N_DIGITS, "all digits differ"
    assert len(tuned) == result.tuning.n_images
    assert len(unseen) == result.held_out.n_images
    assert result.settings["images"] != result.settings["held_out"]


def test_held_out_pictures_can_be_given(poisson):
    simulator, pictures = poisson
    objective = Accuracy()
    result = tune_digits(
        simulator, pictures[:40], objective=objective, budget=2,
        held_out=(pictures.images[40:], pictures.labels[40:]),
    )  # fmt: skip
    assert (result.tuning.n_images, result.held_out.n_images) == (40, 20)
    assert not set.union(*objective.pictures[:-2]) & objective.pictures[-1]


@pytest.mark.parametrize(("share", "apart"), [(0.0, 0), (0.01, 1), (0.5, 2), (0.99, 4)])
def test_a_share_of_every_class_is_apart(share, apart):
    pictures = TuningSet.mixed(IMAGES.astype(np.float32), LABELS, 0)
    tuned, unseen = pictures.split(share)
    np.testing.assert_array_equal(np.bincount(unseen.labels, minlength=3), 3 * [apart])
    np.testing.assert_array_equal(np.bincount(tuned.labels), 3 * [5 - apart])
    # Any first images have all classes.
    assert {*pictures.labels[:3]} == {0, 1, 2}


def test_a_class_of_one_image_has_none_apart(known):
    result = tune_thresholds(
        known, IMAGES[::5], LABELS[::5], method="data", progress=False
    )
    assert result.held_out is None
    assert result.settings["held_out"] is None
    assert result.tuning.n_images == 3


def tune_in_a_child(simulator, pictures, objective, checkpoint):
    return tune_digits(
        simulator, pictures, objective=objective, checkpoint=checkpoint, executor=2
    )


CHILD = """
import sys
from brian2 import ms
from test_tuning import Accuracy, digits, tune_in_a_child

class Telling(Accuracy):
    def __call__(self, result, target):
        print("candidate", flush=True)
        return super().__call__(result, target)

Telling.__name__ = "Accuracy"
snn, images = digits()
with snn.compile(20 * ms) as simulator:
    tune_in_a_child(simulator, images, Telling(), sys.argv[1])
"""


@needs_linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_tuning_that_is_ended_goes_on(poisson, tmp_path, how):
    here = Path(__file__).parent
    path = tmp_path / "tuning.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "said").open("w"),
    )
    for _ in range(8):  # the scan, and the first of 8 candidates of a generation
        assert process.stdout.readline() == b"candidate\n"
    started = wait_for(lambda: programs(process.pid) or process.poll() is not None)
    process.send_signal(how)
    assert process.wait(timeout=30) == -how
    process.stdout.close()
    for program in started:
        wait_for(lambda program=program: not Path(f"/proc/{program}/exe").exists())
    said = (tmp_path / "said").read_text().splitlines()[-1:]
    kept = f"What is done of this tuning is kept in {path}. Do the same again to go on"
    assert said == ([f"{kept} from there"] if how == signal.SIGINT else [])
    n_known = len(rows_of(path))
    objective, reference = Accuracy(), Accuracy()
    found = tune_in_a_child(*poisson, objective, path)
    assert_same(found, tune_in_a_child(*poisson, reference, None))
    assert 7 <= n_known < len(found.history)
    assert objective.calls == reference.calls - n_known


@pytest.fixture
def no_simulation(monkeypatch):
    def refuse(*_, **__):
        message = "it simulated before it had checked its arguments"
        raise AssertionError(message)

    monkeypatch.setattr(Simulator, "run_many", refuse)


@pytest.mark.usefixtures("no_simulation")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"category": 2}, "category=2: no image has this label"),
        ({"category": "cow"}, "category='cow': no image has this label"),
        ({"category": "dog"}, r"category='dog': .* network's are \('ant', 'bee'"),
        ({"category": 3}, "category=3: expected 0 to 2, or the name of"),
        ({"category": 0.0}, "category=0.0: expected 0 to 2"),
        (
            {"labels": LABELS[:10] + 2},
            "labels goes from 2 to 3, .* numbers from 0 to 2",
        ),
        ({"labels": LABELS[:10] - 1}, "labels goes from -1 to 0"),
        ({"labels": LABELS}, r"10 images need as many whole numbers.*\(15,\)"),
        ({"labels": LABELS[:10] / 1}, "whole numbers, found float64"),
        ({"images": IMAGES[:0]}, "there are no images"),
        ({"images": IMAGES[:10] * 2}, r"pixels have to be in \[0, 1\]"),
        ({"bounds": (2, 1)}, r"bounds of ip1 are \(2, 1\), .* 0 < low < high"),
        ({"bounds": (0, 1)}, r"bounds of ip1 are \(0, 1\)"),
        ({"bounds": {"ip1": 3}}, r"bounds of ip1 are 3, expected \(low, high\)"),
        ({"bounds": ("a", "b")}, r"bounds of ip1 are \('a', 'b'\), expected"),
        ({"bounds": {"conv7": (1, 2)}}, "bounds names the unknown layer 'conv7'"),
        ({"start": 5, "bounds": (1, 2)}, "start of ip1 is 5, outside its bounds 1 to"),
        ({"start": {"conv7": 1}}, "start names the unknown layer 'conv7'"),
        ({"start": -1}, "threshold of ip1 is -1"),
        ({"start": 1, "method": "data"}, "method='data': 'start'"),
        ({"budget": 0}, "budget is 0, expected a whole number of at least 1"),
        ({"budget": 2.5}, "budget is 2.5"),
        ({"step": 0}, "step is 0, expected a number above 0"),
        ({"step": np.nan}, "step is nan"),
        ({"step": 0.1, "method": "bisection"}, "method='bisection': 'step'"),
        ({"seed": -1}, "seed is -1, expected a whole number of at least 0"),
        ({"layers": ["conv7"]}, r"layers=\('conv7',\): expected some of 'ip1'"),
        ({"layers": []}, r"layers=\(\): expected some of"),
        ({"layers": ["ip1", "ip1"]}, "each once"),
        ({"method": "guess"}, "method='guess': expected one of 'feedback'"),
        ({"objective": "speed"}, "objective='speed': expected one of"),
        (
            {"objective": "feature_map:conv7"},
            ":conv7': .* with a layer of ip1",
        ),
        ({"tune": ["weights"], "method": "search"}, "tune=.*expected some of"),
        ({"tune": ["v_min"]}, "method='feedback': 'tune'"),
        ({"held_out": 1.0}, "held_out .* is 1.0, expected a number .* below 1"),
        ({"held_out": -0.1}, "held_out .* is -0.1"),
        ({"held_out": "all"}, "held_out .* is 'all'"),
        ({"held_out": (IMAGES, LABELS[:3])}, "labels of held_out: 15 images need"),
        ({"percentile": 0}, "percentile is 0"),
        ({"percentile": 101}, "percentile is 101"),
        ({"accept": "maybe"}, "accept='maybe': expected 'better' or 'always'"),
        ({"start": 5, "steps": 1}, "method='feedback': 'steps'"),
    ],
)
def test_bad_input_is_an_error_before_any_simulation(known, arguments, message):
    # Images of two of the three classes.
    arguments = {"images": IMAGES[:10], "labels": LABELS[:10], **arguments}
    arguments.setdefault("method", "feedback")
    with pytest.raises(InputError, match=message):
        tune_thresholds(known, progress=False, **arguments)


def test_an_executor_that_is_none_is_an_error(known):
    with pytest.raises(InputError, match="executor is 'two'"):
        tune_thresholds(known, IMAGES, LABELS, executor="two", progress=False)


def test_an_objective_has_to_be_a_number(known):
    with pytest.raises(InputError, match="the objective is not a number for start"):
        tune_thresholds(
            known, IMAGES, LABELS, objective=lambda *_: np.nan, progress=False
        )


@pytest.fixture
def checkpoint(known, tmp_path):
    path = tmp_path / "tuning.jsonl"
    tune_thresholds(
        known,
        IMAGES,
        LABELS,
        method="feedback",
        step=0.25,
        checkpoint=path,
        seed=0,
        progress=False,
    )
    return path


@pytest.mark.parametrize(
    ("arguments", "differs"),
    [
        ({"images": IMAGES[::-1], "labels": LABELS[::-1]}, None),
        ({"labels": LABELS[::-1]}, "held_out, images"),
        ({"images": IMAGES * 0.5}, "bounds, held_out, images"),
        ({"step": 0.5}, "step"),
        ({"seed": 1}, "seed"),
        ({"budget": 99}, "budget"),
        ({"method": "search"}, "method, objective, start, tune"),
        ({"objective": "accuracy"}, "objective"),
        ({"start": 0.2}, "start"),
        ({"bounds": (0.1, 2)}, "bounds"),
        ({"held_out": 0}, "held_out, images"),
        ({"percentile": 99}, "percentile"),
        ({"method": Feedback(step=0.25)}, None),
    ],
)
def test_a_checkpoint_of_another_tuning(known, checkpoint, arguments, differs):
    given = {"images": IMAGES, "labels": LABELS, "method": "feedback", "step": 0.25}
    given |= arguments
    if not isinstance(given.get("method", ""), str):
        del given["step"]
    before = checkpoint.read_bytes()
    if differs is None:
        # The same images of each class: only the order in which they were given.
        tune_thresholds(known, checkpoint=checkpoint, progress=False, **given)
    else:
        with pytest.raises(InputError, match=f"it differs in {differs}. Take the same"):
            tune_thresholds(known, checkpoint=checkpoint, progress=False, **given)
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_another_network(known, checkpoint):
    def goes_on(simulator):
        return tune_thresholds(
            simulator,
            IMAGES,
            LABELS,
            method="feedback",
            step=0.25,
            checkpoint=checkpoint,
            progress=False,
        )

    expected = goes_on(known)
    with one_layer().compile(4 * ms) as same:
        assert goes_on(same).parameters == expected.parameters
    with (
        one_layer(wrong=0.25).compile(4 * ms) as other,
        pytest.raises(InputError, match="it differs in network. Take"),
    ):
        goes_on(other)
    with (
        one_layer().compile(5 * ms) as longer,
        pytest.raises(InputError, match="it differs in duration_s. Take"),
    ):
        goes_on(longer)


def with_neurons(**code):
    model = {"equations": "v : 1", "threshold": "v >= v_th", "reset": "v = 0"}
    return one_layer(neurons=NeuronModel(**{**model, **code}))


@pytest.mark.parametrize(
    "changed", [{"on_pre": "v_post += 0.5*w"}, {"reset": "v = 0.25*v"}]
)
def test_a_checkpoint_of_a_network_with_other_neurons(tmp_path, changed):
    # The text of both networks is the same.
    with with_neurons().compile(4 * ms) as simulator:
        checkpoint = tmp_path / "tuning.jsonl"
        given = {"method": "feedback", "step": 0.25, "checkpoint": checkpoint}
        tune_thresholds(simulator, IMAGES, LABELS, progress=False, **given)
        simulator.snn = with_neurons(**changed)
        with pytest.raises(InputError, match="it differs in network. Take"):
            tune_thresholds(simulator, IMAGES, LABELS, progress=False, **given)


def damaged(content, how):
    head, *rows = content.splitlines()
    found = json.loads(rows[1])
    del found["crc32"]  # by hand, or in a file of an earlier version
    if how == "row":
        del found["row"]["criterion"]
    if how == "parameters":
        found["row"]["parameters"]["thresholds"]["ip1"] = 7.0
    rows[1] = json.dumps(found)
    return "".join(f"{line}\n" for line in (head, *rows))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("row", "row 1 has no criterion"),
        ("parameters", "candidate 1 is another than this version of the method tries"),
    ],
)
def test_a_damaged_checkpoint(known, checkpoint, request, how, message):
    checkpoint.write_text(damaged(checkpoint.read_text(), how))
    request.getfixturevalue("no_simulation")
    with pytest.raises(InputError, match=message):
        tune_thresholds(
            known,
            IMAGES,
            LABELS,
            method="feedback",
            step=0.25,
            checkpoint=checkpoint,
            progress=False,
        )


@pytest.mark.usefixtures("no_simulation")
@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere/tuning.jsonl", "nowhere does not exist"), (".", "not a readable")],
)
def test_a_checkpoint_that_can_not_be_written(known, tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        tune_thresholds(
            known, IMAGES, LABELS, checkpoint=tmp_path / name, progress=False
        )


def test_only_the_named_layers_are_set(poisson):
    simulator, _ = poisson
    own = simulator.snn.thresholds
    names = [*own]
    result = tune_digits(
        *poisson, method="feedback", step=2.0, layers=names[:2], budget=6,
        start={names[0]: own[names[0]] / 2},
    )  # fmt: skip
    first = result.history.iloc[0]
    assert first[f"thresholds.{names[0]}"] == own[names[0]] / 2
    assert first[f"thresholds.{names[1]}"] == 0.1, "the listing's start"
    for name in names[2:]:
        assert set(result.history[f"thresholds.{name}"]) == {own[name]}
    scalar = tune_digits(
        *poisson, method="feedback", step=2.0, layers=names[:2], budget=1, start=0.3
    )
    expected = {**own, **dict.fromkeys(names[:2], 0.3)}
    assert scalar.thresholds == expected


def test_bounds_hold_for_the_first_thresholds(known):
    result = tune_thresholds(
        known,
        IMAGES,
        LABELS,
        method="feedback",
        bounds=(0.5, 0.7),
        step=0.1,
        budget=1,
        progress=False,
    )
    assert result.thresholds == {"ip1": 0.5}
    data = tune_thresholds(
        known, IMAGES, LABELS, method="data", bounds=(2.0, 3.0), accept="always",
        progress=False,
    )  # fmt: skip
    assert data.thresholds == {"ip1": 2.0}


def test_search_sets_what_is_named(poisson):
    result = tune_digits(*poisson, tune=["thresholds", "v_min", "v_init", "leak"])
    own = asdict(poisson[0].snn.parameters)
    for what in ("v_min", "v_init", "leak"):
        columns = [c for c in result.history if c.startswith(f"{what}.")]
        assert len(columns) == len(own[what])
    found = poisson[0].run(poisson[1].images, **result.arguments, progress=False)
    assert found.parameters == result.parameters


@pytest.fixture
def good(known):
    """The network with a threshold that classifies all images."""
    known.snn.thresholds = 1.0
    yield known
    known.snn.thresholds = 0.1


#: One candidate, at whose threshold all neurons spike in each step: nothing is right
#: but by chance.
WORSE = {"method": "feedback", "start": 0.1, "budget": 1, "progress": False}


def test_worse_thresholds_are_not_taken(good):
    result = tune_thresholds(good, IMAGES, LABELS, **WORSE)
    assert result.held_out.accuracy < result.held_out.accuracy_before == 1
    assert not result.accepted
    assert result.thresholds == good.snn.thresholds == {"ip1": 1.0}
    assert result.parameters == result.before == good.snn.parameters
    assert result.found.thresholds == {"ip1": 0.1}
    assert result.arguments["thresholds"] == {"ip1": 1.0}
    assert result.value == result.tuning.value_before == 1
    text = " ".join(str(result).split())
    assert "own parameters are kept: what was found is not better on 3 held" in text
    assert "too few to tell the accuracies apart: 0 became right and 2 wrong" in text
    assert "not used" in repr(result)


def test_worse_thresholds_can_be_asked_for(good):
    result = tune_thresholds(good, IMAGES, LABELS, accept="always", **WORSE)
    assert result.accepted
    assert result.thresholds == {"ip1": 0.1}
    assert result.value == result.tuning.value == pytest.approx(1 / 3)
    assert result.settings["accept"] == "always"
    assert "What was found is used, as accept='always' asks for." in str(result)


def test_without_held_out_images_the_tuned_ones_decide(good):
    result = tune_thresholds(good, IMAGES, LABELS, held_out=0, **WORSE)
    assert not result.accepted
    text = str(result)
    assert "not better on 15 tuning images" in text
    assert "Nothing is known of other images: none were held out." in text


def test_an_objective_of_ones_own_decides_alone(good):
    def many_spikes(result, target):
        return float(result.output_counts().sum())

    result = tune_thresholds(good, IMAGES, LABELS, objective=many_spikes, **WORSE)
    assert result.held_out.accuracy < result.held_out.accuracy_before
    assert result.accepted
    assert "it is better on 3 held-out images" in str(result)


def test_a_checkpoint_does_not_depend_on_what_is_accepted(good, tmp_path):
    path = tmp_path / "tuning.jsonl"
    kept = tune_thresholds(good, IMAGES, LABELS, checkpoint=path, **WORSE)
    taken = tune_thresholds(
        good, IMAGES, LABELS, checkpoint=path, accept="always", **WORSE
    )
    assert (kept.accepted, taken.accepted) == (False, True)


@pytest.mark.parametrize(
    "method",
    [
        Feedback(step=0.25, category="bee", layers=["ip1"], budget=20),
        Bisection(bounds=(0.01, 8), resolution=1 / 8, objective="agreement"),
        Percentiles(percentile=99),
        Search(tune=("thresholds", "v_init"), start=0.5, step=0.5, budget=20),
    ],
)
def test_an_object_is_the_name_with_options(known, method):
    options = {name: value for name, value in vars(method).items() if value is not None}
    arguments = {"method": method.name, "progress": False, **options}
    named = tune_thresholds(known, IMAGES, LABELS, **arguments)
    found = tune_thresholds(known, IMAGES, LABELS, method=method, progress=False)
    assert_same(found, named)
    assert found.settings["method"] == method.name


def check_of(n_gained, n_lost, value_before=0.0, value=0.0, n_images=40):
    before = 20
    return Check(
        n_images, value_before, value, before / n_images,
        (before + n_gained - n_lost) / n_images, 0.9, n_gained, n_lost,
    )  # fmt: skip


@pytest.mark.parametrize("gained", [0, 1, 5, 6, 40, 1200])
@pytest.mark.parametrize("lost", [0, 1, 3, 7, 300])
def test_the_sign_test_is_that_of_scipy(gained, lost):
    expected = 1.0
    if gained + lost:
        expected = stats.binomtest(gained, gained + lost, 0.5).pvalue
    found = check_of(gained, lost, n_images=2000).p_value
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("gained", "lost", "values", "by_accuracy", "is_better"),
    [
        (3, 2, (1.0, 0.5), True, True),
        (2, 3, (0.5, 1.0), True, False),
        (2, 2, (0.5, 1.0), True, True),
        (2, 2, (0.5, 0.5), True, False),
        (2, 3, (0.5, 1.0), False, True),
        (3, 2, (1.0, 0.5), False, False),
    ],
)
def test_what_is_better(gained, lost, values, by_accuracy, is_better):
    check = check_of(gained, lost, *values)
    assert check.is_better(by_accuracy=by_accuracy) == is_better


def test_a_result_prints_as_tables():
    names = ("conv1", "ip1")
    before = Parameters.of(names, thresholds=1.0, v_min=0, leak=0, v_init=0)
    found = Parameters.of(
        names, thresholds={"conv1": 2.5, "ip1": 1.0}, v_min=0, leak=0,
        v_init={"conv1": 0.25, "ip1": 0.5},
    )  # fmt: skip
    settings = {"method": "search", "objective": "likelihood", "accept": "better"}
    checks = check_of(12, 4, -1.5, -0.25), check_of(8, 0, -1.75, -0.5)
    history = pd.DataFrame({"value": [1.0, 2.0]})
    result = TuningResult(before, found, True, history, *checks, settings)
    assert [line.rstrip() for line in str(result).splitlines()] == [
        "search, likelihood: 2 candidates",
        " layer  threshold  found  v_init  found",
        " conv1          1    2.5       0   0.25",
        " ip1            1      1       0    0.5",
        " images        objective    found  accuracy  found    CNN",
        " tuning    40    -1.5000  -0.2500     50.0%  70.0%  90.0%",
        " held-out  40    -1.7500  -0.5000     50.0%  70.0%  90.0%",
        "What was found is used: it is better on 40 held-out images.",
    ]
    assert repr(result) == (
        "TuningResult(search, likelihood: 2 candidates, accuracy 50.0% -> 70.0% of 40 "
        "images, used)"
    )
