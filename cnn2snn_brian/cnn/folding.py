"""What only scales and shifts: BatchNorm, constants, and normalized pixels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnn2snn_brian.cnn.step_layers import numbers
from cnn2snn_brian.cnn.trace import Step
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.layers.order import FloatArray

__all__ = ["batch_norm", "by_channel", "check_normalize"]

Array = npt.NDArray[np.float64]


def batch_norm(step: Step, channels: int, *, is_flat: bool) -> tuple[Array, Array]:
    """
    Read a trained BatchNorm as a factor and a shift for each channel.

    Parameters
    ----------
    step : Step
        The call of the BatchNorm.
    channels : int
        Number of channels of what it reads.
    is_flat : bool
        Whether that was flattened.

    Returns
    -------
    gain, shift : ndarray of float64, shape (channels,)
        It computes ``gain * x + shift``.

    Raises
    ------
    UnsupportedModuleError
        If it has other channels, or no running statistics.
    """
    norm = step.module
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    if norm.num_features != channels:
        found = "flattened channels" if is_flat else "channels"
        raise UnsupportedModuleError(
            step.where,
            f"found {norm} on {channels} {found}",
            "A kernel can't be scaled by position: use a BatchNorm2d before Flatten.",
        )
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedModuleError(
            step.where,
            "a BatchNorm without running statistics",
            "Use track_running_stats=True and train again.",
        )
    mean = numbers(norm.running_mean, step.where, "running mean")
    variance = numbers(norm.running_var, step.where, "running variance")
    assert mean is not None
    assert variance is not None
    gain = 1 / np.sqrt(variance + norm.eps)
    weight = numbers(norm.weight, step.where, "weights")
    if weight is not None:
        gain = gain * weight
    offset = numbers(norm.bias, step.where, "biases")
    return gain, -mean * gain + (0 if offset is None else offset)


def by_channel(step: Step, what: str) -> FloatArray | None:
    """
    Find the constant that a value is multiplied with, or that is added to it.

    Parameters
    ----------
    step : Step
        The call.
    what : str
        What it does with it.

    Returns
    -------
    ndarray of float64, shape (channels,), or None
        The constant of each channel; None if there is none.

    Raises
    ------
    UnsupportedModuleError
        If it is none of each channel.
    """
    constants = [value for value in step.args if isinstance(value, torch.Tensor)]
    if not constants:
        return None
    shape = step.input_shape
    # As torch broadcasts it: (channels, 1, 1), with or without the batch.
    axes = (1,) * (1 + len(shape) - constants[0].ndim) + tuple(constants[0].shape)
    if axes != (1, shape[0]) + (1,) * (len(shape) - 1):
        raise UnsupportedModuleError(
            step.where,
            f"{what} a constant of shape {tuple(constants[0].shape)}",
            "All that is computed has to come from the image, but for a constant of "
            "each channel, of shape (channels, 1, 1).",
        )
    return numbers(constants[0].reshape(-1), step.where, "constants")


def check_normalize(normalize: tuple[Any, Any], channels: int) -> tuple[Array, Array]:
    """
    Check what pixels were normalized with.

    Parameters
    ----------
    normalize : tuple of float or of sequences of float
        (mean, std), of all channels or of each.
    channels : int
        Number of channels of an image.

    Returns
    -------
    mean, std : ndarray of float64, shape (channels,)
        The same for each channel.

    Raises
    ------
    InputError
        If `normalize` can't be used.
    """
    try:
        mean, std = (
            np.broadcast_to(np.asarray(value, float), (channels,))
            for value in normalize
        )
    except (TypeError, ValueError) as error:
        message = f"normalize: expected (mean, std) for {channels} channels: {error}"
        raise InputError(message) from error
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        message = f"normalize: mean has to be finite and std above 0, found {normalize}"
        raise InputError(message)
    return mean, std
