"""The CNNs that come with the package, with trained weights."""

from collections import OrderedDict
from importlib.resources import as_file, files

from torch import nn

from cnn2snn_brian.cnn.adjust import adjust
from cnn2snn_brian.cnn.weights import ModelCard, load_weights
from cnn2snn_brian.errors import InputError

__all__ = [
    "ARCHITECTURES",
    "INPUT_SHAPES",
    "cifar10_quick",
    "create",
    "digits",
    "pretrained",
]


def cifar10_quick(*, adjusted: bool = False, n_classes: int = 10) -> nn.Sequential:
    """
    Make the paper's CNN for CIFAR-10, of the shape of Caffe's *cifar10_quick* [1]_.

    Three convolutions (5x5, padding 2; 32, 32 and 64 channels), 2x2 pooling after the
    first two, and two linear layers, ``ip1`` (64) and ``ip2`` (the classes).

    Parameters
    ----------
    adjusted : bool
        False: LeakyReLU, biases and maximum pooling. True: the form that becomes an
        SNN, with ReLU, no biases and average pooling (see `adjust`).
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Sequential
        The untrained CNN, for images of shape (3, 32, 32) with pixels in [0, 1].

    References
    ----------
    .. [1] Jia et al. (2014), Caffe: Convolutional Architecture for Fast Feature
       Embedding, doi:10.1145/2647868.2654889
    """
    cnn = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, 5, padding=2),
            relu1=nn.LeakyReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 32, 5, padding=2),
            relu2=nn.LeakyReLU(),
            pool2=nn.MaxPool2d(2),
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


def _cifar10_quick_adjusted(*, n_classes: int = 10) -> nn.Sequential:
    return cifar10_quick(adjusted=True, n_classes=n_classes)


#: Name of a CNN, as the command line and model cards say it -> how to make it.
ARCHITECTURES = {
    "cifar10_quick": cifar10_quick,
    "cifar10_quick_adjusted": _cifar10_quick_adjusted,
    "digits": digits,
}

#: Name of a CNN -> shape of its images, (channels, height, width).
INPUT_SHAPES = {
    "cifar10_quick": (3, 32, 32),
    "cifar10_quick_adjusted": (3, 32, 32),
    "digits": (1, 8, 8),
}


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
        If there is no CNN of that name, or the number of outputs is below 1.
    """
    if architecture not in ARCHITECTURES:
        message = (
            f"there is no CNN named {architecture!r}; "
            f"known are {', '.join(sorted(ARCHITECTURES))}"
        )
        raise InputError(message)
    if n_classes < 1:
        message = f"n_classes is {n_classes}, expected at least 1"
        raise InputError(message)
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
        If there is no CNN of that name.

    Examples
    --------
    >>> cnn, card = pretrained("digits")
    >>> card.data
    'digits'
    """
    module = create(architecture)
    folder = files("cnn2snn_brian") / "pretrained"
    if not (folder / f"{architecture}.safetensors").is_file():
        message = f"no trained weights of {architecture!r} ship with the package"
        raise InputError(message)
    with as_file(folder) as directory:
        card = load_weights(module, directory / f"{architecture}.safetensors")
    module.eval()
    return module, card
