"""On a full disk each file is whole or not there, and an error says why."""

import resource
import tempfile
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from brian2 import ms
from torch import nn

from cnn2snn_brian import BuildError, WriteError, convert, stimuli
from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.cli import app
from cnn2snn_brian.cnn.weights import ModelCard, save_weights
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.reproduction.steps import Reproduction
from cnn2snn_brian.train import TrainingSettings, train

#: Less than any file that is written here.
N_BYTES = 500


@contextmanager
def full_disk():
    """No file of this process grows further, as on a full disk: a write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (N_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def snn():
    torch.manual_seed(0)
    cnn = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))
    return convert(cnn.eval(), (2, 7, 6), thresholds=1)


@pytest.fixture
def saves(random_result, snn, tmp_path):
    """Every way to write a file, by its name: what writes it."""
    card = ModelCard("small", (2, 7, 6), ("a",), "none", "none", 0.5, 1, "2026-11-26")
    images = np.zeros((4, 2, 7, 6), np.uint8)
    labelled = LabelledImages(images, np.arange(4) % 2, ("a", "b"))
    source = tmp_path / "source"
    source.mkdir()
    snn.save(source / "network.snn")
    movie = stimuli.Movie(np.random.default_rng(0).random((9, 2, 7, 6)), 1 * ms)

    def training(path):
        once = TrainingSettings(epochs=1, batch_size=2)
        cnn = nn.Sequential(nn.Flatten(), nn.Linear(84, 2))
        train(cnn, labelled, once, checkpoint=path, progress=False)

    def exported(path):
        app(["export", str(source / "network.snn"), str(path)], standalone_mode=False)

    def plot(path):
        figure, ax = plt.subplots()
        ax.plot([0, 1])
        with written_whole(path) as unfinished:
            figure.savefig(unfinished)

    return {
        "result.h5": random_result.save,
        "result.nwb": random_result.to_nwb,
        "result.html": random_result.inspect,
        "network.snn": snn.save,
        "network.nir": exported,
        "stimulus.npz": movie.save,
        "weights.safetensors": lambda path: save_weights(path, nn.Linear(9, 99), card),
        "training.checkpoint": training,
        "tuning.jsonl": lambda path: Checkpoint(
            path, "tuning", {"seeds": [*range(999)]}
        ),
        "figure.png": plot,
    }


NAMES = (
    "result.h5",
    "result.nwb",
    "result.html",
    "network.snn",
    "network.nir",
    "stimulus.npz",
    "weights.safetensors",
    "training.checkpoint",
    "tuning.jsonl",
    "figure.png",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_an_error_and_leaves_nothing(saves, tmp_path, name):
    path = tmp_path / "full" / name
    path.parent.mkdir()
    with full_disk(), pytest.raises(WriteError) as error:
        saves[name](path)
    assert str(error.value).startswith(f"{path}: it can't be written: ")
    assert "File too large" in str(error.value)
    assert list(path.parent.iterdir()) == []
    # What went wrong is forgotten: there is space again.
    saves[name](path)
    assert path.stat().st_size > N_BYTES


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tuning.jsonl"])
def test_a_full_disk_leaves_the_file_before(saves, tmp_path, name):
    path = tmp_path / "full" / name
    path.parent.mkdir()
    path.write_text("the file before")
    with full_disk(), pytest.raises(WriteError):
        saves[name](path)
    assert path.read_text() == "the file before"
    assert list(path.parent.iterdir()) == [path]


def test_steps_of_a_reproduction_that_do_not_fit(tmp_path):
    with Reproduction("nowhere", tmp_path) as work:
        work.__dict__["_settings"] = {"n": [0] * 999}  # its images, without any
        said = r"steps.jsonl: it can't be written: File too large$"
        with full_disk(), pytest.raises(WriteError, match=said):
            work.step("first", dict)
        assert work.step("first", dict) == {}


@pytest.mark.standalone
def test_a_network_that_does_not_fit_is_not_built(snn, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        full_disk(),
        pytest.raises(BuildError, match="not be built here: .*TMPDIR"),
    ):
        snn.compile(20 * ms)
    assert list(tmp_path.glob("cnn2snn-brian-*")) == []


def test_a_row_that_does_not_fit_is_not_there(tmp_path):
    path = tmp_path / "tuning.jsonl"
    kept = Checkpoint(path, "tuning", {})
    kept.add("a", {"n": 1})
    before = path.read_bytes()
    with full_disk(), pytest.raises(WriteError, match="can't be written: File too"):
        kept.add("b", {"n": "1" * N_BYTES})
    assert path.read_bytes() == before
    assert list(kept.rows) == ["a"]
    kept.add("c", {"n": 3})
    assert list(Checkpoint(path, "tuning", {}).rows) == ["a", "c"]
