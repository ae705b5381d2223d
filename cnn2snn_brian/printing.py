"""What ``print``, the prompt and a notebook show of an object, in one style."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from html import escape
from itertools import islice
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

#: Longest line, except for names that are longer.
WIDTH = 100

#: How many items of a list are shown, and how many characters of anything else.
MAX_ITEMS, MAX_CHARACTERS = 6, 80


class Printed:
    """
    An object that is shown in one line at the prompt, and in full where it is printed.

    `_parts` says what is shown in full, by ``print`` and in a notebook. The line has
    the fields of a dataclass, and is all that is shown of an object without `_parts`.
    """

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        # A dataclass makes another __repr__ if the class itself has none.
        setattr(cls, "__repr__", cls.__repr__)  # noqa: B010

    def _parts(self) -> Iterable[str | Table]:
        """Describe all of the object by lines and tables, from top to bottom."""
        return ()

    def __repr__(self) -> str:
        shown = [item.name for item in fields(self) if item.repr]  # type: ignore[arg-type]
        values = {name: getattr(self, name) for name in shown}
        return short_fields(type(self).__name__, values)

    def __str__(self) -> str:
        return "\n".join(map(as_text, self._parts())) or repr(self)

    def _repr_html_(self) -> str | None:
        html = "".join(map(as_html, self._parts()))
        return f"<div>{html}</div>" if html else None


def short(value: Any) -> str:
    """Write a value in less than a line."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{value.dtype} {value.shape}"
    if isinstance(value, Mapping):
        items = (f"{key!r}: {short(item)}" for key, item in value.items())
        return f"{{{_first(items, len(value))}}}"
    if type(value) is list:
        return f"[{_first(map(short, value), len(value))}]"
    if type(value) is tuple:
        comma = "," if len(value) == 1 else ""
        return f"({_first(map(short, value), len(value))}{comma})"
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 4]} ..."


def _first(texts: Iterator[str], n: int) -> str:
    more = [f"... {n - MAX_ITEMS} more"] if n > MAX_ITEMS else []
    return ", ".join([*islice(texts, MAX_ITEMS), *more])


def short_fields(kind: str, values: Mapping[str, Any]) -> str:
    """Write an object in a line."""
    return f"{kind}({', '.join(f'{k}={short(v)}' for k, v in values.items())})"


def as_text(part: str | Table) -> str:
    """Draw a table as plain text."""
    if isinstance(part, str):
        return part
    # Cells are names of layers and classes, not markup; in a notebook, too.
    console = Console(
        width=10_000, color_system=None, force_jupyter=False, markup=False, emoji=False
    )
    width = max(WIDTH, console.measure(part).minimum)
    with console.capture() as captured:
        console.print(part, width=width)
    return captured.get().rstrip("\n")


def as_html(part: str | Table) -> str:
    """Write a table as HTML, in the colours of the page that it stands in."""
    if isinstance(part, str):
        return f"<p>{escape(part).replace(chr(10), '<br>')}</p>"
    caption = f"<caption>{escape(str(part.title))}</caption>" if part.title else ""
    cells = []
    for column in part.columns:
        # A notebook puts all text to the right unless it is said.
        style = f'style="text-align:{column.justify}"'
        texts = [escape(str(text)) for text in column.cells]
        head = f"<th {style}>{escape(str(column.header))}</th>"
        cells.append([head, *(f"<td {style}>{text}</td>" for text in texts)])
    head, *body = (f"<tr>{''.join(row)}</tr>" for row in zip(*cells, strict=True))
    return (
        f"<table>{caption}<thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
    )


def right_table(
    titles: Iterable[str], rows: Iterable[Iterable[str]], n_left: int = 1
) -> Table:
    """Lay out texts, all but the first columns to the right."""
    table = Table(box=None)
    for number, title in enumerate(titles):
        table.add_column(title, justify="left" if number < n_left else "right")
    for row in rows:
        table.add_row(*row)
    return table


def frame_table(frame: Any, formats: Mapping[str, str]) -> Table:
    """Lay out a DataFrame of numbers."""
    rows = []
    for index, *numbers in frame.itertuples():
        texts = [
            "-" if np.isnan(number) else format(number, formats.get(column, ".3f"))
            for column, number in zip(frame.columns, numbers, strict=True)
        ]
        rows.append([*([index] if isinstance(index, str) else index), *texts])
    names = frame.index.names
    return right_table(map(str, [*names, *frame.columns]), rows, len(names))
