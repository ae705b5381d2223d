"""
Receptive fields by reverse correlation
=======================================

Movies of white noise are shown to the first layer of the CNN for CIFAR-10. The mean
frame behind the spikes of a neuron, minus the mean of all frames, is proportional to
its kernel: the average finds what the neuron adds up, without a look at its weights.
It is the neuron in the middle of each channel. Outlined is what a permutation test
finds significant in all pixels and colours together.

Potentials are not reset between frames. With a floor at 0, as here, a neuron soon
forgets the frame before. Without a floor it would carry inhibition on for seconds, and
hardly spike: `preset="free-floor"` is for still images.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import convert, models, physiology
from cnn2snn_brian.plots import plot_receptive_field
from cnn2snn_brian.stimuli import white_noise

frame = 30 * ms  # how long a frame is shown
n_movies, n_frames = 40, 100
size = 9  # pixels; the kernels have 5
seed = 0  # of the Poisson spikes
shown = (7, 12, 13, 22, 25, 30)  # channels
figure_file = "receptive_fields.png"

shape = (3, size, size)
noise = {"contrast": 0.4, "kind": "gaussian", "color": True, "frame": frame}
movies = [white_noise(shape, n_frames, seed=k, **noise) for k in range(n_movies)]
frames = np.array([movie.frames for movie in movies])

cnn, _ = models.pretrained("cifar10_quick_adjusted")
snn = convert(cnn[:2], shape, calibration=frames[0], preset="paper")
with snn.compile(n_frames * frame) as simulator:
    result = simulator.run(movies, seed=seed, record=["conv1"])

middle = np.ravel_multi_index((range(32), size // 2, size // 2), (32, size, size))
fields = physiology.receptive_field(
    result, frames, "conv1", neurons=middle, frame=frame
)
kernels = physiology.effective_kernel(snn.layers, "conv1", middle)
table = fields.compare(kernels)
table["spikes"] = result.spike_counts["conv1"].sum(0).ravel()[middle]
print(table.round(3).to_string(index=False))
found = table[table.spikes > 1000]
r = found.correlation_inside
print(f"averages and kernels of {len(found)} neurons with more than 1000 spikes:")
print(f"r = {r.mean():.3f}, at least {r.min():.3f}")
print(f"significant outside of the kernel: {found.n_outside.sum()} pixels")

fig, axes = plt.subplots(2, len(shown), figsize=(13, 4.6), layout="constrained")
for (upper, lower), channel in zip(axes.T, shown, strict=True):
    title = f"channel {channel}, r = {table.correlation_inside[channel]:.2f}"
    plot_receptive_field(fields, channel, upper, title=title)
    kernel = kernels[channel].mean(0)
    limit = np.abs(kernel).max()
    lower.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
    lower.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("spike-triggered average")
axes[1, 0].set_ylabel("kernel")
fig.savefig(figure_file, dpi=120)
plt.show()
