"""
Read a PyTorch CNN: ``nn.Module`` to `Layers`.

`cnn2snn_brian.trace` lists the calls of the CNN; here they become layers. What can't be
converted is refused by its place in the module.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from cnn2snn_brian.cnn.trace import SUPPORTED, Step, steps
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear
from cnn2snn_brian.layers.order import INPUT, FloatArray
from cnn2snn_brian.layers.stack import Layers

__all__ = ["from_torch"]

Pair = tuple[int, int]


def _pair(value: Any) -> Pair:
    """Both sizes of a window, given as torch allows it: one number or two."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def _numpy(tensor: torch.Tensor | None, where: str, what: str) -> FloatArray | None:
    if tensor is None:
        return None
    array = tensor.detach().numpy().astype(np.float64)
    if not np.isfinite(array).all():
        n_bad = int((~np.isfinite(array)).sum())
        raise UnsupportedModuleError(
            where,
            f"{n_bad} of {array.size} values of its {what} are NaN or infinite",
            "Train the CNN again, with a lower learning rate.",
        )
    return array


def _conv2d(step: Step, name: str, source: str) -> Conv2d:
    module = step.module
    assert isinstance(module, nn.Conv2d)
    if module.padding_mode != "zeros":
        raise UnsupportedModuleError(
            step.where,
            f"padding_mode={module.padding_mode!r}",
            "Only padding with zeros is supported.",
        )
    kernel, dilation = _pair(module.kernel_size), _pair(module.dilation)
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        # Where the padding is odd, torch puts the larger half behind the picture.
        padding = tuple((n // 2, n - n // 2) for n in total)
    elif module.padding == "valid":
        padding = ((0, 0), (0, 0))
    else:
        assert not isinstance(module.padding, str)
        padding = tuple((n, n) for n in _pair(module.padding))
    weight = _numpy(module.weight, step.where, "weights")
    bias = _numpy(module.bias, step.where, "biases")
    assert weight is not None
    channels, height, width = step.input_shape
    layer = Conv2d(
        name=name,
        inputs=(source,),
        input_shape=(channels, height, width),
        weight=weight,
        stride=_pair(module.stride),
        padding=padding,  # type: ignore[arg-type]
        dilation=dilation,
        groups=module.groups,
    )
    if bias is None:
        return layer
    full = np.broadcast_to(bias[:, None, None], layer.shape)
    return replace(layer, bias=full, n_bias_parameters=bias.size)


def _linear(step: Step, name: str, source: str, shape: tuple[int, ...]) -> Linear:
    module = step.module
    assert isinstance(module, nn.Linear)
    if len(step.input_shape) != 1:
        raise UnsupportedModuleError(
            step.where,
            f"a Linear on values of shape {step.input_shape}",
            "Put a Flatten before it.",
        )
    weight = _numpy(module.weight, step.where, "weights")
    bias = _numpy(module.bias, step.where, "biases")
    assert weight is not None
    n_bias = 0 if bias is None else bias.size
    return Linear(name, (source,), shape, weight, bias, n_bias)


def _windows(
    size: int, n_out: int, kernel: int, stride: int, padding: int, *, count_pad: bool
) -> tuple[tuple[Pair, ...], tuple[int, ...]]:
    """Windows of average pooling along one axis, and what each divides by."""
    windows, divisors = [], []
    for out in range(n_out):
        start = out * stride - padding
        end = min(start + kernel, size + padding)
        inside = max(start, 0), min(end, size)
        windows.append(inside)
        divisors.append(end - start if count_pad else inside[1] - inside[0])
    return tuple(windows), tuple(divisors)


def _avg_pool2d(step: Step, name: str, source: str) -> AvgPool2d:
    if isinstance(step.module, nn.AvgPool2d):
        module = step.module
    else:
        module = nn.AvgPool2d(
            step.argument(1, "kernel_size", None),
            step.argument(2, "stride", None),
            step.argument(3, "padding", 0),
            step.argument(4, "ceil_mode", False),
            step.argument(5, "count_include_pad", True),
            step.argument(6, "divisor_override", None),
        )
    kernel = _pair(module.kernel_size)
    stride, padding = _pair(module.stride), _pair(module.padding)
    axes = [
        _windows(
            step.input_shape[1 + axis],
            step.shape[1 + axis],
            kernel[axis],
            stride[axis],
            padding[axis],
            count_pad=module.count_include_pad,
        )
        for axis in (0, 1)
    ]
    divisors = [axis[1] for axis in axes]
    if module.divisor_override is not None:
        divisors = [(module.divisor_override,) * step.shape[1], (1,) * step.shape[2]]
    channels, height, width = step.input_shape
    return AvgPool2d(
        name,
        (source,),
        (channels, height, width),
        rows=axes[0][0],
        columns=axes[1][0],
        row_weights=tuple(1 / divisor for divisor in divisors[0]),
        column_weights=tuple(1 / divisor for divisor in divisors[1]),
    )


def _adaptive_avg_pool2d(step: Step, name: str, source: str) -> AvgPool2d:
    axes = []
    for axis in (0, 1):
        size, n_out = step.input_shape[1 + axis], step.shape[1 + axis]
        # From floor(i n_in / n_out) to ceil((i + 1) n_in / n_out), as in torch.
        axes.append(
            tuple(
                (out * size // n_out, -(-(out + 1) * size // n_out))
                for out in range(n_out)
            )
        )
    weights = [tuple(1 / (end - start) for start, end in axis) for axis in axes]
    channels, height, width = step.input_shape
    return AvgPool2d(
        name,
        (source,),
        (channels, height, width),
        rows=axes[0],
        columns=axes[1],
        row_weights=weights[0],
        column_weights=weights[1],
    )


def _fold_batch_norm(step: Step, layer: Conv2d | Linear) -> Conv2d | Linear:
    """Fold the statistics of a trained BatchNorm into the layer before it."""
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
    mean = _numpy(norm.running_mean, step.where, "running mean")
    variance = _numpy(norm.running_var, step.where, "running variance")
    assert mean is not None
    assert variance is not None
    scale = 1 / np.sqrt(variance + norm.eps)
    gain = _numpy(norm.weight, step.where, "weights")
    if gain is not None:
        scale = scale * gain
    offset = _numpy(norm.bias, step.where, "biases")
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


def _fold_normalization(
    layer: Conv2d | AvgPool2d | Linear, normalize: tuple[Any, Any], where: str
) -> Conv2d | Linear:
    """
    Make the first layer take pixels in [0, 1] instead of (pixel - mean) / std.

    The constant part is computed with the layer itself, so that a neuron at the border
    gets only the share of its taps that are inside the picture: the padding of the CNN
    is 0 *after* the normalization.
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


_Builder = Callable[..., Conv2d | AvgPool2d | Linear]
_LAYERS: dict[str, tuple[str, _Builder]] = {
    "Conv2d": ("conv", _conv2d),
    "Linear": ("ip", _linear),
    "AvgPool2d": ("pool", _avg_pool2d),
    "AdaptiveAvgPool2d": ("pool", _adaptive_avg_pool2d),
    "mean": ("pool", _adaptive_avg_pool2d),
}


def _check_mode(module: nn.Module) -> None:
    for path, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.training:
            raise UnsupportedModuleError(
                path or type(child).__name__,
                f"found {child} in training mode",
                "Call eval() on the CNN first, so that the trained statistics count.",
            )


def _global_mean(step: Step) -> Step:
    """Read ``x.mean((2, 3))`` as global average pooling."""
    axes = step.argument(1, "dim", ())
    axes = (axes,) if isinstance(axes, int) else tuple(axes or ())
    if len(step.input_shape) != 3 or {axis % 4 for axis in axes} != {2, 3}:
        raise UnsupportedModuleError(
            step.where, f"a mean over {axes}", "A mean over (2, 3) is supported."
        )
    return replace(step, shape=(step.input_shape[0], 1, 1))


def _is_flatten(step: Step) -> bool:
    """Whether a reshape flattens; False if it changes nothing; refuse all others."""
    if step.shape == step.input_shape:
        return False
    if step.shape == (math.prod(step.input_shape),):
        return True
    raise UnsupportedModuleError(
        step.where,
        f"reshapes {step.input_shape} to {step.shape}",
        "Only flattening all of a picture's values is supported.",
    )


def from_torch(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    normalize: tuple[Any, Any] | None = None,
    *,
    names: Literal["role", "module"] = "role",
) -> Layers:
    """
    Read a trained CNN.

    Parameters
    ----------
    module : nn.Module
        A chain of Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU, Flatten, Dropout
        and Identity, as modules or as functions; BatchNorm right after a Conv2d or
        Linear is folded into it. Every Conv2d and Linear but the last layer has to be
        followed by a ReLU: a firing rate is never negative. It is not changed.
    input_shape : tuple of int
        Shape of a picture, (channels, height, width).
    normalize : tuple of float or of sequences of float, optional
        (mean, std) that the CNN's pictures were normalized with, of all channels or of
        each. It is folded into the first layer, so that the SNN takes pixels in [0, 1].
    names : {"role", "module"}
        Name layers conv1, pool1, ..., ip1, or by their path in the module with ``_``
        for ``.`` (a name in Brian2 has no dots).

    Returns
    -------
    Layers
        Frozen descriptions with float64 weights.

    Raises
    ------
    UnsupportedModuleError
        For anything that can't be converted, named by its path in the module.
    InputError
        If `input_shape` does not fit the CNN, or `normalize` the picture.

    Examples
    --------
    >>> cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(),
    ...                     nn.Linear(4 * 4 * 4, 10))
    >>> from_torch(cnn, (1, 6, 6)).names
    ('conv1', 'ip1')
    """
    if names not in ("role", "module"):
        message = f"names={names!r}: expected 'role' or 'module'"
        raise InputError(message)
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3 or min(shape) < 1:
        message = f"input_shape {input_shape}: expected (channels, height, width)"
        raise InputError(message)
    _check_mode(module)

    layers: list[Conv2d | AvgPool2d | Linear] = []
    places: list[str] = []
    rectified = True  # whether what the next step reads can't be negative
    foldable = False  # whether a BatchNorm may follow
    n_of_role: dict[str, int] = {}
    for step in steps(module, shape):  # type: ignore[arg-type]
        kind = step.kind
        if kind == "mean":
            step = _global_mean(step)
        elif kind == "reshape":
            kind = "Flatten" if _is_flatten(step) else "Identity"
        elif kind == "Flatten":
            _is_flatten(step)
        if kind in ("Flatten", "Identity", "Dropout"):
            continue
        if kind == "ReLU":
            if not layers and normalize is not None:
                raise UnsupportedModuleError(
                    step.where,
                    "found a ReLU on normalized pixels",
                    "normalize needs a Conv2d or Linear as the first layer.",
                )
            rectified, foldable = True, False
            continue
        if kind == "BatchNorm":
            if not foldable:
                raise UnsupportedModuleError(
                    step.where,
                    f"found {step.module} that does not follow a Conv2d or Linear",
                    "Only a BatchNorm right after one of them can be folded.",
                )
            layer = layers[-1]
            assert not isinstance(layer, AvgPool2d)
            layers[-1] = _fold_batch_norm(step, layer)
            continue
        if not rectified:
            raise UnsupportedModuleError(
                places[-1],
                "its output goes on without a ReLU",
                "A firing rate is never negative: put a ReLU right after it (before "
                "any pooling) and train again.",
            )
        role, build = _LAYERS[kind]
        n_of_role[role] = n_of_role.get(role, 0) + 1
        name = f"{role}{n_of_role[role]}"
        if names == "module" and step.module is not None:
            name = step.where.replace(".", "_")
            # A number alone ("0" in a Sequential) is no name in Brian2's language.
            name = name if name.isidentifier() else f"layer_{name}"
        base, n = name, 1
        while name in {INPUT, *(layer.name for layer in layers)}:  # used again
            n += 1
            name = f"{base}_{n}"
        source = layers[-1].name if layers else INPUT
        previous_shape = layers[-1].shape if layers else shape
        if kind == "Linear":
            layers.append(build(step, name, source, previous_shape))
        else:
            layers.append(build(step, name, source))
        places.append(step.where)
        foldable = kind in ("Conv2d", "Linear")
        rectified = not foldable
    if not layers:
        raise UnsupportedModuleError(
            type(module).__name__, "it has no layers with neurons", SUPPORTED
        )
    if normalize is not None:
        layers[0] = _fold_normalization(layers[0], normalize, places[0])
    return Layers(shape, tuple(layers))  # type: ignore[arg-type]
