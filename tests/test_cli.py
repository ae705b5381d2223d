"""The command line, as a user runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
import typer
from brian2 import ms
from PIL import Image

from cnn2snn_brian import (
    PRESETS,
    InputError,
    Movie,
    SimulationResult,
    SpikeTrains,
    SpikingNetwork,
    adjust,
    convert,
    models,
)
from cnn2snn_brian.cli import app, main
from cnn2snn_brian.cli.app import COMMANDS
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.projections import GateRule
from cnn2snn_brian.settings.settings import CHOICES
from cnn2snn_brian.train import TrainingSettings
from cnn2snn_brian.tuning import MethodName


@pytest.fixture
def cli(monkeypatch, tmp_path, capfd):
    """Run the command line in a directory of its own, in this process."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["cnn2snn-brian", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        status = ended.value.code or 0
        return SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)

    return run


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "train",
        "convert",
        "export",
        "tune",
        "reproduce",
        "run",
        "inspect",
        "cache",
    ],
)
def test_help(cli, command):
    result = cli(command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_no_command_is_help(cli):
    result = cli()
    assert "convert" in result.stdout + result.stderr


@pytest.mark.standalone
def test_demo(tmp_path):
    # In a process of its own, as a user starts it.
    result = subprocess.run(
        [sys.executable, "-m", "cnn2snn_brian", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    cnn, snn = (float(share) for share in re.findall(r"([\d.]+)%", result.stdout))
    assert cnn - snn <= 1.5
    assert "500/500" in result.stderr
    with Image.open(tmp_path / "digit.png") as picture:
        assert picture.size[0] > 500


@pytest.mark.standalone
def test_train_convert_run(cli, tmp_path):
    digits = ("--data", "digits")
    result = cli(
        "train", "digits", *digits, "--out", "d.safetensors", "--epochs", "4",
        "--learning-rate", "0.1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    card = json.loads((tmp_path / "d.json").read_text())
    assert card["command"].startswith("cnn2snn-brian train digits --data digits")
    assert card["test_accuracy"] > 0.8

    result = cli(
        "convert", "d.snn", "--weights", "d.safetensors", "--calibration", "digits",
        "--percentile", "100",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "conv1" in result.stdout

    result = cli("run", "d.snn", *digits, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["all"]["pictures"] == 500
    assert report["all"]["accuracy"] > 0.75
    assert sum(row["pictures"] for row in report["classes"]) == 500

    result = cli(
        "run", "d.snn", *digits, "--n", "4", "--record", "conv1", "--save", "r.h5"
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    saved = SimulationResult.load(tmp_path / "r.h5")
    assert {name for name, _ in saved.recorded} == {"conv1", "ip1"}
    of_run = (*digits, "--n", "4", "--network", "d.snn")
    result = cli("inspect", "r.h5", *of_run, "--picture", "2", "--out", "r.html")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "r.html").read_text("utf-8")
    assert re.findall(r'"index":(\d+),"truth"', page) == ["2"]
    assert '"cnn":' in page
    result = cli("inspect", "d.snn", *digits, "--n", "2", "--seed", "1")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "inspector.html").read_text("utf-8")
    assert re.findall(r'"index":(\d+),"truth"', page) == ["0", "1"]
    for arguments, message in (
        (("r.h5", *digits), "--data has 500 images, r.h5 is of 4"),
        (("r.h5", *of_run, "--seed", "9"), "is not the one that was simulated"),
        (("d.snn",), "a network needs images"),
        (("d.snn", "--network", "d.snn"), "goes with a result"),
        (("r.h5", "--out", "nowhere/r.html"), "nowhere does not exist"),
    ):
        result = cli("inspect", *arguments)
        assert result.returncode != 0
        assert message in " ".join(result.stderr.replace("│", " ").split())

    # A folder of some class folders, and fewer pictures: classes count by name.
    _, test = load_digits()
    for index in np.flatnonzero(np.isin(test.labels, [3, 7]))[:30]:
        folder = tmp_path / "pictures" / test.classes[test.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test.images[index, 0]).save(folder / f"{index}.png")
    result = cli("run", "d.snn", "--data", "pictures", "--all", "--n", "20")
    assert result.returncode == 0, result.stderr
    assert re.search(r"\b3\s*│", result.stdout)
    share = re.search(r"all\s*│\s*20\s*│\s*\d+\s*│\s*([\d.]+)%", result.stdout)
    assert float(share[1]) > 75
    (tmp_path / "pictures" / "3").rename(tmp_path / "pictures" / "three")
    result = cli("run", "d.snn", "--data", "pictures")
    assert result.returncode == 1
    assert "unknown class of the network 'three'" in result.stderr


def test_fine_tune_for_few_steps(cli, tmp_path):
    start = Path(models.__file__).parent / "pretrained" / "digits.safetensors"
    common = ("train", "digits", "--data", "digits", "--learning-rate", "0.01")
    result = cli(
        *common, "--out", "q.safetensors", "--epochs", "1", "--from", start,
        "--activation", "quantized", "--steps", "4",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    card = json.loads((tmp_path / "q.json").read_text())
    assert card["quantized_steps"] == 4
    assert card["test_accuracy"] > 0.95
    # Once more, from a CNN that is quantized.
    again = (*common, "--out", "r.safetensors", "--epochs", "1")
    result = cli(
        *again, "--from", "q.safetensors", "--teacher", start,
        "--teacher", "q.safetensors", "--trivial-augment",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    card = json.loads((tmp_path / "r.json").read_text())
    assert card["quantized_steps"] == 4
    assert card["test_accuracy"] > 0.95
    result = cli(
        "convert", "q.snn", "--weights", "q.safetensors", "--preset", "few-steps"
    )
    assert result.returncode == 0, result.stderr
    snn = SpikingNetwork.load(tmp_path / "q.snn")
    assert {p.ceiling.steps for p in snn.layers if p.ceiling is not None} == {4}
    for arguments, message in (
        (("--steps", "4"), "belong together"),
        (("--activation", "quantized"), "belong together"),
        (("--activation", "quantized", "--steps", "0"), "Invalid value for '--steps'"),
        (("--from", "q.safetensors", "--activation", "relu"), "can't be had back"),
        (("--from", "nowhere.safetensors"), "nowhere.json: not a readable model card"),
    ):
        result = cli(*again, *arguments)
        assert result.returncode != 0
        assert message in " ".join(result.stderr.replace("│", " ").split())
    result = cli(*again, "--from", start.with_name("cifar10_quick.safetensors"))
    assert (
        "cifar10_quick with 10 classes and images of shape (3, 32, 32), expected digits"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "missing.snn", "--data", "digits"), 1, "there is no such file"),
        (("run", "missing.snn"), 2, "--data"),
        (("inspect", "missing.h5", "--data", "digits"), 1, "there is no such file"),
        (("run", "x.snn", "--data", "digits", "--save", "no/r.h5"), 1, "no does not"),
        (
            ("train", "resnet", "--data", "digits", "--out", "x.safetensors"),
            2,
            "resnet",
        ),
        (
            ("train", "digits", "--data", "nowhere", "--out", "x.safetensors"),
            1,
            "nowhere",
        ),
        (("train", "digits", "--data", "digits", "--out", "x.pt"), 1, "end with"),
        (("demo", "--figure", "nowhere/x.png"), 1, "nowhere"),
        (
            (
                "convert",
                "x.snn",
                "--architecture",
                "cifar10_quick_adjusted",
                "--module",
                "a:b",
            ),
            2,
            "excludes",
        ),
        (
            ("convert", "x.snn", "--module", "os:getcwd", "--input-shape", "1,8,8"),
            1,
            "not an nn.Module",
        ),
        (("convert", "x.snn", "--architecture", "digits", "--seed", "-1"), 2, "--seed"),
        (("convert", "x.snn"), 2, "--architecture"),
        (("convert", "x.snn", "--architecture", "digits"), 1, "calibration"),
        (("convert", "x.snn", "--module", "os:path"), 2, "--input-shape"),
        (
            ("convert", "x.snn", "--architecture", "digits", "--threshold", "conv1"),
            1,
            "layer=number",
        ),
        (
            (
                "convert",
                "x.snn",
                "--architecture",
                "cifar10_quick",
                "--threshold",
                "a=1",
            ),
            1,
            "pool1: found MaxPool2d",
        ),
        (("fly",), 2, "fly"),
    ],
)
def test_errors_are_one_sentence(cli, arguments, status, message, tmp_path):
    result = cli(*arguments)
    assert result.returncode == status, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_debug_raises_the_error_itself(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "missing.snn", "--data", "digits", "--debug"]
    monkeypatch.setattr(sys, "argv", ["cnn2snn-brian", *arguments])
    with pytest.raises(InputError, match="there is no such file"):
        main()


def test_cache(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("CNN2SNN_BRIAN_CACHE", str(tmp_path))
    (tmp_path / "programs").mkdir()
    entry = tmp_path / "programs" / ("0123456789abcdef" * 2)
    entry.write_bytes(bytes(2_000_000))
    result = cli("cache")
    assert entry.name in result.stdout
    assert "1 entries, 2.0 MB of at most 500 MB" in result.stdout
    assert "removed 1 entries" in cli("cache", "--clear").stdout
    assert not entry.exists()


def test_a_cnn_of_the_users_own(cli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def cnn():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))\n"
    )
    result = cli(
        "convert", "mine.snn", "--module", "mine:cnn", "--input-shape", "1,8,8",
        "--threshold", "ip1=0.5",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "mine.snn").is_file()


def test_reproduce_needs_the_pictures(cli, tmp_path):
    result = cli("reproduce", "--data", str(tmp_path / "none"), "--out", str(tmp_path))
    assert result.returncode == 1
    assert "expected 'digits', 'cifar10', or an existing folder" in result.stderr


def test_reproduce_takes_cifar10_by_name_as_all_commands_do(cli, monkeypatch):
    # The example of its help.
    def no_network(*_, **__):
        message = "no network"
        raise RuntimeError(message)

    monkeypatch.setattr("torchvision.datasets.CIFAR10", no_network)
    for command in (
        ("reproduce", "--out", "report"),
        ("train", "cifar10_quick", "--out", "x.safetensors"),
        ("convert", "x.snn", "--architecture", "cifar10_quick_adjusted"),
    ):
        option = "--calibration" if command[0] == "convert" else "--data"
        result = cli(*command, option, "cifar10")
        assert result.returncode == 1
        assert "CIFAR-10 is not in cifar10-data" in result.stderr


def choices(command, option):
    """What an option of a command can be, from the annotation of its argument."""
    found = get_args(get_type_hints(COMMANDS[command])[option])
    return {name for each in found for name in get_args(each) or [each]} - {type(None)}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_says_what_each_option_is_for(command):
    found = typer.main.get_command(app).commands[command]
    assert found.help
    assert "---" not in found.help
    assert [option.name for option in found.params if not option.help] == []


def test_names_of_options_are_those_of_the_description():
    assert choices("convert", "reset") == {*CHOICES["reset"]}
    assert choices("convert", "encoding") == {*CHOICES["encoding"]}
    assert choices("convert", "preset") == {*PRESETS}
    assert choices("convert", "max_pooling") == {*get_args(GateRule)}
    for optimizer in choices("train", "optimizer"):
        TrainingSettings(optimizer=optimizer)
    for activation in choices("train", "activation"):
        steps = None if activation == "relu" else 4
        adjust(models.digits(), activation, steps=steps)
    assert choices("tune", "method") == {*get_args(MethodName)}
    for command in ("train", "convert"):
        assert choices(command, "architecture") == {*models.ARCHITECTURES}
    assert {*models.INPUT_SHAPES} == {*models.ARCHITECTURES}


def test_ctrl_c_ends_without_a_traceback(cli, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cnn2snn_brian.data.load_data", interrupted)
    result = cli("train", "digits", "--data", "digits", "--out", "d.safetensors")
    assert result.returncode == 130
    assert not result.stderr


def test_images_of_another_shape_are_refused(cli):
    arguments = ("--data", "digits", "--out", "x.safetensors")
    result = cli("train", "cifar10_quick", *arguments)
    assert result.returncode == 1
    assert "shape (1, 8, 8), cifar10_quick takes (3, 32, 32)" in result.stderr


def test_a_normalization_is_folded_in(cli, tmp_path):
    (tmp_path / "normalized.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def cnn():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(128, 10))\n"
    )
    own = ("--module", "normalized:cnn", "--input-shape", "2,8,8")
    own += ("--threshold", "ip1=0.5")
    scale = ("--mean", "0.5,0.25", "--std", "0.5,2")
    result = cli("convert", "x.snn", *own, *scale)
    assert result.returncode == 0, result.stderr
    network = SpikingNetwork.load(tmp_path / "x.snn").layers
    torch.manual_seed(0)
    linear = torch.nn.Linear(128, 10)
    pixels = torch.rand(3, 2, 8, 8)
    channels = (pixels[:, 0] - 0.5) / 0.5, (pixels[:, 1] - 0.25) / 2
    with torch.no_grad():
        expected = linear(torch.stack(channels, 1).flatten(1)).numpy()
    found = network.activations(pixels.numpy())["ip1"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for arguments, status, message in (
        (("--mean", "0.5,0.25"), 2, "--mean and --std belong together"),
        (("--mean", "a,b", "--std", "1,1"), 1, "--mean 'a,b': expected numbers"),
        (("--threshold", "ip1=2"), 1, "ip1 was given before"),
    ):
        result = cli("convert", "x.snn", *own, *arguments)
        assert result.returncode == status
        assert message in result.stderr


def test_names_of_classes_come_from_calibration_if_they_are_as_many(cli, tmp_path):
    (tmp_path / "two_outputs.py").write_text(
        "from torch import nn\n"
        "def cnn():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))\n"
    )
    rng = np.random.default_rng(0)
    own = ("--module", "two_outputs:cnn", "--input-shape", "1,8,8")
    for folders, expected in ((("a",), None), (("a", "b"), ("a", "b"))):
        for name in folders:
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / "0.png")
        result = cli("convert", "x.snn", *own, "--calibration", "images")
        assert result.returncode == 0, result.stderr
        assert ("stay without names" in result.stdout) == (expected is None)
        assert SpikingNetwork.load(tmp_path / "x.snn").classes == expected


@pytest.mark.standalone
def test_run_and_inspect_stimuli(cli, tmp_path):
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    convert(
        cnn, test.input_shape, calibration=training.images, classes=test.classes
    ).save(tmp_path / "digits.snn")
    movie = Movie(test.images[:5], 20 * ms)
    movie.save(tmp_path / "movie.npz")
    SpikeTrains([3, 5], [10, 20] * ms, 50 * ms, name="few").save(tmp_path / "few.npz")
    shown = ("--stimulus", "movie.npz", "--stimulus", "few.npz", "--repeats", 3)
    run = ("run", "digits.snn", *shown, "--seed", 2)
    ended = cli(*run, "--json", "--save", "r.h5", "--record", "conv1")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["duration_ms"] == 100
    assert [row["stimulus"] for row in report["stimuli"]] == ["movie", "few"]
    assert [row["duration_ms"] for row in report["stimuli"]] == [100, 50]
    result = SimulationResult.load(tmp_path / "r.h5")
    assert result.n_repeats == 3
    rate = result.spike_counts["conv1"][:3].mean() / 0.1
    assert report["stimuli"][0]["rates_hz"]["conv1"] == pytest.approx(rate)
    assert report["stimuli"][1]["rates_hz"]["input"] == pytest.approx(2 / 64 / 0.05)
    with convert(cnn, test.input_shape, calibration=training.images).compile(
        100 * ms
    ) as simulator:
        own = simulator.run(movie, repeats=3, seed=2)
    np.testing.assert_array_equal(
        own.spike_counts["ip1"], result.spike_counts["ip1"][:3]
    )
    ended = cli(*run)
    assert "2 stimuli, 3 trials of each" in ended.stdout
    inspected = cli("inspect", "r.h5", *shown[:4], "--out", "r.html")
    assert inspected.returncode == 0, inspected.stderr
    assert '"stimulusName":"few"' in (tmp_path / "r.html").read_text()
    for arguments, status, says in (
        ((), 2, "give either --data"),
        (("--data", "digits", *shown), 2, "give either --data"),
        ((*shown, "--n", 3), 2, "--n goes with --data"),
        (("--data", "digits", "--repeats", 2), 2, "--repeats goes with"),
        ((*shown, "--duration", 50), 1, "takes 100 ms, expected 1 ms to the 50 ms"),
        (("--stimulus", "none.npz"), 1, "there is no such file"),
    ):
        ended = cli("run", "digits.snn", *arguments)
        assert ended.returncode == status
        assert says in " ".join(re.sub("[│\n]", " ", ended.stderr).split())


def test_export_and_reading_it_back(cli, tmp_path):
    snn = convert(
        models.create("digits").eval(), (1, 8, 8), thresholds=0.75, reset="subtract"
    )
    snn.save(tmp_path / "digits.snn")
    exported = cli("export", "digits.snn", "digits.nir")
    assert exported.returncode == 0, exported.stderr
    assert "written: digits.nir" in exported.stdout
    back = cli("convert", "back.snn", "--from-nir", "digits.nir")
    assert back.returncode == 0, back.stderr
    assert SpikingNetwork.load(tmp_path / "back.snn") == snn
    changed = cli("convert", "back.snn", "--from-nir", "digits.nir", "--reset", "zero")
    assert changed.returncode == 0
    assert SpikingNetwork.load(tmp_path / "back.snn").reset == "zero"


def test_a_graph_of_others_on_the_command_line(cli, tmp_path):
    snn = convert(models.create("digits").eval(), (1, 8, 8), thresholds=0.75)
    snn.save(tmp_path / "digits.snn")
    exported = cli("export", "digits.snn", "plain.nir", "--no-metadata")
    assert exported.returncode == 0, exported.stderr
    read = cli("convert", "read.snn", "--from-nir", "plain.nir", "--reset", "subtract")
    assert read.returncode == 0, read.stderr
    said = " ".join(read.stdout.split())
    assert "what is assumed here: v_min=-inf" in said
    assert SpikingNetwork.load(tmp_path / "read.snn").reset == "subtract"
    for arguments, message in (
        (("--leak", "1"), "--from-nir excludes --leak"),
        (("--architecture", "digits"), "--from-nir excludes --architecture"),
    ):
        refused = cli("convert", "read.snn", "--from-nir", "plain.nir", *arguments)
        assert refused.returncode == 2
        assert message in " ".join(refused.stderr.split())
    refused = cli("convert", "read.snn", "--from-nir", "digits.snn")
    assert refused.returncode == 1
    assert "not a NIR graph" in refused.stderr
    refused = cli("export", "digits.snn", "digits.txt")
    assert refused.returncode == 1
    assert "end with .nir" in " ".join(refused.stderr.split())
