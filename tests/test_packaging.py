"""What an installed package needs besides its modules."""

from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cnn2snn_brian"


def data_files():
    return [
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]


@pytest.mark.parametrize("path", data_files(), ids=lambda path: path.name)
def test_every_data_file_is_installed(path):
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["cnn2snn_brian"].split()
    assert path in {found for pattern in patterns for found in PACKAGE.glob(pattern)}


def test_there_are_templates_of_all_targets():
    folders = {path.parent.name for path in data_files()}
    assert {"standalone", "cython", "numpy", "pretrained"} <= folders
