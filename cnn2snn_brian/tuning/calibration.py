r"""
Calibration: thresholds, leaks and starting potentials that fit a number of steps.

In few steps a neuron can say only few numbers, and spikes of the layer before come in
bursts: a layer's mean rate is then not what its CNN's is, and the error grows with
every layer. Li et al. [1]_ mend that without training, layer after layer on some
hundred images, by a constant input to each channel that takes the mean error away.
Channels of one layer do not influence each other, so that each of them can also choose
the threshold and the starting potential that suit it, by the squared error.

References
----------
.. [1] Li et al. (2021), A Free Lunch From ANN: Towards Efficient, Accurate Spiking
   Neural Networks Calibration, arXiv:2106.06984
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.progress import Advance, progress_bar
from cnn2snn_brian.projections import AnyLayer, MaxPool2d
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import (
    Parameters,
    check_images,
    input_scales,
    largest_activation,
    recorded,
    reference,
)
from cnn2snn_brian.simulator import Simulator, Workers
from cnn2snn_brian.tuning.base import check_numbers
from cnn2snn_brian.tuning.result import CalibrationResult
from cnn2snn_brian.tuning.trials import compiled, described
from cnn2snn_brian.tuning.tuning_set import arrays_fingerprint

#: Shows the images with some settings, see `Simulator.run_many`.
Show = Callable[[list[dict[str, Any]]], Iterable[tuple[int, SimulationResult]]]

#: Thresholds that each channel may choose from, as shares of the layer's own.
SCALES = (0.5, 0.65, 0.8, 1.0, 1.25, 1.6)

#: The percentile that these shares are of, the same for every network: what is found
#: does not depend on the thresholds that a network had before.
PERCENTILE = 99.0


def calibrate(
    network: Simulator | SpikingNetwork,
    images: Any,
    *,
    duration: Quantity | None = None,
    scales: Sequence[float] = SCALES,
    v_init: Sequence[float] | None = None,
    rounds: int = 3,
    seed: int = 0,
    executor: Workers = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> CalibrationResult:
    r"""
    Fit thresholds, leaks and starting potentials to a number of steps.

    Nothing is trained and no labels are needed: what the CNN computes is the goal. One
    layer after the other, from the first one on, tries thresholds and starting
    potentials. With each of them, the leak :math:`L_c` of channel :math:`c` is shifted
    until its mean rate is the CNN's [1]_,

    .. math:: L_c \leftarrow L_c + \frac{1}{s}
       \left(\langle \min(a_c, A_c) \rangle - A_c \langle r_c \rangle\right)

    with the CNN's activations :math:`a_c`, spikes a step :math:`r_c`, the activation
    :math:`A_c` that one spike a step stands for, that of the layer before, :math:`s`,
    and means :math:`\langle\cdot\rangle` over images and positions. Each channel keeps
    what makes :math:`\langle (A_c r_c - a_c)^2 \rangle` smallest. The last layer keeps
    one threshold and no shift, as its spikes are compared with each other. The gates of
    maximum pooling have the scale of what they read.

    It is meant for currents, reset by subtraction and ``propagation="instant"``, the
    preset "few-steps", and works with every network.

    Parameters
    ----------
    network : Simulator or SpikingNetwork
        A compiled network, or one to compile. It is not changed.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Some hundred training images, float in [0, 1] or uint8. Never test images.
    duration : Quantity [s], optional
        How long an image is shown, for a network that is not compiled; by default what
        suits its settings, see `suitable_duration`.
    scales : sequence of float
        Thresholds to choose from, as shares of the layer's 99th percentile of the
        activations.
    v_init : sequence of float, optional
        Starting potentials to choose from, as shares of the threshold; by default the
        network's own is kept.
    rounds : int
        How often a leak is shifted.
    seed : int
        Seed of the input spikes.
    executor : int or concurrent.futures.Executor, optional
        Who runs the images, see `Simulator.run`. It does not change the result.
    checkpoint : path-like, optional
        File that each layer's numbers are written to. If it exists, the calibration
        goes on from there and ends with the result that it would have had.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    CalibrationResult
        The parameters, what they change in each layer, and how many images are
        classified like by the CNN before and with them.

    Raises
    ------
    InputError
        If an argument can't be used, a layer is silent in the CNN, or the checkpoint is
        of another network, other images or other arguments.
    SimulationError
        If a simulation fails.

    References
    ----------
    .. [1] Li et al. (2021), arXiv:2106.06984, section 4.2 (bias correction)
    """
    rounds = check_whole("rounds", rounds, 1)
    seed = check_whole("seed", seed, 0)
    shares = check_numbers("scales", scales, lambda x: x > 0, "above 0")
    starts = None
    if v_init is not None:
        starts = check_numbers("v_init", v_init, lambda x: x < 1, "below 1")
    snn = described(network)
    pixels = check_images(images, snn.input_shape)
    # All that can be wrong with these comes before the compiler.
    goal = _Goal.of(snn, pixels)
    with ExitStack() as stack:
        simulator = stack.enter_context(compiled(network, duration))
        settings = {
            "scales": shares,
            "v_init": starts,
            "rounds": rounds,
            "seed": seed,
            "network": snn.fingerprint,
            "parameters": recorded(snn.parameters),
            "duration_s": simulator.duration_s,
            "images": arrays_fingerprint(pixels),
        }
        known = Checkpoint(checkpoint, "calibration", settings, _Fit.columns())
        stack.enter_context(known)
        show = partial(
            simulator.run_many, pixels, seed=seed, executor=executor, progress=False
        )
        fits = {
            layer.name: _Fit.of(goal.largest[layer.name], snn.parameters, layer)
            for layer in snn.layers
        }
        *fitted, last = snn.layer_names
        # Spikes of the last layer are compared: they have to be worth the same.
        fits[last] = replace(fits[last], largest=[goal.largest[last]])
        n_rounds = len(fitted) * rounds
        with progress_bar("calibrating", n_rounds, show=progress) as advance:
            for name in fitted:
                if isinstance(snn.layers[name], MaxPool2d):
                    fits[name] = _of_gate(snn, fits, name)
                    advance(rounds, f"{name}: a gate")
                    continue
                if name in known.rows:
                    advance(rounds, f"{name}: on record")
                else:
                    candidates = fits[name].variations(shares, starts)
                    best = _best(
                        simulator, show, goal, fits, name, candidates, rounds, advance
                    )
                    known.add(name, vars(best))
                fits[name] = _Fit(**known.rows[name])
        found = _parameters(snn, fits)
        agreements = {
            index: float((result.predictions == goal.classes).mean())
            for index, result in show([vars(snn.parameters), vars(found)])
        }
    return CalibrationResult(
        before=snn.parameters,
        found=found,
        agreement_before=agreements[0],
        agreement=agreements[1],
        n_images=len(pixels),
        errors={
            name: (fits[name].error_before, fits[name].error) for name in known.rows
        },
        settings=known.settings,
    )


@dataclass(frozen=True)
class _Fit:
    """
    Numbers of a layer, by channel, in the units of its activations.

    Attributes
    ----------
    largest : list of float
        Activation that one spike a step stands for.
    shift : list of float
        Constant input.
    v_init : list of float
        Starting potential, as a share of the threshold.
    error_before, error : float
        Root of the mean squared error of the rates over that of the activations, with
        one threshold and no shift, and with these numbers before their last shift.
    """

    largest: list[float]
    shift: list[float]
    v_init: list[float]
    error_before: float = np.nan
    error: float = np.nan

    @staticmethod
    def columns() -> list[str]:
        return [item.name for item in fields(_Fit)]

    @classmethod
    def of(cls, largest: float, parameters: Parameters, layer: AnyLayer) -> "_Fit":
        n = layer.shape[0]
        start = np.broadcast_to(parameters.v_init[layer.name], n)
        return cls([largest] * n, [0.0] * n, [float(x) for x in start])

    def variations(
        self, shares: list[float], starts: list[float] | None
    ) -> "list[_Fit]":
        v_inits = [self.v_init]
        if starts is not None:
            v_inits = [[start] * len(self.v_init) for start in starts]
        return [
            replace(self, largest=[share * x for x in self.largest], v_init=v_init)
            for share in shares
            for v_init in v_inits
        ]


@dataclass(frozen=True)
class _Goal:
    """
    What the CNN computes.

    Attributes
    ----------
    activations : dict of str to ndarray, shape (n_images, channels, positions)
        Activations of all layers but the last.
    classes : ndarray of int, shape (n_images,)
        Where its last layer is largest.
    largest : dict of str to float
        Percentile of each layer's activations.
    """

    activations: dict[str, npt.NDArray[np.float32]]
    classes: npt.NDArray[np.int64]
    largest: dict[str, float]

    @classmethod
    def of(cls, snn: SpikingNetwork, pixels: npt.NDArray[np.float32]) -> "_Goal":
        found = snn.layers.collected_activations(pixels)
        largest = {
            name: reference(largest_activation(name, values, PERCENTILE, False))
            for name, values in found.items()
        }
        outputs = found.pop(snn.layer_names[-1])
        return cls(
            {name: x.reshape(*x.shape[:2], -1) for name, x in found.items()},
            outputs.reshape(len(outputs), -1).argmax(axis=1),
            largest,
        )


def _of_gate(snn: SpikingNetwork, fits: Mapping[str, _Fit], name: str) -> _Fit:
    """Give the gate of a maximum pooling the scale of what it reads."""
    source = snn.layers[name].inputs[0]
    pixel = [1 / snn.parameters.rate_scale]
    largest = fits[source].largest if source in fits else pixel
    return replace(
        fits[name], largest=largest * (len(fits[name].largest) // len(largest))
    )


def _parameters(snn: SpikingNetwork, fits: Mapping[str, _Fit]) -> Parameters:
    """Write the numbers of all layers in the units of their potentials."""
    own = snn.parameters
    thresholds: dict[str, Any] = {}
    leak: dict[str, Any] = dict(own.leak)
    v_init: dict[str, Any] = {}
    largest = {
        name: np.array(fit.largest) if len(fit.largest) > 1 else fit.largest[0]
        for name, fit in fits.items()
    }
    scales = input_scales(snn.layers, largest, own.rate_scale)
    for name, fit in fits.items():
        thresholds[name] = largest[name] / scales[name]
        v_init[name] = np.array(fit.v_init)
        if name != snn.layer_names[-1]:
            leak[name] = np.array(fit.shift) / scales[name]
    return Parameters.of(
        snn.layers, thresholds=thresholds, leak=leak, v_init=v_init, default=own
    )


def _best(
    simulator: Simulator,
    show: Show,
    goal: _Goal,
    fits: Mapping[str, _Fit],
    name: str,
    candidates: list[_Fit],
    rounds: int,
    advance: Advance,
) -> _Fit:
    """Shift the leaks of all candidates, and let each channel choose among them."""
    snn, n_steps = simulator.snn, simulator.n_steps
    activations = goal.activations[name]
    tried = [*candidates, fits[name]]
    errors = np.empty((len(tried), activations.shape[1]))
    for turn in range(rounds):
        shown = tried if turn == 0 else tried[:-1]
        settings = [vars(_parameters(snn, {**fits, name: fit})) for fit in shown]
        for index, result in show(settings):
            counts = result.spike_counts[name].reshape(activations.shape)
            scale = np.array(tried[index].largest, np.float32)[:, None]
            coded = counts * (scale / n_steps)
            errors[index] = np.square(coded - activations).mean(axis=(0, 2))
            if index < len(candidates):
                wanted = np.minimum(activations, scale).mean(axis=(0, 2), dtype=float)
                shift = tried[index].shift + wanted - coded.mean((0, 2), dtype=float)
                tried[index] = replace(tried[index], shift=shift.tolist())
        advance(1, f"{name}, round {turn + 1}")
    chosen = errors[:-1].argmin(axis=0)
    channels = np.arange(len(chosen))

    def pick(what: str) -> list[float]:
        table = np.array([getattr(fit, what) for fit in tried])
        return [float(number) for number in table[chosen, channels]]

    power = float(np.square(activations).mean(dtype=float))
    return _Fit(
        largest=pick("largest"),
        shift=pick("shift"),
        v_init=pick("v_init"),
        error_before=float(np.sqrt(errors[-1].mean() / power)),
        error=float(np.sqrt(errors[chosen, channels].mean() / power)),
    )
