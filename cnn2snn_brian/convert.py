"""Convert a trained CNN: read it, set its thresholds, choose how it is simulated."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from brian2 import Quantity, check_units, have_same_dimensions, ms, second

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.from_torch import from_torch
from cnn2snn_brian.layers import Layers
from cnn2snn_brian.network import Encoding, SpikingNetwork, SynapseKind
from cnn2snn_brian.neuron_models import IF, NeuronModel
from cnn2snn_brian.neurons import Reset
from cnn2snn_brian.parameters import ByLayer, Parameters, check_names
from cnn2snn_brian.presets import find_preset
from cnn2snn_brian.thresholds import data_based_thresholds

if TYPE_CHECKING:
    from torch import nn

__all__ = ["convert", "delays_in_seconds"]


def delays_in_seconds(delay: Any, names: tuple[str, ...]) -> dict[str, float]:
    """
    Take one delay or one by layer.

    Parameters
    ----------
    delay : Quantity [s] or dict of str to Quantity [s]
        Delay of the synapses into all layers, or into some by name.
    names : tuple of str
        Names of the layers.

    Returns
    -------
    dict of str to float
        In seconds; layers without a delay are left out.

    Raises
    ------
    InputError
        If a layer is unknown or a delay is no time.
    """
    if isinstance(delay, Mapping):
        check_names("delay", delay, names)
        given = dict(delay)
    else:
        given = dict.fromkeys(names, delay)
    delays = {}
    for name, value in given.items():
        is_zero = np.ndim(value) == 0 and float(value) == 0
        if np.ndim(value) or not (is_zero or have_same_dimensions(value, second)):
            message = f"the delay of {name} is {value}, expected a time, such as 2*ms"
            raise InputError(message)
        if not is_zero:
            delays[name] = float(value)
    return delays


@check_units(dt=second)
def convert(
    module: "nn.Module | Layers",
    input_shape: tuple[int, int, int] | None = None,
    *,
    thresholds: ByLayer | None = None,
    calibration: Any = None,
    preset: str = "paper",
    percentile: float | None = None,
    v_min: ByLayer | None = None,
    leak: ByLayer = 0.0,
    v_init: ByLayer | None = None,
    reset: Reset | None = None,
    encoding: Encoding | None = None,
    synapses: SynapseKind = "shared",
    rate_scale: float = 1.0,
    dt: Quantity = 1 * ms,
    normalize: tuple[Any, Any] | None = None,
    names: Literal["role", "module"] = "role",
    dtype: Literal["float32", "float64"] = "float32",
    classes: Sequence[str] | None = None,
    neurons: NeuronModel | Mapping[str, NeuronModel] | None = None,
    delay: Any = 0 * ms,
    release_probability: ByLayer | None = None,
) -> SpikingNetwork:
    """
    Convert a trained CNN to a spiking network.

    The defaults are the paper's: Poisson input, reset to 0, a floor at 0, no leak,
    steps of 1 ms, c = 1.

    Parameters
    ----------
    module : nn.Module or Layers
        The CNN (see `from_torch` for what it may consist of), or layers read before.
    input_shape : tuple of int
        Shape of a picture, (channels, height, width). Not needed with `Layers`.
    thresholds : float or dict of str to float, optional
        One number for all layers, or a number for each by name. Without it, they
        come from `calibration`; a dict of some layers takes the rest from there.
    calibration : ndarray or torch.Tensor, shape (n, channels, height, width), optional
        Training pictures that thresholds are computed from, see
        `data_based_thresholds`.
    preset : str
        Settings that belong together, which hold where no other is given: "paper",
        "free-floor" or "few-steps", see `presets`.
    percentile : float, optional
        Percentile of the activations that counts as the largest.
    v_min : float or dict of str to float, optional
        Floor of the potential, at most 0; ``-inf`` is none.
    leak : float or dict of str to float
        The paper's constant L, added to the potential in each step.
    v_init : float or dict of str to float, optional
        Potential at a picture's start, as a share of the threshold.
    reset : {"zero", "subtract"}, optional
        Whether a spike sets the potential to 0 or takes the threshold from it.
    encoding : {"poisson", "current"}, optional
        Whether a picture is Poisson spikes, or a constant current into the first
        layer: no input spikes, for few steps.
    synapses : {"shared", "explicit"}
        Whether only kernels are stored (see `SharedSynapses`), or every synapse.
    rate_scale : float
        The paper's c, spikes per step of a pixel of intensity 1.
    dt : Quantity [s]
        Time step.
    normalize : tuple, optional
        (mean, std) that the CNN's pictures were normalized with, see `from_torch`.
    names : {"role", "module"}
        How layers are named, see `from_torch`.
    dtype : {"float32", "float64"}
        Type of the state of neurons and synapses.
    classes : sequence of str, optional
        Names of the output neurons, kept for reports.
    neurons : NeuronModel or dict of str to NeuronModel, optional
        What a neuron computes: `IF` (the paper's, the default), `LIF`,
        `ConductanceLIF` or a `NeuronModel` of your own; for all layers, or by layer.
    delay : Quantity [s] or dict of str to Quantity [s]
        Delay of the synapses into all layers, or into some by name; a multiple of dt.
    release_probability : float or dict of str to float, optional
        Probability that a synapse transmits a spike, for all layers or for some by
        name. Each synapse draws for each spike. Without it synapses never fail, and
        programs are faster.

    Returns
    -------
    SpikingNetwork
        The converted network. Nothing is compiled yet.

    Raises
    ------
    UnsupportedModuleError
        If the CNN has a part that can't be converted.
    InputError
        If an argument is out of its range, or there are neither thresholds nor
        calibration pictures.
    """
    settings = find_preset(preset).arguments

    def chosen(what: str, given: Any) -> Any:
        return settings[what] if given is None else given

    if isinstance(module, Layers):
        if normalize is not None:
            message = "normalize: these layers were read before; give it to from_torch"
            raise InputError(message)
        layers = module
    else:
        if input_shape is None:
            message = "input_shape is missing: (channels, height, width) of a picture"
            raise InputError(message)
        layers = from_torch(module, input_shape, normalize, names=names)
    if isinstance(thresholds, Mapping):
        check_names("thresholds", thresholds, layers.names)
    from_data: dict[str, float] | None = None
    complete = thresholds is not None and not (
        isinstance(thresholds, Mapping) and set(layers.names) - set(thresholds)
    )
    if not complete:
        if calibration is None:
            message = (
                "thresholds: give numbers, or calibration=... (training pictures) to "
                "compute them from the CNN's activations"
            )
            raise InputError(message)
        from_data = data_based_thresholds(
            layers, calibration, chosen("percentile", percentile), rate_scale
        )
    if thresholds is None:
        thresholds = from_data
    elif from_data is not None and isinstance(thresholds, Mapping):
        thresholds = {**from_data, **thresholds}
    if release_probability is None:
        release_probability = {}
    elif not isinstance(release_probability, Mapping):
        release_probability = dict.fromkeys(layers.names, release_probability)
    parameters = Parameters.of(
        layers.names,
        thresholds=thresholds,
        v_min=chosen("v_min", v_min),
        leak=leak,
        v_init=chosen("v_init", v_init),
        rate_scale=rate_scale,
    )
    return SpikingNetwork(
        layers,
        parameters,
        chosen("reset", reset),
        chosen("encoding", encoding),
        synapses,
        float(dt / second),
        dtype,
        None if classes is None else tuple(classes),
        IF() if neurons is None else neurons,
        delays_in_seconds(delay, layers.names),
        dict(release_probability),
    )
