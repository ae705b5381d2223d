"""The cache of compiled programs: its list, its limit, two processes at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnn2snn_brian.simulator import compiler as cache
from cnn2snn_brian.simulator.compiler import build_program

OLD, NEW, MIDDLE = (digit * 32 for digit in "0ab")


def entry(directory, name, size, used):
    folder = cache.programs(directory)
    folder.mkdir(exist_ok=True)
    path = folder / name
    if name.endswith(cache.PROJECT):
        path.mkdir()
        (path / "main.cpp").write_bytes(b"x" * size)
    else:
        path.write_bytes(b"x" * size)
        (folder / f"{name}{cache.CHECKSUM}").write_text("checksum")
        (folder / f"{name}{cache.LOCK}").touch()
    os.utime(path, (used, used))


@pytest.fixture
def filled(tmp_path):
    entry(tmp_path, OLD, 400, 1_000)
    entry(tmp_path, NEW, 300, 3_000)
    entry(tmp_path, f"{MIDDLE}{cache.PROJECT}", 200, 2_000)
    return tmp_path


def names(directory):
    return [found.name for found in cache.entries(directory)]


def files(directory):
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_entries_are_listed_by_last_use(filled):
    found = cache.entries(filled)
    assert [e.name for e in found] == [NEW, f"{MIDDLE}{cache.PROJECT}", OLD]
    assert [e.size for e in found] == [300, 200, 400]


def test_the_oldest_are_removed_to_stay_below_the_limit(filled):
    cache.trim(filled, limit=900)
    assert len(names(filled)) == 3
    cache.trim(filled, limit=550)
    assert names(filled) == [NEW, f"{MIDDLE}{cache.PROJECT}"]
    assert not (cache.programs(filled) / f"{OLD}{cache.CHECKSUM}").exists()
    cache.trim(filled, limit=0, keep=NEW)
    assert names(filled) == [NEW]


def test_clearing_leaves_foreign_files(filled):
    (filled / "notes.txt").write_text("of somebody else")
    cache.clear(filled)
    assert files(filled) == {"notes.txt"}


FOREIGN = {
    ".bashrc",
    "Makefile",
    "LICENSE",
    "cafe",
    "my.project/main.cpp",
    "thesis.sha256",
    # As long as a name of ours, and no program: there is no checksum beside it.
    "d" * 32,
    "D" * 32,
    "e" * 33,
}


@pytest.mark.parametrize("folder", [".", "programs"])
def test_files_that_are_not_ours_survive(filled, folder):
    # In our own folder, such a name is one of ours.
    kept = FOREIGN if folder == "." else FOREIGN - {"d" * 32}
    for name in kept:
        path = filled / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of somebody else" * 1000)
    assert len(names(filled)) == 3
    cache.trim(filled, limit=0)
    assert names(filled) == []
    assert files(filled / folder) >= kept
    cache.clear(filled)
    assert files(filled / folder) == kept


def fill_as_version_0_1_0(directory):
    """Entries in the directory itself, and what else a user may have there."""
    for name in (OLD, f"{OLD}.sha256", f"{OLD}.lock", f"{MIDDLE}.lock"):
        (directory / name).write_text("x" * 500)
    (directory / f"{MIDDLE}.project").mkdir()
    (directory / f"{MIDDLE}.project" / "main.cpp").write_text("x" * 500)


def test_entries_of_version_0_1_0_are_left_alone_until_the_cache_is_cleared(tmp_path):
    fill_as_version_0_1_0(tmp_path)
    entry(tmp_path, NEW, 300, 3_000)
    before = files(tmp_path)
    assert names(tmp_path) == [NEW]
    cache.trim(tmp_path, limit=300)
    assert files(tmp_path) == before
    cache.clear(tmp_path)
    assert files(tmp_path) <= {f"{MIDDLE}.lock"}


def test_what_is_being_made_or_copied_is_not_removed(filled):
    with cache.locked(filled, OLD):
        cache.trim(filled, limit=0)
        assert names(filled) == [OLD]
    cache.trim(filled, limit=0)
    assert names(filled) == []


def test_folders_of_killed_workers_are_removed_after_a_day(tmp_path):
    entry(tmp_path, NEW, 300, 3_000)
    with cache.working_folder(tmp_path, NEW) as running:
        killed = cache.programs(tmp_path) / running.name.replace(NEW, OLD)
        killed.mkdir()
        day = 24 * 3600
        for folder, days in ((running, 0.9), (killed, 1.1)):
            used = time.time() - days * day
            os.utime(folder, (used, used))
        cache.trim(tmp_path)
        assert running.is_dir()
        assert not killed.exists()
    assert not running.exists()


def test_a_cache_that_does_not_exist_is_empty(tmp_path):
    assert cache.entries(tmp_path / "none") == []
    cache.clear(tmp_path / "none")


def project(directory):
    directory.mkdir()
    (directory / "program.cpp").write_text(
        '#include <cstdio>\nint main() { std::puts("built"); }\n'
    )
    return directory


@pytest.mark.standalone
def test_building_trims_the_cache(tmp_path, monkeypatch):
    directory = cache.check_cache(tmp_path / "cache")
    entry(directory, OLD, 400, 1_000)
    trim = cache.trim
    monkeypatch.setattr(
        cache, "trim", lambda where, keep: trim(where, limit=100, keep=keep)
    )
    built = build_program(project(tmp_path / "project"), directory)
    assert names(directory) == [built.program.name]


BUILD = """
import sys
import time
from pathlib import Path
from cnn2snn_brian.simulator.compiler import build_program
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
