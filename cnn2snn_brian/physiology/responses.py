"""Responses of neurons: latency, variability, tuning, sparseness."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_choice, check_number, check_shape, real_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.representations import cosines
from cnn2snn_brian.physiology.trains import Measured, TrialSpikes, counts, trial_spikes
from cnn2snn_brian.results import earliest, tally

FloatArray = npt.NDArray[np.float64]
Method = Literal["first-spike", "likelihood"]
Over = Literal["neurons", "stimuli"]
Measure = Literal["vinje-gallant", "treves-rolls"]
#: A matrix of pairs of more neurons takes gigabytes.
MAX_NEURONS = 10_000


def first_spike(data: Any, layer: str | None = None, window: Any = None) -> FloatArray:
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
    at = (spikes.trial[inside], spikes.neuron[inside])
    since = np.maximum(spikes.t[inside] - start, 0)
    found = earliest(at, since, (spikes.n_trials, spikes.n_neurons))
    return found.reshape(spikes.n_stimuli, spikes.n_repeats, -1)


@dataclass(frozen=True, eq=False)
class Latency(Measured):
    """
    Latency of each neuron's response to each stimulus.

    ``frame()`` has ``stimulus``, ``neuron``, ``latency_s``, ``p_value`` and ``share``.

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
    latency_s: FloatArray
    p_value: FloatArray
    share: FloatArray

    _axes = ("stimulus", "neuron")
    _columns = ("latency_s", "p_value", "share")


def _by_likelihood(
    spikes: TrialSpikes, bin: Any, window: Any, alpha: float
) -> tuple[FloatArray, FloatArray]:
    """Find the most likely rise of the rate, and its p-value."""
    from scipy.special import xlogy
    from scipy.stats import chi2

    index, inside, edges = spikes.bins(bin, window)
    n_bins = len(edges) - 1
    if n_bins < 2:
        raise InputError("latency by likelihood needs a window of at least two bins")
    onset = np.full((spikes.n_stimuli, spikes.n_neurons), np.nan)
    p_value = np.ones_like(onset)
    before = np.arange(1, n_bins)
    stimulus = spikes.trial // spikes.n_repeats
    for which in range(spikes.n_stimuli):
        its = inside & (stimulus == which)
        at = (spikes.neuron[its], index[its])
        until = tally(at, (spikes.n_neurons, n_bins)).cumsum(1)
        first, total = until[:, :-1], until[:, -1:]
        second = total - first
        low, high = first / before, second / (n_bins - before)
        ratio = xlogy(first, low) + xlogy(second, high) - xlogy(total, total / n_bins)
        ratio[high <= low] = 0
        # Bonferroni's correction, for each of the possible changes.
        p = np.minimum(1, (n_bins - 1) * chi2.sf(2 * ratio.max(1), 1))
        p_value[which] = p
        latest = before[ratio.argmax(1)] * (edges[1] - edges[0])
        onset[which] = np.where(p < alpha, latest, np.nan)
    return onset, p_value


def latency(
    data: Any,
    layer: str | None = None,
    *,
    method: Method = "first-spike",
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
    check_choice("method", method, get_args(Method))
    spikes = trial_spikes(data, layer)
    first = first_spike(spikes, window=window)
    share = np.isfinite(first).mean(1)
    if method == "first-spike":
        known = share > 0
        found = np.full(known.shape, np.nan)
        # nanmedian warns of neurons without any spike.
        found[known] = np.nanmedian(np.moveaxis(first, 1, 2)[known], axis=1)
        return Latency(method, found, np.full_like(found, np.nan), share)
    check_number("alpha", alpha, above=0, below=1)
    width = spikes.dt_s if bin is None else bin
    if width is None:
        raise InputError("bin is missing: these spikes have no time step")
    return Latency(method, *_by_likelihood(spikes, width, window, alpha), share)


def repeated_counts(data: Any, layer: str | None, window: Any, what: str) -> FloatArray:
    """Give spike counts that have repeats."""
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
    responses = repeated_counts(data, layer, window, "the Fano factor")
    mean = responses.mean(1)
    with np.errstate(invalid="ignore"):
        return responses.var(1, ddof=1) / mean


def _correlations(values: FloatArray) -> FloatArray:
    """Correlate the columns of (n, n_neurons); NaN where one does not vary."""
    if values.shape[1] > MAX_NEURONS:
        found = f"{values.shape[1]} neurons, {8e-9 * values.shape[1] ** 2:.1f} GB"
        rule = f"at most {MAX_NEURONS}: choose some of physiology.counts(...)"
        raise InputError(f"a matrix of {found}, expected {rule}")
    return cosines(values.T, centred=True)


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
        raise InputError(f"signals need at least 3 stimuli, found {len(responses)}")
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
    responses = repeated_counts(data, layer, window, "noise correlation")
    centred = responses - responses.mean(1, keepdims=True)
    spread = responses.std(1, keepdims=True)
    spread[np.ptp(responses, axis=1, keepdims=True) == 0] = np.inf
    return _correlations((centred / spread).reshape(-1, responses.shape[2]))


@dataclass(frozen=True, eq=False)
class Tuning(Measured):
    """
    Tuning curves of neurons, and what follows from them.

    ``frame()`` has ``neuron``, ``preferred``, ``osi``, ``dsi``, ``circular_variance``
    and ``largest``.

    Attributes
    ----------
    values : ndarray of float64, shape (n_values,)
        Values of the stimulus, in order: degrees if there is a period.
    mean : ndarray of float64, shape (n_values, n_neurons)
        Mean spike counts over repeats, and over stimuli with the same value.
    sem : ndarray of float64, shape (n_values, n_neurons)
        Standard errors of these means; NaN where there is one trial.
    period : float or None
        180 for orientations, 360 for directions, None for other values.
    preferred : ndarray of float64, shape (n_neurons,)
        Preferred value, an angle from 0 to below the period; NaN of a silent neuron,
        and of one that responds to all angles alike.
    osi, dsi : ndarray of float64, shape (n_neurons,)
        Orientation and direction selectivity index; NaN where they are not defined.
    circular_variance : ndarray of float64, shape (n_neurons,)
        Circular variance of the orientation; NaN without a period.
    """

    values: FloatArray
    mean: FloatArray
    sem: FloatArray
    period: float | None
    preferred: FloatArray
    osi: FloatArray
    dsi: FloatArray
    circular_variance: FloatArray

    _axes = ("neuron",)
    _columns = ("preferred", "osi", "dsi", "circular_variance", "largest")

    @property
    def largest(self) -> FloatArray:
        """Mean count at the peak of each curve, of shape (n_neurons,)."""
        return np.asarray(self.mean.max(0))


def _ratio(first: FloatArray, second: FloatArray) -> FloatArray:
    """Give (first - second) / (first + second), NaN where both are 0."""
    with np.errstate(invalid="ignore"):
        # The first is the peak; the second is above it by its last digits at most.
        return np.maximum(first - second, 0) / (first + second)


def _peak(curve: FloatArray) -> FloatArray:
    """Give the index of the largest value of each column, the first of equal ones."""
    # Equal means of numbers in another order differ in their last digits.
    return (curve >= curve.max(0) * (1 - 1e-9)).argmax(0).astype(float)


def _at(curve: FloatArray, place: FloatArray) -> FloatArray:
    """Interpolate curves, (n_values, n_neurons), around the circle at index `place`."""
    n, neurons = len(curve), np.arange(curve.shape[1])
    low = np.floor(place).astype(int)
    share = place - low
    below, above = curve[low % n, neurons], curve[(low + 1) % n, neurons]
    return (1 - share) * below + share * above


def _angles(
    values: FloatArray, mean: FloatArray, period: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Give preferred angle, OSI, DSI and circular variance."""
    n = len(values)
    silent = mean.sum(0) == 0
    # Both directions of an orientation count alike.
    resultant = np.exp(2j * np.deg2rad(values)) @ mean
    length = np.abs(resultant) / np.where(silent, 1, mean.sum(0))
    variance = np.where(silent, np.nan, 1 - np.minimum(length, 1))
    preferred = np.rad2deg(np.angle(resultant)) / 2 % 180
    preferred[preferred > 180 - 1e-9] = 0  # -1e-17 % 180 is 180
    quarter, half = n * 90 / period, n * 180 / period
    if period == 360:
        opposite = [_at(mean, np.full(mean.shape[1], k + half)) for k in range(n)]
        both = (mean + np.array(opposite)) / 2
        peak = _peak(mean)
        dsi = _ratio(_at(mean, peak), _at(mean, peak + half))
        place = (preferred - values[0]) / (period / n)
        first, second = _at(mean, place), _at(mean, place + half)
        preferred = preferred + 180 * (second > first * (1 + 1e-9))
    else:
        both, dsi = mean, np.full(mean.shape[1], np.nan)
    # The peak over orientations: that over directions may be of another one.
    peak = _peak(both)
    osi = _ratio(_at(both, peak), _at(both, peak + quarter))
    # The direction of a resultant of rounding errors means nothing.
    preferred[silent | (length < 1e-9)] = np.nan
    return preferred, osi, dsi, variance


def _check_values(values: Any, n_stimuli: int, period: float | None) -> FloatArray:
    """Check the values of a stimulus; angles come within the period."""
    given = real_numbers("values", values)
    check_shape("values", given, n_stimuli)
    if period is None:
        return given
    if period not in (180, 360):
        raise InputError(f"period is {period!r}, expected 180, 360 or None")
    given = given % period
    different = np.unique(given)
    gaps = np.diff(different, append=different[0] + period)
    if len(different) < 3 or not np.allclose(gaps, period / len(different)):
        found = np.array2string(different, threshold=8)
        rule = f"at least 3 angles, evenly spaced over {period:g} degrees"
        raise InputError(f"values: found {found}, expected {rule}")
    return given


def tuning(
    data: Any,
    values: Any,
    layer: str | None = None,
    *,
    period: float | None = 180,
    window: Any = None,
) -> Tuning:
    r"""
    Compute tuning curves, preferred values and selectivity.

    With the mean count :math:`R(\theta)` at angle :math:`\theta`, the circular variance
    [1]_ and the preferred orientation are

    .. math:: V = 1 - |r|, \quad
              r = \frac{\sum_k R(\theta_k) e^{2 i \theta_k}}{\sum_k R(\theta_k)}, \quad
              \theta_\mathrm{pref} = \tfrac{1}{2} \arg r.

    With directions, :math:`\theta_\mathrm{pref}` is of the two opposite ones that with
    the larger response, and the one below 180 degrees if both are equal. Orientation
    and direction selectivity [2]_ compare the largest response with those a quarter and
    half a turn away,

    .. math:: \mathrm{OSI} = \frac{R_\mathrm{peak} - R_\mathrm{orth}}
                                  {R_\mathrm{peak} + R_\mathrm{orth}}, \quad
              \mathrm{DSI} = \frac{R_\mathrm{peak} - R_\mathrm{opp}}
                                  {R_\mathrm{peak} + R_\mathrm{opp}}.

    The OSI of directions takes the mean of both directions of an orientation, and its
    peak is the orientation with the largest of these means. Of equal peaks, the first
    counts. So both indices are from 0 to 1; where others take the angle of a vector sum
    or of a fit for the peak, they can be negative. Between measured angles the curve is
    interpolated linearly. The OSI and the DSI of noisy counts are too large, the
    circular variance is less so [3]_.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons).
    values : array_like of float, shape (n_stimuli,)
        What is varied. Stimuli of the same value, such as phases of a grating, are
        averaged.
    layer : str, optional
        Name of the layer of a result.
    period : {180, 360, None}
        180: `values` are orientations in degrees. 360: directions in degrees. None: no
        angle, such as a contrast or a spatial frequency; the preferred value is that
        with the largest response.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    Tuning
        Curves, preferred values and indices.

    Raises
    ------
    InputError
        If there is not one value for each stimulus, or angles are not evenly spaced
        over the period.

    References
    ----------
    .. [1] Ringach, Shapley and Hawken (2002), Orientation selectivity in macaque V1,
       doi:10.1523/JNEUROSCI.22-13-05639.2002
    .. [2] Niell and Stryker (2008), Highly selective receptive fields in mouse visual
       cortex, doi:10.1523/JNEUROSCI.0623-08.2008
    .. [3] Mazurek, Kager and Van Hooser (2014), Robust quantification of orientation
       selectivity and direction selectivity, doi:10.3389/fncir.2014.00092
    """
    responses = counts(data, layer, window)
    given = _check_values(values, len(responses), period)
    # Degrees that were computed differ in their last digits.
    _, first, of_stimulus = np.unique(
        np.round(given, 9), return_index=True, return_inverse=True
    )
    n_values, n_neurons = len(first), responses.shape[2]
    mean, sem = np.zeros((n_values, n_neurons)), np.full((n_values, n_neurons), np.nan)
    for index in range(n_values):
        trials = responses[of_stimulus == index].reshape(-1, n_neurons)
        mean[index] = trials.mean(0)
        if len(trials) > 1:
            sem[index] = trials.std(0, ddof=1) / np.sqrt(len(trials))
    different, undefined = given[first], np.full(n_neurons, np.nan)
    if period is not None:
        indices = _angles(different, mean, float(period))
    else:
        preferred = different[_peak(mean).astype(int)]
        preferred[mean.max(0) == 0] = np.nan
        indices = (preferred, undefined, undefined, undefined)
    return Tuning(different, mean, sem, period, *indices)


def sparseness(
    data: Any,
    layer: str | None = None,
    *,
    over: Over = "neurons",
    measure: Measure = "vinje-gallant",
    window: Any = None,
) -> npt.NDArray[np.float64]:
    r"""
    Compute how few of the neurons, or of the stimuli, make up the response.

    Treves and Rolls [1]_ [2]_ measure, for mean responses :math:`r_1 \dots r_n`,

    .. math:: a = \frac{(\sum_i r_i / n)^2}{\sum_i r_i^2 / n},

    which is 1 where all are equal, and 1/n where there is only one. Vinje and Gallant
    [3]_ turn it around and scale it to 0 to 1,

    .. math:: S = \frac{1 - a}{1 - 1/n}.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons). Means
        are taken over repeats.
    layer : str, optional
        Name of the layer of a result.
    over : {"neurons", "stimuli"}
        "neurons": population sparseness of each stimulus. "stimuli": lifetime
        sparseness of each neuron.
    measure : {"vinje-gallant", "treves-rolls"}
        S or a.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    ndarray of float64, shape (n_stimuli,) or (n_neurons,)
        Sparseness; NaN where there is no spike.

    Raises
    ------
    InputError
        If `over` or `measure` is unknown, or there is only one neuron or stimulus.

    References
    ----------
    .. [1] Treves and Rolls (1991), What determines the capacity of autoassociative
       memories in the brain?, doi:10.1088/0954-898X_2_4_004
    .. [2] Rolls and Tovee (1995), Sparseness of the neuronal representation of stimuli
       in the primate temporal visual cortex, doi:10.1152/jn.1995.73.2.713
    .. [3] Vinje and Gallant (2000), Sparse coding and decorrelation in primary visual
       cortex during natural vision, doi:10.1126/science.287.5456.1273
    """
    check_choice("over", over, get_args(Over))
    check_choice("measure", measure, get_args(Measure))
    mean = counts(data, layer, window).mean(1)
    responses = mean if over == "neurons" else mean.T.copy()
    n = responses.shape[1]
    if n < 2:
        raise InputError(f"sparseness over {over} needs at least 2 of them, found {n}")
    with np.errstate(invalid="ignore"):
        a = responses.mean(1) ** 2 / (responses**2).mean(1)
    return a if measure == "treves-rolls" else (1 - a) / (1 - 1 / n)
