"""CNNs, images and settings that are measured."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from cnn2snn_brian import InputError, SpikingNetwork, convert, data, models

__all__ = [
    "AVX2",
    "FEW_STEPS",
    "NATIVE",
    "PAPER",
    "Options",
    "Settings",
    "Workload",
    "paper_workload",
    "vgg_workload",
    "wide_workload",
]

#: Compiler flags: the processor at hand, and one without AVX-512.
NATIVE, AVX2 = "-march=native", "-mavx2"

#: Images that thresholds are computed from.
N_CALIBRATION = 50


@dataclass(frozen=True)
class Settings:
    """
    How spikes are made: the dynamics that all simulators get.

    Attributes
    ----------
    n_steps : int
        Steps of an image.
    encoding, reset, v_init, v_min
        As in `cnn2snn_brian.convert`.
    preset : str, optional
        Preset of our network, in place of the other settings.
    normalization : str
        How another simulator scales activations, a key of its `NORMALIZATIONS`.
    processor : str
        Compiler flag of our programs that says what the processor can do.
    """

    n_steps: int = 100
    encoding: Literal["poisson", "current"] = "poisson"
    reset: Literal["zero", "subtract"] = "zero"
    v_init: float = 0.0
    v_min: float = 0.0
    preset: str | None = None
    normalization: str = ""
    processor: str = NATIVE


PAPER = Settings()
FEW_STEPS = Settings(24, "current", "subtract", v_init=0.5, v_min=-math.inf)


@dataclass(frozen=True)
class Options:
    """
    What the command line asks for.

    Attributes
    ----------
    repeats : int
        Number of rounds.
    n_images : int
        Number of images of a measurement.
    data : Path, optional
        A folder of class folders. Random images without it.
    n_test : int
        Number of test images that an accuracy is of, at most.
    out : Path, optional
        Folder of results.
    """

    repeats: int = 5
    n_images: int = 50
    data: Path | None = None
    n_test: int = 5000
    out: Path | None = None


@dataclass(frozen=True)
class Workload:
    """
    A CNN and what it is shown.

    Attributes
    ----------
    cnn : nn.Sequential
        The CNN, in the adjusted form.
    images, calibration : ndarray of float32, shape (n, channels, height, width)
        What is simulated, and what thresholds come from.
    notes : tuple of str
        Where weights and images come from.
    """

    cnn: nn.Sequential
    images: Any
    calibration: Any
    notes: tuple[str, ...] = ()

    def convert(
        self,
        settings: Settings,
        synapses: Literal["shared", "explicit"] = "shared",
    ) -> SpikingNetwork:
        """
        Make the spiking network, with thresholds from the calibration images.

        Parameters
        ----------
        settings : Settings
            The dynamics.
        synapses : {"shared", "explicit"}
            See `cnn2snn_brian.convert`.

        Returns
        -------
        SpikingNetwork
            The network.
        """
        shape = self.images.shape[1:]
        if settings.preset is not None:
            return convert(
                self.cnn, shape, calibration=self.calibration, preset=settings.preset
            )
        return convert(
            self.cnn,
            shape,
            calibration=self.calibration,
            encoding=settings.encoding,
            reset=settings.reset,
            v_init=settings.v_init,
            v_min=settings.v_min,
            synapses=synapses,
        )


def _scaled(images: torch.Tensor, size: int) -> torch.Tensor:
    return nn.functional.interpolate(
        images, (size, size), mode="bilinear", align_corners=False
    )


def _random_images(n: int, size: int, seed: int) -> torch.Tensor:
    """Draw coarse noise and smooth it: no pixel-wise noise, which no camera sees."""
    generator = torch.Generator().manual_seed(seed)
    return _scaled(torch.rand((n, 3, 8, 8), generator=generator), size)


@cache
def _photos(directory: Path, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw photos to show, and others for thresholds, always the same ones."""
    whole = data.is_split(directory)
    photos = data.load_test_images(directory, (3, 32, 32), whole=whole).images
    order = np.random.default_rng(seed=0).permutation(len(photos))
    # If there are too few, some are taken several times.
    chosen = photos[np.resize(order, n + N_CALIBRATION)]
    pixels = torch.from_numpy(chosen).float() / 255
    return pixels[n:], pixels[:n]


def _images(options: Options, size: int = 32) -> tuple[Any, Any, str]:
    n = options.n_images
    if options.data is None:
        test = _random_images(n, size, seed=1)
        training = _random_images(N_CALIBRATION, size, seed=2)
        note = "Images: smoothed noise, no photos."
    else:
        training, test = _photos(options.data, n)
        if size != 32:
            training, test = _scaled(training, size), _scaled(test, size)
        note = f"Images: {n} of the test photos given with --data."
    return test.clamp(0, 1).numpy(), training.clamp(0, 1).numpy(), note


def paper_workload(options: Options) -> Workload:
    """
    Make the paper's CNN for CIFAR-10, with trained weights if they ship.

    Parameters
    ----------
    options : Options
        Number and source of the images.

    Returns
    -------
    Workload
        The CNN and its images.
    """
    try:
        cnn, _ = models.pretrained("cifar10_quick_adjusted")
        weights = "Weights: trained, from the package."
    except InputError:
        torch.manual_seed(0)
        cnn = models.cifar10_quick(adjusted=True).eval()
        weights = "Weights: UNTRAINED (seed 0), as no trained ones ship."
    test, training, note = _images(options)
    return Workload(cnn, test, training, (weights, note))


def wide_workload(options: Options, width: float, size: int) -> Workload:
    """
    Make the paper's CNN with other numbers of channels or another image size.

    Parameters
    ----------
    options : Options
        Number and source of the images.
    width : float
        Factor of the channels of all layers but the last.
    size : int
        Height and width of an image, a multiple of 4.

    Returns
    -------
    Workload
        The CNN, untrained, and its images.
    """
    torch.manual_seed(0)
    a, b = round(32 * width), round(64 * width)
    cnn = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, a, 5, padding=2, bias=False),
            relu1=nn.ReLU(),
            pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(a, a, 5, padding=2, bias=False),
            relu2=nn.ReLU(),
            pool2=nn.AvgPool2d(2),
            conv3=nn.Conv2d(a, b, 5, padding=2, bias=False),
            relu3=nn.ReLU(),
            flatten=nn.Flatten(),
            ip1=nn.Linear(b * (size // 4) ** 2, b, bias=False),
            relu4=nn.ReLU(),
            ip2=nn.Linear(b, 10, bias=False),
        )
    ).eval()
    test, training, note = _images(options, size)
    return Workload(cnn, test, training, ("Weights: untrained.", note))


def vgg_workload(options: Options) -> Workload:
    """
    Make a CNN like VGG, with about ten times the neurons of the paper's.

    Parameters
    ----------
    options : Options
        Number and source of the images.

    Returns
    -------
    Workload
        The CNN, untrained, and its images.
    """
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    before = 3
    for channels in (128, 256, 512):
        for _ in range(2):
            modules += [
                nn.Conv2d(before, channels, 3, padding=1, bias=False),
                nn.ReLU(),
            ]
            before = channels
        modules.append(nn.AvgPool2d(2))
    modules += [nn.Flatten(), nn.Linear(512 * 4 * 4, 10, bias=False)]
    test, training, note = _images(options)
    return Workload(
        nn.Sequential(*modules).eval(),
        test,
        training[:10],
        ("Weights: untrained.", note),
    )
