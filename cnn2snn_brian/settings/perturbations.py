"""
What one run does in addition to its parameters: lesions, failing synapses, learning.

All of it is a run-time input: nothing is compiled for another value. What a class says
of itself is what the documentation of ``run`` says of its setting.
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
    check_shape,
    check_whole,
    real_numbers,
    seconds,
    whole_numbers,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import to_neurons
from cnn2snn_brian.settings.lesions import lesion_masks
from cnn2snn_brian.settings.neuron_models import NeuronModel
from cnn2snn_brian.settings.plasticity import Rule
from cnn2snn_brian.settings.settings import (
    BY_LAYER,
    FrozenDict,
    Numbers,
    Setting,
    Settings,
    Shapes,
    described,
    setting,
    shown_by_layer,
)
from cnn2snn_brian.settings.storage import described_model, model_of

#: Numbers of a run that have one value for each trial.
BY_TRIAL = ("reward", "labels")

#: Number that says whether weights go on from trial to trial, of networks that learn.
KEPT = "keep_weights"


def _of_learning(what: str, given: Any, network: Any) -> Mapping[str, Any]:
    """Check that values are given by layer, and of layers that learn."""
    _check_learns(what, network)
    if not isinstance(given, Mapping):
        raise InputError(f"{what}: found {given!r:.80}, expected a dict by layer")
    if others := ", ".join(repr(name) for name in given if name not in network.rules):
        learning = ", ".join(network.rules)
        raise InputError(f"{what} names {others}; layers that learn are {learning}")
    return given


def _check_learns(what: str, network: Any) -> None:
    if not network.rules:
        raise InputError(
            f"{what}: no layer of this network learns; snn.plasticity(layer, rule) "
            "gives a network that does"
        )


class NeuronValues(Setting):
    """
    The network's model with other values of its parameters.

    ``LIF(tau=10*ms)``, say, for one that was compiled with another time constant.
    """

    kind = "NeuronModel or dict of str to NeuronModel, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Take models with the network's equations."""
        own = network.models(network.neurons)
        models = network.models({**own, **by_layer("neurons", given, tuple(own))})
        return self._same_code("neurons", models, own)

    def _same_code(self, what: str, given: Mapping[str, Any], own: Any) -> Any:
        for name, code in given.items():
            if (
                not isinstance(code, NeuronModel | Rule)
                or code.structure != own[name].structure
            ):
                raise InputError(
                    f"{what} of {name}: {code} has other equations than those that "
                    "were compiled; only values of parameters can change in a run. "
                    "Compile a network with these for that"
                )
        return FrozenDict({**own, **given})

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write the parameters of each layer's model."""
        of_rules = "_synapses" if what == "plasticity" else ""
        return {
            f"{name}{of_rules}.{parameter}": np.array([float(number)])
            for name, code in value.items()
            for parameter, number in code.values.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write the models as JSON can hold them."""
        return {name: described_model(model) for name, model in value.items()}

    def restored(self, stored: Any, shapes: Shapes) -> Any:
        """Read the models."""
        return FrozenDict({name: model_of(model) for name, model in stored.items()})

    def shown(self, value: Any) -> str:
        """Describe the models to people, once if they are all the same."""
        return shown_by_layer({name: str(model) for name, model in value.items()}, "; ")


class RuleValues(NeuronValues):
    """The network's rules of plasticity with other values of their parameters."""

    kind = "dict of str to Rule, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Take rules with the network's equations."""
        rules = _of_learning("plasticity", given, network)
        return self._same_code("plasticity", rules, network.rules)

    def restored(self, stored: Any, shapes: Shapes) -> Any:
        """Read the rules."""
        return FrozenDict({name: model_of(rule, Rule) for name, rule in stored.items()})

    def shown(self, value: Any) -> str:
        """Describe the rules to people."""
        return "; ".join(f"{name} {rule}" for name, rule in value.items())


class ReleaseProbability(Setting):
    """Probability that a synapse transmits a spike, if they were converted with one."""

    kind = BY_LAYER

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


class LesionMasks(Setting):
    """Neurons that never spike, of layers or of ``input``."""

    kind = "Lesion, iterable of Lesion, or dict of str to ndarray, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Find the silenced neurons by layer."""
        return FrozenDict(lesion_masks(given, network.layer_shapes, seed))

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write the indices of the silenced neurons."""
        return {
            f"{name}.{what}": np.flatnonzero(to_neurons(mask, mask.shape)).astype(float)
            for name, mask in value.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write indices into the flattened arrays of the layers."""
        return {name: np.flatnonzero(mask).tolist() for name, mask in value.items()}

    def restored(self, stored: Any, shapes: Shapes) -> Any:
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


def _of_input(what: str, amount: float, network: Any) -> float:
    if amount and network.encoding != "poisson":
        raise InputError(
            f"{what}: with encoding={network.encoding!r} there are no input spikes"
        )
    return amount


class InputDeletion(Setting):
    """Probability that an input spike is lost."""

    kind = "float"

    def checked(self, given: Any, network: Any, seed: int) -> float:
        """Check that it is a probability."""
        probability = check_number("input_deletion", given, 0, 1)
        return _of_input("input_deletion", probability, network)


class InputJitter(Setting):
    """
    Standard deviation of the time by which an input spike is displaced.

    Spikes that leave the image's time are lost, and two spikes of a neuron in one step
    are one.
    """

    kind = "Quantity [s]"

    def checked(self, given: Any, network: Any, seed: int) -> Quantity:
        """Check that it is a time of at least 0."""
        jitter_s = seconds("input_jitter", given, plain=False, least=0)
        return _of_input("input_jitter", jitter_s, network) * second

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write it in time steps."""
        return {what: np.array([float(value) / network.dt_s])}

    def recorded(self, value: Any) -> float:
        """Write it in seconds."""
        return float(value)

    def restored(self, stored: Any, shapes: Shapes) -> Quantity:
        """Read it."""
        return stored * second

    def shown(self, value: Any) -> str:
        """Describe it to people."""
        return f"{value}" if float(value) else ""


class StartWeights(Setting):
    """
    Weights that layers that learn start the run with; by default the network's own.

    The ``weights`` of an earlier result, for example.
    """

    kind = "dict of str to ndarray, optional"

    def checked(self, given: Any, network: Any, seed: int) -> Any:
        """Check shapes and layers."""
        found = {}
        for name, weights in _of_learning("weights", given, network).items():
            array = real_numbers(f"weights of {name}", weights)
            (projection,) = network.layers.into(name)
            shape = projection.connection.synapse_shape
            check_shape(f"weights of {name}", array, *shape)
            array.setflags(write=False)
            found[name] = array
        return FrozenDict(found)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write them in the order of the synapses."""
        return {
            f"{name}.{what}": projection.connection.to_synapses(weights)
            for name, weights in value.items()
            for projection in network.layers.into(name)
        }

    def recorded(self, value: Any) -> Any:
        """Write lists of numbers."""
        return {name: weights.tolist() for name, weights in value.items()}

    def restored(self, stored: Any, shapes: Shapes) -> Any:
        """Read the weights."""
        return FrozenDict({name: np.array(listed) for name, listed in stored.items()})

    def shown(self, value: Any) -> str:
        """Say for which layers weights were given."""
        return f"given for {', '.join(value)}" if value else ""


class KeptWeights(Setting):
    """
    Whether learned weights go on from trial to trial, or are reset for each.

    By default they go on, and trials run in order in one run of the program.
    """

    kind = "bool, optional"

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


class TrialRewards(Setting):
    """Reward at the end of each trial; 0 without it and `labels`."""

    kind = "array_like of float, shape (n_trials,), optional"
    name = "reward"

    def checked(self, given: Any, network: Any, seed: int) -> tuple[float, ...]:
        """Check that they are numbers in a row."""
        _check_learns(self.name, network)
        array = real_numbers(self.name, given)
        check_shape(self.name, array, "n_trials")
        return tuple(array.tolist())

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write one number for each trial."""
        return {what: np.array(value)} if value else {}

    def restored(self, stored: Any, shapes: Shapes) -> tuple[float, ...]:
        """Read the numbers."""
        return tuple(stored)

    def shown(self, value: Any) -> str:
        """Describe them to people."""
        return f"{np.mean(value):g} on average" if value else ""


class TrialLabels(TrialRewards):
    """
    Class of each trial, in place of `reward`.

    The reward is 1 if that output neuron is the first of those with most spikes,
    else -1.
    """

    kind = "array_like of int, shape (n_trials,), optional"
    name = "labels"

    def checked(self, given: Any, network: Any, seed: int) -> tuple[float, ...]:
        """Check that they are neurons of the last layer."""
        found = super().checked(given, network, seed)
        shape = network.layers[-1].shape
        if math.prod(shape) != shape[0]:
            raise InputError(
                f"labels: the last layer has the shape {shape}; rewards by label need "
                "one neuron for each class"
            )
        whole_numbers("labels", found, shape[0])
        return found

    def shown(self, value: Any) -> str:
        """Describe them to people."""
        return f"of {len(value)} trials" if value else ""


def check_trials(perturbations: Any, n_trials: int) -> None:
    """Check that there is one reward, or one label, for each trial."""
    lengths = {what: len(getattr(perturbations, what)) for what in BY_TRIAL}
    given = [what for what in BY_TRIAL if lengths[what]]
    if len(given) > 1:
        raise InputError(
            f"{' and '.join(given)}: give one of them, each says what is rewarded"
        )
    for what in given:
        if (n := lengths[what]) != n_trials:
            raise InputError(f"{what}: {n} values for {n_trials} trials, not one each")


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

    neurons: Mapping[str, NeuronModel] = setting(NeuronValues())
    release_probability: Mapping[str, float] = setting(ReleaseProbability(), FrozenDict)
    lesion: Mapping[str, npt.NDArray[np.bool_]] = setting(LesionMasks(), FrozenDict)
    input_deletion: float = setting(InputDeletion(), float)
    input_jitter: Quantity = setting(InputJitter(), lambda: 0 * second)
    plasticity: Mapping[str, Rule] = setting(RuleValues(), FrozenDict)
    weights: Mapping[str, npt.NDArray[np.float64]] = setting(StartWeights(), FrozenDict)
    keep_weights: bool = setting(KeptWeights(), lambda: True)
    reward: tuple[float, ...] = setting(TrialRewards(), tuple)
    labels: tuple[float, ...] = setting(TrialLabels(), tuple)

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
        checked = {}
        for name, kind in described(cls).items():
            value = given.get(name)
            is_empty = isinstance(value, Mapping | Sequence) and not value
            if value is not None and not is_empty:
                checked[name] = kind.checked(value, network, seed)
        return replace(own, **checked)
