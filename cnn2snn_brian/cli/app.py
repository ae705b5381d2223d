"""The command line, ``cnn2snn-brian``: its commands, and what becomes of errors."""

import importlib.metadata
import logging
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated

import typer
from rich.console import Console
from typer import Option

from cnn2snn_brian.cli import shared
from cnn2snn_brian.cli.convert import convert_command, export_command
from cnn2snn_brian.cli.inspect import inspect_command
from cnn2snn_brian.cli.reproduce import demo, reproduce
from cnn2snn_brian.cli.run import run
from cnn2snn_brian.cli.train import train_command
from cnn2snn_brian.cli.tune import calibrate_command, tune_command
from cnn2snn_brian.errors import ConversionError


def cache(*, clear: Annotated[bool, Option("--clear")] = False) -> None:
    """
    Show where compiled programs are kept and how large they are, or remove them.

    Parameters
    ----------
    clear
        Remove all compiled programs.
    """
    from cnn2snn_brian.simulator import compiler as programs

    directory = programs.cache_directory()
    found = programs.entries(directory)
    total = f"{len(found)} entries, {sum(entry.size for entry in found) / 1e6:.1f} MB"
    if clear:
        programs.clear(directory)
        shared.say(f"removed {total}, of {directory}")
        return
    rows = [
        (
            entry.name,
            f"{datetime.fromtimestamp(entry.used, timezone.utc):%Y-%m-%d %H:%M} UTC",
            f"{entry.size / 1e6:.1f}",
        )
        for entry in found
    ]
    shared.print_table(str(directory), ("entry", "last used", "MB"), rows)
    shared.say(f"{total} of at most {programs.MAX_CACHE_BYTES / 1e6:.0f} MB")


app = typer.Typer(
    name=shared.PROGRAM,
    help="Turn a trained PyTorch CNN into a spiking network in Brian2.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(*, show: bool) -> None:
    if show:
        shared.say(f"{shared.PROGRAM} {importlib.metadata.version(shared.PROGRAM)}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    debug: Annotated[
        bool, Option("--debug", help="Show the traceback of an error.")
    ] = False,
    verbose: Annotated[
        bool, Option("--verbose", help="Say more of what is done.")
    ] = False,
) -> None:
    # `debug` is read in main, where errors arrive.
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )


# In the order of the help: the demo, then as they follow each other.
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train_command,
    "convert": convert_command,
    "calibrate": calibrate_command,
    "tune": tune_command,
    "run": run,
    "inspect": inspect_command,
    "export": export_command,
    "reproduce": reproduce,
    "cache": cache,
}
for name, command in COMMANDS.items():
    app.command(name, cls=shared.Command)(command)


def main() -> None:
    """Run the command line."""
    debug = "--debug" in sys.argv[1:]
    # Accepted anywhere: users add it after the command that failed.
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app(prog_name=shared.PROGRAM)
    except (ConversionError, OSError) as error:
        if debug:
            raise
        errors = Console(stderr=True, style="red", highlight=False)
        errors.print(f"error: {error}", soft_wrap=True, markup=False)
        sys.exit(1)
