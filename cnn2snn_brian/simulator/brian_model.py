"""A Brian2 network without a CNN: what a simulator runs, and what Brian2 does."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from brian2 import Network, Quantity, defaultclock, second

from cnn2snn_brian.brian import (
    Builder,
    Extension,
    brian_network,
    described,
    runtime_mode,
)
from cnn2snn_brian.checks import check_whole, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Network as Populations
from cnn2snn_brian.settings import CHOICES, Parameters, Perturbations


class BrianModel:
    """
    What a function builds in Brian2.

    It has what a simulator asks a `SpikingNetwork` for, with no layers at all.

    Attributes
    ----------
    extension : Extension
        The objects that the function made.
    dt_s : float
        Time step in seconds.
    """

    layers = Populations((0, 0, 0), (), ())
    parameters = Parameters.of(())
    reset, propagation, synapses, dtype = "zero", "step", "explicit", "float64"
    encoding, classes, layer_names, has_constant_input = "current", None, (), False
    input_shape = layers.input_shape
    neurons: dict[str, Any] = {}
    rules = release_probability = delays_s = synapse_kinds = neurons
    layer_shapes: dict[str, tuple[int, ...]] = {}

    def __init__(
        self, build: Callable[[], Network], dt: Quantity | None = None, seed: int = 0
    ) -> None:
        if not callable(build):
            raise InputError(f"{build!r} is not a function that makes a network")
        dt = defaultclock.dt if dt is None else dt
        self.dt_s = seconds("dt", dt, plain=False, above=0)
        self.extension = Extension()
        builders = (Builder(build, check_whole("seed", seed, 0), True),)
        with runtime_mode():
            self.extension = described(self.network(), builders, self.layers)

    @property
    def dt(self) -> Quantity:
        """Time step of the simulation [s]."""
        return self.dt_s * second

    @property
    def population_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all populations that spike, by name."""
        return dict(self.extension.populations)

    def models(self, neurons: Any) -> dict[str, Any]:
        """Give the models of the layers, of which there are none."""
        return {}

    def neutral_parameters(self) -> Parameters:
        """Give the parameters of the layers, of which there are none."""
        return self.parameters

    def network(self, values: Mapping[str, Quantity] | None = None) -> Network:
        """Build the network on the active device, with some variables set."""
        parameters, snn = self.parameters.replace(values=values), cast(Any, self)
        parameters.check_network(self)
        return brian_network(snn, parameters, Perturbations.of(self))

    def summary(self) -> dict[str, Any]:
        """Say what a result should know of its network."""
        return {
            **{what: getattr(self, what) for what in CHOICES},
            "delays_s": {},
            "classes": None,
            "layers": "",
            "extension": self.extension.digest,
            "receptive_fields": {},
        }
