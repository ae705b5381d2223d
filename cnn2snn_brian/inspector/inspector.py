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

from cnn2snn_brian.checks import optional_library
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.inspector.figures import figures
from cnn2snn_brian.projections import INPUT, Layers, Shape, from_neurons
from cnn2snn_brian.settings import check_images, shown_number
from cnn2snn_brian.stimuli import FrameStimulus, Stimulus

if TYPE_CHECKING:
    from cnn2snn_brian.results import SimulationResult


def trial_of(result: "SimulationResult", row: int) -> dict[str, Any]:
    """Say which trial a row is, for the page."""
    if result.trials is None:
        return {}
    stimulus = int(result.stimulus_of_row[row])
    return {
        "stimulus": stimulus,
        "stimulusName": result.trials.names[stimulus],
        "repeat": int(result.repeat_of_row[row]),
    }


def matching(
    result: "SimulationResult", stimuli: Sequence[Stimulus] | Stimulus | None
) -> list[tuple[Stimulus, int]]:
    """Check that stimuli are those of a result."""
    if stimuli is None:
        return []
    given = [stimuli] if isinstance(stimuli, Stimulus) else list(stimuli)
    trials = result.trials
    if trials is None or len(given) != trials.n_stimuli:
        n = 0 if trials is None else trials.n_stimuli
        raise InputError(f"stimuli: {len(given)} are given, the result is of {n}")
    channels, height, width = result.shapes[INPUT]
    for k, stimulus in enumerate(given):
        stimulus.check((channels, height, width), result.dt_s)
        own = stimulus.n_steps(result.dt_s)
        if own is not None and own != trials.n_steps[k]:
            raise InputError(
                f"stimuli: stimulus {k} has {own} steps, its trials {trials.n_steps[k]}"
            )
    return list(zip(given, trials.n_steps, strict=True))


def frames_of(
    result: "SimulationResult", stimuli: Sequence[Stimulus] | Stimulus | None
) -> list[dict[str, Any] | None]:
    """Give the frames of stimuli, and when they are shown."""
    found: list[dict[str, Any] | None] = []
    for stimulus, n_steps in matching(result, stimuli):
        if not isinstance(stimulus, FrameStimulus):
            found.append(None)
            continue
        shown = stimulus.frame_of_step(result.dt_s, n_steps)
        frames = np.rint(255 * stimulus.frames).astype(np.uint8)
        found.append({"frames": frames.ravel(), "shown": shown.astype(np.uint32)})
    return found


#: Pictures of a file unless others are asked for.
MAX_PICTURES = 20

#: Parts of the page's script, in this order: each uses names of those before it.
SCRIPTS = (
    "data",
    "figures",
    "raster",
    "maps",
    "image",
    "outputs",
    "controls",
    "pointer",
    "theme",
    "start",
)

#: Largest data in bytes; a browser takes long to read more.
MAX_BYTES = 256_000_000


def _packed(array: npt.NDArray[Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    text = base64.b64encode(little.tobytes()).decode("ascii")
    return {"type": array.dtype.name, "data": text}


def _rounded(array: npt.NDArray[Any]) -> dict[str, Any]:
    """Pack real numbers as 65,536 levels between the smallest and the largest."""
    low, high = float(array.min()), float(array.max())
    span = high - low or 1.0
    levels = np.rint((array - low) * (65_535 / span)).astype(np.uint16)
    return {**_packed(levels.ravel()), "low": low, "high": low + span}


def _small(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give counts or indices the smallest of uint8, uint16 and uint32."""
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


def _size(entry: dict[str, Any]) -> int:
    """Bytes of the base64 texts of a layer's data."""
    return sum(
        _size(value) if isinstance(value, dict) else len(value)
        for value in entry.values()
        if isinstance(value, dict | str)
    )


def _spikes(result: "SimulationResult", layer: str, image: int) -> dict[str, Any]:
    """Pack the neurons of all spikes, step by step, and their number in each step."""
    trains = result.spikes(layer, image)
    shape = result.shapes[layer]
    row = np.ravel_multi_index(trains.position, shape)
    step = np.rint(trains.t / result.dt_s).astype(np.int64)
    order = np.lexsort((row, step))
    kind = np.uint16 if np.prod(shape) <= 65_536 else np.uint32
    per_step = np.bincount(step, minlength=result.n_steps)
    return {
        "neurons": _packed(row[order].astype(kind)),
        "perStep": _packed(_small(per_step)),
    }


def _chosen_pictures(
    result: "SimulationResult", pictures: Iterable[int] | None
) -> list[int]:
    if pictures is None:
        looked_at = {
            image for name, image in result.recorded if name != result.output_layer
        }
        return sorted(looked_at or range(result.n_images))[:MAX_PICTURES]
    chosen = [int(picture) for picture in pictures]
    for picture in chosen:
        if not 0 <= picture < result.n_images:
            raise InputError(
                f"there is no picture {picture}: 0 to {result.n_images - 1}"
            )
    if not chosen:
        raise InputError("pictures: none is chosen")
    return chosen


def _chosen_layers(
    result: "SimulationResult", layers: Iterable[str] | None
) -> tuple[str, ...]:
    if layers is None:
        return tuple(result.spike_counts)
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    unknown = [name for name in names if name not in result.spike_counts]
    if unknown or not names:
        raise InputError(
            f"layers={list(names)}: expected some of {', '.join(result.spike_counts)}"
        )
    return names


def _activations(
    cnn: Any, pixels: npt.NDArray[Any] | None, chosen: list[int], n_images: int
) -> dict[str, npt.NDArray[Any]]:
    """Activations of the chosen pictures, by layer."""
    if cnn is None:
        return {}
    if isinstance(cnn, Mapping):
        found = {}
        for name, values in cnn.items():
            array = np.asarray(values)
            if len(array) not in (n_images, len(chosen)):
                raise InputError(
                    f"activations of {name!r} are of {len(array)} pictures, expected "
                    f"all {n_images} or the {len(chosen)} chosen ones"
                )
            found[name] = array[chosen] if len(array) == n_images else array
        return found
    if pixels is None:
        raise InputError("cnn: its activations need the pictures; give images=... too")
    layers = cnn if isinstance(cnn, Layers) else getattr(cnn, "layers", cnn)
    if not isinstance(layers, Layers):
        from cnn2snn_brian.cnn import from_torch

        channels, height, width = pixels.shape[1:]
        layers = from_torch(cnn, (channels, height, width))
    return {INPUT: pixels[chosen], **layers.activations(pixels[chosen])}


def _picture(pixels: npt.NDArray[Any]) -> dict[str, Any]:
    return _packed(np.rint(255 * pixels).astype(np.uint8).ravel())


def _check_pictures(result: "SimulationResult", pixels: npt.NDArray[Any]) -> None:
    """Check that a result may be of these pictures."""
    if len(pixels) != result.n_images:
        raise InputError(
            f"{result.n_images} pictures were simulated, images has {len(pixels)}"
        )
    if INPUT not in result.spike_counts:
        return
    # Black pixels never spike.
    counts = from_neurons(result.spike_counts.raw(INPUT), result.shapes[INPUT])
    wrong = ((pixels == 0) & (counts > 0)).any(axis=(1, 2, 3))
    if wrong.any():
        raise InputError(
            f"images: picture {int(wrong.argmax())} is not the one that was simulated: "
            "a black pixel of it spiked"
        )


def _truth(result: "SimulationResult", labels: Any) -> npt.NDArray[Any] | None:
    """Check labels."""
    if labels is None:
        return None
    truth = np.asarray(labels)
    if truth.shape != (result.n_images,):
        raise InputError(f"{result.n_images} images, labels of shape {truth.shape}")
    n_outputs = result.output_potentials.shape[1]
    if not (np.isin(truth, np.arange(n_outputs))).all():
        raise InputError(f"labels: expected output neurons, 0 to {n_outputs - 1}")
    return truth


def _check_activations(
    activations: dict[str, npt.NDArray[Any]], shapes: Mapping[str, Shape]
) -> None:
    for name, values in activations.items():
        if name in shapes and values.shape[1:] != shapes[name]:
            raise InputError(
                f"activations of {name!r} have the shape {values.shape[1:]}, the layer "
                f"has {shapes[name]}"
            )
        if not np.isfinite(values).all():
            raise InputError(f"activations of {name!r} are not all finite numbers")


def _layer_entry(
    result: "SimulationResult",
    name: str,
    image: int,
    activation: npt.NDArray[Any] | None,
) -> dict[str, Any]:
    """Pack what is known of a layer and an image."""
    entry: dict[str, Any] = {}
    if (name, image) in result.recorded:
        entry["spikes"] = _spikes(result, name, image)
    else:
        # This one's alone: all of them may be gigabytes.
        counts = result.spike_counts.part(name, image)
        entry["counts"] = _packed(_small(counts.ravel()))
    if activation is not None:
        entry["cnn"] = _rounded(np.asarray(activation, float))
    return entry


def _data(
    result: "SimulationResult",
    images: Any,
    labels: Any,
    cnn: Any,
    classes: Sequence[str] | None,
    pictures: Iterable[int] | None,
    layers: Iterable[str] | None,
    stimuli: Any,
) -> dict[str, Any]:
    """Everything that the page shows; checked here, before anything is made."""
    chosen = _chosen_pictures(result, pictures)
    names = _chosen_layers(result, layers)
    shapes = result.shapes
    answers = result.class_names(classes)
    truth = _truth(result, labels)
    pixels = None
    if images is not None:
        channels, height, width = shapes[INPUT]
        pixels = check_images(images, (channels, height, width))
        _check_pictures(result, pixels)
    activations = _activations(cnn, pixels, chosen, result.n_images)
    _check_activations(activations, shapes)
    described = []
    shown = [
        found and {what: _packed(array) for what, array in found.items()}
        for found in frames_of(result, stimuli)
    ]
    size = sum(_size(own) for own in shown if own)
    predictions = result.predictions
    for place, image in enumerate(chosen):
        of_layers = {}
        for name in dict.fromkeys((*names, result.output_layer)):
            values = activations.get(name)
            entry = _layer_entry(
                result, name, image, None if values is None else values[place]
            )
            of_layers[name] = entry
            size += _size(entry)
        if size > MAX_BYTES:
            raise InputError(
                f"the data of {place + 1} of {len(chosen)} images are "
                f"{size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are supported. "
                "Give fewer pictures=[...] or layers=[...]"
            )
        described.append(
            {
                "index": image,
                "truth": None if truth is None else int(truth[image]),
                "decision": int(predictions[image]),
                "image": None if pixels is None else _picture(pixels[image]),
                "layers": of_layers,
                **trial_of(result, image),
            }
        )
    return {
        "dt": 1e3 * result.dt_s,
        "steps": result.n_steps,
        "inputShape": shapes.get(INPUT),
        "inputRate": result.parameters.rate_scale,
        "classes": answers,
        "outputs": result.output_layer,
        "layers": [{"name": name, "shape": shapes[name]} for name in names],
        "pictures": described,
        "stimuli": shown,
        "nImages": result.n_images,
        "seed": str(result.seed),
        "thresholds": {
            name: shown_number(value)
            for name, value in result.parameters.thresholds.items()
        },
    }


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
    Write the inspector of a result.

    Parameters
    ----------
    result : SimulationResult
        The result. Layers that it recorded have rasters; of the others, only the
        counts at the end are shown.
    path : path-like
        The HTML file.
    images : ndarray, shape (n_images, channels, height, width), optional
        All pictures that were simulated, float in [0, 1] or uint8.
    labels : array_like of int, shape (n_images,), optional
        Their classes.
    cnn : Layers, SpikingNetwork, nn.Module or dict of str to ndarray, optional
        The CNN, to compare with; its activations are computed. Or activations by
        layer, of shape (n_images or number of `pictures`, ``*layer.shape``).
    classes : sequence of str, optional
        Names of the output neurons; by default the network's, or numbers.
    pictures : iterable of int, optional
        Indices of the pictures to look into; by default the first 20 of those of
        which layers were recorded.
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
    data = _data(result, images, labels, cnn, classes, pictures, layers, stimuli)
    with_cnn = any(
        "cnn" in entry
        for picture in data["pictures"]
        for entry in picture["layers"].values()
    )
    text = json.dumps(data, separators=(",", ":"))
    made = figures(data["dt"] * data["steps"], data["dt"], with_cnn=with_cnn)
    items = {place: embed.json_item(model) for place, model in made.items()}
    # Only what is used: tables, mathematics and the like would triple its size.
    library = resources.Resources(mode="inline", components=["bokeh"])
    folder = files("cnn2snn_brian.inspector") / "page"
    parts = {
        "title": html.escape(title),
        "style": (folder / "page.css").read_text("utf-8"),
        "bokeh": "\n".join(map(_script_text, library.js_raw)),
        "figures": _script_text(json.dumps(items)),
        "data": _script_text(text),
        "script": "\n".join(
            (folder / f"{name}.js").read_text("utf-8") for name in SCRIPTS
        ),
    }
    page = (folder / "page.html").read_text("utf-8")
    # From the end: a part may contain what looks like the mark of another.
    for name in reversed(parts):
        before, mark, after = page.partition(f"@{name}@")
        assert mark, name
        page = before + parts[name] + after
    with written_whole(path) as unfinished:
        unfinished.write_text(page, "utf-8")
    return Path(path)
