"""What only scales and shifts: BatchNorm, constants, and normalized pixels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnn2snn_brian.cnn.trace import Step
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.projections import (
    AvgPool2d,
    Conv2d,
    FloatArray,
    Linear,
    MaxPool2d,
    pool_windows,
)

Pair = tuple[int, int]


def _pair(value: Any) -> Pair:
    """Both sizes of a window, given as torch allows it: a number, or one or two."""
    y, x = np.broadcast_to(np.asarray(value, int), (2,))
    return int(y), int(x)


def numbers(tensor: torch.Tensor | None, where: str, what: str) -> FloatArray | None:
    """Take trained values."""
    if tensor is None:
        return None
    array = tensor.detach().numpy().astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        n_bad = int((~np.isfinite(array)).sum())
        raise UnsupportedModuleError(
            where,
            f"{n_bad} of {array.size} values of its {what} are NaN or infinite",
            "Train the CNN again, with a lower learning rate.",
        )
    return array


def as_module(step: Step) -> Step:
    """
    Make a module of a function with weights: ``F.conv2d``, ``F.linear``, BatchNorm.
    """

    def weights(index: int, name: str) -> nn.Parameter | None:
        tensor = step.argument(index, name, None)
        if tensor is None or isinstance(tensor, torch.Tensor):
            return None if tensor is None else nn.Parameter(tensor, False)
        raise UnsupportedModuleError(
            step.where,
            f"its {name} is computed from the image",
            "Weights have to be constant.",
        )

    module: Any
    if step.kind == "BatchNorm":
        module = nn.BatchNorm2d(step.input_shape[0], step.argument(7, "eps", 1e-5))
        of_image = step.argument(5, "training", False)
        for index, name in ((1, "running_mean"), (2, "running_var")):
            setattr(module, name, None if of_image else weights(index, name))
        module.weight, module.bias = weights(3, "weight"), weights(4, "bias")
        return replace(step, module=module)
    weight = weights(1, "weight")
    assert weight is not None
    # On the meta device, since initial weights would take random numbers of torch's.
    if step.kind == "Linear":
        module = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    else:
        rest = zip(
            (3, 4, 5, 6), ("stride", "padding", "dilation", "groups"), strict=True
        )
        stride, padding, dilation, groups = (
            step.argument(index, name, int(name != "padding")) for index, name in rest
        )
        module = nn.Conv2d(
            step.input_shape[0],
            weight.shape[0],
            tuple(weight.shape[2:]),  # type: ignore[arg-type]
            stride,
            padding,
            dilation,
            groups,
            device="meta",
        )
    module.weight, module.bias = weight, weights(2, "bias")
    return replace(step, module=module)


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
        # Where the padding is odd, torch puts the larger half behind the image.
        padding = tuple((n // 2, n - n // 2) for n in total)
    elif module.padding == "valid":
        padding = ((0, 0), (0, 0))
    else:
        assert not isinstance(module.padding, str)
        padding = tuple((n, n) for n in _pair(module.padding))
    weight = numbers(module.weight, step.where, "weights")
    bias = numbers(module.bias, step.where, "biases")
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
    weight = numbers(module.weight, step.where, "weights")
    bias = numbers(module.bias, step.where, "biases")
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
    # An empty list of strides is as good as none.
    stride, padding = _pair(module.stride or kernel), _pair(module.padding)
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


def _max_pool2d(step: Step, name: str, source: str) -> MaxPool2d:
    if isinstance(step.module, nn.MaxPool2d):
        module = step.module
    else:
        module = nn.MaxPool2d(
            step.argument(1, "kernel_size", None),
            step.argument(2, "stride", None),
            step.argument(3, "padding", 0),
            step.argument(4, "dilation", 1),
        )
    if _pair(module.dilation) != (1, 1):
        raise UnsupportedModuleError(
            step.where, f"found {module}", "Supported is a dilation of 1."
        )
    sizes = (
        step.input_shape[1:],
        step.shape[1:],
        *map(
            _pair,
            (module.kernel_size, module.stride or module.kernel_size, module.padding),
        ),
    )
    rows, columns = (pool_windows(*axis) for axis in zip(*sizes, strict=True))
    channels, height, width = step.input_shape
    return MaxPool2d(name, (source,), (channels, height, width), rows, columns)


_Builder = Callable[..., Conv2d | AvgPool2d | MaxPool2d | Linear]
#: What makes a layer of a kind of call, and the first part of its name.
BUILDERS: dict[str, tuple[str, _Builder]] = {
    "Conv2d": ("conv", _conv2d),
    "Linear": ("ip", _linear),
    "AvgPool2d": ("pool", _avg_pool2d),
    "AdaptiveAvgPool2d": ("pool", _adaptive_avg_pool2d),
    "mean": ("pool", _adaptive_avg_pool2d),
    "MaxPool2d": ("pool", _max_pool2d),
}


Array = npt.NDArray[np.float64]


def batch_norm(step: Step, channels: int, *, is_flat: bool) -> tuple[Array, Array]:
    """Read a trained BatchNorm as a factor and a shift for each channel."""
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
    """Find the constant that a value is multiplied with, or that is added to it."""
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
    """Check what pixels were normalized with."""
    try:
        mean, std = (
            np.broadcast_to(np.asarray(value, float), (channels,))
            for value in normalize
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"normalize: expected (mean, std) for {channels} channels: {error}"
        ) from error
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise InputError(
            f"normalize: mean has to be finite and std above 0, found {normalize}"
        )
    return mean, std
