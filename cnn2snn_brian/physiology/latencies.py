"""Response latency: the first spike, and the change of rate that is most likely."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import TrialSpikes
from cnn2snn_brian.physiology.trials import trial_spikes
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.spikes.numbers import check_share

if TYPE_CHECKING:
    import pandas

__all__ = ["Latency", "first_spike", "latency"]


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

    Gives bins before the rise, and the logarithm of the ratio of likelihoods.
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
        message = "latency by likelihood needs a window of at least two bins"
        raise InputError(message)
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
        message = f"method={method!r}: expected 'first-spike' or 'likelihood'"
        raise InputError(message)
    check_share("alpha", alpha)
    width = spikes.dt_s if bin is None else bin
    if width is None:
        message = "bin is missing: these spikes have no time step"
        raise InputError(message)
    return Latency(method, *_by_likelihood(spikes, width, window, alpha), share)
