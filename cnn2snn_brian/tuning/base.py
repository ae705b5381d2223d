"""
What a method of setting thresholds is.

A method is a frozen object with its options. One that simulates makes rounds of
candidates: a generator that yields a `Round`, is sent the candidates' values, and
returns what it chose. It knows nothing of images, workers or checkpoints, and given the
same values it goes the same way: a run that was ended is repeated from the values that
are on record.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_names
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import Layers, MaxPool2d
from cnn2snn_brian.settings import (
    ByChannel,
    ByLayer,
    FrozenDict,
    Parameters,
    data_based_thresholds,
    recorded,
    reference,
)


def check_numbers(
    what: str, given: Any, fits: Callable[[Any], Any], rule: str
) -> list[float]:
    """Check some numbers to choose from."""
    try:
        array = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 1 or not array.size:
        raise InputError(f"{what} is {given!r}, expected some numbers {rule}")
    wrong = ~(np.isfinite(array) & fits(array))
    if wrong.any():
        raise InputError(
            f"{what} has {array[wrong][0]:g}, expected finite numbers {rule}"
        )
    return [float(number) for number in array]


@dataclass(frozen=True)
class FoundParameters(Printed):
    """
    Parameters before and after. Subclasses know whether what was found is ``accepted``.

    Attributes
    ----------
    before, found : Parameters
        The network's own parameters, and those that were found.
    """

    before: Parameters
    found: Parameters

    if TYPE_CHECKING:

        @property
        def accepted(self) -> bool:
            """Whether `parameters` are those that were found."""

    @property
    def parameters(self) -> Parameters:
        """What to use. ``simulator.run(images, **result.arguments)`` does."""
        return self.found if self.accepted else self.before

    @property
    def thresholds(self) -> dict[str, ByChannel]:
        """The thresholds to use."""
        return dict(self.parameters.thresholds)

    @property
    def arguments(self) -> dict[str, Any]:
        """The parameters to use, as arguments of `Simulator.run`."""
        return dict(vars(self.parameters))


#: Bounds of thresholds, if none are given, as multiples of the data-based ones.
BOUND_FACTORS = (1 / 64, 16.0)


@dataclass(frozen=True)
class Scope:
    """
    Where a method looks for thresholds.

    Attributes
    ----------
    network : Layers
        The network's layers.
    layers : tuple of str
        Layers that are set, in order.
    start : Parameters
        Where to begin.
    lower, upper : dict of str to float
        Smallest and largest threshold of each layer.
    budget : int
        Largest number of candidates.
    seed : int
        Seed of random steps.
    """

    network: Layers
    layers: tuple[str, ...]
    start: Parameters
    lower: Mapping[str, float]
    upper: Mapping[str, float]
    budget: int
    seed: int


def check_some(what: str, given: Sequence[str], known: tuple[str, ...]) -> None:
    """Check that names are some of those known, and each there once."""
    unknown = [name for name in given if name not in known]
    if unknown or not given or len({*given}) < len(given):
        raise InputError(
            f"{what}={given!r}: expected some of {', '.join(map(repr, known))}, each "
            "once"
        )


def bounds_by_layer(
    bounds: Any, names: tuple[str, ...], data_based: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Take bounds as given, and multiples of data-based thresholds elsewhere."""
    lower = {name: BOUND_FACTORS[0] * value for name, value in data_based.items()}
    upper = {name: BOUND_FACTORS[1] * value for name, value in data_based.items()}
    if bounds is not None:
        by_layer = (
            bounds if isinstance(bounds, Mapping) else dict.fromkeys(names, bounds)
        )
        check_names("bounds", by_layer, names)
        for name, pair in by_layer.items():
            try:
                lower[name], upper[name] = map(float, pair)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"bounds of {name}: expected (low, high), found {pair!r}"
                ) from error
    for name in names:
        if not 0 < lower[name] < upper[name] < np.inf:
            raise InputError(
                f"bounds of {name} are {lower[name]:g} and {upper[name]:g}, expected "
                "0 < low < high"
            )
    return lower, upper


def within(
    thresholds: Mapping[str, float],
    given: Mapping[str, float],
    lower: Mapping[str, float],
    upper: Mapping[str, float],
) -> dict[str, float]:
    """Move first thresholds into bounds that were asked for."""
    inside = {}
    for name, value in thresholds.items():
        inside[name] = min(max(value, lower[name]), upper[name])
        if name in given and inside[name] != value:
            raise InputError(
                f"start of {name} is {value:g}, outside its bounds {lower[name]:g} to "
                f"{upper[name]:g}"
            )
    return inside


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
        Share of the images that is enough, the first ones.
    layer : str, optional
        Weigh the objective with the correlation of this layer's feature maps with
        the CNN's.
    """

    candidates: tuple[Candidate, ...]
    current: Parameters
    share: float = 1.0
    layer: str | None = None


Rounds = Generator[Round, list[float], Parameters]


def with_threshold(parameters: Parameters, layer: str, value: float) -> Parameters:
    """Change one threshold."""
    return replace(parameters, thresholds={**parameters.thresholds, layer: value})


def as_tuple(names: Sequence[str]) -> tuple[str, ...]:
    """Take one name or several: the letters of a name are no names."""
    return (names,) if isinstance(names, str) else tuple(names)


def check_positive(what: str, value: Any) -> float:
    """Check that an option is a finite number above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise InputError(f"{what} is {value}, expected a finite number above 0")
    return number


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

    Raises
    ------
    InputError
        If an option is out of its range.
    """

    layers: Sequence[str] | None = None
    bounds: Any = None
    percentile: float = 99.9
    category: int | str | None = None

    #: What ``method=`` and tables call it.
    name: ClassVar[str]
    #: The objective, if none is given.
    objective: ClassVar[str]

    def __post_init__(self) -> None:
        if self.layers is not None:
            object.__setattr__(self, "layers", as_tuple(self.layers))
        percentile = check_positive("percentile", self.percentile)
        object.__setattr__(self, "percentile", percentile)
        if isinstance(self.bounds, Mapping):
            object.__setattr__(self, "bounds", FrozenDict(self.bounds))

    @abstractmethod
    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """
        Give first thresholds where the user gives none.

        Parameters
        ----------
        layers : tuple of str
            Layers that are set.
        lower : dict of str to float
            Smallest thresholds of all layers.
        data_based : dict of str to float or ndarray
            Data-based thresholds of all layers, by channel if the network's own are.

        Returns
        -------
        dict of str to float or ndarray
            By layer.
        """

    def given(self, layers: tuple[str, ...]) -> Mapping[str, float]:
        """
        Give first thresholds that the user gave.

        Parameters
        ----------
        layers : tuple of str
            Layers that are set.

        Returns
        -------
        dict of str to float
            By layer.
        """
        return {}

    def scope(
        self,
        network: SpikingNetwork,
        images: npt.NDArray[np.float32],
        budget: int,
        seed: int,
    ) -> Scope:
        """
        Say where to look for the thresholds of a network.

        Parameters
        ----------
        network : SpikingNetwork
            The network.
        images : ndarray of float32, shape (n_images, channels, height, width)
            Images for the data-based thresholds.
        budget : int
            Largest number of candidates.
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
        names = network.layer_names
        # The threshold of a gate follows from the layer before.
        tunable = tuple(
            layer.name for layer in network.layers if not isinstance(layer, MaxPool2d)
        )
        layers = tunable if self.layers is None else as_tuple(self.layers)
        check_some("layers", layers, names)
        own = network.parameters.thresholds
        found = data_based_thresholds(
            network.layers,
            images,
            self.percentile,
            network.parameters.rate_scale,
            per_channel=any(np.ndim(threshold) > 0 for threshold in own.values()),
        )
        data_based = {name: reference(value) for name, value in found.items()}
        lower, upper = bounds_by_layer(self.bounds, names, data_based)
        given = self.given(layers)
        defaults = self.begin(layers, lower, found)
        first = {name: given.get(name, defaults[name]) for name in layers}
        start = Parameters.of(names, thresholds=first, default=network.parameters)
        if self.bounds is not None:
            bounded = self.bounds if isinstance(self.bounds, Mapping) else names
            asked = {n: reference(start.thresholds[n]) for n in layers if n in bounded}
            inside = within(asked, given, lower, upper)
            # Channels keep their shares of the largest threshold.
            moved = {n: start.thresholds[n] * (inside[n] / asked[n]) for n in inside}
            start = replace(start, thresholds={**start.thresholds, **moved})
        return Scope(network.layers, layers, start, lower, upper, budget, seed)

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
        category = self.category
        return {
            "method": self.name,
            **{name: value for name, value in vars(self).items() if value is not None},
            "category": category if isinstance(category, str | None) else int(category),
            "layers": list(scope.layers),
            "start": recorded(scope.start),
            "bounds": {n: [scope.lower[n], scope.upper[n]] for n in scope.lower},
        }


@dataclass(frozen=True, kw_only=True)
class SimulatingMethod(Method):
    """
    A method that simulates candidates.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    start : float or dict of str to float, optional
        First thresholds of the layers that are set. Bounds that are given hold for
        these too.
    """

    start: ByLayer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.start, Mapping):
            object.__setattr__(self, "start", FrozenDict(self.start))

    def given(self, layers: tuple[str, ...]) -> Mapping[str, float]:
        """Give first thresholds that the user gave; see `Method.given`."""
        if self.start is None:
            return {}
        if isinstance(self.start, Mapping):
            check_names("start", self.start, layers)
            return self.start
        return dict.fromkeys(layers, self.start)

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


@dataclass(frozen=True, kw_only=True)
class Percentiles(Method):
    """
    Take percentiles of the CNN's activations, see `data_based_thresholds`.

    Nothing is simulated but the check of the result.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    """

    name: ClassVar[str] = "data"
    objective: ClassVar[str] = "accuracy"

    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """Take the data-based thresholds; see `Method.begin`."""
        return data_based
