"""Checkpoints: what a file keeps, what it goes on from, and what it refuses."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from cnn2snn_brian import InputError, checkpoint, files
from cnn2snn_brian.checkpoint import Checkpoint

SETTINGS = {"seed": 3, "layers": ("conv1", "ip1"), "floor": float("-inf")}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "work.jsonl"


def opened(path, settings=SETTINGS, work="counting", columns=("n",)):
    return Checkpoint(path, work, settings, columns)


@pytest.fixture
def two_rows(path):
    kept = opened(path)
    kept.add("a", {"n": 1})
    kept.add("b", {"n": 2.5, "note": "ü\u2028"})
    return path


def test_rows_come_back(two_rows):
    found = opened(two_rows)
    assert found.rows == {"a": {"n": 1}, "b": {"n": 2.5, "note": "ü\u2028"}}
    assert list(found.rows) == ["a", "b"]
    head, *rows = map(json.loads, two_rows.read_text().splitlines())
    assert head["work"] == "counting"
    assert head["settings"]["layers"] == ["conv1", "ip1"]
    assert isinstance(rows[0].pop("crc32"), int)
    assert rows[0] == {"key": "a", "row": {"n": 1}}


def test_a_row_is_appended(two_rows, monkeypatch):
    before, inode = two_rows.read_bytes(), two_rows.stat().st_ino
    kept = opened(two_rows)
    monkeypatch.setattr(checkpoint, "written_whole", None)
    kept.add("c", {"n": 3})
    assert two_rows.read_bytes().startswith(before)
    assert two_rows.read_bytes().count(b"\n") == before.count(b"\n") + 1
    assert two_rows.stat().st_ino == inode
    assert [*two_rows.parent.iterdir()] == [two_rows]


def test_work_is_done_once(two_rows):
    kept, done = opened(two_rows), []

    def work():
        done.append(1)
        return {"n": 4}

    assert kept.once("a", work) == {"n": 1}
    assert kept.once("c", work) == {"n": 4}
    assert opened(two_rows).once("c", work) == {"n": 4}
    assert len(done) == 1


def test_without_a_file_rows_are_in_memory(tmp_path):
    kept = opened(None)
    kept.add("a", {"n": 1})
    assert kept.rows == {"a": {"n": 1}}
    assert not [*tmp_path.iterdir()]


def test_a_last_line_that_was_cut_off_is_dropped(two_rows):
    whole = two_rows.read_bytes()
    *before, last = whole.splitlines(keepends=True)
    start = b"".join(before)
    for n in range(len(last)):
        two_rows.write_bytes(start + last[:n])
        kept = opened(two_rows)
        assert kept.rows == {"a": {"n": 1}}
        kept.add("b", {"n": 2.5, "note": "ü\u2028"})
        assert two_rows.read_bytes() == whole


def test_settings_of_another_work_are_named(two_rows):
    before = two_rows.read_bytes()
    other = {**SETTINGS, "seed": 4, "layers": ["conv1"], "step": 0.1}
    message = (
        "is of another counting, it differs in layers, seed, step. Take the same "
        "arguments, or another file"
    )
    with pytest.raises(InputError, match=message):
        opened(two_rows, other)
    with pytest.raises(InputError, match="is one of counting in version 3, expected s"):
        opened(two_rows, work="sweep")
    assert two_rows.read_bytes() == before


def test_what_is_not_a_number_is_itself(path):
    settings = {"x": float("nan")}
    opened(path, settings).add("a", {"n": 1})
    assert opened(path, settings).rows == {"a": {"n": 1}}


#: As version 0.1.0 wrote them.
EARLIER = {
    "tuning": {"version": 1, "settings": {"seed": 3}, "rows": [{"candidate": 0}]},
    "sweep": {"sweep": "6017f7c7", "rows": {'[{"leak": 0.0}, 0]': {"accuracy": 0.2}}},
}


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("kind", EARLIER)
def test_a_file_of_version_0_1_0_is_refused(path, kind, end):
    path.write_text(json.dumps(EARLIER[kind]) + end)
    with pytest.raises(InputError, match="written by version 0.1.0.*another file, or"):
        opened(path, work=kind)
    assert path.read_text() == json.dumps(EARLIER[kind]) + end


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "Expecting value"),
        (b"my notes\nof today", "Expecting value"),
        (b"\xc3(\n", "codec can't decode"),
        (b"[1, 2]\n", "TypeError"),
        (b'{"a": 1}\n', "'checkpoint'"),
        (b'{"checkpoint": 3, "work": "counting", "settings": 3}\n', "TypeError"),
        (b'{"checkpoint": 3, "work": "counting", "settings": {}}', "was cut off"),
        (b'{"checkpoint": 3, "work": "counting", "settings": {}}\n[]\n', "key"),
        (
            # A line in the middle can't have been cut off by a machine that stopped.
            b'{"checkpoint": 3, "work": "counting", "settings": {}}\n{"key\n{"k": "b"',
            "Unterminated",
        ),
        (
            b'{"checkpoint": 3, "work": "counting", "settings": {}}\n'
            b'{"key": "a", "row": {"m": 1}}\n',
            "row a has no n",
        ),
    ],
)
def test_a_file_that_is_no_checkpoint_is_left_as_it_is(path, content, found):
    path.write_bytes(content)
    message = f"not a readable checkpoint, give another file or .*{found}"
    with pytest.raises(InputError, match=message):
        opened(path, {})
    assert path.read_bytes() == content


def test_a_folder_that_does_not_exist_or_is_none(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        opened(tmp_path / "nowhere" / "work.jsonl")
    with pytest.raises(InputError, match="not a readable checkpoint, .*Is a directory"):
        opened(tmp_path)


def test_a_file_that_can_not_be_made(path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(InputError, match="work.jsonl: it can't be written: .*denied"):
        opened(path)


def test_a_row_that_json_can_not_hold_is_not_kept(two_rows):
    before = two_rows.read_bytes()
    kept = opened(two_rows)
    with pytest.raises(TypeError):
        kept.add("c", {"n": object()})
    assert "c" not in kept.rows
    assert two_rows.read_bytes() == before


def test_no_flipped_bit_gives_another_row(two_rows):
    whole, rows = two_rows.read_bytes(), opened(two_rows).rows
    last = whole[:-1].rfind(b"\n") + 1
    dropped = {"a": rows["a"]}
    refused = 0
    for bit in np.random.default_rng(5).integers(0, 8 * len(whole), 200):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        two_rows.write_bytes(damaged)
        try:
            found = opened(two_rows).rows
        except InputError:
            refused += 1
        else:
            # Without its end, a last line counts as one that was cut off.
            assert bit // 8 >= last, bit
            assert found in (rows, dropped)
    assert refused > 190


def test_rows_without_checksums_are_read_and_added_to(path):
    head = {"checkpoint": 3, "work": "counting", "settings": SETTINGS}
    lines = [head, {"key": "a", "row": {"n": 1}}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept = opened(path)
    assert kept.rows == {"a": {"n": 1}}
    kept.add("b", {"n": 2, "said": ', "crc32": 0}'})
    assert opened(path).rows == kept.rows
    assert [*kept.rows] == ["a", "b"]


CHILD = """
import sys
from cnn2snn_brian.checkpoint import Checkpoint

kept = Checkpoint(sys.argv[1], "counting", {}, ("n",))
for n in range(10**9):
    kept.once(str(n), lambda: {"n": n})
    print(n, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
def test_a_work_that_is_killed_loses_no_row(path):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE
    )
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    told = 20 + len(process.stdout.readlines())
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stdout.close()
    rows = opened(path, {}).rows
    # A row is in the file before anyone hears of it.
    assert len(rows) in (told, told + 1)
    assert [row["n"] for row in rows.values()] == list(range(len(rows)))
