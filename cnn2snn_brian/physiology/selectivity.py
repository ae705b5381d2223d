"""Sparseness of responses: over neurons, or over stimuli."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trials import counts

__all__ = ["sparseness"]


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
        message = f"over={over!r}: expected 'neurons' or 'stimuli'"
        raise InputError(message)
    if measure not in ("vinje-gallant", "treves-rolls"):
        message = f"measure={measure!r}: expected 'vinje-gallant' or 'treves-rolls'"
        raise InputError(message)
    mean = counts(data, layer, window).mean(1)
    responses = mean if over == "neurons" else mean.T
    n = responses.shape[1]
    if n < 2:
        message = f"sparseness over {over} needs at least 2 of them, found {n}"
        raise InputError(message)
    a = np.full(len(responses), np.nan)
    some = responses.any(1)
    a[some] = responses[some].mean(1) ** 2 / (responses[some] ** 2).mean(1)
    return a if measure == "treves-rolls" else (1 - a) / (1 - 1 / n)
