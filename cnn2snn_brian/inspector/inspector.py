"""
The inspector: a result as one HTML file to look into.

The file holds Bokeh, a small script and the data, and needs neither a server nor the
network. Numbers are base64 of typed arrays: a recorded spike takes 2 bytes (4 in layers
of more than 65,536 neurons) and a third of that for base64.
"""

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import (
    check_index,
    check_names,
    check_shape,
    optional_library,
    whole_numbers,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.projections import INPUT, Network, from_neurons
from cnn2snn_brian.settings import check_images, shown_number
from cnn2snn_brian.stimuli import FrameStimulus, Stimulus

if TYPE_CHECKING:
    from cnn2snn_brian.results import SimulationResult

#: Images of a file unless others are asked for.
MAX_PICTURES = 20

#: Largest data in bytes; a browser takes long to read more.
MAX_BYTES = 256_000_000

Array = npt.NDArray[Any]


def matching(
    result: "SimulationResult", stimuli: Sequence[Stimulus] | Stimulus | None
) -> list[tuple[Stimulus, int]]:
    """Check that stimuli are those of a result, and give each with its steps."""
    if stimuli is None:
        return []
    given = [stimuli] if isinstance(stimuli, Stimulus) else list(stimuli)
    n_steps = () if result.trials is None else result.trials.n_steps
    if len(given) != len(n_steps):
        raise InputError(
            f"stimuli: {len(given)} are given, the result is of {len(n_steps)}"
        )
    for k, stimulus in enumerate(given):
        channels, height, width = result.shapes[INPUT]
        if isinstance(stimulus, FrameStimulus):
            channels, height, width = result.image_shape
        stimulus.check((channels, height, width), result.dt_s)
        own = stimulus.n_steps(result.dt_s)
        if own not in (None, n_steps[k]):
            raise InputError(
                f"stimuli: stimulus {k} has {own} steps, its trials {n_steps[k]}"
            )
    return list(zip(given, n_steps, strict=True))


def _packed(array: Array) -> dict[str, Any]:
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    text = base64.b64encode(little.tobytes()).decode("ascii")
    return {"type": array.dtype.name, "data": text}


def _small(array: Array) -> dict[str, Any]:
    """Pack counts as the smallest of uint8, uint16 and uint32."""
    return _packed(array.astype(np.min_scalar_type(int(array.max(initial=0)))))


def _rounded(array: Array) -> dict[str, Any]:
    """Pack real numbers as 65,536 levels between the smallest and the largest."""
    low, high = float(array.min()), float(array.max())
    span = high - low or 1.0
    levels = np.rint((array - low) * (65_535 / span)).astype(np.uint16)
    return {**_packed(levels.ravel()), "low": low, "high": low + span}


def _pixels(intensities: Array) -> dict[str, Any]:
    return _packed(np.rint(255 * intensities).astype(np.uint8).ravel())


def _spikes(result: "SimulationResult", layer: str, image: int) -> dict[str, Any]:
    """Pack the neurons of all spikes, step by step, and their number in each step."""
    shape = result.shapes[layer]
    row = np.ravel_multi_index(result.spikes(layer, image).position, shape)
    _, step = result.recorded[layer, image]
    order = np.lexsort((row, step))
    kind = np.uint16 if np.prod(shape) <= 65_536 else np.uint32
    per_step = np.bincount(step, minlength=result.n_steps)
    return {"neurons": _packed(row[order].astype(kind)), "perStep": _small(per_step)}


def _chosen_images(
    result: "SimulationResult", pictures: Iterable[int] | None
) -> list[int]:
    if pictures is None:
        hidden = {
            image for name, image in result.recorded if name != result.output_layer
        }
        return sorted(hidden or range(result.n_images))[:MAX_PICTURES]
    chosen = [int(image) for image in pictures]
    for image in chosen:
        check_index("picture", image, result.n_images)
    if not chosen:
        raise InputError("pictures: none is chosen")
    return chosen


def _activations(
    result: "SimulationResult", cnn: Any, pixels: Array | None, chosen: list[int]
) -> dict[str, Array]:
    """Activations of the chosen images, by layer."""
    found: dict[str, Array] = {}
    if isinstance(cnn, Mapping):
        n_images = result.n_images
        for name, values in cnn.items():
            array = np.asarray(values)
            if len(array) not in (n_images, len(chosen)):
                raise InputError(
                    f"activations of {name!r} are of {len(array)} pictures, expected "
                    f"all {n_images} or the {len(chosen)} chosen ones"
                )
            found[name] = array[chosen] if len(array) == n_images else array
    elif cnn is not None:
        if pixels is None:
            raise InputError(
                "cnn: its activations need the images; give images=... too"
            )
        layers = cnn if isinstance(cnn, Network) else getattr(cnn, "layers", cnn)
        if not isinstance(layers, Network):
            from cnn2snn_brian.cnn import from_torch

            channels, height, width = pixels.shape[1:]
            layers = from_torch(cnn, (channels, height, width))
        said = layers.said_by_input(pixels[chosen])
        found = {INPUT: said, **layers.activations(said)}
    for name, values in found.items():
        if name in result.shapes:
            shape = len(chosen), *result.shapes[name]
            check_shape(f"activations of {name!r}", values, *shape)
        if not np.isfinite(values).all():
            raise InputError(f"activations of {name!r} are not all finite numbers")
    return found


def _checked_images(result: "SimulationResult", images: Any) -> Array:
    """Check that a result may be of these images."""
    channels, height, width = result.image_shape
    pixels = check_images(images, (channels, height, width))
    if len(pixels) != result.n_images:
        raise InputError(
            f"{result.n_images} pictures were simulated, images has {len(pixels)}"
        )
    if INPUT in result.spike_counts and pixels.shape[1:] == result.shapes[INPUT]:
        # Black pixels never spike.
        counts = from_neurons(result.spike_counts.raw(INPUT), result.shapes[INPUT])
        spiked = (pixels == 0) & (counts > 0)
        wrong = np.flatnonzero(spiked.any(axis=(1, 2, 3)))
        if len(wrong):
            raise InputError(
                f"images: picture {wrong[0]} is not the one that was simulated: a "
                "black pixel of it spiked"
            )
    return pixels


def _entry(
    result: "SimulationResult", image: int, names: Iterable[str], cnn: dict[str, Array]
) -> dict[str, Any]:
    """Pack what is known of each layer for an image, and which trial it is."""
    layers: dict[str, Any] = {}
    for name in names:
        if (name, image) in result.recorded:
            layers[name] = {"spikes": _spikes(result, name, image)}
        else:
            # This one's alone: all of them may be gigabytes.
            counts = result.spike_counts.part(name, image)
            layers[name] = {"counts": _small(counts.ravel())}
        if name in cnn:
            layers[name]["cnn"] = _rounded(np.asarray(cnn[name], float))
    if (trials := result.trials) is None:
        return {"layers": layers}
    stimulus, repeat = divmod(image, trials.n_repeats)
    said = {"stimulus": stimulus, "stimulusName": trials.names[stimulus]}
    return {"layers": layers, **said, "repeat": repeat}


def _frames(
    result: "SimulationResult", stimuli: Sequence[Stimulus] | Stimulus | None
) -> list[dict[str, Any] | None]:
    """Pack the frames of stimuli, and which of them each step shows."""
    found: list[dict[str, Any] | None] = []
    for stimulus, n_steps in matching(result, stimuli):
        own = None
        if isinstance(stimulus, FrameStimulus):
            shown = stimulus.frame_of_step(result.dt_s, n_steps).astype(np.uint32)
            own = {"frames": _pixels(stimulus.frames), "shown": _packed(shown)}
        found.append(own)
    return found


def _script_text(text: str) -> str:
    """Text that can't end the script element it stands in."""
    # Only where it is inside a string: "</" alone may also be two operators.
    text = re.sub("</(?=script)", r"<\\/", text, flags=re.IGNORECASE)
    return text.replace("<!--", r"\u003c!--")


def write_inspector(
    result: "SimulationResult",
    path: str | os.PathLike[str],
    images: Any = None,
    labels: Any = None,
    cnn: Any = None,
    classes: Sequence[str] | None = None,
    pictures: Iterable[int] | None = None,
    layers: Iterable[str] | None = None,
    title: str = "Spikes of a converted CNN",
    stimuli: Any = None,
) -> Path:
    """
    Write one HTML file to look into a result with a browser.

    It shows rasters, rates, feature maps next to the CNN's, the image and the output
    spikes, up to a time that a slider sets. It needs no network.

    Parameters
    ----------
    result : SimulationResult
        The result. Layers that it recorded have rasters; of the others, only the
        counts at the end are shown.
    path : path-like
        The HTML file.
    images : ndarray, shape (n_images, channels, height, width), optional
        All images that were simulated, float in [0, 1] or uint8.
    labels : array_like of int, shape (n_images,), optional
        Their classes.
    cnn : Network, SpikingNetwork, nn.Module or dict of str to ndarray, optional
        The CNN to compare with, or its activations by layer, of shape (n_images or
        number of `pictures`, ``*layer.shape``).
    classes : sequence of str, optional
        Names of the output neurons; by default the network's, or numbers.
    pictures : iterable of int, optional
        Indices of the images to look into; by default the first 20 of those of which
        layers were recorded.
    layers : iterable of str, optional
        Layers to look into; all by default.
    title : str
        Heading of the page.
    stimuli : Stimulus or sequence of Stimulus, optional
        Of a result of trials, what was shown: the page has the frame at its cursor.

    Returns
    -------
    Path
        The file. It is written whole or not at all.

    Raises
    ------
    InputError
        If something does not fit the result, or the data would be larger than 256 MB.
    MissingLibraryError
        If Bokeh is not installed.
    FileNotFoundError
        If the folder of `path` does not exist.
    WriteError
        If the disk is full, or the like.
    """
    resources = optional_library("bokeh.resources", "inspector", "The inspector")
    embed = optional_library("bokeh.embed", "inspector", "The inspector")
    from cnn2snn_brian.inspector.figures import figures

    # All is checked before anything is made.
    chosen = _chosen_images(result, pictures)
    known = result.spike_counts
    names = (
        [layers]
        if isinstance(layers, str)
        else [*(known if layers is None else layers)]
    )
    check_names("layers", names, known)
    if not names:
        raise InputError("layers: none is chosen")
    answers = result.class_names(classes)
    truth: list[int] | list[None] = [None] * result.n_images
    if labels is not None:
        check_shape("labels", np.asarray(labels), result.n_images)
        truth = whole_numbers("labels", labels, len(answers)).tolist()
    pixels = None if images is None else _checked_images(result, images)
    activations = _activations(result, cnn, pixels, chosen)
    frames = _frames(result, stimuli)
    size, described, predictions = len(json.dumps(frames)), [], result.predictions
    of_page = dict.fromkeys((*names, result.output_layer))
    for place, image in enumerate(chosen):
        own = {name: values[place] for name, values in activations.items()}
        entry = {
            "index": image,
            "truth": truth[image],
            "decision": int(predictions[image]),
            "image": None if pixels is None else _pixels(pixels[image]),
            **_entry(result, image, of_page, own),
        }
        described.append(entry)
        size += len(json.dumps(entry))
        if size > MAX_BYTES:
            raise InputError(
                f"the data of {place + 1} of {len(chosen)} images are "
                f"{size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are supported. "
                "Give fewer pictures=[...] or layers=[...]"
            )
    thresholds = result.parameters.thresholds
    cells = dict.fromkeys(result.pairs, "ON cells")
    cells |= {off: f"OFF cells of {on}" for on, off in result.pairs.items()}
    data: dict[str, Any] = {
        "dt": 1e3 * result.dt_s,
        "steps": result.n_steps,
        "inputShape": result.image_shape,
        "inputRate": result.parameters.rate_scale,
        "classes": answers,
        "outputs": result.output_layer,
        "layers": [
            {"name": name, "shape": result.shapes[name], "cells": cells.get(name, "")}
            for name in names
        ],
        "pictures": described,
        "stimuli": frames,
        "nImages": result.n_images,
        "seed": str(result.seed),
        "thresholds": {name: shown_number(own) for name, own in thresholds.items()},
    }
    with_cnn = any(name in activations for name in of_page)
    duration = data["dt"] * data["steps"]
    made = figures(duration, data["dt"], with_cnn=with_cnn)
    items = {place: embed.json_item(model) for place, model in made.items()}
    # Only what is used: tables, mathematics and the like would triple its size.
    library = resources.Resources(mode="inline", components=["bokeh"])
    folder = files("cnn2snn_brian.inspector") / "page"
    parts = {
        "title": html.escape(title),
        "bokeh": "\n".join(map(_script_text, library.js_raw)),
        "figures": _script_text(json.dumps(items)),
        "data": _script_text(json.dumps(data, separators=(",", ":"))),
    }

    def part(mark: re.Match[str]) -> str:
        name = mark[1]
        return parts.get(name) or (folder / name).read_text("utf-8")

    page = re.sub(r"@([\w.]+)@", part, (folder / "page.html").read_text("utf-8"))
    with written_whole(path) as unfinished:
        unfinished.write_text(page, "utf-8")
    return Path(path)
