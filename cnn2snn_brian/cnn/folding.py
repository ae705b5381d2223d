"""Fold what only scales and shifts into the layer before or behind it."""

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from cnn2snn_brian.cnn.step_layers import numbers
from cnn2snn_brian.cnn.trace import Step
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.max_pool2d import MaxPool2d

__all__ = ["fold_batch_norm", "fold_normalization"]


def fold_batch_norm(step: Step, layer: Conv2d | Linear) -> Conv2d | Linear:
    """
    Fold the statistics of a trained BatchNorm into the layer before it.

    Parameters
    ----------
    step : Step
        The call of the BatchNorm.
    layer : Conv2d or Linear
        The layer.

    Returns
    -------
    Conv2d or Linear
        The layer with other weights and a bias.

    Raises
    ------
    UnsupportedModuleError
        If it has other channels than the layer, or no running statistics.
    """
    norm = step.module
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    if norm.num_features != layer.shape[0]:
        raise UnsupportedModuleError(
            step.where,
            f"found {norm} on a layer of shape {layer.shape}",
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
    scale = 1 / np.sqrt(variance + norm.eps)
    gain = numbers(norm.weight, step.where, "weights")
    if gain is not None:
        scale = scale * gain
    offset = numbers(norm.bias, step.where, "biases")
    shift = -mean * scale + (0 if offset is None else offset)
    # One value a channel (or output), against the positions behind it.
    channelwise = (-1,) + (1,) * (len(layer.shape) - 1)
    bias = np.zeros(layer.shape) if layer.bias is None else np.array(layer.bias)
    return replace(
        layer,
        weight=layer.weight * scale.reshape((-1,) + (1,) * (layer.weight.ndim - 1)),
        bias=bias * scale.reshape(channelwise) + shift.reshape(channelwise),
        n_bias_parameters=layer.shape[0],
    )


def fold_normalization(
    layer: Conv2d | AvgPool2d | MaxPool2d | Linear,
    normalize: tuple[Any, Any],
    where: str,
) -> Conv2d | Linear:
    """
    Make the first layer take pixels in [0, 1] instead of (pixel - mean) / std.

    The constant part is computed with the layer itself, so that a neuron at the border
    gets only the share of its taps that are inside the image: the padding of the CNN
    is 0 *after* the normalization.

    Parameters
    ----------
    layer : Conv2d or Linear
        The first layer.
    normalize : tuple of float or of sequences of float
        (mean, std), of all channels or of each.
    where : str
        Module path of the layer.

    Returns
    -------
    Conv2d or Linear
        The layer with other weights and a bias.

    Raises
    ------
    UnsupportedModuleError
        If it is a pooling layer.
    InputError
        If `normalize` can't be used.
    """
    if not isinstance(layer, Conv2d | Linear) or len(layer.input_shape) != 3:
        raise UnsupportedModuleError(
            where,
            f"normalize needs a Conv2d or Linear as the first layer, found {layer}",
            "Normalized pixels are negative in part, which pooling neurons can't "
            "express. Train on pixels in [0, 1] instead.",
        )
    channels = layer.input_shape[0]
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
    if isinstance(layer, Conv2d):
        per_group = channels // layer.groups
        out_per_group = layer.weight.shape[0] // layer.groups
        # Channel of each kernel slice: a kernel of group g sees g's channels only.
        seen = std.reshape(layer.groups, per_group)
        scale = np.repeat(seen, out_per_group, axis=0)[:, :, None, None]
    else:
        height, width = layer.input_shape[1:]
        scale = np.repeat(std, height * width)[None]
    scaled = replace(layer, weight=layer.weight / scale)
    constant = np.broadcast_to(mean[:, None, None], layer.input_shape)
    bias = -scaled.drive(constant[None])[0]
    return replace(scaled, bias=bias if layer.bias is None else layer.bias + bias)
