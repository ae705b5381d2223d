"""The command ``inspect``: write the inspector's page of a result or a network."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

import cnn2snn_brian as c2s
from cnn2snn_brian.cli import shared
from cnn2snn_brian.errors import InputError

#: Images that are simulated unless the user says how many.
N_IMAGES = 5


def inspect_command(
    source: Annotated[Path, Argument()],
    *,
    out: shared.OutFile = Path("inspector.html"),
    data: Annotated[str | None, shared.DATA] = None,
    stimulus: shared.StimulusFiles = None,
    repeats: shared.Repeats = 1,
    whole: shared.Whole = False,
    n: int | None = None,
    seed: Annotated[int | None, Option(min=0)] = None,
    duration: float | None = None,
    network: Path | None = None,
    picture: list[int] | None = None,
    layer: list[str] | None = None,
) -> None:
    """
    Write one HTML file with rasters and feature maps, to look into with a browser.

    Parameters
    ----------
    source
        A result (.h5) that `run --save` or SimulationResult.save wrote, or a network
        that `convert` wrote.
    out
        The HTML file.
    data
        Only test images are shown, as in `run`. With a result: the images that it is
        of.
    n
        How many images, drawn at random: 5 of a network; of a result as many as in its
        run.
    seed
        Seed of spikes and of the draw; a result has its own.
    duration
        With a network: time of an image in ms, 100 by default; of stimuli the longest.
    network
        With a result: its network, to show the CNN's activations.
    picture
        Index of an image to look into; repeatable.
    layer
        A layer to look into; repeatable.
    """
    import h5py

    from cnn2snn_brian.checks import optional_library
    from cnn2snn_brian.projections import INPUT

    # All that is cheap to check comes before a simulation.
    optional_library("bokeh", "inspector", "The inspector")
    if data or stimulus or repeats != 1:
        shared.check_shown(data, stimulus, repeats, n, whole=whole)
    stimuli, test = shared.load_stimuli(stimulus), None
    if source.is_file() and h5py.is_hdf5(source):
        result = c2s.SimulationResult.load(source)
        snn = None if network is None else c2s.SpikingNetwork.load(network)
        if snn is not None and snn.layers.shapes != result.shapes:
            raise InputError(f"{network}: not that of {source}: its layers differ")
        classes = result.network.get("classes") if snn is None else snn.classes
        seed = result.seed if seed is None else seed
        if data is not None:
            shape, known = result.shapes[INPUT], None if snn is None else classes
            test = c2s.data.load_test_images(data, shape, n, seed, known, whole=whole)
            if len(test) != result.n_images:
                raise InputError(
                    f"--data has {len(test)} images, {source} is of {result.n_images}; "
                    "give --n, --seed and --all as in its run"
                )
    elif network is not None:
        raise BadParameter(f"--network goes with a result (.h5), which {source} is not")
    else:
        snn = c2s.SpikingNetwork.load(source)
        if not (data or stimulus):
            given = "--data digits, cifar10 or a folder, or --stimulus movie.npz"
            raise BadParameter(f"a network needs images or stimuli: {given}")
        classes, seed = snn.classes, seed or 0
        n = N_IMAGES if n is None else n
        if data is not None:
            shape = snn.image_shape
            test = c2s.data.load_test_images(data, shape, n, seed, classes, whole=whole)
        if duration is None:
            duration = shared.longest_ms(snn, stimuli)
        shown = stimuli if test is None else test.images
        with snn.compile(shared.in_ms(duration)) as simulator:
            record = simulator.populations
            result = simulator.run(shown, seed=seed, record=record, repeats=repeats)
    of_images: dict[str, Any] = {}
    if test is not None:
        of_images = {"images": test.images, "labels": test.labels, "cnn": snn}
        fits = len(test.classes) == result.output_potentials.shape[1]
        classes = test.classes if classes is None and fits else classes
    what: dict[str, Any] = {"classes": classes, "pictures": picture, "layers": layer}
    what |= {"stimuli": stimuli or None, "title": f"Spikes of {source.name}"}
    written = result.inspect(out, **of_images, **what)
    shared.say(result)
    size = written.stat().st_size / 1e6
    shared.say(f"written: {written} ({size:.1f} MB); open it with a browser")
