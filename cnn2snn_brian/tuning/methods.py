"""
Ways to look for thresholds.

A method is a frozen object with its options. It makes rounds of candidates: a generator
that yields a `Round`, is sent the candidates' values, and returns what it chose. It
knows nothing of images, workers or checkpoints, and given the same values it goes the
same way: a run that was ended is repeated from the values that are on record.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from typing import Any, ClassVar, Literal
from warnings import warn

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import by_layer, check_known, check_number, check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.projections import Network
from cnn2snn_brian.settings import (
    ByChannel,
    ByLayer,
    FrozenDict,
    Parameters,
    recorded,
    reference,
    thresholds_of_activations,
)
from cnn2snn_brian.tuning.objectives import Objective

#: Smallest and largest threshold of each layer.
Bounds = Mapping[str, tuple[float, float]]

#: Bounds of thresholds, if none are given, as multiples of the data-based ones.
BOUND_FACTORS = (1 / 64, 16.0)


@dataclass(frozen=True)
class Scope:
    """
    Where a method looks for thresholds.

    Attributes
    ----------
    network : Network
        The network's layers.
    layers : tuple of str
        Layers that are set, in order.
    start : Parameters
        Where to begin.
    bounds : dict of str to (float, float)
        Smallest and largest threshold of each layer.
    seed : int
        Seed of random steps.
    """

    network: Network
    layers: tuple[str, ...]
    start: Parameters
    bounds: Bounds
    seed: int


@dataclass(frozen=True)
class Candidate:
    """Parameters to try, and a note for the history on what they are."""

    parameters: Parameters
    note: str


@dataclass(frozen=True)
class Round:
    """
    Candidates that can be tried at the same time.

    Attributes
    ----------
    candidates : sequence of Candidate
        What to try.
    current : Parameters
        What the method would choose if it were stopped before this round.
    share : float
        Share of the images that is enough, the first ones.
    layer : str, optional
        Weigh the objective with the correlation of this layer's feature maps with
        the CNN's.
    """

    candidates: Sequence[Candidate]
    current: Parameters
    share: float = 1.0
    layer: str | None = None


Rounds = Generator[Round, list[float], Parameters]


def _check_some(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Check that names are some of those known, and each there once."""
    if not given or not {*given} <= {*known} or len({*given}) < len(given):
        raise InputError(
            f"{what}={given!r}: expected some of {', '.join(map(repr, known))}, each "
            "once"
        )


def _bounds(asked: Mapping[str, Any], data_based: Mapping[str, ByChannel]) -> Bounds:
    """Take bounds that were asked for, and multiples of data-based ones elsewhere."""
    bounds = {}
    for name, threshold in data_based.items():
        default = [factor * reference(threshold) for factor in BOUND_FACTORS]
        given = asked.get(name, default)
        try:
            low, high = map(float, given)
        except (TypeError, ValueError):
            low = high = math.nan
        if not 0 < low < high < math.inf:
            raise InputError(
                f"bounds of {name} are {given!r}, expected (low, high), 0 < low < high"
            )
        bounds[name] = low, high
    return bounds


def _within(
    threshold: ByChannel, bounds: tuple[float, float], factor: float = 1.0
) -> ByChannel:
    """Scale a layer's largest threshold within bounds; channels keep their shares."""
    largest = reference(threshold)
    return threshold * (float(np.clip(largest * factor, *bounds)) / largest)


def _names(what: str, given: Any) -> tuple[str, ...]:
    """Take one name or several: the letters of a name are not names."""
    return (given,) if isinstance(given, str) else tuple(given)


def _frozen(what: str, given: Any) -> Any:
    return FrozenDict(given) if isinstance(given, Mapping) else given


#: Options of methods, and how they are checked.
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "layers": _names,
    "tune": _names,
    "bounds": _frozen,
    "start": _frozen,
    "category": lambda _, given: given.item() if hasattr(given, "item") else given,
    "budget": partial(check_whole, smallest=1),
    "percentile": partial(check_number, above=0),
    "step": partial(check_number, above=0),
    "resolution": partial(check_number, above=0, below=1),
}


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """
    A way to look for thresholds, with the options that all of them have.

    Attributes
    ----------
    layers : sequence of str, optional
        Set these layers only, in this order; by default all but the gates of maximum
        pooling.
    bounds : tuple (low, high), or dict of str to tuple, optional
        Smallest and largest thresholds; from 1/64 to 16 times the data-based ones by
        default.
    percentile : float
        Percentile of the data-based thresholds.
    category : int or str, optional
        Use images of this class only, as the paper does. All by default.
    objective : str or callable
        What to make as large as possible, see `tune_thresholds`.
    budget : int
        Largest number of candidates that are simulated.

    Raises
    ------
    InputError
        If an option is out of its range.
    """

    layers: Sequence[str] | None = None
    bounds: Any = None
    percentile: float = 99.9
    category: int | str | None = None
    objective: str | Objective = "accuracy"
    budget: int = 100

    #: What ``method=`` and tables call it.
    name: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            if name in _CHECKS and value is not None:
                object.__setattr__(self, name, _CHECKS[name](name, value))

    def begin(self, lowest: float, data_based: ByChannel) -> ByChannel:
        """
        Give the first threshold of a layer where the user gives none.

        Parameters
        ----------
        lowest : float
            Its lower bound.
        data_based : float or ndarray of shape (channels,)
            Its data-based threshold, which is the default.

        Returns
        -------
        float or ndarray of shape (channels,)
            Where to begin.
        """
        return data_based

    @abstractmethod
    def rounds(self, scope: Scope) -> Rounds:
        """
        Try candidates, round after round.

        Parameters
        ----------
        scope : Scope
            Where to look.

        Returns
        -------
        Rounds
            The generator.
        """

    def scope(
        self,
        network: SpikingNetwork,
        activations: Mapping[str, npt.NDArray[Any]],
        seed: int,
    ) -> Scope:
        """
        Say where to look for the thresholds of a network.

        Parameters
        ----------
        network : SpikingNetwork
            The network.
        activations : dict of str to ndarray, shape (n_images, ...)
            What the CNN's layers compute, for the data-based thresholds.
        seed : int
            Seed of random steps.

        Returns
        -------
        Scope
            Layers, first parameters and bounds.

        Raises
        ------
        InputError
            If layers, bounds or first thresholds do not suit the network.
        """
        names, own = network.layer_names, network.parameters
        # The threshold of a gate follows from the layer before.
        tunable = tuple(name for name in names if not network.layers.is_gate(name))
        layers = tunable if self.layers is None else tuple(self.layers)
        _check_some("layers", layers, names)
        split = any(np.ndim(each) > 0 for each in own.thresholds.values())
        scale = own.rate_scale
        data_based = thresholds_of_activations(
            network.layers, activations, self.percentile, scale, per_channel=split
        )
        asked = {} if self.bounds is None else by_layer("bounds", self.bounds, names)
        bounds = _bounds(asked, data_based)
        own_start = getattr(self, "start", None)
        given = {} if own_start is None else by_layer("start", own_start, layers)
        first = {
            name: given.get(name, self.begin(bounds[name][0], data_based[name]))
            for name in layers
        }
        settable = network.extension.settable
        added = [what for what in getattr(self, "tune", ()) if what not in STEP_SCALES]
        if added:
            _check_some("tune", added, [*settable])
        values = {what: own.values.get(what, settable[what]) for what in added}
        start = own.replace(thresholds=first, values=values)
        for name in [name for name in layers if name in asked]:
            threshold = start.thresholds[name]
            inside = _within(threshold, bounds[name])
            if name in given and np.any(inside != threshold):
                low, high = bounds[name]
                raise InputError(
                    f"start of {name} is {reference(threshold):g}, outside its bounds "
                    f"{low:g} to {high:g}"
                )
            start = start.replace(thresholds={name: inside})
        return Scope(network.layers, layers, start, bounds, seed)

    def settings(self, scope: Scope) -> dict[str, Any]:
        """
        Write the options, and what they come to, as JSON can hold them.

        Parameters
        ----------
        scope : Scope
            Where the method looks.

        Returns
        -------
        dict
            By name.
        """
        return {
            "method": self.name,
            **{name: value for name, value in vars(self).items() if value is not None},
            "category": self.category,
            "layers": scope.layers,
            "start": recorded(scope.start),
            "bounds": scope.bounds,
        }


@dataclass(frozen=True, kw_only=True)
class Percentiles(Method):
    """
    Take percentiles of the CNN's activations, see `data_based_thresholds`.

    Nothing is simulated except to check the result.

    Attributes
    ----------
    layers, bounds, percentile, category, objective, budget
        See `Method`.
    """

    name: ClassVar[str] = "data"

    def rounds(self, scope: Scope) -> Rounds:
        """Try nothing; see `Method.rounds`."""
        yield from ()
        return scope.start


#: Where thresholds begin in the paper's listing.
START = 0.1


@dataclass(frozen=True, kw_only=True)
class Feedback(Method):
    """
    Follow the paper's listing.

    Layer after layer, the threshold is raised by one step and stays there if the output
    became better; else it goes back [1]_. That is repeated until no layer gains, since
    nothing would change after that. Each round has one candidate: a try depends on the
    one before.

    Attributes
    ----------
    layers, bounds, percentile, category, objective, budget
        See `Method`.
    start : float or dict of str to float, optional
        First thresholds of the layers that are set, within bounds that are given; the
        listing's 0.1 by default.
    step : float
        The listing's n. The paper names no number.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """

    objective: str | Objective = "spike_ratio"
    start: ByLayer | None = None
    step: float = 0.1

    name: ClassVar[str] = "feedback"

    def begin(self, lowest: float, data_based: ByChannel) -> ByChannel:
        """Begin where the listing does; see `Method.begin`."""
        return START

    def rounds(self, scope: Scope) -> Rounds:
        """Raise thresholds as long as it helps; see `Method.rounds`."""
        current = scope.start
        (best,) = yield Round([Candidate(current, "start")], current)
        gained = True
        while gained:
            gained = False
            for layer in scope.layers:
                raised = current.thresholds[layer] + self.step
                # 0.1 + 0.1 + 0.1 is a little above 0.3, and yet within it.
                if raised > scope.bounds[layer][1] * (1 + 1e-9):
                    continue
                trial = current.replace(thresholds={layer: raised})
                note = f"{layer} + {self.step:g}"
                (value,) = yield Round([Candidate(trial, note)], current)
                if value > best:
                    current, best, gained = trial, value, True
        return current


@dataclass(frozen=True, kw_only=True)
class Bisection(Method):
    """
    Follow the paper's text: a binary search, layer after layer, from 0 on.

    Both criteria of the paper [1]_ count: the objective is multiplied by the
    correlation of the layer's feature maps with the CNN's. An interval is halved around
    the best of the three points that quarter it, which finds the maximum of a function
    that rises and then falls. Each round has two or three candidates.

    Attributes
    ----------
    layers, bounds, percentile, category, objective, budget
        See `Method`.
    start : float or dict of str to float, optional
        Thresholds of layers until it is their turn, within bounds that are given; the
        lower bounds by default, since a threshold is above the text's 0.
    resolution : float
        An interval is halved until it is this share of the one it began with.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """

    objective: str | Objective = "spike_ratio"
    start: ByLayer | None = None
    resolution: float = 1 / 32

    name: ClassVar[str] = "bisection"

    def begin(self, lowest: float, data_based: ByChannel) -> ByChannel:
        """Begin at the lower bounds; see `Method.begin`."""
        return lowest

    def rounds(self, scope: Scope) -> Rounds:
        """Halve the interval of each layer; see `Method.rounds`."""
        current = scope.start
        for layer in scope.layers:
            low, high = scope.bounds[layer]
            middle, best = low + (high - low) / 2, None
            for _ in range(math.ceil(math.log2(1 / self.resolution))):
                quarter = (high - low) / 4
                points = [middle - quarter, middle + quarter]
                if best is None:
                    points.append(middle)
                tried = [current.replace(thresholds={layer: x}) for x in points]
                notes = [f"{layer} = {point:g}" for point in points]
                candidates = list(map(Candidate, tried, notes))
                values = yield Round(candidates, current, layer=layer)
                best = values.pop() if best is None else best
                # Of equal values the middle one stays.
                pairs = [(best, middle), *zip(values, points, strict=False)]
                best, middle = max(pairs, key=lambda pair: pair[0])
                low, high = middle - quarter, middle + quarter
                current = current.replace(thresholds={layer: middle})
        return current


#: A step of the search is a factor of exp(step) for a threshold. The others move by
#: these multiples of it: v_min by a factor, v_init by a share of the threshold, the
#: leak by a share of the threshold in a step.
STEP_SCALES = {"thresholds": 1.0, "v_min": 2.0, "v_init": 0.5, "leak": 0.02}

#: What `Search` can change.
TUNABLE = tuple(STEP_SCALES)

#: Most that a variable of an added object is multiplied or divided by.
VALUE_FACTOR = 100.0

#: Floors are searched between these shares of the threshold below 0.
FLOOR_SHARES = (0.05, 20.0)

#: v_init is searched up to here; at 1 a neuron would spike without any input.
LARGEST_V_INIT = 0.95

#: What the scan multiplies data-based thresholds by: of the first layer (it sees the
#: noise of Poisson input), and of all later ones but pooling.
FIRST_FACTORS = (1.0, 2.0, 4.0)
LATER_FACTORS = (1.0, 1.6)
#: Candidates of one generation of the evolution strategy.
GENERATION = 8
#: Shares of the images that the thirds of a search use: few while the steps are large,
#: all for the finalists.
IMAGE_SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Search(Method):
    """
    Scan factors, then follow an evolution strategy (CMA-ES) from the best.

    Thresholds are multiplied, and the steps adapt to what helps. The first generations
    see few images, the last ones all; the finalists are compared on all. The first
    generation of random steps of CMA-ES [1]_ needs a budget of up to 16.

    Attributes
    ----------
    layers, bounds, percentile, category, objective, budget
        See `Method`.
    start : float or dict of str to float, optional
        First thresholds of the layers that are set, within bounds that are given; the
        data-based ones by default.
    step : float
        Standard deviation of the first steps, as the logarithm of a factor.
    tune : sequence of str
        Any of "thresholds", "v_min", "v_init" and "leak", and variables of what
        `SpikingNetwork.extend` added, "lateral.strength", which are multiplied by up to
        `VALUE_FACTOR` or its inverse.

    References
    ----------
    .. [1] Hansen (2016), The CMA Evolution Strategy: A Tutorial,
       doi:10.48550/arXiv.1604.00772
    """

    objective: str | Objective = "likelihood"
    start: ByLayer | None = None
    step: float = 0.25
    tune: Sequence[str] = ("thresholds",)

    name: ClassVar[str] = "search"

    def __post_init__(self) -> None:
        super().__post_init__()
        added = [what for what in self.tune if "." in what]
        _check_some("tune", self.tune, (*TUNABLE, *added))

    def rounds(self, scope: Scope) -> Rounds:
        """Scan, then evolve; see `Method.rounds`."""
        scan = "thresholds" in self.tune
        candidates = _scan(scope) if scan else [Candidate(scope.start, "start")]
        candidates = candidates[: max(1, self.budget - 2)]
        # The last round compares the origin and the mean of all steps.
        n_generations = max(0, self.budget - len(candidates) - 2) // GENERATION
        # A scan that nothing follows has to be right.
        share = IMAGE_SHARES[1 if n_generations else 2]
        values = yield Round(candidates, scope.start, share)
        origin = candidates[int(np.argmax(values))].parameters
        if not n_generations:
            return origin
        from cmaes import CMA

        limits = self._limits(scope, origin)
        strategy = CMA(
            np.clip(np.zeros(len(limits)), *limits.T),
            self.step,
            bounds=limits,
            seed=scope.seed % 2**32,  # of numpy's legacy generator, which takes no more
            population_size=GENERATION,
        )
        finalists: dict[float, Candidate] = {}
        moved = partial(self._moved, scope, origin)
        for generation in range(n_generations):
            share = IMAGE_SHARES[min(2, 3 * generation // n_generations)]
            points = [strategy.ask() for _ in range(GENERATION)]
            note = f"generation {generation + 1}"
            candidates = [Candidate(moved(point), note) for point in points]
            mean = moved(np.clip(strategy.mean, *limits.T))
            values = yield Round(candidates, mean, share)
            # Maximised here, minimised there.
            strategy.tell(list(zip(points, -np.array(values), strict=True)))
            if share == 1:
                finalists.update(zip(values, candidates, strict=True))
        mean = moved(np.clip(strategy.mean, *limits.T))
        last = [Candidate(mean, "mean"), Candidate(origin, "best of the scan")]
        values = yield Round(last, mean)
        finalists.update(zip(values, last, strict=True))
        return finalists[max(finalists)].parameters

    def _limits(self, scope: Scope, origin: Parameters) -> npt.NDArray[np.float64]:
        """Give the smallest and the largest value of each coordinate, in steps."""
        limits = []
        for what, layer in self._coordinates(scope):
            if what not in STEP_SCALES:
                edges = np.log([1 / VALUE_FACTOR, VALUE_FACTOR])
            elif what == "thresholds":
                threshold = reference(origin.thresholds[layer])
                edges = np.log(np.array(scope.bounds[layer]) / threshold)
            elif what == "v_min":
                edges = np.log(np.array(FLOOR_SHARES) / _floor(origin, layer))
            elif what == "v_init":
                edges = np.array([0, LARGEST_V_INIT]) - np.mean(origin.v_init[layer])
            else:
                edges = np.array([-1.0, 1.0])
            limits.append(edges / STEP_SCALES.get(what, 1.0))
        return np.array(limits)

    def _coordinates(self, scope: Scope) -> list[tuple[str, str]]:
        """List what has a step of its own: numbers of layers, and added variables."""
        of_layers = [what for what in self.tune if what in STEP_SCALES]
        added = [(what, "") for what in self.tune if what not in STEP_SCALES]
        return [*product(of_layers, scope.layers), *added]

    def _moved(
        self, scope: Scope, origin: Parameters, point: npt.NDArray[np.float64]
    ) -> Parameters:
        """Give the parameters of a point, in steps from the origin."""
        found: dict[str, Any] = {what: {} for what in TUNABLE}
        found["thresholds"].update(origin.thresholds)
        moves = list(zip(self._coordinates(scope), point, strict=True))
        found["values"] = {
            what: origin.values[what] * np.exp(step)
            for (what, layer), step in moves
            if not layer
        }
        moves = [move for move in moves if move[0][1]]
        # Thresholds first: floors and leaks are shares of them.
        for (what, layer), step in sorted(moves, key=lambda m: m[0][0] != "thresholds"):
            move, value = step * STEP_SCALES[what], getattr(origin, what)[layer]
            largest = reference(found["thresholds"][layer])
            if what == "thresholds":
                value = value * np.exp(move)
            elif what == "v_min":
                value = float(-_floor(origin, layer) * np.exp(move) * largest)
            elif what == "v_init":
                value = np.clip(value + move, 0, LARGEST_V_INIT)
            else:
                value = value + move * largest
            found[what][layer] = value
        return origin.replace(**found)


def _floor(origin: Parameters, layer: str) -> float:
    """How far the floor is below 0, in units of the threshold."""
    share = -origin.v_min[layer] / reference(origin.thresholds[layer])
    return float(np.clip(share, *FLOOR_SHARES))


def _scan(scope: Scope) -> list[Candidate]:
    """Multiply the thresholds of whole groups of layers."""
    pools = [
        name
        for name in scope.network.names
        if all(p.gate or p.is_average for p in scope.network.into(name))
    ]
    candidates: list[Candidate] = []
    for first, later in product(FIRST_FACTORS, LATER_FACTORS):
        factors = {scope.network.names[0]: first} | dict.fromkeys(pools, 1.0)
        thresholds = {}
        for name in scope.layers:
            own, factor = scope.start.thresholds[name], factors.get(name, later)
            thresholds[name] = _within(own, scope.bounds[name], factor)
        parameters = scope.start.replace(thresholds=thresholds)
        if all(parameters != candidate.parameters for candidate in candidates):
            note = "start" if first == later == 1 else f"scan {first:g}, {later:g}"
            candidates.append(Candidate(parameters, note))
    return candidates


MethodName = Literal["feedback", "bisection", "data", "search"]

#: Method -> its class.
METHODS: dict[str, type[Method]] = {
    kind.name: kind for kind in (Feedback, Bisection, Percentiles, Search)
}


def find_method(method: str | Method, options: dict[str, Any]) -> Method:
    """Take a method by its name and options, or one that was made."""
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(method, Method):
        if not options:
            return method
        advice = f"{', '.join(options)}: give it to the method, as in "
        advice += f"{type(method).__name__}({next(iter(options))}=...)"
        if not options.keys() <= {"objective", "budget"}:
            raise InputError(advice)
        warn(advice, DeprecationWarning, stacklevel=3)
        return replace(method, **options)
    kind = METHODS.get(method) if isinstance(method, str) else None
    if kind is None:
        kinds = ", ".join(kind.__name__ for kind in METHODS.values())
        raise InputError(
            f"method={method!r}: expected one of {', '.join(map(repr, METHODS))}, or "
            f"an object of {kinds}"
        )
    known = [item.name for item in fields(kind)]
    check_known(f"option of method={method!r}:", options, known)
    return kind(**options)
