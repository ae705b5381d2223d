"""
Receptive fields by reverse correlation
=======================================

White noise is shown to the first layer of the CNN for CIFAR-10. The mean image behind
the spikes of a neuron, minus the mean image, is proportional to its kernel: the average
finds what the neuron adds up, without a look at its weights. Outlined is what a
permutation test finds significant in all pixels and colours together.

It is the neuron in the middle of each channel. Frames are still images here, each for
50 ms; a neuron with few spikes needs more of them.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import convert, models, physiology
from cnn2snn_brian.plots import plot_receptive_field

duration = 50 * ms  # how long a frame is shown
n_frames = 4000
size = 9  # pixels; the kernels have 5
seed = 0  # of the noise and of the Poisson spikes
shown = (7, 12, 13, 22, 25, 30)  # channels
figure_file = "receptive_fields.png"

rng = np.random.default_rng(seed)
noise = np.clip(rng.normal(0.5, 0.2, (n_frames, 3, size, size)), 0, 1)

cnn, _ = models.pretrained("cifar10_quick_adjusted")
conv1 = cnn[:2]
snn = convert(conv1, noise.shape[1:], calibration=noise, preset="free-floor")
with snn.compile(duration) as simulator:
    result = simulator.run(noise, seed=seed)

middle = np.ravel_multi_index((range(32), size // 2, size // 2), (32, size, size))
fields = physiology.receptive_field(result, noise, "conv1", neurons=middle)
kernels = physiology.effective_kernel(snn.layers, "conv1", middle)
table = fields.compare(kernels)
table["spikes"] = (
    physiology.counts(result, "conv1")[..., middle].sum((0, 1)).astype(int)
)
print(table.round(3).to_string(index=False))
found = table[table.spikes > 1000]
r = found.correlation_inside
print(f"averages and kernels of {len(found)} neurons with more than 1000 spikes:")
print(f"r = {r.mean():.3f}, at least {r.min():.3f}")
print(f"significant outside of the kernel: {found.n_outside.sum()} pixels")

fig, axes = plt.subplots(2, len(shown), figsize=(13, 4.6), layout="constrained")
for pair, channel in zip(axes.T, shown, strict=True):
    r = table.correlation_inside[channel]
    title = f"channel {channel}, r = {r:.2f}"
    plot_receptive_field(fields, channel, pair[0], title=title)
    kernel = kernels[channel].mean(0)
    limit = np.abs(kernel).max()
    pair[1].imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
    pair[1].set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("spike-triggered average")
axes[1, 0].set_ylabel("kernel")
fig.savefig(figure_file, dpi=120)
plt.show()
