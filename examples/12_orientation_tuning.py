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

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import convert, models, physiology
from cnn2snn_brian.plots import plot_tuning
from cnn2snn_brian.stimuli import static_grating

duration = 200 * ms  # how long a grating is shown
shape = (3, 15, 15)  # of a grating; the kernels have 5 x 5 pixels
orientations = range(0, 180, 15)  # degrees
frequencies = (1 / 8, 1 / 5)  # cycles a pixel
phases = range(0, 360, 45)  # degrees
seed = 0  # of the Poisson spikes
figure_file = "orientation_tuning.png"

chosen = product(orientations, frequencies, phases)
gratings = [static_grating(shape, *values) for values in chosen]
angles = [grating.parameters["orientation"] for grating in gratings]
images = np.array([grating.image for grating in gratings])

cnn, _ = models.pretrained("cifar10_quick_adjusted")
conv1 = cnn[:2]
snn = convert(conv1, shape, calibration=images, preset="free-floor")
with snn.compile(duration) as simulator:
    result = simulator.run(gratings, seed=seed)
middle = np.ravel_multi_index((range(32), 7, 7), (32, 15, 15))
found = physiology.tuning(physiology.counts(result, "conv1")[..., middle], angles)
drive = np.maximum(snn.layers.activations(images)["conv1"], 0)[..., 7, 7]
expected = physiology.tuning(drive[:, None], angles)

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
