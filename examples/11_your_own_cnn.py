"""
Your own CNN
============

A small CNN, written with functional calls, learns scikit-learn's 8x8 digits for a few
epochs. It is converted and simulated in Brian2's runtime mode, without compiling a
program: its groups are found by name, and monitors are added as in any other network.
The figure has the membrane potential of three neurons of the first convolution.

The method is that of Shang, Li and You, *An SNN Construction Method Based on CNN
Conversion and Threshold Setting*.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch.nn.functional as F
from brian2 import SpikeMonitor, StateMonitor, ms, prefs, seed
from torch import nn

from cnn2snn_brian import convert
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.train import TrainingSettings, accuracy, train

duration = 100 * ms  # how long the digit is shown
digit = 7  # index of the test digit
channel, y, x = [0, 1, 2], 3, 3  # the neurons of conv1 whose potential is drawn
training_settings = TrainingSettings(epochs=15, learning_rate=0.1)
figure_file = "potentials.png"

# For one image, numpy is quicker than compiling every step with Cython.
prefs.codegen.target = "numpy"
seed(0)  # of the Poisson spikes in runtime mode


class SmallCNN(nn.Module):
    """One convolution, average pooling, one linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, bias=False)
        self.out = nn.Linear(8 * 3 * 3, 10, bias=False)

    def forward(self, images):
        hidden = F.avg_pool2d(F.relu(self.conv(images)), 2)
        return self.out(hidden.flatten(1))


training, test = load_digits()
cnn = train(SmallCNN(), training, training_settings)
print(f"CNN: {accuracy(cnn, test):.1%} of {len(test)} test digits")
snn = convert(cnn, test.input_shape, calibration=training.images)
print(snn)

network = snn.network(test.images[digit])
# Neurons of a group are ordered (y, x, channel).
_, height, width = snn.layers["conv1"].shape
neurons = [(y * width + x) * 8 + c for c in channel]
potential = StateMonitor(network["conv1"], "v", record=neurons)
output = SpikeMonitor(network["ip1"])
network.add(potential, output)
network.run(duration)
print(f"digit {test.labels[digit]}, output spikes {np.array(output.count)}")

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for c, trace in zip(channel, potential.v, strict=True):
    ax.step(potential.t / ms, trace, where="post", label=f"channel {c}")
ax.axhline(snn.thresholds["conv1"], color="k", ls="--", label="threshold")
ax.set(xlabel="time (ms)", ylabel="v", title=f"conv1 at y = {y}, x = {x}")
ax.legend()
fig.savefig(figure_file, dpi=120)
plt.show()
