"""The command ``train``: train one of the package's CNNs."""

import importlib.metadata
import shlex
import sys
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, BadParameter, Context, Option

import cnn2snn_brian as c2s
from cnn2snn_brian.cli import shared
from cnn2snn_brian.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from cnn2snn_brian.cnn import ModelCard
    from cnn2snn_brian.data import LabelledImages


#: Images that the ceilings of a quantized CNN start from.
N_CALIBRATION = 256


def _loaded(
    option: str,
    weights: Path,
    images: "LabelledImages",
    like: str | None = None,
) -> "tuple[nn.Module, ModelCard]":
    """
    Load a trained CNN, and check that it is one for these images.

    Its weights may go on as those of another CNN, `like`, if they fit.
    """
    module, card = shared.load_trained(weights)
    found = card.architecture, len(card.classes), card.input_shape
    expected = like or found[0], len(images.classes), images.input_shape
    if found[1:] == expected[1:] and found != expected:
        other = c2s.models.create(expected[0], len(images.classes))
        before, after = module.state_dict(), other.state_dict()
        shapes = [[(k, v.shape) for k, v in own.items()] for own in (before, after)]
        if shapes[0] == shapes[1]:
            other.load_state_dict(before)
            module, found = other, expected
    if found != expected:
        text = "{} with {} classes and images of shape {}"
        raise InputError(
            f"{option} {weights}: weights of {text.format(*found)}, expected "
            f"{text.format(*expected)}"
        )
    return module, card


def _started(
    architecture: str,
    training: "LabelledImages",
    start: Path | None,
    activation: str | None,
    steps: int | None,
) -> tuple["nn.Module", int | None]:
    """Make the CNN that is trained; say the steps of its activation, if quantized."""
    had = None
    if start is None:
        module: nn.Module = c2s.models.create(architecture, len(training.classes))
    else:
        module, card = _loaded("--from", start, training, like=architecture)
        had = card.quantized_steps
        if had is not None and activation == "relu":
            raise InputError(
                f"--from {start}: a quantized CNN; its ReLU can't be had back"
            )
    if steps is None:
        return module, had
    # Without trained weights, activations say nothing of where they will end.
    # They are ordered by class: take some of all.
    some = training.images[:: max(1, len(training) // N_CALIBRATION)]
    images = None if start is None or had else some
    return c2s.adjust(module, "quantized", steps=steps, images=images).module, steps


def train_command(
    context: Context,
    architecture: Annotated[shared.Architecture, Argument()],
    data: Annotated[str, shared.DATA],
    out: Annotated[Path, shared.output(suffix=".safetensors")],
    *,
    epochs: int = 40,
    optimizer: Literal["sgd", "adamw"] = "sgd",
    learning_rate: float = 0.05,
    batch_size: int = 128,
    weight_decay: float = 5e-4,
    flip: Annotated[bool, Option("--flip")] = False,
    shift: int = 0,
    cutout: int = 0,
    trivial_augment: Annotated[bool, Option("--trivial-augment")] = False,
    label_smoothing: float = 0.0,
    teacher: list[Path] | None = None,
    distillation: float = 0.9,
    temperature: float = 4.0,
    clip_norm: float = float("inf"),
    average: float = 0.0,
    bfloat16: Annotated[bool, Option("--bfloat16")] = False,
    start: Annotated[Path | None, Option("--from")] = None,
    activation: Literal["relu", "quantized"] | None = None,
    steps: Annotated[int | None, Option(min=1)] = None,
    seed: shared.Seed = 0,
    resume: Annotated[bool, Option("--resume")] = False,
) -> None:
    """
    Train one of the package's CNNs.

    Parameters
    ----------
    architecture
        The CNN.
    data
        Of class folders, a tenth is for testing.
    out
        File for the weights (.safetensors); a model card (.json) and the checkpoint are
        written next to it.
    epochs
        Passes over the images.
    optimizer
        SGD has Nesterov momentum 0.9.
    learning_rate
        Peak of the one-cycle schedule.
    batch_size
        Images of a step.
    weight_decay
        Decay of the weights.
    flip
        Mirror half of the images.
    shift
        Shift images by up to this many pixels.
    cutout
        Side of a grey square put on each image.
    trivial_augment
        Change each image by a random operation.
    label_smoothing
        Share of the target spread over all classes.
    teacher
        Weights of a trained CNN; its outputs are soft targets. Several: their mean.
    distillation
        With a teacher: share of its targets.
    temperature
        With a teacher: softness of its targets.
    clip_norm
        Largest norm of a step's gradient.
    average
        Decay of a running mean of the weights; it is kept.
    bfloat16
        Compute in 16 bits: faster.
    start
        Weights of this CNN that the training goes on from.
    activation
        quantized: one for few steps of spikes, in place of ReLU; with --steps. By
        default what --from has, or relu.
    steps
        Steps of the quantized activation.
    seed
        Seed of everything random.
    resume
        Go on from the checkpoint.
    """
    if (activation == "quantized") != (steps is not None):
        raise BadParameter("--activation quantized and --steps belong together")
    from cnn2snn_brian.cnn import ModelCard, save_weights

    shape = c2s.models.INPUT_SHAPES[architecture]
    # Each setting is an option of the same name.
    names = [item.name for item in fields(c2s.train.TrainingSettings)]
    settings = c2s.train.TrainingSettings(**{n: context.params[n] for n in names})
    shared.say(f"Reading {data} ...")
    training, test = c2s.data.load_data(data, shape)
    if training.input_shape != shape:
        raise InputError(
            f"--data {data}: images of shape {training.input_shape}, {architecture} "
            f"takes {shape}"
        )
    module, quantized_steps = _started(architecture, training, start, activation, steps)
    taught_by = None
    if teacher:
        teachers = (_loaded("--teacher", path, training)[0] for path in teacher)
        taught_by = c2s.train.MeanOutputs(teachers)
    checkpoint = out.with_suffix(".checkpoint")
    c2s.train.train(
        module,
        training,
        settings,
        teacher=taught_by,
        checkpoint=checkpoint,
        resume=resume,
        fresh=start is None,
    )
    share = c2s.train.accuracy(module, test)
    card = ModelCard(
        architecture=architecture,
        input_shape=shape,
        classes=training.classes,
        data=data,
        command=shlex.join([shared.PROGRAM, *sys.argv[1:]]),
        test_accuracy=share,
        n_test=len(test),
        date=datetime.now(timezone.utc).date().isoformat(),
        versions={"torch": importlib.metadata.version("torch")},
        quantized_steps=quantized_steps,
    )
    save_weights(out, module, card)
    checkpoint.unlink(missing_ok=True)
    shared.say(f"accuracy on {len(test)} test images: {share:.2%}")
    shared.say(f"weights: {out}")
