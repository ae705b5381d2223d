"""The methods of threshold setting by name."""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings import ByChannel, Parameters, reference
from cnn2snn_brian.tuning.base import (
    Candidate,
    Method,
    Percentiles,
    Round,
    Rounds,
    Scope,
    SimulatingMethod,
    as_tuple,
    check_positive,
    check_some,
    with_threshold,
)
from cnn2snn_brian.tuning.trials import Feedback

if TYPE_CHECKING:
    from pandas import DataFrame


#: A step of the search is a factor of exp(step) for a threshold. The others move by
#: these multiples of it: v_min by a factor, v_init by a share of the threshold, the
#: leak by a share of the threshold in a step.
STEP_SCALES = {"thresholds": 1.0, "v_min": 2.0, "v_init": 0.5, "leak": 0.02}

#: What `Search` can change.
TUNABLE = tuple(STEP_SCALES)

#: Floors are searched between these shares of the threshold below 0.
FLOOR_SHARES = (0.05, 20.0)

#: v_init is searched up to here; at 1 a neuron would spike without any input.
LARGEST_V_INIT = 0.95


@dataclass(frozen=True)
class Coordinates:
    """
    Parameters as a vector, 0 at the start, in units of the search's step.

    Attributes
    ----------
    start : Parameters
        Parameters of the zero vector.
    layers : tuple of str
        Layers whose parameters are moved.
    tune : tuple of str
        Which of `TUNABLE` are moved.
    """

    start: Parameters
    layers: tuple[str, ...]
    tune: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return len(self.layers) * len(self.tune)

    def limits(
        self, lower: Mapping[str, float], upper: Mapping[str, float]
    ) -> npt.NDArray[np.float64]:
        """Give the smallest and the largest value of each coordinate."""
        rows = []
        for what in self.tune:
            for layer in self.layers:
                threshold = reference(self.start.thresholds[layer])
                edges = {
                    "thresholds": np.log(
                        np.array([lower[layer], upper[layer]]) / threshold
                    ),
                    "v_min": np.log(np.array(FLOOR_SHARES) / self._floor(layer)),
                    "v_init": np.array([0.0, LARGEST_V_INIT])
                    - np.mean(self.start.v_init[layer]),
                    "leak": np.array([-1.0, 1.0]),
                }
                rows.append(edges[what] / STEP_SCALES[what])
        return np.array(rows)

    def _floor(self, layer: str) -> float:
        """How far the floor is below 0 at the start, in units of the threshold."""
        share = -self.start.v_min[layer] / reference(self.start.thresholds[layer])
        return float(np.clip(share, *FLOOR_SHARES))

    def parameters(self, vector: npt.NDArray[np.float64]) -> Parameters:
        """Give the parameters of a point."""
        moves = {
            what: dict(zip(self.layers, part * STEP_SCALES[what], strict=True))
            for what, part in zip(
                self.tune, np.split(vector, len(self.tune)), strict=True
            )
        }
        start = self.start
        thresholds = dict(start.thresholds)
        for layer, move in moves.get("thresholds", {}).items():
            thresholds[layer] = start.thresholds[layer] * np.exp(move)
        v_min, v_init, leak = dict(start.v_min), dict(start.v_init), dict(start.leak)
        for layer, move in moves.get("v_min", {}).items():
            share = self._floor(layer) * np.exp(move)
            v_min[layer] = float(-share * reference(thresholds[layer]))
        for layer, move in moves.get("v_init", {}).items():
            v_init[layer] = np.clip(start.v_init[layer] + move, 0, LARGEST_V_INIT)
        for layer, move in moves.get("leak", {}).items():
            leak[layer] = start.leak[layer] + move * reference(thresholds[layer])
        return replace(
            start, thresholds=thresholds, v_min=v_min, leak=leak, v_init=v_init
        )


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
        name
        for name in scope.network.names
        if all(p.gate or p.is_average for p in scope.network.into(name))
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


@dataclass(frozen=True, kw_only=True)
class Bisection(SimulatingMethod):
    """
    Follow the paper's text: a binary search, layer after layer, from 0 on.

    Both criteria of the paper [1]_ count: the objective is multiplied by the
    correlation of the layer's feature maps with the CNN's. An interval is halved around
    the best of the three points that quarter it, which finds the maximum of a function
    that rises and then falls. Each round has two or three candidates.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    start : float or dict of str to float, optional
        Thresholds of layers until it is their turn; the lower bounds by default, since
        a threshold is above the text's 0.
    resolution : float
        An interval is halved until it is this share of the one it began with.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """

    resolution: float = 1 / 32

    name: ClassVar[str] = "bisection"
    objective: ClassVar[str] = "spike_ratio"

    def __post_init__(self) -> None:
        super().__post_init__()
        resolution = check_positive("resolution", self.resolution)
        if resolution >= 1:
            raise InputError(f"resolution is {resolution:g}, expected a share below 1")
        object.__setattr__(self, "resolution", resolution)

    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """Begin at the lower bounds; see `Method.begin`."""
        return lower

    def rounds(self, scope: Scope) -> Rounds:
        """Halve the interval of each layer; see `SimulatingMethod.rounds`."""
        current = scope.start
        n_halvings = math.ceil(math.log2(1 / self.resolution))
        for layer in scope.layers:
            low, high = scope.lower[layer], scope.upper[layer]
            middle = low + (high - low) / 2
            value: float | None = None
            for _ in range(n_halvings):
                quarter = (high - low) / 4
                points = [middle - quarter, middle + quarter]
                if value is None:
                    points.append(middle)
                candidates = tuple(
                    Candidate(
                        with_threshold(current, layer, point), f"{layer} = {point:g}"
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
                current = with_threshold(current, layer, middle)
        return current


def history_table(rows: list[dict[str, Any]]) -> "DataFrame":
    """Make a table of what is on record of candidates."""
    from pandas import DataFrame

    table = []
    best: dict[int, float] = {}
    for row in rows:
        flat = {key: value for key, value in row.items() if key != "parameters"}
        # Values of different numbers of images can't be compared.
        kind = row["n_images"]
        best[kind] = max(best.get(kind, -np.inf), row["value"])
        flat["best"] = best[kind]
        for what in TUNABLE:
            for layer, value in row["parameters"][what].items():
                by_channel = isinstance(value, list)
                # A missing floor is a text on record.
                flat[f"{what}.{layer}"] = tuple(value) if by_channel else float(value)
        table.append(flat)
    frame = DataFrame(table)
    if len(frame) > 1:
        same = [
            column
            for column in frame.columns
            if column.startswith(("v_min.", "v_init.", "leak."))
            and frame[column].nunique() == 1
        ]
        frame = frame.drop(columns=same)
    return frame


MethodName = Literal["feedback", "bisection", "data", "search"]

#: Method -> its class.
METHODS: dict[str, type[Method]] = {
    kind.name: kind for kind in (Feedback, Bisection, Percentiles, Search)
}


def find_method(method: str | Method, options: dict[str, Any]) -> Method:
    """Take a method by its name and options, or one that was made."""
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(method, Method):
        if options:
            raise InputError(
                f"{', '.join(options)}: give it to the method, as in "
                f"{type(method).__name__}({next(iter(options))}=...)"
            )
        return method
    if not isinstance(method, str) or method not in METHODS:
        kinds = ", ".join(kind.__name__ for kind in METHODS.values())
        raise InputError(
            f"method={method!r}: expected one of {', '.join(map(repr, METHODS))}, or "
            f"an object of {kinds}"
        )
    kind = METHODS[method]
    known = [item.name for item in fields(kind)]
    if "tune" in options and "tune" not in known:
        tune = as_tuple(options.pop("tune"))
        if tune != ("thresholds",):
            raise InputError(
                f"method={method!r} sets thresholds only, found tune={tune}"
            )
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(
            f"method={method!r} uses no {', '.join(unknown)}; its options are "
            f"{', '.join(known)}"
        )
    return kind(**options)
