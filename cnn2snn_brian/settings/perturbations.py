"""
What one run does in addition to its parameters: lesions, failing synapses, learning.

All of it is a run-time input: nothing is compiled for another value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second

from cnn2snn_brian.checks import (
    by_layer,
    check_known,
    check_number,
    check_whole,
    seconds,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import synapse_shape, to_neurons, to_synapses
from cnn2snn_brian.settings.lesions import lesion_masks
from cnn2snn_brian.settings.neuron_models import NeuronModel
from cnn2snn_brian.settings.plasticity import Rule
from cnn2snn_brian.settings.settings import (
    BY_LAYER,
    FrozenDict,
    Numbers,
    Setting,
    Settings,
    described,
    setting,
    shown_by_layer,
)
from cnn2snn_brian.settings.storage import described_model, model_of

#: Numbers of a run that have one value for each trial.
BY_TRIAL = ("reward", "labels")

#: Number that says whether weights go on from trial to trial, of networks that learn.
KEPT = "keep_weights"


@dataclass(frozen=True)
class NeuronValues(Setting):
    """Values of the parameters of the neurons' models."""

    kind: str = "NeuronModel or dict of str to NeuronModel, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Take models with the network's equations."""
        own = network.models(network.neurons)
        models = network.models({**own, **by_layer("neurons", given, tuple(own))})
        for name, model in models.items():
            if model.structure != own[name].structure:
                raise InputError(
                    f"neurons of {name}: {model} has other equations than the compiled "
                    "model; only values of its parameters can change in a run. Convert "
                    "and compile with neurons=... for that"
                )
        return FrozenDict(models)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write the parameters of each layer's model."""
        of_rules = "_synapses" if what == "plasticity" else ""
        return {
            f"{name}{of_rules}.{parameter}": np.array([float(number)])
            for name, model in value.items()
            for parameter, number in model.values.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write the models as JSON can hold them."""
        return {name: described_model(model) for name, model in value.items()}

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the models."""
        return FrozenDict({name: model_of(model) for name, model in stored.items()})

    def shown(self, value: Any) -> str:
        """Describe the models to people, once if they are all the same."""
        return shown_by_layer({name: str(model) for name, model in value.items()}, "; ")


@dataclass(frozen=True)
class RuleValues(NeuronValues):
    """Values of the parameters of rules of plasticity."""

    kind: str = "dict of str to Rule, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Take rules with the network's equations."""
        own = network.rules
        if not isinstance(given, Mapping):
            raise InputError(
                f"plasticity: {given!r}, expected a dict of rules by layer"
            )
        for name, rule in by_layer("plasticity", given, network.layer_names).items():
            if name not in own:
                raise InputError(
                    f"plasticity of {name}: the layer was compiled without a rule; "
                    "snn.plasticity(layer, rule) gives it one"
                )
            if not isinstance(rule, Rule) or rule.structure != own[name].structure:
                raise InputError(
                    f"plasticity of {name}: {rule} has other equations than the "
                    "compiled rule; only values of its parameters can change in a run"
                )
        return FrozenDict({**own, **given})

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the rules."""
        return FrozenDict({name: model_of(rule, Rule) for name, rule in stored.items()})

    def shown(self, value: Any) -> str:
        """Describe the rules to people."""
        return "; ".join(f"{name} {rule}" for name, rule in value.items())


@dataclass(frozen=True)
class ReleaseProbability(Setting):
    """How likely a synapse transmits a spike."""

    kind: str = BY_LAYER

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Take probabilities for layers that can fail."""
        own = network.release_probability
        if own and not isinstance(given, Mapping):
            given = dict.fromkeys(own, given)
        given = network.check_release(given)
        if fixed := [name for name in given if name not in own]:
            raise InputError(
                f"release_probability: synapses into {', '.join(fixed)} were compiled "
                "as ones that never fail; convert with release_probability=1 (or "
                "another number) for that"
            )
        return FrozenDict({**own, **given})

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write a number for each layer that can fail."""
        return {f"{name}.{what}": np.array([p]) for name, p in value.items()}

    def shown(self, value: Any) -> str:
        """Describe the probabilities to people."""
        return ", ".join(f"{name} {p:g}" for name, p in value.items())


@dataclass(frozen=True)
class LesionMasks(Setting):
    """Neurons that never spike."""

    kind: str = "Lesion, iterable of Lesion, or dict of str to ndarray, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Find the silenced neurons by layer."""
        return FrozenDict(lesion_masks(given, network.population_shapes, seed))

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write the indices of the silenced neurons."""
        return {
            f"{name}.{what}": np.flatnonzero(to_neurons(mask, mask.shape)).astype(float)
            for name, mask in value.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write indices into the flattened arrays of the layers."""
        return {name: np.flatnonzero(mask).tolist() for name, mask in value.items()}

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the masks."""
        masks = {name: np.zeros(shapes[name], bool) for name in stored}
        for name, indices in stored.items():
            masks[name].ravel()[indices] = True
        return FrozenDict(masks)

    def shown(self, value: Any) -> str:
        """Say how many neurons of which layer are silenced."""
        return ", ".join(
            f"{name} {int(mask.sum())} of {mask.size} neurons"
            for name, mask in value.items()
        )


def _check_input_spikes(what: str, network: Any) -> None:
    if network.encoding != "poisson":
        raise InputError(
            f"{what}: with encoding={network.encoding!r} there are no input spikes"
        )


@dataclass(frozen=True)
class InputDeletion(Setting):
    """How likely an input spike is lost."""

    kind: str = "float"

    def checked(self, given: Any, network: Any, seed: int) -> float:
        """Check that it is a probability."""
        probability = check_number("input_deletion", given, 0, 1)
        if probability:
            _check_input_spikes("input_deletion", network)
        return probability


@dataclass(frozen=True)
class InputJitter(Setting):
    """By how much input spikes are displaced."""

    kind: str = "Quantity [s]"

    def checked(self, given: Any, network: Any, seed: int) -> Quantity:
        """Check that it is a time of at least 0."""
        jitter_s = seconds("input_jitter", given, plain=False, least=0)
        if jitter_s:
            _check_input_spikes("input_jitter", network)
        return jitter_s * second

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write it in time steps."""
        return {what: np.array([float(value) / network.dt_s])}

    def recorded(self, value: Any) -> float:
        """Write it in seconds."""
        return float(value)

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Quantity:
        """Read it."""
        return stored * second

    def shown(self, value: Any) -> str:
        """Describe it to people."""
        return f"{value}" if float(value) else ""


def _check_learns(what: str, network: Any) -> None:
    if not network.rules:
        raise InputError(
            f"{what}: no layer of this network learns; snn.plasticity(layer, rule) "
            "gives a network that does"
        )


@dataclass(frozen=True)
class StartWeights(Setting):
    """Weights of plastic synapses at the start of a run."""

    kind: str = "dict of str to ndarray, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Check shapes and layers."""
        if isinstance(given, Mapping) and not given:
            return FrozenDict()
        _check_learns("weights", network)
        if not isinstance(given, Mapping):
            raise InputError(
                "weights: expected a dict of arrays by layer, as in result.weights"
            )
        found = {}
        for name, weights in given.items():
            if name not in network.rules:
                raise InputError(
                    f"weights names {name!r}; layers that learn are "
                    f"{', '.join(network.rules)}"
                )
            array = np.array(weights, np.float64)
            expected = synapse_shape(network.layers[name])
            if array.shape != expected:
                raise InputError(
                    f"weights of {name}: an array of shape {array.shape}, "
                    f"expected {expected}"
                )
            if not np.isfinite(array).all():
                raise InputError(f"weights of {name}: not all are finite numbers")
            array.setflags(write=False)
            found[name] = array
        return FrozenDict(found)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write them in the order of the synapses."""
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

    def shown(self, value: Any) -> str:
        """Say which layers had weights of their own."""
        return f"given for {', '.join(value)}" if value else ""


@dataclass(frozen=True)
class KeptWeights(Setting):
    """Whether learned weights go on from trial to trial."""

    kind: str = "bool, optional"

    def checked(self, given: Any, network: Any, seed: int) -> bool:
        """Take a truth value."""
        if not isinstance(given, bool | np.bool_):
            raise InputError(f"{KEPT} is {given!r}, expected True or False")
        if not given:
            _check_learns(KEPT, network)
        return bool(given)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write it for networks that learn."""
        return {KEPT: np.array([float(value)])} if network.rules else {}

    def shown(self, value: Any) -> str:
        """Say that weights are reset."""
        return "" if value else "no, reset for each trial"


@dataclass(frozen=True)
class TrialRewards(Setting):
    """The reward of each trial, known before the run."""

    kind: str = "array_like of float, shape (n_trials,), optional"

    def checked(
        self, given: Any, network: Any, seed: int, what: str = "reward"
    ) -> tuple[float, ...]:
        """Check that they are numbers in a row."""
        if isinstance(given, Sequence) and not given:
            return ()
        _check_learns(what, network)
        array = np.asarray(given)
        if array.ndim != 1 or array.dtype.kind not in "iufb":
            raise InputError(
                f"{what}: an array of shape {array.shape} and type {array.dtype}, "
                "expected one number for each trial"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{what}: not all of them are finite numbers")
        return tuple(array.astype(np.float64).tolist())

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write one number for each trial."""
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
        self, given: Any, network: Any, seed: int, what: str = "labels"
    ) -> tuple[float, ...]:
        """Check that they are neurons of the last layer."""
        found = super().checked(given, network, seed, what)
        shape = network.layers[-1].shape
        if found and math.prod(shape) != shape[0]:
            raise InputError(
                f"{what}: the last layer has the shape {shape}; rewards by label need "
                "one neuron for each class"
            )
        if any(label not in range(shape[0]) for label in found):
            raise InputError(f"{what}: expected whole numbers from 0 to {shape[0] - 1}")
        return found

    def shown(self, value: Any) -> str:
        """Describe them to people."""
        return f"of {len(value)} trials" if value else ""


def check_trials(perturbations: Any, n_trials: int) -> None:
    """Check that there is one reward, or one label, for each trial."""
    given = {what: len(getattr(perturbations, what)) for what in BY_TRIAL}
    given = {what: n for what, n in given.items() if n}
    if len(given) > 1:
        raise InputError(
            f"{' and '.join(given)}: give one of them, each says what is rewarded"
        )
    for what, n in given.items():
        if n != n_trials:
            raise InputError(
                f"{what}: {n} values for {n_trials} trials, expected one for each"
            )


@dataclass(frozen=True, eq=False)
class Perturbations(Settings):
    """
    What a run does in addition to its parameters. Two are equal if their values are.

    Attributes
    ----------
    neurons : dict of str to NeuronModel
        Model of each layer, with the values that its parameters have.
    release_probability : dict of str to float
        Layers whose synapses fail at random, and how likely they transmit.
    lesion : dict of str to ndarray of bool
        True where a neuron of a layer (or of ``input``) is silenced; layers without
        lesions are left out.
    input_deletion : float
        Probability that an input spike is lost.
    input_jitter : Quantity [s]
        Standard deviation of the time by which an input spike is displaced.
    plasticity : dict of str to Rule
        Rules of the layers that learn, with the values that their parameters have.
    weights : dict of str to ndarray of float
        Weights that layers that learn started the run with, where they were given.
    keep_weights : bool
        Whether learned weights went on from trial to trial.
    reward : tuple of float
        Reward of each trial, if it was given.
    labels : tuple of float
        Class of each trial, if rewards followed from it.
    """

    neurons: Mapping[str, NeuronModel] = setting(
        NeuronValues(
            "The network's model with other values of its parameters, such as "
            "``LIF(tau=10*ms)`` for one that was compiled with another time constant."
        )
    )
    release_probability: Mapping[str, float] = setting(
        ReleaseProbability(
            "Probability that a synapse transmits a spike, for layers that were "
            "converted with one."
        ),
        default_factory=FrozenDict,
    )
    lesion: Mapping[str, npt.NDArray[np.bool_]] = setting(
        LesionMasks("Neurons that never spike, of layers or of ``input``."),
        default_factory=FrozenDict,
    )
    input_deletion: float = setting(
        InputDeletion("Probability that an input spike is lost."), default=0.0
    )
    input_jitter: Quantity = setting(
        InputJitter(
            "Standard deviation of the time by which an input spike is displaced. "
            "Spikes that leave the image's time are lost, and two spikes of a neuron "
            "in one step are one."
        ),
        default_factory=lambda: 0 * second,
    )
    plasticity: Mapping[str, Rule] = setting(
        RuleValues(
            "The network's rules of plasticity with other values of their parameters."
        ),
        default_factory=FrozenDict,
    )
    weights: Mapping[str, npt.NDArray[np.float64]] = setting(
        StartWeights(
            "Weights that layers that learn start the run with, such as the "
            "``weights`` of an earlier result. By default those of the network."
        ),
        default_factory=FrozenDict,
    )
    keep_weights: bool = setting(
        KeptWeights(
            "Whether learned weights go on from trial to trial, which then run in "
            "order in one program run (the default), or are reset for each."
        ),
        default=True,
    )
    reward: tuple[float, ...] = setting(
        TrialRewards("Reward at the end of each trial; 0 without it and `labels`."),
        default=(),
    )
    labels: tuple[float, ...] = setting(
        TrialLabels(
            "Class of each trial, in place of `reward`: the reward is 1 if that output "
            "neuron is the first of those with most spikes, else -1."
        ),
        default=(),
    )

    @classmethod
    def of(cls, network: Any, seed: int = 0, **given: Any) -> "Perturbations":
        """
        Check the perturbations of a run.

        Parameters
        ----------
        network : SpikingNetwork
            The network that is run.
        seed : int
            Seed of the run.
        **given : object, optional
            Perturbations by name, as users give them. None is nothing given.

        Returns
        -------
        Perturbations
            Complete values.

        Raises
        ------
        InputError
            If one is unknown or can't be used.
        """
        seed = check_whole("seed", seed, 0)
        check_known("perturbation", given, described(cls))
        own = cls(
            neurons=FrozenDict(network.models(network.neurons)),
            release_probability=network.release_probability,
            plasticity=network.rules,
        )
        checked = {
            name: kind.checked(given[name], network, seed)
            for name, kind in described(cls).items()
            if given.get(name) is not None
        }
        return replace(own, **checked)
