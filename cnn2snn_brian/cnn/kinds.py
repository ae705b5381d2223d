"""What the parts of a CNN are called in PyTorch: as modules, functions and methods."""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift

__all__ = ["CASTS", "FUNCTIONS", "SUPPORTED", "advice", "module_kind"]

SUPPORTED = (
    "Supported are Conv2d, Linear, AvgPool2d, AdaptiveAvgPool2d, ReLU, Flatten, "
    "ReLU6, BatchNorm, Dropout, Identity, sums and concatenations over channels."
)

#: What to do about the things that users have most often.
_ADVICE = {
    **dict.fromkeys(
        ("GroupNorm", "group_norm", "LayerNorm", "layer_norm", "InstanceNorm")
        + ("instance_norm", "LocalResponseNorm", "local_response_norm"),
        "Its statistics are computed anew from each image: use BatchNorm and train "
        "again.",
    ),
    **dict.fromkeys(
        ("split", "chunk", "getitem", "unbind"),
        "A part of the channels can't be taken: read all of them by a convolution of "
        "size 1 whose other weights are 0.",
    ),
    "LeakyReLU": "A firing rate is never negative: use ReLU (cnn2snn_brian.adjust "
    "replaces it) and train again.",
    "Softmax": "Leave it out: the class with the most output spikes is the same.",
    "LogSoftmax": "Leave it out: the class with the most output spikes is the same.",
    "softmax": "Leave it out: the class with the most output spikes is the same.",
    "log_softmax": "Leave it out: the class with the most output spikes is the same.",
}


#: Methods that change how numbers are stored. Weights are read in float64.
CASTS = ("float", "double", "half", "bfloat16", "to", "type_as", "cpu", "cuda")

#: Functions and tensor methods that stand for a module.
FUNCTIONS: dict[Any, str] = {
    F.relu: "ReLU",
    F.relu_: "ReLU",
    torch.relu: "ReLU",
    torch.relu_: "ReLU",
    "relu": "ReLU",
    "relu_": "ReLU",
    F.relu6: "ReLU6",
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    "add_": "add",
    torch.cat: "cat",
    torch.concat: "cat",
    F.conv2d: "Conv2d",
    F.linear: "Linear",
    F.batch_norm: "BatchNorm",
    operator.mul: "mul",
    operator.imul: "mul",
    torch.mul: "mul",
    "mul": "mul",
    "mul_": "mul",
    **dict.fromkeys((torch.clamp, torch.clip, "clamp", "clamp_", "clip"), "clamp"),
    **dict.fromkeys((torch.clamp_min, "clamp_min", "clamp_min_"), "clamp"),
    F.avg_pool2d: "AvgPool2d",
    F.adaptive_avg_pool2d: "AdaptiveAvgPool2d",
    F.max_pool2d: "MaxPool2d",
    torch.max_pool2d: "MaxPool2d",
    F.dropout: "Dropout",
    F.dropout2d: "Dropout",
    torch.flatten: "Flatten",
    "flatten": "Flatten",
    "view": "reshape",
    "reshape": "reshape",
    torch.reshape: "reshape",
    "contiguous": "Identity",
    **dict.fromkeys(CASTS, "Identity"),
    torch.mean: "mean",
    "mean": "mean",
}

_MODULES: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv2d",
    nn.Linear: "Linear",
    nn.AvgPool2d: "AvgPool2d",
    nn.AdaptiveAvgPool2d: "AdaptiveAvgPool2d",
    nn.MaxPool2d: "MaxPool2d",
    nn.ReLU: "ReLU",
    nn.ReLU6: "ReLU6",
    ClipFloorShift: "ReLU",  # one that saturates; `from_torch` notes where
    nn.Flatten: "Flatten",
    nn.Dropout: "Dropout",
    nn.Dropout2d: "Dropout",
    nn.Identity: "Identity",
    nn.BatchNorm1d: "BatchNorm",
    nn.BatchNorm2d: "BatchNorm",
    nn.SyncBatchNorm: "BatchNorm",
}


def module_kind(module: nn.Module) -> str | None:
    """
    Name the kind of layer that a module is.

    Parameters
    ----------
    module : nn.Module
        The module.

    Returns
    -------
    str or None
        The kind; None if there is none, or a subclass computes something else.
    """
    if "forward" in vars(module):
        return None
    for base in type(module).__mro__:
        if base in _MODULES:
            return _MODULES[base]
        if {"forward", "_conv_forward"} & vars(base).keys():
            return None
    return None


def advice(name: str) -> str:
    """
    Say what to do about something that is not supported.

    Parameters
    ----------
    name : str
        Name of the class or function.

    Returns
    -------
    str
        One sentence or two.
    """
    known = (text for part, text in _ADVICE.items() if part in name)
    return f"{next(known, '')} {SUPPORTED}".strip()
