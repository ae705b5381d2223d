"""The command ``tune``, through typer's own runner."""

import inspect
import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from cnn2snn_brian import SpikingNetwork, convert, models, tune_thresholds
from cnn2snn_brian.cli import app
from cnn2snn_brian.cli.tune import tune_command
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.tuning import Search

runner = CliRunner()
COMMON = ["--data", "digits", "--out", "tuned.snn"]


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A digits network with thresholds that are too high, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    training, _ = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, (1, 8, 8), calibration=training.images[:100])
    snn.thresholds = {name: 2 * value for name, value in snn.thresholds.items()}
    snn.save("digits.snn")
    return snn


def test_the_defaults_are_those_of_the_function():
    given = inspect.signature(tune_command).parameters
    function = inspect.signature(tune_thresholds).parameters
    for name in ("method", "accept", "seed"):
        assert given[name].default == function[name].default, name
    assert function["method"].default == "search"
    # None is the method's own.
    assert given["objective"].default is given["tune"].default is None
    assert given["budget"].default == Search().budget


@pytest.mark.standalone
def test_tune_writes_the_network_that_was_tuned(network, tmp_path):
    arguments = [
        "tune", "digits.snn", *COMMON, "--duration", "20", "--n", "5", "--budget", "16",
        "--checkpoint", "tuning.jsonl", "--history", "history.csv", "--seed", "3",
    ]  # fmt: skip
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "search, likelihood: 16 candidates" in result.output
    assert re.search(r"tuning +40 ", result.output)
    assert re.search(r"held-out +10 ", result.output)
    tuned = SpikingNetwork.load("tuned.snn")
    assert tuned.thresholds != network.thresholds
    assert tuned.parameters.v_min == network.parameters.v_min
    assert tuned.classes == network.classes
    history = pd.read_csv("history.csv")
    assert len(history) == 16
    found = history[[f"thresholds.{name}" for name in tuned.thresholds]].to_numpy()
    assert [*tuned.thresholds.values()] in found.tolist()
    # Once more: all candidates are on record.
    (tmp_path / "tuned.snn").unlink()
    assert runner.invoke(app, arguments).exit_code == 0
    assert SpikingNetwork.load("tuned.snn").parameters == tuned.parameters
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"digits.snn", "tuned.snn", "tuning.jsonl", "history.csv"}


@pytest.mark.standalone
def test_tune_as_the_paper_does(network):
    result = runner.invoke(
        app,
        ["tune", "digits.snn", *COMMON, "--duration", "20", "--n", "5", "--budget", "4",
         "--method", "feedback", "--start", "1", "--step", "0.5", "--category", "3",
         "--accept", "always"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "feedback, spike_ratio: 4 candidates" in result.output
    assert re.search(r"tuning +4 ", result.output)
    # A threshold is 1 plus whole steps.
    for threshold in SpikingNetwork.load("tuned.snn").thresholds.values():
        assert threshold % 0.5 == 0


@pytest.mark.standalone
def test_worse_thresholds_are_not_written(network):
    # No neuron ever spikes.
    arguments = [
        "tune", "digits.snn", *COMMON, "--duration", "20", "--n", "5", "--budget", "1",
        "--method", "feedback", "--start", "1000",
    ]  # fmt: skip
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "The network's own parameters are kept" in " ".join(result.output.split())
    assert SpikingNetwork.load("tuned.snn").parameters == network.parameters
    result = runner.invoke(app, [*arguments, "--accept", "always"])
    assert result.exit_code == 0, result.output
    assert {*SpikingNetwork.load("tuned.snn").thresholds.values()} == {1000.0}


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.snn", *COMMON], "there is no such file"),
        (["digits.snn", *COMMON[:2], "--out", "nowhere/x.snn"], "nowhere does not"),
        (["digits.snn", *COMMON, "--history", "nowhere/x.csv"], "nowhere does not"),
        (["digits.snn", *COMMON, "--checkpoint", "nowhere/x"], "nowhere does not"),
        (["digits.snn", *COMMON, "--n", "10000"], "10000 were asked"),
        (["digits.snn", "--data", "nowhere", "--out", "x.snn"], "nowhere"),
    ],
)
def test_errors_come_before_the_work(arguments, message, tmp_path):
    result = runner.invoke(app, ["tune", *arguments])
    assert result.exit_code == 1
    assert message in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.snn"]


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(("option", "number"), [("--n", "0"), ("--seed", "-1")])
def test_numbers_out_of_range_are_refused(option, number, tmp_path):
    result = runner.invoke(app, ["tune", "digits.snn", *COMMON, option, number])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["digits.snn"]


@pytest.mark.standalone
@pytest.mark.usefixtures("network")
def test_an_error_leaves_no_network_behind(tmp_path):
    arguments = [*COMMON, "--duration", "20", "--n", "5", "--objective", "speed"]
    result = runner.invoke(app, ["tune", "digits.snn", *arguments])
    assert "objective='speed'" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.snn"]
