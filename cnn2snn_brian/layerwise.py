"""
Spikes of a converted network, population by population: all steps of one at once.

Without feedback, what a population sends follows from what its sources have sent. So
its input of all steps is one call of torch's convolution, and nothing is compiled. The
spikes are those of the compiled program, but for rounding: sums of float32 numbers are
in another order.
"""

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import give_back
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    INPUT,
    Connection,
    Convolution,
    Dense,
    FloatArray,
    Kernel,
    Network,
    Projection,
    Shape,
    TransposedConvolution,
    by_channel,
    is_large,
)
from cnn2snn_brian.settings import (
    ROUNDING,
    Encoding,
    NeuronModel,
    Parameters,
    Propagation,
    Reset,
    input_gains,
    projection_delays_s,
    weight_factors,
)

#: Most values of a population, in all steps, that are computed at once.
MAX_VALUES = 2**24

#: What a message says of neurons that are not covered.
COVERED = (
    "covered are IF, LIF and BurstIF neurons without noise and refractory period; "
    "tune_thresholds works with every network"
)


@dataclass(frozen=True)
class Layerwise:
    """
    A network, to be computed population by population.

    Attributes
    ----------
    layers : Network
        The populations.
    models : dict of str to NeuronModel
        Model of the neurons of each.
    n_steps : int
        Steps of an image.
    reset, encoding, propagation, dt_s, delays_s
        As of a `SpikingNetwork`.

    Raises
    ------
    InputError
        If there is feedback, or a population has neurons that are not covered.
    """

    layers: Network
    models: Mapping[str, NeuronModel]
    n_steps: int
    reset: Reset
    encoding: Encoding
    propagation: Propagation
    dt_s: float
    delays_s: Mapping[str, float]

    def __post_init__(self) -> None:
        for p in self.layers.projections:
            if self.layers.is_feedback(p):
                raise InputError(
                    f"{p.name}: feedback, so {p.target} can't be computed before what "
                    f"comes after it; {COVERED}"
                )
        for name, model in self.models.items():
            if not model.is_one_pass or model.on_pre != "v_post += w":
                raise InputError(f"{name}: neurons {model}; {COVERED}")

    @classmethod
    def of(cls, snn: Any, n_steps: int) -> "Layerwise":
        """Take a `SpikingNetwork`; refuse one with synapses that fail or learn."""
        others = {
            "synapses that fail": ", ".join(snn.release_probability),
            "synapses that learn": ", ".join(snn.rules),
            "what extend added": ", ".join(snn.extension.names),
        }
        for what, names in others.items():
            if names:
                raise InputError(f"{names}: {what}; {COVERED}")
        own = (snn.reset, snn.encoding, snn.propagation, snn.dt_s, snn.delays_s)
        return cls(snn.layers, snn.models(snn.neurons), n_steps, *own)

    def stage(self, name: str, parameters: Parameters) -> "Stage":
        """Make a population ready to be computed."""
        return Stage(self, name, parameters)

    def n_at_once(self) -> int:
        """Say how many images are computed at once."""
        most = max(math.prod(shape) for shape in self.layers.shapes.values())
        return max(1, MAX_VALUES // (most * self.n_steps))

    def input_spikes(
        self, pixels: FloatArray, rate_scale: float, seed: int, first: int = 0
    ) -> Any:
        """Draw the spikes of Poisson input; `first` is the index of the first image."""
        import torch

        drawn = np.empty((self.n_steps, *pixels.shape), np.int8)
        for index, image in enumerate(pixels):
            rng = np.random.default_rng((seed, first + index))
            uniform = rng.random((self.n_steps, *image.shape), np.float32)
            drawn[:, index] = uniform < rate_scale * image
        return torch.from_numpy(drawn)

    def unused(self, name: str) -> set[str]:
        """List the sources of a population that nothing after it reads."""
        names = self.layers.names
        later = names[names.index(name) + 1 :]
        return {
            source
            for source in self.layers.sources(name)
            if all(p.target not in later for p in self.layers.out_of(source))
        }

    def spikes(
        self, parameters: Parameters, pixels: FloatArray, given: Any = None
    ) -> Iterator[tuple[str, Any, Any]]:
        """
        Compute all populations for some images at once.

        Yields name, spikes, int8 of shape (n_steps, n, *shape), and potentials left.
        Poisson input is `given`, of that form.
        """
        sent = {} if given is None else {INPUT: given}
        for name in self.layers.names:
            stage = self.stage(name, parameters)
            sent[name], left = stage.fired(stage.currents(sent, pixels))
            yield name, sent[name], left
            for source in self.unused(name):
                sent.pop(source, None)

    def predictions(
        self, parameters: Parameters, pixels: FloatArray, seed: int = 0
    ) -> npt.NDArray[np.int64]:
        """Classify images, as `SimulationResult.predictions` does."""
        found = []
        for start in range(0, len(pixels), self.n_at_once()):
            part, given = pixels[start : start + self.n_at_once()], None
            if self.encoding == "poisson":
                given = self.input_spikes(part, parameters.rate_scale, seed, start)
            # Others need not be kept.
            ((_, *last),) = deque(self.spikes(parameters, part, given), maxlen=1)
            found.append(classes(*last))
            del given, last
        if self.n_at_once() == 1:
            give_back()
        return np.concatenate(found)

    def evenly(
        self, parameters: Parameters, pixels: FloatArray, *, rounds: bool, clips: bool
    ) -> npt.NDArray[np.int64]:
        """
        Classify images as if every neuron spread its spikes evenly over the steps.

        Their number follows from all that arrives in an image. It is a whole one if it
        `rounds`, and from none to the most of all steps if it `clips`; else 0 or above.
        """
        found = []
        for start in range(0, len(pixels), self.n_steps * self.n_at_once()):
            part = pixels[start : start + self.n_steps * self.n_at_once()]
            rates = {INPUT: parameters.rate_scale * tensor(part)}
            for name in self.layers.names:
                stage = self.stage(name, parameters)
                charge = stage.charge(rates, part)
                n = charge / stage.v_th
                if self.layers.is_gate(name):  # it passes what there is
                    n = (charge - stage.start) / stage.v_th
                else:
                    # On average, what is rounded down is half a spike.
                    n = n.floor() if rounds else n - 0.5
                    most = stage.model.most * self.n_steps if clips else math.inf
                    n = n.clamp(0, most)
                rates[name] = n / self.n_steps
                for source in self.unused(name):
                    del rates[source]
            found.append(charge.flatten(1).argmax(1).numpy())
        return np.concatenate(found)


def classes(spikes: Any, left: Any) -> npt.NDArray[np.int64]:
    """Find the neuron with the most spikes; ties go by the potential left."""
    counts = spikes.sum(0).flatten(1).numpy()
    is_best = counts == counts.max(1, keepdims=True)
    return np.where(is_best, left.flatten(1).numpy(), -np.inf).argmax(1)


class Stage:
    """A population with its numbers: input from spikes, and spikes from input."""

    def __init__(self, whole: Layerwise, name: str, parameters: Parameters) -> None:
        layers, self.name = whole.layers, name
        population = layers[name]
        self.whole, self.shape = whole, population.shape
        self.model = whole.models[name]
        self.gain = input_gains(layers, parameters.thresholds, parameters.rate_scale)[
            name
        ]
        factors = weight_factors(layers, parameters)
        delays = projection_delays_s(
            layers, whole.delays_s, whole.dt_s, whole.propagation
        )
        self.constant: Any = 0.0
        if population.bias is not None:
            self.constant = tensor(population.bias * self.gain)
        #: Source, what its spikes do, and the steps that they take.
        self.parts: list[tuple[str, Callable[[Any], Any], int]] = []
        #: What pixels do, if they are currents.
        self.shown: list[Callable[[Any], Any]] = []
        for p in layers.into(name):
            if p.source == INPUT and whole.encoding == "current":
                self.shown.append(linear(p.connection))
                continue
            share = factors.get(p.name)
            steps = round(delays[p.name] / whole.dt_s)
            self.parts.append((p.source, _synapses(p, share), steps))
        self.subtracts = whole.reset == "subtract" and not layers.is_gate(name)
        self.factor = _factor(self.model, whole.dt_s)
        self.take(parameters)

    def take(self, parameters: Parameters) -> None:
        """Take its own threshold, leak, start and floor."""
        self.v_th, self.leak, start = (
            plane(by_channel(values[self.name], self.shape), self.shape)
            for values in (parameters.thresholds, parameters.leak, parameters.v_init)
        )
        self.start = start * self.v_th
        self.v_min = float(parameters.v_min[self.name])

    def currents(self, sent: Mapping[str, Any], pixels: FloatArray) -> Any:
        """
        Compute what is added to the potentials, but for the leak.

        It has the shape (n_steps, n, *shape); if spikes cross one layer in a step, a
        last entry has what arrives after the last threshold.
        """
        import torch

        n_steps, late = self.whole.n_steps, self.whole.propagation == "step"
        constant = self.constant
        for drive in self.shown:
            constant = constant + self.gain * drive(tensor(pixels))
        if not self.parts and not late:
            return constant.expand(n_steps, *constant.shape)
        total = torch.zeros(n_steps + late, len(pixels), *self.shape)
        total[:n_steps] += constant
        for source, synapses, delay in self.parts:
            spikes = sent[source][: max(0, n_steps - delay)]
            if not len(spikes):
                continue
            arriving = synapses(spikes)
            if late:  # then equations come between arrival and threshold
                arriving[: n_steps - delay - 1] *= self.factor
            total[delay + late :] += arriving
        return total

    def charge(self, rates: Mapping[str, Any], pixels: FloatArray) -> Any:
        """Sum all that arrives in an image if spikes come evenly, from the start on."""
        n_steps, late = self.whole.n_steps, self.whole.propagation == "step"
        total = self.constant + self.leak
        for drive in self.shown:
            total = total + self.gain * drive(tensor(pixels))
        for source, synapses, delay in self.parts:
            share = max(0, n_steps - delay - late) / n_steps
            total = total + share * synapses(rates[source][None])[0]
        return self.start + n_steps * total

    def fired(self, currents: Any) -> tuple[Any, Any]:
        """Integrate and fire: give the spikes, int8, and the potentials left."""
        import torch

        n_steps = self.whole.n_steps
        v = self.start.expand(currents.shape[1:]).clone()
        spikes = torch.empty((n_steps, *v.shape), dtype=torch.int8)
        net = torch.zeros_like(v)
        for step, added in enumerate(currents[:n_steps]):
            if self.factor != 1:
                v *= self.factor
            v += self.leak + added
            sizes = self._sizes(v, net)
            if self.subtracts:
                v.addcmul_(sizes, self.v_th, value=-1)
            else:
                v.masked_fill_(sizes > 0, 0)
            if self.model.signed:
                net += sizes
            if self.v_min > -math.inf:
                v.clamp_(min=self.v_min)
            spikes[step] = sizes
        if len(currents) > n_steps:
            v += currents[n_steps]
        return spikes, v

    def _sizes(self, v: Any, net: Any) -> Any:
        """Count the spikes of a step; of signed neurons, `net` were sent so far."""
        is_gate = self.model.size is not None and not self.subtracts
        less = ROUNDING if is_gate else 0.0
        levels = [k - less for k in range(1, self.model.most + 1)]
        sizes = sum((v >= level * self.v_th).float() for level in levels)
        if self.model.signed and self.subtracts:
            back = sum((v <= -level * self.v_th).float() for level in levels)
            sizes -= back.minimum(net)
        return sizes


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Let torch compute with so many threads; None leaves that as it is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if n is None else n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tensor(values: Any) -> Any:
    """Make a torch tensor of float32 numbers; images have their channels last."""
    import torch

    found = torch.from_numpy(np.array(values, np.float32))
    is_image = found.ndim == 4
    return found.to(memory_format=torch.channels_last) if is_image else found


def plane(values: Any, shape: Shape) -> Any:
    """Give each neuron its number: as images are in memory, that is fastest."""
    return tensor(np.broadcast_to(values, shape)[None])[0]


def _weights(kernel: Kernel, share: FloatArray | None) -> Any:
    """Give weights as a tensor: a large matrix itself, unless inputs have a share."""
    import torch

    given: Any = kernel.weight
    if share is not None:
        given = np.empty(given.shape, np.float32)
        np.multiply(kernel.weight, share, out=given)  # in float64, part by part
    elif given.ndim == 4 or not is_large(given):
        return tensor(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it must not be written to
        return torch.from_numpy(given)


def linear(
    connection: Connection, share: FloatArray | None = None
) -> Callable[[Any], Any]:
    """Do what `Connection.drive` does, with tensors of torch; channels have a share."""
    from torch.nn import functional as F

    window, kernel = connection.window, connection.kernel
    if share is not None and isinstance(kernel, Dense):
        share = np.repeat(share, kernel.weight.shape[1] // len(share))
    elif share is not None:
        connection, share = connection.times(share), None
        kernel = connection.kernel
    axes = None if window is None else [tensor(matrix) for matrix in window.axes]
    weight: Any = None if kernel is None else _weights(kernel, share)

    def drive(x: Any) -> Any:
        if axes is not None:
            x = axes[0] @ x @ axes[1].T
        if isinstance(kernel, Convolution):
            (top, bottom), (left, right) = kernel.padding
            if (top, left) != (bottom, right):
                x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
            settings = kernel.stride, (top, left), kernel.dilation, kernel.groups
            x = F.conv2d(x, weight, None, *settings)
        elif isinstance(kernel, TransposedConvolution):
            (top, bottom), (left, right) = kernel.padding
            x = F.conv_transpose2d(
                x, weight, None, kernel.stride, 0, 0, kernel.groups, kernel.dilation
            )
            x = F.pad(x, (-left, -right, -top, -bottom))
        elif isinstance(kernel, Dense):
            x = x.flatten(1) @ weight.T
        elif kernel is not None:
            x = x * by_channel(weight, connection.read_shape)
        if connection.is_whole:
            return x
        whole = x.new_zeros(len(x), *connection.shape)
        whole[:, connection.start : connection.start + x.shape[1]] = x
        return whole

    return drive


def _synapses(projection: Projection, share: Any) -> Callable[[Any], Any]:
    """Say what spikes of all steps, (n_steps, n, *shape), do to their targets."""
    connection = projection.connection
    if projection.gate is not None:
        weight = tensor(connection.weight)
        if share is not None:
            weight = weight * by_channel(tensor(share), connection.shape)
        return lambda spikes: passed(spikes, projection) * weight
    drive = linear(connection, share)

    def synapses(spikes: Any) -> Any:
        found = drive(spikes.flatten(0, 1).float())
        return found.unflatten(0, spikes.shape[:2])

    return synapses


def passed(spikes: Any, projection: Projection) -> Any:
    """Find the spikes that pass a gate, by its rule (see `MaxPoolGate`)."""
    import torch

    window = projection.connection.window
    assert window is not None
    spans = [np.array(window.spans(axis)) for axis in (0, 1)]
    counts = spikes.cumsum(0, dtype=torch.int32 if spikes.dtype == torch.int8 else None)
    largest = torch.full((), -1)
    leads = torch.zeros((), dtype=torch.int8)
    # Cell by cell of all windows, in the order that decides between equal ones.
    for y in range(int(np.diff(spans[0]).max())):
        for x in range(int(np.diff(spans[1]).max())):
            rows, columns = spans[0][:, 0] + y, spans[1][:, 0] + x
            inside = torch.from_numpy(
                np.outer(rows < spans[0][:, 1], columns < spans[1][:, 1])
            )
            at_y, at_x = (
                torch.from_numpy(np.minimum(places, spans[axis][:, 1] - 1))
                for axis, places in enumerate((rows, columns))
            )
            own = counts[..., at_y, :][..., at_x].where(inside, -1)
            fires = spikes[..., at_y, :][..., at_x]
            leads = torch.where(own > largest, fires, leads)
            largest = torch.maximum(own, largest)
    if projection.gate == "gate":
        return leads
    return torch.diff(largest, dim=0, prepend=torch.zeros_like(largest[:1]))


def _factor(model: NeuronModel, dt_s: float) -> float:
    """Compute what potentials are multiplied by in each step."""
    from brian2 import second
    from brian2.core.functions import DEFAULT_FUNCTIONS

    names = {name: each.pyfunc for name, each in DEFAULT_FUNCTIONS.items()}
    names |= {**model.values, "dt": dt_s * second}
    # An expression of the model that Brian2 has read.
    return float(eval(str(model.factor), {}, names))
