"""Progress bars, in one style for everything that takes more than a few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from html import escape

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

#: Moves a progress bar by a number of steps, and sets the text after it.
Advance = Callable[..., None]

#: A notebook gets a new picture of the bar after so many seconds.
REFRESH_S = 0.1


@contextmanager
def progress_bar(
    description: str, total: int, *, show: bool = True
) -> Iterator[Advance]:
    """Show a progress bar on standard error, or below the cell of a notebook."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(stderr=True)
    in_notebook = show and console.is_jupyter
    bar = Progress(*columns, console=console, disable=in_notebook or not show)
    task = bar.add_task(description, total=total, note="")
    below_the_cell = _BelowTheCell(bar) if in_notebook else None
    with bar, below_the_cell or nullcontext():

        def advance(steps: int, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)
            if below_the_cell is not None:
                below_the_cell.draw()

        yield advance


class _BelowTheCell:
    """The bar in a notebook: rich's own needs a widget, and is not saved with it."""

    def __init__(self, bar: Progress) -> None:
        from IPython.display import display

        self.bar, self.drawn_s = bar, time.monotonic()
        self.place = display(self._page(), raw=True, display_id=True)

    def draw(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self.drawn_s > REFRESH_S:
            self.drawn_s = time.monotonic()
            self.place.update(self._page(), raw=True)

    def _page(self) -> dict[str, str]:
        (task,) = self.bar.tasks
        name, *texts = [
            str(column.render(task))
            for column in self.bar.columns
            if isinstance(column, ProgressColumn) and not isinstance(column, BarColumn)
        ]
        bar = f"<progress value={task.completed:g} max={task.total:g}></progress>"
        rest = " ".join(texts)
        return {
            "text/plain": f"{name} {rest}",
            "text/html": f"<div>{escape(name)} {bar} {escape(rest)}</div>",
        }

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.draw(now=True)
