"""Pixels as rates of Poisson spikes."""

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second

from cnn2snn_brian.description.pictures import check_rate_scale
from cnn2snn_brian.description.units import check_units
from cnn2snn_brian.layers.order import to_neurons

__all__ = ["poisson_rates"]


@check_units(dt=second)
def poisson_rates(
    pixels: npt.NDArray[np.float32],
    rate_scale: float,
    dt: Quantity,
) -> Quantity:
    """
    Map pixels to the rates of a `PoissonGroup`.

    Parameters
    ----------
    pixels : ndarray of float, shape (..., channels, height, width)
        Intensities in [0, 1].
    rate_scale : float
        The paper's c, spikes per step of a pixel of intensity 1.
    dt : Quantity [s]
        Time step of the simulation.

    Returns
    -------
    rates : Quantity [Hz], shape (..., n_neurons)
        In the order of the neurons of the input group, channels last.

    Raises
    ------
    InputError
        If ``c I > 1`` somewhere: a `PoissonGroup` emits at most one spike per neuron
        and step, and would saturate without a word.
    """
    check_rate_scale(rate_scale, pixels)
    return rate_scale * to_neurons(pixels, pixels.shape[-3:]) / dt
