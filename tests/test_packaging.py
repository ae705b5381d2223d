"""What the source distribution and the wheel have in them, and what pages say of it."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from cnn2snn_brian.brian.internals import TESTED

ROOT = Path(__file__).parent.parent
PACKAGE = "cnn2snn_brian"


def checkout():
    """Files of the checkout that git knows."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a checkout of git")
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    return {n for n in names.decode().split("\0") if n and (ROOT / n).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist of the checkout, and the wheel that is built of it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in checkout():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    # With the setuptools that is here, so without a network.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def test_the_sdist_has_all_files_of_the_checkout(built):
    with tarfile.open(built[0]) as archive:
        members = {m.name.partition("/")[2] for m in archive if m.isfile()}
    # Names that start with a dot are of the checkout: git, CI.
    assert {n for n in checkout() if not n.startswith(".")} <= members
    assert not [n for n in members - checkout() if "egg-info" not in n and "/" in n]


def test_the_wheel_has_all_files_of_the_package_and_no_others(built):
    with zipfile.ZipFile(built[1]) as archive:
        members = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert members == {n for n in checkout() if n.startswith(f"{PACKAGE}/")}


def test_a_package_index_can_show_the_description(built):
    with zipfile.ZipFile(built[1]) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        description = archive.read(name).decode().partition("\n\n")[2]
    assert description.startswith("# cnn2snn-brian\n")
    # It has the text only: no picture, and no link to a file of the checkout.
    assert not re.findall(r"!\[|\]\((?!https://)", description)


def test_there_are_templates_of_all_targets():
    folders = {path.parent.name for path in (ROOT / PACKAGE).rglob("*.*")}
    assert {"standalone", "cython", "numpy", "pretrained"} <= folders


@pytest.mark.parametrize("version", TESTED)
def test_the_installation_page_names_the_tested_versions_of_brian(version):
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{re.escape(version)}\b", page)


def test_tested_versions_of_python_are_classifiers():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = re.findall(r"Python :: (3\.\d+)", config["metadata"]["classifiers"])
    assert listed[0] == config["options"]["python_requires"].removeprefix(">=")
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert [v for v in listed if not re.search(rf"\b{re.escape(v)}\b", page)] == []
