"""The cache of compiled programs: its list, its limit, two processes at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn2snn_brian.program import cache
from cnn2snn_brian.program.compiler import build_program


def entry(directory, name, size, used):
    path = directory / name
    if name.endswith(cache.PROJECT):
        path.mkdir()
        (path / "main.cpp").write_bytes(b"x" * size)
    else:
        path.write_bytes(b"x" * size)
        (directory / f"{name}{cache.CHECKSUM}").write_text("checksum")
        (directory / f"{name}{cache.LOCK}").touch()
    os.utime(path, (used, used))


@pytest.fixture
def filled(tmp_path):
    entry(tmp_path, "old", 400, 1_000)
    entry(tmp_path, "new", 300, 3_000)
    entry(tmp_path, f"middle{cache.PROJECT}", 200, 2_000)
    return tmp_path


def names(directory):
    return [found.name for found in cache.entries(directory)]


def test_entries_are_listed_by_last_use(filled):
    found = cache.entries(filled)
    assert [e.name for e in found] == ["new", f"middle{cache.PROJECT}", "old"]
    assert [e.size for e in found] == [300, 200, 400]


def test_the_oldest_are_removed_to_stay_below_the_limit(filled):
    cache.trim(filled, limit=900)
    assert len(names(filled)) == 3
    cache.trim(filled, limit=550)
    assert names(filled) == ["new", f"middle{cache.PROJECT}"]
    assert not (filled / f"old{cache.CHECKSUM}").exists()
    cache.trim(filled, limit=0, keep="new")
    assert names(filled) == ["new"]


def test_clearing_leaves_foreign_files(filled):
    (filled / "notes.txt").write_text("of somebody else")
    cache.clear(filled)
    assert [path.name for path in filled.iterdir()] == ["notes.txt"]


def test_a_cache_that_does_not_exist_is_empty(tmp_path):
    assert cache.entries(tmp_path / "none") == []


def project(directory):
    directory.mkdir()
    (directory / "program.cpp").write_text(
        '#include <cstdio>\nint main() { std::puts("built"); }\n'
    )
    return directory


@pytest.mark.standalone
def test_building_trims_the_cache(tmp_path, monkeypatch):
    directory = cache.check_cache(tmp_path / "cache")
    entry(directory, "old", 400, 1_000)
    monkeypatch.setattr(
        "cnn2snn_brian.program.compiler.trim",
        lambda where, keep: cache.trim(where, limit=100, keep=keep),
    )
    built = build_program(project(tmp_path / "project"), directory)
    assert names(directory) == [built.program.name]


BUILD = """
import sys
from pathlib import Path
from cnn2snn_brian.program.compiler import build_program
built = build_program(Path(sys.argv[1]), Path(sys.argv[2]))
print(built.compiled, built.program)
"""


@pytest.mark.standalone
def test_of_two_processes_that_build_at_once_one_compiles(tmp_path):
    directory = cache.check_cache(tmp_path / "cache")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, project(tmp_path / name), directory],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name in ("first", "second")
    ]
    said = [process.communicate()[0].split() for process in processes]
    assert sorted(compiled for compiled, _ in said) == ["False", "True"]
    assert said[0][1] == said[1][1]
    result = subprocess.run([said[0][1]], capture_output=True, text=True, check=True)
    assert result.stdout == "built\n"
