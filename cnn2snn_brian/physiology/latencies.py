"""Response latency: the first spike, and the change of rate that is most likely."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_share
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import TrialSpikes, counts, trial_spikes
from cnn2snn_brian.printing import Printed

if TYPE_CHECKING:
    import pandas


def first_spike(
    data: Any, layer: str | None = None, window: Any = None
) -> npt.NDArray[np.float64]:
    """
    Give the time of the first spike of each neuron in each trial.

    Parameters
    ----------
    data : SimulationResult or TrialSpikes
        A result that recorded the layer, or spikes.
    layer : str, optional
        Name of the layer of a result.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    ndarray of float64, shape (n_stimuli, n_repeats, n_neurons)
        Seconds since the start of the window; NaN without a spike.

    Raises
    ------
    InputError
        If the layer was not recorded, or the window is empty or outside the trial.
    """
    spikes = trial_spikes(data, layer)
    start, _ = spikes.window(window)
    inside = spikes.inside(window)
    found = np.full((spikes.n_trials, spikes.n_neurons), np.inf)
    at = (spikes.trial[inside], spikes.neuron[inside])
    np.minimum.at(found, at, np.maximum(spikes.t[inside] - start, 0))
    found[np.isinf(found)] = np.nan
    return found.reshape(spikes.n_stimuli, spikes.n_repeats, -1)


@dataclass(frozen=True, eq=False)
class Latency(Printed):
    """
    Latency of each neuron's response to each stimulus.

    Attributes
    ----------
    method : str
        "first-spike" or "likelihood".
    latency_s : ndarray of float64, shape (n_stimuli, n_neurons)
        Seconds since the start of the window; NaN without a response.
    p_value : ndarray of float64, shape (n_stimuli, n_neurons)
        Of the likelihood criterion, against a constant rate; NaN for first spikes.
    share : ndarray of float64, shape (n_stimuli, n_neurons)
        Share of the repeats with at least one spike.
    """

    method: str
    latency_s: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]

    def frame(self) -> "pandas.DataFrame":
        """
        Give the latencies as a tidy table.

        Returns
        -------
        pandas.DataFrame
            ``stimulus``, ``neuron``, ``latency_s``, ``p_value`` and ``share``, a row
            for each stimulus and neuron.
        """
        import pandas as pd

        stimulus, neuron = np.indices(self.latency_s.shape)
        return pd.DataFrame(
            {
                "stimulus": stimulus.ravel(),
                "neuron": neuron.ravel(),
                "latency_s": self.latency_s.ravel(),
                "p_value": self.p_value.ravel(),
                "share": self.share.ravel(),
            }
        )


def _most_likely_onset(
    count: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """
    Find the rise of a rate that is most likely, for counts of (n_neurons, n_bins).
    """
    from scipy.special import xlogy

    n_bins = count.shape[1]
    before = np.arange(1, n_bins)
    first = count.cumsum(1)[:, :-1]
    total = count.sum(1, keepdims=True)
    second = total - first
    low, high = first / before, second / (n_bins - before)
    ratio = xlogy(first, low) + xlogy(second, high) - xlogy(total, total / n_bins)
    ratio[high <= low] = 0
    best = ratio.argmax(1)
    return before[best], ratio[np.arange(len(ratio)), best]


def _by_likelihood(
    spikes: TrialSpikes, bin: Any, window: Any, alpha: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    from scipy.stats import chi2

    index, inside, edges = spikes.bins(bin, window)
    n_bins = len(edges) - 1
    if n_bins < 2:
        raise InputError("latency by likelihood needs a window of at least two bins")
    found = np.full((spikes.n_stimuli, spikes.n_neurons), np.nan)
    p_value = np.ones_like(found)
    stimulus = spikes.trial // spikes.n_repeats
    for which in range(spikes.n_stimuli):
        its = inside & (stimulus == which)
        pooled = np.zeros((spikes.n_neurons, n_bins))
        np.add.at(pooled, (spikes.neuron[its], index[its]), 1)
        before, log_ratio = _most_likely_onset(pooled)
        # Bonferroni's correction for so many possible changes.
        p = np.minimum(1, (n_bins - 1) * chi2.sf(2 * log_ratio, 1))
        p_value[which] = p
        known = p < alpha
        found[which, known] = before[known] * (edges[1] - edges[0])
    return found, p_value


def latency(
    data: Any,
    layer: str | None = None,
    *,
    method: Literal["first-spike", "likelihood"] = "first-spike",
    window: Any = None,
    bin: Any = None,
    alpha: float = 0.05,
) -> Latency:
    r"""
    Compute response latencies.

    "first-spike" is the median over repeats of the time of the first spike. It needs no
    assumption, but a neuron that is active before the response has it too early.

    "likelihood" takes the spikes of all repeats for a Poisson process whose rate
    changes once, after m of T bins, and maximizes the likelihood over m and both rates
    [1]_. With :math:`k_1` spikes before and :math:`k_2` after the change, and k
    together, the logarithm of its ratio to the likelihood of a constant rate is

    .. math:: \Lambda(m) = k_1 \ln\frac{k_1}{m} + k_2 \ln\frac{k_2}{T - m}
              - k \ln\frac{k}{T}.

    Only rises count. The latency is given where :math:`(T - 1) P(\chi^2_1 > 2\Lambda)`
    is below `alpha`; this is Bonferroni's correction, which holds for many spikes.

    Parameters
    ----------
    data : SimulationResult or TrialSpikes
        A result that recorded the layer, or spikes.
    layer : str, optional
        Name of the layer of a result.
    method : {"first-spike", "likelihood"}
        See above.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default. For "likelihood" it has to include
        some time before the response.
    bin : Quantity [s] or float, optional
        Resolution of "likelihood", by default the time step.
    alpha : float
        Level of significance of "likelihood".

    Returns
    -------
    Latency
        Latency of each stimulus and neuron.

    Raises
    ------
    InputError
        If the layer was not recorded, the window does not fit, the method is unknown,
        or `bin` is missing for spikes without a time step.

    References
    ----------
    .. [1] Friedman and Priebe (1998), Estimating stimulus response latency,
       doi:10.1016/S0165-0270(98)00075-2
    """
    spikes = trial_spikes(data, layer)
    first = first_spike(spikes, window=window)
    share = np.isfinite(first).mean(1)
    if method == "first-spike":
        known = share > 0
        found = np.full(known.shape, np.nan)
        # nanmedian warns of neurons without any spike.
        found[known] = np.nanmedian(np.moveaxis(first, 1, 2)[known], axis=1)
        return Latency(method, found, np.full_like(found, np.nan), share)
    if method != "likelihood":
        raise InputError(f"method={method!r}: expected 'first-spike' or 'likelihood'")
    check_share("alpha", alpha)
    width = spikes.dt_s if bin is None else bin
    if width is None:
        raise InputError("bin is missing: these spikes have no time step")
    return Latency(method, *_by_likelihood(spikes, width, window, alpha), share)


FloatArray = npt.NDArray[np.float64]

#: A matrix of pairs of more neurons takes gigabytes.
MAX_NEURONS = 10_000


def _repeated(data: Any, layer: str | None, window: Any, what: str) -> FloatArray:
    responses = counts(data, layer, window)
    if responses.shape[1] < 2:
        raise InputError(f"{what} needs at least 2 repeats of each stimulus, found 1")
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
        raise InputError(
            f"{values.shape[1]} neurons make a matrix of {gigabytes:.1f} GB, expected "
            f"at most {MAX_NEURONS} neurons: choose some of physiology.counts(...)"
        )
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
        raise InputError(
            f"signal correlation needs at least 3 stimuli, found {len(responses)}"
        )
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
