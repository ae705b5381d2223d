"""Settings of a run of a network that learns: rules, weights, rewards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_names
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import synapse_shape, to_synapses
from cnn2snn_brian.settings.plasticity import Rule
from cnn2snn_brian.settings.settings import FrozenDict, Numbers, Setting
from cnn2snn_brian.settings.storage import described_rule, rule_of

#: Numbers of a run that have one value for each trial.
BY_TRIAL = ("reward", "labels")

#: Number that says whether weights go on from trial to trial, of networks that learn.
KEPT = "keep_weights"


def _check_learns(what: str, network: Any) -> None:
    if not network.rules:
        raise InputError(
            f"{what}: no layer of this network learns; snn.plasticity(layer, rule) "
            "gives a network that does"
        )


@dataclass(frozen=True)
class RuleValues(Setting):
    """Values of the parameters of rules of plasticity."""

    kind: str = "dict of str to Rule, optional"
    owner: str = "layer"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Mapping[str, Rule]:
        """Take rules with the network's equations; see `Setting.checked`."""
        own = network.rules
        if given is None:
            return FrozenDict(own)
        if not isinstance(given, Mapping):
            raise InputError(f"{what}: {given!r}, expected a dict of rules by layer")
        check_names(what, given, network.layer_names)
        for name, rule in given.items():
            if name not in own:
                raise InputError(
                    f"{what} of {name}: the layer was compiled without a rule; "
                    "snn.plasticity(layer, rule) gives it one"
                )
            if not isinstance(rule, Rule) or rule.structure != own[name].structure:
                raise InputError(
                    f"{what} of {name}: {rule} has other equations than the compiled "
                    "rule; only values of its parameters can change in a run"
                )
        return FrozenDict({**own, **given})

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write the parameters of each layer's rule; see `Setting.numbers`."""
        return {
            f"{name}_synapses.{parameter}": np.array([float(number)])
            for name, rule in value.items()
            for parameter, number in rule.parameters.items()
        }

    def same(self, value: Any, other: Any) -> bool:
        """Compare what is written of the rules: units may differ."""
        return bool(self.recorded(value) == self.recorded(other))

    def recorded(self, value: Any) -> Any:
        """Write the rules as JSON can hold them."""
        return {name: described_rule(rule) for name, rule in value.items()}

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the rules."""
        return FrozenDict({name: rule_of(rule) for name, rule in stored.items()})

    def shown(self, value: Any) -> str:
        """Describe the rules to people."""
        return "; ".join(f"{name} {rule}" for name, rule in value.items())


def checked_weights(
    what: str, given: Any, network: Any
) -> Mapping[str, npt.NDArray[np.float64]]:
    """Check weights of layers that learn."""
    if not isinstance(given, Mapping):
        raise InputError(
            f"{what}: expected a dict of arrays by layer, as in result.weights"
        )
    found = {}
    for name, weights in given.items():
        if name not in network.rules:
            raise InputError(
                f"{what} names {name!r}; layers that learn are "
                f"{', '.join(network.rules)}"
            )
        array = np.array(weights, np.float64)
        expected = synapse_shape(network.layers[name])
        if array.shape != expected:
            raise InputError(
                f"{what} of {name}: an array of shape {array.shape}, "
                f"expected {expected}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{what} of {name}: not all of them are finite numbers")
        array.setflags(write=False)
        found[name] = array
    return FrozenDict(found)


@dataclass(frozen=True)
class StartWeights(Setting):
    """Weights of plastic synapses at the start of a run."""

    kind: str = "dict of str to ndarray, optional"
    owner: str = "layer"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Mapping[str, npt.NDArray[np.float64]]:
        """Check shapes and layers; see `Setting.checked`."""
        if given is None or (isinstance(given, Mapping) and not given):
            return FrozenDict()
        _check_learns(what, network)
        return checked_weights(what, given, network)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write them in the order of the synapses; see `Setting.numbers`."""
        return {
            f"{name}.{what}": to_synapses(network.layers[name], weights)
            for name, weights in value.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write lists of numbers."""
        return {name: weights.tolist() for name, weights in value.items()}

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the weights."""
        return FrozenDict({name: np.array(listed) for name, listed in stored.items()})

    def same(self, value: Any, other: Any) -> bool:
        """Compare the weights of all layers."""
        return value.keys() == other.keys() and all(
            np.array_equal(weights, other[name]) for name, weights in value.items()
        )

    def shown(self, value: Any) -> str:
        """Say which layers had weights of their own."""
        return f"given for {', '.join(value)}" if value else ""


@dataclass(frozen=True)
class KeptWeights(Setting):
    """Whether learned weights go on from trial to trial."""

    kind: str = "bool, optional"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> bool:
        """Take a truth value; see `Setting.checked`."""
        if given is None:
            return True
        if not isinstance(given, bool | np.bool_):
            raise InputError(f"{what} is {given!r}, expected True or False")
        if not given:
            _check_learns(what, network)
        return bool(given)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write it for networks that learn; see `Setting.numbers`."""
        return {KEPT: np.array([float(value)])} if network.rules else {}

    def shown(self, value: Any) -> str:
        """Say that weights are reset."""
        return "" if value else "no, reset for each trial"


@dataclass(frozen=True)
class TrialRewards(Setting):
    """The reward of each trial, known before the run."""

    kind: str = "array_like of float, shape (n_trials,), optional"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> tuple[float, ...]:
        """Check that they are numbers in a row; see `Setting.checked`."""
        if given is None or (isinstance(given, Sequence) and not given):
            return ()
        _check_learns(what, network)
        array = np.asarray(given)
        if array.ndim != 1 or array.dtype.kind not in "iufb":
            raise InputError(
                f"{what}: an array of shape {array.shape} and type {array.dtype}, "
                "expected one number for each trial"
            )
        numbers = array.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise InputError(f"{what}: not all of them are finite numbers")
        return tuple(numbers.tolist())

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write one number for each trial; see `Setting.numbers`."""
        return {what: np.array(value)} if value else {}

    def restored(
        self, stored: Any, shapes: Mapping[str, tuple[int, ...]]
    ) -> tuple[float, ...]:
        """Read the numbers."""
        return tuple(stored)

    def shown(self, value: Any) -> str:
        """Describe them to people."""
        return f"{np.mean(value):g} on average" if value else ""


@dataclass(frozen=True)
class TrialLabels(TrialRewards):
    """Classes of the trials; the reward is whether the network named its class."""

    kind: str = "array_like of int, shape (n_trials,), optional"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> tuple[float, ...]:
        """Check that they are neurons of the last layer; see `Setting.checked`."""
        found = super().checked(what, given, default, network, seed)
        n_outputs = network.layers[-1].shape[0]
        if found and math.prod(network.layers[-1].shape) != n_outputs:
            raise InputError(
                f"{what}: the last layer has the shape {network.layers[-1].shape}; "
                "rewards by label need one neuron for each class"
            )
        if any(label not in range(n_outputs) for label in found):
            raise InputError(
                f"{what}: expected whole numbers from 0 to {n_outputs - 1}"
            )
        return found

    def shown(self, value: Any) -> str:
        """Describe them to people."""
        return f"of {len(value)} trials" if value else ""


def check_trials(perturbations: Any, n_trials: int) -> None:
    """Check that there is one reward, or one label, for each trial."""
    given = [what for what in BY_TRIAL if getattr(perturbations, what)]
    if len(given) > 1:
        raise InputError(
            f"{' and '.join(given)}: give one of them, each says what is rewarded"
        )
    for what in given:
        n = len(getattr(perturbations, what))
        if n != n_trials:
            raise InputError(
                f"{what}: {n} values for {n_trials} trials, expected one for each"
            )
