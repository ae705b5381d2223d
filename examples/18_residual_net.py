"""
A residual net, layer by layer
==============================

Two residual blocks, one of them with a stride, learn scikit-learn's 8x8 digits. A
shortcut is synapses of its own: a layer behind a sum reads two layers. The figure has
the spike counts of each layer beside the CNN's activations: a line for each channel,
since each has a threshold of its own. `diagnose` says how much of the CNN arrives on
each branch.

Shortcuts are those of He, Zhang, Ren and Sun (2016), Deep Residual Learning for Image
Recognition, doi:10.1109/CVPR.2016.90.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch.nn.functional as F
from brian2 import ms
from torch import nn

from cnn2snn_brian import convert, diagnose
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.train import TrainingSettings, accuracy, train

duration = 24 * ms
training_settings = TrainingSettings(epochs=8, learning_rate=0.1)
figure_file = "residual-net.png"


class Block(nn.Module):
    """Two convolutions, and a shortcut around them."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.short = nn.Conv2d(n_in, n_out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        branch = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(branch + self.short(x))


training, test = load_digits()
cnn = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), Block(8, 8, 1), Block(8, 16, 2)
)
cnn.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)])
train(cnn, training, training_settings)
calibration = training.images[:300]
snn = convert(cnn, (1, 8, 8), calibration=calibration, preset="few-steps")
print(snn.layers)

with snn.compile(duration) as simulator:
    result = simulator.run(test.images)
found = diagnose(result, snn.layers, test.images)
print(found)
print(f"CNN: {accuracy(cnn, test):.1%}, SNN: {result.accuracy(test.labels):.1%}")

activations = snn.layers.collected_activations(test.images / np.float32(255))
fig, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
for ax, name in zip(axes.flat, snn.layer_names, strict=False):
    counts, values = result.spike_counts[name], np.maximum(activations[name], 0)
    ax.hexbin(values.ravel(), counts.ravel(), bins="log", gridsize=20, cmap="viridis")
    reads = ", ".join(snn.layers.sources(name))
    ax.set(xlabel="activation", ylabel="spikes", title=f"{name}, reads {reads}")
fig.savefig(figure_file, dpi=120)
plt.show()
