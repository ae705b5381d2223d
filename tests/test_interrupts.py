"""After Ctrl-C, what is kept of a long work is named, and how to go on with it."""

import numpy as np
import pytest
from brian2 import ms
from reference import two_layers

from cnn2snn_brian import calibrate, convert, sweep, tune_thresholds
from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.layerwise import Layerwise
from cnn2snn_brian.sweeps import Programs
from cnn2snn_brian.train import TrainingSettings, train

SHAPE = (2, 7, 6)
IMAGES = np.random.default_rng(0).random((8, *SHAPE))
LABELS = np.arange(8) % 4


def interrupted(*_, **__):
    raise KeyboardInterrupt


class Interrupted:
    """A simulator during whose runs somebody presses Ctrl-C."""

    duration_s, n_steps = 0.012, 12
    run_many = interrupted

    def __init__(self, snn):
        self.snn = snn


@pytest.fixture(scope="module")
def snn():
    return convert(two_layers(), SHAPE, thresholds={"conv1": 1.0, "ip1": 2.0})


def tune(snn, path):
    tune_thresholds(Interrupted(snn), IMAGES, LABELS, checkpoint=path, progress=False)


def fit(snn, path):
    calibrate(Interrupted(snn), IMAGES, checkpoint=path, progress=False)


def scan(snn, path):
    grid = {"leak": [0.0, 0.1]}
    sweep(snn, IMAGES, LABELS, grid, duration=12 * ms, checkpoint=path, progress=False)


@pytest.mark.parametrize(
    ("work", "start"), [("tuning", tune), ("calibration", fit), ("sweep", scan)]
)
def test_the_checkpoint_is_named(snn, tmp_path, monkeypatch, caplog, work, start):
    monkeypatch.setattr(Programs, "run", interrupted)
    monkeypatch.setattr(Layerwise, "stage", interrupted)
    path = tmp_path / "work.jsonl"
    with pytest.raises(KeyboardInterrupt) as stopped:
        start(snn, path)
    said = f"What is done of this {work} is kept in {path}. Do the same again to go on"
    assert caplog.messages == [f"{said} from there"]
    assert stopped.value.args == (f"{said} from there",)


def test_without_a_checkpoint_nothing_is_promised(snn, caplog):
    with pytest.raises(KeyboardInterrupt) as stopped:
        tune(snn, None)
    assert not stopped.value.args
    assert not caplog.messages


def test_a_work_within_another_says_it_alone(tmp_path, caplog):
    outer = Checkpoint(tmp_path / "outer.jsonl", "reproduction", {})
    inner = Checkpoint(tmp_path / "inner.jsonl", "tuning", {})
    with pytest.raises(KeyboardInterrupt), outer, inner:
        interrupted()
    (said,) = caplog.messages
    assert "this tuning is kept in" in said


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_training_says_how_to_resume(tmp_path, caplog, epochs):
    path = tmp_path / "cnn.checkpoint"
    images = LabelledImages((255 * IMAGES).astype(np.uint8), LABELS, tuple("abcd"))
    settings = TrainingSettings(epochs=2, batch_size=4)
    cnn, seen = two_layers(), []

    def stop(*_):
        seen.append(1)
        if len(seen) > 2 * epochs:
            raise KeyboardInterrupt

    cnn.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        train(cnn, images, settings, checkpoint=path, progress=False)
    said = f"What is done of this training is kept in {path}. Train with resume "
    assert caplog.messages == [f"{said}(--resume) to go on from there"] * epochs
    assert path.exists() == bool(epochs)
