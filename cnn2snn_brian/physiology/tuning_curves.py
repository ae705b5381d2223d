"""Tuning: how the response depends on one number of the stimulus."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import real_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import counts
from cnn2snn_brian.printing import Printed

if TYPE_CHECKING:
    import pandas


FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tuning(Printed):
    """
    Tuning curves of neurons, and what follows from them.

    Attributes
    ----------
    values : ndarray of float64, shape (n_values,)
        Values of the stimulus, in order: degrees if there is a period.
    mean : ndarray of float64, shape (n_values, n_neurons)
        Mean spike counts over repeats, and over stimuli with the same value.
    sem : ndarray of float64, shape (n_values, n_neurons)
        Standard errors of these means; NaN where there is one trial.
    period : float or None
        180 for orientations, 360 for directions, None for what is no angle.
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

    def frame(self) -> "pandas.DataFrame":
        """
        Give the numbers of each neuron as a table.

        Returns
        -------
        pandas.DataFrame
            ``neuron``, ``preferred``, ``osi``, ``dsi``, ``circular_variance`` and
            ``largest``, the mean count at the peak of the curve.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "neuron": np.arange(self.mean.shape[1]),
                "preferred": self.preferred,
                "osi": self.osi,
                "dsi": self.dsi,
                "circular_variance": self.circular_variance,
                "largest": self.mean.max(0),
            }
        )


def _ratio(first: FloatArray, second: FloatArray) -> FloatArray:
    """Give (first - second) / (first + second), NaN where both are 0."""
    total = first + second
    with np.errstate(invalid="ignore"):
        # The first is the peak; the second is above it by its last digits at most.
        index = np.maximum(first - second, 0) / total
    return np.where(total > 0, index, np.nan)


def _peak(curve: FloatArray) -> FloatArray:
    """Give the index of the largest value of each column, the first of equal ones."""
    # Equal means of numbers in another order differ in their last digits.
    return (curve >= curve.max(0) * (1 - 1e-9)).argmax(0).astype(float)


def _at(curve: FloatArray, place: FloatArray) -> FloatArray:
    """Interpolate curves, (n_values, n_neurons), around the circle at index `place`."""
    n = len(curve)
    low = np.floor(place).astype(int)
    share = place - low
    neurons = np.arange(curve.shape[1])
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
        both = np.array(
            [_at(mean, k + half * np.ones(mean.shape[1])) for k in range(n)]
        )
        both = (mean + both) / 2
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
    given = real_numbers("values", values)
    if given.shape != (n_stimuli,):
        raise InputError(
            f"values have the shape {given.shape}, expected a finite number for "
            f"each of {n_stimuli} stimuli"
        )
    if period is None:
        return given
    if period not in (180, 360):
        raise InputError(f"period is {period!r}, expected 180, 360 or None")
    given = given % period
    different = np.unique(given)
    gaps = np.diff(different, append=different[0] + period)
    if len(different) < 3 or not np.allclose(gaps, period / len(different)):
        raise InputError(
            f"values: expected at least 3 angles, evenly spaced over {period:g} "
            f"degrees, found {np.array2string(different, threshold=8)}"
        )
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
    different = given[first]
    if period is not None:
        return Tuning(
            different, mean, sem, period, *_angles(different, mean, float(period))
        )
    preferred = different[_peak(mean).astype(int)]
    preferred[mean.max(0) == 0] = np.nan
    none = np.full(n_neurons, np.nan)
    return Tuning(different, mean, sem, None, preferred, none, none, none)


def sparseness(
    data: Any,
    layer: str | None = None,
    *,
    over: Literal["neurons", "stimuli"] = "neurons",
    measure: Literal["vinje-gallant", "treves-rolls"] = "vinje-gallant",
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
    if over not in ("neurons", "stimuli"):
        raise InputError(f"over={over!r}: expected 'neurons' or 'stimuli'")
    if measure not in ("vinje-gallant", "treves-rolls"):
        raise InputError(
            f"measure={measure!r}: expected 'vinje-gallant' or 'treves-rolls'"
        )
    mean = counts(data, layer, window).mean(1)
    responses = mean if over == "neurons" else mean.T
    n = responses.shape[1]
    if n < 2:
        raise InputError(f"sparseness over {over} needs at least 2 of them, found {n}")
    a = np.full(len(responses), np.nan)
    some = responses.any(1)
    a[some] = responses[some].mean(1) ** 2 / (responses[some] ** 2).mean(1)
    return a if measure == "treves-rolls" else (1 - a) / (1 - 1 / n)
