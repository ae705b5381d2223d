"""
The paper's CNN on CIFAR-10 images, against a plain torch loop of the same rules.

Needs a folder of class folders of 32x32 images in $CNN2SNN_BRIAN_CIFAR10, and
$CNN2SNN_BRIAN_CIFAR10_N says how many of them are simulated (8 by default).
"""

import os

import numpy as np
import pytest
import torch
from brian2 import ms
from scipy import stats
from torch import nn

from cnn2snn_brian import convert, models
from cnn2snn_brian.data import load_folder

pytestmark = [
    pytest.mark.standalone,
    pytest.mark.default_flags,
    pytest.mark.slow,
    pytest.mark.skipif(
        "CNN2SNN_BRIAN_CIFAR10" not in os.environ,
        reason="needs images, see the top of the file",
    ),
]

N_STEPS = 100


def torch_counts(module, pixels, thresholds, seed):
    """Spikes of each layer and image, (n_images,) by layer, v_min = 0, to 0."""
    generator = torch.Generator().manual_seed(seed)
    stages, flatten = [], []
    for child in module:
        if isinstance(child, nn.Flatten):
            flatten = [child]
        elif not isinstance(child, nn.ReLU):
            stages.append(nn.Sequential(*flatten, child))
            flatten = []
    v = spikes = None
    with torch.inference_mode():
        total = [torch.zeros(len(pixels)) for _ in range(len(stages) + 1)]
        for _ in range(N_STEPS):
            inputs = torch.rand(pixels.shape, generator=generator) < pixels
            if v is None:
                shapes, x = [], pixels
                for stage in stages:
                    x = stage(x)
                    shapes.append(x.shape)
                v = [torch.zeros(shape) for shape in shapes]
            spikes = [inputs.float()]
            for index, threshold in enumerate(thresholds):
                spike = v[index] >= threshold
                v[index][spike] = 0
                v[index].clamp_(min=0)
                spikes.append(spike.float())
            for index, stage in enumerate(stages):
                v[index] += stage(spikes[index])
            for index, spike in enumerate(spikes):
                total[index] += spike.flatten(1).sum(1)
    return [counts.numpy() for counts in total]


@pytest.mark.parametrize(
    ("synapses", "n_settings", "seeds"), [("shared", 3, (0, 1)), ("explicit", 1, (0,))]
)
def test_counts_equal_a_torch_loop_within_sampling_error(synapses, n_settings, seeds):
    n = int(os.environ.get("CNN2SNN_BRIAN_CIFAR10_N", "8"))
    images = load_folder(os.environ["CNN2SNN_BRIAN_CIFAR10"])
    images = images.per_class(-(-n // 10), seed=0)[:n]
    cnn, _ = models.pretrained("cifar10_quick_adjusted")
    snn = convert(cnn, (3, 32, 32), calibration=images.images, synapses=synapses)
    pixels = torch.from_numpy(images.images).float() / 255
    data_based = snn.thresholds
    settings = [
        data_based,
        {name: 1.1 * value for name, value in data_based.items()},
        {**data_based, "conv1": 1.5 * data_based["conv1"]},
    ]
    with snn.compile(N_STEPS * ms) as simulator:
        # Explicit synapses take ten times as long.
        for thresholds in settings[:n_settings]:
            for seed in seeds:
                result = simulator.run(
                    images.images, thresholds=thresholds, seed=seed, progress=False
                )
                expected = torch_counts(
                    cnn, pixels, list(thresholds.values()), seed=100 + seed
                )
                assert result.spike_counts["ip2"].any()
                for name, counts in zip(simulator.populations, expected, strict=True):
                    found = result.spike_counts[name].reshape(n, -1).sum(1)
                    difference = found - counts
                    # Images are pairs, each with noise of its own on both sides.
                    error = difference.std(ddof=1) / np.sqrt(n)
                    line = (
                        f"{name:6} seed {seed}: {found.mean():11,.1f} spikes, torch "
                        f"{counts.mean():11,.1f}, {difference.mean() / error:+.1f} "
                        "standard errors"
                    )
                    print(line)
                    # As unlikely as 5 sigma, for a deviation estimated from n values.
                    bound = stats.t.isf(stats.norm.sf(5), df=n - 1)
                    assert abs(difference.mean()) <= bound * error, line
