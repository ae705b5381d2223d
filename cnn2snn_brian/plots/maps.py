"""Feature maps: a layer's spike counts beside the CNN's activations."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.plots.style import MAP
from cnn2snn_brian.projections import Layers
from cnn2snn_brian.results import SimulationResult, correlation
from cnn2snn_brian.settings import check_images

#: With more units, their numbers are not written into the cells.
MAX_NUMBERED = 64


def mosaic(maps: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Put the channels of a layer side by side into one image."""
    gap = 1 if maps.ndim == 3 else 0
    tiles = maps if maps.ndim == 3 else maps.reshape(-1, 1, 1)
    n, height, width = tiles.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    out = np.full((rows * (height + gap), columns * (width + gap)), np.nan)
    for index, tile in enumerate(tiles):
        y, x = divmod(index, columns)
        y, x = y * (height + gap), x * (width + gap)
        out[y : y + height, x : x + width] = tile
    return out[: out.shape[0] - gap, : out.shape[1] - gap]


def _cnn_maps(
    layers_or_activations: Any, layer: str, image: int, images: Any
) -> npt.NDArray[Any]:
    """Activations of one layer for one image, after ReLU."""
    if isinstance(layers_or_activations, Layers):
        if images is None:
            raise InputError("images is missing: the images that were simulated")
        if not 0 <= image < len(images):
            raise InputError(f"image is {image}, there are {len(images)} images")
        # This one's alone: a copy of all may be gigabytes.
        shape = layers_or_activations.input_shape
        one = check_images(images[image : image + 1], shape)
        layers_or_activations, image = layers_or_activations.activations(one), 0
    if layer not in layers_or_activations:
        found = ", ".join(layers_or_activations)
        raise InputError(f"there are no activations of {layer!r}; there are {found}")
    activations = layers_or_activations[layer]
    if not 0 <= image < len(activations):
        raise InputError(
            f"image is {image}, there are activations of {len(activations)}"
        )
    return np.maximum(np.asarray(activations[image]), 0)


def plot_feature_maps(
    result: SimulationResult,
    layers_or_activations: Layers | Mapping[str, npt.NDArray[Any]],
    layer: str,
    image: int,
    axes: Any = None,
    *,
    images: Any = None,
) -> Any:
    """
    Draw the spike counts of all channels beside the CNN's activations.

    Parameters
    ----------
    result : SimulationResult
        The result. Nothing needs to be recorded.
    layers_or_activations : Layers or dict of str to ndarray
        The converted layers (``snn.layers``), or the CNN's activations of all images
        by layer, ``snn.layers.activations(pixels)``.
    layer : str
        Name of the layer.
    image : int
        Index of the image.
    axes : sequence of two matplotlib Axes, optional
        Where to draw; without it, a new figure is made.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        The images that were simulated; needed with `Layers`.

    Returns
    -------
    ndarray of matplotlib Axes, shape (2,)
        The SNN's spike counts, and the CNN's activations after ReLU. Negative numbers
        of the last layer are 0, because a neuron has no negative rate. The title has
        Pearson's correlation of the two over all neurons of the layer, where both vary.

    Raises
    ------
    InputError
        If there is no such layer or image, or the shapes differ.
    """
    if layer not in result.spike_counts:
        raise InputError(
            f"no layer {layer!r}; there are {', '.join(result.spike_counts)}"
        )
    if not 0 <= image < result.n_images:
        raise InputError(f"image is {image}, expected 0 to {result.n_images - 1}")
    counts = result.spike_counts.part(layer, image)
    activations = _cnn_maps(layers_or_activations, layer, image, images)
    if activations.shape != counts.shape:
        raise InputError(
            f"{layer}: activations {activations.shape}, counts {counts.shape}"
        )
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != 2:
        raise InputError(f"axes: {len(axes)} given, expected 2")
    r = correlation(counts, activations)
    said = f"r = {r:.3f}" if math.isfinite(r) else "r undefined, one is constant"
    for ax, maps, title, unit in (
        (axes[0], counts, f"SNN, {layer} ({said})", "spikes"),
        (axes[1], activations, f"CNN, {layer}", "activation"),
    ):
        _draw_mosaic(ax, maps, title, unit)
    return axes


def _draw_mosaic(ax: Any, maps: npt.NDArray[Any], title: str, unit: str) -> None:
    import matplotlib

    # Gaps between channels must not look like a value.
    colours = matplotlib.colormaps[MAP].with_extremes(bad="white")
    values = mosaic(maps)
    drawn = ax.imshow(
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=0,
        vmax=max(float(maps.max()), 1e-12),
        interpolation="nearest",
    )
    ax.set(title=title, xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if maps.ndim == 1 and len(maps) <= MAX_NUMBERED:
        for unit_index, value in enumerate(maps):
            y, x = divmod(unit_index, values.shape[1])
            light = value > 0.6 * maps.max()
            ax.text(
                x,
                y,
                str(unit_index),
                ha="center",
                va="center",
                color="black" if light else "white",
                fontsize="small",
            )
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.85)
    bar.set_label(unit)
