"""
Rows of long work in a file, kept as they come in.

The file has one line of JSON for each row, behind a first line that says which work the
rows belong to. A row is appended and flushed to the disk, so that a long work does not
write its whole past again; a last line that was cut off when the machine stopped is
dropped.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import check_folder, write_errors, written_whole

__all__ = ["Checkpoint"]

#: Raised when a file that was written before can no longer be read.
VERSION = 2


class Checkpoint:
    """
    Rows of one work, by key, in a file.

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
        If the file can't be written or read, is no checkpoint, one of version 0.1.0 or
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
        self._columns = set(columns)
        if self.path is None:
            return
        check_folder(self.path)
        if self.path.exists():
            self._read(self.path)
        else:
            head = {"checkpoint": VERSION, "work": work, "settings": self.settings}
            with written_whole(self.path) as unfinished:
                unfinished.write_text(json.dumps(head) + "\n", encoding="utf-8")

    def _read(self, path: Path) -> None:
        """Take the rows of a file, and drop a last line that was cut off."""
        try:
            content = path.read_bytes()
            head, *rows = _lines(content)
            self._check_head(path, head)
            n_whole = content.rfind(b"\n") + 1
            if not n_whole:
                message = "its first line was cut off"
                raise ValueError(message)
            found = {row["key"]: dict(row["row"]) for row in rows}
            for key, row in found.items():
                missing = self._columns - row.keys()
                if missing:
                    message = f"row {key} has no {', '.join(sorted(missing))}"
                    raise ValueError(message)
            # Only now: a file that is none of ours is left as it is.
            if n_whole < len(content):
                os.truncate(path, n_whole)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = (
                f"checkpoint {path}: not a readable checkpoint "
                f"({type(error).__name__}: {error}). Give another file, or remove this "
                "one"
            )
            raise InputError(message) from error
        self.rows = found

    def _check_head(self, path: Path, head: dict[str, Any]) -> None:
        """Refuse a file of another version, another work or other settings."""
        if "checkpoint" not in head and "rows" in head:
            message = (
                f"checkpoint {path} was written by version 0.1.0, whose rows can't be "
                "trusted: they do not say which neurons they are of. Give another "
                "file, or finish this work with version 0.1.0"
            )
            raise InputError(message)
        version, work = head["checkpoint"], head["work"]
        found = dict(head["settings"])
        if version != VERSION or work != self.work:
            message = (
                f"checkpoint {path} is one of {work} in version {version}, expected "
                f"{self.work} in version {VERSION}. Give another file"
            )
            raise InputError(message)
        # As text: NaN is not equal to itself.
        other = sorted(
            name
            for name in {*found, *self.settings}
            if json.dumps(found.get(name)) != json.dumps(self.settings.get(name))
        )
        if other:
            message = (
                f"checkpoint {path} is of another {self.work}, it differs in "
                f"{', '.join(other)}. Take the same arguments, or another file"
            )
            raise InputError(message)

    def add(self, key: str, row: dict[str, Any]) -> None:
        """
        Keep a row.

        Parameters
        ----------
        key : str
            Which row it is.
        row : dict
            What JSON can hold.

        Raises
        ------
        WriteError
            If the file can't be written. It keeps the rows before.
        """
        line = json.dumps({"key": key, "row": row}) + "\n"
        if self.path is not None:
            with write_errors(self.path):
                before = self.path.stat().st_size
                try:
                    with self.path.open("ab") as file:
                        file.write(line.encode())
                        file.flush()
                        os.fsync(file.fileno())
                except BaseException:
                    # The next row would be put after the half of this one.
                    os.truncate(self.path, before)
                    raise
        self.rows[key] = row

    def once(self, key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """
        Give a row, and do its work only if it is not there.

        Parameters
        ----------
        key : str
            Which row it is.
        work : callable
            Makes the row.

        Returns
        -------
        dict
            The row.
        """
        if key not in self.rows:
            self.add(key, work())
        return self.rows[key]


def _lines(content: bytes) -> list[dict[str, Any]]:
    """Read the lines; what is behind the last line's end was cut off."""
    *whole, rest = content.split(b"\n")
    if not whole:
        # A file of version 0.1.0 has one line without an end.
        whole = [rest]
    return [dict(json.loads(line)) for line in whole]
