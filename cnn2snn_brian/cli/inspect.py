"""The command ``cnn2snn-brian inspect``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layers.order import INPUT

if TYPE_CHECKING:
    from cnn2snn_brian.data import LabelledImages
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.results.result import SimulationResult

__all__ = ["inspect_command"]

#: Pictures that are simulated unless the user says how many.
N_PICTURES = 5

console = Console()


def _simulated(
    snn: "SpikingNetwork", test: "LabelledImages", duration: float, seed: int
) -> "SimulationResult":
    from brian2 import ms

    with snn.compile(duration * ms) as simulator:
        return simulator.run(test.images, seed=seed, record=simulator.populations)


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
            help="Pictures: digits or cifar10 (their test pictures), or a folder of "
            "class folders. With a result: the pictures that it is of."
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            help="So many pictures, drawn at random: 5 of a network; of a result as "
            "many as in its run."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of spikes and of the draw; a result has its own."),
    ] = None,
    duration: Annotated[
        float, typer.Option(help="With a network: time of a picture in ms.")
    ] = 100.0,
    network: Annotated[
        Path | None,
        typer.Option(help="With a result: its network, to show the CNN's activations."),
    ] = None,
    picture: Annotated[
        list[int] | None,
        typer.Option(help="Index of a picture to look into; repeatable."),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer to look into; repeatable.")
    ] = None,
) -> None:
    """
    Write one HTML file with rasters and feature maps, to look into with a browser.

    Example: cnn2snn-brian inspect digits.snn --data digits --n 3 --out digits.html
    """
    import h5py

    from cnn2snn_brian.data import load_test_pictures
    from cnn2snn_brian.extras import optional_library
    from cnn2snn_brian.files import check_folder
    from cnn2snn_brian.network import SpikingNetwork
    from cnn2snn_brian.results.result import SimulationResult

    # All that is cheap to check comes before a simulation.
    optional_library("bokeh", "inspector", "The inspector")
    check_folder(out)
    result: SimulationResult | None = None
    snn: SpikingNetwork | None = None
    if source.is_file() and h5py.is_hdf5(source):
        result = SimulationResult.load(source)
        snn = None if network is None else SpikingNetwork.load(network)
        if snn is not None and snn.layers.shapes != result.shapes:
            message = f"{network}: not the network of {source}: its layers differ"
            raise InputError(message)
        seed = result.seed if seed is None else seed
    else:
        if network is not None:
            message = f"--network goes with a result (.h5), which {source} is not"
            raise typer.BadParameter(message)
        snn = SpikingNetwork.load(source)
        if data is None:
            message = "a network needs pictures: --data digits, cifar10 or a folder"
            raise typer.BadParameter(message)
        n = N_PICTURES if n is None else n
    seed = seed or 0
    test = None
    if data is not None:
        known = snn.layers.shapes if snn is not None else result.shapes  # type: ignore[union-attr]
        channels, height, width = known[INPUT]
        classes = None if snn is None else snn.classes
        test = load_test_pictures(data, (channels, height, width), n, seed, classes)
        if result is not None and len(test) != result.n_images:
            message = (
                f"--data has {len(test)} pictures, {source} is of {result.n_images}; "
                "give --n and --seed as in its run"
            )
            raise InputError(message)
    if result is None:
        assert snn is not None
        assert test is not None
        result = _simulated(snn, test, duration, seed)
    classes = snn.classes if snn is not None else None
    if classes is None and test is not None:
        n_outputs = result.output_potentials.shape[1]
        classes = test.classes if len(test.classes) == n_outputs else None
    written = result.inspect(
        out,
        images=None if test is None else test.images,
        labels=None if test is None else test.labels,
        cnn=None if test is None else snn,
        classes=classes,
        pictures=picture,
        layers=layer,
        title=f"Spikes of {source.name}",
    )
    console.print(str(result), highlight=False)
    size = written.stat().st_size / 1e6
    console.print(f"written: {written} ({size:.1f} MB); open it with a browser")
