"""
Rows of long work in a file, kept as they come in.

The file has one line of JSON for each row, after a first line that says which work the
rows belong to. A row is appended and flushed to the disk, so that long work does not
write its whole past again; a last line that was cut off when the machine stopped is
dropped. Each line ends with a checksum.
"""

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import check_folder, damage, write_errors, written_whole

logger = logging.getLogger(__name__)

#: Raised when a file that was written before can no longer be read.
VERSION = 3

#: Last entry of a line: the checksum of all that is before it.
_CRC = b', "crc32": '
_FIRST = {"checkpoint", "key"}
_ENTRIES = {*_FIRST, "work", "settings", "row"}


def say_kept(error: KeyboardInterrupt, what: str, path: Path, how: str) -> None:
    """Say after Ctrl-C that the work is not lost, once."""
    if not error.args:
        said = f"What is done of {what} is kept in {path}. {how} to go on from there"
        error.args = (said,)
        logger.warning(said)


class Checkpoint:
    """
    Rows of some long work, by key, in a file; a context manager around that work.

    Parameters
    ----------
    path : path-like, optional
        The file. If it exists, its rows are taken. Without it, rows are kept in memory
        only.
    work : str
        What the rows are of, in the words of messages: "tuning", "sweep".
    settings : dict
        What the rows depend on, as JSON can hold it.
    columns : iterable of str
        What each row must have.

    Attributes
    ----------
    rows : dict of str to dict
        The rows by key, in the order in which they came in.

    Raises
    ------
    InputError
        If the file can't be written or read, is not a checkpoint, of version 0.1.0 or
        of other work or settings, or damaged. Such a file is left as it is.
    """

    def __init__(
        self,
        path: str | Path | None,
        work: str,
        settings: dict[str, Any],
        columns: Iterable[str] = (),
    ) -> None:
        self.path = None if path is None else Path(path)
        self.work = work
        # As they come back from the file: tuples are lists.
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path is None:
            return
        check_folder(self.path)
        if self.path.exists():
            self._read(self.path, set(columns))
        else:
            head = {"checkpoint": VERSION, "work": work, "settings": self.settings}
            with written_whole(self.path) as unfinished:
                unfinished.write_bytes(_line(head))

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, KeyboardInterrupt) and self.path is not None:
            say_kept(error, f"this {self.work}", self.path, "Do the same again")

    def _read(self, path: Path, columns: set[str]) -> None:
        """Take the rows of a file, and drop a last line that was cut off."""
        with damage(
            f"checkpoint {path}: not a readable checkpoint, give another file or "
            "remove this one"
        ):
            content = path.read_bytes()
            *whole, rest = content.split(b"\n")
            # A file of version 0.1.0 has one line without an end.
            head, *rows = map(_content, whole or [rest])
            self._check_head(path, head)
            if not whole:
                raise ValueError("its first line was cut off")
            self.rows = {row["key"]: dict(row["row"]) for row in rows}
            for key, row in self.rows.items():
                if missing := columns - row.keys():
                    raise ValueError(f"row {key} has no {', '.join(sorted(missing))}")
            # Only now: a file that is not one of ours is left as it is.
            if rest:
                os.truncate(path, len(content) - len(rest))

    def _check_head(self, path: Path, head: dict[str, Any]) -> None:
        """Refuse a file of another version, another work or other settings."""
        if "checkpoint" not in head and "rows" in head:
            raise InputError(
                f"checkpoint {path} was written by version 0.1.0, whose rows can't be "
                "trusted: they do not say which neurons they are of. Give another "
                "file, or finish this work with version 0.1.0"
            )
        version, work, found = head["checkpoint"], head["work"], dict(head["settings"])
        if (version, work) != (VERSION, self.work):
            raise InputError(
                f"checkpoint {path} is one of {work} in version {version}, expected "
                f"{self.work} in version {VERSION}. Give another file"
            )
        # As text: NaN is not equal to itself.
        other = sorted(
            name
            for name in {*found, *self.settings}
            if json.dumps(found.get(name)) != json.dumps(self.settings.get(name))
        )
        if other:
            raise InputError(
                f"checkpoint {path} is of another {self.work}, it differs in "
                f"{', '.join(other)}. Take the same arguments, or another file"
            )

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row."""
        line = _line({"key": key, "row": row})
        if self.path is not None:
            with write_errors(self.path):
                before = self.path.stat().st_size
                try:
                    with self.path.open("ab") as file:
                        file.write(line)
                        file.flush()
                        os.fsync(file.fileno())
                except BaseException:
                    # The next row would be put after the half of this one.
                    os.truncate(self.path, before)
                    raise
        self.rows[key] = row

    def once(self, key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Give a row, and do its work only if it is not there."""
        if key not in self.rows:
            self.add(key, work())
        return self.rows[key]


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content).encode()
    return text[:-1] + _CRC + f"{zlib.crc32(text)}}}\n".encode()


def _content(line: bytes) -> dict[str, Any]:
    """Read a line, and check that it is as it was written."""
    content = dict(json.loads(line))
    # Lines of earlier versions have no checksum, but no other entry in its place.
    changed = not content.keys().isdisjoint(_FIRST) and bool(content.keys() - _ENTRIES)
    if "crc32" in content:
        text = line.rpartition(_CRC)[0] + b"}"
        changed = content.pop("crc32") != zlib.crc32(text)
    if changed:
        raise ValueError("a line is not as it was written")
    return content
