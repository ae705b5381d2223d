"""A folder of class folders, from training to the inspector, on the command line."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from test_cli import cli  # noqa: F401 (a fixture)

from cnn2snn_brian import SpikingNetwork

#: Three of the ten digits: the CNN gets as many outputs as there are classes.
CLASSES = {"four": 4, "seven": 7, "zero": 0}
N_IMAGES = 40


@pytest.fixture
def class_folders(tmp_path):
    digits = load_digits()
    for name, digit in CLASSES.items():
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for index, pixels in enumerate(digits.images[digits.target == digit]):
            if index < N_IMAGES:
                image = Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8))
                # Not the size that the CNN takes.
                image.resize((11, 9)).save(folder / f"{index}.png")


@pytest.mark.standalone
@pytest.mark.usefixtures("class_folders")
def test_the_whole_path_of_class_folders(cli, tmp_path):  # noqa: F811
    def done(*arguments):
        result = cli(*arguments)
        assert result.returncode == 0, result.stderr
        return " ".join(result.stdout.split())

    data = ("--data", "images")
    training = ("--epochs", "25", "--batch-size", "16", "--seed", "1")
    done("train", "digits", *data, "--out", "d.safetensors", *training)
    card = json.loads((tmp_path / "d.json").read_text())
    assert card["classes"] == sorted(CLASSES)
    assert card["input_shape"] == [1, 8, 8]
    n_test = card["n_test"]
    assert 3 <= n_test <= 30

    done("convert", "d.snn", "--weights", "d.safetensors", "--calibration", "images")
    snn = SpikingNetwork.load(tmp_path / "d.snn")
    assert snn.classes == tuple(card["classes"])
    assert snn.layers[-1].shape == (3,)

    # The same duration everywhere: one program.
    short = ("--duration", "40")
    of_tuning = ("--n", "5", "--budget", "3", "--workers", "1")
    done("tune", "d.snn", *data, "--out", "tuned.snn", *short, *of_tuning)

    # Test images are the same ones, whatever the seed: those that no step has seen.
    for seed in ("0", "5"):
        report = json.loads(
            done("run", "d.snn", *data, *short, "--json", "--seed", seed)
        )
        assert report["part"] == "held-out"
        assert report["all"]["pictures"] == n_test
        assert [row["class"] for row in report["classes"]] == card["classes"]
    said = done("run", "tuned.snn", *data, *short)
    assert f"images: {n_test} images of those that are kept for testing" in said
    report = json.loads(done("run", "tuned.snn", *data, *short, "--all", "--json"))
    assert report["all"]["pictures"] == 3 * N_IMAGES
    assert report["all"]["accuracy"] > 0.8

    done("inspect", "tuned.snn", *data, *short, "--n", "2", "--out", "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert all(name in page for name in CLASSES)
