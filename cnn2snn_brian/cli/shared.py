"""What the commands share: where they write to, and checks of what users give."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import check_folder

PROGRAM = "cnn2snn-brian"

#: What ``--data`` may be, wherever there is one.
DATA_HELP = (
    "digits, cifar10 (downloaded), or a folder: with train and test in it, or of class "
    "folders. A folder of one of these names is ./digits or ./cifar10."
)

console = Console()

#: Arguments that mean the same in every command.
NetworkFile = Annotated[Path, typer.Argument(help="A file that `convert` wrote.")]
TrainingData = Annotated[
    str, typer.Option(help=f"{DATA_HELP} Only training images are used.")
]
PerClass = Annotated[int, typer.Option(help="Images of each class, drawn at random.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
NWorkers = Annotated[
    int | None, typer.Option(help="Programs at a time; all cores by default.")
]


def check_out(path: Path, suffix: str | None = None) -> None:
    """Check, before the work, that its result can be written."""
    check_folder(path)
    if suffix is not None and path.suffix != suffix:
        raise InputError(f"{path}: its name has to end with {suffix}")


def check_at_least(option: str, value: int | None, least: int) -> None:
    """Check a whole number."""
    if value is not None and value < least:
        raise InputError(f"{option} is {value}, expected at least {least}")


def numbers_by_layer(values: list[str] | None, option: str) -> dict[str, float] | None:
    """Read numbers of layers, as in ``conv1=2.5``."""
    if not values:
        return None
    numbers: dict[str, float] = {}
    for value in values:
        name, _, number = value.partition("=")
        if name in numbers:
            raise InputError(f"{option} {value!r}: {name} was given before")
        try:
            numbers[name] = float(number)
        except ValueError as error:
            raise InputError(
                f"{option} {value!r}: expected layer=number, as in conv1=2.5"
            ) from error
    return numbers


def numbers_in(text: str, option: str) -> tuple[float, ...]:
    """Read numbers with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option} {text!r}: expected numbers, as in 0.5,0.5,0.5"
        ) from error
