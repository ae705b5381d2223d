"""A network whose layers are fitted, one after the other, to what the CNN computes."""

import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import give_back
from cnn2snn_brian.layerwise import Layerwise, Stage, classes, linear, tensor, threads
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.projections import INPUT, Projection, by_channel
from cnn2snn_brian.settings import (
    Highest,
    Parameters,
    input_scales,
    largest_activation,
    projection_delays_s,
)
from cnn2snn_brian.tuning import ridge
from cnn2snn_brian.tuning.ridge import (
    as_matrix,
    can_be_fitted,
    change_of_weights,
    values_read,
)

#: Thresholds that each channel may choose from, as shares of its percentile of the
#: activations; of neurons that send bursts, over the spikes of a burst.
SCALES = (0.5, 0.65, 0.8, 1.0, 1.25, 1.6)
#: Starting potentials, as shares of the threshold; those of neurons that send bursts,
#: which need to wait less; and of those that take spikes back, which need not.
STARTS = (0.5, 0.0, -0.5, -1.0, -2.0)
BURST_STARTS, SIGNED_STARTS = STARTS[:4], STARTS[:1]

#: The percentile that these shares are of.
PERCENTILE = 99.0

#: How much the error of the first half of the steps counts besides that of all: what
#: waits for its input sends late, and those that read it have no time left.
LATE = 0.1

#: Positions of a channel, of all images, that its numbers are fitted on, at most.
ROWS = 2**12
#: Values of a layer's input at these positions, at most.
MAX_VALUES = 2**26
#: Of weights that were fitted again, what is added to the bias.
BIAS = "added to the bias"
#: Activations that a percentile is of, at most.
MAX_ACTIVATIONS = 2**25
#: Values of candidates that are computed at once: so many stay in the cache.
BLOCK = 2**16


@dataclass(frozen=True)
class Fit:
    """
    Numbers of a layer, by channel, in the units of its activations.

    Attributes
    ----------
    largest : list of float
        Activation that one spike a step stands for.
    shift : list of float
        Constant input.
    v_init : list of float
        Starting potential, as a share of the threshold.
    error_before, error : float
        Root of the mean squared error of the rates over that of the activations, with
        the percentiles as thresholds and no shift, and with these numbers.
    weights : dict of str to str
        By projection, weights that were fitted again, and by its name what was added to
        its bias; as base64 of float32 numbers, which files can hold.
    """

    largest: list[float]
    shift: list[float]
    v_init: list[float]
    error_before: float = np.nan
    error: float = np.nan
    weights: dict[str, str] = field(default_factory=dict)


class Fitting:
    """
    A network that is fitted layer by layer: what was computed so far.

    Images are taken some at a time. What a layer computes in the CNN, and the spikes
    that it sends, are kept until the last layer that reads them is done.
    """

    def __init__(
        self,
        emulated: Layerwise,
        before: Parameters,
        pixels: npt.NDArray[np.float32],
        scales: Sequence[float] | None,
        starts: Sequence[float] | None,
        rounds: int,
        seed: int,
        refits: bool,
    ) -> None:
        self.emulated, self.before, self.pixels = emulated, before, pixels
        self.scales, self.starts, self.rounds = scales, starts, rounds
        self.seed, self.refits, self.layers = seed, refits, emulated.layers
        n_at_once = emulated.n_at_once()
        self.parts = [
            slice(start, start + n_at_once)
            for start in range(0, len(pixels), n_at_once)
        ]
        self.last = self.layers.names[-1]
        self.fits: dict[str, Fit] = {}
        #: Sums of the CNN, before ReLU, and spikes: by layer, of each part.
        self.sums: dict[str, list[Any]] = {}
        self.spikes: dict[str, list[Any]] = {}
        self.left: list[Any] = []

    def network(self, snn: SpikingNetwork) -> SpikingNetwork:
        """Give the network with what was found, which says so of its weights."""
        layers, again = self.layers, [n for n, fit in self.fits.items() if fit.weights]
        if again:
            note = (
                f"weights into {', '.join(again)} were fitted again, to "
                f"{self.emulated.n_steps} steps: they are no longer the CNN's"
            )
            layers = replace(layers, notes=(*layers.notes, note))
        return replace(snn, layers=layers, parameters=self.parameters())

    def classes(self) -> npt.NDArray[np.int64]:
        """Classify the images as the CNN does."""
        return np.concatenate([x.flatten(1).argmax(1) for x in self.sums[self.last]])

    def predictions(self) -> npt.NDArray[np.int64]:
        """Classify the images as the network does with what was found."""
        both = zip(self.spikes[self.last], self.left, strict=True)
        return np.concatenate([classes(*part) for part in both])

    def activation(self, name: str, index: int) -> Any:
        """Give what the CNN's layer, or a pixel, says in some images."""
        import torch

        if name == INPUT:
            return tensor(self.pixels[self.parts[index]])
        sums, ceiling = self.sums[name][index], self.layers[name].ceiling
        if ceiling is not None:
            return torch.from_numpy(ceiling.clipped(sums.numpy()))
        return sums if name == self.last else sums.relu()

    def done(self, name: str) -> set[str]:
        """List the layers that nothing after this one reads."""
        return self.emulated.unused(name) - {INPUT}

    def compute(self, name: str) -> None:
        """Compute what the CNN's layer does."""
        drives = [
            (p, None if p.gate else linear(p.connection))
            for p in self.layers.into(name)
        ]
        bias, done = self.layers[name].bias, self.done(name)
        self.sums[name] = []
        for index in range(len(self.parts)):
            total: Any = 0 if bias is None else tensor(bias)
            for p, drive in drives:
                read = self.activation(p.source, index)
                own = tensor(p.drive(read.numpy())) if drive is None else drive(read)
                total = total + own
            self.sums[name].append(total)
            for source in done:
                self.sums[source][index] = None

    def currents(self, stage: Stage) -> Iterator[Any]:
        """Compute the input of a layer, of some images at a time."""
        sources = self.layers.sources(stage.name)
        for index, part in enumerate(self.parts):
            sent = {name: self.spikes[name][index] for name in sources if name != INPUT}
            pixels = self.pixels[part]
            if INPUT in sources and self.emulated.encoding == "poisson":
                sent[INPUT] = self.emulated.input_spikes(
                    pixels, self.before.rate_scale, self.seed, part.start
                )
            yield stage.currents(sent, pixels)

    def parameters(self, **changed: Fit) -> Parameters:
        """Write the numbers of layers in the units of their potentials."""
        fits = {**self.fits, **changed}
        largest = {
            name: np.array(fit.largest) if len(fit.largest) > 1 else fit.largest[0]
            for name, fit in fits.items()
        }
        scales = input_scales(self.layers, largest, self.before.rate_scale)
        return self.before.replace(
            thresholds={name: largest[name] / scales[name] for name in fits},
            leak={name: np.array(fits[name].shift) / scales[name] for name in fits},
            v_init={name: np.array(fit.v_init) for name, fit in fits.items()},
        )

    def percentiles(self, name: str) -> npt.NDArray[np.float64]:
        """Find the largest activation of each channel; of the last layer, of all."""
        n, (n_channels, *sides) = len(self.pixels), self.layers[name].shape
        n_places, per_channel = math.prod(sides), name != self.last
        every = -(-n * n_channels * n_places // MAX_ACTIVATIONS)

        def highest(each: Iterable[Any]) -> Highest:
            shape = (n_channels, -(-n_places // every))
            found = Highest(n, shape, PERCENTILE, per_channel)
            for x in each:
                found.add(x.reshape(*x.shape[:2], -1)[..., ::every].numpy())
            return found

        found = highest(self.activation(name, k) for k in range(len(self.parts)))
        is_paired = name in self.layers.pairs or name in self.layers.pairs.values()
        if is_paired and not found.at_percentile(by_channel=False) > 0:
            # Silent ON or OFF cells take what the others have.
            found, per_channel = (
                highest(-x.clamp(max=0) for x in self.sums[name]),
                False,
            )
        largest = largest_activation(name, found, PERCENTILE, per_channel)
        return np.broadcast_to(largest, n_channels)

    def rows(self, stage: Stage, currents: Iterable[Any]) -> tuple[Any, Any]:
        """Take what arrives, (n_steps, channels, n), and what is wanted at places."""
        import torch

        name, (n_channels, *sides) = stage.name, stage.shape
        n_steps, n_places = self.emulated.n_steps, math.prod(sides)
        most = min(ROWS, MAX_VALUES // (n_steps * n_channels))
        rng = np.random.default_rng((self.seed, self.layers.names.index(name)))
        arriving, wanted = [], []
        for index, added in enumerate(currents):
            n = added.shape[1]
            n_all = n * n_places
            places = _places(rng, n_all, most * n / len(self.pixels))
            x = added[:n_steps].movedim(2, -1).reshape(n_steps, n_all, n_channels)
            a = self.activation(name, index).movedim(1, -1).reshape(n_all, n_channels)
            arriving.append(x[:, places].transpose(1, 2))
            wanted.append(a[places].T * stage.gain)
        return torch.cat(arriving, 2), torch.cat(wanted, 1)

    def best(self, stage: Stage, currents: Iterable[Any]) -> Fit:
        """Shift the leaks of all candidates, and let each channel choose among them."""
        import torch

        name, model = stage.name, stage.model
        arriving, wanted = self.rows(stage, currents)
        largest = self.percentiles(name) * stage.gain
        own = np.broadcast_to(self.before.v_init[name], len(largest))
        suitable = STARTS if model.size is None else BURST_STARTS
        starts = self.starts or (SIGNED_STARTS if model.signed else suitable)
        shares = self.scales or [scale / model.most for scale in SCALES]
        tried = [*product(shares, starts)]
        # The last candidate is what is there without a fit: it is not shifted.
        v_th = np.outer(largest, [scale for scale, _ in tried] + [1 / model.most])
        v_init = np.tile([start for _, start in tried] + [0.0], (len(own), 1))
        v_init[:, -1] = own
        n_channels, n_tried = v_th.shape
        shifts, errors, late = (np.zeros(v_th.shape) for _ in range(3))
        k_step = max(1, BLOCK // wanted.shape[1])
        c_step = max(1, BLOCK // (wanted.shape[1] * n_tried))
        for c, k in product(range(0, n_channels, c_step), range(0, n_tried, k_step)):
            some = slice(c, c + c_step), slice(k, k + k_step)
            threshold, begin = (tensor(x[some])[..., None] for x in (v_th, v_init))
            x, goal = arriving[:, some[0], None], wanted[some[0], None]
            reached = goal.minimum(model.most * threshold).mean(2, keepdim=True)
            is_shifted = torch.arange(n_tried)[some[1], None] < n_tried - 1
            shift = torch.zeros_like(threshold)
            for turn in range(self.rounds + 1):
                coded, early = rates(stage, x, threshold, shift, begin)
                coded *= threshold
                early *= threshold
                if turn < self.rounds:
                    change = reached - coded.mean(2, keepdim=True)
                    shift += change * is_shifted
            shifts[some] = shift[..., 0]
            errors[some] = coded.sub_(goal).square_().mean(2)
            late[some] = early.sub_(goal).square_().mean(2)
        channels = np.arange(len(own))
        chosen = (errors + LATE * late)[:, :-1].argmin(1)
        power = float(wanted.square().mean()) or 1.0  # if silent
        return Fit(
            (v_th[channels, chosen] / stage.gain).tolist(),
            (shifts[channels, chosen] / stage.gain).tolist(),
            v_init[channels, chosen].tolist(),
            math.sqrt(errors[:, -1].mean() / power),
            math.sqrt(errors[channels, chosen].mean() / power),
        )

    def of_last(self, stage: Stage, currents: Iterable[Any]) -> Fit:
        """Take the mean error of each output away; one threshold is for all."""
        n_steps, n_channels = self.emulated.n_steps, stage.shape[0]
        shift: Any = np.zeros(n_channels)
        for index, added in enumerate(currents):
            error = self.sums[stage.name][index] - added[:n_steps].mean(0) / stage.gain
            of_channels = error.reshape(*error.shape[:2], -1).mean(2).sum(0).numpy()
            shift = shift + of_channels / len(self.pixels)
        start = np.broadcast_to(self.before.v_init[stage.name], n_channels)
        largest = self.percentiles(stage.name)[0] / stage.model.most
        return Fit([float(largest)], shift.tolist(), start.tolist())

    def of_gate(self, name: str) -> Fit:
        """Give the gate of a maximum pooling the scale of what it reads."""
        (source,), n_channels = self.layers.sources(name), self.layers[name].shape[0]
        pixel = [1 / self.before.rate_scale]
        largest = self.fits[source].largest if source in self.fits else pixel
        start = np.broadcast_to(self.before.v_init[name], n_channels)
        zeros = [0.0] * n_channels
        return Fit(largest * (n_channels // len(largest)), zeros, start.tolist())

    def layer(self, name: str, known: Checkpoint) -> None:
        """Fit a layer, and compute its spikes."""
        self.compute(name)
        is_known = name in known.rows
        fit = Fit(**known.rows[name]) if is_known else None
        if fit is None and self.refits:
            fit = Fit([], [], [], weights=self.refitted(name))
        if fit is not None:
            self.reweight(name, fit.weights)
        stage = self.emulated.stage(name, self.parameters())
        size = self.emulated.n_steps * len(self.pixels) * math.prod(stage.shape)
        kept = [*self.currents(stage)] if size <= MAX_VALUES else None
        if not is_known:
            weights = {} if fit is None else fit.weights
            found = self.fitted(stage, self.currents(stage) if kept is None else kept)
            fit = replace(found, weights=weights)
            if not self.layers.is_gate(name) and (name != self.last or weights):
                known.add(name, vars(fit))
        assert fit is not None
        self.fits[name], self.spikes[name] = fit, []
        stage.take(self.parameters())
        done = self.done(name)
        for index, added in enumerate(self.currents(stage) if kept is None else kept):
            spikes, left = stage.fired(added)
            self.spikes[name].append(spikes)
            if name == self.last:
                self.left.append(left)
            for source in done:
                self.spikes[source][index] = None
        for source in done:
            del self.sums[source], self.spikes[source]
        if kept is None:
            give_back()

    def fitted(self, stage: Stage, currents: Iterable[Any]) -> Fit:
        """Fit the numbers of a layer."""
        if self.layers.is_gate(stage.name):
            return self.of_gate(stage.name)
        if stage.name == self.last:
            return self.of_last(stage, currents)
        with threads(1):  # for arrays that are this small, more of them are slower
            return self.best(stage, currents)

    def sent(self, p: Projection, index: int) -> Any:
        """Give the mean rates that arrive, in units of the source's activations."""
        if p.source == INPUT:
            return self.activation(INPUT, index)
        whole = self.emulated
        delays = projection_delays_s(
            self.layers, whole.delays_s, whole.dt_s, whole.propagation
        )
        lost = round(delays[p.name] / whole.dt_s) + (whole.propagation == "step")
        arriving = self.spikes[p.source][index][: max(0, whole.n_steps - lost)]
        worth = tensor(self.fits[p.source].largest) / whole.n_steps
        return arriving.sum(0) * by_channel(worth, self.layers.shapes[p.source])

    def refitted(self, name: str) -> dict[str, str]:
        """Fit the weights of a layer again, and its bias, to the rates that arrive."""
        import torch

        into, shape = self.layers.into(name), self.layers[name].shape
        chosen = [p for p in into if p.source != INPUT and can_be_fitted(p.connection)]
        own = {p.name: as_matrix(p.connection) for p in chosen}
        n_places = math.prod(shape[1:])
        n_rows = min(ridge.ROWS, len(self.pixels) * n_places)
        n_values = sum(weight.shape[1] for weight in own.values())
        if not own or n_rows < ridge.LEAST_ROWS * n_values:
            return {}
        bias = self.layers[name].bias
        drives = [linear(p.connection) for p in into]
        rng = np.random.default_rng((self.seed, self.layers.names.index(name), 1))
        rows: tuple[list[Any], ...] = [], [], []
        for index, wanted in enumerate(self.sums[name]):
            n = len(wanted)
            places = _places(rng, n * n_places, n_rows * n / len(self.pixels))
            total: Any = torch.zeros_like(wanted) if bias is None else tensor(bias)
            values = [torch.ones(len(places), 1)]
            for p, drive in zip(into, drives, strict=True):
                rates = self.sent(p, index)
                total = total + drive(rates)
                if p.name in own:
                    read = values_read(p.connection, rates).flatten(0, 1)
                    values.insert(-1, read[places])
            rows[0].append(torch.cat(values, 1))
            for which, sums in ((1, wanted), (2, total)):
                flat = sums.movedim(1, -1).reshape(n * n_places, -1)
                rows[which].append(flat[places])
        change = change_of_weights(
            *map(torch.cat, rows), is_rectified=name != self.last
        ).numpy()
        ends = np.cumsum([weight.shape[1] for weight in own.values()])
        *parts, added = np.split(change, ends)
        found = {
            what: _text(weight + part.T)
            for (what, weight), part in zip(own.items(), parts, strict=True)
        }
        return {**found, BIAS: _text(added)}

    def reweight(self, name: str, weights: Mapping[str, str]) -> None:
        """Take weights that were fitted again, and what is added to the bias."""
        if not weights:
            return
        layers, population = self.layers, self.layers[name]
        added = by_channel(_numbers(weights[BIAS]), population.shape)
        bias = (
            np.zeros(population.shape) if population.bias is None else population.bias
        )
        n_biases = max(population.n_bias_parameters, len(added))
        bias = np.broadcast_to(bias + added, population.shape)
        changed = replace(population, bias=bias, n_bias_parameters=n_biases)
        projections = []
        for p in layers.projections:
            if p.name in weights and p.target == name:
                old = p.connection.weight
                new = _numbers(weights[p.name]).reshape(old.shape).astype(old.dtype)
                p = replace(p, connection=p.connection.reweighted(new))
            projections.append(p)
        self.layers = replace(
            layers,
            populations=tuple(changed if x is population else x for x in layers),
            projections=tuple(projections),
        )
        self.emulated = replace(self.emulated, layers=self.layers)


def _places(rng: np.random.Generator, n: int, share: float) -> Any:
    """Draw some of `n` positions, in order."""
    import torch

    chosen = rng.choice(n, min(math.ceil(share), n), replace=False)
    return torch.from_numpy(np.sort(chosen))


def _text(numbers: Any) -> str:
    return b64encode(np.ascontiguousarray(numbers, np.float32).tobytes()).decode()


def _numbers(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(b64decode(text), np.float32)


def rates(stage: Stage, x: Any, v_th: Any, leak: Any, v_init: Any) -> Any:
    """
    Give the spikes a step of candidates: in all steps, and in the first half of them.

    Input `x` is (n_steps, c, 1, n), numbers (c, k, 1); rates are (c, k, n).
    """
    import torch

    model, inverse = stage.model, 1 / v_th
    v = v_init.expand(*leak.shape[:2], x.shape[-1]).clone()
    n, sent = torch.zeros_like(v), torch.empty_like(v)
    leak, floor = leak * inverse, stage.v_min * inverse
    half = max(1, len(x) // 2)
    for step, added in enumerate(x):
        if stage.factor != 1:
            v *= stage.factor
        v.addcmul_(added, inverse).add_(leak)
        torch.clamp(v, 0, model.most, out=sent).floor_()
        if model.signed:
            sent -= (-v).clamp_(0, model.most).floor_().minimum(n)
        if stage.subtracts:
            v.sub_(sent)
        else:
            v.masked_fill_(sent > 0, 0)
        if stage.v_min > -math.inf:
            torch.maximum(v, floor, out=v)
        n.add_(sent)
        if step == half - 1:
            early = n / half
    return n / len(x), early
