"""Firing rate over time: the peri-stimulus time histogram."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.physiology.trials import trial_spikes
from cnn2snn_brian.printing import Printed

if TYPE_CHECKING:
    import pandas

__all__ = ["Psth", "psth"]


@dataclass(frozen=True, eq=False)
class Psth(Printed):
    """
    Firing rates in time bins, means over repeats.

    Attributes
    ----------
    rate_hz : ndarray of float64, shape (n_stimuli, n_neurons, n_bins)
        Rates.
    sem_hz : ndarray of float64, shape (n_stimuli, n_neurons, n_bins)
        Their standard errors over repeats; NaN with one repeat.
    edges_s : ndarray of float64, shape (n_bins + 1,)
        Edges of the bins in seconds since a trial's start.
    n_repeats : int
        Trials of a stimulus.
    """

    rate_hz: npt.NDArray[np.float64]
    sem_hz: npt.NDArray[np.float64]
    edges_s: npt.NDArray[np.float64]
    n_repeats: int

    @property
    def t_s(self) -> npt.NDArray[np.float64]:
        """Centres of the bins in seconds, of shape (n_bins,)."""
        return (self.edges_s[1:] + self.edges_s[:-1]) / 2

    def frame(self) -> "pandas.DataFrame":
        """
        Give the rates as a tidy table.

        Returns
        -------
        pandas.DataFrame
            ``stimulus``, ``neuron``, ``t_s``, ``rate_hz`` and ``sem_hz``, a row for
            each bin.
        """
        import pandas as pd

        stimulus, neuron, index = np.indices(self.rate_hz.shape)
        return pd.DataFrame(
            {
                "stimulus": stimulus.ravel(),
                "neuron": neuron.ravel(),
                "t_s": self.t_s[index.ravel()],
                "rate_hz": self.rate_hz.ravel(),
                "sem_hz": self.sem_hz.ravel(),
            }
        )


def psth(data: Any, layer: str | None = None, *, bin: Any, window: Any = None) -> Psth:
    r"""
    Compute the peri-stimulus time histogram of each neuron.

    .. math:: r(t) = \frac{1}{n \Delta} \sum_{i=1}^{n} k_i(t)

    with the counts :math:`k_i(t)` of repeat i in a bin of width :math:`\Delta`
    [1]_.

    Parameters
    ----------
    data : SimulationResult or TrialSpikes
        A result that recorded the layer, or spikes.
    layer : str, optional
        Name of the layer of a result.
    bin : Quantity [s] or float
        Width of a bin, a multiple of the time step.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.

    Returns
    -------
    Psth
        Rates and their standard errors.

    Raises
    ------
    InputError
        If the layer was not recorded, or the window is no whole number of bins.

    References
    ----------
    .. [1] Gerstein and Kiang (1960), An approach to the quantitative analysis of
       electrophysiological data from single neurons,
       doi:10.1016/S0006-3495(60)86872-5
    """
    spikes = trial_spikes(data, layer)
    index, inside, edges = spikes.bins(bin, window)
    n, n_bins = spikes.n_repeats, len(edges) - 1
    shape = (spikes.n_trials, spikes.n_neurons, n_bins)
    at = (spikes.trial[inside], spikes.neuron[inside], index[inside])
    # Only bins with spikes: an array of all trials would be n_repeats times larger.
    place, count = np.unique(np.ravel_multi_index(at, shape), return_counts=True)
    trial, neuron, which = np.unravel_index(place, shape)
    total = np.zeros((spikes.n_stimuli, *shape[1:]))
    squares = np.zeros_like(total)
    np.add.at(total, (trial // n, neuron, which), count)
    np.add.at(squares, (trial // n, neuron, which), count.astype(float) ** 2)
    width = edges[1] - edges[0]
    if n > 1:
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        sem = np.sqrt(variance / n) / width
    else:
        sem = np.full_like(total, np.nan)
    return Psth(total / n / width, sem, edges, n)
