"""
Representational similarity of layers
=====================================

Which digits look alike to a layer? A dissimilarity matrix has a number for each two of
them: 1 minus the correlation of their spike counts. It can be compared with another
one: of the same layer of the CNN, of the pixels, or of the classes alone. Bands are
95 % intervals of a bootstrap over digits (Nili et al. 2014,
doi:10.1371/journal.pcbi.1003553).

Counts go from the start to a time, and the similarity to the CNN grows as noise
averages out. A later layer is less like the pixels and more like the classes, and both
hardly change once it spikes: the network is feedforward, and nothing comes later.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms, second

from cnn2snn_brian import convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.physiology import compare, rdm
from cnn2snn_brian.plots import plot_comparisons, plot_rdm

times = np.array([5, 10, 15, 20, 40, 60, 100]) * ms
n_per_class = 6  # test digits
layers = ("conv1", "conv2", "ip1")
draws = {"n_bootstrap": 100, "n_permutations": 0, "seed": 0}
figure_file = "representational_similarity.png"

training, test = load_digits()
digits = test.per_class(n_per_class, seed=0)
digits = digits[np.argsort(digits.labels, kind="stable")]
cnn, _ = models.pretrained("digits")
snn = convert(cnn, digits.input_shape, calibration=training.images)
with snn.compile(times[-1]) as simulator:
    result = simulator.run(digits.images, record=layers)
activations = snn.layers.activations(digits.images)
pixels = rdm(digits.images)
classes = digits.labels[:, None] != digits.labels

fig, axes = plt.subplots(1, 4, figsize=(16, 3.8), layout="constrained")
last = rdm(result, "ip1")
plot_rdm(last, axes[0], labels=digits.labels)
others = {"to the pixels": pixels, "to the classes": classes.astype(float)}
for ax, title in zip(axes[1:], ["to the CNN's layer", *others], strict=True):
    for layer in layers:
        by_time = {}
        for time in times:
            found = rdm(result, layer, window=(0 * ms, time))
            rectified = np.maximum(activations[layer], 0)
            other = rdm(rectified) if title not in others else others[title]
            alike = compare(found, other, **draws)
            # Before most digits have made spikes, there is little to compare.
            if alike.n_pairs > len(pixels.pairs) / 2:
                by_time[float(time / second)] = alike
        plot_comparisons(by_time, ax, label=layer)
        print(f"{layer} {title}: {by_time[0.1].value:.3f} at the end")
    ax.set(title=title, ylim=(-0.1, 1.02))
fig.savefig(figure_file, dpi=120)
plt.show()
