r"""
Calibration: thresholds, leaks and starting potentials that fit a number of steps.

In few steps a neuron can say only few numbers, and spikes of the layer before come
unevenly: a layer's mean rate is then not what its CNN's is, and the error grows with
every layer. Li et al. [1]_ mend that without training, layer after layer on some
hundred images, by a constant input to each channel that takes the mean error away.
Channels of one layer do not influence each other, so that each of them can also choose
the threshold and the starting potential that suit it, by the squared error. One that
starts far below 0, with a constant input that makes up for it, waits: it spikes when
its input has averaged.

References
----------
.. [1] Li et al. (2021), A Free Lunch From ANN: Towards Efficient, Accurate Spiking
   Neural Networks Calibration, arXiv:2106.06984
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from brian2 import Quantity

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import check_numbers, check_whole, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layerwise import Layerwise, threads
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.settings import check_shown, recorded, suitable_duration
from cnn2snn_brian.simulator import Simulator, Workers
from cnn2snn_brian.stimuli import whole_steps
from cnn2snn_brian.tuning.fitting import Fit, Fitting
from cnn2snn_brian.tuning.result import CalibrationResult
from cnn2snn_brian.tuning.tune import described, fingerprint


def calibrate(
    network: Simulator | SpikingNetwork,
    images: Any,
    *,
    duration: Quantity | None = None,
    scales: Sequence[float] | None = None,
    v_init: Sequence[float] | None = None,
    rounds: int = 3,
    seed: int = 0,
    executor: Workers = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    weights: bool = False,
) -> CalibrationResult:
    r"""
    Fit thresholds, leaks and starting potentials to a number of steps.

    Nothing is trained and no labels are needed: what the CNN computes is the goal. One
    layer after the other, from the first one on, gets the spikes that the layers before
    it really send. Each of its channels :math:`c` tries thresholds and starting
    potentials, and with each of them its leak :math:`L_c` is shifted until its mean
    rate is the CNN's [1]_,

    .. math:: L_c \leftarrow L_c + \frac{1}{s} \left(\langle \min(a_c, m A_c) \rangle
       - A_c \langle r_c \rangle\right)

    with the CNN's activations :math:`a_c`, spikes a step :math:`r_c`, at most :math:`m`
    of them (1, or ``most`` of `BurstIF`), the activation :math:`A_c` that one spike a
    step stands for, that of the layer before, :math:`s`, and means
    :math:`\langle\cdot\rangle` over images and positions. Each channel keeps what
    makes

    .. math:: \langle (A_c r_c - a_c)^2 \rangle
       + \lambda \langle (A_c \tilde r_c - a_c)^2 \rangle

    smallest after the last shift, with the rate :math:`\tilde r_c` of the first half of
    the steps. A start far below 0 with a leak that makes up for it lets a neuron wait
    until its input has averaged; the second term (:math:`\lambda` is 0.1) says that
    those that read it need time for what comes late.

    The last layer keeps one threshold, as its spikes are compared with each other; its
    leaks take away the mean error of its input. The gates of maximum pooling have the
    scale of what they read.

    All of this is computed in PyTorch, population by population, and nothing is
    compiled. Memory is that of the largest layers' activations and spikes: a layer's
    are kept until those that read it are done.

    It is meant for currents, reset by subtraction and ``propagation="instant"``, the
    presets "few-steps" and "bursts". Covered are all encodings, resets, floors, delays
    and poolings, with `IF`, `LIF` and `BurstIF` neurons without noise and refractory
    period; `tune_thresholds` works with every network.

    Parameters
    ----------
    network : Simulator or SpikingNetwork
        The network; of a compiled one, the network and its duration. It is not changed.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Some hundred training images of all classes, float in [0, 1] or uint8. Never
        test images.
    duration : Quantity [s], optional
        How long an image is shown, for a network that is not compiled; by default what
        suits its settings, see `suitable_duration`.
    scales : sequence of float, optional
        Thresholds to choose from, as shares of the 99th percentile of the channel's
        activations; by default from 0.5 to 1.6, over the most spikes of a burst.
    v_init : sequence of float, optional
        Starting potentials to choose from, as shares of the threshold; by default from
        0.5 down to -2; down to -1 for neurons that send bursts, and 0.5 alone for
        those that take spikes back.
    rounds : int
        How often a leak is shifted.
    seed : int
        Seed of Poisson input, and of the positions whose errors are computed.
    executor : int or concurrent.futures.Executor, optional
        A number is how many threads of PyTorch compute. An executor is not used: all of
        it is computed here.
    checkpoint : path-like, optional
        File that each layer's numbers are written to. If it exists, the calibration
        goes on from there and ends with the result that it would have had.
    progress : bool
        Whether to show a progress bar.
    weights : bool
        Whether weights are fitted again, too, to the rates :math:`r` that arrive, by
        ridge regression of the CNN's sums :math:`z` before ReLU (see Notes). They are
        then no longer the CNN's, and ``result.network`` says so.

    Returns
    -------
    CalibrationResult
        The parameters, what they change in each layer, and how many images are
        classified like by the CNN before and with them. ``result.network`` has them.

    Raises
    ------
    InputError
        If an argument can't be used, a layer is silent in the CNN, the network has
        neurons, synapses or feedback that are not covered, or the checkpoint is of
        another network, other images or other arguments.

    Notes
    -----
    Weights :math:`W` and biases of a layer change by

    .. math:: \Delta = (R^T R + 0.01\, m I)^{-1} R^T D, \qquad D = z - (W r + b)

    where :math:`R` has a row for each of up to 20,000 positions, with the rates that
    its targets read and a constant 1, and :math:`m` is the mean of the diagonal of
    :math:`R^T R`. Where :math:`z` and the fit are both below 0, the fit itself is the
    goal, for two rounds. Layers with fewer than two rows for each weight of a neuron,
    grouped convolutions and what reads an image as currents keep their weights.

    References
    ----------
    .. [1] Li et al. (2021), A Free Lunch From ANN: Towards Efficient, Accurate Spiking
       Neural Networks Calibration, arXiv:2106.06984, section 4.2 (bias correction)
    """
    rounds = check_whole("rounds", rounds, 1)
    seed = check_whole("seed", seed, 0)
    shares = None if scales is None else check_numbers("scales", scales, above=0)
    starts = None if v_init is None else check_numbers("v_init", v_init, below=1)
    snn = described(network)
    pixels = check_shown(images, snn.layers)
    if isinstance(network, SpikingNetwork):
        time = suitable_duration(snn) if duration is None else duration
        duration_s = seconds("duration", time, above=0)
        n_steps = whole_steps("duration", duration_s, snn.dt_s)
        check_whole("steps of the duration", n_steps, 1)
    elif duration is None:
        duration_s, n_steps = network.duration_s, network.n_steps
    else:
        raise InputError("duration: this network is compiled, and has one")
    n_threads = None
    if executor is not None and not hasattr(executor, "submit"):
        n_threads = check_whole("executor", executor, 1)
    # All that can be wrong comes before the first layer.
    emulated = Layerwise.of(snn, n_steps)
    fitting = Fitting(
        emulated, snn.parameters, pixels, shares, starts, rounds, seed, weights
    )
    settings = {
        "scales": shares,
        "v_init": starts,
        "rounds": rounds,
        "seed": seed,
        "weights": weights,
        "parameters": recorded(snn.parameters),
        "images": fingerprint(pixels),
        "network": snn.fingerprint,
        "duration_s": duration_s,
    }
    columns = [item.name for item in fields(Fit)]
    names = snn.layer_names
    with (
        Checkpoint(checkpoint, "calibration", settings, columns) as known,
        progress_bar("calibrating", len(names), show=progress) as advance,
        threads(n_threads),
    ):
        for name in names:
            fitting.layer(name, known)
            advance(1, name)
        before = emulated.predictions(snn.parameters, pixels, seed)
    found, wanted = fitting.parameters(), fitting.classes()
    return CalibrationResult(
        before=snn.parameters,
        found=found,
        agreement_before=float((before == wanted).mean()),
        agreement=float((fitting.predictions() == wanted).mean()),
        n_images=len(pixels),
        errors={
            name: (row["error_before"], row["error"])
            for name, row in known.rows.items()
            if name != names[-1]
        },
        settings=known.settings,
        networks=(snn, fitting.network(snn)),
    )
