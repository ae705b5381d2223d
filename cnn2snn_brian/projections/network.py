"""Populations and the projections between them: the network that is built of a CNN."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from rich.table import Table

from cnn2snn_brian.checks import check_choice
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.algebra import Value, named, then
from cnn2snn_brian.projections.base import ADDED, ByContent, shown
from cnn2snn_brian.projections.connection import Connection
from cnn2snn_brian.projections.order import INPUT, FloatArray, Shape
from cnn2snn_brian.projections.pixels import OnOffPixels
from cnn2snn_brian.projections.places import (
    Places,
    ReceptiveFields,
    column,
    receptive_fields,
    sample,
)
from cnn2snn_brian.projections.window import Span, Window, span_matrix

#: Which spikes pass a gate: those of the input with most spikes so far, or those that
#: make the largest count of a window larger.
GateRule = Literal["gate", "largest-count"]

#: What a spike that passes a gate adds to a neuron of the pooled population. Its
#: threshold is 1 and its reset to 0, so each such spike makes one of its own. The
#: little above 1 is for thresholds by channel, which are rounded.
PASSED = 1 + 2.0**-10

#: Most images, and most activations, that are computed at once, to bound the memory.
MAX_IMAGES, MAX_VALUES = 50, 2**25


def check_rule(what: str, rule: object) -> None:
    """Refuse what is not a rule of gates."""
    check_choice(what, rule, get_args(GateRule))


@dataclass(frozen=True, eq=False)
class Ceiling(ByContent):
    """
    What a population computes instead of ReLU: ReLU6, or a quantized activation.

    Attributes
    ----------
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

    activation: float
    steps: int | None = None

    def __post_init__(self) -> None:
        n_steps = 1 if self.steps is None else self.steps
        if not 0 < self.activation < np.inf or n_steps < 1:
            raise InputError(
                f"a ceiling of {self.activation} in {self.steps} steps, expected a "
                "number above 0 and at least 1 step"
            )

    def clipped(self, drive: FloatArray) -> FloatArray:
        """Compute the activations, rounded to its steps (eq. 15 of Bu et al.)."""
        if self.steps is None:
            return np.clip(drive, 0, self.activation)
        steps = np.floor(drive * (self.steps / self.activation) + 0.5)
        found = np.clip(steps, 0, self.steps) * (self.activation / self.steps)
        return np.asarray(found, dtype=drive.dtype)


@dataclass(frozen=True, eq=False)
class Population(ByContent):
    """
    A population of neurons: those of a ReLU of the CNN, of a pooling, or the last.

    Attributes
    ----------
    name : str
        Name of its neurons and of its threshold.
    shape : tuple of int
        (channels, height, width) or (n,).
    bias : ndarray of float, of shape `shape`, or None
        Constant input of each neuron.
    n_bias_parameters : int
        Number of trained values in the bias.
    ceiling : Ceiling, optional
        Its largest activation, if it saturates.
    unit : str
        Where the CNN computes its sums, if a module does.
    off_of : str
        For OFF cells: name of the ON cells, whose input theirs is times -1.

    Raises
    ------
    InputError
        If the bias does not fit.
    """

    name: str
    shape: Shape
    bias: FloatArray | None = None
    n_bias_parameters: int = 0
    ceiling: Ceiling | None = None
    unit: str = field(default="", compare=False)
    off_of: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.bias is None:
            return
        if self.bias.shape != self.shape:
            raise InputError(
                f"{self.name}: the bias has the shape {self.bias.shape}, the "
                f"population {self.shape}"
            )
        self.freeze(f"{self.name}: ", "bias")


@dataclass(frozen=True, eq=False)
class Projection(ByContent):
    """
    The synapses from one population to another.

    Attributes
    ----------
    name : str
        Its name: that of its target, if nothing else reaches that.
    source, target : str
        Names of the populations.
    connection : Connection
        Which neurons are connected, with which weights.
    delay_s : float
        How long spikes take, in seconds, besides the delays of a `SpikingNetwork`. A
        projection to a population that comes before its source needs one time step.
    gate : {"gate", "largest-count"}, optional
        Maximum pooling: which spikes of a window pass. A gate's connection is a window
        alone [1]_.
    feedback : bool
        Whether it counts as feedback though its source comes before its target: of
        populations that stand side by side, one has to come first.

    Raises
    ------
    InputError
        If a gate has a kernel, its rule is unknown, or the delay is negative.

    References
    ----------
    .. [1] Rueckauer et al. (2017), Conversion of Continuous-Valued Deep Networks to
       Efficient Event-Driven Networks, doi:10.3389/fnins.2017.00682
    """

    name: str
    source: str
    target: str
    connection: Connection
    delay_s: float = 0.0
    gate: GateRule | None = None
    feedback: bool = field(default=False, metadata=ADDED)

    def __post_init__(self) -> None:
        if self.gate is not None:
            check_rule("gate", self.gate)
            if self.connection.kernel is not None:
                raise InputError(
                    f"{self.name}: a gate reads a window, without a kernel"
                )
        if not 0 <= self.delay_s < np.inf:
            raise InputError(f"{self.name}: delay_s={self.delay_s}, expected 0 or more")

    @property
    def is_average(self) -> bool:
        """Whether it does nothing but average."""
        return self.connection.kernel is None and self.gate is None

    @property
    def label(self) -> str:
        """What tables call it."""
        return "MaxPool2d" if self.gate else self.connection.label

    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the input of the target, for ``(n, *shape)`` values of the source."""
        if self.gate is None:
            return self.connection.drive(values)
        assert self.connection.window is not None
        return self.connection.window.largest(values)


@dataclass(frozen=True, eq=False)
class Network(ByContent):
    """
    Populations and the projections between them: a directed graph.

    Populations are in the order in which they are computed. A projection to a
    population that comes before its source, or to the source itself, is feedback; it
    has a delay.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of an image, (channels, height, width).
    populations : tuple of Population
        The populations. ``network["conv1"]`` and ``network[0]`` give one of them;
        ``print`` shows a table. `convert` names them by what they do and counts each
        kind: ``conv1`` and ``conv2`` are convolutions, ``pool1`` is a pooling, and
        ``ip1`` a linear layer, whose neurons take the inner product of their input with
        their weights.
    projections : tuple of Projection
        The projections, in the order of their targets.
    pixels : OnOffPixels, optional
        What the input neurons say, if that is not pixels; `input_shape` then has twice
        an image's channels.
    notes : tuple of str
        What was chosen when a CNN was read; ``print`` of the `SpikingNetwork` shows it.

    Raises
    ------
    InputError
        If there is no population, two populations or projections have one name, a
        projection does not fit its populations, nothing but feedback reaches a
        population, or feedback has no delay.
    """

    input_shape: tuple[int, int, int]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    pixels: OnOffPixels | None = field(default=None, metadata=ADDED)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.populations and any(self.input_shape):
            raise InputError("a network needs at least one population")
        for name, n in Counter((INPUT, *self.names)).items():
            if n > 1:
                raise InputError(f"two populations are named {name!r}")
        pixels, n = self.pixels, self.input_shape[0]
        if pixels is not None and 2 * pixels.n_channels != n:
            raise InputError(
                f"the input has {n} channels, expected {2 * pixels.n_channels}: ON and "
                f"OFF cells of {pixels.n_channels}"
            )
        shapes = self.shapes
        names = [projection.name for projection in self.projections]
        if len({*names}) != len(names):
            raise InputError(f"two projections have one name: {', '.join(names)}")
        for projection in self.projections:
            source, target = projection.source, projection.target
            found = shapes.get(source), shapes.get(target)
            given = projection.connection.input_shape, projection.connection.shape
            if found != given or target == INPUT:
                raise InputError(
                    f"{projection.name}: reads {source!r} of shape {found[0]} and "
                    f"reaches {target!r} of shape {found[1]}; its connection is from "
                    f"{given[0]} to {given[1]}"
                )
            if self.is_feedback(projection) and not projection.delay_s > 0:
                raise InputError(
                    f"{projection.name}: {source!r} is not before {target!r}, so "
                    "its spikes need a delay"
                )
        for name in self.names:
            if not self.sources(name):
                raise InputError(f"{name}: nothing before it reaches it")

    def __iter__(self) -> Iterator[Population]:
        return iter(self.populations)

    def __len__(self) -> int:
        return len(self.populations)

    def __getitem__(self, key: str | int) -> Population:
        if not isinstance(key, str):
            return self.populations[key]
        if key in self.names:
            return self.populations[self.names.index(key)]
        raise KeyError(
            f"there is no population {key!r}; there are {', '.join(self.names)}"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the populations, in order."""
        return tuple(population.name for population in self.populations)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of the input and of every population, by name."""
        return {INPUT: self.input_shape} | {one.name: one.shape for one in self}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image, (channels, height, width)."""
        channels, height, width = self.input_shape
        return (channels // (1 if self.pixels is None else 2), height, width)

    @cached_property
    def _order(self) -> dict[str, int]:
        return {name: index for index, name in enumerate((INPUT, *self.names))}

    def is_feedback(self, projection: Projection) -> bool:
        """Say whether the source does not come before the target, or does not count."""
        return (
            projection.feedback
            or self._order[projection.source] >= self._order[projection.target]
        )

    @cached_property
    def _into(self) -> dict[str, tuple[Projection, ...]]:
        return {
            name: tuple(p for p in self.projections if p.target == name)
            for name in self.names
        }

    def into(self, name: str) -> tuple[Projection, ...]:
        """
        List the projections to a population.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        tuple of Projection
            All of them, feedback too.
        """
        return self._into[name]

    def out_of(self, name: str) -> tuple[Projection, ...]:
        """
        List the projections from a population, or the input.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        tuple of Projection
            All of them, in the order of their targets.
        """
        return tuple(p for p in self.projections if p.source == name)

    def sources(self, name: str) -> tuple[str, ...]:
        """
        List what a population reads, without feedback.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        tuple of str
            Names, each once.
        """
        return tuple(
            dict.fromkeys(p.source for p in self.into(name) if not self.is_feedback(p))
        )

    @property
    def pairs(self) -> dict[str, str]:
        """Names of OFF cells by those of the ON cells that belong to them."""
        return {one.off_of: one.name for one in self if one.off_of in self.names}

    def is_gate(self, name: str) -> bool:
        """Say whether a population is a maximum pooling."""
        return any(p.gate is not None for p in self.into(name))

    def without_pooling_neurons(self) -> "Network":
        """
        Compose average pooling with what reads it.

        Returns
        -------
        Network
            The same CNN in which no population is an average pooling but the last one,
            one that a maximum pooling reads, and one that saturates.
        """
        kept = {self.names[-1], *(p.source for p in self.projections if p.gate)}
        made: list[Projection] = []
        #: Of each pool, its connections with what has neurons.
        pools: dict[str, list[tuple[str, Connection]]] = {}
        for population in self:
            name, before = population.name, self.into(population.name)
            found: list[tuple[str, Connection]] = []
            for p in before:
                if p.source not in pools:
                    found.append((p.source, p.connection))
                for source, first in pools.get(p.source, ()):
                    whole = then(first, p.connection)
                    assert whole is not None  # a window can always come first
                    found.append((source, whole))
            plain = population.bias is None and population.ceiling is None
            if plain and name not in kept and all(p.is_average for p in before):
                pools[name] = found
            elif any(p.source in pools for p in before):
                alone = len(found) == 1 and before[0].name == name
                made += _projections(name, found, alone=alone)
            else:
                made += before
        populations = tuple(p for p in self.populations if p.name not in pools)
        return replace(self, populations=populations, projections=tuple(made))

    @property
    def depths(self) -> dict[str, int]:
        """
        Number of populations on the longest way from the input to each.

        It is 0 for the input and 1 for a population that reads nothing else.
        """
        found = {INPUT: 0}
        for name in self.names:
            found[name] = 1 + max(found[source] for source in self.sources(name))
        return found

    @cached_property
    def receptive_fields(self) -> dict[str, ReceptiveFields]:
        """What part of the image the neurons of each population see."""
        forward = {
            name: [
                (p.source, p.connection)
                for p in self.into(name)
                if not self.is_feedback(p)
            ]
            for name in self.names
        }
        return receptive_fields(self.input_shape, forward)

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
            Populations with channels (or ``input``); all but the input by default.

        Returns
        -------
        dict of str to list of tuple of int
            Of each population the neurons (channel, y, x) whose receptive fields have
            their centres nearest to the point. `Recording` takes them as
            ``potentials``, the exports of a result as ``neurons``.

        Raises
        ------
        InputError
            If the point is outside of the image, or a population is unknown or linear.
        """
        return column(self.receptive_fields, self.shapes, y, x, layers)

    def sample(
        self, n: int, seed: int = 0, layers: Iterable[str] | None = None
    ) -> Places:
        """
        Choose some neurons of each population at random.

        Parameters
        ----------
        n : int
            Neurons of each population; of a smaller one all.
        seed : int
            Seed.
        layers : iterable of str, optional
            Populations (or ``input``); all but the input by default.

        Returns
        -------
        dict of str to list of tuple of int
            (channel, y, x), or (unit,) in a linear population. `Recording` takes them
            as ``potentials``, the exports of a result as ``neurons``.

        Raises
        ------
        InputError
            If `n` or `seed` is not a whole number, or a population is unknown.
        """
        return sample(self.shapes, n, seed, layers)

    @property
    def n_synapses(self) -> int:
        """Number of synapses, the zero padding left out."""
        return sum(p.connection.n_synapses for p in self.projections)

    def drive(self, name: str, values: Mapping[str, npt.NDArray[Any]]) -> FloatArray:
        """
        Sum the input of a population's neurons, without bias.

        Parameters
        ----------
        name : str
            Name of the population.
        values : dict of str to ndarray of float, shape ``(n, *shape)``
            Activations by name; a population that is missing sends nothing.

        Returns
        -------
        ndarray of float, shape ``(n, *shape)``
            The sum over all projections; of shape (1, ...) and 0 if nothing is sent.
        """
        arriving = [
            p.drive(values[p.source]) for p in self.into(name) if p.source in values
        ]
        if not arriving:
            return np.zeros((1, *self[name].shape))
        return sum(arriving[1:], arriving[0])

    def said_by_input(self, images: FloatArray) -> FloatArray:
        """
        Give what the input neurons say of images.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1].

        Returns
        -------
        ndarray of float, shape ``(n, *input_shape)``
            The pixels, or ON and OFF channels (see `OnOffPixels`).
        """
        return images if self.pixels is None else self.pixels.channels(images)

    def activations(self, images: FloatArray, passes: int = 1) -> dict[str, FloatArray]:
        """
        Compute what the CNN computes.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1], or what ON and OFF cells say of them.
        passes : int
            How often all populations are computed, one after another. Feedback brings
            what the pass before gave, so the first pass, the only one by default, is
            without it.

        Returns
        -------
        dict of str to ndarray of float, shape ``(n, *shape)``
            Activation of every population. The last one is not rectified.

        See Also
        --------
        activation_batches : The same for many images.
        """
        return {
            name: activation for name, _, activation in self.computed(images, passes)
        }

    def computed(
        self, images: FloatArray, passes: int = 1
    ) -> Iterator[tuple[str, FloatArray, FloatArray]]:
        """
        Compute what the CNN computes, population by population.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1], or what ON and OFF cells say of them.
        passes : int
            As in `activations`.

        Yields
        ------
        name : str
            Name of a population, in order, pass after pass.
        total, activation : ndarray of float, shape ``(n, *shape)``
            The sums before its ReLU, and its activation.
        """
        values: dict[str, FloatArray] = {INPUT: self.said_by_input(images)}
        last = {p.source: name for name in self.names for p in self.into(name)}
        for population in self.populations * passes:
            # In the first pass, a source of feedback is not among the values yet.
            total = self.drive(population.name, values)
            if population.bias is not None:
                total = total + population.bias
            activation = total
            if population.ceiling is not None:
                activation = population.ceiling.clipped(total)
            elif population is not self.populations[-1]:
                activation = np.maximum(total, 0)
            values[population.name] = activation
            if passes > 1 and population is self.populations[-1]:
                # What feedback brings of it has been sent as spikes.
                values[population.name] = np.maximum(activation, 0)
            yield population.name, total, activation
            if passes == 1:  # what nothing reads any more is dropped
                for source, reader in last.items():
                    if reader == population.name:
                        values.pop(source, None)

    def activation_batches(
        self, images: FloatArray, passes: int = 1
    ) -> Iterator[tuple[slice, dict[str, FloatArray]]]:
        """
        Compute what the CNN computes, for some images at a time.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1], or what ON and OFF cells say of them.
        passes : int
            As in `activations`.

        Yields
        ------
        part : slice
            Which of the images: all of them, in order, at most 50 at once, and fewer
            of a large network.
        activations : dict of str to ndarray of float, shape ``(n, *shape)``
            Their activations, as in `activations`.
        """
        for part in self.batches(images):
            yield part, self.activations(images[part], passes)

    def batches(self, images: FloatArray) -> Iterator[slice]:
        """
        Say how many images are computed at once.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images.

        Yields
        ------
        slice
            Which of them: at most 50, and fewer of a large network.
        """
        n_values = sum(math.prod(shape) for shape in self.shapes.values())
        n_at_once = min(MAX_IMAGES, max(1, MAX_VALUES // n_values))
        for start in range(0, len(images), n_at_once):
            yield slice(start, start + n_at_once)

    def collected_activations(
        self,
        images: FloatArray,
        names: Iterable[str] | None = None,
        passes: int = 1,
    ) -> dict[str, npt.NDArray[np.float32]]:
        """
        Compute what some populations compute, for all images.

        Parameters
        ----------
        images : ndarray of float, shape (n, channels, height, width)
            Images with pixels in [0, 1], or what ON and OFF cells say of them.
        names : iterable of str, optional
            The populations; all by default.
        passes : int
            As in `activations`.

        Returns
        -------
        dict of str to ndarray of float32, shape ``(n, *shape)``
            Their activations.
        """
        chosen = self.names if names is None else names
        parts: dict[str, list[Any]] = {name: [] for name in chosen}
        for _, batch in self.activation_batches(images, passes):
            for name, values in parts.items():
                values.append(batch[name].astype(np.float32))
        # The parts of a population are dropped before the next is put together.
        return {name: np.concatenate(parts.pop(name)) for name in [*parts]}

    def __repr__(self) -> str:
        n_neurons = sum(math.prod(population.shape) for population in self)
        return (
            f"{type(self).__name__}({shown(self.input_shape)} -> "
            f"{shown(self.populations[-1].shape)}, {len(self)} populations, "
            f"{n_neurons:,} neurons)"
        )

    def _parts(self) -> list[str | Table]:
        table = Table(box=None)
        columns = "layer", "kind", "reads", "shape", "neurons", "synapses", "parameters"
        for index, title in enumerate(columns):
            table.add_column(title, justify="left" if index < 4 else "right")
        n_input = math.prod(self.input_shape)
        kind = "image" if self.pixels is None else "ON and OFF pixels"
        table.add_row(INPUT, kind, "", shown(self.input_shape), f"{n_input:,}", "", "")
        totals = np.array([n_input, 0, 0])
        off = {*self.pairs.values()}
        for one in self:
            into = self.into(one.name)
            # Those of OFF cells are the same ones as those of ON cells.
            own = () if one.name in off else (p for p in into if p.source not in off)
            n_parameters = sum(p.connection.n_parameters for p in own)
            n_synapses = sum(p.connection.n_synapses for p in into)
            n_parameters += one.n_bias_parameters
            counts = math.prod(one.shape), n_synapses, n_parameters
            totals += counts
            kind = " + ".join(dict.fromkeys(p.label for p in into))
            kind += f" of {len(into)}" if len(into) > 1 else ""
            texts = one.name, kind, ", ".join(self.sources(one.name)), shown(one.shape)
            table.add_row(*texts, *(f"{count:,}" for count in counts))
        table.add_row("total", "", "", "", *(f"{total:,}" for total in totals))
        return [table]


def gate_window(sizes: Sequence[int], spans: Sequence[Iterable[Span]]) -> Window:
    """Make the window of a gate, of the spans of both axes."""
    each = [list(axis) for axis in spans]
    return Window(
        span_matrix(sizes[0], each[0], [1.0] * len(each[0])),
        span_matrix(sizes[1], each[1], [PASSED] * len(each[1])),
    )


def neurons_of(
    value: Value, name: str, ceiling: Ceiling | None = None, unit: str = ""
) -> tuple[Population, list[Projection]]:
    """Give neurons to a value: a population, and the projections that reach it."""
    population = Population(
        name, value.shape, value.bias, value.n_biases, ceiling, unit
    )
    found = value.connections()
    alone = len(found) == 1 and found[0][1].is_whole
    return population, _projections(name, found, alone=alone)


def _projections(
    name: str, found: list[tuple[str, Connection]], *, alone: bool
) -> list[Projection]:
    """Name the projections of a population; one that is alone as that is named."""
    names = [name] if alone else named(name, (source for source, _ in found))
    return [
        Projection(own, source, name, connection)
        for own, (source, connection) in zip(names, found, strict=True)
    ]
