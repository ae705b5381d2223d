"""The command ``export``, and networks of other programs for ``convert``."""

import warnings
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn2snn_brian.cli.shared import NetworkFile, check_out, console

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

__all__ = ["export_command", "read_nir"]


class NirPooling(str, Enum):
    """How average pooling without neurons is written."""

    depthwise = "depthwise"
    avg = "avg"
    sum = "sum"


class NirResistance(str, Enum):
    """What a step of an IF node adds."""

    step = "step"
    second = "second"


def export_command(
    network: NetworkFile,
    out: Annotated[Path, typer.Argument(help="File for the graph, NAME.nir.")],
    *,
    pooling: Annotated[
        NirPooling,
        typer.Option(help="Average pooling as Conv2d, AvgPool2d or SumPool2d nodes."),
    ] = NirPooling.depthwise,
    strict: Annotated[
        bool,
        typer.Option(help="Thresholds for neurons that spike only above them."),
    ] = True,
    resistance: Annotated[
        NirResistance,
        typer.Option(help="A step adds the input (r = 1), or input times dt (1/dt)."),
    ] = NirResistance.step,
    metadata: Annotated[
        bool, typer.Option(help="Keep what NIR can't say, for `convert --from-nir`.")
    ] = True,
) -> None:
    """
    Write a network as a NIR graph, for other simulators.

    Example: cnn2snn-brian export digits.snn digits.nir
    """
    check_out(out, ".nir")
    from cnn2snn_brian.extras import optional_library
    from cnn2snn_brian.files import written_from_memory
    from cnn2snn_brian.network import SpikingNetwork

    nir = optional_library("nir", "nir", "The command export")
    graph = SpikingNetwork.load(network).to_nir(
        pooling=pooling.value,
        strict=strict,
        resistance=resistance.value,
        metadata=metadata,
    )
    with written_from_memory(out) as image:
        nir.write(image, graph)
    console.print(f"{len(graph.nodes)} nodes, {len(graph.edges)} edges")
    console.print(f"written: {out}")


def read_nir(path: Path, given: dict[str, Any]) -> "SpikingNetwork":
    """
    Read a network from a NIR graph, and say what is assumed.

    Parameters
    ----------
    path : Path
        The file.
    given : dict of str to object
        Arguments of `from_nir`.

    Returns
    -------
    SpikingNetwork
        The network.
    """
    from cnn2snn_brian.foreign import from_nir

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        snn = from_nir(path, **given)
    for warning in said:
        if warning.category is UserWarning:
            console.print(str(warning.message), highlight=False)
    return snn
