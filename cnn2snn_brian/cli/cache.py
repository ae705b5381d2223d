"""The command ``cache``: compiled programs that are kept."""

from datetime import datetime, timezone
from typing import Annotated

import typer
from rich.table import Table

from cnn2snn_brian.cli.shared import console

__all__ = ["cache"]


def cache(
    *,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all compiled programs.")
    ] = False,
) -> None:
    """
    Show where compiled programs are kept and how large they are, or remove them.

    $CNN2SNN_BRIAN_CACHE names another directory.
    """
    from cnn2snn_brian.program import cache as programs

    directory = programs.cache_directory()
    found = programs.entries(directory)
    total = sum(entry.size for entry in found) / 1e6
    if clear:
        programs.clear(directory)
        console.print(f"removed {len(found)} entries, {total:.1f} MB, of {directory}")
        return
    table = Table("entry", "last used", title=str(directory))
    table.add_column("MB", justify="right")
    for entry in found:
        used = datetime.fromtimestamp(entry.used, timezone.utc)
        table.add_row(
            entry.name, f"{used:%Y-%m-%d %H:%M} UTC", f"{entry.size / 1e6:.1f}"
        )
    console.print(table)
    limit = programs.MAX_CACHE_BYTES / 1e6
    console.print(f"{len(found)} entries, {total:.1f} MB of at most {limit:.0f} MB")
