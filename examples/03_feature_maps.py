"""
Feature maps
============

Spike counts of a layer stand for the activations of the CNN. Here the layers of both
are side by side for one digit, like in Fig. 4 of Shang, Li and You, *An SNN
Construction Method Based on CNN Conversion and Threshold Setting*: bright places should
be the same. A tile is a channel, and r is Pearson's correlation over all neurons of a
layer.

The counts are noisy because the input is. Longer durations make them smoother.
"""

import matplotlib.pyplot as plt
from brian2 import ms

from cnn2snn_brian import convert, diagnose, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_feature_maps

duration = 100 * ms  # how long a digit is shown
n_digits = 100  # test digits that the correlations are computed on
digit = 7  # index of the test digit that is drawn
seed = 0  # of the Poisson spikes
figure_file = "feature_maps.png"

training, test = load_digits()
test = test[:n_digits]
cnn, _ = models.pretrained("digits")
snn = convert(cnn, test.input_shape, calibration=training.images)

with snn.compile(duration) as simulator:
    result = simulator.run(test.images, seed=seed)
print(diagnose(result, cnn, test.images))

names = snn.layer_names
fig, axes = plt.subplots(
    2, len(names) + 1, figsize=(3.6 * (len(names) + 1), 6.4), layout="constrained"
)
for ax, image, title in (
    (axes[0, 0], result.spike_counts["input"][digit, 0], "SNN, input spikes"),
    (axes[1, 0], test.images[digit, 0], "CNN, input image"),
):
    ax.imshow(image, cmap="gray", vmin=0)
    ax.set(title=title, xticks=[], yticks=[])
for pair, name in zip(axes.T[1:], names, strict=True):
    plot_feature_maps(result, snn.layers, name, digit, pair, images=test.images)
fig.savefig(figure_file, dpi=100)
plt.show()
