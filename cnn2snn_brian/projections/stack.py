"""All layers of a CNN."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent
from cnn2snn_brian.projections.kernels import MaxPool2d
from cnn2snn_brian.projections.order import INPUT, FloatArray, Shape
from cnn2snn_brian.projections.places import (
    Places,
    ReceptiveFields,
    column,
    receptive_fields,
    sample,
)
from cnn2snn_brian.projections.pooling import (
    AnyLayer,
    Joined,
    Part,
    Placed,
    Pooled,
    composed,
    drive,
    is_pooling,
    n_synapses,
    parts,
)


@dataclass(frozen=True, eq=False)
class Ceiling(ByContent):
    """
    What a layer computes instead of ReLU: ReLU6, or a quantized activation.

    Attributes
    ----------
    layer : str
        Name of the layer.
    activation : float
        Its largest activation, above 0: that of a neuron which spikes in each step.
    steps : int, optional
        Number of equal steps from 0 to there, at least 1; without it, nothing is
        rounded.

    Raises
    ------
    InputError
        If a number is out of its range.

    References
    ----------
    Bu et al. (2022), Optimal ANN-SNN Conversion for High-accuracy and
    Ultra-low-latency Spiking Neural Networks, doi:10.48550/arXiv.2303.04347
    """

    layer: str
    activation: float
    steps: int | None = None

    def __post_init__(self) -> None:
        n_steps = 1 if self.steps is None else self.steps
        if not 0 < self.activation < np.inf or n_steps < 1:
            raise InputError(
                f"{self.layer}: a ceiling of {self.activation} in {self.steps} steps, "
                "expected a number above 0 and at least 1 step"
            )

    def clipped(self, drive: FloatArray) -> FloatArray:
        """
        Compute the activations; with steps, rounded to them (eq. 15 of Bu et al.).

        Parameters
        ----------
        drive : ndarray of float
            Input of the neurons.

        Returns
        -------
        ndarray of float
            Of the same shape, from 0 to the ceiling.
        """
        if self.steps is None:
            return np.clip(drive, 0, self.activation)
        steps = np.floor(drive * (self.steps / self.activation) + 0.5)
        return np.asarray(
            np.clip(steps, 0, self.steps) * (self.activation / self.steps),
            dtype=drive.dtype,
        )


#: Most images, and most activations, that are computed at once, to bound the memory.
MAX_IMAGES, MAX_VALUES = 50, 2**25


@dataclass(frozen=True, eq=False)
class Layers(ByContent):
    """
    All layers of a CNN, in the order in which they are computed.

    They are a directed acyclic graph: a layer reads one or more of those before it, and
    may be read by several.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of an image, (channels, height, width).
    layers : tuple of Layer
        The layers. ``layers["conv1"]`` and ``layers[0]`` give one of them; ``print``
        shows a table. `convert` names them by what they do and counts each kind:
        ``conv1`` and ``conv2`` are convolutions, ``pool1`` is a pooling layer, and
        ``ip1`` a linear layer, whose neurons take the inner product of their input
        with their weights.
    ceilings : tuple of Ceiling
        Largest activations of layers that saturate: of ReLU6, and of a quantized CNN
        (see `adjust`).

    Raises
    ------
    InputError
        If there is no layer, two layers have one name, a layer reads one that does not
        come before it or has another shape, or a ceiling is of no layer.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[AnyLayer, ...]
    ceilings: tuple[Ceiling, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("a network needs at least one layer")
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        for layer in self.layers:
            if layer.name in shapes:
                raise InputError(f"two layers are named {layer.name!r}")
            for part in parts(layer):
                (name,) = part.inputs
                if shapes.get(name) != part.input_shape:
                    raise InputError(
                        f"{layer.name}: reads {name!r} of shape {shapes.get(name)}, "
                        f"expected {part.input_shape}"
                    )
            shapes[layer.name] = layer.shape
        for ceiling in self.ceilings:
            if ceiling.layer not in self.names:
                raise InputError(
                    f"a ceiling is given for {ceiling.layer!r}, which is no layer"
                )

    def __iter__(self) -> Iterator[AnyLayer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, key: str | int) -> AnyLayer:
        if isinstance(key, str):
            for layer in self.layers:
                if layer.name == key:
                    return layer
            raise KeyError(
                f"there is no layer {key!r}; layers are {', '.join(self.names)}"
            )
        return self.layers[key]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return tuple(layer.name for layer in self.layers)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of the input and of every layer, by name."""
        return {INPUT: self.input_shape} | {
            layer.name: layer.shape for layer in self.layers
        }

    def without_pooling_neurons(self) -> "Layers":
        """
        Compose average pooling with the layers behind it.

        Returns
        -------
        Layers
            The same CNN in which no layer is an average pooling but the last one, one
            that a maximum pooling reads, or one that saturates; `Pooled` layers read
            what was pooled.
        """
        pools = {layer.name: layer for layer in self if is_pooling(layer)}
        kept = {self.names[-1], *(ceiling.layer for ceiling in self.ceilings)}
        for layer in self:
            if isinstance(layer, MaxPool2d):  # not linear: it needs spikes to read
                kept.update(layer.inputs)
        pools = {name: layer for name, layer in pools.items() if name not in kept}
        made = [composed(layer, pools) for layer in self if layer.name not in pools]
        return Layers(self.input_shape, tuple(made), self.ceilings)

    def readers(self, name: str) -> list[tuple[AnyLayer, Part]]:
        """
        List what reads a layer, or the input.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        list of (layer, part)
            Each layer that reads it, and the connections, in the order of the layers.
        """
        return [
            (layer, part)
            for layer in self.layers
            for part in parts(layer)
            if part.inputs == (name,)
        ]

    @property
    def depths(self) -> dict[str, int]:
        """
        Number of layers on the longest way from the input to each layer.

        It is 0 for the input and 1 for a layer that reads nothing else.
        """
        found = {INPUT: 0}
        for layer in self.layers:
            found[layer.name] = 1 + max(found[name] for name in layer.inputs)
        return found

    @cached_property
    def receptive_fields(self) -> dict[str, ReceptiveFields]:
        """What part of the image the neurons of the input and of each layer see."""
        return receptive_fields(self.input_shape, self.layers)

    def column(
        self,
        y: float | None = None,
        x: float | None = None,
        layers: Iterable[str] | None = None,
    ) -> Places:
        """
        Choose the neurons of all channels that see one point of the image.

        Parameters
        ----------
        y, x : float, optional
            The point in pixels; the centre of the image by default.
        layers : iterable of str, optional
            Layers of channels (or ``input``); all but the input by default.

        Returns
        -------
        dict of str to list of tuple of int
            Of each layer the neurons (channel, y, x) whose receptive fields have their
            centres nearest to the point. `Recording` takes them as ``potentials``, the
            exports of a result as ``neurons``.

        Raises
        ------
        InputError
            If the point is outside of the image, or a layer is unknown or linear.
        """
        return column(self.receptive_fields, self.shapes, y, x, layers)

    def sample(
        self, n: int, seed: int = 0, layers: Iterable[str] | None = None
    ) -> Places:
        """
        Choose some neurons of each layer at random.

        Parameters
        ----------
        n : int
            Neurons of each layer; of a smaller layer all.
        seed : int
            Seed.
        layers : iterable of str, optional
            Layers (or ``input``); all but the input by default.

        Returns
        -------
        dict of str to list of tuple of int
            (channel, y, x), or (unit,) in a linear layer. `Recording` takes them as
            ``potentials``, the exports of a result as ``neurons``.

        Raises
        ------
        InputError
            If `n` or `seed` is no whole number, or a layer is unknown.
        """
        return sample(self.shapes, n, seed, layers)

    @property
    def n_synapses(self) -> int:
        """Number of synapses, the zero padding left out."""
        return sum(map(n_synapses, self.layers))

    def activations(self, images: FloatArray) -> dict[str, FloatArray]:
        """
        Compute what the CNN computes.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1].

        Returns
        -------
        dict of str to ndarray of float, shape ``(n, *layer.shape)``
            Activation of every layer. The last layer is not rectified.

        See Also
        --------
        activation_batches : The same for many images.
        """
        return {name: activation for name, _, activation in self.computed(images)}

    def computed(
        self, images: FloatArray
    ) -> Iterator[tuple[str, FloatArray, FloatArray]]:
        """
        Compute what the CNN computes, layer by layer.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1].

        Yields
        ------
        name : str
            Name of a layer, in order.
        total, activation : ndarray of float, shape ``(n, *layer.shape)``
            The sums before its ReLU, and its activation.
        """
        values: dict[str, FloatArray] = {INPUT: images}
        ceilings = {ceiling.layer: ceiling for ceiling in self.ceilings}
        for layer in self.layers:
            total = drive(layer, values)
            if layer.bias is not None:
                total = total + layer.bias
            activation = total
            if layer.name in ceilings:
                activation = ceilings[layer.name].clipped(total)
            elif layer is not self.layers[-1]:
                activation = np.maximum(total, 0)
            values[layer.name] = activation
            yield layer.name, total, activation

    def activation_batches(
        self, images: FloatArray
    ) -> Iterator[tuple[slice, dict[str, FloatArray]]]:
        """
        Compute what the CNN computes, for some images at a time.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1].

        Yields
        ------
        part : slice
            Which of the images: all of them, in order, at most 50 at once, and fewer
            of a large network.
        activations : dict of str to ndarray of float, shape ``(n, *layer.shape)``
            Their activations, as in `activations`.
        """
        n_values = sum(math.prod(shape) for shape in self.shapes.values())
        n_at_once = min(MAX_IMAGES, max(1, MAX_VALUES // n_values))
        for start in range(0, len(images), n_at_once):
            part = slice(start, start + n_at_once)
            yield part, self.activations(images[part])

    def collected_activations(
        self, images: FloatArray, names: Iterable[str] | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """
        Compute what some layers of the CNN compute, for all images.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1].
        names : iterable of str, optional
            The layers; all by default.

        Returns
        -------
        dict of str to ndarray of float32, shape ``(n, *layer.shape)``
            Their activations.
        """
        chosen = self.names if names is None else names
        parts: dict[str, list[Any]] = {name: [] for name in chosen}
        for _, batch in self.activation_batches(images):
            for name, values in parts.items():
                values.append(batch[name].astype(np.float32))
        # The parts of a layer are dropped before the next is put together.
        return {name: np.concatenate(parts.pop(name)) for name in [*parts]}

    def __repr__(self) -> str:
        ends = (self.input_shape, self.layers[-1].shape)
        first, last = ("x".join(map(str, shape)) for shape in ends)
        n_neurons = sum(math.prod(layer.shape) for layer in self.layers)
        return (
            f"{type(self).__name__}({first} -> {last}, {len(self.layers)} layers, "
            f"{n_neurons:,} neurons)"
        )

    def _parts(self) -> list[str | Table]:
        table = Table(box=None)
        table.add_column("layer")
        table.add_column("kind")
        table.add_column("reads")
        table.add_column("shape")
        for title in ("neurons", "synapses", "parameters"):
            table.add_column(title, justify="right")
        shape = "x".join(map(str, self.input_shape))
        n_input = math.prod(self.input_shape)
        table.add_row(INPUT, "image", "", shape, f"{n_input:,}", "", "")
        totals = np.array([n_input, 0, 0])
        for layer in self.layers:
            counts = (
                math.prod(layer.shape),
                n_synapses(layer),
                layer.n_parameters,
            )
            totals += counts
            table.add_row(
                layer.name,
                _kind(layer),
                ", ".join(layer.inputs),
                "x".join(map(str, layer.shape)),
                *(f"{count:,}" for count in counts),
            )
        table.add_row("total", "", "", "", *(f"{total:,}" for total in totals))
        return [table]


def _kind(layer: AnyLayer) -> str:
    """Describe the connections into a layer in a word or two."""
    if isinstance(layer, Joined):
        kinds = dict.fromkeys(map(_kind, layer.parts))
        return f"{' + '.join(kinds)} of {len(layer.parts)}"
    if isinstance(layer, Pooled):
        return f"{_kind(layer.layer)} of averages"
    if isinstance(layer, Placed):
        return _kind(layer.layer)
    return type(layer).__name__
