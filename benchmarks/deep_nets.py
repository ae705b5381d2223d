"""What is left of a CNN's accuracy in few steps, by neurons and calibration."""

import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from brian2 import ms

from benchmarks.measure import Table
from benchmarks.memory import own_peak_mb, peak_mb
from benchmarks.networks import Options
from cnn2snn_brian import (
    BurstIF,
    SpikingNetwork,
    calibrate,
    convert,
    data,
    models,
    train,
)

__all__ = ["deep_nets", "imagenet_nets"]

NETS = "resnet20", "vgg", "cifar10_quick_adjusted"
#: Neurons, whether they are calibrated, and the numbers of steps that are shown.
ROWS: dict[str, tuple[dict[str, Any], bool, tuple[int, ...]]] = {
    "IF, percentile 99": ({"preset": "few-steps"}, False, (4, 8, 16)),
    "IF": ({"preset": "few-steps"}, True, (4, 8, 12, 16, 32)),
    "BurstIF(4)": ({"preset": "bursts", "neurons": BurstIF(4)}, True, (2, 4)),
    "BurstIF(8)": ({"preset": "bursts"}, True, (2, 3, 4)),
    "BurstIF(4), signed": (
        {"preset": "bursts", "neurons": BurstIF(4, signed=True)},
        True,
        (2, 4),
    ),
}
#: Training images of a class that thresholds come from.
PER_CLASS = 20
#: torchvision's nets whose calibration is timed, with random weights.
IMAGENET = "resnet18", "vgg16"


def deep_nets(options: Options) -> list[Table]:
    """
    Measure the accuracy of the shipped CNNs' networks by the number of steps.

    Parameters
    ----------
    options : Options
        The data, and the number of test images.

    Returns
    -------
    list of Table
        One, without rows if there are no data: accuracies need labels.
    """
    table = Table("deep_nets", "Shares of the CNN's accuracy, by steps")
    if options.data is None:
        table.notes.append("Left out: accuracies need labelled images, see --data.")
        return [table]
    for name in NETS:
        cnn, card = models.pretrained(name)
        given = (options.data, card.input_shape)
        training = data.load_training_images(*given, classes=card.classes)
        test = data.load_test_images(*given, classes=card.classes)
        test = test[np.random.default_rng(0).permutation(len(test))[: options.n_test]]
        images = training.per_class(PER_CLASS, seed=0).images
        right = train.accuracy(cnn, test)
        for what, (arguments, is_calibrated, steps) in ROWS.items():
            snn = convert(cnn, card.input_shape, calibration=images, **arguments)
            for n_steps in steps:
                found: dict[str, Any] = {}
                start = time.perf_counter()
                if is_calibrated:
                    duration = n_steps * ms
                    fit = calibrate(snn, images, duration=duration, progress=False)
                    # Also where it agrees less with the CNN on these few images.
                    found = vars(fit.found)
                seconds = time.perf_counter() - start
                with snn.compile(n_steps * ms) as simulator:
                    result = simulator.run(test.images, progress=False, **found)
                sums = result.spike_counts
                spikes = sum(sums.raw(layer).sum(dtype=float) for layer in sums)
                table.rows.append(
                    {
                        "net": name,
                        "neurons": what,
                        "T": n_steps,
                        "share": f"{result.accuracy(test.labels) / right:.1%}",
                        "spikes an image": round(spikes / len(test)),
                        "additions an image": round(result.n_events / len(test)),
                        "calibrated in s": round(seconds, 1),
                    }
                )
        table.notes.append(f"{name} has {right:.2%} of {len(test)} test images.")
    table.notes.append(
        f"Thresholds come from {len(images)} training images. Spikes decide, equal "
        "numbers by potential. Corrections are not among the spikes."
    )
    return [table]


def imagenet_nets(options: Options) -> list[Table]:
    """
    Time all stages of nets of ImageNet's size in bursts, and measure their memory.

    Parameters
    ----------
    options : Options
        Not used: 10 images calibrate, and 4 are shown.

    Returns
    -------
    list of Table
        One.
    """
    table = Table("imagenet_nets", "Nets of 224 x 224 in bursts, T = 4")
    for name in IMAGENET:
        # A process of its own: what others leave counts as its memory.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            table.rows.append(child.submit(_in_bursts, name).result())
    table.notes.append(
        "torchvision's, random weights and images: 10 images calibrate, 4 are shown. "
        "Memory is the largest in a stage, of Python (with torch and the CNN) and of "
        "the program. Needs Linux and psutil."
    )
    return [table]


def _in_bursts(name: str) -> dict[str, Any]:
    import torch
    from torchvision import models as torchvision

    torch.manual_seed(0)
    images = np.random.default_rng(0).random((10, 3, 224, 224), np.float32)
    seconds: list[float] = [time.perf_counter()]
    row: dict[str, Any] = {"net": name}

    def lap(stage: str, n: int = 1) -> None:
        seconds.append(time.perf_counter())
        row[f"{stage} in s"] = round((seconds[-1] - seconds[-2]) / n, 2)
        row[f"{stage}: GB"] = round(own_peak_mb() / 1e3, 2)

    cnn = getattr(torchvision, name)().eval()
    snn: SpikingNetwork = convert(
        cnn, (3, 224, 224), preset="bursts", calibration=images, max_pooling="gate"
    )
    row["neurons"] = sum(map(math.prod, snn.layer_shapes.values()))
    lap("read")
    found = calibrate(snn, images, duration=4 * ms, progress=False)
    lap("calibrated")
    with snn.compile(4 * ms) as simulator:
        lap("compiled")
        run = partial(simulator.run, images[:4], progress=False, **found.arguments)
        program = peak_mb(run)
        lap("an image", 4)
    return row | {"program: GB": round(program / 1e3, 2)}
