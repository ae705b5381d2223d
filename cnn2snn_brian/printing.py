"""Tables as plain text, in one style for everything that ``print`` shows."""

from rich.console import Console, RenderableType

__all__ = ["as_text"]


def as_text(table: RenderableType) -> str:
    """
    Draw a table as plain text.

    Parameters
    ----------
    table : rich.table.Table
        The table.

    Returns
    -------
    str
        Lines of at most 100 characters.
    """
    console = Console(width=100, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
