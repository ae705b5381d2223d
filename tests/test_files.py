import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from cnn2snn_brian.files import written_whole


def write_and_fail(path, error):
    with written_whole(path) as unfinished:
        unfinished.write_text("half")
        raise error


def test_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "result.txt"
    with written_whole(target) as unfinished:
        unfinished.write_text("whole")
        assert not target.exists()
        assert unfinished.parent == tmp_path
    assert target.read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["result.txt"]


def test_file_is_replaced(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("a longer text that was there before")
    with written_whole(target) as unfinished:
        unfinished.write_text("new")
        assert target.read_text() == "a longer text that was there before"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt("stop")])
@pytest.mark.parametrize("existing", [None, "old"])
def test_failure_leaves_no_trace(tmp_path, error, existing):
    target = tmp_path / "result.txt"
    if existing is not None:
        target.write_text(existing)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(type(error), match="stop"):
        write_and_fail(target, error)
    assert sorted(tmp_path.iterdir()) == before
    assert (target.read_text() if target.exists() else None) == existing


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_mode_is_that_of_an_ordinary_file(tmp_path, umask, mode):
    target = tmp_path / "result.txt"
    old = os.umask(umask)
    try:
        with written_whole(target) as unfinished:
            unfinished.write_text("whole")
    finally:
        left_behind = os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert left_behind == umask


def test_the_umask_of_the_process_is_never_changed(tmp_path, monkeypatch):
    # It is of the whole process: files that other threads make would be open to all.
    def changed(mask):
        pytest.fail(f"the umask was set to {mask:o}")

    monkeypatch.setattr(os, "umask", changed)
    with written_whole(tmp_path / "result.txt") as unfinished:
        unfinished.write_text("whole")


def test_what_a_writer_replaces_has_the_mode_of_an_ordinary_file(tmp_path):
    # safetensors and others make a new file of their own in place of ours.
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    with written_whole(tmp_path / "weights.safetensors") as unfinished:
        save_file({"w": np.zeros(3)}, unfinished)
    mode = (tmp_path / "weights.safetensors").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="nowhere does not exist"),
        written_whole(tmp_path / "nowhere" / "result.txt"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_suffix_stays_for_writers_that_append_one(tmp_path):
    with written_whole(tmp_path / "numbers.npy") as unfinished:
        np.save(unfinished, np.arange(3))
    np.testing.assert_array_equal(np.load(tmp_path / "numbers.npy"), [0, 1, 2])


def test_path_without_a_folder_is_in_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with written_whole("result.txt") as unfinished:
        unfinished.write_text("whole")
    assert (tmp_path / "result.txt").read_text() == "whole"


def test_a_name_that_the_encoding_lacks_is_refused_in_a_sentence(tmp_path):
    code = (
        "from cnn2snn_brian.files import written_whole\n"
        "with written_whole('gr\\xf6\\xdfe.h5'): pass"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **ascii_only},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "WriteError: 'gr\\xf6\\xdfe.h5' has letters" in done.stderr, done.stderr
    assert not [*tmp_path.iterdir()]
