"""A search of our own: a scan of factors, then an evolution strategy."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np

from cnn2snn_brian.description.layer_numbers import ByChannel, reference
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.max_pool2d import MaxPool2d
from cnn2snn_brian.tuning.base import (
    Candidate,
    Round,
    Rounds,
    SimulatingMethod,
    as_tuple,
    check_positive,
)
from cnn2snn_brian.tuning.coordinates import TUNABLE, Coordinates
from cnn2snn_brian.tuning.scope import Scope, check_some

__all__ = ["Search"]

#: What the scan multiplies data-based thresholds by: of the first layer (it sees the
#: noise of Poisson input), and of all later ones but pooling.
FIRST_FACTORS = (1.0, 2.0, 4.0)
LATER_FACTORS = (1.0, 1.6)
#: Candidates of one generation of the evolution strategy.
GENERATION = 8
#: Shares of the images that the thirds of a search use: few while the steps are large,
#: all for the finalists.
IMAGE_SHARES = (0.25, 0.5, 1.0)


def _scan(scope: Scope) -> list[Candidate]:
    """Multiply the thresholds of whole groups of layers."""
    pools = {
        layer.name
        for layer in scope.network
        if isinstance(layer, AvgPool2d | MaxPool2d)
    }
    candidates: list[Candidate] = []
    for first, later in product(FIRST_FACTORS, LATER_FACTORS):
        thresholds = dict(scope.start.thresholds)
        for layer in scope.layers:
            factor = first if layer == scope.network.names[0] else later
            if layer in pools:
                factor = 1.0
            largest = reference(thresholds[layer])
            moved = np.clip(largest * factor, scope.lower[layer], scope.upper[layer])
            # Channels keep their shares of the largest threshold.
            thresholds[layer] = thresholds[layer] * (float(moved) / largest)
        parameters = replace(scope.start, thresholds=thresholds)
        if all(parameters != candidate.parameters for candidate in candidates):
            note = "start" if first == later == 1 else f"scan {first:g}, {later:g}"
            candidates.append(Candidate(parameters, note))
    return candidates


@dataclass(frozen=True, kw_only=True)
class Search(SimulatingMethod):
    """
    Scan factors, then follow an evolution strategy (CMA-ES) from the best.

    Thresholds are multiplied, and the steps adapt to what helps. The first generations
    see few images, the last ones all; the finalists are compared on all. The first
    generation of random steps of CMA-ES [1]_ needs a budget of up to 16.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    start : float or dict of str to float, optional
        First thresholds; the data-based ones by default.
    step : float
        Standard deviation of the first steps, as the logarithm of a factor.
    tune : sequence of str
        Any of "thresholds", "v_min", "v_init" and "leak".

    References
    ----------
    .. [1] Hansen (2016), The CMA Evolution Strategy: A Tutorial,
       doi:10.48550/arXiv.1604.00772
    """

    step: float = 0.25
    tune: Sequence[str] = ("thresholds",)

    name: ClassVar[str] = "search"
    objective: ClassVar[str] = "likelihood"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "step", check_positive("step", self.step))
        object.__setattr__(self, "tune", as_tuple(self.tune))
        check_some("tune", self.tune, TUNABLE)

    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """Begin at the data-based thresholds; see `Method.begin`."""
        return data_based

    def rounds(self, scope: Scope) -> Rounds:
        """Scan, then evolve; see `SimulatingMethod.rounds`."""
        _, some, everything = IMAGE_SHARES
        candidates = [Candidate(scope.start, "start")]
        if "thresholds" in self.tune:
            candidates = _scan(scope)
        candidates = candidates[: max(1, scope.budget - 2)]
        # The last round compares the origin and the mean of all steps.
        n_generations = max(0, scope.budget - len(candidates) - 2) // GENERATION
        # A scan that nothing follows has to be right.
        share = some if n_generations else everything
        values = yield Round(tuple(candidates), scope.start, share=share)
        origin = candidates[int(np.argmax(values))].parameters
        if not n_generations:
            return origin
        finalists = yield from self._evolve(scope, origin, n_generations)
        return finalists[max(finalists)].parameters

    def _evolve(
        self, scope: Scope, origin: Parameters, n_generations: int
    ) -> Generator[Round, list[float], dict[float, Candidate]]:
        """Follow the strategy; give the values of all that saw all images."""
        from cmaes import CMA

        coordinates = Coordinates(origin, scope.layers, as_tuple(self.tune))
        limits = coordinates.limits(scope.lower, scope.upper)
        strategy = CMA(
            np.clip(np.zeros(coordinates.n), *limits.T),
            self.step,
            bounds=limits,
            seed=scope.seed % 2**32,  # of numpy's legacy generator, which takes no more
            population_size=GENERATION,
        )
        finalists: dict[float, Candidate] = {}
        for generation in range(n_generations):
            share = IMAGE_SHARES[min(2, 3 * generation // n_generations)]
            points = [strategy.ask() for _ in range(GENERATION)]
            candidates = [
                Candidate(coordinates.parameters(point), f"generation {generation + 1}")
                for point in points
            ]
            mean = coordinates.parameters(np.clip(strategy.mean, *limits.T))
            values = yield Round(tuple(candidates), mean, share=share)
            # Maximised here, minimised there.
            strategy.tell(
                [(point, -value) for point, value in zip(points, values, strict=True)]
            )
            if share == 1:
                finalists.update(zip(values, candidates, strict=True))
        mean = coordinates.parameters(np.clip(strategy.mean, *limits.T))
        last = (Candidate(mean, "mean"), Candidate(origin, "best of the scan"))
        values = yield Round(last, mean)
        finalists.update(zip(values, last, strict=True))
        return finalists
