"""Receptive fields by reverse correlation, and those that the weights predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import (
    check_known,
    check_number,
    check_shape,
    check_whole,
    real_numbers,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import chosen_neurons, counts, trial_spikes
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import INPUT, Network, from_neurons, to_neurons
from cnn2snn_brian.results import correlation

if TYPE_CHECKING:
    import pandas


FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ReceptiveField(Printed):
    """
    Spike-triggered averages of neurons, with a test of each pixel.

    Attributes
    ----------
    sta : ndarray of float64, shape (n_neurons, n_lags, ``*stimulus_shape``)
        Mean stimulus before a spike, minus the mean stimulus; 0 of a silent neuron.
    z : ndarray of float64, shape (n_neurons, n_lags, ``*stimulus_shape``)
        The same in standard deviations of what chance gives.
    threshold : ndarray of float64, shape (n_neurons,)
        By chance, abs(z) of any pixel is larger with a probability of `alpha` only.
    p_value : ndarray of float64, shape (n_neurons,)
        Of the largest abs(z).
    lags : tuple of int
        Frames before the response.
    alpha : float
        Level of significance.
    """

    sta: FloatArray
    z: FloatArray
    threshold: FloatArray
    p_value: FloatArray
    lags: tuple[int, ...]
    alpha: float

    @property
    def significant(self) -> npt.NDArray[np.bool_]:
        """Which pixels are significant, of the shape of `sta`."""
        extra = (1,) * (self.z.ndim - 1)
        return np.asarray(np.abs(self.z) > self.threshold.reshape(-1, *extra))

    def compare(self, kernels: Any, lag: int = 0) -> "pandas.DataFrame":
        """
        Compare the averages with kernels, such as those of `effective_kernel`.

        Parameters
        ----------
        kernels : ndarray of float, shape (n_neurons, ``*stimulus_shape``)
            A kernel for each neuron.
        lag : int
            Frames before the response.

        Returns
        -------
        pandas.DataFrame
            ``neuron``; Pearson's ``correlation`` over all pixels, and
            ``correlation_inside``, where the kernel is not 0; ``n_significant``, the
            number of significant pixels, ``n_outside``, how many of these are where
            the kernel is 0, and ``p_value``.

        Raises
        ------
        InputError
            If the kernels have another shape, or the lag was not computed.
        """
        import pandas as pd

        kernels = real_numbers("kernels", kernels)
        check_shape("kernels", kernels, *self.sta[:, 0].shape)
        check_known("lag", [str(lag)], map(str, self.lags))
        at = self.lags.index(lag)
        significant, inside = self.significant[:, at], kernels != 0
        pixels = tuple(range(1, kernels.ndim))
        pairs = [*zip(self.sta[:, at], kernels, inside, strict=True)]
        return pd.DataFrame(
            {
                "neuron": range(len(kernels)),
                "correlation": [correlation(a, b) for a, b, _ in pairs],
                "correlation_inside": [correlation(a[i], b[i]) for a, b, i in pairs],
                "n_significant": significant.sum(pixels),
                "n_outside": (significant & ~inside).sum(pixels),
                "p_value": self.p_value,
            }
        )


def receptive_field(
    data: Any,
    stimuli: Any,
    layer: str | None = None,
    *,
    neurons: Any = None,
    frame: Any = None,
    lags: Sequence[int] = (0,),
    window: Any = None,
    n_permutations: int = 200,
    alpha: float = 0.05,
    seed: int = 0,
) -> ReceptiveField:
    r"""
    Compute spike-triggered averages, and test their pixels.

    With the count :math:`n_i` in response to frame :math:`s_i`,

    .. math:: \mathrm{STA} = \frac{\sum_i n_i s_i}{\sum_i n_i} - \bar{s}.

    For noise without correlations between pixels, whose distribution is spherically
    symmetric (Gaussian white noise), this is proportional to the linear filter of a
    neuron whose rate is any function of that filter's output [1]_. For other noise,
    such as sparse noise, it is so only approximately.

    The test shuffles the responses among the frames. Then :math:`\sum_i n_i s_i` has
    the variance :math:`\sum_i (n_i - \bar n)^2 \sum_i (s_i - \bar s)^2 / (m - 1)` for
    m frames, which z is in units of. The largest abs(z) over all pixels and lags of
    each shuffle gives a threshold that holds for all pixels together [2]_.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons).
    stimuli : array_like of float, shape (n_stimuli, ``*stimulus_shape``)
        An image for each stimulus; with `frame`, the frames of each stimulus, of shape
        (n_stimuli, n_frames, ``*stimulus_shape``).
    layer : str, optional
        Name of the layer of a result.
    neurons : array_like of int, optional
        Numbers of the neurons, in the order (channel, y, x); all by default.
    frame : Quantity [s] or float, optional
        Duration of a frame. Without it a stimulus is one image.
    lags : sequence of int
        Frames from a stimulus to the response; others than 0 need `frame`.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.
    n_permutations : int
        Number of shuffles.
    alpha : float
        Level of significance.
    seed : int
        Seed of the shuffles.

    Returns
    -------
    ReceptiveField
        Averages and their test.

    Raises
    ------
    InputError
        If there is not one frame for each response, a neuron does not exist, or a lag
        is negative or leaves less than 3 frames.

    References
    ----------
    .. [1] Chichilnisky (2001), A simple white noise analysis of neuronal light
       responses, doi:10.1080/713663221
    .. [2] Nichols and Holmes (2002), Nonparametric permutation tests for functional
       neuroimaging, doi:10.1002/hbm.1058
    """
    check_whole("n_permutations", n_permutations, 1)
    check_whole("seed", seed, 0)
    check_number("alpha", alpha, above=0, below=1)
    given = real_numbers("stimuli", stimuli)
    if frame is None:
        response, frames = counts(data, layer, window).mean(1)[:, None], given[:, None]
        if neurons is not None:
            response = response[..., chosen_neurons(neurons, response.shape[2])]
    else:
        spikes = trial_spikes(data, layer)
        spikes = spikes if neurons is None else spikes.of_neurons(neurons)
        response, frames = spikes.binned(frame, window).mean(1), given
    if frames.shape[:2] != response.shape[:2]:
        expected = response.shape[: 1 if frame is None else 2]
        rule = f"({', '.join(map(str, expected))}, ...), as responses have"
        raise InputError(f"stimuli: found the shape {given.shape}, expected {rule}")
    lags = tuple(check_whole("lags", lag, 0) for lag in lags)
    n_frames = response.shape[1]
    last = max(lags, default=0)
    n_pairs = len(response) * (n_frames - last)
    if not lags or last >= n_frames or n_pairs < 3:
        found = f"lags are {lags} for {len(response)} stimuli of {n_frames} frames"
        raise InputError(f"{found}, expected some that leave at least 3 frames")
    shape = frames.shape[2:]
    n = response[:, last:].reshape(n_pairs, -1)
    seen = [frames[:, last - lag : n_frames - lag].reshape(n_pairs, -1) for lag in lags]
    s = np.concatenate(seen, axis=1)
    s = s - s.mean(0)
    total, n = n.sum(0), n - n.mean(0)
    spread = np.outer(np.sqrt((n**2).sum(0)), np.sqrt((s**2).sum(0) / (n_pairs - 1)))
    spread[spread == 0] = np.inf
    sums = n.T @ s
    z = sums / spread
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(n_pairs) for _ in range(n_permutations))
    largest = np.stack([np.abs(n[order].T @ s / spread).max(1) for order in orders])
    exceeded = (largest >= np.abs(z).max(1)).sum(0)
    return ReceptiveField(
        (sums / np.where(total > 0, total, 1)[:, None]).reshape(-1, len(lags), *shape),
        z.reshape(-1, len(lags), *shape),
        np.quantile(largest, 1 - alpha, axis=0, method="higher"),
        (1 + exceeded) / (1 + n_permutations),
        lags,
        alpha,
    )


def effective_kernel(layers: Network, layer: str, neurons: Any) -> FloatArray:
    """
    Multiply the weights between the image and some neurons.

    This is the linear prediction of their receptive fields: exact for the first
    layer; for others it leaves out all ReLUs, thresholds and biases on the way.

    Parameters
    ----------
    layers : Network
        All layers, ``snn.layers`` of a `SpikingNetwork`.
    layer : str
        Name of the layer.
    neurons : array_like of int, shape (n_neurons,)
        Numbers of the neurons, in the order (channel, y, x).

    Returns
    -------
    ndarray of float64, shape (n_neurons, channels, height, width)
        Weight of each pixel.

    Raises
    ------
    InputError
        If there is no such layer or neuron.
    """
    check_known("layer", [layer], layers.names)
    shapes = layers.shapes
    size = int(np.prod(shapes[layer]))
    chosen = chosen_neurons(neurons, size)
    from scipy.sparse import csr_array

    start = np.zeros((len(chosen), size))
    start[np.arange(len(chosen)), chosen] = 1
    weights = {layer: to_neurons(start.reshape(-1, *shapes[layer]), shapes[layer])}
    for name in reversed(layers.names):
        if name not in weights:
            continue
        behind = weights.pop(name)
        for p in layers.into(name):
            source = p.source
            pre, post, weight = p.connection.expanded()
            n_pre = int(np.prod(shapes[source]))
            matrix = csr_array((weight, (post, pre)), shape=(behind.shape[1], n_pre))
            before = np.asarray(matrix.T @ behind.T).T
            weights[source] = weights.get(source, 0) + before
    return from_neurons(np.asarray(weights[INPUT], float), shapes[INPUT])
