"""The command ``inspect``: write the inspector's page of a result or a network."""

import warnings
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn2snn_brian.cli.run import (
    Repeats,
    StimulusFiles,
    check_only_images,
    loaded,
    longest,
)
from cnn2snn_brian.cli.shared import (
    DATA_HELP,
    NetworkFile,
    check_at_least,
    check_out,
    console,
)
from cnn2snn_brian.errors import InputError

if TYPE_CHECKING:
    from cnn2snn_brian.data import LabelledImages
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.results import SimulationResult


#: Images that are simulated unless the user says how many.
N_IMAGES = 5


def _loaded(
    source: Path, network: Path | None, *, has_images: bool
) -> tuple["SimulationResult | None", "SpikingNetwork | None"]:
    """Load a result and the network that belongs to it, or a network."""
    import h5py

    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.results import SimulationResult

    if source.is_file() and h5py.is_hdf5(source):
        result = SimulationResult.load(source)
        snn = None if network is None else SpikingNetwork.load(network)
        if snn is not None and snn.layers.shapes != result.shapes:
            raise InputError(
                f"{network}: not the network of {source}: its layers differ"
            )
        return result, snn
    if network is not None:
        raise typer.BadParameter(
            f"--network goes with a result (.h5), which {source} is not"
        )
    snn = SpikingNetwork.load(source)
    if not has_images:
        raise typer.BadParameter(
            "a network needs images or stimuli: --data digits, cifar10 or a folder, or "
            "--stimulus movie.npz"
        )
    return None, snn


def _simulated(
    snn: "SpikingNetwork",
    shown: Any,
    duration: float | None,
    seed: int,
    repeats: int,
    *,
    are_stimuli: bool,
) -> "SimulationResult":
    from brian2 import ms

    if duration is None:
        duration = longest(snn, shown) if are_stimuli else 100.0
    with snn.compile(duration * ms) as simulator:
        return simulator.run(
            shown, seed=seed, record=simulator.populations, repeats=repeats
        )


def _class_names(
    result: "SimulationResult",
    snn: "SpikingNetwork | None",
    test: "LabelledImages | None",
) -> tuple[str, ...] | None:
    """Take the network's names of the classes, or those of the images if they fit."""
    known = result.network.get("classes") if snn is None else snn.classes
    if known is not None:
        return tuple(known)
    n_outputs = result.output_potentials.shape[1]
    fits = test is not None and len(test.classes) == n_outputs
    return test.classes if test is not None and fits else None


def inspect_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A result (.h5) that `run --save` or SimulationResult.save wrote, or "
            "a network that `convert` wrote."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("inspector.html"),
    data: Annotated[
        str | None,
        typer.Option(
            help=f"{DATA_HELP} Only test images are shown, as in `run`. With a result: "
            "the images that it is of."
        ),
    ] = None,
    stimulus: StimulusFiles = None,
    repeats: Repeats = 1,
    whole: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Show all of a folder of class folders: none was trained with.",
        ),
    ] = False,
    n: Annotated[
        int | None,
        typer.Option(
            help="So many images, drawn at random: 5 of a network; of a result as "
            "many as in its run."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of spikes and of the draw; a result has its own."),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            help="With a network: time of an image in ms, 100 by default; of stimuli "
            "the longest."
        ),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(help="With a result: its network, to show the CNN's activations."),
    ] = None,
    picture: Annotated[
        list[int] | None,
        typer.Option(help="Index of an image to look into; repeatable."),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer to look into; repeatable.")
    ] = None,
) -> None:
    """
    Write one HTML file with rasters and feature maps, to look into with a browser.
    """
    # All that is cheap to check comes before a simulation.
    check_out(out)
    check_at_least("--seed", seed, 0)
    from cnn2snn_brian.checks import optional_library
    from cnn2snn_brian.data import load_test_images
    from cnn2snn_brian.projections import INPUT

    optional_library("bokeh", "inspector", "The inspector")
    result, snn = _loaded(source, network, has_images=bool(data or stimulus))
    if data is not None or repeats != 1:
        options: dict[str, object] = {"--n": n is not None, "--all": whole}
        check_only_images(data, stimulus, repeats, options)
    stimuli = loaded(stimulus) if stimulus else None
    if result is None:
        n = N_IMAGES if n is None else n
    elif seed is None:
        seed = result.seed
    seed = seed or 0
    test = None
    if data is not None:
        known = snn.layers.shapes if snn is not None else result.shapes  # type: ignore[union-attr]
        channels, height, width = known[INPUT]
        classes = None if snn is None else snn.classes
        shape = channels, height, width
        test = load_test_images(data, shape, n, seed, classes, whole=whole)
        if result is not None and len(test) != result.n_images:
            raise InputError(
                f"--data has {len(test)} images, {source} is of {result.n_images}; "
                "give --n, --seed and --all as in its run"
            )
    if result is None:
        assert snn is not None
        shown = stimuli if test is None else test.images
        result = _simulated(
            snn, shown, duration, seed, repeats, are_stimuli=test is None
        )
    written = result.inspect(
        out,
        images=None if test is None else test.images,
        labels=None if test is None else test.labels,
        cnn=None if test is None else snn,
        classes=_class_names(result, snn, test),
        pictures=picture,
        layers=layer,
        stimuli=stimuli,
        title=f"Spikes of {source.name}",
    )
    console.print(str(result), highlight=False)
    size = written.stat().st_size / 1e6
    console.print(f"written: {written} ({size:.1f} MB); open it with a browser")


class NirPooling(str, Enum):
    """How average pooling without neurons is written."""

    depthwise = "depthwise"
    avg = "avg"
    sum = "sum"


class NirResistance(str, Enum):
    """What a step of an IF node adds."""

    step = "step"
    second = "second"


class NirIntegration(str, Enum):
    """How the reader computes a step of LIF nodes."""

    exact = "exact"
    euler = "euler"


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
    integration: Annotated[
        NirIntegration,
        typer.Option(help="How the reader computes a step of LIF nodes."),
    ] = NirIntegration.exact,
    metadata: Annotated[
        bool, typer.Option(help="Keep what NIR can't say, for `convert --from-nir`.")
    ] = True,
) -> None:
    """Write a network as a NIR graph, for other simulators."""
    check_out(out, ".nir")
    from cnn2snn_brian.checks import optional_library
    from cnn2snn_brian.files import written_from_memory
    from cnn2snn_brian.network import SpikingNetwork

    nir = optional_library("nir", "nir", "The command export")
    graph = SpikingNetwork.load(network).to_nir(
        pooling=pooling.value,
        strict=strict,
        resistance=resistance.value,
        integration=integration.value,
        metadata=metadata,
    )
    with written_from_memory(out) as image:
        nir.write(image, graph)
    console.print(f"{len(graph.nodes)} nodes, {len(graph.edges)} edges")
    console.print(f"written: {out}")


def read_nir(path: Path, given: dict[str, Any]) -> "SpikingNetwork":
    """Read a network from a NIR graph, and say what is assumed."""
    from cnn2snn_brian.conversion import from_nir

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        snn = from_nir(path, **given)
    for warning in said:
        if warning.category is UserWarning:
            console.print(str(warning.message), highlight=False)
    return snn
