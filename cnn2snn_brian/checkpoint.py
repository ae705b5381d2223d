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
from cnn2snn_brian.files import check_folder, written_whole

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
        If the folder does not exist, or the file is no checkpoint, one of other work or
        settings, or damaged.
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
            with written_whole(self.path) as unfinished:
                unfinished.write_text(json.dumps(self._head) + "\n")

    @property
    def _head(self) -> dict[str, Any]:
        return {"checkpoint": VERSION, "work": self.work, "settings": self.settings}

    def _read(self, path: Path) -> None:
        def damaged(found: object) -> InputError:
            return InputError(f"checkpoint {path}: not a readable checkpoint ({found})")

        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise damaged(error) from error
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            cut = lines.pop()
            self._check_earlier(path, text)
            if not lines:
                raise damaged("it is empty or was cut off")
            _drop_end(path, len(cut.encode()))
        if not lines:
            raise damaged("it is empty")
        try:
            head, *rows = (json.loads(line) for line in lines)
            version, work, settings = (
                head[name] for name in ("checkpoint", "work", "settings")
            )
            settings = dict(settings)
            for row in rows:
                self.rows[row["key"]] = dict(row["row"])
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(f"{type(error).__name__}: {error}") from error
        if version != VERSION or work != self.work:
            message = (
                f"checkpoint {path} is one of {work} in version {version}, expected "
                f"{self.work} in version {VERSION}. Give another file"
            )
            raise InputError(message)
        other = sorted(
            name
            for name in {*settings, *self.settings}
            if settings.get(name) != self.settings.get(name)
        )
        if other:
            message = (
                f"checkpoint {path} is of another {self.work}, it differs in "
                f"{', '.join(other)}. Take the same arguments, or another file"
            )
            raise InputError(message)
        for key, row in self.rows.items():
            if self._columns - row.keys():
                missing = ", ".join(sorted(self._columns - row.keys()))
                raise damaged(f"row {key} has no {missing}")

    @staticmethod
    def _check_earlier(path: Path, text: str) -> None:
        """Refuse a file of version 0.1.0: one JSON text without a line's end."""
        try:
            earlier = isinstance(json.loads(text).get("rows"), list | dict)
        except (ValueError, AttributeError):
            return
        if earlier:
            message = (
                f"checkpoint {path} was written by version 0.1.0, whose rows can't be "
                "trusted: they did not say which neurons they are of. Give another "
                "file, or finish this work with version 0.1.0"
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
        """
        self.rows[key] = row
        if self.path is not None:
            line = json.dumps({"key": key, "row": row}) + "\n"
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

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


def _drop_end(path: Path, n_bytes: int) -> None:
    """Cut off the end of a file."""
    os.truncate(path, path.stat().st_size - n_bytes)
