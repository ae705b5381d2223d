"""The commands ``convert`` and ``export``: make a network, and write it for others."""

import importlib
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, BadParameter, Context

import cnn2snn_brian as c2s
from cnn2snn_brian.cli import shared
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_from_memory

if TYPE_CHECKING:
    from torch import nn

#: Options that go with --from-nir.
OF_NIR = ("reset", "encoding", "v_min", "v_init", "rate_scale")
#: Options of `to_nir`.
OF_GRAPH = ("pooling", "strict", "resistance", "integration", "metadata")
#: Options that `convert` takes as they are.
OF_CNN = (
    *(*OF_NIR, "preset", "percentile", "leak"),
    *("max_pooling", "negative", "compose", "input"),
)


def _imported(reference: str) -> "nn.Module":
    """Call ``package.module:function``, which makes a CNN."""
    where = f"--module {reference!r}"
    name, _, attribute = reference.partition(":")
    sys.path.insert(0, "")
    try:
        make = getattr(importlib.import_module(name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        rule = "expected package.module:function"
        raise InputError(f"{where}: {rule} ({error})") from error
    from torch import nn

    try:
        module = make()
    except Exception as error:
        found = f"it raised {type(error).__name__}: {error}"
        raise InputError(f"{where}: {found}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{where}: it returned {module!r}, not an nn.Module")
    return module


def _numbers(
    text: str | None, option: str, kind: Callable[[str], Any] = float
) -> tuple[Any, ...]:
    """Read numbers with commas between them."""
    try:
        return tuple(kind(part) for part in (text or "").split(","))
    except ValueError as error:
        rule = "expected numbers with commas between them"
        raise InputError(f"{option} {text!r}: {rule}") from error


def _trained(
    architecture: str | None,
    module: str | None,
    weights: Path | None,
    input_shape: str | None,
) -> tuple["nn.Module", tuple[Any, ...], tuple[str, ...] | None]:
    """Make the CNN that the options name; its input's shape and classes."""
    if architecture is not None and (module is not None or weights is not None):
        raise BadParameter(
            "--architecture excludes --module and --weights: it has its weights"
        )
    if module is not None and input_shape is None:
        raise BadParameter("--module needs --input-shape channels,height,width")
    from cnn2snn_brian.cnn import load_state

    if module is not None:
        shape = _numbers(input_shape, "--input-shape", int)
        cnn = _imported(module)
        if weights is None:
            shared.say(f"no --weights: those that {module} gives are converted")
        else:
            load_state(cnn, weights)
        return cnn, shape, None
    if weights is not None:
        cnn, card = shared.load_trained(weights)
    elif architecture is not None:
        cnn, card = c2s.models.pretrained(architecture)
    else:
        raise BadParameter(
            "say which CNN: --architecture, --weights, or --module with --weights; or "
            "give a NIR graph with --from-nir"
        )
    return cnn, card.input_shape, card.classes


def _named(snn: "c2s.SpikingNetwork", names: tuple[str, ...]) -> "c2s.SpikingNetwork":
    """Give a network without class names those of the images, if they are as many."""
    if snn.classes is not None:
        return snn
    n_outputs = math.prod(snn.layers[-1].shape)
    if len(names) == n_outputs:
        return replace(snn, classes=names)
    found = f"{n_outputs} outputs, but {len(names)} class folders"
    shared.say(f"the classes stay without names: {found}")
    return snn


def _read_nir(path: Path, context: Context) -> "c2s.SpikingNetwork":
    """Read a network from a NIR graph, and say what is assumed."""
    given = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"
        and name not in ("out", "from_nir")
    }
    for name in given.keys() - OF_NIR:
        known = ", ".join(f"--{what.replace('_', '-')}" for what in OF_NIR)
        raise BadParameter(
            f"--from-nir excludes --{name.replace('_', '-')}; it goes with {known}"
        )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        snn = c2s.from_nir(path, **given)
    for warning in said:
        if warning.category is UserWarning:
            shared.say(warning.message)
    return snn


def convert_command(
    context: Context,
    out: Annotated[Path, shared.output(Argument)],
    *,
    architecture: shared.Architecture | None = None,
    module: str | None = None,
    weights: Path | None = None,
    input_shape: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    from_nir: Path | None = None,
    calibration: str | None = None,
    n_calibration: shared.AtLeastOne = 200,
    preset: Literal["paper", "free-floor", "few-steps", "bursts"] = "paper",
    percentile: float | None = None,
    threshold: shared.Thresholds = None,
    v_min: float | None = None,
    leak: float = 0.0,
    v_init: float | None = None,
    reset: Literal["zero", "subtract"] | None = None,
    encoding: Literal["poisson", "current"] | None = None,
    max_pooling: Literal["gate", "largest-count"] | None = None,
    negative: Literal["on-off", "refuse"] = "on-off",
    compose: float = 2.0,
    input: Literal["pixels", "on-off"] = "pixels",
    rate_scale: float = 1.0,
    seed: shared.Seed = 0,
) -> None:
    """
    Convert a trained CNN: one file with layers, weights, thresholds and settings.

    Parameters
    ----------
    out
        File for the converted network.
    architecture
        A CNN of the package, with its trained weights.
    module
        Your own CNN: package.module:function that makes it.
    weights
        A weights file: of `train`, or of your own CNN (.safetensors, or what torch.save
        wrote of its state_dict).
    input_shape
        With --module: channels,height,width.
    mean
        What the CNN's images were normalized with: a number for each channel, as in
        0.49,0.48,0.45; with --std.
    std
        See --mean.
    from_nir
        A NIR graph instead of a CNN: its neurons and thresholds.
    calibration
        Training images that thresholds are computed from: digits, cifar10 or a folder,
        as in `train`.
    n_calibration
        Number of calibration images.
    preset
        Settings that hold where no other is given.
    percentile
        Percentile of activations that counts as largest.
    v_min
        Floor of the potential.
    leak
        Constant input of each step.
    v_init
        Potential at the start, as a share of v_th.
    reset
        A spike sets the potential to 0, or takes v_th from it.
    encoding
        An image is Poisson spikes, or a constant current.
    max_pooling
        Which spikes of a window pass; by default it is refused.
    negative
        Values below 0 are said by OFF cells, or refused.
    compose
        Two maps are one up to so many times the synapses of ON and OFF cells.
    input
        Pixels, or how far they are above and below --mean.
    rate_scale
        Spikes per step of the brightest pixel.
    seed
        Seed of the draw of images.
    """
    if from_nir is not None:
        snn = _read_nir(from_nir, context)
        snn.save(out)
        shared.say_written(snn, out)
        return
    if (mean is None) != (std is None):
        raise BadParameter("--mean and --std belong together")
    normalize = None
    if mean is not None:
        normalize = _numbers(mean, "--mean"), _numbers(std, "--std")
    thresholds = shared.numbers_by_layer(threshold)
    cnn, shape, classes = _trained(architecture, module, weights, input_shape)
    how = {name: context.params[name] for name in OF_CNN}
    how |= {"thresholds": thresholds, "normalize": normalize, "classes": classes}
    if calibration is None:
        snn = c2s.convert(cnn.eval(), shape, **how)
    else:
        training = c2s.data.load_training_images(calibration, shape)
        drawn = training.drawn(min(n_calibration, len(training)), seed)
        snn = c2s.convert(cnn.eval(), shape, calibration=drawn.images, **how)
        snn = _named(snn, training.classes)
    snn.save(out)
    shared.say_written(snn, out)


def export_command(
    context: Context,
    network: shared.NetworkFile,
    out: Annotated[Path, shared.output(Argument, suffix=".nir")],
    *,
    pooling: Literal["depthwise", "avg", "sum"] = "depthwise",
    strict: bool = True,
    resistance: Literal["step", "second"] = "step",
    integration: Literal["exact", "euler"] = "exact",
    metadata: bool = True,
) -> None:
    """
    Write a network as a NIR graph, for other simulators.

    Parameters
    ----------
    out
        File for the graph, NAME.nir.
    pooling
        Average pooling as Conv2d, AvgPool2d or SumPool2d nodes.
    strict
        Thresholds for neurons that spike only above them.
    resistance
        A step adds the input (r = 1), or input times dt (1/dt).
    integration
        How the reader computes a step of LIF nodes.
    metadata
        Keep what NIR can't say, for `convert --from-nir`.
    """
    from cnn2snn_brian.checks import optional_library

    nir = optional_library("nir", "nir", "The command export")
    how = {name: context.params[name] for name in OF_GRAPH}
    graph = c2s.SpikingNetwork.load(network).to_nir(**how)
    with written_from_memory(out) as image:
        nir.write(image, graph)
    shared.say_written(f"{len(graph.nodes)} nodes, {len(graph.edges)} edges", out)
