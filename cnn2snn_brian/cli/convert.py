"""The command ``convert``: make a spiking network of a trained CNN."""

import importlib
import math
import sys
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn2snn_brian.cli.inspect import read_nir
from cnn2snn_brian.cli.shared import (
    check_at_least,
    check_out,
    console,
    numbers_by_layer,
    numbers_in,
)
from cnn2snn_brian.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from cnn2snn_brian.network import SpikingNetwork


# The description of a network has the same names. It takes seconds to import; a test
# says that they agree.


class ResetRule(str, Enum):
    """What a spike does to its neuron."""

    zero = "zero"
    subtract = "subtract"


class InputEncoding(str, Enum):
    """What an image is turned into."""

    poisson = "poisson"
    current = "current"


class PresetName(str, Enum):
    """Settings that belong together."""

    paper = "paper"
    free_floor = "free-floor"
    few_steps = "few-steps"


class MaxPooling(str, Enum):
    """What maximum pooling becomes."""

    gate = "gate"
    largest_count = "largest-count"


#: Options that go with --from-nir.
OF_NIR = ("reset", "encoding", "v_min", "v_init", "rate_scale")


@dataclass(frozen=True)
class _Trained:
    """A trained CNN and what is known of it."""

    module: "nn.Module"
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...] | None = None


def _imported(reference: str) -> "nn.Module":
    """Call ``package.module:function``, which makes a CNN."""
    name, _, attribute = reference.partition(":")
    sys.path.insert(0, "")
    try:
        make = getattr(importlib.import_module(name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--module {reference!r}: expected package.module:function ({error})"
        ) from error
    from torch import nn

    try:
        module = make()
    except Exception as error:
        raise InputError(
            f"--module {reference!r}: it raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"--module {reference!r}: it returned {module!r}, not an nn.Module"
        )
    return module


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(size) for size in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"--input-shape {text!r}: expected channels,height,width"
        ) from error
    return channels, height, width


def _check_source(
    architecture: str | None,
    module: str | None,
    weights: Path | None,
    input_shape: str | None,
) -> None:
    """Check that the options say which CNN."""
    if architecture is not None and (module is not None or weights is not None):
        raise typer.BadParameter(
            "--architecture excludes --module and --weights: it has its weights"
        )
    if architecture is None and module is None and weights is None:
        raise typer.BadParameter(
            "say which CNN: --architecture, --weights, or --module with --weights; or "
            "give a NIR graph with --from-nir"
        )
    if module is not None and input_shape is None:
        raise typer.BadParameter("--module needs --input-shape channels,height,width")


def _trained(
    architecture: str | None,
    module: str | None,
    weights: Path | None,
    input_shape: str | None,
) -> _Trained:
    """Make the CNN that the options name, with its weights."""
    from cnn2snn_brian import models
    from cnn2snn_brian.cnn import load_state, load_weights, read_card

    if module is not None:
        assert input_shape is not None
        shape = _shape(input_shape)
        cnn = _imported(module)
        if weights is not None:
            load_state(cnn, weights)
        else:
            console.print(f"no --weights: those that {module} gives are converted")
        return _Trained(cnn.eval(), shape)
    if weights is not None:
        card = read_card(weights)
        cnn = models.create(card.architecture, len(card.classes))
        load_weights(cnn, weights)
    else:
        assert architecture is not None
        cnn, card = models.pretrained(architecture)
    return _Trained(cnn.eval(), card.input_shape, card.classes)


def _normalization(mean: str | None, std: str | None) -> tuple[Any, Any] | None:
    """Put together what the CNN's images were normalized with."""
    if (mean is None) != (std is None):
        raise typer.BadParameter("--mean and --std belong together")
    if mean is None or std is None:
        return None
    return numbers_in(mean, "--mean"), numbers_in(std, "--std")


def _save(snn: "SpikingNetwork", out: Path) -> None:
    """Write a network, and show it."""
    snn.save(out)
    console.print(str(snn), highlight=False)
    console.print(f"written: {out}")


def _named(snn: "SpikingNetwork", names: tuple[str, ...]) -> "SpikingNetwork":
    """Give a network without class names those of the images, if they are as many."""
    if snn.classes is not None:
        return snn
    n_outputs = math.prod(snn.layers[-1].shape)
    if len(names) == n_outputs:
        return replace(snn, classes=names)
    console.print(
        f"the classes stay without names: {n_outputs} outputs, but {len(names)} "
        "class folders"
    )
    return snn


def _given_for_nir(context: typer.Context) -> dict[str, Any]:
    """Take the options that say something of a network that is read, and no others."""
    given = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name in ("out", "from_nir") or source is None or source.name == "DEFAULT":
            continue
        if name not in OF_NIR:
            option = f"--{name.replace('_', '-')}"
            known = ", ".join(f"--{what.replace('_', '-')}" for what in OF_NIR)
            raise typer.BadParameter(
                f"--from-nir excludes {option}; it goes with {known}"
            )
        given[name] = value.value if isinstance(value, Enum) else value
    return given


def convert_command(
    context: typer.Context,
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
    mean: Annotated[
        str | None,
        typer.Option(
            help="What the CNN's images were normalized with: a number for each "
            "channel, as in 0.49,0.48,0.45; with --std."
        ),
    ] = None,
    std: Annotated[str | None, typer.Option(help="See --mean.")] = None,
    from_nir: Annotated[
        Path | None,
        typer.Option(help="A NIR graph instead of a CNN: its neurons and thresholds."),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Training images that thresholds are computed from: digits, "
            "cifar10 or a folder, as in `train`."
        ),
    ] = None,
    n_calibration: Annotated[
        int, typer.Option(help="Number of calibration images.")
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
        typer.Option(help="An image is Poisson spikes, or a constant current."),
    ] = None,
    max_pooling: Annotated[
        MaxPooling | None,
        typer.Option(help="Which spikes of a window pass; by default it is refused."),
    ] = None,
    rate_scale: Annotated[
        float, typer.Option(help="Spikes per step of the brightest pixel.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draw of images.")] = 0,
) -> None:
    """Convert a trained CNN: one file with layers, weights, thresholds and settings."""
    if from_nir is not None:
        given = _given_for_nir(context)
        check_out(out)
        _save(read_nir(from_nir, given), out)
        return
    _check_source(architecture, module, weights, input_shape)
    normalize = _normalization(mean, std)
    check_out(out)
    check_at_least("--seed", seed, 0)
    check_at_least("--n-calibration", n_calibration, 1)
    thresholds = numbers_by_layer(threshold, "--threshold")
    import numpy as np

    from cnn2snn_brian.conversion import convert
    from cnn2snn_brian.data import load_training_images

    trained = _trained(architecture, module, weights, input_shape)
    images, training = None, None
    if calibration is not None:
        training = load_training_images(calibration, trained.input_shape)
        n = min(n_calibration, len(training))
        drawn = np.random.default_rng(seed).choice(len(training), n, replace=False)
        images = training.images[np.sort(drawn)]
    snn = convert(
        trained.module,
        trained.input_shape,
        thresholds=thresholds,
        calibration=images,
        normalize=normalize,
        preset=preset.value,
        percentile=percentile,
        v_min=v_min,
        leak=leak,
        v_init=v_init,
        reset=reset and reset.value,
        encoding=encoding and encoding.value,
        max_pooling=None if max_pooling is None else max_pooling.value,
        rate_scale=rate_scale,
        classes=trained.classes,
    )
    if training is not None:
        snn = _named(snn, training.classes)
    _save(snn, out)
