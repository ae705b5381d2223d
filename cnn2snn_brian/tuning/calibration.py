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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity

from cnn2snn_brian.checks import check_numbers, check_whole
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.progress import Advance, progress_bar
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import (
    Parameters,
    check_shown,
    input_scales,
    largest_of,
    recorded,
    reference,
)
from cnn2snn_brian.simulator import Simulator, Workers
from cnn2snn_brian.tuning.result import CalibrationResult
from cnn2snn_brian.tuning.tune import described, fingerprint, started

#: Shows the images with some settings, see `Simulator.run_many`.
Show = Callable[[list[Any]], Iterable[tuple[int, SimulationResult]]]

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
    shares = check_numbers("scales", scales, above=0)
    starts = None if v_init is None else check_numbers("v_init", v_init, below=1)
    snn = described(network)
    pixels = check_shown(images, snn.layers)
    # All that can be wrong with these comes before the compiler.
    fitting = _Fitting(snn, pixels, shares, starts, rounds)
    settings = {
        "scales": shares,
        "v_init": starts,
        "rounds": rounds,
        "seed": seed,
        "parameters": recorded(snn.parameters),
        "images": fingerprint(pixels),
    }
    columns = [item.name for item in fields(_Fit)]
    with started("calibration", network, duration, checkpoint, settings, columns) as (
        simulator,
        known,
    ):
        show = partial(
            simulator.run_many, pixels, seed=seed, executor=executor, progress=False
        )
        fitted = snn.layer_names[:-1]
        n_rounds = len(fitted) * rounds
        with progress_bar("calibrating", n_rounds, show=progress) as advance:
            for name in fitted:
                if snn.layers.is_gate(name):
                    fitting.fits[name] = fitting.of_gate(name)
                    advance(rounds, f"{name}: a gate")
                    continue
                if name in known.rows:
                    advance(rounds, f"{name}: on record")
                else:
                    best = fitting.best(name, simulator.n_steps, show, advance)
                    known.add(name, vars(best))
                fitting.fits[name] = _Fit(**known.rows[name])
        found = fitting.parameters()
        agreements = {
            index: float((result.predictions == fitting.classes).mean())
            for index, result in show([snn.parameters, found])
        }
    return CalibrationResult(
        before=snn.parameters,
        found=found,
        agreement_before=agreements[0],
        agreement=agreements[1],
        n_images=len(pixels),
        errors={
            name: (row["error_before"], row["error"])
            for name, row in known.rows.items()
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


@dataclass
class _Fitting:
    """
    What the CNN computes for some images, and the numbers that fit it.

    Attributes
    ----------
    activations : dict of str to ndarray, shape (n_images, channels, positions)
        Activations of all layers but the last.
    classes : ndarray of int, shape (n_images,)
        Where its last layer is largest.
    fits : dict of str to _Fit
        Numbers of every layer, those of the CNN's activations at first.
    """

    snn: SpikingNetwork
    pixels: npt.NDArray[np.float32]
    shares: list[float]
    starts: list[float] | None
    rounds: int

    def __post_init__(self) -> None:
        found = self.snn.layers.collected_activations(self.pixels)
        self.fits: dict[str, _Fit] = {}
        *_, last = self.snn.layer_names
        for name, values in found.items():
            largest = reference(
                largest_of(self.snn.layers, found, name, PERCENTILE, False)
            )
            n = values.shape[1]
            start = np.broadcast_to(self.snn.parameters.v_init[name], n).astype(float)
            # Spikes of the last layer are compared: they have to be worth the same.
            n_largest = 1 if name == last else n
            self.fits[name] = _Fit([largest] * n_largest, [0.0] * n, start.tolist())
        outputs = found.pop(last)
        self.classes = outputs.reshape(len(outputs), -1).argmax(axis=1)
        self.activations = {
            name: x.reshape(*x.shape[:2], -1) for name, x in found.items()
        }

    def of_gate(self, name: str) -> _Fit:
        """Give the gate of a maximum pooling the scale of what it reads."""
        source, own = self.snn.layers.sources(name)[0], self.fits[name]
        pixel = [1 / self.snn.parameters.rate_scale]
        largest = self.fits[source].largest if source in self.fits else pixel
        return replace(own, largest=largest * (len(own.largest) // len(largest)))

    def parameters(self, **changed: _Fit) -> Parameters:
        """Write the numbers of all layers in the units of their potentials."""
        fits, own = {**self.fits, **changed}, self.snn.parameters
        largest = {
            name: np.array(fit.largest) if len(fit.largest) > 1 else fit.largest[0]
            for name, fit in fits.items()
        }
        scales = input_scales(self.snn.layers, largest, own.rate_scale)
        *fitted, _ = fits
        return own.replace(
            thresholds={name: largest[name] / scales[name] for name in fits},
            leak={name: np.array(fits[name].shift) / scales[name] for name in fitted},
            v_init={name: np.array(fit.v_init) for name, fit in fits.items()},
        )

    def best(self, name: str, n_steps: int, show: Show, advance: Advance) -> _Fit:
        """Shift the leaks of all candidates, and let each channel choose among them."""
        own, activations = self.fits[name], self.activations[name]
        v_inits = [own.v_init]
        if self.starts is not None:
            v_inits = [[start] * len(own.v_init) for start in self.starts]
        tried = [
            replace(own, largest=[share * x for x in own.largest], v_init=v_init)
            for share in self.shares
            for v_init in v_inits
        ]
        tried.append(own)
        errors = np.empty((len(tried), activations.shape[1]))
        for turn in range(self.rounds):
            shown = tried if turn == 0 else tried[:-1]
            settings = [self.parameters(**{name: x}) for x in shown]
            for index, result in show(settings):
                counts = result.spike_counts[name].reshape(activations.shape)
                scale = np.array(tried[index].largest, np.float32)[:, None]
                coded = counts * (scale / n_steps)
                errors[index] = np.square(coded - activations).mean(axis=(0, 2))
                if index < len(tried) - 1:
                    wanted = np.minimum(activations, scale).mean((0, 2), dtype=float)
                    shift = (
                        tried[index].shift + wanted - coded.mean((0, 2), dtype=float)
                    )
                    tried[index] = replace(tried[index], shift=shift.tolist())
            advance(1, f"{name}, round {turn + 1}")
        chosen = errors[:-1].argmin(axis=0)
        channels = np.arange(len(chosen))
        picked = {
            what: np.array([getattr(fit, what) for fit in tried])[chosen, channels]
            for what in ("largest", "shift", "v_init")
        }
        power = float(np.square(activations).mean(dtype=float)) or 1.0  # if silent
        return _Fit(
            **{what: values.tolist() for what, values in picked.items()},
            error_before=float(np.sqrt(errors[-1].mean() / power)),
            error=float(np.sqrt(errors[chosen, channels].mean() / power)),
        )
