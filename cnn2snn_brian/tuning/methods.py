"""
Ways to look for thresholds: the paper's two, percentiles, and a search of our own.

Each method is a generator. It yields a `Round` of candidates, is sent their values, and
returns what it chose. It knows nothing of pictures, workers or checkpoints, and given
the same values it goes the same way: a run that was ended is repeated from the values
that are on record.
"""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.stack import Layers

__all__ = [
    "BISECTION_RESOLUTION",
    "TUNABLE",
    "Candidate",
    "Method",
    "Round",
    "bisection",
    "feedback",
    "search",
]

#: What `search` can change.
TUNABLE = ("thresholds", "v_min", "v_init", "leak")

#: An interval is halved until it is this share of the one it began with.
BISECTION_RESOLUTION = 1 / 32

#: What the scan multiplies data-based thresholds by: of the first layer (it sees the
#: noise of Poisson input), and of all later ones but pooling.
FIRST_FACTORS = (1.0, 2.0, 4.0)
LATER_FACTORS = (1.0, 1.6)
#: Candidates of one generation of the evolution strategy.
GENERATION = 8
#: Shares of the pictures that the thirds of a search use: few while the steps are
#: large, all for the finalists.
PICTURE_SHARES = (0.25, 0.5, 1.0)
#: A step of the search is a factor of exp(step) for a threshold. The others move by
#: these multiples of it: v_min by a factor, v_init by a share of the threshold, the
#: leak by a share of the threshold in a step.
STEP_SCALES = {"thresholds": 1.0, "v_min": 2.0, "v_init": 0.5, "leak": 0.02}
#: Floors are searched between these shares of the threshold below 0.
FLOOR_SHARES = (0.05, 20.0)
#: v_init is searched up to here; at 1 a neuron would spike without any input.
LARGEST_V_INIT = 0.95


@dataclass(frozen=True)
class Candidate:
    """
    Parameters to try.

    Attributes
    ----------
    parameters : Parameters
        All of them.
    note : str
        What is tried, for the history.
    """

    parameters: Parameters
    note: str


@dataclass(frozen=True)
class Round:
    """
    Candidates that can be tried at the same time.

    Attributes
    ----------
    candidates : tuple of Candidate
        What to try.
    current : Parameters
        What the method would choose if it were stopped before this round.
    share : float
        Share of the pictures that is enough, the first ones.
    layer : str, optional
        Weigh the objective with the correlation of this layer's feature maps with
        the CNN's.
    """

    candidates: tuple[Candidate, ...]
    current: Parameters
    share: float = 1.0
    layer: str | None = None


Method = Generator[Round, list[float], Parameters]


def _with_threshold(parameters: Parameters, layer: str, value: float) -> Parameters:
    return replace(parameters, thresholds={**parameters.thresholds, layer: value})


def feedback(
    start: Parameters,
    layers: tuple[str, ...],
    step: float,
    upper: Mapping[str, float],
) -> Method:
    """
    Follow the paper's listing [1]_.

    Layer after layer, the threshold is raised by one step and stays there if the
    output became better; else it goes back. That is repeated until no layer gains,
    since after that nothing would ever change.

    Parameters
    ----------
    start : Parameters
        Where to begin.
    layers : tuple of str
        Layers whose thresholds are set, in order.
    step : float
        The listing's n.
    upper : dict of str to float
        Largest threshold of each layer.

    Returns
    -------
    Method
        Rounds of one candidate each: a try depends on the one before.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """
    current = start
    (best,) = yield Round((Candidate(current, "start"),), current)
    gained = True
    while gained:
        gained = False
        for layer in layers:
            raised = current.thresholds[layer] + step
            # 0.1 + 0.1 + 0.1 is a little above 0.3, and yet within it.
            if raised > upper[layer] * (1 + 1e-9):
                continue
            trial = _with_threshold(current, layer, raised)
            (value,) = yield Round((Candidate(trial, f"{layer} + {step:g}"),), current)
            if value > best:
                current, best, gained = trial, value, True
    return current


def bisection(
    start: Parameters,
    layers: tuple[str, ...],
    lower: Mapping[str, float],
    upper: Mapping[str, float],
    resolution: float = BISECTION_RESOLUTION,
) -> Method:
    """
    Follow the paper's text [1]_: a binary search, layer after layer, from 0 on.

    Both of its criteria count: the objective is multiplied by the correlation of the
    layer's feature maps with the CNN's. An interval is halved around the best of the
    three points that quarter it, which finds the maximum of a function that rises and
    then falls.

    Parameters
    ----------
    start : Parameters
        Where to begin. The text says 0; a threshold is above it, so ``lower`` is used.
    layers : tuple of str
        Layers whose thresholds are set, in order.
    lower, upper : dict of str to float
        Interval of each layer.
    resolution : float
        Where to stop, as a share of the first interval, below 1.

    Returns
    -------
    Method
        Rounds of two or three candidates each.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """
    current = start
    n_halvings = math.ceil(math.log2(1 / resolution))
    for layer in layers:
        low, high = lower[layer], upper[layer]
        middle = low + (high - low) / 2
        value: float | None = None
        for _ in range(n_halvings):
            quarter = (high - low) / 4
            points = [middle - quarter, middle + quarter]
            if value is None:
                points.append(middle)
            candidates = tuple(
                Candidate(
                    _with_threshold(current, layer, point), f"{layer} = {point:g}"
                )
                for point in points
            )
            values = yield Round(candidates, current, layer=layer)
            if value is None:
                value = values.pop()
            # Of equal values the middle one stays.
            value, middle = max(
                [(value, middle), *zip(values, points, strict=False)],
                key=lambda pair: pair[0],
            )
            low, high = middle - quarter, middle + quarter
            current = _with_threshold(current, layer, middle)
    return current


@dataclass(frozen=True)
class _Coordinates:
    """Parameters as a vector, 0 at the start, in units of the search's step."""

    start: Parameters
    layers: tuple[str, ...]
    tune: tuple[str, ...]

    @property
    def n(self) -> int:
        return len(self.layers) * len(self.tune)

    def limits(
        self, lower: Mapping[str, float], upper: Mapping[str, float]
    ) -> npt.NDArray[np.float64]:
        """Smallest and largest value of each coordinate, of shape (n, 2)."""
        rows = []
        for what in self.tune:
            for layer in self.layers:
                threshold = self.start.thresholds[layer]
                edges = {
                    "thresholds": np.log(
                        np.array([lower[layer], upper[layer]]) / threshold
                    ),
                    "v_min": np.log(np.array(FLOOR_SHARES) / self._floor(layer)),
                    "v_init": np.array([0.0, LARGEST_V_INIT])
                    - self.start.v_init[layer],
                    "leak": np.array([-1.0, 1.0]),
                }
                rows.append(edges[what] / STEP_SCALES[what])
        return np.array(rows)

    def _floor(self, layer: str) -> float:
        """How far the floor is below 0 at the start, in units of the threshold."""
        share = -self.start.v_min[layer] / self.start.thresholds[layer]
        return float(np.clip(share, *FLOOR_SHARES))

    def parameters(self, vector: npt.NDArray[np.float64]) -> Parameters:
        """Parameters of a point."""
        moves = {
            what: dict(zip(self.layers, part * STEP_SCALES[what], strict=True))
            for what, part in zip(
                self.tune, np.split(vector, len(self.tune)), strict=True
            )
        }
        start = self.start
        thresholds = dict(start.thresholds)
        for layer, move in moves.get("thresholds", {}).items():
            thresholds[layer] = float(start.thresholds[layer] * np.exp(move))
        v_min, v_init, leak = dict(start.v_min), dict(start.v_init), dict(start.leak)
        for layer, move in moves.get("v_min", {}).items():
            share = self._floor(layer) * np.exp(move)
            v_min[layer] = float(-share * thresholds[layer])
        for layer, move in moves.get("v_init", {}).items():
            v_init[layer] = float(
                np.clip(start.v_init[layer] + move, 0, LARGEST_V_INIT)
            )
        for layer, move in moves.get("leak", {}).items():
            leak[layer] = float(start.leak[layer] + move * thresholds[layer])
        return replace(
            start, thresholds=thresholds, v_min=v_min, leak=leak, v_init=v_init
        )


def _scan(
    start: Parameters,
    network: Layers,
    layers: tuple[str, ...],
    lower: Mapping[str, float],
    upper: Mapping[str, float],
) -> list[Candidate]:
    """Multiply the thresholds of whole groups of layers."""
    pools = {layer.name for layer in network if isinstance(layer, AvgPool2d)}
    candidates: list[Candidate] = []
    for first, later in product(FIRST_FACTORS, LATER_FACTORS):
        thresholds = dict(start.thresholds)
        for layer in layers:
            factor = first if layer == network.names[0] else later
            if layer in pools:
                factor = 1.0
            moved = thresholds[layer] * factor
            thresholds[layer] = float(np.clip(moved, lower[layer], upper[layer]))
        parameters = replace(start, thresholds=thresholds)
        if all(parameters != candidate.parameters for candidate in candidates):
            note = "start" if first == later == 1 else f"scan {first:g}, {later:g}"
            candidates.append(Candidate(parameters, note))
    return candidates


def search(
    start: Parameters,
    network: Layers,
    layers: tuple[str, ...],
    tune: tuple[str, ...],
    step: float,
    lower: Mapping[str, float],
    upper: Mapping[str, float],
    budget: int,
    seed: int,
) -> Method:
    """
    Scan factors, then follow an evolution strategy (CMA-ES [1]_) from the best.

    Thresholds are multiplied, and the steps adapt to what helps. The first generations
    see few pictures, the last ones all; the finalists are compared on all.

    Parameters
    ----------
    start : Parameters
        Where to begin.
    network : Layers
        The network's layers.
    layers : tuple of str
        Layers whose parameters are set.
    tune : tuple of str
        Which of `TUNABLE` are set.
    step : float
        Standard deviation of the first steps, as the logarithm of a factor.
    lower, upper : dict of str to float
        Smallest and largest threshold of each layer.
    budget : int
        Candidates in all.
    seed : int
        Seed of the random steps.

    Returns
    -------
    Method
        Rounds of several candidates each.

    References
    ----------
    .. [1] Hansen (2016), The CMA Evolution Strategy: A Tutorial,
       doi:10.48550/arXiv.1604.00772
    """
    from cmaes import CMA

    few, some, everything = PICTURE_SHARES
    candidates = [Candidate(start, "start")]
    if "thresholds" in tune:
        candidates = _scan(start, network, layers, lower, upper)
    candidates = candidates[: max(1, budget - 2)]
    # The last round compares the origin and the mean of all steps.
    n_generations = max(0, budget - len(candidates) - 2) // GENERATION
    # A scan that nothing follows has to be right.
    share = some if n_generations else everything
    values = yield Round(tuple(candidates), start, share=share)
    origin = candidates[int(np.argmax(values))].parameters
    if not n_generations:
        return origin
    coordinates = _Coordinates(origin, layers, tune)
    limits = coordinates.limits(lower, upper)
    strategy = CMA(
        np.clip(np.zeros(coordinates.n), *limits.T),
        step,
        bounds=limits,
        seed=seed % 2**32,  # of numpy's legacy generator, which takes no more
        population_size=GENERATION,
    )
    finalists: dict[float, Candidate] = {}
    for generation in range(n_generations):
        share = PICTURE_SHARES[min(2, 3 * generation // n_generations)]
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
        if share == everything:
            finalists.update(zip(values, candidates, strict=True))
    mean = coordinates.parameters(np.clip(strategy.mean, *limits.T))
    last = (Candidate(mean, "mean"), Candidate(origin, "best of the scan"))
    values = yield Round(last, mean)
    finalists.update(zip(values, last, strict=True))
    return finalists[max(finalists)].parameters
