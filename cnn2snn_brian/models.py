"""The CNNs that come with the package, with trained weights."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from importlib.resources import as_file, files
from typing import Literal

import torch
from torch import nn

from cnn2snn_brian.checks import check_choice, check_known, check_whole
from cnn2snn_brian.cnn import ModelCard, adjust, load_weights

__all__ = [
    "ARCHITECTURES",
    "INPUT_SHAPES",
    "cifar10_quick",
    "create",
    "digits",
    "pretrained",
    "resnet20",
    "vgg",
]


def cifar10_quick(
    *,
    adjusted: bool = False,
    pooling: Literal["max", "average"] = "max",
    n_classes: int = 10,
) -> nn.Sequential:
    """
    Make the paper's CNN for CIFAR-10, of the shape of Caffe's *cifar10_quick* [1]_.

    Three convolutions (5x5, padding 2; 32, 32 and 64 channels), 2x2 pooling after the
    first two, and two linear layers, ``ip1`` (64) and ``ip2`` (the classes).

    Parameters
    ----------
    adjusted : bool
        False: LeakyReLU, biases and maximum pooling. True: the form that becomes the
        paper's SNN, with ReLU, no biases and average pooling (see `adjust`).
    pooling : {"max", "average"}
        Pooling of a CNN that is not adjusted. With averages it converts as it is, with
        ON and OFF cells (see `convert`).
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Sequential
        The untrained CNN, for images of shape (3, 32, 32) with pixels in [0, 1].

    Raises
    ------
    InputError
        If `pooling` is unknown.

    References
    ----------
    .. [1] Jia et al. (2014), Caffe: Convolutional Architecture for Fast Feature
       Embedding, doi:10.1145/2647868.2654889
    """
    check_choice("pooling", pooling, ("max", "average"))
    pool: Callable[[int], nn.Module] = nn.MaxPool2d
    if pooling == "average":
        pool = nn.AvgPool2d
    cnn = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, 5, padding=2),
            relu1=nn.LeakyReLU(),
            pool1=pool(2),
            conv2=nn.Conv2d(32, 32, 5, padding=2),
            relu2=nn.LeakyReLU(),
            pool2=pool(2),
            conv3=nn.Conv2d(32, 64, 5, padding=2),
            relu3=nn.LeakyReLU(),
            flatten=nn.Flatten(),
            ip1=nn.Linear(64 * 8 * 8, 64),
            relu4=nn.LeakyReLU(),
            ip2=nn.Linear(64, n_classes),
        )
    )
    if not adjusted:
        return cnn
    module = adjust(cnn).module
    assert isinstance(module, nn.Sequential)
    return module


def digits(*, n_classes: int = 10) -> nn.Sequential:
    """
    Make a small CNN for scikit-learn's 8x8 digits, in the adjusted form.

    Dropout in training makes it use many weak features instead of a few strong ones,
    and a sum over many spike trains is less noisy.

    Parameters
    ----------
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Sequential
        The untrained CNN, for images of shape (1, 8, 8) with pixels in [0, 1].
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1, bias=False),
            relu1=nn.ReLU(),
            pool1=nn.AvgPool2d(2),
            drop1=nn.Dropout(0.2),
            conv2=nn.Conv2d(16, 32, 3, padding=1, bias=False),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            drop2=nn.Dropout(0.3),
            ip1=nn.Linear(32 * 4 * 4, n_classes, bias=False),
        )
    )


class _Block(nn.Module):
    """Two convolutions and a shortcut around them: relu(branch(x) + shortcut(x))."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(n_in, n_out, 1, stride, bias=False),
                    bn=nn.BatchNorm2d(n_out),
                )
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: torch.Tensor = self.relu2(branch + self.shortcut(x))
        return result


def resnet20(*, n_classes: int = 10) -> nn.Sequential:
    """
    Make the residual net of 20 layers for CIFAR-10 [1]_.

    A convolution (3x3, 16 channels), three stages of three blocks (16, 32 and 64
    channels; the second and third stage halve the image), the mean over the image and
    a linear layer. A shortcut to another size is a 1x1 convolution.

    Parameters
    ----------
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Sequential
        The untrained CNN, for images of shape (3, 32, 32) with pixels in [0, 1].

    References
    ----------
    .. [1] He, Zhang, Ren and Sun (2016), Deep Residual Learning for Image Recognition,
       section 4.2, doi:10.1109/CVPR.2016.90
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 16, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(16),
        relu1=nn.ReLU(),
    )
    n_in = 16
    for stage, n_out in enumerate((16, 32, 64), start=1):
        for block in range(1, 4):
            stride = 2 if stage > 1 and block == 1 else 1
            parts[f"block{stage}_{block}"] = _Block(n_in, n_out, stride)
            n_in = n_out
    parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["linear"] = nn.Linear(64, n_classes)
    return nn.Sequential(parts)


def vgg(*, n_classes: int = 10) -> nn.Sequential:
    """
    Make a small net of the kind of VGG [1]_ for CIFAR-10, with BatchNorm.

    Six convolutions (3x3; 32, 32, 64, 64, 128 and 128 channels), 2x2 average pooling
    after each second one, and two linear layers (128 and the classes).

    Parameters
    ----------
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Sequential
        The untrained CNN, for images of shape (3, 32, 32) with pixels in [0, 1].

    References
    ----------
    .. [1] Simonyan and Zisserman (2015), Very Deep Convolutional Networks for
       Large-Scale Image Recognition, doi:10.48550/arXiv.1409.1556
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    n_in = 3
    for index, n_out in enumerate((32, 32, 64, 64, 128, 128), start=1):
        parts[f"conv{index}"] = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        parts[f"bn{index}"] = nn.BatchNorm2d(n_out)
        parts[f"relu{index}"] = nn.ReLU()
        if index % 2 == 0:
            parts[f"pool{index // 2}"] = nn.AvgPool2d(2)
        n_in = n_out
    parts["flatten"] = nn.Flatten()
    parts["drop"] = nn.Dropout(0.3)
    parts["linear1"] = nn.Linear(128 * 4 * 4, 128)
    parts["relu7"] = nn.ReLU()
    parts["linear2"] = nn.Linear(128, n_classes)
    return nn.Sequential(parts)


#: Name of a CNN, as the command line and model cards say it -> how to make it.
ARCHITECTURES: dict[str, Callable[..., nn.Sequential]] = {
    "cifar10_quick": cifar10_quick,
    "cifar10_quick_adjusted": partial(cifar10_quick, adjusted=True),
    "cifar10_quick_average": partial(cifar10_quick, pooling="average"),
    "digits": digits,
    "resnet20": resnet20,
    "vgg": vgg,
}

#: Name of a CNN -> shape of its images, (channels, height, width).
INPUT_SHAPES = {**dict.fromkeys(ARCHITECTURES, (3, 32, 32)), "digits": (1, 8, 8)}


def create(architecture: str, n_classes: int = 10) -> nn.Sequential:
    """
    Make an untrained CNN by its name.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Sequential
        The CNN.

    Raises
    ------
    InputError
        If no CNN has that name, or the number of outputs is below 1.
    """
    check_known("CNN", [architecture], ARCHITECTURES)
    check_whole("n_classes", n_classes, 1)
    return ARCHITECTURES[architecture](n_classes=n_classes)


def pretrained(architecture: str) -> tuple[nn.Sequential, ModelCard]:
    """
    Load a CNN with the trained weights that ship with the package.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.

    Returns
    -------
    module : nn.Sequential
        The trained CNN, in evaluation mode.
    card : ModelCard
        Where its weights come from, and its accuracy.

    Raises
    ------
    InputError
        If no CNN has that name.

    Examples
    --------
    >>> cnn, card = pretrained("digits")
    >>> card.data
    'digits'
    """
    module = create(architecture)
    with as_file(files("cnn2snn_brian") / "pretrained") as folder:
        card = load_weights(module, folder / f"{architecture}.safetensors")
    module.eval()
    return module, card
