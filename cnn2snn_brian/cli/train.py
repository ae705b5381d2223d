"""The command ``train``: train one of the package's CNNs."""

import importlib.metadata
import shlex
import sys
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn2snn_brian.cli.shared import (
    DATA_HELP,
    PROGRAM,
    Seed,
    check_at_least,
    check_out,
    console,
)
from cnn2snn_brian.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from cnn2snn_brian.data import LabelledImages


#: Images that the ceilings of a quantized CNN start from.
N_CALIBRATION = 256


class Optimizer(str, Enum):
    """Optimizers of `TrainingSettings`."""

    sgd = "sgd"
    adamw = "adamw"


class Activation(str, Enum):
    """Activations of `adjust`."""

    relu = "relu"
    quantized = "quantized"


def _teacher(weights: Path, n_classes: int, shape: tuple[int, int, int]) -> "nn.Module":
    """Load a trained CNN, and check that it can teach with these images."""
    from cnn2snn_brian import models
    from cnn2snn_brian.cnn import load_weights, read_card

    card = read_card(weights)
    if (len(card.classes), card.input_shape) != (n_classes, shape):
        raise InputError(
            f"--teacher {weights}: a CNN of {len(card.classes)} classes and images of "
            f"shape {card.input_shape}, expected {n_classes} and {shape}"
        )
    module = models.create(card.architecture, n_classes)
    load_weights(module, weights)
    return module


def _check_activation(activation: Activation | None, steps: int | None) -> None:
    """Check that the options fit together."""
    if (activation is Activation.quantized) != (steps is not None):
        raise typer.BadParameter("--activation quantized and --steps belong together")
    if steps is not None:
        check_at_least("--steps", steps, 1)


def _started(
    architecture: str,
    training: "LabelledImages",
    start: Path | None,
    activation: Activation | None,
    steps: int | None,
) -> tuple["nn.Module", int | None]:
    """Make the CNN that is trained; say the steps of its activation, if quantized."""
    from cnn2snn_brian import models
    from cnn2snn_brian.cnn import adjust, load_weights, read_card

    n_classes = len(training.classes)
    module: nn.Module = models.create(architecture, n_classes)
    had = None
    if start is not None:
        card = read_card(start)
        found = (card.architecture, len(card.classes))
        if found != (architecture, n_classes):
            raise InputError(
                f"--from {start}: weights of {found[0]} with {found[1]} classes, "
                f"expected {architecture} with {n_classes}"
            )
        had = card.quantized_steps
        if had is not None and activation is Activation.relu:
            raise InputError(
                f"--from {start}: a quantized CNN; its ReLU can't be had back"
            )
        load_weights(module, start)
    if steps is None:
        return module, had
    # Without trained weights, activations say nothing of where they will end.
    # They are ordered by class: take some of all.
    some = training.images[:: max(1, len(training) // N_CALIBRATION)]
    images = None if start is None or had else some
    return adjust(module, "quantized", steps=steps, images=images).module, steps


def train_command(
    architecture: Annotated[
        str,
        typer.Argument(
            help="cifar10_quick, cifar10_quick_adjusted, digits, resnet20 or vgg."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help=f"{DATA_HELP} Of class folders, a tenth is for testing."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File for the weights (.safetensors); a model card (.json) and the "
            "checkpoint are written beside it."
        ),
    ],
    *,
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 40,
    optimizer: Annotated[
        Optimizer, typer.Option(help="SGD has Nesterov momentum 0.9.")
    ] = Optimizer.sgd,
    learning_rate: Annotated[
        float, typer.Option(help="Peak of the one-cycle schedule.")
    ] = 0.05,
    batch_size: Annotated[int, typer.Option(help="Images of a step.")] = 128,
    weight_decay: Annotated[float, typer.Option(help="Decay of the weights.")] = 5e-4,
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror half of the images.")
    ] = False,
    shift: Annotated[
        int, typer.Option(help="Shift images by up to this many pixels.")
    ] = 0,
    cutout: Annotated[
        int, typer.Option(help="Side of a grey square put on each image.")
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
    average: Annotated[
        float,
        typer.Option(help="Decay of a running mean of the weights; it is kept."),
    ] = 0.0,
    bfloat16: Annotated[
        bool,
        typer.Option("--bfloat16", help="Compute in 16 bits: faster."),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Weights of this CNN that the training goes on from."
        ),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(
            help="quantized: one for few steps of spikes, in place of ReLU; with "
            "--steps. By default what --from has, or relu."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the quantized activation.")
    ] = None,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint.")
    ] = False,
) -> None:
    """Train one of the package's CNNs."""
    _check_activation(activation, steps)
    from cnn2snn_brian import models
    from cnn2snn_brian.cnn import ModelCard, save_weights
    from cnn2snn_brian.data import load_data
    from cnn2snn_brian.train import TrainingSettings, accuracy, train

    models.create(architecture)  # an unknown name is refused before the data are read
    check_out(out, ".safetensors")
    shape = models.INPUT_SHAPES[architecture]
    settings = TrainingSettings(
        epochs=epochs,
        optimizer=optimizer.value,
        learning_rate=learning_rate,
        batch_size=batch_size,
        weight_decay=weight_decay,
        flip=flip,
        shift=shift,
        cutout=cutout,
        label_smoothing=label_smoothing,
        distillation=distillation,
        temperature=temperature,
        clip_norm=clip_norm,
        average=average,
        bfloat16=bfloat16,
        seed=seed,
    )
    console.print(f"Reading {data} ...")
    training, test = load_data(data, shape)
    if training.input_shape != shape:
        raise InputError(
            f"--data {data}: images of shape {training.input_shape}, {architecture} "
            f"takes {shape}"
        )
    n_classes = len(training.classes)
    module, quantized_steps = _started(architecture, training, start, activation, steps)
    checkpoint = out.with_suffix(".checkpoint")
    train(
        module,
        training,
        settings,
        teacher=None if teacher is None else _teacher(teacher, n_classes, shape),
        checkpoint=checkpoint,
        resume=resume,
        fresh=start is None,
    )
    share = accuracy(module, test)
    card = ModelCard(
        architecture=architecture,
        input_shape=shape,
        classes=training.classes,
        data=data,
        command=shlex.join([PROGRAM, *sys.argv[1:]]),
        test_accuracy=share,
        n_test=len(test),
        date=datetime.now(timezone.utc).date().isoformat(),
        versions={"torch": importlib.metadata.version("torch")},
        quantized_steps=quantized_steps,
    )
    save_weights(out, module, card)
    checkpoint.unlink(missing_ok=True)
    console.print(f"accuracy on {len(test)} test images: {share:.2%}")
    console.print(f"weights: {out}")
