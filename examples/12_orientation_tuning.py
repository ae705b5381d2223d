"""
Orientation tuning
==================

Many neurons of the first layer of a CNN for natural images prefer edges of one
orientation. Here they see gratings of all orientations, as neurons of visual cortex
do, and their tuning curves are compared with those that the kernels predict: the mean
of the rectified input. It is the neuron in the middle of each channel, and bars are
over phases and spatial frequencies.

That the two agree is a test of the simulation, and no finding about the CNN.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import convert, models, physiology
from cnn2snn_brian.plots import plot_tuning

duration = 200 * ms  # how long a grating is shown
size = 15  # pixels; the kernels have 5
orientations = np.arange(0, 180, 15)  # degrees
frequencies = (1 / 8, 1 / 5)  # cycles a pixel
phases = np.arange(0, 2 * np.pi, np.pi / 4)
seed = 0  # of the Poisson spikes
figure_file = "orientation_tuning.png"

angles, f, phase = (a.ravel() for a in np.meshgrid(orientations, frequencies, phases))
y, x = np.mgrid[:size, :size] - size // 2
sine, cosine = np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))
across = x * sine[:, None, None] + y * cosine[:, None, None]
waves = np.cos(2 * np.pi * f[:, None, None] * across + phase[:, None, None])
images = np.repeat(0.5 + 0.5 * waves[:, None], 3, axis=1)  # grey

cnn, _ = models.pretrained("cifar10_quick_adjusted")
conv1 = cnn[:2]
snn = convert(conv1, (3, size, size), calibration=images, preset="free-floor")
with snn.compile(duration) as simulator:
    result = simulator.run(images, seed=seed)
middle = np.ravel_multi_index((range(32), size // 2, size // 2), (32, size, size))
found = physiology.tuning(physiology.counts(result, "conv1")[..., middle], angles)
drive = np.maximum(snn.layers.activations(images)["conv1"], 0)
drive = drive.reshape(len(images), 1, -1)[..., middle]
expected = physiology.tuning(drive, angles)

tuned = (expected.circular_variance < 0.8) & (found.mean.max(0) > 0)
pairs = zip(found.mean.T[tuned], expected.mean.T[tuned], strict=True)
r = [np.corrcoef(pair)[0, 1] for pair in pairs]
apart = (found.preferred - expected.preferred + 90) % 180 - 90
print(found.frame()[tuned].round(2).to_string(index=False))
print(f"tuning curves and kernels: r = {np.mean(r):.3f}, at least {min(r):.3f}")
print(f"preferred orientations: {np.abs(apart[tuned]).mean():.1f} degrees apart")

fig, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
shown = np.argsort(-np.ptp(found.mean, axis=0))[:4]
plot_tuning(found, axes[0], neurons=shown)
axes[0].set_title("the channels that orientation changes most")
axes[1].scatter(expected.preferred[tuned], found.preferred[tuned], s=20)
axes[1].set(xlabel="preferred orientation, by the kernel", ylabel="by spikes")
axes[2].scatter(expected.circular_variance, found.circular_variance, s=20)
axes[2].set(xlabel="circular variance, by the kernel", ylabel="by spikes")
for ax in axes[1:]:
    ax.axline((0, 0), slope=1, color="0.6", lw=1, zorder=0)
fig.savefig(figure_file, dpi=120)
plt.show()
