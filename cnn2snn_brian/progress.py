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

#: Seconds after which the bar of a notebook is drawn again.
REFRESH_S = 0.1


@contextmanager
def progress_bar(
    description: str, total: int, *, show: bool = True
) -> Iterator[Advance]:
    """Show a progress bar on standard error, or below the cell of a notebook."""
    if not show:
        yield lambda steps, note="": None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(stderr=True)
    in_notebook = console.is_jupyter
    bar = Progress(*columns, console=console, disable=in_notebook)
    task = bar.add_task(description, total=total, note="")
    drawn = _below_the_cell(bar) if in_notebook else nullcontext(lambda: None)
    with bar, drawn as draw:

        def advance(steps: int, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)
            draw()

        yield advance


@contextmanager
def _below_the_cell(bar: Progress) -> Iterator[Callable[[], None]]:
    """Draw the bar in a notebook: rich's needs a widget, and is not saved with it."""
    from IPython.display import display

    place = display(_page(bar), raw=True, display_id=True)
    drawn_s = time.monotonic()

    def draw() -> None:
        nonlocal drawn_s
        if time.monotonic() - drawn_s > REFRESH_S:
            drawn_s = time.monotonic()
            place.update(_page(bar), raw=True)

    try:
        yield draw
    finally:
        place.update(_page(bar), raw=True)


def _page(bar: Progress) -> dict[str, str]:
    (task,) = bar.tasks
    name, *texts = [
        str(column.render(task))
        for column in bar.columns
        if isinstance(column, ProgressColumn) and not isinstance(column, BarColumn)
    ]
    rest, done = " ".join(texts), f"value={task.completed:g} max={task.total:g}"
    html = f"{escape(name)} <progress {done}></progress> {escape(rest)}"
    return {"text/plain": f"{name} {rest}", "text/html": f"<div>{html}</div>"}
