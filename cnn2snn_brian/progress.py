"""Progress bars, in one style for everything that takes more than a few seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Advance", "progress_bar"]

#: Moves a progress bar by a number of steps, and sets the text behind it.
Advance = Callable[..., None]


@contextmanager
def progress_bar(
    description: str, total: int, *, show: bool = True
) -> Iterator[Advance]:
    """
    Show a progress bar on standard error.

    Parameters
    ----------
    description : str
        Text in front of the bar.
    total : int
        Number of steps.
    show : bool
        Whether to show it at all.

    Yields
    ------
    advance : callable
        ``advance(n, note)`` moves the bar by `n` steps and sets the text behind it.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), disable=not show)
    with bar:
        task = bar.add_task(description, total=total, note="")

        def advance(steps: int, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance
