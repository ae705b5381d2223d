"""What the commands share: options that mean the same, what they read and print."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.console import Console
from rich.table import Table
from typer import Argument, BadParameter, Option
from typer.core import TyperCommand

# The command line stands on the package as users do: names import when first used.
import cnn2snn_brian as c2s
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import check_folder

if TYPE_CHECKING:
    from torch import nn

    from cnn2snn_brian.cnn import ModelCard
    from cnn2snn_brian.stimuli import Stimulus

PROGRAM = "cnn2snn-brian"
#: Time of an image, and of stimuli that don't say how long they take, in ms.
DEFAULT_MS = 100.0

console = Console()


class Command(TyperCommand):
    """A command whose docstring says what its options are for, as numpydoc has it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.help, _, described = (self.help or "").partition(
            "\n\nParameters\n----------\n"
        )
        texts = dict(re.findall(r"^(\w+)\n((?: {4}.*\n?)+)", described, re.MULTILINE))
        for parameter in self.params:
            shared = getattr(parameter, "help", None) or ""
            text = f"{shared} {texts.get(parameter.name, '')}"
            setattr(parameter, "help", " ".join(text.split()))  # noqa: B010


def output(kind: Callable[..., Any] = Option, suffix: str = "", text: str = "") -> Any:
    """Declare a file that is written; before the work it is checked that it can be."""

    def checked(path: Path | None) -> Path | None:
        if path is not None:
            check_folder(path)
            if not str(path).endswith(suffix):
                raise InputError(f"{path}: its name has to end with {suffix}")
        return path

    return kind(callback=checked, help=text)


# The literals are names of rooms that take seconds to import; a test says that they
# agree.
Architecture = Literal[
    "cifar10_quick",
    "cifar10_quick_adjusted",
    "cifar10_quick_average",
    "digits",
    "resnet20",
    "vgg",
]
NetworkFile = Annotated[Path, Argument(help="A file that `convert` wrote.")]
OutFile = Annotated[Path, output()]
DATA = Option(
    help="digits, cifar10 (downloaded), or a folder: with train and test in it, or of "
    "class folders. A folder of one of these names is ./digits or ./cifar10."
)
Seed = Annotated[int, Option(min=0)]
AtLeastOne = Annotated[int, Option(min=1)]
NWorkers = Annotated[
    int | None, Option(min=1, help="Programs at a time; all cores by default.")
]
CheckpointFile = Annotated[
    Path | None, output(text="File that keeps what was done, to go on from there.")
]
Thresholds = Annotated[
    list[str] | None, Option(help="A threshold, as in conv1=2.5; repeatable.")
]
StimulusFiles = Annotated[
    list[Path] | None,
    Option(
        help="A stimulus in time (.npz, written by its save), in place of --data; "
        "repeatable."
    ),
]
Repeats = Annotated[int, Option(min=1, help="With --stimulus: trials of each.")]
Whole = Annotated[
    bool,
    Option(
        "--all", help="Show all of a folder of class folders: none was trained with."
    ),
]


def check_shown(
    data: str | None, stimulus: Any, repeats: int, n: int | None, *, whole: bool
) -> None:
    """Check that either images or stimuli are shown, with options that go with them."""
    if (data is None) == (not stimulus):
        raise BadParameter(
            "give either --data (images) or --stimulus (a file of a stimulus)"
        )
    for option, is_given in (("--n", n is not None), ("--all", whole)):
        if stimulus and is_given:
            raise BadParameter(f"{option} goes with --data, not with --stimulus")
    if data is not None and repeats != 1:
        raise BadParameter("--repeats goes with --stimulus")


def load_trained(weights: Path) -> "tuple[nn.Module, ModelCard]":
    """Make the CNN of a weights file."""
    from cnn2snn_brian.cnn import load_weights, read_card

    card = read_card(weights)
    module = c2s.models.create(card.architecture, len(card.classes))
    load_weights(module, weights)
    return module, card


def load_stimuli(paths: list[Path] | None) -> "list[Stimulus]":
    """Read the files of stimuli, which name those that have no name."""
    loaded = [(path.stem, c2s.stimuli.load(path)) for path in paths or ()]
    return [each if each.name else replace(each, name=stem) for stem, each in loaded]


def in_ms(duration: float) -> Any:
    """Give a time its unit."""
    from brian2 import ms

    return duration * ms


def longest_ms(snn: "c2s.SpikingNetwork", stimuli: "list[Stimulus]") -> float:
    """Say how long a program has to run that shows stimuli, or images without any."""
    n_steps = [_n_steps(stimulus, snn.dt_s) for stimulus in stimuli]
    return 1e3 * max(n_steps) * snn.dt_s if stimuli else DEFAULT_MS


def _n_steps(stimulus: "Stimulus", dt_s: float) -> int:
    if (n_steps := stimulus.n_steps(dt_s)) is not None:
        return n_steps
    last = max(map(float, getattr(stimulus, "times", ())), default=0.0)
    return math.ceil(max(DEFAULT_MS / (1e3 * dt_s), last / dt_s + 1) - 1e-6)


def numbers_by_layer(values: list[str] | None) -> dict[str, float] | None:
    """Read thresholds of layers, as in ``conv1=2.5``."""
    numbers: dict[str, float] = {}
    for value in values or ():
        name, _, number = value.partition("=")
        if name in numbers:
            raise InputError(f"--threshold {value!r}: {name} was given before")
        try:
            numbers[name] = float(number)
        except ValueError as error:
            raise InputError(
                f"--threshold {value!r}: expected layer=number, as in conv1=2.5"
            ) from error
    return numbers or None


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    total: Sequence[str] = (),
) -> None:
    """Print a table: names to the left, numbers to the right, and a line for all."""
    table = Table(columns[0], title=title)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    if total:
        table.add_section()
        table.add_row(*total)
    console.print(table)


def say(what: object) -> None:
    """Print without colours."""
    console.print(str(what), highlight=False)


def say_written(what: object, out: Path) -> None:
    """Print what was made, and where it is."""
    say(what)
    say(f"written: {out}")
