"""The command line, ``cnn2snn-brian``."""

import importlib
import importlib.metadata
import json
import logging
import shlex
import sys
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from cnn2snn_brian.cli.inspect import inspect_command
from cnn2snn_brian.cli.reproduce import reproduce
from cnn2snn_brian.cli.tune import tune_command
from cnn2snn_brian.errors import ConversionError, InputError
from cnn2snn_brian.files import check_folder

if TYPE_CHECKING:
    from torch import nn

    from cnn2snn_brian.data import LabelledImages
    from cnn2snn_brian.results.result import SimulationResult

__all__ = ["app", "main"]

PROGRAM = "cnn2snn-brian"

app = typer.Typer(
    name=PROGRAM,
    help="Turn a trained PyTorch CNN into a spiking network in Brian2.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(reproduce)
console = Console()
errors = Console(stderr=True, style="red", highlight=False)


class Optimizer(str, Enum):
    """Optimizers of ``train``."""

    sgd = "sgd"
    adamw = "adamw"


class ResetRule(str, Enum):
    """What a spike does to its neuron."""

    zero = "zero"
    subtract = "subtract"


class InputEncoding(str, Enum):
    """What a picture is turned into."""

    poisson = "poisson"
    current = "current"


class PresetName(str, Enum):
    """Settings that belong together."""

    paper = "paper"
    free_floor = "free-floor"
    few_steps = "few-steps"


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
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING)


@app.command()
def demo(
    figure: Annotated[
        Path, typer.Option(help="Where to write the raster of one digit (PNG).")
    ] = Path("digit.png"),
    seed: Annotated[int, typer.Option(help="Seed of the Poisson spikes.")] = 0,
) -> None:
    """
    See it work: scikit-learn's 8x8 digits through a CNN and through its SNN.

    Needs no download. The first time, the network is compiled.
    """
    from cnn2snn_brian.cli.demo_run import run_demo

    _check_out(figure)
    console.print("Converting the digits CNN and compiling its Brian2 network ...")
    found = run_demo(figure, seed)
    build = found.result.timings["build"]
    table = Table(title=f"{found.n_test} test digits")
    table.add_column("network")
    table.add_column("accuracy", justify="right")
    table.add_row("CNN", f"{found.cnn_accuracy:.1%}")
    table.add_row("SNN", f"{found.snn_accuracy:.1%}")
    console.print(table)
    console.print(str(found.result), highlight=False)
    console.print(f"program ready after {build:.1f} s; raster: {found.figure}")


@app.command()
def train(
    architecture: Annotated[
        str,
        typer.Argument(help="cifar10_quick, cifar10_quick_adjusted or digits."),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="digits, cifar10 (downloaded), or a folder: with train and test in "
            "it, or of class folders (a tenth is kept for testing)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File for the weights (.safetensors); a model card (.json) and the "
            "checkpoint are written beside it."
        ),
    ],
    *,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.")] = 40,
    optimizer: Annotated[
        Optimizer, typer.Option(help="SGD has Nesterov momentum 0.9.")
    ] = Optimizer.sgd,
    learning_rate: Annotated[
        float, typer.Option(help="Peak of the one-cycle schedule.")
    ] = 0.05,
    batch_size: Annotated[int, typer.Option(help="Pictures of a step.")] = 128,
    weight_decay: Annotated[float, typer.Option(help="Decay of the weights.")] = 5e-4,
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror half of the pictures.")
    ] = False,
    shift: Annotated[
        int, typer.Option(help="Shift pictures by up to this many pixels.")
    ] = 0,
    label_smoothing: Annotated[
        float, typer.Option(help="Share of the target spread over all classes.")
    ] = 0.0,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Weights of a trained CNN; its outputs are soft targets."),
    ] = None,
    distillation: Annotated[
        float, typer.Option(help="With a teacher: share of its targets.")
    ] = 0.9,
    temperature: Annotated[
        float, typer.Option(help="With a teacher: softness of its targets.")
    ] = 4.0,
    clip_norm: Annotated[
        float, typer.Option(help="Largest norm of a step's gradient.")
    ] = float("inf"),
    bfloat16: Annotated[
        bool,
        typer.Option("--bfloat16", help="Compute in 16 bits: faster."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint.")
    ] = False,
) -> None:
    """
    Train one of the package's CNNs.

    Example: cnn2snn-brian train digits --data digits --out digits.safetensors
    """
    from cnn2snn_brian import models
    from cnn2snn_brian.cnn.weights import (
        ModelCard,
        load_weights,
        read_card,
        save_weights,
    )
    from cnn2snn_brian.data import load_data
    from cnn2snn_brian.train import TrainingSettings, accuracy
    from cnn2snn_brian.train import train as train_cnn

    module = models.create(architecture)
    _check_out(out, ".safetensors")
    settings = TrainingSettings(
        epochs=epochs,
        optimizer=optimizer.value,
        learning_rate=learning_rate,
        batch_size=batch_size,
        weight_decay=weight_decay,
        flip=flip,
        shift=shift,
        label_smoothing=label_smoothing,
        distillation=distillation,
        temperature=temperature,
        clip_norm=clip_norm,
        bfloat16=bfloat16,
        seed=seed,
    )
    taught = None
    if teacher is not None:
        taught = models.create(read_card(teacher).architecture)
        load_weights(taught, teacher)
    console.print(f"Reading {data} ...")
    training, test = load_data(data, seed=seed)
    checkpoint = out.with_suffix(".checkpoint")
    train_cnn(
        module,
        training,
        settings,
        teacher=taught,
        checkpoint=checkpoint,
        resume=resume,
    )
    share = accuracy(module, test)
    card = ModelCard(
        architecture=architecture,
        input_shape=training.input_shape,
        classes=training.classes,
        data=data,
        command=shlex.join([PROGRAM, *sys.argv[1:]]),
        test_accuracy=share,
        n_test=len(test),
        date=datetime.now(timezone.utc).date().isoformat(),
        versions={name: importlib.metadata.version(name) for name in ("torch",)},
    )
    save_weights(out, module, card)
    checkpoint.unlink(missing_ok=True)
    console.print(f"accuracy on {len(test)} test pictures: {share:.2%}")
    console.print(f"weights: {out}")


def _imported(reference: str) -> "nn.Module":
    """Call ``package.module:function``, which makes a CNN."""
    name, _, attribute = reference.partition(":")
    sys.path.insert(0, "")
    try:
        make = getattr(importlib.import_module(name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"--module {reference!r}: expected package.module:function ({error})"
        raise InputError(message) from error
    from torch import nn

    try:
        module = make()
    except Exception as error:
        message = f"--module {reference!r}: it raised {type(error).__name__}: {error}"
        raise InputError(message) from error
    if not isinstance(module, nn.Module):
        message = f"--module {reference!r}: it returned {module!r}, not an nn.Module"
        raise InputError(message)
    return module


def _check_out(path: Path, suffix: str | None = None) -> None:
    """Check before the work that its result can be written."""
    check_folder(path)
    if suffix is not None and path.suffix != suffix:
        message = f"{path}: its name has to end with {suffix}"
        raise InputError(message)


def _rng(seed: int) -> np.random.Generator:
    if seed < 0:
        message = f"--seed is {seed}, expected a whole number of at least 0"
        raise InputError(message)
    return np.random.default_rng(seed)


def _numbers_by_layer(values: list[str], option: str) -> dict[str, float]:
    numbers = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            numbers[name] = float(number)
        except ValueError as error:
            message = f"{option} {value!r}: expected layer=number, as in conv1=2.5"
            raise InputError(message) from error
    return numbers


@app.command(name="convert")
def convert_command(
    out: Annotated[Path, typer.Argument(help="File for the converted network.")],
    *,
    architecture: Annotated[
        str | None,
        typer.Option(help="A CNN of the package, with its trained weights."),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(help="Your own CNN: package.module:function that makes it."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A weights file: of `train`, or of your own CNN "
            "(.safetensors, or what torch.save wrote of its state_dict)."
        ),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(help="With --module: channels,height,width.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Training pictures that thresholds are computed from: digits, "
            "cifar10 or a folder, as in `train`."
        ),
    ] = None,
    n_calibration: Annotated[
        int, typer.Option(help="Number of calibration pictures.")
    ] = 200,
    preset: Annotated[
        PresetName,
        typer.Option(help="Settings that hold where no other is given."),
    ] = PresetName.paper,
    percentile: Annotated[
        float | None,
        typer.Option(help="Percentile of activations that counts as largest."),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="A threshold, as in conv1=2.5; can be given repeatedly."),
    ] = None,
    v_min: Annotated[float | None, typer.Option(help="Floor of the potential.")] = None,
    leak: Annotated[float, typer.Option(help="Constant input of each step.")] = 0.0,
    v_init: Annotated[
        float | None,
        typer.Option(help="Potential at the start, as a share of v_th."),
    ] = None,
    reset: Annotated[
        ResetRule | None,
        typer.Option(help="A spike sets the potential to 0, or takes v_th from it."),
    ] = None,
    encoding: Annotated[
        InputEncoding | None,
        typer.Option(help="A picture is Poisson spikes, or a constant current."),
    ] = None,
    rate_scale: Annotated[
        float, typer.Option(help="Spikes per step of the brightest pixel.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draw of pictures.")] = 0,
) -> None:
    """
    Convert a trained CNN: one file with layers, weights, thresholds and settings.

    Needs --calibration, or a --threshold for each layer.

    Example: cnn2snn-brian convert digits.snn --architecture digits
    --calibration digits
    """
    from cnn2snn_brian import models
    from cnn2snn_brian.cnn.weights import load_state, load_weights, read_card
    from cnn2snn_brian.conversion import convert
    from cnn2snn_brian.data import load_data

    if architecture is not None and (module is not None or weights is not None):
        message = "--architecture excludes --module and --weights: it has its weights"
        raise typer.BadParameter(message)
    if architecture is None and module is None and weights is None:
        message = "say which CNN: --architecture, --weights, or --module with --weights"
        raise typer.BadParameter(message)
    _check_out(out)
    rng = _rng(seed)
    classes: tuple[str, ...] | None = None
    if module is not None:
        if input_shape is None:
            message = "--module needs --input-shape channels,height,width"
            raise typer.BadParameter(message)
        cnn = _imported(module)
        if weights is not None:
            load_state(cnn, weights)
        else:
            console.print(f"no --weights: those that {module} gives are converted")
        try:
            channels, height, width = (int(size) for size in input_shape.split(","))
        except ValueError as error:
            message = f"--input-shape {input_shape!r}: expected channels,height,width"
            raise typer.BadParameter(message) from error
        shape = channels, height, width
    elif weights is not None:
        cnn = models.create(read_card(weights).architecture)
        card = load_weights(cnn, weights)
        shape, classes = card.input_shape, card.classes
    else:
        assert architecture is not None
        cnn, card = models.pretrained(architecture)
        shape, classes = card.input_shape, card.classes
    cnn.eval()
    pictures = None
    if calibration is not None:
        training, _ = load_data(calibration, shape, seed=seed)
        n = min(n_calibration, len(training))
        drawn = rng.choice(len(training), n, replace=False)
        pictures = training.images[np.sort(drawn)]
        classes = training.classes if classes is None else classes
    snn = convert(
        cnn,
        shape,
        thresholds=_numbers_by_layer(threshold, "--threshold") if threshold else None,
        calibration=pictures,
        preset=preset.value,
        percentile=percentile,
        v_min=v_min,
        leak=leak,
        v_init=v_init,
        reset=reset and reset.value,
        encoding=encoding and encoding.value,
        rate_scale=rate_scale,
        classes=classes,
    )
    snn.save(out)
    console.print(str(snn), highlight=False)
    console.print(f"written: {out}")


def _by_class(
    result: "SimulationResult", test: "LabelledImages"
) -> list[dict[str, Any]]:
    """Accuracy of each class, and of all."""
    right = result.predictions == test.labels
    rows = []
    for label, name in enumerate((*test.classes, "all")):
        members = (
            test.labels == label if label < len(test.classes) else test.labels >= 0
        )
        if members.any():
            rows.append(
                {
                    "class": name,
                    "pictures": int(members.sum()),
                    "correct": int(right[members].sum()),
                    "accuracy": float(right[members].mean()),
                }
            )
    return rows


@app.command()
def run(
    network: Annotated[Path, typer.Argument(help="A file that `convert` wrote.")],
    data: Annotated[
        str,
        typer.Option(
            help="Pictures: digits or cifar10 (their test pictures), or a folder of "
            "class folders."
        ),
    ],
    *,
    n: Annotated[
        int | None, typer.Option(help="So many pictures, drawn at random.")
    ] = None,
    duration: Annotated[float, typer.Option(help="Time of a picture in ms.")] = 100.0,
    seed: Annotated[int, typer.Option(help="Seed of spikes and of the draw.")] = 0,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="Another threshold, as in conv1=2.5; repeatable."),
    ] = None,
    record: Annotated[
        list[str] | None,
        typer.Option(help="With --save: a layer whose spikes are kept; repeatable."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="File for the result (.h5), which `inspect` reads."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables.")
    ] = False,
) -> None:
    """
    Show pictures to a converted network and print its accuracy, class by class.

    Example: cnn2snn-brian run digits.snn --data digits --duration 100
    """
    from brian2 import ms

    from cnn2snn_brian.data import load_test_pictures
    from cnn2snn_brian.network import SpikingNetwork

    if save is not None:
        _check_out(save)
    snn = SpikingNetwork.load(network)
    test = load_test_pictures(data, snn.input_shape, n, seed, snn.classes)
    thresholds = _numbers_by_layer(threshold, "--threshold") if threshold else None
    with snn.compile(duration * ms) as simulator:
        result = simulator.run(
            test.images,
            thresholds=thresholds,
            seed=seed,
            record=record or (),
            progress=not as_json,
        )
    if save is not None:
        result.save(save)
    rows = _by_class(result, test)
    if as_json:
        report = {
            "network": str(network),
            "data": data,
            "duration_ms": duration,
            "seed": seed,
            "thresholds": result.parameters.thresholds,
            "classes": rows[:-1],
            "all": rows[-1],
            "ties": int(result.ties.sum()),
            "silent": int(result.silent.sum()),
            "events": result.n_events,
            "timings_s": result.timings,
            "versions": result.versions,
        }
        console.print_json(json.dumps(report))
        return
    table = Table("class", title=f"{network} on {data}")
    for title in ("pictures", "correct", "accuracy"):
        table.add_column(title, justify="right")
    for row in rows:
        if row["class"] == "all":
            table.add_section()
        table.add_row(
            row["class"],
            f"{row['pictures']:,}",
            f"{row['correct']:,}",
            f"{row['accuracy']:.1%}",
        )
    console.print(table)
    console.print(str(result), highlight=False)


app.command(name="tune")(tune_command)
app.command(name="inspect")(inspect_command)


@app.command()
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


def main() -> None:
    """
    Run the command line.

    Exit codes are 0, 1 for a job that failed, and 2 for wrong use.
    """
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
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
