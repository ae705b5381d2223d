"""Networks of torchvision: what converts, how well rates fit, and a large one."""

import math
import statistics
import time
from typing import Any

import numpy as np
import torch
from brian2 import ms
from torchvision import models

from benchmarks.measure import Table, processor_seconds
from benchmarks.memory import peak_mb
from benchmarks.networks import Options
from cnn2snn_brian import (
    InputError,
    SpikingNetwork,
    UnsupportedModuleError,
    adjust,
    convert,
)

__all__ = ["architectures", "imagenet_size"]

#: Names in torchvision; the last one is refused.
ARCHITECTURES = (
    "alexnet",
    "vgg11_bn",
    "resnet18",
    "resnet34",
    "squeezenet1_1",
    "googlenet",
    "densenet121",
    "mobilenet_v2",
)
N_STEPS, SIZE, N_IMAGES = 500, 64, 2


def _adjusted(name: str, n_classes: int = 10) -> torch.nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {}
    if name == "googlenet":
        options = {"aux_logits": False, "init_weights": True}
    return adjust(getattr(models, name)(num_classes=n_classes, **options).eval()).module


def _images(size: int, n: int) -> Any:
    return np.random.default_rng(0).random((n, 3, size, size)).astype(np.float32)


def _converted(cnn: torch.nn.Module, images: Any, **options: Any) -> SpikingNetwork:
    return convert(
        cnn,
        images.shape[1:],
        calibration=images,
        percentile=100,
        encoding="current",
        reset="subtract",
        v_min=-math.inf,
        v_init=0.5,
        propagation="instant",
        pooling="synapses",
        **options,
    )


def _correlations(snn: SpikingNetwork, images: Any) -> tuple[dict[str, float], float]:
    start = time.perf_counter()
    with snn.compile(N_STEPS * ms) as simulator:
        build = time.perf_counter() - start
        result = simulator.run(images, executor=1, progress=False)
    activations = snn.layers.activations(images.astype(float))
    return {
        name: float(
            np.corrcoef(
                result.spike_counts[name].ravel(),
                np.maximum(activations[name], 0).ravel(),
            )[0, 1]
        )
        for name in snn.layer_names[:-1]
    }, build


def architectures(options: Options) -> list[Table]:
    """
    Convert networks with random weights, and compare long runs with their activations.

    Parameters
    ----------
    options : Options
        Not used.

    Returns
    -------
    list of Table
        One.
    """
    table = Table(
        "architectures",
        f"torchvision, random weights, {SIZE} x {SIZE} images, T = {N_STEPS}",
    )
    for name in ARCHITECTURES:
        images = _images(SIZE, 8)
        try:
            snn = _converted(_adjusted(name), images)
        except UnsupportedModuleError as error:
            table.rows.append({"network": name, "refused": str(error).split(": ")[0]})
            continue
        found, build = _correlations(snn, images[:N_IMAGES])
        worst = min(found, key=lambda layer: found[layer])
        table.rows.append(
            {
                "network": name,
                "layers": len(snn.layers),
                "synapses": snn.layers.n_synapses,
                "build in s": build,
                "lowest correlation": found[worst],
                "of layer": worst,
            }
        )
    table.notes = [
        f"Correlation of spike counts and activations, {N_IMAGES} images of noise.",
        "Currents, subtraction, instant propagation, pooling in synapses.",
    ]
    return [table]


def imagenet_size(options: Options) -> list[Table]:
    """
    Build and run ResNet-18 for images of 224 x 224.

    Parameters
    ----------
    options : Options
        Not used.

    Returns
    -------
    list of Table
        Size, and the time of a step.
    """
    images = _images(224, 2)
    start = time.perf_counter()
    snn = _converted(_adjusted("resnet18", 1000), images)
    converted = time.perf_counter()
    with snn.compile(20 * ms) as simulator:
        built = time.perf_counter()
        peak = peak_mb(lambda: simulator.run(images[:1], executor=1, progress=False))
    explicit = _converted(_adjusted("resnet18", 1000), images, synapses="explicit")
    try:
        explicit.network()
        refused = "no"
    except InputError as error:
        refused = str(error)
    table = Table("imagenet_size", "ResNet-18, 3 x 224 x 224, random weights")
    table.rows = [
        {
            "neurons": sum(map(math.prod, snn.layers.shapes.values())),
            "synapses": snn.layers.n_synapses,
            "convert in s": converted - start,
            "build in s": built - converted,
            "program in MB": peak,
        }
    ]
    table.notes = [f"Explicit synapses: {refused}"]
    return [table, _imagenet_steps(options.repeats)]


def _imagenet_steps(repeats: int) -> Table:
    """Time the program's steps, and torch's forward pass, in processor time."""
    torch.manual_seed(0)
    cnn, images = models.resnet18().eval(), _images(224, 9)
    table = Table("imagenet_steps", "ResNet-18, 3 x 224 x 224, one core")
    for preset, n_steps in (("few-steps", 4), ("few-steps", 8), ("bursts", 2)):
        snn = convert(
            cnn,
            images.shape[1:],
            preset=preset,
            calibration=images,
            max_pooling="gate",
        )
        found = []
        with snn.compile(n_steps * ms) as simulator:
            for n in (1, len(images)) * repeats:
                found.append(
                    processor_seconds(
                        lambda n=n: simulator.run(
                            images[:n], executor=1, progress=False
                        )
                    )
                )
        pairs = zip(found[::2], found[1::2], strict=True)
        added = statistics.median(many - one for one, many in pairs)
        image = 1e3 * added / (len(images) - 1)
        row = {"network": f"{preset}, T = {n_steps}", "ms an image": image}
        table.rows.append(row | {"ms a step": image / n_steps})
    threads, seconds = torch.get_num_threads(), []
    torch.set_num_threads(1)
    with torch.no_grad():
        for image in torch.tensor(images):
            start = time.process_time()
            cnn(image[None])
            seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    torchs = {"network": "torch", "ms an image": 1e3 * statistics.median(seconds)}
    table.rows.append(torchs | {"ms a step": ""})
    table.notes = [
        "Processor time of a further image: 9 images without 1.",
        "Random weights and images; thresholds of the presets, not calibrated.",
    ]
    return table
