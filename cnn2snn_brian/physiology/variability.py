"""Variability over repeats, and what neurons share: signal and noise."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trials import counts

__all__ = ["fano_factor", "noise_correlation", "signal_correlation"]

FloatArray = npt.NDArray[np.float64]

#: A matrix of pairs of more neurons takes gigabytes.
MAX_NEURONS = 10_000


def _repeated(data: Any, layer: str | None, window: Any, what: str) -> FloatArray:
    responses = counts(data, layer, window)
    if responses.shape[1] < 2:
        message = f"{what} needs at least 2 repeats of each stimulus, found 1"
        raise InputError(message)
    return responses


def fano_factor(data: Any, layer: str | None = None, window: Any = None) -> FloatArray:
    r"""
    Compute the Fano factor of each neuron and stimulus.

    .. math:: F = \frac{\mathrm{Var}(n)}{\mathrm{E}(n)}

    over repeats, with the unbiased variance [1]_. It is 1 for a Poisson process. A
    neuron that spikes at most once a step, with a probability of p in each, has 1 - p:
    this is what Poisson input of a compiled network has.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons).
    layer : str, optional
        Name of the layer of a result.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    ndarray of float64, shape (n_stimuli, n_neurons)
        Fano factors; NaN where there are no spikes.

    Raises
    ------
    InputError
        If there is only one repeat.

    References
    ----------
    .. [1] Fano (1947), Ionization yield of radiations. II. The fluctuations of the
       number of ions, doi:10.1103/PhysRev.72.26
    """
    responses = _repeated(data, layer, window, "the Fano factor")
    mean = responses.mean(1)
    found = np.full(mean.shape, np.nan)
    np.divide(responses.var(1, ddof=1), mean, out=found, where=mean > 0)
    return found


def _correlations(values: FloatArray) -> FloatArray:
    """Correlate the columns of (n, n_neurons); NaN where one does not vary."""
    if values.shape[1] > MAX_NEURONS:
        gigabytes = 8e-9 * values.shape[1] ** 2
        message = (
            f"{values.shape[1]} neurons make a matrix of {gigabytes:.1f} GB, expected "
            f"at most {MAX_NEURONS} neurons: choose some of physiology.counts(...)"
        )
        raise InputError(message)
    centred = values - values.mean(0)
    length = np.sqrt((centred**2).sum(0))
    # A mean that can't be written exactly leaves rounding errors of a constant.
    varies = length > 1e-9 * np.sqrt((values**2).sum(0))
    centred = centred / np.where(varies, length, 1)
    found = np.clip(centred.T @ centred, -1, 1)
    found[~varies] = np.nan
    found[:, ~varies] = np.nan
    return found


def signal_correlation(
    data: Any, layer: str | None = None, window: Any = None
) -> FloatArray:
    r"""
    Correlate the mean responses of pairs of neurons over stimuli.

    .. math:: \rho^\mathrm{signal}_{ij} =
              \mathrm{corr}_s(\bar n_i(s), \bar n_j(s))

    with means over repeats [1]_. With few repeats it includes some of the noise
    correlation.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons).
    layer : str, optional
        Name of the layer of a result.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    ndarray of float64, shape (n_neurons, n_neurons)
        Pearson's correlations; NaN where a neuron has the same mean for all stimuli.

    Raises
    ------
    InputError
        If there are less than 3 stimuli, or more than 10,000 neurons.

    References
    ----------
    .. [1] Cohen and Kohn (2011), Measuring and interpreting neuronal correlations,
       doi:10.1038/nn.2842
    """
    responses = counts(data, layer, window)
    if len(responses) < 3:
        message = f"signal correlation needs at least 3 stimuli, found {len(responses)}"
        raise InputError(message)
    return _correlations(responses.mean(1))


def noise_correlation(
    data: Any, layer: str | None = None, window: Any = None
) -> FloatArray:
    r"""
    Correlate the variability of pairs of neurons over repeats.

    .. math:: \rho^\mathrm{noise}_{ij} = \mathrm{corr}_{s, r}(z_i(s, r), z_j(s, r)),
              \quad z_i(s, r) = \frac{n_i(s, r) - \bar n_i(s)}{\sigma_i(s)}

    with mean and standard deviation over the repeats r of stimulus s. A stimulus to
    which a neuron always responds with the same count has z = 0 [1]_.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons).
    layer : str, optional
        Name of the layer of a result.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    ndarray of float64, shape (n_neurons, n_neurons)
        Pearson's correlations; NaN where the counts of a neuron never vary.

    Raises
    ------
    InputError
        If there is only one repeat, or there are more than 10,000 neurons.

    References
    ----------
    .. [1] Cohen and Kohn (2011), Measuring and interpreting neuronal correlations,
       doi:10.1038/nn.2842
    """
    responses = _repeated(data, layer, window, "noise correlation")
    centred = responses - responses.mean(1, keepdims=True)
    spread = responses.std(1, keepdims=True)
    spread[np.ptp(responses, axis=1, keepdims=True) == 0] = np.inf
    return _correlations((centred / spread).reshape(-1, responses.shape[2]))
