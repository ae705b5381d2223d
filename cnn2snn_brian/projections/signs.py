"""Dale's law: neurons whose outgoing weights have both signs, and their separation."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.algebra import unused
from cnn2snn_brian.projections.connection import Connection
from cnn2snn_brian.projections.network import Network, Population, Projection

#: The populations that one becomes, and what each keeps of its outgoing weights.
KINDS: dict[str, Callable[[Any, float], Any]] = {
    "excitatory": np.maximum,
    "inhibitory": np.minimum,
}


def _signs(connection: Connection) -> npt.NDArray[np.bool_]:
    """Say of each source neuron whether it has weights above and below 0, (2, n)."""
    n_sources = math.prod(connection.input_shape)
    if connection.window is not None and connection.kernel is not None:
        # A neuron that is read in several cells may reach a target by several weights.
        source, _, weight = connection.expanded()
        return np.array(
            [
                np.bincount(source, own, n_sources) > 0
                for own in (weight > 0, weight < 0)
            ]
        )
    runs, stored = connection.runs().by_source(), connection.stored()
    source = np.repeat(np.arange(n_sources), np.diff(runs.first))
    found = []
    for is_of_sign in (stored > 0, stored < 0):
        before = np.concatenate([[0], np.cumsum(is_of_sign)])
        n_of_run = before[runs.weight + runs.length] - before[runs.weight]
        found.append(np.bincount(source, n_of_run, n_sources) > 0)
    return np.array(found)


def mixed_signs(network: Network) -> dict[str, int]:
    """Count, by projection, source neurons whose outgoing weights have both signs."""
    found: dict[str, int] = {}
    for name in network.shapes:
        out = network.out_of(name)
        signs = [_signs(p.connection) for p in out]
        if not out or not (mixed := np.any(signs, axis=0).all(0)).any():
            continue
        for p, own in zip(out, signs, strict=True):
            if n := int((mixed & own.any(0)).sum()):
                found[p.name] = n
    return {p.name: found[p.name] for p in network.projections if p.name in found}


def _part(projection: Projection, kind: str) -> Connection | None:
    """Keep the weights of one sign, if there are any."""
    connection = projection.connection
    if connection.kernel is None:  # an average, or the window of a gate
        return connection if kind == "excitatory" else None
    weight = KINDS[kind](connection.weight, 0)
    return connection.reweighted(weight) if weight.any() else None


def split(network: Network, name: str) -> Network:
    """Make an excitatory and an inhibitory population of one."""
    kinds = {f"{name}_{kind}": kind for kind in KINDS}
    both = [*kinds]
    for kind in KINDS:
        if all(_part(p, kind) is None for p in network.out_of(name)):
            raise InputError(
                f"{name}: none of its outgoing weights is {kind}, so it keeps to "
                "Dale's law"
            )
    populations: list[Population] = []
    projections: list[Projection] = []
    for population in network:
        own = both if population.name == name else [population.name]
        populations += [replace(population, name=one) for one in own]
        for target in own:
            for p in network.into(population.name):
                for source in both if p.source == name else [p.source]:
                    connection: Connection | None = p.connection
                    if source in kinds:
                        connection = _part(p, kinds[source])
                    if connection is None:
                        continue
                    if (source, target) == (p.source, p.target):
                        own_name = p.name
                    elif source == p.source and p.name == p.target:
                        own_name = target
                    else:
                        taken = (made.name for made in projections)
                        own_name = unused(f"{target}_from_{source}", taken)
                    projections.append(
                        replace(
                            p,
                            name=own_name,
                            source=source,
                            target=target,
                            connection=connection,
                            # Side by side, one comes before the other.
                            feedback=p.feedback or p.source == p.target,
                        )
                    )
    return Network(network.input_shape, (*populations,), (*projections,))
