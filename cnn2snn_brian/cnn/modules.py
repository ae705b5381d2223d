"""What a call of a CNN stands for: a kernel, a window, or a scale and a shift."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from cnn2snn_brian.cnn.trace import Step
from cnn2snn_brian.errors import InputError, UnsupportedModuleError
from cnn2snn_brian.projections import (
    Convolution,
    Dense,
    FloatArray,
    Kernel,
    TransposedConvolution,
    Window,
    by_channel,
    gate_window,
    is_large,
    nearest,
    pair,
    pool_spans,
    span_matrix,
    zeros_around,
)


def numbers(tensor: Any, where: str, what: str) -> Any:
    """Take trained values, if there are any."""
    if tensor is None:
        return None
    array = tensor.detach().numpy()
    if is_large(array):
        array.setflags(write=False)  # of our copy of the CNN, and not copied again
    else:
        array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        n_bad = int((~np.isfinite(array)).sum())
        raise UnsupportedModuleError(
            where,
            f"{n_bad} of {array.size} values of its {what} are NaN or infinite",
            "Train the CNN again, with a lower learning rate.",
        )
    return array


def _weights(step: Step, index: int, name: str) -> Any:
    """Take constant weights of a function call."""
    tensor = step.argument(index, name, None)
    if tensor is None or isinstance(tensor, torch.Tensor):
        return None if tensor is None else nn.Parameter(tensor, False)
    raise UnsupportedModuleError(
        step.where,
        f"its {name} is computed from the image",
        "Weights have to be constant.",
    )


GEOMETRY = ("kernel_size", "stride", "padding")
#: Functions as modules: their arguments after the image, and those that are weights.
FUNCTIONAL: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "AvgPool2d": (
        nn.AvgPool2d,
        (*GEOMETRY, "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    "MaxPool2d": (nn.MaxPool2d, (*GEOMETRY, "dilation")),
    "Upsample": (
        nn.Upsample,
        ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor"),
    ),
}
CONVOLUTIONS = {
    "Conv1d": (nn.Conv1d, ("stride", "padding", "dilation", "groups")),
    "Conv2d": (nn.Conv2d, ("stride", "padding", "dilation", "groups")),
    "ConvTranspose2d": (
        nn.ConvTranspose2d,
        ("stride", "padding", "output_padding", "groups", "dilation"),
    ),
}


def as_module(step: Step) -> Step:
    """Make a module of a function: ``F.conv2d``, ``F.avg_pool2d``, ..."""

    def given(names: tuple[str, ...], first: int) -> dict[str, Any]:
        found = {
            name: step.argument(first + index, name, Ellipsis)
            for index, name in enumerate(names)
        }
        return {name: value for name, value in found.items() if value is not Ellipsis}

    module: Any
    if step.kind in FUNCTIONAL:
        kind, names = FUNCTIONAL[step.kind]
        return replace(step, module=kind(**given(names, 1)))
    if step.kind == "BatchNorm":
        module = nn.BatchNorm2d(step.input_shape[0], step.argument(7, "eps", 1e-5))
        of_image = step.argument(5, "training", False)
        for index, name in ((1, "running_mean"), (2, "running_var")):
            setattr(module, name, None if of_image else _weights(step, index, name))
        module.weight, module.bias = (
            _weights(step, index, name) for index, name in ((3, "weight"), (4, "bias"))
        )
        return replace(step, module=module)
    weight = _weights(step, 1, "weight")
    # On the meta device, since initial weights would take random numbers of torch's.
    if step.kind == "Linear":
        module = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    else:
        make, names = CONVOLUTIONS[step.kind]
        options = given(names, 3)
        n_out = weight.shape[int(make is nn.ConvTranspose2d)]
        if make is nn.ConvTranspose2d:
            n_out *= options.get("groups", 1)
        sizes = step.input_shape[0], n_out, tuple(weight.shape[2:])
        module = make(*sizes, **options, device="meta")
    module.weight, module.bias = weight, _weights(step, 2, "bias")
    return replace(step, module=module)


def _convolution(step: Step, weight: Any) -> Kernel:
    module: Any = step.module
    if module.padding_mode != "zeros":
        raise UnsupportedModuleError(
            step.where,
            f"padding_mode={module.padding_mode!r}",
            "Only padding with zeros is supported.",
        )
    kind: Any = Convolution
    dilation = pair(module.dilation)
    padding = zeros_around(module.padding, dilation, weight.shape[2:])
    if isinstance(module, nn.ConvTranspose2d):
        kind, more = TransposedConvolution, pair(module.output_padding)
        padding = tuple((a, b - n) for (a, b), n in zip(padding, more, strict=True))
    shape, stride = step.input_shape, pair(module.stride)
    kernel: Kernel = kind(shape, weight, stride, padding, dilation, module.groups)
    return kernel


def kernel_of(
    step: Step, shape: tuple[int, ...], order: Any = None
) -> tuple[Kernel, FloatArray | None, int]:
    """Read a call with weights: its kernel, bias, and number of trained biases."""
    module: Any = step.module
    weight = numbers(module.weight, step.where, "weights")
    bias = numbers(module.bias, step.where, "biases")
    kernel: Kernel
    if step.kind != "Linear":
        kernel = _convolution(step, weight)
    elif len(step.input_shape) == 1:
        # Its input was flattened: which weight belongs to which value.
        if order is not None and not np.array_equal(
            order.ravel(), np.arange(math.prod(shape)) + 1
        ):
            whole = np.zeros((len(weight), 1 + math.prod(shape)))
            np.add.at(whole.T, order, weight.T)
            weight = whole[:, 1:]
        kernel = Dense(shape, weight)
    else:
        raise UnsupportedModuleError(
            step.where,
            f"a Linear on values of shape {step.input_shape}",
            "Put a Flatten before it.",
        )
    if bias is None:
        return kernel, None, 0
    full = np.broadcast_to(by_channel(bias, kernel.shape), kernel.shape)
    return kernel, full, bias.size


def _geometry(module: Any) -> list[tuple[int, int]]:
    """Give size, stride and padding of a pooling."""
    # An empty list of strides is as good as none.
    stride = module.stride or module.kernel_size
    return [pair(value) for value in (module.kernel_size, stride, module.padding)]


def average_window(step: Step) -> Window:
    """Read average pooling of any kind."""
    sizes = [*zip(step.input_shape[1:], step.shape[1:], strict=True)]
    if step.kind != "AvgPool2d":
        # From floor(i n_in / n_out) to ceil((i + 1) n_in / n_out), as in torch.
        spans = [
            [(out * size // n, -(-(out + 1) * size // n)) for out in range(n)]
            for size, n in sizes
        ]
        divisors = [[end - start for start, end in axis] for axis in spans]
    else:
        module: Any = step.module or as_module(step).module
        kernels, strides, paddings = _geometry(module)
        spans, divisors = [], []
        axes = zip(sizes, kernels, strides, paddings, strict=True)
        for (size, n), kernel, stride, padding in axes:
            axis = pool_spans(size, n, kernel, stride, padding)
            end = size + 2 * padding
            padded = [min(kernel, end - out * stride) for out in range(n)]
            inside = [end - start for start, end in axis]
            spans.append(axis)
            divisors.append(padded if module.count_include_pad else inside)
        if (divisor := getattr(module, "divisor_override", None)) is not None:
            divisors = [[divisor] * sizes[0][1], [1] * sizes[1][1]]
    matrices = (
        span_matrix(size, axis, [1 / n for n in own])
        for (size, _), axis, own in zip(sizes, spans, divisors, strict=True)
    )
    return Window(*matrices)


def largest_window(step: Step) -> Window:
    """Read maximum pooling: what each spike that passes adds, by input position."""
    module: Any = step.module or as_module(step).module
    if pair(module.dilation) != (1, 1):
        raise UnsupportedModuleError(
            step.where, f"found {module}", "Supported is a dilation of 1."
        )
    axes = zip(step.input_shape[1:], step.shape[1:], *_geometry(module), strict=True)
    return gate_window(step.input_shape[1:], [pool_spans(*axis) for axis in axes])


def upsampling_window(step: Step) -> Window:
    """Read interpolation of any kind, as torch computes it along each axis."""
    module: Any = step.module or as_module(step).module
    sizes = [*zip(step.input_shape[1:], step.shape[1:], strict=True)]
    if module.mode == "nearest":
        return Window(*(nearest(*axis) for axis in sizes))
    scale = module.scale_factor
    scales = scale if isinstance(scale, tuple | list) else (scale, scale)
    matrices = []
    for (size, n), factor in zip(sizes, scales, strict=True):
        each = torch.eye(size, dtype=torch.float64)[:, None, :, None]
        how: dict[str, Any] = {"mode": module.mode}
        how["align_corners"] = module.align_corners
        if factor is None or module.recompute_scale_factor:
            how["size"] = (n, 1)
        else:
            how["scale_factor"] = (factor, 1.0)
        matrices.append(F.interpolate(each, **how)[:, 0, :, 0].numpy().T)
    return Window(*matrices)


def in_two_dimensions(step: Step) -> Step:
    """Give what reads (channels, n) a height of 1."""
    if len(step.input_shape) != 2:
        return step
    (n_in, size), (n_out, n) = step.input_shape, step.shape
    step = replace(step, input_shape=(n_in, 1, size), shape=(n_out, 1, n))
    if step.kind not in ("Conv1d", "AvgPool2d", "MaxPool2d"):
        return step
    module: Any = copy.copy(step.module or as_module(step).module)
    for name, first in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
        value = getattr(module, name)
        if value not in (None, ()) and not isinstance(value, str):
            setattr(module, name, (first, pair(value)[0]))
    if hasattr(module, "dilation"):
        module.dilation = (1, pair(module.dilation)[0])
    if step.kind == "Conv1d":
        module.weight = nn.Parameter(module.weight[:, :, None], False)
        return replace(step, kind="Conv2d", module=module)
    return replace(step, module=module)


Array = npt.NDArray[np.float64]


def batch_norm(step: Step, channels: int, *, is_flat: bool) -> tuple[Array, Array]:
    """Read a trained BatchNorm as a factor and a shift for each channel."""
    norm: Any = step.module
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
    gain = 1 / np.sqrt(variance + norm.eps)
    weight = numbers(norm.weight, step.where, "weights")
    if weight is not None:
        gain = gain * weight
    offset = numbers(norm.bias, step.where, "biases")
    return gain, -mean * gain + (0 if offset is None else offset)


def constant_of(step: Step, what: str) -> Any:
    """Find the number, or the constants of channels, that a value is changed by."""
    given = [*step.args[:2], *(step.kwargs.get(key) for key in ("input", "other"))]
    constants = [value for value in given if isinstance(value, torch.Tensor)]
    if not constants:
        return float(next(one for one in given if isinstance(one, int | float)))
    if constants[0].numel() == 1 and constants[0].ndim <= 1:
        return float(numbers(constants[0], step.where, "constant").item())
    shape = step.input_shape
    # As torch broadcasts it: (channels, 1, 1), with or without the batch.
    axes = (1,) * (1 + len(shape) - constants[0].ndim) + tuple(constants[0].shape)
    if axes != (1, shape[0]) + (1,) * (len(shape) - 1):
        raise UnsupportedModuleError(
            step.where,
            f"{what} a constant of shape {tuple(constants[0].shape)}",
            "All that is computed has to come from the image, but for a number and a "
            "constant of each channel, of shape (channels, 1, 1).",
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
