"""Passes of a CNN that repeats its layers, folded into populations with feedback."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.algebra import named
from cnn2snn_brian.projections.dense import ByChannel
from cnn2snn_brian.projections.network import Network, Population, Projection
from cnn2snn_brian.projections.order import INPUT

#: What is read, by the index of a population or the layer of a pass: connection, gate.
_Reads = frozenset[tuple[Any, ...]]


@dataclass(frozen=True)
class _Read:
    """What a population reads: of outside, of its own pass, of the pass before."""

    outside: _Reads
    own: _Reads
    before: _Reads


class _Passes:
    """Populations of a network from `first` to `end` as passes of `period` layers."""

    def __init__(self, network: Network, first: int, period: int) -> None:
        self.network, self.first, self.period = network, first, period
        self.index = {name: k for k, name in enumerate((INPUT, *network.names), -1)}
        self.end = first + period
        while self.end < len(network) and self._goes_on(self.end):
            self.end += 1
        # What comes later can only read the last pass.
        while self.end > first + period and self._is_read_early():
            self.end -= 1

    def _place(self, index: int) -> tuple[int, int]:
        """Give the pass of a population, and its layer in that."""
        return divmod(index - self.first, self.period)

    def _read(self, index: int) -> _Read | None:
        """Sort what a population reads; None if that is no pass of a repetition."""
        found: dict[str, set[Any]] = {"outside": set(), "own": set(), "before": set()}
        for p in self.network.into(self.network[index].name):
            layer, where = self.index[p.source], "outside"
            if layer >= index:
                return None  # of another repetition
            if layer >= self.first:
                of_pass, layer = self._place(layer)
                passed = self._place(index)[0] - of_pass
                if passed > 1:
                    return None
                where = "before" if passed else "own"
            key = layer, p.connection, p.gate
            if key in found[where]:
                return None
            found[where].add(key)
        return _Read(**{where: frozenset(keys) for where, keys in found.items()})

    def _goes_on(self, index: int) -> bool:
        """Say whether a population does what its like of the pass before does."""
        like, earlier = index - self.period, index - 2 * self.period
        mine, other = self.network[index], self.network[like]
        read, theirs = self._read(index), self._read(like)
        same = (mine.shape, mine.ceiling) == (other.shape, other.ceiling)
        if read is None or theirs is None or not same or read.own != theirs.own:
            return False
        if earlier < self.first:
            # A first pass may start from something else: nothing has come back yet.
            return bool(read.before) or (read == theirs and _same_bias(mine, other))
        return read == theirs and _same_bias(mine, other)

    def _is_read_early(self) -> bool:
        late = self.end - self.period
        return any(
            self.first <= self.index[p.source] < late
            for population in self.network.populations[self.end :]
            for p in self.network.into(population.name)
        )

    @property
    def n_folded(self) -> int:
        """Number of populations that are left out; 0 if nothing shows a repetition."""
        n_inside = self.end - self.first
        if n_inside < 2 * self.period:
            return 0  # a layer of one pass only
        if self.end == len(self.network) and n_inside % self.period:
            return 0  # the result has to be the last layer of a pass
        layers = range(self.first, self.first + self.period)
        found: Any = [(self._read(k), self._read(k + self.period)) for k in layers]
        if not any(later.before for _, later in found):
            return 0
        enters = any(later.outside for _, later in found)
        for k, (start, later) in zip(layers, found, strict=True):
            # The first pass alone is another one: two like ones have to follow.
            if start.outside != later.outside and k + 2 * self.period >= self.end:
                return 0
            is_reached = later.own or later.outside or not enters and start.outside
            if not (is_reached or any(key[0] < k - self.first for key in later.before)):
                return 0  # nothing but feedback would reach it
        return n_inside - self.period

    @property
    def n_passes(self) -> int:
        """Number of passes, the last of which may not be whole."""
        return -(-(self.end - self.first) // self.period)

    def folded(self, delay_s: float) -> Network:
        """Make one population of each layer."""
        network, names = self.network, self.network.names
        layers = range(self.first, self.first + self.period)
        first = {
            names[k]: names[self.first + (k - self.first) % self.period]
            for k in range(self.first, self.end)
        }
        later = {k: network.into(names[k + self.period]) for k in layers}
        enters = any(
            self.index[p.source] < self.first for into in later.values() for p in into
        )
        populations, projections = [], []
        for k, population in enumerate(network):
            if k in layers:
                name, into = population.name, [*later[k]]
                if not enters:  # it did before the first pass
                    outside = [
                        p
                        for p in network.into(name)
                        if self.index[p.source] < self.first
                    ]
                    into = [*outside, *into]
                like = network[k + self.period]
                populations.append(replace(like, name=name, unit=population.unit))
                projections += self._renamed(name, into, first, delay_s)
            elif not self.first <= k < self.end:
                populations.append(population)
                projections += [
                    replace(p, source=first.get(p.source, p.source))
                    for p in network.into(population.name)
                ]
        # What only a start was computed of is read by nothing now.
        while unread := {p.name for p in populations[:-1]} - {
            p.source for p in projections
        }:
            populations = [p for p in populations if p.name not in unread]
            projections = [p for p in projections if p.target not in unread]
        return Network(network.input_shape, (*populations,), (*projections,))

    def _renamed(
        self, name: str, into: list[Projection], first: dict[str, str], delay_s: float
    ) -> list[Projection]:
        """Let a layer read layers; what is of the pass before comes later."""
        sources = [first.get(p.source, p.source) for p in into]
        own = [name] if len(into) == 1 else named(name, sources)
        passes = [
            self._place(self.index[end])[0] if end in first else None
            for p in into
            for end in (p.source, p.target)
        ]
        late = [
            of is not None and of != to
            for of, to in zip(passes[::2], passes[1::2], strict=True)
        ]
        return [
            replace(
                p,
                name=one,
                source=source,
                target=name,
                delay_s=p.delay_s + (delay_s if is_late else 0.0),
            )
            for p, one, source, is_late in zip(into, own, sources, late, strict=True)
        ]


def _same_bias(one: Population, other: Population) -> bool:
    return replace(one, name="", n_bias_parameters=0) == replace(
        other, name="", n_bias_parameters=0
    )


def rolled(network: Network, delay_s: float) -> tuple[Network, int]:
    """Fold what repeats; give the network and the number of passes."""
    n_passes = 1
    while found := _longest(network):
        n_passes = max(n_passes, found.n_passes)
        network = found.folded(delay_s)
    shared = _shared_weights(network)
    if n_passes == 1 or shared:
        what = f"{shared} have the same weights" if shared else "no weights come again"
        raise InputError(
            f"unroll=False: no repetition of layers: {what}. By the same weights, each "
            "pass has to read the pass before, and from outside the same in each pass "
            "or in the first one only; what follows may read the last pass. Convert "
            "with unroll=True"
        )
    return network, n_passes


def _longest(network: Network) -> _Passes | None:
    """Find the passes that fold most populations, with the fewest layers."""
    best, n_most = None, 0
    for period in range(1, len(network) // 2 + 1):
        for first in range(len(network) - period):
            passes = _Passes(network, first, period)
            if passes.n_folded > n_most:
                best, n_most = passes, passes.n_folded
    return best


def _shared_weights(network: Network) -> str:
    """Name populations that are reached by the same weights."""
    targets: dict[Any, list[str]] = defaultdict(list)
    for p in network.projections:
        kernel = p.connection.kernel
        if kernel is not None and not isinstance(kernel, ByChannel):
            targets[kernel].append(p.target)
    several = [dict.fromkeys(names) for names in targets.values() if len({*names}) > 1]
    return "; ".join(", ".join(names) for names in several)
