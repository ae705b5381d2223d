"""The command line, ``cnn2snn-brian``: its commands, and what becomes of errors."""

import importlib.metadata
import logging
import sys
from datetime import datetime, timezone
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cnn2snn_brian.cli.convert import convert_command
from cnn2snn_brian.cli.inspect import export_command, inspect_command
from cnn2snn_brian.cli.reproduce import demo, reproduce
from cnn2snn_brian.cli.run import run
from cnn2snn_brian.cli.shared import PROGRAM, console
from cnn2snn_brian.cli.train import train_command
from cnn2snn_brian.cli.tune import calibrate_command, tune_command
from cnn2snn_brian.errors import ConversionError


def cache(
    *,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all compiled programs.")
    ] = False,
) -> None:
    """Show where compiled programs are kept and how large they are, or remove them."""
    from cnn2snn_brian.simulator import compiler as programs

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


app = typer.Typer(
    name=PROGRAM,
    help="Turn a trained PyTorch CNN into a spiking network in Brian2.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
errors = Console(stderr=True, style="red", highlight=False)


def _version(*, show: bool) -> None:
    if show:
        console.print(f"{PROGRAM} {importlib.metadata.version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda value: _version(show=value),
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say more of what is done.")
    ] = False,
) -> None:
    # `debug` is read in main, where errors arrive.
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )


# In the order of the help: the demo, then as they follow each other.
app.command()(demo)
app.command("train")(train_command)
app.command("convert")(convert_command)
app.command("calibrate")(calibrate_command)
app.command("tune")(tune_command)
app.command()(run)
app.command("inspect")(inspect_command)
app.command("export")(export_command)
app.command()(reproduce)
app.command()(cache)


def main() -> None:
    """Run the command line."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        # Accepted anywhere: users add it behind the command that failed.
        sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app(prog_name=PROGRAM)
    except (ConversionError, OSError) as error:
        if debug:
            raise
        errors.print(f"error: {error}", soft_wrap=True, markup=False)
        sys.exit(1)
