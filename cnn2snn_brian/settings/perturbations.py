"""
What one run does beside its parameters: lesions, failing synapses, lost input spikes.

All of it is a run-time input: nothing is compiled for another value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity
from brian2.units import have_same_dimensions, second

from cnn2snn_brian.checks import check_names, check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import to_neurons
from cnn2snn_brian.settings.learning import (
    KeptWeights,
    RuleValues,
    StartWeights,
    TrialLabels,
    TrialRewards,
)
from cnn2snn_brian.settings.lesions import lesion_masks
from cnn2snn_brian.settings.neuron_models import NeuronModel
from cnn2snn_brian.settings.plasticity import Rule
from cnn2snn_brian.settings.settings import (
    BY_LAYER,
    FrozenDict,
    Numbers,
    Setting,
    setting,
    setting_of,
)
from cnn2snn_brian.settings.storage import described_model, model_of


@dataclass(frozen=True)
class NeuronValues(Setting):
    """Values of the parameters of the neurons' models."""

    kind: str = "NeuronModel or dict of str to NeuronModel, optional"
    owner: str = "layer"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Mapping[str, NeuronModel]:
        """Take models with the network's equations; see `Setting.checked`."""
        own = network.models(network.neurons)
        if given is None:
            return FrozenDict(own)
        if isinstance(given, Mapping):
            check_names(what, given, network.layer_names)
            given = {**own, **given}
        models = network.models(given)
        for name, model in models.items():
            if model.structure != own[name].structure:
                raise InputError(
                    f"neurons of {name}: {model} has other equations than the compiled "
                    "model; only values of its parameters can change in a run. Convert "
                    "and compile with neurons=... for that"
                )
        return FrozenDict(models)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write the parameters of each layer's model; see `Setting.numbers`."""
        return {
            f"{name}.{parameter}": np.array([float(number)])
            for name, model in value.items()
            for parameter, number in model.values.items()
        }

    def same(self, value: Any, other: Any) -> bool:
        """Compare what is written of the models: units may differ."""
        return bool(self.recorded(value) == self.recorded(other))

    def recorded(self, value: Any) -> Any:
        """Write the models as JSON can hold them."""
        return {name: described_model(model) for name, model in value.items()}

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the models."""
        return FrozenDict({name: model_of(model) for name, model in stored.items()})

    def shown(self, value: Any) -> str:
        """Describe the models to people, once if they are all the same."""
        texts = {name: str(model) for name, model in value.items()}
        if len(set(texts.values())) == 1:
            return next(iter(texts.values()))
        return "; ".join(f"{name} {text}" for name, text in texts.items())


@dataclass(frozen=True)
class ReleaseProbability(Setting):
    """How likely a synapse transmits a spike."""

    kind: str = BY_LAYER
    owner: str = "layer"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Mapping[str, float]:
        """Take probabilities for layers that can fail; see `Setting.checked`."""
        release = dict(network.release_probability)
        if given is not None:
            if release and not isinstance(given, Mapping):
                given = dict.fromkeys(release, given)
            given = network.check_release(given)
            fixed = [name for name in given if name not in release]
            if fixed:
                raise InputError(
                    f"release_probability: synapses into {', '.join(fixed)} were "
                    "compiled as ones that never fail; convert with "
                    "release_probability=1 (or another number) for that"
                )
            release |= given
        return FrozenDict(release)

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write a number for each layer that can fail; see `Setting.numbers`."""
        return {f"{name}.{what}": np.array([p]) for name, p in value.items()}

    def shown(self, value: Any) -> str:
        """Describe the probabilities to people."""
        return ", ".join(f"{name} {p:g}" for name, p in value.items())


@dataclass(frozen=True)
class LesionMasks(Setting):
    """Neurons that never spike."""

    kind: str = "Lesion, iterable of Lesion, or dict of str to ndarray, optional"
    owner: str = "layer"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Mapping[str, npt.NDArray[np.bool_]]:
        """Find the silenced neurons by layer; see `Setting.checked`."""
        return FrozenDict(lesion_masks(given, network.population_shapes, seed))

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write the indices of the silenced neurons; see `Setting.numbers`."""
        return {
            f"{name}.{what}": np.flatnonzero(to_neurons(mask, mask.shape)).astype(float)
            for name, mask in value.items()
        }

    def recorded(self, value: Any) -> Any:
        """Write indices into the flattened arrays of the layers."""
        return {name: np.flatnonzero(mask).tolist() for name, mask in value.items()}

    def restored(self, stored: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Read the masks."""
        masks = {}
        for name, indices in stored.items():
            mask = np.zeros(shapes[name], bool)
            mask.ravel()[indices] = True
            masks[name] = mask
        return FrozenDict(masks)

    def same(self, value: Any, other: Any) -> bool:
        """Compare the masks of all layers."""
        return value.keys() == other.keys() and all(
            np.array_equal(mask, other[name]) for name, mask in value.items()
        )

    def shown(self, value: Any) -> str:
        """Say how many neurons of which layer are silenced."""
        return ", ".join(
            f"{name} {int(mask.sum())} of {mask.size} neurons"
            for name, mask in value.items()
        )


def _check_input_spikes(what: str, network: Any, *, given: bool) -> None:
    if given and network.encoding != "poisson":
        raise InputError(
            f"{what}: with encoding={network.encoding!r} there are no input spikes"
        )


@dataclass(frozen=True)
class InputDeletion(Setting):
    """How likely an input spike is lost."""

    kind: str = "float"
    owner: str = "input"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> float:
        """Check that it is a probability; see `Setting.checked`."""
        given = 0.0 if given is None else given
        if isinstance(given, Quantity) or not 0 <= float(given) <= 1:
            raise InputError(f"{what} is {given}, expected a probability, 0 to 1")
        _check_input_spikes(what, network, given=given > 0)
        return float(given)

    def shown(self, value: Any) -> str:
        """Describe it to people."""
        return f"{value:g}" if value else ""


@dataclass(frozen=True)
class InputJitter(Setting):
    """By how much input spikes are displaced."""

    kind: str = "Quantity [s]"
    owner: str = "input"

    def checked(
        self, what: str, given: Any, default: Any, network: Any, seed: int = 0
    ) -> Quantity:
        """Check that it is a time of at least 0; see `Setting.checked`."""
        given = 0.0 if given is None else given
        is_zero = np.ndim(given) == 0 and float(given) == 0
        if np.ndim(given) or not (is_zero or have_same_dimensions(given, second)):
            raise InputError(f"{what} is {given}, expected a time, such as 2*ms")
        if not 0 <= float(given) < np.inf:
            raise InputError(f"{what} is {given}, expected a time of at least 0")
        _check_input_spikes(what, network, given=not is_zero)
        return float(given) * second

    def numbers(self, what: str, value: Any, network: Any) -> Numbers:
        """Write it in time steps; see `Setting.numbers`."""
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


@dataclass(frozen=True, eq=False)
class Perturbations(Printed):
    """
    What a run does beside its parameters. Two are equal if all of their values are.

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
        )
    )
    lesion: Mapping[str, npt.NDArray[np.bool_]] = setting(
        LesionMasks("Neurons that never spike, of layers or of ``input``.")
    )
    input_deletion: float = setting(
        InputDeletion("Probability that an input spike is lost.")
    )
    input_jitter: Quantity = setting(
        InputJitter(
            "Standard deviation of the time by which an input spike is displaced. "
            "Spikes that leave the image's time are lost, and two spikes of a neuron "
            "in one step are one."
        )
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
        network : NetworkDescription
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
        known = [item.name for item in fields(cls)]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InputError(
                f"unknown perturbation {', '.join(unknown)}; there are "
                f"{', '.join(known)}"
            )
        return cls(
            **{
                item.name: setting_of(item).checked(
                    item.name, given.get(item.name), None, network, seed
                )
                for item in fields(cls)
            }
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Perturbations):
            return NotImplemented
        return all(
            setting_of(item).same(getattr(self, item.name), getattr(other, item.name))
            for item in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]
