"""
Thresholds from the CNN's activations.

A neuron spikes at most once in a step. With the threshold of a layer at its largest
activation over that of the layer before, the strongest neuron of each layer spikes
about once in a step [1]_; a percentile instead of the maximum ignores outliers [2]_,
and each channel may have its own [3]_.

References
----------
.. [1] Diehl et al. (2015), Fast-classifying, high-accuracy spiking deep networks
   through weight and threshold balancing, doi:10.1109/IJCNN.2015.7280696
.. [2] Rueckauer et al. (2017), Conversion of Continuous-Valued Deep Networks to
   Efficient Event-Driven Networks, doi:10.3389/fnins.2017.00682
.. [3] Kim et al. (2020), Spiking-YOLO: Spiking Neural Network for Energy-Efficient
   Object Detection, doi:10.1609/aaai.v34i07.6787
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_number
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, Network
from cnn2snn_brian.settings.images import check_rate_scale, check_shown
from cnn2snn_brian.settings.settings import ByChannel, FrozenDict, reference, worth


def data_based_thresholds(
    layers: Network,
    images: Any,
    percentile: float = 99.9,
    rate_scale: float = 1.0,
    *,
    per_channel: bool = False,
    passes: int = 1,
    most: Mapping[str, int] = FrozenDict(),  # noqa: B008
) -> dict[str, ByChannel]:
    """
    Compute thresholds from activations on calibration images.

    Parameters
    ----------
    layers : Network
        The CNN.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Calibration images, float in [0, 1] or uint8. Use training images.
    percentile : float
        Percentile of a layer's activations (of all neurons and images) that counts
        as its largest, above 0 and at most 100.
    rate_scale : float
        Spikes per step of a pixel of intensity 1.
    per_channel : bool
        Whether each channel has its own threshold, from its own activations;
        a channel that is silent at the percentile takes the layer's. The last layer
        keeps one threshold: its spikes are compared with each other.
    passes : int
        After how many passes activations are taken, if there is feedback; 1 is
        without it, see `Network.activations`.
    most : dict of str to int, optional
        Spikes that a neuron of a layer sends in a step, at most; 1 by default. The
        largest activation is so many spikes a step.

    Returns
    -------
    dict of str to float or ndarray of shape (channels,)
        Threshold of every layer: its percentile over that of the layer before (of
        several, the largest); for the first layer times `rate_scale`. By channel, each
        percentile is over the largest one of the layer before. A quantized CNN has its
        ceilings in place of percentiles, so that a spike in each step is that; the
        activations of ReLU6 are at most 6, and few channels come near that.

    Raises
    ------
    InputError
        If the images or the percentile can't be used, or a layer is silent at that
        percentile.
    """
    pixels = check_shown(images, layers)
    check_number("percentile", percentile, high=100, above=0)
    highest = {
        layer.name: Highest(len(pixels), layer.shape, percentile, per_channel)
        for layer in layers
        if not layers.is_gate(layer.name)
    }
    n_before = (passes - 1) * len(layers.names)
    for part in layers.batches(pixels):
        computed = layers.computed(pixels[part], passes)
        for name, _, activation in islice(computed, n_before, None):
            if name in highest:
                highest[name].add(activation.astype(np.float32))
    return thresholds_of_activations(
        layers, highest, percentile, rate_scale, per_channel=per_channel, most=most
    )


class Highest:
    """The highest activations of a population, as many as a percentile needs."""

    def __init__(
        self, n: int, shape: tuple[int, ...], percentile: float, per_channel: bool
    ) -> None:
        self._share = np.float64(percentile) / 100
        self._n_channel, self._n_whole = n * math.prod(shape[1:]), n * math.prod(shape)
        self._whole = np.empty((1, 0), np.float32)
        self._channels = np.empty((shape[0], 0), np.float32) if per_channel else None
        #: The lowest of all, and the lowest of the highest of each image.
        self._lowest = self.lowest_highest = math.inf

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Look at the activations of some images, of shape ``(n, *shape)``."""
        self._lowest = min(self._lowest, float(values.min()))
        self.lowest_highest = min(self.lowest_highest, _lowest_highest(values))
        self._whole = self._kept(self._whole, values.reshape(1, -1), self._n_whole)
        if self._channels is not None:
            rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
            self._channels = self._kept(self._channels, rows, self._n_channel)

    def _kept(self, before: Any, rows: Any, n: int) -> Any:
        n_kept = n - math.floor((n - 1) * self._share)
        rows = np.concatenate([before, rows], axis=1)
        if rows.shape[1] <= n_kept:
            return rows
        rows.partition(rows.shape[1] - n_kept, axis=1)
        return rows[:, -n_kept:].copy()

    def at_percentile(self, by_channel: bool) -> Any:
        """Give the percentile as NumPy does of all activations."""
        rows: Any = self._whole
        n = self._n_whole
        if by_channel:
            rows, n = self._channels, self._n_channel
        place = (n - 1) * self._share
        low, high = np.sort(rows, axis=1)[:, [0, min(1, rows.shape[1] - 1)]].T
        between, gap = place - math.floor(place), high - low
        found = high - gap * (1 - between) if between >= 0.5 else low + gap * between
        return found if by_channel else found[0]

    def max(self) -> float:
        """Give the highest of all."""
        return float(self._whole.max())

    def min(self) -> float:
        """Give the lowest of all."""
        return self._lowest


def _lowest_highest(values: Any) -> float:
    return float(values.reshape(len(values), -1).max(1).min())


def _at_percentile(values: Any, percentile: float, by_channel: bool = False) -> Any:
    if isinstance(values, Highest):
        return values.at_percentile(by_channel)
    # Of float32 values, numpy's versions round a plain number differently.
    exact = np.float64(percentile)
    if not by_channel:
        return np.percentile(values, exact)
    rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    return np.percentile(rows, exact, axis=1)


def thresholds_of_activations(
    layers: Network,
    activations: Mapping[str, Any],
    percentile: float,
    rate_scale: float,
    *,
    per_channel: bool,
    most: Mapping[str, int] = FrozenDict(),  # noqa: B008
) -> dict[str, ByChannel]:
    """Compute thresholds from activations of all layers."""
    check_number("percentile", percentile, high=100, above=0)
    check_rate_scale(rate_scale)
    # Spikes of the last layer are compared: they have to be worth the same.
    largest: dict[str, ByChannel] = {}
    for layer in layers:
        name = layer.name
        if layer.ceiling is not None and layer.ceiling.steps is not None:
            largest[name] = layer.ceiling.activation / most.get(name, 1)
        elif layers.is_gate(name):  # its spikes are those of its inputs
            largest[name] = largest.get(layers.sources(name)[0], 1 / rate_scale)
        else:
            by_channel = per_channel and layer is not layers[-1]
            found = largest_of(layers, activations, name, percentile, by_channel)
            largest[name] = found / most.get(name, 1)
    return _over_inputs(layers, largest, rate_scale)


def largest_of(
    layers: Network,
    activations: Mapping[str, Any],
    name: str,
    percentile: float,
    per_channel: bool,
) -> ByChannel:
    """Find a layer's largest activation; silent ON or OFF cells take the others'."""
    others = {
        on: off for pair in layers.pairs.items() for on, off in (pair, pair[::-1])
    }
    if name in others and not _at_percentile(activations[name], percentile) > 0:
        name, per_channel = others[name], False
    return largest_activation(name, activations[name], percentile, per_channel)


def _over_inputs(
    layers: Network, largest: Mapping[str, ByChannel], rate_scale: float
) -> dict[str, ByChannel]:
    scales = input_scales(layers, largest, rate_scale)
    return {name: largest[name] / scales[name] for name in layers.names}


def ceiling_thresholds(
    layers: Network,
    rate_scale: float = 1.0,
    most: Mapping[str, int] = FrozenDict(),  # noqa: B008
) -> dict[str, ByChannel]:
    """Take the thresholds that a quantized CNN was trained with (see `adjust`)."""
    check_rate_scale(rate_scale)
    largest: dict[str, ByChannel] = {}
    for layer in layers:
        into = layers.into(layer.name)
        before = max(reference(largest.get(p.source, 1.0)) for p in into)
        if layer.ceiling is not None:
            largest[layer.name] = layer.ceiling.activation / most.get(layer.name, 1)
        elif layer.bias is None and all(p.gate or p.is_average for p in into):
            largest[layer.name] = before
        elif layer.name == layers.names[-1]:
            largest[layer.name] = _largest_sum(layers, largest, before)
        else:
            raise InputError(
                f"{layer.name}: it has no ceiling (a ReLU, or another activation than "
                "ClipFloorShift); give calibration=... (training images) too"
            )
    return _over_inputs(layers, largest, rate_scale)


def _largest_sum(
    layers: Network, largest: Mapping[str, ByChannel], before: float
) -> float:
    """Bound what reaches a neuron of the last layer."""
    last, shapes = layers[-1], layers.shapes
    values = {
        name: np.full((1, *shapes[name]), reference(largest.get(name, 1.0)))
        for name in layers.sources(last.name)
    }
    sums: Any = 0.0 if last.bias is None else last.bias
    arriving = []
    for p in layers.into(last.name):
        positive = p.connection.reweighted(np.maximum(p.connection.weight, 0))
        arriving.append(replace(p, connection=positive).drive(values[p.source])[0])
    found = float((sum(arriving) + sums).max())
    return found if found > 0 else before


def with_gates(
    layers: Network, found: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Put thresholds together, and add those of the gates of maximum pooling."""
    thresholds = {**found, **(given or {})}
    known = found if given is None else given
    for name in layers.names:
        source = layers.sources(name)[0]
        is_known = source == INPUT or source in thresholds
        if layers.is_gate(name) and name not in known and is_known:
            share = worth(thresholds.get(source, 1.0))
            thresholds[name] = 1.0 if share is None else share
    return thresholds


def input_scales(
    layers: Network, largest: Mapping[str, ByChannel], rate_scale: float
) -> dict[str, float]:
    """Give the activation that one spike a step of the layers before stands for."""
    pixel, scales = 1 / rate_scale, {}
    for name in layers.names:
        sources = layers.sources(name)
        scales[name] = max(reference(largest.get(one, pixel)) for one in sources)
    return scales


def largest_activation(
    name: str, values: Any, percentile: float, per_channel: bool
) -> ByChannel:
    """Find what counts as a layer's largest activation."""
    whole = float(_at_percentile(values, percentile))
    if not whole > 0:
        raise InputError(
            f"{name}: the {percentile}th percentile of its activations is "
            f"{whole:.3g}, so no threshold follows from it. {_advice(values)}"
        )
    if not per_channel:
        return whole
    channels: npt.NDArray[np.float64] = _at_percentile(values, percentile, True)
    channels[~(channels > 0)] = whole
    return channels


def _advice(values: Any) -> str:
    """Say what to do if nothing at a percentile is above 0."""
    if values.max() > 0:
        return "Use a higher percentile or other calibration images"
    if not values.min() < 0:
        return "It is silent for all of these images, so use others"
    # Only the last layer is not rectified.
    is_streamed = isinstance(values, Highest)
    lowest = values.lowest_highest if is_streamed else _lowest_highest(values)
    return (
        "No output of the CNN is above 0, and spikes can't say which is the largest. "
        "The same number more in each bias of the last layer changes no answer of the "
        f"CNN: add more than {np.ceil(-lowest):g}"
    )
