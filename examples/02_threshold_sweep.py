"""
Sweep a threshold
=================

The threshold of one layer is varied, while the others stay as they are: a low one lets
everything through, a high one nothing. On the left are the spikes of the right output
neuron, as in Fig. 3 of Shang, Li and You, *An SNN Construction Method Based on CNN
Conversion and Threshold Setting*; in the middle their share in all output spikes, which
the paper's algorithm makes as large as possible; on the right the accuracy.

For conv1 the spikes rise and fall as in the paper, for the later layers of this small
network they only fall. The share goes on rising where the accuracy falls: few spikes,
most of them right. So it matters what thresholds are set by. All runs see the same
input spikes, and nothing is compiled again.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_threshold_sweep

duration = 100 * ms  # how long a digit is shown
n_per_class = 10  # training digits of each class
layers = ("conv1", "pool1", "conv2")  # whose thresholds are swept, one at a time
factors = np.geomspace(1 / 16, 16, 13)  # of the threshold that `convert` chose
seed = 0  # of the choice of digits and of the Poisson spikes
figure_file = "threshold_sweep.png"

training, _ = load_digits()
digits = training.per_class(n_per_class, seed)
cnn, _ = models.pretrained("digits")
snn = convert(cnn, digits.input_shape, calibration=training.images)

tried = {layer: snn.thresholds[layer] * factors for layer in layers}
settings = [{"thresholds": {name: th}} for name in layers for th in tried[name]]
measured = np.zeros((3, len(settings)))
with snn.compile(duration) as simulator:
    for k, result in simulator.run_many(digits.images, settings, seed=seed):
        counts = result.output_counts()
        right = counts[np.arange(len(digits)), digits.labels].sum()
        measured[:, k] = (
            right / len(digits),
            right / max(counts.sum(), 1),
            result.accuracy(digits.labels),
        )

fig, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
names = ("spikes of the right output neuron", "share in all output spikes", "accuracy")
for ax, values, what in zip(axes, measured, names, strict=True):
    by_layer = dict(zip(layers, values.reshape(len(layers), -1), strict=True))
    plot_threshold_sweep(tried, by_layer, ax, log=True, objective=what)
    for layer, reached in by_layer.items():
        at = tried[layer][reached.argmax()]
        print(f"{layer}: largest {what} {reached.max():.3g}, at {at:.3g}")
fig.savefig(figure_file, dpi=120)
plt.show()
